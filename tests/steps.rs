//! The life of a Citus table as its operators make it: steps, taken while money moves and joined tables change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rand::Rng;
use rand::rngs::StdRng;
use testkit::{Bank, Cluster, ClusterOptions, Daemon, Kind, Least, assert_exact};
use tokio_postgres::Client;

use crate::shards::Shards;

/// The money, account by account, a projection of it, and a join with a reference table and a local one.
pub const TABLES: [(&str, &str); 5] = [
    Bank::STREAM_TABLES[0],
    Bank::STREAM_TABLES[1],
    ("by_account", "SELECT id, balance FROM accounts"),
    ("rich", "SELECT id, branch, balance FROM accounts WHERE balance > 990"),
    (
        "by_kind",
        "SELECT k.name, n.note, sum(a.balance) AS total, count(*) AS accounts FROM accounts a
         JOIN kinds k ON k.id = a.branch JOIN notes n ON n.branch = a.branch GROUP BY k.name, n.note",
    ),
];

/// Two workers, 400 accounts in 16 shards, a reference table and a local one.
///
/// # Errors
/// A server's.
pub async fn cluster() -> anyhow::Result<(Cluster, Bank)> {
    let options = ClusterOptions::new(Kind::Citus).setting("citus.shard_count", "16");
    let cluster = Cluster::start_with(options).await?;
    let bank = Bank::create(&cluster, 400).await?;
    for sql in [
        "CREATE TABLE kinds (id int PRIMARY KEY, name text)",
        "SELECT create_reference_table('kinds')",
        "INSERT INTO kinds SELECT i, 'kind ' || i % 3 FROM generate_series(0, 6) i",
        "CREATE TABLE notes (branch int PRIMARY KEY, note text)",
        "INSERT INTO notes SELECT i, 'note ' || i % 2 FROM generate_series(0, 6) i",
    ] {
        cluster.run(sql).await?;
    }
    Ok((cluster, bank))
}

/// What an operator does with the table `accounts`, or with the worker beside the first two. Splits are blocking ones: the
/// others can stand still in Citus itself while rows are updated (citusdata/citus issue 6790).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named after what Citus calls them")]
pub enum Step {
    Distribute,
    MoveLogical,
    MoveBlocking,
    AddWorker,
    Rebalance,
    IsolateTenant,
    Split,
    AlterShardCount,
    Drain,
    RemoveWorker,
    Undistribute,
}

impl Step {
    /// A life, from a plain table to a plain one.
    pub const ALL: [Self; 11] = [
        Self::Distribute,
        Self::MoveLogical,
        Self::MoveBlocking,
        Self::AddWorker,
        Self::Rebalance,
        Self::IsolateTenant,
        Self::Split,
        Self::AlterShardCount,
        Self::Drain,
        Self::RemoveWorker,
        Self::Undistribute,
    ];

    /// How long it takes here when nobody is in its way, about.
    pub fn usual(self) -> Duration {
        Duration::from_millis(match self {
            Self::Distribute | Self::Undistribute | Self::MoveBlocking => 500,
            Self::AddWorker | Self::Split | Self::IsolateTenant => 700,
            Self::AlterShardCount => 1000,
            Self::MoveLogical => 1500,
            Self::Rebalance | Self::Drain => 3500,
            Self::RemoveWorker => 150,
        })
    }

    /// Takes it; once more when Citus gave it up for a writer's sake. `port`: the worker's that comes and goes. Nothing is
    /// done when an earlier try that seemed to fail has done it.
    ///
    /// # Errors
    /// Citus's.
    pub async fn take(self, cluster: &Cluster, port: u16, random: &mut StdRng) -> anyhow::Result<()> {
        if let Self::MoveLogical | Self::MoveBlocking = self {
            let mode = if self == Self::MoveLogical { "force_logical" } else { "block_writes" };
            return Shards::of(cluster, "accounts").await?.move_one(random, mode).await.map(drop);
        }
        let client = cluster.client().await?;
        client.batch_execute("SET statement_timeout = '100s'").await?;
        for _ in 0..5 {
            let Some(sql) = self.sql(&client, port, random).await? else { return Ok(()) };
            match client.batch_execute(&sql).await {
                // Citus can leave a shard behind when another node dies meanwhile, and say that it is done.
                Ok(()) if self == Self::Drain && is_left(&client, port).await? => {}
                Err(error) if error.code().is_some_and(|c| matches!(c.code(), "40P01" | "40001" | "55P03")) => {}
                done => return done.with_context(|| sql),
            }
        }
        bail!("{self:?} failed again and again")
    }

    /// The statement that does what is not done yet.
    async fn sql(self, client: &Client, port: u16, random: &mut StdRng) -> anyhow::Result<Option<String>> {
        let is = async |condition: &str| -> anyhow::Result<bool> {
            Ok(client.query_one(&format!("SELECT EXISTS ({condition})"), &[]).await?.get(0))
        };
        let distributed = is("SELECT FROM pg_dist_partition WHERE logicalrelid = 'accounts'::regclass").await?;
        let there = is(&format!("SELECT FROM pg_dist_node WHERE nodeport = {port}")).await?;
        let worker = format!("'127.0.0.1', {port}");
        Ok(match self {
            Self::Distribute if distributed => None,
            Self::Distribute => Some(
                "SELECT create_distributed_table('accounts', 'id', shard_count := 16, colocate_with := 'none')".into(),
            ),
            Self::Undistribute if !distributed => None,
            Self::Undistribute => Some("SELECT undistribute_table('accounts')".into()),
            Self::AddWorker if !there => Some(format!("SELECT citus_add_node({worker})")),
            Self::AddWorker => Some(format!("SELECT citus_activate_node({worker})")),
            Self::Rebalance => {
                Some("SELECT rebalance_table_shards('accounts', shard_transfer_mode := 'block_writes')".into())
            }
            Self::IsolateTenant => {
                let sql = "SELECT i FROM generate_series(1, 400) i JOIN pg_dist_shard s
                               ON s.shardid = get_shard_id_for_distribution_column('accounts', i)
                           WHERE shardminvalue <> shardmaxvalue ORDER BY i";
                let free = client.query(sql, &[]).await?;
                let tenant: i32 = free.get(random.random_range(0..free.len())).context("no tenant")?.get(0);
                Some(format!(
                    "SELECT isolate_tenant_to_new_shard('accounts', {tenant}, 'CASCADE', shard_transfer_mode := 'block_writes')"
                ))
            }
            Self::Split => {
                let sql = "SELECT shardid, (shardminvalue::bigint + shardmaxvalue::bigint) / 2 FROM pg_dist_shard
                           WHERE logicalrelid = 'accounts'::regclass AND shardmaxvalue::bigint - shardminvalue::bigint > 1000000
                           ORDER BY 1";
                let wide = client.query(sql, &[]).await?;
                let row = wide.get(random.random_range(0..wide.len())).context("no shard to split")?;
                let (shard, middle): (i64, i64) = (row.get(0), row.get(1));
                let nodes = "SELECT nodeid FROM pg_dist_node WHERE shouldhaveshards AND isactive ORDER BY 1";
                let nodes: Vec<i32> = client.query(nodes, &[]).await?.iter().map(|row| row.get(0)).collect();
                let mut node = || nodes[random.random_range(0..nodes.len())];
                Some(format!(
                    "SELECT citus_split_shard_by_split_points({shard}, ARRAY['{middle}'], ARRAY[{}, {}], 'block_writes')",
                    node(),
                    node()
                ))
            }
            // To 10 shards or back to 16, whichever it has not.
            Self::AlterShardCount => Some(
                "SELECT alter_distributed_table('accounts', shard_count := (SELECT CASE count(*) WHEN 16 THEN 10 ELSE 16 END
                     FROM pg_dist_shard WHERE logicalrelid = 'accounts'::regclass))"
                    .into(),
            ),
            Self::Drain => Some(format!("SELECT citus_drain_node({worker}, 'block_writes')")),
            Self::RemoveWorker => there.then(|| format!("SELECT citus_remove_node({worker})")),
            Self::MoveLogical | Self::MoveBlocking => bail!("a move is not one statement"),
        })
    }
}

/// Whether the worker still has a shard of `accounts`.
async fn is_left(client: &Client, port: u16) -> anyhow::Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node USING (groupid)
             WHERE logicalrelid = 'accounts'::regclass AND nodeport = {port})"
    );
    Ok(client.query_one(&sql, &[]).await?.get(0))
}

/// Writes to the joined tables until told to end, and counts how often it succeeded.
async fn write_joined(url: String, ended: Arc<AtomicBool>, written: Arc<AtomicU64>) {
    let (mut number, mut session) = (0, None);
    while !ended.load(Ordering::Relaxed) {
        number += 1;
        if session.as_ref().is_none_or(Client::is_closed) {
            let opened = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
            session = opened.ok().map(|(client, connection)| {
                tokio::spawn(connection);
                client
            });
        }
        for sql in [
            format!("UPDATE kinds SET name = 'kind {}' WHERE id = {}", number % 5, number % 7),
            format!("UPDATE notes SET note = 'note {}' WHERE branch = {}", number % 3, number % 7),
        ] {
            // A node may be down, and Citus gives up one of two that are in each other's way.
            let Some(client) = &session else { break };
            written.fetch_add(u64::from(client.batch_execute(&sql).await.is_ok()), Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Less would mean nothing.
const ENOUGH: Least = Least { transfers: 11, moves: 1, reads: 0, wrong: 0, own_reads: 0, own_wrong: 0 };
/// The same of writes to the joined tables.
const JOINED: u64 = 6;

/// Money moves, and the joined tables change (over this URL), while something goes on; no read may be wrong.
///
/// # Errors
/// When a read was wrong, what goes on failed, or too little moved for it to mean anything.
pub async fn while_money_moves(
    url: String,
    bank: &Bank,
    seed: u64,
    what: &str,
    goes_on: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let joined = tokio::spawn(write_joined(url, ended.clone(), written.clone()));
    let mut took = Duration::ZERO;
    let report = bank.run_until(ENOUGH, seed, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let began = Instant::now();
        goes_on.await?;
        took = began.elapsed();
        tokio::time::sleep(Duration::from_millis(700)).await;
        let deadline = Instant::now() + Duration::from_secs(60);
        while written.load(Ordering::Relaxed) < JOINED && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    });
    let report = report.await;
    ended.store(true, Ordering::Relaxed);
    joined.await?;
    let (joined, report) = (written.load(Ordering::Relaxed), report.with_context(|| what.to_owned())?);
    println!(
        "{what}: {took:.1?}, {} transfers, {joined} writes beside, {} reads, {} new, nothing new for {:.1?} at most",
        report.transfers, report.reads, report.moves, report.standstill
    );
    let wrong = &report.wrong[..report.wrong.len().min(5)];
    anyhow::ensure!(wrong.is_empty(), "{what}: wrong reads: {wrong:?}");
    let enough = report.transfers >= ENOUGH.transfers && report.moves >= ENOUGH.moves && joined >= JOINED;
    anyhow::ensure!(enough, "{what}: too little happened: {report:?}");
    Ok(())
}

/// All stream tables are exact, after this.
///
/// # Errors
/// When one is not.
pub async fn exact(cluster: &Cluster, daemon: &Daemon, what: &str) -> anyhow::Result<()> {
    assert_exact(cluster, daemon, &TABLES).await.with_context(|| format!("after {what}"))
}
