//! Who has which rows of a sharded PostgreSQL cluster.
//!
//! [`discover`] finds out from one database how it is sharded and which nodes there are; [`tables`] resolves table
//! names to the physical tables (shards, partitions) that hold their rows, node by node. Everything is read from
//! catalogs; nothing is changed anywhere.
//!
//! ```text
//! database URL ─ discover ─> Cluster { provider, nodes }
//!      names  ─  tables   ─> LogicalTable { columns, identity, placements: (node, physical table) … }  ─ sizes ─> rows, bytes
//! ```

mod check;
mod citus;
mod cluster;
mod error;
mod fdw;
mod logical;
mod relation;
mod resolve;
mod size;

pub use check::check_node;
pub use cluster::{Cluster, Node, Provider, discover};
pub use error::TopologyError;
pub use logical::{LogicalTable, Placement, TableKind};
pub use resolve::tables;
pub use size::{Size, sizes};
