//! What is found out about real clusters, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use testkit::{Cluster, ClusterOptions, Kind, TableKind as Spread, TableSpec};
use topology::{LogicalTable, Provider, TableKind, TopologyError, check_node, discover, sizes, tables};
use types::{NodeId, TableName, oid};
use wal::Endpoint;

async fn discovered(cluster: &Cluster) -> (tokio_postgres::Client, topology::Cluster) {
    let endpoint = Endpoint::parse(&cluster.url()).unwrap();
    let client = wal::connect(&endpoint, "test").await.unwrap();
    let found = discover(&client, &endpoint).await.unwrap();
    (client, found)
}

fn public(name: &str) -> TableName {
    TableName::new("public", name)
}

async fn table(client: &tokio_postgres::Client, cluster: &topology::Cluster, name: &str) -> LogicalTable {
    tables(client, cluster, &[public(name)]).await.unwrap_or_else(|e| panic!("{name}: {e}")).remove(0)
}

async fn refusal(client: &tokio_postgres::Client, cluster: &topology::Cluster, name: &str) -> String {
    tables(client, cluster, &[public(name)]).await.expect_err(name).to_string()
}

/// The placements' rows, counted on the nodes themselves.
async fn rows(found: &topology::Cluster, table: &LogicalTable) -> i64 {
    let mut total = 0;
    for placement in &table.placements {
        let node = found.node(placement.node).unwrap();
        let client = wal::connect(&node.endpoint, "test").await.unwrap();
        let sql = format!("SELECT count(*) FROM ONLY {}", placement.table.quoted());
        total += client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0);
    }
    total
}

const ORDERS: TableSpec<'_> = TableSpec {
    name: "orders",
    columns: "user_id int, id int, note text",
    primary_key: "user_id, id",
    kind: Spread::Distributed("user_id"),
    colocate_with: None,
};
const REGIONS: TableSpec<'_> = TableSpec {
    name: "regions",
    columns: "id int, name text",
    primary_key: "id",
    kind: Spread::Reference,
    colocate_with: None,
};
const USERS: TableSpec<'_> = TableSpec {
    name: "users",
    columns: "id int, name text",
    primary_key: "id",
    kind: Spread::Local,
    colocate_with: None,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_a_table_is_in_exactly_one_placement_on_every_kind_of_cluster() {
    for kind in testkit::kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        for spec in [ORDERS, REGIONS, USERS] {
            cluster.create_table(&spec).await.unwrap();
        }
        cluster
            .run(
                "INSERT INTO orders SELECT i, i, 'x' FROM generate_series(1, 500) i;
                 INSERT INTO regions SELECT i, 'r' FROM generate_series(1, 20) i;
                 INSERT INTO users SELECT i, 'u' FROM generate_series(1, 30) i;",
            )
            .await
            .unwrap();
        let (client, found) = discovered(&cluster).await;
        let provider = if kind == Kind::Citus { Provider::Citus } else { Provider::Fdw };
        assert_eq!((found.provider, found.nodes.len()), (provider, 3));
        assert_eq!(found.nodes[0].id, NodeId(0));
        for (name, count) in [("orders", 500), ("regions", 20), ("users", 30)] {
            assert_eq!(rows(&found, &table(&client, &found, name).await).await, count, "{name} on {kind:?}");
        }
        let orders = table(&client, &found, "orders").await;
        assert_eq!(orders.identity, ["user_id", "id"]);
        let size = sizes(&found, std::slice::from_ref(&orders)).await[0].unwrap();
        // Unknown, unless autovacuum has been at all of it.
        assert!(size.bytes >= 2 * 8192 && size.rows.is_none_or(|rows| rows == 500), "{size:?}");
        cluster.run_everywhere("ANALYZE").await.unwrap();
        assert_eq!(sizes(&found, std::slice::from_ref(&orders)).await[0].unwrap().rows, Some(500));
        let on: std::collections::BTreeSet<NodeId> = orders.placements.iter().map(|p| p.node).collect();
        assert_eq!(on.len(), 2, "both workers hold a part");
        let regions = table(&client, &found, "regions").await;
        assert_eq!(regions.placements.len(), 1, "one copy of a reference table is read");
        assert_eq!(regions.placements[0].node, NodeId(0));
        let kinds = [orders.kind, regions.kind, table(&client, &found, "users").await.kind];
        let expected = match kind {
            Kind::Citus => [TableKind::Distributed, TableKind::Reference, TableKind::Local],
            _ => [TableKind::Partitioned, TableKind::Local, TableKind::Local],
        };
        assert_eq!(kinds, expected);
        assert_eq!((orders.hashed, regions.hashed), (kind == Kind::Citus, false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn citus_partitioned_single_shard_and_metadata_tables_are_followed_to_their_shards() {
    if !testkit::kinds().contains(&Kind::Citus) {
        return;
    }
    let cluster = Cluster::start(Kind::Citus).await.unwrap();
    let long = "a_table_with_a_long_name_that_citus_has_to_shorten_for_its_sh";
    cluster
        .run(
            "CREATE TABLE events (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
             CREATE TABLE events_24 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
             CREATE TABLE events_25 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
             SELECT create_distributed_table('events', 'id');
             INSERT INTO events SELECT i, date '2024-06-01' + i FROM generate_series(1, 400) i;
             CREATE TABLE known (id int PRIMARY KEY);
             SELECT citus_add_local_table_to_metadata('known');
             INSERT INTO known VALUES (1), (2);
             CREATE TABLE one_shard (id int PRIMARY KEY);
             SELECT create_distributed_table('one_shard', NULL, distribution_type => NULL);
             INSERT INTO one_shard SELECT generate_series(1, 9);
",
        )
        .await
        .unwrap();
    // One after the other: the shards' array types get names that collide when they are made at the same time.
    cluster
        .run(&format!(
            "SET citus.multi_shard_modify_mode = 'sequential';
             CREATE TABLE {long} (id int PRIMARY KEY);
             SELECT create_distributed_table('{long}', 'id');
             INSERT INTO {long} SELECT generate_series(1, 50);
             CREATE SCHEMA \"My Shop\";
             CREATE TABLE \"My Shop\".\"Order\"\"s\" (\"Id\" int PRIMARY KEY);
             SELECT create_distributed_table('\"My Shop\".\"Order\"\"s\"', 'Id');
             INSERT INTO \"My Shop\".\"Order\"\"s\" SELECT generate_series(1, 40);"
        ))
        .await
        .unwrap();
    let (client, found) = discovered(&cluster).await;
    for (name, kind, count) in [
        ("events", TableKind::Distributed, 400),
        ("known", TableKind::Local, 2),
        ("one_shard", TableKind::Distributed, 9),
        (long, TableKind::Distributed, 50),
    ] {
        let t = table(&client, &found, name).await;
        assert_eq!((t.kind, rows(&found, &t).await), (kind, count), "{name}");
        assert!(t.placements.iter().all(|p| p.shard.is_some()));
    }
    let quoted = TableName::new("My Shop", "Order\"s");
    let t = tables(&client, &found, &[quoted]).await.unwrap().remove(0);
    assert_eq!((rows(&found, &t).await, t.identity), (40, vec!["Id".to_owned()]));
    let events = table(&client, &found, "events").await;
    assert_eq!(events.placements.len(), 16, "8 shards of each of the two partitions, none of the parent");
    assert!(!events.hashed && !table(&client, &found, "one_shard").await.hashed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_citus_worker_is_no_way_into_the_cluster_and_its_own_decoder_is_refused() {
    if !testkit::kinds().contains(&Kind::Citus) {
        return;
    }
    let options = ClusterOptions::new(Kind::Citus).setting("citus.enable_change_data_capture", "on");
    let cluster = Cluster::start_with(options).await.unwrap();
    let endpoint = Endpoint::parse(&cluster.node_url(1)).unwrap();
    let client = wal::connect(&endpoint, "test").await.unwrap();
    let error = discover(&client, &endpoint).await.unwrap_err();
    assert!(matches!(error, TopologyError::NotTheCoordinator { .. }), "{error}");
    assert!(!error.is_transient());
    assert!(matches!(check_node(&client).await, Err(TopologyError::CitusDecoders)));
    client.batch_execute("CREATE ROLE plain LOGIN").await.unwrap();
    client.batch_execute("SET ROLE plain").await.unwrap();
    assert!(matches!(check_node(&client).await, Err(TopologyError::CitusDecoders)), "the path is hidden from it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_citus_is_one_node_and_a_plain_database_is_single() {
    if testkit::kinds().contains(&Kind::Citus) {
        let options = ClusterOptions { workers: 0, ..ClusterOptions::new(Kind::Citus) };
        let cluster = Cluster::start_with(options).await.unwrap();
        cluster
            .run("DELETE FROM pg_dist_node; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);")
            .await
            .unwrap();
        let (client, found) = discovered(&cluster).await;
        assert_eq!((found.provider, found.nodes.len()), (Provider::Citus, 1));
        assert_eq!(rows(&found, &table(&client, &found, "t").await).await, 1);
        check_node(&client).await.unwrap();
    }
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    let (client, found) = discovered(&cluster).await;
    assert_eq!((found.provider, found.nodes.len()), (Provider::Single, 1));
    check_node(&client).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_streamed_is_refused_with_the_reason_and_the_remedy() {
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    cluster
        .run(
            "CREATE TABLE no_key (a int);
             CREATE TABLE nothing (a int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
             CREATE TABLE late_key (a int PRIMARY KEY DEFERRABLE);
             CREATE UNLOGGED TABLE quick (a int PRIMARY KEY);
             CREATE VIEW seen AS SELECT 1 AS a;
             CREATE MATERIALIZED VIEW stored AS SELECT 1 AS a;
             CREATE SEQUENCE counter;
             CREATE TABLE old_parent (a int PRIMARY KEY); CREATE TABLE child () INHERITS (old_parent);
             CREATE TABLE by_day (id int, day int) PARTITION BY LIST (day);
             CREATE TABLE by_day_1 PARTITION OF by_day (PRIMARY KEY (id)) FOR VALUES IN (1);
             CREATE TABLE mixed (id int, day int) PARTITION BY LIST (day);
             CREATE TABLE mixed_1 PARTITION OF mixed (PRIMARY KEY (id, day)) FOR VALUES IN (1);
             CREATE TABLE mixed_2 PARTITION OF mixed FOR VALUES IN (2); ALTER TABLE mixed_2 REPLICA IDENTITY FULL;
             CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw;
             CREATE FOREIGN TABLE far (a int) SERVER other;",
        )
        .await
        .unwrap();
    let (client, found) = discovered(&cluster).await;
    for (name, words) in [
        ("absent", "does not exist"),
        ("no_key", "ALTER TABLE \"public\".\"no_key\" REPLICA IDENTITY FULL"),
        ("nothing", "REPLICA IDENTITY DEFAULT"),
        ("late_key", "neither a primary key"),
        ("quick", "SET LOGGED"),
        ("seen", "is a view"),
        ("stored", "materialized view"),
        ("counter", "is not a table"),
        ("old_parent", "inherit"),
        ("by_day", "do not hold the partition columns"),
        ("mixed", "do not have the same primary key"),
        ("far", "foreign table"),
    ] {
        let said = refusal(&client, &found, name).await;
        assert!(said.contains(words) && !said.contains('\n'), "{name}: {said}");
    }
    let system = tables(&client, &found, &[TableName::new("pg_catalog", "pg_class")]).await.unwrap_err();
    assert!(system.to_string().contains("system catalog"), "{system}");
    client.batch_execute("CREATE ROLE reader LOGIN; CREATE TABLE mine (a int PRIMARY KEY)").await.unwrap();
    client.batch_execute("SET ROLE reader").await.unwrap();
    assert!(matches!(
        tables(&client, &found, &[public("mine")]).await,
        Err(TopologyError::NoSelect { table }) if table == public("mine")
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_with_base_types_declared_types_and_what_is_computed() {
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    cluster
        .run(
            "CREATE DOMAIN price AS numeric(10,2) NOT NULL; CREATE DOMAIN fee AS price;
             CREATE SCHEMA \"My S\"; CREATE TYPE \"My S\".mood AS ENUM ('a');
             CREATE TABLE t (id int PRIMARY KEY, dropped int, fee fee, mood \"My S\".mood[], code varchar(3),
                             name text COLLATE \"C\", twice int GENERATED ALWAYS AS (id * 2) STORED);
             ALTER TABLE t DROP COLUMN dropped;
             CREATE TABLE u (a int NOT NULL, b int NOT NULL, c int PRIMARY KEY);
             CREATE UNIQUE INDEX by_b_a ON u (b, a); ALTER TABLE u REPLICA IDENTITY USING INDEX by_b_a;
             CREATE TABLE f (a int PRIMARY KEY, b int); ALTER TABLE f REPLICA IDENTITY FULL;
             ALTER TABLE f ENABLE ROW LEVEL SECURITY;
             CREATE ROLE reader LOGIN; GRANT SELECT ON f, t TO reader;",
        )
        .await
        .unwrap();
    let (client, found) = discovered(&cluster).await;
    client.batch_execute("SET search_path = public, \"My S\"").await.unwrap();
    let t = table(&client, &found, "t").await;
    let names: Vec<&str> = t.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["id", "fee", "mood", "code", "name", "twice"]);
    let sql: Vec<&str> = t.columns.iter().map(|c| c.sql_type.as_str()).collect();
    assert_eq!(sql, ["integer", "public.fee", "\"My S\".mood[]", "character varying(3)", "text", "integer"]);
    assert_eq!((t.columns[1].ty.oid, t.columns[1].ty.typmod), (oid::NUMERIC, (10 << 16 | 2) + 4));
    assert_eq!(t.columns[4].ty.collation, types::collation::C);
    assert_eq!((t.columns[0].not_null, t.columns[3].not_null), (true, false));
    assert_eq!(t.generated, ["twice"]);
    let path: String = client.query_one("SELECT current_setting('search_path')", &[]).await.unwrap().get(0);
    assert_eq!(path, "public, \"My S\"", "the session is left as it was");
    assert_eq!(table(&client, &found, "u").await.identity, ["b", "a"]);
    let f = table(&client, &found, "f").await;
    assert_eq!(
        (f.identity, f.replica_full, f.row_security),
        (vec!["a".to_owned()], true, false),
        "a superuser sees all"
    );
    client.batch_execute("SET ROLE reader").await.unwrap();
    assert!(table(&client, &found, "f").await.row_security);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_over_servers_with_other_names_and_levels_are_followed_and_differing_ones_refused() {
    let cluster = Cluster::start(Kind::Fdw).await.unwrap();
    cluster
        .client_of(1)
        .await
        .unwrap()
        .batch_execute(
            "CREATE SCHEMA far;
             CREATE TABLE far.first (k int, v text, PRIMARY KEY (k));
             INSERT INTO far.first SELECT i, 'x' FROM generate_series(1, 10) i;
             CREATE TABLE far.second (k int PRIMARY KEY, v text) PARTITION BY RANGE (k);
             CREATE TABLE far.second_a PARTITION OF far.second FOR VALUES FROM (100) TO (150);
             CREATE TABLE far.second_b PARTITION OF far.second FOR VALUES FROM (150) TO (200);
             INSERT INTO far.second SELECT i, 'y' FROM generate_series(100, 199) i;
             CREATE TABLE narrow (k int PRIMARY KEY, v int);",
        )
        .await
        .unwrap();
    cluster
        .run(
            "CREATE TABLE t (k int, v text) PARTITION BY RANGE (k);
             CREATE FOREIGN TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100) SERVER w1 OPTIONS (schema_name 'far', table_name 'first');
             CREATE FOREIGN TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (200) SERVER w1 OPTIONS (schema_name 'far', table_name 'second');
             CREATE TABLE t3 PARTITION OF t (PRIMARY KEY (k)) FOR VALUES FROM (200) TO (300);
             INSERT INTO t3 VALUES (200, 'z');
             CREATE SERVER again FOREIGN DATA WRAPPER postgres_fdw;
             CREATE TABLE bad (k int, v text) PARTITION BY RANGE (k);
             CREATE FOREIGN TABLE bad1 PARTITION OF bad FOR VALUES FROM (0) TO (100) SERVER w1 OPTIONS (table_name 'narrow');
             CREATE TABLE gone (k int, v text) PARTITION BY RANGE (k);
             CREATE FOREIGN TABLE gone1 PARTITION OF gone FOR VALUES FROM (0) TO (100) SERVER w1 OPTIONS (table_name 'nowhere');",
        )
        .await
        .unwrap();
    let (client, found) = discovered(&cluster).await;
    let names: Vec<&str> = found.nodes.iter().map(|n| n.name.as_str()).skip(1).collect();
    assert_eq!(names, ["w1"], "a server without partitions is no node");
    let t = table(&client, &found, "t").await;
    assert_eq!((rows(&found, &t).await, t.placements.len()), (111, 4));
    assert_eq!((t.identity, t.kind), (vec!["k".to_owned()], TableKind::Partitioned));
    let said = refusal(&client, &found, "bad").await;
    assert!(said.contains("column v is integer on w1 and text here"), "{said}");
    let said = refusal(&client, &found, "gone").await;
    assert!(said.contains("public.nowhere does not exist on w1"), "{said}");
}
