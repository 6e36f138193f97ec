//! One side of a join: where its rows as of the last cut are found by the join's key.
//!
//! | access | when | cost |
//! | --- | --- | --- |
//! | rows | the key holds the source's whole identity | nothing kept; a point read (or memory) a key |
//! | prefix | the key is the identity's first columns, or there is none | nothing kept; a range read a key |
//! | shared | other columns of a source | the source's rows once more, for all stream tables together |
//! | private | anything computed | the side's rows, for this join alone |
//! | keyed | the same, and the key holds columns that are unique in it | the same, a point read a key |
//!
//! The first three also serve a source behind filters: the conditions are evaluated on what is found.
//!
//! ```text
//!   Arrangements    state (u32) | join key | row → (nothing), or count (varint) where rows can repeat      private
//!                   state (u32) | join key       → row                                                     keyed
//! ```

use bytes::Bytes;
use state::{Family, Read, Store, Write};
use types::{Delta, Row, SourceId};

use super::filter::Predicate;
use super::{Cx, Node};
use crate::error::{Failure, IvmError};
use crate::held::HeldRows;
use crate::key::{FieldMap, KeyEncoder, put_varint, take_varint};
use crate::table::KeyTable;

/// A side: where its changes come from, and where its rows are found.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) input: Node,
    pub(crate) index: Index,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) access: Access,
    /// The join's key of this side's rows, in the order in which the access needs its columns.
    pub(crate) own: KeyEncoder,
    /// The same of the other side's rows.
    pub(crate) probe: KeyEncoder,
    /// How many of the key's columns are the identity; what is behind them is compared.
    pub(crate) marked: usize,
    /// Conditions between the source and the join.
    pub(crate) filters: Vec<Predicate>,
}

/// How a side's rows are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Rows {
        source: SourceId,
    },
    Prefix {
        source: SourceId,
    },
    Shared {
        state: u32,
    },
    /// `unique`: no row is ever there twice.
    Private {
        state: u32,
        unique: bool,
    },
    Keyed {
        state: u32,
    },
}

impl Access {
    /// The number of the arrangement that is this join's alone.
    pub(crate) fn own_state(self) -> Option<u32> {
        match self {
            Self::Private { state, .. } | Self::Keyed { state } => Some(state),
            _ => None,
        }
    }
}

/// Rows with the numbers of their keys.
#[derive(Debug, Default)]
pub(crate) struct Keyed {
    pub(crate) keys: KeyTable,
    /// Of each row; `None` when its key has a NULL.
    pub(crate) ids: Vec<Option<u32>>,
    /// Of each key: how long its identity part is.
    marks: Vec<usize>,
}

impl Keyed {
    pub(crate) fn of(rows: &[Delta], key: &KeyEncoder, marked: usize) -> Result<Self, Failure> {
        let mut out = Self::default();
        let (mut scratch, mut fields) = (Vec::new(), FieldMap::default());
        for delta in rows {
            let row = delta.row.as_bytes();
            scratch.clear();
            fields.read(row, key.reach);
            let mut mark = 0;
            let joins = key
                .encode_join(&fields, row, &mut scratch, marked, &mut mark)
                .map_err(Failure::unreadable("a join's key"))?;
            if !joins {
                out.ids.push(None);
                continue;
            }
            let (id, new) = out.keys.id(&scratch);
            if new {
                out.marks.push(mark);
            }
            out.ids.push(Some(id));
        }
        Ok(out)
    }
}

/// Reads an entry: what is behind the join's key, and the value.
type ReadEntry<'a> = dyn Fn(&[u8], &[u8]) -> Result<Delta, IvmError> + Sync + 'a;

/// Keys whose ranges are worth a thread.
const RANGES: usize = 256;

/// What was found for each key.
#[derive(Debug, Default)]
pub(crate) struct Found {
    rows: Vec<Delta>,
    places: Vec<(usize, usize)>,
}

impl Found {
    /// Rows of a key, with how often each is there.
    pub(crate) fn of(&self, key: u32) -> &[Delta] {
        let (from, to) = self.places.get(key as usize).copied().unwrap_or_default();
        self.rows.get(from..to).unwrap_or_default()
    }
}

impl Index {
    /// This side's rows as of the last cut, for keys of the other side's rows.
    pub(crate) fn lookup(&self, cx: &mut Cx<'_>, keyed: &Keyed) -> Result<Found, Failure> {
        let mut found = Found { rows: Vec::new(), places: vec![(0, 0); keyed.keys.len()] };
        if keyed.keys.len() == 0 {
            return Ok(found);
        }
        match self.access {
            Access::Rows { source } => self.by_identity(cx, source, keyed, &mut found)?,
            Access::Prefix { source } => {
                let kept = cx.sources.get(source)?;
                self.by_range(cx.kept, Family::Sources, kept.prefix(), keyed, &mut found, &|_, value| {
                    kept.read_entry(&[], value)
                })?;
            }
            Access::Shared { state } => {
                let arrangement =
                    cx.arrangements.get(&state).ok_or_else(|| IvmError::damaged("an arrangement is missing"))?;
                self.by_range(
                    cx.arranged(arrangement),
                    Family::Arrangements,
                    state.to_be_bytes(),
                    keyed,
                    &mut found,
                    &|rest, value| arrangement.read_entry(rest, value),
                )?;
            }
            Access::Private { state, unique } => {
                self.by_range(
                    cx.store,
                    Family::Arrangements,
                    state.to_be_bytes(),
                    keyed,
                    &mut found,
                    &|rest, value| {
                        let row = Row::from_bytes(Bytes::copy_from_slice(rest));
                        let diff = if unique { 1 } else { count(value)? };
                        Ok(Delta { row, diff })
                    },
                )?;
            }
            Access::Keyed { state } => self.by_key(cx.store, state, keyed, &mut found)?,
        }
        Ok(found)
    }

    fn by_key(&self, store: &Store, state: u32, keyed: &Keyed, found: &mut Found) -> Result<(), Failure> {
        let full: Vec<Vec<u8>> = keyed.keys.keys().map(|key| [&state.to_be_bytes(), key].concat()).collect();
        let keys: Vec<&[u8]> = full.iter().map(Vec::as_slice).collect();
        let mut rows: Vec<Option<Row>> = vec![None; keys.len()];
        store.multi_get(Family::Arrangements, &keys, &mut |i, value| {
            rows[i] = value.map(|row| Row::from_bytes(Bytes::copy_from_slice(row)));
        })?;
        for (id, row) in rows.into_iter().enumerate() {
            let start = found.rows.len();
            found.rows.extend(row.map(Delta::plus));
            found.places[id] = (start, found.rows.len());
        }
        Ok(())
    }

    fn by_identity(&self, cx: &mut Cx<'_>, source: SourceId, keyed: &Keyed, found: &mut Found) -> Result<(), Failure> {
        let prefix = source.0.to_be_bytes();
        let cache = cx.rows.entry(source).or_default();
        let mut rows: Vec<Option<Row>> = vec![None; keyed.keys.len()];
        let (mut arena, mut wanted) = (Vec::new(), Vec::new());
        for (id, (key, mark)) in keyed.keys.keys().zip(&keyed.marks).enumerate() {
            let identity = &key[..*mark];
            if let Some(known) = cache.find(identity) {
                rows[id] = known.1.map(|(_, row)| row);
                continue;
            }
            let start = arena.len();
            arena.extend_from_slice(&prefix);
            arena.extend_from_slice(identity);
            wanted.push((id, start..arena.len()));
        }
        let keys: Vec<&[u8]> = wanted.iter().map(|(_, range)| &arena[range.clone()]).collect();
        cx.kept.multi_get(Family::Sources, &keys, &mut |i, value| {
            let rows_of = value.and_then(HeldRows::decode).unwrap_or_default();
            if rows_of.waiting.is_empty() {
                let held = rows_of.first.as_ref();
                cache.learn(&keys[i][4..], held.map(|(table, row)| (*table, &row.as_bytes()[..])));
            }
            rows[wanted[i].0] = rows_of.first.map(|(_, row)| row);
        })?;
        let (mut scratch, mut fields) = (Vec::new(), FieldMap::default());
        for (id, row) in rows.into_iter().enumerate() {
            let start = found.rows.len();
            if let Some(row) = row {
                let whole = self.marked == self.own.len() || {
                    scratch.clear();
                    fields.read(row.as_bytes(), self.own.reach);
                    self.own
                        .encode_join(&fields, row.as_bytes(), &mut scratch, 0, &mut 0)
                        .map_err(Failure::unreadable("a join's key"))?
                        && scratch == keyed.keys.key(id as u32)
                };
                if whole && self.passes(&row)? {
                    found.rows.push(Delta::plus(row));
                }
            }
            found.places[id] = (start, found.rows.len());
        }
        Ok(())
    }

    fn by_range(
        &self,
        store: &Store,
        family: Family,
        prefix: [u8; 4],
        keyed: &Keyed,
        found: &mut Found,
        read: &ReadEntry<'_>,
    ) -> Result<(), Failure> {
        // In order, so that neighbours are read from the same blocks.
        let ids = keyed.keys.sorted();
        let read_some = |ids: &[u32]| -> Result<(Vec<Delta>, Vec<usize>), Failure> {
            let mut cursor = store.cursor(family);
            let mut place = prefix.to_vec();
            let (mut rows, mut ends) = (Vec::new(), Vec::with_capacity(ids.len()));
            for id in ids {
                place.truncate(prefix.len());
                place.extend_from_slice(keyed.keys.key(*id));
                cursor.seek(&place);
                while let Some((key, value)) = cursor.next()? {
                    let delta = read(key.get(place.len()..).unwrap_or_default(), value)?;
                    if self.passes(&delta.row)? {
                        rows.push(delta);
                    }
                }
                ends.push(rows.len());
            }
            Ok((rows, ends))
        };
        for (ids, part) in state::in_parallel(&ids, RANGES, read_some) {
            let (rows, ends) = part?;
            let from = found.rows.len();
            let mut start = from;
            for (id, end) in ids.iter().zip(ends) {
                found.places[*id as usize] = (start, from + end);
                start = from + end;
            }
            found.rows.extend(rows);
        }
        Ok(())
    }

    fn passes(&self, row: &Row) -> Result<bool, Failure> {
        for filter in &self.filters {
            if !filter.is_true(row)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What an entry of one of this side's rows begins with: the state and the join's key. False when that has a NULL.
    fn entry(&self, state: u32, row: &Row, fields: &mut FieldMap, into: &mut Vec<u8>) -> Result<bool, Failure> {
        into.clear();
        into.extend_from_slice(&state.to_be_bytes());
        fields.read(row.as_bytes(), self.own.reach);
        let joins = self.own.encode_join(fields, row.as_bytes(), into, 0, &mut 0);
        joins.map_err(Failure::unreadable("a join's key"))
    }

    /// Writes the differences into this side's own arrangement, if it has one.
    pub(crate) fn write(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<(), Failure> {
        let (state, unique) = match self.access {
            Access::Private { state, unique } => (state, unique),
            Access::Keyed { state } => return self.write_by_key(cx, state, rows),
            _ => return Ok(()),
        };
        let (mut scratch, mut fields) = (Vec::new(), FieldMap::default());
        let mut entries = KeyTable::default();
        let mut diffs: Vec<i64> = Vec::new();
        for delta in rows {
            if !self.entry(state, &delta.row, &mut fields, &mut scratch)? {
                continue;
            }
            scratch.extend_from_slice(delta.row.as_bytes());
            let (id, new) = entries.id(&scratch);
            if new {
                diffs.push(0);
            }
            diffs[id as usize] += delta.diff;
        }
        let lost = || Failure::Stream("a row left a join that was not in it; this is a defect of tributary".into());
        if unique {
            for (entry, diff) in entries.keys().zip(diffs) {
                match diff {
                    0 => {}
                    1 => cx.batch.put(Family::Arrangements, entry, &[]),
                    -1 => cx.batch.delete(Family::Arrangements, entry),
                    _ => return Err(lost()),
                }
            }
            return Ok(());
        }
        let changed: Vec<(&[u8], i64)> = entries.keys().zip(diffs).filter(|(_, diff)| *diff != 0).collect();
        let keys: Vec<&[u8]> = changed.iter().map(|(key, _)| *key).collect();
        let mut olds: Vec<Result<i64, IvmError>> = Vec::with_capacity(keys.len());
        cx.store.multi_get(Family::Arrangements, &keys, &mut |_, value| olds.push(value.map_or(Ok(0), count)))?;
        for ((entry, diff), old) in changed.into_iter().zip(olds) {
            match old? + diff {
                0 => cx.batch.delete(Family::Arrangements, entry),
                n if n > 0 => {
                    scratch.clear();
                    put_varint(&mut scratch, n as u64);
                    cx.batch.put(Family::Arrangements, entry, &scratch);
                }
                _ => return Err(lost()),
            }
        }
        Ok(())
    }

    /// Of each key at most one row is left.
    fn write_by_key(&self, cx: &mut Cx<'_>, state: u32, rows: &[Delta]) -> Result<(), Failure> {
        let (mut scratch, mut fields) = (Vec::new(), FieldMap::default());
        let mut keys = KeyTable::default();
        // Of each key: how often each of its rows comes and goes.
        let mut of_key: Vec<Vec<(&Row, i64)>> = Vec::new();
        for delta in rows {
            if !self.entry(state, &delta.row, &mut fields, &mut scratch)? {
                continue;
            }
            let (id, new) = keys.id(&scratch);
            if new {
                of_key.push(Vec::with_capacity(2));
            }
            let rows = &mut of_key[id as usize];
            match rows.iter_mut().find(|(row, _)| *row == &delta.row) {
                Some((_, diff)) => *diff += delta.diff,
                None => rows.push((&delta.row, delta.diff)),
            }
        }
        for (key, rows) in keys.keys().zip(of_key) {
            let mut came = rows.iter().filter(|(_, diff)| *diff > 0);
            let went = rows.iter().any(|(_, diff)| *diff < 0);
            match (came.next(), came.next()) {
                (Some((row, 1)), None) => cx.batch.put(Family::Arrangements, key, row.as_bytes()),
                (None, _) if went => cx.batch.delete(Family::Arrangements, key),
                (None, _) => {}
                _ => {
                    let defect = "a key that is unique came twice to a join; this is a defect of tributary";
                    return Err(Failure::Stream(defect.into()));
                }
            }
        }
        Ok(())
    }

    /// After rows were written while building: makes them readable where the next ones need it.
    pub(crate) fn flush(&self, cx: &mut Cx<'_>) -> Result<(), Failure> {
        match self.access {
            // Rows that can repeat are counted, so the next piece must see this one.
            Access::Private { unique: false, .. } => cx.flush(),
            _ => cx.flush_large(),
        }
    }

    /// In a few words.
    pub(crate) fn describe(&self) -> String {
        match self.access {
            Access::Rows { source } => format!("rows of source {source} by their key"),
            Access::Prefix { source } => format!("rows of source {source} by the first columns of their key"),
            Access::Shared { state } => format!("shared arrangement {state}"),
            Access::Private { state, .. } => format!("own arrangement {state}"),
            Access::Keyed { state } => format!("own arrangement {state}, a row a key"),
        }
    }
}

fn count(mut value: &[u8]) -> Result<i64, IvmError> {
    let count = take_varint(&mut value).and_then(|n| i64::try_from(n).ok());
    count.ok_or_else(|| IvmError::damaged("a joined row's count"))
}
