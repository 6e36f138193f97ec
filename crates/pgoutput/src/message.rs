//! The messages, as PostgreSQL's `src/backend/replication/logical/proto.c` writes them.

use std::fmt;

use crate::{Error, Relation, Tuple};

/// A position in the WAL, in bytes since its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// A moment, in microseconds since 2000-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment in microseconds since 1970-01-01 00:00 UTC; the nearest that an `i64` holds.
    #[must_use]
    pub fn unix_micros(self) -> i64 {
        self.0.saturating_add(946_684_800_000_000)
    }
}

/// One message of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A plain transaction's changes follow, all of them, then its [`Commit`].
    Begin(Begin),
    /// The transaction is whole.
    Commit(Commit),
    /// The transaction came from elsewhere (follows its `Begin`).
    Origin(Origin<'a>),
    /// A table's description.
    Relation(Relation<'a>),
    /// A type's name (sent before a [`Relation`] that uses a type that is not built in).
    Type(Type<'a>),
    /// A row came.
    Insert(Insert<'a>),
    /// A row changed.
    Update(Update<'a>),
    /// A row went.
    Delete(Delete<'a>),
    /// All rows of some tables went.
    Truncate(Truncate<'a>),
    /// What `pg_logical_emit_message` wrote (option `messages`).
    Message(LogicalMessage<'a>),
    /// A prepared transaction's changes follow, all of them, then its [`Prepare`] (protocol 3).
    BeginPrepare(BeginPrepare<'a>),
    /// The prepared transaction is whole, and undecided.
    Prepare(Prepare<'a>),
    /// A prepared transaction was committed.
    CommitPrepared(CommitPrepared<'a>),
    /// A prepared transaction was rolled back.
    RollbackPrepared(RollbackPrepared<'a>),
    /// A block of changes of a transaction in progress follows (protocol 2).
    StreamStart(StreamStart),
    /// The block ends.
    StreamStop,
    /// A streamed transaction was committed.
    StreamCommit(StreamCommit),
    /// A streamed transaction or one of its subtransactions was rolled back.
    StreamAbort(StreamAbort),
    /// A streamed transaction was prepared (protocol 3).
    StreamPrepare(Prepare<'a>),
}

/// The begin of a plain transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Where its commit record begins.
    pub final_lsn: Lsn,
    /// When it committed.
    pub timestamp: Timestamp,
    /// Its identifier.
    pub xid: u32,
}

/// The end of a plain transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Unused by PostgreSQL so far.
    pub flags: u8,
    /// Where the commit record begins.
    pub commit_lsn: Lsn,
    /// Right behind the commit record: the position to confirm.
    pub end_lsn: Lsn,
    /// When it committed.
    pub timestamp: Timestamp,
}

/// Where a replicated transaction came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The commit's position on the server of origin.
    pub lsn: Lsn,
    /// The origin's name.
    pub name: &'a str,
}

/// A type that is not built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type<'a> {
    /// `pg_type.oid`.
    pub id: u32,
    /// Its schema.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// A new row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insert<'a> {
    /// The table's [`Relation::id`].
    pub relation: u32,
    /// The row.
    pub new: Tuple<'a>,
}

/// What PostgreSQL logged of a row's old version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old<'a> {
    /// The replica identity's columns; the others are NULL.
    Key(Tuple<'a>),
    /// The whole row (`REPLICA IDENTITY FULL`).
    Full(Tuple<'a>),
}

impl<'a> Old<'a> {
    /// The tuple, whichever it is.
    #[must_use]
    pub fn tuple(&self) -> Tuple<'a> {
        match self {
            Self::Key(tuple) | Self::Full(tuple) => *tuple,
        }
    }
}

/// A changed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update<'a> {
    /// The table's [`Relation::id`].
    pub relation: u32,
    /// The row before: only when a key column changed (or one is TOASTed), or under `REPLICA IDENTITY FULL`.
    pub old: Option<Old<'a>>,
    /// The row after; TOASTed columns that did not change are [`crate::Column::Unchanged`].
    pub new: Tuple<'a>,
}

/// A row that went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete<'a> {
    /// The table's [`Relation::id`].
    pub relation: u32,
    /// The row before.
    pub old: Old<'a>,
}

/// Tables that were emptied by one TRUNCATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncate<'a> {
    /// With CASCADE.
    pub cascade: bool,
    /// With RESTART IDENTITY.
    pub restart_identity: bool,
    /// Four bytes an oid.
    pub(crate) oids: &'a [u8],
}

impl<'a> Truncate<'a> {
    /// The tables' [`Relation::id`]s.
    pub fn relations(&self) -> impl Iterator<Item = u32> + 'a {
        self.oids.as_chunks::<4>().0.iter().map(|oid| u32::from_be_bytes(*oid))
    }
}

/// A message that an application put into the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogicalMessage<'a> {
    /// It belongs to the transaction that the stream is in; otherwise it stands alone and was written at once.
    pub transactional: bool,
    /// Where it stands in the WAL.
    pub lsn: Lsn,
    /// The prefix that says whose it is.
    pub prefix: &'a str,
    /// Anything.
    pub content: &'a [u8],
}

/// The begin of a prepared transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeginPrepare<'a> {
    /// Where its PREPARE record begins.
    pub prepare_lsn: Lsn,
    /// Right behind the PREPARE record.
    pub end_lsn: Lsn,
    /// When it was prepared.
    pub timestamp: Timestamp,
    /// Its identifier.
    pub xid: u32,
    /// The name under which it was prepared.
    pub gid: &'a str,
}

/// The end of a prepared transaction's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepare<'a> {
    /// Unused by PostgreSQL so far.
    pub flags: u8,
    /// Where its PREPARE record begins.
    pub prepare_lsn: Lsn,
    /// Right behind the PREPARE record. Once confirmed, the changes are not sent again.
    pub end_lsn: Lsn,
    /// When it was prepared.
    pub timestamp: Timestamp,
    /// Its identifier.
    pub xid: u32,
    /// The name under which it was prepared.
    pub gid: &'a str,
}

/// A decision for a prepared transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPrepared<'a> {
    /// Unused by PostgreSQL so far.
    pub flags: u8,
    /// Where the COMMIT PREPARED record begins.
    pub commit_lsn: Lsn,
    /// Right behind it.
    pub end_lsn: Lsn,
    /// When it committed.
    pub timestamp: Timestamp,
    /// The transaction's identifier.
    pub xid: u32,
    /// The name under which it was prepared.
    pub gid: &'a str,
}

/// A decision against a prepared transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackPrepared<'a> {
    /// Unused by PostgreSQL so far.
    pub flags: u8,
    /// Right behind the PREPARE record.
    pub prepare_end_lsn: Lsn,
    /// Right behind the ROLLBACK PREPARED record.
    pub rollback_end_lsn: Lsn,
    /// When it was prepared.
    pub prepare_timestamp: Timestamp,
    /// When it was rolled back.
    pub rollback_timestamp: Timestamp,
    /// The transaction's identifier.
    pub xid: u32,
    /// The name under which it was prepared.
    pub gid: &'a str,
}

/// The begin of a block of a streamed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStart {
    /// The transaction.
    pub xid: u32,
    /// It is the transaction's first block.
    pub first: bool,
}

/// The commit of a streamed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamCommit {
    /// The transaction.
    pub xid: u32,
    /// Unused by PostgreSQL so far.
    pub flags: u8,
    /// Where the commit record begins.
    pub commit_lsn: Lsn,
    /// Right behind the commit record.
    pub end_lsn: Lsn,
    /// When it committed.
    pub timestamp: Timestamp,
}

/// The rollback of a streamed transaction or of a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamAbort {
    /// The transaction.
    pub xid: u32,
    /// What of it was rolled back; `xid` itself for all.
    pub subxid: u32,
    /// Position and time of the rollback (protocol 4 with `streaming 'parallel'`).
    pub aborted_at: Option<(Lsn, Timestamp)>,
}

impl<'a> Message<'a> {
    /// Decodes a message that is not inside a streamed block. [`crate::Decoder`] knows by itself where it is.
    ///
    /// # Errors
    /// [`Error`] when the bytes are no such message.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        crate::Decoder::new().decode(bytes).map(|decoded| decoded.message)
    }
}
