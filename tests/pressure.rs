//! A node is away and a transaction waits for it: the others' changes go to disk up to a limit, then stay at the slots.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::Value;
use testkit::{DaemonOptions, assert_exact, citus_available, cli};
use tributary_tests::halves::{HANGING, Hanging};

const TABLES: [(&str, &str); 2] =
    [("by_account", "SELECT id, balance FROM accounts"), ("documents", "SELECT owner, id, body FROM docs")];
const MIB: u64 = 1 << 20;
/// Held on disk at most, but for what is on its way.
const LIMIT: u64 = 4 * MIB;
/// Messages of the agents and gRPC's windows.
const ON_ITS_WAY: u64 = 8 * MIB;

async fn status(it: &Hanging) -> Value {
    let said = cli(&it.daemon, &["status", "--json"]).await.unwrap().ok().unwrap().stdout;
    serde_json::from_str(&said).unwrap()
}

/// Until the agent of node 1 is held back, or goes on; its status then.
async fn held(it: &Hanging, held: bool) -> Value {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let said = status(it).await;
        if said["nodes"][1]["held_back"] == held {
            return said;
        }
        assert!(tokio::time::Instant::now() < deadline, "not held_back = {held}: {said:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Until the agent of node 1 has read up to here, or is held back.
async fn read_or_held(it: &Hanging, end: i64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let said = status(it).await;
        let node = &said["nodes"][1];
        let received = node["received"].as_str().unwrap().split_once('/').unwrap();
        let [high, low] = [received.0, received.1].map(|half| i64::from_str_radix(half, 16).unwrap());
        if node["held_back"] == true || (high << 32 | low) >= end {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{end} is not read: {said:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Until the slot of node 1 keeps more than this; the status then. It is looked at every few seconds.
async fn retains(it: &Hanging, bytes: u64) -> Value {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let said = status(it).await;
        if said["nodes"][1]["retained_bytes"].as_u64().unwrap() > bytes {
            return said;
        }
        assert!(tokio::time::Instant::now() < deadline, "{said:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_buffered_up_to_the_limit_then_held_back_and_all_is_exact_when_the_node_is_back() {
    if !citus_available() {
        return;
    }
    let args = ["--queue-bytes", "1MiB", "--spool-bytes", "4MiB", "--memory-limit", "8MiB"];
    let options = DaemonOptions { args: args.map(String::from).to_vec(), ..DaemonOptions::default() };
    let it = Hanging::begin(&TABLES[..1], options).await;
    it.cluster.run("CREATE TABLE docs (owner int, id int, body text, PRIMARY KEY (owner, id))").await.unwrap();
    it.cluster.run("SELECT create_distributed_table('docs', 'owner')").await.unwrap();
    tributary_tests::create(&it.daemon, &TABLES[1..]).await.unwrap();
    let sql = "SELECT min(i) FROM generate_series(1, 100) i
        JOIN pg_dist_placement p ON p.shardid = get_shard_id_for_distribution_column('docs', i) WHERE p.groupid = 1";
    let client = it.cluster.client().await.unwrap();
    let owner: i32 = client.query_one(sql, &[]).await.unwrap().get(0);
    it.prepare().await;
    it.decide().await;
    let first = it.cluster.client_of(1).await.unwrap();
    first.batch_execute(&format!("COMMIT PREPARED '{}'", HANGING[0])).await.unwrap();
    it.cluster.stop_immediate(2).await.unwrap();
    let write = async |from: i32| {
        let sql = format!(
            "INSERT INTO docs SELECT {owner}, i, (SELECT string_agg(md5(i || '/' || j), '') FROM generate_series(1, 250) j)
             FROM generate_series({from}, {from} + 499) i"
        );
        it.cluster.run(&sql).await.unwrap();
    };
    // Not more at a time than can be on its way: whoever is held back stops then.
    for round in 0..8 {
        write(round * 500).await;
        let sql = "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint";
        read_or_held(&it, first.query_one(sql, &[]).await.unwrap().get(0)).await;
    }
    let said = held(&it, true).await;
    let spooled = said["spooled_bytes"].as_u64().unwrap();
    assert!((LIMIT..LIMIT + ON_ITS_WAY).contains(&spooled), "{said:#}");
    assert_eq!(said["spool_limit_bytes"], LIMIT);
    assert!(said["waiting_for"][0].as_str().unwrap().contains("node 2: COMMIT PREPARED"), "{said:#}");
    // What comes from here on stays at the slot.
    for round in 8..12 {
        write(round * 500).await;
    }
    let later = retains(&it, 20 * MIB).await;
    let node = &later["nodes"][1];
    assert!(later["spooled_bytes"].as_u64().unwrap() < LIMIT + ON_ITS_WAY, "{later:#}");
    assert_eq!((&node["confirmed"], &node["held_back"]), (&said["nodes"][1]["confirmed"], &Value::Bool(true)));
    let text = it.status().await;
    assert!(text.contains("held back") && text.contains("on disk") && text.contains("cannot reach"), "{text}");
    let (_, metrics) = it.daemon.http_get("/metrics").await.unwrap();
    assert!(metrics.contains("tributary_held_back{node=\"1\"} 1"), "{metrics}");
    it.cluster.start_node(2).await.unwrap();
    it.recover(1).await;
    assert_exact(&it.cluster, &it.daemon, &TABLES).await.unwrap();
    let said = held(&it, false).await;
    assert_eq!((&said["spooled_bytes"], &said["waiting_for"]), (&Value::from(0), &Value::Array(Vec::new())));
}
