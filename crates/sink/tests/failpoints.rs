//! An aggregator that dies just before or just after a cut's COMMIT: the cut is there exactly once in the end.

#![allow(clippy::unwrap_used, reason = "in tests; helpers are no test functions to clippy")]
#![allow(dead_code, reason = "what the other suite uses of the support")]

#[path = "target/support.rs"]
mod support;

use support::*;
use types::{Seq, TableChange};

#[tokio::test]
async fn a_cut_is_written_once_wherever_its_writer_dies() {
    let scenario = fail::FailScenario::setup();
    for kind in kinds() {
        let t = Target::start(kind).await;
        let spec = totals(1);
        t.publish(&spec, vec![], 1).await;
        for (seq, failpoint) in (2..).zip(["sink-before-commit", "sink-after-commit"]) {
            let name = failpoint;
            let many: Vec<_> = (0..100).map(|i| TableChange::Insert(total(Some(&format!("{name}{i}")), 1))).collect();
            let cut = batch(seq, spec.stream, many);
            fail::cfg(failpoint, "1*panic").unwrap();
            let (dying, sink) = (cut.clone(), t.sink.clone());
            let died = tokio::spawn(async move { sink.apply(&dying).await }).await;
            assert!(died.unwrap_err().is_panic());
            fail::remove(failpoint);
            let restarted = t.another("default").await;
            restarted.take_over().await.unwrap();
            let there = restarted.frontier().await.unwrap().seq == Seq(seq);
            assert_eq!(there, failpoint == "sink-after-commit");
            restarted.apply(&cut).await.unwrap();
            assert_eq!(t.one::<i64>("SELECT count(*) FROM totals_1").await, i64::try_from(seq - 1).unwrap() * 100);
            // The next round's writer is the first one again.
            t.sink.take_over().await.unwrap();
        }
    }
    scenario.teardown();
}
