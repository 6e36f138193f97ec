//! INTERSECT and EXCEPT, with and without ALL.
//!
//! ```text
//!   Groups    state (u32) | key of all columns → left's copies, right's copies (varints), the row
//! ```
//!
//! Rows are equal as their types' equality says; the row shown is the first of left's that came (right's, where it came before).

use plan::SetOp as Op;
use state::{Family, Read, Store, Write};
use types::{Delta, Row};

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

/// What is stored of one row.
#[derive(Debug, Clone, Default)]
struct Counted {
    left: i64,
    right: i64,
    row: Row,
}

/// What a cut does to one row.
#[derive(Debug, Default)]
struct Change {
    left: i64,
    right: i64,
    from_left: Option<Row>,
    row: Row,
}

impl Counts {
    /// How many copies come out.
    fn out(&self, left: i64, right: i64) -> i64 {
        match (self.op, self.all) {
            (Op::Intersect, true) => left.min(right),
            (Op::Intersect, false) => i64::from(left > 0 && right > 0),
            (Op::Except, true) => (left - right).max(0),
            (Op::Except, false) => i64::from(left > 0 && right == 0),
        }
    }

    fn apply(&self, cx: &mut Cx<'_>, lefts: &[Delta], rights: &[Delta]) -> Result<Vec<Delta>, Failure> {
        let mut keys = KeyTable::default();
        let mut changes: Vec<Change> = Vec::new();
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
                changes.push(Change::default());
            }
            let Some(change) = changes.get_mut(id as usize) else { continue };
            if is_left {
                change.left += delta.diff;
                change.from_left.get_or_insert_with(|| row.clone());
            } else {
                change.right += delta.diff;
            }
            change.row = row;
        }
        let full: Vec<Vec<u8>> = keys.keys().map(|key| [&self.state.to_be_bytes(), key].concat()).collect();
        let refs: Vec<&[u8]> = full.iter().map(Vec::as_slice).collect();
        let mut before = Vec::with_capacity(refs.len());
        cx.store.multi_get(Family::Groups, &refs, &mut |_, stored| {
            before.push(stored.map_or(Some(Counted::default()), Counted::decode));
        })?;
        let mut out = Vec::new();
        for ((key, before), change) in full.iter().zip(before).zip(changes) {
            let before = before.ok_or_else(|| IvmError::damaged("a set operation's row"))?;
            let (left, right) = (before.left + change.left, before.right + change.right);
            if left < 0 || right < 0 {
                let what = "more copies of a row left a set operation than were in it; this is a defect of tributary";
                return Err(Failure::Stream(what.into()));
            }
            let was = self.out(before.left, before.right);
            let is = self.out(left, right);
            let known = before.left + before.right > 0;
            let row = match (known, change.from_left) {
                (true, Some(row)) if before.left == 0 => row,
                (true, _) => before.row.clone(),
                (false, from_left) => from_left.unwrap_or(change.row),
            };
            if before.row == row || was == 0 || is == 0 {
                let (row, diff) = if is == 0 { (before.row, -was) } else { (row.clone(), is - was) };
                out.extend((diff != 0).then_some(Delta { row, diff }));
            } else {
                out.push(Delta { row: before.row, diff: -was });
                out.push(Delta { row: row.clone(), diff: is });
            }
            if left + right == 0 {
                cx.batch.delete(Family::Groups, key);
            } else {
                cx.batch.put(Family::Groups, key, &Counted { left, right, row }.encode());
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
            let diff = self.out(counted.left, counted.right);
            rows.extend((diff > 0).then_some(Delta { row: counted.row, diff }));
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

    pub(crate) fn state_bytes(&self, store: &Store) -> u64 {
        store.size_of(Family::Groups, &self.counts.state.to_be_bytes())
    }
}

impl Counted {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.row.as_bytes().len() + 4);
        put_varint(&mut out, self.left as u64);
        put_varint(&mut out, self.right as u64);
        out.extend_from_slice(self.row.as_bytes());
        out
    }

    fn decode(mut stored: &[u8]) -> Option<Self> {
        let mut number = || take_varint(&mut stored).and_then(|n| i64::try_from(n).ok());
        let (left, right) = (number()?, number()?);
        Some(Self { left, right, row: Row::from_bytes(bytes::Bytes::copy_from_slice(stored)) })
    }
}
