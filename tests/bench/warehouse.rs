//! TPC-H: what keeping each query costs when one row in a thousand of every table changes, against asking PostgreSQL again.

use std::time::Instant;

use testkit::{Cluster, Daemon, DaemonOptions, Kind};
use tributary_tests::warehouse;

use crate::ground::{cli, median, seconds};

const SCALE: f64 = 0.1;
const ROUNDS: u64 = 3;
/// One row of so many changes.
const EVERY: u64 = 1000;

/// One stream table at a time over all tables, and the same rows in plain tables beside them. From the COMMIT of a refresh until the
/// stream table shows it; how much of that the engine worked; and the query over the plain tables after the same refresh.
pub(crate) async fn refreshes() -> anyhow::Result<()> {
    let kind = if testkit::citus_available() { Kind::Citus } else { Kind::Fdw };
    eprintln!("making a {kind:?} cluster and filling it");
    let cluster = Cluster::start(kind).await?;
    let scale = std::env::var("BENCH_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(SCALE);
    warehouse::load(&cluster, scale).await?;
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await?;
    let client = cluster.client().await?;
    // Keeps every table's rows, so that each stream table finds them, and shows what a refresh costs without a query.
    let rows = warehouse::TABLES.iter().map(|t| format!("(SELECT * FROM {} WHERE false)", t.name));
    for (i, query) in rows.enumerate() {
        cli(&daemon, &["stream", "create", &format!("none_{i}"), "--query", &query[1..query.len() - 1]]).await?;
    }
    println!(
        "\n| TPC-H query, scale {scale}, one row in {EVERY} changed | commit to readable | of it the engine | the query in PostgreSQL | readable / query | engine / query |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    let queries = std::iter::once((0, "SELECT 1")).chain(warehouse::QUERIES);
    let mut round = 0;
    for (number, query) in queries {
        if number > 0 {
            cli(&daemon, &["stream", "create", "kept", "--query", query]).await?;
        }
        let (mut readable, mut engine, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            round += 1;
            let statements = warehouse::refresh(round, EVERY);
            warehouse::change(&client, "plain", &statements).await?;
            client.batch_execute("COMMIT").await?;
            warehouse::change(&client, "public", &statements).await?;
            cli(&daemon, &["wait"]).await?;
            let before = applied(&daemon).await?;
            let started = Instant::now();
            client.batch_execute("COMMIT").await?;
            cli(&daemon, &["wait"]).await?;
            readable.push(seconds(started) * 1000.0);
            engine.push((applied(&daemon).await? - before) * 1000.0);
            client.batch_execute("SET search_path = plain").await?;
            let started = Instant::now();
            client.query(query, &[]).await?;
            asked.push(seconds(started) * 1000.0);
            client.batch_execute("RESET search_path").await?;
        }
        let name = if number == 0 { "none: the rows alone are kept".to_owned() } else { number.to_string() };
        let (readable, engine, asked) = (median(&readable), median(&engine), median(&asked));
        println!(
            "| {name} | {readable:.0} ms | {engine:.1} ms | {asked:.0} ms | {:.2} | {:.3} |",
            readable / asked,
            engine / asked
        );
        if number > 0 {
            let differ = warehouse::differences(&client, "kept", query).await?;
            anyhow::ensure!(differ == [0; 3], "query {number} is not exact: {differ:?}");
            cli(&daemon, &["stream", "drop", "kept"]).await?;
        }
    }
    Ok(())
}

/// Seconds that the engine has worked on cuts.
async fn applied(daemon: &Daemon) -> anyhow::Result<f64> {
    let (_, metrics) = daemon.http_get("/metrics").await?;
    let sum = metrics.lines().find_map(|l| l.strip_prefix("tributary_cut_apply_seconds_sum "));
    Ok(sum.and_then(|s| s.trim().parse().ok()).unwrap_or_default())
}
