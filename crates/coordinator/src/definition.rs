//! A stream table's definition: its name as people write it, and what the target keeps of it.

use plan::OutputKey;
use proto::v1;
use sink::{Definition, KeySpec, TableSpec};
use types::TableName;

use crate::catalog::{Entry, StreamState};
use crate::error::RequestError;

/// A name as users write it: `name` is in schema public, quotes keep case.
pub(crate) fn parse_name(text: &str) -> Result<TableName, RequestError> {
    let mut parts: Vec<String> = Vec::new();
    let mut part = String::new();
    let mut chars = text.trim().chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => part.extend(chars.next()),
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            c if quoted => part.push(c),
            c if c.is_alphanumeric() || c == '_' || c == '$' => part.extend(c.to_lowercase()),
            _ => {
                return Err(RequestError::Refused(format!(
                    "'{text}' is not a table name; quote what is special in it"
                )));
            }
        }
    }
    parts.push(part);
    let bad = quoted || parts.len() > 2 || parts.iter().any(|p| p.is_empty() || p.len() > 63);
    match <[String; 2]>::try_from(parts) {
        _ if bad => {
            Err(RequestError::Refused(format!("'{text}' is not a table name (schema.name, at most 63 bytes each)")))
        }
        Ok([schema, name]) => Ok(TableName { schema, name }),
        Err(mut one) => Ok(TableName { schema: "public".into(), name: one.remove(0) }),
    }
}

/// The definition as the target keeps it.
pub(crate) fn definition(entry: &Entry) -> Result<Definition, RequestError> {
    let options = serde_json::json!({
        "allow_row_security": entry.options.allow_row_security,
        "settings": entry.options.settings,
        "warnings": entry.warnings,
        "reads": entry.reads,
    });
    Ok(Definition {
        id: entry.id,
        name: entry.name.clone(),
        query: entry.query.clone(),
        plan: serde_json::to_value(&entry.plan).map_err(RequestError::internal)?,
        options,
        state: entry.state.name().to_owned(),
        reason: entry.state.reason().to_owned(),
        columns: entry.plan.output.clone(),
        key: key_spec(&entry.plan.key),
    })
}

/// A definition as the catalog has it. `None` when its plan cannot be read (another version wrote it): it is planned again.
pub(crate) fn entry_of(definition: &Definition) -> Option<Entry> {
    let settings = definition.options.get("settings").and_then(|s| serde_json::from_value(s.clone()).ok());
    let warnings = definition.options.get("warnings").and_then(|w| serde_json::from_value(w.clone()).ok());
    let reads = definition.options.get("reads").and_then(|r| serde_json::from_value(r.clone()).ok());
    Some(Entry {
        id: definition.id,
        name: definition.name.clone(),
        query: definition.query.clone(),
        options: v1::Options {
            allow_row_security: definition.options.get("allow_row_security").and_then(serde_json::Value::as_bool)
                == Some(true),
            settings: settings.unwrap_or_default(),
        },
        plan: serde_json::from_value(definition.plan.clone()).ok()?,
        warnings: warnings.unwrap_or_default(),
        reads: reads.unwrap_or_default(),
        sources: Vec::new(),
        state: StreamState::read(&definition.state, &definition.reason),
        stopped_at: types::Seq(0),
    })
}

fn key_spec(key: &OutputKey) -> KeySpec {
    match key {
        OutputKey::Columns(columns) => KeySpec::Columns(columns.clone()),
        OutputKey::RowId => KeySpec::RowId,
    }
}

pub(crate) fn table_spec(entry: &Entry) -> TableSpec {
    TableSpec {
        stream: entry.id,
        name: entry.name.clone(),
        columns: entry.plan.output.clone(),
        key: key_spec(&entry.plan.key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_sql_reads_them() {
        let ok = |text: &str| parse_name(text).unwrap().to_string();
        assert_eq!(ok("Totals"), "public.totals");
        assert_eq!(ok("app.totals"), "app.totals");
        assert_eq!(ok("\"My App\".\"a\"\"b\""), "My App.a\"b");
        for bad in ["", "a.b.c", "a b", "\"a", "a.", "x;drop"] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }
}
