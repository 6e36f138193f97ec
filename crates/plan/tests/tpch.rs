//! The 22 queries of TPC-H: all are planned, and their plans give PostgreSQL's answers on a small scale.

#![allow(clippy::unwrap_used, reason = "a test")]

mod naive;

use plan::{OutputKey, PlanOptions, Rel, environment, explain_text, plan};
use testkit::{Cluster, ClusterOptions, Kind, tpch};

use naive::{all_rows, answer, stored};

/// Small enough to be evaluated naively.
const SCALE: f64 = 0.004;

/// Joins without keys of which neither side is one row.
fn crosses(rel: &Rel) -> usize {
    fn one(rel: &Rel) -> bool {
        match rel {
            Rel::Aggregate { keys, .. } | Rel::PgAggregate { keys, .. } => keys.is_empty(),
            Rel::Project { input, .. } => one(input),
            _ => false,
        }
    }
    let here = match rel {
        Rel::Join { left, right, keys, .. } => usize::from(keys.is_empty() && !one(left) && !one(right)),
        _ => 0,
    };
    here + rel.inputs().into_iter().map(crosses).sum::<usize>()
}

#[tokio::test]
async fn every_query_is_planned_and_answers_as_postgresql_does() {
    let cluster = Cluster::start_with(ClusterOptions::new(Kind::Single)).await.unwrap();
    let client = cluster.client().await.unwrap();
    client.batch_execute(tpch::TABLES).await.unwrap();
    for table in tpch::NAMES {
        for insert in tpch::inserts(table, SCALE) {
            client.batch_execute(&insert).await.unwrap();
        }
    }
    client.batch_execute("ANALYZE").await.unwrap();
    let other = cluster.client().await.unwrap();
    let env = environment(&client).await.unwrap();
    let mut wrong = Vec::new();
    let mut empty = Vec::new();
    for (number, query) in tpch::QUERIES {
        let planned = match plan(&client, query, &PlanOptions::default()).await {
            Ok(planned) => planned,
            Err(error) => {
                wrong.push(format!("{number} is refused: {error}"));
                continue;
            }
        };
        let text = explain_text(&planned.plan);
        if planned.plan.common.iter().chain([&planned.plan.root]).any(|rel| crosses(rel) > 0) {
            wrong.push(format!("{number} joins without a key:\n{text}"));
        }
        // Groups and customers are compared with one value, which moves with most changes.
        if [11, 22].contains(&number) && !text.contains("Semi join on f") {
            wrong.push(format!("{number} pairs every row with one value:\n{text}"));
        }
        // What 2 and 20 show of suppliers has no key.
        if (planned.plan.key == OutputKey::RowId) != [2, 20].contains(&number) {
            wrong.push(format!("{number} has another key:\n{text}"));
        }
        let (_, theirs) = all_rows(&client, query).await;
        empty.extend(theirs.is_empty().then_some(number));
        match answer(&other, &env, &stored(&planned.plan)).await {
            Ok(ours) if ours == theirs => {}
            Ok(ours) => wrong.push(format!("{number}: {} rows, not {}\n{text}", ours.len(), theirs.len())),
            Err(error) => wrong.push(format!("{number}: {error}\n{text}")),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(empty.len() <= 3, "the answers of {empty:?} are empty");
}
