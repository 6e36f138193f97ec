//! What a cut makes of a source: touched keys in, the difference out, written.
//!
//! Whatever happens to a key in a cut ([`Touched`]), its row is read at most once and written at most once.

use bytes::Bytes;
use state::{Batch, Family, Read, Store, Write};
use types::{Delta, Row, TableId};

use crate::error::IvmError;
use crate::kept::{Kept, count, held, put_row, table_of};
use crate::rows::{Held, RowCache};
use crate::table::KeyTable;
use crate::touched::{Broken, Outcome, Touch, TouchError, Touched};

/// What became of a source in a cut.
#[derive(Debug)]
pub(crate) enum SourceDelta {
    /// Of one with a key.
    Keyed(KeyTable, Vec<KeyedChange>),
    /// Of a multiset.
    Counted(Vec<CountedChange>),
}

/// One key's row before and after.
#[derive(Debug)]
pub(crate) struct KeyedChange {
    /// The key's number.
    pub(crate) key: u32,
    pub(crate) table: TableId,
    pub(crate) old: Option<Row>,
    pub(crate) new: Option<Row>,
    /// Where the old row was found in memory.
    pub(crate) place: Option<u32>,
}

/// One row's copies in one physical table.
#[derive(Debug)]
pub(crate) struct CountedChange {
    pub(crate) table: TableId,
    pub(crate) row: Row,
    pub(crate) diff: i64,
    /// Copies after the cut.
    pub(crate) count: u64,
}

impl SourceDelta {
    /// How many keys or rows are different.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Keyed(_, changes) => changes.len(),
            Self::Counted(changes) => changes.len(),
        }
    }

    /// As rows that went and came.
    pub(crate) fn deltas(&self) -> Vec<Delta> {
        match self {
            Self::Keyed(_, changes) => {
                let mut out = Vec::with_capacity(changes.len() * 2);
                for change in changes {
                    out.extend(change.old.clone().map(Delta::minus));
                    out.extend(change.new.clone().map(Delta::plus));
                }
                out
            }
            Self::Counted(changes) => changes.iter().map(|c| Delta { row: c.row.clone(), diff: c.diff }).collect(),
        }
    }
}

/// What touched keys had before the cut.
#[derive(Debug, Default)]
struct Olds {
    rows: Vec<Option<Held>>,
    /// Where that is known in memory.
    places: Vec<Option<u32>>,
}

impl Kept {
    /// Reads what the touched keys had, writes what they have now, and gives the difference.
    pub(crate) fn resolve(
        &self,
        touched: Touched,
        store: &Store,
        cache: Option<&mut RowCache>,
        batch: &mut Batch,
    ) -> Result<SourceDelta, TouchError> {
        if self.key.is_none() {
            return self.resolve_counted(touched, store, batch);
        }
        let mut touched = touched;
        self.find_truncated(&mut touched, store)?;
        let Olds { rows: mut olds, places } = self.read_olds(&touched, store, cache)?;
        let Touched { keys, touches, mut scratch, .. } = touched;
        let mut changes = Vec::with_capacity(touches.len());
        for (id, touch) in touches.into_iter().enumerate() {
            let old = olds.get_mut(id).and_then(Option::take);
            let (new, changed) = self.outcome(touch, old.as_ref())?;
            if !changed {
                continue;
            }
            scratch.clear();
            scratch.extend_from_slice(&self.prefix);
            scratch.extend_from_slice(keys.key(id as u32));
            match &new {
                Some((table, row)) => put_row(batch, &mut scratch, *table, row),
                None => batch.delete(Family::Sources, &scratch),
            }
            let table = new.as_ref().or(old.as_ref()).map_or(TableId(0), |h| h.0);
            let (old, new) = (old.map(|h| h.1), new.map(|h| h.1));
            changes.push(KeyedChange { key: id as u32, table, old, new, place: places.get(id).copied().flatten() });
        }
        Ok(SourceDelta::Keyed(keys, changes))
    }

    /// A key's row after the cut, and whether that differs from the one before.
    fn outcome(&self, touch: Touch, old: Option<&Held>) -> Result<(Option<Held>, bool), TouchError> {
        let mut new: Option<Held> = None;
        let mut old_is_spoken_of = false;
        for (table, outcome) in std::iter::once((touch.table, touch.outcome)).chain(touch.others) {
            old_is_spoken_of |= old.is_some_and(|o| o.0 == table);
            match outcome {
                Outcome::Absent => {}
                Outcome::Present(row) => new = Some((table, row)),
                Outcome::Partial(row) => {
                    let Some((_, old)) = old.filter(|o| o.0 == table) else {
                        return Err(Broken(format!("a row of {} was updated that is not kept", self.def.table)).into());
                    };
                    new = Some((table, row.fill_unchanged(old)));
                }
            }
        }
        Ok(match (&new, old) {
            (None, None) => (None, false),
            // Another table than the one that has it says that it has none.
            (None, Some(_)) => (None, old_is_spoken_of),
            (Some(_), None) => (new, true),
            (Some(n), Some(o)) => {
                let changed = n != o;
                (new, changed)
            }
        })
    }

    fn read_olds(&self, touched: &Touched, store: &Store, mut cache: Option<&mut RowCache>) -> Result<Olds, IvmError> {
        let mut olds: Vec<Option<Held>> = vec![None; touched.touches.len()];
        let mut places = vec![None; olds.len()];
        let mut arena = Vec::new();
        let mut wanted: Vec<(usize, std::ops::Range<usize>)> = Vec::new();
        for (id, touch) in touched.touches.iter().enumerate() {
            if !touch.read {
                continue;
            }
            let key = touched.keys.key(id as u32);
            if let Some(cache) = cache.as_deref_mut()
                && let Some(known) = cache.find(key)
            {
                places[id] = Some(known.0);
                olds[id] = known.1;
                continue;
            }
            let start = arena.len();
            arena.extend_from_slice(&self.prefix);
            arena.extend_from_slice(key);
            wanted.push((id, start..arena.len()));
        }
        let keys: Vec<&[u8]> = wanted.iter().map(|(_, range)| &arena[range.clone()]).collect();
        let mut damaged = false;
        store.multi_get(Family::Sources, &keys, &mut |i, value| {
            let row = value.map(held);
            damaged |= row == Some(None);
            olds[wanted[i].0] = row.flatten();
        })?;
        if damaged {
            return Err(IvmError::damaged(format!("a row of source {}", self.def.id)));
        }
        Ok(Olds { rows: olds, places })
    }

    /// Touches every kept key of the truncated tables.
    fn find_truncated(&self, touched: &mut Touched, store: &Store) -> Result<(), IvmError> {
        if touched.truncated.is_empty() {
            return Ok(());
        }
        let truncated = std::mem::take(&mut touched.truncated);
        let mut cursor = store.cursor(Family::Sources);
        cursor.seek(&self.prefix);
        while let Some((key, value)) = cursor.next()? {
            let table = table_of(value).ok_or_else(|| IvmError::damaged("a kept row"))?;
            if truncated.contains(&table) {
                touched.weaken(&key[4..], table);
            }
        }
        Ok(())
    }

    fn resolve_counted(&self, touched: Touched, store: &Store, batch: &mut Batch) -> Result<SourceDelta, TouchError> {
        let Touched { mut keys, mut counts, truncated, .. } = touched;
        for table in truncated {
            let prefix = [&self.prefix[..], &table.0.to_be_bytes()].concat();
            let mut cursor = store.cursor(Family::Sources);
            cursor.seek(&prefix);
            while let Some((key, value)) = cursor.next().map_err(IvmError::from)? {
                let (id, new) = keys.id(&key[4..]);
                if new {
                    counts.push(0);
                }
                counts[id as usize] -= i64::try_from(count(value)?).unwrap_or(i64::MAX);
            }
        }
        let full: Vec<Vec<u8>> = keys.keys().map(|key| [&self.prefix[..], key].concat()).collect();
        let refs: Vec<&[u8]> = full.iter().map(Vec::as_slice).collect();
        let mut olds = vec![Ok(0); full.len()];
        store
            .multi_get(Family::Sources, &refs, &mut |i, value| {
                olds[i] = value.map_or(Ok(0), |v| count(v).map_err(|e| e.to_string()));
            })
            .map_err(IvmError::from)?;
        let mut changes = Vec::with_capacity(full.len());
        for ((key, old), diff) in full.iter().zip(olds).zip(counts) {
            let old: u64 = old.map_err(IvmError::damaged)?;
            if diff == 0 {
                continue;
            }
            let Some(count) = old.checked_add_signed(diff) else {
                return Err(Broken(format!("a row of {} went that is not kept", self.def.table)).into());
            };
            match count {
                0 => batch.delete(Family::Sources, key),
                n => batch.put(Family::Sources, key, &n.to_be_bytes()),
            }
            let table = table_of(&key[4..]).unwrap_or_default();
            let row = Row::from_bytes(Bytes::copy_from_slice(&key[8..]));
            changes.push(CountedChange { table, row, diff, count });
        }
        Ok(SourceDelta::Counted(changes))
    }
}
