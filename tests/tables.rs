//! Tables that are altered, emptied, dropped, made again or partitioned anew: each stream table goes on exactly, or stops at its
//! last exact cut with the reason.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Cluster, ClusterOptions, Daemon, DaemonOptions, Kind, assert_exact, citus_available, cli, kinds};
use tributary_tests::{create, in_state};

async fn run_all(cluster: &Cluster, statements: &[&str]) {
    for sql in statements {
        cluster.run(sql).await.unwrap();
    }
}

const ITEMS: &[&str] = &[
    "CREATE TABLE items (id int PRIMARY KEY, kind int, price numeric(10,2), note text)",
    "SELECT create_distributed_table('items', 'id')",
    "INSERT INTO items SELECT i, i % 5, i / 4.0, 'note ' || i FROM generate_series(1, 200) i",
];

const NARROW: (&str, &str) = ("narrow", "SELECT kind, count(*) AS n FROM items GROUP BY kind");
const WIDE: (&str, &str) = ("wide", "SELECT kind, sum(price) AS total, max(note) AS note FROM items GROUP BY kind");

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_nobody_uses_come_and_go_and_used_ones_stop_only_who_uses_them() {
    if !citus_available() {
        return;
    }
    let cluster = Cluster::start(Kind::Citus).await.unwrap();
    run_all(&cluster, ITEMS).await;
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    // The narrow one is kept from the wide one's source.
    create(&daemon, &[WIDE, NARROW]).await.unwrap();
    run_all(
        &cluster,
        &[
            "ALTER TABLE items ADD COLUMN extra int DEFAULT 7",
            "UPDATE items SET kind = kind + 1, extra = 8 WHERE id < 50",
            "ALTER TABLE items DROP COLUMN extra",
            "UPDATE items SET kind = kind + 1 WHERE id < 20",
        ],
    )
    .await;
    assert_exact(&cluster, &daemon, &[WIDE, NARROW]).await.unwrap();
    run_all(&cluster, &["ALTER TABLE items DROP COLUMN note", "UPDATE items SET kind = kind + 1 WHERE id < 90"]).await;
    let said = in_state(&daemon, "wide", "failed").await.unwrap();
    assert!(said.contains("note"), "{said}");
    in_state(&daemon, "narrow", "active").await.unwrap();
    run_all(&cluster, &["UPDATE items SET kind = 0 WHERE id < 30", "DELETE FROM items WHERE id > 150"]).await;
    assert_exact(&cluster, &daemon, &[NARROW]).await.unwrap();
    run_all(&cluster, &["ALTER TABLE items ADD COLUMN note text", "UPDATE items SET note = 'again' WHERE id < 9"])
        .await;
    cli(&daemon, &["stream", "rebuild", "wide"]).await.unwrap().ok().unwrap();
    assert_exact(&cluster, &daemon, &[WIDE, NARROW]).await.unwrap();
    // Every shard is followed, whether or not it was written to since the column came.
    run_all(&cluster, &["UPDATE items SET note = repeat('x', id % 7), price = price + 1"]).await;
    assert_exact(&cluster, &daemon, &[WIDE, NARROW]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_column_that_changes_its_type_stops_who_uses_it_also_when_nothing_is_written() {
    if !citus_available() {
        return;
    }
    let cluster = Cluster::start(Kind::Citus).await.unwrap();
    run_all(&cluster, ITEMS).await;
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &[NARROW, WIDE]).await.unwrap();
    run_all(&cluster, &["ALTER TABLE items ALTER COLUMN price TYPE numeric(10,1)"]).await;
    let said = in_state(&daemon, "wide", "failed").await.unwrap();
    assert!(said.contains("price") || said.contains("columns"), "{said}");
    // They share what is kept of the table.
    in_state(&daemon, "narrow", "active").await.unwrap();
    run_all(&cluster, &["UPDATE items SET kind = 3 WHERE id < 30"]).await;
    assert_exact(&cluster, &daemon, &[NARROW]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_truncated_and_distributed_stay_exact_and_a_dropped_one_stops_who_reads_it() {
    if !citus_available() {
        return;
    }
    let cluster = Cluster::start(Kind::Citus).await.unwrap();
    run_all(&cluster, ITEMS).await;
    run_all(
        &cluster,
        &[
            "CREATE TABLE plain (id int PRIMARY KEY, kind int)",
            "INSERT INTO plain SELECT i, i % 3 FROM generate_series(1, 50) i",
        ],
    )
    .await;
    let plain = ("plains", "SELECT kind, count(*) AS n FROM plain GROUP BY kind");
    let joined =
        ("joined", "SELECT p.kind, sum(i.price) AS total FROM items i JOIN plain p ON p.id = i.id GROUP BY p.kind");
    let all = [NARROW, WIDE, plain, joined];
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &all).await.unwrap();
    run_all(&cluster, &["TRUNCATE items", ITEMS[2], "TRUNCATE plain", "INSERT INTO plain VALUES (1, 1), (2, 2)"]).await;
    assert_exact(&cluster, &daemon, &all).await.unwrap();
    // A table's life: local, reference, local, distributed, local, under the same name.
    for step in [
        "SELECT create_reference_table('plain')",
        "SELECT undistribute_table('plain')",
        "SELECT create_distributed_table('plain', 'id')",
        "SELECT undistribute_table('plain')",
    ] {
        run_all(
            &cluster,
            &[step, "INSERT INTO plain SELECT max(id) + 1, 1 FROM plain", "UPDATE plain SET kind = kind + 1"],
        )
        .await;
        assert_exact(&cluster, &daemon, &all).await.unwrap_or_else(|e| panic!("{step}: {e:?}"));
    }
    run_all(&cluster, &["DROP TABLE plain"]).await;
    let said = in_state(&daemon, "plains", "failed").await.unwrap();
    assert!(said.contains("does not exist"), "{said}");
    assert_exact(&cluster, &daemon, &[NARROW, WIDE]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_dropped_and_made_again_under_its_name_is_read_anew() {
    let plain = ("plains", "SELECT kind, count(*) AS n FROM plain GROUP BY kind");
    let rows = ("plain_rows", "SELECT id, kind FROM plain");
    let made = "CREATE TABLE plain (id int PRIMARY KEY, kind int)";
    for kind in kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        run_all(&cluster, &[made, "INSERT INTO plain SELECT i, i % 3 FROM generate_series(1, 50) i"]).await;
        let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, &[plain, rows]).await.unwrap();
        for round in 1..=6 {
            let change = format!("UPDATE plain SET kind = {round} WHERE id % 7 = 2");
            let fill = format!("INSERT INTO plain SELECT i, i % 4 FROM generate_series({round}, 80) i");
            // The old table's last changes, the new one and its first are read in one go after a restart.
            if round % 3 == 0 {
                daemon.kill9().await.unwrap();
            }
            // In one transaction: whoever looks in between two finds no table, and stops who reads it.
            run_all(&cluster, &[&change, &format!("DROP TABLE plain; {made}"), &fill]).await;
            if kind == Kind::Citus && round % 2 == 0 {
                run_all(&cluster, &["SELECT create_distributed_table('plain', 'id', shard_count => 4)"]).await;
            }
            if round % 3 == 0 {
                daemon.start().await.unwrap();
            }
            let at = |e| panic!("{kind:?} {round}: {e:?}");
            assert_exact(&cluster, &daemon, &[plain, rows]).await.unwrap_or_else(at);
            run_all(&cluster, &["UPDATE plain SET kind = 9 WHERE id < 10", "DELETE FROM plain WHERE id = 40"]).await;
            assert_exact(&cluster, &daemon, &[plain, rows]).await.unwrap_or_else(at);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_a_distributed_table_are_attached_and_detached() {
    if !citus_available() {
        return;
    }
    let cluster = Cluster::start_with(ClusterOptions::new(Kind::Citus)).await.unwrap();
    run_all(
        &cluster,
        &[
            "CREATE TABLE days (id int, day date, n int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
            "CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2025-01-01') TO ('2025-02-01')",
            "SELECT create_distributed_table('days', 'id')",
            "INSERT INTO days SELECT i, '2025-01-01'::date + i % 30, i FROM generate_series(1, 100) i",
        ],
    )
    .await;
    let table = ("per_day", "SELECT day, count(*) AS c, sum(n) AS n FROM days GROUP BY day");
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &[table]).await.unwrap();
    for (step, insert) in [
        (
            "CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM ('2025-02-01') TO ('2025-03-01')",
            "INSERT INTO days SELECT i, '2025-02-01'::date + i % 25, i FROM generate_series(1, 100) i",
        ),
        ("ALTER TABLE days DETACH PARTITION days_1", "UPDATE days SET n = n + 1 WHERE id < 30"),
        (
            "ALTER TABLE days ATTACH PARTITION days_1 FOR VALUES FROM ('2025-01-01') TO ('2025-02-01')",
            "DELETE FROM days WHERE id > 90",
        ),
    ] {
        run_all(&cluster, &[step, insert]).await;
        assert_exact(&cluster, &daemon, &[table]).await.unwrap_or_else(|e| panic!("{step}: {e:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_again_on_request_heals_what_no_stream_told_of() {
    if !citus_available() {
        return;
    }
    let cluster = Cluster::start(Kind::Citus).await.unwrap();
    run_all(&cluster, ITEMS).await;
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &[NARROW, WIDE]).await.unwrap();
    // Somebody takes a shard out of the publication, writes to it, and puts it back.
    let shard = "SELECT 'items_' || min(shardid) FROM pg_dist_shard JOIN pg_dist_placement USING (shardid)
                 WHERE logicalrelid = 'items'::regclass AND groupid = 1";
    let shard: String = cluster.client().await.unwrap().query_one(shard, &[]).await.unwrap().get(0);
    let worker = cluster.client_of(1).await.unwrap();
    let behind = format!(
        "SET citus.enable_ddl_propagation = off; SET citus.override_table_visibility = off;
         ALTER PUBLICATION tributary_default DROP TABLE {shard};
         DELETE FROM {shard} WHERE id % 2 = 0; UPDATE {shard} SET kind = 77, note = 'unseen';
         ALTER PUBLICATION tributary_default ADD TABLE {shard}"
    );
    worker.batch_execute(&behind).await.unwrap();
    let seen = cli(&daemon, &["stream", "verify"]).await.unwrap();
    assert_eq!(seen.code, Some(1), "{seen:?}");
    cli(&daemon, &["stream", "verify", "narrow", "--repair"]).await.unwrap().ok().unwrap();
    let healed = cli(&daemon, &["stream", "rebuild", "wide", "--reconcile"]).await.unwrap().ok().unwrap();
    assert!(healed.stderr.contains("reading") && healed.stderr.contains(" rows"), "no progress: {healed:?}");
    assert_exact(&cluster, &daemon, &[NARROW, WIDE]).await.unwrap();
    run_all(&cluster, &["UPDATE items SET kind = 5 WHERE id < 60"]).await;
    assert_exact(&cluster, &daemon, &[NARROW, WIDE]).await.unwrap();
}

const TENANTS: (&str, &str) = (
    "tenants",
    "SELECT 1 AS tenant, kind, count(*) AS n FROM one.notes GROUP BY kind UNION ALL SELECT 2, kind, count(*) FROM two.notes GROUP BY kind",
);
const SAME: (&str, &str) =
    ("same", "SELECT a.id, a.kind, b.kind AS other FROM one.notes a JOIN two.notes b USING (id)");

/// Schema-based sharding: each schema's tables are one shard together.
#[tokio::test(flavor = "multi_thread")]
async fn schemas_that_are_distributed_moved_and_undistributed_stay_exact() {
    if !citus_available() {
        return;
    }
    let cluster = Cluster::start(Kind::Citus).await.unwrap();
    for schema in ["one", "two"] {
        let made = format!("SET citus.enable_schema_based_sharding TO on; CREATE SCHEMA {schema}");
        let table = format!("CREATE TABLE {schema}.notes (id int PRIMARY KEY, kind int)");
        let rows = format!("INSERT INTO {schema}.notes SELECT i, i % 5 FROM generate_series(1, 200) i");
        run_all(&cluster, &[&made, &table, &rows]).await;
    }
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &[TENANTS, SAME]).await.unwrap();
    let to_the_other = |mode: &str| {
        format!(
            "SELECT citus_schema_move('one', nodename, nodeport, '{mode}') FROM pg_dist_node WHERE groupid IN (1, 2) AND groupid <>
             (SELECT groupid FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) WHERE logicalrelid = 'one.notes'::regclass)"
        )
    };
    for (round, step) in [
        to_the_other("block_writes"),
        to_the_other("force_logical"),
        "SELECT citus_schema_undistribute('one')".into(),
        "SELECT citus_schema_distribute('one')".into(),
        to_the_other("force_logical"),
    ]
    .iter()
    .enumerate()
    {
        let writes = [
            format!("UPDATE one.notes SET kind = kind + 1 WHERE id % 7 = {round}"),
            format!(
                "INSERT INTO two.notes VALUES (1000 + {round}, {round}); DELETE FROM one.notes WHERE id = 30 + {round}"
            ),
        ];
        for sql in [&writes[0], step, &writes[1]] {
            cluster.run(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        }
        assert_exact(&cluster, &daemon, &[TENANTS]).await.unwrap_or_else(|e| panic!("{step}: {e:?}"));
        // A join over two schemas is more than Citus answers: it is computed over copies.
        cli(&daemon, &["stream", "verify"]).await.unwrap().ok().unwrap();
    }
}

const TYPED: [(&str, &str); 6] = [
    ("moods", "SELECT mood, count(*) AS n, min(mood) AS least, max((at).x) AS x FROM people GROUP BY mood"),
    ("codes", "SELECT DISTINCT code, mood FROM people"),
    (
        "alike",
        "SELECT a.id, b.id AS other FROM people a JOIN people b ON b.mood = a.mood AND b.code = a.code AND b.id > a.id",
    ),
    ("words", "SELECT word, count(*) AS n, max(word) AS last FROM people GROUP BY word"),
    ("happiest", "SELECT id, mood, moods FROM people ORDER BY mood DESC, id LIMIT 5"),
    ("places", "SELECT id, (at).x AS x, at, moods FROM people WHERE mood > 'sad'"),
];

/// Enums, domains, composite types and collations that the daemon did not know when it started.
#[tokio::test(flavor = "multi_thread")]
async fn types_made_while_the_daemon_runs_are_used_at_once_and_known_after_a_restart() {
    for kind in testkit::kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        let table = |name, columns| testkit::TableSpec {
            name,
            columns,
            primary_key: "id",
            kind: testkit::TableKind::Distributed("id"),
            colocate_with: None,
        };
        // By its partitions the daemon finds out what kind of cluster it is.
        cluster.create_table(&table("older", "id int")).await.unwrap();
        let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        let types =
            "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE DOMAIN code AS varchar(6) CHECK (VALUE <> 'bad');
                     CREATE TYPE point2 AS (x int, y int); CREATE COLLATION plain (provider = libc, locale = 'C')";
        cluster.create_type(types).await.unwrap();
        let spec = table("people", "id int, mood mood, code code, at point2, moods mood[], word text COLLATE plain");
        cluster.create_table(&spec).await.unwrap();
        let moods = "('{sad,ok,happy}'::mood[])[1 + i % 3]";
        let insert = |from: i32, to: i32| {
            format!(
                "INSERT INTO people SELECT i, {moods}, 'c' || i % 4, ROW(i % 2, i)::point2, ARRAY[{moods}, 'ok'], 'w' || i % 3
                 FROM generate_series({from}, {to}) i"
            )
        };
        run_all(&cluster, &[&insert(1, 30)]).await;
        for (name, query) in TYPED {
            create(&daemon, &[(name, query)]).await.unwrap_or_else(|e| panic!("{kind:?}: {name}: {e:#}"));
        }
        assert_exact(&cluster, &daemon, &TYPED).await.unwrap();
        let changes = [
            "UPDATE people SET mood = 'happy', moods = '{happy,sad}' WHERE id % 5 = 1",
            "DELETE FROM people WHERE id = 7",
        ];
        run_all(&cluster, &changes).await;
        run_all(&cluster, &[&insert(31, 50)]).await;
        assert_exact(&cluster, &daemon, &TYPED).await.unwrap();
        daemon.restart().await.unwrap();
        run_all(&cluster, &["UPDATE people SET mood = 'sad', code = 'c9', word = 'z' WHERE id % 4 = 1"]).await;
        assert_exact(&cluster, &daemon, &TYPED).await.unwrap_or_else(|e| panic!("{kind:?}: after a restart: {e:#}"));
        daemon.stop().await.unwrap();
    }
}
