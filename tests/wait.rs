//! Reading one's own writes: over SQL and by the command.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use testkit::{Daemon, DaemonOptions, cli, kinds};
use tributary_tests::{create, shop};

const COUNT: (&str, &str) = ("counted", "SELECT user_id, count(*) AS n FROM events GROUP BY user_id");

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_before_the_wait_is_read_after_it() {
    for kind in kinds() {
        let (cluster, _) = shop(kind, 1, 50).await.unwrap();
        let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, &[COUNT]).await.unwrap();
        let client = cluster.client().await.unwrap();
        let counted = "SELECT coalesce(sum(n), 0)::bigint FROM counted";
        let before: i64 = client.query_one(counted, &[]).await.unwrap().get(0);
        for written in 1..=40i64 {
            client
                .execute("INSERT INTO events (user_id, kind) VALUES ($1, 'mine')", &[&i32::try_from(written).unwrap()])
                .await
                .unwrap();
            if written % 2 == 0 {
                client.query_one("SELECT tributary.wait_for_frontier('60 s')", &[]).await.unwrap();
            } else {
                cli(&daemon, &["wait", "--stream", "counted", "--timeout", "60s"]).await.unwrap().ok().unwrap();
            }
            let seen: i64 = client.query_one(counted, &[]).await.unwrap().get(0);
            assert_eq!(seen, before + written, "{kind:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_at_its_timeout_when_a_node_is_down() {
    for kind in kinds() {
        let (cluster, _) = shop(kind, 1, 50).await.unwrap();
        let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, &[COUNT]).await.unwrap();
        cluster.stop_immediate(2).await.unwrap();
        let started = Instant::now();
        let waited = cli(&daemon, &["wait", "--timeout", "2s"]).await.unwrap();
        assert_eq!(waited.code, Some(1), "{waited:?}");
        assert_eq!(waited.stderr.trim().lines().count(), 1, "{waited:?}");
        let client = cluster.client().await.unwrap();
        let error = client.query_one("SELECT tributary.wait_for_frontier('1 s')", &[]).await.unwrap_err();
        assert!(error.as_db_error().is_some(), "{error}");
        // Both, and what it takes to start a program on a busy machine.
        assert!((Duration::from_secs(3)..Duration::from_secs(60)).contains(&started.elapsed()));
        // What is readable stays so, and status says what is missing.
        assert!(client.query_one("SELECT sum(n)::bigint FROM counted", &[]).await.is_ok());
        let status = cli(&daemon, &["status"]).await.unwrap().ok().unwrap();
        assert!(
            status.stdout.contains(&cluster.node(2).port.to_string()) || status.stdout.contains("w2"),
            "{}",
            status.stdout
        );
        cluster.start_node(2).await.unwrap();
        cli(&daemon, &["wait", "--timeout", "60s"]).await.unwrap().ok().unwrap();
    }
}
