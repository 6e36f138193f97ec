//! Random changes against a map in memory.

use std::collections::BTreeMap;

use crate::support::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sink::{KeySpec, TableSpec};
use types::{Row, StreamId, TableChange, TableName, oid};

type Key = (Option<i32>, Option<String>);

/// `mixed(v numeric-like text, a int nullable, note text, b text nullable)` unique by (b, a).
fn mixed() -> TableSpec {
    TableSpec {
        stream: StreamId(1),
        name: TableName::new("public", "mixed"),
        columns: vec![
            column("v", oid::INT8, "bigint", false),
            column("a", oid::INT4, "integer", false),
            column("tags", 1009, "text[]", false),
            column("b", oid::TEXT, "text", false),
        ],
        key: KeySpec::Columns(vec![3, 1]),
    }
}

fn whole(key: &Key, v: i64) -> Row {
    let a = key.0.map(i32::to_be_bytes);
    let tags = if v % 3 == 0 { None } else { Some(text_array(&[&v.to_string(), "x"])) };
    row(&[
        Some(&v.to_be_bytes()),
        a.as_ref().map(<[u8; 4]>::as_slice),
        tags.as_deref(),
        key.1.as_deref().map(str::as_bytes),
    ])
}

fn key_only(key: &Key) -> Row {
    let a = key.0.map(i32::to_be_bytes);
    row(&[key.1.as_deref().map(str::as_bytes), a.as_ref().map(<[u8; 4]>::as_slice)])
}

fn text_array(values: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [1, 0, oid::TEXT, values.len() as u32, 1] {
        bytes.extend(word.to_be_bytes());
    }
    for value in values {
        bytes.extend((value.len() as u32).to_be_bytes());
        bytes.extend(value.as_bytes());
    }
    bytes
}

fn as_text(key: &Key, v: i64) -> String {
    let tags = if v % 3 == 0 { "∅".into() } else { format!("[\"{v}\",\"x\"]") };
    let (a, b) = (key.0.map_or("∅".into(), |a| a.to_string()), key.1.clone().unwrap_or("∅".into()));
    format!("{v}|{a}|{tags}|{b}")
}

#[tokio::test]
async fn random_changes_with_null_keys_leave_exactly_the_rows_they_should() {
    let seed = std::env::var("TRIBUTARY_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random);
    println!("TRIBUTARY_SEED={seed}");
    for kind in kinds() {
        let mut rng = StdRng::seed_from_u64(seed);
        let t = Target::start(kind).await;
        let spec = mixed();
        let mut model: BTreeMap<Key, i64> = BTreeMap::new();
        t.publish(&spec, vec![], 1).await;
        for seq in 2..60 {
            let size = if seq % 10 == 0 { 2000 } else { rng.random_range(1..40) };
            let mut changes: BTreeMap<Key, TableChange> = BTreeMap::new();
            for _ in 0..size {
                let a = rng.random_bool(0.8).then(|| rng.random_range(0..300));
                let b = rng.random_bool(0.8).then(|| format!("b{}", rng.random_range(0..5)));
                let key = (a, b);
                if changes.contains_key(&key) {
                    continue;
                }
                let v = rng.random_range(0..1000);
                let change = if !model.contains_key(&key) {
                    model.insert(key.clone(), v);
                    TableChange::Insert(whole(&key, v))
                } else if rng.random_bool(0.6) {
                    model.insert(key.clone(), v);
                    TableChange::Update(whole(&key, v))
                } else {
                    model.remove(&key);
                    TableChange::Delete(key_only(&key))
                };
                changes.insert(key, change);
            }
            t.sink.apply(&batch(seq, spec.stream, changes.into_values().collect())).await.unwrap();
            let mut expected: Vec<_> = model.iter().map(|(k, v)| as_text(k, *v)).collect();
            let mut found = t.rows("mixed").await;
            expected.sort();
            found.sort();
            assert_eq!(found, expected, "after cut {seq}");
        }
    }
}

#[tokio::test]
async fn rows_without_natural_key_have_a_row_id_behind_the_querys_columns() {
    let t = Target::start(testkit::Kind::Single).await;
    let spec = TableSpec { key: KeySpec::RowId, ..totals(1) };
    let with_id =
        |region: &str, n: i64, id: u8| row(&[Some(region.as_bytes()), Some(&n.to_be_bytes()), Some(&[id; 16])]);
    t.publish(&spec, vec![with_id("a", 1, 1), with_id("a", 1, 2)], 1).await;
    let many = (10..200).map(|id| TableChange::Insert(with_id("b", 2, id))).collect();
    t.sink.apply(&batch(2, spec.stream, many)).await.unwrap();
    let gone = (10..200).map(|id| TableChange::Delete(row(&[Some(&[id; 16])])));
    let gone =
        gone.chain([TableChange::Delete(row(&[Some(&[1; 16])])), TableChange::Insert(with_id("c", 3, 3))]).collect();
    t.sink.apply(&batch(3, spec.stream, gone)).await.unwrap();
    assert_eq!(
        t.rows("totals_1").await,
        ["a|1|02020202-0202-0202-0202-020202020202", "c|3|03030303-0303-0303-0303-030303030303"]
    );
    assert_eq!(
        t.one::<String>("SELECT contype::text FROM pg_constraint WHERE conrelid = 'totals_1'::regclass").await,
        "p"
    );
}

#[tokio::test]
async fn a_table_of_one_row_is_updated_without_a_key() {
    let t = Target::start(testkit::Kind::Single).await;
    let spec = TableSpec { key: KeySpec::Columns(vec![]), ..totals(1) };
    t.publish(&spec, vec![total(None, 0)], 1).await;
    t.sink.apply(&batch(2, spec.stream, vec![TableChange::Update(total(Some("x"), 4))])).await.unwrap();
    assert_eq!(t.rows("totals_1").await, ["x|4"]);
    t.sink.apply(&batch(3, spec.stream, vec![TableChange::Delete(row(&[]))])).await.unwrap();
    t.sink.apply(&batch(4, spec.stream, vec![TableChange::Insert(total(None, 5))])).await.unwrap();
    assert_eq!(t.rows("totals_1").await, ["∅|5"]);
}

#[tokio::test]
async fn statements_find_rows_by_the_keys_index_whatever_the_size() {
    let t = Target::start(testkit::Kind::Single).await;
    let spec = totals(1);
    t.publish(&spec, vec![], 1).await;
    let region = |i: i64| format!("r{i:06}");
    // Statements are planned while the table is empty …
    t.sink.apply(&batch(2, spec.stream, vec![TableChange::Insert(total(Some("x"), 0))])).await.unwrap();
    t.sink.apply(&batch(3, spec.stream, vec![TableChange::Update(total(Some("x"), 1))])).await.unwrap();
    let all = (0..50_000).map(|i| TableChange::Insert(total(Some(&region(i)), i))).collect();
    t.sink.apply(&batch(4, spec.stream, all)).await.unwrap();
    // A session tells of its scans with the first commit that is a second behind the last time.
    let told = async |seq| {
        tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
        let one = TableChange::Update(total(Some("x"), seq as i64));
        t.sink.apply(&batch(seq, spec.stream, vec![one])).await.unwrap();
        t.one::<i64>("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'totals_1'").await
    };
    let before = told(5).await;
    // … and find one row of many by the index all the same.
    for seq in 6..56 {
        let changes = (0..10).map(|i| TableChange::Update(total(Some(&region(i * 700)), seq as i64))).collect();
        t.sink.apply(&batch(seq, spec.stream, changes)).await.unwrap();
    }
    assert_eq!(told(56).await, before);
}
