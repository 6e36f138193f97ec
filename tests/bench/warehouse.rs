//! TPC-H: what keeping each query costs when one row in a thousand of every table changes, against asking PostgreSQL again.

use std::time::Instant;

use testkit::{Daemon, DaemonOptions, Kind};
use tokio_postgres::Client;
use tributary_tests::{Services, warehouse};

use crate::ground::{cli, cluster, median, seconds};

/// The scales compared; `BENCH_SCALE` has just one measured.
const SCALES: [f64; 2] = [0.1, 1.0];
const ROUNDS: u64 = 3;
/// One row of so many changes.
const EVERY: u64 = 1000;

/// Seconds that a refresh may take.
const PATIENCE: f64 = 300.0;

/// What a refresh cost, in milliseconds, medians.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Rows inserted, updated and deleted.
    rows: f64,
    readable: f64,
    engine: f64,
    /// The query in PostgreSQL.
    asked: f64,
    /// The query over the distributed tables, where the cluster answers it.
    itself: Option<f64>,
}

/// So long the cluster may take for a query of its own.
const TIMEOUT: &str = "60s";

/// Each scale by itself; then what a refresh of the same number of rows costs at both.
pub(crate) async fn refreshes() -> anyhow::Result<()> {
    let only: Option<f64> = std::env::var("BENCH_SCALE").ok().and_then(|s| s.parse().ok());
    let scales: Vec<f64> = only.map_or_else(|| SCALES.to_vec(), |s| vec![s]);
    let mut fixed = Vec::new();
    for scale in scales {
        fixed.push((scale, at(scale).await?));
    }
    if let [(small, few), (large, many)] = &fixed[..] {
        println!(
            "\n| query | a refresh of the same size at scale {small}: readable | engine | at scale {large}: readable | engine | readable, ratio | engine, ratio |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- |");
        for ((name, few), (_, many)) in few.iter().zip(many) {
            println!(
                "| {name} | {:.0} ms | {:.1} ms | {:.0} ms | {:.1} ms | {:.2} | {:.2} |",
                few.readable,
                few.engine,
                many.readable,
                many.engine,
                many.readable / few.readable,
                many.engine / few.engine
            );
        }
    }
    Ok(())
}

/// One stream table at a time, and the same rows in plain tables beside them. From the COMMIT of a refresh of every table until the
/// stream table shows it; how much of that the engine worked; and the query over the plain tables after the same refresh.
/// Gives what a refresh costs that touches as many rows at every scale.
async fn at(scale: f64) -> anyhow::Result<Vec<(String, Cost)>> {
    let kind = if testkit::citus_available() { Kind::Citus } else { Kind::Fdw };
    eprintln!("making a {kind:?} cluster and filling it");
    let cluster = cluster(kind).await?;
    warehouse::load(&cluster, scale).await?;
    let daemon = Daemon::standalone(&cluster, options()).await?;
    let client = cluster.client().await?;
    let services = Services::of(&daemon).await?;
    println!(
        "\n| TPC-H query, scale {scale}, one row in {EVERY} changed | commit to readable | of it the engine | the query in PostgreSQL | readable / query | engine / query | the query in {kind:?} itself |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    // As many rows as one in `EVERY` is at the smallest scale.
    let same = (EVERY as f64 * (scale / SCALES[0]).max(1.0)) as u64;
    // `BENCH_QUERIES=3,5` has just those measured.
    let chosen = std::env::var("BENCH_QUERIES").ok();
    let wanted = |number: &u8| chosen.as_ref().is_none_or(|list| list.split(',').any(|n| n == number.to_string()));
    let (mut round, mut fixed) = (0, Vec::new());
    for (number, query) in warehouse::QUERIES.into_iter().filter(|(n, _)| wanted(n)) {
        let started = Instant::now();
        cli(&daemon, &["stream", "create", "kept", "--query", query]).await?;
        eprintln!("query {number}: exact after {:.1} s", seconds(started));
        let name = number.to_string();
        let cost = cost(&daemon, &services, &client, query, &mut round, EVERY).await?;
        let Cost { rows, readable, engine, asked, itself } = cost;
        let itself = itself.map_or_else(|| "no answer".to_owned(), |ms| format!("{ms:.0} ms"));
        eprintln!("a refresh is {rows:.0} rows");
        println!(
            "| {name} | {readable:.0} ms | {engine:.1} ms | {asked:.0} ms | {:.2} | {:.3} | {itself} |",
            readable / asked,
            engine / asked
        );
        fixed.push((
            name,
            if same == EVERY { cost } else { self::cost(&daemon, &services, &client, query, &mut round, same).await? },
        ));
        let differ = warehouse::differences(&client, "kept", query).await?;
        anyhow::ensure!(differ == [0; 3], "query {number} is not exact: {differ:?}");
        cli(&daemon, &["stream", "drop", "kept"]).await?;
    }
    Ok(fixed)
}

/// `BENCH_CACHE` is the memory that the state may have.
fn options() -> DaemonOptions {
    let cache = std::env::var("BENCH_CACHE").unwrap_or_else(|_| "4GiB".to_owned());
    DaemonOptions { args: vec!["--cache-bytes".to_owned(), cache], ..DaemonOptions::default() }
}

/// Medians over refreshes that touch one row of `every`.
async fn cost(
    daemon: &Daemon,
    services: &Services,
    client: &Client,
    query: &str,
    round: &mut u64,
    every: u64,
) -> anyhow::Result<Cost> {
    let (mut rows, mut readable, mut engine, mut asked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut itself = Some(Vec::new());
    let rounds = std::env::var("BENCH_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(ROUNDS);
    for _ in 0..rounds {
        *round += 1;
        let statements = warehouse::refresh(*round, every);
        warehouse::change(client, "plain", &statements).await?;
        client.batch_execute("COMMIT").await?;
        rows.push(warehouse::change(client, "public", &statements).await? as f64);
        services.wait(PATIENCE).await?;
        let before = applied(daemon).await?;
        let started = Instant::now();
        client.batch_execute("COMMIT").await?;
        services.wait(PATIENCE).await?;
        readable.push(seconds(started) * 1000.0);
        engine.push((applied(daemon).await? - before) * 1000.0);
        client.batch_execute("SET search_path = plain").await?;
        let started = Instant::now();
        client.query(query, &[]).await?;
        asked.push(seconds(started) * 1000.0);
        client.batch_execute(&format!("RESET search_path; SET statement_timeout = '{TIMEOUT}'")).await?;
        if let Some(times) = &mut itself {
            let started = Instant::now();
            match client.query(query, &[]).await {
                Ok(_) => times.push(seconds(started) * 1000.0),
                Err(error) => {
                    eprintln!("the cluster itself: {}", error.as_db_error().map_or("no answer", |e| e.message()));
                    itself = None;
                }
            }
        }
        client.batch_execute("RESET statement_timeout").await?;
    }
    Ok(Cost {
        rows: median(&rows),
        readable: median(&readable),
        engine: median(&engine),
        asked: median(&asked),
        itself: itself.map(|times| median(&times)),
    })
}

/// Seconds that the engine has worked on cuts.
async fn applied(daemon: &Daemon) -> anyhow::Result<f64> {
    let (_, metrics) = daemon.http_get("/metrics").await?;
    let sum = metrics.lines().find_map(|l| l.strip_prefix("tributary_cut_apply_seconds_sum "));
    Ok(sum.and_then(|s| s.trim().parse().ok()).unwrap_or_default())
}
