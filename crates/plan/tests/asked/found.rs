//! What random queries have found wrong once.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
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
        "groups of which no aggregate is read",
        "SELECT 1 AS one, count(*) AS n FROM (SELECT status, string_agg(short, ',' ORDER BY id) AS s FROM orders GROUP BY status) g",
    ),
];
