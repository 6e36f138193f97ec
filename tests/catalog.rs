//! All that PostgreSQL's catalogs have: each built-in aggregate, window function, immutable set-returning function and type is kept
//! exactly in a stream table. What is left out stands here with the reason; what nobody thought of makes a test fail.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Cluster, Daemon, DaemonOptions, Kind, LITERALS, WITHOUT_INPUT, assert_exact, citus_available, cli};
use tokio_postgres::Client;
use tributary_tests::create;

/// Built-in types whose values can be in a stream of changes, and their literals.
fn literals() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    LITERALS.iter().copied().filter(|(name, _)| *name != "aclitem")
}

/// Types that go by other names than their own.
fn sql_type(name: &str) -> String {
    match name {
        "char" => "\"char\"".into(),
        "bpchar" => "char(3)".into(),
        "bit" => "bit(1)".into(),
        name => name.to_owned(),
    }
}

/// Without what PostgreSQL's own sums overflow at, or that makes all of a sum alike.
fn ordinary(literals: &'static [&'static str]) -> Vec<&'static str> {
    let odd = ["NaN", "nfinity", "e+", "e-", "9223372", "BC", "5874897"];
    let plain: Vec<&str> = literals.iter().copied().filter(|l| odd.iter().all(|o| !l.contains(o))).collect();
    plain
}

/// A row of `things`: the columns in order, some of them NULL.
fn row(id: usize, shift: usize) -> String {
    let columns = literals().enumerate().map(|(at, (name, all))| {
        let all = ordinary(all);
        if (id + at) % 7 == 6 {
            return format!("NULL::{}", sql_type(name));
        }
        format!("'{}'::{}", all[(id + shift) % all.len()].replace('\'', "''"), sql_type(name))
    });
    let k = if id % 9 == 8 { "NULL".to_owned() } else { (id % 3).to_string() };
    let columns: Vec<String> = columns.collect();
    format!("({id}, {k}, {})", columns.join(", "))
}

/// `things(id, k, c_<type>, …)`, distributed, with rows.
async fn things() -> (Cluster, Client, Daemon) {
    let kind = if citus_available() { Kind::Citus } else { Kind::Fdw };
    let cluster = Cluster::start(kind).await.unwrap();
    let columns: Vec<String> = literals().map(|(name, _)| format!("c_{name} {}", sql_type(name))).collect();
    let columns = format!("id int NOT NULL, k int, {}", columns.join(", "));
    let spec = testkit::TableSpec {
        name: "things",
        columns: &columns,
        primary_key: "id",
        kind: testkit::TableKind::Distributed("id"),
        colocate_with: None,
    };
    cluster.create_table(&spec).await.unwrap();
    let client = cluster.client().await.unwrap();
    fill(&client, 0..14, 0).await;
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    (cluster, client, daemon)
}

async fn fill(client: &Client, ids: std::ops::Range<usize>, shift: usize) {
    for id in ids {
        let sql = format!("INSERT INTO things VALUES {}", row(id, shift));
        client.batch_execute(&sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }
}

/// Rows come, change, move between groups and go; a group goes whole.
async fn change(client: &Client) {
    client.batch_execute("DELETE FROM things WHERE id % 5 = 1").await.unwrap();
    fill(client, 14..20, 1).await;
    client.batch_execute("UPDATE things SET k = 1 WHERE id % 6 = 0; DELETE FROM things WHERE k = 2").await.unwrap();
    client
        .batch_execute("UPDATE things SET c_int4 = 5, c_text = 'changed', c_numeric = 2.50 WHERE id IN (3, 4)")
        .await
        .unwrap();
}

/// How PostgreSQL writes an argument of a type, and a type for one of any.
fn argument(ty: &str) -> String {
    match ty {
        "any" | "anynonarray" | "anycompatible" | "anycompatiblenonarray" => "c_int4".into(),
        "anyelement" => "c_text".into(),
        "anyarray" | "anycompatiblearray" => "ARRAY[k, c_int4]".into(),
        "anyenum" => "(CASE WHEN id % 2 = 0 THEN 'ok' ELSE 'sad' END)::mood".into(),
        "anyrange" => "c_int4range".into(),
        "anymultirange" => "c_int4multirange".into(),
        ty => format!("c_{ty}"),
    }
}

/// A stream table's name and query.
type Table = (String, String);

async fn create_all(daemon: &Daemon, tables: &[Table]) {
    let mut refused = Vec::new();
    for (name, query) in tables {
        let output = cli(daemon, &["stream", "create", name, "--query", query]).await.unwrap();
        if output.code != Some(0) {
            refused.push(format!("{query}: {}", output.stderr.trim()));
        }
    }
    assert!(refused.is_empty(), "{} refused:\n{}", refused.len(), refused.join("\n"));
}

async fn exact(cluster: &Cluster, daemon: &Daemon, tables: &[Table]) {
    let tables: Vec<(&str, &str)> = tables.iter().map(|(n, q)| (n.as_str(), q.as_str())).collect();
    assert_exact(cluster, daemon, &tables).await.unwrap();
}

/// The calls of all aggregates of the catalog, with their names.
async fn aggregates(client: &Client) -> Vec<(String, String)> {
    // Other types' results than these can be compared by EXCEPT.
    let sql = "SELECT p.oid::int, p.proname::text, a.aggkind::text, a.aggnumdirectargs::int,
            array(SELECT t.typname::text FROM unnest(p.proargtypes) WITH ORDINALITY u (ty, n) JOIN pg_type t ON t.oid = u.ty ORDER BY u.n),
            p.prorettype IN ('json'::regtype, 'xml'::regtype)
        FROM pg_proc p JOIN pg_aggregate a ON a.aggfnoid = p.oid
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384 ORDER BY p.oid";
    let mut calls = Vec::new();
    for row in client.query(sql, &[]).await.unwrap() {
        let (oid, name, kind, direct): (i32, String, String, i32) = (row.get(0), row.get(1), row.get(2), row.get(3));
        let (types, as_text): (Vec<String>, bool) = (row.get(4), row.get(5));
        let args: Vec<String> = types.iter().map(|ty| argument(ty)).collect();
        let given = |count: usize| match types.first().map(String::as_str) {
            Some("_float8") => "ARRAY[0.25, 0.75]".to_owned(),
            Some("float8") if count == 1 => "0.4".to_owned(),
            _ => "5".to_owned(),
        };
        let call = match kind.as_str() {
            "n" if args.is_empty() => format!("{name}(*)"),
            // The first of equal keys cannot be an object's twice, and NULL is no key.
            "n" if name.contains("object_agg") => format!("{name}(id, c_text ORDER BY id)"),
            "n" => format!("{name}({} ORDER BY id)", args.join(", ")),
            "o" => {
                let direct = direct.unsigned_abs() as usize;
                let by = if args.len() > direct { args[direct].clone() } else { "c_int4".into() };
                let direct = if direct == 0 { String::new() } else { given(direct) };
                format!("{name}({direct}) WITHIN GROUP (ORDER BY {by})")
            }
            _ => format!("{name}({}) WITHIN GROUP (ORDER BY c_int4)", given(0)),
        };
        let call = if as_text { format!("({call})::text") } else { call };
        calls.push((format!("{name}_{oid}"), call));
    }
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn every_aggregate_of_the_catalog_is_kept_exactly() {
    let (cluster, client, daemon) = things().await;
    cluster.create_type("CREATE TYPE mood AS ENUM ('sad', 'ok')").await.unwrap();
    let tables: Vec<Table> = aggregates(&client)
        .await
        .into_iter()
        .map(|(name, call)| (name, format!("SELECT k, {call} AS r FROM things GROUP BY k")))
        .collect();
    assert!(tables.len() > 130, "{}", tables.len());
    create_all(&daemon, &tables).await;
    let of_equal = |t: &Table| t.0.starts_with("min_") || t.0.starts_with("max_");
    let (any, others): (Vec<Table>, Vec<Table>) = tables.iter().cloned().partition(of_equal);
    for round in 0..3 {
        exact(&cluster, &daemon, &others).await;
        exact_but_for_writing(&cluster, &daemon, &any).await;
        match round {
            0 => change(&client).await,
            _ => client.batch_execute("DELETE FROM things").await.unwrap(),
        }
    }
    println!("{} aggregates", tables.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_window_function_of_the_catalog_is_kept_exactly() {
    let (cluster, client, daemon) = things().await;
    cluster.create_type("CREATE TYPE mood AS ENUM ('sad', 'ok')").await.unwrap();
    let sql = "SELECT p.oid::int, p.proname::text,
            array(SELECT t.typname::text FROM unnest(p.proargtypes) WITH ORDINALITY u (ty, n) JOIN pg_type t ON t.oid = u.ty ORDER BY u.n)
        FROM pg_proc p WHERE p.prokind = 'w' AND p.oid < 16384 ORDER BY p.oid";
    let mut calls = Vec::new();
    for row in client.query(sql, &[]).await.unwrap() {
        let (oid, name, types): (i32, String, Vec<String>) = (row.get(0), row.get(1), row.get(2));
        let args: Vec<String> = types.iter().map(|ty| if ty == "int4" { "2".into() } else { argument(ty) }).collect();
        calls.push((format!("w_{oid}"), format!("{name}({})", args.join(", "))));
    }
    assert!(calls.len() >= 15, "{calls:?}");
    // And aggregates over windows, but for those that cannot be: of sets in an order.
    let plain = aggregates(&client).await.into_iter().filter(|(_, call)| !call.contains("WITHIN GROUP"));
    calls.extend(plain.map(|(name, call)| (name, call.replace(" ORDER BY id", ""))));
    let frames = [
        "ORDER BY id",
        "ORDER BY id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW",
        "ORDER BY id DESC GROUPS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
        "ORDER BY id RANGE BETWEEN 3 PRECEDING AND CURRENT ROW EXCLUDE TIES",
    ];
    let over = |(at, (name, call)): (usize, &(String, String))| {
        let window = format!("OVER (PARTITION BY k {})", frames[at % frames.len()]);
        let call = match call.strip_suffix(")::text") {
            Some(call) => format!("({} {window})::text", call.trim_start_matches('(')),
            None => format!("{call} {window}"),
        };
        format!("{call} AS {name}")
    };
    let columns: Vec<String> = calls.iter().enumerate().map(over).collect();
    let table = |(at, columns): (usize, &[String])| {
        (format!("windows_{at}"), format!("SELECT id, {} FROM things", columns.join(", ")))
    };
    let tables: Vec<Table> = columns.chunks(12).enumerate().map(table).collect();
    create_all(&daemon, &tables).await;
    exact(&cluster, &daemon, &tables).await;
    change(&client).await;
    exact(&cluster, &daemon, &tables).await;
    println!("{} functions over windows", calls.len());
}

/// Set-returning functions with arguments that give rows; by name and, where there are several, by the arguments' types.
const ROWS: &[(&str, &str)] = &[
    ("generate_series(int4,int4,int4)", "1, k + 2, 2"),
    ("generate_series(int4,int4)", "k, 3"),
    ("generate_series(int8,int8,int8)", "1::int8, k + 2, 2"),
    ("generate_series(int8,int8)", "k::int8, 3"),
    ("generate_series(numeric,numeric,numeric)", "0.5, k, 0.75"),
    ("generate_series(numeric,numeric)", "k + 0.5, 3"),
    (
        "generate_series(timestamp,timestamp,interval)",
        "'2024-01-01'::timestamp, '2024-01-01'::timestamp + k * interval '1 day', '9 hours'",
    ),
    (
        "generate_series(timestamptz,timestamptz,interval)",
        "'2024-03-30 00:00+00'::timestamptz, '2024-03-30 00:00+00'::timestamptz + k * interval '1 day', '9 hours'",
    ),
    ("generate_subscripts(anyarray,int4,bool)", "ARRAY[id, k, 7], 1, true"),
    ("generate_subscripts(anyarray,int4)", "ARRAY[[id, k], [1, 2]], 2"),
    ("unnest(anyarray)", "ARRAY[c_text, 'x', NULL]"),
    ("unnest(anymultirange)", "c_int4multirange"),
    ("unnest(tsvector)", "c_tsvector"),
    ("json_array_elements", "json_build_array(k, c_text, NULL)"),
    ("json_array_elements_text", "json_build_array(k, c_text, NULL)"),
    ("json_each", "json_build_object('k', k, 't', c_text)"),
    ("json_each_text", "json_build_object('k', k, 't', c_text)"),
    ("json_object_keys", "json_build_object('k', k, coalesce(c_int4, 0) || 'x', 1)"),
    ("jsonb_array_elements", "jsonb_build_array(k, c_text, c_jsonb)"),
    ("jsonb_array_elements_text", "jsonb_build_array(k, c_text, c_jsonb)"),
    ("jsonb_each", "jsonb_build_object('k', k, 't', c_jsonb)"),
    ("jsonb_each_text", "jsonb_build_object('k', k, 't', c_jsonb)"),
    ("jsonb_object_keys", "jsonb_build_object('k', k, coalesce(c_int4, 0) || 'x', 1)"),
    ("jsonb_path_query", "jsonb_build_array(k, 1, 2, c_jsonb), '$[*] ? (@ > 0)'"),
    ("regexp_matches(text,text)", "c_text, '(a)'"),
    ("regexp_matches(text,text,text)", "c_text || 'abab', '(a)(b)?', 'g'"),
    ("regexp_split_to_table(text,text)", "c_text || 'aXbX', 'X'"),
    ("regexp_split_to_table(text,text,text)", "c_text || 'aXbx', 'x', 'i'"),
    ("string_to_table(text,text)", "c_text || 'aXbX', 'X'"),
    ("string_to_table(text,text,text)", "c_text || 'aXbX', 'X', 'b'"),
    ("txid_snapshot_xip", "c_txid_snapshot"),
    ("pg_snapshot_xip", "c_pg_snapshot"),
];

/// Immutable ones that are none of the rows' business, and why.
const NOT_ROWS: &[(&str, &str)] = &[
    ("ts_token_type", "reads the catalogs of text search parsers"),
    ("ts_parse", "reads the catalogs of text search parsers"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_immutable_set_returning_function_of_the_catalog_is_kept_exactly() {
    let (cluster, client, daemon) = things().await;
    let sql = "SELECT p.oid::int, p.proname::text, p.proname || '(' || array_to_string(
                array(SELECT t.typname FROM unnest(p.proargtypes) WITH ORDINALITY u (ty, n) JOIN pg_type t ON t.oid = u.ty ORDER BY u.n), ',') || ')'
        FROM pg_proc p WHERE p.proretset AND p.provolatile = 'i' AND p.prokind = 'f' AND p.pronamespace = 'pg_catalog'::regnamespace
            AND p.oid < 16384 ORDER BY p.oid";
    let (mut tables, mut unknown) = (Vec::new(), Vec::new());
    for row in client.query(sql, &[]).await.unwrap() {
        let (oid, name, signature): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
        if NOT_ROWS.iter().any(|(n, _)| *n == name) {
            continue;
        }
        let Some((_, args)) = ROWS.iter().find(|(n, _)| *n == signature || *n == name) else {
            unknown.push(signature);
            continue;
        };
        tables.push((
            format!("from_{oid}"),
            format!("SELECT id, f::text AS r FROM things CROSS JOIN LATERAL {name}({args}) f"),
        ));
        tables
            .push((format!("list_{oid}"), format!("SELECT id, ({name}({args}))::text AS r FROM things WHERE id > 2")));
    }
    assert!(unknown.is_empty(), "in the catalog, and in no stream table: {unknown:?}");
    create_all(&daemon, &tables).await;
    exact(&cluster, &daemon, &tables).await;
    change(&client).await;
    exact(&cluster, &daemon, &tables).await;
    println!("{} set-returning functions", tables.len() / 2);
}

/// Built-in types without a key of their own here: what groups by them is refused with the cast that helps.
const WITHOUT_KEY: &[&str] = &["int2vector", "xid", "cid", "oidvector", "tsquery"];

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_the_catalog_passes_through_and_is_equal_by_its_own_equality() {
    let (cluster, client, daemon) = things().await;
    let sql = "SELECT t.typname::text FROM pg_type t WHERE t.typtype IN ('b', 'r', 'm') AND t.typcategory <> 'A' AND t.oid < 16384
        ORDER BY t.oid";
    let known = |name: &String| LITERALS.iter().any(|l| l.0 == name) || WITHOUT_INPUT.contains(&name.as_str());
    let all: Vec<String> = client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let unknown: Vec<&String> = all.iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "in the catalog, and in no table: {unknown:?}");
    // The odd values, too.
    for (name, values) in literals() {
        for (at, value) in values.iter().enumerate() {
            let sql = format!(
                "INSERT INTO things (id, k, c_{name}) VALUES ({}, {at}, '{}')",
                1000 + at + 100 * literals().position(|l| l.0 == name).unwrap(),
                value.replace('\'', "''")
            );
            client.batch_execute(&sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        }
    }
    let list = |of: &dyn Fn(&str) -> String| literals().map(|(name, _)| of(name)).collect::<Vec<_>>().join(", ");
    let mut tables: Vec<Table> = vec![
        ("whole".into(), format!("SELECT id, {} FROM things", list(&|n| format!("c_{n}")))),
        ("lists".into(), format!("SELECT id, {} FROM things", list(&|n| format!("ARRAY[c_{n}, NULL] AS l_{n}")))),
    ];
    create_all(&daemon, &tables).await;
    let passing = tables.clone();
    tables.clear();
    let mut refused = Vec::new();
    for (name, _) in literals() {
        let has = async |sql: &str| client.prepare(sql).await.is_ok();
        let c = format!("c_{name}");
        if has(&format!("SELECT DISTINCT {c} FROM things")).await {
            let query = format!(
                "SELECT a.{c} AS c, count(*) AS n, max(b.id) AS m FROM things a JOIN things b ON b.{c} = a.{c} GROUP BY a.{c}"
            );
            let distinct = format!(
                "SELECT count(*) AS n FROM (SELECT DISTINCT {c} FROM things EXCEPT SELECT {c} FROM things WHERE k = 1) s"
            );
            if !has(&query).await {
                continue;
            }
            let output = cli(&daemon, &["stream", "create", &format!("by_{name}"), "--query", &query]).await.unwrap();
            if output.code == Some(0) {
                create(&daemon, &[(&format!("distinct_{name}"), &distinct)]).await.unwrap();
                tables.extend([(format!("by_{name}"), query), (format!("distinct_{name}"), distinct)]);
            } else {
                assert!(output.stderr.contains("cast it to text"), "{output:?}");
                refused.push(name);
            }
        }
        let query = format!("SELECT id, k FROM things ORDER BY {c} DESC NULLS LAST, id LIMIT 7");
        if has(&query).await {
            create(&daemon, &[(&format!("top_{name}"), &query)]).await.unwrap();
            tables.push((format!("top_{name}"), query));
        }
    }
    assert_eq!(refused, WITHOUT_KEY, "refused");
    for round in 0..2 {
        same_text(&client, &daemon, &passing).await;
        exact_but_for_writing(&cluster, &daemon, &tables).await;
        if round == 0 {
            change(&client).await;
            client.batch_execute("DELETE FROM things WHERE id > 1000 AND id % 4 = 1").await.unwrap();
            client.batch_execute("UPDATE things SET k = k + 1 WHERE id > 1000").await.unwrap();
        }
    }
    println!("{} types, {} stream tables", literals().count(), tables.len() + passing.len());
}

/// Compares as text: not all types have an equality.
async fn same_text(client: &Client, daemon: &Daemon, tables: &[Table]) {
    cli(daemon, &["wait", "--timeout", "120s"]).await.unwrap().ok().unwrap();
    for (name, query) in tables {
        let sql = format!(
            "WITH t AS MATERIALIZED (SELECT x::text AS t FROM {name} x), q AS MATERIALIZED (SELECT x::text AS t FROM ({query}) x)
             SELECT t FROM ((TABLE t EXCEPT ALL TABLE q) UNION ALL (TABLE q EXCEPT ALL TABLE t)) d"
        );
        let rows = client.query(&sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let rows: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        assert!(rows.is_empty(), "{name}: {rows:#?}");
    }
}

/// Which of several equal values a group shows, or min and max take, is nobody's promise.
async fn exact_but_for_writing(cluster: &Cluster, daemon: &Daemon, tables: &[Table]) {
    cli(daemon, &["wait", "--timeout", "120s"]).await.unwrap().ok().unwrap();
    let oracle = testkit::Oracle::take(cluster).await.unwrap();
    for (name, query) in tables {
        let difference = oracle.compare(name, query).await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert!(difference.surplus.0 == 0 && difference.missing.0 == 0, "{name}: {difference:#?}");
    }
}
