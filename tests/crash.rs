//! A crash between any two durable steps loses nothing and doubles nothing.
//!
//! The failpoints are those of the source: one that is added there and not here fails the first test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use testkit::{Cluster, Daemon, DaemonOptions, Kind, Shop, assert_exact, citus_available, cli, seed};
use tributary_tests::{QUERIES, create, shop};

/// Failpoints, and how often each is passed before it crashes, so that it does not only crash at the very first change.
const POINTS: [(&str, u32); 10] = [
    ("agent-after-slot-create", 1),
    ("agent-before-confirm", 3),
    ("backfill-before-finish", 0),
    ("build-before-publish", 0),
    ("create-after-definition", 0),
    ("engine-after-apply", 5),
    ("engine-after-write-behind", 1),
    ("engine-before-apply", 5),
    ("sink-after-commit", 5),
    ("sink-before-commit", 5),
];

/// Failpoints of other suites: some make the aggregator, or an agent, late; `tests/per_node.rs` crashes between the two lanes,
/// `tests/reconcile.rs` while tables are read again; in `tests/bugs.rs` a panic ends one definition only.
const ELSEWHERE: [&str; 11] = [
    "agent-before-stream",
    "agent-subscribe",
    "crossing-after-definition",
    "crossing-before-definition",
    "engine-gives-up",
    "ivm-stream",
    "mend-look",
    "mend-read",
    "plan-build",
    "reconcile-before-compare",
    "shape-guest-not-received",
];

#[test]
fn every_failpoint_of_the_source_is_crashed_at() {
    let crates = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../crates");
    let mut found = BTreeSet::new();
    let mut dirs = vec![crates];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let names = text.split("fail_point!(\"").skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }
    for other in ELSEWHERE {
        assert!(found.remove(other), "{other}");
    }
    let listed: BTreeSet<String> = POINTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, listed);
}

/// The stream table that exists before the crash, the ones being defined when it comes, and one that comes after.
const KEPT: &[(&str, &str)] = &[QUERIES[2], QUERIES[7]];
const NEW: &[(&str, &str)] = &[QUERIES[8], QUERIES[18]];

/// Lets the daemon work until it crashes: definitions, changes of the tables, dropped definitions.
async fn until_it_crashes(daemon: &mut Daemon, cluster: &Cluster, shop: &mut Shop, point: &str) {
    let session = Shop::session(cluster).await.unwrap();
    let limit = tokio::time::Instant::now() + Duration::from_secs(180);
    for table in NEW {
        // The daemon may end in the middle of it.
        cli(daemon, &["stream", "create", table.0, "--query", table.1]).await.unwrap();
    }
    while daemon.wait_for_end(Duration::from_millis(20)).await.is_err() {
        assert!(tokio::time::Instant::now() < limit, "{point} was never reached");
        shop.transaction(&session).await.unwrap();
        if point == "engine-after-write-behind" {
            // Of one that is large enough.
            shop.orders(&session, 3_000).await.unwrap();
        }
    }
}

async fn crash_at(kind: Kind, point: &str, passed: u32) {
    let seed = seed();
    println!("{kind:?}: {point}");
    let (cluster, mut shop) = shop(kind, seed, 200).await.unwrap();
    let armed = format!("{point}={passed}*off->panic");
    let at_start = point == "agent-after-slot-create";
    let mut daemon = if at_start {
        // Each agent makes its slot beside the start of the others: the daemon ends before it is ready or just after.
        let data_dir = tempfile::tempdir().unwrap().keep();
        let options = DaemonOptions { data_dir: Some(data_dir), ..DaemonOptions::default() };
        let daemon = match Daemon::standalone(&cluster, options.clone().failpoint(&armed)).await {
            Err(error) => {
                assert!(format!("{error:#}").contains(point), "{error:#}");
                Daemon::standalone(&cluster, options).await.unwrap()
            }
            Ok(mut daemon) => {
                daemon.wait_for_end(Duration::from_secs(120)).await.expect("it did not crash");
                assert!(daemon.log_tail().contains(point), "{}", daemon.log_tail());
                daemon.arm(None);
                daemon.start().await.unwrap();
                daemon
            }
        };
        create(&daemon, KEPT).await.unwrap();
        daemon
    } else {
        let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, KEPT).await.unwrap();
        // Twice: the second time while it recovers from the first.
        for spec in [armed.clone(), format!("{point}=panic")] {
            daemon.arm(Some(&spec));
            if daemon.pid().is_some() {
                daemon.stop().await.unwrap();
            }
            let started = daemon.start().await;
            if started.is_ok() {
                until_it_crashes(&mut daemon, &cluster, &mut shop, point).await;
            }
            let log = std::fs::read_to_string(daemon.log()).unwrap();
            assert!(
                log.contains(&format!("failpoint {point}")),
                "it ended, but not at {point}:\n{}",
                daemon.log_tail()
            );
        }
        daemon.arm(None);
        daemon.start().await.unwrap();
        daemon
    };
    for (name, query) in NEW {
        let output = cli(&daemon, &["stream", "create", name, "--query", query]).await.unwrap();
        assert!(output.code == Some(0) || output.stderr.contains("exists"), "{point}: {output:?}");
    }
    let session = Shop::session(&cluster).await.unwrap();
    for _ in 0..10 {
        shop.transaction(&session).await.unwrap();
    }
    let all: Vec<_> = KEPT.iter().chain(NEW).copied().collect();
    assert_exact(&cluster, &daemon, &all).await.unwrap_or_else(|error| panic!("{kind:?}: {point}: {error:#}"));
    daemon.stop().await.unwrap();
    std::fs::remove_dir_all(daemon.data_dir()).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_loses_and_doubles_nothing_on_citus() {
    if citus_available() {
        for (point, passed) in POINTS {
            crash_at(Kind::Citus, point, passed).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_loses_and_doubles_nothing_over_fdw() {
    for (point, passed) in POINTS {
        crash_at(Kind::Fdw, point, passed).await;
    }
}

/// Losing the state directory is not losing data: everything is built again from the sources.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_state_directory_is_built_again() {
    for kind in testkit::kinds() {
        let (cluster, mut shop) = shop(kind, seed(), 200).await.unwrap();
        let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, KEPT).await.unwrap();
        daemon.kill9().await.unwrap();
        std::fs::remove_dir_all(daemon.data_dir()).unwrap();
        let session = Shop::session(&cluster).await.unwrap();
        for _ in 0..20 {
            shop.transaction(&session).await.unwrap();
        }
        daemon.start().await.unwrap();
        assert_exact(&cluster, &daemon, KEPT).await.unwrap();
    }
}
