//! ARRAY of a subquery.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    (
        "array of a subquery!",
        "SELECT id, ARRAY(SELECT o.id FROM orders o WHERE o.user_id = u.id ORDER BY o.id DESC) AS ids FROM users u",
    ),
    ("array of rows that all read", "SELECT ARRAY(SELECT name FROM users ORDER BY id) AS names FROM regions"),
    ("array of no rows!", "SELECT id, ARRAY(SELECT name FROM users WHERE id > 99 ORDER BY id) AS names FROM regions"),
    (
        "array in an order that is not shown!",
        "SELECT r.id, ARRAY(SELECT u.name FROM users u WHERE u.region = r.id ORDER BY u.boss DESC NULLS LAST, u.id) AS names FROM regions r",
    ),
    (
        "array with nulls!",
        "SELECT id, ARRAY(SELECT o.amount FROM orders o WHERE o.user_id = u.id ORDER BY o.id) AS amounts FROM users u",
    ),
    (
        "array of distinct values!",
        "SELECT u.id, ARRAY(SELECT DISTINCT o.status FROM orders o WHERE o.user_id = u.id ORDER BY o.status) AS a FROM users u",
    ),
    (
        "array of the first!",
        "SELECT u.id, ARRAY(SELECT o.id FROM orders o WHERE o.user_id = u.id ORDER BY o.amount DESC, o.id LIMIT 2) AS most FROM users u",
    ),
    (
        "array of groups!",
        "SELECT r.id, ARRAY(SELECT count(*) FROM orders o WHERE o.region = r.id GROUP BY o.status ORDER BY min(o.id)) AS n FROM regions r",
    ),
    (
        "array of windows!",
        "SELECT u.id, ARRAY(SELECT rank() OVER (ORDER BY o.amount) FROM orders o WHERE o.user_id = u.id ORDER BY o.id) AS n FROM users u",
    ),
    (
        "array of elements in their order!",
        "SELECT id, ARRAY(SELECT upper(t) FROM unnest(tags) WITH ORDINALITY AS x (t, n) ORDER BY n) AS tags FROM orders",
    ),
    (
        "array of what is around!",
        "SELECT id, ARRAY(SELECT u.id + r.id FROM regions r WHERE r.id < u.region ORDER BY r.id DESC) AS sums FROM users u",
    ),
    ("array of one row!", "SELECT id, ARRAY(SELECT count(*) FROM orders o WHERE o.user_id = u.id) AS n FROM users u"),
    (
        "array of the row of a key!",
        "SELECT o.id, ARRAY(SELECT u.name FROM users u WHERE u.id = o.user_id) AS n FROM orders o",
    ),
    (
        "array of one total",
        "SELECT ARRAY(SELECT max(amount) FROM orders) AS most, ARRAY(SELECT id FROM regions ORDER BY 1) AS ids",
    ),
    (
        "array of arrays",
        "SELECT r.id, ARRAY(SELECT ARRAY[o.id, o.spare] FROM orders o WHERE o.region = r.id ORDER BY o.id) AS pairs FROM regions r",
    ),
    (
        "array of arrays of subqueries!",
        "SELECT id, ARRAY(SELECT ARRAY(SELECT 1 + u.id) FROM users u WHERE u.region = r.id ORDER BY u.id) AS a FROM regions r",
    ),
    (
        "array of domains and enums!",
        "SELECT u.id, ARRAY(SELECT o.feeling FROM orders o WHERE o.user_id = u.id ORDER BY o.id) AS f, ARRAY(SELECT o.units FROM orders o WHERE o.user_id = u.id ORDER BY o.id) AS n FROM users u",
    ),
    (
        "array of a set operation!",
        "SELECT u.id, ARRAY(SELECT o.region::int FROM orders o WHERE o.user_id = u.id UNION SELECT u.region ORDER BY 1) AS both FROM users u",
    ),
    (
        "among an array of a subquery!",
        "SELECT id FROM orders o WHERE o.region = ANY (ARRAY(SELECT u.region FROM users u WHERE u.boss = o.user_id ORDER BY u.id))",
    ),
    (
        "length of an array of a subquery!",
        "SELECT id, COALESCE(array_length(ARRAY(SELECT o.id FROM orders o WHERE o.user_id = u.id AND o.paid ORDER BY o.id), 1), 0) AS n FROM users u",
    ),
    (
        "array of a subquery over groups!",
        "SELECT region, ARRAY(SELECT r.name || r.id FROM regions r WHERE r.id = u.region ORDER BY 1) AS a FROM users u GROUP BY region",
    ),
];
