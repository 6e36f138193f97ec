//! INTERSECT and EXCEPT, with and without ALL.
//!
//! ```text
//!   Groups    state (u32) | key of all columns → right's copies (varint), left's rows ([`super::forms`])
//! ```
//!
//! Rows are equal as their types' equality says; what is shown is one of left's.

use bytes::Bytes;
use plan::SetOp as Op;
use state::{Family, Read, Write};
use types::{Delta, Row};

use super::forms::Forms;
use super::{CHUNK, Cx, Emit, Node};
use crate::error::{Failure, IvmError};
use crate::key::{FieldMap, KeyEncoder, put_varint, take_varint};
use crate::table::KeyTable;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct SetOp {
    pub(crate) left: Node,
    pub(crate) right: Node,
    pub(crate) counts: Counts,
}

/// The rows of both sides, counted.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) op: Op,
    pub(crate) all: bool,
    pub(crate) state: u32,
    /// Of rows that have just their columns.
    pub(crate) key: KeyEncoder,
    /// Which physical columns the rows are of each side; `None` when they are just these.
    pub(crate) left: Option<Vec<usize>>,
    pub(crate) right: Option<Vec<usize>>,
}

/// What is stored of equal rows.
#[derive(Debug, Clone, Default)]
struct Counted {
    left: Forms,
    right: i64,
}

impl Counts {
    /// What comes out, and how many copies.
    fn out(&self, counted: &Counted) -> Delta {
        let (left, right) = (counted.left.all(), counted.right);
        let diff = match (self.op, self.all) {
            (Op::Intersect, true) => left.min(right),
            (Op::Intersect, false) => i64::from(left > 0 && right > 0),
            (Op::Except, true) => (left - right).max(0),
            (Op::Except, false) => i64::from(left > 0 && right == 0),
        };
        Delta { row: Row::from_bytes(Bytes::copy_from_slice(counted.left.shown())), diff }
    }

    fn apply(&self, cx: &mut Cx<'_>, lefts: &[Delta], rights: &[Delta]) -> Result<Vec<Delta>, Failure> {
        let mut keys = KeyTable::default();
        let mut changes: Vec<(Vec<(Row, i64)>, i64)> = Vec::new();
        let (mut fields, mut scratch) = (FieldMap::default(), Vec::new());
        let lefts = lefts.iter().map(|delta| (delta, &self.left, true));
        let rights = rights.iter().map(|delta| (delta, &self.right, false));
        for (delta, columns, is_left) in lefts.chain(rights) {
            let row = columns.as_ref().map_or_else(|| delta.row.clone(), |columns| delta.row.project(columns));
            fields.read(row.as_bytes(), self.key.reach);
            scratch.clear();
            self.key.encode(&fields, row.as_bytes(), &mut scratch).map_err(Failure::unreadable("a value"))?;
            let (id, new) = keys.id(&scratch);
            if new {
                changes.push(Default::default());
            }
            let Some((left, right)) = changes.get_mut(id as usize) else { continue };
            if is_left {
                left.push((row, delta.diff));
            } else {
                *right += delta.diff;
            }
        }
        let full: Vec<Vec<u8>> = keys.keys().map(|key| [&self.state.to_be_bytes(), key].concat()).collect();
        let refs: Vec<&[u8]> = full.iter().map(Vec::as_slice).collect();
        let mut before = Vec::with_capacity(refs.len());
        cx.store.multi_get(Family::Groups, &refs, &mut |_, stored| {
            before.push(stored.map_or(Some(Counted::default()), Counted::decode));
        })?;
        let mut out = Vec::new();
        for ((key, before), (left, right)) in full.iter().zip(before).zip(changes) {
            let before = before.ok_or_else(|| IvmError::damaged("a set operation's row"))?;
            let mut now = Counted { left: before.left.clone(), right: before.right + right };
            left.iter().for_each(|(row, diff)| now.left.add(row.as_bytes(), *diff));
            if !now.left.settle() || now.right < 0 {
                let what = "more copies of a row left a set operation than were in it; this is a defect of tributary";
                return Err(Failure::Stream(what.into()));
            }
            let (was, is) = (self.out(&before), self.out(&now));
            if was.row == is.row {
                out.extend((was.diff != is.diff).then(|| Delta { diff: is.diff - was.diff, ..is }));
            } else {
                out.extend((was.diff != 0).then(|| Delta { diff: -was.diff, ..was }));
                out.extend((is.diff != 0).then_some(is));
            }
            if now.left.is_empty() && now.right == 0 {
                cx.batch.delete(Family::Groups, key);
            } else {
                cx.batch.put(Family::Groups, key, &now.encode());
            }
        }
        Ok(out)
    }

    /// All rows that come out, from the store, in pieces.
    fn emit_all(&self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let store = cx.store;
        let mut cursor = store.cursor(Family::Groups);
        cursor.seek(&self.state.to_be_bytes());
        let mut rows = Vec::new();
        while let Some((_, stored)) = cursor.next()? {
            let counted = Counted::decode(stored).ok_or_else(|| IvmError::damaged("a set operation's row"))?;
            let out = self.out(&counted);
            rows.extend((out.diff > 0).then_some(out));
            if rows.len() >= CHUNK {
                emit(cx, std::mem::take(&mut rows))?;
            }
        }
        if rows.is_empty() { Ok(()) } else { emit(cx, rows) }
    }
}

impl SetOp {
    /// Rows in, and what becomes of those that come out.
    pub(crate) fn step(&mut self, cx: &mut Cx<'_>) -> Result<(usize, Vec<Delta>), Failure> {
        let lefts = self.left.step(cx)?;
        let rights = self.right.step(cx)?;
        let rows_in = lefts.len() + rights.len();
        let out = if rows_in == 0 { Vec::new() } else { self.counts.apply(cx, &lefts, &rights)? };
        Ok((rows_in, out))
    }

    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let Self { left, right, counts } = self;
        left.build(cx, &mut |cx, rows| {
            counts.apply(cx, &rows, &[])?;
            cx.flush()
        })?;
        right.build(cx, &mut |cx, rows| {
            counts.apply(cx, &[], &rows)?;
            cx.flush()
        })?;
        counts.emit_all(cx, emit)
    }

    pub(crate) fn describe(&self) -> String {
        "each row's copies on both sides".into()
    }
}

impl Counted {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.left.size() + 8);
        put_varint(&mut out, self.right as u64);
        self.left.encode(&mut out);
        out
    }

    fn decode(mut stored: &[u8]) -> Option<Self> {
        let right = i64::try_from(take_varint(&mut stored)?).ok()?;
        Some(Self { left: Forms::decode(&mut stored)?, right })
    }
}
