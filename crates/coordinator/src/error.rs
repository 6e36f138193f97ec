//! What can go wrong in the aggregator, and what it means for whom.

use types::NodeId;

/// The aggregator cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// The target database or a node refused or is not what it must be.
    #[error(transparent)]
    Wal(#[from] wal::WalError),
    /// The cluster's shape could not be read.
    #[error(transparent)]
    Topology(#[from] topology::TopologyError),
    /// The target database.
    #[error(transparent)]
    Sink(#[from] sink::SinkError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] state::StateError),
    /// The engine.
    #[error(transparent)]
    Ivm(#[from] ivm::IvmError),
    /// The data directory or a socket.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A setting that cannot be.
    #[error("{0}")]
    Setting(String),
    /// A part of the aggregator ended before it was told to.
    #[error("{0} ended unexpectedly; see the log")]
    Ended(&'static str),
}

impl CoordinatorError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// An order to an agent was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("no agent is attached for node {0}")]
    NotAttached(NodeId),
    #[error("the agent of node {0} went away")]
    WentAway(NodeId),
    #[error("node {node}: {reason}")]
    Failed { node: NodeId, reason: String },
}

/// A request about a stream table was not carried out; nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The request cannot be carried out as it is: the text says what to do.
    #[error("{0}")]
    Refused(String),
    #[error("there is no stream table '{0}'; `tributary stream list` shows those that there are")]
    Unknown(String),
    #[error("a stream table '{0}' exists already; drop it first or choose another name")]
    Exists(String),
    /// Something is not there right now; the same request can succeed later.
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Internal(String),
}

impl RequestError {
    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }
    pub(crate) fn unavailable(error: impl std::fmt::Display) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<RequestError> for tonic::Status {
    fn from(error: RequestError) -> Self {
        let text = error.to_string();
        match error {
            RequestError::Refused(_) => Self::invalid_argument(text),
            RequestError::Unknown(_) => Self::not_found(text),
            RequestError::Exists(_) => Self::already_exists(text),
            RequestError::Unavailable(_) => Self::unavailable(text),
            RequestError::Internal(_) => Self::internal(text),
        }
    }
}

impl From<OrderError> for RequestError {
    fn from(error: OrderError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
