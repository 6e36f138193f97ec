//! How commands show stream tables.

use proto::v1;
use proto::v1::stream_table::State;
use serde_json::json;

use crate::cli::text;

/// What came of a request.
pub(crate) fn outcome(table: &v1::StreamTable) -> String {
    match table.state() {
        State::Active => format!("{} is exact at cut {} ({})", table.name, table.seq, text::rows(table.rows)),
        State::Building | State::Unspecified => format!("{} is being built", table.name),
        State::Paused => format!("{} is paused at cut {}", table.name, table.seq),
        State::Failed => format!("{} is stopped at cut {}: {}", table.name, table.seq, table.reason),
    }
}

/// A state as commands show it.
pub(crate) fn state_name(state: State) -> &'static str {
    match state {
        State::Unspecified => "unknown",
        State::Building => "building",
        State::Active => "active",
        State::Paused => "paused",
        State::Failed => "failed",
    }
}

/// A consistency as commands show it.
pub(crate) fn consistency_name(consistency: v1::Consistency) -> &'static str {
    match consistency {
        v1::Consistency::Unspecified | v1::Consistency::Atomic => "atomic",
        v1::Consistency::PerNode => "per-node",
    }
}

/// The table that `list` and `status` show.
pub(crate) fn summary(tables: &[v1::StreamTable]) -> String {
    let rows: Vec<_> = tables
        .iter()
        .map(|t| {
            let state = state_name(t.state()).to_owned();
            let consistency = consistency_name(t.consistency()).to_owned();
            let (seq, rows) = (t.seq.to_string(), text::number(t.rows));
            vec![t.name.clone(), state, consistency, seq, rows, t.sources.join(", "), t.reason.clone()]
        })
        .collect();
    text::table(&["STREAM TABLE", "STATE", "CONSISTENCY", "CUT", "ROWS", "SOURCES", "REASON"], &rows)
}

/// All that is known of a stream table.
pub(crate) fn as_json(t: &v1::StreamTable) -> serde_json::Value {
    json!({
        "name": t.name,
        "id": t.id,
        "query": t.query,
        "state": state_name(t.state()),
        "consistency": consistency_name(t.consistency()),
        "reason": t.reason,
        "seq": t.seq,
        "rows": t.rows,
        "sources": t.sources,
        "reads": t.reads,
        "warnings": t.warnings,
        "columns": t.columns.iter().map(|c| json!({"name": c.name, "type": c.r#type})).collect::<Vec<_>>(),
        "key": t.key,
        "options": t.options.as_ref().map(|o| json!({"allow_row_security": o.allow_row_security, "settings": o.settings})),
    })
}
