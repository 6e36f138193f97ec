//! Every command against a running daemon.

#![allow(clippy::unwrap_used, reason = "in tests; helpers are no test functions to clippy")]

use std::io::Write;
use std::time::Duration;

use testkit::{Cluster, Daemon, DaemonOptions, Kind, Output, cli};

const QUERY: &str = "SELECT region, count(*) AS n, sum(amount) AS total FROM sales GROUP BY region";

async fn started(kind: Kind) -> (Cluster, Daemon) {
    let cluster = Cluster::start(kind).await.unwrap();
    let client = cluster.client().await.unwrap();
    client
        .batch_execute("CREATE TABLE sales (id bigint PRIMARY KEY, region text, amount numeric(10,2))")
        .await
        .unwrap();
    if kind == Kind::Citus {
        client.batch_execute("SELECT create_distributed_table('sales', 'id')").await.unwrap();
    }
    let fill = "INSERT INTO sales SELECT i, 'r' || i % 3, i FROM generate_series(1, 1000) i";
    client.batch_execute(fill).await.unwrap();
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    (cluster, daemon)
}

async fn ok(daemon: &Daemon, args: &[&str]) -> String {
    let output = cli(daemon, args).await.unwrap();
    assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
    output.stdout
}

async fn refused(daemon: &Daemon, args: &[&str]) -> String {
    let output: Output = cli(daemon, args).await.unwrap();
    assert_eq!(output.code, Some(1), "{args:?}: {output:?}");
    assert_eq!(output.stderr.trim().lines().count(), 1, "{args:?}: {output:?}");
    output.stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_table_lives_from_create_to_drop() {
    let citus = testkit::citus_available().then_some(Kind::Citus);
    for kind in [Some(Kind::Single), citus].into_iter().flatten() {
        let (cluster, mut daemon) = started(kind).await;
        let client = cluster.client().await.unwrap();
        let d = &daemon;
        let created = ok(d, &["stream", "create", "by_region", "--query", QUERY]).await;
        assert!(created.starts_with("public.by_region is exact at cut ") && created.contains("(3 rows)"), "{created}");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "SELECT id, amount\nFROM sales\nWHERE amount > 990;").unwrap();
        let path = file.path().to_str().unwrap();
        ok(d, &["stream", "create", "large", "--file", path, "--no-wait", "--set", "TimeZone=UTC"]).await;

        client
            .batch_execute("UPDATE sales SET amount = 0 WHERE id = 1000; DELETE FROM sales WHERE id = 999")
            .await
            .unwrap();
        assert!(ok(d, &["wait", "--timeout", "60s"]).await.starts_with("readable at cut "));
        let waited: i64 = client.query_one("SELECT tributary.wait_for_frontier('60 s')", &[]).await.unwrap().get(0);
        assert!(waited > 0);
        let total: String = client.query_one("SELECT sum(total)::text FROM by_region", &[]).await.unwrap().get(0);
        assert_eq!(total, "498501.00");
        for _ in 0..600 {
            if ok(d, &["stream", "describe", "large", "--json"]).await.contains("\"active\"") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let rows: i64 = client.query_one("SELECT count(*) FROM large", &[]).await.unwrap().get(0);
        assert_eq!(rows, 8);

        let list: serde_json::Value = serde_json::from_str(&ok(d, &["stream", "list", "--json"]).await).unwrap();
        assert_eq!(list.as_array().unwrap().len(), 2);
        assert!(ok(d, &["stream", "list"]).await.contains("public.by_region  active"));
        let described = ok(d, &["stream", "describe", "by_region"]).await;
        for says in
            ["state    active", "key      region", "region text, n bigint, total numeric", "query    SELECT region"]
        {
            assert!(described.contains(says), "{says}: {described}");
        }
        assert!(!ok(d, &["stream", "explain", "by_region"]).await.trim().is_empty());
        let explained = ok(d, &["stream", "explain", "--json", "--query", "SELECT id FROM sales"]).await;
        serde_json::from_str::<serde_json::Value>(&explained).unwrap();
        let verified = ok(d, &["stream", "verify"]).await;
        assert_eq!(verified.lines().filter(|l| l.contains("is exact at cut")).count(), 2, "{verified}");

        let status = ok(d, &["status"]).await;
        assert!(status.contains("connected") && status.contains("public.large"), "{status}");
        let status: serde_json::Value = serde_json::from_str(&ok(d, &["status", "--json"]).await).unwrap();
        assert_eq!(status["nodes"].as_array().unwrap().len(), cluster.nodes().len());
        assert_eq!(status["stream_tables"][0]["name"], "public.by_region");

        // A watch sees what comes after it has begun, and nothing says when it has; on a busy machine that takes a while.
        let mut watched = String::new();
        for head_start in [500, 3_000, 15_000].map(Duration::from_millis) {
            client.batch_execute("DELETE FROM sales WHERE id = 5000").await.unwrap();
            ok(d, &["wait", "--timeout", "60s"]).await;
            let watching = cli(d, &["stream", "watch", "by_region", "--count", "1", "--for", "30s"]);
            let writing = async {
                tokio::time::sleep(head_start).await;
                client.batch_execute("INSERT INTO sales VALUES (5000, 'new', 1)").await.unwrap();
            };
            watched = tokio::join!(watching, writing).0.unwrap().stdout;
            if !watched.trim().is_empty() {
                break;
            }
        }
        assert!(watched.contains("+1 ~0 -0"), "{watched}");

        assert!(ok(d, &["stream", "pause", "by_region"]).await.contains("is paused at cut"));
        client.batch_execute("INSERT INTO sales VALUES (5001, 'newer', 1)").await.unwrap();
        ok(d, &["wait", "--stream", "large"]).await;
        let regions = "SELECT count(*) FROM by_region";
        assert_eq!(client.query_one(regions, &[]).await.unwrap().get::<_, i64>(0), 4);
        assert!(ok(d, &["stream", "resume", "by_region"]).await.contains("(5 rows)"));
        assert_eq!(client.query_one(regions, &[]).await.unwrap().get::<_, i64>(0), 5);
        client.batch_execute("DELETE FROM by_region WHERE region = 'newer'").await.unwrap();
        assert!(refused(d, &["stream", "verify", "by_region"]).await.contains("not exact: public.by_region"));
        ok(d, &["stream", "rebuild", "by_region"]).await;
        ok(d, &["stream", "verify", "by_region"]).await;

        ok(d, &["stream", "drop", "large"]).await;
        assert!(refused(d, &["stream", "describe", "large"]).await.contains("large"));
        assert!(refused(d, &["stream", "create", "by_region", "--query", QUERY]).await.contains("exists already"));
        assert!(refused(d, &["stream", "create", "x", "--query", "SELECT * FROM nowhere"]).await.contains("nowhere"));
        ok(d, &["stream", "drop", "by_region"]).await;
        daemon.stop().await.unwrap();
    }
}
