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
async fn what_cannot_be_read_through_a_stream_table_is_named() {
    let cluster = Cluster::start_with(ClusterOptions::new(Kind::Single)).await.unwrap();
    let client = cluster.client().await.unwrap();
    client.batch_execute(TABLES).await.unwrap();
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
    refused(plain, "SELECT __tributary_row_id FROM totals", &["column"]).await;
    let gone = view("public", "totals", "SELECT region, 1 AS total FROM app.gone", &[]);
    refused(gone, "SELECT region FROM totals", &["public.totals", "app.gone"]).await;
}
