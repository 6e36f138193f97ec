//! Bad input: one clear line, the documented exit code, and nothing left behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use testkit::{
    Cluster, ClusterOptions, Daemon, DaemonOptions, Kind, Output, TableKind, TableSpec, cli, kinds, program,
};
use tributary_tests::{create, shop};

/// Everything that tributary could leave in a cluster: slots, publications and what is in them, tables, definitions.
async fn traces(cluster: &Cluster) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for node in 0..cluster.nodes().len() {
        let client = cluster.client_of(node).await.unwrap();
        client.query("SELECT set_config('citus.override_table_visibility', 'off', false)", &[]).await.unwrap();
        let sql = "SELECT 'slot ' || slot_name FROM pg_replication_slots
                   UNION ALL SELECT 'publication ' || pubname FROM pg_publication
                   UNION ALL SELECT format('published %s %s.%s', pubname, schemaname, tablename) FROM pg_publication_tables
                   UNION ALL SELECT format('%s %s.%s', relkind, nspname, relname) FROM pg_class c JOIN pg_namespace n
                        ON n.oid = relnamespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
                   UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'";
        found.extend(
            client.query(sql, &[]).await.unwrap().iter().map(|row| format!("node {node}: {}", row.get::<_, &str>(0))),
        );
    }
    let client = cluster.client().await.unwrap();
    if let Ok(rows) = client.query("SELECT name::text || ' ' || state FROM tributary.stream_tables", &[]).await {
        found.extend(rows.iter().map(|row| format!("definition {}", row.get::<_, &str>(0))));
    }
    found
}

/// One line on stderr that says all of this, and exit code 1.
fn assert_refused(what: &str, output: &Output, says: &[&str]) {
    assert_eq!(output.code, Some(1), "{what}: {output:?}");
    assert_eq!(output.stderr.trim().lines().count(), 1, "{what}: not one line: {output:?}");
    for part in says {
        assert!(output.stderr.contains(part), "{what}: '{part}' is not in: {}", output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_definition_leaves_nothing_behind() {
    for kind in kinds() {
        let (cluster, _) = shop(kind, 1, 50).await.unwrap();
        cluster.run("CREATE TABLE no_key (id int, text text); CREATE TABLE taken (id int)").await.unwrap();
        cluster.run("CREATE UNLOGGED TABLE fleeting (id int PRIMARY KEY)").await.unwrap();
        let elsewhere = match kind {
            Kind::Fdw => "CREATE TABLE elsewhere (id int) PARTITION BY HASH (id); CREATE FOREIGN TABLE elsewhere_0
                PARTITION OF elsewhere FOR VALUES WITH (MODULUS 1, REMAINDER 0) SERVER w1 OPTIONS (table_name 'nothing')",
            Kind::Citus | Kind::Single => "CREATE VIEW elsewhere AS SELECT id, random() AS nothing FROM users",
        };
        cluster.run(elsewhere).await.unwrap();
        let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, &[("kept", "SELECT id, name FROM regions")]).await.unwrap();
        let before = traces(&cluster).await;
        let refused: [(&str, &str, &[&str]); 13] = [
            ("an unknown table", "SELECT * FROM nowhere", &["nowhere", "does not exist"]),
            ("an unknown column", "SELECT nothing FROM orders", &["nothing", "does not exist"]),
            ("a syntax error", "SELECT FROM WHERE", &["syntax error"]),
            ("no query at all", "DELETE FROM orders", &["SELECT"]),
            ("a volatile function", "SELECT id, random() FROM orders", &["random", "volatile"]),
            ("now", "SELECT id FROM orders WHERE placed_at > now()", &["now"]),
            ("no key", "SELECT * FROM no_key", &["no_key", "REPLICA IDENTITY FULL"]),
            (
                "what is behind a name",
                "SELECT * FROM elsewhere",
                if kind == Kind::Fdw { &["nothing", "does not exist"] } else { &["random"] },
            ),
            ("an unlogged table", "SELECT * FROM fleeting", &["fleeting"]),
            ("row locks", "SELECT id FROM users FOR UPDATE", &["FOR UPDATE"]),
            ("a limit without order", "SELECT id FROM users LIMIT 3", &["LIMIT"]),
            ("a sample", "SELECT id FROM users TABLESAMPLE system (10)", &["TABLESAMPLE"]),
            ("two columns of one name", "SELECT id, id FROM users", &["id"]),
        ];
        for (what, query, says) in refused {
            let output = cli(&daemon, &["stream", "create", "fresh", "--query", query]).await.unwrap();
            assert_refused(&format!("{kind:?}: {what}"), &output, says);
            assert_eq!(traces(&cluster).await, before, "{kind:?}: {what} left something behind");
        }
        for taken in ["kept", "taken", "orders"] {
            let output = cli(&daemon, &["stream", "create", taken, "--query", "SELECT id FROM users"]).await.unwrap();
            assert_refused(&format!("{kind:?}: the name {taken}"), &output, &[taken, "exist"]);
            assert_eq!(traces(&cluster).await, before, "{kind:?}: {taken} left something behind");
        }
        let output = cli(&daemon, &["stream", "drop", "nobody"]).await.unwrap();
        assert_refused("dropping what is not there", &output, &["nobody"]);
        // And what was there goes on.
        cluster.run(if kind == Kind::Fdw { "DROP TABLE elsewhere" } else { "DROP VIEW elsewhere" }).await.unwrap();
        testkit::assert_exact(&cluster, &daemon, &[("kept", "SELECT id, name FROM regions")]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_of_a_stream_table_says_what_to_do() {
    let (cluster, _) = shop(Kind::Single, 1, 50).await.unwrap();
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &[("kept", "SELECT id, name FROM regions"), ("over", "SELECT count(*) AS n FROM kept")])
        .await
        .unwrap();
    let before = traces(&cluster).await;
    let (query, long) = ("SELECT id, name FROM regions WHERE id > 1", "x".repeat(64));
    let asked: [(&[&str], &[&str]); 9] = [
        (&["create", "a.b.c", "--query", query], &["'a.b.c' is not a table name", "schema.name"]),
        (&["create", "a-b", "--query", query], &["'a-b' is not a table name", "quote what is special"]),
        (&["create", &long, "--query", query], &["at most 63 bytes"]),
        (
            &["alter", "kept", "--query", "SELECT id FROM regions", "--cascade"],
            &["public.kept", "drop it and create it again"],
        ),
        (&["alter", "kept", "--query", query], &["public.over", "--cascade"]),
        (
            &["alter", "kept", "--consistency", "per-node"],
            &["public.kept", "all of them have to be of one consistency"],
        ),
        (
            &["create", "other", "--query", "SELECT id FROM kept", "--consistency", "per-node"],
            &["public.kept is a stream table of consistency atomic", "give both the same"],
        ),
        (&["drop", "kept"], &["public.over", "--cascade"]),
        (&["pause", "nobody"], &["there is no stream table", "tributary stream list"]),
    ];
    for (arguments, says) in asked {
        let output = cli(&daemon, &[&["stream"], arguments].concat()).await.unwrap();
        assert_refused(&format!("{arguments:?}"), &output, says);
        // Slots and publications that were made to find out are given back behind the answer.
        let deadline = Instant::now() + Duration::from_secs(60);
        while traces(&cluster).await != before && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(traces(&cluster).await, before, "{arguments:?} left something behind");
    }
    cluster.run("DELETE FROM regions WHERE id = (SELECT max(id) FROM regions)").await.unwrap();
    let kept = [("kept", "SELECT id, name FROM regions"), ("over", "SELECT count(*) AS n FROM regions")];
    testkit::assert_exact(&cluster, &daemon, &kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_table_leaves_nothing_of_its_own() {
    for kind in kinds() {
        let (cluster, _) = shop(kind, 1, 50).await.unwrap();
        let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, &[("kept", "SELECT id, name FROM regions")]).await.unwrap();
        let before = traces(&cluster).await;
        create(&daemon, &[("passing", "SELECT o.id, i.sku FROM orders o JOIN items i ON i.order_id = o.id")])
            .await
            .unwrap();
        assert_ne!(traces(&cluster).await, before);
        cli(&daemon, &["stream", "drop", "passing"]).await.unwrap().ok().unwrap();
        assert_eq!(traces(&cluster).await, before, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_line_is_told_what_is_right() {
    for arguments in [
        vec!["stream", "create", "x"],
        vec!["nonsense"],
        vec!["standalone", "--data-dir", "/tmp/unused", "--database-url", "mysql://x/y"],
        vec!["standalone", "--no-such-flag"],
        vec!["wait", "--timeout", "long"],
    ] {
        let output = program(&[], &arguments).await.unwrap();
        assert_eq!(output.code, Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.trim().is_empty(), "{arguments:?}");
    }
    let output = program(&[("TRIBUTARY_ENDPOINT", "http://127.0.0.1:9")], &["status"]).await.unwrap();
    assert_refused("nobody listens", &output, &["127.0.0.1:9"]);
}

/// Starts the daemon where it cannot run; the last line of its log is the reason.
async fn refused_start(cluster: &Cluster, options: DaemonOptions, what: &str, says: &[&str]) {
    let before = traces(cluster).await;
    let data_dir = tempfile::tempdir().unwrap();
    let state = data_dir.path().join("state");
    let arguments = [
        "standalone",
        "--database-url",
        &options.database_url.clone().unwrap_or_else(|| cluster.url()),
        "--data-dir",
        &state.display().to_string(),
        "--listen",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--log",
        "error",
    ];
    let output = program(&[], &arguments).await.unwrap();
    assert_refused(what, &output, says);
    assert_eq!(traces(cluster).await, before, "{what} left something behind");
    let files = std::fs::read_dir(&state).map_or(0, Iterator::count);
    assert_eq!(files, 0, "{what} left {files} files behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_cannot_run_says_why_and_leaves_nothing() {
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    cluster.run("CREATE ROLE plain LOGIN; GRANT CREATE ON DATABASE app TO plain").await.unwrap();
    let with = |url: String| DaemonOptions { database_url: Some(url), ..DaemonOptions::default() };
    refused_start(&cluster, with("postgres://postgres@127.0.0.1:9/app".into()), "nobody listens", &["127.0.0.1"]).await;
    let url = cluster.url().replace("/app", "/nowhere");
    refused_start(&cluster, with(url), "no such database", &["nowhere"]).await;
    refused_start(&cluster, with(cluster.url_as(0, "nobody", "")), "no such role", &["nobody"]).await;
    refused_start(&cluster, with(cluster.url_as(0, "plain", "")), "no replication right", &["REPLICATION"]).await;
    for kind in kinds().into_iter().chain([Kind::Single]) {
        let cluster = Cluster::start_with(ClusterOptions::new(kind).setting("wal_level", "replica")).await.unwrap();
        refused_start(&cluster, DaemonOptions::default(), "wal_level=replica", &["wal_level", "logical"]).await;
    }
}

/// A file system of two megabytes stands for one that is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_data_directory_stops_with_its_name_and_loses_nothing() {
    let small = tempfile::tempdir().unwrap();
    let mount = |arguments: &[&str]| std::process::Command::new(arguments[0]).args(&arguments[1..]).status();
    let path = small.path().display().to_string();
    let mounted = mount(&["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", &path]);
    if !mounted.is_ok_and(|status| status.success()) {
        println!("\n*** A FULL DATA DIRECTORY IS NOT TESTED: this user cannot mount a small file system ***\n");
        return;
    }
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    let table = TableSpec {
        name: "filling",
        columns: "id int NOT NULL, text text",
        primary_key: "id",
        kind: TableKind::Local,
        colocate_with: None,
    };
    cluster.create_table(&table).await.unwrap();
    let options = DaemonOptions { data_dir: Some(small.path().join("state")), ..DaemonOptions::default() };
    let outcome = async {
        let mut daemon = Daemon::standalone(&cluster, options).await?;
        let stream = ("kept", "SELECT id, text FROM filling");
        create(&daemon, &[stream]).await?;
        let fill = "INSERT INTO filling SELECT i, md5(i::text) || md5((i + 1)::text) FROM generate_series(1, 60000) i";
        cluster.run(fill).await?;
        let waited = cli(&daemon, &["wait", "--timeout", "20s"]).await?;
        anyhow::ensure!(waited.code == Some(1), "the wait did not fail: {waited:?}");
        // The parts that it stops are stopped before it says why.
        let deadline = Instant::now() + Duration::from_secs(60);
        while !std::fs::read_to_string(daemon.log())?.contains("space") {
            anyhow::ensure!(Instant::now() < deadline, "nothing about space in the log:\n{}", daemon.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // With space again, it goes on.
        if daemon.pid().is_some() {
            daemon.kill9().await.ok();
        }
        anyhow::ensure!(mount(&["mount", "-o", "remount,size=200m", &path])?.success(), "remount");
        daemon.start().await?;
        testkit::assert_exact(&cluster, &daemon, &[stream]).await
    }
    .await;
    mount(&["umount", "-l", &path]).unwrap();
    outcome.unwrap();
}
