//! A row over which a query cannot be computed stops that stream table alone, at its last exact cut, with the row's key and the error
//! in `status`; it goes on by itself once the row is repaired, also by a daemon that was started since, or the query altered.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use testkit::{Cluster, Daemon, DaemonOptions, Kind, TableKind, TableSpec, assert_exact, citus_available, cli};
use tributary_tests::create;

/// A stream table, and what `status` says once the bad rows are there.
type Failing = (&'static str, &'static str, &'static [&'static str]);

const ZERO: &str = "division by zero";

/// Every place in which an expression can stand, and every kind of error that it can raise.
const FAILING: &[Failing] = &[
    ("projected", "SELECT id, 100 / divisor AS share FROM readings", &[ZERO, "readings.id = 1000|readings.id = 1001"]),
    ("filtered", "SELECT id FROM readings WHERE 100 / divisor > 10", &[ZERO, "readings.id = 1000|readings.id = 1001"]),
    (
        "summed",
        "SELECT sensor, sum(100 / divisor) AS s FROM readings GROUP BY sensor",
        &[ZERO, "readings.id = 1000|readings.id = 1001"],
    ),
    (
        "grouped",
        "SELECT 100 / divisor AS share, count(*) AS n FROM readings GROUP BY 100 / divisor",
        &[ZERO, "1000|1001"],
    ),
    (
        "kept_groups",
        "SELECT sensor, count(*) AS n FROM readings GROUP BY sensor HAVING 100 / min(divisor) > 0",
        &[ZERO],
    ),
    (
        "joined",
        "SELECT r.id, f.factor FROM readings r JOIN factors f ON f.sensor = r.sensor AND 10 / r.divisor < f.factor",
        &[ZERO, "readings.id = 1000|readings.id = 1001"],
    ),
    (
        "joined_by_key",
        "SELECT r.id, f.factor FROM readings r JOIN factors f ON f.sensor = 12 / r.divisor",
        &[ZERO, "readings.id = 1000|readings.id = 1001"],
    ),
    (
        "left_joined",
        "SELECT r.id, f.factor FROM readings r LEFT JOIN factors f ON f.sensor = r.sensor AND f.factor / r.divisor > 1",
        &[ZERO, "readings.id = 1000|readings.id = 1001"],
    ),
    (
        "existing",
        "SELECT f.sensor FROM factors f WHERE EXISTS (SELECT FROM readings r WHERE r.sensor = f.sensor AND f.factor / r.divisor > 1)",
        &[ZERO],
    ),
    ("windowed", "SELECT id, sum(10 / divisor) OVER (PARTITION BY sensor) AS s FROM readings", &[ZERO, "1000|1001"]),
    ("top", "SELECT id, 10 / divisor AS q FROM readings ORDER BY 10 / divisor DESC, id LIMIT 3", &[ZERO, "1000|1001"]),
    ("united", "SELECT 10 / divisor AS q FROM readings UNION SELECT factor FROM factors", &[ZERO, "1000|1001"]),
    (
        "sum_of_spans",
        "SELECT sensor, sum(span) AS s FROM readings GROUP BY sensor",
        &["interval out of range", "group 77"],
    ),
    ("sum_of_floats", "SELECT sensor, sum(large) AS s FROM readings GROUP BY sensor", &["out of range", "group 77"]),
    ("sum_cast", "SELECT sensor, sum(number)::int AS s FROM readings GROUP BY sensor", &["integer out of range"]),
    (
        "bad_cast",
        "SELECT id, note::int AS n FROM readings",
        &["invalid input syntax for type integer", "readings.id = 1000"],
    ),
    (
        "bad_date",
        "SELECT id, ('2024-01-' || note)::date AS d FROM readings",
        &["invalid input syntax for type date", "readings.id = 1000"],
    ),
    (
        "two_rows",
        "SELECT f.sensor, (SELECT r.id FROM readings r WHERE r.sensor = f.sensor AND r.divisor = 0) AS id FROM factors f",
        &["more than one row returned by a subquery"],
    ),
    (
        "by_postgres",
        "SELECT sensor, array_agg(100 / divisor ORDER BY id) AS l FROM readings GROUP BY sensor",
        &[ZERO, "1000|1001"],
    ),
    (
        "nested",
        "SELECT share, count(*) AS n FROM projected GROUP BY share",
        &[ZERO, "readings.id = 1000|readings.id = 1001"],
    ),
];

const OTHERS: &[(&str, &str)] =
    &[("others", "SELECT sensor, count(*) AS n, max(divisor) AS d FROM readings GROUP BY sensor")];

/// Rows that every one of them fails over.
const BAD: &str = "INSERT INTO readings VALUES
    (1000, 77, 0, 'x', '2147483647 months', 1e308, 2147483647), (1001, 77, 0, '7', '1 month', 1.1e308, 1), (1002, 5, 2, '3', '1 day', 1, 1)";
const REPAIRS: &[&str] = &[
    "UPDATE readings SET divisor = 4, note = '4', span = '1 day', large = 5, number = 5 WHERE id = 1000",
    "DELETE FROM readings WHERE id = 1001",
];

async fn started() -> (Cluster, Daemon) {
    let cluster = Cluster::start(if citus_available() { Kind::Citus } else { Kind::Fdw }).await.unwrap();
    let table = |name, columns, primary_key, kind| TableSpec { name, columns, primary_key, kind, colocate_with: None };
    let columns = "id int NOT NULL, sensor int, divisor int, note text, span interval, large float8, number int";
    cluster.create_table(&table("readings", columns, "id", TableKind::Distributed("id"))).await.unwrap();
    let columns = "sensor int NOT NULL, factor int";
    cluster.create_table(&table("factors", columns, "sensor", TableKind::Reference)).await.unwrap();
    cluster.run("INSERT INTO factors SELECT i, i * 3 FROM generate_series(1, 12) i").await.unwrap();
    cluster.run("INSERT INTO factors VALUES (77, 7)").await.unwrap();
    let rows = "INSERT INTO readings SELECT i, i % 6, 1 + i % 4, (1 + i % 9)::text, i * interval '1 day', i / 4.0, i FROM generate_series(1, 40) i";
    cluster.run(rows).await.unwrap();
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    (cluster, daemon)
}

fn tables() -> Vec<(&'static str, &'static str)> {
    FAILING.iter().map(|(name, query, _)| (*name, *query)).collect()
}

/// As the oracle reads them: a stream table by its query.
fn plain() -> Vec<(&'static str, &'static str)> {
    tables().into_iter().filter(|(name, _)| *name != "nested").collect()
}

async fn described(daemon: &Daemon, name: &str) -> String {
    cli(daemon, &["stream", "describe", name]).await.unwrap().stdout
}

/// What everyone can read of a stream table: its rows, its state and why.
async fn contents(cluster: &Cluster) -> Vec<String> {
    let client = cluster.client().await.unwrap();
    let mut all = Vec::new();
    for (name, _) in tables() {
        let sql = format!("SELECT coalesce(string_agg(t::text, ' ' ORDER BY t::text), '') FROM {name} t");
        all.push(client.query_one(&sql, &[]).await.unwrap().get(0));
    }
    all
}

async fn all_failed(cluster: &Cluster, daemon: &Daemon, when: &str) {
    let client = cluster.client().await.unwrap();
    let status = cli(daemon, &["status"]).await.unwrap().ok().unwrap().stdout;
    for (name, _, words) in FAILING {
        let start = format!("public.{name} ");
        let line = status.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("{when}: {name} is not in {status}")).to_owned();
        let said = described(daemon, name).await;
        let sql = "SELECT state || ' ' || coalesce(reason, '') FROM tributary.stream_tables WHERE table_name = $1";
        let row: String = client.query_one(sql, &[name]).await.unwrap().get(0);
        for text in [&said, &row, &line] {
            assert!(text.contains("failed"), "{when}: {name}: {text}");
            for word in *words {
                // Of several rows that fail, the first that is met: they come from several nodes.
                assert!(word.split('|').any(|word| text.contains(word)), "{when}: {name}: '{word}' is not in: {text}");
            }
        }
    }
}

/// Nobody does anything for it; `wait --stream` refuses for one that is stopped.
async fn follow_again(daemon: &Daemon, when: &str) {
    let until = Instant::now() + Duration::from_secs(90);
    for (name, _) in tables() {
        while cli(daemon, &["wait", "--stream", name]).await.unwrap().code != Some(0) {
            assert!(Instant::now() < until, "{when}: {}", described(daemon, name).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_in_every_place_stops_its_stream_table_alone_until_its_row_is_repaired() {
    let (cluster, mut daemon) = started().await;
    create(&daemon, &tables()).await.unwrap();
    create(&daemon, OTHERS).await.unwrap();
    assert_exact(&cluster, &daemon, &plain()).await.unwrap();
    for round in 0..3 {
        let before = contents(&cluster).await;
        cluster.run(BAD).await.unwrap();
        assert_exact(&cluster, &daemon, OTHERS).await.unwrap();
        all_failed(&cluster, &daemon, "at first").await;
        // The others go on; these stay at their last exact cut.
        cluster.run("UPDATE readings SET divisor = divisor + 1 WHERE id < 20").await.unwrap();
        match round {
            0 => {}
            1 => daemon.restart().await.unwrap(),
            _ => daemon.kill9().await.unwrap(),
        }
        if round < 2 {
            assert_exact(&cluster, &daemon, OTHERS).await.unwrap();
            all_failed(&cluster, &daemon, "while others go on").await;
            assert_eq!(contents(&cluster).await, before, "round {round}");
        }
        for repair in REPAIRS {
            cluster.run(repair).await.unwrap();
        }
        if round == 2 {
            // Repaired while nobody looks.
            assert_eq!(contents(&cluster).await, before, "round {round}");
            daemon.start().await.unwrap();
        }
        follow_again(&daemon, &format!("round {round}")).await;
        cluster.run("UPDATE readings SET sensor = sensor + 1, large = 2 * large WHERE id % 7 = 3").await.unwrap();
        assert_exact(&cluster, &daemon, &plain()).await.unwrap();
        assert_exact(&cluster, &daemon, OTHERS).await.unwrap();
        let verified = cli(&daemon, &["stream", "verify", "nested"]).await.unwrap();
        assert_eq!(verified.code, Some(0), "{verified:?}");
        cluster.run("DELETE FROM readings WHERE id >= 1000").await.unwrap();
        assert_exact(&cluster, &daemon, &plain()).await.unwrap();
    }
    daemon.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_altered_around_the_bad_row_goes_on() {
    let (cluster, mut daemon) = started().await;
    let altered = ("share", "SELECT id, 100 / nullif(divisor, 0) AS share FROM readings");
    create(&daemon, &[("share", "SELECT id, 100 / divisor AS share FROM readings")]).await.unwrap();
    create(&daemon, OTHERS).await.unwrap();
    for restarted in [false, true] {
        cluster.run(BAD).await.unwrap();
        assert_exact(&cluster, &daemon, OTHERS).await.unwrap();
        assert!(described(&daemon, "share").await.contains("failed"));
        if restarted {
            daemon.restart().await.unwrap();
        }
        // Another query that fails over it, too, changes nothing.
        let worse = ["stream", "alter", "share", "--query", "SELECT id, 200 / divisor AS share FROM readings"];
        assert_eq!(cli(&daemon, &worse).await.unwrap().code, Some(1));
        assert!(described(&daemon, "share").await.contains("failed"));
        cli(&daemon, &["stream", "alter", "share", "--query", altered.1]).await.unwrap().ok().unwrap();
        assert_exact(&cluster, &daemon, &[altered]).await.unwrap();
        cluster.run("UPDATE readings SET divisor = 5 WHERE id IN (3, 1001)").await.unwrap();
        assert_exact(&cluster, &daemon, &[altered]).await.unwrap();
        cluster.run("DELETE FROM readings WHERE id >= 1000").await.unwrap();
        let back = "SELECT id, 100 / divisor AS share FROM readings";
        cli(&daemon, &["stream", "alter", "share", "--query", back]).await.unwrap().ok().unwrap();
        assert_exact(&cluster, &daemon, &[("share", back)]).await.unwrap();
    }
    daemon.stop().await.unwrap();
}
