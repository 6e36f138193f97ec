//! Nodes come, go, lose their slots, are restored or replaced: stream tables stay exact.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use testkit::{Bank, Cluster, ClusterOptions, Daemon, DaemonOptions, Kind, Least, assert_exact, citus_available, seed};
use tributary_tests::create;
use tributary_tests::shards::counter;

/// Less would mean nothing.
const ENOUGH: Least = Least { transfers: 21, moves: 6, reads: 0, wrong: 0, own_reads: 0, own_wrong: 0 };

async fn cluster() -> (Cluster, Bank) {
    let cluster = Cluster::start_with(ClusterOptions::new(Kind::Citus)).await.unwrap();
    let bank = Bank::create(&cluster, 300).await.unwrap();
    (cluster, bank)
}

/// Runs statements on the coordinator while money moves, one after the other.
async fn while_money_moves(cluster: &Cluster, bank: &Bank, statements: &[String]) {
    let report = bank
        .run_until(ENOUGH, seed(), async {
            for sql in statements {
                tokio::time::sleep(Duration::from_millis(500)).await;
                cluster.run(sql).await?;
                println!("{sql}");
            }
            tokio::time::sleep(Duration::from_millis(1000)).await;
            Ok(())
        })
        .await
        .unwrap();
    println!("{} transfers, {} reads, {} new", report.transfers, report.reads, report.moves);
    assert!(report.wrong.is_empty(), "wrong reads: {:?}", &report.wrong[..report.wrong.len().min(5)]);
    assert!(report.transfers >= ENOUGH.transfers && report.moves >= ENOUGH.moves, "too little happened: {report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_added_filled_drained_and_removed_while_money_moves() {
    if !citus_available() {
        return;
    }
    let (mut cluster, bank) = cluster().await;
    cluster.run("CREATE TABLE kinds (id int PRIMARY KEY, name text)").await.unwrap();
    cluster.run("SELECT create_reference_table('kinds')").await.unwrap();
    let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &Bank::STREAM_TABLES).await.unwrap();
    let joined = [(
        "joined",
        "SELECT k.name, sum(a.balance) AS total FROM accounts a JOIN kinds k ON k.id = a.branch GROUP BY k.name",
    )];
    create(&daemon, &joined).await.unwrap();
    let spare = cluster.start_spare().await.unwrap();
    let port = cluster.node(spare).port;
    let statements = [
        format!("SELECT citus_add_node('127.0.0.1', {port})"),
        "SELECT rebalance_table_shards('accounts', shard_transfer_mode := 'block_writes')".to_owned(),
        "INSERT INTO kinds SELECT i, 'kind ' || i % 3 FROM generate_series(0, 6) i".to_owned(),
    ];
    while_money_moves(&cluster, &bank, &statements).await;
    assert_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await.unwrap();
    let moved = counter(&daemon, "tributary_shard_moves_total").await.unwrap();
    let read = counter(&daemon, "tributary_rows_read_again_total").await.unwrap();
    println!("{moved} moves noticed in time, {read} rows read again");
    let held = "SELECT count(*) FROM pg_dist_placement JOIN pg_dist_node USING (groupid) WHERE nodeport = $1 AND shouldhaveshards";
    let held: i64 = cluster.client().await.unwrap().query_one(held, &[&i32::from(port)]).await.unwrap().get(0);
    assert!(held > 0, "nothing was moved to the new worker");
    // A new process finds the new node, too.
    daemon.restart().await.unwrap();
    let statements = [
        format!("SELECT citus_drain_node('127.0.0.1', {port}, 'block_writes')"),
        format!("SELECT citus_remove_node('127.0.0.1', {port})"),
        "UPDATE kinds SET name = 'another' WHERE id = 1".to_owned(),
    ];
    while_money_moves(&cluster, &bank, &statements).await;
    cluster.stop_immediate(spare).await.unwrap();
    assert_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await.unwrap();
    assert_exact(&cluster, &daemon, &joined).await.unwrap();
    daemon.restart().await.unwrap();
    assert_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await.unwrap();
    assert_exact(&cluster, &daemon, &joined).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slot_is_made_again_and_what_was_missed_is_read() {
    if !citus_available() {
        return;
    }
    let (cluster, bank) = cluster().await;
    let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &Bank::STREAM_TABLES).await.unwrap();
    for node in [1, 0] {
        daemon.stop().await.unwrap();
        let client = cluster.client_of(node).await.unwrap();
        client.batch_execute("SELECT pg_drop_replication_slot('tributary_default')").await.unwrap();
        cluster.run("UPDATE accounts SET balance = balance + 1 WHERE id <= 50").await.unwrap();
        cluster.run("UPDATE accounts SET balance = balance - 1 WHERE id <= 50").await.unwrap();
        // A row that comes and one that goes, on whichever node.
        for sql in [
            "DELETE FROM accounts WHERE id > 300",
            "INSERT INTO accounts SELECT i, 1, 0 FROM generate_series(301, 320) i",
        ] {
            cluster.run(sql).await.unwrap();
        }
        daemon.start().await.unwrap();
        assert_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await.unwrap();
        assert_eq!(counter(&daemon, "tributary_nodes_begun_anew_total").await.unwrap(), 1);
        while_money_moves(&cluster, &bank, &["SELECT 1".to_owned()]).await;
        assert_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_promoted_in_place_of_a_worker_is_read_again() {
    if !citus_available() {
        return;
    }
    let (mut cluster, bank) = cluster().await;
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &Bank::STREAM_TABLES).await.unwrap();
    while_money_moves(&cluster, &bank, &["SELECT 1".to_owned()]).await;
    let standby = cluster.start_standby(1).await.unwrap();
    while_money_moves(&cluster, &bank, &["SELECT 1".to_owned()]).await;
    // In order: what had committed is on the standby.
    cluster.stop(1).await.unwrap();
    cluster.promote(standby).await.unwrap();
    let port = cluster.node(standby).port;
    let sql = format!("SELECT citus_update_node(nodeid, '127.0.0.1', {port}) FROM pg_dist_node WHERE groupid = 1");
    cluster.run(&sql).await.unwrap();
    while_money_moves(&cluster, &bank, &["SELECT 2".to_owned()]).await;
    assert_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await.unwrap();
    assert_eq!(counter(&daemon, "tributary_nodes_begun_anew_total").await.unwrap(), 1);
}

/// A table of the coordinator's own, beside the bank.
const NOTED: (&str, &str) = ("noted", "SELECT id, note FROM notes");

const WITH_NOTES: [(&str, &str); 3] = [Bank::STREAM_TABLES[0], Bank::STREAM_TABLES[1], NOTED];

/// The bank and the notes with their stream tables, and a standby of Citus's coordinator.
async fn with_notes_and_standby() -> (Cluster, Bank, Daemon, usize) {
    let (mut cluster, bank) = cluster().await;
    cluster.run("CREATE TABLE notes (id int PRIMARY KEY, note text)").await.unwrap();
    cluster.run("INSERT INTO notes SELECT i, 'first' FROM generate_series(1, 100) i").await.unwrap();
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &WITH_NOTES).await.unwrap();
    let standby = cluster.start_standby(0).await.unwrap();
    (cluster, bank, daemon, standby)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_promoted_in_place_of_the_citus_coordinator_is_read_again_while_writers_go_on() {
    if !citus_available() {
        return;
    }
    let (mut cluster, bank, mut daemon, standby) = with_notes_and_standby().await;
    let writing = bank.run_until(ENOUGH, seed(), async {
        tokio::time::sleep(Duration::from_millis(1000)).await;
        // In order: what had committed is on the standby.
        cluster.stop(0).await?;
        cluster.fail_over(0, standby).await?;
        cluster.run("UPDATE notes SET note = 'second' WHERE id <= 50").await?;
        tokio::time::sleep(Duration::from_millis(3000)).await;
        Ok(())
    });
    let report = writing.await.unwrap();
    println!("{report:?}");
    assert!(report.wrong.is_empty(), "wrong reads: {:?}", &report.wrong[..report.wrong.len().min(5)]);
    assert!(report.transfers >= ENOUGH.transfers && report.moves >= ENOUGH.moves, "too little happened: {report:?}");
    assert_exact(&cluster, &daemon, &WITH_NOTES).await.unwrap();
    assert_eq!(counter(&daemon, "tributary_nodes_begun_anew_total").await.unwrap(), 1);
    daemon.restart().await.unwrap();
    let more = ["DELETE FROM notes WHERE id > 90", "UPDATE notes SET note = 'third'", "SELECT pg_sleep(1)"];
    while_money_moves(&cluster, &bank, &more.map(str::to_owned)).await;
    assert_exact(&cluster, &daemon, &WITH_NOTES).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_promoted_in_place_of_the_citus_coordinator_elsewhere_is_read_after_a_start_with_its_url() {
    if !citus_available() {
        return;
    }
    let (mut cluster, mut bank, mut daemon, standby) = with_notes_and_standby().await;
    while_money_moves(&cluster, &bank, &["DELETE FROM notes WHERE id > 95".to_owned()]).await;
    // In order: what had committed is on the standby.
    cluster.stop(0).await.unwrap();
    cluster.fail_over_elsewhere(0, standby).await.unwrap();
    bank.follow(&cluster);
    let port = cluster.node(0).port;
    cluster.run(&format!("SELECT citus_set_coordinator_host('127.0.0.1', {port})")).await.unwrap();
    // The daemon knows the old address only; nothing that is written now is lost.
    cluster.run("UPDATE notes SET note = 'second' WHERE id <= 50").await.unwrap();
    cluster.run("UPDATE accounts SET branch = (branch + 1) % 7 WHERE id <= 50").await.unwrap();
    daemon.stop().await.unwrap();
    daemon.point_at(&cluster.url());
    daemon.start().await.unwrap();
    assert_exact(&cluster, &daemon, &WITH_NOTES).await.unwrap();
    assert_eq!(counter(&daemon, "tributary_nodes_begun_anew_total").await.unwrap(), 1);
    while_money_moves(&cluster, &bank, &["UPDATE notes SET note = 'third' WHERE id > 20".to_owned()]).await;
    assert_exact(&cluster, &daemon, &WITH_NOTES).await.unwrap();
}

/// Over `postgres_fdw` no stream tells of servers: they are looked for.
#[tokio::test(flavor = "multi_thread")]
async fn over_postgres_fdw_servers_that_are_altered_or_added_are_followed() {
    let mut cluster = Cluster::start(Kind::Fdw).await.unwrap();
    Bank::create(&cluster, 300).await.unwrap();
    let far = "CREATE TABLE days_N (id int, day int, PRIMARY KEY (id, day))";
    let part = |worker: usize, from: i32, to: i32| {
        format!(
            "CREATE FOREIGN TABLE days_{worker} PARTITION OF days FOR VALUES FROM ({from}) TO ({to}) SERVER w{worker}"
        )
    };
    let remote = cluster.client_of(1).await.unwrap();
    remote.batch_execute(&far.replace('N', "1")).await.unwrap();
    cluster.run("CREATE TABLE days (id int, day int) PARTITION BY RANGE (day)").await.unwrap();
    cluster.run(&part(1, 0, 10)).await.unwrap();
    cluster.run("INSERT INTO days SELECT i, i % 10 FROM generate_series(1, 100) i").await.unwrap();
    let days = ("by_day", "SELECT day, count(*) AS n FROM days GROUP BY day");
    let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &[Bank::STREAM_TABLES[0], Bank::STREAM_TABLES[1], days]).await.unwrap();
    let all = [Bank::STREAM_TABLES[0], Bank::STREAM_TABLES[1], days];
    // A standby takes a worker's place.
    let standby = cluster.start_standby(1).await.unwrap();
    drop(remote);
    cluster.stop(1).await.unwrap();
    cluster.fail_over_elsewhere(1, standby).await.unwrap();
    let port = cluster.node(1).port;
    cluster.run(&format!("ALTER SERVER w1 OPTIONS (SET port '{port}')")).await.unwrap();
    cluster.run("UPDATE accounts SET balance = balance + id; DELETE FROM days WHERE id < 20").await.unwrap();
    assert_exact(&cluster, &daemon, &all).await.unwrap();
    assert_eq!(counter(&daemon, "tributary_nodes_begun_anew_total").await.unwrap(), 1);
    // Partitions on servers that are new: under a stream table that is there, and under one that comes.
    for (worker, restarted) in [(3, false), (4, true)] {
        let spare = cluster.start_spare().await.unwrap();
        let name = worker.to_string();
        cluster.client_of(spare).await.unwrap().batch_execute(&far.replace('N', &name)).await.unwrap();
        let port = cluster.node(spare).port;
        let server = format!(
            "CREATE SERVER w{worker} FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{port}', dbname 'app');
             CREATE USER MAPPING FOR postgres SERVER w{worker} OPTIONS (user 'postgres')"
        );
        if restarted {
            daemon.kill9().await.unwrap();
        }
        cluster.run(&server).await.unwrap();
        cluster.run(&part(worker, worker as i32 * 10, worker as i32 * 10 + 10)).await.unwrap();
        let fill = format!("INSERT INTO days SELECT i, {worker}0 + i % 10 FROM generate_series(1, 100) i");
        cluster.run(&fill).await.unwrap();
        if restarted {
            daemon.start().await.unwrap();
        }
        assert_exact(&cluster, &daemon, &all).await.unwrap();
        cluster
            .run("UPDATE days SET id = id + 1000 WHERE id % 3 = 0; DELETE FROM days WHERE id % 7 = 0")
            .await
            .unwrap();
        assert_exact(&cluster, &daemon, &all).await.unwrap();
    }
    let rows = ("all_days", "SELECT id, day FROM days");
    create(&daemon, &[rows]).await.unwrap();
    assert_exact(&cluster, &daemon, &[rows]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_lost_cuts_in_a_failover_is_noticed_and_everything_is_built_again() {
    if !citus_available() {
        return;
    }
    let (mut cluster, bank, mut daemon, standby) = with_notes_and_standby().await;
    cluster.run("INSERT INTO notes SELECT i, 'kept' FROM generate_series(101, 150) i").await.unwrap();
    assert_exact(&cluster, &daemon, &WITH_NOTES).await.unwrap();
    let kept = "SELECT count(*) FROM noted";
    let there = cluster.client_of(standby).await.unwrap();
    while there.query_one(kept, &[]).await.unwrap().get::<_, i64>(0) < 150 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(there);
    cluster.cut_off(standby).await.unwrap();
    // Nobody writes when the coordinator goes, so that no transaction is torn in Citus itself.
    let lost = ["INSERT INTO notes SELECT i, 'lost' FROM generate_series(151, 200) i".to_owned()];
    while_money_moves(&cluster, &bank, &lost).await;
    while_money_moves(&cluster, &bank, &["DELETE FROM notes WHERE id <= 10".to_owned()]).await;
    assert_exact(&cluster, &daemon, &WITH_NOTES).await.unwrap();
    cluster.stop_immediate(0).await.unwrap();
    cluster.fail_over(0, standby).await.unwrap();
    let status = daemon.wait_for_end(Duration::from_secs(120)).await.unwrap();
    assert!(!status.success() && daemon.log_tail().contains("went back"), "{}", daemon.log_tail());
    daemon.start().await.unwrap();
    assert_exact(&cluster, &daemon, &WITH_NOTES).await.unwrap();
    while_money_moves(&cluster, &bank, &["UPDATE notes SET note = 'third' WHERE id > 120".to_owned()]).await;
    assert_exact(&cluster, &daemon, &WITH_NOTES).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_restored_to_an_earlier_point_is_noticed_and_read_again() {
    if !citus_available() {
        return;
    }
    let (cluster, _) = cluster().await;
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &Bank::STREAM_TABLES).await.unwrap();
    cluster.run("UPDATE accounts SET balance = 1").await.unwrap();
    assert_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await.unwrap();
    cluster.stop(1).await.unwrap();
    let backup = cluster.backup(1).unwrap();
    cluster.start_node(1).await.unwrap();
    for number in 2..30 {
        cluster.run(&format!("UPDATE accounts SET balance = {number}")).await.unwrap();
    }
    assert_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await.unwrap();
    cluster.stop_immediate(1).await.unwrap();
    cluster.restore(1, &backup).unwrap();
    cluster.start_node(1).await.unwrap();
    assert_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await.unwrap();
    cluster.run("UPDATE accounts SET balance = balance + 1").await.unwrap();
    assert_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await.unwrap();
    assert_eq!(counter(&daemon, "tributary_nodes_begun_anew_total").await.unwrap(), 1);
}
