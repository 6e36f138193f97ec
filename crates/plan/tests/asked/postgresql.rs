//! Kinds of queries that PostgreSQL's own regression tests ask, and that were once refused or answered wrongly here.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    (
        "a set after DISTINCT ON has taken its rows",
        "SELECT DISTINCT ON (user_id) user_id, id, generate_series(1, 3) AS n FROM orders ORDER BY user_id, id DESC",
    ),
    (
        "a set that DISTINCT ON goes by",
        "SELECT DISTINCT ON (user_id) user_id, id, generate_series(1, 3) AS n FROM orders ORDER BY user_id, id DESC, n DESC",
    ),
    (
        "a set after DISTINCT ON, some of them",
        "SELECT DISTINCT ON (user_id) user_id, id, generate_series(1, 3) AS n FROM orders ORDER BY user_id, id DESC LIMIT 100 OFFSET 0",
    ),
    (
        "one column grouped twice, in sets",
        "SELECT id AS one, id AS other, count(*) AS n FROM users GROUP BY one, ROLLUP (other)",
    ),
    (
        "one column grouped twice, each left out",
        "SELECT region AS one, region AS other, sum(id) AS n FROM users GROUP BY GROUPING SETS ((one), (other), ())",
    ),
    (
        "a constant in grouping sets",
        "SELECT 1 AS one, region, sum(id) AS n, count(*) + 1 AS more FROM users GROUP BY GROUPING SETS (1, 2)",
    ),
    ("a text in grouping sets", "SELECT count(*) AS n, 'x'::text AS x FROM users GROUP BY ROLLUP (x)"),
    (
        "constants that are computed in grouping sets",
        "SELECT 1::bigint AS one, 1::bigint AS two, upper('x') AS x, upper('x') || region AS y, region, region + 1::bigint AS s, count(*) AS n FROM users GROUP BY GROUPING SETS ((one, x), (region))",
    ),
    (
        "what settings decide in grouping sets",
        "SELECT to_char(date '2020-01-01', 'YYYY') AS one, to_char(date '2020-01-01', 'YYYY') || 'a' AS two, region, count(*) AS n FROM users GROUP BY GROUPING SETS ((1), (region))",
    ),
    (
        "one column grouped twice, in another order",
        "SELECT region AS one, region AS other, region + 1 AS more, count(*) AS n FROM users GROUP BY ROLLUP (other, one)",
    ),
    (
        "one column grouped twice, in HAVING",
        "SELECT id AS other, id AS one, id + 1 AS x, count(*) AS n FROM users GROUP BY one, ROLLUP (other) HAVING id + 1 IS NULL OR id > 0",
    ),
    (
        "texts of dates in grouping sets",
        "SELECT date '2020-01-01'::text AS d, date '2020-01-01'::text || 'x' AS e, ARRAY[1]::text AS a, ARRAY[1]::text || 'x' AS b, region, count(*) AS n FROM users GROUP BY GROUPING SETS ((1), (3), (region))",
    ),
    (
        "what becomes a constant in grouping sets",
        "SELECT coalesce(NULL, 'all', name) AS a, coalesce(NULL, 'all', name) || '!' AS b, CASE WHEN false THEN name WHEN true THEN 'x' ELSE name END AS c, CASE WHEN false THEN name WHEN true THEN 'x' ELSE name END || '!' AS d, (true OR name = 'x') AS e, (true OR name = 'x')::int + 1 AS f, upper(NULL || name) AS g, upper(NULL || name) IS NULL AS h, region, count(*) AS n FROM users GROUP BY GROUPING SETS ((1), (3, 5), (7), (region))",
    ),
    (
        "what stays to be computed in grouping sets",
        "SELECT coalesce(name, 'all') AS a, coalesce(name, 'all') || '!' AS b, (false OR name = 'x') AS c, (false OR name = 'x')::int AS d, nullif(NULL, region) AS e, nullif(NULL, region) + 1 AS f, CASE region WHEN 1 THEN 'x' ELSE 'y' END AS g, CASE region WHEN 1 THEN 'x' ELSE 'y' END || '!' AS h, count(*) AS n FROM users GROUP BY GROUPING SETS ((1), (3, 5), (7))",
    ),
    (
        "one column under two names, always together",
        "SELECT x + 1 AS one, y + 2 AS two, x, y, z, count(*) AS n FROM (SELECT region AS x, region AS y, id % 2 AS z FROM users) s GROUP BY x, y, ROLLUP (z)",
    ),
    (
        "whole rows aggregated in grouping sets",
        "SELECT u.region, jsonb_agg(u ORDER BY u.id) AS rows, count(u) AS n FROM users u GROUP BY ROLLUP (u.region)",
    ),
    (
        "conditions over groups that stay as they are in grouping sets",
        "SELECT NOT (region IS DISTINCT FROM 1) AS a, (boss > 1) IS NOT TRUE AS b, NOT NOT (boss > 1) AS c, (boss > 1) = true AS d, (boss > 1) OR region IS DISTINCT FROM 1 AS e FROM users GROUP BY CUBE ((region IS DISTINCT FROM 1), (boss > 1))",
    ),
    (
        "a condition over a group that all sets have",
        "SELECT NOT (region IS NULL) AS a, boss, count(*) AS n FROM users GROUP BY (region IS NULL), ROLLUP (boss)",
    ),
    (
        "a group behind a condition that always holds",
        "SELECT CASE WHEN true THEN padded ELSE status END AS a, COALESCE(NULL, short) AS b, count(*) AS n FROM orders GROUP BY CUBE (padded, short, status)",
    ),
    (
        "a whole row of which all columns are in all sets",
        "SELECT u.id, to_jsonb(u) AS j, u.id % 2 AS half, count(*) AS n FROM users u GROUP BY u.id, ROLLUP (u.id % 2)",
    ),
    (
        "arguments that are given, though their default tells the time",
        "SELECT id, dated(region, '2024-01-01') AS a, dated(n => 3, a => id::int, b => '2024-01-02') AS b FROM users",
    ),
    (
        "columns that a WITH query shows twice, in sets",
        "WITH w AS MATERIALIZED (SELECT id, region AS x, region AS y FROM users) SELECT x, y, x + 1 AS z, y + 10 AS more, count(*) AS n FROM w GROUP BY ROLLUP (x, y)",
    ),
    (
        "columns that a query of several steps shows twice, in sets",
        "WITH w AS NOT MATERIALIZED (WITH v AS (SELECT 1) SELECT region AS x, region AS y FROM users) SELECT x, y, x + 1 AS z, y + 10 AS more, count(*) AS n FROM w GROUP BY GROUPING SETS ((x), (y))",
    ),
    (
        "columns that a WITH query shows twice to two readers, in sets",
        "WITH w AS (SELECT id, region AS x, region AS y FROM users) SELECT a.x, a.y, a.x + 1 AS z, a.y + 10 AS more, count(*) AS n FROM w a JOIN w b ON b.id = a.id GROUP BY GROUPING SETS ((a.x), (a.y))",
    ),
    (
        "columns that a subquery shows twice, in sets",
        "SELECT x, y, x + 1 AS z, y + 10 AS more, count(*) AS n FROM (SELECT DISTINCT id, region AS x, region AS y FROM users) s GROUP BY CUBE (x, y)",
    ),
    (
        "what a subquery computes twice, in sets",
        "SELECT x, y, x + 1 AS z, y + 10 AS more, count(*) AS n FROM (SELECT region + 1 AS x, region + 1 AS y FROM users) s GROUP BY CUBE (x, y)",
    ),
    (
        "columns of a view that is read twice, in sets",
        "SELECT a.id AS x, b.id AS y, a.id + 1 AS z, b.id + 10 AS more, count(*) AS n FROM priced a JOIN priced b ON a.id = b.id GROUP BY GROUPING SETS ((a.id), (b.id))",
    ),
    (
        "a whole row of which the first column is a composite",
        "SELECT u.id, to_jsonb(p) AS p, count(p) OVER () AS n FROM users u LEFT JOIN placed p ON p.id = u.id",
    ),
    (
        "rows that are just written, of subqueries",
        "SELECT u.id, to_jsonb(q.r) AS r, to_jsonb((SELECT ROW(o.id, o.status) FROM orders o WHERE o.id = u.id)) AS o FROM users u LEFT JOIN (SELECT id, ROW(id, name) AS r FROM regions) q ON q.id = u.region",
    ),
    (
        "fields of rows with names",
        "SELECT (x).id, (x).name AS n, (q.r).name AS m FROM users u JOIN regions r USING (id, name) AS x CROSS JOIN (SELECT s AS r FROM (SELECT name FROM regions) s) q UNION ALL SELECT (q.r).id, NULL, (q.r).name FROM users u LEFT JOIN (SELECT s AS r, s.i FROM (SELECT id, name, id AS i FROM regions WHERE id < 2) s) q ON q.i = u.region",
    ),
    (
        "whole rows of functions beside outer joins",
        "SELECT u.id, count(i) AS n, jsonb_agg(to_jsonb(i) ORDER BY i.x) AS j FROM users u LEFT JOIN LATERAL jsonb_to_recordset(jsonb_build_array(jsonb_build_object('x', u.region), jsonb_build_object('x', u.boss))) AS i (x int, y text) ON i.x > 0 GROUP BY u.id",
    ),
    (
        "whole rows of numbered functions beside outer joins",
        "SELECT u.id, to_jsonb(i) AS i, to_jsonb(e) AS e FROM users u LEFT JOIN LATERAL ROWS FROM (unnest(ARRAY[u.region]), generate_series(1, u.boss)) WITH ORDINALITY i ON true LEFT JOIN LATERAL jsonb_each(jsonb_build_object('a', NULL)) e ON u.id > 1",
    ),
    (
        "whole rows of values beside outer joins",
        "SELECT u.id, to_jsonb(v) AS v, to_jsonb(w) AS w FROM users u LEFT JOIN LATERAL (VALUES (u.region, NULL::text), (NULL, NULL)) v (n, t) ON v.n IS DISTINCT FROM 1 LEFT JOIN (VALUES (1, 'x'), (2, NULL)) w (k, x) ON w.k = u.id",
    ),
    (
        "whole rows of values in subqueries beside outer joins",
        "SELECT u.id, to_jsonb(v) AS v FROM users u LEFT JOIN LATERAL (SELECT * FROM (VALUES (u.region), (u.boss)) s (n)) v ON v.n > 0",
    ),
    (
        "whole rows of XMLTABLE beside outer joins",
        "SELECT u.id, to_jsonb(x) AS x FROM users u LEFT JOIN LATERAL XMLTABLE('/r/c' PASSING XMLELEMENT(NAME r, XMLELEMENT(NAME c, u.name), XMLELEMENT(NAME c)) COLUMNS a text PATH 'text()') x ON u.id > 0",
    ),
    (
        "an argument that is left out!",
        "SELECT id, scaled(id) AS a, scaled(by => 3, a => id) AS b, scaled(a => region) AS c FROM users",
    ),
    (
        "a constant with quotes and a dollar!",
        r#"SELECT id, doc @? E'$.x ? (@ == "it''s \'$1")' AS h, replace(status, 'e', E'\'$1''$2') AS s FROM orders"#,
    ),
    (
        "the columns of USING as a row with their names",
        "SELECT row_to_json(x.*) AS j FROM users u JOIN regions r USING (id, name) AS x UNION ALL SELECT row_to_json(y) FROM users a JOIN users b USING (id) AS y",
    ),
    (
        "whole rows with a column of any name!",
        "SELECT x, row_to_json(s) AS j, to_jsonb(s) AS b FROM (SELECT id AS x, name AS x_, region AS y FROM users) s",
    ),
    (
        "whole rows of subqueries beside outer joins",
        "SELECT o.id, to_jsonb(s) AS b, row_to_json(s) AS j FROM orders o LEFT JOIN (SELECT region AS r, name, count(*) AS n FROM users GROUP BY region, name) s ON s.r = o.region",
    ),
    (
        "whole rows of subqueries counted beside outer joins",
        "SELECT u.id, count(s) AS n, count(s.*) AS m FROM users u LEFT JOIN (SELECT user_id, NULL::int AS a FROM orders WHERE id < 9) s ON s.user_id = u.id GROUP BY u.id",
    ),
    (
        "whole rows of nullable columns beside outer joins",
        "SELECT u.id, count(w) AS n, jsonb_agg(w ORDER BY w.a, w.b, w.c) FILTER (WHERE w.a IS NOT NULL) AS j FROM users u LEFT JOIN whole w ON w.a = u.id GROUP BY u.id",
    ),
    (
        "whole rows of either side of a full join",
        "SELECT to_jsonb(a) AS a, to_jsonb(b) AS b FROM (SELECT region AS x, NULL::text AS y FROM users) a FULL JOIN whole b ON b.a = a.x",
    ),
    (
        "whole rows of lateral subqueries beside outer joins",
        "SELECT u.id, to_jsonb(s) AS s FROM users u LEFT JOIN LATERAL (SELECT o.id, u.name, NULL AS nothing FROM orders o WHERE o.user_id = u.id ORDER BY o.id LIMIT 1) s ON true",
    ),
    (
        "whole rows that are not there!",
        "SELECT u.id, w IS NULL AS a, w IS NOT NULL AS b, w.a AS c FROM users u LEFT JOIN (SELECT DISTINCT a FROM whole) v ON v.a = u.id LEFT JOIN users w (a) ON w.a = v.a",
    ),
    (
        "rows of joins that have a name",
        "SELECT count(j) AS n, count(j.*) AS m, count(k) AS k FROM (users u JOIN whole w ON w.a = u.id JOIN regions r ON r.id = u.region) AS j (p, q) JOIN (lines l JOIN users v ON v.id = l.qty) AS k ON k.line > j.p",
    ),
    (
        "rows of joins as documents",
        "SELECT to_jsonb(j) AS j FROM (users u JOIN whole w ON w.a = u.id) AS j (k, l, m, n, o, p)",
    ),
    (
        "a subquery that reads a function's rows",
        "SELECT o.id, n, s.t FROM orders o, generate_series(1, o.user_id) n, LATERAL (SELECT l.line FROM lines l WHERE l.qty > n ORDER BY l.line LIMIT 1) s (t)",
    ),
    (
        "a subquery that reads a function's rows, left joined, and a function that reads it",
        "SELECT u.id, n, s.t, k FROM users u LEFT JOIN LATERAL generate_series(1, u.region) n ON true LEFT JOIN LATERAL (SELECT o.id FROM orders o WHERE o.user_id > n AND o.user_id > u.region ORDER BY o.id LIMIT 1) s (t) ON s.t > n, LATERAL generate_series(1, s.t) k",
    ),
    (
        "values with subqueries that read a function's rows",
        "SELECT u.id, n, v.x FROM users u, generate_series(1, u.region) n, LATERAL (VALUES (n), ((SELECT max(o.id) FROM orders o WHERE o.user_id = u.id AND o.id > n))) v (x)",
    ),
    (
        "a field of a row that is just written!",
        "SELECT id, (ROW(user_id, status)).f2 AS a, (ROW(1, amount)).f1 AS b FROM orders",
    ),
    ("a set by names", "SELECT o.id, x FROM orders o, jsonb_path_query(o.doc, '$.list[*]', silent => true) x"),
    (
        "a set by names in SELECT",
        "SELECT id, jsonb_path_query(target => doc, path => 'strict $.list[$n]', vars => jsonb_build_object('n', user_id), silent => true) AS x FROM orders",
    ),
    (
        "arguments by names!",
        "SELECT id, make_interval(days => user_id, secs => weight) AS i, jsonb_set(doc, path => '{n}', replacement => '7') AS d FROM orders",
    ),
    (
        "a subquery as an argument of a function in FROM",
        "SELECT n FROM generate_series(1, (SELECT max(id) FROM users)) n",
    ),
    (
        "subqueries as arguments beside a table",
        "SELECT u.id, n FROM users u, generate_series((SELECT min(id) FROM regions), (SELECT count(*) FROM orders o WHERE o.user_id = u.id)) n",
    ),
    (
        "an array of a subquery in FROM",
        "SELECT x FROM unnest((SELECT array_agg(name ORDER BY id) FROM users)) x WHERE x <> 'cy'",
    ),
    (
        "an array of a subquery in FROM, left joined",
        "SELECT u.id, x FROM users u LEFT JOIN LATERAL unnest((SELECT array_agg(o.id ORDER BY o.id) FROM orders o WHERE o.user_id = u.id AND o.id > 6)) x ON true",
    ),
    (
        "an array of a subquery in FROM, left joined by a condition",
        "SELECT u.id, x FROM users u LEFT JOIN LATERAL unnest((SELECT array_agg(o.id ORDER BY o.id) FROM orders o WHERE o.user_id = u.id)) x ON x % 2 = 0",
    ),
    ("a subquery in values", "VALUES ((SELECT count(*) FROM users)), (7), ((SELECT max(id) FROM orders) + 1)"),
    (
        "subqueries in values beside a table",
        "SELECT u.id, v.x FROM users u, LATERAL (VALUES ((SELECT max(o.id) FROM orders o WHERE o.user_id = u.id)), (u.id::bigint)) v (x) WHERE u.id < 3",
    ),
    (
        "subqueries that hold in values",
        "SELECT * FROM (VALUES (3 NOT IN (SELECT id FROM users)), (false), (EXISTS (SELECT FROM orders WHERE id > 20))) v (b)",
    ),
    (
        "subqueries in values of a subquery that reads what is around",
        "SELECT u.id, (SELECT max(x) FROM (VALUES ((SELECT min(o.id) FROM orders o WHERE o.user_id = u.id)), (u.id::bigint)) v (x)) AS m FROM users u",
    ),
    (
        "bytes as characters!",
        r#"SELECT id, '\377'::"char"::text AS a, '\200'::"char" AS b, ascii('\000'::"char"::text) AS c, coalesce(NULLIF(left(status, 1), '')::"char", '\303'::"char") AS d FROM orders"#,
    ),
    (
        "a constant with a dollar and a digit!",
        "SELECT id, (amount::money > '$1.50') AS a, (amount::money + '$12') AS b, replace(status, 'e', '$1') || reverse(short) AS c FROM orders",
    ),
];
