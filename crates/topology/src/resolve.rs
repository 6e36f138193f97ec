//! Table names to logical tables: what kind each is, where its rows are, and whether they can be streamed at all.
//!
//! A name is refused here, before anything is made, when its rows are not in the WAL (views, foreign, unlogged and
//! columnar tables), when a row's old version could not be told (no replica identity), or when one key would not be
//! one row (partitions whose keys do not hold the partition columns, inheritance).

use std::collections::HashMap;

use tokio_postgres::Client;
use types::{NodeId, TableName, oid};

use crate::cluster::Node;
use crate::relation::{Catalog, ColumnInfo, Identity, PartitionKey, Relation};
use crate::{Cluster, LogicalTable, Placement, Provider, TableKind, TopologyError, citus, fdw};

/// Resolves the names to logical tables, in their order. `client` is connected to node 0; other nodes are connected
/// to only where partitions over `postgres_fdw` are to be looked at.
///
/// # Errors
/// The first table that is missing or cannot be streamed, with the reason and the remedy; or a failed query.
pub async fn tables(
    client: &Client,
    cluster: &Cluster,
    names: &[TableName],
) -> Result<Vec<LogicalTable>, TopologyError> {
    let Some(zero) = cluster.nodes.first() else { return Ok(Vec::new()) };
    let catalog = Catalog { client, node: &zero.name };
    let mut resolver = Resolver { cluster, zero, catalog, remotes: HashMap::new() };
    let mut tables = Vec::with_capacity(names.len());
    for name in names {
        tables.push(resolver.table(name).await?);
    }
    Ok(tables)
}

struct Resolver<'a> {
    cluster: &'a Cluster,
    zero: &'a Node,
    catalog: Catalog<'a>,
    /// Sessions to other nodes, made when they are first needed.
    remotes: HashMap<NodeId, Client>,
}

/// A partition's physical table and what its node says about it.
struct Leaf {
    name: TableName,
    placement: Placement,
    identity: Identity,
    row_security: bool,
}

impl Resolver<'_> {
    async fn table(&mut self, name: &TableName) -> Result<LogicalTable, TopologyError> {
        let relation = self.catalog.relation(name).await?.ok_or_else(|| TopologyError::Missing(name.clone()))?;
        streamable(&relation, &["r", "p"])?;
        let infos = self.catalog.columns(relation.oid).await?;
        let citus = match self.cluster.provider {
            Provider::Citus => citus::kind(self.catalog.client, self.zero, relation.oid).await?,
            Provider::Fdw | Provider::Single => None,
        };
        let mut row_security = relation.row_security;
        let (identity, placements) = if relation.kind == "p" {
            let leaves = self.leaves(&relation, &infos).await?;
            row_security |= leaves.iter().any(|l| l.row_security);
            let key = self.catalog.partition_key(relation.oid).await?;
            let identity = common_identity(name, &leaves, &key)?;
            (identity, leaves.into_iter().map(|l| l.placement).collect())
        } else {
            let identity = usable(name, self.catalog.identity(relation.oid).await?)?;
            (identity, self.physical(&relation, citus.is_some()).await?)
        };
        let (kind, hashed) = match citus {
            // Citus has no unique index without the distribution column.
            Some((kind, hashed)) => (kind, hashed && relation.kind != "p" && !identity.columns.is_empty()),
            None if relation.kind == "p" => (TableKind::Partitioned, false),
            None => (TableKind::Local, false),
        };
        let generated = infos.iter().filter(|c| c.generated).map(|c| c.column.name.clone()).collect();
        Ok(LogicalTable {
            name: name.clone(),
            relation: relation.oid,
            kind,
            placements,
            columns: infos.into_iter().map(|c| c.column).collect(),
            generated,
            identity: identity.columns,
            replica_full: identity.full,
            hashed,
            row_security,
        })
    }

    /// Where the rows of an ordinary table of node 0 are: in its shards, or in itself.
    async fn physical(&self, relation: &Relation, citus: bool) -> Result<Vec<Placement>, TopologyError> {
        if citus {
            return citus::placements(self.catalog.client, self.cluster, &relation.name, relation.oid).await;
        }
        Ok(vec![Placement { node: self.zero.id, table: relation.name.clone(), shard: None, relation: relation.oid }])
    }

    /// All leaves of a partitioned table with their physical tables, wherever they are.
    async fn leaves(&mut self, parent: &Relation, columns: &[ColumnInfo]) -> Result<Vec<Leaf>, TopologyError> {
        let mut leaves = Vec::new();
        for relation in self.catalog.leaves(parent.oid).await? {
            if relation.kind == "f" {
                leaves.extend(self.foreign(&relation, columns).await?);
                continue;
            }
            streamable(&relation, &["r"])?;
            let citus = self.cluster.provider == Provider::Citus
                && citus::kind(self.catalog.client, self.zero, relation.oid).await?.is_some();
            let identity = self.catalog.identity(relation.oid).await?;
            for placement in self.physical(&relation, citus).await? {
                leaves.push(Leaf {
                    name: relation.name.clone(),
                    placement,
                    identity: identity.clone(),
                    row_security: relation.row_security,
                });
            }
        }
        Ok(leaves)
    }

    /// The physical tables behind a foreign partition: the remote table, or the leaves of a remote partitioned one.
    async fn foreign(&mut self, relation: &Relation, columns: &[ColumnInfo]) -> Result<Vec<Leaf>, TopologyError> {
        let infos = self.catalog.columns(relation.oid).await?;
        if let Some(c) = infos.iter().find(|c| c.foreign_name.as_ref().is_some_and(|n| *n != c.column.name)) {
            let reason =
                format!("column {} has another name on the foreign server (option column_name)", c.column.name);
            return Err(TopologyError::unstreamable(&relation.name, reason));
        }
        let remote = fdw::remote(self.catalog.client, self.cluster, self.zero, &relation.name, relation.oid).await?;
        let node = self.cluster.node(remote.node).unwrap_or(self.zero);
        if node.id != self.zero.id && !self.remotes.contains_key(&node.id) {
            let connected = wal::connect(&node.endpoint, "tributary topology").await;
            let client = connected.map_err(|source| TopologyError::Connect { node: node.name.clone(), source })?;
            self.remotes.insert(node.id, client);
        }
        let client = self.remotes.get(&node.id).unwrap_or(self.catalog.client);
        let catalog = Catalog { client, node: &node.name };
        let missing = || {
            let reason = format!("its remote table {} does not exist on {}", remote.table, node.name);
            TopologyError::unstreamable(&relation.name, reason)
        };
        let physical = catalog.relation(&remote.table).await?.ok_or_else(missing)?;
        streamable(&physical, &["r", "p"])?;
        let physical = if physical.kind == "p" { catalog.leaves(physical.oid).await? } else { vec![physical] };
        let mut leaves = Vec::new();
        for table in physical {
            streamable(&table, &["r"])?;
            same_columns(&table.name, &node.name, columns, &catalog.columns(table.oid).await?)?;
            leaves.push(Leaf {
                identity: catalog.identity(table.oid).await?,
                row_security: table.row_security,
                placement: Placement { node: node.id, table: table.name.clone(), shard: None, relation: table.oid },
                name: table.name,
            });
        }
        Ok(leaves)
    }
}

/// Refuses what is not a table, or one whose changes are not in the WAL.
fn streamable(relation: &Relation, kinds: &[&str]) -> Result<(), TopologyError> {
    let refuse = |reason: &str| Err(TopologyError::unstreamable(&relation.name, reason));
    if !kinds.contains(&relation.kind.as_str()) {
        return refuse(match relation.kind.as_str() {
            "v" => "it is a view (name the tables under it)",
            "m" => "it is a materialized view, and its refreshes are not row changes (use its query)",
            "f" => "it is a foreign table; only partitions over postgres_fdw are followed to their server",
            _ => "it is not a table",
        });
    }
    if relation.name.schema == "pg_catalog" || relation.name.schema == "information_schema" {
        return refuse("it is a system catalog");
    }
    match relation.persistence.as_str() {
        "u" => return refuse("it is UNLOGGED: its changes are not in the WAL (ALTER TABLE … SET LOGGED)"),
        "t" => return refuse("it is a temporary table"),
        _ => {}
    }
    if relation.access_method == "columnar" {
        return refuse("it is columnar: its changes cannot be decoded from the WAL");
    }
    if relation.inherited {
        return refuse("other tables inherit from it, and a key is not unique among them (use native partitions)");
    }
    if !relation.readable {
        return Err(TopologyError::NoSelect { table: relation.name.clone() });
    }
    Ok(())
}

/// The identity, if there is one that tells rows apart.
fn usable(table: &TableName, identity: Identity) -> Result<Identity, TopologyError> {
    if identity.full || (!identity.nothing && !identity.columns.is_empty()) {
        return Ok(identity);
    }
    let quoted = table.quoted();
    let (reason, remedy) = if identity.nothing {
        ("its replica identity is NOTHING", format!("run ALTER TABLE {quoted} REPLICA IDENTITY DEFAULT (or FULL)"))
    } else {
        (
            "it has neither a primary key nor REPLICA IDENTITY FULL",
            format!("add a primary key, or run ALTER TABLE {quoted} REPLICA IDENTITY FULL"),
        )
    };
    Err(TopologyError::NoIdentity { table: table.clone(), reason: reason.to_owned(), remedy })
}

/// One identity for all partitions. A partition's key is a key of the whole when it holds the partition columns, for
/// then equal keys are in the same partition; otherwise whole rows must be logged on every partition.
fn common_identity(table: &TableName, leaves: &[Leaf], key: &PartitionKey) -> Result<Identity, TopologyError> {
    let mut full = true;
    let mut columns: Option<Vec<String>> = None;
    let mut same = true;
    for leaf in leaves {
        let identity = usable(&leaf.name, leaf.identity.clone())?;
        full &= identity.full;
        let first = columns.get_or_insert_with(|| identity.columns.clone());
        same &= is_same_set(first, &identity.columns);
    }
    // A table without partitions has no rows whose identity could matter.
    let Some(columns) = columns else { return Ok(Identity { columns: Vec::new(), full: true, nothing: false }) };
    let whole = same && key.plain && !columns.is_empty() && key.columns.iter().all(|c| columns.contains(c));
    if whole {
        return Ok(Identity { columns, full, nothing: false });
    }
    if full {
        return Ok(Identity { columns: Vec::new(), full, nothing: false });
    }
    let reason = if same {
        "its partitions' primary keys do not hold the partition columns, so a key is not one row"
    } else {
        "its partitions do not have the same primary key"
    };
    let remedy = "give every partition the same primary key with the partition columns in it, or REPLICA IDENTITY FULL";
    Err(TopologyError::NoIdentity { table: table.clone(), reason: reason.to_owned(), remedy: remedy.to_owned() })
}

fn is_same_set(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && a.iter().all(|c| b.contains(c))
}

/// Values travel in binary form, so a partition elsewhere must have the columns with the same types.
fn same_columns(
    table: &TableName,
    node: &str,
    wanted: &[ColumnInfo],
    there: &[ColumnInfo],
) -> Result<(), TopologyError> {
    for w in wanted {
        let w = &w.column;
        let reason = match there.iter().find(|c| c.column.name == w.name) {
            None => format!("column {} is not there on {node}", w.name),
            Some(t) if t.column.ty.oid == w.ty.oid => continue,
            Some(t) if t.column.ty.oid.min(w.ty.oid) >= oid::FIRST_USER && t.column.sql_type == w.sql_type => continue,
            Some(t) => format!("column {} is {} on {node} and {} here", w.name, t.column.sql_type, w.sql_type),
        };
        return Err(TopologyError::unstreamable(table, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(columns: &[&str], full: bool) -> Leaf {
        let name = TableName::new("public", "p");
        Leaf {
            name: name.clone(),
            placement: Placement { node: NodeId(0), table: name, shard: None, relation: 0 },
            identity: Identity { columns: columns.iter().map(ToString::to_string).collect(), full, nothing: false },
            row_security: false,
        }
    }

    fn key(columns: &[&str], plain: bool) -> PartitionKey {
        PartitionKey { columns: columns.iter().map(ToString::to_string).collect(), plain }
    }

    #[test]
    fn a_partition_key_inside_the_primary_key_makes_it_the_whole_tables_key() {
        let t = TableName::new("public", "t");
        let found =
            common_identity(&t, &[leaf(&["id", "day"], false), leaf(&["day", "id"], false)], &key(&["day"], true));
        assert_eq!(found.unwrap().columns, ["id", "day"]);
    }

    #[test]
    fn a_primary_key_without_the_partition_key_is_refused_unless_whole_rows_are_logged() {
        let t = TableName::new("public", "t");
        for bad in [key(&["day"], true), key(&[], false)] {
            assert!(common_identity(&t, &[leaf(&["id"], false)], &bad).is_err());
            let full = common_identity(&t, &[leaf(&["id"], true), leaf(&[], true)], &bad).unwrap();
            assert_eq!(full, Identity { columns: vec![], full: true, nothing: false });
        }
        let mixed = [leaf(&["id"], false), leaf(&[], true)];
        assert!(common_identity(&t, &mixed, &key(&["id"], true)).is_err());
    }
}
