//! What can go wrong: damaged values, expressions that are not native, and PostgreSQL's own run-time errors.

use std::borrow::Cow;

use types::Oid;

/// Bytes that are no value of their type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatumError {
    /// The bytes are too short, too long or not well formed.
    #[error("damaged value of type {0}")]
    Damaged(Oid),
    /// The type has no native key.
    #[error("type {0} has no native equality")]
    NoKey(Oid),
    /// A value outside what PostgreSQL stores.
    #[error("value out of range for type {0}")]
    Range(Oid),
}

/// The expression (or a part of it) has no native evaluation; PostgreSQL has to compute it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not native: {reason}")]
pub struct NotNative {
    /// Why, for `explain`.
    pub reason: String,
}

impl NotNative {
    /// With the given reason.
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// An error that PostgreSQL would raise for the same expression over the same row, with its message and SQLSTATE.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// 22012
    #[error("division by zero")]
    DivisionByZero,
    /// 22003, with the type's SQL name
    #[error("{0} out of range")]
    OutOfRange(&'static str),
    /// 22003
    #[error("value out of range: overflow")]
    FloatOverflow,
    /// 22003
    #[error("value out of range: underflow")]
    FloatUnderflow,
    /// 22003
    #[error("value overflows numeric format")]
    NumericOverflow,
    /// 22003: a value that does not fit `numeric(precision, scale)`
    #[error("numeric field overflow")]
    NumericField,
    /// 22P02: a text that is no value of the type
    #[error("invalid input syntax for type {ty}: \"{text}\"")]
    InvalidText {
        /// The type's SQL name.
        ty: &'static str,
        /// The text.
        text: String,
    },
    /// 22003: a text (or number) that the type cannot hold
    #[error("\"{text}\" is out of range for type {ty}")]
    TextRange {
        /// The type's SQL name.
        ty: &'static str,
        /// The text.
        text: String,
    },
    /// Any other error of PostgreSQL.
    #[error("{message}")]
    Raised {
        /// SQLSTATE.
        code: &'static str,
        /// PostgreSQL's message.
        message: Cow<'static, str>,
    },
    /// A value's bytes could not be read. Not an error of the query: the data that came is damaged.
    #[error(transparent)]
    Datum(#[from] DatumError),
    /// A TOASTed value that was not sent reached an expression. Not an error of the query.
    #[error("column {0} was not sent by the source (unchanged TOAST)")]
    Unchanged(usize),
}

impl EvalError {
    /// An error with PostgreSQL's code and message.
    pub(crate) fn raised(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Raised { code, message: message.into() }
    }

    /// PostgreSQL's SQLSTATE for it (`XX001`, data corrupted, for what is not an error of the query).
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::DivisionByZero => "22012",
            Self::OutOfRange(_)
            | Self::FloatOverflow
            | Self::FloatUnderflow
            | Self::NumericOverflow
            | Self::NumericField
            | Self::TextRange { .. } => "22003",
            Self::InvalidText { .. } => "22P02",
            Self::Raised { code, .. } => code,
            Self::Datum(_) | Self::Unchanged(_) => "XX001",
        }
    }

    /// Whether PostgreSQL, asked to evaluate the query itself, would fail the same way (so that it is the stream
    /// table's error and not a fault of what was received).
    #[must_use]
    pub fn is_querys(&self) -> bool {
        !matches!(self, Self::Datum(_) | Self::Unchanged(_))
    }
}
