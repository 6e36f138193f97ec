//! What every benchmark stands on: a cluster with tables, a daemon, and time.

use std::time::Instant;

use testkit::{Cluster, ClusterOptions, Daemon, DaemonOptions, Kind, TableKind, TableSpec};
use tokio_postgres::Client;

/// A cluster with the settings of a fresh installation, where those of the tests are others.
pub(crate) async fn cluster(kind: Kind) -> anyhow::Result<Cluster> {
    let fresh = [("jit", "on"), ("shared_buffers", "128MB"), ("autovacuum_naptime", "1min")];
    Cluster::start_with(fresh.iter().fold(ClusterOptions::new(kind), |o, (name, value)| o.setting(name, value))).await
}

/// A cluster with the benchmark's tables.
pub(crate) struct Ground {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    data: tempfile::TempDir,
}

impl Ground {
    /// Three nodes; `orders` distributed, `regions` a reference table of 100 rows.
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let kind = if testkit::citus_available() { Kind::Citus } else { Kind::Fdw };
        eprintln!("making a {kind:?} cluster");
        let cluster = cluster(kind).await?;
        let tables = [
            TableSpec {
                name: "orders",
                columns: "id bigint NOT NULL, user_id bigint NOT NULL, region_id int NOT NULL, \
                          amount numeric(12,2) NOT NULL, quantity int NOT NULL, placed timestamptz NOT NULL DEFAULT now()",
                primary_key: "user_id, id",
                kind: TableKind::Distributed("user_id"),
                colocate_with: None,
            },
            TableSpec {
                name: "regions",
                columns: "id int NOT NULL, name text NOT NULL",
                primary_key: "id",
                kind: TableKind::Reference,
                colocate_with: None,
            },
        ];
        for table in &tables {
            cluster.create_table(table).await?;
        }
        let client = cluster.client().await?;
        client.batch_execute("INSERT INTO regions SELECT i, 'region ' || i FROM generate_series(1, 100) i").await?;
        let data = tempfile::Builder::new().prefix("tributary-bench-").tempdir()?;
        Ok(Self { cluster, client, data })
    }

    pub(crate) async fn daemon(&self) -> anyhow::Result<Daemon> {
        let options = DaemonOptions { data_dir: Some(self.data.path().to_owned()), ..Default::default() };
        Daemon::standalone(&self.cluster, options).await
    }

    /// `count` more rows of `orders`, from `first`, `step` in a transaction: large ones over all shards by one client,
    /// small ones (at most 1,000 rows) each of one user, by four.
    pub(crate) async fn insert(&self, first: u64, count: u64, step: u64) -> anyhow::Result<()> {
        let clients = if step <= 1000 { 4 } else { 1 };
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..clients {
            let client = self.cluster.client().await?;
            writers.spawn(async move {
                for (n, at) in (first..first + count).step_by(usize::try_from(step)?).enumerate() {
                    if n % clients != writer {
                        continue;
                    }
                    let to = (at + step).min(first + count) - 1;
                    let user = if step <= 1000 { (n % 1000).to_string() } else { "i % 1000".into() };
                    client
                        .batch_execute(&format!(
                            "INSERT INTO orders (id, user_id, region_id, amount, quantity)
                             SELECT i, {user}, i % 100 + 1, (i % 10000) / 100.0, i % 7 FROM generate_series({at}, {to}) i"
                        ))
                        .await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = writers.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Works off what the rounds before left, so that none of it falls into what is measured next: vacuuming, WAL that only
    /// the other side wrote, and WAL that was read before and that a decoder reads again from its slot's restart_lsn on. While a
    /// daemon runs that follows by itself, about a quarter of a minute behind: with what PostgreSQL notes of running
    /// transactions, also at a checkpoint.
    pub(crate) async fn settle(&self, tables: &[&str]) -> anyhow::Result<()> {
        for table in tables {
            self.client.batch_execute(&format!("VACUUM ANALYZE {table}")).await?;
        }
        let mut daemon = self.daemon().await?;
        cli(&daemon, &["wait"]).await?;
        for _ in 0..3 {
            for node in 0..self.cluster.nodes().len() {
                self.cluster.client_of(node).await?.batch_execute("CHECKPOINT").await?;
            }
            cli(&daemon, &["wait"]).await?;
        }
        daemon.stop().await?;
        for node in 0..self.cluster.nodes().len() {
            let sql = "SELECT max(pg_current_wal_lsn() - restart_lsn)::bigint FROM pg_replication_slots";
            let bytes: Option<i64> = self.cluster.client_of(node).await?.query_one(sql, &[]).await?.get(0);
            eprintln!("node {node}: {} kB of WAL are read again", bytes.unwrap_or_default() >> 10);
        }
        Ok(())
    }

    /// Seconds of CPU that a process has used.
    pub(crate) fn cpu(pid: u32) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |s| s.1).split_whitespace().collect();
        let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or_default();
        Ok((ticks(11) + ticks(12)) as f64 / 100.0)
    }

    /// CPU seconds of all threads of a process, and of those that used any, by name.
    pub(crate) fn threads(pid: u32) -> anyhow::Result<String> {
        let mut by_name = std::collections::BTreeMap::<String, f64>::new();
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let Ok(stat) = std::fs::read_to_string(task?.path().join("stat")) else { continue };
            let Some((head, rest)) = stat.rsplit_once(')') else { continue };
            let fields: Vec<&str> = rest.split_whitespace().collect();
            let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or_default();
            let name = head.split_once('(').map_or("", |n| n.1).to_owned();
            *by_name.entry(name).or_default() += (ticks(11) + ticks(12)) as f64 / 100.0;
        }
        let list: Vec<String> =
            by_name.iter().filter(|(_, s)| **s > 0.0).map(|(name, s)| format!("{name} {s:.2}")).collect();
        Ok(format!("CPU {:.2}: {}", Self::cpu(pid)?, list.join(", ")))
    }

    /// CPU seconds that the cluster's servers have used.
    pub(crate) fn postgres_cpu(&self) -> anyhow::Result<f64> {
        let mut total = 0.0;
        for node in self.cluster.nodes() {
            total += crate::source::cpu_ticks(node.pid().unwrap_or_default())? as f64 / 100.0;
        }
        Ok(total)
    }

    /// Bytes of resident memory of a process.
    pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
        Ok(line.split_whitespace().nth(1).unwrap_or("0").parse::<u64>()? * 1024)
    }
}

/// Runs a command of the client and fails with what it said.
pub(crate) async fn cli(daemon: &Daemon, args: &[&str]) -> anyhow::Result<String> {
    Ok(testkit::cli(daemon, args).await?.ok()?.stdout)
}

pub(crate) fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// One row of the table.
pub(crate) fn report(what: &str, this: &[f64], against: &[f64], unit: &str) {
    let ratios: Vec<f64> = this.iter().zip(against).map(|(a, b)| a / b).collect();
    let list = ratios.iter().map(|r| format!("{r:.2}")).collect::<Vec<_>>().join(" ");
    println!(
        "| {what} | {:.2} {unit} | {:.2} {unit} | **{:.2}** | {list} |",
        median(this),
        median(against),
        median(&ratios)
    );
}
