//! Rows that a query's conditions never let through are not kept, and the answer is the same.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::{Cluster, Daemon, DaemonOptions, Kind, TableKind, TableSpec, assert_exact, cli, kinds, seed};
use tributary_tests::create;
use tributary_tests::shards::{Shards, counter};

const PARCELS: TableSpec<'static> = TableSpec {
    name: "parcels",
    columns: "depot int NOT NULL, id int NOT NULL, state int NOT NULL, weight numeric(8,2), sent timestamptz, note varchar(20)",
    primary_key: "depot, id",
    kind: TableKind::Distributed("depot"),
    colocate_with: None,
};

/// No value that they read can lie outside its row. The first keeps some rows; those of the second and third are among them; the
/// fourth needs others, and keeps all; the fifth finds those. Then only the second, which holds rows of its source, needs that with
/// some rows.
const STREAMS: [(&str, &str); 5] = [
    ("lost", "SELECT depot, id, weight FROM parcels WHERE state = 3 AND depot < 90"),
    (
        "heaviest",
        "SELECT DISTINCT ON (depot) depot, id, weight FROM parcels WHERE state = 3 AND depot < 90 ORDER BY depot, weight DESC, id",
    ),
    ("heavy", "SELECT depot, count(*) AS n FROM parcels WHERE state = 3 AND depot < 90 AND weight > 5 GROUP BY depot"),
    ("late", "SELECT depot, id FROM parcels WHERE sent < '2026-03-01Z' AND state <> 3"),
    ("light", "SELECT state, sum(weight) AS weight FROM parcels WHERE weight < 2 GROUP BY state"),
];
const READ: &str = "tributary_rows_read_again_total";
const DIFFERING: &str = "tributary_rows_differing_total";
const SOME: &str = "rows that pass its conditions";

/// How the daemon keeps the rows of `parcels` for a stream table.
async fn kept(daemon: &Daemon, table: &str) -> String {
    let text = cli(daemon, &["stream", "explain", table, "--json"]).await.unwrap().ok().unwrap().stdout;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let operators = json["operators"].as_array().unwrap();
    let source = operators.iter().find(|o| o["operator"] == "source").unwrap();
    source["state"].as_str().unwrap().to_owned()
}

/// Rows come, go, and change the columns that decide whether they are kept, their keys too. `next` is the next new row's
/// number.
async fn write(cluster: &Cluster, random: &mut StdRng, next: &mut i32, transactions: usize) {
    let client = cluster.client().await.unwrap();
    for _ in 0..transactions {
        let mut sql = "BEGIN;".to_owned();
        for _ in 0..random.random_range(1..8) {
            let (depot, id) = (random.random_range(0..100), random.random_range(0..*next));
            let (state, day) = (random.random_range(0..5), random.random_range(1..150));
            let (weight, sent) = (f64::from(day) / 8.0, format!("timestamptz '2026-01-01Z' + interval '{day} days'"));
            sql.push_str(&match random.random_range(0..8) {
                0 => format!("DELETE FROM parcels WHERE id = {id};"),
                1 => format!("UPDATE parcels SET weight = NULL WHERE id = {id};"),
                2 => format!("UPDATE parcels SET id = id + 1000000 WHERE id = {id};"),
                3 | 4 => {
                    format!("UPDATE parcels SET state = {state}, weight = {weight}, sent = {sent} WHERE id = {id};")
                }
                _ => {
                    *next += 1;
                    format!("INSERT INTO parcels VALUES ({depot}, {next}, {state}, {weight}, {sent}, 'note');")
                }
            });
        }
        sql.push_str("COMMIT");
        client.batch_execute(&sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_never_let_through_are_not_kept_and_the_answers_are_exact() {
    for kind in kinds() {
        let seed = seed();
        let mut random = StdRng::seed_from_u64(seed);
        let mut next = 1;
        let cluster = Cluster::start(kind).await.unwrap();
        cluster.create_table(&PARCELS).await.unwrap();
        write(&cluster, &mut random, &mut next, 200).await;
        let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        for at in 0..STREAMS.len() {
            create(&daemon, &STREAMS[at..=at]).await.unwrap();
            write(&cluster, &mut random, &mut next, 60).await;
            assert_exact(&cluster, &daemon, &STREAMS[..=at]).await.unwrap();
            for (i, (table, _)) in STREAMS[..=at].iter().enumerate() {
                let wanted = if at < 3 || i == 1 { SOME } else { "all rows" };
                assert_eq!(kept(&daemon, table).await, wanted, "{table}, of {at}");
            }
        }
        daemon.kill9().await.unwrap();
        write(&cluster, &mut random, &mut next, 60).await;
        daemon.start().await.unwrap();
        if kind == Kind::Citus {
            let shards = Shards::of(&cluster, "parcels").await.unwrap();
            for mode in ["force_logical", "block_writes"] {
                shards.move_one(&mut random, mode).await.unwrap();
                write(&cluster, &mut random, &mut next, 30).await;
            }
        }
        assert_exact(&cluster, &daemon, &STREAMS).await.unwrap();
        // What is read again is compared with what was kept: nothing is missing, and nothing is more.
        let counts = async || (counter(&daemon, READ).await.unwrap(), counter(&daemon, DIFFERING).await.unwrap());
        let (read, differing) = counts().await;
        for (table, _) in STREAMS {
            cli(&daemon, &["stream", "rebuild", table, "--reconcile"]).await.unwrap().ok().unwrap();
        }
        let (read_now, differing_now) = counts().await;
        assert!(read_now > read, "{kind:?}: {read} rows were read again, then {read_now}");
        assert_eq!(differing_now, differing, "seed {seed}, {kind:?}: rows that differ");
        cluster.run("TRUNCATE parcels").await.unwrap();
        write(&cluster, &mut random, &mut next, 60).await;
        assert_exact(&cluster, &daemon, &STREAMS).await.unwrap();
        let verified = cli(&daemon, &["stream", "verify"]).await.unwrap().ok().unwrap().stdout;
        assert_eq!(verified.matches("is exact").count(), STREAMS.len(), "{verified}");
    }
}

/// A value that an update leaves alone may not be told; where that can be, every row is kept.
#[tokio::test(flavor = "multi_thread")]
async fn tables_with_values_outside_their_rows_are_kept_whole() {
    for kind in kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        let pages = TableSpec {
            name: "pages",
            columns: "id int NOT NULL, state int NOT NULL, body text",
            primary_key: "id",
            kind: TableKind::Distributed("id"),
            colocate_with: None,
        };
        cluster.create_table(&pages).await.unwrap();
        // Too long for its row, and not to be made shorter.
        let body = "(SELECT string_agg(md5((i * 1000 + j)::text), '') FROM generate_series(1, 200) j)";
        cluster.run(&format!("INSERT INTO pages SELECT i, i % 2, {body} FROM generate_series(1, 40) i")).await.unwrap();
        let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        let streams = [
            ("shown", "SELECT id, md5(body) AS body FROM pages WHERE state = 1"),
            ("hidden", "SELECT count(*) AS n FROM pages WHERE state = 0"),
        ];
        create(&daemon, &streams).await.unwrap();
        assert_eq!(kept(&daemon, "shown").await, "all rows");
        cluster.run("UPDATE pages SET state = 1 - state").await.unwrap();
        assert_exact(&cluster, &daemon, &streams).await.unwrap();
    }
}
