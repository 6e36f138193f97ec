//! What can go wrong in the engine, and whom it concerns.

use types::{Seq, SourceId, StreamId};

/// The engine could not do what it was asked to. Unless said otherwise nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum IvmError {
    /// The store.
    #[error(transparent)]
    State(#[from] state::StateError),
    /// PostgreSQL could not be asked. The same call can succeed later.
    #[error(transparent)]
    Evaluator(#[from] EvaluatorError),
    /// What is stored, or came in, cannot be read.
    #[error("damaged state: {0}; start with an empty state directory to have everything computed again")]
    Damaged(String),
    /// Changes that cannot be read.
    #[error("the changes of a transaction cannot be read: {0}")]
    Changes(String),
    /// There is no such source.
    #[error("source {0} is not known")]
    UnknownSource(SourceId),
    /// There is no such stream table.
    #[error("stream table {0} is not known")]
    UnknownStream(StreamId),
    /// It is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// The request does not fit the state of its source or stream table.
    #[error("{0}")]
    NotNow(String),
    /// A cut that does not follow the last one.
    #[error("cut {found} does not follow cut {last}")]
    OutOfOrder {
        /// The cut that came.
        found: Seq,
        /// The last one.
        last: Seq,
    },
    /// A query that cannot be kept, with the reason.
    #[error("{0}")]
    Refused(String),
    /// The first content could not be computed: an expression raised an error, or the receiver of the rows did.
    #[error("{0}")]
    Build(String),
    /// A note of the caller's could not be written or read.
    #[error("note: {0}")]
    Note(String),
}

impl IvmError {
    /// Whether the same call can succeed later without anything else changing here.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Evaluator(_))
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

/// PostgreSQL could not be reached, or its session broke. Nothing is wrong with any row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expressions cannot be evaluated by PostgreSQL: {0}")]
pub struct EvaluatorError(pub String);

/// PostgreSQL raised an error for one row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RowError {
    /// SQLSTATE.
    pub code: String,
    /// PostgreSQL's message.
    pub message: String,
}

/// What stops an operator.
#[derive(Debug)]
pub(crate) enum Failure {
    /// This stream table cannot be kept any further; the others go on.
    Stream(String),
    /// The cut cannot be applied.
    Engine(IvmError),
}

impl<E: Into<IvmError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Engine(error.into())
    }
}

impl Failure {
    /// Runs what is done for one stream table; a bug that is met there is that stream table's.
    pub(crate) fn contained<T>(f: impl FnOnce() -> Result<T, Self>) -> Result<T, Self> {
        types::contained(|| {
            fail::fail_point!("ivm-stream");
            f()
        })
        .unwrap_or_else(|bug| Err(Self::Stream(bug.to_string())))
    }

    /// A value that is none of its type.
    pub(crate) fn unreadable(what: &'static str) -> impl FnOnce(scalar::DatumError) -> Self {
        move |error| Self::Stream(format!("{what} cannot be read: {error}"))
    }

    /// As the error of a call that concerns one stream table only.
    pub(crate) fn into_error(self) -> IvmError {
        match self {
            Self::Stream(reason) => IvmError::Build(reason),
            Self::Engine(error) => error,
        }
    }
}
