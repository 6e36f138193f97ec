//! ORDER BY … LIMIT, OFFSET and WITH TIES; of each partition for DISTINCT ON.
//!
//! ```text
//!   Multisets    state (u32) | partition | order | row → copies, lengths of order and partition (varints)
//! ```
//!
//! The rows lie in their order, so that the first ones are read and no others: of a partition that a cut touches, as many as
//! come out, before and after, walked through once. Without a limit what comes out is the rest: then the first ones are
//! taken from what came in.

use std::collections::BTreeMap;

use bytes::Bytes;
use state::{Cursor, Family, Read, Write};
use types::{Delta, PgType, Row};

use super::join::consolidated;
use super::{CHUNK, Cx, Emit, Node};
use crate::error::{Failure, IvmError};
use crate::key::{FieldMap, KeyEncoder, put_varint, take_varint};

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Top {
    pub(crate) input: Box<Node>,
    pub(crate) ordered: Ordered,
}

/// One key of the order, by its physical column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OrderKey {
    pub(crate) column: usize,
    pub(crate) ty: PgType,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// The rows in their order, and which of them come out.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) state: u32,
    pub(crate) partition: KeyEncoder,
    pub(crate) order: Vec<OrderKey>,
    pub(crate) offset: u64,
    pub(crate) limit: Option<u64>,
    pub(crate) ties: bool,
}

/// What a key of the order begins with that has a value; a NULL begins otherwise.
pub(super) const VALUE: u8 = 1;

/// Where an entry's order ends, behind its partition.
pub(super) type Marked = BTreeMap<Vec<u8>, (usize, i64)>;

/// The first rows of a partition, taken one entry after the other.
#[derive(Debug)]
struct First {
    wanted: u64,
    ties: bool,
    taken: u64,
    last: Option<Vec<u8>>,
    rows: Vec<Delta>,
}

impl First {
    fn new(wanted: u64, ties: bool) -> Self {
        Self { wanted, ties, taken: 0, last: None, rows: Vec::new() }
    }

    fn is_full(&self, order: &[u8]) -> bool {
        self.taken >= self.wanted && !(self.ties && self.last.as_deref().is_some_and(|last| last == order))
    }

    fn take(&mut self, order: &[u8], row: &[u8], copies: i64) {
        if copies <= 0 || self.is_full(order) {
            return;
        }
        let room = i64::try_from(self.wanted.saturating_sub(self.taken)).unwrap_or(i64::MAX);
        let diff = if self.ties { copies } else { copies.min(room) };
        if diff > 0 {
            self.taken = self.taken.saturating_add(diff.unsigned_abs());
            self.last = Some(order.to_vec());
            self.rows.push(Delta { row: Row::from_bytes(Bytes::copy_from_slice(row)), diff });
        }
    }
}

impl Ordered {
    /// An entry without its state, and where its order begins and ends.
    pub(super) fn entry(&self, fields: &mut FieldMap, row: &Row) -> Result<(Vec<u8>, usize, usize), Failure> {
        let bytes = row.as_bytes();
        let reach = self.order.iter().map(|k| k.column + 1).max().unwrap_or(0).max(self.partition.reach);
        fields.read(bytes, reach);
        let mut out = Vec::with_capacity(bytes.len() + 32);
        let unreadable = Failure::unreadable("a value");
        self.partition.encode(fields, bytes, &mut out).map_err(unreadable)?;
        let start = out.len();
        for key in &self.order {
            let value = fields.get(bytes, key.column);
            // NULLs have a place of their own, whatever the direction.
            out.push(if value.is_some() { VALUE } else { u8::from(!key.nulls_first) * 2 });
            if value.is_none() {
                continue;
            }
            let from = out.len();
            scalar::encode_key(key.ty, value, &mut out).map_err(Failure::unreadable("a value"))?;
            if key.descending {
                out[from..].iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        let end = out.len();
        out.extend_from_slice(bytes);
        Ok((out, start, end))
    }

    fn step(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        let mut partitions: BTreeMap<Vec<u8>, Marked> = BTreeMap::new();
        let mut fields = FieldMap::default();
        for delta in rows {
            let (mut entry, start, end) = self.entry(&mut fields, &delta.row)?;
            let rest = entry.split_off(start);
            partitions.entry(entry).or_default().entry(rest).or_insert((end - start, 0)).1 += delta.diff;
        }
        let store = cx.store;
        let mut cursor = store.cursor(Family::Multisets);
        let mut out = if self.limit.is_none() { rows.to_vec() } else { Vec::new() };
        for (partition, mut changes) in partitions {
            changes.retain(|_, (_, diff)| *diff != 0);
            self.counted(cx, &partition, &changes)?;
            let before = self.walk(&mut cursor, &partition, &Marked::new())?;
            let after = self.walk(&mut cursor, &partition, &changes)?;
            out.extend(before.into_iter().map(|d| Delta { row: d.row, diff: -d.diff }));
            out.extend(after);
        }
        Ok(consolidated(out))
    }

    /// What comes out of a partition with these changes; without a limit: what does not, taken away.
    fn walk(&self, cursor: &mut Cursor<'_>, partition: &[u8], changes: &Marked) -> Result<Vec<Delta>, Failure> {
        let mut skipped = First::new(self.offset, false);
        let mut first = self.limit.map(|limit| First::new(self.offset.saturating_add(limit), self.ties));
        let prefix = [&self.state.to_be_bytes(), partition].concat();
        let mut changes = changes.iter().peekable();
        cursor.seek(&prefix);
        let mut done = false;
        let mut take = |order: &[u8], row: &[u8], copies: i64| -> bool {
            skipped.take(order, row, copies);
            match &mut first {
                Some(first) => {
                    first.take(order, row, copies);
                    first.is_full(order)
                }
                None => skipped.is_full(order),
            }
        };
        while !done && let Some((key, stored)) = cursor.next()? {
            let rest = key.get(prefix.len()..).unwrap_or_default();
            let Stored { mut copies, order: end, .. } = Stored::decode(stored)?;
            while !done && let Some((entry, (end, diff))) = changes.next_if(|(entry, _)| entry.as_slice() < rest) {
                done = take(&entry[..*end], &entry[*end..], *diff);
            }
            if let Some((_, (_, diff))) = changes.next_if(|(entry, _)| entry.as_slice() == rest) {
                copies += diff;
            }
            let (order, row) = rest.split_at_checked(end).ok_or_else(damaged)?;
            done = done || (copies > 0 && take(order, row, copies));
        }
        for (entry, (end, diff)) in changes {
            if done {
                break;
            }
            done = take(&entry[..*end], &entry[*end..], *diff);
        }
        let skipped = skipped.rows.into_iter().map(|d| Delta { row: d.row, diff: -d.diff });
        Ok(first.map(|first| first.rows).unwrap_or_default().into_iter().chain(skipped).collect())
    }

    /// Writes the copies of what changed.
    pub(super) fn counted(&self, cx: &mut Cx<'_>, partition: &[u8], changes: &Marked) -> Result<(), Failure> {
        let full: Vec<Vec<u8>> =
            changes.keys().map(|entry| [&self.state.to_be_bytes(), partition, &entry[..]].concat()).collect();
        let refs: Vec<&[u8]> = full.iter().map(Vec::as_slice).collect();
        let mut before = Vec::with_capacity(refs.len());
        cx.store.multi_get(Family::Multisets, &refs, &mut |_, stored| {
            before.push(stored.map_or(Ok(0), |stored| Stored::decode(stored).map(|s| s.copies)));
        })?;
        for ((key, (end, diff)), before) in full.iter().zip(changes.values()).zip(before) {
            match before? + diff {
                0 => cx.batch.delete(Family::Multisets, key),
                copies if copies > 0 => {
                    let stored = Stored { copies, order: *end, partition: partition.len() };
                    cx.batch.put(Family::Multisets, key, &stored.encode());
                }
                _ => {
                    let what = "more copies of a row left an order than were in it; this is a defect of tributary";
                    return Err(Failure::Stream(what.into()));
                }
            }
        }
        Ok(())
    }
}

/// What is stored of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) copies: i64,
    /// Lengths.
    pub(super) order: usize,
    partition: usize,
}

impl Stored {
    fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4);
        put_varint(&mut out, self.copies as u64);
        put_varint(&mut out, self.order as u64);
        put_varint(&mut out, self.partition as u64);
        out
    }

    pub(super) fn decode(mut stored: &[u8]) -> Result<Self, Failure> {
        let mut number = || take_varint(&mut stored).and_then(|n| usize::try_from(n).ok()).ok_or_else(damaged);
        let copies = i64::try_from(number()?).map_err(|_| damaged())?;
        Ok(Self { copies, order: number()?, partition: number()? })
    }
}

pub(super) fn damaged() -> Failure {
    IvmError::damaged("an ordered row").into()
}

impl Top {
    pub(crate) fn step(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        if rows.is_empty() { Ok(Vec::new()) } else { self.ordered.step(cx, rows) }
    }

    /// All rows are put in order; then each partition's first ones are read.
    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let Self { input, ordered } = self;
        let mut fields = FieldMap::default();
        input.build(cx, &mut |cx, rows| {
            let mut partitions: BTreeMap<Vec<u8>, Marked> = BTreeMap::new();
            for delta in &rows {
                let (mut entry, start, end) = ordered.entry(&mut fields, &delta.row)?;
                let rest = entry.split_off(start);
                partitions.entry(entry).or_default().entry(rest).or_insert((end - start, 0)).1 += delta.diff;
            }
            for (partition, changes) in &partitions {
                ordered.counted(cx, partition, changes)?;
            }
            cx.flush()
        })?;
        let store = cx.store;
        let mut cursor = store.cursor(Family::Multisets);
        cursor.seek(&ordered.state.to_be_bytes());
        let mut out = Vec::new();
        let mut partition: Option<Vec<u8>> = None;
        let mut walking = (First::new(0, false), First::new(0, false));
        while let Some((key, stored)) = cursor.next()? {
            let entry = key.get(4..).unwrap_or_default();
            let Stored { copies, order: end, partition: start } = Stored::decode(stored)?;
            let (own, rest) = entry.split_at_checked(start).ok_or_else(damaged)?;
            if partition.as_deref() != Some(own) {
                partition = Some(own.to_vec());
                let wanted = ordered.limit.map_or(u64::MAX, |limit| ordered.offset.saturating_add(limit));
                walking = (First::new(ordered.offset, false), First::new(wanted, ordered.ties));
            }
            let (order, row) = rest.split_at_checked(end).ok_or_else(damaged)?;
            let (skipped, first) = &mut walking;
            first.take(order, row, copies);
            skipped.take(order, row, copies);
            out.append(&mut first.rows);
            out.extend(skipped.rows.drain(..).map(|d| Delta { row: d.row, diff: -d.diff }));
            if out.len() >= CHUNK {
                let rows = consolidated(std::mem::take(&mut out));
                emit(cx, rows)?;
            }
        }
        let rows = consolidated(out);
        if rows.is_empty() { Ok(()) } else { emit(cx, rows) }
    }

    pub(crate) fn describe(&self) -> String {
        "all rows in their order".into()
    }
}
