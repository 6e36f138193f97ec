//! What random queries have found wrong once.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    (
        "an aggregate of the query around in VALUES!",
        "SELECT user_id, (SELECT max(x) FROM (VALUES (sum(o.amount)), (3)) w (x)) AS m, (WITH w (x) AS (VALUES (max(o.id)), (2)) SELECT min(x) FROM w) AS n FROM orders o GROUP BY user_id",
    ),
    ("a value of what is around that orders, by PostgreSQL", "SELECT o.id FROM orders o WHERE o.tags <= ANY (SELECT o.tags AS c0 FROM users u WHERE u.id > 0 ORDER BY c0 LIMIT 1)"),
    ("a value of what is around that orders, by PostgreSQL, shown", "SELECT o.id, (SELECT o.tags AS c0 FROM users u WHERE u.id > 0 ORDER BY c0, u.id LIMIT 1) AS t FROM orders o"),
    ("a value of what is around in a window", "SELECT o.id, (SELECT max(r) FROM (SELECT rank() OVER (ORDER BY o.tags) AS r FROM users u) s) AS t FROM orders o"),
    ("a side of a full join that reads what is around", "SELECT u.id, s.a, s.b FROM users u CROSS JOIN LATERAL (WITH w AS (SELECT o.id AS a FROM orders o WHERE o.user_id = u.id AND o.id < 4) SELECT w.a, r.id AS b FROM w FULL JOIN regions r ON r.id = w.a) s"),
    ("a side of a full join that reads what is around in WHERE", "SELECT u.id, s.a, s.b FROM users u CROSS JOIN LATERAL (SELECT w.a, r.id AS b FROM (SELECT o.id AS a FROM orders o WHERE o.user_id = u.id AND o.id < 4) w FULL JOIN regions r ON r.id = w.a) s"),
    ("a side of a full join that takes rows of each value", "SELECT u.id, s.a, s.b FROM users u CROSS JOIN LATERAL (SELECT w.a, r.id AS b FROM (SELECT o.id AS a FROM orders o WHERE o.user_id = u.id AND o.id < 4 ORDER BY o.id LIMIT 2) w FULL JOIN regions r ON r.id = w.a) s"),
    ("a side of a full join that takes the first for each value", "SELECT u.id, s.a, s.b FROM users u CROSS JOIN LATERAL (SELECT w.a, r.id AS b FROM (SELECT DISTINCT ON (o.id) o.id AS a FROM orders o WHERE o.user_id = u.id AND o.id < 4 ORDER BY o.id) w FULL JOIN regions r ON r.id = w.a) s"),
    ("a side of a left join that takes the first for each value", "SELECT u.id, s.a, s.b FROM users u CROSS JOIN LATERAL (SELECT w.a, r.id AS b FROM regions r LEFT JOIN (SELECT DISTINCT ON (o.id) o.id AS a FROM orders o WHERE o.user_id = u.id AND o.id < 4 ORDER BY o.id) w ON r.id = w.a) s"),
    ("a full join of nothing for each value", "SELECT u.id, s.a, s.b FROM users u CROSS JOIN LATERAL (SELECT w.a, r.id AS b FROM (SELECT DISTINCT ON (o.id) o.id AS a FROM orders o WHERE o.user_id = u.id AND o.id < 4 ORDER BY o.id) w FULL JOIN regions r ON NULL::bool) s"),
    ("both sides of a full join read what is around", "SELECT u.id, s.a, s.b FROM users u CROSS JOIN LATERAL (SELECT w.a, r.b FROM (SELECT o.id AS a FROM orders o WHERE o.user_id = u.id AND o.id < 9) w FULL JOIN (SELECT v.id + 4 AS b FROM users v WHERE v.region = u.region OR u.region IS NULL) r ON r.b = w.a AND w.a > u.id + 3) s"),
    ("the condition of a full join reads what is around", "SELECT u.id, (SELECT count(*) FILTER (WHERE v.id IS NULL) * 100 + count(*) FROM regions r FULL JOIN users v ON v.id = r.id AND v.id < u.region) AS n FROM users u"),
    ("a full join that reads what is around, beside others", "SELECT u.id, s.n, s.m FROM users u, LATERAL (SELECT w.n, count(*) AS m FROM regions q, (SELECT u.region AS n UNION ALL SELECT 2) w FULL JOIN users v ON v.id = w.n AND v.name <> u.name WHERE q.id > u.id - 2 GROUP BY w.n) s"),
    ("a recursion of what is around beside a full join", "SELECT u.id, s.a, s.b FROM users u CROSS JOIN LATERAL (WITH RECURSIVE w AS (SELECT 1 AS a UNION SELECT o.id::int FROM w JOIN orders o ON o.id = w.a + 1 WHERE u.id > w.a) SELECT w.a, r.id AS b FROM w FULL JOIN regions r ON r.id = w.a) s"),
    (
        "a condition on a group by a cast that keeps the bytes, below the group",
        "SELECT a::oid AS o, string_agg(b, ',' ORDER BY b) AS s FROM (SELECT id - 2 AS a, name AS b FROM users UNION ALL SELECT spare - 1, status FROM orders) s GROUP BY a::oid HAVING a::oid > 5",
    ),
    (
        "a condition on a group of texts that were not, below the group",
        "SELECT short::text AS t, string_agg(status, ',' ORDER BY id) AS s FROM orders GROUP BY short::text, spare % 2 HAVING length(short::text) > 1",
    ),
    (
        "a list of values that is read deeper down",
        "SELECT o.id, (WITH w (x) AS (VALUES (o.user_id), (o.region)) SELECT count(*) FROM users u
            WHERE EXISTS (SELECT FROM w WHERE w.x = u.id AND o.user_id <> u.region AND o.region <> u.region)) AS n FROM orders o",
    ),
    (
        "a subquery that tells equal values apart",
        "SELECT p.id, (SELECT count(*) FROM users u WHERE length(p.n::text) > u.id) AS c FROM (VALUES (1, 1.0), (2, 1.00), (3, 2)) p (id, n)",
    ),
    (
        "a subquery that tells equal intervals apart",
        "SELECT p.id, (SELECT count(*) FROM generate_series(1, 40) g WHERE date '2024-02-01' + p.t > date '2024-02-01' + g) AS c
         FROM (VALUES (1, '1 mon'::interval), (2, '30 days')) p (id, t)",
    ),
    (
        "values, left joined, that tell equal ones apart",
        "SELECT p.id, v.x FROM (VALUES (1, 1.0), (2, 1.00)) p (id, n) LEFT JOIN LATERAL (VALUES (p.n::text), ('q')) v (x) ON v.x <> 'q'",
    ),
    (
        "values over rows that a subquery leaves out",
        "SELECT l.line, v.r FROM lines l, LATERAL (VALUES (100 / l.qty), (0)) v (r) WHERE l.qty > (SELECT min(abs(qty)) FROM lines)",
    ),
    (
        "a function over rows that a subquery leaves out",
        "SELECT l.line, g FROM lines l, LATERAL generate_series(1, 10 / l.qty) g WHERE l.qty > (SELECT min(abs(qty)) FROM lines)",
    ),
    (
        "one list of values that is read on a condition",
        "SELECT l.line, CASE WHEN l.qty <> 0 THEN v.q END AS q FROM lines l, LATERAL (VALUES (10 / l.qty)) v (q)",
    ),
    (
        "a subquery that reads a constant without regard to case",
        "SELECT k.m = 'X' AS is_x, s.n FROM (SELECT 'LOST' COLLATE caseless AS m) k, LATERAL (SELECT count(*) AS n FROM orders o WHERE o.status = k.m OR o.id < 3) s",
    ),
    ("not in what is around it", "SELECT a, b, a NOT IN (SELECT w.c) AS x FROM whole w"),
    ("not in a list of what is around it", "SELECT u.id FROM users u WHERE id NOT IN (SELECT u.region FROM regions)"),
    ("a constant not in what is around it", "SELECT 1 NOT IN (SELECT w.a FROM users WHERE id > w.a) AS x FROM whole w"),
    (
        "lateral over a constant",
        "SELECT l.x, w.b FROM (SELECT 1::bigint AS c) k JOIN LATERAL (SELECT DISTINCT k.c AS x) l ON true, whole w",
    ),
    (
        "lateral over constants of kinds",
        "SELECT l.x, l.y, w.a FROM (SELECT 'q'::text AS c, NULL::numeric AS d) k JOIN LATERAL (SELECT DISTINCT k.c AS x, k.d AS y) l ON true, whole w",
    ),
    (
        "constants of ranges",
        "SELECT id, id::int <@ '[1,3)'::int4range AS a, '(,2]'::int4range @> id::int AS b, '(1.5,2.50]'::numrange AS c, due <@ '[2024-01-03,)'::daterange AS d,
            placed <@ '[2024-02-28 00:00+00,2024-03-01 00:00+00]'::tstzrange AS e, 'empty'::int8range AS f
         FROM orders WHERE int4range(user_id, 4) && '[2,3)'::int4range",
    ),
    (
        "literals for functions of anything",
        "SELECT id, jsonb_build_object('n', user_id, 'who', status, 'it''s', NULL) AS d, jsonb_build_array('a', id) AS l, concat('x', id, 'y') AS c FROM orders",
    ),
    (
        "groups of which no aggregate is read",
        "SELECT 1 AS one, count(*) AS n FROM (SELECT status, string_agg(short, ',' ORDER BY id) AS s FROM orders GROUP BY status) g",
    ),
    (
        "a function's argument that nothing else reads, before groups",
        "WITH w AS MATERIALIZED (SELECT * FROM (VALUES (2, 'x'), (NULL::int, 'y')) v (a, b) ORDER BY a, b LIMIT 1)
         SELECT w.a FROM w WHERE w.a IN (SELECT min(l.c) FROM generate_series(0, w.a % 3) f (n) LEFT JOIN LATERAL
            (SELECT CASE max((4::bigint % 5)::int) WHEN w.a THEN 7 ELSE w.a END AS c, v.b FROM w v GROUP BY v.b) l ON true)",
    ),
    (
        "a function's argument that nothing else reads, before groups that are shown",
        "WITH w AS MATERIALIZED (SELECT * FROM (VALUES (2, 'x'), (NULL::int, 'y')) v (a, b) ORDER BY a, b LIMIT 1)
         SELECT w.a, (SELECT min(l.c) FROM generate_series(0, w.a % 3) f (n) LEFT JOIN LATERAL
            (SELECT CASE max((4::bigint % 5)::int) WHEN w.a THEN 7 ELSE w.a END AS c, v.b FROM w v GROUP BY v.b) l ON true) AS s FROM w",
    ),
    (
        "an order by GROUPING",
        "SELECT o.id, nth_value(o.id, 2) OVER (ORDER BY g.c, o.id) AS second
         FROM orders o JOIN (SELECT region % 4 + GROUPING(region % 4) AS c FROM orders GROUP BY CUBE (region % 4)) g ON o.user_id = g.c",
    ),
    (
        "a function's rows in groups, left joined",
        "SELECT o.id, (SELECT sum(r.id + f.n) FROM generate_series(0, o.user_id % 3) f (n) LEFT JOIN regions r ON r.id = f.n) AS s FROM orders o",
    ),
    (
        "a function left joined to what it reads",
        "SELECT o.id, f.n, r.name, r.id + f.n AS s FROM orders o, generate_series(0, o.user_id % 3) f (n) LEFT JOIN regions r ON r.id = f.n",
    ),
    (
        "functions left joined beside what they read, twice",
        "SELECT o.id, f.n, g.m, r.name FROM orders o, generate_series(0, o.user_id % 3) f (n) CROSS JOIN generate_series(f.n, 2) g (m)
            LEFT JOIN regions r ON r.id = g.m AND r.id < f.n + 2 WHERE f.n > 0 OR r.name IS NULL",
    ),
    (
        "rows of a function in a filter, left joined",
        "SELECT o.id FROM orders o WHERE o.user_id IN (SELECT min(l.c) FILTER (WHERE f.n IS DISTINCT FROM l.c) FROM generate_series(0, o.user_id) f (n)
            LEFT JOIN LATERAL (SELECT CASE max(g.id) WHEN o.user_id THEN 4 ELSE o.user_id END AS c FROM regions g GROUP BY g.name) l ON true)",
    ),
];
