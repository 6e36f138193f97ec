//! A query that is nested too deeply is refused, and one that is nested deeply is planned, stored and read again.

#![allow(clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, reason = "other tests use the rest")]
mod naive;

use plan::{PlanOptions, plan};
use testkit::{Cluster, ClusterOptions, Kind};

/// Of the daemon's threads.
const STACK: usize = 16 << 20;

/// A name, the query with so many levels, and how many are planned.
type Nested = (&'static str, fn(usize) -> String, usize);

/// Kinds of nesting; four times the levels that are planned are refused.
const KINDS: &[Nested] = &[
    ("operators", |depth| format!("SELECT {} AS x FROM t", vec!["v"; depth].join(" || ")), 1000),
    ("calls", |depth| format!("SELECT {}v{} AS x FROM t", "upper(".repeat(depth), ")".repeat(depth)), 1000),
    (
        "cases",
        |depth| {
            format!("SELECT {}v{} AS x FROM t", "CASE WHEN id > 1 THEN 'a' ELSE ".repeat(depth), " END".repeat(depth))
        },
        1000,
    ),
    ("unions", |depth| vec!["SELECT id FROM t"; depth].join(" UNION "), 1000),
    (
        "subqueries",
        |depth| format!("SELECT id FROM {}t{}", "(SELECT DISTINCT id FROM ".repeat(depth), ") q".repeat(depth)),
        60,
    ),
    (
        "conditions",
        |depth| {
            let open: String = (0..depth)
                .map(|n| {
                    format!(
                        " WHERE EXISTS (SELECT FROM t t{} WHERE t{}.id = t{n}.id AND EXISTS (SELECT FROM t u{n} ",
                        n + 1,
                        n + 1
                    )
                })
                .collect();
            format!("SELECT t0.id FROM t t0{open}{}", "))".repeat(depth))
        },
        25,
    ),
];

async fn planned(client: &tokio_postgres::Client, query: &str) -> Result<plan::Plan, String> {
    let planned = plan(client, query, &PlanOptions::default()).await.map_err(|e| e.to_string())?;
    assert_eq!(naive::stored(&planned.plan), planned.plan);
    Ok(planned.plan)
}

#[test]
fn what_is_nested_deeply_is_planned_and_what_is_nested_too_deeply_is_refused() {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let cluster = Cluster::start_with(ClusterOptions::new(Kind::Single)).await.unwrap();
            let client = cluster.client().await.unwrap();
            let make = "CREATE TABLE t (id int PRIMARY KEY, v text); SET max_stack_depth = '6MB'";
            client.batch_execute(make).await.unwrap();
            for (name, query, most) in KINDS {
                planned(&client, &query(*most)).await.unwrap_or_else(|why| panic!("{name}: {why}"));
                let refused = planned(&client, &query(most * 4)).await.unwrap_err();
                assert!(
                    refused.contains("; make a stream table of an inner part") || refused.contains("memory exhausted"),
                    "{name}: {refused}"
                );
            }
            // It goes on.
            planned(&client, "SELECT id FROM t").await.unwrap();
        });
    };
    std::thread::Builder::new().stack_size(STACK).spawn(run).unwrap().join().unwrap();
}
