//! The logical replication messages of PostgreSQL's pgoutput plugin, decoded without copying.
//!
//! Bytes of one message come in (the body of one `XLogData` frame), a borrowed [`Message`] goes out. All messages of
//! protocol versions 1 to 4 are known: plain, streamed and two-phase transactions. No bytes make the decoder panic:
//! what cannot be a message is an [`Error`] that says where it went wrong.
//!
//! A [`Decoder`] has one bit of memory: whether the stream is between `StreamStart` and `StreamStop`, where every
//! change carries the identifier of its (sub)transaction in front. Without `streaming` it never leaves its first state.
//!
//! ```
//! use pgoutput::{Decoder, Message};
//!
//! let mut decoder = Decoder::new();
//! let bytes = [b'B', 0, 0, 0, 0, 1, 0x50, 0, 8, 0, 2, 0x7A, 0, 0, 0, 0, 0, 0, 0, 3, 9];
//! let decoded = decoder.decode(&bytes).unwrap();
//! match decoded.message {
//!     Message::Begin(begin) => assert_eq!((begin.xid, begin.final_lsn.to_string().as_str()), (777, "0/1500008")),
//!     other => panic!("{other:?}"),
//! }
//! ```

mod decoder;
mod error;
mod message;
mod reader;
mod relation;
mod tuple;

pub use decoder::{Decoded, Decoder};
pub use error::Error;
pub use message::{
    Begin, BeginPrepare, Commit, CommitPrepared, Delete, Insert, LogicalMessage, Lsn, Message, Old, Origin, Prepare,
    RollbackPrepared, StreamAbort, StreamCommit, StreamStart, Timestamp, Truncate, Type, Update,
};
pub use relation::{Relation, RelationColumn, RelationColumns, ReplicaIdentity};
pub use tuple::{Column, Columns, Tuple};
