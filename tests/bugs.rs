//! A bug that one definition meets is that definition's: it is refused or stops with what happened, and everything else goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use testkit::{Daemon, DaemonOptions, Shop, assert_exact, cli, kinds, seed};
use tributary_tests::{QUERIES, create, shop};

/// Both over the same table.
const KEPT: &[(&str, &str)] = &[QUERIES[2], QUERIES[3]];
const NEW: (&str, &str) = QUERIES[8];

/// What the user is told.
const TOLD: [&str; 3] = ["a bug in tributary", "failpoint", "please report it"];

async fn armed(daemon: &mut Daemon, failpoint: &str) -> u32 {
    daemon.stop().await.unwrap();
    daemon.arm(Some(failpoint));
    daemon.start().await.unwrap();
    daemon.pid().unwrap()
}

/// The next definition is refused, the one after that is not.
async fn one_is_refused(daemon: &mut Daemon, failpoint: &str) {
    let pid = armed(daemon, failpoint).await;
    let refused = cli(daemon, &["stream", "create", NEW.0, "--query", NEW.1]).await.unwrap();
    assert_eq!(refused.code, Some(1), "{failpoint}: {refused:?}");
    let last = refused.stderr.trim().lines().last().unwrap_or_default();
    assert!(TOLD.iter().all(|words| last.contains(words)), "{}", refused.stderr);
    create(daemon, &[NEW]).await.unwrap();
    assert_eq!(daemon.pid(), Some(pid), "{}", daemon.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_ends_one_definition_and_not_the_daemon() {
    let (cluster, mut shop) = shop(kinds()[0], seed(), 200).await.unwrap();
    let session = Shop::session(&cluster).await.unwrap();
    let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, KEPT).await.unwrap();

    // In the planner, and while the first content is computed.
    for failpoint in ["plan-build=1*panic->off", "ivm-stream=1*panic->off"] {
        one_is_refused(&mut daemon, failpoint).await;
        shop.transaction(&session).await.unwrap();
        assert_exact(&cluster, &daemon, &[KEPT[0], KEPT[1], NEW]).await.unwrap();
        cli(&daemon, &["stream", "drop", NEW.0]).await.unwrap().ok().unwrap();
    }

    // In the engine: one of the two stops, the other has the cut.
    let pid = armed(&mut daemon, "ivm-stream=1*panic->off").await;
    cluster.run("INSERT INTO orders (user_id, id, status, region_id) VALUES (1, -1, 'new', 1)").await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let log = || std::fs::read_to_string(daemon.log()).unwrap();
    while !log().contains("stream table stopped at its last exact cut") {
        assert!(tokio::time::Instant::now() < deadline, "{}", daemon.log_tail());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(TOLD.iter().all(|words| log().contains(words)), "{}", daemon.log_tail());
    assert_exact(&cluster, &daemon, &KEPT[1..]).await.unwrap();
    // It can be had again, if it was not tried again already.
    cli(&daemon, &["stream", "rebuild", KEPT[0].0]).await.unwrap().ok().unwrap();
    shop.transaction(&session).await.unwrap();
    assert_exact(&cluster, &daemon, KEPT).await.unwrap();
    assert_eq!(daemon.pid(), Some(pid), "{}", daemon.log_tail());
    daemon.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nested_deeply_is_kept_and_what_is_nested_too_deeply_is_refused() {
    let (cluster, mut shop) = shop(kinds()[0], seed(), 50).await.unwrap();
    let session = Shop::session(&cluster).await.unwrap();
    let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    let chain = |n: usize| format!("SELECT user_id, id, {} AS x FROM orders", vec!["id"; n].join(" + "));
    let unions = |n: usize| vec!["SELECT user_id, id FROM orders"; n].join(" UNION ");
    let subqueries = |n: usize| {
        let (open, close) = ("(SELECT DISTINCT user_id, id FROM ".repeat(n), ") q".repeat(n));
        format!("SELECT user_id, id FROM {open}orders{close}")
    };
    let deep = [("chain", chain(1000)), ("unions", unions(200)), ("subqueries", subqueries(50))];
    let deep: Vec<(&str, &str)> = deep.iter().map(|(name, query)| (*name, query.as_str())).collect();
    create(&daemon, &deep).await.unwrap();
    for query in [chain(2000), unions(2600), subqueries(70)] {
        let refused = cli(&daemon, &["stream", "create", "deeper", "--query", &query]).await.unwrap();
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("nested so deep"), "{}", refused.stderr);
    }
    for _ in 0..5 {
        shop.transaction(&session).await.unwrap();
    }
    // They are read again from the store.
    daemon.restart().await.unwrap();
    shop.transaction(&session).await.unwrap();
    assert_exact(&cluster, &daemon, &deep).await.unwrap();
    daemon.stop().await.unwrap();
}
