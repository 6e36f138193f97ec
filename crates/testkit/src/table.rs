//! Tables of a test cluster, said once and made as each kind of cluster makes them.

use anyhow::Context;

use crate::cluster::{Cluster, Kind};

/// Where a table's rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind<'a> {
    /// Sharded over the workers by this column.
    Distributed(&'a str),
    /// On every node (Citus); an ordinary table of the coordinator elsewhere.
    Reference,
    /// An ordinary table of the coordinator.
    Local,
}

/// A table to be made.
#[derive(Debug, Clone, Copy)]
pub struct TableSpec<'a> {
    /// Its name, in `public`.
    pub name: &'a str,
    /// Column definitions, with types, defaults and NOT NULL but without the primary key.
    pub columns: &'a str,
    /// The primary key's columns, separated by commas; empty for none, and then the replica identity is FULL.
    pub primary_key: &'a str,
    /// Where its rows are. A distributed table's key must be part of its primary key.
    pub kind: TableKind<'a>,
    /// For a distributed table: the table whose shards lie beside its own.
    pub colocate_with: Option<&'a str>,
}

/// Hash partitions of a distributed table in an [`Kind::Fdw`] cluster.
const FDW_PARTITIONS: usize = 4;

impl TableSpec<'_> {
    /// The ordinary table of this definition under another name.
    fn ddl(&self, name: &str) -> String {
        let Self { columns, primary_key, .. } = self;
        if primary_key.is_empty() {
            format!("CREATE TABLE {name} ({columns}); ALTER TABLE {name} REPLICA IDENTITY FULL;")
        } else {
            format!("CREATE TABLE {name} ({columns}, PRIMARY KEY ({primary_key}));")
        }
    }
}

impl Cluster {
    /// Makes a table as this kind of cluster does.
    ///
    /// # Errors
    /// A server's.
    pub async fn create_table(&self, spec: &TableSpec<'_>) -> anyhow::Result<()> {
        let name = spec.name;
        match (self.kind(), spec.kind) {
            (Kind::Citus, TableKind::Distributed(key)) => {
                let colocation = spec.colocate_with.unwrap_or("default");
                let distribute =
                    format!("SELECT create_distributed_table('{name}', '{key}', colocate_with => '{colocation}')");
                self.run(&format!("{} {distribute}", spec.ddl(name))).await
            }
            (Kind::Citus, TableKind::Reference) => {
                self.run(&format!("{} SELECT create_reference_table('{name}')", spec.ddl(name))).await
            }
            (Kind::Fdw, TableKind::Distributed(key)) => self.create_over_fdw(spec, key).await,
            _ => self.run(&spec.ddl(name)).await,
        }
        .with_context(|| format!("making the table {name}"))
    }

    /// Partitions by hash, the physical tables on the workers in turn.
    async fn create_over_fdw(&self, spec: &TableSpec<'_>, key: &str) -> anyhow::Result<()> {
        let (name, workers) = (spec.name, self.nodes().len() - 1);
        self.run(&format!("CREATE TABLE {name} ({}) PARTITION BY HASH ({key})", spec.columns)).await?;
        for part in 0..FDW_PARTITIONS {
            let worker = part % workers + 1;
            let physical = format!("{name}_p{part}");
            self.client_of(worker).await?.batch_execute(&spec.ddl(&physical)).await?;
            self.run(&format!(
                "CREATE FOREIGN TABLE {physical} PARTITION OF {name}
                     FOR VALUES WITH (MODULUS {FDW_PARTITIONS}, REMAINDER {part})
                     SERVER w{worker} OPTIONS (schema_name 'public', table_name '{physical}')"
            ))
            .await?;
        }
        Ok(())
    }

    /// Makes a type (an enum, say) that tables of any node can use.
    ///
    /// # Errors
    /// A server's.
    pub async fn create_type(&self, sql: &str) -> anyhow::Result<()> {
        match self.kind() {
            // Citus carries it to the workers itself.
            Kind::Citus | Kind::Single => self.run(sql).await,
            Kind::Fdw => self.run_everywhere(sql).await,
        }
    }
}
