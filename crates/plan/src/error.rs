//! Why a query cannot be kept.

/// A query was not planned; nothing was changed anywhere.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// PostgreSQL itself refuses it: its own message.
    #[error("{0}")]
    Rejected(String),
    /// It is a query that tributary does not keep.
    #[error("{construct}: {reason}{}", remedy_text(.remedy))]
    Refused {
        /// What of it.
        construct: String,
        /// Why.
        reason: String,
        /// What to do; the nearest query that works.
        remedy: String,
    },
    /// The database could not be asked.
    #[error("the target database could not be asked: {0}")]
    Unavailable(String),
    /// PostgreSQL's analysed tree is not as this version knows it.
    #[error("the query's analysis is not as expected: {0}; please report it")]
    Tree(String),
    /// Planning panicked.
    #[error(transparent)]
    Bug(#[from] types::Bug),
}

fn remedy_text(remedy: &str) -> String {
    if remedy.is_empty() { String::new() } else { format!("; {remedy}") }
}

impl PlanError {
    /// A refusal.
    pub(crate) fn refused(construct: impl Into<String>, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused { construct: construct.into(), reason: reason.into(), remedy: remedy.into() }
    }

    /// Something that is to come.
    pub(crate) fn not_yet(construct: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::refused(construct, "cannot be kept yet", remedy)
    }

    /// More levels than the stack is sure to have room for.
    pub(crate) fn too_deep(limit: &str) -> Self {
        let remedy =
            "make a stream table of an inner part and read that, or write a list (IN, ANY, concat) for a chain";
        Self::refused("a query nested so deep", limit, remedy)
    }

    /// Whether the same request can succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
