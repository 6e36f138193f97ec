//! Values of which just PostgreSQL knows when they are equal: composites, arrays of enums and composites, ranges of one's own.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    (
        "grouped by a composite",
        "SELECT ROW(user_id % 2, region)::point2 AS p, count(*) AS n, sum(amount) AS s FROM orders GROUP BY ROW(user_id % 2, region)::point2",
    ),
    (
        "a composite of NULLs is another than NULL",
        "SELECT p, count(*) AS n FROM (SELECT CASE region WHEN 1 THEN ROW(NULL, NULL)::point2 WHEN 2 THEN ROW(1, NULL)::point2 END AS p FROM orders) s GROUP BY p",
    ),
    (
        "grouped by a composite and more",
        "SELECT ROW(region, 1)::point2 AS p, user_id, max(id) AS m FROM orders GROUP BY 1, 2",
    ),
    ("distinct composites", "SELECT DISTINCT ROW(user_id, region)::point2 AS p FROM orders"),
    (
        "distinct composites counted!",
        "SELECT user_id, count(DISTINCT ROW(region, id % 2)::point2) AS n FROM orders GROUP BY user_id",
    ),
    ("united composites", "SELECT ROW(user_id, 1)::point2 AS p FROM orders UNION SELECT ROW(id, 1)::point2 FROM users"),
    (
        "composites in both",
        "SELECT ROW(user_id, region)::point2 AS p FROM orders INTERSECT SELECT ROW(id, region)::point2 FROM users",
    ),
    (
        "composites in one, some of them NULL",
        "SELECT CASE WHEN user_id > 1 THEN ROW(NULL, region)::point2 END AS p FROM orders EXCEPT SELECT ROW(NULL, NULL)::point2",
    ),
    (
        "joined by composites",
        "SELECT o.id, u.id AS u FROM orders o JOIN users u ON ROW(o.user_id, o.region)::point2 = ROW(u.id, u.region)::point2",
    ),
    (
        "left joined by composites",
        "SELECT o.id, u.id AS u FROM orders o LEFT JOIN users u ON ROW(o.user_id, 1)::point2 = ROW(u.id, u.region)::point2",
    ),
    (
        "composites in a subquery",
        "SELECT id, q NOT IN (SELECT ROW(id, region)::point2 FROM users) AS n FROM (SELECT id, CASE WHEN id <> 3 THEN ROW(user_id, region)::point2 END AS q FROM orders) o WHERE q IN (SELECT ROW(id, region)::point2 FROM users) OR id < 9",
    ),
    ("grouped by an array of enums", "SELECT ARRAY[feeling, 'ok'] AS f, count(*) AS n FROM orders GROUP BY 1"),
    (
        "distinct arrays of composites",
        "SELECT DISTINCT ARRAY[ROW(user_id, 1)::point2, ROW(region, NULL)::point2] AS l FROM orders",
    ),
    (
        "first of each composite",
        "SELECT DISTINCT ON (ROW(user_id, 1)::point2) id FROM orders ORDER BY ROW(user_id, 1)::point2, id",
    ),
    ("grouped by whole rows", "SELECT u, count(*) AS n FROM users u JOIN orders o ON o.user_id = u.id GROUP BY u"),
    ("a partition's row as its parent's!", "SELECT id, day, (e::events).size AS s FROM events_a e"),
    ("ranked by composites", "SELECT id, rank() OVER (ORDER BY ROW(user_id, region)::point2) AS r FROM orders"),
];
