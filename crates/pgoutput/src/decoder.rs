//! From bytes to [`Message`]: one function a message kind, and the one bit of state that the protocol needs.

use crate::message::{
    Begin, BeginPrepare, Commit, CommitPrepared, Delete, Insert, LogicalMessage, Lsn, Message, Old, Origin, Prepare,
    RollbackPrepared, StreamAbort, StreamCommit, StreamStart, Timestamp, Truncate, Type, Update,
};
use crate::reader::Reader;
use crate::relation::namespace;
use crate::{Error, Relation, Tuple};

/// A message and the transaction it was streamed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The (sub)transaction that made the change, when the message stands in a streamed block; `None` elsewhere,
    /// where the transaction is that of the last `Begin` or `BeginPrepare`.
    pub xid: Option<u32>,
    /// The message.
    pub message: Message<'a>,
}

/// Decodes the messages of one stream in their order. A new stream needs a new decoder.
#[derive(Debug, Clone, Copy, Default)]
pub struct Decoder {
    /// Between `StreamStart` and `StreamStop`.
    streaming: bool,
}

impl Decoder {
    /// A decoder for a stream's first message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes the stream's next message. After an error the decoder is as it was before.
    ///
    /// # Errors
    /// [`Error`] when the bytes are no message of protocol 1 to 4.
    #[inline]
    pub fn decode<'a>(&mut self, bytes: &'a [u8]) -> Result<Decoded<'a>, Error> {
        let (&tag, rest) = bytes.split_first().ok_or(Error::Empty)?;
        let mut reader = Reader(rest);
        let xid = match tag {
            b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M' if self.streaming => {
                Some(reader.u32("a streamed change's transaction")?)
            }
            _ => None,
        };
        let message = message(tag, &mut reader)?;
        reader.end()?;
        match message {
            Message::StreamStart(_) => self.streaming = true,
            Message::StreamStop => self.streaming = false,
            _ => {}
        }
        Ok(Decoded { xid, message })
    }
}

#[inline]
fn message<'a>(tag: u8, r: &mut Reader<'a>) -> Result<Message<'a>, Error> {
    Ok(match tag {
        b'I' => Message::Insert(insert(r)?),
        b'U' => Message::Update(update(r)?),
        b'D' => Message::Delete(delete(r)?),
        b'B' => Message::Begin(begin(r)?),
        b'C' => Message::Commit(commit(r)?),
        b'R' => Message::Relation(Relation::read(r)?),
        b'Y' => Message::Type(type_name(r)?),
        b'O' => Message::Origin(Origin { lsn: lsn(r)?, name: r.text("an origin's name")? }),
        b'T' => Message::Truncate(truncate(r)?),
        b'M' => Message::Message(logical_message(r)?),
        b'b' => Message::BeginPrepare(begin_prepare(r)?),
        b'P' => Message::Prepare(prepare(r)?),
        b'K' => Message::CommitPrepared(commit_prepared(r)?),
        b'r' => Message::RollbackPrepared(rollback_prepared(r)?),
        b'S' => Message::StreamStart(StreamStart { xid: xid(r)?, first: r.u8("a first-block flag")? != 0 }),
        b'E' => Message::StreamStop,
        b'c' => Message::StreamCommit(stream_commit(r)?),
        b'A' => Message::StreamAbort(stream_abort(r)?),
        b'p' => Message::StreamPrepare(prepare(r)?),
        other => return Err(Error::UnknownMessage(other)),
    })
}

fn lsn(r: &mut Reader<'_>) -> Result<Lsn, Error> {
    r.u64("a position").map(Lsn)
}

fn time(r: &mut Reader<'_>) -> Result<Timestamp, Error> {
    r.i64("a timestamp").map(Timestamp)
}

fn xid(r: &mut Reader<'_>) -> Result<u32, Error> {
    r.u32("a transaction's identifier")
}

fn gid<'a>(r: &mut Reader<'a>) -> Result<&'a str, Error> {
    r.text("a prepared transaction's name")
}

fn flags(r: &mut Reader<'_>) -> Result<u8, Error> {
    r.u8("a message's flags")
}

fn relation(r: &mut Reader<'_>) -> Result<u32, Error> {
    r.u32("a change's relation")
}

fn begin(r: &mut Reader<'_>) -> Result<Begin, Error> {
    Ok(Begin { final_lsn: lsn(r)?, timestamp: time(r)?, xid: xid(r)? })
}

fn commit(r: &mut Reader<'_>) -> Result<Commit, Error> {
    Ok(Commit { flags: flags(r)?, commit_lsn: lsn(r)?, end_lsn: lsn(r)?, timestamp: time(r)? })
}

fn type_name<'a>(r: &mut Reader<'a>) -> Result<Type<'a>, Error> {
    Ok(Type { id: r.u32("a type's oid")?, namespace: namespace(r)?, name: r.text("a type's name")? })
}

#[inline]
fn insert<'a>(r: &mut Reader<'a>) -> Result<Insert<'a>, Error> {
    let relation = relation(r)?;
    match r.u8("a new row's mark")? {
        b'N' => Ok(Insert { relation, new: Tuple::read(r)? }),
        value => Err(Error::BadTag { what: "a new row's mark", value }),
    }
}

fn update<'a>(r: &mut Reader<'a>) -> Result<Update<'a>, Error> {
    let relation = relation(r)?;
    let mut mark = r.u8("a row's mark")?;
    let old = match mark {
        b'K' => Some(Old::Key(Tuple::read(r)?)),
        b'O' => Some(Old::Full(Tuple::read(r)?)),
        _ => None,
    };
    if old.is_some() {
        mark = r.u8("a new row's mark")?;
    }
    match mark {
        b'N' => Ok(Update { relation, old, new: Tuple::read(r)? }),
        value => Err(Error::BadTag { what: "a new row's mark", value }),
    }
}

fn delete<'a>(r: &mut Reader<'a>) -> Result<Delete<'a>, Error> {
    let relation = relation(r)?;
    let old = match r.u8("an old row's mark")? {
        b'K' => Old::Key(Tuple::read(r)?),
        b'O' => Old::Full(Tuple::read(r)?),
        value => return Err(Error::BadTag { what: "an old row's mark", value }),
    };
    Ok(Delete { relation, old })
}

fn truncate<'a>(r: &mut Reader<'a>) -> Result<Truncate<'a>, Error> {
    let count = r.u32("a count of truncated tables")?;
    let flags = flags(r)?;
    let what = "truncated tables";
    let length = (count as usize).checked_mul(4).ok_or(Error::Short(what))?;
    let oids = r.bytes(length, what)?;
    Ok(Truncate { cascade: flags & 1 != 0, restart_identity: flags & 2 != 0, oids })
}

fn logical_message<'a>(r: &mut Reader<'a>) -> Result<LogicalMessage<'a>, Error> {
    let transactional = flags(r)? & 1 != 0;
    let lsn = lsn(r)?;
    let prefix = r.text("a message's prefix")?;
    let length = r.u32("a message's length")?;
    Ok(LogicalMessage { transactional, lsn, prefix, content: r.bytes(length as usize, "a message's content")? })
}

fn begin_prepare<'a>(r: &mut Reader<'a>) -> Result<BeginPrepare<'a>, Error> {
    Ok(BeginPrepare { prepare_lsn: lsn(r)?, end_lsn: lsn(r)?, timestamp: time(r)?, xid: xid(r)?, gid: gid(r)? })
}

fn prepare<'a>(r: &mut Reader<'a>) -> Result<Prepare<'a>, Error> {
    Ok(Prepare {
        flags: flags(r)?,
        prepare_lsn: lsn(r)?,
        end_lsn: lsn(r)?,
        timestamp: time(r)?,
        xid: xid(r)?,
        gid: gid(r)?,
    })
}

fn commit_prepared<'a>(r: &mut Reader<'a>) -> Result<CommitPrepared<'a>, Error> {
    Ok(CommitPrepared {
        flags: flags(r)?,
        commit_lsn: lsn(r)?,
        end_lsn: lsn(r)?,
        timestamp: time(r)?,
        xid: xid(r)?,
        gid: gid(r)?,
    })
}

fn rollback_prepared<'a>(r: &mut Reader<'a>) -> Result<RollbackPrepared<'a>, Error> {
    Ok(RollbackPrepared {
        flags: flags(r)?,
        prepare_end_lsn: lsn(r)?,
        rollback_end_lsn: lsn(r)?,
        prepare_timestamp: time(r)?,
        rollback_timestamp: time(r)?,
        xid: xid(r)?,
        gid: gid(r)?,
    })
}

fn stream_commit(r: &mut Reader<'_>) -> Result<StreamCommit, Error> {
    Ok(StreamCommit { xid: xid(r)?, flags: flags(r)?, commit_lsn: lsn(r)?, end_lsn: lsn(r)?, timestamp: time(r)? })
}

fn stream_abort(r: &mut Reader<'_>) -> Result<StreamAbort, Error> {
    let (xid, subxid) = (xid(r)?, self::xid(r)?);
    let aborted_at = if r.0.is_empty() { None } else { Some((lsn(r)?, time(r)?)) };
    Ok(StreamAbort { xid, subxid, aborted_at })
}
