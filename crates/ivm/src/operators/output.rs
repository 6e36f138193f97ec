//! What the stream table is told: one change a key.
//!
//! ```text
//!   Multisets    state (u32) | row → count (varint)          of a stream table without a key of its own
//! ```
//!
//! The root's deltas are projected to the answer's columns and summed up, so what cancels out is never sent. Without a
//! key, the copies of a row are numbered from 0, and each has the identifier that its row and number hash to: the same
//! content always has the same identifiers.

use sha2::{Digest, Sha256};
use state::{Family, Read, Store, Write};
use types::{Delta, Field, Row, RowBuilder, TableChange, push_field};

use super::Cx;
use crate::definition::{CutRows, OperatorStats};
use crate::error::{Failure, IvmError};
use crate::keeping::Keeping;
use crate::key::{FieldMap, KeyEncoder, put_varint, take_varint};
use crate::table::KeyTable;

/// The end of a stream table's tree.
#[derive(Debug)]
pub(crate) struct Output {
    /// Physical columns of the answer's; `None` when rows have just these.
    pub(crate) columns: Option<Vec<usize>>,
    pub(crate) key: OutputKey,
    pub(crate) keeps: Vec<Keeping>,
}

/// How rows of the stream table are told apart.
#[derive(Debug)]
pub(crate) enum OutputKey {
    /// By columns of the root's rows.
    Columns(KeyEncoder),
    /// By what they hash to.
    RowId { state: u32 },
}

/// What a cut does to one key.
#[derive(Debug, Default)]
struct Fate {
    /// Row and key columns that go.
    old: Option<(Row, Row)>,
    /// Row and key columns that come.
    new: Option<(Row, Row)>,
    /// Whatever did not fit.
    more: Vec<((Row, Row), i64)>,
}

impl Output {
    fn shown(&self, row: &Row) -> Row {
        self.columns.as_ref().map_or_else(|| row.clone(), |columns| row.project(columns))
    }

    /// The changes of the stream table, and by how much its rows are more.
    pub(crate) fn step(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<(Vec<TableChange>, i64), Failure> {
        if rows.is_empty() {
            return Ok((Vec::new(), 0));
        }
        match &self.key {
            OutputKey::Columns(key) => self.by_key(key, rows),
            OutputKey::RowId { state } => self.by_row(cx, *state, rows),
        }
    }

    fn by_key(&self, key: &KeyEncoder, rows: &[Delta]) -> Result<(Vec<TableChange>, i64), Failure> {
        let mut keys = KeyTable::default();
        let mut fates: Vec<Fate> = Vec::with_capacity(rows.len());
        let (mut scratch, mut fields) = (Vec::new(), FieldMap::default());
        for delta in rows {
            let row = delta.row.as_bytes();
            scratch.clear();
            fields.read(row, key.reach);
            key.encode(&fields, row, &mut scratch).map_err(Failure::unreadable("a key"))?;
            let (id, new) = keys.id(&scratch);
            if new {
                fates.push(Fate::default());
            }
            let mut columns = Vec::with_capacity(scratch.len() + 8);
            for column in key.columns() {
                push_field(&mut columns, fields.get(row, column).map_or(Field::Null, Field::Value));
            }
            fates[id as usize].add((self.shown(&delta.row), Row::from_bytes(columns.into())), delta.diff);
        }
        let (mut out, mut grown) = (Vec::with_capacity(fates.len()), 0);
        for fate in fates {
            match fate.settle()? {
                (None, None) => {}
                (None, Some((row, _))) => {
                    grown += 1;
                    out.push(TableChange::Insert(row));
                }
                (Some((_, key)), None) => {
                    grown -= 1;
                    out.push(TableChange::Delete(key));
                }
                (Some((old, old_key)), Some((new, new_key))) => {
                    if old_key != new_key {
                        // Equal for PostgreSQL, but not shown alike (1.0 and 1.00).
                        out.push(TableChange::Delete(old_key));
                        out.push(TableChange::Insert(new));
                    } else if old != new {
                        out.push(TableChange::Update(new));
                    }
                }
            }
        }
        Ok((out, grown))
    }

    fn by_row(&self, cx: &mut Cx<'_>, state: u32, rows: &[Delta]) -> Result<(Vec<TableChange>, i64), Failure> {
        let (mut out, mut grown) = (Vec::new(), 0);
        for (row, old, new) in self.recount(cx, state, rows)? {
            grown += new as i64 - old as i64;
            out.extend((new..old).map(|n| TableChange::Delete(only_id(&row, n))));
            out.extend((old..new).map(|n| TableChange::Insert(with_id(&row, n))));
        }
        Ok((out, grown))
    }

    /// Each row's copies before and after.
    fn recount(&self, cx: &mut Cx<'_>, state: u32, rows: &[Delta]) -> Result<Vec<(Row, u64, u64)>, Failure> {
        let mut distinct = KeyTable::default();
        let mut changed: Vec<(Row, i64)> = Vec::new();
        for delta in rows {
            let row = self.shown(&delta.row);
            let (id, new) = distinct.id(row.as_bytes());
            if new {
                changed.push((row, delta.diff));
            } else {
                changed[id as usize].1 += delta.diff;
            }
        }
        changed.retain(|(_, diff)| *diff != 0);
        let prefix = state.to_be_bytes();
        let keys: Vec<Vec<u8>> = changed.iter().map(|(row, _)| [&prefix[..], row.as_bytes()].concat()).collect();
        let refs: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut olds = Vec::with_capacity(refs.len());
        cx.store.multi_get(Family::Multisets, &refs, &mut |_, stored| {
            olds.push(stored.map_or(Some(0), |mut s| take_varint(&mut s)));
        })?;
        let mut out = Vec::with_capacity(changed.len());
        for (((row, diff), key), old) in changed.into_iter().zip(&keys).zip(olds) {
            let old = old.ok_or_else(|| IvmError::damaged("a row's count"))?;
            let new = old.checked_add_signed(diff).ok_or_else(|| {
                Failure::Stream("a row left the stream table that was not in it; this is a defect of tributary".into())
            })?;
            if new == 0 {
                cx.batch.delete(Family::Multisets, key);
            } else {
                let mut count = Vec::new();
                put_varint(&mut count, new);
                cx.batch.put(Family::Multisets, key, &count);
            }
            out.push((row, old, new));
        }
        Ok(out)
    }

    /// The first content, a piece of the root's rows after the other.
    pub(crate) fn build(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<Vec<Row>, Failure> {
        let mut out = Vec::with_capacity(rows.len());
        match self.key {
            OutputKey::Columns(_) => {
                for delta in rows {
                    let row = self.shown(&delta.row);
                    out.extend((0..delta.diff).map(|_| row.clone()));
                }
            }
            OutputKey::RowId { state } => {
                for (row, old, new) in self.recount(cx, state, rows)? {
                    out.extend((old..new).map(|n| with_id(&row, n)));
                }
                cx.flush()?;
            }
        }
        Ok(out)
    }

    /// For `explain`: what becomes of the root's rows.
    pub(crate) fn stats(&self, store: &Store, cuts: Vec<CutRows>) -> OperatorStats {
        let state = match self.key {
            OutputKey::Columns(_) => "changes by key",
            OutputKey::RowId { .. } => "copies of each row",
        };
        let holds = self.keeps.iter().map(|k| k.holding(store)).collect();
        OperatorStats { depth: 0, name: "output", ring: 1, state: state.into(), holds, cuts }
    }
}

impl Fate {
    fn add(&mut self, row: (Row, Row), diff: i64) {
        let (same, place) = match diff {
            1 => (&mut self.old, &mut self.new),
            -1 => (&mut self.new, &mut self.old),
            _ => return self.more.push((row, diff)),
        };
        if same.as_ref() == Some(&row) {
            *same = None;
        } else if place.is_none() {
            *place = Some(row);
        } else {
            self.more.push((row, diff));
        }
    }

    /// The row that goes and the row that comes.
    #[allow(clippy::type_complexity, reason = "twice the same pair")]
    fn settle(self) -> Result<(Option<(Row, Row)>, Option<(Row, Row)>), Failure> {
        if self.more.is_empty() {
            return Ok((self.old, self.new));
        }
        let mut sums: Vec<((Row, Row), i64)> = Vec::new();
        let all = self.more.into_iter().chain(self.old.map(|r| (r, -1))).chain(self.new.map(|r| (r, 1)));
        for (row, diff) in all {
            match sums.iter_mut().find(|(r, _)| *r == row) {
                Some((_, sum)) => *sum += diff,
                None => sums.push((row, diff)),
            }
        }
        let (mut old, mut new) = (None, None);
        for (row, diff) in sums {
            let place = match diff {
                0 => continue,
                -1 => &mut old,
                1 => &mut new,
                _ => return Err(not_a_key()),
            };
            if place.replace(row).is_some() {
                return Err(not_a_key());
            }
        }
        Ok((old, new))
    }
}

fn not_a_key() -> Failure {
    Failure::Stream("two rows of the answer have the same key; this is a defect of tributary".into())
}

/// The identifier of the `n`th copy of a row: SHA-256 of number and row, cut to a UUID of version 8.
fn row_id(row: &Row, n: u64) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(n.to_be_bytes());
    hash.update(row.as_bytes());
    let digest = hash.finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id[6] = id[6] & 0x0F | 0x80;
    id[8] = id[8] & 0x3F | 0x80;
    id
}

fn with_id(row: &Row, n: u64) -> Row {
    let mut out = RowBuilder::with_capacity(row.as_bytes().len() + 17);
    out.push_row(row).push(Field::Value(&row_id(row, n)));
    out.finish()
}

fn only_id(row: &Row, n: u64) -> Row {
    let mut out = RowBuilder::with_capacity(17);
    out.push(Field::Value(&row_id(row, n)));
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bytes: &[u8]) -> Row {
        let mut b = RowBuilder::new();
        b.push_value(Some(bytes));
        b.finish()
    }

    #[test]
    fn copies_of_a_row_have_identifiers_of_their_own_and_always_the_same() {
        let a = row(b"a");
        assert_ne!(row_id(&a, 0), row_id(&a, 1));
        assert_ne!(row_id(&a, 0), row_id(&row(b"b"), 0));
        let hex: String = row_id(&a, 0).iter().map(|b| format!("{b:02x}")).collect();
        // On disk in every stream table without a key: must never change.
        assert_eq!(hex, "70f1c3e4e03a8f2d81ffb9f3a9c692b1");
    }

    #[test]
    fn whatever_the_order_what_cancels_out_is_not_sent() {
        let pair = |b: &[u8]| (row(b), row(b"key"));
        let mut fate = Fate::default();
        for (r, diff) in [(b"x", 1), (b"a", -1), (b"x", -1), (b"y", 1), (b"z", 1), (b"y", -1)] {
            fate.add(pair(r), diff);
        }
        let (old, new) = fate.settle().unwrap();
        assert_eq!((old, new), (Some(pair(b"a")), Some(pair(b"z"))));
        let mut twice = Fate::default();
        twice.add(pair(b"x"), 1);
        twice.add(pair(b"y"), 1);
        assert!(twice.settle().is_err());
    }
}
