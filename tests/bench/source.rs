//! What the source pays: pgbench with nothing beside it, with tributary, and with the capture of the usual designs
//! (a row trigger that writes each change to a buffer table with a sequence's number, applied periodically).

use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::{Cluster, Daemon, DaemonOptions, Kind};

use crate::ground::{cli, cluster, report};

const ROUNDS: usize = 3;
const SECONDS: u64 = 8;

/// Transactions a second where they come as they come, not as fast as they can.
const RATE: u64 = 1000;

const TRIGGER: &str = "
CREATE SEQUENCE capture_seq;
CREATE TABLE capture_buffer (seq bigint PRIMARY KEY DEFAULT nextval('capture_seq'), op \"char\", old jsonb, new jsonb);
CREATE TABLE capture_result (bid int PRIMARY KEY, accounts bigint, balance bigint);
INSERT INTO capture_result SELECT bid, count(*), sum(abalance) FROM pgbench_accounts GROUP BY bid;
CREATE FUNCTION capture() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO capture_buffer (op, old, new) VALUES (
        CASE TG_OP WHEN 'INSERT' THEN 'I' WHEN 'UPDATE' THEN 'U' ELSE 'D' END,
        CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END, CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
    RETURN NULL;
END $$;
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON pgbench_accounts FOR EACH ROW EXECUTE FUNCTION capture();";

const APPLY: &str = "
WITH taken AS (DELETE FROM capture_buffer RETURNING old, new),
     changes AS (
        SELECT (new->>'bid')::int AS bid, 1 AS n, (new->>'abalance')::bigint AS balance FROM taken WHERE new IS NOT NULL
        UNION ALL
        SELECT (old->>'bid')::int, -1, -(old->>'abalance')::bigint FROM taken WHERE old IS NOT NULL),
     sums AS (SELECT bid, sum(n) AS n, sum(balance) AS balance FROM changes GROUP BY bid)
INSERT INTO capture_result SELECT bid, n, balance FROM sums
ON CONFLICT (bid) DO UPDATE SET accounts = capture_result.accounts + excluded.accounts, balance = capture_result.balance + excluded.balance";

const NO_TRIGGER: &str = "DROP TRIGGER capture ON pgbench_accounts; DROP FUNCTION capture; DROP TABLE capture_buffer, capture_result; DROP SEQUENCE capture_seq";

/// Transactions a second and CPU milliseconds of the source's PostgreSQL a transaction, at saturation and at a fixed rate.
struct Load {
    tps: f64,
    cpu: f64,
    cpu_at_rate: f64,
}

pub(crate) async fn source_load() -> anyhow::Result<()> {
    let cluster = cluster(Kind::Single).await?;
    let url = cluster.url();
    let pgbench = testkit::bin_dir()?.join("pgbench");
    anyhow::ensure!(
        Command::new(&pgbench).args(["-i", "-q", "-s", "5", &url]).stderr(Stdio::null()).status()?.success(),
        "pgbench -i"
    );
    let data = tempfile::tempdir()?;
    let options = || DaemonOptions { data_dir: Some(data.path().to_owned()), ..Default::default() };
    let query = "SELECT bid, count(*) AS accounts, sum(abalance) AS balance FROM pgbench_accounts GROUP BY bid";
    let mut daemon = Daemon::standalone(&cluster, options()).await?;
    cli(&daemon, &["stream", "create", "by_branch", "--query", query]).await?;
    daemon.stop().await?;
    let client = cluster.client().await?;
    let (mut bare, mut kept, mut triggered) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(run(&cluster, &pgbench)?);
        let mut daemon = Daemon::standalone(&cluster, options()).await?;
        cli(&daemon, &["wait"]).await?;
        kept.push(run(&cluster, &pgbench)?);
        daemon.stop().await?;
        client.batch_execute(TRIGGER).await?;
        let applier = cluster.client().await?;
        let apply = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if applier.batch_execute(APPLY).await.is_err() {
                    return;
                }
            }
        });
        let measured = tokio::task::block_in_place(|| run(&cluster, &pgbench));
        apply.abort();
        triggered.push(measured?);
        client.batch_execute(NO_TRIGGER).await?;
    }
    let column = |loads: &[Load], f: fn(&Load) -> f64| loads.iter().map(f).collect::<Vec<_>>();
    report(
        "pgbench: transactions/s with tributary, against nothing",
        &column(&kept, |l| l.tps),
        &column(&bare, |l| l.tps),
        "/s",
    );
    report(
        "pgbench: transactions/s with trigger capture, against nothing",
        &column(&triggered, |l| l.tps),
        &column(&bare, |l| l.tps),
        "/s",
    );
    report(
        "pgbench: CPU of PostgreSQL a transaction with tributary, against nothing",
        &column(&kept, |l| l.cpu),
        &column(&bare, |l| l.cpu),
        "ms",
    );
    report(
        "pgbench: CPU of PostgreSQL a transaction with trigger capture, against nothing",
        &column(&triggered, |l| l.cpu),
        &column(&bare, |l| l.cpu),
        "ms",
    );
    report(
        &format!("pgbench at {RATE}/s: CPU of PostgreSQL a transaction with tributary, against nothing"),
        &column(&kept, |l| l.cpu_at_rate),
        &column(&bare, |l| l.cpu_at_rate),
        "ms",
    );
    report(
        &format!("pgbench at {RATE}/s: CPU of PostgreSQL a transaction with trigger capture, against nothing"),
        &column(&triggered, |l| l.cpu_at_rate),
        &column(&bare, |l| l.cpu_at_rate),
        "ms",
    );
    Ok(())
}

/// Two runs of pgbench, at a fixed number of clients.
fn run(cluster: &Cluster, pgbench: &std::path::Path) -> anyhow::Result<Load> {
    let (tps, cpu) = run_at(cluster, pgbench, None)?;
    let (_, cpu_at_rate) = run_at(cluster, pgbench, Some(RATE))?;
    Ok(Load { tps, cpu, cpu_at_rate })
}

/// Transactions a second, and CPU milliseconds of PostgreSQL a transaction.
fn run_at(cluster: &Cluster, pgbench: &std::path::Path, rate: Option<u64>) -> anyhow::Result<(f64, f64)> {
    let before = cpu_ticks(cluster.node(0).pid().unwrap_or_default())?;
    let limit = rate.map(|rate| format!("--rate={rate}"));
    let output = Command::new(pgbench)
        .args(["-n", "-N", "-c", "2", "-T", &SECONDS.to_string()])
        .args(limit)
        .arg(cluster.url())
        .stderr(Stdio::null())
        .output()?;
    let ticks = cpu_ticks(cluster.node(0).pid().unwrap_or_default())? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let tps = text.lines().find_map(|l| l.strip_prefix("tps = ")?.split_whitespace().next()?.parse::<f64>().ok());
    let tps = tps.ok_or_else(|| anyhow::anyhow!("pgbench said: {text}"))?;
    eprintln!("{tps:.0} transactions/s");
    Ok((tps, ticks as f64 * 10.0 / (tps * SECONDS as f64)))
}

/// Clock ticks (10 ms) of a postmaster, its children, and those that have ended.
pub(crate) fn cpu_ticks(postmaster: u32) -> anyhow::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or_default();
        let parent = u32::try_from(number(1))?;
        if pid == postmaster {
            total += number(11) + number(12) + number(13) + number(14);
        } else if parent == postmaster {
            total += number(11) + number(12);
        }
    }
    Ok(total)
}
