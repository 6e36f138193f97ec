//! Expressions that fail on some rows, where PostgreSQL does not look at these: a condition guards what stands behind it, in whatever
//! order it is written if it is the cheaper one.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    ("a condition guards the select list!", "SELECT order_id, line, 10 / qty AS q FROM lines WHERE qty <> 0"),
    ("a condition guards the next!", "SELECT order_id, line FROM lines WHERE qty <> 0 AND 10 / qty > 3"),
    ("a condition guards the one before!", "SELECT order_id, line FROM lines WHERE 10 / qty > 3 AND qty <> 0"),
    ("a condition that is null guards", "SELECT a, c FROM whole WHERE a > 0 AND 1 / (c - 3) < 5"),
    (
        "a condition that is null guards, of three",
        "SELECT b FROM whole WHERE c > 2 AND a >= 0 AND 1 / (c - 3) < 5 AND c < 9",
    ),
    ("a pattern guards a cast", "SELECT b FROM whole WHERE b ~ '^[0-9]+$' AND b::int > 5"),
    ("a pattern guards the cast before", "SELECT b FROM whole WHERE b::int > 5 AND b ~ '^[0-9]+$'"),
    ("a pattern guards a list of casts", "SELECT b FROM whole WHERE b::int IN (12, 13) AND b ~ '^[0-9]+$'"),
    (
        "a pattern that is null guards",
        "SELECT b FROM whole WHERE substring(b FROM '^[0-9]+$') > '0' AND add_all(b::int) > 0",
    ),
    ("a function of a user's is the dearest", "SELECT a FROM whole WHERE add_all(10 / a) > 3 AND abs(a) > 0"),
    ("a list guards", "SELECT a, b FROM whole WHERE b = ANY (ARRAY['12', '13']) AND b::int > 3"),
    (
        "a name guards its value",
        "SELECT w.b::int AS n FROM whole w JOIN users u ON u.id = w.a WHERE u.name = 'ann' AND w.b = '12'",
    ),
    (
        "in a subquery",
        "SELECT n, count(*) AS rows FROM (SELECT b::int AS n FROM whole WHERE b ~ '^[0-9]+$') s WHERE n > 5 GROUP BY n",
    ),
    ("around a subquery", "SELECT n FROM (SELECT b::int AS n, c FROM whole) s WHERE c = 1 AND n > 5"),
    (
        "around an item of with",
        "WITH s AS (SELECT order_id, line, 10 / qty AS q, qty FROM lines) SELECT q FROM s WHERE qty > 1 AND q < 9",
    ),
    (
        "around lateral",
        "SELECT l.line, x.q FROM lines l CROSS JOIN LATERAL (SELECT 10 / l.qty AS q) x WHERE l.qty <> 0",
    ),
    ("in a branch", "SELECT 10 / qty AS q FROM lines WHERE qty > 0 UNION ALL SELECT b::int FROM whole WHERE a = 0"),
    (
        "a join's condition",
        "SELECT l.line, 10 / l.qty AS q FROM lines l JOIN regions r ON r.id = l.order_id AND l.qty > 0",
    ),
    ("a join's key", "SELECT l.line, r.name FROM lines l JOIN regions r ON r.id = 10 / l.qty - 4 AND l.qty > 0"),
    (
        "a join's key, from where",
        "SELECT l.line, r.name FROM lines l JOIN regions r ON r.id = 10 / l.qty - 4 WHERE l.qty > 0",
    ),
    (
        "the other side's key",
        "SELECT r.name, l.line FROM regions r LEFT JOIN lines l ON r.id = 10 / l.qty - 4 AND l.qty > 0",
    ),
    (
        "a pair that is null guards",
        "SELECT u.id, w.c FROM users u LEFT JOIN whole w ON w.a > u.id AND 1 / (w.c - 3 + u.id * 0) < 5",
    ),
    (
        "a pair of postgresql that is null guards",
        "SELECT u.id, w.c FROM users u LEFT JOIN whole w ON w.a > u.id AND reciprocal((w.c - 3 + u.id * 0)::int) < 5",
    ),
    ("a row without a partner", "SELECT u.id, 10 / w.a AS q FROM users u LEFT JOIN whole w ON w.a = u.id AND w.a <> 0"),
    ("exists", "SELECT line FROM lines l WHERE qty > 0 AND EXISTS (SELECT FROM regions r WHERE r.id = 10 / l.qty - 4)"),
    (
        "exists, written first",
        "SELECT line FROM lines l WHERE EXISTS (SELECT FROM regions r WHERE r.id = 10 / l.qty - 4) AND qty > 0",
    ),
    (
        "not exists",
        "SELECT line FROM lines l WHERE qty > 0 AND NOT EXISTS (SELECT FROM regions r WHERE r.id = 10 / l.qty - 4)",
    ),
    ("in a list of rows", "SELECT line FROM lines l WHERE qty > 0 AND 10 / qty - 4 IN (SELECT id FROM regions)"),
    (
        "a value of a subquery",
        "SELECT line, (SELECT name FROM regions r WHERE r.id = 10 / l.qty - 4) AS n FROM lines l WHERE qty > 0",
    ),
    (
        "a subquery's own condition",
        "SELECT id, (SELECT sum(10 / l.qty) FROM lines l WHERE l.order_id = r.id AND l.qty > 0) AS s FROM regions r",
    ),
    ("a subquery of which no column is read", "SELECT count(*) AS n FROM (SELECT 10 / qty AS q FROM lines) s"),
    (
        "exists shows nothing",
        "SELECT id FROM users u WHERE EXISTS (SELECT 10 / l.qty FROM lines l WHERE l.order_id = u.id)",
    ),
    ("groups", "SELECT 10 / qty AS q, count(*) AS n FROM lines WHERE qty > 0 GROUP BY 10 / qty"),
    ("having!", "SELECT order_id, sum(price) / sum(qty) AS p FROM lines GROUP BY order_id HAVING sum(qty) > 0"),
    (
        "having, twice!",
        "SELECT order_id, count(*) AS n FROM lines GROUP BY order_id HAVING sum(price) / sum(qty) > 0.5 AND sum(qty) <> 0",
    ),
    (
        "around groups",
        "SELECT p FROM (SELECT order_id, sum(price) / sum(qty) AS p, sum(qty) AS n FROM lines GROUP BY order_id) s WHERE n > 0",
    ),
    ("filter!", "SELECT order_id, sum(10 / qty) FILTER (WHERE qty > 0) AS s FROM lines GROUP BY order_id"),
    (
        "filter, by postgresql!",
        "SELECT order_id, string_agg((10 / qty)::text, ',' ORDER BY line) FILTER (WHERE qty > 0) AS s FROM lines GROUP BY order_id",
    ),
    ("case!", "SELECT order_id, line, CASE WHEN qty = 0 THEN 0 ELSE 10 / qty END AS q FROM lines"),
    ("case, by postgresql", "SELECT b, CASE WHEN b ~ '^[0-9]+$' THEN add_all(b::int) END AS n FROM whole"),
    (
        "case of groups!",
        "SELECT order_id, CASE WHEN sum(qty) > 0 THEN sum(price) / sum(qty) END AS p FROM lines GROUP BY order_id",
    ),
    (
        "case goes in its own order",
        "SELECT l.line, CASE WHEN add_all(l.qty) = 0 THEN 0 WHEN 10 / l.qty > 4 THEN (SELECT count(*) FROM regions r WHERE r.id < l.qty) END AS n FROM lines l",
    ),
    ("coalesce", "SELECT a, coalesce(nullif(a, 0) * 2, 7, 1 / a) AS x FROM whole WHERE a IS NOT NULL"),
    ("windows", "SELECT line, sum(10 / qty) OVER (PARTITION BY order_id ORDER BY line) AS s FROM lines WHERE qty > 0"),
    ("the first rows", "SELECT line, 10 / qty AS q FROM lines WHERE qty > 0 ORDER BY 10 / qty DESC, line LIMIT 3"),
    (
        "of each the first",
        "SELECT DISTINCT ON (order_id) order_id, 10 / qty AS q FROM lines WHERE qty > 0 ORDER BY order_id, 10 / qty, line",
    ),
];
