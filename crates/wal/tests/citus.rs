//! What Citus adds: hidden shards, catalogs that are published, branches of distributed transactions.
#![allow(clippy::unwrap_used, reason = "a test")]

mod tap;

use tap::{Tap, make_slot, words};
use testkit::{Cluster, Kind, citus_available};
use types::TableName;
use wal::{Endpoint, Operations};

#[tokio::test]
async fn shards_and_participants_are_in_each_nodes_stream() {
    // Says loudly, and fails when it must not be missing, that Citus is not here.
    if !citus_available() {
        return;
    }
    let cluster = Cluster::start(Kind::Citus).await.unwrap();
    let ddl =
        "CREATE TABLE t (id int PRIMARY KEY, note text); SELECT create_distributed_table('t', 'id', shard_count => 4)";
    cluster.run(ddl).await.unwrap();
    let coordinator = cluster.client().await.unwrap();

    let mut taps = Vec::new();
    for node in 0..3 {
        let at = Endpoint::parse(&cluster.node_url(node)).unwrap();
        let client = wal::connect(&at, "test").await.unwrap();
        let sql = "SELECT shard_name(logicalrelid, shardid) FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) \
                   JOIN pg_dist_node USING (groupid) WHERE nodeport = $1::int8::int4";
        let rows = coordinator.query(sql, &[&i64::from(at.port())]).await.unwrap();
        let mut shards: Vec<TableName> =
            rows.iter().map(|row| TableName::new("public", row.get::<_, &str>(0))).collect();
        shards.sort();
        assert_eq!(shards.len(), if node == 0 { 0 } else { 2 });
        let published = wal::ensure_publication(&client, tap::PUBLICATION, &shards).await.unwrap();
        assert!(published.created && published.added == shards);
        assert_eq!(wal::published_tables(&client, tap::PUBLICATION).await.unwrap(), shards);
        if node == 0 {
            // On the coordinator the lists of participants, in the same stream.
            let list = [TableName::new("pg_catalog", "pg_dist_transaction")];
            wal::drop_publication(&client, tap::PUBLICATION).await.unwrap();
            wal::ensure_publication_of(&client, tap::PUBLICATION, &list, Operations::Insert).await.unwrap();
        }
        make_slot(&at, "s").await;
        taps.push(Tap::open(&at, "s").await);
    }

    coordinator
        .batch_execute("BEGIN; INSERT INTO t SELECT i, 'x' FROM generate_series(1, 20) i; COMMIT")
        .await
        .unwrap();
    let decision = taps[0].until("commit").await;
    let gids: Vec<String> = words(&decision)
        .into_iter()
        .filter_map(|what| what.strip_prefix("insert pg_dist_transaction "))
        .map(|row| row.split(',').nth(1).unwrap().to_owned())
        .collect();
    assert!(gids.len() >= 2, "{decision:?}");
    let mut rows = 0;
    let mut branches = Vec::new();
    for tap in &mut taps[1..] {
        let mut committed = 0;
        while branches.len() < gids.len() && committed < 1 {
            for said in tap.batch().await.unwrap() {
                rows += usize::from(said.what.starts_with("insert t_"));
                if let Some(gid) = said.what.strip_prefix("commit prepared ") {
                    branches.push(gid.to_owned());
                    committed += 1;
                }
            }
        }
    }
    assert!(branches.iter().all(|gid| gids.contains(gid)), "{branches:?} of {gids:?}");
    assert_eq!(rows, 20);
}
