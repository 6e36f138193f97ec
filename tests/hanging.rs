//! A prepared transaction that is left hanging: what depends on it waits, says so, and nothing else waits.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Bank, DaemonOptions, assert_exact, citus_available, cli};
use tributary_tests::halves::{HANGING, Hanging};

const TABLES: [(&str, &str); 3] =
    [Bank::STREAM_TABLES[0], Bank::STREAM_TABLES[1], ("by_account", "SELECT id, balance FROM accounts")];

async fn begin() -> Hanging {
    Hanging::begin(&TABLES, DaemonOptions::default()).await
}

async fn exact(it: &Hanging) {
    assert_exact(&it.cluster, &it.daemon, &TABLES).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decided_branch_left_hanging_holds_back_its_transaction_alone_and_status_names_it() {
    if !citus_available() {
        return;
    }
    let mut it = begin().await;
    let [[(from, _), (behind, _)], [(to, _), (beside, _)]] = it.accounts.clone();
    it.prepare().await;
    it.decide().await;
    let first = it.cluster.client_of(1).await.unwrap();
    first.batch_execute(&format!("COMMIT PREPARED '{}'", HANGING[0])).await.unwrap();
    // Behind the branch that committed, on its node; and on the node whose branch hangs, which holds back nothing there.
    it.add(behind, 7).await;
    it.add(beside, 5).await;
    it.becomes(beside, 1005).await;
    assert_eq!([it.seen(from).await, it.seen(to).await, it.seen(behind).await], [1000; 3]);
    for crashed in [false, true] {
        if crashed {
            it.daemon.kill9().await.unwrap();
            it.daemon.start().await.unwrap();
        }
        let waited = cli(&it.daemon, &["wait", "--timeout", "3s"]).await.unwrap();
        assert_eq!(waited.code, Some(1), "{waited:?}");
        assert!(waited.stderr.contains(HANGING[1]), "{waited:?}");
        let wanted = format!("waiting for node 2: COMMIT PREPARED of {}", HANGING[1]);
        let said = it.comes_to_say(&wanted, |said| said.lines().any(|line| line.starts_with(&wanted))).await;
        let line = said.lines().find(|line| line.starts_with(&wanted)).unwrap();
        let seconds = line.rsplit_once(", for ").and_then(|(_, rest)| rest.strip_suffix(" s"));
        assert!(seconds.is_some_and(|text| text.parse::<u64>().is_ok_and(|n| (1..100).contains(&n))), "{line}");
        assert_eq!([it.seen(from).await, it.seen(to).await, it.seen(behind).await], [1000; 3]);
    }
    it.recover(1).await;
    exact(&it).await;
    assert_eq!([it.seen(from).await, it.seen(to).await, it.seen(behind).await], [900, 1100, 1007]);
    it.waits_for_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecided_transaction_left_hanging_holds_nothing_back_and_ends_either_way() {
    if !citus_available() {
        return;
    }
    let mut it = begin().await;
    let [[(from, _), (behind, _)], [(to, _), (beside, _)]] = it.accounts.clone();
    for (round, commit) in [(1, false), (2, true)] {
        it.prepare().await;
        it.add(behind, 7).await;
        it.add(beside, 5).await;
        exact(&it).await;
        assert_eq!([it.seen(behind).await, it.seen(beside).await], [1000 + 7 * round, 1000 + 5 * round]);
        it.waits_for_nothing().await;
        // Its changes come once, at PREPARE: whoever comes after must have them still.
        it.daemon.kill9().await.unwrap();
        it.daemon.start().await.unwrap();
        exact(&it).await;
        assert_eq!([it.seen(from).await, it.seen(to).await], [1000; 2]);
        if commit {
            it.decide().await;
        }
        it.recover(2).await;
        exact(&it).await;
        let moved = if commit { 100 } else { 0 };
        assert_eq!([it.seen(from).await, it.seen(to).await], [1000 - moved, 1000 + moved]);
    }
}
