//! Three agents beside a real Citus cluster: what `citus-in-the-wal.md` says is what arrives.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod fake;

use std::collections::{BTreeMap, BTreeSet};

use agent::{Agent, AgentOptions, Handle};
use fake::{Aggregator, Attached, Mirror, subscription};
use proto::v1;
use testkit::{Cluster, Kind};
use types::{Gid, Lsn, NodeId, TableName};

struct Stand {
    cluster: Cluster,
    shape: topology::Cluster,
    ups: BTreeMap<NodeId, (Attached, Mirror)>,
    _agents: Vec<Handle>,
    _aggregator: Aggregator,
}

/// A cluster with `accounts` (distributed), `regions` (reference) and `notes` (local), all subscribed to.
async fn stand() -> Stand {
    let cluster = Cluster::start(Kind::Citus).await.unwrap();
    cluster
        .run(
            "CREATE TABLE accounts (id int PRIMARY KEY, v text, n bigint);
             SELECT create_distributed_table('accounts', 'id');
             CREATE TABLE regions (id int PRIMARY KEY, v text);
             SELECT create_reference_table('regions');
             CREATE TABLE notes (id int PRIMARY KEY, v text);",
        )
        .await
        .unwrap();
    let endpoint = wal::Endpoint::parse(&cluster.url()).unwrap();
    let client = wal::connect(&endpoint, "test").await.unwrap();
    let shape = topology::discover(&client, &endpoint).await.unwrap();
    let names = ["accounts", "regions", "notes"].map(|n| TableName::new("public", n));
    let tables = topology::tables(&client, &shape, &names).await.unwrap();
    let mut wanted: BTreeMap<NodeId, Vec<v1::Table>> = BTreeMap::new();
    for (kind, table) in tables.iter().enumerate() {
        for (number, placement) in table.placements.iter().enumerate() {
            let id = kind as u32 * 1000 + number as u32;
            wanted.entry(placement.node).or_default().push(subscription(id, &placement.table.name));
        }
    }
    let mut aggregator = Aggregator::start().await;
    let agents = shape.nodes.iter().map(|node| {
        let (endpoint, address) = (node.endpoint.clone(), aggregator.address.clone());
        Agent::spawn(AgentOptions::new("test", node.id, endpoint, address, shape.provider)).unwrap()
    });
    let agents = agents.collect();
    let mut ups = BTreeMap::new();
    for _ in &shape.nodes {
        let mut up = aggregator.attached().await;
        let node = NodeId(up.hello.node);
        let mut mirror = Mirror::default();
        up.start_fresh(wanted.remove(&node).unwrap_or_default(), &mut mirror).await;
        ups.insert(node, (up, mirror));
    }
    Stand { cluster, shape, ups, _agents: agents, _aggregator: aggregator }
}

impl Stand {
    async fn catch_up(&mut self) {
        for (up, mirror) in self.ups.values_mut() {
            up.catch_up(mirror).await;
        }
    }

    /// The rows of all shards of the table of this kind (its number in `stand`).
    fn table(&self, kind: u32) -> BTreeMap<i32, String> {
        let tables =
            self.ups.values().flat_map(|(_, m)| m.tables.keys().map(move |&id| m.table(id)).zip(m.tables.keys()));
        tables.filter(|(_, id)| **id / 1000 == kind).flat_map(|(rows, _)| rows).collect()
    }

    fn mirrors(&self) -> impl Iterator<Item = (NodeId, &Mirror)> {
        self.ups.iter().map(|(&node, (_, mirror))| (node, mirror))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initiators_commit_lists_exactly_the_branches_that_commit_on_the_nodes() {
    if !testkit::kinds().contains(&Kind::Citus) {
        return;
    }
    let mut stand = stand().await;
    let client = stand.cluster.client().await.unwrap();
    let count = 40;
    for i in 0..count {
        let sql = format!(
            "BEGIN; INSERT INTO accounts SELECT {i} * 10 + k, 'a', 1 FROM generate_series(0, 9) k;
             INSERT INTO notes VALUES ({i}, 'n'); COMMIT"
        );
        client.batch_execute(&sql).await.unwrap();
    }
    client.batch_execute("UPDATE accounts SET v = 'all' WHERE id % 2 = 0").await.unwrap();
    stand.catch_up().await;
    assert_eq!(stand.table(0).len(), 10 * count);
    assert_eq!(stand.table(0).values().filter(|v| *v == "all").count(), 5 * count);
    assert_eq!(stand.table(2).len(), count);
    let listed: BTreeSet<(NodeId, String)> = stand
        .mirrors()
        .flat_map(|(_, m)| m.participants.iter().flat_map(|(_, list)| list))
        .map(|p| (NodeId(p.node), p.gid.clone()))
        .collect();
    let committed: BTreeSet<(NodeId, String)> = stand
        .mirrors()
        .flat_map(|(node, m)| {
            m.log.iter().filter_map(move |l| Some((node, l.strip_prefix("commit prepared ")?.to_owned())))
        })
        .collect();
    assert_eq!(listed, committed);
    assert!(listed.len() >= 2 * count, "every statement wrote on both workers");
    for (_, gid) in &listed {
        assert_eq!(Gid::from(gid.as_str()).citus().unwrap().initiator, NodeId(0));
    }
    let lists = &stand.ups[&NodeId(0)].1.participants;
    assert!(lists.iter().all(|(end, _)| *end > Lsn::ZERO) && lists.len() == count + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_tables_write_comes_in_the_initiators_own_commit_wherever_it_began() {
    if !testkit::kinds().contains(&Kind::Citus) {
        return;
    }
    let mut stand = stand().await;
    let coordinator = stand.cluster.client().await.unwrap();
    coordinator.batch_execute("INSERT INTO regions VALUES (1, 'from the coordinator')").await.unwrap();
    stand.catch_up().await;
    assert_eq!(stand.table(1).len(), 1, "one copy is read");
    assert_eq!(stand.ups[&NodeId(0)].1.participants.last().unwrap().1.len(), 2);
    // A worker has the metadata too: it initiates, and the coordinator's copy is a branch.
    let worker = stand.cluster.client_of(1).await.unwrap();
    worker.batch_execute("INSERT INTO regions VALUES (2, 'from a worker')").await.unwrap();
    stand.catch_up().await;
    assert_eq!(stand.table(1).into_values().collect::<Vec<_>>(), ["from the coordinator", "from a worker"]);
    let initiator = stand.shape.nodes[1].id;
    let list = &stand.ups[&initiator].1.participants.last().unwrap().1;
    let members: BTreeSet<u32> = list.iter().map(|p| p.node).collect();
    assert!(members.contains(&0) && !members.contains(&initiator.0), "{list:?}");
    assert!(stand.ups[&NodeId(0)].1.log.iter().any(|l| l.starts_with("commit prepared citus_")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_subscribed_to_later_is_published_and_read_on_its_worker() {
    if !testkit::kinds().contains(&Kind::Citus) {
        return;
    }
    let mut stand = stand().await;
    stand
        .cluster
        .run(
            "CREATE TABLE later (id int PRIMARY KEY, v text); SELECT create_distributed_table('later', 'id');
             INSERT INTO later SELECT i, 'old' FROM generate_series(1, 1000) i",
        )
        .await
        .unwrap();
    let client = stand.cluster.client().await.unwrap();
    let table = topology::tables(&client, &stand.shape, &[TableName::new("public", "later")]).await.unwrap().remove(0);
    for (&node, (up, mirror)) in &mut stand.ups {
        let here = table.placements.iter().enumerate().filter(|(_, p)| p.node == node);
        let tables: Vec<_> = here.map(|(n, p)| subscription(5000 + n as u32, &p.table.name)).collect();
        let ids = tables.iter().map(|t| t.id).collect();
        let id = up.order(v1::order::Kind::Subscribe(v1::Subscribe { tables })).await;
        assert_eq!(up.answer(id, mirror).await.error, "");
        let id = up.order(v1::order::Kind::Snapshot(v1::Snapshot { tables: ids })).await;
        assert_eq!(up.answer(id, mirror).await.error, "");
        up.until("the snapshot ends", mirror, |m| !m.snapshot_ends.is_empty()).await;
        assert_eq!(mirror.snapshot_ends[0].error, "");
    }
    client.batch_execute("UPDATE later SET v = 'new' WHERE id <= 500; DELETE FROM later WHERE id > 900").await.unwrap();
    stand.catch_up().await;
    let rows = stand.table(5);
    assert_eq!((rows.len(), rows.values().filter(|v| *v == "new").count()), (900, 500));
}
