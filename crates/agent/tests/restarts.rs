//! Whatever dies, nothing is lost and nothing counts twice.
//!
//! Random transactions, plain and prepared, while the aggregator forgets what was not durable, agents are replaced,
//! walsenders are ended and the server crashes. `TRIBUTARY_SEED` replays a run as far as a real server can be replayed.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fake::{Aggregator, Mirror, eventually, in_sql, spawn, subscription};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::{Cluster, Kind};
use tokio_postgres::Client;

const ROUNDS: usize = 14;

fn seed() -> u64 {
    let given = std::env::var("TRIBUTARY_SEED").ok().and_then(|s| s.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    eprintln!("TRIBUTARY_SEED={seed}");
    seed
}

/// One random transaction. Its outcome may stay unknown when the server dies; what counts is what the table says.
async fn transact(client: &Client, rng: &mut StdRng, number: u64) -> Result<(), tokio_postgres::Error> {
    let id = rng.random_range(0..200);
    let mut sql = String::from("BEGIN;");
    for _ in 0..rng.random_range(1..4) {
        let (id, other) = (id + rng.random_range(0..50), rng.random_range(1000..9000));
        sql += &match rng.random_range(0..4) {
            0 => format!("DELETE FROM t WHERE id = {id};"),
            1 => format!("UPDATE t SET v = 'u{number}' WHERE id BETWEEN {id} AND {id} + 3;"),
            2 => format!("UPDATE t SET id = id + 10000 * {other} WHERE id = {id};"),
            _ => format!("INSERT INTO t VALUES ({id}, '', 'i{number}') ON CONFLICT (id) DO UPDATE SET v = excluded.v;"),
        };
    }
    if rng.random_bool(0.02) {
        let first = 1_000_000 + number * 3000;
        sql +=
            &format!("INSERT INTO t SELECT i, '', repeat('x', 200) FROM generate_series({first}, {first} + 2500) i;");
    }
    match rng.random_range(0..10) {
        0 => sql += "ROLLBACK",
        1..=3 => sql += &format!("PREPARE TRANSACTION 'g{number}'"),
        _ => sql += "COMMIT",
    }
    client.batch_execute(&sql).await
}

/// Decides prepared transactions: each with this chance.
async fn decide(client: &Client, rng: &mut StdRng, chance: f64) -> Result<(), tokio_postgres::Error> {
    for row in client.query("SELECT gid FROM pg_prepared_xacts ORDER BY gid", &[]).await? {
        if rng.random_bool(chance) {
            let how = if rng.random_bool(0.8) { "COMMIT" } else { "ROLLBACK" };
            client.batch_execute(&format!("{how} PREPARED '{}'", row.get::<_, &str>(0))).await?;
        }
    }
    Ok(())
}

async fn write(url: String, seed: u64, stop: Arc<AtomicBool>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut client, mut number) = (None, 0);
    while !stop.load(Ordering::Relaxed) {
        let Some(session) = &client else {
            client = wal::connect(&wal::Endpoint::parse(&url).unwrap(), "writer").await.ok();
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Some(session) = &client {
                session.batch_execute("SET lock_timeout = '20ms'").await.ok();
            }
            continue;
        };
        number += 1;
        let done = transact(session, &mut rng, number).await;
        let decided = decide(session, &mut rng, 0.3).await;
        if done.is_err() && session.batch_execute("ROLLBACK").await.is_err() || decided.is_err() && session.is_closed()
        {
            client = None;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_nothing_is_lost_and_nothing_counts_twice() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    cluster.run("CREATE TABLE t (id int PRIMARY KEY, unused text, v text)").await.unwrap();
    let mut aggregator = Aggregator::start().await;
    let mut agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    let tables = || vec![subscription(7, "t")];
    let mut mirror = Mirror::default();
    up.start_fresh(tables(), &mut mirror).await;
    let mut durable = mirror.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(cluster.url(), seed, stop.clone()));
    for _ in 0..ROUNDS {
        let until = tokio::time::Instant::now() + Duration::from_millis(rng.random_range(50..500));
        while let Ok(there) = tokio::time::timeout_at(until, up.step(&mut mirror)).await {
            assert!(there, "the agent went away by itself");
            if rng.random_bool(0.1) {
                durable = mirror.clone();
                up.durable(durable.position).await;
            }
        }
        match rng.random_range(0..4) {
            0 => {
                // The aggregator dies and comes back with what was durable.
                drop(up);
                mirror = durable.clone();
                up = aggregator.attached().await;
                up.start(mirror.restarted(), tables()).await;
            }
            1 => {
                // The agent dies, and the aggregator keeps what it has.
                drop(agent);
                while up.step(&mut mirror).await {}
                agent = spawn(&cluster.url(), &aggregator.address);
                up = aggregator.attached().await;
                up.start(mirror.restarted(), tables()).await;
            }
            2 => {
                cluster.stop_immediate(0).await.unwrap();
                cluster.start_node(0).await.unwrap();
            }
            _ => {
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication";
                cluster.run(sql).await.unwrap();
            }
        }
    }
    // A slow machine takes longer to come that far.
    up.until("enough is committed", &mut mirror, |m| m.commits > 50).await;
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let client = cluster.client().await.unwrap();
    decide(&client, &mut rng, 1.0).await.unwrap();
    up.catch_up_again(&mut mirror).await;
    assert_eq!(mirror.table(7), in_sql(&client, "t").await);
    assert!(mirror.prepared.is_empty(), "{mirror:?}");
    eprintln!("{} commits, {} rows, {} restarts within a transaction", mirror.commits, mirror.rows, mirror.restarts);
    assert!(mirror.commits > 50, "{mirror:?}");
    up.durable(mirror.position).await;
    let end = mirror.position;
    eventually("the slot follows", || async { fake::confirmed(&client).await >= end }).await;
    drop(agent);
}
