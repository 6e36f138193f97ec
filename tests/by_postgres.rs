//! What PostgreSQL computes (aggregates, windows, set-returning functions, whole rows) is exact, too; and a row that it cannot
//! compute stops one stream table until it is repaired.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use testkit::{
    Cluster, Daemon, DaemonOptions, Kind, Outcome, Shop, TableKind, TableSpec, assert_exact, citus_available, cli,
    kinds, seed,
};
use tributary_tests::{create, long, shop};

/// What the queries call: made by a user, on every node, as Citus does.
const FUNCTIONS: &[&str] = &[
    "CREATE FUNCTION longer(text, text) RETURNS text LANGUAGE sql IMMUTABLE
        AS 'SELECT CASE WHEN length($2) > length($1) OR $1 IS NULL THEN $2 ELSE $1 END'",
    "CREATE AGGREGATE longest(text) (SFUNC = longer, STYPE = text)",
    "CREATE FUNCTION steps(int) RETURNS SETOF int LANGUAGE sql IMMUTABLE AS 'SELECT n * n FROM generate_series(1, $1) n'",
];

/// Orders of different users can have the same number.
const QUERIES: &[(&str, &str)] = &[
    (
        "arrays_of_subqueries",
        "SELECT u.id, ARRAY(SELECT o.amount FROM orders o WHERE o.user_id = u.id ORDER BY o.id DESC LIMIT 3) AS last,
                ARRAY(SELECT DISTINCT o.status FROM orders o WHERE o.user_id = u.id ORDER BY 1) AS states
         FROM users u",
    ),
    (
        "texts_by_region",
        "SELECT region_id, string_agg(status, ',' ORDER BY id, user_id) AS states, count(*) AS n, sum(amount) AS total,
                array_agg(tags[1] ORDER BY amount DESC NULLS LAST, id, user_id) AS tags
         FROM orders GROUP BY region_id",
    ),
    (
        "documents",
        "SELECT status, jsonb_agg(attributes -> 'n' ORDER BY id, user_id) AS n, jsonb_object_agg(id, paid ORDER BY id, user_id) FILTER (WHERE amount > 500) AS paid
         FROM orders GROUP BY status",
    ),
    (
        "middle",
        "SELECT region_id, percentile_disc(0.5) WITHIN GROUP (ORDER BY amount) AS median, mode() WITHIN GROUP (ORDER BY status) AS usual,
                percentile_disc(ARRAY[0.25, 0.75]) WITHIN GROUP (ORDER BY placed_at) AS quarters, rank(100) WITHIN GROUP (ORDER BY amount) AS place
         FROM orders GROUP BY region_id",
    ),
    (
        "spread",
        "SELECT user_id % 7 AS k, stddev(amount) AS a, var_pop(user_id) AS b, bit_or(id) AS c, bit_and(region_id) AS d, variance(discount) AS e,
                stddev_pop(region_id) AS f
         FROM orders GROUP BY user_id % 7",
    ),
    (
        "all_at_once",
        "SELECT array_agg(DISTINCT status) AS states, max(token::text) AS token, count(DISTINCT attributes) AS documents FROM orders WHERE paid",
    ),
    ("of_users", "SELECT region_id, longest(status ORDER BY id, user_id) AS s, min(status) AS least FROM orders GROUP BY region_id"),
    ("of_copies", "SELECT kind, array_agg(size ORDER BY size) AS sizes, count(*) AS n FROM events GROUP BY kind"),
    (
        "running",
        "SELECT user_id, id, sum(amount) OVER w AS total, row_number() OVER w AS n, lag(status) OVER w AS before,
                rank() OVER (PARTITION BY region_id ORDER BY amount) AS place, count(*) OVER (PARTITION BY region_id) AS others
         FROM orders WINDOW w AS (PARTITION BY user_id ORDER BY placed_at, id)",
    ),
    (
        "latest",
        "SELECT user_id, id, status FROM (SELECT user_id, id, status, row_number() OVER (PARTITION BY user_id ORDER BY id DESC) AS n FROM orders) o
         WHERE n <= 2",
    ),
    (
        "ranked_groups",
        "SELECT region_id, count(*) AS n, rank() OVER (ORDER BY count(*) DESC) AS place, sum(sum(amount)) OVER (ORDER BY region_id) AS until
         FROM orders GROUP BY region_id",
    ),
    ("frames", "SELECT kind, size, count(*) OVER (PARTITION BY kind ORDER BY size RANGE BETWEEN 2 PRECEDING AND CURRENT ROW) AS near FROM events"),
    ("tags", "SELECT user_id, id, unnest(tags) AS tag, generate_series(1, 2) AS n FROM orders"),
    ("by_tag", "SELECT unnest(tags) AS tag, count(*) AS n, sum(amount) AS total FROM orders GROUP BY unnest(tags)"),
    ("keys", "SELECT user_id, id, (jsonb_each_text(attributes)).* FROM orders WHERE amount > 100"),
    ("tagged", "SELECT o.user_id, o.id, t.tag, t.n FROM orders o LEFT JOIN unnest(o.tags) WITH ORDINALITY t (tag, n) ON true"),
    (
        "attributes_joined",
        "SELECT o.id, a.key, r.name FROM orders o CROSS JOIN LATERAL jsonb_each(o.attributes) a JOIN regions r ON r.id = o.region_id
         WHERE a.value <> 'false'",
    ),
    ("stairs", "SELECT id, steps(line::int % 4) AS step FROM (SELECT order_id AS id, line FROM items WHERE qty > 2) i"),
    ("series", "SELECT n, count(o.id) AS orders FROM generate_series(0, 12) n JOIN orders o ON o.region_id = n GROUP BY n"),
    (
        "marked_up",
        "SELECT o.user_id, o.id, x.n, x.tag, x.size FROM orders o, XMLTABLE('/l/t' PASSING XMLELEMENT(NAME l,
             XMLELEMENT(NAME t, XMLATTRIBUTES(o.amount AS size), o.status), XMLELEMENT(NAME t, o.region_id))
             COLUMNS n FOR ORDINALITY, tag text PATH '.', size numeric PATH '@size' DEFAULT o.region_id) x",
    ),
    // A value of the row around, and the bytes by which it is told apart, are one column.
    (
        "around",
        "SELECT o.user_id, o.id, (SELECT o.tags AS t FROM regions r WHERE r.id > o.region_id ORDER BY t, r.id LIMIT 1) AS t FROM orders o
         WHERE o.tags <= ANY (SELECT o.tags AS t FROM regions r ORDER BY t LIMIT 1)",
    ),
    (
        "compared",
        "SELECT user_id, id, row_number() OVER (PARTITION BY user_id ORDER BY id) IN (SELECT line FROM items WHERE qty > 2) AS some FROM orders",
    ),
    (
        "perhaps_whole_rows",
        "SELECT u.id, to_jsonb(s) AS s, row_to_json(t)::text AS t FROM users u
         LEFT JOIN (SELECT user_id AS x, count(*) AS n, max(status) AS most FROM orders WHERE amount > 300 GROUP BY user_id) s ON s.x = u.id
         LEFT JOIN LATERAL (SELECT o.id, o.tags FROM orders o WHERE o.user_id = u.id ORDER BY o.id DESC LIMIT 1) t ON true",
    ),
    (
        "counted_to",
        "SELECT u.id, n, v.x FROM users u, generate_series(1, (SELECT count(*) FROM orders o WHERE o.user_id = u.id AND o.amount > 300)) n,
             LATERAL (VALUES (n), ((SELECT max(o.id) FROM orders o WHERE o.user_id = u.id))) v (x)",
    ),
    (
        "latest_tags",
        "SELECT DISTINCT ON (user_id) user_id, id, unnest(tags) AS tag, jsonb_path_query(attributes, '$.*', silent => true) AS value
         FROM orders ORDER BY user_id, id DESC",
    ),
    (
        "twice_in_sets",
        "SELECT region_id AS a, region_id AS b, 'all' AS what, count(*) AS n, array_agg(DISTINCT status) AS states
         FROM orders GROUP BY what, a, ROLLUP (b)",
    ),
    ("whole_rows", "SELECT id, to_jsonb(u) - 'score' AS document, u::text AS row FROM users u"),
    ("whole_rows_by_region", "SELECT region_id, jsonb_agg(u ORDER BY id) AS users FROM users u GROUP BY region_id"),
];

async fn started(kind: Kind, seed: u64) -> (Cluster, Shop, Daemon) {
    let (cluster, shop) = shop(kind, seed, 300).await.unwrap();
    for function in FUNCTIONS {
        cluster.run(function).await.unwrap();
    }
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    (cluster, shop, daemon)
}

/// One session computes for all stream tables of a database.
#[tokio::test(flavor = "multi_thread")]
async fn each_stream_table_is_computed_under_its_own_settings() {
    let query = "SELECT user_id, id, ('{NULL,' || status || '}')::text[] AS words, placed_at <@ '{[2024-01-01,2024-01-02)}'::tstzmultirange AS first,
            (id % 12 + 1 || '/02/2024')::date AS due FROM orders";
    let elsewhere = ["array_nulls=off", "TimeZone=Asia/Tokyo", "DateStyle=ISO, DMY"];
    let here = ["TimeZone=UTC", "DateStyle=ISO, MDY"];
    let tables: [(&str, &[&str]); 3] = [("here", &here), ("elsewhere", &elsewhere), ("here_again", &here)];
    for kind in kinds() {
        let (cluster, _, mut daemon) = started(kind, 7).await;
        for (name, settings) in tables {
            let mut args = vec!["stream", "create", name, "--query", query];
            settings.iter().for_each(|setting| args.extend(["--set", setting]));
            cli(&daemon, &args).await.unwrap().ok().unwrap();
        }
        for id in [990_001, 990_002] {
            let row = format!("({id}, 3, 4, 'new', '2024-01-01 20:00+00')");
            cluster
                .run(&format!("INSERT INTO orders (id, user_id, region_id, status, placed_at) VALUES {row}"))
                .await
                .unwrap();
            cli(&daemon, &["wait"]).await.unwrap().ok().unwrap();
            let mut shown = Vec::new();
            for (name, settings) in tables {
                let client = cluster.client().await.unwrap();
                // Citus's workers would not know of the settings.
                client.batch_execute("CREATE TEMP TABLE copied AS SELECT * FROM orders").await.unwrap();
                for setting in settings {
                    let (setting, value) = setting.split_once('=').unwrap();
                    client.query("SELECT set_config($1, $2, false)", &[&setting, &value]).await.unwrap();
                }
                let asked = query.replace("FROM orders", "FROM copied");
                let columns = "user_id, id, words, first, due";
                let differ = format!(
                    "SELECT count(*) FROM ((SELECT {columns} FROM {name} EXCEPT ALL {asked}) UNION ALL ({asked} EXCEPT ALL SELECT {columns} FROM {name})) d"
                );
                let differing: i64 = client.query_one(&differ, &[]).await.unwrap().get(0);
                assert_eq!(differing, 0, "{kind:?} {name}");
                cli(&daemon, &["stream", "verify", name]).await.unwrap().ok().unwrap();
                let row = format!("SELECT words::text, first, due::text FROM {name} WHERE id = {id}");
                let row = client.query_one(&row, &[]).await.unwrap();
                shown.push((row.get::<_, String>(0), row.get::<_, bool>(1)));
            }
            assert_eq!(shown[0], ("{NULL,new}".to_owned(), true), "{kind:?}");
            assert_eq!(shown[1], ("{\"NULL\",new}".to_owned(), false), "{kind:?}");
            assert_eq!(shown[2], shown[0]);
            daemon.restart().await.unwrap();
        }
        daemon.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_postgresql_computes_is_exact_after_random_changes() {
    let seed = seed();
    for kind in kinds() {
        let (cluster, mut shop, mut daemon) = started(kind, seed).await;
        let (before, after) = QUERIES.split_at(QUERIES.len() * 2 / 3);
        create(&daemon, before).await.unwrap();
        assert_exact(&cluster, &daemon, before).await.unwrap();
        let session = Shop::session(&cluster).await.unwrap();
        for round in 0..if long() { 12 } else { 3 } {
            let mut committed = 0;
            for _ in 0..25 {
                committed += u32::from(shop.transaction(&session).await.unwrap() == Outcome::Committed);
            }
            assert!(committed > 5, "{committed} transactions");
            if round == 0 {
                create(&daemon, after).await.unwrap();
            } else if round == 1 {
                daemon.restart().await.unwrap();
            }
            assert_exact(&cluster, &daemon, QUERIES).await.unwrap();
        }
        daemon.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_computed_stops_one_stream_table_until_it_is_repaired() {
    let tables: &[(&str, &str)] = &[
        ("native", "SELECT user_id, id, 100 / (region_id + 7) AS share FROM orders"),
        (
            "asked",
            "SELECT user_id, id, regexp_replace(status, '^x(.*)$', '\\1')::date AS day FROM orders WHERE status LIKE 'x%'",
        ),
        (
            "grouped",
            "SELECT region_id, string_agg((10 / (region_id + 7))::text, ',' ORDER BY id, user_id) AS s FROM orders GROUP BY region_id",
        ),
        ("windowed", "SELECT user_id, id, sum(10 / (region_id + 7)) OVER (PARTITION BY user_id) AS s FROM orders"),
        ("expanded", "SELECT user_id, id, generate_series(1, 10, region_id + 7) AS n FROM orders WHERE region_id < 0"),
    ];
    let others: &[(&str, &str)] = &[("others", "SELECT status, count(*) AS n FROM orders GROUP BY status")];
    for kind in kinds() {
        let (cluster, _, mut daemon) = started(kind, 5).await;
        create(&daemon, tables).await.unwrap();
        create(&daemon, others).await.unwrap();
        let held = "SELECT count(*)::int FROM native";
        let reader = cluster.client().await.unwrap();
        let before: i32 = reader.query_one(held, &[]).await.unwrap().get(0);
        cluster
            .run("INSERT INTO orders (user_id, id, region_id, status) VALUES (3, 990001, 4, 'x2024-01-01')")
            .await
            .unwrap();
        assert_exact(&cluster, &daemon, tables).await.unwrap();
        // Good rows and the bad one in the same transaction.
        cluster
            .run("INSERT INTO orders (user_id, id, region_id, status) VALUES (3, 990002, -7, 'xnever'), (4, 990003, 5, 'x2024-01-02')")
            .await
            .unwrap();
        assert_exact(&cluster, &daemon, others).await.unwrap();
        let mut said = String::new();
        for (name, _) in tables {
            let shown = describe(&daemon, name).await;
            assert!(shown.contains("failed"), "{kind:?} {name}: {shown}");
            said.push_str(&shown);
        }
        for words in ["division by zero", "invalid input syntax for type date", "step size cannot equal zero", "990002"]
        {
            assert!(said.contains(words), "{kind:?}: {words} is nowhere in {said}");
        }
        // They stay at the last exact cut while others change the same tables, also through a restart.
        cluster.run("UPDATE orders SET status = 'x2024-12-31' WHERE user_id = 4 AND id = 990003").await.unwrap();
        daemon.restart().await.unwrap();
        assert_exact(&cluster, &daemon, others).await.unwrap();
        assert_eq!(reader.query_one(held, &[]).await.unwrap().get::<_, i32>(0), before + 1);
        let shown = describe(&daemon, "grouped").await;
        assert!(shown.contains("failed") && shown.contains("division by zero"), "{kind:?}: {shown}");
        // With one of two such rows repaired they fail on the other.
        cluster
            .run("INSERT INTO orders (user_id, id, region_id, status) VALUES (5, 990005, -7, 'xnever')")
            .await
            .unwrap();
        let repair = "UPDATE orders SET region_id = 6, status = 'x2024-02-29' WHERE user_id = 3 AND id = 990002";
        cluster.run(repair).await.unwrap();
        let until = Instant::now() + PATIENCE;
        while !describe(&daemon, "native").await.contains("990005") {
            assert!(Instant::now() < until, "{}", describe(&daemon, "native").await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(reader.query_one(held, &[]).await.unwrap().get::<_, i32>(0), before + 1);
        cluster.run(&repair.replace("3 AND id = 990002", "5 AND id = 990005")).await.unwrap();
        follow_again(&daemon, tables).await;
        assert_exact(&cluster, &daemon, tables).await.unwrap();
        // Once more; repaired by a delete while nobody looks.
        cluster
            .run("UPDATE orders SET region_id = -7, status = 'xToday' WHERE user_id = 3 AND id = 990002")
            .await
            .unwrap();
        cli(&daemon, &["wait"]).await.unwrap().ok().unwrap();
        assert!(describe(&daemon, "native").await.contains("failed"));
        // 'today' is a date of the moment, not of the row.
        let shown = describe(&daemon, "asked").await;
        assert!(shown.contains("invalid input syntax for type date: \"Today passes\""), "{kind:?}: {shown}");
        daemon.kill9().await.unwrap();
        cluster.run("DELETE FROM orders WHERE user_id = 3 AND id = 990002").await.unwrap();
        daemon.start().await.unwrap();
        follow_again(&daemon, tables).await;
        cluster.run("UPDATE orders SET region_id = 3 WHERE user_id = 4 AND id = 990003").await.unwrap();
        assert_exact(&cluster, &daemon, tables).await.unwrap();
        assert_exact(&cluster, &daemon, others).await.unwrap();
        daemon.stop().await.unwrap();
    }
}

/// Crashes between the engine and the target: where a stream table stops, and where it follows again.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_one_stops_or_follows_again_leaves_it_stopped_or_exact() {
    let kind = if citus_available() { Kind::Citus } else { Kind::Fdw };
    let tables: &[(&str, &str)] = &[("shares", "SELECT user_id, id, 100 / (region_id + 7) AS share FROM orders")];
    let (cluster, _, mut daemon) = started(kind, 6).await;
    create(&daemon, tables).await.unwrap();
    let reader = cluster.client().await.unwrap();
    let content = "SELECT count(*), sum(share) FROM shares";
    for stopping in ["engine-after-apply", "sink-before-commit", "sink-after-commit"] {
        for following in ["build-before-publish", "sink-before-commit", "sink-after-commit"] {
            let row = reader.query_one(content, &[]).await.unwrap();
            let before: (i64, Option<i64>) = (row.get(0), row.get(1));
            daemon.stop().await.unwrap();
            cluster.run("INSERT INTO orders (user_id, id, region_id) VALUES (3, 990002, -7)").await.unwrap();
            crash(&mut daemon, stopping).await;
            daemon.start().await.unwrap();
            cli(&daemon, &["wait"]).await.unwrap().ok().unwrap();
            let shown = describe(&daemon, "shares").await;
            assert!(shown.contains("failed") && shown.contains("990002"), "{stopping}: {shown}");
            let row = reader.query_one(content, &[]).await.unwrap();
            assert_eq!((row.get(0), row.get(1)), before, "{stopping}");
            daemon.stop().await.unwrap();
            cluster.run("DELETE FROM orders WHERE user_id = 3 AND id = 990002").await.unwrap();
            cluster.run("INSERT INTO orders (user_id, id, region_id) SELECT 3, max(id) + 1, 4 FROM orders WHERE id < 990000 AND user_id = 3").await.unwrap();
            crash(&mut daemon, following).await;
            daemon.start().await.unwrap();
            follow_again(&daemon, tables).await;
            assert_exact(&cluster, &daemon, tables).await.unwrap();
        }
    }
    daemon.stop().await.unwrap();
}

/// Attempts come at most a minute apart, or twice as long as the last one took.
const PATIENCE: Duration = Duration::from_secs(180);

/// Starts it and has it crash there.
async fn crash(daemon: &mut Daemon, point: &str) {
    daemon.arm(Some(&format!("{point}=panic")));
    // It may come to the point before it is ready.
    if daemon.start().await.is_ok() {
        daemon.wait_for_end(PATIENCE).await.unwrap();
    }
    daemon.arm(None);
    let log = std::fs::read_to_string(daemon.log()).unwrap();
    assert!(log.contains(&format!("failpoint {point}")), "{point}: {}", daemon.log_tail());
}

async fn describe(daemon: &Daemon, name: &str) -> String {
    cli(daemon, &["stream", "describe", name]).await.unwrap().stdout
}

/// Nobody does anything for it; `wait --stream` refuses for one that is stopped.
async fn follow_again(daemon: &Daemon, tables: &[(&str, &str)]) {
    let until = Instant::now() + PATIENCE;
    for (name, _) in tables {
        while cli(daemon, &["wait", "--stream", name]).await.unwrap().code != Some(0) {
            assert!(Instant::now() < until, "{}", describe(daemon, name).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// More rows than go to PostgreSQL as arrays.
#[tokio::test(flavor = "multi_thread")]
async fn groups_and_partitions_of_many_rows_are_computed() {
    let kind = kinds()[0];
    let cluster = Cluster::start(kind).await.unwrap();
    let many = TableSpec {
        name: "many",
        columns: "id int, doc jsonb",
        primary_key: "id",
        kind: TableKind::Distributed("id"),
        colocate_with: None,
    };
    cluster.create_table(&many).await.unwrap();
    let fill = "INSERT INTO many SELECT i, CASE WHEN i % 9 > 0 THEN jsonb_build_object('n', i % 5000) END FROM generate_series(1, 25000) i";
    cluster.run(fill).await.unwrap();
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    let queries = [
        (
            "ranked",
            "SELECT id, rank() OVER (ORDER BY doc) AS place, lag(doc) OVER (ORDER BY doc, id) AS before FROM many",
        ),
        (
            "listed",
            "SELECT id > 2 AS k, md5(string_agg(doc::text, ',' ORDER BY id)) AS digest FROM many GROUP BY id > 2",
        ),
    ];
    create(&daemon, &queries).await.unwrap();
    assert_exact(&cluster, &daemon, &queries).await.unwrap();
    for sql in
        ["UPDATE many SET doc = '{\"n\": -1}' WHERE id % 1000 = 7", "DELETE FROM many WHERE id BETWEEN 90 AND 99"]
    {
        cluster.run(sql).await.unwrap();
        assert_exact(&cluster, &daemon, &queries).await.unwrap();
    }
}
