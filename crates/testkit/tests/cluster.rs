//! The clusters themselves: what the other suites take for granted.

use testkit::{Auth, Cluster, ClusterOptions, Kind, TableKind, TableSpec, kinds};

const ORDERS: TableSpec<'static> = TableSpec {
    name: "orders",
    columns: "user_id int, id bigint, amount numeric",
    primary_key: "user_id, id",
    kind: TableKind::Distributed("user_id"),
    colocate_with: None,
};
const REGIONS: TableSpec<'static> = TableSpec {
    name: "regions",
    columns: "id int, name text",
    primary_key: "id",
    kind: TableKind::Reference,
    colocate_with: None,
};

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_distributed_table_are_on_every_worker() {
    for kind in kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        cluster.create_table(&ORDERS).await.unwrap();
        cluster.create_table(&REGIONS).await.unwrap();
        cluster.run("INSERT INTO orders SELECT i, i, i FROM generate_series(1, 1000) i").await.unwrap();
        let client = cluster.client().await.unwrap();
        let total: i64 = client.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0);
        assert_eq!(total, 1000);
        for worker in 1..=2 {
            let on_worker = cluster.client_of(worker).await.unwrap();
            let setting = "SELECT set_config('citus.override_table_visibility', 'off', false)";
            on_worker.query_one(setting, &[]).await.unwrap();
            let parts = on_worker
                .query("SELECT relname::text FROM pg_class WHERE relname ~ '^orders_' AND relkind = 'r'", &[])
                .await
                .unwrap();
            let mut rows = 0;
            for part in &parts {
                let sql = format!("SELECT count(*) FROM {}", part.get::<_, &str>(0));
                rows += on_worker.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0);
            }
            assert!((200..800).contains(&rows), "{kind:?}: worker {worker} holds {rows} rows");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_or_killed_server_comes_back_with_its_rows() {
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    cluster.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await.unwrap();
    let first = cluster.node(0).pid().unwrap();
    cluster.stop_immediate(0).await.unwrap();
    assert!(cluster.client().await.is_err());
    cluster.start_node(0).await.unwrap();
    cluster.kill9(0).await.unwrap();
    cluster.start_node(0).await.unwrap();
    assert_ne!(cluster.node(0).pid().unwrap(), first);
    let client = cluster.client().await.unwrap();
    assert_eq!(client.query("SELECT id FROM t", &[]).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_cluster_leaves_neither_process_nor_file() {
    let cluster = Cluster::start(Kind::Fdw).await.unwrap();
    let pids: Vec<u32> = cluster.nodes().iter().map(|node| node.pid().unwrap()).collect();
    let data_dir = cluster.node(0).data_dir.clone();
    drop(cluster);
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is still there");
    }
    assert!(!data_dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_asked_for_under_scram() {
    for kind in kinds() {
        let options = ClusterOptions { auth: Auth::Scram, ..ClusterOptions::new(kind) };
        let cluster = Cluster::start_with(options).await.unwrap();
        cluster.create_table(&ORDERS).await.unwrap();
        cluster.run("INSERT INTO orders SELECT i, i, i FROM generate_series(1, 100) i").await.unwrap();
        let wrong = cluster.url_as(0, "postgres", "wrong");
        assert!(tokio_postgres::connect(&wrong, tokio_postgres::NoTls).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_cluster_have_identifiers_of_their_own() {
    for kind in kinds() {
        let options = ClusterOptions { tls: true, ..ClusterOptions::new(kind) };
        let cluster = Cluster::start_with(options).await.unwrap();
        let mut seen = std::collections::HashSet::new();
        for index in 0..3 {
            let client = cluster.client_of(index).await.unwrap();
            let row = client
                .query_one("SELECT system_identifier, current_setting('ssl') FROM pg_control_system()", &[])
                .await
                .unwrap();
            assert_eq!(row.get::<_, &str>(1), "on");
            assert!(seen.insert(row.get::<_, i64>(0)));
        }
    }
}

/// Runs itself in a process of its own, kills that, and looks for what is left.
#[tokio::test(flavor = "multi_thread")]
async fn servers_end_when_their_test_is_killed() {
    const HOLD: &str = "TRIBUTARY_TESTKIT_HOLD";
    if let Some(note) = std::env::var_os(HOLD) {
        let cluster = Cluster::start(Kind::Single).await.unwrap();
        let node = cluster.node(0);
        let text = format!("{} {}", node.pid().unwrap(), node.data_dir.display());
        let part = std::path::Path::new(&note).with_extension("part");
        std::fs::write(&part, text).unwrap();
        std::fs::rename(&part, &note).unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("note");
    let mut held = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "servers_end_when_their_test_is_killed"])
        .env(HOLD, &note)
        .spawn()
        .unwrap();
    let wait = async |what: &str, done: &dyn Fn() -> bool| {
        for _ in 0..1200 {
            if done() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{what} did not happen in 60 s");
    };
    wait("the start", &|| note.exists()).await;
    let text = std::fs::read_to_string(&note).unwrap();
    let (pid, data_dir) = text.split_once(' ').unwrap();
    let process = format!("/proc/{pid}");
    assert!(std::path::Path::new(&process).exists());
    held.kill().unwrap();
    held.wait().unwrap();
    wait("the end of the server", &|| !std::path::Path::new(&process).exists()).await;
    wait("the removal of its data", &|| !std::path::Path::new(data_dir).exists()).await;
}
