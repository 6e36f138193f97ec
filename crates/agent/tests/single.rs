//! One agent beside one real PostgreSQL, with an aggregator that does what the test says.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod fake;

use std::time::Duration;

use fake::{Aggregator, Mirror, confirmed, eventually, in_sql, soon, spawn, subscription};
use proto::v1;
use proto::v1::order::Kind as Order;
use testkit::{Cluster, Kind};
use types::Lsn;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, unused text, v text);";

async fn cluster() -> (Cluster, tokio_postgres::Client) {
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    cluster.run(TABLE).await.unwrap();
    let client = cluster.client().await.unwrap();
    (cluster, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_that_commits_arrives_once_and_nothing_that_was_rolled_back() {
    let (cluster, client) = cluster().await;
    let mut aggregator = Aggregator::start().await;
    let agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    assert_eq!((up.hello.instance.as_str(), up.hello.node), ("test", 0));
    let system = client.query_one("SELECT system_identifier::text FROM pg_control_system()", &[]).await.unwrap();
    assert_eq!(up.hello.system_identifier, system.get::<_, String>(0));
    let mut mirror = Mirror::default();
    up.start_fresh(vec![subscription(7, "t")], &mut mirror).await;
    let big = "x".repeat(5000);
    for sql in [
        "INSERT INTO t SELECT i, 'u', 'v' || i FROM generate_series(1, 100) i",
        "BEGIN; INSERT INTO t VALUES (1000, '', ''); ROLLBACK",
        "BEGIN; UPDATE t SET v = NULL WHERE id % 3 = 0; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT",
        "UPDATE t SET id = id + 500 WHERE id > 90",
        "DELETE FROM t WHERE id < 20",
        &format!("ALTER TABLE t ALTER v SET STORAGE EXTERNAL; INSERT INTO t VALUES (700, 'u', '{big}')"),
        "UPDATE t SET unused = 'toast untouched' WHERE id = 700",
        "UPDATE t SET id = 701 WHERE id = 700",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    up.catch_up(&mut mirror).await;
    let expected = in_sql(&client, "t").await;
    assert_eq!(mirror.table(7), expected);
    assert_eq!((expected.len(), expected[&701].len()), (82, 5000));
    client.batch_execute("BEGIN; TRUNCATE t; INSERT INTO t VALUES (1, '', 'after'); COMMIT").await.unwrap();
    up.catch_up(&mut mirror).await;
    assert_eq!(mirror.table(7), in_sql(&client, "t").await);
    assert_eq!(mirror.altered, []);
    agent.stop();
    soon("the agent stops", agent.join()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn undecided_branches_are_not_confirmed_and_come_again_after_a_restart() {
    let (cluster, client) = cluster().await;
    let mut aggregator = Aggregator::start().await;
    let agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    let mut mirror = Mirror::default();
    up.start_fresh(vec![subscription(7, "t")], &mut mirror).await;
    up.catch_up(&mut mirror).await;
    for (gid, id) in [("one", 1), ("two", 2), ("three", 3)] {
        let sql = format!("BEGIN; INSERT INTO t VALUES ({id}, '', '{gid}'); PREPARE TRANSACTION '{gid}'");
        client.batch_execute(&sql).await.unwrap();
    }
    client.batch_execute("INSERT INTO t VALUES (10, '', 'plain')").await.unwrap();
    client.batch_execute("COMMIT PREPARED 'two'").await.unwrap();
    up.catch_up(&mut mirror).await;
    assert_eq!(mirror.log, ["prepare one", "prepare two", "prepare three", "commit", "commit prepared two"]);
    assert_eq!(mirror.table(7).into_keys().collect::<Vec<_>>(), [2, 10]);
    up.durable(mirror.position).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let held = confirmed(&client).await;
    assert!(held < mirror.position, "{held} must be in front of PREPARE one");
    agent.stop();
    soon("the agent stops", agent.join()).await.unwrap();

    client.batch_execute("ROLLBACK PREPARED 'three'").await.unwrap();
    let _agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    let resume_after = mirror.restarted();
    up.start(resume_after, vec![subscription(7, "t")]).await;
    up.catch_up(&mut mirror).await;
    assert_eq!(mirror.table(7).into_keys().collect::<Vec<_>>(), [2, 10], "nothing that was known counts again");
    assert_eq!(mirror.prepared.keys().collect::<Vec<_>>(), ["one"]);
    client.batch_execute("COMMIT PREPARED 'one'").await.unwrap();
    up.catch_up(&mut mirror).await;
    assert_eq!(mirror.table(7), in_sql(&client, "t").await);
    up.durable(mirror.position).await;
    let end = mirror.position;
    eventually("the slot follows once all is decided", || async { confirmed(&client).await >= end }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_table_does_not_hold_wal_back() {
    let (cluster, client) = cluster().await;
    let mut aggregator = Aggregator::start().await;
    let _agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    let mut mirror = Mirror::default();
    up.start_fresh(vec![subscription(7, "t")], &mut mirror).await;
    client.batch_execute("CREATE TABLE other AS SELECT generate_series(1, 50000) AS i").await.unwrap();
    let end = up.catch_up(&mut mirror).await;
    assert_eq!(mirror.commits, 0);
    up.durable(mirror.position).await;
    eventually("the slot moves with the keepalives", || async { confirmed(&client).await >= end }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_subscribed_to_while_it_is_written_is_whole_with_its_snapshot() {
    let (cluster, client) = cluster().await;
    client
        .batch_execute("CREATE TABLE later (id int PRIMARY KEY, v text); INSERT INTO later SELECT i, 'old' FROM generate_series(1, 20000) i")
        .await
        .unwrap();
    let mut aggregator = Aggregator::start().await;
    let _agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    up.start(Lsn::ZERO, vec![subscription(7, "t")]).await;
    let writer = cluster.client().await.unwrap();
    let writing = tokio::spawn(async move {
        for i in 0..400 {
            let id = 20_001 + i;
            let sql = format!(
                "BEGIN; INSERT INTO later VALUES ({id}, 'new'); UPDATE later SET v = 'w{i}' WHERE id % 400 = {i};
                 DELETE FROM later WHERE id = {i}; COMMIT"
            );
            writer.batch_execute(&sql).await.unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    let mut mirror = Mirror::default();
    let subscribe = up.order(Order::Subscribe(v1::Subscribe { tables: vec![subscription(8, "later")] })).await;
    mirror.aside.insert(8, Vec::new());
    let done = up.answer(subscribe, &mut mirror).await;
    assert_eq!(done.error, "");
    let snapshot = up.order(Order::Snapshot(v1::Snapshot { tables: vec![8] })).await;
    let at = up.answer(snapshot, &mut mirror).await;
    assert_eq!(at.error, "");
    assert!(at.lsn >= done.lsn);
    up.until("the snapshot ends", &mut mirror, |m| !m.snapshot_ends.is_empty()).await;
    assert_eq!((mirror.snapshot_ends[0].id, mirror.snapshot_ends[0].error.as_str()), (snapshot, ""));
    for (end, change) in mirror.aside.remove(&8).unwrap() {
        if end > Lsn(at.lsn) {
            mirror.apply(change);
        }
    }
    writing.await.unwrap();
    up.catch_up(&mut mirror).await;
    assert_eq!(mirror.table(8), in_sql(&client, "later").await);

    let order = Order::Unsubscribe(v1::Unsubscribe { tables: vec![8], unpublish: true });
    let id = up.order(order).await;
    assert_eq!(up.answer(id, &mut mirror).await.error, "");
    let before = mirror.commits;
    client.batch_execute("INSERT INTO later VALUES (-1, '')").await.unwrap();
    up.catch_up(&mut mirror).await;
    assert_eq!(mirror.commits, before);
    let published = wal::published_tables(&client, "tributary_test").await.unwrap();
    assert_eq!(published.iter().map(ToString::to_string).collect::<Vec<_>>(), ["public.t"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_cannot_be_done_say_why_and_cancelled_snapshots_end() {
    let (cluster, client) = cluster().await;
    client.batch_execute("CREATE TABLE wide (id int PRIMARY KEY, v text)").await.unwrap();
    client
        .batch_execute("INSERT INTO wide SELECT i, repeat('x', 500) FROM generate_series(1, 200000) i")
        .await
        .unwrap();
    let mut aggregator = Aggregator::start().await;
    let _agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    let mut mirror = Mirror::default();
    up.start_fresh(vec![], &mut mirror).await;
    let mut wrong_type = subscription(9, "t");
    wrong_type.types = vec![20, 25];
    let mut wrong_column = subscription(9, "t");
    wrong_column.columns[1] = "w".into();
    for (table, words) in [
        (subscription(9, "absent"), "public.absent does not exist"),
        (wrong_type, "column id of public.t has another type"),
        (wrong_column, "column w of public.t does not exist"),
    ] {
        let id = up.order(Order::Subscribe(v1::Subscribe { tables: vec![table] })).await;
        let error = up.answer(id, &mut mirror).await.error;
        assert!(error.contains(words), "{error}");
    }
    let id = up.order(Order::Snapshot(v1::Snapshot { tables: vec![9] })).await;
    assert!(up.answer(id, &mut mirror).await.error.contains("not subscribed"));
    let id = up.order(Order::Subscribe(v1::Subscribe { tables: vec![subscription(10, "wide")] })).await;
    assert_eq!(up.answer(id, &mut mirror).await.error, "");
    let snapshot = up.order(Order::Snapshot(v1::Snapshot { tables: vec![10] })).await;
    assert_eq!(up.answer(snapshot, &mut mirror).await.error, "");
    let cancel = up.order(Order::Cancel(v1::Cancel { order: snapshot })).await;
    assert_eq!(up.answer(cancel, &mut mirror).await.error, "");
    up.until("the snapshot ends", &mut mirror, |m| !m.snapshot_ends.is_empty()).await;
    assert_eq!(mirror.snapshot_ends[0].error, "cancelled");
    eventually("the temporary slot goes", || async {
        let sql = "SELECT count(*) FROM pg_replication_slots WHERE temporary";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_with_what_is_prepared_and_a_position_that_the_stream_reaches() {
    let (cluster, client) = cluster().await;
    let mut aggregator = Aggregator::start().await;
    let _agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    let mut mirror = Mirror::default();
    up.start_fresh(vec![subscription(7, "t")], &mut mirror).await;
    client.batch_execute("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'now'").await.unwrap();
    client.batch_execute("BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'past'").await.unwrap();
    client.batch_execute("COMMIT PREPARED 'past'").await.unwrap();
    let gids = ["past", "now", "never"].map(String::from).to_vec();
    let id = up.order(Order::Ask(v1::Ask { gids })).await;
    let done = up.answer(id, &mut mirror).await;
    assert_eq!(done.prepared, [false, true, false]);
    up.until("the decision lies before the answer", &mut mirror, |m| m.position >= Lsn(done.lsn)).await;
    assert!(mirror.log.contains(&"commit prepared past".to_owned()));
    // Committed without a flush, and records that nobody flushes.
    for _ in 0..50 {
        client
            .batch_execute("SET synchronous_commit = off; INSERT INTO t VALUES (3); DELETE FROM t WHERE id = 3")
            .await
            .unwrap();
        client.batch_execute("SELECT pg_logical_emit_message(false, 'x', repeat('y', 700))").await.unwrap();
        up.catch_up(&mut mirror).await;
    }
    assert_eq!(mirror.table(7), in_sql(&client, "t").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_table_is_told_before_its_next_row() {
    let (cluster, client) = cluster().await;
    client.batch_execute("CREATE TABLE s (id int PRIMARY KEY, v varchar(9))").await.unwrap();
    let mut aggregator = Aggregator::start().await;
    let _agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    let mut short = subscription(8, "s");
    short.types[1] = 1043;
    let mut mirror = Mirror::default();
    up.start_fresh(vec![subscription(7, "t"), short], &mut mirror).await;
    client.batch_execute("INSERT INTO t VALUES (1, '', 'a'); INSERT INTO s VALUES (1, 'abcdef')").await.unwrap();
    up.catch_up(&mut mirror).await;
    client.batch_execute("ALTER TABLE t DROP COLUMN unused; INSERT INTO t VALUES (2, 'b')").await.unwrap();
    up.catch_up(&mut mirror).await;
    assert_eq!((mirror.altered.len(), mirror.table(7).len()), (0, 2), "a column that nobody wants");
    client
        .batch_execute("ALTER TABLE t ALTER v TYPE bytea USING v::bytea; INSERT INTO t VALUES (3, 'c')")
        .await
        .unwrap();
    client
        .batch_execute("ALTER TABLE s ALTER v TYPE varchar(3) USING left(v, 3); INSERT INTO s VALUES (2, 'x')")
        .await
        .unwrap();
    up.catch_up(&mut mirror).await;
    let told: Vec<_> = mirror.altered.iter().map(|a| (a.table, a.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            (7, "column v of public.t changed its type"),
            (8, "column v of public.s changed its type's length or precision")
        ]
    );
    assert_eq!((mirror.table(7).len(), mirror.table(8).len()), (2, 1), "its rows are shipped no longer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slot_is_told_and_a_new_start_makes_a_new_one() {
    let (cluster, client) = cluster().await;
    let mut aggregator = Aggregator::start().await;
    let agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    let mut mirror = Mirror::default();
    up.start_fresh(vec![subscription(7, "t")], &mut mirror).await;
    client.batch_execute("INSERT INTO t VALUES (1, '', 'a')").await.unwrap();
    up.catch_up(&mut mirror).await;
    agent.stop();
    soon("the agent stops", agent.join()).await.unwrap();
    let dropped = || async { wal::drop_slot_if_exists(&client, "tributary_test").await.unwrap_or(false) };
    eventually("the slot is free and dropped", dropped).await;
    let _agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    up.start(mirror.restarted(), vec![subscription(7, "t")]).await;
    while up.troubles.is_empty() {
        assert!(up.step(&mut mirror).await);
    }
    assert!(up.troubles[0].slot_lost && up.troubles[0].reason.contains("is gone"), "{:?}", up.troubles);
    // It asks again where to start; now the tables are to be read again.
    let mut up = aggregator.attached().await;
    let mut mirror = Mirror::default();
    up.start_fresh(vec![subscription(7, "t")], &mut mirror).await;
    client.batch_execute("INSERT INTO t VALUES (2, '', 'b')").await.unwrap();
    up.catch_up(&mut mirror).await;
    assert_eq!(mirror.table(7).into_keys().collect::<Vec<_>>(), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_another_database_is_left_alone() {
    let (cluster, client) = cluster().await;
    client.batch_execute("CREATE DATABASE other").await.unwrap();
    let other = wal::Endpoint::parse(&cluster.url()).unwrap().with_database("other");
    let other = wal::connect(&other, "test").await.unwrap();
    let sql = "SELECT pg_create_logical_replication_slot('tributary_test', 'pgoutput', false, true)";
    other.batch_execute(sql).await.unwrap();
    let mut aggregator = Aggregator::start().await;
    let _agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    up.start(Lsn::ZERO, vec![]).await;
    let mut mirror = Mirror::default();
    while up.troubles.is_empty() {
        assert!(up.step(&mut mirror).await);
    }
    assert!(up.troubles[0].reason.contains("belongs to database other"), "{:?}", up.troubles);
    let slot = wal::inspect_slot(&client, "tributary_test").await.unwrap().unwrap();
    assert_eq!(slot.database.as_deref(), Some("other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_unpublished_meanwhile_is_told_not_passed_over() {
    let (cluster, client) = cluster().await;
    let mut aggregator = Aggregator::start().await;
    let agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    let mut mirror = Mirror::default();
    up.start_fresh(vec![subscription(7, "t")], &mut mirror).await;
    up.catch_up(&mut mirror).await;
    agent.stop();
    soon("the agent stops", agent.join()).await.unwrap();
    client.batch_execute("ALTER PUBLICATION tributary_test DROP TABLE t; INSERT INTO t VALUES (1)").await.unwrap();
    let _agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    up.start(mirror.restarted(), vec![subscription(7, "t")]).await;
    up.until("it is told", &mut mirror, |m| !m.altered.is_empty()).await;
    assert!(mirror.altered[0].reason.contains("was not in publication"), "{:?}", mirror.altered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_can_be_stopped_in_order_while_a_branch_is_undecided() {
    let (cluster, client) = cluster().await;
    let mut aggregator = Aggregator::start().await;
    let _agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    let mut mirror = Mirror::default();
    up.start_fresh(vec![subscription(7, "t")], &mut mirror).await;
    client.batch_execute("BEGIN; INSERT INTO t VALUES (1, '', 'a'); PREPARE TRANSACTION 'g'").await.unwrap();
    up.catch_up(&mut mirror).await;
    drop(client);
    // Nothing is confirmed: a walsender waits for its reader to confirm everything before the server can end.
    soon("the node stops", cluster.stop(0)).await.unwrap();
    cluster.start_node(0).await.unwrap();
    cluster.run("COMMIT PREPARED 'g'").await.unwrap();
    up.catch_up_again(&mut mirror).await;
    assert_eq!(mirror.table(7).len(), 1);
    let reasons: Vec<&str> = up.troubles.iter().map(|t| t.reason.as_str()).collect();
    assert!(reasons.len() > 1 && reasons.last() == Some(&""), "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_agent_ends_with_the_reason() {
    let (cluster, _client) = cluster().await;
    let mut aggregator = Aggregator::start().await;
    let agent = spawn(&cluster.url(), &aggregator.address);
    aggregator.attached().await.refuse("another agent is attached for node 0").await;
    let error = soon("the agent ends", agent.join()).await.unwrap_err();
    assert_eq!(error.to_string(), "the aggregator refused this agent: another agent is attached for node 0");
    assert!(agent::Agent::spawn(agent_options_named("Bad-Name", &cluster.url())).is_err());
}

fn agent_options_named(instance: &str, url: &str) -> agent::AgentOptions {
    let mut options = fake::options(url, 0, "http://127.0.0.1:1", topology::Provider::Single);
    options.instance = instance.into();
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_commit_is_seen_within_milliseconds() {
    let (cluster, client) = cluster().await;
    let mut aggregator = Aggregator::start().await;
    let _agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    let mut mirror = Mirror::default();
    up.start_fresh(vec![subscription(7, "t")], &mut mirror).await;
    up.catch_up(&mut mirror).await;
    let mut delays = Vec::new();
    for i in 0..100 {
        client.execute("INSERT INTO t VALUES ($1, '', 'x')", &[&i]).await.unwrap();
        let committed = std::time::Instant::now();
        let wanted = mirror.commits + 1;
        up.until("the commit arrives", &mut mirror, |m| m.commits >= wanted).await;
        delays.push(committed.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    delays.sort();
    let (p50, p99) = (delays[50], delays[98]);
    eprintln!("commit to aggregator: p50 {p50:?}, p99 {p99:?}");
    // On a busy machine many wait for the processor; an agent that looks only now and then has none that is quick.
    assert!(delays[10] < Duration::from_millis(20), "{delays:?}");
}
