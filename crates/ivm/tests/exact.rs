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
        let mut world = World::new(StdRng::seed_from_u64(seed));
        let mut driver = Driver::new();
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
            out.push(driver.apply(cut, &transactions, &cases));
        }
        out
    };
    assert_eq!(run(), run());
}
