//! What can be wrong with a cluster or a table as a source: one line each, with the remedy.

use types::TableName;

/// Why the cluster's shape or a table could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// A catalog query failed.
    #[error("reading the catalogs of {node} failed: {}", wal::describe(source))]
    Query {
        /// The node, as `host:port` or a server's name.
        node: String,
        /// PostgreSQL's or the connection's error.
        #[source]
        source: tokio_postgres::Error,
    },
    /// A node could not be connected to.
    #[error("connecting to node {node} failed: {source}")]
    Connect {
        /// The node, as `host:port` or a server's name.
        node: String,
        /// Why.
        #[source]
        source: wal::WalError,
    },
    /// The URL leads to a Citus worker.
    #[error("{node} is a Citus worker (group {group}); give the URL of the cluster's coordinator")]
    NotTheCoordinator {
        /// The node of the URL.
        node: String,
        /// Its group.
        group: i32,
    },
    /// Citus's own decoder stands in the place of pgoutput.
    #[error(
        "on this node the name pgoutput means Citus's change-data-capture decoder, which hides what tributary needs; \
         set citus.enable_change_data_capture = off (and take citus_decoders out of dynamic_library_path), then restart the node"
    )]
    CitusDecoders,
    /// No such table.
    #[error("table {0} does not exist")]
    Missing(TableName),
    /// Something that is no table, or one whose rows are not in the WAL.
    #[error("{table} cannot be streamed: {reason}")]
    Unstreamable {
        /// What was asked for.
        table: TableName,
        /// What it is.
        reason: String,
    },
    /// Old rows cannot be told from the WAL.
    #[error("{table} cannot be streamed: {reason}; {remedy}")]
    NoIdentity {
        /// The table (or the partition at fault).
        table: TableName,
        /// What is missing.
        reason: String,
        /// The statement that helps.
        remedy: String,
    },
    /// The role may not read it.
    #[error("no right to read {table}; run GRANT SELECT ON {} TO the daemon's role (tributary setup does it)", table.quoted())]
    NoSelect {
        /// The table.
        table: TableName,
    },
    /// A partition's server is not one of the cluster's nodes.
    #[error(
        "partition {table} lives on server {server}, which was not there when the cluster's nodes were last looked for"
    )]
    UnknownServer {
        /// The partition.
        table: TableName,
        /// Its server.
        server: String,
    },
    /// A shard has no copy on a known node.
    #[error("shard {shard} of {table} has no active copy on a known node")]
    NoPlacement {
        /// The table.
        table: TableName,
        /// The shard.
        shard: u64,
    },
}

impl TopologyError {
    /// Whether trying again later can help without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Query { source, .. } => source.as_db_error().is_none_or(|e| {
                let code = e.code().code();
                code.starts_with("08") || code.starts_with("53") || code.starts_with("57") || code.starts_with("40")
            }),
            Self::Connect { source, .. } => source.is_transient(),
            // Nodes are looked for again and again.
            Self::NoPlacement { .. } | Self::UnknownServer { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn unstreamable(table: &TableName, reason: impl Into<String>) -> Self {
        Self::Unstreamable { table: table.clone(), reason: reason.into() }
    }
}
