//! TPC-H's 22 queries as stream tables over a sharded cluster, exact after each refresh.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use testkit::{Cluster, Daemon, DaemonOptions, Kind, citus_available, cli};
use tokio_postgres::Client;
use tributary_tests::{long, warehouse};

/// Whether the cluster itself answers a query over its tables, and why not.
async fn itself(client: &Client, query: &str) -> String {
    client.batch_execute("SET statement_timeout = '10s'").await.unwrap();
    let answer = client.query(query, &[]).await;
    client.batch_execute("RESET statement_timeout").await.unwrap();
    match answer {
        Ok(_) => "yes".to_owned(),
        Err(error) => {
            format!("no, {}", error.as_db_error().map_or_else(|| error.to_string(), |e| e.message().to_owned()))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_tpc_h_is_exact_after_every_refresh() {
    // Of a long run each query is compared after every fourth refresh, and all of them first and last: PostgreSQL's own answers
    // take most of the time.
    let (scale, rounds, every) = if long() { (0.1, 20, 4) } else { (0.01, 6, 1) };
    let started = Instant::now();
    let took = |what: &str| println!("{:6.1} s: {what}", started.elapsed().as_secs_f64());
    let kind = if citus_available() { Kind::Citus } else { Kind::Fdw };
    let cluster = Cluster::start(kind).await.unwrap();
    warehouse::load(&cluster, scale).await.unwrap();
    took("loaded");
    let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    let client = cluster.client().await.unwrap();
    let mut wrong = Vec::new();
    for (number, query) in warehouse::QUERIES {
        let output = cli(&daemon, &["stream", "create", &format!("q{number}"), "--query", query]).await.unwrap();
        let kept = if output.code == Some(0) { "kept" } else { "refused" };
        println!("query {number}: {kept} / {kind:?} itself: {}", itself(&client, query).await);
        if output.code != Some(0) {
            wrong.push(format!("query {number} is refused: {}", output.stderr.trim()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut before = vec![String::new(); warehouse::QUERIES.len()];
    let (mut changed, mut compared) = (0, 0);
    for round in 0..=rounds {
        took(&format!("refresh {round}"));
        if round > 0 {
            let statements = [warehouse::refresh(round, 50), warehouse::nations(round)].concat();
            warehouse::apply(&client, &statements).await.unwrap();
        }
        if round == 2 {
            daemon.restart().await.unwrap();
        }
        cli(&daemon, &["wait", "--timeout", "300s"]).await.unwrap().ok().unwrap();
        took("followed");
        for (i, (number, query)) in warehouse::QUERIES.iter().enumerate() {
            if round > 0 && round < rounds && !(round + i as u64).is_multiple_of(every) {
                continue;
            }
            let name = format!("q{number}");
            let differ = warehouse::differences(&client, &name, query).await.unwrap();
            if differ != [0; 3] {
                wrong.push(format!(
                    "query {number} after refresh {round}: {differ:?} too many, missing, written otherwise"
                ));
            }
            let content = format!("SELECT coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM {name} t");
            let content: String = client.query_one(&content, &[]).await.unwrap().get(0);
            changed += usize::from(round > 0 && content != before[i]);
            compared += usize::from(round > 0);
            before[i] = content;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{changed} of {compared} answers changed in {rounds} refreshes");
    assert!(changed * 22 >= 9 * compared, "{changed} of {compared}");
    daemon.stop().await.unwrap();
}
