//! What can be wrong with a message's bytes.

/// Bytes that are no pgoutput message. Reading the same bytes again gives the same error: the stream is damaged, or
/// written in a form that this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are no bytes at all.
    #[error("the message is empty")]
    Empty,
    /// The message's first byte names no kind.
    #[error("no message begins with byte {0:#04x}")]
    UnknownMessage(u8),
    /// The bytes end inside a field.
    #[error("the message ends early, in {0}")]
    Short(&'static str),
    /// A name has no terminating zero, or is not UTF-8 (the replication session's `client_encoding` must be UTF8).
    #[error("{0} is not UTF-8 text")]
    NotText(&'static str),
    /// A byte that tells what follows has a value that does not exist.
    #[error("{what} cannot be {value:#04x}")]
    BadTag {
        /// What the byte stands for.
        what: &'static str,
        /// Its value.
        value: u8,
    },
    /// Bytes are left over behind the message's last field.
    #[error("{0} bytes are left behind the message")]
    Trailing(usize),
}
