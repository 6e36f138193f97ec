//! `explain`: how a query is or would be kept, for people and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use ivm::OperatorStats;
use proto::v1;
use serde_json::json;

use crate::costs::notes;
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
        let mut sizes = Vec::new();
        let (plan, warnings, reads, operators) = if request.name.is_empty() {
            let (planned, tables) = self.plan(&request.query, &request.options.unwrap_or_default()).await?;
            sizes = topology::sizes(&self.members.get(), &tables).await;
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
        let notes = notes(&plan, &warnings, &sizes);
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
    let cuts = o
        .cuts
        .iter()
        .map(|c| json!({ "cut": c.seq.0, "rows_in": c.rows_in, "rows_out": c.rows_out, "ms": milliseconds(c.took) }));
    json!({
        "depth": o.depth, "operator": o.name, "ring": o.ring, "state": o.state,
        "holds": holds.collect::<Vec<_>>(), "cuts": cuts.collect::<Vec<_>>(),
    })
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// The operators with what they hold and what the last cuts that touched them were.
fn table(operators: &[OperatorStats]) -> String {
    let cuts = operators.first().map(|o| o.cuts.iter().map(|c| c.seq.to_string()).collect::<Vec<_>>());
    let cuts = cuts.filter(|cuts| !cuts.is_empty()).map_or("none yet".into(), |cuts| cuts.join(", "));
    let mut out = format!("Kept by, with rows in > out and the time taken in the last cuts ({cuts}):\n");
    for o in operators {
        let name = format!("{:indent$}{}", "", o.name, indent = o.depth * 2);
        let ring = if o.ring == 1 { "native" } else { "by PostgreSQL (ring 2)" };
        let flow = o.cuts.iter().map(|c| format!("{} > {} {:.1} ms", c.rows_in, c.rows_out, milliseconds(c.took)));
        let flow = flow.collect::<Vec<_>>().join(", ");
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
