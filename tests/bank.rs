//! No reader ever sees half a transfer, whatever crashes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use rand::Rng;
use testkit::{
    Bank, BankReport, Cluster, ClusterOptions, Daemon, DaemonOptions, Kind, Least, assert_exact, citus_available, seed,
};
use tributary_tests::{create, long};

/// How long money moves.
fn duration() -> Duration {
    Duration::from_secs(if long() { 120 } else { 20 })
}

async fn cluster(kind: Kind) -> (Cluster, Bank) {
    // Branches of a crashed initiator are settled by Citus's maintenance daemon; sooner than once a minute here.
    let options = match kind {
        Kind::Citus => ClusterOptions::new(kind).setting("citus.recover_2pc_interval", "2s"),
        _ => ClusterOptions::new(kind),
    };
    let cluster = Cluster::start_with(options).await.unwrap();
    let bank = Bank::create(&cluster, 400).await.unwrap();
    (cluster, bank)
}

/// Over `postgres_fdw` the writers are the transaction manager, and tributary has to know their ids.
fn options(kind: Kind) -> DaemonOptions {
    let args = match kind {
        Kind::Fdw => vec!["--gid-pattern".to_owned(), Bank::GID_PATTERN.to_owned()],
        _ => Vec::new(),
    };
    DaemonOptions { args, ..DaemonOptions::default() }
}

/// Less would mean nothing.
const ENOUGH: Least = Least { transfers: 101, moves: 31, reads: 201, wrong: 0, own_reads: 0, own_wrong: 0 };

fn judge(kind: Kind, report: &BankReport) {
    println!(
        "{kind:?}: {} transfers ({} attempts failed); stream tables: {} reads, {} of them new, {} wrong; the cluster's own sum: {} reads, {} wrong",
        report.transfers,
        report.failed,
        report.reads,
        report.moves,
        report.wrong.len(),
        report.own_reads,
        report.own_wrong
    );
    assert!(report.wrong.is_empty(), "{kind:?}: wrong reads: {:?}", &report.wrong[..report.wrong.len().min(5)]);
    assert!(report.transfers >= ENOUGH.transfers, "{kind:?}: too little happened: {report:?}");
    assert!(report.moves >= ENOUGH.moves, "{kind:?}: the stream tables hardly moved: {report:?}");
    assert!(report.reads >= ENOUGH.reads, "{kind:?}: too few reads: {report:?}");
}

async fn steady(kind: Kind) {
    let (cluster, bank) = cluster(kind).await;
    let daemon = Daemon::standalone(&cluster, options(kind)).await.unwrap();
    create(&daemon, &Bank::STREAM_TABLES).await.unwrap();
    let quiet = async {
        tokio::time::sleep(duration()).await;
        Ok(())
    };
    let report = bank.run_until(Least { own_wrong: 1, ..ENOUGH }, seed(), quiet).await.unwrap();
    judge(kind, &report);
    // Otherwise nothing was tested: the writers' transactions must be ones that can be seen half.
    assert!(report.own_wrong > 0, "{kind:?}: the cluster's own reads were never wrong: {report:?}");
    assert_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await.unwrap();
}

/// Coordinator and agents as processes of their own; one of them, or a worker, crashes every second or two.
async fn crashes(kind: Kind) {
    let (cluster, bank) = cluster(kind).await;
    let mut coordinator = Daemon::coordinator(&cluster, options(kind)).await.unwrap();
    let mut agents = Vec::new();
    for node in 0..cluster.nodes().len() {
        agents.push(Daemon::agent(&cluster, node, &coordinator, DaemonOptions::default()).await.unwrap());
    }
    create(&coordinator, &Bank::STREAM_TABLES).await.unwrap();
    let seed = seed();
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
    let mut happened = [0; 3];
    let report = bank
        .run_until(ENOUGH, seed, async {
            let end = tokio::time::Instant::now() + duration();
            // Each of them twice at least, however long that takes.
            while tokio::time::Instant::now() < end || happened[2] < 2 {
                tokio::time::sleep(Duration::from_millis(random.random_range(500..2000))).await;
                let victim = happened.iter().sum::<usize>() % 3;
                happened[victim] += 1;
                let pause = Duration::from_millis(random.random_range(0..500));
                match victim {
                    0 => {
                        coordinator.kill9().await?;
                        tokio::time::sleep(pause).await;
                        coordinator.start().await?;
                    }
                    1 => {
                        let agent = random.random_range(0..agents.len());
                        agents[agent].kill9().await?;
                        tokio::time::sleep(pause).await;
                        agents[agent].start().await?;
                    }
                    _ => {
                        let worker = random.random_range(1..cluster.nodes().len());
                        cluster.stop_immediate(worker).await?;
                        tokio::time::sleep(pause).await;
                        cluster.start_node(worker).await?;
                    }
                }
            }
            Ok(())
        })
        .await
        .unwrap();
    println!("{kind:?}: killed: coordinator {}, agents {}, workers {}", happened[0], happened[1], happened[2]);
    judge(kind, &report);
    assert!(happened.iter().all(|times| *times >= 2), "{happened:?}");
    settled(&cluster).await;
    assert_exact(&cluster, &coordinator, &Bank::STREAM_TABLES).await.unwrap();
}

/// Waits until no prepared transaction is left: the cluster's own sum is only right then.
async fn settled(cluster: &Cluster) {
    for node in 0..cluster.nodes().len() {
        let client = cluster.client_of(node).await.unwrap();
        let left = "SELECT gid FROM pg_prepared_xacts";
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while !client.query(left, &[]).await.unwrap().is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "node {node} has prepared transactions left");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_sees_half_a_transfer_on_citus() {
    if citus_available() {
        steady(Kind::Citus).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_sees_half_a_transfer_over_fdw() {
    steady(Kind::Fdw).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_sees_half_a_transfer_while_everything_crashes_on_citus() {
    if citus_available() {
        crashes(Kind::Citus).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_sees_half_a_transfer_while_everything_crashes_over_fdw() {
    crashes(Kind::Fdw).await;
}
