//! What an administrator does once, and how little the daemon needs afterwards; several tributaries on one cluster.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Auth, Cluster, ClusterOptions, Daemon, DaemonOptions, Kind, Shop, assert_exact, cli, kinds, program};
use tributary_tests::{QUERIES, VIEW, create, shop};

const STREAMS: &[(&str, &str)] = &[QUERIES[2], QUERIES[8]];

/// Writers go on while a daemon with its own role keeps stream tables; they are exact.
async fn keeps(cluster: &Cluster, daemon: &Daemon, shop: &mut Shop) {
    create(daemon, STREAMS).await.unwrap();
    let session = Shop::session(cluster).await.unwrap();
    for _ in 0..20 {
        shop.transaction(&session).await.unwrap();
    }
    assert_exact(cluster, daemon, STREAMS).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_setup_a_role_without_high_rights_is_enough() {
    for kind in kinds() {
        let options = ClusterOptions { auth: Auth::Scram, ..ClusterOptions::new(kind) };
        let cluster = Cluster::start_with(options).await.unwrap();
        Shop::create_tables(&cluster).await.unwrap();
        cluster.run(VIEW).await.unwrap();
        let mut writer = Shop::writer(5, 0);
        writer.fill(&Shop::session(&cluster).await.unwrap(), 100).await.unwrap();
        let env = [("TRIBUTARY_SETUP_PASSWORD", "its own")];
        let setup = ["setup", "--database-url", &cluster.url()];
        program(&env, &setup).await.unwrap().ok().unwrap();
        // Once more changes nothing.
        program(&env, &setup).await.unwrap().ok().unwrap();
        let role =
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication FROM pg_roles WHERE rolname = 'tributary'";
        let row = cluster.client().await.unwrap().query_one(role, &[]).await.unwrap();
        let rights: Vec<bool> = (0..4).map(|column| row.get(column)).collect();
        assert_eq!(rights, [false, false, false, true], "{kind:?}");
        let url = cluster.url_as(0, "tributary", "its own");
        let options = DaemonOptions { database_url: Some(url), ..DaemonOptions::default() };
        let daemon = Daemon::standalone(&cluster, options).await.unwrap();
        keeps(&cluster, &daemon, &mut writer).await;
    }
}

/// `setup --per-node`, run or printed, is what stream tables of consistency per-node need besides.
#[tokio::test(flavor = "multi_thread")]
async fn after_setup_per_node_the_role_may_keep_stream_tables_of_that_consistency() {
    for (kind, printed) in kinds().into_iter().zip([true, false]) {
        let (cluster, mut writer) = shop(kind, 7, 100).await.unwrap();
        let url = cluster.url();
        let setup = async |more: &[&str]| {
            let arguments = [&["setup", "--database-url", &url][..], more].concat();
            program(&[], &arguments).await.unwrap().ok().unwrap().stdout
        };
        setup(&[]).await;
        let options =
            DaemonOptions { database_url: Some(cluster.url_as(0, "tributary", "")), ..DaemonOptions::default() };
        let mut daemon = Daemon::standalone(&cluster, options).await.unwrap();
        create(&daemon, &STREAMS[..1]).await.unwrap();
        let (name, query) = STREAMS[1];
        let arguments = ["stream", "create", name, "--query", query, "--consistency", "per-node"];
        // The role owns no table: it cannot publish one.
        let refused = cli(&daemon, &arguments).await.unwrap();
        assert_eq!(refused.code, Some(1), "{kind:?}: {refused:?}");
        assert!(refused.stderr.contains("tributary setup --per-node"), "{kind:?}: {refused:?}");
        assert_exact(&cluster, &daemon, &STREAMS[..1]).await.unwrap();
        if printed {
            let sql = setup(&["--per-node", "--print"]).await;
            for (node, part) in sql.split("-- node ").skip(1).enumerate() {
                let client = cluster.client_of(node).await.unwrap();
                client.batch_execute(&format!("-- {part}")).await.unwrap_or_else(|e| panic!("{e:?}: {part}"));
            }
        } else {
            setup(&["--per-node"]).await;
        }
        let again = setup(&["--per-node"]).await;
        assert_eq!(again.matches("nothing was missing").count(), cluster.nodes().len(), "{kind:?}: {again}");
        let session = Shop::session(&cluster).await.unwrap();
        // The administrator's publications outlive the last such stream table.
        for _ in 0..2 {
            cli(&daemon, &arguments).await.unwrap().ok().unwrap();
            for _ in 0..20 {
                writer.transaction(&session).await.unwrap();
            }
            assert_exact(&cluster, &daemon, STREAMS).await.unwrap();
            daemon.restart().await.unwrap();
            writer.transaction(&session).await.unwrap();
            assert_exact(&cluster, &daemon, STREAMS).await.unwrap();
            cli(&daemon, &["stream", "drop", name]).await.unwrap().ok().unwrap();
        }
        let owners = "SELECT count(*) FROM pg_publication WHERE pubname LIKE 'tributary\\_default\\_pernode%'
                      AND pubowner = 'postgres'::regrole";
        for node in cluster.nodes() {
            let client = cluster.client_of(node.index).await.unwrap();
            let left: i64 = client.query_one(owners, &[]).await.unwrap().get(0);
            assert_eq!(left, if kind == Kind::Citus { 2 } else { 1 }, "{kind:?}: node {}", node.index);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_on_one_cluster_do_not_collide() {
    for kind in kinds() {
        let (cluster, mut writer) = shop(kind, 9, 100).await.unwrap();
        let named = |name: &str| DaemonOptions { instance: Some(name.into()), ..DaemonOptions::default() };
        let one = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        let mut other = Daemon::standalone(&cluster, named("second")).await.unwrap();
        create(&one, STREAMS).await.unwrap();
        let others = [("other_regions", QUERIES[2].1)];
        create(&other, &others).await.unwrap();
        let taken = cli(&other, &["stream", "create", STREAMS[0].0, "--query", STREAMS[0].1]).await.unwrap();
        assert_eq!(taken.code, Some(1), "{taken:?}");
        let session = Shop::session(&cluster).await.unwrap();
        for _ in 0..20 {
            writer.transaction(&session).await.unwrap();
        }
        assert_exact(&cluster, &one, STREAMS).await.unwrap();
        assert_exact(&cluster, &other, &others).await.unwrap();
        other.stop().await.unwrap();
        for _ in 0..20 {
            writer.transaction(&session).await.unwrap();
        }
        assert_exact(&cluster, &one, STREAMS).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_which_the_role_sees_only_some_rows_is_refused() {
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    cluster
        .run(
            "CREATE TABLE secret (id int PRIMARY KEY, owner text); INSERT INTO secret VALUES (1, 'keeper'), (2, 'other');
             CREATE ROLE keeper LOGIN REPLICATION; GRANT CREATE ON DATABASE app TO keeper; GRANT CREATE ON SCHEMA public TO keeper;
             GRANT SELECT ON secret TO keeper; ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON secret USING (owner = 'keeper')",
        )
        .await
        .unwrap();
    let publications = "CREATE PUBLICATION tributary_default; ALTER PUBLICATION tributary_default OWNER TO keeper;
                        ALTER PUBLICATION tributary_default ADD TABLE secret";
    cluster.run(publications).await.unwrap();
    let options = DaemonOptions { database_url: Some(cluster.url_as(0, "keeper", "")), ..DaemonOptions::default() };
    let daemon = Daemon::standalone(&cluster, options).await.unwrap();
    let query = ["stream", "create", "seen", "--query", "SELECT id, owner FROM secret"];
    let refused = cli(&daemon, &query).await.unwrap();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("row-level security"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified_to_the_nodes() {
    for kind in kinds() {
        let options = ClusterOptions { tls: true, ..ClusterOptions::new(kind) };
        let cluster = Cluster::start_with(options).await.unwrap();
        Shop::create_tables(&cluster).await.unwrap();
        cluster.run(VIEW).await.unwrap();
        let mut writer = Shop::writer(5, 0);
        writer.fill(&Shop::session(&cluster).await.unwrap(), 100).await.unwrap();
        let ca = cluster.ca().unwrap().display();
        let url = format!("{}?sslmode=verify-full&sslrootcert={ca}", cluster.url());
        let options = DaemonOptions { database_url: Some(url), ..DaemonOptions::default() };
        let daemon = Daemon::standalone(&cluster, options).await.unwrap();
        keeps(&cluster, &daemon, &mut writer).await;
        let client = cluster.client().await.unwrap();
        let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE application_name LIKE 'tributary%' AND NOT ssl";
        assert_eq!(client.query_one(plain, &[]).await.unwrap().get::<_, i64>(0), 0, "{kind:?}");
    }
}
