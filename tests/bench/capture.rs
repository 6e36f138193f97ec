//! How fast finished WAL becomes exact stream tables.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::ground::{Ground, cli, report, seconds};

const ROUNDS: u64 = 5;
const CHANGES: u64 = 600_000;
/// Rows in a transaction: above 64 MB of changes a node's decoder spills them to disk and reads them again.
const SHAPES: [(&str, u64); 3] =
    [("in one transaction", CHANGES), ("50,000 a transaction", 50_000), ("100 a transaction", 100)];

/// From start to both stream tables exact, against `pg_recvlogical` reading the same WAL from both workers to /dev/null.
pub(crate) async fn catch_up(ground: &Ground) -> anyhow::Result<()> {
    let mut daemon = ground.daemon().await?;
    cli(&daemon, &["stream", "create", "by_user", "--query",
        "SELECT user_id, count(*) AS orders, sum(amount) AS amount, sum(quantity) AS quantity FROM orders GROUP BY user_id"]).await?;
    cli(&daemon, &["stream", "create", "by_region", "--query",
        "SELECT r.name, count(*) AS orders, sum(o.amount) AS amount FROM orders o JOIN regions r ON r.id = o.region_id GROUP BY r.name"]).await?;
    daemon.stop().await?;
    let mut first = 0;
    for (shape, step) in SHAPES {
        let (mut this, mut against) = (Vec::new(), Vec::new());
        if std::env::var("BENCH_SHAPE").is_ok_and(|s| s != step.to_string()) {
            continue;
        }
        for _ in 0..rounds() {
            ground.settle(&["orders"]).await?;
            ground.insert(first, CHANGES, step).await?;
            first += CHANGES;
            let slots = copy_slots(ground, first).await?;
            let started = Instant::now();
            receive(ground, &slots)?;
            against.push(seconds(started));
            drop_slots(ground, &slots).await?;
            let started = Instant::now();
            let postgres = ground.postgres_cpu()?;
            let mut daemon = ground.daemon().await?;
            let ready = seconds(started);
            cli(&daemon, &["wait"]).await?;
            this.push(seconds(started));
            eprintln!(
                "wall {:.2} ready {ready:.2} against {:.2}; PostgreSQL {:.2}; {}",
                this.last().unwrap_or(&0.0),
                against.last().unwrap_or(&0.0),
                ground.postgres_cpu()? - postgres,
                Ground::threads(daemon.pid().unwrap_or_default())?
            );
            let (_, metrics) = daemon.http_get("/metrics").await?;
            let cuts = metrics.lines().filter(|l| l.starts_with("tributary_cut_apply_seconds_"));
            eprintln!(
                "{}; {} MiB",
                cuts.collect::<Vec<_>>().join(" "),
                Ground::resident(daemon.pid().unwrap_or_default())? >> 20
            );
            let sum = ground
                .client
                .query_one("SELECT sum(orders)::int8, (SELECT sum(orders)::int8 FROM by_region) FROM by_user", &[])
                .await?;
            let expected = i64::try_from(first)?;
            anyhow::ensure!((sum.get::<_, i64>(0), sum.get::<_, i64>(1)) == (expected, expected), "not exact");
            daemon.stop().await?;
        }
        report(
            &format!(
                "600,000 inserts from two workers ({shape}) to GROUP BY and join + GROUP BY, against pg_recvlogical to /dev/null"
            ),
            &this,
            &against,
            "s",
        );
    }
    Ok(())
}

fn rounds() -> u64 {
    std::env::var("BENCH_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(ROUNDS)
}

/// Copies of tributary's slots, so that the same WAL can be read twice.
async fn copy_slots(ground: &Ground, round: u64) -> anyhow::Result<Vec<(usize, String, String)>> {
    let mut slots = Vec::new();
    for node in 1..=2 {
        let client = ground.cluster.client_of(node).await?;
        let name = format!("bench_{round}");
        client.execute("SELECT pg_copy_logical_replication_slot('tributary_default', $1)", &[&name]).await?;
        let end: String = client.query_one("SELECT pg_current_wal_lsn()::text", &[]).await?.get(0);
        slots.push((node, name, end));
    }
    Ok(slots)
}

async fn drop_slots(ground: &Ground, slots: &[(usize, String, String)]) -> anyhow::Result<()> {
    for (node, name, _) in slots {
        ground.cluster.client_of(*node).await?.execute("SELECT pg_drop_replication_slot($1)", &[name]).await?;
    }
    Ok(())
}

fn receive(ground: &Ground, slots: &[(usize, String, String)]) -> anyhow::Result<()> {
    let program = testkit::bin_dir()?.join("pg_recvlogical");
    let mut children = Vec::new();
    for (node, slot, end) in slots {
        children.push(
            Command::new(&program)
                .args([
                    "-d",
                    &ground.cluster.node_url(*node),
                    "--slot",
                    slot,
                    "--start",
                    "-f",
                    "/dev/null",
                    "--endpos",
                    end,
                ])
                .args(["-o", "proto_version=3", "-o", "publication_names=tributary_default", "-o", "binary=true"])
                .stderr(Stdio::null())
                .spawn()?,
        );
    }
    for mut child in children {
        anyhow::ensure!(child.wait()?.success(), "pg_recvlogical failed");
    }
    Ok(())
}

/// A one-to-one projection kept, against a binary COPY of the same rows into the same indexed table.
pub(crate) async fn projection(ground: &Ground) -> anyhow::Result<()> {
    const ROWS: u64 = 200_000;
    let mut daemon = ground.daemon().await?;
    cli(
        &daemon,
        &["stream", "create", "plain", "--query", "SELECT user_id, id, region_id, amount, quantity FROM orders"],
    )
    .await?;
    daemon.stop().await?;
    ground.client.batch_execute("CREATE TABLE copied (LIKE plain INCLUDING ALL)").await?;
    let (mut this, mut against) = (Vec::new(), Vec::new());
    for round in 0..rounds() {
        ground.settle(&["orders", "plain", "copied"]).await?;
        ground.insert(round * ROWS, ROWS, 50_000).await?;
        let started = Instant::now();
        let postgres = ground.postgres_cpu()?;
        let mut daemon = ground.daemon().await?;
        let ready = seconds(started);
        cli(&daemon, &["wait"]).await?;
        this.push(seconds(started));
        eprintln!(
            "wall {:.2} ready {ready:.2}; PostgreSQL {:.2}; {}",
            this.last().unwrap_or(&0.0),
            ground.postgres_cpu()? - postgres,
            Ground::threads(daemon.pid().unwrap_or_default())?
        );
        daemon.stop().await?;
        let file = std::env::temp_dir().join(format!("tributary-bench-{}.copy", std::process::id()));
        let url = ground.cluster.url();
        let psql = |sql: String| -> anyhow::Result<()> {
            let ok = Command::new(testkit::bin_dir()?.join("psql")).args([&url, "-q", "-c", &sql]).status()?.success();
            anyhow::ensure!(ok, "{sql}");
            Ok(())
        };
        psql(format!(
            "\\copy (SELECT * FROM plain WHERE id >= {}) TO '{}' (FORMAT binary)",
            round * ROWS,
            file.display()
        ))?;
        let started = Instant::now();
        psql(format!("\\copy copied FROM '{}' (FORMAT binary)", file.display()))?;
        against.push(seconds(started));
        std::fs::remove_file(&file)?;
    }
    report(
        "200,000 rows of a one-to-one projection kept, against a binary COPY into the same indexed table",
        &this,
        &against,
        "s",
    );
    Ok(())
}

/// Resident memory after a million changes.
pub(crate) async fn memory(ground: &Ground) -> anyhow::Result<()> {
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
    ground.insert(0, 1_000_000, 50_000).await?;
    cli(&daemon, &["wait"]).await?;
    let peak = Ground::resident(daemon.pid().unwrap_or_default())?;
    println!(
        "| peak resident memory of coordinator and three agents in one process after 1,000,000 changes | {} MiB | | | |",
        peak >> 20
    );
    daemon.stop().await
}
