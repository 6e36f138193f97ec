//! A stream table's first content, in a hidden table that is put in place later.
//!
//! The hidden table has its key only after the COPY, which is faster. Its rows are frozen as they are written, so that
//! also a transaction that began before sees them once the table is in place.

use tokio::sync::mpsc;
use tokio_postgres::Client;
use types::{Row, StreamId, TableName, quote_ident};

use crate::catalog;
use crate::copy::CopyIn;
use crate::layout::{KeySpec, ROW_ID, TableSpec};
use crate::{Instance, Sink, SinkError};

/// PostgreSQL's limit for an index.
const MOST_KEY_COLUMNS: usize = 32;
/// PostgreSQL's limit for a table.
const MOST_COLUMNS: usize = 1600;

impl Instance {
    /// The hidden table of a stream table. Its name is free in every schema, because no other instance makes it.
    pub(crate) fn staging(&self, stream: StreamId) -> TableName {
        TableName::new(self.schema(), format!("__{}_{stream}", self.schema()))
    }

    /// The name of its key's index; unique in every schema, so that it can stay when the table moves.
    fn key_name(&self, stream: StreamId) -> String {
        format!("__{}_{stream}_key", self.schema())
    }
}

impl Sink {
    /// Makes the hidden table, empty; one that an earlier attempt left is dropped. A published table of this stream
    /// stays as it is until [`crate::SinkBatch::publish`].
    ///
    /// # Errors
    /// [`SinkError::Exists`] when another relation has the name, [`SinkError::Refused`] when PostgreSQL cannot have such
    /// a table or the role may not make it; nothing is left then.
    pub async fn create_staging(&self, spec: &TableSpec) -> Result<(), SinkError> {
        let client = self.catalog_session().await?;
        self.check_schema(&client, &spec.name).await?;
        check_limits(spec)?;
        if !self.published(&client, spec.stream).await? && catalog::relation_exists(&client, &spec.name).await? {
            return Err(SinkError::Exists { name: spec.name.to_string() });
        }
        let types: Vec<_> = spec.columns.iter().map(|c| (c.ty.oid, c.ty.collation)).collect();
        let what = "creating the table of a stream table";
        let collations = catalog::collations(&client, &types).await.map_err(SinkError::pg(what))?;
        let key = spec.key_columns();
        let primary = spec.key_is_not_null();
        let columns = spec.columns.iter().zip(collations).enumerate().map(|(n, (column, collation))| {
            let not_null = if primary && key.contains(&n) { " NOT NULL" } else { "" };
            format!("{} {}{collation}{not_null}", quote_ident(&column.name), column.sql_type)
        });
        let row_id = (spec.key == KeySpec::RowId).then(|| format!("{} uuid NOT NULL", quote_ident(ROW_ID)));
        let columns: Vec<_> = columns.chain(row_id).collect();
        let staging = self.instance().staging(spec.stream).quoted();
        let sql = format!("DROP TABLE IF EXISTS {staging}; CREATE TABLE {staging} ({})", columns.join(", "));
        client.batch_execute(&sql).await.map_err(|source| {
            if crate::error::is_transient(&source) {
                SinkError::Postgres { what, source }
            } else {
                SinkError::Refused(format!("{what}: {}", crate::error::describe(&source)))
            }
        })
    }

    /// Fills the hidden table with the rows that come, then makes its key; what was in it before goes. Ends when the
    /// channel's senders are gone. One transaction: if it fails, or is dropped, the table is as it was.
    ///
    /// # Errors
    /// [`SinkError::Stream`] when the rows do not fit the table or are not unique by the key.
    pub async fn copy_into_staging(
        &self,
        spec: &TableSpec,
        mut rows: mpsc::Receiver<Vec<Row>>,
    ) -> Result<u64, SinkError> {
        let client = self.own_session().await?;
        let staging = self.instance().staging(spec.stream).quoted();
        let failed = SinkError::of_stream(spec.stream, "filling the table for the first time");
        let key_name = quote_ident(&self.instance().key_name(spec.stream));
        let begin = format!(
            "BEGIN; SET LOCAL synchronous_commit = on;
             ALTER TABLE {staging} DROP CONSTRAINT IF EXISTS {key_name};
             DROP INDEX IF EXISTS {}.{key_name}; TRUNCATE {staging}",
            self.instance().quoted()
        );
        client.batch_execute(&begin).await.map_err(failed)?;
        let sql = format!("COPY {staging} ({}) FROM STDIN (FORMAT binary, FREEZE)", spec.column_list());
        let statement = client.prepare(&sql).await.map_err(failed)?;
        let mut copy = CopyIn::begin(&client, &statement).await.map_err(failed)?;
        let columns = spec.column_names().len();
        while let Some(chunk) = rows.recv().await {
            for row in &chunk {
                copy.row(row, columns).await.map_err(failed)?;
            }
        }
        let count = copy.finish().await.map_err(failed)?;
        let key = key_sql(spec, &staging, &key_name);
        client.batch_execute(&format!("{key} ANALYZE {staging}; COMMIT")).await.map_err(failed)?;
        Ok(count)
    }

    /// Drops a stream table: its table if it was published, the hidden one, and its definition.
    ///
    /// # Errors
    /// [`SinkError::Refused`] when something in the database depends on the table, or readers hold it for long.
    pub async fn drop_table(&self, spec: &TableSpec) -> Result<(), SinkError> {
        let client = self.own_session().await?;
        let what = "dropping a stream table";
        let published = self.published(&client, spec.stream).await?;
        let staging = self.instance().staging(spec.stream).quoted();
        let table = if published { format!("DROP TABLE IF EXISTS {};", spec.name.quoted()) } else { String::new() };
        let sql = format!(
            "BEGIN; SET LOCAL lock_timeout = '30s'; {table} DROP TABLE IF EXISTS {staging};
             DELETE FROM {}.stream_tables WHERE id = {}; COMMIT",
            self.instance().quoted(),
            spec.stream
        );
        client.batch_execute(&sql).await.map_err(|source| match source.as_db_error() {
            Some(db) if db.code().code().starts_with("2B") => SinkError::Refused(format!(
                "{} is used by others: {}; drop those first",
                spec.name,
                db.detail().unwrap_or_default().replace('\n', ", ")
            )),
            _ => SinkError::Postgres { what, source },
        })
    }

    /// Gives a published stream table another name, in its definition too.
    ///
    /// # Errors
    /// [`SinkError::Exists`] when the name is taken, [`SinkError::Refused`] when the role may not create it there.
    pub async fn rename_table(&self, spec: &TableSpec, to: &TableName) -> Result<(), SinkError> {
        self.check_free(to).await?;
        let client = self.own_session().await?;
        let mut sql = String::from("BEGIN;");
        if self.published(&client, spec.stream).await? {
            sql.push_str(&move_sql(&spec.name, to));
        }
        sql.push_str(&format!(
            "UPDATE {}.stream_tables SET schema_name = {}, table_name = {} WHERE id = {}; COMMIT",
            self.instance().quoted(),
            types::quote_literal(&to.schema),
            types::quote_literal(&to.name),
            spec.stream
        ));
        // The writer knows the old name.
        let mut writer = self.writer().await;
        *writer = None;
        client.batch_execute(&sql).await.map_err(SinkError::pg("renaming a stream table"))
    }

    /// Whether the stream's table was put in its place once.
    async fn published(&self, client: &Client, stream: StreamId) -> Result<bool, SinkError> {
        let sql = format!("SELECT published FROM {}.stream_tables WHERE id = $1", self.instance().quoted());
        let row = client.query_opt(&sql, &[&i64::from(stream.0)]).await;
        Ok(row.map_err(SinkError::pg("reading a definition"))?.is_some_and(|row| row.get(0)))
    }
}

/// Renames and moves: to a name that is free there.
pub(crate) fn move_sql(from: &TableName, to: &TableName) -> String {
    let mut sql = String::new();
    let mut here = from.clone();
    if from.schema != to.schema {
        sql.push_str(&format!("ALTER TABLE {} SET SCHEMA {};", here.quoted(), quote_ident(&to.schema)));
        here.schema.clone_from(&to.schema);
    }
    if here.name != to.name {
        sql.push_str(&format!("ALTER TABLE {} RENAME TO {};", here.quoted(), quote_ident(&to.name)));
    }
    sql
}

/// The key, made when the rows are there. A table of one row needs none.
fn key_sql(spec: &TableSpec, quoted: &str, key_name: &str) -> String {
    let names = spec.column_names();
    let columns: Vec<_> = spec.key_columns().iter().filter_map(|&k| names.get(k).copied()).map(quote_ident).collect();
    if columns.is_empty() {
        return String::new();
    }
    let columns = columns.join(", ");
    if spec.key_is_not_null() {
        format!("ALTER TABLE {quoted} ADD CONSTRAINT {key_name} PRIMARY KEY ({columns});")
    } else {
        format!("CREATE UNIQUE INDEX {key_name} ON {quoted} ({columns}) NULLS NOT DISTINCT;")
    }
}

fn check_limits(spec: &TableSpec) -> Result<(), SinkError> {
    let key = spec.key_columns();
    let columns = spec.column_names().len();
    if let Some(out) = key.iter().find(|&&k| k >= columns) {
        return Err(SinkError::Damaged(format!(
            "key column {out} of {} is not among its {columns} columns",
            spec.name
        )));
    }
    if key.len() > MOST_KEY_COLUMNS {
        return Err(SinkError::Refused(format!(
            "the query's rows are unique by {} columns together; PostgreSQL's indexes have at most {MOST_KEY_COLUMNS}",
            key.len()
        )));
    }
    if columns > MOST_COLUMNS {
        return Err(SinkError::Refused(format!("the query has {columns} columns; a table has at most {MOST_COLUMNS}")));
    }
    if spec.key == KeySpec::RowId && spec.columns.iter().any(|c| c.name == ROW_ID) {
        return Err(SinkError::Refused(format!("a column of the query is called {ROW_ID}; give it another name")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_tables_of_two_instances_never_have_the_same_name() {
        let a = Instance::new("default").unwrap();
        let b = Instance::new("b").unwrap();
        assert_eq!(a.staging(StreamId(5)), TableName::new("tributary", "__tributary_5"));
        assert_ne!(a.key_name(StreamId(5)), b.key_name(StreamId(5)));
    }

    #[test]
    fn a_table_is_moved_and_renamed_only_as_far_as_needed() {
        let a = TableName::new("tributary", "x");
        assert_eq!(
            move_sql(&a, &TableName::new("public", "t")),
            "ALTER TABLE \"tributary\".\"x\" SET SCHEMA \"public\";ALTER TABLE \"public\".\"x\" RENAME TO \"t\";"
        );
        assert_eq!(move_sql(&a, &a), "");
    }
}
