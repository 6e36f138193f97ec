//! A table as it is kept: which of its columns and rows, and where these are.

use ivm::RowFilter;
use proto::v1;
use serde::{Deserialize, Serialize};
use topology::TableKind;
use types::{Column, NodeId, Oid, SourceId, TableName};

use crate::placement::KeptTable;

/// A source as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeptSource {
    pub(crate) id: SourceId,
    pub(crate) name: TableName,
    pub(crate) columns: Vec<Column>,
    pub(crate) identity: Vec<usize>,
    pub(crate) tables: Vec<KeptTable>,
    /// Its first read is over.
    pub(crate) ready: bool,
    /// `pg_class.oid` on node 0.
    #[serde(default)]
    pub(crate) relation: Oid,
    /// How its rows are spread.
    #[serde(default)]
    pub(crate) spread: Spread,
    /// Its rows are not followed any more: whoever reads it stopped, and nobody new may read it.
    #[serde(default)]
    pub(crate) broken: bool,
    /// Its tables went elsewhere while it was first read: the read is of no use. Of a copy also later.
    #[serde(default)]
    pub(crate) disturbed: bool,
    /// A key decides which of the tables its row is in ([`topology::LogicalTable::hashed`]).
    #[serde(default)]
    pub(crate) hashed: bool,
    /// Its table's definition, as [`crate::watch`] compares it, when it was last looked up.
    #[serde(default)]
    pub(crate) definition: Option<String>,
    /// Only rows on which this is true are kept.
    #[serde(default)]
    pub(crate) filter: Option<RowFilter>,
    /// Some tables of another source, read to be compared with it ([`crate::reconcile`]): no stream table reads it.
    #[serde(default)]
    pub(crate) is_copy: bool,
}

impl KeptSource {
    /// Whether its rows are those of the last cut.
    pub(crate) fn is_exact(&self) -> bool {
        self.ready && !self.broken && !self.disturbed
    }

    /// Whether who comes new may read it.
    pub(crate) fn can_be_read(&self) -> bool {
        self.ready && !self.broken && !self.is_copy
    }

    /// The names of the columns that tell its rows apart, in their order.
    pub(crate) fn identity_names(&self) -> impl Iterator<Item = &str> {
        self.identity.iter().filter_map(|&i| self.columns.get(i)).map(|c| c.name.as_str())
    }

    /// Whether it has all these columns, by name and type.
    pub(crate) fn has_columns(&self, columns: &[Column]) -> bool {
        columns.iter().all(|c| self.columns.iter().any(|k| k.name == c.name && k.ty == c.ty))
    }

    /// Whether it has every row that passes `wanted`, whose conditions are over these columns.
    pub(crate) fn has_rows_of(&self, wanted: &RowFilter, columns: &[Column]) -> bool {
        let Some(filter) = &self.filter else { return true };
        let place = |c: usize| {
            let name = self.columns.get(c).map(|c| &c.name);
            columns.iter().position(|w| Some(&w.name) == name).unwrap_or(usize::MAX)
        };
        let asked = filter.conditions.iter().map(|c| c.map_columns(&place));
        // Its conditions are asked first: a row on which one before them fails would not be here.
        filter.settings == wanted.settings && asked.eq(wanted.conditions.iter().take(filter.conditions.len()).cloned())
    }
}

/// How a source's rows are spread, as far as it matters for following changes of shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Spread {
    /// A table that stays where it is, or shards each on one node.
    #[default]
    Once,
    /// Copied to every node: another copy is no move.
    Copied,
    /// Over partitions, which come and go.
    Partitioned,
}

impl Spread {
    pub(crate) fn of(kind: TableKind) -> Self {
        match kind {
            TableKind::Distributed | TableKind::Local => Self::Once,
            TableKind::Reference => Self::Copied,
            TableKind::Partitioned => Self::Partitioned,
        }
    }
}

/// A source's tables on one node, as an agent is told of them.
pub(crate) fn subscription_of(source: &KeptSource, node: NodeId) -> Vec<v1::Table> {
    let tables = source.tables.iter().filter(|t| t.is_shipped(node));
    tables.map(|t| subscribe(t, node, Wants::of(source))).collect()
}

/// What an agent is told of a source's columns.
#[derive(Debug, Clone)]
pub(crate) struct Wants {
    columns: Vec<String>,
    types: Vec<Oid>,
    identity: Vec<u32>,
}

impl Wants {
    pub(crate) fn of(source: &KeptSource) -> Self {
        Self {
            columns: source.columns.iter().map(|c| c.name.clone()).collect(),
            types: source.columns.iter().map(|c| c.ty.oid).collect(),
            identity: source.identity.iter().map(|&i| i as u32).collect(),
        }
    }
}

/// A table as the node's agent is told of it.
pub(crate) fn subscribe(table: &KeptTable, node: NodeId, wants: Wants) -> v1::Table {
    let Wants { columns, types, identity } = wants;
    v1::Table {
        id: table.id.0,
        schema: table.table.schema.clone(),
        name: table.table.name.clone(),
        columns,
        types,
        shard: table.shard,
        dormant: table.is_dormant(node),
        relation: table.relation,
        whole: identity.is_empty(),
        identity,
    }
}
