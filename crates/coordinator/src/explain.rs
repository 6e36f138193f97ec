//! `explain`: how a query is or would be kept, for people and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use ivm::OperatorStats;
use plan::{Plan, Rel};
use proto::v1;
use serde_json::json;

use crate::error::RequestError;
use crate::requests::Requests;

/// Rows held are counted for so long.
const COUNTS_FOR: Duration = Duration::from_secs(2);

impl Requests {
    /// Explains a stream table, with what its operators hold and last did, or a query that is not defined.
    pub(crate) async fn explain(
        &self,
        request: v1::ExplainStreamTableRequest,
    ) -> Result<v1::ExplainStreamTableResponse, RequestError> {
        let (plan, warnings, reads, operators) = if request.name.is_empty() {
            let planned = self.plan(&request.query, &request.options.unwrap_or_default()).await?.0;
            (planned.plan, planned.warnings, planned.reads, Vec::new())
        } else {
            let entry = self.entry(&request.name)?;
            let id = entry.id;
            // One that is being computed for the first time has no operators yet.
            let operators = self.call(move |room| Ok(room.engine.operators(id).ok())).await?;
            let counted = tokio::task::spawn_blocking(move || operators.map(|o| o.counted(COUNTS_FOR)));
            let counted = counted.await.map_err(RequestError::internal)?;
            let operators = counted.transpose().map_err(RequestError::internal)?.unwrap_or_default();
            (entry.plan, entry.warnings, entry.reads, operators)
        };
        let reads: Vec<String> = reads.iter().map(ToString::to_string).collect();
        let notes = notes(&plan, &warnings);
        let mut text = plan::explain_text(&plan);
        if !reads.is_empty() {
            let _infallible = writeln!(text, "Reads the stream tables {}", reads.join(", "));
        }
        for note in &notes {
            let _infallible = writeln!(text, "Note: {note}");
        }
        if !operators.is_empty() {
            text.push_str(&table(&operators));
        }
        let operators: Vec<_> = operators.iter().map(operator).collect();
        let json = json!({ "plan": plan, "reads": reads, "notes": notes, "operators": operators });
        let json = serde_json::to_string_pretty(&json).map_err(RequestError::internal)?;
        Ok(v1::ExplainStreamTableResponse { text, json })
    }
}

fn operator(o: &OperatorStats) -> serde_json::Value {
    let holds = o.holds.iter().map(|h| {
        json!({ "what": h.what, "key": h.key, "shared": h.shared, "rows": h.rows, "more": h.more, "bytes": h.bytes })
    });
    let cuts = o.cuts.iter().map(|c| json!({ "cut": c.seq.0, "rows_in": c.rows_in, "rows_out": c.rows_out }));
    json!({
        "depth": o.depth, "operator": o.name, "ring": o.ring, "state": o.state,
        "holds": holds.collect::<Vec<_>>(), "cuts": cuts.collect::<Vec<_>>(),
    })
}

/// The operators with what they hold and what the last cuts that touched them were.
fn table(operators: &[OperatorStats]) -> String {
    let cuts = operators.first().map(|o| o.cuts.iter().map(|c| c.seq.to_string()).collect::<Vec<_>>());
    let cuts = cuts.filter(|cuts| !cuts.is_empty()).map_or("none yet".into(), |cuts| cuts.join(", "));
    let mut out = format!("Kept by, with rows in > out in the last cuts ({cuts}):\n");
    for o in operators {
        let name = format!("{:indent$}{}", "", o.name, indent = o.depth * 2);
        let ring = if o.ring == 1 { "native" } else { "by PostgreSQL (ring 2)" };
        let flow = o.cuts.iter().map(|c| format!("{} > {}", c.rows_in, c.rows_out)).collect::<Vec<_>>().join(", ");
        let state = if o.state.is_empty() { String::new() } else { format!("; {}", o.state) };
        let _infallible = writeln!(out, "  {name:28} {ring}  {flow}{state}");
        for h in &o.holds {
            let by = if h.key.is_empty() { "together".into() } else { format!("by {}", h.key.join(", ")) };
            let least = if h.more { "at least " } else { "" };
            let shared = if h.shared { ", shared by all stream tables" } else { "" };
            let indent = o.depth * 2 + 4;
            let _infallible = writeln!(
                out,
                "  {:indent$}holds {least}{} {} {by}, {} bytes in files{shared}",
                "", h.rows, h.what, h.bytes
            );
        }
    }
    out
}

/// What a user should know before creating it.
fn notes(plan: &Plan, warnings: &[String]) -> Vec<String> {
    let mut notes = warnings.to_vec();
    for source in &plan.sources {
        let columns = source.columns.len();
        let rows = if source.filter.is_empty() { "every row" } else { "each row that passes its first conditions" };
        notes.push(format!("keeps {columns} columns of {rows} of {}", source.table));
    }
    costs(&plan.root, &mut notes);
    notes.dedup();
    notes
}

fn costs(rel: &Rel, notes: &mut Vec<String>) {
    let note = match rel {
        Rel::PgAggregate { keys, .. } if keys.is_empty() => {
            Some("computes its aggregates again over all rows with each change (PostgreSQL does)")
        }
        Rel::PgAggregate { .. } => {
            Some("computes aggregates again over all rows of each group that changes (PostgreSQL does)")
        }
        Rel::Window { partition, .. } if partition.is_empty() => Some(
            "computes its window functions again over all rows with each change: add PARTITION BY where that is meant",
        ),
        Rel::Window { .. } => Some("computes window functions again over all rows of each partition that changes"),
        Rel::PgMap { .. } | Rel::PgRows { .. } => {
            Some("asks PostgreSQL for expressions of each row that changes (ring 2)")
        }
        Rel::Recursive { step, .. } if asks(step) => {
            Some("asks PostgreSQL again in each step of its recursion (ring 2)")
        }
        Rel::Recursive { all: true, .. } => {
            Some("stops where its recursion does not end: UNION, or a path without what it has, ends in circles, too")
        }
        Rel::Join { keys, .. } if keys.is_empty() && single_row(rel) => None,
        Rel::Join { keys, .. } if keys.is_empty() => {
            Some("joins without an equality: each change is compared with all rows of the other side")
        }
        _ => None,
    };
    if let Some(note) = note.map(str::to_owned).filter(|note| !notes.contains(note)) {
        notes.push(note);
    }
    rel.inputs().into_iter().for_each(|input| costs(input, notes));
}

/// Whether PostgreSQL computes a part of it.
fn asks(rel: &Rel) -> bool {
    matches!(rel, Rel::PgMap { .. } | Rel::PgRows { .. }) || rel.inputs().into_iter().any(asks)
}

/// A join of which one side is always one row.
fn single_row(join: &Rel) -> bool {
    let one = |rel: &Rel| match rel {
        Rel::Aggregate { keys, .. } | Rel::PgAggregate { keys, .. } => keys.is_empty(),
        Rel::Values { rows, .. } => rows.len() == 1,
        _ => false,
    };
    fn behind(mut rel: &Rel) -> &Rel {
        while let Rel::Project { input, .. } | Rel::Filter { input, .. } | Rel::PgMap { input, .. } = rel {
            rel = input;
        }
        rel
    }
    join.inputs().into_iter().any(|side| one(behind(side)))
}
