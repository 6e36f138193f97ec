//! Citus's own scenarios of change data capture, by its own names (`src/test/cdc` in its sources), each with stream tables in
//! place of its subscriber: exact after each step, with writers at work during those that Citus lets them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use testkit::{Cluster, ClusterOptions, Daemon, DaemonOptions, Kind, assert_exact, citus_available, cli, seed};
use tributary_tests::shards::Shards;
use tributary_tests::{create, in_state};

const SENSORS: &str = "
    CREATE TABLE sensors (measureid integer, eventdatetime timestamptz, measure_data jsonb, meaure_quantity decimal(15, 2),
        measure_status char(1), measure_comment varchar(44), PRIMARY KEY (measureid, eventdatetime, measure_data));
    CREATE INDEX index_on_sensors ON sensors (lower(measureid::text));
    CREATE INDEX hash_index_on_sensors ON sensors USING hash ((measure_data -> 'IsFailed'));
    CREATE INDEX index_with_include_on_sensors ON sensors ((measure_data -> 'IsFailed')) INCLUDE (measure_data, eventdatetime, measure_status);
    CREATE STATISTICS stats_on_sensors (dependencies) ON measureid, eventdatetime FROM sensors";

const MEASURES: (&str, &str) = (
    "measures",
    "SELECT measureid, eventdatetime, measure_data, meaure_quantity, measure_status, measure_comment FROM sensors",
);
const BY_STATUS: (&str, &str) = (
    "by_status",
    "SELECT measure_status, count(*) AS n, sum(meaure_quantity) AS quantity, max(measureid) AS last FROM sensors GROUP BY measure_status",
);
/// Reads neither the quantity nor the comment.
const BY_VALUE: (&str, &str) =
    ("by_value", "SELECT measure_status, measure_data -> 'val' AS val, count(*) AS n FROM sensors GROUP BY 1, 2");

const UPDATE: &str = "UPDATE sensors SET eventdatetime = now(), measure_data = jsonb_set(measure_data, '{val}', measureid::text::jsonb, true),
    measure_status = CASE WHEN measureid % 2 = 0 THEN 'y' ELSE 'n' END, measure_comment = 'Comment:' || measureid::text";
const DELETE: &str = "DELETE FROM sensors WHERE measureid % 2 = 0";

fn insert(from: i64, to: i64) -> String {
    format!(
        "INSERT INTO sensors (measureid, eventdatetime, measure_data, meaure_quantity, measure_status, measure_comment)
         SELECT i, '2020-01-05', '{{}}', 11011.10, 'A', 'I <3 Citus' FROM generate_series({from}, {to}) i"
    )
}

/// How long a writer goes on until it has written enough.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is written beside a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    All,
    /// As in Citus's scenarios: its splits without blocking can stand still under updates, with nobody beside it.
    Inserts,
}

/// A scenario under way.
struct Scenario {
    cluster: Cluster,
    daemon: Daemon,
    tables: Vec<(&'static str, &'static str)>,
}

impl Scenario {
    /// A cluster in which these statements were run, and the stream tables. `None` without Citus.
    async fn begin(settings: &[(&str, &str)], before: &[&str]) -> Option<Self> {
        Self::with(settings, before, &[MEASURES, BY_STATUS]).await
    }

    async fn with(settings: &[(&str, &str)], before: &[&str], tables: &[(&'static str, &'static str)]) -> Option<Self> {
        if !citus_available() {
            return None;
        }
        let options = ClusterOptions::new(Kind::Citus);
        let options = settings.iter().fold(options, |options, (name, value)| options.setting(name, value));
        let cluster = Cluster::start_with(options).await.unwrap();
        for sql in before {
            cluster.run(sql).await.unwrap();
        }
        let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, tables).await.unwrap();
        Some(Self { cluster, daemon, tables: tables.to_vec() })
    }

    /// Statements one after the other; after each, everything is exact.
    async fn steps(&self, statements: &[&str]) {
        for sql in statements {
            self.cluster.run(sql).await.unwrap();
            self.exact(sql).await;
        }
    }

    async fn exact(&self, step: &str) {
        let exact = assert_exact(&self.cluster, &self.daemon, &self.tables).await;
        exact.unwrap_or_else(|error| panic!("after {step}: {error:?}"));
    }

    /// A step while somebody writes; then everything is exact, and verified by the daemon itself.
    async fn while_written(&self, step: &str, writes: Writes) {
        let ended = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicU64::new(0));
        let (client, end, count) = (self.cluster.client().await.unwrap(), ended.clone(), written.clone());
        let writer = tokio::spawn(async move {
            let mut number = 100_000;
            // Whatever the step is, some writes come before it and some behind it; on a slow machine that takes longer.
            let (mut rest, deadline) = (5, Instant::now() + PATIENCE);
            while rest > 0 || (count.load(Ordering::Relaxed) <= 10 && Instant::now() < deadline) {
                rest -= i32::from(end.load(Ordering::Relaxed));
                number += 10;
                let statements = [
                    insert(number, number + 9),
                    format!(
                        "UPDATE sensors SET measure_status = 'w' WHERE measureid BETWEEN {number} AND {}",
                        number + 4
                    ),
                    format!("DELETE FROM sensors WHERE measureid = {number}"),
                ];
                for sql in statements.into_iter().take(if writes == Writes::All { 3 } else { 1 }) {
                    // Citus gives up one of two that are in each other's way.
                    match client.batch_execute(&sql).await {
                        Ok(()) => drop(count.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => assert!(error.as_db_error().is_some(), "{error:?}"),
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        while written.load(Ordering::Relaxed) < 3 && !writer.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let done = self.cluster.run(step).await;
        ended.store(true, Ordering::Relaxed);
        writer.await.unwrap();
        done.unwrap();
        let written = written.load(Ordering::Relaxed);
        assert!(written > 10, "{written} statements beside {step}");
        self.exact(step).await;
        cli(&self.daemon, &["stream", "verify"]).await.unwrap().ok().unwrap();
    }

    async fn move_one(&self) {
        let mut random = StdRng::seed_from_u64(seed());
        let shards = Shards::of(&self.cluster, "sensors").await.unwrap();
        shards.move_one(&mut random, "force_logical").await.unwrap();
        self.exact("a move").await;
    }
}

const DISTRIBUTE: &str = "SELECT create_distributed_table('sensors', 'measureid')";
const CONCURRENTLY: &str = "SELECT create_distributed_table_concurrently('sensors', 'measureid')";
const TO_METADATA: &str = "SELECT citus_add_local_table_to_metadata('sensors')";
const FULL: &str = "ALTER TABLE sensors REPLICA IDENTITY FULL";
const EVERYWHERE: &str = "UPDATE pg_dist_node SET shouldhaveshards = true";
const TWO_SHARDS: [(&str, &str); 1] = [("citus.shard_count", "2")];

fn split(mode: &str) -> String {
    format!(
        "SELECT citus_split_shard_by_split_points((SELECT min(shardid) FROM pg_dist_shard WHERE logicalrelid = 'sensors'::regclass),
             ARRAY['-50'], ARRAY[(SELECT nodeid FROM pg_dist_node WHERE groupid = 1), (SELECT nodeid FROM pg_dist_node WHERE groupid = 2)], '{mode}')"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn create_distributed_table() {
    let Some(it) = Scenario::begin(&[], &[SENSORS, FULL]).await else { return };
    it.steps(&[DISTRIBUTE, &insert(0, 10), UPDATE, DELETE, "TRUNCATE sensors", &insert(3, 5)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_distributed_table_concurrently() {
    let Some(it) = Scenario::begin(&[], &[SENSORS]).await else { return };
    it.while_written(CONCURRENTLY, Writes::Inserts).await;
    it.steps(&[&insert(0, 10), UPDATE, DELETE]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_insert() {
    let Some(it) = Scenario::begin(&[], &[SENSORS, TO_METADATA]).await else { return };
    it.steps(&[&insert(0, 10)]).await;
    it.while_written(CONCURRENTLY, Writes::Inserts).await;
    it.steps(&[&insert(-10, -1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn move_shard() {
    let Some(it) = Scenario::begin(&TWO_SHARDS, &[SENSORS, &insert(0, 10), CONCURRENTLY]).await else { return };
    it.exact("creation").await;
    it.move_one().await;
    it.steps(&[&insert(11, 40), UPDATE]).await;
    it.move_one().await;
    it.steps(&[DELETE]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reference_table() {
    let tables = [
        ("referenced", "SELECT measureid FROM reference_table"),
        ("tens", "SELECT measureid / 10 AS ten, count(*) AS n FROM reference_table GROUP BY 1"),
    ];
    let made = "CREATE TABLE reference_table (measureid integer PRIMARY KEY)";
    let Some(it) = Scenario::with(&[], &[made], &tables).await else { return };
    it.steps(&[
        "SELECT create_reference_table('reference_table')",
        "INSERT INTO reference_table SELECT i FROM generate_series(0, 100) i",
        "INSERT INTO reference_table SELECT i FROM generate_series(101, 200) i",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_change_and_move() {
    let made = [SENSORS, FULL, &insert(0, 10), CONCURRENTLY];
    let Some(mut it) = Scenario::with(&TWO_SHARDS, &made, &[BY_STATUS, BY_VALUE]).await else { return };
    it.exact("creation").await;
    it.cluster.run("ALTER TABLE sensors DROP COLUMN meaure_quantity").await.unwrap();
    // The one that reads the column stays at its last exact cut, the other, kept from its source, is computed again and goes on.
    it.tables = vec![BY_VALUE];
    it.move_one().await;
    in_state(&it.daemon, "by_status", "failed").await.unwrap();
    in_state(&it.daemon, "by_value", "active").await.unwrap();
    let insert = "INSERT INTO sensors SELECT i, '2020-01-05', '{}', 'A', 'I <3 Citus' FROM generate_series(11, 30) i";
    it.steps(&[insert, UPDATE, DELETE]).await;
    let said = in_state(&it.daemon, "by_status", "failed").await.unwrap();
    assert!(said.contains("meaure_quantity"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn undistributed_table() {
    let Some(it) = Scenario::begin(&[], &[EVERYWHERE, SENSORS, DISTRIBUTE]).await else { return };
    it.steps(&[&insert(0, 10), UPDATE, DELETE]).await;
    it.while_written("SELECT undistribute_table('sensors', cascade_via_foreign_keys => true)", Writes::All).await;
    it.steps(&[&insert(20, 30)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shard_split() {
    let Some(it) = Scenario::begin(&TWO_SHARDS, &[SENSORS, DISTRIBUTE]).await else { return };
    it.steps(&[&insert(-100, 100), &split("block_writes"), UPDATE]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shard_split_non_blocking() {
    let Some(it) = Scenario::begin(&TWO_SHARDS, &[SENSORS, DISTRIBUTE]).await else { return };
    it.steps(&[&insert(-100, 100), &split("force_logical"), UPDATE]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shard_split_parallel_insert() {
    let Some(it) = Scenario::begin(&TWO_SHARDS, &[SENSORS, DISTRIBUTE, &insert(-100, 100)]).await else { return };
    it.while_written(&split("force_logical"), Writes::Inserts).await;
    it.steps(&[UPDATE, DELETE]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alter_distributed_table() {
    let made = [SENSORS, TO_METADATA, CONCURRENTLY, &insert(0, 10)];
    let Some(it) = Scenario::begin(&[], &made).await else { return };
    it.while_written(
        "SELECT alter_distributed_table('sensors', shard_count := 6, cascade_to_colocated := true)",
        Writes::All,
    )
    .await;
    it.steps(&[&insert(11, 30)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restart() {
    let Some(it) = Scenario::begin(&[], &[SENSORS, DISTRIBUTE]).await else { return };
    it.steps(&[&insert(0, 10)]).await;
    it.cluster.restart(1).await.unwrap();
    it.steps(&[&insert(11, 20)]).await;
    it.cluster.restart(0).await.unwrap();
    it.steps(&[&insert(21, 30), UPDATE]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_last_column_for_one_shard() {
    let made = [SENSORS, FULL, &insert(0, 10), CONCURRENTLY];
    let Some(it) = Scenario::with(&TWO_SHARDS, &made, &[MEASURES, BY_VALUE]).await else { return };
    it.exact("creation").await;
    let sql = "SELECT 'sensors_' || shardid FROM pg_dist_shard JOIN pg_dist_placement USING (shardid)
               WHERE logicalrelid = 'sensors'::regclass AND groupid = 2 LIMIT 1";
    let shard: String = it.cluster.client().await.unwrap().query_one(sql, &[]).await.unwrap().get(0);
    let worker = it.cluster.client_of(2).await.unwrap();
    let behind = "SET citus.enable_ddl_propagation = off; SET citus.enable_manual_changes_to_shards = on";
    worker.batch_execute(&format!("{behind}; ALTER TABLE {shard} DROP COLUMN measure_comment")).await.unwrap();
    let insert = "INSERT INTO sensors (measureid, eventdatetime, measure_data, meaure_quantity, measure_status)
                  SELECT i, '2020-01-05', '{}', 11011.10, 'A' FROM generate_series(11, 40) i";
    for sql in [insert, "UPDATE sensors SET measure_status = 'B' WHERE measureid % 3 = 0", DELETE] {
        it.cluster.run(sql).await.unwrap();
        cli(&it.daemon, &["wait"]).await.unwrap().ok().unwrap();
        // It was kept from the other one's source, and is computed again from what it needs alone.
        in_state(&it.daemon, "by_value", "active").await.unwrap();
        // Writers rest, so Citus's own answer is of one moment.
        let client = it.cluster.client().await.unwrap();
        let answer = async |sql: &str| -> Vec<String> {
            let rows = client.query(&format!("SELECT t::text FROM ({sql}) t ORDER BY 1"), &[]).await.unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        };
        assert_eq!(answer("SELECT * FROM by_value").await, answer(BY_VALUE.1).await, "after {sql}");
    }
    let said = in_state(&it.daemon, "measures", "failed").await.unwrap();
    assert!(said.contains("measure_comment"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn table_like_shard_name() {
    let like = "CREATE TABLE data_100008 (id integer PRIMARY KEY, data integer)";
    let made = [SENSORS, like, FULL, &insert(0, 10), CONCURRENTLY];
    let data = ("data", "SELECT id, data FROM data_100008");
    let Some(it) = Scenario::with(&TWO_SHARDS, &made, &[MEASURES, BY_STATUS, data]).await else { return };
    it.exact("creation").await;
    // On a worker, where nobody reads it.
    let worker = it.cluster.client_of(2).await.unwrap();
    let there = format!("{like}; INSERT INTO data_100008 SELECT i, i * 10 FROM generate_series(-10, 10) i");
    worker.batch_execute(&there).await.unwrap();
    it.steps(&["INSERT INTO data_100008 SELECT i, i * 10 FROM generate_series(1, 5) i", UPDATE]).await;
    it.move_one().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_citus() {
    let made = ["CREATE TABLE data_100008 (id integer PRIMARY KEY, data integer)", "DROP EXTENSION citus"];
    let data = ("data", "SELECT id, data FROM data_100008");
    let Some(it) = Scenario::with(&[], &made, &[data]).await else { return };
    it.steps(&[
        "ALTER TABLE data_100008 REPLICA IDENTITY FULL",
        "INSERT INTO data_100008 SELECT i, i * 10 FROM generate_series(-10, 10) i",
        "UPDATE data_100008 SET data = 1 WHERE id > 5",
    ])
    .await;
}
