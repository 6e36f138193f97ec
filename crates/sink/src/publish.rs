//! A staged content becomes readable, within the transaction of its first cut.
//!
//! The first time, the hidden table is moved to its name. Later (a rebuild) the content of the table in place is
//! replaced by plain DELETE and INSERT: its rights, its indexes and the views over it stay, and every reader sees
//! either the old content or the new one.

use tokio_postgres::Client;
use types::{StreamId, TableName};

use crate::catalog;
use crate::layout::{KeySpec, TableSpec};
use crate::staging::move_sql;
use crate::{Instance, SinkError};

/// What the definitions say of a stream's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) spec: TableSpec,
    pub(crate) published: bool,
}

/// Reads it; an unknown stream is an error of that stream.
pub(crate) async fn known(client: &Client, instance: &Instance, stream: StreamId) -> Result<Known, SinkError> {
    let sql = format!(
        "SELECT schema_name, table_name, columns, key, published FROM {}.stream_tables WHERE id = $1",
        instance.quoted()
    );
    let failed = SinkError::of_stream(stream, "reading its definition");
    let row = client.query_opt(&sql, &[&i64::from(stream.0)]).await.map_err(failed)?;
    let damaged = |reason: String| SinkError::Stream { stream, reason };
    let row = row.ok_or_else(|| damaged("it has no definition in the target".into()))?;
    let unreadable = |e: serde_json::Error| damaged(format!("its definition was not written by this version: {e}"));
    let columns = serde_json::from_value(row.get(2)).map_err(unreadable)?;
    let key: KeySpec = serde_json::from_value(row.get(3)).map_err(unreadable)?;
    let name = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
    Ok(Known { spec: TableSpec { stream, name, columns, key }, published: row.get(4) })
}

/// Makes the staged content the stream table's. Within the cut's transaction.
pub(crate) async fn publish(client: &Client, instance: &Instance, stream: StreamId) -> Result<(), SinkError> {
    let Known { spec, published } = known(client, instance, stream).await?;
    let failed = SinkError::of_stream(stream, "putting its content in place");
    let staging = instance.staging(stream);
    let (from, to) = (staging.quoted(), spec.name.quoted());
    let staged = catalog::columns(client, &from).await.map_err(failed)?;
    let staged = staged.ok_or_else(|| SinkError::Stream { stream, reason: "it has no staged content".into() })?;
    let present = catalog::columns(client, &to).await.map_err(failed)?;
    let shapes = |columns: &[catalog::FoundColumn]| -> Vec<_> {
        columns.iter().map(|c| (c.name.clone(), c.sql_type.clone())).collect()
    };
    let sql = match present {
        None => move_sql(&staging, &spec.name),
        Some(_) if !published => {
            let reason = SinkError::Exists { name: spec.name.to_string() }.to_string();
            return Err(SinkError::Stream { stream, reason });
        }
        Some(present) if shapes(&staged).iter().all(|column| shapes(&present).contains(column)) => {
            let columns = spec.column_list();
            format!("DELETE FROM {to}; INSERT INTO {to} ({columns}) SELECT {columns} FROM {from}; DROP TABLE {from};")
        }
        Some(_) => format!("DROP TABLE {to}; {}", move_sql(&staging, &spec.name)),
    };
    let sql = format!(
        "{sql} UPDATE {}.stream_tables SET published = true, state = 'active', reason = '' WHERE id = {stream}",
        instance.quoted()
    );
    client.batch_execute(&sql).await.map_err(failed)
}
