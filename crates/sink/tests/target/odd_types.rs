//! Values of every kind of type go in and come out as PostgreSQL has them.

use crate::support::*;
use futures_util::TryStreamExt;
use sink::{KeySpec, TableSpec};
use types::{Column, Field, PgType, Row, RowBuilder, StreamId, TableChange, TableName};

const TYPES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN positive AS int CHECK (value > 0);
    CREATE DOMAIN tags AS text[];
    CREATE SCHEMA \"My Types\";
    CREATE TYPE \"My Types\".\"Mood\" AS ENUM ('up', 'down');
    CREATE TABLE src (
        k1 text COLLATE \"C\", k2 mood, k3 numeric, k4 positive, k5 int[], k6 char(5), k7 \"My Types\".\"Mood\", k8 int4range,
        v1 pair, v2 tags, v3 jsonb, v4 json, v5 bytea, v6 interval, v7 timestamptz, v8 inet, v9 \"char\", v10 point,
        v11 uuid, v12 bit varying(7), v13 name, v14 oid, v15 money, v16 tsvector, v17 int4multirange, v18 box,
        v19 numeric(10,3), v20 varchar(9), v21 xid8, v22 time with time zone, v23 \"My Types\".\"Mood\"[]);
    INSERT INTO src VALUES
      ('b', 'sad', 1.50, 1, '{1,NULL,3}', 'ab', 'up', '[1,5)', (1, 'x'), '{a,b}', '{\"a\": [1]}', '{ \"a\":1 }', '\\x00ff', '1 mon 2 days 3 us',
       '2024-02-29 12:00+01', '10.0.0.0/8', 'c', '(1,2)', gen_random_uuid(), B'101', 'nm', 42, 12.34, 'a fat cat', '{[1,2),[5,9)}', '(1,1),(0,0)',
       -1.5, 'vc', '123', '12:00+02', '{up,NULL}'),
      ('B', NULL, 'NaN', 2, '{}', '', 'down', 'empty', NULL, NULL, 'null', 'null', '', '-1 year', 'infinity', '::1', '', NULL, NULL, B'', '', 0, NULL, '', '{}', NULL,
       99999.999, '', '0', '00:00', '{}'),
      (NULL, 'ok', -0.001, NULL, NULL, 'abcde', NULL, NULL, (NULL, ''), '{}', '1', '[]', NULL, NULL, '4713-01-01 BC', NULL, NULL, '(NaN,0)', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL);
";

#[tokio::test]
async fn values_of_every_type_are_kept_as_they_are() {
    for kind in kinds() {
        let t = Target::start(kind).await;
        t.client.batch_execute("SET citus.enable_ddl_propagation = off").await.unwrap();
        t.client.batch_execute(TYPES).await.unwrap();
        let columns = columns(&t).await;
        let spec = TableSpec {
            stream: StreamId(1),
            name: TableName::new("public", "kept"),
            columns,
            key: KeySpec::Columns((0..8).collect()),
        };
        let rows = binary_rows(&t, "src").await;
        assert_eq!(rows.len(), 3);
        t.publish(&spec, rows.clone(), 1).await;
        same(&t).await;
        let key = |r: &Row| r.project(&(0..8).collect::<Vec<_>>());
        // Everything away by key, then back by few and by many, then the values set anew.
        t.sink.apply(&batch(2, spec.stream, rows.iter().map(|r| TableChange::Delete(key(r))).collect())).await.unwrap();
        assert_eq!(t.one::<i64>("SELECT count(*) FROM kept").await, 0);
        t.sink.apply(&batch(3, spec.stream, rows.iter().cloned().map(TableChange::Insert).collect())).await.unwrap();
        same(&t).await;
        let emptied = |r: &Row| {
            let mut b = RowBuilder::new();
            for (n, f) in r.fields().enumerate() {
                b.push(if n < 8 { f } else { Field::Null });
            }
            b.finish()
        };
        t.sink
            .apply(&batch(4, spec.stream, rows.iter().map(|r| TableChange::Update(emptied(r))).collect()))
            .await
            .unwrap();
        assert_eq!(t.one::<i64>("SELECT count(*) FROM kept WHERE v3 IS NULL AND v1 IS NULL AND v11 IS NULL").await, 3);
        t.sink.apply(&batch(5, spec.stream, rows.into_iter().map(TableChange::Update).collect())).await.unwrap();
        same(&t).await;
        let types = "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attcollation, ',' ORDER BY attnum)
            FROM pg_attribute WHERE attnum > 0 AND attrelid = ";
        let (src, kept): (String, String) =
            (t.one(&format!("{types} 'src'::regclass")).await, t.one(&format!("{types} 'kept'::regclass")).await);
        assert_eq!(src, kept);
    }
}

#[tokio::test]
async fn an_equality_outside_the_search_path_is_the_indexes_own() {
    let t = Target::start(testkit::Kind::Single).await;
    if t.client.batch_execute("CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext").await.is_err() {
        println!("citext is not installed here");
        return;
    }
    let ty: u32 = t.one("SELECT 'ext.citext'::regtype::oid").await;
    let mut spec = totals(1);
    spec.columns[0] = column("region", ty, "ext.citext", true);
    t.publish(&spec, vec![total(Some("Abc"), 1)], 1).await;
    t.sink.apply(&batch(2, spec.stream, vec![TableChange::Update(total(Some("aBC"), 2))])).await.unwrap();
    assert_eq!(t.rows("totals_1").await, ["Abc|2"]);
}

async fn same(t: &Target) {
    let left: Vec<String> = t.rows("(SELECT s::text FROM src s)").await;
    assert_eq!(left, t.rows("(SELECT k::text FROM kept k)").await);
}

async fn columns(t: &Target) -> Vec<Column> {
    let sql = "SELECT a.attname::text, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, a.atttypmod, a.attcollation,
            format_type(a.atttypid, a.atttypmod)
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = 'src'::regclass AND a.attnum > 0 ORDER BY a.attnum";
    let rows = t.client.query(sql, &[]).await.unwrap();
    rows.iter()
        .map(|r| Column {
            name: r.get(0),
            ty: PgType { oid: r.get(1), typmod: r.get(2), collation: r.get(3) },
            sql_type: r.get(4),
            not_null: false,
        })
        .collect()
}

/// The table's rows by `COPY … TO STDOUT (FORMAT binary)`.
async fn binary_rows(t: &Target, table: &str) -> Vec<Row> {
    let copy = t.client.copy_out(&format!("COPY {table} TO STDOUT (FORMAT binary)")).await.unwrap();
    let bytes: Vec<u8> = copy
        .try_fold(Vec::new(), |mut all, b| async move {
            all.extend(b);
            Ok(all)
        })
        .await
        .unwrap();
    let word = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut at = 19;
    let mut rows = Vec::new();
    loop {
        let count = i16::from_be_bytes(bytes[at..at + 2].try_into().unwrap());
        at += 2;
        if count < 0 {
            return rows;
        }
        let mut b = RowBuilder::new();
        for _ in 0..count {
            let length = word(at);
            at += 4;
            let value = usize::try_from(length).ok().map(|n| &bytes[at..at + n]);
            at += value.map_or(0, <[u8]>::len);
            b.push_value(value);
        }
        rows.push(b.finish());
    }
}
