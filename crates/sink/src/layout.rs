//! What a stream table looks like: as it is asked for, and as PostgreSQL has it.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;
use types::{Column, Oid, StreamId, TableName, quote_ident};

use crate::SinkError;
use crate::catalog;

/// The extra last column of a stream table without a natural key; a uuid, its primary key.
pub const ROW_ID: &str = "__tributary_row_id";

/// What makes a row unique.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeySpec {
    /// Columns that are unique together, NULLs equal to each other; none: there is exactly one row.
    Columns(Vec<usize>),
    /// Nothing natural: [`ROW_ID`] is added.
    RowId,
}

/// A stream table as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// Whose it is.
    pub stream: StreamId,
    /// Its name once it is published.
    pub name: TableName,
    /// The query's columns, without [`ROW_ID`].
    pub columns: Vec<Column>,
    /// What makes a row unique.
    pub key: KeySpec,
}

impl TableSpec {
    /// All columns' names, the row id's too.
    pub(crate) fn column_names(&self) -> Vec<&str> {
        let names = self.columns.iter().map(|c| c.name.as_str());
        names.chain((self.key == KeySpec::RowId).then_some(ROW_ID)).collect()
    }

    /// Positions of the key's columns among [`Self::column_names`].
    pub(crate) fn key_columns(&self) -> Vec<usize> {
        match &self.key {
            KeySpec::Columns(columns) => columns.clone(),
            KeySpec::RowId => vec![self.columns.len()],
        }
    }

    /// Whether the key can be a primary key.
    pub(crate) fn key_is_not_null(&self) -> bool {
        match &self.key {
            KeySpec::Columns(columns) => columns.iter().all(|&c| self.columns.get(c).is_some_and(|c| c.not_null)),
            KeySpec::RowId => true,
        }
    }

    /// The names of all columns, quoted and separated.
    pub(crate) fn column_list(&self) -> String {
        let quoted: Vec<_> = self.column_names().into_iter().map(quote_ident).collect();
        quoted.join(", ")
    }
}

/// A column as PostgreSQL has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayoutColumn {
    /// Its name, quoted.
    pub(crate) name: String,
    /// Its type.
    pub(crate) ty: Oid,
    /// The array type that carries many of its values in one parameter, as SQL writes it; `None` when `unnest`
    /// would not give such values back (arrays, composites).
    pub(crate) array: Option<String>,
    /// For a key column: the equality that the key's index goes by, as SQL writes an infix operator.
    pub(crate) equal: Option<String>,
}

/// A stream table as PostgreSQL has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) stream: StreamId,
    /// Quoted, with its schema.
    pub(crate) table: String,
    /// In the order of the rows' fields.
    pub(crate) columns: Vec<LayoutColumn>,
    /// Positions of the key's columns.
    pub(crate) key: Vec<usize>,
}

impl Layout {
    /// Reads how the table is now. Columns that somebody added are left alone.
    pub(crate) async fn load(client: &Client, spec: &TableSpec, table: &TableName) -> Result<Self, SinkError> {
        let (stream, table) = (spec.stream, table.quoted());
        let gone = |reason: String| SinkError::Stream { stream, reason };
        let found =
            catalog::columns(client, &table).await.map_err(SinkError::of_stream(stream, "reading the table"))?;
        let found =
            found.ok_or_else(|| gone(format!("table {table} is gone; `tributary stream rebuild` makes it again")))?;
        let mut columns = Vec::new();
        let mut numbers = Vec::new();
        for name in spec.column_names() {
            let column = found.iter().find(|c| c.name == name).ok_or_else(|| {
                gone(format!(
                    "column {} of {table} is gone; drop the stream table and create it again",
                    quote_ident(name)
                ))
            })?;
            numbers.push(column.number);
            let array = column.array.clone();
            columns.push(LayoutColumn { name: quote_ident(name), ty: column.ty, array, equal: None });
        }
        let key = spec.key_columns();
        if !key.is_empty() {
            let of_key: Vec<i16> = key.iter().filter_map(|&k| numbers.get(k).copied()).collect();
            let operators = catalog::key_operators(client, &table, &of_key)
                .await
                .map_err(SinkError::of_stream(stream, "reading the table's key"))?;
            if operators.len() != key.len() {
                return Err(gone(format!(
                    "the unique index over the key of {table} is gone; rebuild the stream table"
                )));
            }
            for (&column, operator) in key.iter().zip(operators) {
                if let Some(column) = columns.get_mut(column) {
                    column.equal = Some(operator);
                }
            }
        }
        Ok(Self { stream, table, columns, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{PgType, oid};

    fn spec(key: KeySpec) -> TableSpec {
        let column = |name: &str, not_null| Column {
            name: name.into(),
            ty: PgType::plain(oid::INT4),
            sql_type: "integer".into(),
            not_null,
        };
        let columns = vec![column("a", true), column("b\"c", false)];
        TableSpec { stream: StreamId(1), name: TableName::new("public", "t"), columns, key }
    }

    #[test]
    fn a_row_id_is_the_last_column_and_the_key() {
        let spec = spec(KeySpec::RowId);
        assert_eq!(spec.column_list(), "\"a\", \"b\"\"c\", \"__tributary_row_id\"");
        assert_eq!(spec.key_columns(), [2]);
        assert!(spec.key_is_not_null());
    }

    #[test]
    fn only_a_key_without_nulls_can_be_primary() {
        assert!(spec(KeySpec::Columns(vec![0])).key_is_not_null());
        assert!(!spec(KeySpec::Columns(vec![0, 1])).key_is_not_null());
    }
}
