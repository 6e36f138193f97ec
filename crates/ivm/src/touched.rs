//! What a cut's changes say about a source, key by key.
//!
//! Changes are collected here before anything is read. A row belongs to the physical table that it came from, since one key
//! can leave one table and appear in another in the same cut, and the two nodes' transactions have no order: what one
//! table says about a key never takes away what another says.

use std::collections::BTreeSet;

use types::{Row, TableId};

use crate::error::IvmError;
use crate::key::{FieldMap, KeyEncoder};
use crate::table::KeyTable;

/// The exactness of a source is lost, with the reason: what reads it must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) String);

/// What a cut says about one key.
#[derive(Debug)]
pub(crate) struct Touch {
    pub(crate) table: TableId,
    pub(crate) outcome: Outcome,
    /// What other physical tables say.
    pub(crate) others: Vec<(TableId, Outcome)>,
    /// Whether the key can have had a row before the cut.
    pub(crate) read: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Present(Row),
    /// A row with columns that were not sent because they did not change.
    Partial(Row),
    Absent,
}

/// What a cut's changes say about a source, key by key.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) keys: KeyTable,
    pub(crate) touches: Vec<Touch>,
    /// Of a multiset: copies that came (or went) of each key.
    pub(crate) counts: Vec<i64>,
    pub(crate) truncated: BTreeSet<TableId>,
    pub(crate) scratch: Vec<u8>,
    fields: FieldMap,
}

/// Why a change cannot be taken in.
#[derive(Debug)]
pub(crate) enum TouchError {
    Broken(Broken),
    Engine(IvmError),
}

impl From<Broken> for TouchError {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl<E: Into<IvmError>> From<E> for TouchError {
    fn from(error: E) -> Self {
        Self::Engine(error.into())
    }
}

impl Outcome {
    /// A row that came, whole or in parts.
    pub(crate) fn of(row: Row, partial: bool) -> Self {
        if partial { Self::Partial(row) } else { Self::Present(row) }
    }
}

/// A key that cannot be read.
pub(crate) fn damaged_key(error: &scalar::DatumError) -> TouchError {
    Broken(format!("a key cannot be read: {error}")).into()
}

impl Touched {
    /// Whether nothing was said.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.len() == 0 && self.truncated.is_empty()
    }

    /// How many keys were touched.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    fn encode(&mut self, key: &KeyEncoder, row: &Row) -> Result<(), TouchError> {
        self.scratch.clear();
        self.fields.read(row.as_bytes(), key.reach);
        key.encode(&self.fields, row.as_bytes(), &mut self.scratch).map_err(|e| damaged_key(&e))
    }

    pub(crate) fn key_of(&mut self, key: &KeyEncoder, row: &Row) -> Result<Vec<u8>, TouchError> {
        self.encode(key, row)?;
        Ok(self.scratch.clone())
    }

    pub(crate) fn set(
        &mut self,
        key: &KeyEncoder,
        row: &Row,
        table: TableId,
        outcome: Outcome,
        read: bool,
    ) -> Result<(), TouchError> {
        self.encode(key, row)?;
        let scratch = std::mem::take(&mut self.scratch);
        self.touch(&scratch, table, outcome, read, false);
        self.scratch = scratch;
        Ok(())
    }

    /// A row came; `fits` is asked about the number of its columns.
    pub(crate) fn come(
        &mut self,
        key: &KeyEncoder,
        row: Row,
        table: TableId,
        read: bool,
        fits: impl FnOnce(usize) -> Result<(), Broken>,
    ) -> Result<(), TouchError> {
        let (count, partial) = self.fields.read_all(row.as_bytes());
        fits(count)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        key.encode(&self.fields, row.as_bytes(), &mut scratch).map_err(|e| damaged_key(&e))?;
        self.touch(&scratch, table, Outcome::of(row, partial), read, false);
        self.scratch = scratch;
        Ok(())
    }

    /// The table has no row of the key, unless it said something about it.
    pub(crate) fn weaken(&mut self, key: &[u8], table: TableId) {
        self.touch(key, table, Outcome::Absent, true, true);
    }

    /// `weak`: only when the table has not said anything about the key yet.
    fn touch(&mut self, key: &[u8], table: TableId, outcome: Outcome, read: bool, weak: bool) {
        let (id, new) = self.keys.id(key);
        if new {
            // Behind a TRUNCATE of the same cut nothing of the table is left to fill a row from; the row before it counts all
            // the same, so it is read.
            let read = read || self.truncated.contains(&table);
            self.touches.push(Touch { table, outcome, others: Vec::new(), read });
            return;
        }
        let touch = &mut self.touches[id as usize];
        let said = if touch.table == table {
            Some(&mut touch.outcome)
        } else {
            touch.others.iter_mut().find(|(t, _)| *t == table).map(|(_, o)| o)
        };
        match said {
            Some(_) if weak => {}
            Some(before) => {
                *before = match (outcome, &*before) {
                    (Outcome::Partial(row), Outcome::Present(old)) => Outcome::Present(row.fill_unchanged(old)),
                    (Outcome::Partial(row), Outcome::Partial(old)) => Outcome::Partial(row.fill_unchanged(old)),
                    (outcome, _) => outcome,
                };
            }
            None => {
                touch.others.push((table, outcome));
                touch.read = true;
            }
        }
    }

    pub(crate) fn outcome_of(&self, key: &[u8], table: TableId) -> Option<&Outcome> {
        let touch = &self.touches[self.keys.find(key)? as usize];
        if touch.table == table {
            return Some(&touch.outcome);
        }
        touch.others.iter().find(|(t, _)| *t == table).map(|(_, o)| o)
    }

    pub(crate) fn count(&mut self, table: TableId, row: &Row, diff: i64) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&table.0.to_be_bytes());
        self.scratch.extend_from_slice(row.as_bytes());
        let (id, new) = self.keys.id(&self.scratch);
        if new {
            self.counts.push(0);
        }
        self.counts[id as usize] += diff;
    }

    /// Everything said of the table so far is void, and its rows are gone.
    pub(crate) fn truncate(&mut self, table: TableId) {
        self.truncated.insert(table);
        for touch in &mut self.touches {
            if touch.table == table {
                touch.outcome = Outcome::Absent;
            }
            for (other, outcome) in &mut touch.others {
                if *other == table {
                    *outcome = Outcome::Absent;
                }
            }
        }
        for (id, count) in self.counts.iter_mut().enumerate() {
            if self.keys.key(id as u32).starts_with(&table.0.to_be_bytes()) {
                *count = 0;
            }
        }
    }
}
