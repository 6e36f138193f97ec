//! What the target does not have yet, as it is stored.
//!
//! ```text
//!   Outbox    cut (u64) | part (u32) → part 0: the cut (JSON); others: stream (u32), then changes, each a kind,
//!                                      a length (varint) and the row
//! ```
//!
//! Cuts that change nothing leave nothing here.

use bytes::Bytes;
use state::{Batch, Family, Read, Store, Write};
use types::{Cut, Row, Seq, StreamId, TableChange};

use crate::definition::StreamOutput;
use crate::error::IvmError;
use crate::key::{put_bytes, take_varint};

/// A part is closed when it is so long.
const PART: usize = 1 << 20;

const INSERT: u8 = b'I';
const UPDATE: u8 = b'U';
const DELETE: u8 = b'D';

fn key(seq: Seq, part: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&seq.0.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

/// Puts what a cut does to the stream tables.
pub(crate) fn put(batch: &mut Batch, cut: &Cut, streams: &[StreamOutput]) -> Result<(), IvmError> {
    if streams.is_empty() {
        return Ok(());
    }
    let head = serde_json::to_vec(cut).map_err(|e| IvmError::damaged(format!("a cut: {e}")))?;
    batch.put(Family::Outbox, &key(cut.seq, 0), &head);
    let mut part = 0;
    let mut bytes = Vec::new();
    for output in streams {
        let mut changes = output.changes.iter().peekable();
        while changes.peek().is_some() {
            bytes.clear();
            bytes.extend_from_slice(&output.stream.0.to_be_bytes());
            while bytes.len() < PART
                && let Some(change) = changes.next()
            {
                let (kind, row) = match change {
                    TableChange::Insert(row) => (INSERT, row),
                    TableChange::Update(row) => (UPDATE, row),
                    TableChange::Delete(row) => (DELETE, row),
                };
                bytes.push(kind);
                put_bytes(&mut bytes, row.as_bytes());
            }
            part += 1;
            batch.put(Family::Outbox, &key(cut.seq, part), &bytes);
        }
    }
    Ok(())
}

/// Removes the cuts up to and with `upto`.
pub(crate) fn prune(batch: &mut Batch, upto: Seq) {
    batch.delete_range(Family::Outbox, &[0; 12], &key(Seq(upto.0.saturating_add(1)), 0));
}

/// Cuts behind one, oldest first. Reads as it goes; see [`crate::Engine::outbox_from`].
#[derive(Debug)]
pub struct Outbox<'a> {
    store: &'a Store,
    next: Option<Seq>,
}

impl<'a> Outbox<'a> {
    pub(crate) fn after(store: &'a Store, after: Seq) -> Self {
        Self { store, next: after.0.checked_add(1).map(Seq) }
    }

    fn read(&self, from: Seq) -> Result<Option<(Cut, Vec<StreamOutput>)>, IvmError> {
        let damaged = || IvmError::damaged("the outbox");
        let mut cursor = self.store.cursor(Family::Outbox);
        cursor.seek_from(&[], &key(from, 0));
        let mut cut: Option<Cut> = None;
        let mut streams: Vec<StreamOutput> = Vec::new();
        while let Some((key, value)) = cursor.next()? {
            let (seq, part) = key.split_at_checked(8).ok_or_else(damaged)?;
            let seq = Seq(u64::from_be_bytes(seq.try_into().map_err(|_| damaged())?));
            match &cut {
                Some(cut) if cut.seq != seq => break,
                Some(_) => {
                    let bytes = Bytes::copy_from_slice(value);
                    let (stream, mut changes) = changes(&bytes).ok_or_else(damaged)?;
                    match streams.last_mut() {
                        Some(last) if last.stream == stream => last.changes.append(&mut changes),
                        _ => streams.push(StreamOutput { stream, changes }),
                    }
                }
                None if part == [0; 4] => cut = Some(serde_json::from_slice(value).map_err(|_| damaged())?),
                None => return Err(damaged()),
            }
        }
        Ok(cut.map(|cut| (cut, streams)))
    }
}

impl Iterator for Outbox<'_> {
    type Item = Result<(Cut, Vec<StreamOutput>), IvmError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read(self.next?);
        self.next = match &read {
            Ok(Some((cut, _))) => cut.seq.0.checked_add(1).map(Seq),
            _ => None,
        };
        read.transpose()
    }
}

fn changes(bytes: &Bytes) -> Option<(StreamId, Vec<TableChange>)> {
    let (stream, mut rest) = bytes.split_at_checked(4)?;
    let stream = StreamId(u32::from_be_bytes(stream.try_into().ok()?));
    let mut out = Vec::new();
    while let Some((&kind, tail)) = rest.split_first() {
        rest = tail;
        let length = usize::try_from(take_varint(&mut rest)?).ok()?;
        let (row, tail) = rest.split_at_checked(length)?;
        rest = tail;
        let row = Row::from_bytes(bytes.slice_ref(row));
        out.push(match kind {
            INSERT => TableChange::Insert(row),
            UPDATE => TableChange::Update(row),
            DELETE => TableChange::Delete(row),
            _ => return None,
        });
    }
    Some((stream, out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use state::{Durability, Options};
    use types::{Field, RowBuilder};

    fn row(bytes: &[u8]) -> Row {
        let mut b = RowBuilder::new();
        b.push(Field::Value(bytes));
        b.finish()
    }

    #[test]
    fn cuts_come_back_in_order_until_they_are_pruned() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &Options::default()).unwrap();
        let big = vec![7; PART / 2];
        let cut = |n| Cut { seq: Seq(n), ..Cut::default() };
        let streams = |n: u8| {
            vec![
                StreamOutput {
                    stream: StreamId(1),
                    changes: vec![
                        TableChange::Insert(row(&big)),
                        TableChange::Update(row(&big)),
                        TableChange::Delete(row(&[n])),
                        TableChange::Insert(row(&big)),
                    ],
                },
                StreamOutput { stream: StreamId(2), changes: vec![TableChange::Insert(row(&[n]))] },
            ]
        };
        let mut batch = Batch::new();
        for n in [1, 2, 5] {
            put(&mut batch, &cut(n), &streams(n as u8)).unwrap();
        }
        put(&mut batch, &cut(6), &[]).unwrap();
        store.write(&mut batch, Durability::Buffered).unwrap();
        let read = |after| Outbox::after(&store, Seq(after)).collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(read(0), [(cut(1), streams(1)), (cut(2), streams(2)), (cut(5), streams(5))]);
        assert_eq!(read(2), [(cut(5), streams(5))]);
        assert_eq!(read(5), []);
        prune(&mut batch, Seq(2));
        store.write(&mut batch, Durability::Buffered).unwrap();
        assert_eq!(read(0), [(cut(5), streams(5))]);
        assert_eq!(Outbox::after(&store, Seq(u64::MAX)).count(), 0);
    }
}
