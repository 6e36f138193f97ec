//! What can go wrong at the target, and who has to stop for it.

use tokio_postgres::error::SqlState;
use types::{Epoch, Seq, StreamId};

/// The target did not do what was asked. Nothing of a failed call is left in it.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// No session could be opened.
    #[error("the target database cannot be reached: {source}")]
    Connect {
        /// Whether the same attempt can succeed later.
        transient: bool,
        /// What the connection said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A statement failed.
    #[error("{what}: {}", describe(source))]
    Postgres {
        /// What was being done.
        what: &'static str,
        /// What PostgreSQL said.
        #[source]
        source: tokio_postgres::Error,
    },
    /// One stream table is not as it must be, or its rows cannot be written; others are not concerned.
    #[error("stream table {stream}: {reason}")]
    Stream {
        /// Which.
        stream: StreamId,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Another aggregator took this target over.
    #[error("another aggregator took over (epoch {theirs}, this one has {mine})")]
    Fenced {
        /// This aggregator's epoch.
        mine: Epoch,
        /// The epoch in the target.
        theirs: Epoch,
    },
    /// The frontier is not where this session left it: a commit whose answer was lost, most likely.
    #[error("the frontier is at cut {found}, this session knew {known}")]
    Moved {
        /// Where this session believed it to be.
        known: Seq,
        /// Where it is.
        found: Seq,
    },
    /// The target lacks cuts that had been written to it. Whoever goes on from there without them shows wrong rows.
    #[error(
        "the target went back to cut {found}, {known} had been written: it was restored, or a standby that lagged was promoted; \
         a new start builds the stream tables again"
    )]
    WentBack {
        /// The last cut that was written.
        known: Seq,
        /// Where it is.
        found: Seq,
    },
    /// A relation of the name exists and is not this stream table.
    #[error("'{name}' exists already in the target database; drop it or choose another name")]
    Exists {
        /// Its name.
        name: String,
    },
    /// The target is not set up for what was asked; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// Something that this program wrote or was given is not what it must be.
    #[error("{0}")]
    Damaged(String),
}

/// Who has to stop for an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nobody: the same call again can succeed.
    Retry,
    /// This stream table only.
    Stream(StreamId),
    /// The request, or the aggregator when it was not a request.
    Stop,
}

impl SinkError {
    /// Who has to stop.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Connect { transient: true, .. } | Self::Moved { .. } => Severity::Retry,
            Self::Postgres { source, .. } if is_transient(source) => Severity::Retry,
            Self::Stream { stream, .. } => Severity::Stream(*stream),
            _ => Severity::Stop,
        }
    }

    /// Whether the same call again can succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.severity() == Severity::Retry
    }

    /// The one stream table that is concerned.
    #[must_use]
    pub fn stream(&self) -> Option<StreamId> {
        match self.severity() {
            Severity::Stream(stream) => Some(stream),
            Severity::Retry | Severity::Stop => None,
        }
    }

    pub(crate) fn pg(what: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Postgres { what, source }
    }

    /// A statement on this stream table failed: its own trouble, unless it can come right by itself.
    pub(crate) fn of_stream(stream: StreamId, what: &'static str) -> impl Fn(tokio_postgres::Error) -> Self + Copy {
        move |source| {
            if is_transient(&source) {
                Self::Postgres { what, source }
            } else {
                Self::Stream { stream, reason: format!("{what}: {}", describe(&source)) }
            }
        }
    }
}

impl From<wal::WalError> for SinkError {
    fn from(error: wal::WalError) -> Self {
        Self::Connect { transient: error.is_transient(), source: Box::new(error) }
    }
}

/// Broken connections, shutdowns, deadlocks, and resources that ran out come right again without anybody's help
/// with the statement.
pub(crate) fn is_transient(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        // No answer of the server: the connection broke or closed.
        return true;
    };
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "08" | "40" | "53" | "57" | "58")
        || *code == SqlState::LOCK_NOT_AVAILABLE
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
}

/// The server's own message with its detail and hint, in one line; `Display` of the driver's error says only "db error".
pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => {
            let mut text = db.message().to_owned();
            for more in [db.detail(), db.hint()].into_iter().flatten() {
                text.push_str("; ");
                text.push_str(more);
            }
            text.replace('\n', " ")
        }
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}
