//! Stream tables that are computed while cuts go on.

#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ivm::{Building, IvmError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use types::StreamId;
use world::driver::{Content, Driver, Pretended, follow, key_of};
use world::plans::Case;
use world::{World, plans};

/// One that is being computed: what is to be done with it next, and what it has handed over.
struct Work {
    building: Building,
    computed: bool,
    content: Content,
}

/// `None` when another is making an arrangement that both need.
fn begin(driver: &mut Driver, case: &Case, id: u32, stop: &Arc<AtomicBool>) -> Option<Work> {
    let evaluator = Pretended { away: Arc::new(AtomicBool::new(false)) };
    let engine = driver.engine();
    engine.add_stream(case.define(id)).unwrap();
    match engine.begin_build(StreamId(id), Box::new(evaluator), stop.clone()) {
        Ok(building) => Some(Work { building, computed: false, content: Content::new() }),
        Err(IvmError::NotNow(reason)) if reason.contains("the same arrangement") => {
            engine.drop_stream(StreamId(id)).unwrap();
            None
        }
        Err(error) => panic!("{}: {error}", case.name),
    }
}

fn compute(work: &mut Work, case: &Case) {
    let content = &mut work.content;
    let rows = work.building.compute(&mut |rows| {
        for row in rows {
            assert!(content.insert(key_of(case, &row), row).is_none(), "{}: a key twice", case.name);
        }
        Ok(())
    });
    assert_eq!(rows.unwrap(), content.len() as u64);
    work.computed = true;
}

#[test]
fn a_stream_table_computed_beside_cuts_is_exact_at_its_end() {
    let cases = plans::all();
    let mut finished = 0;
    for seed in 0..2 {
        let seed = std::env::var("TRIBUTARY_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(seed);
        let mut world = World::new(StdRng::seed_from_u64(seed));
        let mut driver = Driver::new();
        driver.start(&world);
        let stop = Arc::new(AtomicBool::new(false));
        let mut works: BTreeMap<u32, Work> = BTreeMap::new();
        for step in 0..60 {
            let what = format!("TRIBUTARY_SEED={seed}, step {step}");
            let count = world.random.random_range(0..6);
            let transactions = world.transactions(count);
            let cut = world.next_cut();
            driver.apply(cut, &transactions, &cases);
            driver.check(&world, &cases, &what);
            for _ in 0..6 {
                let id = world.random.random_range(1..=cases.len() as u32);
                let case = &cases[id as usize - 1];
                let choice = world.random.random_range(0..3);
                match works.remove(&id) {
                    None => {
                        driver.drop_stream(id);
                        works.extend(begin(&mut driver, case, id, &stop).map(|work| (id, work)));
                    }
                    Some(mut work) if !work.computed => {
                        compute(&mut work, case);
                        works.insert(id, work);
                    }
                    Some(mut work) if choice < 2 => {
                        driver.engine().advance(&mut work.building).unwrap();
                        // Following may come cuts later; the end does it where it was not done.
                        if choice == 0 {
                            work.building.follow().unwrap();
                            works.insert(id, work);
                        } else {
                            finish(&mut driver, case, id, work);
                            finished += 1;
                        }
                    }
                    Some(work) => {
                        finish(&mut driver, case, id, work);
                        finished += 1;
                    }
                }
            }
            driver.check(&world, &cases, &what);
            if world.random.random_range(0..20) == 0 {
                // The process ends: whatever was being computed is forgotten.
                let unfinished: Vec<u32> = std::mem::take(&mut works).into_keys().collect();
                driver.reopen();
                for id in unfinished {
                    assert!(driver.engine().stream_sources(StreamId(id)).is_none(), "{what}");
                }
            }
        }
    }
    assert!(finished > 20, "{finished}");
}

fn finish(driver: &mut Driver, case: &Case, id: u32, work: Work) {
    let changes = driver.engine().finish_build(work.building).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let mut content = work.content;
    changes.iter().for_each(|change| follow(case, &mut content, change));
    driver.contents.insert(StreamId(id), content);
}

#[test]
fn one_that_is_not_wanted_any_more_gives_up_and_leaves_nothing() {
    let cases = plans::all();
    let mut world = World::new(StdRng::seed_from_u64(1));
    let mut driver = Driver::new();
    driver.start(&world);
    let transactions = world.transactions(20);
    let cut = world.next_cut();
    driver.apply(cut, &transactions, &cases);
    // Before anything is read, and when a first piece has been handed over: of a table, and of what is read from a subplan.
    let moments = [(cases[0].name, false), (cases[0].name, true), ("groups beside their total", true)];
    for (id, (name, within)) in (1..).zip(moments) {
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let stop = Arc::new(AtomicBool::new(!within));
        let mut work = begin(&mut driver, case, id, &stop).unwrap();
        let mut handed_over = 0;
        let computed = work.building.compute(&mut |rows| {
            handed_over += rows.len();
            stop.store(true, Ordering::Relaxed);
            Ok(())
        });
        let error = computed.expect_err(name);
        assert!(error.to_string().contains("no longer wanted"), "{name}: {error}");
        assert_eq!(handed_over > 0, within, "{name}");
        drop(work);
        driver.drop_stream(id);
    }
    let beside = driver.dir.path().parent().unwrap().to_owned();
    let name = driver.dir.path().file_name().unwrap().to_string_lossy().into_owned();
    let left = |name: &str| {
        let entries = std::fs::read_dir(&beside).unwrap();
        entries
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with(&format!("{name}.frozen")))
            .count()
    };
    assert_eq!(left(&name), 0);
    // What a process that was killed has left goes with the next start.
    std::fs::create_dir(beside.join(format!("{name}.frozen.7"))).unwrap();
    driver.reopen();
    assert_eq!(left(&name), 0);
    driver.create(&cases[0], 1);
    driver.check(&world, &cases, "after giving up");
}
