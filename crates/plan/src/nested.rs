//! Stream tables that a query reads: their queries stand in for them, like those of views.
//!
//! So both are computed from the same rows at the same cut, whatever the order in which they are written.

use tokio_postgres::Client;
use types::{Oid, TableName, quote_ident};

use crate::PlanError;
use crate::analyze::{FIXED, PINNED};
use crate::catalog::{Catalog, asked};
use crate::row_id;

/// A stream table that queries may read.
#[derive(Debug, Clone)]
pub struct StreamView {
    /// Its table.
    pub name: TableName,
    /// Its query, as it was given.
    pub query: String,
    /// The settings that were pinned with it.
    pub settings: Vec<(String, String)>,
}

/// Those there are, and those that were met.
pub(crate) struct Nested<'a> {
    pub(crate) there_are: &'a [StreamView],
    /// Pinned with the query that is planned.
    pub(crate) settings: &'a [(String, String)],
    /// Each once, in no order.
    pub(crate) met: Vec<TableName>,
}

impl Nested<'_> {
    /// The analysed query of a relation that is a stream table; the relation is a view from here on.
    pub(crate) async fn query(
        &mut self,
        client: &Client,
        oid: Oid,
        catalog: &mut Catalog,
    ) -> Result<Option<String>, PlanError> {
        let Some(relation) = catalog.relations.get_mut(&oid) else { return Ok(None) };
        let Some(view) = self.there_are.iter().find(|v| v.name == relation.name) else { return Ok(None) };
        self.same_settings(view)?;
        let probe = format!("__tributary_probe_{}", self.met.len());
        self.met.push(view.name.clone());
        let path = view.settings.iter().find(|(name, _)| name == "search_path").map_or("", |(_, value)| value.as_str());
        let within = |e: tokio_postgres::Error| {
            let reason = e.as_db_error().map_or_else(|| e.to_string(), |db| db.message().to_owned());
            PlanError::Rejected(format!("the stream table {} cannot be analysed any more: {reason}", view.name))
        };
        let set = "SELECT pg_catalog.set_config('search_path', $1, true)";
        client.query(set, &[&path]).await.map_err(asked)?;
        let text = view.query.trim().trim_end_matches(';');
        client
            .execute(&format!("CREATE TEMPORARY VIEW {} AS {text}\n", quote_ident(&probe)), &[])
            .await
            .map_err(within)?;
        client.query(set, &[&"pg_catalog, pg_temp"]).await.map_err(asked)?;
        let rule = "SELECT r.ev_action::text, r.ev_class FROM pg_catalog.pg_rewrite r
            WHERE r.ev_class = ('pg_temp.' || $1)::pg_catalog.regclass AND r.rulename = '_RETURN'";
        let row = client.query_one(rule, &[&probe]).await.map_err(asked)?;
        // Where it shows all columns of another one, what tells the other's rows apart is not among its own.
        let columns =
            "SELECT count(*) FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum > 0 AND attname <> $2";
        let width: i64 =
            client.query_one(columns, &[&row.get::<_, Oid>(1), &row_id::NAME]).await.map_err(asked)?.get(0);
        relation.kind = 'v';
        relation.is_stream = true;
        // What the table has besides is tributary's own.
        relation.columns.retain(|attribute, _| *attribute <= width);
        Ok(Some(row.get(0)))
    }

    fn same_settings(&self, view: &StreamView) -> Result<(), PlanError> {
        for (name, value) in &view.settings {
            let here = self.settings.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
            if name != "search_path" && here != value {
                return Err(PlanError::refused(
                    format!("the stream table {} under other settings", view.name),
                    format!("it was defined with {name} = {value}, and this query has {here}"),
                    format!("define both with --set {name}={value}"),
                ));
            }
        }
        // What is pinned without being asked for is in both.
        let asked_for = |name: &str| !PINNED.contains(&name) && FIXED.iter().all(|(fixed, _)| *fixed != name);
        let here_only = |name: &str| asked_for(name) && view.settings.iter().all(|(other, _)| name != other);
        match self.settings.iter().find(|(name, _)| here_only(name)) {
            Some((name, value)) => Err(PlanError::refused(
                format!("the stream table {} under other settings", view.name),
                format!("it was defined without {name}, and this query has {value}"),
                format!("define both with --set {name}={value}, or neither"),
            )),
            None => Ok(()),
        }
    }
}
