//! The life of a table on Citus, from plain to plain again, while money moves: no reader ever sees a wrong sum, and each
//! step is exact, also when somebody is killed in the middle of it.
//!
//! Kills of some kind alone, many of them: `TRIBUTARY_STEPS=MoveLogical,MoveBlocking`, `TRIBUTARY_VICTIMS=CitusCoordinator`
//! and `TRIBUTARY_ROUNDS=300` (then steps are a round each, in this order, and the table is distributed all the time).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::{Cluster, Daemon, DaemonOptions, citus_available, cli, seed};
use tributary_tests::shards::counter;
use tributary_tests::steps::{Step, TABLES, cluster, exact, while_money_moves};
use tributary_tests::{create, long};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_exact_from_plain_through_all_shapes_to_plain_again() {
    if !citus_available() {
        return;
    }
    let (mut cluster, bank) = cluster().await.unwrap();
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    Step::Undistribute.take(&cluster, 0, &mut random).await.unwrap();
    let spare = cluster.start_spare().await.unwrap();
    let port = cluster.node(spare).port;
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &TABLES).await.unwrap();
    for step in Step::ALL {
        let what = format!("{step:?}");
        while_money_moves(cluster.url(), &bank, seed, &what, step.take(&cluster, port, &mut random)).await.unwrap();
        exact(&cluster, &daemon, &what).await.unwrap();
    }
    cli(&daemon, &["stream", "verify"]).await.unwrap().ok().unwrap();
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// Tributary's aggregator.
    Coordinator,
    /// One of its agents.
    Agent,
    /// A node of Citus that holds shards.
    Worker,
    /// Citus's coordinator, which is the target, too.
    CitusCoordinator,
}

const VICTIMS: [Victim; 4] = [Victim::Coordinator, Victim::Agent, Victim::Worker, Victim::CitusCoordinator];

/// Everything that can be killed.
struct Everyone {
    cluster: Cluster,
    coordinator: Daemon,
    agents: Vec<Daemon>,
    /// The server that is, or is about to be, a third worker.
    third: usize,
    /// How long steps take here, as a part of what they usually take.
    pace: f64,
}

impl Everyone {
    async fn start(mut cluster: Cluster) -> Self {
        let coordinator = Daemon::coordinator(&cluster, DaemonOptions::default()).await.unwrap();
        let mut agents = Vec::new();
        for node in 0..cluster.nodes().len() {
            agents.push(Daemon::agent(&cluster, node, &coordinator, DaemonOptions::default()).await.unwrap());
        }
        let third = cluster.start_spare().await.unwrap();
        Self { cluster, coordinator, agents, third, pace: 1.0 }
    }

    /// Takes a step and kills somebody in it; takes it again when it failed for that. True when the kill came in its middle.
    async fn take(&mut self, step: Step, victim: Victim, what: &str, random: &mut StdRng) -> anyhow::Result<bool> {
        let delay = step.usual().mul_f64(self.pace * random.random_range(0.02..0.98));
        let pause = Duration::from_millis(random.random_range(0..500));
        let workers = if self.agents.len() > 3 { vec![1, 2, self.third] } else { vec![1, 2] };
        let (agent, worker) =
            (random.random_range(0..self.agents.len()), workers[random.random_range(0..workers.len())]);
        let node = if victim == Victim::Worker { worker } else { 0 };
        let Self { cluster, coordinator, agents, third, pace } = self;
        let (cluster, port, done) = (&*cluster, cluster.node(*third).port, AtomicBool::new(false));
        let fault = async {
            tokio::time::sleep(delay).await;
            let hit = !done.load(Ordering::Relaxed);
            let pause = tokio::time::sleep(pause);
            match victim {
                Victim::Coordinator => {
                    coordinator.kill9().await?;
                    pause.await;
                    coordinator.start().await?;
                }
                Victim::Agent => {
                    agents[agent].kill9().await?;
                    pause.await;
                    agents[agent].start().await?;
                }
                Victim::Worker | Victim::CitusCoordinator => {
                    cluster.stop_immediate(node).await?;
                    pause.await;
                    cluster.start_node(node).await?;
                }
            }
            anyhow::Ok(hit)
        };
        let taking = async {
            let begin = Instant::now();
            let taken = step.take(cluster, port, random).await;
            if taken.is_ok() {
                *pace = pace.min(begin.elapsed().div_duration_f64(step.usual())).max(0.1);
            }
            done.store(true, Ordering::Relaxed);
            taken
        };
        let (mut taken, fault) = tokio::join!(Box::pin(taking), Box::pin(fault));
        let hit = fault?;
        // A step that a node is needed for fails when that is killed; Citus then has it undone, and it is taken again.
        let deadline = Instant::now() + Duration::from_secs(60);
        while let (Err(error), Victim::Worker | Victim::CitusCoordinator) = (&taken, victim) {
            println!("{what}: the step failed: {error:#}");
            anyhow::ensure!(Instant::now() < deadline, "{what}: the step fails again and again: {error:#}");
            tokio::time::sleep(Duration::from_millis(300)).await;
            // Before shards are copied: Citus loses what was prepared on them and is committed later.
            if let Ok(client) = cluster.client().await {
                client.batch_execute("SELECT recover_prepared_transactions()").await.ok();
            }
            taken = step.take(cluster, port, random).await;
        }
        taken?;
        if step == Step::AddWorker {
            let group = format!("SELECT groupid FROM pg_dist_node WHERE nodeport = {port}");
            let group: i32 = cluster.client().await?.query_one(&group, &[]).await?.get(0);
            let group = usize::try_from(group)?;
            agents.push(Daemon::agent_of_group(cluster, *third, group, coordinator, DaemonOptions::default()).await?);
        }
        Ok(hit)
    }

    /// What all accounts hold; nobody may write.
    async fn money(&self) -> anyhow::Result<i64> {
        let sum = "SELECT sum(balance)::bigint FROM accounts";
        Ok(self.cluster.client().await?.query_one(sum, &[]).await?.get(0))
    }

    /// Everything that tributary's processes logged.
    fn logs(&self) -> String {
        let read = |daemon: &Daemon| std::fs::read_to_string(daemon.log()).unwrap_or_default();
        let mut logs = format!("--- coordinator\n{}", read(&self.coordinator));
        for (number, agent) in self.agents.iter().enumerate() {
            logs.push_str(&format!("--- agent {number}\n{}", read(agent)));
        }
        logs
    }

    /// For a round that failed: which accounts differ from their stream table when all is at rest, and where they are.
    async fn differing(&self) -> anyhow::Result<String> {
        cli(&self.coordinator, &["wait", "--timeout", "60s"]).await?.ok()?;
        let client = self.cluster.client().await?;
        let mut held = Vec::new();
        for table in ["accounts", "by_account"] {
            let sql = format!("SELECT id, balance FROM {table} ORDER BY id");
            let rows = client.query(&sql, &[]).await?;
            held.push(rows.iter().map(|row| (row.get(0), row.get(1))).collect::<BTreeMap<i32, i64>>());
        }
        let mut lines = Vec::new();
        for (id, has) in held[0].iter().filter(|(id, has)| held[1].get(id) != Some(has)) {
            let sql = format!(
                "SELECT shardid, groupid FROM pg_dist_placement
                 WHERE shardid = get_shard_id_for_distribution_column('accounts', {id})"
            );
            let at = client.query_opt(&sql, &[]).await.ok().flatten();
            let at = at.map(|row| (row.get::<_, i64>(0), row.get::<_, i32>(1)));
            lines.push(format!("{id} has {has}, in by_account {:?}; shard and node {at:?}", held[1].get(id)));
        }
        Ok(format!("the sources' total is {}; these differ: {lines:#?}", self.money().await?))
    }

    /// The third worker has left: its agent and its server go, and another server is ready to be one.
    async fn replace_third(&mut self) -> anyhow::Result<()> {
        drop(self.agents.pop());
        self.cluster.stop_immediate(self.third).await?;
        self.third = self.cluster.start_spare().await?;
        Ok(())
    }
}

/// Those that a variable names, or all.
fn chosen<T: std::fmt::Debug + Copy>(variable: &str, all: &[T]) -> Vec<T> {
    let Ok(names) = std::env::var(variable) else { return all.to_vec() };
    let named = |name: &str| all.iter().find(|one| format!("{one:?}") == name).copied();
    names
        .split(',')
        .map(|name| named(name).unwrap_or_else(|| panic!("{variable}: {name} is none of {all:?}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_any_step_leaves_it_exact() {
    if !citus_available() {
        return;
    }
    let (cluster, bank) = cluster().await.unwrap();
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let (steps, victims) = (chosen("TRIBUTARY_STEPS", &Step::ALL), chosen("TRIBUTARY_VICTIMS", &VICTIMS));
    if steps.contains(&Step::Distribute) {
        Step::Undistribute.take(&cluster, 0, &mut random).await.unwrap();
    }
    let mut everyone = Everyone::start(cluster).await;
    create(&everyone.coordinator, &TABLES).await.unwrap();
    // 44 rounds are every victim in every step.
    let rounds = std::env::var("TRIBUTARY_ROUNDS").ok().map(|n| n.parse().unwrap());
    let rounds = rounds.unwrap_or(if long() { 110 } else { Step::ALL.len() });
    let (mut hits, first) = (0, random.random_range(0..victims.len()));
    for round in 0..rounds {
        let (step, victim) = (steps[round % steps.len()], victims[(first + round) % victims.len()]);
        let what = format!("round {round}, {step:?}, {victim:?} killed");
        let mut hit = false;
        let url = everyone.cluster.url();
        let taken = async {
            hit = everyone.take(step, victim, &what, &mut random).await?;
            Ok(())
        };
        if let Err(error) = while_money_moves(url, &bank, seed + round as u64, &what, Box::pin(taken)).await {
            let differing = everyone.differing().await;
            panic!("{error:#}\n{differing:?}\n{}", everyone.logs());
        }
        exact(&everyone.cluster, &everyone.coordinator, &what).await.unwrap();
        hits += usize::from(hit);
        // The stream tables are what the tables are. When half a transfer is missing there, too, it is Citus that lost it.
        let lost = bank.total() - everyone.money().await.unwrap();
        if lost != 0 {
            println!("{what}: Citus itself has lost {lost}");
            let give_back = format!("UPDATE accounts SET balance = balance + {lost} WHERE id = 1");
            everyone.cluster.run(&give_back).await.unwrap();
            exact(&everyone.cluster, &everyone.coordinator, "what Citus lost was given back").await.unwrap();
        }
        if step == Step::RemoveWorker {
            everyone.replace_third().await.unwrap();
        }
    }
    let moves = counter(&everyone.coordinator, "tributary_shard_moves_total").await.unwrap();
    println!("{rounds} rounds, {hits} kills in the middle; {moves} moves followed since the last start");
    // Where a step's middle is, is guessed from the steps before: a few rounds may all miss it, many may not.
    assert!(!long() || hits * 2 > rounds, "only {hits} of {rounds} kills came in the middle of a step");
}
