//! Set-returning functions in SELECT lists and FROM; whole rows, composites, generated columns.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    (
        "a function left joined that reads an item beside",
        "SELECT u.id, r.id AS r, k FROM users u, regions r LEFT JOIN LATERAL generate_series(1, u.region) k ON k > r.id WHERE r.id > u.id",
    ),
    (
        "a function left joined twice over an item beside",
        "SELECT u.id, r.id AS r, o.id AS o, k FROM users u, (regions r LEFT JOIN orders o ON o.region = r.id) LEFT JOIN LATERAL generate_series(1, u.region) k ON true WHERE r.id = u.region",
    ),
    (
        "values left joined in a subquery that read what is around",
        "SELECT u.id, (SELECT count(v.n) FROM regions r LEFT JOIN LATERAL (VALUES (u.region), (r.id::int)) v (n) ON v.n > 1) AS c FROM users u",
    ),
    ("unnest", "SELECT id, unnest(tags) AS tag FROM orders"),
    (
        "sets in lockstep",
        "SELECT id, unnest(tags) AS a, generate_series(1, user_id) AS b, jsonb_array_elements(doc -> 'list') AS c, status FROM orders",
    ),
    ("nested sets", "SELECT id, generate_series(1, unnest(ARRAY[user_id, 2])) AS a FROM orders"),
    (
        "sets within expressions",
        "SELECT id, upper(unnest(tags)) || id AS a, generate_series(1, 2) * 10 AS b FROM orders",
    ),
    ("sets of constants", "SELECT generate_series(1, 10) AS n"),
    (
        "fields of sets",
        "SELECT id, (jsonb_each(doc)).key AS k, (jsonb_each(doc)).value AS v, (jsonb_each_text(doc)).* FROM orders",
    ),
    ("sets over groups", "SELECT user_id, generate_series(1, count(*)) AS n FROM orders GROUP BY user_id"),
    (
        "grouped by sets!",
        "SELECT unnest(tags) AS tag, count(*) AS n, sum(amount) AS s FROM orders GROUP BY unnest(tags)",
    ),
    (
        "grouped by sets and others!",
        "SELECT user_id, upper(jsonb_object_keys(doc)) AS k, array_agg(id ORDER BY id) AS ids FROM orders GROUP BY 1, 2",
    ),
    (
        "sets over windows",
        "SELECT id, generate_series(1, row_number() OVER (ORDER BY id)) AS n FROM orders WHERE id < 5",
    ),
    ("distinct sets!", "SELECT DISTINCT regexp_split_to_table(status, '') AS letter FROM orders"),
    ("ordered by a set that is not shown", "SELECT id FROM users ORDER BY generate_series(1, 2)"),
    ("sets with a limit", "SELECT id, unnest(tags) AS t FROM orders ORDER BY id, unnest(tags) COLLATE \"C\" LIMIT 7"),
    ("sets by users", "SELECT id, pieces(user_id) AS p FROM orders"),
    (
        "set in a subquery!",
        "SELECT t.tag, count(*) AS n FROM (SELECT unnest(tags) AS tag FROM orders) t WHERE t.tag <> 'z' GROUP BY t.tag",
    ),
    ("series in from", "SELECT n, n * 2 AS m FROM generate_series(1, 5) n"),
    ("series joined", "SELECT o.id, n FROM orders o JOIN generate_series(1, 3) n ON n = o.user_id"),
    ("ordinality in from!", "SELECT v, o FROM unnest(ARRAY['a', 'b', NULL]) WITH ORDINALITY u (v, o)"),
    (
        "rows from!",
        "SELECT * FROM ROWS FROM (generate_series(1, 3), unnest(ARRAY['x', 'y']), jsonb_each('{\"a\": 1}')) WITH ORDINALITY r (n, t, k, v, o)",
    ),
    (
        "defined columns",
        "SELECT a, b, c FROM jsonb_to_recordset('[{\"a\": 1, \"b\": \"x\"}, {\"a\": 2, \"c\": 1.257}]') AS r (a int, b varchar(3), c numeric(5, 2))",
    ),
    ("unnest beside its table", "SELECT o.id, t FROM orders o, unnest(o.tags) t"),
    (
        "numbered beside its table!",
        "SELECT o.id, t.v, t.n FROM orders o CROSS JOIN LATERAL unnest(o.tags) WITH ORDINALITY t (v, n)",
    ),
    (
        "left join of a function",
        "SELECT o.id, e.key, e.value FROM orders o LEFT JOIN LATERAL jsonb_each(o.doc) e ON true",
    ),
    (
        "left join of a function with a condition",
        "SELECT o.id, k FROM orders o LEFT JOIN LATERAL generate_series(1, o.user_id) k ON k > 1",
    ),
    (
        "left join of a function with a condition of both sides",
        "SELECT o.id, t.v, t.n FROM orders o LEFT JOIN LATERAL unnest(o.tags) WITH ORDINALITY t (v, n) ON t.v LIKE 'q%' AND t.n > o.user_id",
    ),
    (
        "left join of a function with an equality",
        "SELECT o.id, e.key, e.value, r.name FROM orders o LEFT JOIN jsonb_each_text(o.doc) e ON e.key = o.short OR e.value = o.short LEFT JOIN regions r ON r.name > e.key",
    ),
    (
        "left join of a function with a condition of the other side",
        "SELECT o.id, k FROM orders o LEFT JOIN LATERAL generate_series(o.region, o.user_id) k ON o.paid",
    ),
    (
        "left join of a function with a subquery",
        "SELECT o.id, k FROM orders o LEFT JOIN LATERAL generate_series(1, o.user_id) k ON k IN (SELECT id FROM regions) AND EXISTS (SELECT FROM users u WHERE u.id = o.region)",
    ),
    (
        "left joins of functions with conditions, one over the other",
        "SELECT u.id, k, m FROM users u LEFT JOIN LATERAL generate_series(0, u.id) k ON k <> u.region LEFT JOIN LATERAL generate_series(k, 2) m ON m > k",
    ),
    (
        "left join of a function with a condition, grouped!",
        "SELECT t, count(o.id) AS n FROM orders o LEFT JOIN unnest(o.tags) t ON t <> 'z' AND o.user_id > 1 GROUP BY t",
    ),
    (
        "left join of a function with a condition by PostgreSQL",
        "SELECT o.id, t FROM orders o LEFT JOIN unnest(o.tags) t ON md5(t) > md5(o.status)",
    ),
    (
        "left join of a function with a condition that is false",
        "SELECT o.id, t FROM orders o LEFT JOIN unnest(o.tags) t ON false",
    ),
    (
        "left join of a function of nothing!",
        "SELECT o.id, o.status, t.v, t.n FROM orders o LEFT JOIN unnest(o.tags[5:6]) WITH ORDINALITY t (v, n) ON true",
    ),
    (
        "functions of functions",
        "SELECT o.id, x, y FROM orders o, generate_series(1, o.user_id) x, generate_series(x, 3) y WHERE y > 1",
    ),
    (
        "functions joined by what they give",
        "SELECT o.id, u.name FROM orders o, generate_series(1, o.user_id) n JOIN users u ON u.id = n",
    ),
    (
        "functions of two tables",
        "SELECT o.id, u.name, n FROM orders o JOIN users u ON u.id = o.user_id, generate_series(u.id, o.region) n",
    ),
    ("functions filtered!", "SELECT count(*) AS n FROM orders o, unnest(o.tags) t WHERE t LIKE 'x%' AND o.paid"),
    ("grouped by a function!", "SELECT t, count(*) AS n FROM orders o, unnest(o.tags) t GROUP BY t"),
    (
        "functions of numbers in a lateral subquery",
        "SELECT o.id, s.n FROM orders o, LATERAL (SELECT sum(t) AS n FROM generate_series(1, o.user_id) t WHERE t <> 2) s",
    ),
    (
        "functions of numbers in a subquery",
        "SELECT id FROM orders o WHERE EXISTS (SELECT FROM generate_series(2, o.user_id) t WHERE t = o.region)",
    ),
    (
        "left join of a filtered function",
        "SELECT o.id, s.t FROM orders o LEFT JOIN LATERAL (SELECT t FROM generate_series(1, o.user_id) t WHERE t <> 2) s ON true",
    ),
    (
        "defined columns beside a table",
        "SELECT o.id, r.n, r.text FROM orders o, jsonb_to_recordset(jsonb_build_array(o.doc, o.doc)) AS r (n int, text varchar(2))",
    ),
    ("whole rows of functions", "SELECT o.id, to_jsonb(e) AS e FROM orders o, jsonb_each(o.doc) e"),
    ("functions of composites beside a table", "SELECT u.id, p.x, p.y FROM users u, points(u.id) p"),
    ("composites in from", "SELECT x, y FROM points(3) p"),
    ("functions of one row in from", "SELECT x + 1 AS x, y FROM a_point() p"),
    ("whole rows!", "SELECT id, u, row_to_json(u) AS j, to_jsonb(u) AS b FROM users u"),
    (
        "whole rows of subqueries!",
        "SELECT id, row_to_json(s)::text AS j, to_jsonb(s) - 'name' AS b FROM (SELECT id, name, id * 2 AS \"Twice it\" FROM users) s",
    ),
    (
        "whole rows beside outer joins!",
        "SELECT o.id, u, to_jsonb(u) AS j FROM orders o LEFT JOIN users u ON u.id = o.user_id",
    ),
    (
        "whole rows aggregated!",
        "SELECT region, json_agg(u ORDER BY id) AS j, array_agg(u ORDER BY id) AS a FROM users u GROUP BY region",
    ),
    (
        "composite values!",
        "SELECT id, ROW(user_id, id)::point2 AS p, (ROW(user_id, id)::point2).x AS x, ARRAY[ROW(1, id)::point2] AS l FROM orders",
    ),
    ("generated columns!", "SELECT id, doubled, label FROM made WHERE doubled > 2"),
    ("generated columns grouped!", "SELECT label, count(*) AS n, max(doubled) AS m FROM made GROUP BY label"),
    ("all of a table with generated columns!", "SELECT * FROM made"),
    ("whole rows with generated columns!", "SELECT id, m FROM made m"),
];
