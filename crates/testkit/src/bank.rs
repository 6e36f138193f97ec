//! Money that moves between accounts on different workers: the sum never changes, so a reader sees at once whether it was
//! shown half a transfer.
//!
//! On Citus the writers go through the coordinator, and Citus commits by two-phase commit. Over `postgres_fdw` nothing is
//! atomic across servers, so there the writers are a transaction manager of their own: PREPARE on both workers, then
//! COMMIT PREPARED on both, with ids of the form `bank_<transfer>_<worker>`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::cluster::{Cluster, Kind};
use crate::table::{TableKind, TableSpec};

const BALANCE: i64 = 1_000;
const WRITERS: u32 = 3;
const BRANCHES: i32 = 7;

/// An account and the physical table that holds it.
#[derive(Debug, Clone)]
struct Account {
    id: i32,
    table: String,
}

/// Accounts on the workers of a cluster.
#[derive(Debug)]
pub struct Bank {
    kind: Kind,
    urls: Vec<String>,
    /// By worker, the first at 0.
    accounts: Arc<Vec<Vec<Account>>>,
    total: i64,
}

/// What happened while money moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BankReport {
    /// Transfers committed.
    pub transfers: u64,
    /// Attempts that failed: deadlocks, and nodes that were down.
    pub failed: u64,
    /// Reads of the two stream tables, joined.
    pub reads: u64,
    /// How often a read saw another distribution of the money than the one before it: sums alone would look right in
    /// tables that stand still.
    pub moves: u64,
    /// The longest time for which reads saw nothing new.
    pub standstill: Duration,
    /// Those that were wrong, with what they saw.
    pub wrong: Vec<String>,
    /// Reads of the sum straight from the sharded table.
    pub own_reads: u64,
    /// Those that were wrong.
    pub own_wrong: u64,
}

/// What has to be reached before a run ends, as in [`BankReport`]: on a slow machine that takes longer. A run that does not
/// reach it within a minute ends all the same.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "named as in the report")]
pub struct Least {
    pub transfers: u64,
    pub reads: u64,
    pub moves: u64,
    pub wrong: u64,
    pub own_reads: u64,
    pub own_wrong: u64,
}

/// How long a run goes on for the least that has to be reached.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Counters {
    stop: AtomicBool,
    transfers: AtomicU64,
    failed: AtomicU64,
    number: AtomicU64,
    reads: AtomicU64,
    moves: AtomicU64,
    wrong: AtomicU64,
    own_reads: AtomicU64,
    own_wrong: AtomicU64,
}

/// Counts one more, or none.
fn count(counter: &AtomicU64, one: bool) {
    counter.fetch_add(u64::from(one), Ordering::Relaxed);
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    async fn reach(&self, least: Least) {
        let reached = || {
            load(&self.transfers) >= least.transfers
                && load(&self.reads) >= least.reads
                && load(&self.moves) >= least.moves
                && load(&self.wrong) >= least.wrong
                && load(&self.own_reads) >= least.own_reads
                && load(&self.own_wrong) >= least.own_wrong
        };
        let deadline = Instant::now() + PATIENCE;
        while !reached() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Bank {
    /// The ids of its prepared transactions over `postgres_fdw`: the first group names the transfer.
    pub const GID_PATTERN: &'static str = r"^bank_(\d+)_\d+$";

    /// The stream tables that its reader joins, as (name, query).
    pub const STREAM_TABLES: [(&'static str, &'static str); 2] = [
        ("bank_total", "SELECT sum(balance) AS total, count(*) AS accounts FROM accounts"),
        ("bank_branches", "SELECT branch, sum(balance) AS total FROM accounts GROUP BY branch"),
    ];

    /// Makes and fills the table `accounts`.
    ///
    /// # Errors
    /// A server's.
    pub async fn create(cluster: &Cluster, accounts: i32) -> anyhow::Result<Self> {
        cluster
            .create_table(&TableSpec {
                name: "accounts",
                columns: "id int NOT NULL, branch int NOT NULL, balance bigint NOT NULL",
                primary_key: "id",
                kind: TableKind::Distributed("id"),
                colocate_with: None,
            })
            .await?;
        let fill =
            format!("INSERT INTO accounts SELECT i, i % {BRANCHES}, {BALANCE} FROM generate_series(1, {accounts}) i");
        cluster.run(&fill).await?;
        let by_worker = locate(cluster).await?;
        if by_worker.iter().any(Vec::is_empty) {
            bail!("a worker holds no account: {by_worker:?}");
        }
        Ok(Self {
            kind: cluster.kind(),
            urls: (0..cluster.nodes().len()).map(|node| cluster.node_url(node)).collect(),
            accounts: Arc::new(by_worker),
            total: i64::from(accounts) * BALANCE,
        })
    }

    /// Has its writers and readers go where the nodes are now.
    pub fn follow(&mut self, cluster: &Cluster) {
        self.urls = (0..self.urls.len()).map(|node| cluster.node_url(node)).collect();
    }

    /// All the money.
    pub fn total(&self) -> i64 {
        self.total
    }

    /// Lets the writers and the readers run while `faults` goes on, and stops them when it is done.
    ///
    /// # Errors
    /// When `faults` fails or a transfer cannot be settled afterwards. Wrong reads are in the report.
    pub async fn run(&self, seed: u64, faults: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<BankReport> {
        self.run_until(Least::default(), seed, faults).await
    }

    /// The same, and goes on until this much has happened.
    ///
    /// # Errors
    /// As [`Bank::run`].
    pub async fn run_until(
        &self,
        least: Least,
        seed: u64,
        faults: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<BankReport> {
        let counters = Arc::new(Counters::default());
        // Ids must not come again in a later run: a prepared transaction's is its name.
        counters.number.store(rand::random_range(1..1_000_000_000), Ordering::Relaxed);
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let writer = Writer {
                rng: StdRng::seed_from_u64(seed.wrapping_add(number.into())),
                kind: self.kind,
                urls: self.urls.clone(),
                sessions: (0..self.urls.len()).map(|_| None).collect(),
                accounts: Arc::clone(&self.accounts),
                counters: Arc::clone(&counters),
            };
            writers.spawn(writer.run());
        }
        let reader = tokio::spawn(read_streams(self.urls[0].clone(), self.total, Arc::clone(&counters)));
        let own = tokio::spawn(read_own(self.urls[0].clone(), self.total, Arc::clone(&counters)));
        let faulted = faults.await;
        if faulted.is_ok() {
            counters.reach(least).await;
        }
        counters.stop.store(true, Ordering::Relaxed);
        while let Some(writer) = writers.join_next().await {
            writer?.context("a writer")?;
        }
        let seen = reader.await??;
        own.await??;
        faulted?;
        Ok(BankReport {
            transfers: load(&counters.transfers),
            failed: load(&counters.failed),
            reads: load(&counters.reads),
            moves: load(&counters.moves),
            standstill: seen.standstill,
            wrong: seen.wrong,
            own_reads: load(&counters.own_reads),
            own_wrong: load(&counters.own_wrong),
        })
    }
}

/// Which worker and which of its tables hold each account.
async fn locate(cluster: &Cluster) -> anyhow::Result<Vec<Vec<Account>>> {
    let client = cluster.client().await?;
    let sql = match cluster.kind() {
        Kind::Citus => {
            "SELECT a.id, 'accounts_' || p.shardid, n.nodeport FROM
                 (SELECT id, get_shard_id_for_distribution_column('accounts', id) AS shardid FROM generate_series(1,
                     (SELECT count(*)::int FROM accounts)) id) a
             JOIN pg_dist_placement p USING (shardid) JOIN pg_dist_node n USING (groupid) ORDER BY a.id"
        }
        Kind::Fdw => {
            "SELECT a.id, t.ftrelid::regclass::text,
                    (SELECT split_part(o, '=', 2)::int FROM unnest(s.srvoptions) o WHERE o LIKE 'port=%')
             FROM accounts a JOIN pg_foreign_table t ON t.ftrelid = a.tableoid JOIN pg_foreign_server s ON s.oid = t.ftserver
             ORDER BY a.id"
        }
        Kind::Single => bail!("a bank needs workers"),
    };
    let mut by_worker = vec![Vec::new(); cluster.nodes().len() - 1];
    for row in client.query(sql, &[]).await.context("where the accounts are")? {
        let port: i32 = row.get(2);
        let node = cluster.nodes().iter().find(|node| i32::from(node.port) == port).context("an unknown port")?;
        by_worker[node.index - 1].push(Account { id: row.get(0), table: row.get(1) });
    }
    Ok(by_worker)
}

/// One of those who move money.
struct Writer {
    rng: StdRng,
    kind: Kind,
    urls: Vec<String>,
    sessions: Vec<Option<Client>>,
    accounts: Arc<Vec<Vec<Account>>>,
    counters: Arc<Counters>,
}

impl Writer {
    async fn run(mut self) -> anyhow::Result<()> {
        while !self.counters.stop.load(Ordering::Relaxed) {
            let done = match self.kind {
                Kind::Citus => self.through_coordinator().await,
                _ => self.by_two_phase_commit().await,
            };
            match done {
                Ok(true) => _ = self.counters.transfers.fetch_add(1, Ordering::Relaxed),
                Ok(false) => {}
                Err(error) if error.is::<Unsettled>() => return Err(error),
                Err(_) => {
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                    self.sessions.iter_mut().for_each(|session| *session = None);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        Ok(())
    }

    async fn session(&mut self, node: usize) -> anyhow::Result<&Client> {
        if self.sessions[node].as_ref().is_none_or(Client::is_closed) {
            let (client, connection) = tokio_postgres::connect(&self.urls[node], NoTls).await?;
            tokio::spawn(connection);
            client.batch_execute("SET lock_timeout = '2s'; SET statement_timeout = '20s'").await?;
            self.sessions[node] = Some(client);
        }
        self.sessions[node].as_ref().context("no session")
    }

    /// Two accounts on different workers (given by their number from 0), and an amount.
    fn choose(&mut self) -> ([(usize, Account); 2], i64) {
        let workers = self.accounts.len();
        let from = self.rng.random_range(0..workers);
        let to = (from + self.rng.random_range(1..workers.max(2))) % workers;
        let pick = |worker: usize, rng: &mut StdRng| {
            let accounts = &self.accounts[worker];
            (worker, accounts[rng.random_range(0..accounts.len())].clone())
        };
        let pair = [pick(from, &mut self.rng), pick(to, &mut self.rng)];
        (pair, self.rng.random_range(1..100))
    }

    async fn through_coordinator(&mut self) -> anyhow::Result<bool> {
        let ([(_, from), (_, to)], amount) = self.choose();
        let rolled_back = self.rng.random_bool(0.1);
        let client = self.session(0).await?;
        client.batch_execute("BEGIN").await?;
        for (account, change) in [(from, -amount), (to, amount)] {
            let sql = format!("UPDATE accounts SET balance = balance + {change} WHERE id = {}", account.id);
            client.batch_execute(&sql).await?;
        }
        client.batch_execute(if rolled_back { "ROLLBACK" } else { "COMMIT" }).await?;
        Ok(!rolled_back)
    }

    async fn by_two_phase_commit(&mut self) -> anyhow::Result<bool> {
        let (pair, amount) = self.choose();
        let number = self.counters.number.fetch_add(1, Ordering::Relaxed);
        let gid = |worker: usize| format!("bank_{number}_{}", worker + 1);
        let rolled_back = self.rng.random_bool(0.1);
        let mut prepared = Ok(());
        for ((worker, account), change) in pair.iter().zip([-amount, amount]) {
            prepared = self.prepare(*worker, account, change, &gid(*worker)).await;
            if prepared.is_err() {
                break;
            }
        }
        let commit = prepared.is_ok() && !rolled_back;
        let order = if self.rng.random_bool(0.5) { [0, 1] } else { [1, 0] };
        for at in order {
            let worker = pair[at].0;
            self.settle(worker, &gid(worker), commit).await.map_err(|error| Unsettled(format!("{error:#}")))?;
        }
        prepared.map(|()| commit)
    }

    async fn prepare(&mut self, worker: usize, account: &Account, change: i64, gid: &str) -> anyhow::Result<()> {
        let client = self.session(worker + 1).await?;
        client.batch_execute("BEGIN").await?;
        let table = &account.table;
        let sql = format!("UPDATE {table} SET balance = balance + {change} WHERE id = {}", account.id);
        let done = match client.batch_execute(&sql).await {
            Ok(()) => client.batch_execute(&format!("PREPARE TRANSACTION '{gid}'")).await,
            Err(error) => Err(error),
        };
        if done.is_err() {
            client.batch_execute("ROLLBACK").await.ok();
        }
        Ok(done?)
    }

    /// Ends a prepared transaction if it is there, however often its server goes down meanwhile.
    async fn settle(&mut self, worker: usize, gid: &str, commit: bool) -> anyhow::Result<()> {
        let verb = if commit { "COMMIT" } else { "ROLLBACK" };
        let mut last = None;
        for _ in 0..600 {
            match self.settle_once(worker, gid, verb).await {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
            self.sessions[worker + 1] = None;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(last.context("never tried")?)
    }

    async fn settle_once(&mut self, worker: usize, gid: &str, verb: &str) -> anyhow::Result<()> {
        let client = self.session(worker + 1).await?;
        let there = client.query("SELECT FROM pg_prepared_xacts WHERE gid = $1", &[&gid]).await?;
        if !there.is_empty() {
            client.batch_execute(&format!("{verb} PREPARED '{gid}'")).await?;
        }
        Ok(())
    }
}

/// A transfer of which one half may be left: the run is worth nothing then.
#[derive(Debug)]
struct Unsettled(String);

impl std::fmt::Display for Unsettled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a transfer could not be settled: {}", self.0)
    }
}

impl std::error::Error for Unsettled {}

async fn reader(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A session that is opened again while the server may be down.
async fn reader_again(url: &str, counters: &Counters) -> anyhow::Result<Client> {
    loop {
        match reader(url).await {
            Err(_) if !counters.stop.load(Ordering::Relaxed) => tokio::time::sleep(Duration::from_millis(20)).await,
            opened => return opened,
        }
    }
}

/// What the reader of the stream tables saw; as in [`BankReport`].
#[derive(Debug, Default)]
struct Seen {
    standstill: Duration,
    wrong: Vec<String>,
}

/// Both stream tables in one SELECT: each must show the whole sum. The server that has them may be down.
async fn read_streams(url: String, total: i64, counters: Arc<Counters>) -> anyhow::Result<Seen> {
    let mut client = reader(&url).await?;
    let mut so_far = Seen::default();
    let (mut last, mut changed) = (None, Instant::now());
    let sql = "SELECT max(t.total)::bigint, sum(b.total)::bigint, sum(b.total * b.branch)::bigint
               FROM bank_branches b CROSS JOIN bank_total t";
    while !counters.stop.load(Ordering::Relaxed) {
        let row = match client.query_one(sql, &[]).await {
            Ok(row) => row,
            Err(error) if is_down(&client, &error) => {
                client = reader_again(&url, &counters).await?;
                continue;
            }
            Err(error) => return Err(error).context("reading the stream tables"),
        };
        let seen: (Option<i64>, Option<i64>) = (row.get(0), row.get(1));
        let distribution: Option<i64> = row.get(2);
        so_far.standstill = so_far.standstill.max(changed.elapsed());
        if last != Some(distribution) {
            count(&counters.moves, last.is_some());
            (last, changed) = (Some(distribution), Instant::now());
        }
        count(&counters.reads, true);
        if seen != (Some(total), Some(total)) {
            count(&counters.wrong, true);
            so_far.wrong.push(format!("read {}: {seen:?} instead of {total}", load(&counters.reads)));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(so_far)
}

/// Whether the statement failed because the server went down.
fn is_down(client: &Client, error: &tokio_postgres::Error) -> bool {
    client.is_closed() || error.code().is_none_or(|code| code.code().starts_with("57P"))
}

/// What the cluster itself answers. Nodes may be down.
async fn read_own(url: String, total: i64, counters: Arc<Counters>) -> anyhow::Result<()> {
    let mut client = reader(&url).await?;
    while !counters.stop.load(Ordering::Relaxed) {
        match client.query_one("SELECT sum(balance)::bigint FROM accounts", &[]).await {
            Ok(row) => {
                count(&counters.own_reads, true);
                count(&counters.own_wrong, row.get::<_, Option<i64>>(0) != Some(total));
            }
            Err(error) if is_down(&client, &error) => client = reader_again(&url, &counters).await?,
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
