//! From commit to visible, with 500 transactions a second on the source.

use std::time::{Duration, Instant};

use crate::ground::{Ground, cli, median};

const RATE: u64 = 500;
const SECONDS: u64 = 20;

pub(crate) async fn delay(ground: &Ground) -> anyhow::Result<()> {
    let mut daemon = ground.daemon().await?;
    cli(
        &daemon,
        &[
            "stream",
            "create",
            "by_user",
            "--query",
            "SELECT user_id, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY user_id",
        ],
    )
    .await?;
    let mut writers = Vec::new();
    for writer in 0..4_u64 {
        let client = ground.cluster.client().await?;
        writers.push(tokio::spawn(async move {
            let insert = client
                .prepare("INSERT INTO orders (id, user_id, region_id, amount, quantity) VALUES ($1, $2, 1, 1.5, 1)")
                .await?;
            let mut tick = tokio::time::interval(Duration::from_secs(4) / u32::try_from(RATE)?);
            for i in 0..RATE * SECONDS / 4 {
                tick.tick().await;
                let id = i64::try_from(i * 4 + writer)?;
                client.execute(&insert, &[&id, &(id % 1000)]).await?;
            }
            anyhow::Ok(())
        }));
    }
    // Every probe is a transaction of its own, timed from its commit's return to the first read that has it.
    let (probe, reader) = (ground.cluster.client().await?, ground.cluster.client().await?);
    let read = reader.prepare("SELECT orders FROM by_user WHERE user_id = 5000000").await?;
    let mut delays = Vec::new();
    let started = Instant::now();
    let mut id = 0_i64;
    while started.elapsed() < Duration::from_secs(SECONDS - 1) {
        id += 1;
        probe
            .execute(
                "INSERT INTO orders (id, user_id, region_id, amount, quantity) VALUES ($1, 5000000, 1, 1, 1)",
                &[&id],
            )
            .await?;
        let committed = Instant::now();
        while reader.query_opt(&read, &[]).await?.is_none_or(|r| r.get::<_, i64>(0) < id) {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        delays.push(committed.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    for writer in writers {
        writer.await??;
    }
    delays.sort_by(f64::total_cmp);
    let p99 = delays[delays.len() * 99 / 100];
    println!(
        "| commit to visible at {RATE} transactions/s, {} probes | p50 {:.1} ms | p99 {p99:.1} ms | | |",
        delays.len(),
        median(&delays)
    );
    daemon.stop().await
}
