//! Subqueries compared with: IN, ANY, ALL and their negations, with NULLs, correlated in every way.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    ("in!", "SELECT id FROM orders WHERE user_id IN (SELECT id FROM users WHERE region = 1)"),
    ("in of kinds!", "SELECT id FROM orders WHERE region IN (SELECT id FROM regions)"),
    ("in with nulls", "SELECT a, b FROM whole WHERE a IN (SELECT region FROM users)"),
    ("in of an expression", "SELECT a FROM whole WHERE a + 1 IN (SELECT region * 2 FROM users)"),
    (
        "in of a group!",
        "SELECT id FROM users WHERE id IN (SELECT user_id FROM orders GROUP BY user_id HAVING sum(amount) > 20)",
    ),
    ("in of two columns!", "SELECT id FROM orders WHERE (user_id, region) IN (SELECT id, region FROM users)"),
    ("in of a row of constants!", "SELECT id FROM users WHERE 1 IN (SELECT region FROM regions WHERE id = 1)"),
    ("in correlated!", "SELECT id FROM users u WHERE region IN (SELECT region FROM orders o WHERE o.user_id = u.id)"),
    (
        "in correlated by an inequality!",
        "SELECT id FROM users u WHERE region IN (SELECT region FROM orders o WHERE o.user_id < u.id)",
    ),
    (
        "in of distinct!",
        "SELECT id FROM users u WHERE region IN (SELECT DISTINCT region FROM orders o WHERE o.user_id = u.id)",
    ),
    (
        "in of a union",
        "SELECT a FROM whole WHERE a IN (SELECT id FROM users WHERE id > 1 UNION SELECT region FROM orders WHERE region < 2)",
    ),
    (
        "in of a union, correlated",
        "SELECT a FROM whole w WHERE a IN (SELECT id FROM users WHERE name > w.b UNION ALL SELECT region FROM orders WHERE status = w.b)",
    ),
    ("in by postgres", "SELECT a FROM whole WHERE md5(a::text) IN (SELECT md5(id::text) FROM users)"),
    ("in of jsonb!", "SELECT id FROM orders WHERE doc -> 'n' IN (SELECT to_jsonb(id) FROM regions WHERE id > 0)"),
    ("not in!", "SELECT id FROM orders WHERE user_id NOT IN (SELECT id FROM users WHERE name = 'ann')"),
    ("not in with nulls inside", "SELECT a FROM whole WHERE a NOT IN (SELECT region FROM users)"),
    (
        "not in with nulls outside",
        "SELECT a, b FROM whole WHERE a NOT IN (SELECT region FROM users WHERE region IS NOT NULL)",
    ),
    ("not in of nothing", "SELECT a, b FROM whole WHERE a NOT IN (SELECT region FROM users WHERE id > 9)"),
    ("not in of nulls only", "SELECT a, b FROM whole WHERE a NOT IN (SELECT region FROM users WHERE id = 2)"),
    (
        "not in correlated",
        "SELECT a, b, c FROM whole w WHERE a NOT IN (SELECT region FROM orders o WHERE o.user_id = w.c)",
    ),
    (
        "not in correlated with nulls",
        "SELECT u.id FROM users u WHERE region NOT IN (SELECT region FROM orders o WHERE o.user_id = u.id AND o.amount > 6)",
    ),
    (
        "not in correlated by an inequality",
        "SELECT u.id FROM users u WHERE region NOT IN (SELECT region FROM orders o WHERE o.user_id < u.id AND o.amount > 11)",
    ),
    ("not in of two columns", "SELECT a, b FROM whole WHERE (a, b) NOT IN (SELECT region, name FROM users)"),
    (
        "not in of two columns with nulls",
        "SELECT a, b FROM whole WHERE (a, b) NOT IN (SELECT a, b FROM whole WHERE c > 2 OR a = 0)",
    ),
    ("not in, twice denied", "SELECT a FROM whole WHERE NOT (a NOT IN (SELECT region FROM users))"),
    (
        "in as a value",
        "SELECT a, b, a IN (SELECT region FROM users) AS i, a NOT IN (SELECT region FROM users WHERE region > 0) AS n, a IN (SELECT region FROM users WHERE id > 9) AS z FROM whole",
    ),
    (
        "in as a value, never null!",
        "SELECT id, user_id IN (SELECT id FROM users) AS i, user_id NOT IN (SELECT id FROM users) AS n FROM orders",
    ),
    (
        "in as a value, correlated!",
        "SELECT u.id, region IN (SELECT region FROM orders o WHERE o.user_id = u.id) AS i, 2 IN (SELECT region FROM orders o WHERE o.user_id = u.id AND o.amount > 6) AS two FROM users u",
    ),
    (
        "in as a value, by an inequality!",
        "SELECT u.id, region IN (SELECT region FROM orders o WHERE o.user_id < u.id) AS i FROM users u",
    ),
    (
        "in of two columns as a value",
        "SELECT a, b, (a, b) IN (SELECT a, b FROM whole WHERE c < 2 OR c IS NULL) AS i FROM whole",
    ),
    ("in under or", "SELECT a, b FROM whole WHERE b = 'y' OR a IN (SELECT region FROM users)"),
    ("in is unknown", "SELECT a, b FROM whole WHERE (a IN (SELECT region FROM users)) IS UNKNOWN"),
    ("any!", "SELECT id FROM orders WHERE amount > ANY (SELECT id * 3 FROM users)"),
    ("any with nulls", "SELECT a FROM whole WHERE a < ANY (SELECT region FROM users)"),
    ("not any", "SELECT a FROM whole WHERE NOT a < ANY (SELECT region FROM users WHERE region > 0)"),
    (
        "any as a value",
        "SELECT a, a < ANY (SELECT region FROM users) AS lt, a >= ANY (SELECT region FROM users WHERE id > 9) AS no FROM whole",
    ),
    (
        "unequal to any",
        "SELECT a, a <> ANY (SELECT region FROM users WHERE region = 1) AS v FROM whole WHERE a <> ANY (SELECT region FROM users WHERE region = 1)",
    ),
    ("all", "SELECT a, b FROM whole WHERE a >= ALL (SELECT region FROM users WHERE region IS NOT NULL)"),
    ("all with nulls", "SELECT a, b FROM whole WHERE a <= ALL (SELECT region FROM users)"),
    ("all of nothing", "SELECT a, b FROM whole WHERE a <= ALL (SELECT region FROM users WHERE id > 9)"),
    ("not all", "SELECT a, b FROM whole WHERE NOT a > ALL (SELECT region FROM users WHERE id < 2)"),
    ("unequal to all", "SELECT a, b FROM whole WHERE a <> ALL (SELECT region FROM users WHERE region > 1)"),
    ("not unequal to all", "SELECT a, b FROM whole WHERE NOT a <> ALL (SELECT region FROM users)"),
    (
        "equal to all",
        "SELECT a, b, a = ALL (SELECT region FROM users WHERE region < 2) AS v FROM whole WHERE a = ALL (SELECT region FROM users WHERE region = 1)",
    ),
    (
        "all as a value",
        "SELECT a, a > ALL (SELECT region FROM users) AS gt, a <> ALL (SELECT region FROM users) AS ne, a < ALL (SELECT region FROM users WHERE id > 9) AS no FROM whole",
    ),
    (
        "all correlated!",
        "SELECT u.id, u.region < ALL (SELECT o.region FROM orders o WHERE o.user_id = u.id) AS v FROM users u WHERE u.id >= ALL (SELECT o.region FROM orders o WHERE o.user_id = u.id AND o.region IS NOT NULL)",
    ),
    (
        "any like",
        "SELECT a, b FROM whole WHERE b LIKE ANY (SELECT left(name, 1) || '%' FROM users UNION ALL SELECT 'x%')",
    ),
    ("rows compared with any", "SELECT a, b FROM whole WHERE (a, b) < ANY (SELECT region, name FROM users)"),
];
