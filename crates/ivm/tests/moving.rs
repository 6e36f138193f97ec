//! Stream tables that read another source of the same table from some cut on stay exact.

#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

use bytes::BytesMut;
use ivm::{IvmError, SourceDef, StreamDef, Transaction};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use types::{Change, Op, Row, SourceId, StreamId, TableId};
use world::driver::Driver;
use world::plans::{self, Case};
use world::{World, definition};

/// What is added to the numbers of a table's other source and of its physical tables.
const OTHER: u32 = 100;

/// The columns of a table that a case reads, the last first: where each is in the table.
fn columns(case: &Case, world: &World, table: usize) -> Vec<usize> {
    let kept = &world.tables[table];
    let read = |name: &str| {
        let of_table = case.plan.sources.iter().zip(&case.tables).filter(|(_, t)| **t == table);
        of_table.flat_map(|(s, _)| &s.columns).any(|c| c.name == name)
    };
    let wanted = |i: &usize| kept.identity.contains(i) || read(&kept.columns[*i].name);
    (0..kept.columns.len()).rev().filter(wanted).collect()
}

/// The other source: just the columns that are read, in another order.
fn other(case: &Case, world: &World, table: usize) -> SourceDef {
    let columns = columns(case, world, table);
    let def = definition(&world.tables[table]);
    SourceDef {
        id: SourceId(def.id.0 + OTHER),
        identity: def.identity.iter().map(|i| columns.iter().position(|c| c == i).unwrap()).collect(),
        columns: columns.iter().map(|&c| def.columns[c].clone()).collect(),
        tables: def.tables.iter().map(|(t, n)| (TableId(t.0 + OTHER), *n)).collect(),
        homes: def.homes.iter().map(|t| TableId(t.0 + OTHER)).collect(),
        ..def
    }
}

/// The case over the other sources.
fn over_others(case: &Case, world: &World, id: u32) -> StreamDef {
    let def = case.define(id);
    let place = |(map, table): (&Vec<usize>, &usize)| {
        let columns = columns(case, world, *table);
        map.iter().map(|c| columns.iter().position(|k| k == c).unwrap()).collect()
    };
    StreamDef {
        sources: def.sources.iter().map(|s| SourceId(s.0 + OTHER)).collect(),
        column_map: def.column_map.iter().zip(&case.tables).map(place).collect(),
        ..def
    }
}

/// The same transactions, with every change of a table for its other source, too.
fn for_both(case: &Case, world: &World, transactions: &[Transaction]) -> Vec<Transaction> {
    let mut out = Vec::new();
    for transaction in transactions {
        let mut pieces = transaction.pieces.clone();
        for piece in &transaction.pieces {
            let (mut rest, mut again) = (piece.clone(), BytesMut::new());
            while let Some(change) = Change::decode(&mut rest).unwrap() {
                let table = world.tables.iter().position(|t| t.physical.contains(&change.table)).unwrap();
                let columns = columns(case, world, table);
                let row = |row: Row| row.project(&columns);
                let op = match change.op {
                    Op::Insert(new) => Op::Insert(row(new)),
                    Op::Update { old, new } => Op::Update { old: old.map(row), new: row(new) },
                    Op::Delete(old) => Op::Delete(row(old)),
                    Op::Truncate => Op::Truncate,
                };
                Change { table: TableId(change.table.0 + OTHER), op }.encode(&mut again);
            }
            pieces.push(again.freeze());
        }
        out.push(Transaction { pieces, ..transaction.clone() });
    }
    out
}

#[test]
fn a_stream_table_that_holds_no_rows_of_its_source_moves_to_another_and_stays_exact() {
    let seed: u64 = std::env::var("TRIBUTARY_SEED").map_or_else(|_| rand::rng().random(), |s| s.parse().unwrap());
    println!("TRIBUTARY_SEED={seed}");
    let cases = plans::all();
    let (mut moved, mut stayed) = (Vec::new(), Vec::new());
    for (at, case) in cases.iter().enumerate() {
        let id = at as u32 + 1;
        let mut world = World::new(StdRng::seed_from_u64(seed + u64::from(id)));
        let mut driver = Driver::new();
        driver.start(&world);
        let mut tables = case.tables.clone();
        tables.sort_unstable();
        tables.dedup();
        for &table in &tables {
            let def = other(case, &world, table);
            let source = def.id;
            driver.engine().add_source(def).unwrap();
            driver.engine().finish_load(source, &[]).unwrap();
        }
        driver.create_as(case, &over_others(case, &world, id));
        let mut moves = false;
        for step in 0..12 {
            let what = format!("{}, seed {seed}, step {step}", case.name);
            let transactions = world.transactions(6);
            let transactions = for_both(case, &world, &transactions);
            let cut = world.next_cut();
            let output = driver.apply(cut, &transactions, &cases);
            assert!(output.failed.is_empty() && output.broken.is_empty(), "{what}: {output:?}");
            driver.check(&world, &cases, &what);
            if step == 4 {
                let StreamDef { sources, column_map, .. } = case.define(id);
                moves = driver.engine().read_from(StreamId(id), sources.clone(), column_map).unwrap();
                let now = driver.engine().stream_sources(StreamId(id)).unwrap();
                assert_eq!(now == sources, moves || sources.is_empty(), "{what}: {now:?}");
                if moves {
                    // Nobody reads them any more.
                    for table in &tables {
                        let source = SourceId(world.tables[*table].source.0 + OTHER);
                        driver.engine().drop_source(source).unwrap();
                    }
                }
            }
            if step == 7 {
                driver.reopen();
            }
        }
        if moves { &mut moved } else { &mut stayed }.push(case.name);
    }
    println!("moved: {moved:?}\nstayed: {stayed:?}");
    assert!(moved.len() >= 15 && stayed.len() >= 15, "{} moved, {} stayed", moved.len(), stayed.len());
    assert!(moved.contains(&"extremes and distinct values by group"), "{moved:?}");
}

#[test]
fn what_is_not_ready_or_not_the_same_is_not_moved_to() {
    let cases = plans::all();
    let at = cases.iter().position(|c| c.name == "extremes and distinct values by group").unwrap();
    let (case, id) = (&cases[at], StreamId(at as u32 + 1));
    let world = World::new(StdRng::seed_from_u64(1));
    let mut driver = Driver::new();
    driver.start(&world);
    driver.create(case, id.0);
    let StreamDef { sources, column_map, .. } = case.define(id.0);
    let to = over_others(case, &world, id.0);
    let engine = driver.engine();
    // Not there, and not read yet.
    assert!(matches!(engine.read_from(id, to.sources.clone(), to.column_map.clone()), Err(IvmError::NotNow(_))));
    let def = other(case, &world, case.tables[0]);
    engine.add_source(def.clone()).unwrap();
    assert!(matches!(engine.read_from(id, to.sources.clone(), to.column_map.clone()), Err(IvmError::NotNow(_))));
    engine.finish_load(def.id, &[]).unwrap();
    // Columns that it has not.
    let beyond = vec![vec![usize::MAX; column_map[0].len()]];
    assert!(!engine.read_from(id, to.sources.clone(), beyond).unwrap());
    assert_eq!(engine.stream_sources(id).unwrap(), sources);
    assert!(matches!(engine.read_from(StreamId(999), to.sources.clone(), Vec::new()), Err(IvmError::UnknownStream(_))));
    engine.pause(id).unwrap();
    assert!(!engine.read_from(id, to.sources, to.column_map).unwrap());
}
