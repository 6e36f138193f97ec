//! Conditions that are never true, above every operator.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    ("never a row!", "SELECT id, status FROM orders WHERE false"),
    ("never, by a comparison of constants", "SELECT o.id, l.sku FROM orders o, lines l WHERE 1 = 2"),
    ("never, for a null", "SELECT o.id FROM orders o JOIN users u ON u.id = o.user_id AND NULL"),
    ("never, behind what fails", "SELECT line FROM lines WHERE 10 / qty > 3 AND false"),
    ("never, in a count", "SELECT count(*) AS n, max(id) AS m FROM orders WHERE 1 > 2"),
    ("never, of a count", "SELECT count(*) AS n FROM orders HAVING 1 > 2"),
    ("never, of groups", "SELECT user_id, count(*) AS n FROM orders GROUP BY user_id HAVING false"),
    ("never, in grouping sets", "SELECT user_id, count(*) AS n FROM orders WHERE false GROUP BY ROLLUP (user_id)"),
    ("never, of grouping sets", "SELECT user_id, count(*) AS n FROM orders GROUP BY ROLLUP (user_id) HAVING false"),
    ("never, by postgresql", "SELECT string_agg(sku, ',' ORDER BY line) AS s FROM lines WHERE false"),
    (
        "never, of postgresql's",
        "SELECT s FROM (SELECT string_agg(sku, ',' ORDER BY line) AS s FROM lines) x WHERE false",
    ),
    ("never a partner", "SELECT o.id, u.name FROM orders o LEFT JOIN users u ON u.id = o.user_id AND false"),
    ("never a partner of either", "SELECT o.id, u.name FROM orders o FULL JOIN users u ON u.id = o.user_id AND 1 = 2"),
    ("never a partner at all", "SELECT o.id, u.name FROM orders o RIGHT JOIN users u ON false"),
    ("never, in exists", "SELECT id FROM orders o WHERE EXISTS (SELECT FROM users u WHERE u.id = o.user_id AND false)"),
    (
        "never, in not exists",
        "SELECT id FROM orders o WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = o.user_id AND false)",
    ),
    ("never, in not in", "SELECT id FROM orders WHERE user_id NOT IN (SELECT boss FROM users WHERE false)"),
    (
        "never, in a scalar subquery",
        "SELECT id, (SELECT name FROM users u WHERE u.id = o.user_id AND 1 = 2) AS n FROM orders o",
    ),
    ("never, one side of a union", "SELECT id FROM users WHERE false UNION ALL SELECT id FROM regions"),
    (
        "never, of set operations",
        "SELECT id FROM (SELECT id FROM users EXCEPT SELECT user_id FROM orders) s WHERE false",
    ),
    ("never, taken away", "SELECT id FROM regions EXCEPT SELECT id FROM users WHERE false"),
    ("never, of windows", "SELECT id FROM (SELECT id, rank() OVER (ORDER BY id) AS r FROM users) s WHERE false"),
    ("never, of the first", "SELECT id FROM (SELECT id FROM users ORDER BY id LIMIT 2) s WHERE false"),
    ("never, of rows of functions", "SELECT n FROM generate_series(1, 3) n WHERE false"),
    ("never, of values", "SELECT v FROM (VALUES (1), (2)) s (v) WHERE 1 > 2"),
    (
        "never, of a recursion",
        "WITH RECURSIVE r AS (SELECT id, boss FROM users UNION SELECT u.id, u.boss FROM r JOIN users u ON u.boss = r.id) SELECT id FROM r WHERE false",
    ),
    (
        "never, in a recursion",
        "WITH RECURSIVE r AS (SELECT id, boss FROM users UNION ALL SELECT u.id, u.boss FROM r JOIN users u ON u.boss = r.id WHERE false) SELECT id FROM r",
    ),
];
