//! A stream table as a source: its query stands in for it, through any number of them.

#![allow(clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, reason = "other tests use the rest")]
mod naive;

use plan::{PlanOptions, StreamView, environment, plan};
use testkit::{Cluster, ClusterOptions, Kind};
use types::TableName;

const TABLES: &str = "
    CREATE SCHEMA app;
    CREATE TABLE app.orders (id int PRIMARY KEY, region int, amount numeric);
    INSERT INTO app.orders SELECT n, n % 5, n / 4.0 FROM generate_series(1, 60) n;
    CREATE TABLE totals (region int, total numeric, __tributary_row_id bigint);
    CREATE TABLE app.large (region int, total numeric);
    CREATE VIEW named AS SELECT 'region ' || region AS name, total FROM app.large;";

fn view(schema: &str, name: &str, query: &str, settings: &[(&str, &str)]) -> StreamView {
    let settings = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    StreamView { name: TableName::new(schema, name), query: query.into(), settings }
}

#[tokio::test]
async fn a_stream_table_is_read_as_its_query() {
    let cluster = Cluster::start_with(ClusterOptions::new(Kind::Single)).await.unwrap();
    let client = cluster.client().await.unwrap();
    client.batch_execute(TABLES).await.unwrap();
    // Names mean what they meant where the inner one was defined.
    let totals = "SELECT region, sum(amount) AS total FROM orders GROUP BY region;";
    let large = "SELECT region, total FROM totals WHERE total > 80";
    let stream_tables = vec![
        view("public", "totals", totals, &[("search_path", "app")]),
        view("app", "large", large, &[("search_path", "public")]),
    ];
    let options = PlanOptions { stream_tables, ..PlanOptions::default() };
    let query = "SELECT n.name, n.total, t.total AS again FROM named n JOIN totals t ON 'region ' || t.region = n.name";
    let planned = plan(&client, query, &options).await.unwrap();
    let mut reads = planned.reads;
    reads.sort();
    assert_eq!(reads, [TableName::new("app", "large"), TableName::new("public", "totals")]);
    let sources: Vec<_> = planned.plan.sources.iter().map(|s| s.table.to_string()).collect();
    assert_eq!(sources, ["app.orders"]);
    let env = environment(&client).await.unwrap();
    let found = naive::answer(&client, &env, &planned.plan).await.unwrap();
    client
        .batch_execute(&format!(
            "SET search_path = app; DROP TABLE public.totals; CREATE VIEW public.totals AS {totals}
             DROP VIEW public.named; DROP TABLE app.large; SET search_path = public; CREATE VIEW app.large AS {large};
             CREATE VIEW named AS SELECT 'region ' || region AS name, total FROM app.large"
        ))
        .await
        .unwrap();
    let (_, expected) = naive::all_rows(&client, query).await;
    assert!(found.len() > 1);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn all_columns_of_a_stream_table_are_those_of_its_query() {
    let cluster = Cluster::start_with(ClusterOptions::new(Kind::Single)).await.unwrap();
    let client = cluster.client().await.unwrap();
    client.batch_execute(TABLES).await.unwrap();
    client.batch_execute("CREATE TABLE copy (region int, total numeric, twice numeric, __tributary_row_id uuid); CREATE VIEW seen AS SELECT *, total AS t FROM totals").await.unwrap();
    let totals = "SELECT region, sum(amount) AS total FROM app.orders GROUP BY region, id % 2";
    let copy = "SELECT t.*, 2 * total AS twice FROM totals t";
    let stream_tables = vec![
        view("public", "totals", totals, &[("search_path", "public")]),
        view("public", "copy", copy, &[("search_path", "public")]),
    ];
    let options = PlanOptions { stream_tables, ..PlanOptions::default() };
    let queries = [
        "SELECT * FROM totals",
        "SELECT c.twice, c.total FROM copy c",
        "SELECT *, region + 1 AS next FROM copy",
        "WITH w AS (SELECT * FROM totals) SELECT * FROM w WHERE total > 1",
        "WITH w AS (SELECT * FROM totals) SELECT w.*, total * 3 AS thrice FROM w",
        "SELECT s.*, o.id FROM (SELECT * FROM copy) s JOIN app.orders o USING (region)",
        "SELECT * FROM app.orders o JOIN totals USING (region)",
        "SELECT t, region FROM seen",
        "SELECT * FROM totals t WHERE EXISTS (SELECT * FROM copy c WHERE c.region = t.region AND c.total > t.total)",
    ];
    let mut found = Vec::new();
    for query in queries {
        let planned = plan(&client, query, &options).await.unwrap_or_else(|e| panic!("{query}: {e}"));
        let env = environment(&client).await.unwrap();
        let names: Vec<_> = planned.plan.output.iter().map(|c| c.name.clone()).collect();
        found.push((names, naive::answer(&client, &env, &planned.plan).await.unwrap()));
    }
    let instead = format!(
        "DROP VIEW seen; DROP TABLE totals, copy; CREATE VIEW totals AS {totals}; CREATE VIEW copy AS {copy}; CREATE VIEW seen AS SELECT *, total AS t FROM totals"
    );
    client.batch_execute(&instead).await.unwrap();
    for (query, found) in queries.into_iter().zip(found) {
        let expected = naive::all_rows(&client, query).await;
        assert!(found.1.len() > 1, "{query}");
        assert_eq!(found, expected, "{query}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_through_a_stream_table_is_named() {
    let cluster = Cluster::start_with(ClusterOptions::new(Kind::Single)).await.unwrap();
    let client = cluster.client().await.unwrap();
    client.batch_execute(TABLES).await.unwrap();
    client.batch_execute("CREATE VIEW seen AS SELECT * FROM totals").await.unwrap();
    let totals = "SELECT region, sum(amount) AS total FROM app.orders GROUP BY region";
    let refused = async |view: StreamView, query: &str, words: &[&str]| {
        let options = PlanOptions { stream_tables: vec![view], ..PlanOptions::default() };
        let error = plan(&client, query, &options).await.unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)) && !error.contains('\n'), "{error}");
    };
    let tokyo = view("public", "totals", totals, &[("TimeZone", "Asia/Tokyo")]);
    let words = ["public.totals", "TimeZone = Asia/Tokyo", "--set TimeZone=Asia/Tokyo"];
    refused(tokyo, "SELECT * FROM totals", &words).await;
    let plain = view("public", "totals", totals, &[("search_path", "public")]);
    for query in [
        "SELECT __tributary_row_id FROM totals",
        "SELECT t.__tributary_row_id + 1 AS i, t.region FROM totals t",
        "SELECT count(*) AS n FROM totals a NATURAL JOIN totals b",
        "SELECT DISTINCT * FROM totals",
        "SELECT * FROM totals UNION ALL SELECT * FROM totals",
        "SELECT t FROM totals t",
        "SELECT to_jsonb(t) AS j FROM totals AS t (a, b, c)",
        "SELECT w.c FROM totals AS w (a, b, c)",
        "SELECT to_jsonb(q) AS j FROM (SELECT * FROM totals) q",
        "SELECT to_jsonb(s) AS j FROM seen s",
        "SELECT o.id, (SELECT count(*) FROM (SELECT * FROM totals t WHERE t.region = o.region UNION ALL SELECT * FROM totals) u) AS n FROM app.orders o",
    ] {
        refused(plain.clone(), query, &["__tributary_row_id of a stream table", "name the columns that you need"])
            .await;
    }
    let gone = view("public", "totals", "SELECT region, 1 AS total FROM app.gone", &[]);
    refused(gone, "SELECT region FROM totals", &["public.totals", "app.gone"]).await;
}
