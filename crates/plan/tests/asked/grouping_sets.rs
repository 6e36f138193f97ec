//! GROUPING SETS, ROLLUP, CUBE and GROUPING().

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    ("rollup", "SELECT user_id, region, count(*) AS n, sum(amount) AS s FROM orders GROUP BY ROLLUP (user_id, region)"),
    (
        "rollup of nothing",
        "SELECT user_id, region, count(*) AS n, sum(amount) AS s FROM orders WHERE false GROUP BY ROLLUP (user_id, region)",
    ),
    (
        "rollup of lists",
        "SELECT user_id, region, status, max(id) AS m FROM orders GROUP BY ROLLUP ((user_id, region), status)",
    ),
    ("cube", "SELECT region, status, paid, count(*) AS n FROM orders GROUP BY CUBE (region, status, paid)"),
    (
        "cube of lists",
        "SELECT region, status, paid, count(amount) AS n FROM orders GROUP BY CUBE ((region, status), paid)",
    ),
    (
        "grouping sets",
        "SELECT region, status, count(*) AS n FROM orders GROUP BY GROUPING SETS ((region), (status), (region, status))",
    ),
    (
        "grouping sets without the total of nothing",
        "SELECT region, count(*) AS n FROM orders WHERE false GROUP BY GROUPING SETS ((region), (region))",
    ),
    (
        "nested grouping sets",
        "SELECT region, status, paid, count(*) AS n FROM orders GROUP BY GROUPING SETS (region, ROLLUP (status, paid), CUBE (region, paid), ())",
    ),
    (
        "grouping sets multiplied",
        "SELECT region, status, paid, count(*) AS n FROM orders GROUP BY region, ROLLUP (status), GROUPING SETS (paid, ())",
    ),
    ("doubled sets", "SELECT region, count(*) AS n FROM orders GROUP BY GROUPING SETS (region, region, (), ())"),
    (
        "distinct sets",
        "SELECT region, status, count(*) AS n FROM orders GROUP BY DISTINCT ROLLUP (region, status), ROLLUP (region)",
    ),
    (
        "all sets",
        "SELECT region, status, count(*) AS n FROM orders GROUP BY ALL ROLLUP (region, status), ROLLUP (region)",
    ),
    ("empty set!", "SELECT count(*) AS n, sum(amount) AS s FROM orders GROUP BY ()"),
    ("empty set of nothing!", "SELECT count(*) AS n FROM orders WHERE false GROUP BY GROUPING SETS (())"),
    (
        "grouping",
        "SELECT region, status, GROUPING(region) AS a, GROUPING(status, region) AS b, count(*) AS n FROM orders GROUP BY CUBE (region, status)",
    ),
    (
        "grouping tells nulls apart",
        "SELECT region, CASE WHEN GROUPING(region) = 1 THEN 'all' ELSE COALESCE(region::text, 'none') END AS label, count(*) AS n FROM orders GROUP BY ROLLUP (region)",
    ),
    ("grouping without sets!", "SELECT region, GROUPING(region) AS g FROM orders GROUP BY region"),
    (
        "having grouping",
        "SELECT region, status, count(*) AS n FROM orders GROUP BY CUBE (region, status) HAVING GROUPING(region, status) IN (1, 2) AND count(*) > 1",
    ),
    (
        "sets of expressions",
        "SELECT id % 3 AS m, upper(status) AS u, count(*) AS n FROM orders GROUP BY ROLLUP (id % 3, upper(status))",
    ),
    (
        "sets by postgres",
        "SELECT md5(status) AS h, count(*) AS n, max(md5(id::text) COLLATE \"C\") AS m FROM orders GROUP BY CUBE (md5(status), region)",
    ),
    (
        "arguments keep their values",
        "SELECT region, sum(region) AS s, count(region) AS n, avg(user_id) AS a FROM orders GROUP BY ROLLUP (region, user_id)",
    ),
    (
        "expressions over sets",
        "SELECT region + 1 AS r, region * 2 + user_id AS x, count(*) + 1 AS n FROM orders GROUP BY CUBE (region, user_id)",
    ),
    (
        "sets over a subquery's constants",
        "SELECT one, x + 1 AS y, count(*) AS n FROM (SELECT 1 AS one, region AS x FROM orders) s GROUP BY ROLLUP (one, x)",
    ),
    (
        "names of one column apart",
        "SELECT x, y, count(*) AS n FROM (SELECT region AS x, region AS y FROM orders) s GROUP BY GROUPING SETS ((x), (y))",
    ),
    (
        "computed alike apart",
        "SELECT x, a + 1 AS y, count(*) AS n FROM (SELECT region AS a, region + 1 AS x FROM orders) s GROUP BY a, ROLLUP (x)",
    ),
    (
        "sets with filter and distinct",
        "SELECT region, count(*) FILTER (WHERE paid) AS a, count(DISTINCT status) AS b FROM orders GROUP BY ROLLUP (region)",
    ),
    (
        "sets over a join",
        "SELECT u.name, l.sku, sum(l.qty) AS q FROM orders o JOIN users u ON u.id = o.user_id JOIN lines l ON l.order_id = o.id GROUP BY ROLLUP (u.name, l.sku)",
    ),
    (
        "dependent columns in sets",
        "SELECT u.id, u.name, status, count(*) AS n FROM users u JOIN orders o ON o.user_id = u.id GROUP BY GROUPING SETS ((u.id), (u.id, status))",
    ),
    ("sets of an enum", "SELECT feeling, count(*) AS n FROM orders GROUP BY ROLLUP (feeling)"),
    (
        "sets in from!",
        "SELECT g, sum(n) AS n FROM (SELECT GROUPING(region) AS g, count(*) AS n FROM orders GROUP BY CUBE (region, status)) s GROUP BY g",
    ),
    (
        "sets with distinct!",
        "SELECT DISTINCT GROUPING(region) AS g, count(*) AS n FROM orders GROUP BY CUBE (region, status)",
    ),
    (
        "sets with limit",
        "SELECT region, status, count(*) AS n FROM orders GROUP BY CUBE (region, status) ORDER BY GROUPING(region, status) DESC, count(*) DESC, region, status LIMIT 4",
    ),
    (
        "a total of what is around",
        "SELECT u.id, (SELECT count(*) FROM orders o WHERE o.user_id = u.id AND o.id > 20 GROUP BY ()) AS n FROM users u",
    ),
    (
        "rollup of what is around",
        "SELECT u.id, s.region, s.n, s.t FROM users u LEFT JOIN LATERAL
            (SELECT o.region, count(*) AS n, sum(o.amount) AS t FROM orders o WHERE o.user_id = u.id AND o.id > 20 GROUP BY ROLLUP (o.region)) s ON true",
    ),
    (
        "cube of what is around",
        "SELECT u.id, s.r, s.p, s.g, s.n, s.m FROM users u, LATERAL
            (SELECT o.region AS r, o.paid AS p, GROUPING(o.region, o.paid) AS g, count(*) AS n, max(o.id) + u.id AS m
             FROM orders o WHERE o.user_id = u.id AND o.id > 21 GROUP BY CUBE (o.region, o.paid)) s",
    ),
    (
        "several totals of what is around",
        "SELECT u.id, s.r, s.n FROM users u, LATERAL
            (SELECT o.region AS r, count(*) AS n FROM orders o WHERE o.user_id > u.id AND o.id < 3 GROUP BY GROUPING SETS ((o.region), (), ())) s",
    ),
    (
        "totals of what is around by PostgreSQL",
        "SELECT u.id, s.r, s.ids FROM users u, LATERAL
            (SELECT o.region AS r, array_agg(o.id ORDER BY o.id) AS ids FROM orders o WHERE o.user_id = u.boss GROUP BY ROLLUP (o.region)) s",
    ),
    (
        "totals of what is around, some left out",
        "SELECT u.id, s.r, s.n FROM users u, LATERAL
            (SELECT o.region AS r, count(*) AS n FROM orders o WHERE o.user_id = u.id AND o.region <> u.region GROUP BY ROLLUP (o.region) HAVING count(*) < 3) s",
    ),
    (
        "exists in sets of what is around",
        "SELECT u.id FROM users u WHERE EXISTS (SELECT FROM orders o WHERE o.user_id = u.id AND o.id > 22 GROUP BY GROUPING SETS ((o.paid), ()) HAVING count(*) = 0)",
    ),
    ("sets without aggregates", "SELECT region, status FROM orders GROUP BY ROLLUP (region, status)"),
    ("sets of a table without keys", "SELECT a, b, sum(c) AS s FROM whole GROUP BY GROUPING SETS ((a, b), (b), ())"),
];
