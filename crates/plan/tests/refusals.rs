//! What is refused, with which words: by kind of query, by table, by right, by setting.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;

use plan::{OutputKey, PlanError, PlanOptions, plan};
use testkit::{Cluster, Kind};
use tokio_postgres::Client;

const TABLES: &str = "
    CREATE TABLE t (id int PRIMARY KEY, a int, b text, half int GENERATED ALWAYS AS (a / 2) STORED, at timestamptz, doc tsquery);
    CREATE TABLE u (id int PRIMARY KEY, a int);
    CREATE TABLE named (id int PRIMARY KEY, kind regclass);
    CREATE TYPE shaky_text AS (s text);
    CREATE FUNCTION shaky_text(text) RETURNS shaky_text LANGUAGE sql VOLATILE AS 'SELECT ROW($1)::shaky_text';
    CREATE CAST (text AS shaky_text) WITH FUNCTION shaky_text(text);
    CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
    CREATE TABLE by_index (id int, other int NOT NULL); CREATE UNIQUE INDEX by_other ON by_index (other);
    ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_other;
    CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent);
    CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY HASH (id);
    CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 1, REMAINDER 0);
    CREATE MATERIALIZED VIEW stored AS SELECT id FROM t;
    CREATE SEQUENCE numbers;
    CREATE VIEW unordered AS SELECT id FROM t LIMIT 3;
    CREATE VIEW twice AS SELECT a AS x, a AS y FROM t;
    CREATE VIEW timed AS SELECT id FROM t WHERE at < now();
    CREATE FUNCTION steady() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
    CREATE FUNCTION since(a timestamptz, b timestamptz DEFAULT now()) RETURNS interval LANGUAGE sql IMMUTABLE AS 'SELECT b - a';
    CREATE FUNCTION today(a int, b date DEFAULT CURRENT_DATE, c int DEFAULT random() * 9) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a';
    CREATE FUNCTION by_clock(a timestamptz DEFAULT now()) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
    CREATE FUNCTION through_defaults(a int, b int DEFAULT by_clock()) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
    CREATE AGGREGATE app_sum (int) (SFUNC = int4pl, STYPE = int);
    CREATE FUNCTION shaky(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1 + $2';
    CREATE AGGREGATE shaky_sum (int) (SFUNC = shaky, STYPE = int);
    CREATE FUNCTION untold(anyelement, OUT a anyelement, OUT b int) LANGUAGE sql IMMUTABLE AS 'SELECT $1, 1';
    CREATE TABLE guarded (id int PRIMARY KEY); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
    CREATE POLICY all_rows ON guarded USING (true);
    CREATE TABLE partly (id int PRIMARY KEY, open int, shut int);
    CREATE TABLE closed (id int PRIMARY KEY);
    CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE ROLE reader LOGIN; GRANT SELECT ON guarded, t TO reader; GRANT SELECT (id, open) ON partly TO reader;
    CREATE VIEW through AS SELECT id FROM closed; GRANT SELECT ON through TO reader";

async fn database() -> (Cluster, Client) {
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    let client = cluster.client().await.unwrap();
    client.batch_execute(TABLES).await.unwrap();
    (cluster, client)
}

async fn refused(client: &Client, query: &str, words: &[&str]) {
    let error = plan(client, query, &PlanOptions::default()).await.expect_err(query);
    let text = error.to_string();
    assert!(!text.contains('\n') && !error.is_transient(), "{query}: {text}");
    assert!(!matches!(error, PlanError::Tree(_)), "{query}: not a refusal: {text}");
    for word in words {
        assert!(text.contains(word), "{query}: '{word}' is not in: {text}");
    }
}

#[tokio::test]
async fn constructs_that_are_not_kept_are_named() {
    let (_cluster, client) = database().await;
    client.batch_execute("CREATE TEMP TABLE passing (id int PRIMARY KEY)").await.unwrap();
    for (query, words) in [
        (
            "SELECT id, ARRAY(SELECT a FROM u) AS m FROM t",
            &["ARRAY of a subquery without ORDER BY", "write ORDER BY in the subquery"] as &[&str],
        ),
        (
            "SELECT t.id FROM t LEFT JOIN u ON EXISTS (SELECT FROM by_index b WHERE b.id = t.id AND b.other = u.id)",
            &["outer join's condition", "both of its sides"],
        ),
        (
            "SELECT count(j) AS n FROM (t LEFT JOIN u ON u.id = t.a) AS j",
            &["a whole row of a join beside an outer join", "name its columns"],
        ),
        (
            "SELECT x, y, y + 1 AS z FROM (SELECT a AS x, a AS y FROM t) s GROUP BY GROUPING SETS ((x), (y))",
            &["a group that is the same column as another", "versions differ", "group by the column once"],
        ),
        (
            "WITH w AS (SELECT x, a AS y FROM (SELECT a, a AS x FROM t) s) SELECT x, y FROM w GROUP BY GROUPING SETS ((x), (y)) HAVING x > 1",
            &["a group that is the same column as another"],
        ),
        (
            "WITH w AS (SELECT 1) SELECT x, y, x + 1 AS z FROM twice GROUP BY GROUPING SETS ((x), (y))",
            &["a group that is the same column as another"],
        ),
        (
            "SELECT NOT (a IS NULL) AS n FROM t GROUP BY ROLLUP ((a IS NULL))",
            &[
                "a condition over a group that GROUPING SETS leave out",
                "takes columns of any row",
                "compute the group in a subquery",
            ],
        ),
        ("SELECT (a = 1) <> true AS n FROM t GROUP BY ROLLUP ((a = 1))", &["a condition over a group"]),
        (
            "SELECT b FROM t GROUP BY CUBE (b, (a = ANY ('{1,2}'))) HAVING NOT (a = ANY ('{1,2}') AND b > 'a')",
            &["a condition over a group"],
        ),
        (
            "SELECT b, b > 'a' AND (a > 1 AND a < 5) AS n FROM t GROUP BY CUBE (b, (a > 1 AND a < 5))",
            &["a condition over a group"],
        ),
        ("SELECT NOT (NOT (a > 1)) AS n FROM t GROUP BY ROLLUP ((NOT (a > 1)))", &["a condition over a group"]),
        ("SELECT (a, b) IS NULL AS n FROM t GROUP BY ROLLUP ((ROW(a, b)))", &["a condition over a group"]),
        ("SELECT DISTINCT ON (id) id, generate_series(1, 3) AS n FROM t", &["DISTINCT ON without ORDER BY"]),
        ("SELECT id FROM t ORDER BY (a, id) DESC LIMIT 3", &["ORDER BY a row that decides", "order by its columns"]),
        ("SELECT s.id FROM (SELECT id, a FROM t) s ORDER BY s LIMIT 3", &["ORDER BY a row that decides"]),
        ("SELECT DISTINCT ON (a) a, id FROM t ORDER BY a, (b, id)", &["ORDER BY a row that decides"]),
        (
            "SELECT t.id, to_jsonb(t) AS j, count(*) AS n FROM t GROUP BY t.id, ROLLUP (t.a)",
            &["a whole row of which a column is left out by GROUPING SETS", "join the row to it"],
        ),
        (
            "SELECT a, percentile_cont((SELECT 0.5)) WITHIN GROUP (ORDER BY id) AS m FROM t GROUP BY a",
            &["percentile_cont() WITHIN GROUP of what is not constant"],
        ),
        (
            "SELECT o.id, (SELECT string_agg(k, ',' ORDER BY k) FROM jsonb_object_keys(to_jsonb(o)) k) AS s FROM (SELECT id, a FROM t) o",
            &["a subquery that reads the query around it by a column on type record"],
        ),
        ("SELECT id FROM t ORDER BY id LIMIT (SELECT 3)", &["a subquery in such a place", "write it as a join"]),
        (
            "SELECT id, (WITH RECURSIVE r AS (SELECT t.a AS n UNION ALL SELECT n + 1 FROM (SELECT n FROM r WHERE n < 5) s) SELECT count(*) FROM r) AS c FROM t",
            &["with the recursive rows in a subquery of its step", "in the step's own FROM"],
        ),
        ("SELECT id FROM t WHERE at > (SELECT max(at) FROM t v WHERE v.at < now() AND v.id = t.id)", &["now()"]),
        (
            "SELECT id FROM t WHERE id::oid = 't'::regclass",
            &["a constant of type regclass", "can be dropped and made again", "its oid as a number"],
        ),
        (
            "SELECT t.id, k FROM t, generate_series(1, t.a) k FULL JOIN u ON u.id = k",
            &["a function in FROM that reads beyond its side"],
        ),
        ("SELECT count(*) AS n FROM t GROUP BY CUBE (id, a), CUBE (b, at, doc)", &["GROUP BY on type tsquery"]),
        (
            "WITH RECURSIVE r AS (SELECT id, a FROM t UNION ALL SELECT t.id, t.a FROM t JOIN r ON r.a = t.id) SEARCH DEPTH FIRST BY id SET s SELECT id FROM r ORDER BY s LIMIT 3",
            &["what SEARCH orders by, or the path of CYCLE", "path || id"],
        ),
        (
            "WITH RECURSIVE r AS (SELECT id FROM t UNION ALL SELECT id % 3 FROM r) CYCLE id SET c USING p SELECT to_jsonb(r) AS j FROM r",
            &["what SEARCH orders by, or the path of CYCLE", "path || id"],
        ),
        (
            "WITH RECURSIVE r AS (SELECT id::regclass AS c FROM t UNION ALL SELECT c FROM r) CYCLE c SET m USING p SELECT id FROM t WHERE EXISTS (SELECT FROM r)",
            &["a text form of regclass or its kin"],
        ),
        (
            "SELECT x.c FROM t, XMLTABLE('/r' PASSING XMLELEMENT(NAME r) COLUMNS c regclass) x",
            &["a text form of regclass"],
        ),
        (
            "SELECT XMLFOREST(xmlid, \"a:b\") AS x FROM (SELECT a AS xmlid, b AS \"a:b\" FROM t) q",
            &["an XML name of a column that is called xmlid", "with AS"],
        ),
        ("SELECT XMLELEMENT(NAME x, XMLATTRIBUTES(\"a:b\")) AS x FROM (SELECT b AS \"a:b\" FROM t) q", &["called a:b"]),
        ("SELECT count(*) AS n FROM t GROUP BY ROW(id, a)", &["GROUP BY on type record"]),
        (
            "SELECT ARRAY[id::regclass]::regclass[] AS c, count(*) AS n FROM t GROUP BY 1",
            &["GROUP BY on type regclass[]"],
        ),
        (
            "WITH RECURSIVE r AS (SELECT id, a FROM t UNION ALL SELECT t.id, t.a FROM t JOIN r ON r.a = t.id) CYCLE id SET c USING p SELECT id, cardinality(p) AS n FROM r",
            &["what SEARCH orders by, or the path of CYCLE", "path || id"],
        ),
        (
            "WITH RECURSIVE r AS (SELECT a::numeric AS n FROM t UNION ALL SELECT n + 1 FROM r) CYCLE n SET c USING p SELECT n FROM r WHERE NOT c",
            &["CYCLE by type numeric", "cast the column in both parts"],
        ),
        (
            "WITH RECURSIVE r AS (SELECT a FROM t UNION ALL SELECT a + 1 FROM r) CYCLE a SET c TO NULL DEFAULT 0 USING p SELECT a, c FROM r",
            &["a mark of CYCLE that its default may equal", "two constants that differ"],
        ),
        (
            "WITH RECURSIVE r AS (SELECT a FROM u UNION ALL SELECT max(a) FROM (SELECT a + 1 FROM r WHERE a < 9) s (a) HAVING max(a) < 9) SELECT a FROM r",
            &["GROUP BY or DISTINCT over the rows of WITH RECURSIVE"],
        ),
        (
            "WITH RECURSIVE r AS (SELECT a FROM u UNION ALL SELECT DISTINCT a + 1 FROM r WHERE a < 9) SELECT a FROM r",
            &["GROUP BY or DISTINCT"],
        ),
        (
            "WITH RECURSIVE r AS (SELECT a FROM u UNION ALL (SELECT a + 1 FROM r WHERE a < 9 INTERSECT SELECT a FROM t)) SELECT a FROM r",
            &["INTERSECT or EXCEPT", "whole recursion's answer"],
        ),
        (
            "WITH RECURSIVE r AS (SELECT a FROM u UNION ALL SELECT a FROM (SELECT a + 1 FROM r WHERE a < 9 ORDER BY 1 LIMIT 3) s (a)) SELECT a FROM r",
            &["LIMIT over the rows of WITH RECURSIVE"],
        ),
        (
            "WITH RECURSIVE r AS (SELECT a FROM u UNION ALL SELECT a FROM (WITH RECURSIVE s AS (SELECT a FROM r UNION ALL SELECT a + 1 FROM s WHERE a < 9) SELECT a FROM s) s (a)) SELECT a FROM r",
            &["another recursion"],
        ),
        (
            "WITH RECURSIVE r AS (SELECT a FROM u UNION ALL SELECT a FROM (WITH RECURSIVE s AS (SELECT a FROM t UNION ALL SELECT s.a + 1 FROM s JOIN r ON r.a = s.a) SELECT a FROM s) s (a)) SELECT a FROM r",
            &["a recursion that reads the rows of another"],
        ),
        (
            "WITH RECURSIVE r AS (SELECT doc FROM t UNION SELECT doc && doc FROM r) SELECT doc FROM r",
            &["WITH RECURSIVE … UNION on type tsquery"],
        ),
        (
            "WITH RECURSIVE r AS (SELECT a FROM u UNION ALL SELECT r.a + 1 FROM r, t WHERE at > now()) SELECT a FROM r",
            &["now()"],
        ),
        ("SELECT DISTINCT ON (a) a, id FROM t", &["DISTINCT ON without ORDER BY", "add ORDER BY"]),
        ("SELECT DISTINCT ON (doc) a, id FROM t ORDER BY doc, id", &["DISTINCT ON on type tsquery"]),
        ("SELECT id FROM t LIMIT 1", &["LIMIT without ORDER BY", "add ORDER BY"]),
        ("SELECT id FROM t UNION ALL SELECT a FROM u LIMIT 1", &["LIMIT without ORDER BY"]),
        ("SELECT id FROM t ORDER BY id LIMIT -1", &["LIMIT must not be negative"]),
        ("SELECT id FROM t ORDER BY id LIMIT 1 OFFSET 2 - 3", &["OFFSET must not be negative"]),
        (
            "SELECT id FROM t ORDER BY id LIMIT length(upper('x' || md5('y')))",
            &["LIMIT by an expression", "write a number"],
        ),
        ("SELECT id FROM t ORDER BY id LIMIT (random() * 3)::int", &["random()", "volatile"]),
        ("SELECT doc FROM t INTERSECT SELECT doc FROM t", &["INTERSECT on type tsquery", "cast it to text"]),
        ("SELECT doc FROM t EXCEPT ALL SELECT doc FROM t", &["EXCEPT on type tsquery"]),
        ("SELECT doc FROM t UNION SELECT doc FROM t", &["DISTINCT on type tsquery"]),
        ("SELECT id FROM t TABLESAMPLE bernoulli (10)", &["TABLESAMPLE"]),
        ("SELECT id FROM t OFFSET 3", &["OFFSET without ORDER BY"]),
        ("SELECT id FROM (SELECT id FROM t LIMIT 3) s", &["LIMIT without ORDER BY"]),
        ("SELECT id FROM unordered", &["LIMIT without ORDER BY"]),
        (
            "SELECT a, string_agg(b, ',') AS s FROM t GROUP BY a",
            &["string_agg() without ORDER BY", "not determined by the rows", "string_agg(… ORDER BY …)"],
        ),
        ("SELECT jsonb_object_agg(id, b) AS s FROM t", &["jsonb_object_agg() without ORDER BY"]),
        ("SELECT array_agg(b) OVER (PARTITION BY a) AS s FROM t", &["array_agg() over a window without ORDER BY"]),
        ("SELECT row_number() OVER () AS n FROM t", &["row_number() over a window without ORDER BY", "add ORDER BY"]),
        ("SELECT lag(id) OVER (PARTITION BY a) AS n FROM t", &["lag() over a window", "not determined by the rows"]),
        ("SELECT sum(a) OVER (ROWS 1 PRECEDING) AS n FROM t", &["sum() over a window without ORDER BY"]),
        ("SELECT shaky_sum(a) AS s FROM t", &["shaky_sum()", "volatile"]),
        ("SELECT a, generate_series(1, (random() * 3)::int) AS n FROM t", &["random()", "volatile"]),
        ("SELECT * FROM untold(1) AS f", &["a function in FROM", "name its columns"]),
        ("SELECT doc, count(*) AS n FROM t GROUP BY doc", &["GROUP BY on type tsquery"]),
        ("SELECT id FROM t FOR SHARE", &["FOR UPDATE"]),
        ("SELECT id INTO copy FROM t", &["INTO"]),
        ("WITH d AS (DELETE FROM t RETURNING id) SELECT id FROM d", &["WITH"]),
        ("INSERT INTO t VALUES (1)", &["not a SELECT"]),
        ("EXPLAIN SELECT 1", &["not a SELECT"]),
        ("SELECT", &["without columns"]),
        ("SELECT id FROM t WHERE a = $1", &["parameter"]),
        ("SELECT count(*), count(*) FROM t", &["more than once", "AS"]),
        ("SELECT 1 +\n  'x' FROM t", &["invalid input syntax", "line 2, column 3"]),
    ] {
        refused(&client, query, words).await;
    }
}

#[tokio::test]
async fn an_order_that_leaves_open_which_rows_are_taken_is_warned_of() {
    let (_cluster, client) = database().await;
    for (query, words) in [
        (
            "SELECT string_agg(b, ',' ORDER BY a) AS s FROM t",
            &["string_agg()", "fixed order", "add a unique column"] as &[&str],
        ),
        ("SELECT app_sum(a) AS s FROM t", &["app_sum()", "whatever order"]),
        ("SELECT id, row_number() OVER (ORDER BY a) AS n FROM t", &["row_number()", "window's ORDER BY"]),
        ("SELECT id, sum(id) OVER (ORDER BY a ROWS 1 PRECEDING) AS n FROM t", &["sum()", "window's ORDER BY"]),
        ("SELECT id FROM t ORDER BY a LIMIT 3", &["LIMIT takes rows by an order", "add a unique column"]),
        ("SELECT DISTINCT ON (a) a, id FROM t ORDER BY a", &["DISTINCT ON takes rows by an order"]),
        ("SELECT DISTINCT ON (a) a, id FROM t ORDER BY a, b", &["DISTINCT ON takes rows by an order"]),
        ("SELECT id FROM t ORDER BY a OFFSET 3", &["OFFSET takes rows by an order"]),
        ("SELECT id FROM t ORDER BY a OFFSET 1 FETCH FIRST 1 ROW WITH TIES", &["LIMIT takes rows by an order"]),
        ("SELECT id FROM t ORDER BY id, b COLLATE \"en-x-icu\" LIMIT 3", &["PostgreSQL's own", "COLLATE \"C\""]),
    ] {
        let warnings = plan(&client, query, &PlanOptions::default()).await.unwrap().warnings;
        let found = |w: &&str| warnings.iter().any(|warning| warning.contains(*w) && !warning.contains('\n'));
        assert!(words.iter().all(found), "{query}: {warnings:?}");
    }
    for query in [
        "SELECT a FROM t ORDER BY id LIMIT 3",
        "SELECT a, b FROM t ORDER BY b, a LIMIT 3",
        "SELECT b FROM t ORDER BY a, b, id LIMIT 3",
        "SELECT id FROM t ORDER BY a FETCH FIRST 3 ROWS WITH TIES",
        "SELECT DISTINCT ON (a) a, id FROM t ORDER BY a, id DESC",
        "SELECT a, max(id) AS m FROM t GROUP BY a ORDER BY a LIMIT 1",
    ] {
        let warnings = plan(&client, query, &PlanOptions::default()).await.unwrap().warnings;
        assert!(warnings.is_empty(), "{query}: {warnings:?}");
    }
}

#[tokio::test]
async fn a_join_of_every_row_with_every_row_is_warned_of() {
    let (_cluster, client) = database().await;
    for (query, warned) in [
        ("SELECT x.id, y.id AS other FROM t x JOIN t y ON x.a < y.a", true),
        ("SELECT x.id, y.id AS other FROM t x LEFT JOIN t y ON x.a < y.a", true),
        ("SELECT id FROM t x WHERE NOT EXISTS (SELECT FROM t y WHERE x.a < y.a)", true),
        ("SELECT id FROM t x WHERE EXISTS (SELECT FROM t y WHERE x.a < y.a AND x.id > y.id)", true),
        // Kept in the order of what is compared, or with one row.
        ("SELECT id FROM t x WHERE EXISTS (SELECT FROM t y WHERE x.a < y.a)", false),
        ("SELECT id FROM t WHERE a > (SELECT avg(a)::int FROM t)", false),
        ("SELECT x.id, y.m FROM t x CROSS JOIN (SELECT max(a) AS m FROM t) y", false),
        // By the hash of what only PostgreSQL compares.
        ("SELECT x.id, y.id AS other FROM t x JOIN t y ON x.b COLLATE caseless = y.b", false),
    ] {
        let warnings = plan(&client, query, &PlanOptions::default()).await.unwrap().warnings;
        assert_eq!(warnings.iter().any(|w| w.contains("without an equality")), warned, "{query}: {warnings:?}");
    }
}

#[tokio::test]
async fn what_changes_while_the_rows_stay_is_named() {
    let (_cluster, client) = database().await;
    for (query, words) in [
        ("SELECT id, clock_timestamp() AS c FROM t", &["clock_timestamp()", "with time"] as &[&str]),
        ("SELECT id, age(at) AS c FROM t", &["age()", "with time"]),
        ("SELECT id FROM t WHERE at > LOCALTIMESTAMP", &["LOCALTIMESTAMP"]),
        ("SELECT id FROM timed", &["now()", "filters by time"]),
        ("SELECT id, since(a => at) AS s FROM t", &["now()", "filters by time"]),
        ("SELECT id, today(a) AS s FROM t", &["CURRENT_DATE", "filters by time"]),
        ("SELECT t.id, d FROM t, today(t.a, '2024-01-01') d", &["random()", "it is volatile"]),
        ("SELECT id, today(a, c => 3) AS s FROM t", &["CURRENT_DATE", "filters by time"]),
        ("SELECT id, through_defaults(a) AS s FROM t", &["now()", "filters by time"]),
        ("SELECT id, CURRENT_USER AS c FROM t", &["CURRENT_USER", "who asks"]),
        ("SELECT id, nextval('numbers') AS n FROM t", &["nextval()", "volatile"]),
        ("SELECT gen_random_uuid() AS g, id FROM t", &["gen_random_uuid()"]),
        ("SELECT id, steady() AS s FROM t", &["steady()", "stable", "IMMUTABLE"]),
        ("SELECT id, current_setting('TimeZone') AS s FROM t", &["current_setting()"]),
        ("SELECT id, a::oid::regclass::text AS s FROM t", &["regclass"]),
        ("SELECT id, concat('x', a::oid::regclass) AS s FROM t", &["a text form of regclass"]),
        ("SELECT id, 'x' || a::oid::regclass AS s FROM t", &["a text form of regclass"]),
        ("SELECT id, to_jsonb(ARRAY[a::oid::regclass]) AS s FROM t", &["a text form of regclass"]),
        ("SELECT id, json_build_array(ROW(a, b::regtype)) AS s FROM t", &["a text form of regclass"]),
        ("SELECT json_agg(a::oid::regrole ORDER BY id) AS s FROM t", &["a text form of regclass"]),
        ("SELECT id, json_agg(a::oid::regrole) OVER (ORDER BY id) AS s FROM t", &["a text form of regclass"]),
        ("SELECT id, ARRAY[a::oid::regclass]::text[] AS s FROM t", &["a text form of regclass"]),
        ("SELECT id, ARRAY[a::oid::regclass]::text AS s FROM t", &["a text form of regclass"]),
        ("SELECT id, to_json(n) AS s FROM named n", &["a text form of regclass"]),
        ("SELECT id, XMLFOREST(a::oid::regclass AS r) AS s FROM t", &["a text form of regclass"]),
        ("SELECT t.id, r FROM t, json_to_record(t.b::json) AS x (r regclass)", &["a text form of regclass"]),
        ("SELECT id, ARRAY[t.b]::shaky_text[] AS s FROM t", &["shaky_text()", "volatile"]),
        ("SELECT id FROM t WHERE at > 'today'", &["the constant 'today'", "with time"]),
        ("SELECT id, DATE 'Tomorrow' AS d FROM t", &["the constant 'Tomorrow'"]),
        ("SELECT id FROM t WHERE at <@ $$[ yesterday ,)$$::tstzrange", &["the constant '[ yesterday ,)'"]),
        ("SELECT id, CAST(E'{now}' AS timestamp[]) AS d FROM t", &["the constant '{now}'"]),
        ("SELECT id, at::timestamp::time::timetz AS z FROM t", &["timetz()", "on which it is asked"]),
        ("SELECT id, at::timetz AT TIME ZONE 'Europe/Berlin' AS z FROM t", &["timezone()", "on which it is asked"]),
        ("SELECT id, b::timetz AS z FROM t", &["a text as timetz", "on which it is asked"]),
        ("SELECT id, ARRAY[b]::timetz[] AS z FROM t", &["a text as timetz"]),
        ("SELECT count(*) FILTER (WHERE random() > 0.5) AS n FROM t", &["random()"]),
        ("SELECT a, count(*) AS n FROM t GROUP BY a HAVING count(*) > random()", &["random()"]),
        ("SELECT t.id FROM t JOIN u ON u.id = t.id + floor(random())", &["random()"]),
    ] {
        refused(&client, query, words).await;
    }
}

#[tokio::test]
async fn tables_that_cannot_be_streamed_are_named() {
    let (_cluster, client) = database().await;
    client.batch_execute("CREATE TEMP TABLE passing (id int PRIMARY KEY)").await.unwrap();
    for (query, words) in [
        ("SELECT id FROM nothing", &["public.nothing", "REPLICA IDENTITY FULL"] as &[&str]),
        ("SELECT id FROM parent", &["public.parent", "inherit"]),
        ("SELECT id FROM ONLY parted", &["ONLY public.parted"]),
        ("SELECT id FROM stored", &["public.stored", "materialized view"]),
        ("SELECT last_value FROM numbers", &["public.numbers", "not a table"]),
        ("SELECT id FROM passing", &["passing", "temporary"]),
        ("SELECT table_name FROM information_schema.tables", &["system catalogs"]),
        ("SELECT id, xmin FROM t", &["system column"]),
    ] {
        refused(&client, query, words).await;
    }
    let planned = plan(&client, "SELECT id, other FROM by_index", &PlanOptions::default()).await.unwrap();
    assert_eq!(planned.plan.key, OutputKey::Columns(vec![1]));
}

#[tokio::test]
async fn rights_and_row_security_are_asked_for() {
    let (cluster, client) = database().await;
    let reader = tokio_postgres::connect(&cluster.url_as(0, "reader", ""), tokio_postgres::NoTls).await.unwrap();
    let (reader, connection) = reader;
    tokio::spawn(connection);
    refused(&reader, "SELECT id FROM closed", &["public.closed", "GRANT SELECT"]).await;
    refused(&reader, "SELECT id FROM through", &["public.closed", "GRANT SELECT"]).await;
    refused(&reader, "SELECT id, shut FROM partly", &["column shut of public.partly", "GRANT SELECT"]).await;
    plan(&reader, "SELECT id, open FROM partly", &PlanOptions::default()).await.unwrap();
    refused(&reader, "SELECT id FROM guarded", &["public.guarded", "row-level security", "--allow-row-security"]).await;
    let allowed = PlanOptions { allow_row_security: true, ..PlanOptions::default() };
    plan(&reader, "SELECT id FROM guarded", &allowed).await.unwrap();
    client.batch_execute("REVOKE TEMPORARY ON DATABASE app FROM PUBLIC").await.unwrap();
    refused(&reader, "SELECT id FROM t", &["temporary", "GRANT TEMPORARY"]).await;
}

#[tokio::test]
async fn settings_are_pinned_with_the_definition() {
    let (_cluster, client) = database().await;
    client.batch_execute("SET TimeZone = 'Asia/Tokyo'; SET extra_float_digits = 0").await.unwrap();
    let query = "SELECT id, date_trunc('day', at) AS day FROM t";
    let mut options = PlanOptions::default();
    let setting = |planned: &plan::Planned, name: &str| {
        planned.plan.settings.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default()
    };
    let planned = plan(&client, query, &options).await.unwrap();
    assert_eq!(setting(&planned, "TimeZone"), "Asia/Tokyo");
    assert_eq!(setting(&planned, "extra_float_digits"), "1");
    assert_eq!(setting(&planned, "search_path"), "\"$user\", public");
    options.settings.insert("timezone".into(), "Europe/Berlin".into());
    let planned = plan(&client, query, &options).await.unwrap();
    assert_eq!(setting(&planned, "TimeZone"), "Europe/Berlin");
    for (name, value, words) in [
        ("timezone", "Mars/Olympus", "invalid value for parameter"),
        ("no_such_setting", "1", "unrecognized configuration parameter"),
        ("extra_float_digits", "0", "the setting extra_float_digits"),
        ("Role", "reader", "the setting Role"),
    ] {
        let options = PlanOptions { settings: [(name.into(), value.into())].into(), ..PlanOptions::default() };
        let error = plan(&client, query, &options).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    // One that is read by another query has the same.
    client.batch_execute("CREATE TABLE other (id int PRIMARY KEY, at timestamptz)").await.unwrap();
    for (of_other, own, words) in [
        (Some("off"), None, "it was defined with array_nulls = off, and this query has "),
        (None, Some("off"), "it was defined without array_nulls, and this query has off"),
    ] {
        let array_nulls = |value: &str| ("array_nulls".to_owned(), value.to_owned());
        let other = plan::StreamView {
            name: types::TableName::new("public", "other"),
            query: "SELECT id, at FROM t".into(),
            settings: of_other.map(array_nulls).into_iter().collect(),
        };
        let settings = own.map(array_nulls).into_iter().collect();
        let options = PlanOptions { stream_tables: vec![other], settings, ..PlanOptions::default() };
        let error = plan(&client, "SELECT id FROM other", &options).await.unwrap_err().to_string();
        assert!(error.contains("the stream table public.other under other settings"), "{error}");
        assert!(error.contains(words), "{error}");
    }
    // The session is as it was.
    let now: String = client.query_one("SHOW TimeZone", &[]).await.unwrap().get(0);
    assert_eq!(now, "Asia/Tokyo");
}

#[tokio::test]
async fn a_key_that_only_the_caller_knows_is_taken() {
    let (_cluster, client) = database().await;
    client.batch_execute("CREATE TABLE bare (day int, id int, x text) PARTITION BY HASH (id)").await.unwrap();
    refused(&client, "SELECT id, x FROM bare", &["public.bare", "REPLICA IDENTITY FULL"]).await;
    let oid: u32 = client.query_one("SELECT 'bare'::regclass::oid", &[]).await.unwrap().get(0);
    let hint = HashMap::from([(oid, vec!["id".to_owned(), "day".to_owned()])]);
    let options = PlanOptions { identity_hint: hint, ..PlanOptions::default() };
    let planned = plan(&client, "SELECT id, day, x FROM bare", &options).await.unwrap();
    let source = &planned.plan.sources[0];
    let identity: Vec<&str> = source.identity.iter().map(|&i| source.columns[i].name.as_str()).collect();
    assert_eq!(identity, ["id", "day"]);
    assert_eq!(planned.plan.key, OutputKey::Columns(vec![0, 1]));
}

#[tokio::test]
async fn an_order_that_decides_is_not_warned_of() {
    let (_cluster, client) = database().await;
    for query in [
        "SELECT string_agg(b, ',' ORDER BY b) AS s FROM t",
        "SELECT string_agg(b, ',' ORDER BY a, id) AS s FROM t",
        "SELECT string_agg(DISTINCT b, ',') AS s FROM t",
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY a) AS p FROM t",
        "SELECT id, row_number() OVER (PARTITION BY a ORDER BY b, id) AS n FROM t",
        "SELECT id, rank() OVER (ORDER BY a) AS r, sum(a) OVER (ORDER BY b) AS s, count(*) OVER (PARTITION BY b) AS n FROM t",
    ] {
        let planned = plan(&client, query, &PlanOptions::default()).await.unwrap();
        assert_eq!(planned.warnings, Vec::<String>::new(), "{query}");
    }
}
