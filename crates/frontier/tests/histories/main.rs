//! Random histories × random delivery, checked against the complete history.
//!
//! `TRIBUTARY_SEED=n` replays one history, `TRIBUTARY_LONG=1` runs 120,000 of them, otherwise 3,000.

#![allow(clippy::unwrap_used, reason = "a test")]

mod machine;
mod world;

use rand::SeedableRng;
use rand::rngs::StdRng;

#[test]
fn every_cut_is_closed_and_everything_committed_comes_into_one() {
    if let Ok(seed) = std::env::var("TRIBUTARY_SEED") {
        let seed = seed.parse().expect("TRIBUTARY_SEED is a number");
        machine::run(seed, StdRng::seed_from_u64(seed), true);
        return;
    }
    let count: u64 = if std::env::var("TRIBUTARY_LONG").is_ok_and(|v| v == "1") { 120_000 } else { 3_000 };
    let first: u64 = rand::random::<u32>().into();
    eprintln!("seeds {first} to {}", first + count - 1);
    let mut seen = machine::Seen::default();
    for seed in first..first + count {
        seen += machine::run(seed, StdRng::seed_from_u64(seed), false);
    }
    eprintln!("{count} histories: {seen:?}");
    // The histories are worth something only when they hold what they are for.
    assert!(seen.cuts > count && seen.asks > count && seen.transactions > count, "{seen:?}");
    assert!(seen.restarts > count / 4 && seen.crashes > count / 8 && seen.late > count / 8, "{seen:?}");
}
