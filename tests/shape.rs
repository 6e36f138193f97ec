//! The cluster changes its shape while money moves: no reader ever sees a wrong sum, and a shard that moves is not read
//! again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::{
    Bank, BankReport, Cluster, ClusterOptions, Daemon, DaemonOptions, Kind, Least, assert_exact, citus_available, cli,
    seed,
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

/// Less would mean nothing.
const ENOUGH: Least = Least { transfers: 51, moves: 21, reads: 101, wrong: 0, own_reads: 0, own_wrong: 0 };

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
    let enough = report.transfers >= ENOUGH.transfers && report.moves >= ENOUGH.moves && report.reads >= ENOUGH.reads;
    assert!(enough, "too little happened: {report:?}");
}

/// Moves shards at random while money moves; gives how many.
async fn move_shards(cluster: &Cluster, bank: &Bank, moves: u64) {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let shards = Shards::of(cluster, "accounts").await.unwrap();
    let report = bank
        .run_until(ENOUGH, seed, async {
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
    let followed = counter(&daemon, "tributary_shard_moves_total").await.unwrap();
    let read = counter(&daemon, "tributary_rows_read_again_total").await.unwrap();
    assert_eq!((read, followed), (0, moves), "rows read again, moves followed");
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
            .run_until(ENOUGH, seed(), async {
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

/// How long something may take to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Until the daemon's log has all of these.
async fn says(daemon: &Daemon, events: &[&str]) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = std::fs::read_to_string(daemon.log())?;
        let Some(missing) = events.iter().find(|event| !log.contains(**event)) else { return Ok(()) };
        anyhow::ensure!(Instant::now() < deadline, "no {missing:?} in {log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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
    let (coordinator, mut agents) = apart(&cluster, "mend-read=return(8000)").await;
    let report = bank.run_until(ENOUGH, seed(), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster
            .run("SELECT alter_distributed_table('accounts', shard_count := 6, cascade_to_colocated := true)")
            .await?;
        // All rows of the one source are read, and wait for their cut.
        let deadline = Instant::now() + PATIENCE;
        while counter(&coordinator, "tributary_rows_read_again_total").await? < 400 {
            anyhow::ensure!(Instant::now() < deadline, "nothing is read again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for agent in &mut agents[1..] {
            agent.kill9().await?;
            agent.start().await?;
        }
        says(&coordinator, &["they are read once more"]).await
    });
    let report = report.await.unwrap();
    assert!(report.wrong.is_empty() && report.transfers >= ENOUGH.transfers, "{report:?}");
    assert_exact(&cluster, &coordinator, &Bank::STREAM_TABLES).await.unwrap();
    cluster.run("UPDATE accounts SET balance = balance + id").await.unwrap();
    assert_exact(&cluster, &coordinator, &Bank::STREAM_TABLES).await.unwrap();
}

/// A row is written before a move and behind it, and both come into one cut, since the agent of the node that had the shard is
/// away. The later change is what counts, whichever of the two nodes comes first.
#[tokio::test(flavor = "multi_thread")]
async fn of_changes_before_and_behind_a_move_in_one_cut_the_later_counts() {
    if !citus_available() {
        return;
    }
    let (cluster, _) = cluster().await;
    let (coordinator, mut agents) = apart(&cluster, "").await;
    let rows = [("by_account", "SELECT id, branch, balance FROM accounts")];
    create(&coordinator, &rows).await.unwrap();
    let shards = Shards::of(&cluster, "accounts").await.unwrap();
    let client = cluster.client().await.unwrap();
    for (from, to) in [(2, 1), (1, 2), (2, 1)] {
        assert_exact(&cluster, &coordinator, &rows).await.unwrap();
        agents[from].kill9().await.unwrap();
        let sql = format!(
            "SELECT min(shardid) FROM pg_dist_placement JOIN pg_dist_shard USING (shardid)
             WHERE logicalrelid = 'accounts'::regclass AND groupid = {from}"
        );
        let shard: i64 = client.query_one(&sql, &[]).await.unwrap().get(0);
        let (old, new) = (cluster.node(from).port.into(), cluster.node(to).port.into());
        cluster.run("UPDATE accounts SET balance = balance + 1").await.unwrap();
        shards.move_to(shard, old, new, "block_writes").await.unwrap();
        cluster.run("UPDATE accounts SET balance = balance + 1").await.unwrap();
        agents[from].start().await.unwrap();
        assert_exact(&cluster, &coordinator, &rows).await.unwrap();
        assert_exact(&cluster, &coordinator, &Bank::STREAM_TABLES).await.unwrap();
    }
    println!("{} moves followed", counter(&coordinator, "tributary_shard_moves_total").await.unwrap());
}

/// What a held cut has of a node is in its queue only. An agent that attaches meanwhile sends it once more: the cut, which
/// waits for nothing else when nothing had to be read, has to wait for that.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_attaches_while_a_cut_is_held_loses_nothing_of_it() {
    if !citus_available() {
        return;
    }
    let (cluster, _) = cluster().await;
    for sql in [
        "CREATE TABLE events (id bigint PRIMARY KEY, kind int)",
        "SELECT create_distributed_table('events', 'id', colocate_with := 'none')",
    ] {
        cluster.run(sql).await.unwrap();
    }
    let events = [("kinds", "SELECT kind, count(*) AS n FROM events GROUP BY kind")];
    let (coordinator, mut agents) = apart(&cluster, "mend-look=return(3000)").await;
    create(&coordinator, &events).await.unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..4i64 {
        let (client, ended) = (cluster.client().await.unwrap(), ended.clone());
        // Rows that nobody touches again: one that is lost stays lost.
        writers.push(tokio::spawn(async move {
            let mut id = writer;
            while !ended.load(Ordering::Relaxed) {
                id += 4;
                match client.batch_execute(&format!("INSERT INTO events VALUES ({id}, {id} % 5)")).await {
                    Ok(()) => {}
                    Err(error) => assert!(error.as_db_error().is_some(), "{error:?}"),
                }
            }
        }));
    }
    let held = || std::fs::read_to_string(coordinator.log()).unwrap().matches("reading again before").count();
    for round in 0..3 {
        // Nothing is left of the first looks.
        cli(&coordinator, &["wait", "--timeout", "60s"]).await.unwrap().ok().unwrap();
        let before = held();
        cluster.run(&format!("ALTER TABLE events ADD COLUMN extra{round} int")).await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        while held() == before {
            assert!(Instant::now() < deadline, "the change is not noticed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // It is there at once, and sends nothing before the look is over.
        agents[1].kill9().await.unwrap();
        agents[1].arm(Some("agent-before-stream=return(6000)"));
        agents[1].start().await.unwrap();
    }
    cli(&coordinator, &["wait", "--timeout", "60s"]).await.unwrap().ok().unwrap();
    ended.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    assert_exact(&cluster, &coordinator, &events).await.unwrap();
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
    let report = bank.run_until(ENOUGH, seed(), async {
        says(&coordinator, &["tables were read again"]).await?;
        tokio::time::sleep(Duration::from_millis(2000)).await;
        Ok(())
    });
    let report = report.await.unwrap();
    assert!(report.wrong.is_empty() && report.transfers >= ENOUGH.transfers, "{report:?}");
    // It is not subscribed to a second time where the cut was faster than that; then there is nothing to be lost.
    let log = std::fs::read_to_string(coordinator.log()).unwrap();
    println!("subscribed to twice: {}", log.contains("the new table of a moving shard is published"));
    assert_exact(&cluster, &coordinator, &Bank::STREAM_TABLES).await.unwrap();
}
