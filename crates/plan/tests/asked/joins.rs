//! Outer joins: nested, of any condition, with WHERE above them.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    // A cidr compared as inet has other bytes.
    ("networks of two types", "SELECT a.net, b.host FROM nets a JOIN nets b ON a.net = b.host"),
    ("networks by their key!", "SELECT a.net, b.host FROM nets a JOIN nets b ON a.net = b.net"),
    ("networks united", "SELECT n::text FROM (SELECT net::inet AS n FROM nets UNION SELECT host FROM nets) u"),
    (
        "networks compared",
        "SELECT net, host FROM nets WHERE net = host OR host IN (SELECT net FROM nets) OR net <> host",
    ),
    (
        "networks of groups",
        "SELECT COALESCE(host, net)::text AS n, count(*) AS c FROM nets GROUP BY COALESCE(host, net)",
    ),
    // Unique texts that are equal as char(n): a row of the other side meets several.
    ("unique as another type", "SELECT p.x, b.n FROM padded p JOIN blanks b ON p.x = b.code::bpchar"),
    ("unique as another type, all of one side", "SELECT p.x FROM padded p JOIN blanks b ON b.code::bpchar = p.x"),
    ("unique as another type, left", "SELECT p.x, b.n FROM padded p LEFT JOIN blanks b ON p.x = b.code::bpchar"),
    (
        "unique as another type, both",
        "SELECT a.code, b.n FROM blanks a JOIN blanks b ON a.code::bpchar = b.code::bpchar WHERE a.code > 'a'",
    ),
    ("unique as another type, of a constant", "SELECT p.x, b.n FROM padded p JOIN blanks b ON b.code::bpchar = 'a'"),
    (
        "unique as another type, lateral",
        "SELECT p.x, l.k FROM padded p, LATERAL (SELECT 1 AS k, b.n FROM blanks b WHERE b.code::bpchar = p.x) l",
    ),
    (
        "unique as another type, shown as it",
        "SELECT p.x, l.k FROM padded p, LATERAL (SELECT 1 AS k FROM (SELECT b.code::bpchar AS c FROM blanks b) s WHERE s.c = p.x) l",
    ),
    (
        "unique as its own type!",
        "SELECT p.x, a.n, b.code FROM padded p JOIN blanks b ON p.x::text = b.code JOIN blanks a USING (code)",
    ),
    ("left join!", "SELECT o.id, u.name, u.region FROM orders o LEFT JOIN users u ON u.id = o.user_id"),
    ("left join of many", "SELECT o.id, o.status, l.line, l.sku FROM orders o LEFT JOIN lines l ON l.order_id = o.id"),
    (
        "left join of many, with its key!",
        "SELECT o.id, l.order_id, l.line FROM orders o LEFT JOIN lines l ON l.order_id = o.id",
    ),
    (
        "left join of duplicates",
        "SELECT w.a, w.b, v.a AS va, v.c FROM whole w LEFT JOIN whole v ON v.a = w.a AND v.b IS NOT NULL",
    ),
    (
        "left join with conditions on each side",
        "SELECT w.a, v.b FROM whole w LEFT JOIN whole v ON v.a = w.a AND w.c > 1 AND v.c < 2",
    ),
    (
        "left join with a condition on both",
        "SELECT o.id, r.name FROM orders o LEFT JOIN regions r ON r.id = o.region AND o.amount > r.factor * 8",
    ),
    (
        "left join by postgres",
        "SELECT o.id, r.name FROM orders o LEFT JOIN regions r ON r.id = o.region AND md5(r.name) > md5(o.status)",
    ),
    ("left join without an equality!", "SELECT u.id, r.id AS r FROM users u LEFT JOIN regions r ON u.id < r.id"),
    ("left join on true", "SELECT u.id, w.a FROM users u LEFT JOIN whole w ON true"),
    ("left join on false", "SELECT u.id, w.a FROM users u LEFT JOIN whole w ON false"),
    ("left join on null", "SELECT u.id, w.a FROM users u LEFT JOIN whole w ON NULL AND w.a = u.id"),
    (
        "left join of nothing!",
        "SELECT u.id, o.status FROM users u LEFT JOIN (SELECT * FROM orders WHERE false) o ON o.id = u.id",
    ),
    (
        "nothing left joined",
        "SELECT u.id, o.status FROM (SELECT * FROM users WHERE false) u LEFT JOIN orders o ON o.id = u.id",
    ),
    ("right join!", "SELECT u.id AS u, o.id, o.amount, u.name FROM users u RIGHT JOIN orders o ON u.id = o.user_id"),
    (
        "full joins of what is read twice, with fewer columns and in another order",
        "WITH c AS (SELECT region, count(*) AS n, max(id) AS m FROM users GROUP BY region)
         SELECT a.region, a.n, b.region AS other, b.m, d.m AS last FROM (SELECT region, n, coalesce(m, 0) AS m0 FROM c) a
         FULL JOIN c b ON a.region = b.m FULL JOIN (SELECT n, m FROM c) d ON d.m = a.n",
    ),
    ("full join", "SELECT w.a, w.b, u.id, u.name FROM whole w FULL JOIN users u ON u.id = w.a"),
    (
        "full join by keys!",
        "SELECT u.id, r.id AS r, u.name, r.name AS region FROM users u FULL JOIN regions r ON r.id = u.id",
    ),
    (
        "full join with conditions",
        "SELECT u.id, r.id AS r FROM users u FULL JOIN regions r ON r.id = u.id AND u.name = 'ann' AND r.name <> 'east'",
    ),
    (
        "full join on true of nothing",
        "SELECT u.id, r.id AS r FROM (SELECT id FROM users WHERE id > 9) u FULL JOIN regions r ON true",
    ),
    (
        "full join of groups with null keys",
        "SELECT a.region, b.region AS other, a.n, b.m FROM (SELECT region, count(*) AS n FROM orders GROUP BY region) a FULL JOIN (SELECT region, count(*) AS m FROM users GROUP BY region) b ON a.region = b.region",
    ),
    (
        "full join of one row each",
        "SELECT a.n, b.m FROM (SELECT count(*) AS n FROM orders) a FULL JOIN (SELECT count(*) AS m FROM users) b ON a.n = b.m",
    ),
    ("full join using", "SELECT * FROM users FULL JOIN (SELECT id, factor FROM regions) r USING (id)"),
    ("left join using", "SELECT * FROM users LEFT JOIN (SELECT id, factor FROM regions WHERE id > 0) r USING (id)"),
    ("right join using", "SELECT * FROM users RIGHT JOIN (SELECT id, factor FROM regions WHERE id > 0) r USING (id)"),
    (
        "full joins using with alias",
        "SELECT j.id, j.factor, j.three FROM ((users FULL JOIN (SELECT id, factor FROM regions) r USING (id)) FULL JOIN (SELECT 7 AS id, 3 AS three) x USING (id)) AS j",
    ),
    ("natural full join", "SELECT * FROM users NATURAL FULL JOIN (SELECT id, region FROM users WHERE region > 1) x"),
    (
        "natural left join",
        "SELECT * FROM users NATURAL LEFT JOIN (SELECT id, region, 7 AS seven FROM users WHERE region > 1) x",
    ),
    (
        "nested outer joins",
        "SELECT w.a, u.name, r.name AS region, l.line FROM whole w LEFT JOIN (users u LEFT JOIN regions r ON r.id = u.region) ON u.id = w.a FULL JOIN lines l ON l.order_id = u.boss",
    ),
    (
        "left join of a join",
        "SELECT o.id, u.name, r.name AS region FROM orders o LEFT JOIN (users u JOIN regions r ON r.id = u.region AND r.factor > 0.3) ON u.id = o.user_id",
    ),
    (
        "left join of a join with a constant",
        "SELECT w.a, x.id FROM whole w LEFT JOIN (users u JOIN regions x ON false) ON u.id = w.a",
    ),
    (
        "join of left joins",
        "SELECT a.id, b.id AS b, c.name FROM users a LEFT JOIN users b ON b.id = a.boss LEFT JOIN users c ON c.id = b.boss JOIN regions r ON r.id = COALESCE(b.region, 0)",
    ),
    ("left self join!", "SELECT c.id, c.name AS child, p.name AS boss FROM users c LEFT JOIN users p ON p.id = c.boss"),
    (
        "where above a left join",
        "SELECT o.id, u.name FROM orders o LEFT JOIN users u ON u.id = o.user_id WHERE o.amount > 3 AND (u.name IS NULL OR u.name <> 'ann')",
    ),
    ("where no partner", "SELECT o.id FROM orders o LEFT JOIN users u ON u.id = o.user_id WHERE u.id IS NULL"),
    ("where not null", "SELECT w.a, v.b FROM whole w LEFT JOIN whole v ON v.a = w.a WHERE v.b IS NOT NULL"),
    (
        "where rejects nulls!",
        "SELECT o.id, u.id AS u FROM orders o LEFT JOIN users u ON u.id = o.user_id WHERE u.region + 1 > 1",
    ),
    (
        "where rejects nulls of one side",
        "SELECT u.id, r.id AS r FROM users u FULL JOIN regions r ON r.id = u.id WHERE u.id >= 0",
    ),
    (
        "where rejects nulls of the other side",
        "SELECT u.id, r.id AS r FROM users u FULL JOIN regions r ON r.id = u.id WHERE r.id >= 0",
    ),
    (
        "where rejects nulls of both",
        "SELECT u.id, r.id AS r FROM users u FULL JOIN regions r ON r.id = u.id WHERE u.id = r.id AND u.name IS NOT DISTINCT FROM 'ann'",
    ),
    (
        "where rejects no nulls",
        "SELECT w.a, u.id FROM whole w LEFT JOIN users u ON u.id = w.a WHERE COALESCE(u.region, 1) = 1 AND (u.id = 0 OR w.a IS NULL OR w.b = 'y')",
    ),
    (
        "where over a full join",
        "SELECT w.a, u.id FROM whole w FULL JOIN users u ON u.id = w.a WHERE w.b IS DISTINCT FROM 'x'",
    ),
    (
        "on rejects nulls of an inner outer join",
        "SELECT a.id, b.id AS b, c.id AS c FROM users a LEFT JOIN (users b LEFT JOIN users c ON c.id = b.boss) ON c.id = a.id",
    ),
    (
        "outer join of expressions",
        "SELECT o.id, x.two, x.big, x.name FROM orders o LEFT JOIN (SELECT id, 2 AS two, COALESCE(region, 7) AS big, name FROM users) x ON x.id = o.user_id",
    ),
    (
        "outer join of expressions that raise errors",
        "SELECT w.a, x.q, x.one FROM whole w LEFT JOIN (SELECT a, 10 / a AS q, 1 AS one FROM whole WHERE b <> '12') x ON x.a = w.a AND x.a <> 0",
    ),
    (
        "outer join of expressions, full",
        "SELECT x.one, x.q, y.one AS other FROM (SELECT a, 1 AS one, 10 / (a + 1) AS q FROM whole) x FULL JOIN (SELECT id, 1 AS one FROM users) y ON x.a = y.id",
    ),
    (
        "group over a left join!",
        "SELECT u.id, count(o.id) AS n, count(*) AS rows, sum(o.amount) AS s FROM users u LEFT JOIN orders o ON o.user_id = u.id AND o.region = 9 GROUP BY u.id",
    ),
    ("distinct over a full join!", "SELECT DISTINCT w.b, u.name FROM whole w FULL JOIN users u ON u.id = w.a"),
    (
        "left join of a group!",
        "SELECT u.id, s.n FROM users u LEFT JOIN (SELECT user_id, count(*) AS n FROM orders WHERE amount > 9 GROUP BY user_id) s ON s.user_id = u.id",
    ),
    (
        "left join with one row!",
        "SELECT u.id, t.n FROM users u LEFT JOIN (SELECT max(id) AS n FROM orders) t ON t.n > u.id",
    ),
    (
        "left join by computed keys",
        "SELECT o.id, r.id AS r FROM orders o LEFT JOIN regions r ON r.id % 2 = o.region % 2 AND lower(r.name) > lower(o.status)",
    ),
    (
        "left join guarded",
        "SELECT w.a, v.b FROM whole w LEFT JOIN whole v ON w.b = v.b AND v.b ~ '^[0-9]+$' AND v.b::int > w.a",
    ),
    (
        "left join guarded by both sides",
        "SELECT w.a, u.id FROM whole w LEFT JOIN users u ON w.a + u.id <> 0 AND 10 / (w.a + u.id) > 2",
    ),
    (
        "left join of views",
        "SELECT t.region, p.id FROM totals t LEFT JOIN priced p ON p.region = t.region AND p.amount > t.total / 4",
    ),
    (
        "left join of a union",
        "SELECT u.id, x.k FROM users u LEFT JOIN (SELECT id AS k FROM regions UNION ALL SELECT boss FROM users) x ON x.k = u.id",
    ),
    (
        "left join of values",
        "SELECT u.id, v.t FROM users u LEFT JOIN (VALUES (1, 'a'), (1, 'b'), (NULL, 'c')) v (n, t) ON v.n = u.id",
    ),
];
