//! Constants of types that only PostgreSQL reads: paths, text searches, arrays of any bounds, multiranges and the like.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    (
        "paths into documents!",
        "SELECT id, jsonb_path_query_array(doc, '$.list[*]') AS a, jsonb_path_exists(doc, $$strict $.n ? (@ > 1)$$) AS b, doc @? '$.list[2]' AS c,
            doc @@ '$.n == 1' AS d, jsonb_path_query_first(doc, E'$.text ? (@ starts with \\x22v\\x22)') AS e,
            jsonb_path_exists(doc, '$.n ? (@ >= $least)', jsonb_build_object('least', user_id)) AS f
         FROM orders WHERE doc @? '$.n ? (@ < 2)'",
    ),
    ("rows of paths", "SELECT o.id, v FROM orders o, jsonb_path_query(o.doc, '$.list[*] ? (@ > 3)') v"),
    ("rows of paths in a list", "SELECT id, jsonb_path_query(doc, '$.*') AS v FROM orders"),
    (
        "paths in groups!",
        "SELECT jsonb_path_query_first(doc, '$.n') AS n, count(*) FILTER (WHERE doc @@ '$.text == \"v1\"') AS c,
            jsonb_agg(jsonb_path_query_first(doc, '$.list[1]') ORDER BY id) AS l
         FROM orders GROUP BY jsonb_path_query_first(doc, '$.n') HAVING max(id) > 2",
    ),
    (
        "paths in a join",
        "SELECT o.id, u.name FROM orders o LEFT JOIN users u ON u.id = o.user_id AND o.doc @@ '$.n > 0' AND o.doc @? '$.list'",
    ),
    ("paths in a view!", "SELECT id, second FROM pathed WHERE second <> '4'"),
    (
        "texts searched!",
        "SELECT id, to_tsvector('english', status) @@ to_tsquery('english', 'news | sending') AS a, to_tsvector('simple', status) @@ 'lost'::tsquery AS b,
            ts_rank(to_tsvector('simple', status), plainto_tsquery('simple', 'new')) AS c, 'a:1 b:2'::tsvector AS d
         FROM orders",
    ),
    ("searched by a generated column!", "SELECT id, vector FROM searched WHERE vector @@ to_tsquery('english', 'cat & !dog')"),
    (
        "arrays of other bounds!",
        "SELECT id, '[2:4]={1,2,3}'::int[] AS a, ('[0:1]={7,8}'::int[])[0] AS b, '[-1:0][3:3]={{a},{NULL}}'::text[] AS c, id = ANY ('[5:6]={3,4}'::bigint[]) AS d
         FROM orders WHERE user_id <> ALL ('[0:1]={1,9}'::int[])",
    ),
    (
        "arrays of arrays and of other types!",
        "SELECT id, '{{1,2},{3,NULL}}'::int[] AS a, '{{a,b},{c,\"d,\"}}'::text[] AS b, '{10.0.0.1,10.0.0.2}'::inet[] AS c, addr = ANY ('{10.0.0.3,10.0.0.4}') AS d,
            '{12:00+02,NULL}'::timetz[] AS e, '{101,1}'::varbit[] AS f, '{\"[1,2)\",empty}'::int4range[] AS g, ARRAY['$.a', '$.b']::jsonpath[] AS h
         FROM orders",
    ),
    (
        "multiranges!",
        "SELECT id, '{[1,3),[7,9)}'::int4multirange @> user_id AS a, due <@ '{[2024-01-02,2024-01-04),[2024-01-08,)}'::datemultirange AS b,
            '{[1.5,2.50]}'::nummultirange AS c, '{}'::int8multirange AS d
         FROM orders WHERE int4range(user_id, 4) && '{[2,3)}'::int4multirange",
    ),
    (
        "constants of rare types!",
        "SELECT id, '(1,2)'::point AS a, '((0,0),(1,1))'::box AS b, '$12.34'::money AS c, '08:00:2b:01:02:03'::macaddr AS d, '08:00:2b:01:02:03:04:05'::macaddr8 AS e,
            '<x>1</x>'::xml AS f, '1/AB'::pg_lsn AS g, '{ \"a\" :1}'::json AS h, '<(0,0),2>'::circle AS i, '(0,1)'::tid AS j, '10:20:10'::pg_snapshot AS k,
            '7'::xid8 AS l, '1 2'::int2vector AS m, '[(0,0),(1,1)]'::path AS n
         FROM orders",
    ),
    (
        "one literal of several types!",
        "SELECT id, '{1,2}'::int[] AS a, '1'::int2vector AS b, '{{1,2}}'::text[] AS c, '1'::xid8 AS d, '1'::money AS e, '1'::tsquery AS f FROM orders",
    ),
    ("a path alone", "SELECT '$.a[*]'::jsonpath AS p"),
    (
        "constants in grouping sets",
        "SELECT user_id, count(*) FILTER (WHERE doc @? '$.n ? (@ > 1)') AS n FROM orders GROUP BY ROLLUP (user_id)",
    ),
];
