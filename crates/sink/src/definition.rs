//! The durable definitions: `tributary.stream_tables` is the truth about what is kept.

use serde::Deserialize;
use tokio_postgres::error::SqlState;
use types::{Column, StreamId, TableName};

use crate::layout::{KeySpec, TableSpec};
use crate::{Sink, SinkError};

/// One stream table as it was defined.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Its number, never reused.
    pub id: StreamId,
    /// Its table.
    pub name: TableName,
    /// The query as it was given.
    pub query: String,
    /// The plan made of it; opaque here.
    pub plan: serde_json::Value,
    /// The options it was given; opaque here.
    pub options: serde_json::Value,
    /// `building`, `active`, `paused` or `failed`.
    pub state: String,
    /// Why it is stopped; empty when it is kept.
    pub reason: String,
    /// The query's columns.
    pub columns: Vec<Column>,
    /// What makes a row unique.
    pub key: KeySpec,
}

impl Definition {
    /// The table that it needs.
    #[must_use]
    pub fn table_spec(&self) -> TableSpec {
        TableSpec { stream: self.id, name: self.name.clone(), columns: self.columns.clone(), key: self.key.clone() }
    }
}

impl Sink {
    /// All definitions of the instance's consistency, by number.
    ///
    /// # Errors
    /// Those of the connection; [`SinkError::Damaged`] for a row that this program did not write.
    pub async fn list(&self) -> Result<Vec<Definition>, SinkError> {
        let client = self.catalog_session().await?;
        let sql = format!(
            "SELECT id, schema_name, table_name, query, plan::pg_catalog.text, options, state, reason, columns, key
             FROM {}.stream_tables WHERE consistency = $1 ORDER BY id",
            self.instance().quoted()
        );
        let rows = client
            .query(&sql, &[&self.instance().consistency().name()])
            .await
            .map_err(SinkError::pg("reading the definitions"))?;
        let definition = |row: &tokio_postgres::Row| {
            let id = stream_id(row.get(0))?;
            Ok(Definition {
                id,
                name: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
                query: row.get(3),
                plan: deep(row.get(4), id)?,
                options: row.get(5),
                state: row.get(6),
                reason: row.get(7),
                columns: from_json(row.get(8), id)?,
                key: from_json(row.get(9), id)?,
            })
        };
        rows.iter().map(definition).collect()
    }

    /// Adds a definition.
    ///
    /// # Errors
    /// [`SinkError::Exists`] when there is one of that name.
    pub async fn insert(&self, definition: &Definition) -> Result<(), SinkError> {
        let sql = "INSERT INTO {schema}.stream_tables
            (id, schema_name, table_name, query, plan, options, state, reason, columns, key, consistency)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        self.write_definition(sql, definition).await.map(drop)
    }

    /// Puts this definition in the place of the one with its number, of whichever consistency that is.
    ///
    /// # Errors
    /// [`SinkError::Exists`] when another one has the name.
    pub async fn replace(&self, definition: &Definition) -> Result<(), SinkError> {
        let sql = "UPDATE {schema}.stream_tables SET schema_name = $2, table_name = $3, query = $4, plan = $5,
            options = $6, state = $7, reason = $8, columns = $9, key = $10, consistency = $11 WHERE id = $1";
        match self.write_definition(sql, definition).await? {
            0 => Err(SinkError::Damaged(format!("stream table {} has no definition in the target", definition.name))),
            _ => Ok(()),
        }
    }

    async fn write_definition(&self, sql: &str, definition: &Definition) -> Result<u64, SinkError> {
        let client = self.catalog_session().await?;
        let json = |value: Result<serde_json::Value, serde_json::Error>| {
            value.map_err(|e| SinkError::Damaged(format!("a definition that cannot be written: {e}")))
        };
        let columns = json(serde_json::to_value(&definition.columns))?;
        let key = json(serde_json::to_value(&definition.key))?;
        let written = client
            .execute(
                &sql.replace("{schema}", &self.instance().quoted()),
                &[
                    &i64::from(definition.id.0),
                    &definition.name.schema,
                    &definition.name.name,
                    &definition.query,
                    &definition.plan,
                    &definition.options,
                    &definition.state,
                    &definition.reason,
                    &columns,
                    &key,
                    &self.instance().consistency().name(),
                ],
            )
            .await;
        written.map_err(|source| match source.code() {
            Some(&SqlState::UNIQUE_VIOLATION) => SinkError::Exists { name: definition.name.to_string() },
            _ => SinkError::Postgres { what: "writing a definition", source },
        })
    }

    /// Notes where a stream table stands: `building`, `active`, `paused` or `failed`, and why.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn set_state(&self, id: StreamId, state: &str, reason: &str) -> Result<(), SinkError> {
        let client = self.catalog_session().await?;
        let sql =
            format!("UPDATE {}.stream_tables SET state = $2, reason = $3 WHERE id = $1", self.instance().quoted());
        let done = client.execute(&sql, &[&i64::from(id.0), &state, &reason]).await;
        done.map(drop).map_err(SinkError::pg("noting a stream table's state"))
    }

    /// Forgets a definition; its table stays (see [`Self::drop_table`]).
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn remove(&self, id: StreamId) -> Result<(), SinkError> {
        let client = self.catalog_session().await?;
        let sql = format!("DELETE FROM {}.stream_tables WHERE id = $1", self.instance().quoted());
        client.execute(&sql, &[&i64::from(id.0)]).await.map(drop).map_err(SinkError::pg("removing a definition"))
    }

    /// A number for a new stream table; never given twice while the schema lives.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn new_stream_id(&self) -> Result<StreamId, SinkError> {
        let client = self.catalog_session().await?;
        let sql = "SELECT pg_catalog.nextval($1::text::regclass)";
        let sequence = format!("{}.stream_ids", self.instance().quoted());
        let row = client.query_one(sql, &[&sequence]).await.map_err(SinkError::pg("numbering a stream table"))?;
        stream_id(row.get(0))
    }
}

fn stream_id(value: i64) -> Result<StreamId, SinkError> {
    u32::try_from(value).map(StreamId).map_err(|_| SinkError::Damaged(format!("{value} numbers no stream table")))
}

/// A plan is as deep as its query: what was written is read, whatever its depth.
fn deep(text: &str, id: StreamId) -> Result<serde_json::Value, SinkError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    serde_json::Value::deserialize(&mut reader).map_err(|e| unreadable(&e, id))
}

fn unreadable(error: &serde_json::Error, id: StreamId) -> SinkError {
    SinkError::Damaged(format!("the definition of stream table {id} was not written by this version: {error}"))
}

fn from_json<T: serde::de::DeserializeOwned>(json: serde_json::Value, id: StreamId) -> Result<T, SinkError> {
    serde_json::from_value(json).map_err(|e| unreadable(&e, id))
}
