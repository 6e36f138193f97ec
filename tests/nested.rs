//! Stream tables over stream tables: at the same cut, and not without those that they read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Daemon, DaemonOptions, Output, Shop, cli, kinds};
use tributary_tests::{create, shop};

const STREAMS: &[(&str, &str)] = &[
    ("by_user", "SELECT user_id, count(*) AS n, sum(amount) AS total FROM orders GROUP BY user_id"),
    ("large", "SELECT user_id, n, total FROM by_user WHERE n > 2"),
    ("histogram", "SELECT n, count(*) AS users, sum(total) AS total FROM large GROUP BY n"),
    ("both", "SELECT l.user_id, l.total, o.id FROM large l JOIN orders o ON o.user_id = l.user_id WHERE o.paid"),
];

async fn refused(daemon: &Daemon, args: &[&str], words: &[&str]) {
    let Output { code, stderr, .. } = cli(daemon, args).await.unwrap();
    assert_eq!(code, Some(1), "{args:?}: {stderr}");
    assert!(stderr.trim().lines().count() == 1 && words.iter().all(|w| stderr.contains(w)), "{args:?}: {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_table_over_others_is_at_the_same_cut_as_they() {
    for kind in kinds() {
        let (cluster, mut shop) = shop(kind, 11, 200).await.unwrap();
        let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, STREAMS).await.unwrap();
        let reader = cluster.client().await.unwrap();
        // Whenever it is read, the sum over the histogram is the sum over what it is made of.
        let same =
            "SELECT (SELECT coalesce(sum(total), 0) FROM histogram) = (SELECT coalesce(sum(total), 0) FROM large)
                       AND (SELECT coalesce(sum(users), 0) FROM histogram) = (SELECT count(*) FROM large)";
        let session = Shop::session(&cluster).await.unwrap();
        for round in 0..3 {
            for _ in 0..40 {
                shop.transaction(&session).await.unwrap();
                assert!(reader.query_one(same, &[]).await.unwrap().get::<_, bool>(0));
            }
            if round == 1 {
                daemon.kill9().await.unwrap();
                daemon.start().await.unwrap();
            }
            // Their queries, with what they read in its place.
            let verified = cli(&daemon, &["stream", "verify"]).await.unwrap();
            assert_eq!(verified.code, Some(0), "{verified:?}");
            assert_eq!(verified.stdout.matches("is exact").count(), STREAMS.len(), "{verified:?}");
        }
        refused(&daemon, &["stream", "drop", "large"], &["public.histogram", "public.both", "--cascade"]).await;
        let other = "SELECT user_id, count(*) AS n, sum(amount) + 1 AS total FROM orders GROUP BY user_id";
        refused(&daemon, &["stream", "alter", "by_user", "--query", other], &["public.large", "--cascade"]).await;
        let circle = "SELECT user_id, n, total FROM large";
        refused(&daemon, &["stream", "alter", "by_user", "--query", circle, "--cascade"], &["itself"]).await;
        let altered = ["stream", "alter", "by_user", "--query", other, "--cascade"];
        cli(&daemon, &altered).await.unwrap().ok().unwrap();
        shop.transaction(&session).await.unwrap();
        let verified = cli(&daemon, &["stream", "verify"]).await.unwrap();
        assert_eq!(verified.stdout.matches("is exact").count(), STREAMS.len(), "{verified:?}");
        cli(&daemon, &["stream", "drop", "large", "--cascade"]).await.unwrap().ok().unwrap();
        let list = cli(&daemon, &["stream", "list"]).await.unwrap().ok().unwrap().stdout;
        assert!(list.contains("by_user") && !list.contains("histogram") && !list.contains("both"), "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_how_and_defines_nothing() {
    let kind = kinds()[0];
    let (cluster, _) = shop(kind, 12, 20).await.unwrap();
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    let query = "SELECT a.id, b.id AS other FROM orders a JOIN orders b ON a.amount < b.amount";
    let shown =
        cli(&daemon, &["stream", "create", "pairs", "--query", query, "--dry-run"]).await.unwrap().ok().unwrap();
    for words in ["Cross join", "Source public.orders", "keeps", "compared with all rows"] {
        assert!(shown.stdout.contains(words), "{}", shown.stdout);
    }
    let list = cli(&daemon, &["stream", "list"]).await.unwrap().ok().unwrap().stdout;
    assert!(!list.contains("pairs"), "{list}");
    create(&daemon, &STREAMS[..1]).await.unwrap();
    cluster.run("INSERT INTO orders (user_id, id) SELECT 1, -i FROM generate_series(1, 50) i").await.unwrap();
    cli(&daemon, &["wait"]).await.unwrap().ok().unwrap();
    let text = cli(&daemon, &["stream", "explain", "by_user"]).await.unwrap().ok().unwrap().stdout;
    assert!(text.contains("aggregate") && text.contains("50 in"), "{text}");
    let json = cli(&daemon, &["stream", "explain", "by_user", "--json"]).await.unwrap().ok().unwrap().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let operators = json["operators"].as_array().unwrap();
    assert!(operators.iter().any(|o| o["operator"] == "aggregate" && o["rows_in"] == 50), "{json}");
}
