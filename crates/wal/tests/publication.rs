//! Publications on a real server: made once, extended, and refused clearly.
#![allow(clippy::unwrap_used, reason = "a test")]

mod tap;

use tap::{endpoint, make_slot, published, single, start, table};
use testkit::Cluster;
use types::TableName;
use wal::{Endpoint, Operations, WalError};

async fn names(cluster: &Cluster, publication: &str) -> Vec<String> {
    let client = cluster.client().await.unwrap();
    let tables = wal::published_tables(&client, publication).await.unwrap();
    tables.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_publication_gets_what_is_missing_and_nothing_else() {
    let cluster = single().await;
    let client = cluster.client().await.unwrap();
    let odd = TableName::new("o'dd \"s\"", "T x");
    let sql = format!(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE child () INHERITS (a);
         CREATE SCHEMA {}; CREATE TABLE {} (id int PRIMARY KEY)",
        types::quote_ident(&odd.schema),
        odd.quoted()
    );
    client.batch_execute(&sql).await.unwrap();

    let empty = wal::ensure_publication(&client, "P", &[]).await.unwrap();
    assert!(empty.created && empty.added.is_empty());
    let first = wal::ensure_publication(&client, "P", &[table("a"), odd.clone()]).await.unwrap();
    assert!(!first.created);
    assert_eq!(first.added.len(), 2);
    let second = wal::ensure_publication(&client, "P", &[table("b"), table("a"), table("b")]).await.unwrap();
    assert_eq!(second.added, [table("b")]);
    assert_eq!(names(&cluster, "P").await, ["o'dd \"s\".T x", "public.a", "public.b"], "children are not in it");
    assert_eq!(wal::ensure_publication(&client, "P", &[table("a")]).await.unwrap(), wal::Published::default());

    client.batch_execute("DROP TABLE b").await.unwrap();
    wal::remove_from_publication(&client, "P", &[table("b"), table("nothing"), odd]).await.unwrap();
    assert_eq!(names(&cluster, "P").await, ["public.a"]);
    wal::drop_publication(&client, "P").await.unwrap();
    wal::drop_publication(&client, "P").await.unwrap();
    assert!(names(&cluster, "P").await.is_empty());

    let missing = wal::ensure_publication(&client, "P", &[table("nothing")]).await.unwrap_err();
    assert!(missing.sql_state() == Some("42P01") && missing.to_string().contains("nothing"), "{missing}");
}

#[tokio::test]
async fn many_at_once_make_one_publication() {
    let cluster = single().await;
    cluster.run("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)").await.unwrap();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = cluster.client().await.unwrap();
        all.spawn(async move { wal::ensure_publication(&client, "p", &[table("a"), table("b")]).await });
    }
    let done = all.join_all().await;
    let done: Vec<_> = done.into_iter().map(|d| d.unwrap_or_else(|e| panic!("{e}"))).collect();
    assert_eq!(done.iter().filter(|d| d.created).count(), 1);
    assert_eq!(done.iter().map(|d| d.added.len()).sum::<usize>(), 2);
    assert_eq!(names(&cluster, "p").await, ["public.a", "public.b"]);
}

#[tokio::test]
async fn a_publication_of_inserts_leaves_updates_of_its_tables_alone() {
    let cluster = single().await;
    let client = cluster.client().await.unwrap();
    client.batch_execute("CREATE TABLE keyless (x int); INSERT INTO keyless VALUES (1)").await.unwrap();
    wal::ensure_publication_of(&client, "inserts", &[table("keyless")], Operations::Insert).await.unwrap();
    client.batch_execute("UPDATE keyless SET x = 2").await.unwrap();
    wal::ensure_publication(&client, "all_of_it", &[table("keyless")]).await.unwrap();
    client.batch_execute("UPDATE keyless SET x = 3").await.unwrap_err();
}

#[tokio::test]
async fn who_may_not_is_told_what_an_administrator_can_do() {
    let cluster = single().await;
    published(&cluster).await;
    cluster
        .run("CREATE TABLE other (x int); CREATE ROLE weak LOGIN; CREATE ROLE streamer LOGIN REPLICATION")
        .await
        .unwrap();
    let weak = Endpoint::parse(&cluster.url_as(0, "weak", "")).unwrap();
    let client = wal::connect(&weak, "test").await.unwrap();
    for error in [
        wal::ensure_publication(&client, "mine", &[table("t")]).await.unwrap_err(),
        wal::ensure_publication(&client, tap::PUBLICATION, &[table("t"), table("other")]).await.unwrap_err(),
        wal::remove_from_publication(&client, tap::PUBLICATION, &[table("t")]).await.unwrap_err(),
        wal::drop_publication(&client, tap::PUBLICATION).await.unwrap_err(),
    ] {
        assert!(matches!(error, WalError::NoRight { .. }) && !error.is_transient(), "{error:?}");
        assert!(error.to_string().contains("tributary setup"), "{error}");
    }

    let problems = wal::check_node(&client).await.unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].to_string().contains("ALTER ROLE \"weak\" REPLICATION"), "{}", problems[0]);

    // A role that may only stream can do so with what the administrator has made.
    make_slot(&endpoint(&cluster), "s").await;
    let streamer = Endpoint::parse(&cluster.url_as(0, "streamer", "")).unwrap();
    assert_eq!(wal::check_node(&wal::connect(&streamer, "test").await.unwrap()).await.unwrap(), []);
    let mut tap = tap::Tap::of(start(&streamer, "s").await.unwrap());
    cluster.run("INSERT INTO t VALUES (1, 'one')").await.unwrap();
    tap.until("insert t 1,one").await;
}

#[tokio::test]
async fn a_node_that_cannot_stream_says_everything_that_is_wrong() {
    let settings = [("wal_level", "replica"), ("max_replication_slots", "1"), ("max_wal_senders", "0")];
    let cluster = tap::single_with(&settings).await;
    let client = cluster.client().await.unwrap();
    client.batch_execute("SELECT pg_create_physical_replication_slot('taken')").await.unwrap();
    let said: Vec<String> = wal::check_node(&client).await.unwrap().iter().map(ToString::to_string).collect();
    for (problem, part) in said.iter().zip(["wal_level is replica", "all 1 replication slots", "all 0 WAL senders"]) {
        assert!(problem.contains(part) && problem.contains("restart") && !problem.contains('\n'), "{problem}");
    }
    assert_eq!(said.len(), 3, "{said:?}");
    let own: Vec<_> = wal::check_node_for(&client, "taken").await.unwrap();
    assert_eq!(own.len(), 1, "a slot that exists needs no place: {own:?}");
}
