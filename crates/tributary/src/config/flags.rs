//! The daemon's flags. Values are read where those of the file are, so that both are checked alike.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

/// Flags of `tributary standalone`.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub(crate) struct StandaloneFlags {
    /// Settings, one a line: see config/standalone.toml
    #[arg(long, env = "TRIBUTARY_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
    /// The cluster: its coordinator's database, where stream tables are kept too
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database_url: Option<String>,
    /// Where operator state is kept
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Keeps several tributaries on one cluster apart [default: default]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    /// gRPC [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<String>,
    /// Health and metrics [default: 127.0.0.1:7421]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<String>,
    /// Changes held in memory [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue_bytes: Option<String>,
    /// Changes held on disk for nodes that are ahead of others [default: 16GiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spool_bytes: Option<String>,
    /// Memory for rows, groups and blocks of the state [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_bytes: Option<String>,
    /// So long all stream tables wait for a table that is read again, then only those that read it [default: 10s]
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hold_limit: Option<String>,
    /// How ids of prepared transactions that are not Citus's name their transaction: a regular expression with one group
    #[arg(long, value_name = "REGEX")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gid_pattern: Option<String>,
    /// Memory for changes on their way in each agent [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_limit: Option<String>,
}

/// Flags of `tributary coordinator`.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub(crate) struct CoordinatorFlags {
    /// Settings, one a line: see config/coordinator.toml
    #[arg(long, env = "TRIBUTARY_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
    /// The cluster: its coordinator's database, where stream tables are kept too
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database_url: Option<String>,
    /// Where operator state is kept
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Keeps several tributaries on one cluster apart [default: default]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    /// gRPC, for agents too [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<String>,
    /// Health and metrics [default: 127.0.0.1:7421]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<String>,
    /// Changes held in memory [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue_bytes: Option<String>,
    /// Changes held on disk for nodes that are ahead of others [default: 16GiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spool_bytes: Option<String>,
    /// Memory for rows, groups and blocks of the state [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_bytes: Option<String>,
    /// So long all stream tables wait for a table that is read again, then only those that read it [default: 10s]
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hold_limit: Option<String>,
    /// How ids of prepared transactions that are not Citus's name their transaction: a regular expression with one group
    #[arg(long, value_name = "REGEX")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gid_pattern: Option<String>,
}

/// Flags of `tributary agent`.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub(crate) struct AgentFlags {
    /// Settings, one a line: see config/agent.toml
    #[arg(long, env = "TRIBUTARY_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
    /// The database on the node that this agent is beside
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database_url: Option<String>,
    /// Where the coordinator listens: http://host:port
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) coordinator: Option<String>,
    /// The node's number, as `tributary status` shows it [default: its group, on Citus]
    #[arg(long, value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<u32>,
    /// The coordinator's instance [default: default]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    /// Memory for changes on their way [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_limit: Option<String>,
}
