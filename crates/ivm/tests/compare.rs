//! Tables read again: the difference makes the source equal to them, whatever both hold.

#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ivm::{Engine, Scope, Transaction};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use types::{Cut, Lsn, NodeId, Positions, Row, Seq, SourceId, TableId};
use world::driver::Pretended;
use world::{Values, definition, int4, int8, row, tables, text};

/// Rows over few keys, some of them doubled where there is no key.
fn rows(random: &mut StdRng, keyed: bool) -> Vec<Row> {
    let mut out = Vec::new();
    for key in 0..12 {
        if random.random_bool(0.6) {
            let value = random.random_range(0..3);
            let values: Values = if keyed {
                vec![int4(value), int8(key), None, text("b"), None, None]
            } else {
                vec![int4(value), text("y")]
            };
            out.push(row(&values));
        }
    }
    out
}

fn content(engine: &Engine, source: SourceId) -> Vec<Row> {
    let mut all = Vec::new();
    engine
        .scan_source(source, &mut |rows| {
            all.extend(rows);
            Ok(())
        })
        .unwrap();
    all.sort();
    all
}

#[test]
fn the_difference_makes_the_source_equal_to_what_was_read_again() {
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let store = state::Store::open(dir.path(), &state::Options::default()).unwrap();
        let evaluator = Pretended { away: Arc::new(AtomicBool::new(false)) };
        let mut engine = Engine::open(store, Box::new(evaluator), scalar::Env::default()).unwrap();
        let table = &tables()[if seed % 2 == 0 { 0 } else { 2 }];
        let keyed = !table.identity.is_empty();
        let (source, [stays, old]) = (table.source, table.physical);
        let (new, shadow) = (TableId(900), SourceId(900));
        engine.add_source(definition(table)).unwrap();
        let (kept, gone) = (rows(&mut random, keyed), rows(&mut random, keyed));
        // Keys of the two tables differ, as those of two shards do; multisets share rows.
        let kept: Vec<Row> = if keyed { kept.into_iter().step_by(2).collect() } else { kept };
        let gone: Vec<Row> =
            gone.into_iter().filter(|r| !keyed || kept.iter().all(|k| k.field(1) != r.field(1))).collect();
        engine.load_rows(source, stays, &kept).unwrap();
        engine.load_rows(source, old, &gone).unwrap();
        engine.finish_load(source, &[]).unwrap();
        // The second table went to a new one with other rows; the first is not looked at.
        let now: Vec<Row> = rows(&mut random, keyed);
        let now: Vec<Row> =
            now.into_iter().filter(|r| !keyed || kept.iter().all(|k| k.field(1) != r.field(1))).collect();
        engine.add_shadow(source, shadow, &[(new, NodeId(2))]).unwrap();
        engine.load_rows(shadow, new, &now).unwrap();
        engine.add_tables(source, &[(new, NodeId(2))]).unwrap();
        let scope = Scope { going: [old].into(), again: [(new, new)].into() };
        let difference = engine.difference(source, shadow, &scope, usize::MAX).unwrap().unwrap();
        let cut = Cut { seq: Seq(1), positions: Positions([(NodeId(2), Lsn(9))].into()) };
        engine.apply(cut, &[Transaction { node: NodeId(2), end: Lsn(9), pieces: difference.pieces }]).unwrap();
        let mut expected: Vec<Row> = kept.iter().chain(&now).cloned().collect();
        expected.sort();
        assert_eq!(content(&engine, source), expected, "seed {seed}");
        engine.remove_tables(source, &[old].into()).unwrap();
        // Compared once more, nothing differs.
        let scope = Scope { again: [(new, new)].into(), ..Scope::default() };
        assert_eq!(engine.difference(source, shadow, &scope, usize::MAX).unwrap().unwrap().changes, 0, "seed {seed}");
        engine.drop_source(shadow).unwrap();
        assert_eq!(content(&engine, source), expected, "seed {seed}");
    }
}

#[test]
fn a_shadow_does_not_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let store = state::Store::open(dir.path(), &state::Options::default()).unwrap();
        let evaluator = Pretended { away: Arc::new(AtomicBool::new(false)) };
        Engine::open(store, Box::new(evaluator), scalar::Env::default()).unwrap()
    };
    let mut engine = open();
    let table = &tables()[0];
    engine.add_source(definition(table)).unwrap();
    engine.finish_load(table.source, &[]).unwrap();
    engine.add_shadow(table.source, SourceId(900), &[(table.physical[0], NodeId(1))]).unwrap();
    drop(engine);
    let mut engine = open();
    assert!(engine.tables_of(SourceId(900)).is_err());
    assert!(engine.has_table(table.source, table.physical[0]));
    engine.add_shadow(table.source, SourceId(900), &[(table.physical[0], NodeId(1))]).unwrap();
}
