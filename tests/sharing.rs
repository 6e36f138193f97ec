//! A table is kept and shipped once, whatever different columns of it stream tables read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use testkit::{Cluster, Daemon, DaemonOptions, Shop, assert_exact, cli, kinds, seed};
use tributary_tests::shards::counter;
use tributary_tests::{create, shop};

/// Each reads a column that those before it do not.
const ROLLUPS: [(&str, &str); 4] = [
    ("by_region", "SELECT region_id, count(*) AS n FROM orders GROUP BY region_id"),
    (
        "by_status",
        "SELECT status, sum(amount) AS total, max(amount) AS most FROM orders WHERE amount > 5 GROUP BY status",
    ),
    (
        "by_day",
        "SELECT date_trunc('day', placed_at) AS day, count(*) FILTER (WHERE paid) AS paid FROM orders GROUP BY 1",
    ),
    ("labels", "SELECT user_id, id, upper(status) AS label, discount FROM orders WHERE discount IS NOT NULL"),
];
/// Holds rows as they lie in their source, and stays with it until it is computed again.
const LATEST: (&str, &str) =
    ("latest", "SELECT DISTINCT ON (user_id) user_id, id, shipped FROM orders ORDER BY user_id, id DESC");
/// Reads yet another column.
const HEAVY: (&str, &str) = ("heavy", "SELECT region_id, sum(weight) AS weight FROM orders GROUP BY region_id");

/// How often one changed row of `orders` is shipped.
async fn shipped(cluster: &Cluster, daemon: &Daemon) -> u64 {
    let before = counter(daemon, "tributary_changes_total").await.unwrap();
    cluster.run("INSERT INTO orders (user_id, id) SELECT 7, max(id) + 1 FROM orders").await.unwrap();
    cli(daemon, &["wait"]).await.unwrap().ok().unwrap();
    counter(daemon, "tributary_changes_total").await.unwrap() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_tables_over_different_columns_of_a_table_share_it() {
    for kind in kinds() {
        let (cluster, mut shop) = shop(kind, seed(), 300).await.unwrap();
        let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        let cluster = Arc::new(cluster);
        // While they are made, and move, writers go on.
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, written) = (stop.clone(), cluster.clone());
        let writer = tokio::spawn(async move {
            let session = Shop::session(&written).await.unwrap();
            while !stopped.load(Ordering::Relaxed) {
                shop.transaction(&session).await.unwrap();
            }
            shop
        });
        create(&daemon, &ROLLUPS).await.unwrap();
        stop.store(true, Ordering::Relaxed);
        let mut shop = writer.await.unwrap();
        assert_exact(&cluster, &daemon, &ROLLUPS).await.unwrap();
        assert_eq!(shipped(&cluster, &daemon).await, 1, "{kind:?}");
        daemon.kill9().await.unwrap();
        daemon.start().await.unwrap();
        let session = Shop::session(&cluster).await.unwrap();
        for _ in 0..20 {
            shop.transaction(&session).await.unwrap();
        }
        assert_exact(&cluster, &daemon, &ROLLUPS).await.unwrap();
        assert_eq!(shipped(&cluster, &daemon).await, 1, "{kind:?}");

        create(&daemon, &[LATEST]).await.unwrap();
        assert_eq!(shipped(&cluster, &daemon).await, 1, "{kind:?}");
        create(&daemon, &[HEAVY]).await.unwrap();
        assert_eq!(shipped(&cluster, &daemon).await, 2, "{kind:?}");
        cli(&daemon, &["stream", "rebuild", "latest"]).await.unwrap().ok().unwrap();
        assert_eq!(shipped(&cluster, &daemon).await, 1, "{kind:?}");
        for _ in 0..20 {
            shop.transaction(&session).await.unwrap();
        }
        let all: Vec<_> = ROLLUPS.into_iter().chain([LATEST, HEAVY]).collect();
        assert_exact(&cluster, &daemon, &all).await.unwrap();
        let verified = cli(&daemon, &["stream", "verify"]).await.unwrap().ok().unwrap().stdout;
        assert_eq!(verified.matches("is exact").count(), all.len(), "{verified}");
    }
}
