//! End-to-end suites: the binary against real clusters.
//!
//! One file a promise: `bank` (no half transactions), `exact` (twenty queries), `filtered` (rows that are not kept), `tpch` (its 22), `by_postgres` (what
//! PostgreSQL computes), `alike` (what it takes for equal), `catalog` (all that its
//! catalogs have), `failing` (rows that a query cannot be computed over), `recursive`, `random` (any query), `crash` (every step of the pipeline), `hanging` (prepared transactions),
//! `per_node` (those that do not wait), `pressure` (those that wait, and for how much),
//! `cdc` (Citus's own scenarios), `life`, `shape`, `nodes`, `tables`, `physical` and `reconcile` (what operators do), `refused` (bad input), `rights`, `wait`,
//! `beside` (new ones while others go on), `nested` (stream tables over stream tables), `idle`, `large` and `readme`. What they
//! share is here.

pub mod halves;
mod queries;
mod services;
pub mod shards;
pub mod steps;
pub mod warehouse;

use std::time::Duration;

use anyhow::Context;
use testkit::{Cluster, Daemon, Kind, Shop, cli};

pub use queries::{QUERIES, VIEW};
pub use services::Services;

/// Defines stream tables, given as (name, query); each is exact when this returns.
///
/// # Errors
/// When one is refused.
pub async fn create(daemon: &Daemon, tables: &[(&str, &str)]) -> anyhow::Result<()> {
    for (name, query) in tables {
        let output = cli(daemon, &["stream", "create", name, "--query", query]).await?;
        output.ok().with_context(|| format!("stream create {name}"))?;
    }
    Ok(())
}

/// A cluster with the shop's tables, some orders in them, and the view.
///
/// # Errors
/// A server's.
pub async fn shop(kind: Kind, seed: u64, orders: i64) -> anyhow::Result<(Cluster, Shop)> {
    let cluster = Cluster::start(kind).await?;
    Shop::create_tables(&cluster).await?;
    cluster.run(VIEW).await?;
    let mut shop = Shop::writer(seed, 0);
    shop.fill(&Shop::session(&cluster).await?, orders).await?;
    Ok((cluster, shop))
}

/// Until a stream table is in the state, for a minute; what `describe` says then.
///
/// # Errors
/// When it is not.
pub async fn in_state(daemon: &Daemon, table: &str, state: &str) -> anyhow::Result<String> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let said = cli(daemon, &["stream", "describe", table]).await?.ok()?.stdout;
        if said.contains(state) {
            return Ok(said);
        }
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "{table} is not {state}:\n{said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// True in `make test-long`.
pub fn long() -> bool {
    std::env::var_os("TRIBUTARY_LONG").is_some_and(|value| value == "1")
}

/// A number out of a process's `/proc/<pid>/status`, in kB: `VmRSS`, `VmHWM`.
///
/// # Errors
/// When the process or the line is not there.
pub fn memory_kb(pid: u32, line: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.split_whitespace().next());
    value.and_then(|text| text.parse().ok()).with_context(|| format!("no {line} in /proc/{pid}/status"))
}

/// Changes a part of a table that lies on the node so that no stream tells of it; gives the part's name.
///
/// # Errors
/// When the node cannot be asked, or has no part of the table in the publication.
pub async fn change_unseen(cluster: &Cluster, node: usize, table: &str, change: &str) -> anyhow::Result<String> {
    let client = cluster.client_of(node).await?;
    if cluster.kind() == Kind::Citus {
        let unguarded = "SET citus.enable_ddl_propagation = off; SET citus.override_table_visibility = off";
        client.batch_execute(unguarded).await?;
    }
    let sql = "SELECT min(format('%I.%I', schemaname, tablename)) FROM pg_publication_tables
               WHERE pubname = 'tributary_default' AND tablename ~ ('^' || $1)";
    let part: String = client.query_one(sql, &[&table]).await?.try_get(0)?;
    let sql = format!(
        "ALTER PUBLICATION tributary_default DROP TABLE {part}; {}; ALTER PUBLICATION tributary_default ADD TABLE {part}",
        change.replace("PART", &part)
    );
    client.batch_execute(&sql).await?;
    Ok(part)
}
