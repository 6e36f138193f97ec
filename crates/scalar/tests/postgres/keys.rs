//! Keys against `ORDER BY` and `=`.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use scalar::{Env, encode_key, key_support};
use types::{Oid, PgType, oid};

use crate::functions::{TYPES, is_text};
use crate::server::{Raw, Server, Value, rows, shown};
use crate::values;

fn typed(ty: Oid) -> PgType {
    PgType { oid: ty, typmod: -1, collation: if is_text(ty) { types::collation::DEFAULT } else { 0 } }
}

fn key(types: &[Oid], row: &[Value]) -> Vec<u8> {
    let mut bytes = vec![];
    for (ty, value) in types.iter().zip(row) {
        encode_key(typed(*ty), value.as_deref(), &mut bytes).unwrap();
    }
    bytes
}

/// PostgreSQL's dense rank of every row and the keys' own; one for each row, in the order of `data`.
async fn ranks(server: &Server, types: &[(Oid, &str)], data: &[Vec<Value>], collate: &str) -> (Vec<i64>, Vec<i64>) {
    let sql: Vec<&str> = types.iter().map(|t| t.1).collect();
    server.fill(&sql, data).await;
    let by: Vec<String> = types
        .iter()
        .enumerate()
        .map(|(i, t)| format!("a{}{}", i + 1, if is_text(t.0) { collate } else { "" }))
        .collect();
    let query = format!("SELECT dense_rank() OVER (ORDER BY {}) FROM pg_temp.t ORDER BY id", by.join(", "));
    let theirs = server.client.query(&query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let oids: Vec<Oid> = types.iter().map(|t| t.0).collect();
    let keys: Vec<Vec<u8>> = data.iter().map(|row| key(&oids, row)).collect();
    let mut order: BTreeMap<&[u8], i64> = keys.iter().map(|k| (k.as_slice(), 0)).collect();
    order.values_mut().enumerate().for_each(|(at, rank)| *rank = at as i64 + 1);
    (theirs, keys.iter().map(|k| order[k.as_slice()]).collect())
}

fn all_types() -> Vec<(Oid, &'static str)> {
    TYPES.iter().copied().chain([(oid::UUID, "uuid")]).collect()
}

#[tokio::test]
async fn keys_sort_and_equal_as_postgresql_says() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let mut pairs = 0usize;
    for ty in all_types() {
        assert!(key_support(typed(ty.0), &server.env).order, "{}", ty.1);
        let data: Vec<Vec<Value>> = (0..rows(4000)).map(|_| vec![values::value(&mut rng, ty.0)]).collect();
        let (theirs, ours) = ranks(&server, &[ty], &data, "").await;
        for i in 0..data.len() {
            assert_eq!(ours[i], theirs[i], "{} {}", ty.1, shown(ty.0, &data[i][0]));
        }
        pairs += data.len() * (data.len() - 1) / 2;
    }
    println!("keys of one column: the order and equality of {pairs} pairs compared, 0 differences");
}

#[tokio::test]
async fn keys_of_several_columns_are_their_columns_keys_in_a_row() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    let (mut pairs, all) = (0usize, all_types());
    for _ in 0..60 {
        let types: Vec<(Oid, &str)> =
            (0..rng.random_range(2..5)).map(|_| all[rng.random_range(0..all.len())]).collect();
        // Few different values a column, so that later columns decide.
        let pool: Vec<Vec<Value>> =
            types.iter().map(|t| (0..4).map(|_| values::value(&mut rng, t.0)).collect()).collect();
        let data: Vec<Vec<Value>> = (0..rows(600))
            .map(|_| pool.iter().map(|values| values[rng.random_range(0..values.len())].clone()).collect())
            .collect();
        let (theirs, ours) = ranks(&server, &types, &data, "").await;
        assert_eq!(ours, theirs, "{types:?}");
        pairs += data.len() * (data.len() - 1) / 2;
    }
    println!("keys of several columns: {pairs} pairs compared, 0 differences");
}

#[tokio::test]
async fn under_a_language_collation_keys_are_equal_as_postgresql_says() {
    let server = Server::start().await;
    let env = Env { database_collation_is_c: false, ..server.env.clone() };
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    for ty in [(oid::TEXT, "text"), (oid::BPCHAR, "bpchar"), (oid::VARCHAR, "varchar")] {
        let support = key_support(typed(ty.0), &env);
        assert!(support.equality && !support.order);
        let data: Vec<Vec<Value>> = (0..rows(3000)).map(|_| vec![values::value(&mut rng, ty.0)]).collect();
        let (theirs, ours) = ranks(&server, &[ty], &data, " COLLATE \"en-x-icu\"").await;
        // The order differs; the classes are the same when the ranks map to each other one to one.
        let forth: BTreeMap<i64, i64> = theirs.iter().copied().zip(ours.iter().copied()).collect();
        for (their, our) in theirs.iter().zip(&ours) {
            assert_eq!(forth[their], *our);
        }
        assert_eq!(theirs.iter().max(), ours.iter().max());
    }
}

#[tokio::test]
async fn keys_of_enums_are_their_labels() {
    let server = Server::start().await;
    let support = key_support(typed(server.mood), &server.env);
    assert!(support.equality && !support.order);
    assert!(!key_support(typed(server.mood + 1), &server.env).equality);
    assert!(!key_support(typed(oid::JSON), &server.env).equality);
    assert_ne!(key(&[server.mood], &[Some(b"ok".to_vec())]), key(&[server.mood], &[Some(b"sad".to_vec())]));
    assert!(encode_key(typed(oid::JSON), Some(b"{}"), &mut vec![]).is_err());
}

/// Texts of a type, many of them equal though written differently.
const COMPOSED: [(Oid, &str, &[&str]); 21] = [
    (
        oid::JSONB,
        "jsonb",
        &[
            "{}",
            "[]",
            "null",
            "1",
            "1.0",
            "1.00",
            "1e0",
            "-0",
            "0",
            "0.0",
            "10",
            "1e1",
            "100.50",
            "100.5",
            "[1]",
            "[1.0]",
            "[[1]]",
            "\"1\"",
            "\"1.0\"",
            "\"1.00\"",
            r#"{"a": 1, "b": 2}"#,
            r#"{"b": 2.0, "a": 1.000}"#,
            r#"{"a": 1, "a": 2, "b": 2}"#,
            r#"{"a": "1.0"}"#,
            r#"{"a": "1.00"}"#,
            r#"{"1.00": 1}"#,
            r#"{"1.0": 1}"#,
            r#""q\"1.00""#,
            r#""q\"1.0""#,
            "true",
            "false",
            r#"{"a": {"b": [1.10, null, true]}}"#,
            r#"{"a": {"b": [1.1, null, true]}}"#,
            "0.10",
            "0.1",
            "-1.50",
            "-1.5",
            "1e-5",
            "0.00001",
        ],
    ),
    (
        1007,
        "int[]",
        &[
            "{}",
            "{1}",
            "{1,2}",
            "{2,1}",
            "{{1,2}}",
            "{{1},{2}}",
            "[0:1]={1,2}",
            "[1:2]={1,2}",
            "{NULL}",
            "{1,NULL}",
            "{NULL,1}",
        ],
    ),
    (1231, "numeric[]", &["{}", "{1.0}", "{1.00}", "{1}", "{NaN}", "{1.0,2}", "{1,2.00}", "{1,NULL}"]),
    (1009, "text[]", &["{}", "{\"\"}", "{a}", "{a,b}", "{ab}", "{\"a,b\"}", "{a,\"\"}", "{NULL}", "{\"NULL\"}"]),
    (1014, "char(3)[]", &["{a}", "{\"a \"}", "{ab}", "{\"ab \"}"]),
    (1022, "float8[]", &["{0}", "{-0}", "{NaN}", "{1}", "{Infinity}", "{1e300}"]),
    (1187, "interval[]", &["{1 day}", "{24 hours}", "{1 mon}", "{30 days}", "{31 days}"]),
    (3807, "jsonb[]", &["{1}", "{1.0}", "{\"[1]\"}", "{\"[1.00]\"}"]),
    (3904, "int4range", &["empty", "[1,3)", "[1,2]", "(0,2]", "(,3)", "[1,)", "(,)", "[1,1)", "[2,3)"]),
    (3906, "numrange", &["empty", "[1,3)", "[1.0,3.00)", "[1,3]", "(1,3)", "(,3)", "(,3.0)", "[1,)", "(,)", "(1,1)"]),
    (
        3908,
        "tsrange",
        &["empty", "[2020-01-01,2020-01-02)", "[2020-01-01 00:00,2020-01-02 00:00)", "[-infinity,infinity)", "(,)"],
    ),
    (4532, "nummultirange", &["{}", "{[1,2)}", "{[1.0,2.0)}", "{[1,2),[3,4)}", "{[1,2),[2,4)}", "{[1,4)}", "{(,)}"]),
    (4451, "int4multirange", &["{}", "{[1,3)}", "{[1,2]}", "{[1,2),[5,6)}", "{[5,6),[1,2)}"]),
    (1266, "timetz", &["10:00+00", "11:00+01", "10:00+01", "10:00:00+00"]),
    (790, "money", &["1", "1.00", "-1", "2.5"]),
    (869, "inet", &["10.0.0.1", "10.0.0.1/32", "10.0.0.1/24", "10.0.0.0/24", "::1", "::1/128", "::ffff:10.0.0.1"]),
    (650, "cidr", &["10.0.0.0/24", "10.0.0.0/25", "10.0.0.0", "10.0.0.0/32"]),
    (829, "macaddr", &["08:00:2b:01:02:03", "08-00-2b-01-02-03", "08:00:2b:01:02:04"]),
    (1562, "varbit", &["", "0", "00", "1", "01", "10", "10000000", "100000000"]),
    (1560, "bit(4)", &["0000", "0001", "1000"]),
    (3220, "pg_lsn", &["0/0", "0/10", "0/010", "1/0"]),
];

#[tokio::test]
async fn keys_of_composed_values_are_equal_as_postgresql_says() {
    let server = Server::start().await;
    let mut pairs = 0;
    for (ty, name, texts) in COMPOSED {
        assert!(key_support(typed(ty), &server.env).equality, "{name}");
        assert!(!key_support(typed(ty), &server.env).order, "{name}");
        let sql = format!("SELECT v::{name} FROM unnest($1::text[]) WITH ORDINALITY u (v, n) ORDER BY n");
        let rows = server.client.query(&sql, &[&texts.to_vec()]).await.unwrap();
        let ours: Vec<Vec<u8>> = rows.iter().map(|row| key(&[ty], &[Some(row.get::<_, Raw>(0).0)])).collect();
        let sql = format!(
            "SELECT a.n::int, b.n::int FROM unnest($1::text[]) WITH ORDINALITY a (v, n)
                           JOIN unnest($1::text[]) WITH ORDINALITY b (v, n) ON a.v::{name} = b.v::{name}"
        );
        let equal = server.client.query(&sql, &[&texts.to_vec()]).await.unwrap();
        let equal: BTreeSet<(i32, i32)> = equal.iter().map(|row| (row.get(0), row.get(1))).collect();
        for (i, a) in ours.iter().enumerate() {
            for (j, b) in ours.iter().enumerate() {
                let theirs = equal.contains(&(i as i32 + 1, j as i32 + 1));
                assert_eq!(a == b, theirs, "{name}: {} and {}", texts[i], texts[j]);
                assert!(a == b || !a.starts_with(b), "{name}: {} is a prefix of {}", texts[j], texts[i]);
                pairs += 1;
            }
        }
    }
    println!("keys of composed values: {pairs} pairs compared, 0 differences");
}

/// glibc's `C.UTF-8` orders by code points, which is by bytes: databases with it may be taken as ones with `C`.
#[tokio::test]
async fn the_locale_c_utf8_orders_by_bytes() {
    let server = Server::start().await;
    let mut rng = StdRng::seed_from_u64(testkit::seed());
    server.client.batch_execute("CREATE COLLATION utf8_bytes (provider = libc, locale = 'C.UTF-8')").await.unwrap();
    let data: Vec<Vec<Value>> = (0..rows(4000))
        .map(|_| {
            let length = rng.random_range(0..4);
            let text: String = (0..length).map(|_| rng.random_range('\u{1}'..=char::MAX)).collect();
            vec![Some(if rng.random() { text } else { values::text(&mut rng) }.into_bytes())]
        })
        .collect();
    let (theirs, ours) = ranks(&server, &[(oid::TEXT, "text")], &data, " COLLATE utf8_bytes").await;
    assert_eq!(ours, theirs);
}
