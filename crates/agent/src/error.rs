//! What can go wrong beside a node, and who can help.

use topology::TopologyError;
use wal::WalError;

/// Why an agent stands still or ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The instance's name cannot be part of a slot's name.
    #[error("'{0}' is no instance name: 1 to 40 of a-z, 0-9 and _")]
    BadInstance(String),
    /// The aggregator does not want this agent. Definite.
    #[error("the aggregator refused this agent: {0}")]
    Refused(String),
    /// The node, its slot or its publication.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The node is set up so that it cannot be read.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A query on the node failed.
    #[error("a query on the node failed: {}", wal::describe(.0))]
    Query(#[from] tokio_postgres::Error),
    /// The node's stream is not what pgoutput writes.
    #[error("the node's stream cannot be read: {0}")]
    Stream(#[from] pgoutput::Error),
    /// A message that does not fit what came before it.
    #[error("the node's stream is out of order: {0}")]
    OutOfOrder(&'static str),
    /// A table is not what is wanted of it.
    #[error("{0}")]
    Unfit(String),
    /// What was confirmed or kept in the slot does not reach back to where the aggregator stands.
    #[error("{0}")]
    SlotLost(String),
    /// The node behind the endpoint is another one than a moment ago.
    #[error("the node was replaced: it is system {now} on timeline {timeline} now")]
    NodeReplaced {
        /// Its system identifier now.
        now: String,
        /// Its timeline now.
        timeline: i32,
    },
    /// Another session reads the slot.
    #[error("slot {slot} is in use by process {pid} of another session; it is taken over when that ends")]
    SlotInUse {
        /// The slot.
        slot: String,
        /// The backend that reads it.
        pid: i32,
    },
    /// Slots' names are the whole server's, and another database of it has this one.
    #[error(
        "replication slot {slot} belongs to database {database} on the same server; choose another --instance for one of them"
    )]
    SlotTaken {
        /// The slot.
        slot: String,
        /// The database that it belongs to.
        database: String,
    },
    /// The node closed a session, or is shutting down.
    #[error("the node closed its sessions")]
    NodeGone,
    /// The aggregator's address is no address.
    #[error("'{0}' is no address of an aggregator (expected http://host:port)")]
    BadAddress(String),
    /// The way to the aggregator is down.
    #[error("no connection to the aggregator: {0}")]
    Link(String),
}

impl AgentError {
    /// Whether trying again at once may help, without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Wal(e) => e.is_transient(),
            Self::Topology(e) => e.is_transient(),
            Self::Query(_) | Self::NodeReplaced { .. } | Self::SlotInUse { .. } | Self::NodeGone | Self::Link(_) => {
                true
            }
            Self::BadInstance(_)
            | Self::Refused(_)
            | Self::Stream(_)
            | Self::OutOfOrder(_)
            | Self::SlotLost(_)
            | Self::SlotTaken { .. }
            | Self::Unfit(_)
            | Self::BadAddress(_) => false,
        }
    }

    /// Whether the agent ends with it instead of trying again.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::BadInstance(_) | Self::Refused(_) | Self::BadAddress(_))
    }

    /// Whether only reading the tables again helps.
    pub(crate) fn is_slot_lost(&self) -> bool {
        matches!(self, Self::SlotLost(_) | Self::Wal(WalError::SlotLost { .. }))
    }
}

impl From<tonic::Status> for AgentError {
    fn from(status: tonic::Status) -> Self {
        Self::Link(status.message().to_owned())
    }
}

impl From<tonic::transport::Error> for AgentError {
    fn from(error: tonic::transport::Error) -> Self {
        use std::error::Error;
        let cause = error.source().map(ToString::to_string);
        Self::Link(cause.unwrap_or_else(|| error.to_string()))
    }
}
