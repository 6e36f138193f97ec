//! `explain`: how a query is or would be kept, for people and as JSON.

use std::fmt::Write as _;

use ivm::OperatorStats;
use plan::{Plan, Rel};
use proto::v1;
use serde_json::json;

use crate::error::RequestError;
use crate::requests::Requests;

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
            let operators = self.call(move |room| Ok(room.engine.operators(id).unwrap_or_default())).await?;
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
    json!({
        "depth": o.depth, "operator": o.name, "state": o.state, "bytes": o.state_bytes,
        "rows_in": o.rows_in, "rows_out": o.rows_out,
    })
}

/// The operators with what they hold and what the last cut that touched them was.
fn table(operators: &[OperatorStats]) -> String {
    let mut out = "Kept by, with rows in and out in the last cut, and bytes held on disk:\n".to_owned();
    for o in operators {
        let state = if o.state.is_empty() { String::new() } else { format!("  {}", o.state) };
        let name = format!("{:indent$}{}", "", o.name, indent = o.depth * 2);
        let _infallible =
            writeln!(out, "  {name:28} {:>9} in {:>9} out {:>12} bytes{state}", o.rows_in, o.rows_out, o.state_bytes);
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
