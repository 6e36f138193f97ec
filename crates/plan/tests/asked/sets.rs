//! UNION, INTERSECT and EXCEPT; VALUES.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    ("union!", "SELECT region FROM users UNION SELECT region FROM orders"),
    ("intersect!", "SELECT user_id, region FROM orders INTERSECT SELECT id, region FROM users"),
    ("intersect of texts!", "SELECT status FROM orders INTERSECT SELECT b FROM whole UNION SELECT 'a_b%c'"),
    ("intersect all", "SELECT a, b FROM whole INTERSECT ALL SELECT a, b FROM whole WHERE c IS NOT NULL"),
    ("intersect all of nulls", "SELECT status FROM orders INTERSECT ALL SELECT b FROM whole"),
    ("intersect all keeps keys!", "SELECT id FROM users INTERSECT ALL SELECT region FROM orders"),
    ("intersect all with a key at right!", "SELECT user_id FROM orders INTERSECT ALL SELECT id FROM users"),
    ("except!", "SELECT region FROM orders EXCEPT SELECT region FROM users"),
    ("except of nulls!", "SELECT status FROM orders EXCEPT SELECT NULL"),
    ("except all", "SELECT user_id, region FROM orders EXCEPT ALL SELECT id, region FROM users"),
    (
        "except all of duplicates",
        "SELECT a FROM whole EXCEPT ALL SELECT a FROM whole WHERE a = 1 AND c > 1 AND b IS NULL",
    ),
    ("except all keeps keys!", "SELECT id, status FROM orders EXCEPT ALL SELECT id, 'new' FROM users"),
    ("except of itself!", "SELECT id FROM users EXCEPT SELECT id FROM users"),
    (
        "nested set operations",
        "SELECT region FROM orders INTERSECT SELECT region FROM users UNION ALL (SELECT 5 UNION SELECT 6 EXCEPT SELECT id FROM users)",
    ),
    (
        "set operations by parentheses!",
        "(SELECT a FROM whole UNION ALL SELECT id FROM users) EXCEPT (SELECT region FROM users INTERSECT ALL SELECT region FROM orders)",
    ),
    (
        "union of integers and numerics!",
        "SELECT id FROM users UNION SELECT price FROM lines UNION SELECT region FROM orders",
    ),
    (
        "casts at each level",
        "SELECT id FROM users UNION ALL (SELECT region FROM orders UNION ALL (SELECT factor FROM regions EXCEPT SELECT 1))",
    ),
    (
        "intersect of casts!",
        "SELECT id FROM users INTERSECT SELECT price FROM lines INTERSECT SELECT id::float8 FROM orders",
    ),
    ("union of texts", "SELECT short FROM orders UNION ALL SELECT status FROM orders UNION ALL SELECT name FROM users"),
    (
        "union of padded texts",
        "SELECT padded FROM orders UNION ALL SELECT status FROM orders UNION ALL SELECT 'x'::char(3)",
    ),
    ("union of char lengths!", "SELECT padded FROM orders UNION SELECT short::char(3) FROM orders"),
    (
        "union of dates and times",
        "SELECT due FROM orders UNION ALL SELECT placed FROM orders UNION ALL SELECT local FROM orders",
    ),
    ("union of nulls", "SELECT NULL AS x FROM users UNION ALL SELECT id FROM users UNION ALL SELECT NULL"),
    ("union of domains", "SELECT units FROM orders UNION ALL SELECT id FROM users"),
    ("union of one domain", "SELECT label FROM orders UNION ALL SELECT label FROM orders WHERE paid"),
    ("union of arrays", "SELECT ARRAY[user_id] AS a FROM orders UNION ALL SELECT ARRAY[amount] FROM orders"),
    ("union of domains and texts!", "SELECT label FROM orders UNION SELECT name FROM users"),
    ("set operations of enums!", "SELECT feeling FROM orders EXCEPT SELECT 'sad' INTERSECT SELECT feeling FROM orders"),
    (
        "set operation in from!",
        "SELECT x, count(*) AS n FROM (SELECT region AS x FROM orders EXCEPT ALL SELECT region FROM users) s GROUP BY x",
    ),
    (
        "set operation joined",
        "SELECT u.name, s.r FROM users u JOIN (SELECT region AS r FROM orders INTERSECT SELECT region FROM users) s ON s.r = u.region",
    ),
    (
        "filter over a set operation",
        "SELECT x FROM (SELECT a AS x FROM whole UNION ALL SELECT 7 / id::int FROM regions WHERE id > 0) s WHERE x > 1",
    ),
    (
        "set operations of groups",
        "SELECT user_id, count(*) AS n FROM orders GROUP BY user_id EXCEPT ALL SELECT id, 5 FROM users",
    ),
    (
        "set operation with a list of its own",
        "WITH r AS (SELECT region FROM users) (WITH s AS (SELECT region FROM orders) SELECT region FROM s EXCEPT SELECT region FROM r) UNION ALL SELECT region FROM r",
    ),
    ("set operation ordered!", "SELECT id FROM users UNION SELECT region FROM orders ORDER BY 1"),
    (
        "in both without regard to case!",
        "SELECT count(*) AS n, count(s) AS m FROM (SELECT status COLLATE caseless AS s, region FROM orders INTERSECT SELECT upper(status), region FROM orders WHERE user_id > 1) i",
    ),
    (
        "in one only without regard to case!",
        "SELECT count(*) AS n, count(s) AS m FROM (SELECT status COLLATE caseless AS s, region FROM orders EXCEPT SELECT upper(status), user_id FROM orders) i",
    ),
    ("values with nulls", "VALUES (NULL, 1), ('x', NULL), (NULL, NULL)"),
    (
        "values by postgres",
        "SELECT x, y FROM (VALUES (md5('a'), 1), ('b', 2), (reverse('c'), 1 + 1), ('b', 2)) v (x, y)",
    ),
    ("values of one row!", "SELECT id, k FROM users, (VALUES (md5('q'), '{1,2}'::int[])) v (k, l)"),
    (
        "values of each row!",
        "SELECT o.id, v.which, v.n FROM orders o CROSS JOIN LATERAL (VALUES ('user', o.user_id), ('region', o.region), ('both', o.user_id * 10 + o.region)) v (which, n)",
    ),
    (
        "values of each row, alike",
        "SELECT u.id, v.n FROM users u, LATERAL (VALUES (u.region), (u.boss), (u.region)) v (n)",
    ),
    (
        "one list of each row!",
        "SELECT u.id, v.n, v.m FROM users u, LATERAL (VALUES (u.region + 1, u.name)) v (n, m) WHERE v.n > 1",
    ),
    (
        "values of each row by postgres!",
        "SELECT o.id, v.k, v.t FROM orders o, LATERAL (VALUES (1, md5(o.status)), (2, 'x'), (3, reverse(o.status))) v (k, t)",
    ),
    (
        "values of each row of kinds",
        "SELECT o.id, v.a, v.b FROM orders o, LATERAL (VALUES (o.amount, o.short), (1, NULL), (o.id, 'c')) v (a, b)",
    ),
    (
        "values of each row, left joined",
        "SELECT u.id, v.n FROM users u LEFT JOIN LATERAL (VALUES (u.region), (u.boss)) v (n) ON v.n > u.id",
    ),
    (
        "values of each row, left joined always",
        "SELECT u.id, r.id AS r, v.n FROM users u LEFT JOIN regions r ON r.id = u.region LEFT JOIN LATERAL (VALUES (r.id), (u.boss)) v (n) ON true",
    ),
    (
        "values of several inputs, joined on",
        "SELECT u.id, o.id AS o, v.w, r.name FROM users u JOIN orders o ON o.user_id = u.id, LATERAL (VALUES ('u', u.region), ('o', o.region)) v (w, n) JOIN regions r ON r.id = v.n",
    ),
    (
        "values in groups!",
        "SELECT v.which, count(v.n) AS n, sum(v.n) AS s FROM orders o CROSS JOIN LATERAL (VALUES ('user', o.user_id), ('region', o.region)) v (which, n) GROUP BY v.which",
    ),
    (
        "values in a subquery!",
        "SELECT u.id, (SELECT max(v.n) FROM (VALUES (u.region), (u.boss), (1)) v (n)) AS most FROM users u",
    ),
    (
        "values in a subquery, ordered!",
        "SELECT u.id, s.n FROM users u, LATERAL (VALUES (u.region), (u.boss), (2) ORDER BY 1 DESC NULLS LAST LIMIT 1) s (n)",
    ),
    (
        "values in a subquery deeper down!",
        "SELECT u.id, (SELECT count(*) FROM orders o, LATERAL (VALUES (o.region), (u.region), (u.boss)) v (n) WHERE v.n > o.user_id AND o.user_id = u.id) AS c FROM users u",
    ),
    (
        "values that exist!",
        "SELECT u.id FROM users u WHERE EXISTS (SELECT FROM (VALUES (u.region), (u.boss)) v (n) WHERE v.n = u.id)",
    ),
    ("values that hold it!", "SELECT u.id, u.id IN (VALUES (u.region), (u.boss)) AS i FROM users u"),
    (
        "values of values",
        "SELECT u.id, w.m FROM users u, LATERAL (VALUES (u.region), (u.boss)) v (n), LATERAL (VALUES (v.n), (v.n + u.id)) w (m)",
    ),
    (
        "values guarded",
        "SELECT l.line, v.q FROM lines l CROSS JOIN LATERAL (VALUES (10 / l.qty), (1)) v (q) WHERE l.qty <> 0",
    ),
    (
        "values of a constant",
        "SELECT u.id, v.n FROM (SELECT 3 AS c) k, LATERAL (VALUES (k.c), (k.c + 1)) v (n) JOIN users u ON u.id = v.n",
    ),
    (
        "values and a function",
        "SELECT u.id, g FROM users u, LATERAL (VALUES (u.region), (u.boss)) v (n), LATERAL generate_series(1, v.n) g",
    ),
    ("values of kinds", "SELECT x FROM (VALUES (1), (2.50), (NULL)) v (x) EXCEPT ALL VALUES (1)"),
    (
        "values in a list",
        "WITH v (a, b) AS (VALUES (1, 'one'), (2, 'two')) SELECT o.id, v.b FROM orders o JOIN v ON v.a = o.region",
    ),
    (
        "materialized lists",
        "WITH a AS MATERIALIZED (SELECT region FROM users), b AS NOT MATERIALIZED (SELECT region FROM a) SELECT a.region FROM a JOIN b ON a.region = b.region",
    ),
    (
        "list within a subquery!",
        "SELECT n, count(*) AS c FROM (WITH w AS (SELECT region AS n FROM orders) SELECT n FROM w WHERE n > 0) s GROUP BY n",
    ),
    (
        "lists that hide others",
        "WITH a AS (SELECT id FROM users) SELECT x.id FROM (WITH a AS (SELECT id FROM regions) SELECT id FROM a) x JOIN a ON a.id = x.id",
    ),
    ("views of views!", "SELECT region, n FROM busy UNION SELECT region, 0 FROM priced"),
];
