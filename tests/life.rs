//! The life of a table on Citus, from plain to plain again, while money moves: no reader ever sees a wrong sum, and each
//! step is exact, also when somebody is killed in the middle of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::{Bank, Cluster, ClusterOptions, Daemon, DaemonOptions, Kind, assert_exact, citus_available, cli, seed};
use tokio_postgres::Client;
use tributary_tests::shards::Shards;
use tributary_tests::{create, long};

/// The money, a projection of it, and a join with a reference table and a local one.
const TABLES: [(&str, &str); 4] = [
    Bank::STREAM_TABLES[0],
    Bank::STREAM_TABLES[1],
    ("rich", "SELECT id, branch, balance FROM accounts WHERE balance > 990"),
    (
        "by_kind",
        "SELECT k.name, n.note, sum(a.balance) AS total, count(*) AS accounts FROM accounts a
         JOIN kinds k ON k.id = a.branch JOIN notes n ON n.branch = a.branch GROUP BY k.name, n.note",
    ),
];

const DISTRIBUTE: &str =
    "SELECT create_distributed_table('accounts', 'id', shard_count := 16, colocate_with := 'none')";
const UNDISTRIBUTE: &str = "SELECT undistribute_table('accounts')";
/// To 10 shards or back to 16, whichever it has not: the step before may have failed.
const RECOUNT: &str = "SELECT alter_distributed_table('accounts', shard_count :=
     (SELECT CASE count(*) WHEN 16 THEN 10 ELSE 16 END FROM pg_dist_shard WHERE logicalrelid = 'accounts'::regclass))";

async fn cluster() -> (Cluster, Bank) {
    let options = ClusterOptions::new(Kind::Citus).setting("citus.shard_count", "16");
    let cluster = Cluster::start_with(options).await.unwrap();
    let bank = Bank::create(&cluster, 400).await.unwrap();
    for sql in [
        "CREATE TABLE kinds (id int PRIMARY KEY, name text)",
        "SELECT create_reference_table('kinds')",
        "INSERT INTO kinds SELECT i, 'kind ' || i % 3 FROM generate_series(0, 6) i",
        "CREATE TABLE notes (branch int PRIMARY KEY, note text)",
        "INSERT INTO notes SELECT i, 'note ' || i % 2 FROM generate_series(0, 6) i",
    ] {
        cluster.run(sql).await.unwrap();
    }
    (cluster, bank)
}

/// Writes to the joined tables until told to end; gives how often it succeeded.
async fn write_joined(client: Client, ended: Arc<AtomicBool>) -> u64 {
    let (mut number, mut written) = (0, 0);
    while !ended.load(Ordering::Relaxed) {
        number += 1;
        for sql in [
            format!("UPDATE kinds SET name = 'kind {}' WHERE id = {}", number % 5, number % 7),
            format!("UPDATE notes SET note = 'note {}' WHERE branch = {}", number % 3, number % 7),
        ] {
            // A node may be down, and Citus gives up one of two that are in each other's way.
            written += u64::from(client.batch_execute(&sql).await.is_ok());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    written
}

/// Runs a statement; again when Citus gave it up for a writer's sake.
async fn run(cluster: &Cluster, sql: &str) -> anyhow::Result<()> {
    let client = cluster.client().await?;
    for _ in 0..5 {
        match client.batch_execute(sql).await {
            Err(error) if error.code().is_some_and(|c| matches!(c.code(), "40P01" | "40001" | "55P03")) => {}
            done => return done.with_context(|| sql.to_owned()),
        }
    }
    anyhow::bail!("{sql}: failed again and again")
}

/// What an operator does with the table.
enum Step {
    Sql(String),
    /// A shard moves, in this way.
    Move(&'static str),
    /// From plain to distributed, or back.
    Turn,
}

impl Step {
    async fn take(&self, cluster: &Cluster, random: &mut StdRng) -> anyhow::Result<()> {
        match self {
            Self::Sql(sql) => run(cluster, sql).await,
            Self::Move(mode) => {
                Shards::of(cluster, "accounts").await?.move_one(random, mode).await?;
                Ok(())
            }
            Self::Turn => {
                let plain =
                    "SELECT NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'accounts'::regclass)";
                let plain: bool = cluster.client().await?.query_one(plain, &[]).await?.get(0);
                run(cluster, if plain { DISTRIBUTE } else { UNDISTRIBUTE }).await
            }
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Sql(sql) => sql,
            Self::Move(mode) => mode,
            Self::Turn => "turn",
        }
    }
}

/// Money moves, and the joined tables change, while something goes on; no read may be wrong.
async fn while_money_moves(
    cluster: &Cluster,
    bank: &Bank,
    seed: u64,
    what: &str,
    goes_on: impl Future<Output = anyhow::Result<()>>,
) {
    let ended = Arc::new(AtomicBool::new(false));
    let joined = tokio::spawn(write_joined(cluster.client().await.unwrap(), ended.clone()));
    let report = bank.run(seed, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        goes_on.await?;
        tokio::time::sleep(Duration::from_millis(700)).await;
        Ok(())
    });
    let report = report.await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    ended.store(true, Ordering::Relaxed);
    let joined = joined.await.unwrap();
    println!(
        "{what}: {} transfers, {joined} writes beside, {} reads, {} new",
        report.transfers, report.reads, report.moves
    );
    assert!(report.wrong.is_empty(), "{what}: wrong reads: {:?}", &report.wrong[..report.wrong.len().min(5)]);
    assert!(report.transfers > 10 && report.moves > 3 && joined > 5, "{what}: too little happened: {report:?}");
}

async fn exact(cluster: &Cluster, daemon: &Daemon, what: &str) {
    assert_exact(cluster, daemon, &TABLES).await.unwrap_or_else(|error| panic!("after {what}: {error:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_exact_from_plain_through_all_shapes_to_plain_again() {
    if !citus_available() {
        return;
    }
    let (mut cluster, bank) = cluster().await;
    cluster.run(UNDISTRIBUTE).await.unwrap();
    let spare = cluster.start_spare().await.unwrap();
    let port = cluster.node(spare).port;
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &TABLES).await.unwrap();
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let sql = |text: &str| Step::Sql(text.to_owned());
    let steps = [
        sql(DISTRIBUTE),
        Step::Move("force_logical"),
        Step::Move("block_writes"),
        Step::Sql(format!("SELECT citus_add_node('127.0.0.1', {port})")),
        sql("SELECT rebalance_table_shards('accounts', shard_transfer_mode := 'block_writes')"),
        sql("SELECT isolate_tenant_to_new_shard('accounts', 7, 'CASCADE', shard_transfer_mode := 'block_writes')"),
        sql("SELECT citus_split_shard_by_split_points(
                 (SELECT min(shardid) FROM pg_dist_shard WHERE logicalrelid = 'accounts'::regclass), ARRAY['-2080374785'],
                 ARRAY[(SELECT nodeid FROM pg_dist_node WHERE groupid = 1), (SELECT nodeid FROM pg_dist_node WHERE groupid = 2)],
                 'block_writes')"),
        Step::Sql(format!("SELECT citus_drain_node('127.0.0.1', {port}, 'block_writes')")),
        Step::Sql(format!("SELECT citus_remove_node('127.0.0.1', {port})")),
        sql(UNDISTRIBUTE),
    ];
    for step in &steps {
        while_money_moves(&cluster, &bank, seed, step.name(), step.take(&cluster, &mut random)).await;
        exact(&cluster, &daemon, step.name()).await;
    }
    cli(&daemon, &["stream", "verify"]).await.unwrap().ok().unwrap();
}

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Coordinator,
    Agent,
    Worker,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_step_leaves_it_exact() {
    if !citus_available() {
        return;
    }
    let (cluster, bank) = cluster().await;
    let mut coordinator = Daemon::coordinator(&cluster, DaemonOptions::default()).await.unwrap();
    let mut agents = Vec::new();
    for node in 0..cluster.nodes().len() {
        agents.push(Daemon::agent(&cluster, node, &coordinator, DaemonOptions::default()).await.unwrap());
    }
    create(&coordinator, &TABLES).await.unwrap();
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let rounds = if long() { 100 } else { 6 };
    for round in 0..rounds {
        let victim = [Victim::Coordinator, Victim::Agent, Victim::Worker][round % 3];
        // A plain table's shards cannot be moved, so it is turned in pairs of rounds.
        let step = match round % 8 {
            0 | 5 => Step::Move("force_logical"),
            1 | 4 => Step::Move("block_writes"),
            2 | 3 => Step::Turn,
            _ => Step::Sql(RECOUNT.to_owned()),
        };
        let (delay, pause) = (random.random_range(0..700), random.random_range(0..500));
        let (agent, worker) = (random.random_range(0..agents.len()), random.random_range(1..cluster.nodes().len()));
        let what = format!("round {round}, {victim:?} after {delay} ms, {}", step.name());
        let fault = async {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            let pause = tokio::time::sleep(Duration::from_millis(pause));
            match victim {
                Victim::Coordinator => {
                    coordinator.kill9().await?;
                    pause.await;
                    coordinator.start().await
                }
                Victim::Agent => {
                    agents[agent].kill9().await?;
                    pause.await;
                    agents[agent].start().await
                }
                Victim::Worker => {
                    cluster.stop_immediate(worker).await?;
                    pause.await;
                    cluster.start_node(worker).await
                }
            }
        };
        let taken = Box::pin(async {
            let (taken, fault) = tokio::join!(step.take(&cluster, &mut random), fault);
            fault?;
            // A step that a worker is needed for fails when that is killed; Citus then has it undone.
            if let (Err(error), Victim::Worker) = (&taken, victim) {
                println!("{what}: the step failed: {error:#}");
                return Ok(());
            }
            taken
        });
        while_money_moves(&cluster, &bank, seed + round as u64, &what, taken).await;
        exact(&cluster, &coordinator, &what).await;
        // The table is distributed before shards of it are to be moved.
        let plain = "SELECT NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'accounts'::regclass)";
        let plain: bool = cluster.client().await.unwrap().query_one(plain, &[]).await.unwrap().get(0);
        if plain && (round % 8) != 2 {
            run(&cluster, DISTRIBUTE).await.unwrap();
        }
    }
}
