//! Stream tables that are defined while others are read: those go on, and the new ones are exact from the first read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use testkit::{Cluster, Daemon, DaemonOptions, TableKind, TableSpec, cli, kinds};
use tributary_tests::create;

const ROWS: i64 = 100_000;

const READINGS: TableSpec<'static> = TableSpec {
    name: "readings",
    columns: "sensor int NOT NULL, id bigint NOT NULL, value numeric(10,2), note text",
    primary_key: "sensor, id",
    kind: TableKind::Distributed("sensor"),
    colocate_with: None,
};

const LARGE: &[(&str, &str)] = &[
    (
        "ranked",
        "SELECT a.sensor, a.id, a.value, count(*) AS n, max(b.note) AS note FROM readings a
         JOIN readings b ON b.sensor = a.sensor AND b.id = a.id + 1000 GROUP BY a.sensor, a.id, a.value",
    ),
    ("copies", "SELECT sensor, value, note FROM readings WHERE value > 20"),
];

/// Writes until told to stop: inserts, updates of what is there, deletes.
async fn write(cluster: Arc<Cluster>, writer: i64, stop: Arc<AtomicBool>) {
    let client = cluster.client().await.unwrap();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let (new, old) = (ROWS + n * 10 + writer, (n * 7919 + writer * 31) % ROWS);
        let sql = format!(
            "BEGIN; INSERT INTO readings VALUES ({new} % 1000, {new}, {new} % 97, 'new');
             UPDATE readings SET value = value + 1 WHERE sensor = {old} % 1000 AND id = {old};
             DELETE FROM readings WHERE sensor = ({old} + 1) % 1000 AND id = {old} + 1; COMMIT"
        );
        client.batch_execute(&sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_go_on_while_a_large_one_is_computed() {
    for kind in kinds() {
        let cluster = Arc::new(Cluster::start(kind).await.unwrap());
        cluster.create_table(&READINGS).await.unwrap();
        let fill =
            format!("INSERT INTO readings SELECT i % 1000, i, i % 101, md5(i::text) FROM generate_series(1, {ROWS}) i");
        cluster.run(&fill).await.unwrap();
        let daemon = Arc::new(Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap());
        create(&daemon, &[("counted", "SELECT count(*) AS n, sum(value) AS total FROM readings")]).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..2).map(|w| tokio::spawn(write(cluster.clone(), w, stop.clone()))).collect();
        let reader = cluster.client().await.unwrap();
        let seq = async || -> i64 { reader.query_one("SELECT seq FROM tributary.frontier", &[]).await.unwrap().get(0) };
        for large in LARGE {
            let creating = tokio::spawn({
                let daemon = daemon.clone();
                async move { create(&daemon, &[*large]).await }
            });
            let mut advances = 0;
            let mut last = seq().await;
            let began = std::time::Instant::now();
            while !creating.is_finished() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                let now = seq().await;
                advances += usize::from(now > last);
                last = now;
            }
            creating.await.unwrap().unwrap();
            let took = began.elapsed();
            println!("{kind:?}: {advances} reads of a new cut while {} was computed, in {took:?}", large.0);
            // A fast machine computes it between two of the cuts.
            let soon = took < std::time::Duration::from_millis(300);
            assert!(advances > 2 || soon, "{kind:?}: {advances} cuts while {} was computed, in {took:?}", large.0);
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        cli(&daemon, &["wait"]).await.unwrap().ok().unwrap();
        let verified = cli(&daemon, &["stream", "verify"]).await.unwrap();
        assert_eq!(verified.stdout.matches("is exact").count(), 3, "{verified:?}");
    }
}
