//! Memory is bounded whatever the size of a transaction; a query may be as large as PostgreSQL takes it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Cluster, Daemon, DaemonOptions, Kind, TableKind, TableSpec, assert_exact, kinds};
use tributary_tests::{create, long, memory_kb};

const STREAM: (&str, &str) = ("by_kind", "SELECT kind, count(*) AS n, sum(size) AS size FROM big GROUP BY kind");

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_stays_within_its_memory_in_a_transaction_of_any_size() {
    let rows = if long() { 2_000_000 } else { 300_000 };
    for kind in kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        let table = TableSpec {
            name: "big",
            columns: "id int NOT NULL, kind int, size bigint, filler text",
            primary_key: "id",
            kind: TableKind::Distributed("id"),
            colocate_with: None,
        };
        cluster.create_table(&table).await.unwrap();
        let coordinator = Daemon::coordinator(&cluster, DaemonOptions::default()).await.unwrap();
        let mut agents = Vec::new();
        for node in 0..cluster.nodes().len() {
            let options =
                DaemonOptions { args: vec!["--memory-limit".into(), "256MiB".into()], ..DaemonOptions::default() };
            agents.push(Daemon::agent(&cluster, node, &coordinator, options).await.unwrap());
        }
        create(&coordinator, &[STREAM]).await.unwrap();
        let fill = format!("INSERT INTO big SELECT i, i % 7, i, repeat('x', 200) FROM generate_series(1, {rows}) i");
        cluster.run(&fill).await.unwrap();
        assert_exact(&cluster, &coordinator, &[STREAM]).await.unwrap();
        for agent in &agents {
            let peak = memory_kb(agent.pid().unwrap(), "VmHWM").unwrap();
            println!("{kind:?}: an agent's peak memory after a transaction of {rows} rows: {} MiB", peak / 1024);
            assert!(peak < 256 << 10, "{kind:?}: an agent took {peak} kB");
        }
        let peak = memory_kb(coordinator.pid().unwrap(), "VmHWM").unwrap();
        println!("{kind:?}: the coordinator's: {} MiB", peak / 1024);
        assert!(peak < 1 << 20, "{kind:?}: the coordinator took {peak} kB");
    }
}

/// Its plan is deeper than JSON is read by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_of_many_parts_is_kept_through_a_restart() {
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    cluster.run("CREATE TABLE t (id int PRIMARY KEY, a int)").await.unwrap();
    cluster.run("INSERT INTO t SELECT i, i % 250 FROM generate_series(1, 1000) i").await.unwrap();
    let parts: Vec<String> = (0..200).map(|i| format!("SELECT id + {i} AS n FROM t WHERE a = {i}")).collect();
    let sum = (0..200).map(|i| format!("(a % {})", i + 2)).collect::<Vec<_>>().join(" + ");
    let (union, sum) = (parts.join(" UNION "), format!("SELECT id, {sum} AS s FROM t"));
    let tables: &[(&str, &str)] = &[("parts", &union), ("sums", &sum)];
    let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, tables).await.unwrap();
    for round in 0..2 {
        cluster.run(&format!("UPDATE t SET a = (a + 7) % 250 WHERE id % 3 = {round}")).await.unwrap();
        assert_exact(&cluster, &daemon, tables).await.unwrap();
        daemon.restart().await.unwrap();
        assert_exact(&cluster, &daemon, tables).await.unwrap();
    }
    daemon.stop().await.unwrap();
}
