//! Every example in `docs/sql.md` is planned, and every refusal there is one, for the reason that stands beside it.

#![allow(clippy::unwrap_used, reason = "a test")]

use plan::{PlanOptions, plan};
use testkit::{Cluster, ClusterOptions, Kind};

const TEXT: &str = include_str!("../../../docs/sql.md");

/// The statements of the blocks that begin with this line.
fn blocks(opening: &str) -> Vec<&'static str> {
    let inside = TEXT.split("```").skip(1).step_by(2);
    let inside = inside.filter_map(|block| block.split_once('\n').filter(|(first, _)| *first == opening));
    inside.flat_map(|(_, text)| text.split(";\n")).map(str::trim).filter(|text| !text.is_empty()).collect()
}

#[tokio::test]
async fn the_examples_are_planned_and_the_refusals_refused() {
    let cluster = Cluster::start_with(ClusterOptions::new(Kind::Single)).await.unwrap();
    let client = cluster.client().await.unwrap();
    for statement in blocks("sql setup") {
        client.batch_execute(statement).await.unwrap();
    }
    let examples = blocks("sql");
    assert!(examples.len() > 20, "{} examples", examples.len());
    let mut wrong = Vec::new();
    for query in examples {
        if let Err(error) = plan(&client, query, &PlanOptions::default()).await {
            wrong.push(format!("{query}\n  {error}"));
        }
    }
    let refusals = TEXT.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "));
    let refusals: Vec<_> = refusals.collect();
    assert!(refusals.len() > 8, "{} refusals", refusals.len());
    for (query, reason) in refusals {
        match plan(&client, query, &PlanOptions::default()).await {
            Ok(_) => wrong.push(format!("{query}\n  is not refused")),
            Err(error) if error.to_string().contains(reason) => {}
            Err(error) => wrong.push(format!("{query}\n  {error}\n  not: {reason}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
