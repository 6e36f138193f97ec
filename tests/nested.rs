//! Stream tables over stream tables: at the same cut, and not without those that they read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Daemon, DaemonOptions, Output, Shop, cli, kinds};
use tributary_tests::{create, shop};

const STREAMS: &[(&str, &str)] = &[
    ("by_user", "SELECT user_id, count(*) AS n, sum(amount) AS total FROM orders GROUP BY user_id"),
    ("large", "SELECT user_id, n, total FROM by_user WHERE n > 2"),
    ("histogram", "SELECT n, count(*) AS users, sum(total) AS total FROM large GROUP BY n"),
    // Rows that are told apart by a column of tributary's, which is none of those read on.
    ("paid", "SELECT user_id, amount FROM orders WHERE paid"),
    ("paid_again", "SELECT *, amount * 2 AS twice FROM paid"),
    ("paid_much", "SELECT p.*, u.n FROM paid_again p JOIN by_user u USING (user_id) WHERE p.amount > 10"),
    ("both", "SELECT l.user_id, l.total, o.id FROM large l JOIN orders o ON o.user_id = l.user_id WHERE o.paid"),
];

async fn refused(daemon: &Daemon, args: &[&str], words: &[&str]) {
    let Output { code, stderr, .. } = cli(daemon, args).await.unwrap();
    assert_eq!(code, Some(1), "{args:?}: {stderr}");
    assert!(stderr.trim().lines().count() == 1 && words.iter().all(|w| stderr.contains(w)), "{args:?}: {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_table_over_others_is_at_the_same_cut_as_they() {
    for kind in kinds() {
        let (cluster, mut shop) = shop(kind, 11, 200).await.unwrap();
        let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, STREAMS).await.unwrap();
        let reader = cluster.client().await.unwrap();
        // Whenever it is read, the sum over the histogram is the sum over what it is made of.
        let same =
            "SELECT (SELECT coalesce(sum(total), 0) FROM histogram) = (SELECT coalesce(sum(total), 0) FROM large)
                       AND (SELECT coalesce(sum(users), 0) FROM histogram) = (SELECT count(*) FROM large)";
        let session = Shop::session(&cluster).await.unwrap();
        for round in 0..3 {
            for _ in 0..40 {
                shop.transaction(&session).await.unwrap();
                assert!(reader.query_one(same, &[]).await.unwrap().get::<_, bool>(0));
            }
            if round == 1 {
                daemon.kill9().await.unwrap();
                daemon.start().await.unwrap();
            }
            // Their queries, with what they read in its place.
            let verified = cli(&daemon, &["stream", "verify"]).await.unwrap();
            assert_eq!(verified.code, Some(0), "{verified:?}");
            assert_eq!(verified.stdout.matches("is exact").count(), STREAMS.len(), "{verified:?}");
        }
        refused(&daemon, &["stream", "drop", "large"], &["public.histogram", "public.both", "--cascade"]).await;
        let other = "SELECT user_id, count(*) AS n, sum(amount) + 1 AS total FROM orders GROUP BY user_id";
        refused(&daemon, &["stream", "alter", "by_user", "--query", other], &["public.large", "--cascade"]).await;
        let circle = "SELECT user_id, n, total FROM large";
        refused(&daemon, &["stream", "alter", "by_user", "--query", circle, "--cascade"], &["itself"]).await;
        let altered = ["stream", "alter", "by_user", "--query", other, "--cascade"];
        cli(&daemon, &altered).await.unwrap().ok().unwrap();
        shop.transaction(&session).await.unwrap();
        let verified = cli(&daemon, &["stream", "verify"]).await.unwrap();
        assert_eq!(verified.stdout.matches("is exact").count(), STREAMS.len(), "{verified:?}");
        cli(&daemon, &["stream", "drop", "large", "--cascade"]).await.unwrap().ok().unwrap();
        let list = cli(&daemon, &["stream", "list"]).await.unwrap().ok().unwrap().stdout;
        assert!(list.contains("by_user") && !list.contains("histogram") && !list.contains("both"), "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_how_and_defines_nothing() {
    let kind = kinds()[0];
    let (cluster, _) = shop(kind, 12, 20).await.unwrap();
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    let query = "SELECT a.id, b.id AS other FROM orders a JOIN orders b ON a.amount < b.amount";
    let shown =
        cli(&daemon, &["stream", "create", "pairs", "--query", query, "--dry-run"]).await.unwrap().ok().unwrap();
    for words in ["Cross join", "Source public.orders", "keeps", "compared with all rows"] {
        assert!(shown.stdout.contains(words), "{}", shown.stdout);
    }
    // Over `postgres_fdw` a table is analysed where its rows are.
    cluster.run_everywhere("ANALYZE").await.unwrap();
    for (query, words) in [
        (
            "SELECT a.id, b.id AS other FROM orders a JOIN orders b ON a.amount = b.amount",
            &["of every row of public.orders, which has about 20 rows in ", "holds public.orders once more by amount"]
                [..],
        ),
        (
            "SELECT max(amount) AS m FROM (SELECT amount FROM orders ORDER BY id DESC LIMIT 3) s",
            &["holds all rows in the order", "different values of min, max"],
        ),
        (
            "SELECT id FROM orders a WHERE EXISTS (SELECT FROM orders b WHERE a.amount < b.amount)",
            &["holds both sides of a comparison in its order"],
        ),
        ("SELECT amount FROM orders", &["holds each different row of the answer"]),
    ] {
        let dry = ["stream", "create", "pairs", "--query", query, "--dry-run"];
        let shown = cli(&daemon, &dry).await.unwrap().ok().unwrap().stdout;
        assert!(words.iter().all(|w| shown.contains(w)), "{query}: {shown}");
    }
    let list = cli(&daemon, &["stream", "list"]).await.unwrap().ok().unwrap().stdout;
    assert!(!list.contains("pairs"), "{list}");
    create(&daemon, &STREAMS[..1]).await.unwrap();
    cluster.run("INSERT INTO orders (user_id, id) SELECT 1, -i FROM generate_series(1, 50) i").await.unwrap();
    cli(&daemon, &["wait"]).await.unwrap().ok().unwrap();
    let text = cli(&daemon, &["stream", "explain", "by_user"]).await.unwrap().ok().unwrap().stdout;
    for words in ["aggregate", "native  50 > ", " ms; ", "holds ", " groups by orders.user_id, ", "shared by all"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let json = cli(&daemon, &["stream", "explain", "by_user", "--json"]).await.unwrap().ok().unwrap().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let operators = json["operators"].as_array().unwrap();
    let aggregate = operators.iter().find(|o| o["operator"] == "aggregate").unwrap();
    assert_eq!((&aggregate["ring"], &aggregate["cuts"][0]["rows_in"]), (&1.into(), &50.into()), "{json}");
    assert!(aggregate["cuts"][0]["ms"].as_f64().unwrap() > 0.0, "{json}");
    let (_, metrics) = daemon.http_get("/metrics").await.unwrap();
    assert!(metrics.contains("tributary_stream_table_seconds_count{stream_table=\"public.by_user\"}"), "{metrics}");
    let groups = "SELECT count(*) FROM by_user";
    let groups: i64 = cluster.client().await.unwrap().query_one(groups, &[]).await.unwrap().get(0);
    let held = &aggregate["holds"][0];
    assert_eq!((&held["what"], &held["rows"], &held["shared"]), (&"groups".into(), &groups.into(), &false.into()));
    assert_eq!(held["key"], serde_json::json!(["orders.user_id"]));
    let ids = "SELECT user_id, string_agg(id::text, ',' ORDER BY id) AS ids FROM orders GROUP BY user_id";
    create(&daemon, &[("ids", ids)]).await.unwrap();
    let ring2 = cli(&daemon, &["stream", "explain", "ids", "--json"]).await.unwrap().ok().unwrap().stdout;
    let ring2: serde_json::Value = serde_json::from_str(&ring2).unwrap();
    assert!(ring2["operators"].as_array().unwrap().iter().any(|o| o["ring"] == 2 && o["holds"][0]["rows"] == 70));
    let source = operators.iter().find(|o| o["operator"] == "source").unwrap();
    assert_eq!((&source["holds"][0]["rows"], &source["holds"][0]["shared"]), (&70.into(), &true.into()), "{json}");
}

const RATED: &[(&str, &str)] = &[
    ("rated", "SELECT id, rate(user_id::text) AS rate FROM orders"),
    ("per_rate", "SELECT rate, count(*) AS n FROM rated GROUP BY rate"),
];

/// Nothing tells of a function's new body; whoever changes it has the stream table computed again, and all that read it follow.
#[tokio::test(flavor = "multi_thread")]
async fn the_new_body_of_a_function_is_taken_in_on_rebuild_by_those_too_that_read_the_stream_table() {
    for kind in kinds() {
        let (cluster, _) = shop(kind, 13, 200).await.unwrap();
        let body = |rate: &str| {
            format!(
                "CREATE OR REPLACE FUNCTION rate(text) RETURNS text LANGUAGE plpgsql IMMUTABLE
                 AS $$ BEGIN RETURN '{rate}' || length($1); END $$"
            )
        };
        cluster.run(&body("old ")).await.unwrap();
        let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, RATED).await.unwrap();
        cluster.run(&body("new ")).await.unwrap();
        let verified = cli(&daemon, &["stream", "verify"]).await.unwrap();
        assert_eq!(verified.code, Some(1), "{verified:?}");
        cli(&daemon, &["stream", "rebuild", "rated"]).await.unwrap().ok().unwrap();
        let verified = cli(&daemon, &["stream", "verify"]).await.unwrap();
        assert_eq!(verified.stdout.matches("is exact").count(), RATED.len(), "{verified:?}");
        let sql = "SELECT count(*) FROM per_rate WHERE rate NOT LIKE 'new %'";
        assert_eq!(cluster.client().await.unwrap().query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
    }
}
