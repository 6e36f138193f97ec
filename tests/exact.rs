//! Whatever is written, a stream table holds what PostgreSQL answers to its query.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use testkit::{Cluster, Daemon, DaemonOptions, Kind, Outcome, Shop, assert_exact, citus_available, seed};
use tributary_tests::{QUERIES, create, long, shop};

/// A writer in a task of its own, until told to stop; the number of transactions it committed.
async fn write(
    cluster: &Cluster,
    mut shop: Shop,
    stop: Arc<AtomicBool>,
) -> tokio::task::JoinHandle<anyhow::Result<u32>> {
    let session = Shop::session(cluster).await.unwrap();
    tokio::spawn(async move {
        let mut committed = 0;
        // Less would mean nothing; on a slow machine it takes longer.
        let deadline = Instant::now() + Duration::from_secs(60);
        while !stop.load(Ordering::Relaxed) || (committed <= 5 && Instant::now() < deadline) {
            committed += u32::from(shop.transaction(&session).await? == Outcome::Committed);
        }
        Ok(committed)
    })
}

async fn random_changes(kind: Kind) {
    let seed = seed();
    let (cluster, first) = shop(kind, seed, 400).await.unwrap();
    let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    let (before, rest) = QUERIES.split_at(QUERIES.len() / 3);
    let (during, after) = rest.split_at(QUERIES.len() / 3);
    create(&daemon, before).await.unwrap();
    assert_exact(&cluster, &daemon, before).await.unwrap();

    let rounds = if long() { 10 } else { 2 };
    let mut shops = vec![first, Shop::writer(seed, 1)];
    for round in 0..rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = Vec::new();
        for shop in shops {
            writers.push(write(&cluster, shop, Arc::clone(&stop)).await);
        }
        if round == 0 {
            create(&daemon, during).await.unwrap();
        } else {
            daemon.restart().await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            let committed = writer.await.unwrap().unwrap();
            assert!(committed > 5, "{kind:?}: a writer committed {committed} transactions");
        }
        if round == 0 {
            create(&daemon, after).await.unwrap();
        }
        assert_exact(&cluster, &daemon, &QUERIES).await.unwrap();
        // Ids of a later round must not meet those of an earlier one.
        shops =
            (0..2).map(|number| Shop::writer(seed + round, 2 + 2 * u32::try_from(round).unwrap() + number)).collect();
    }
    daemon.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_is_exact_after_random_changes_on_citus() {
    if citus_available() {
        random_changes(Kind::Citus).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_is_exact_after_random_changes_over_fdw() {
    random_changes(Kind::Fdw).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_is_exact_after_random_changes_on_a_single_node() {
    random_changes(Kind::Single).await;
}
