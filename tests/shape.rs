//! The cluster changes its shape while money moves: no reader ever sees a wrong sum, and a shard that moves is not read
//! again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::{
    Bank, BankReport, Cluster, ClusterOptions, Daemon, DaemonOptions, Kind, assert_exact, citus_available, seed,
};
use tributary_tests::shards::{Shards, counter};
use tributary_tests::{create, long};

/// 16 shards of accounts, and beside each enough rows that a move takes a moment.
async fn cluster() -> (Cluster, Bank) {
    let options = ClusterOptions::new(Kind::Citus).setting("citus.shard_count", "16");
    let cluster = Cluster::start_with(options).await.unwrap();
    let bank = Bank::create(&cluster, 400).await.unwrap();
    for sql in [
        "CREATE TABLE ballast (id int PRIMARY KEY, filler text)",
        "SELECT create_distributed_table('ballast', 'id', colocate_with := 'accounts')",
        "INSERT INTO ballast SELECT i, repeat('x', 50) FROM generate_series(1, 160000) i",
    ] {
        cluster.run(sql).await.unwrap();
    }
    (cluster, bank)
}

fn judge(report: &BankReport) {
    println!(
        "{} transfers ({} attempts failed); {} reads, {} of them new, {} wrong; the cluster's own sum: {} of {} wrong",
        report.transfers,
        report.failed,
        report.reads,
        report.moves,
        report.wrong.len(),
        report.own_wrong,
        report.own_reads
    );
    assert!(report.wrong.is_empty(), "wrong reads: {:?}", &report.wrong[..report.wrong.len().min(5)]);
    assert!(report.transfers > 50 && report.moves > 20 && report.reads > 100, "too little happened: {report:?}");
}

/// Moves shards at random while money moves; gives how many.
async fn move_shards(cluster: &Cluster, bank: &Bank, moves: u64) {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let shards = Shards::of(cluster, "accounts").await.unwrap();
    let report = bank
        .run(seed, async {
            for number in 0..moves {
                let mode = if number % 2 == 0 { "force_logical" } else { "block_writes" };
                shards.move_one(&mut random, mode).await?;
                tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
            }
            Ok(())
        })
        .await
        .unwrap();
    judge(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_move_under_full_load_are_followed_and_no_row_is_read_again() {
    if !citus_available() {
        return;
    }
    let (cluster, bank) = cluster().await;
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &Bank::STREAM_TABLES).await.unwrap();
    let moves = if long() { 200 } else { 8 };
    move_shards(&cluster, &bank, moves).await;
    assert_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await.unwrap();
    assert_eq!(counter(&daemon, "tributary_rows_read_again_total").await.unwrap(), 0);
    assert_eq!(counter(&daemon, "tributary_shard_moves_total").await.unwrap(), moves);
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_whose_new_table_is_published_too_late_are_read_again_and_stay_exact() {
    if !citus_available() {
        return;
    }
    let (cluster, bank) = cluster().await;
    let options =
        DaemonOptions { failpoints: Some("shape-guest-not-received=return".into()), ..DaemonOptions::default() };
    let daemon = Daemon::standalone(&cluster, options).await.unwrap();
    create(&daemon, &Bank::STREAM_TABLES).await.unwrap();
    move_shards(&cluster, &bank, 6).await;
    assert_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await.unwrap();
    assert_eq!(counter(&daemon, "tributary_shard_moves_total").await.unwrap(), 0);
    // Of one shard in 16 each time, for two sources; never of a whole table.
    let read = counter(&daemon, "tributary_rows_read_again_total").await.unwrap();
    assert!((6..800).contains(&read), "{read}");
}

/// Steps that change which shards there are, each while money moves.
async fn steps(cluster: &Cluster, bank: &Bank, daemon: &Daemon, steps: &[&str]) {
    for step in steps {
        let report = bank
            .run(seed(), async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                cluster.run(step).await?;
                tokio::time::sleep(Duration::from_millis(1500)).await;
                Ok(())
            })
            .await
            .unwrap();
        println!("{step}");
        judge(&report);
        assert_exact(cluster, daemon, &Bank::STREAM_TABLES).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_split_isolated_altered_and_undistributed_stay_exact() {
    if !citus_available() {
        return;
    }
    let (cluster, bank) = cluster().await;
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &Bank::STREAM_TABLES).await.unwrap();
    let first =
        "(SELECT shardid FROM pg_dist_shard WHERE logicalrelid = 'accounts'::regclass ORDER BY shardid LIMIT 1)";
    let split = format!(
        "SELECT citus_split_shard_by_split_points({first}, ARRAY['-2080374785'],
             ARRAY[(SELECT nodeid FROM pg_dist_node WHERE groupid = 1), (SELECT nodeid FROM pg_dist_node WHERE groupid = 2)],
             'block_writes')"
    );
    steps(
        &cluster,
        &bank,
        &daemon,
        &[
            "SELECT isolate_tenant_to_new_shard('accounts', 7, 'CASCADE', shard_transfer_mode := 'block_writes')",
            &split,
            "SELECT alter_distributed_table('accounts', shard_count := 6, cascade_to_colocated := true)",
            "SELECT undistribute_table('accounts')",
            "SELECT create_distributed_table('accounts', 'id', colocate_with := 'none')",
        ],
    )
    .await;
}

/// An aggregator, with a failpoint, and an agent for each node; the stream tables are there.
async fn apart(cluster: &Cluster, failpoint: &str) -> (Daemon, Vec<Daemon>) {
    let options = DaemonOptions::default().failpoint(failpoint);
    let coordinator = Daemon::coordinator(cluster, options).await.unwrap();
    let mut agents = Vec::new();
    for node in 0..cluster.nodes().len() {
        agents.push(Daemon::agent(cluster, node, &coordinator, DaemonOptions::default()).await.unwrap());
    }
    create(&coordinator, &Bank::STREAM_TABLES).await.unwrap();
    (coordinator, agents)
}

/// The agents of the nodes on which shards were read again are others when the cut with that is made: nobody told them of
/// the shards, and what was written behind the snapshots would be lost.
#[tokio::test(flavor = "multi_thread")]
async fn agents_killed_after_their_shards_were_read_again_lose_nothing() {
    if !citus_available() {
        return;
    }
    let (cluster, bank) = cluster().await;
    // From when the tables are read to when the cut is made.
    let (coordinator, mut agents) = apart(&cluster, "mend-read=return(3000)").await;
    let report = bank.run(seed(), async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        cluster
            .run("SELECT alter_distributed_table('accounts', shard_count := 6, cascade_to_colocated := true)")
            .await?;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        for agent in &mut agents[1..] {
            agent.kill9().await?;
            agent.start().await?;
        }
        tokio::time::sleep(Duration::from_millis(7000)).await;
        Ok(())
    });
    let report = report.await.unwrap();
    assert!(report.wrong.is_empty() && report.transfers > 50, "{report:?}");
    let log = std::fs::read_to_string(coordinator.log()).unwrap();
    assert!(log.contains("they are read once more"), "{log}");
    assert_exact(&cluster, &coordinator, &Bank::STREAM_TABLES).await.unwrap();
    cluster.run("UPDATE accounts SET balance = balance + id").await.unwrap();
    assert_exact(&cluster, &coordinator, &Bank::STREAM_TABLES).await.unwrap();
}

/// A shard moves while the aggregator is away, and another was written to unseen. When it is back, the table is looked up and
/// the shard read where it is now; only then does the coordinator's stream come to the row that announces the move.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_announced_when_the_shard_was_read_in_its_new_place_loses_nothing() {
    if !citus_available() {
        return;
    }
    let (cluster, bank) = cluster().await;
    let (mut coordinator, mut agents) = apart(&cluster, "").await;
    assert_exact(&cluster, &coordinator, &Bank::STREAM_TABLES).await.unwrap();
    for agent in &mut agents {
        agent.kill9().await.unwrap();
    }
    coordinator.kill9().await.unwrap();
    let client = cluster.client().await.unwrap();
    let on_first = "SELECT shardid FROM pg_dist_placement JOIN pg_dist_shard USING (shardid)
                    WHERE logicalrelid = 'accounts'::regclass AND groupid = 1 ORDER BY 1";
    let shards: Vec<i64> = client.query(on_first, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let (from, to) = (cluster.node(1).port.into(), cluster.node(2).port.into());
    Shards::of(&cluster, "accounts").await.unwrap().move_to(shards[0], from, to, "block_writes").await.unwrap();
    let doubt = format!("ALTER PUBLICATION tributary_default DROP TABLE accounts_{}", shards[1]);
    let worker = cluster.client_of(1).await.unwrap();
    worker.batch_execute(&format!("SET citus.enable_ddl_propagation = off; {doubt}")).await.unwrap();
    let sql = format!("SELECT min(id) FROM accounts_{}", shards[1]);
    let unseen: i32 = worker.query_one(&sql, &[]).await.unwrap().get(0);
    cluster.run(&format!("UPDATE accounts SET branch = branch + 100 WHERE id = {unseen}")).await.unwrap();
    agents[0].arm(Some("agent-before-stream=return(4000)"));
    coordinator.start().await.unwrap();
    for agent in &mut agents {
        agent.start().await.unwrap();
    }
    // Writes go on beside it and behind it.
    let report = bank.run(seed(), async {
        tokio::time::sleep(Duration::from_millis(8000)).await;
        Ok(())
    });
    let report = report.await.unwrap();
    assert!(report.wrong.is_empty() && report.transfers > 50, "{report:?}");
    let log = std::fs::read_to_string(coordinator.log()).unwrap();
    for event in ["the new table of a moving shard is published", "tables were read again"] {
        assert!(log.contains(event), "no {event:?} in {log}");
    }
    assert_exact(&cluster, &coordinator, &Bank::STREAM_TABLES).await.unwrap();
}
