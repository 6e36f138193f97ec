//! The agent dies between its durable steps. Needs the feature `failpoints`.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod fake;

use std::time::Duration;

use fake::{Aggregator, Mirror, confirmed, eventually, in_sql, soon, spawn, subscription};
use testkit::{Cluster, Kind};
use types::Lsn;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_at_a_durable_step_loses_nothing() {
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    cluster.run("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    let client = cluster.client().await.unwrap();
    let mut aggregator = Aggregator::start().await;

    fail::cfg("agent-after-slot-create", "1*panic").unwrap();
    let agent = spawn(&cluster.url(), &aggregator.address);
    let up = aggregator.attached().await;
    up.start(Lsn::ZERO, vec![subscription(7, "t")]).await;
    soon("the agent dies", agent.join()).await.unwrap_err();
    assert!(wal::inspect_slot(&client, "tributary_test").await.unwrap().is_some());
    client.batch_execute("INSERT INTO t VALUES (1, 'belongs to nobody''s stream')").await.unwrap();

    let agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    let mut mirror = Mirror::default();
    up.start_fresh(vec![subscription(7, "t")], &mut mirror).await;
    client.batch_execute("INSERT INTO t VALUES (2, 'a')").await.unwrap();
    up.catch_up(&mut mirror).await;
    assert_eq!(mirror.table(7).into_keys().collect::<Vec<_>>(), [2], "the stream begins at the new slot");
    client.batch_execute("TRUNCATE t; INSERT INTO t VALUES (2, 'a')").await.unwrap();
    up.catch_up(&mut mirror).await;

    fail::cfg("agent-before-confirm", "1*panic").unwrap();
    let before = confirmed(&client).await;
    up.durable(mirror.position).await;
    // The attachment breaks, and the agent comes back by itself.
    let mut up = aggregator.attached().await;
    assert_eq!(confirmed(&client).await, before, "nothing was confirmed");
    client.batch_execute("INSERT INTO t VALUES (3, 'b')").await.unwrap();
    up.start(mirror.restarted(), vec![subscription(7, "t")]).await;
    up.catch_up(&mut mirror).await;
    assert_eq!(mirror.table(7), in_sql(&client, "t").await);
    up.durable(mirror.position).await;
    let end = mirror.position;
    eventually("the slot follows", || async { confirmed(&client).await >= end }).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(agent);
}
