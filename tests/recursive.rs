//! WITH RECURSIVE over a tree of employees and a graph of edges, both sharded: exact after whatever is written, and after a crash.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::{Cluster, Daemon, DaemonOptions, Kind, Shop, TableKind, TableSpec, assert_exact, cli, kinds, seed};
use tokio_postgres::Client;
use tributary_tests::{create, long};

const TABLES: [TableSpec<'_>; 3] = [
    TableSpec {
        name: "employees",
        columns: "id int, manager int, name text, salary numeric(8,2)",
        primary_key: "id",
        kind: TableKind::Distributed("id"),
        colocate_with: None,
    },
    TableSpec {
        name: "edges",
        columns: "src int, dst int, weight int",
        primary_key: "src, dst",
        kind: TableKind::Distributed("src"),
        colocate_with: None,
    },
    TableSpec {
        name: "closed",
        columns: "node int, since int",
        primary_key: "node",
        kind: TableKind::Reference,
        colocate_with: None,
    },
];

const QUERIES: [(&str, &str); 18] = [
    // A circle of managers has no root above it, so that this always ends.
    (
        "under",
        "WITH RECURSIVE under AS (
            SELECT id, name, 0 AS depth, salary FROM employees WHERE manager IS NULL
            UNION ALL SELECT e.id, u.name || '/' || e.name, u.depth + 1, e.salary FROM employees e JOIN under u ON e.manager = u.id)
         SELECT id, name, depth, salary FROM under",
    ),
    (
        "above",
        "WITH RECURSIVE up AS (
            SELECT id, manager FROM employees
            UNION SELECT up.id, e.manager FROM up JOIN employees e ON e.id = up.manager)
         SELECT id, manager FROM up",
    ),
    (
        "payroll",
        "WITH RECURSIVE up AS (
            SELECT id AS boss, id AS who FROM employees
            UNION SELECT up.boss, e.id FROM up JOIN employees e ON e.manager = up.who)
         SELECT up.boss, count(*) AS n, sum(e.salary) AS salary, max(e.salary) AS most
         FROM up JOIN employees e ON e.id = up.who GROUP BY up.boss",
    ),
    (
        "reached",
        "WITH RECURSIVE r AS (SELECT src, dst FROM edges UNION SELECT r.src, e.dst FROM r JOIN edges e ON e.src = r.dst)
         SELECT src, dst FROM r",
    ),
    (
        "each_other",
        "WITH RECURSIVE r AS (SELECT src, dst FROM edges UNION SELECT r.src, e.dst FROM r JOIN edges e ON e.src = r.dst)
         SELECT a.src, a.dst FROM r a JOIN r b ON b.src = a.dst AND b.dst = a.src WHERE a.src < a.dst",
    ),
    (
        "open_only",
        "WITH RECURSIVE r AS (
            SELECT src, dst FROM edges WHERE src < 4
            UNION SELECT r.src, e.dst FROM r JOIN edges e ON e.src = r.dst
                  WHERE NOT EXISTS (SELECT FROM closed c WHERE c.node = r.dst)
                    AND EXISTS (SELECT FROM employees m WHERE m.manager = e.dst))
         SELECT src, dst FROM r",
    ),
    (
        "conditions",
        "WITH RECURSIVE r AS (
            SELECT src, dst, 0 AS n FROM edges
            UNION ALL SELECT r.src, e.dst, r.n + 1 FROM r JOIN edges e ON e.src = r.dst
                  WHERE r.n < 2 AND NOT EXISTS (SELECT FROM closed c WHERE c.since > r.src AND c.node <> e.dst)
                    AND r.dst IN (SELECT manager FROM employees WHERE salary > 100))
         SELECT src, dst, n FROM r",
    ),
    (
        "hops",
        "WITH RECURSIVE r AS (
            SELECT src, dst, 1 AS hops, weight AS total FROM edges
            UNION ALL SELECT r.src, e.dst, r.hops + 1, r.total + e.weight FROM edges e, r WHERE e.src = r.dst AND r.hops < 3)
         SELECT src, dst, hops, count(*) AS ways, min(total) AS least FROM r GROUP BY src, dst, hops",
    ),
    (
        "paths",
        "WITH RECURSIVE r AS (
            SELECT src, dst, ARRAY[src, dst] AS path FROM edges WHERE src = 1
            UNION ALL SELECT r.src, e.dst, r.path || e.dst FROM r JOIN edges e ON e.src = r.dst
                  WHERE e.dst <> ALL (r.path) AND cardinality(r.path) < 5)
         SELECT src, dst, path FROM r",
    ),
    (
        "circles",
        "WITH RECURSIVE r AS (
            SELECT src, dst FROM edges WHERE src = 1
            UNION ALL SELECT e.src, e.dst FROM r JOIN edges e ON e.src = r.dst WHERE e.dst < 5)
            CYCLE dst SET is_cycle TO 'back' DEFAULT 'on' USING path
         SELECT src, dst, is_cycle FROM r",
    ),
    (
        "found_once",
        "WITH RECURSIVE r AS (
            SELECT id, manager FROM employees WHERE id % 4 = 0
            UNION SELECT e.id, e.manager FROM r JOIN employees e ON e.id = r.manager)
            SEARCH DEPTH FIRST BY id SET turn CYCLE id SET again USING path
         SELECT id, manager, again FROM r ORDER BY turn",
    ),
    (
        "at_depths",
        "WITH RECURSIVE r AS (SELECT src, dst FROM edges WHERE src < 3 UNION SELECT e.src, e.dst FROM r JOIN edges e ON e.src = r.dst AND e.weight > 0 AND e.dst < 6)
            SEARCH BREADTH FIRST BY src SET turn CYCLE src SET again USING path
         SELECT src, dst FROM r WHERE NOT again",
    ),
    // A recursion for each row around.
    (
        "chain",
        "SELECT e.id, (WITH RECURSIVE up AS (
            SELECT m.id, m.manager, m.name FROM employees m WHERE m.id = e.manager
            UNION SELECT m.id, m.manager, m.name FROM up JOIN employees m ON m.id = up.manager AND m.id <> e.id)
          SELECT string_agg(name, ' < ' ORDER BY id) FROM up) AS chain FROM employees e",
    ),
    (
        "around",
        "SELECT c.node, s.dst, s.again FROM closed c CROSS JOIN LATERAL (WITH RECURSIVE r AS (
            SELECT c.node AS dst UNION ALL SELECT e.dst FROM r JOIN edges e ON e.src = r.dst AND e.dst < 6 AND e.weight > c.since)
            CYCLE dst SET again USING path SELECT dst, again FROM r) s",
    ),
    (
        "dead_ends",
        "WITH RECURSIVE r AS (
            SELECT src, dst FROM edges
            UNION SELECT r.src, e.dst FROM r LEFT JOIN edges e ON e.src = r.dst AND e.weight > r.src WHERE r.dst IS NOT NULL)
         SELECT src, dst FROM r",
    ),
    (
        "heaviest",
        "WITH RECURSIVE r AS (
            SELECT id, 0 AS weight FROM employees WHERE manager IS NULL
            UNION SELECT r.id + 1, (SELECT max(e.weight) FROM edges e WHERE e.src = r.id) FROM r WHERE r.id < 12)
         SELECT id, weight FROM r",
    ),
    (
        "counted",
        "WITH RECURSIVE n AS (SELECT id, 1 AS n FROM employees UNION ALL SELECT id, n + 1 FROM n WHERE n < id % 5)
         SELECT id, n FROM n",
    ),
    // A recursion along another one, from the views of both.
    (
        "along",
        "WITH RECURSIVE reached AS (
            SELECT src, dst FROM edges UNION SELECT r.src, e.dst FROM reached r JOIN edges e ON e.src = r.dst),
            led AS (SELECT id, manager FROM employees WHERE manager IS NULL
                    UNION SELECT e.id, e.manager FROM led JOIN employees e ON e.manager = led.id JOIN reached r ON r.src = led.id)
         SELECT id, manager FROM led ORDER BY id DESC LIMIT 10",
    ),
];

/// A statement; about some of few nodes, so that circles open and close again and again.
fn statement(random: &mut StdRng) -> String {
    let node = |random: &mut StdRng| random.random_range(1..10);
    let (a, b) = (node(random), node(random));
    let who = random.random_range(1..30);
    let manager = match random.random_range(0..6) {
        0 => "NULL".to_owned(),
        1..4 => format!("{}", (who - 1) / 3),
        _ => format!("{}", random.random_range(1..30)),
    };
    match random.random_range(0..13) {
        0..3 => format!("INSERT INTO edges VALUES ({a}, {b}, {})", random.random_range(0..10)),
        3 | 4 => format!("DELETE FROM edges WHERE src = {a} AND (dst = {b} OR weight < 3)"),
        5 => format!("UPDATE edges SET weight = weight + 1 WHERE dst = {b}"),
        6 | 7 => {
            format!("INSERT INTO employees VALUES ({who}, {manager}, 'e{who}', {}.5)", random.random_range(0..300))
        }
        8 => format!("DELETE FROM employees WHERE id = {who}"),
        9 | 10 => format!("UPDATE employees SET manager = {manager} WHERE id IN ({who}, {})", who / 2),
        11 => format!("UPDATE employees SET salary = salary + 7, name = name || 'x' WHERE id % 7 = {}", a % 7),
        _ if random.random_bool(0.5) => format!("DELETE FROM closed WHERE node = {a}"),
        _ => format!("INSERT INTO closed VALUES ({a}, {b})"),
    }
}

/// Random transactions over all shards; one that the cluster does not take (a key that is there) is rolled back.
async fn write(client: &Client, random: &mut StdRng, count: usize) -> usize {
    let mut committed = 0;
    for _ in 0..count {
        let statements: Vec<String> = (0..random.random_range(1..5)).map(|_| statement(random)).collect();
        match client.batch_execute(&format!("BEGIN; {}; COMMIT", statements.join("; "))).await {
            Ok(()) => committed += 1,
            Err(_) => client.batch_execute("ROLLBACK").await.unwrap(),
        }
    }
    committed
}

async fn tables(cluster: &Cluster) -> Client {
    for table in &TABLES {
        cluster.create_table(table).await.unwrap();
    }
    let client = Shop::session(cluster).await.unwrap();
    client.batch_execute("SET client_min_messages = error").await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn recursive_queries_are_exact_after_random_changes_and_a_crash() {
    for kind in kinds() {
        let seed = seed();
        eprintln!("{kind:?}: TRIBUTARY_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let cluster = Cluster::start(kind).await.unwrap();
        let client = tables(&cluster).await;
        write(&client, &mut random, 40).await;
        let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        // Some over rows that are there, the others while they change.
        let (before, during) = QUERIES.split_at(QUERIES.len() / 2);
        create(&daemon, before).await.unwrap();
        assert_exact(&cluster, &daemon, before).await.unwrap();
        for query in during {
            write(&client, &mut random, 5).await;
            create(&daemon, &[*query]).await.unwrap();
        }
        assert_exact(&cluster, &daemon, &QUERIES).await.unwrap();
        let rounds = if long() { 60 } else { 6 };
        let mut committed = 0;
        for round in 0..rounds {
            let both = tokio::join!(write(&client, &mut random, 30), async {
                if round % 3 == 1 {
                    daemon.kill9().await.unwrap();
                    daemon.start().await.unwrap();
                }
            });
            committed += both.0;
            assert_exact(&cluster, &daemon, &QUERIES)
                .await
                .unwrap_or_else(|e| panic!("{kind:?}, round {round}: {e:#}"));
        }
        assert!(committed > rounds * 10, "{kind:?}: only {committed} transactions");
        // Nothing is left where nothing is.
        client.batch_execute("DELETE FROM edges; DELETE FROM employees").await.unwrap();
        assert_exact(&cluster, &daemon, &QUERIES).await.unwrap();
        daemon.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recursion_that_does_not_end_stops_alone_says_so_and_is_built_again_when_it_does() {
    for kind in kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        let client = tables(&cluster).await;
        client.batch_execute("INSERT INTO edges VALUES (1, 2, 1), (2, 3, 1)").await.unwrap();
        let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        let ways = "WITH RECURSIVE r AS (SELECT src, dst FROM edges UNION ALL SELECT r.src, e.dst FROM r JOIN edges e ON e.src = r.dst)
                    SELECT src, dst FROM r";
        let others = [("reached", QUERIES[3].1), ("plain", "SELECT src, dst FROM edges")];
        create(&daemon, &[("ways", ways)]).await.unwrap();
        create(&daemon, &others).await.unwrap();
        assert_exact(&cluster, &daemon, &[("ways", ways)]).await.unwrap();
        client.batch_execute("INSERT INTO edges VALUES (3, 1, 1)").await.unwrap();
        assert_exact(&cluster, &daemon, &others).await.unwrap();
        let says = cli(&daemon, &["stream", "describe", "ways"]).await.unwrap().ok().unwrap().stdout;
        assert!(says.contains("failed") && says.contains("recursion does not end"), "{kind:?}: {says}");
        let rows = client.query("SELECT FROM ways", &[]).await.unwrap().len();
        assert_eq!(rows, 3, "{kind:?}: it stays at its last exact cut");
        // Nor can it be built, or another be made, as long as the circle is closed.
        // With the way to each row no row comes twice, and UNION ends nothing. That takes a while.
        let searched = "WITH RECURSIVE r AS (SELECT dst FROM edges WHERE src = 1 UNION SELECT e.dst FROM r JOIN edges e ON e.src = r.dst)
                        SEARCH DEPTH FIRST BY dst SET o SELECT dst FROM r";
        let again = ["stream", "create", "again", "--query"];
        let queries = if kind == Kind::Fdw || long() { &[ways, searched][..] } else { &[ways] };
        let created = queries.iter().map(|query| [&again[..], &[query]].concat());
        for args in created.chain([vec!["stream", "rebuild", "ways"]]) {
            let output = cli(&daemon, &args).await.unwrap();
            assert!(output.code == Some(1) && output.stderr.contains("recursion does not end"), "{args:?}: {output:?}");
        }
        client.batch_execute("DELETE FROM edges WHERE src = 2").await.unwrap();
        cli(&daemon, &["wait"]).await.unwrap();
        cli(&daemon, &["stream", "rebuild", "ways"]).await.unwrap().ok().unwrap();
        client.batch_execute("INSERT INTO edges VALUES (2, 5, 1)").await.unwrap();
        assert_exact(&cluster, &daemon, &[("ways", ways), others[0], others[1]]).await.unwrap();
        let shown = cli(&daemon, &["stream", "explain", "ways"]).await.unwrap().ok().unwrap().stdout;
        for words in ["Recursive union all", "Working table", "level by level", "does not end"] {
            assert!(shown.contains(words), "{shown}");
        }
        let computed = "WITH RECURSIVE r AS (SELECT src, dst, ARRAY[src] AS path FROM edges UNION ALL
                            SELECT r.src, e.dst, r.path || e.src FROM r JOIN edges e ON e.src = r.dst WHERE e.src <> ALL (r.path))
                        SELECT src, dst, path FROM r";
        let dry = ["stream", "create", "computed", "--query", computed, "--dry-run"];
        let shown = cli(&daemon, &dry).await.unwrap().ok().unwrap().stdout;
        assert!(shown.contains("in each step of its recursion"), "{shown}");
    }
}
