//! The rows of a source as they are kept, and what a cut's changes make of them.
//!
//! ```text
//!   Sources    source (u32) | key                  → the key's row ([`crate::held`])     with a key
//!              source | physical table (u32) | row → count (u64)                         without one
//! ```
//!
//! What a cut makes of them is in [`crate::resolve`].

use std::collections::BTreeMap;

use bytes::Bytes;
use scalar::{Compiled, Env};
use state::{Batch, Family, Read, Store, Write};
use types::{Delta, Field, Op, PgType, Row, Scalar, ScalarKind, SourceId, TableId, oid};

use crate::compile::pinned;
use crate::definition::SourceDef;
use crate::error::IvmError;
use crate::held::{self, HeldRows};
use crate::key::{FieldMap, KeyEncoder};
use crate::touched::{Broken, Outcome, TouchError, Touched, damaged_key};

/// A source as the engine knows it.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) def: SourceDef,
    /// Makes the rows' keys; `None` for a multiset.
    pub(crate) key: Option<KeyEncoder>,
    pub(crate) prefix: [u8; 4],
    /// A row that comes to one physical table must be looked for in the others.
    elsewhere: bool,
    /// A row on which this is false or NULL is not kept.
    filter: Option<Compiled>,
}

impl Kept {
    /// A source whose identity's columns have native keys or not as `native` says, in their order.
    pub(crate) fn new(def: SourceDef, native: &[bool], env: &Env) -> Self {
        let types: Vec<_> = def.identity.iter().filter_map(|&i| def.columns.get(i)).map(|c| c.ty).collect();
        let key = (!def.identity.is_empty()).then(|| KeyEncoder::with(&def.identity, &types, native));
        let prefix = def.id.0.to_be_bytes();
        let elsewhere = def.can_meet();
        // Where it cannot be asked every row is kept from here on: whoever reads the source asks its conditions by itself.
        let filter = def.filter.as_ref().and_then(|filter| {
            let all = Scalar { kind: ScalarKind::And(filter.conditions.clone()), ty: PgType::plain(oid::BOOL) };
            Compiled::new(&all, &pinned(env, &filter.settings)).ok()
        });
        Self { def, key, prefix, elsewhere, filter }
    }

    /// Whether a row is to be kept. One on which the filter fails is: who reads it fails in the same way.
    pub(crate) fn wants(&self, row: &Row) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.is_true(row).unwrap_or(true))
    }

    /// Which of the identity's columns have native keys. Settled once: what was written depends on it.
    pub(crate) fn natives(def: &SourceDef, env: &Env) -> Vec<bool> {
        let types = def.identity.iter().filter_map(|&i| def.columns.get(i)).map(|c| c.ty);
        types.map(|ty| scalar::key_support(ty, env).equality).collect()
    }

    /// The same of this source.
    pub(crate) fn native(&self) -> Vec<bool> {
        self.key.as_ref().map(KeyEncoder::natives).unwrap_or_default()
    }

    /// What all keys of its rows start with.
    pub(crate) fn prefix(&self) -> [u8; 4] {
        self.prefix
    }

    /// Takes one change in.
    pub(crate) fn touch(&self, touched: &mut Touched, table: TableId, op: Op, store: &Store) -> Result<(), TouchError> {
        let Some(key) = &self.key else { return self.touch_counted(touched, table, op) };
        let elsewhere = self.elsewhere;
        match op {
            Op::Insert(new) => touched.come(key, new, table, elsewhere, |found| self.fits(found)),
            Op::Delete(old) => {
                self.told(&old)?;
                touched.set(key, &old, table, Outcome::Absent, true)
            }
            Op::Truncate => {
                touched.truncate(table);
                Ok(())
            }
            Op::Update { old, new } => {
                let mut partial = self.check(&new)?;
                let mut new = new;
                if partial && let Some(old) = &old {
                    new = self.fill_key(&new, old);
                    partial = new.has_unchanged();
                }
                old.iter().try_for_each(|old| self.told(old))?;
                let moved = match &old {
                    Some(old) => touched.key_of(key, old)? != touched.key_of(key, &new)?,
                    None => false,
                };
                if !moved {
                    return touched.set(key, &new, table, Outcome::of(new.clone(), partial), true);
                }
                let Some(old) = old else { return Ok(()) };
                if partial {
                    new = new.fill_unchanged(&self.row_now(touched, &old, table, store)?);
                    partial = false;
                }
                touched.set(key, &old, table, Outcome::Absent, true)?;
                touched.set(key, &new, table, Outcome::of(new.clone(), partial), elsewhere)
            }
        }
    }

    fn touch_counted(&self, touched: &mut Touched, table: TableId, op: Op) -> Result<(), TouchError> {
        match op {
            Op::Insert(new) => {
                self.check(&new)?;
                self.count(touched, table, &new, 1);
            }
            Op::Delete(old) => {
                self.check(&old)?;
                self.count(touched, table, &old, -1);
            }
            Op::Update { old, new } => {
                let Some(old) = old else {
                    return Err(Broken(format!(
                        "an update of {} came without the old row; it needs REPLICA IDENTITY FULL",
                        self.def.table
                    ))
                    .into());
                };
                self.check(&old)?;
                let new = if self.check(&new)? { new.fill_unchanged(&old) } else { new };
                self.count(touched, table, &old, -1);
                self.count(touched, table, &new, 1);
            }
            Op::Truncate => touched.truncate(table),
        }
        Ok(())
    }

    fn count(&self, touched: &mut Touched, table: TableId, row: &Row, diff: i64) {
        if self.wants(row) {
            touched.count(table, row, diff);
        }
    }

    /// Whether columns of the row were not sent; an error when it has not as many as the source.
    fn check(&self, row: &Row) -> Result<bool, TouchError> {
        let (mut count, mut partial) = (0, false);
        for field in row.fields() {
            count += 1;
            partial |= field == Field::Unchanged;
        }
        self.fits(count)?;
        Ok(partial)
    }

    /// An error when an old row does not say which one it is: its table's identity has other columns than ours.
    fn told(&self, old: &Row) -> Result<(), Broken> {
        if self.def.identity.iter().all(|c| matches!(old.field(*c), Field::Value(_))) {
            return Ok(());
        }
        Err(Broken(format!(
            "a row of {} changed that REPLICA IDENTITY does not tell apart from others",
            self.def.table
        )))
    }

    /// An error when a row has not as many columns as the source.
    fn fits(&self, count: usize) -> Result<(), Broken> {
        let expected = self.def.columns.len();
        if count == expected {
            return Ok(());
        }
        Err(Broken(format!("a row of {} came with {count} columns instead of {expected}", self.def.table)))
    }

    /// Key columns that were not sent, from the old key; a row logged whole fills the others too.
    fn fill_key(&self, new: &Row, old: &Row) -> Row {
        let mut out = types::RowBuilder::with_capacity(new.as_bytes().len() + 16);
        let olds = old.fields().chain(std::iter::repeat(Field::Null));
        for (i, (field, old)) in new.fields().zip(olds).enumerate() {
            let known = self.def.identity.contains(&i) || matches!(old, Field::Value(_));
            out.push(if field == Field::Unchanged && known { old } else { field });
        }
        out.finish()
    }

    /// The row of a key right now, the cut's changes so far included.
    fn row_now(&self, touched: &mut Touched, old: &Row, table: TableId, store: &Store) -> Result<Row, TouchError> {
        let missing = || Broken(format!("a row of {} was updated that is not kept", self.def.table));
        let Some(encoder) = &self.key else { return Err(missing().into()) };
        let key = touched.key_of(encoder, old)?;
        let pending = touched.outcome_of(&key, table).cloned();
        let partial = match pending {
            Some(Outcome::Present(row)) => return Ok(row),
            Some(Outcome::Absent) => return Err(missing().into()),
            Some(Outcome::Partial(row)) => Some(row),
            None => None,
        };
        let stored = store.get(Family::Sources, &[&self.prefix[..], &key].concat()).map_err(IvmError::from)?;
        let rows = stored.as_deref().and_then(HeldRows::decode).ok_or_else(missing)?;
        let row = rows.of(table).ok_or_else(missing)?;
        Ok(partial.map_or(row.clone(), |p| p.fill_unchanged(row)))
    }

    /// Writes rows of the first read.
    pub(crate) fn load(
        &self,
        table: TableId,
        rows: &[Row],
        store: &Store,
        batch: &mut Batch,
    ) -> Result<(), TouchError> {
        let Some(key) = self.key.as_ref().filter(|_| !self.elsewhere) else {
            let mut touched = Touched::default();
            for row in rows {
                self.touch(&mut touched, table, Op::Insert(row.clone()), store)?;
            }
            return self.resolve(touched, store, None, batch).map(drop);
        };
        let (mut scratch, mut fields) = (Vec::new(), FieldMap::default());
        for row in rows {
            if self.check(row)? {
                return Err(Broken(format!("a row of {} was read incompletely", self.def.table)).into());
            }
            if !self.wants(row) {
                continue;
            }
            scratch.clear();
            scratch.extend_from_slice(&self.prefix);
            fields.read(row.as_bytes(), key.reach);
            key.encode(&fields, row.as_bytes(), &mut scratch).map_err(|e| damaged_key(&e))?;
            let value = scratch.len();
            HeldRows::one(Some((table, row.clone()))).encode(&mut scratch);
            let (key, value) = scratch.split_at(value);
            batch.put(Family::Sources, key, value);
        }
        Ok(())
    }

    /// Calls `f` with rows (and how often each is there), at most `chunk` at a time.
    pub(crate) fn scan<E: From<IvmError>>(
        &self,
        store: &Store,
        chunk: usize,
        f: &mut dyn FnMut(Vec<Delta>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut cursor = store.cursor(Family::Sources);
        cursor.seek(&self.prefix);
        let mut rows = Vec::new();
        while let Some((key, value)) = cursor.next().map_err(IvmError::from)? {
            rows.push(self.read_entry(key, value)?);
            if rows.len() >= chunk {
                f(std::mem::take(&mut rows))?;
            }
        }
        if rows.is_empty() { Ok(()) } else { f(rows) }
    }

    /// A row as the store has it.
    pub(crate) fn read_entry(&self, key: &[u8], value: &[u8]) -> Result<Delta, IvmError> {
        if self.key.is_some() {
            let (_, row) = held::first(value).ok_or_else(|| IvmError::damaged("a kept row"))?;
            return Ok(Delta::plus(Row::from_bytes(Bytes::copy_from_slice(row))));
        }
        let row = key.get(8..).ok_or_else(|| IvmError::damaged("a kept row"))?;
        let diff = i64::try_from(count(value)?).unwrap_or(i64::MAX);
        Ok(Delta { row: Row::from_bytes(Bytes::copy_from_slice(row)), diff })
    }
}

pub(crate) fn table_of(value: &[u8]) -> Option<TableId> {
    Some(TableId(u32::from_be_bytes(value.get(..4)?.try_into().ok()?)))
}

pub(crate) fn count(value: &[u8]) -> Result<u64, IvmError> {
    Ok(u64::from_be_bytes(value.try_into().map_err(|_| IvmError::damaged("a row's count"))?))
}

/// All sources by their numbers, and which source a physical table's rows belong to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    pub(crate) by_id: BTreeMap<SourceId, Kept>,
    pub(crate) by_table: std::collections::HashMap<TableId, SourceId>,
}

impl Sources {
    pub(crate) fn insert(&mut self, kept: Kept) {
        self.by_table.extend(kept.def.tables.iter().map(|(table, _)| (*table, kept.def.id)));
        self.by_id.insert(kept.def.id, kept);
    }

    pub(crate) fn remove(&mut self, id: SourceId) {
        self.by_id.remove(&id);
        self.by_table.retain(|_, source| *source != id);
    }

    pub(crate) fn get(&self, id: SourceId) -> Result<&Kept, IvmError> {
        self.by_id.get(&id).ok_or(IvmError::UnknownSource(id))
    }
}
