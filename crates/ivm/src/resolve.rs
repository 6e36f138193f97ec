//! What a cut makes of a source: touched keys in, the difference out, written.
//!
//! Whatever happens to a key in a cut ([`Touched`]), its row is read at most once and written at most once.

use bytes::Bytes;
use state::{Batch, Family, Read, Store, Write};
use types::{Delta, Row, TableId};

use crate::error::IvmError;
use crate::held::HeldRows;
use crate::kept::{Kept, count, table_of};
use crate::rows::RowCache;
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
    /// Other physical tables have a row of the key too.
    pub(crate) crowded: bool,
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
                // A row can go to another table and stay as it is.
                for change in changes.iter().filter(|c| c.old != c.new) {
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
    /// Empty when no key can have had a row.
    rows: Vec<HeldRows>,
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
            let old = olds.get_mut(id).map(std::mem::take).unwrap_or_default();
            let new = self.outcome(touch, &old)?;
            if new == old {
                continue;
            }
            scratch.clear();
            scratch.extend_from_slice(&self.prefix);
            scratch.extend_from_slice(keys.key(id as u32));
            let end = scratch.len();
            new.encode(&mut scratch);
            match scratch.split_at(end) {
                (key, []) => batch.delete(Family::Sources, key),
                (key, value) => batch.put(Family::Sources, key, value),
            }
            let crowded = !new.waiting.is_empty();
            let table = new.first.as_ref().map_or(TableId(0), |h| h.0);
            let (old, new) = (old.first.map(|h| h.1), new.first.map(|h| h.1));
            let place = places.get(id).copied().flatten();
            changes.push(KeyedChange { key: id as u32, table, old, new, place, crowded });
        }
        Ok(SourceDelta::Keyed(keys, changes))
    }

    /// A key's rows after the cut.
    fn outcome(&self, touch: Touch, old: &HeldRows) -> Result<HeldRows, TouchError> {
        if touch.others.is_empty() && old.waiting.is_empty() && old.first.as_ref().is_none_or(|h| h.0 == touch.table) {
            // Nearly always: one table speaks of its own row.
            match touch.outcome {
                Outcome::Absent => return Ok(HeldRows::default()),
                Outcome::Present(row) => {
                    return Ok(HeldRows::one(self.wants(&row).then_some((touch.table, row))));
                }
                Outcome::Partial(_) => {}
            }
        }
        let mut new = old.clone();
        for (table, outcome) in std::iter::once((touch.table, touch.outcome)).chain(touch.others) {
            match outcome {
                Outcome::Absent => new.leave(table),
                Outcome::Present(row) => new.come(table, row),
                Outcome::Partial(row) => {
                    let Some(before) = old.of(table) else {
                        if !self.wants(&row) {
                            new.leave(table);
                            continue;
                        }
                        return Err(Broken(format!("a row of {} was updated that is not kept", self.def.table)).into());
                    };
                    new.come(table, row.fill_unchanged(before));
                }
            }
        }
        new.retain(|row| self.wants(row));
        Ok(new)
    }

    fn read_olds(&self, touched: &Touched, store: &Store, mut cache: Option<&mut RowCache>) -> Result<Olds, IvmError> {
        if touched.touches.iter().all(|t| !t.read) {
            return Ok(Olds::default());
        }
        let mut olds = vec![HeldRows::default(); touched.touches.len()];
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
                olds[id] = HeldRows::one(known.1);
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
            let rows = value.map_or(Some(HeldRows::default()), HeldRows::decode);
            damaged |= rows.is_none();
            olds[wanted[i].0] = rows.unwrap_or_default();
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
            let rows = HeldRows::decode(value).ok_or_else(|| IvmError::damaged("a kept row"))?;
            for (table, _) in rows.first.iter().chain(&rows.waiting).filter(|h| truncated.contains(&h.0)) {
                touched.weaken(&key[4..], *table);
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
