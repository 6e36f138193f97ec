//! Sources of which only some rows are kept: the same answers, fewer rows.

#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use types::{Change, Field, Op, RowBuilder, StreamId, TableId};
use world::driver::Driver;
use world::{World, int4, int8, plans, row, text, transaction};

#[test]
fn queries_over_the_rows_that_are_kept_are_exact() {
    let first: u64 = rand::rng().random_range(0..1_000_000);
    let first = std::env::var("TRIBUTARY_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(first);
    for seed in first..first + 6 {
        println!("TRIBUTARY_SEED={seed}");
        let least = (seed % 3) as i32;
        let cases: Vec<_> = plans::all().iter().filter_map(|case| plans::above::above(case, least)).collect();
        assert!(cases.len() > 10, "{} queries", cases.len());
        let random = StdRng::seed_from_u64(seed);
        let mut world = if seed % 2 == 0 { World::new(random) } else { World::hashed(random) };
        world.keep_only(vec![plans::above::first_above(0, least); 3]);
        let mut driver = Driver::new();
        driver.start(&world);
        for (id, case) in (1..).zip(&cases) {
            driver.create(case, id);
        }
        for step in 0..50 {
            let what = format!("seed {seed}, step {step}");
            let count = if step % 7 == 6 { 60 } else { world.random.random_range(0..6) };
            let transactions = world.transactions(count);
            let cut = world.next_cut();
            let output = driver.apply(cut, &transactions, &cases);
            assert!(output.failed.is_empty() && output.broken.is_empty(), "{what}: {output:?}");
            driver.check(&world, &cases, &what);
            match world.random.random_range(0..8) {
                0 => driver.reopen(),
                1 => {
                    let id = world.random.random_range(1..=cases.len() as u32);
                    driver.drop_stream(id);
                    driver.create(&cases[id as usize - 1], id);
                }
                _ => {}
            }
        }
        for (place, table) in world.tables.iter().enumerate() {
            let mut kept = Vec::new();
            let mut take = |rows| {
                kept.extend(rows);
                Ok(())
            };
            driver.engine().scan_source(table.source, &mut take).unwrap();
            let mut wanted: Vec<_> = world.logical(place).iter().map(row).collect();
            wanted
                .retain(|r| matches!(r.field(0), Field::Value(v) if i32::from_be_bytes(v.try_into().unwrap()) > least));
            kept.sort();
            wanted.sort();
            assert!(kept == wanted, "seed {seed}: other rows of {} are kept", table.name);
        }
    }
}

/// `a` keeps rows with more than 1 in its first column; the row of the key 7 has 0.
fn with_one_row() -> (World, Driver, Vec<plans::Case>) {
    let cases: Vec<_> = plans::all().iter().filter_map(|case| plans::above::above(case, 1)).collect();
    let mut world = World::new(StdRng::seed_from_u64(1));
    world.keep_only(vec![plans::above::first_above(0, 1); 3]);
    let mut driver = Driver::new();
    driver.start(&world);
    for (id, case) in (1..).zip(&cases) {
        driver.create(case, id);
    }
    let values = vec![int4(0), int8(7), None, text("long"), None, None];
    let change = Change { table: TableId(1), op: Op::Insert(row(&values)) };
    world.rows.get_mut(&TableId(1)).unwrap().push(values);
    step(&mut world, &mut driver, &cases, change);
    (world, driver, cases)
}

fn step(world: &mut World, driver: &mut Driver, cases: &[plans::Case], change: Change) -> ivm::CutOutput {
    world.lsn += 10;
    let transactions = [transaction(0, world.lsn, &[change])];
    let cut = world.next_cut();
    driver.apply(cut, &transactions, cases)
}

/// An update of the row of key 7 that leaves `b` out.
fn without_b(first: i32) -> Change {
    let mut row = RowBuilder::new();
    for value in [int4(first), int8(7), None] {
        row.push_value(value.as_deref());
    }
    row.push(Field::Unchanged);
    row.push(Field::Null);
    row.push(Field::Null);
    Change { table: TableId(1), op: Op::Update { old: None, new: row.finish() } }
}

#[test]
fn an_update_without_a_value_of_a_row_that_is_not_kept_is_nothing_while_it_is_not_wanted() {
    let (mut world, mut driver, cases) = with_one_row();
    world.rows.get_mut(&TableId(1)).unwrap()[0][0] = int4(1);
    let output = step(&mut world, &mut driver, &cases, without_b(1));
    assert!(output.streams.is_empty() && output.failed.is_empty() && output.broken.is_empty(), "{output:?}");
    driver.check(&world, &cases, "an update of what is not kept");
}

/// The value is not known: what reads it stops, and nothing wrong is shown.
#[test]
fn an_update_without_a_value_of_a_row_that_comes_to_be_wanted_stops_what_reads_it() {
    let (mut world, mut driver, cases) = with_one_row();
    let output = step(&mut world, &mut driver, &cases, without_b(2));
    let source = world.tables[0].source;
    assert!(matches!(&output.broken[..], [(id, reason)] if *id == source && reason.contains("not kept")), "{output:?}");
    let readers = (1..).zip(&cases).filter(|(_, c)| c.tables.contains(&0)).map(|(id, _)| StreamId(id));
    let mut failed: Vec<_> = output.failed.iter().map(|f| f.0).collect();
    failed.sort();
    assert_eq!(failed, readers.collect::<Vec<_>>());
}
