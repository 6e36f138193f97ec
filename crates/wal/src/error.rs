//! What can go wrong with a node, and whether trying again helps.

use std::io;

use postgres_protocol::message::backend::ErrorResponseBody;

/// An error of PostgreSQL's own, with its fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`.
    pub severity: String,
    /// SQLSTATE.
    pub code: String,
    /// The message, in the server's language.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ServerError {
    /// Reads the fields of an error response; fields that cannot be read are left empty.
    pub(crate) fn from_body(body: &ErrorResponseBody) -> Self {
        use fallible_iterator::FallibleIterator as _;
        let mut error = Self::default();
        let mut fields = body.fields();
        while let Ok(Some(field)) = fields.next() {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'S' if error.severity.is_empty() => error.severity = value,
                b'V' => error.severity = value,
                b'C' => error.code = value,
                b'M' => error.message = value,
                b'D' => error.detail = Some(value),
                b'H' => error.hint = Some(value),
                _ => {}
            }
        }
        error
    }

    /// Whether the same request may succeed later without anybody's help: broken connections, shutdowns and restarts,
    /// deadlocks, resources that ran out.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        transient(&self.code)
    }
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.message)?;
        for more in [&self.detail, &self.hint].into_iter().flatten() {
            write!(f, "; {more}")?;
        }
        write!(f, " (SQLSTATE {})", self.code)
    }
}

/// 55006 is an object (a slot) in use, 55P03 a lock that was not to be had.
fn transient(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    matches!(class, "08" | "40" | "53" | "57") || matches!(code, "55006" | "55P03" | "58030" | "25P03")
}

/// Everything that goes wrong between this process and a PostgreSQL node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// The database URL cannot be used.
    #[error("the database URL {0}")]
    Url(String),
    /// No connection came about.
    #[error("cannot reach {peer}: {source}")]
    Unreachable {
        /// Host and port.
        peer: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS did not come about as `sslmode` demands it.
    #[error("no TLS with {peer}: {reason}")]
    Tls {
        /// Host and port.
        peer: String,
        /// Why.
        reason: String,
    },
    /// The server refuses this user, password or database.
    #[error("cannot log in at {peer}: {reason}")]
    Login {
        /// Host and port.
        peer: String,
        /// Why.
        reason: String,
    },
    /// The server answered a replication command with an error.
    #[error("{0}")]
    Server(Box<ServerError>),
    /// An SQL statement failed.
    #[error("{doing} failed: {}", describe(.source))]
    Sql {
        /// What was being done.
        doing: &'static str,
        /// The driver's error.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The slot is gone or was invalidated: its stream's continuity is lost, the sources must be read again.
    #[error("replication slot {slot} is lost: {reason}")]
    SlotLost {
        /// The slot.
        slot: String,
        /// What the server says.
        reason: String,
    },
    /// The role may not do it.
    #[error("{what}; {remedy}")]
    NoRight {
        /// What was refused.
        what: String,
        /// What an administrator can do.
        remedy: String,
    },
    /// The connection ended.
    #[error("the connection to {peer} ended: {reason}")]
    Disconnected {
        /// Host and port.
        peer: String,
        /// Why.
        reason: String,
    },
    /// The server's bytes are not what the protocol allows.
    #[error("{peer} broke the protocol: {reason}")]
    Protocol {
        /// Host and port.
        peer: String,
        /// What was wrong.
        reason: String,
    },
    /// The stream or connection was used after it had ended.
    #[error("the replication connection was closed before")]
    Closed,
}

impl WalError {
    /// Whether trying again (with a pause that grows) may help without anybody doing something first.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Disconnected { .. } => true,
            Self::Server(error) => error.is_transient(),
            Self::Sql { source, .. } => match source.code() {
                Some(code) => transient(code.code()),
                // No answer of the server: the connection broke, or the value did not fit, which no retry heals.
                None => source.is_closed() || io_cause(source).is_some(),
            },
            Self::Url(_)
            | Self::Tls { .. }
            | Self::Login { .. }
            | Self::SlotLost { .. }
            | Self::NoRight { .. }
            | Self::Protocol { .. }
            | Self::Closed => false,
        }
    }

    /// The SQLSTATE, when the server gave one.
    #[must_use]
    pub fn sql_state(&self) -> Option<&str> {
        match self {
            Self::Server(error) => Some(&error.code),
            Self::Sql { source, .. } => source.code().map(tokio_postgres::error::SqlState::code),
            _ => None,
        }
    }

    /// Wraps the failure of a statement.
    pub(crate) fn sql(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Sql { doing, source }
    }
}

impl From<ServerError> for WalError {
    fn from(error: ServerError) -> Self {
        Self::Server(Box::new(error))
    }
}

/// The I/O error at the bottom of a driver's error.
pub(crate) fn io_cause(error: &tokio_postgres::Error) -> Option<&io::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(at) = cause {
        if let Some(io) = at.downcast_ref::<io::Error>() {
            return Some(io);
        }
        cause = at.source();
    }
    None
}

/// A driver's error in one line: the server's message with its detail and hint, or the whole chain of causes
/// (`Display` of the driver's error says only "db error").
#[must_use]
pub fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let own = ServerError {
            severity: db.severity().to_owned(),
            code: db.code().code().to_owned(),
            message: db.message().to_owned(),
            detail: db.detail().map(str::to_owned),
            hint: db.hint().map(str::to_owned),
        };
        return own.to_string();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(at) = cause {
        let more = at.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = at.source();
    }
    text
}
