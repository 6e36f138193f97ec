//! Groups and their aggregates.
//!
//! A group's state is read at most once a cut, brought up to date in memory by all rows of the cut, and written once. Its row
//! changes from the one that it had to the one that it has; a group that nothing is left in goes. Without key columns
//! there is always exactly one group.

use scalar::Env;
use state::{Family, Read, Write};
use types::{Delta, Field, Oid, PgType, Row, push_field};

use super::extremes::{ValueChanges, is_true};
use super::group::Group;
use super::shape::{Shape, Shown};
use super::{CHUNK, Cx, Emit, Node};
use crate::cache::Cache;
use crate::error::{Failure, IvmError};
use crate::key::{FieldMap, KeyEncoder};
use crate::layout::group_name;
use crate::table::KeyTable;

/// Groups its input's rows.
#[derive(Debug)]
pub(crate) struct Aggregate {
    pub(crate) input: Box<Node>,
    pub(crate) groups: Groups,
}

/// All groups, without where the rows come from.
#[derive(Debug)]
pub(crate) struct Groups {
    state: u32,
    key: KeyEncoder,
    /// Equal keys may differ in bytes.
    has_forms: bool,
    shape: Shape,
    /// Of the key columns.
    types: Vec<Oid>,
    /// How many columns of a row are looked at.
    reach: usize,
    cache: Cache<Group>,
    touched: Vec<u32>,
    scratch: Vec<u8>,
    fields: FieldMap,
    /// Groups' rows are not asked for.
    building: bool,
}

impl Groups {
    pub(crate) fn new(state: u32, key: KeyEncoder, types: &[PgType], shape: Shape, env: &Env) -> Self {
        let columns = shape.adders.iter().flat_map(|a| a.column.into_iter().chain(a.filter));
        let values = shape.values.iter().flat_map(|v| std::iter::once(v.column).chain(v.filter));
        let reach = columns.chain(values).map(|c| c + 1).max().unwrap_or(0).max(key.reach);
        Self {
            state,
            key,
            has_forms: types.iter().any(|ty| scalar::has_forms(*ty, env)),
            shape,
            types: types.iter().map(|ty| ty.oid).collect(),
            reach,
            cache: Cache::default(),
            touched: Vec::new(),
            scratch: Vec::new(),
            fields: FieldMap::default(),
            building: false,
        }
    }

    fn is_keyless(&self) -> bool {
        self.key.len() == 0
    }

    /// Brings the groups up to date in memory.
    fn absorb(&mut self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<(), Failure> {
        let mut changes = ValueChanges::default();
        let mut missing = KeyTable::default();
        let mut waiting = Vec::new();
        for (i, delta) in rows.iter().enumerate() {
            let row = delta.row.as_bytes();
            self.fields.read(row, self.reach);
            self.scratch.clear();
            self.key.encode(&self.fields, row, &mut self.scratch).map_err(Failure::unreadable("a value"))?;
            match self.cache.find(&self.scratch) {
                Some(slot) => self.add(slot, delta, &mut changes)?,
                None => waiting.push((missing.id(&self.scratch).0, i)),
            }
        }
        if !waiting.is_empty() {
            let slots = self.load(cx, &missing)?;
            for (id, i) in waiting {
                let (Some(slot), Some(delta)) = (slots.get(id as usize), rows.get(i)) else { continue };
                self.fields.read(delta.row.as_bytes(), self.reach);
                self.add(*slot, delta, &mut changes)?;
            }
        }
        changes.apply(cx, self.state, &self.shape.values, &mut self.cache)
    }

    /// Adds one row, whose fields were found, to its group.
    fn add(&mut self, slot: u32, delta: &Delta, changes: &mut ValueChanges) -> Result<(), Failure> {
        let Some(group) = self.cache.get_mut(slot) else { return Ok(()) };
        let (fields, row, diff) = (&self.fields, delta.row.as_bytes(), delta.diff);
        if !group.touched {
            group.touched = true;
            self.touched.push(slot);
        }
        if self.has_forms || group.key.is_empty() {
            self.scratch.clear();
            for column in self.key.columns() {
                push_field(&mut self.scratch, fields.get(row, column).map_or(Field::Null, Field::Value));
            }
            group.key.add(&self.scratch, diff);
        } else {
            group.key.add_same(diff);
        }
        for adder in &self.shape.adders {
            if adder.filter.is_some_and(|f| !is_true(fields.get(row, f))) {
                continue;
            }
            let value = match adder.column {
                None => &[],
                Some(column) => match fields.get(row, column) {
                    Some(value) => value,
                    None => continue,
                },
            };
            if let Some(accumulator) = group.accumulators.get_mut(adder.into) {
                accumulator.add(adder.ty, value, diff).map_err(Failure::unreadable("a value"))?;
            }
        }
        for (i, values) in self.shape.values.iter().enumerate() {
            if values.filter.is_none_or(|f| is_true(fields.get(row, f)))
                && let Some(value) = fields.get(row, values.column)
            {
                changes.push(slot, i, values.ty, value, diff)?;
            }
        }
        Ok(())
    }

    /// Reads groups into the cache and gives the slot of each.
    fn load(&mut self, cx: &Cx<'_>, missing: &KeyTable) -> Result<Vec<u32>, Failure> {
        let prefix = self.state.to_be_bytes();
        let keys: Vec<Vec<u8>> = missing.keys().map(|key| [&prefix[..], key].concat()).collect();
        let refs: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut groups = Vec::with_capacity(keys.len());
        let (kinds, extremes) = (&self.shape.kinds, self.shape.values.len());
        cx.store.multi_get(Family::Groups, &refs, &mut |_, stored| {
            groups.push(match stored {
                None => Some(Group::empty(kinds, extremes)),
                Some(stored) => Group::decode(stored, kinds, extremes),
            });
        })?;
        let mut slots = Vec::with_capacity(groups.len());
        for (key, group) in missing.keys().zip(groups) {
            let mut group = group.ok_or_else(|| IvmError::damaged("a group"))?;
            if !self.building && (group.key.all() > 0 || self.is_keyless()) {
                group.out = Some(self.row(&group)?);
            }
            let bytes = group.size();
            slots.push(self.cache.insert(key, group, bytes));
        }
        Ok(slots)
    }

    /// A group's row.
    fn row(&self, group: &Group) -> Result<Row, Failure> {
        let mut out = Vec::with_capacity(group.key.shown().len() + self.shape.results.len() * 12);
        out.extend_from_slice(group.key.shown());
        for result in &self.shape.results {
            let field =
                |value: Option<&[u8]>, out: &mut Vec<u8>| push_field(out, value.map_or(Field::Null, Field::Value));
            let extremes = |values: usize| group.extremes.get(values);
            match *result {
                Shown::Rows => field(Some(&group.key.all().to_be_bytes()), &mut out),
                Shown::Least(values) => field(extremes(values).and_then(|e| e.least()), &mut out),
                Shown::Greatest(values) => field(extremes(values).and_then(|e| e.greatest()), &mut out),
                Shown::Of { accumulator, func, ty } => {
                    if let Some(accumulator) = group.accumulators.get(accumulator) {
                        accumulator.finish(func, ty, &mut out).map_err(|e| {
                            let of = group_name(&self.types, &Row::from_bytes(group.key.shown().to_vec().into()));
                            Failure::Stream(format!("{e} ({}) in an aggregate{of}", e.sqlstate()))
                        })?;
                    }
                }
            }
        }
        Ok(Row::from_bytes(out.into()))
    }

    /// Writes what was touched, and gives the groups' rows that changed.
    fn finish(&mut self, cx: &mut Cx<'_>) -> Result<Vec<Delta>, Failure> {
        let touched = std::mem::take(&mut self.touched);
        let mut out = Vec::with_capacity(touched.len() * 2);
        let mut key = Vec::new();
        for slot in touched {
            key.clear();
            key.extend_from_slice(&self.state.to_be_bytes());
            key.extend_from_slice(self.cache.key(slot));
            let Some(group) = self.cache.get_mut(slot) else { continue };
            if !group.key.settle() {
                let what = "more rows left a group than were in it; this is a defect of tributary";
                return Err(Failure::Stream(what.into()));
            }
            let Some(group) = self.cache.get(slot) else { continue };
            let exists = group.key.all() > 0 || self.is_keyless();
            let new = if exists && !self.building { Some(self.row(group)?) } else { None };
            if exists {
                self.scratch.clear();
                group.encode(&mut self.scratch);
                cx.batch.put(Family::Groups, &key, &self.scratch);
            } else {
                cx.batch.delete(Family::Groups, &key);
            }
            let Some(group) = self.cache.get_mut(slot) else { continue };
            group.touched = false;
            if group.out != new {
                out.extend(group.out.take().map(Delta::minus));
                out.extend(new.clone().map(Delta::plus));
                group.out = new;
            }
            let bytes = group.size();
            if exists {
                self.cache.resize(slot, bytes);
            } else {
                self.cache.remove(slot);
            }
        }
        Ok(out)
    }

    /// Rows of all groups, in pieces, from the store.
    fn emit_all(&self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let store = cx.store;
        let mut cursor = store.cursor(Family::Groups);
        cursor.seek(&self.state.to_be_bytes());
        let mut rows = Vec::new();
        while let Some((_, stored)) = cursor.next()? {
            let group = Group::decode(stored, &self.shape.kinds, self.shape.values.len())
                .ok_or_else(|| IvmError::damaged("a group"))?;
            rows.push(Delta::plus(self.row(&group)?));
            if rows.len() >= CHUNK {
                emit(cx, std::mem::take(&mut rows))?;
            }
        }
        if rows.is_empty() { Ok(()) } else { emit(cx, rows) }
    }
}

impl Aggregate {
    pub(crate) fn step(&mut self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        self.groups.absorb(cx, rows)?;
        let out = self.groups.finish(cx)?;
        self.groups.cache.trim(cx.limits.operator);
        Ok(out)
    }

    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let Self { input, groups } = self;
        groups.forget();
        groups.building = true;
        let result = input.build(cx, &mut |cx, rows| {
            groups.absorb(cx, &rows)?;
            groups.finish(cx)?;
            cx.flush()?;
            groups.cache.trim(cx.limits.operator);
            Ok(())
        });
        groups.forget();
        result?;
        if groups.is_keyless() {
            let key = groups.state.to_be_bytes();
            if cx.store.get(Family::Groups, &key)?.is_none() {
                let mut empty = Vec::new();
                Group::empty(&groups.shape.kinds, groups.shape.values.len()).encode(&mut empty);
                cx.batch.put(Family::Groups, &key, &empty);
            }
        }
        cx.flush()?;
        groups.emit_all(cx, emit)
    }

    /// Forgets what is held in memory.
    pub(crate) fn forget(&mut self) {
        self.groups.forget();
    }

    pub(crate) fn describe(&self) -> String {
        let (groups, values) = (self.groups.shape.kinds.len(), self.groups.shape.values.len());
        format!("{groups} accumulators and {values} ordered multisets a group")
    }
}

impl Groups {
    fn forget(&mut self) {
        self.cache.clear();
        self.touched.clear();
        self.building = false;
    }
}
