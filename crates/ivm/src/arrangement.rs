//! A source's rows again, by the columns of a join: kept once for all stream tables that join the source by them.
//!
//! ```text
//!   Arrangements    state (u32) | key of the columns | key of the row             → row
//!                   state (u32) | key of the columns | physical table (u32) | row → count (u64)   of a multiset
//! ```
//!
//! No expression is evaluated here, so keeping one cannot fail for a row's sake. Rows with a NULL in the columns join
//! nothing and are left out.

use bytes::Bytes;
use scalar::Env;
use serde::{Deserialize, Serialize};
use state::{Batch, Durability, Family, Read, Store, Write};
use types::{Delta, Row, SourceId};

use crate::error::IvmError;
use crate::kept::Kept;
use crate::key::{FieldMap, KeyEncoder};
use crate::resolve::SourceDelta;

/// What is durable of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArrangementDef {
    /// The number that its keys start with.
    pub(crate) state: u32,
    pub(crate) source: SourceId,
    /// The columns, ascending.
    pub(crate) columns: Vec<usize>,
    /// All of the source's rows are in it.
    pub(crate) complete: bool,
}

/// See the module's description.
#[derive(Debug, Clone)]
pub(crate) struct Arrangement {
    pub(crate) def: ArrangementDef,
    key: KeyEncoder,
    row_key: Option<KeyEncoder>,
}

impl Arrangement {
    /// Over a source's columns, whose types must have a native equality.
    pub(crate) fn new(def: ArrangementDef, kept: &Kept, env: &Env) -> Result<Self, IvmError> {
        let types: Vec<_> = def.columns.iter().filter_map(|&c| kept.def.columns.get(c)).map(|c| c.ty).collect();
        if types.len() != def.columns.len() {
            return Err(IvmError::damaged("an arrangement by columns that its source does not have"));
        }
        let key = KeyEncoder::new(&def.columns, &types, env).map_err(IvmError::Refused)?;
        Ok(Self { def, key, row_key: kept.key.clone() })
    }

    /// Follows what became of the source.
    pub(crate) fn follow(&self, delta: &SourceDelta, batch: &mut Batch) -> Result<(), IvmError> {
        let prefix = self.def.state.to_be_bytes();
        let mut fields = FieldMap::default();
        match delta {
            SourceDelta::Keyed(keys, changes) => {
                let (mut before, mut after) = (Vec::new(), Vec::new());
                for change in changes {
                    let row_key = keys.key(change.key);
                    let mut entry = |row: &Option<Row>, into: &mut Vec<u8>| -> Result<bool, IvmError> {
                        into.clear();
                        into.extend_from_slice(&prefix);
                        let Some(row) = row else { return Ok(false) };
                        if !self.key_of(&mut fields, row, into)? {
                            return Ok(false);
                        }
                        into.extend_from_slice(row_key);
                        Ok(true)
                    };
                    let was = entry(&change.old, &mut before)?;
                    let is = entry(&change.new, &mut after)?;
                    if was && (!is || before != after) {
                        batch.delete(Family::Arrangements, &before);
                    }
                    if is && let Some(row) = &change.new {
                        batch.put(Family::Arrangements, &after, row.as_bytes());
                    }
                }
            }
            SourceDelta::Counted(changes) => {
                let mut key = Vec::new();
                for change in changes {
                    key.clear();
                    key.extend_from_slice(&prefix);
                    if !self.key_of(&mut fields, &change.row, &mut key)? {
                        continue;
                    }
                    key.extend_from_slice(&change.table.0.to_be_bytes());
                    key.extend_from_slice(change.row.as_bytes());
                    match change.count {
                        0 => batch.delete(Family::Arrangements, &key),
                        n => batch.put(Family::Arrangements, &key, &n.to_be_bytes()),
                    }
                }
            }
        }
        Ok(())
    }

    fn key_of(&self, fields: &mut FieldMap, row: &Row, into: &mut Vec<u8>) -> Result<bool, IvmError> {
        fields.read(row.as_bytes(), self.key.reach);
        let key = self.key.encode_join(fields, row.as_bytes(), into, 0, &mut 0);
        key.map_err(|e| IvmError::damaged(format!("a row of source {}: {e}", self.def.source)))
    }

    /// Writes an entry for every row of its source.
    pub(crate) fn build(&self, kept: &Kept, from: &Store, store: &Store) -> Result<(), IvmError> {
        let prefix = self.def.state.to_be_bytes();
        let mut batch = Batch::new();
        let (mut key, mut fields) = (Vec::new(), FieldMap::default());
        let mut cursor = from.cursor(Family::Sources);
        cursor.seek(&kept.prefix());
        while let Some((source_key, value)) = cursor.next()? {
            let row = kept.read_entry(source_key, value)?.row;
            key.clear();
            key.extend_from_slice(&prefix);
            if !self.key_of(&mut fields, &row, &mut key)? {
                continue;
            }
            key.extend_from_slice(&source_key[4..]);
            match self.row_key {
                Some(_) => batch.put(Family::Arrangements, &key, row.as_bytes()),
                None => batch.put(Family::Arrangements, &key, value),
            }
            if batch.size() > 4 << 20 {
                store.write(&mut batch, Durability::Buffered)?;
            }
        }
        store.write(&mut batch, Durability::Buffered).map_err(IvmError::from)
    }

    /// The row of an entry, given what is behind the key of the columns.
    pub(crate) fn read_entry(&self, suffix: &[u8], value: &[u8]) -> Result<Delta, IvmError> {
        if self.row_key.is_some() {
            return Ok(Delta::plus(Row::from_bytes(Bytes::copy_from_slice(value))));
        }
        let damaged = || IvmError::damaged("an arranged row");
        let row = suffix.get(4..).ok_or_else(damaged)?;
        let count = i64::from_be_bytes(value.try_into().map_err(|_| damaged())?);
        Ok(Delta { row: Row::from_bytes(Bytes::copy_from_slice(row)), diff: count })
    }
}
