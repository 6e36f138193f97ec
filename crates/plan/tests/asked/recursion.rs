//! WITH RECURSIVE.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    ("numbers", "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 7) SELECT n FROM r"),
    ("numbers by values!", "WITH RECURSIVE r (n) AS (VALUES (1) UNION SELECT (n * 3) % 11 FROM r) SELECT n FROM r"),
    (
        "ancestors!",
        "WITH RECURSIVE up AS (SELECT id, boss FROM users UNION SELECT up.id, u.boss FROM up JOIN users u ON u.id = up.boss) SELECT id, boss FROM up",
    ),
    (
        "tree with levels",
        "WITH RECURSIVE tree AS (SELECT id, name, 0 AS level FROM users WHERE boss IS NULL UNION ALL SELECT u.id, u.name, t.level + 1 FROM tree t JOIN users u ON u.boss = t.id) SELECT * FROM tree",
    ),
    (
        "tree with paths",
        "WITH RECURSIVE tree AS (SELECT id, ARRAY[id] AS path, name::text AS names FROM users WHERE boss IS NULL UNION ALL SELECT u.id, path || u.id, names || '/' || u.name FROM users u, tree t WHERE u.boss = t.id AND u.id <> ALL (path)) SELECT * FROM tree",
    ),
    (
        "graph with cycles!",
        "WITH RECURSIVE g AS (SELECT 1::bigint AS x UNION SELECT e.b FROM g JOIN (SELECT id % 7 AS a, (id * 3) % 7 AS b FROM orders) e ON e.a = g.x) SELECT x FROM g",
    ),
    (
        "paths counted!",
        "WITH RECURSIVE p AS (SELECT region AS x, 1 AS n FROM users UNION ALL SELECT r.id::int, n + 1 FROM p JOIN regions r ON r.id > p.x) SELECT x, n, count(*) AS paths FROM p GROUP BY x, n",
    ),
    (
        "duplicates kept",
        "WITH RECURSIVE d AS (SELECT a FROM whole UNION ALL SELECT a + 1 FROM d WHERE a < 3) SELECT a FROM d",
    ),
    (
        "nulls in a recursion!",
        "WITH RECURSIVE d AS (SELECT a, b FROM whole UNION SELECT NULL, b FROM d) SELECT a, b FROM d",
    ),
    (
        "a step of two",
        "WITH RECURSIVE d AS (SELECT 1 AS a UNION ALL SELECT x FROM (SELECT a + v.k AS x FROM d, (VALUES (1), (2)) v (k) WHERE a < 5) s) SELECT a FROM d",
    ),
    (
        "a step of values!",
        "WITH RECURSIVE d AS (SELECT 1 AS a UNION SELECT v.x FROM d, LATERAL (VALUES (a + 1), (a * 2), (7)) v (x) WHERE a < 9) SELECT a FROM d",
    ),
    (
        "a step of values, each time",
        "WITH RECURSIVE d AS (SELECT id, 0 AS n FROM users UNION ALL SELECT v.x, n + 1 FROM d, LATERAL (VALUES (id), (id * 2)) v (x) WHERE n < 2) SELECT id FROM d",
    ),
    (
        "a base of several",
        "WITH RECURSIVE d AS ((SELECT id FROM users UNION SELECT 9) UNION ALL SELECT id * 2 FROM d WHERE id BETWEEN 1 AND 8) SELECT id FROM d",
    ),
    (
        "left join in a step",
        "WITH RECURSIVE d AS (SELECT id, boss, 'x'::varchar AS name FROM users UNION ALL SELECT d.boss, u.boss, u.name FROM d LEFT JOIN users u ON u.id = d.boss WHERE d.id IS NOT NULL) SELECT * FROM d",
    ),
    (
        "two recursions",
        "WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 4), b AS (SELECT n FROM a UNION ALL SELECT n * 10 FROM b WHERE n < 10) SELECT a.n, b.n AS m FROM a JOIN b ON b.n = a.n * 10",
    ),
    (
        "a recursion in a step",
        "WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT a.n + 1 FROM a JOIN (WITH RECURSIVE b AS (SELECT 1 AS k UNION ALL SELECT k + 2 FROM b WHERE k < 6) SELECT k FROM b) s ON s.k = a.n) SELECT n FROM a",
    ),
    (
        "a recursion used twice!",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION SELECT n + 1 FROM r WHERE n < 5) SELECT x.n, y.n AS m FROM r x JOIN r y ON y.n = x.n + 1",
    ),
    (
        "recursive with plain items beside",
        "WITH RECURSIVE edges AS (SELECT id, boss FROM users), up AS (SELECT id, boss FROM edges UNION ALL SELECT up.id, e.boss FROM up JOIN edges e ON e.id = up.boss) SELECT * FROM up",
    ),
    ("recursive that is none!", "WITH RECURSIVE a AS (SELECT id FROM users) SELECT id FROM a"),
    (
        "forward reference",
        "WITH RECURSIVE a AS (SELECT n FROM b), b AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM b WHERE n < 3) SELECT n FROM a",
    ),
    (
        "limit over a recursion",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 30) SELECT n FROM r ORDER BY n DESC LIMIT 3",
    ),
    (
        "recursion by postgres!",
        "WITH RECURSIVE r AS (SELECT 'x'::text AS t UNION SELECT left(md5(t), 1) FROM r) SELECT t FROM r",
    ),
    (
        "list within a recursive item",
        "WITH RECURSIVE r AS (WITH b AS (SELECT id FROM users) SELECT id FROM b UNION ALL SELECT r.id + 4 FROM r JOIN b ON b.id = r.id) SELECT id FROM r",
    ),
    (
        "a search, ordered by nothing that is kept",
        "WITH RECURSIVE t AS (SELECT id, boss FROM users WHERE boss IS NULL UNION ALL SELECT u.id, u.boss FROM users u JOIN t ON u.boss = t.id) SEARCH DEPTH FIRST BY id SET o SELECT id, boss FROM t ORDER BY o",
    ),
    (
        "a search by depth keeps what came by two ways",
        "WITH RECURSIVE t AS (SELECT id, 1 AS one FROM users UNION SELECT u.id, 1 FROM users u JOIN t ON u.boss = t.id) SEARCH DEPTH FIRST BY id SET o SELECT id FROM t",
    ),
    (
        "a search by breadth keeps what came at two depths",
        "WITH RECURSIVE t AS (SELECT id, name FROM users UNION SELECT u.id, u.name FROM users u JOIN t ON u.boss = t.id) SEARCH BREADTH FIRST BY id, name SET o SELECT id, name FROM t",
    ),
    (
        "a cycle marked",
        "WITH RECURSIVE g AS (SELECT id % 7 AS a, (id * 3) % 7 AS b FROM orders WHERE id < 4 UNION ALL SELECT e.a, e.b FROM (SELECT DISTINCT id % 7 AS a, (id * 3) % 7 AS b FROM orders) e JOIN g ON e.a = g.b) CYCLE a, b SET is_cycle USING path SELECT a, b, is_cycle FROM g",
    ),
    (
        "a cycle marked by words, and NULLs",
        "WITH RECURSIVE g (x, t) AS (SELECT 1, NULL::text UNION ALL SELECT NULLIF((COALESCE(x, 4) + 1) % 5, 4), NULL FROM g) CYCLE x, t SET mark TO 'Y' DEFAULT 'N' USING path SELECT x, mark, count(*) AS n FROM g WHERE mark <> 'Z' GROUP BY x, mark",
    ),
    (
        "a cycle not marked is left out",
        "WITH RECURSIVE g AS (SELECT id, boss, name AS n FROM users UNION SELECT g.id, u.boss, u.name FROM g LEFT JOIN users u ON u.id = g.boss WHERE g.boss IS NOT NULL) CYCLE id, boss SET c USING p SELECT id, boss, n FROM g WHERE NOT c",
    ),
    (
        "a search and a cycle",
        "WITH RECURSIVE g AS (SELECT 0 AS a, 'x' AS w UNION SELECT (a + k) % 4, w || a FROM g, (VALUES (1), (2)) v (k) WHERE length(w) < 6) SEARCH DEPTH FIRST BY a SET o CYCLE a SET c TO 1 DEFAULT 0 USING p SELECT a, w, c FROM g",
    ),
    (
        "a cycle read twice, in a subquery",
        "SELECT u.id, (WITH RECURSIVE g AS (SELECT id, boss FROM users UNION ALL SELECT g.id, v.boss FROM g JOIN users v ON v.id = g.boss) CYCLE boss SET c USING p SELECT count(*) FILTER (WHERE NOT c) FROM g) AS n FROM users u",
    ),
    (
        "a recursion that begins at the row around!",
        "SELECT u.id, (WITH RECURSIVE up AS (SELECT v.id, v.boss, v.name::text AS path FROM users v WHERE v.id = u.boss UNION ALL SELECT v.id, v.boss, v.name || '/' || up.path FROM users v JOIN up ON v.id = up.boss) SELECT max(path) FROM up) AS path FROM users u",
    ),
    (
        "a recursion as far as the row around says!",
        "SELECT u.id, (WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < u.id + 2) SELECT string_agg(n::text, ',' ORDER BY n) FROM r) AS l FROM users u",
    ),
    (
        "a recursion that the row around steps",
        "SELECT u.id, s.n FROM users u CROSS JOIN LATERAL (WITH RECURSIVE r (n) AS (SELECT 0 UNION SELECT (n + u.id + 1) % 6 FROM r) SELECT n FROM r WHERE n <> u.id) s",
    ),
    (
        "a recursion of the row around with marks",
        "SELECT u.id, s.b, s.c FROM users u LEFT JOIN LATERAL (WITH RECURSIVE g AS (SELECT v.id AS a, v.boss AS b FROM users v WHERE v.id = u.id UNION ALL SELECT g.a, (g.b + 1) % 3 FROM g WHERE g.b IS NOT NULL OR u.region > 9) SEARCH DEPTH FIRST BY b SET o CYCLE b SET c TO 'again' DEFAULT 'first' USING p SELECT b, c FROM g) s ON true",
    ),
    (
        "a recursion of the row around, kept once, in a condition",
        "SELECT u.id FROM users u WHERE EXISTS (WITH RECURSIVE g AS (SELECT u.boss AS b UNION SELECT v.boss FROM g JOIN users v ON v.id = g.b AND v.region IS DISTINCT FROM u.region) SEARCH BREADTH FIRST BY b SET o SELECT FROM g WHERE b = 0)",
    ),
    (
        "a recursion of values that are equal and not alike",
        "SELECT v.x, (WITH RECURSIVE r (t, n) AS (SELECT v.x::text, 1 UNION ALL SELECT t || v.x, n + 1 FROM r WHERE n < 3) SELECT max(t) FROM r) AS t FROM (VALUES (1.0), (1.00), (NULL)) v (x)",
    ),
    (
        "a recursion of the row around that is read deeper down",
        "SELECT u.region, s.c0 FROM users u JOIN LATERAL (WITH RECURSIVE w AS (SELECT o.id AS c0 FROM users o UNION ALL SELECT w.c0 + 1 FROM w WHERE w.c0 < 4 AND w.c0 IS DISTINCT FROM u.id) SELECT q.c0 FROM (SELECT w.c0 FROM w WHERE w.c0 > 1) q) s ON true",
    ),
    ("recursive view", "SELECT n FROM counted WHERE n > 2"),
];
