//! What an aggregator needs to know to start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of one aggregator.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name that keeps several tributaries on one cluster apart; part of slot, publication and schema names.
    pub instance: String,
    /// The cluster: the coordinator's (or the only node's) database, which is also where stream tables are kept.
    pub database_url: String,
    /// Where the state lives.
    pub data_dir: PathBuf,
    /// gRPC: control services and agents.
    pub listen: SocketAddr,
    /// HTTP: health and metrics.
    pub http: SocketAddr,
    /// Bytes of changes held in memory before they go to disk, and before agents are slowed down.
    pub queue_bytes: usize,
    /// Bytes of changes held on disk for a node that is ahead of the others.
    pub spool_bytes: u64,
    /// Bytes of the state (rows, groups, blocks of files) held in memory, of each consistency.
    pub cache_bytes: usize,
    /// So long all stream tables wait when a table has to be read again because the cluster changed. Then only those that read
    /// it wait on: they stop, and are computed again over what is read then.
    pub hold_limit: Duration,
    /// How ids of prepared transactions that are not Citus's name their distributed transaction: a regular
    /// expression whose first group is the same in all branches of one.
    pub gid_pattern: Option<String>,
}

impl Options {
    /// Settings with their defaults.
    pub fn new(database_url: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            instance: "default".into(),
            database_url: database_url.into(),
            data_dir: data_dir.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7420)),
            http: SocketAddr::from(([127, 0, 0, 1], 7421)),
            queue_bytes: 64 << 20,
            spool_bytes: 16 << 30,
            cache_bytes: 256 << 20,
            hold_limit: Duration::from_secs(10),
            gid_pattern: None,
        }
    }
}
