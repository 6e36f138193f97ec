//! `setup` and `doctor` on real clusters, and what the program says when it cannot run.

#![allow(clippy::unwrap_used, reason = "in tests; helpers are no test functions to clippy")]

use std::process::Command;

use testkit::{Cluster, ClusterOptions, Kind};

struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the program with nothing of the test's own surroundings.
fn tributary(args: &[&str], env: &[(&str, &str)]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
    command.args(args);
    for (name, _) in std::env::vars() {
        if name.starts_with("TRIBUTARY_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    let output = command.envs(env.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

async fn run(args: Vec<String>) -> Done {
    let run = move || tributary(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

async fn sharded(kind: Kind) -> Cluster {
    let cluster = Cluster::start(kind).await.unwrap();
    let client = cluster.client().await.unwrap();
    if kind == Kind::Citus {
        client
            .batch_execute(
                "CREATE TABLE orders (id bigint PRIMARY KEY, v int); SELECT create_distributed_table('orders', 'id');
                 CREATE TABLE regions (id int PRIMARY KEY); SELECT create_reference_table('regions')",
            )
            .await
            .unwrap();
    } else if kind == Kind::Fdw {
        client
            .batch_execute("CREATE TABLE orders (id bigint, v int) PARTITION BY HASH (id); CREATE TABLE regions (id int PRIMARY KEY)")
            .await
            .unwrap();
        for node in 1..=2 {
            let remote = cluster.client_of(node).await.unwrap();
            remote.batch_execute(&format!("CREATE TABLE orders_{node} (id bigint PRIMARY KEY, v int)")).await.unwrap();
            let sql = format!(
                "CREATE FOREIGN TABLE orders_{node} PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER {}) SERVER w{node}",
                node - 1
            );
            client.batch_execute(&sql).await.unwrap();
        }
    } else {
        client
            .batch_execute(
                "CREATE TABLE orders (id bigint PRIMARY KEY, v int); CREATE TABLE regions (id int PRIMARY KEY)",
            )
            .await
            .unwrap();
    }
    client
        .batch_execute("CREATE TABLE loose (a int); CREATE VIEW big AS SELECT * FROM orders WHERE v > 5")
        .await
        .unwrap();
    cluster
}

fn kinds() -> Vec<Kind> {
    let mut kinds = testkit::kinds();
    kinds.push(Kind::Single);
    kinds
}

/// What there is of roles, publications and rights, node by node.
async fn made(cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    for node in cluster.nodes() {
        let client = cluster.client_of(node.index).await.unwrap();
        client.batch_execute("SET citus.override_table_visibility = off").await.unwrap();
        let sql = "SELECT 'role ' || rolname || ' ' || rolreplication FROM pg_roles WHERE rolname = 'tributary'
            UNION ALL SELECT 'publication ' || pubname || ' ' || pubinsert || pubupdate || ' ' || tablename
                FROM pg_publication JOIN pg_publication_tables USING (pubname)
            UNION ALL SELECT 'schema ' || nspname || ' ' || nspowner::regrole FROM pg_namespace WHERE nspname ~ '^tributary'
            UNION ALL SELECT 'select ' || relname FROM pg_class, aclexplode(relacl) a
                WHERE a.grantee = to_regrole('tributary')::oid AND a.privilege_type = 'SELECT' AND relkind IN ('r', 'p', 'v')
            ORDER BY 1";
        let rows = client.query(sql, &[]).await.unwrap();
        found.extend(rows.iter().map(|r| format!("{}: {}", node.index, r.get::<_, String>(0))));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_makes_what_the_daemon_needs_and_a_second_run_nothing() {
    for kind in kinds() {
        let cluster = sharded(kind).await;
        let url = cluster.url();
        let setup = run(words(&["setup", "--database-url", &url])).await;
        assert_eq!(setup.code, 0, "{}", setup.stderr);
        assert!(setup.stderr.contains("left out: public.loose cannot be streamed"), "{}", setup.stderr);
        let found = made(&cluster).await;
        for node in cluster.nodes() {
            assert!(found.contains(&format!("{}: role tributary true", node.index)), "{found:?}");
        }
        let published = |text: &str| {
            found.iter().filter(|f| f.contains("publication tributary_default ") && f.contains(text)).count()
        };
        let shards = match kind {
            Kind::Citus => 8,
            Kind::Fdw => 2,
            Kind::Single => 1,
        };
        assert_eq!(published("orders"), shards, "{found:?}");
        assert_eq!(published("regions"), 1, "{found:?}");
        assert_eq!(published("loose"), 0);
        assert!(found.contains(&"0: schema tributary tributary".to_owned()), "{found:?}");
        assert!(found.contains(&"0: select big".to_owned()), "{found:?}");
        if kind == Kind::Citus {
            let meta =
                found.iter().filter(|f| f.contains("tributary_default_meta truetrue pg_dist_transaction")).count();
            assert_eq!(meta, 3, "{found:?}");
        }
        let again = run(words(&["setup", "--database-url", &url, "--print"])).await;
        assert_eq!(
            again.stdout.lines().filter(|l| l.ends_with("nothing is missing")).count(),
            cluster.nodes().len(),
            "{}",
            again.stdout
        );
        assert_eq!(run(words(&["setup", "--database-url", &url])).await.code, 0);
        assert_eq!(made(&cluster).await, found);
        // The role sees the same cluster, and can do what it must.
        let doctor = run(words(&["doctor", "--database-url", &cluster.url_as(0, "tributary", "")])).await;
        assert_eq!((doctor.code, doctor.stderr.as_str()), (0, ""), "{}", doctor.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn printed_statements_do_the_same_when_psql_runs_them() {
    for kind in kinds() {
        let (printed, direct) = (sharded(kind).await, sharded(kind).await);
        let setup = |url: String, more: &[&str]| {
            let mut args = words(&[
                "setup",
                "--password",
                "it's\\secret",
                "--table",
                "orders",
                "--table",
                "big",
                "--database-url",
                &url,
            ]);
            args.extend(words(more));
            run(args)
        };
        let before = made(&printed).await;
        let sql = setup(printed.url(), &["--print"]).await;
        assert_eq!(sql.code, 0, "{}", sql.stderr);
        assert_eq!(made(&printed).await, before, "printing changed something");
        for (index, part) in sql.stdout.split("-- node ").skip(1).enumerate() {
            let client = printed.client_of(index).await.unwrap();
            client.batch_execute(&format!("-- {part}")).await.unwrap_or_else(|e| panic!("{e:?}: {part}"));
        }
        assert_eq!(setup(direct.url(), &[]).await.code, 0);
        let names = |all: Vec<String>| -> Vec<String> {
            // Shards have other numbers in another cluster, but as many.
            all.into_iter().map(|f| f.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()).collect()
        };
        assert_eq!(names(made(&printed).await), names(made(&direct).await));
        assert!(!made(&direct).await.iter().any(|f| f.contains("regions")), "only the named tables");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_streamed_is_refused_by_name() {
    let cluster = sharded(Kind::Single).await;
    for (table, says) in [("loose", "REPLICA IDENTITY FULL"), ("nowhere", "does not exist"), ("a b", "not a table")] {
        let setup = run(words(&["setup", "--database-url", &cluster.url(), "--table", table])).await;
        assert_eq!(setup.code, 1);
        assert!(setup.stderr.contains(says) && setup.stderr.trim().lines().count() == 1, "{}", setup.stderr);
    }
    assert!(made(&cluster).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_what_is_wrong_and_what_to_do() {
    let cluster = Cluster::start_with(ClusterOptions::new(Kind::Single).setting("wal_level", "replica")).await.unwrap();
    cluster.client().await.unwrap().batch_execute("CREATE ROLE poor LOGIN").await.unwrap();
    let doctor = run(words(&["doctor", "--database-url", &cluster.url_as(0, "poor", "")])).await;
    assert_eq!(doctor.code, 1);
    assert_eq!(doctor.stderr.trim().lines().count(), 1, "{}", doctor.stderr);
    for says in [
        "wal_level is replica",
        "ALTER SYSTEM SET wal_level",
        "ALTER ROLE \"poor\" REPLICATION",
        "tributary setup",
        "schema public",
    ] {
        assert!(doctor.stdout.contains(says), "{says}: {}", doctor.stdout);
    }
    let wrong = doctor.stdout.lines().filter(|l| l.starts_with("WRONG")).count();
    assert!(doctor.stderr.contains(&format!("{wrong} things")), "{}", doctor.stderr);
}

/// Arguments, variables, exit code, and what standard error says.
type Case = (&'static [&'static str], &'static [(&'static str, &'static str)], i32, &'static str);

#[test]
fn wrong_usage_is_code_2_and_failure_code_1_with_one_line() {
    let cases: &[Case] = &[
        (&["standalone"], &[], 2, "database_url is missing"),
        (&["standalone", "--database-url", "mysql://x/y", "--data-dir", "/nonexistent"], &[], 2, "database_url: "),
        (&["standalone", "--no-such-flag"], &[], 2, "--no-such-flag"),
        (&["coordinator", "--config", "/nowhere.toml"], &[], 2, "/nowhere.toml"),
        (&["agent", "--database-url", "postgres://u@h/d", "--coordinator", "ftp://x"], &[], 2, "coordinator: "),
        (
            &["standalone", "--database-url", "postgres://u@h/d", "--data-dir", "/x"],
            &[("TRIBUTARY_LISTEN", "here")],
            2,
            "listen: ",
        ),
        (&["standalone"], &[("TRIBUTARY_DATABSE_URL", "x")], 2, "TRIBUTARY_DATABSE_URL"),
        (
            &["standalone", "--instance", "No", "--database-url", "postgres://u@h/d", "--data-dir", "/x"],
            &[],
            2,
            "instance: 'No'",
        ),
        (&["status"], &[("TRIBUTARY_ENDPOINT", "http://127.0.0.1:9")], 1, "no tributary answers at http://127.0.0.1:9"),
        (&["--endpoint", "nonsense", "stream", "list"], &[], 1, "'nonsense' is not http://host:port"),
        (&["stream", "create", "t", "--file", "/nowhere.sql"], &[], 1, "/nowhere.sql"),
        (&["doctor", "--database-url", "postgres://postgres@127.0.0.1:9/x"], &[], 1, "127.0.0.1:9"),
        (
            &["standalone", "--database-url", "postgres://postgres@127.0.0.1:9/x", "--data-dir", "/nonexistent/x"],
            &[],
            1,
            "127.0.0.1:9",
        ),
    ];
    for (args, env, code, says) in cases {
        let done = tributary(args, env);
        assert_eq!(done.code, *code, "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(says), "{args:?}: {}", done.stderr);
        if *code == 1 {
            assert_eq!(done.stderr.trim().lines().count(), 1, "{args:?}: {}", done.stderr);
        }
    }
    let help = tributary(&["--help"], &[]);
    assert_eq!(help.code, 0);
    assert!(tributary(&["--version"], &[]).stdout.starts_with("tributary 0."));
}
