//! A table as a query names it, and where its rows are.

use types::{Column, NodeId, Oid, TableName};

/// A table that a query can name, resolved to its physical tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalTable {
    /// Its full name.
    pub name: TableName,
    /// `pg_class.oid` on node 0.
    pub relation: Oid,
    /// How its rows are spread.
    pub kind: TableKind,
    /// The physical tables that hold its rows, each row in exactly one of them.
    pub placements: Vec<Placement>,
    /// Its columns in order. `ty` has domains resolved to their base type (modifier and collation too),
    /// `sql_type` keeps the declared type, schema-qualified unless it is built in.
    pub columns: Vec<Column>,
    /// Names of columns that PostgreSQL computes (`GENERATED ALWAYS AS … STORED`): they are not in the WAL stream.
    pub generated: Vec<String>,
    /// The columns that tell one row from every other, on all placements: of the primary key, or of the index of
    /// `REPLICA IDENTITY USING INDEX`. Empty only when `replica_full`.
    pub identity: Vec<String>,
    /// Whether whole old rows are logged on every placement (`REPLICA IDENTITY FULL`).
    pub replica_full: bool,
    /// A key decides which of the placements its row is in: Citus distributes by a hash of columns of the identity.
    pub hashed: bool,
    /// Row-level security is enabled and applies to this role.
    pub row_security: bool,
}

/// How a logical table's rows are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TableKind {
    /// Over Citus shards (natively partitioned ones too).
    Distributed,
    /// Citus: copied to every node; one copy is read.
    Reference,
    /// An ordinary table of node 0, or a table of it that Citus keeps in its metadata.
    Local,
    /// Over partitions, on this node or on foreign servers.
    Partitioned,
}

/// One physical table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placement {
    /// The node it is on.
    pub node: NodeId,
    /// Its name there.
    pub table: TableName,
    /// Citus: its shard.
    pub shard: Option<u64>,
    /// `pg_class.oid` on its node, which tells it from a table made later under the same name. 0 for a shard: its number
    /// is in its name.
    pub relation: Oid,
}
