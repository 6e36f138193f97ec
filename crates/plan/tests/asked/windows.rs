//! Window functions.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    (
        "a subquery in a window function, in a branch!",
        "SELECT id, CASE WHEN region > 0 THEN sum((SELECT orders.user_id + u.id FROM users u ORDER BY u.id LIMIT 1)) OVER () END AS s, coalesce(region, max((SELECT o.id FROM orders o WHERE o.user_id = orders.user_id ORDER BY o.id DESC LIMIT 1)) OVER (ORDER BY id)) AS m FROM orders",
    ),
    (
        "a subquery that fails where a window function keeps it off!",
        "SELECT id, CASE WHEN row_number() OVER (ORDER BY id) > 1 THEN (SELECT u.id FROM users u WHERE u.id < 3 ORDER BY u.id / (orders.id - 1), u.id LIMIT 1) END AS c FROM orders",
    ),
    (
        "a subquery where a window function gives NULL!",
        "SELECT id, coalesce(lag(amount) OVER (ORDER BY id), (SELECT max(u.id) FROM users u WHERE u.id <= orders.user_id)) AS a, CASE WHEN row_number() OVER (ORDER BY id) > 3 THEN (SELECT 1 / (u.id - 1) FROM users u WHERE u.id = 0 AND orders.id > 0) END AS b FROM orders",
    ),
    (
        "a window function compared with a subquery!",
        "SELECT id, row_number() OVER (ORDER BY id) IN (SELECT u.id FROM users u) AS a, sum(user_id) OVER (PARTITION BY region) > ALL (SELECT u.id FROM users u WHERE u.id < orders.user_id) AS b FROM orders",
    ),
    (
        "a window function over groups compared with a subquery!",
        "SELECT user_id, (rank() OVER (ORDER BY count(*))) NOT IN (SELECT u.id FROM users u WHERE u.id = max(orders.region)) AS a, (SELECT max(u.id) FROM users u WHERE u.id <= orders.user_id) AS m FROM orders GROUP BY user_id",
    ),
    (
        "every window function!",
        "SELECT id, row_number() OVER w AS a, rank() OVER w AS b, dense_rank() OVER w AS c, percent_rank() OVER w AS d, cume_dist() OVER w AS e, ntile(3) OVER w AS f, lag(status) OVER w AS g, lag(amount, 2, 0.5) OVER w AS h, lead(id, user_id) OVER w AS i, first_value(status) OVER w AS j, last_value(id) OVER w AS k, nth_value(short, 2) OVER w AS l FROM orders WINDOW w AS (PARTITION BY region ORDER BY user_id, id)",
    ),
    (
        "frames!",
        "SELECT id, sum(amount) OVER (ORDER BY id ROWS 2 PRECEDING) AS a, count(*) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW) AS b, avg(amount) OVER (ORDER BY user_id RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS c, array_agg(id) OVER (ORDER BY id GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS d, max(status) OVER (ORDER BY user_id DESC GROUPS CURRENT ROW EXCLUDE GROUP) AS e, sum(user_id) OVER (ORDER BY due RANGE BETWEEN '2 days'::interval PRECEDING AND '1 day' FOLLOWING) AS f, last_value(id) OVER (ORDER BY id RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS g, sum(region) OVER (ORDER BY id ROWS BETWEEN 1 + 1 PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE TIES) AS h FROM orders",
    ),
    (
        "several partitions!",
        "SELECT id, count(*) OVER (PARTITION BY user_id) AS a, count(*) OVER (PARTITION BY region) AS b, sum(amount) OVER (PARTITION BY region, user_id) AS c, rank() OVER (PARTITION BY user_id ORDER BY region) AS d, sum(amount) OVER () AS e, avg(amount) FILTER (WHERE paid) OVER (PARTITION BY user_id) AS f FROM orders",
    ),
    (
        "windows by expressions!",
        "SELECT id, rank() OVER (PARTITION BY user_id % 2, upper(status) ORDER BY md5(short), id) AS a, count(*) OVER (PARTITION BY md5(status)) AS b FROM orders",
    ),
    (
        "partitions by PostgreSQL!",
        "SELECT id, count(*) OVER (PARTITION BY doc) AS a, row_number() OVER (PARTITION BY tags[1:2], user_id ORDER BY id) AS b, rank() OVER (PARTITION BY status COLLATE caseless ORDER BY region) AS c FROM orders",
    ),
    (
        "expressions over windows!",
        "SELECT id, amount - lag(amount) OVER (ORDER BY id) AS a, CASE WHEN row_number() OVER (ORDER BY id DESC) <= 3 THEN 'last' ELSE status END AS b, rank() OVER (ORDER BY user_id) + rank() OVER (ORDER BY user_id) AS c FROM orders",
    ),
    (
        "windows over groups!",
        "SELECT user_id, count(*) AS n, rank() OVER (ORDER BY count(*) DESC) AS r, sum(count(*)) OVER (ORDER BY user_id) AS t, sum(amount) / sum(sum(amount)) OVER () AS share FROM orders GROUP BY user_id",
    ),
    (
        "windows over groups by PostgreSQL!",
        "SELECT region, array_agg(id ORDER BY id) AS ids, first_value(region) OVER (ORDER BY region) AS f FROM orders GROUP BY region",
    ),
    (
        "windows over grouping sets",
        "SELECT region, user_id, count(*) AS n, rank() OVER (PARTITION BY grouping(user_id) ORDER BY count(*)) AS r FROM orders GROUP BY ROLLUP (region, user_id)",
    ),
    (
        "named windows over named windows!",
        "SELECT id, sum(user_id) OVER (w ORDER BY id) AS a, sum(user_id) OVER w AS b, count(*) OVER (w ORDER BY id DESC ROWS UNBOUNDED PRECEDING) AS c FROM orders WINDOW w AS (PARTITION BY region)",
    ),
    (
        "filtered by a window!",
        "SELECT id, status FROM (SELECT id, status, row_number() OVER (PARTITION BY user_id ORDER BY id DESC) AS n FROM orders) s WHERE n = 1",
    ),
    (
        "grouped by a window!",
        "SELECT r, count(*) AS n FROM (SELECT ntile(4) OVER (ORDER BY id) AS r FROM orders) s GROUP BY r",
    ),
    (
        "windows of duplicates",
        "SELECT a, b, count(*) OVER (PARTITION BY a) AS n, rank() OVER (ORDER BY c NULLS FIRST) AS r FROM whole",
    ),
    ("windows with distinct!", "SELECT DISTINCT region, count(*) OVER (PARTITION BY region) AS n FROM orders"),
    (
        "windows of joins!",
        "SELECT o.id, u.name, sum(o.amount) OVER (PARTITION BY u.name ORDER BY o.id) AS s FROM orders o JOIN users u ON u.id = o.user_id",
    ),
    (
        "windows with a limit!",
        "SELECT id, rank() OVER (ORDER BY user_id) AS r FROM orders ORDER BY rank() OVER (ORDER BY user_id), id LIMIT 5",
    ),
    (
        "users' own aggregates in a window!",
        "SELECT id, add_up(user_id) OVER (PARTITION BY region ORDER BY id) AS a, joined(status) OVER (ORDER BY id ROWS 2 PRECEDING) AS b FROM orders",
    ),
    (
        "orders by operators!",
        "SELECT id, rank() OVER (ORDER BY padded USING OPERATOR(pg_catalog.>), status COLLATE \"C\", id) AS a, rank() OVER (ORDER BY feeling DESC NULLS LAST) AS b, dense_rank() OVER (ORDER BY tags, doc) AS c FROM orders",
    ),
    ("window of one row!", "SELECT sum(count(*)) OVER () AS s, count(*) AS n FROM orders"),
    ("window of no table", "SELECT row_number() OVER (ORDER BY x) AS n, x FROM (VALUES (3), (1), (2)) v (x)"),
];
