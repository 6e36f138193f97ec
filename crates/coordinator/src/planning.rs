//! Queries checked against the cluster.

use std::collections::HashMap;

use plan::{PlanOptions, Planned};
use proto::v1;
use topology::{LogicalTable, Provider};
use types::{Consistency, TableName};

use crate::catalog::Entry;
use crate::error::RequestError;
use crate::requests::Requests;

impl Requests {
    /// A query checked against the cluster, with the physical tables behind it.
    pub(crate) async fn plan(
        &self,
        query: &str,
        options: &v1::Options,
    ) -> Result<(Planned, Vec<LogicalTable>), RequestError> {
        let client = wal::connect(&self.endpoint, "tributary planner").await.map_err(RequestError::unavailable)?;
        let refused = |e: &dyn std::fmt::Display| RequestError::Refused(e.to_string());
        let mut plan_options = PlanOptions {
            settings: options.settings.clone().into_iter().collect(),
            allow_row_security: options.allow_row_security,
            identity_hint: HashMap::new(),
            stream_tables: self.catalog.all().into_iter().map(view).collect(),
        };
        if self.members.get().provider == Provider::Fdw {
            self.look_for_nodes().await;
        }
        let cluster = self.members.get();
        let mut unstreamable = Vec::new();
        if cluster.provider == Provider::Fdw {
            // Foreign partitions have no keys in the parent: the physical tables say what identifies a row.
            let sql = "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                       WHERE c.relkind = 'p' AND NOT c.relispartition AND EXISTS (
                           SELECT FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid AND l.relkind = 'f')";
            let rows = client.query(sql, &[]).await.map_err(|e| RequestError::Unavailable(wal::describe(&e)))?;
            for row in rows {
                let name = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
                match topology::tables(&client, &cluster, std::slice::from_ref(&name)).await {
                    Ok(tables) => {
                        plan_options.identity_hint.extend(tables.into_iter().map(|t| (t.relation, t.identity)));
                    }
                    // Which only matters if the query reads it.
                    Err(error) => unstreamable.push((format!("table {name}:"), error)),
                }
            }
        }
        let planned = plan::plan(&client, query, &plan_options).await.map_err(|e| {
            let text = e.to_string();
            // Planning knows only that such a table has no key.
            match unstreamable.iter().find(|(table, _)| text.starts_with(table)) {
                Some((_, reason)) => refused(reason),
                None => refused(&e),
            }
        })?;
        // The query may read types that were made since the start.
        let types = plan::environment(&client).await.map_err(RequestError::unavailable)?;
        self.call(move |room| {
            room.engine.learn_types(types);
            Ok(())
        })
        .await?;
        let beside = self.catalogs.beside(self.consistency);
        if let Some(other) = planned.plan.sources.iter().find_map(|s| beside.by_name(&s.table)) {
            let this = self.consistency;
            let that = if this == Consistency::Atomic { Consistency::PerNode } else { Consistency::Atomic };
            return Err(RequestError::Refused(format!(
                "{} is a stream table of consistency {that}: it advances by other cuts than one of consistency {this}, \
                 which cannot read it; give both the same",
                other.name
            )));
        }
        let names: Vec<_> = planned.plan.sources.iter().map(|s| s.table.clone()).collect();
        let tables = topology::tables(&client, &cluster, &names).await.map_err(|e| refused(&e))?;
        for table in &tables {
            if table.row_security && !options.allow_row_security {
                return Err(RequestError::Refused(format!(
                    "{} is under row-level security, and the stream table would show its readers what this role sees; \
                     say --allow-row-security if that is meant",
                    table.name
                )));
            }
        }
        Ok((planned, tables))
    }
}

/// A stream table as others may read it.
fn view(entry: Entry) -> plan::StreamView {
    plan::StreamView { name: entry.name, query: entry.query, settings: entry.plan.settings }
}
