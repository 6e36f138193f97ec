//! Stream tables stay exact: random cuts against the queries evaluated from scratch.

#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::atomic::Ordering;
use world::driver::Driver;
use world::{World, plans};

/// The seed: `TRIBUTARY_SEED` replays one.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("TRIBUTARY_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => vec![seed],
        None => {
            let first = rand::rng().random_range(0..1_000_000);
            (first..first + count).collect()
        }
    }
}

#[test]
fn every_query_is_exact_after_every_cut_through_crashes_and_rebuilds() {
    let cases = plans::all();
    for seed in seeds(8) {
        println!("TRIBUTARY_SEED={seed}");
        let random = StdRng::seed_from_u64(seed);
        let mut world = if seed % 2 == 0 { World::new(random) } else { World::hashed(random) };
        let mut driver = Driver::new();
        driver.memory = [None, Some(0), Some(20_000)][seed as usize / 2 % 3];
        driver.ahead = seed % 4 != 3;
        driver.reopen();
        driver.start(&world);
        let ids: Vec<u32> = (1..=cases.len() as u32).collect();
        for &id in &ids {
            // Some over empty sources, the others later.
            if id % 3 == 0 {
                driver.create(&cases[id as usize - 1], id);
            }
        }
        for step in 0..60 {
            let what = format!("seed {seed}, step {step}");
            let count = if step % 7 == 6 { 60 } else { world.random.random_range(0..6) };
            let transactions = world.transactions(count);
            driver.away.store(world.random.random_bool(0.1), Ordering::Relaxed);
            let cut = world.next_cut();
            let output = driver.apply(cut, &transactions, &cases);
            assert!(output.failed.is_empty() && output.broken.is_empty(), "{what}: {output:?}");
            driver.away.store(false, Ordering::Relaxed);
            driver.check(&world, &cases, &what);
            match world.random.random_range(0..10) {
                0 => driver.reopen(),
                1 => driver.publish(),
                2 | 3 => {
                    let id = ids[world.random.random_range(0..ids.len())];
                    if driver.contents.contains_key(&types::StreamId(id)) && world.random.random_bool(0.5) {
                        driver.drop_stream(id);
                    } else {
                        driver.drop_stream(id);
                        driver.create(&cases[id as usize - 1], id);
                        driver.check(&world, &cases, &what);
                    }
                }
                4 if step > 10 => {
                    for &id in &ids {
                        if !driver.contents.contains_key(&types::StreamId(id)) {
                            driver.create(&cases[id as usize - 1], id);
                        }
                    }
                    driver.check(&world, &cases, &what);
                }
                _ => {}
            }
        }
        driver.engine().settle().unwrap();
        let behind = driver.behind.lock().unwrap();
        assert!(behind.is_sorted() && (behind.len() > 30) == driver.ahead, "seed {seed}: {behind:?}");
    }
}

/// More rows than any piece, cache or batch holds at once.
#[test]
fn thousands_of_rows_and_groups_are_exact() {
    use types::{Change, Op};
    use world::{int4, int8, numeric, row, text, transaction};
    let cases: Vec<_> = plans::all();
    let wanted = [
        "rows by their key",
        "extremes and distinct values by group",
        "copies of rows of a keyed table",
        "with itself, by key",
    ];
    let chosen: Vec<u32> = (1..).zip(&cases).filter(|(_, c)| wanted.contains(&c.name)).map(|(id, _)| id).collect();
    assert_eq!(chosen.len(), 4);
    let mut world = World::new(StdRng::seed_from_u64(11));
    let mut driver = Driver::new();
    driver.memory = Some(300_000);
    driver.reopen();
    driver.start(&world);
    for round in 0..3i64 {
        let mut changes = Vec::new();
        for id in 0..9_000 {
            let n = world.random.random_range(0..3_000);
            let values =
                vec![int4(n % 7), int8(id), None, text(&format!("t{n}")), numeric(&format!("{}.5", id % 13)), None];
            let physical = types::TableId(1);
            let rows = world.rows.get_mut(&physical).unwrap();
            let op = if round == 0 {
                rows.push(values.clone());
                Op::Insert(row(&values))
            } else if id % 3 == round {
                rows[id as usize] = values.clone();
                Op::Update { old: None, new: row(&values) }
            } else {
                continue;
            };
            changes.push(Change { table: physical, op });
        }
        world.lsn += 10;
        let transactions = [transaction(0, world.lsn, &changes)];
        let cut = world.next_cut();
        driver.apply(cut, &transactions, &cases);
        driver.check(&world, &cases, &format!("round {round}"));
        for &id in &chosen {
            // Computed over what is there, and, the first two, followed from the cut before.
            if round == 0 || id % 2 == 0 {
                driver.drop_stream(id);
                driver.create(&cases[id as usize - 1], id);
            }
        }
        driver.check(&world, &cases, &format!("computed in round {round}"));
        driver.publish();
    }
}

#[test]
fn the_same_cuts_give_the_same_changes() {
    let cases = plans::all();
    let run = || {
        let mut world = World::new(StdRng::seed_from_u64(7));
        let mut driver = Driver::new();
        driver.start(&world);
        for (id, case) in (1..).zip(&cases) {
            driver.create(case, id);
        }
        let mut out = Vec::new();
        for _ in 0..10 {
            let transactions = world.transactions(20);
            let cut = world.next_cut();
            // But for how long they take.
            out.push(ivm::CutOutput { took: Vec::new(), ..driver.apply(cut, &transactions, &cases) });
        }
        out
    };
    assert_eq!(run(), run());
}

/// What the other tests compare says something of every way of finding the rows of a join's side.
#[test]
fn the_queries_find_rows_in_every_way() {
    let world = World::new(StdRng::seed_from_u64(3));
    let mut driver = Driver::new();
    driver.start(&world);
    let mut ways = String::new();
    for (id, case) in (1..).zip(&plans::all()) {
        driver.create(case, id);
        for operator in driver.engine().operators(types::StreamId(id)).unwrap().stats() {
            ways.push_str(&format!("{}: {};\n", operator.name, operator.state));
        }
    }
    for way in [
        "by their key;",
        "by the first columns",
        "shared arrangement",
        "own arrangement",
        "a row a key",
        "above the least;",
        "below the greatest, or equal;",
    ] {
        assert!(ways.contains(way), "{way}:\n{ways}");
    }
}
