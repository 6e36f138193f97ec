//! One row of a stream's table, cut down to the wanted columns, straight into the compact form of `types::Change`.
//!
//! Nothing is copied twice: values go from the wire's bytes into the piece that is sent. The bytes written are those
//! of `types::Change::encode`, which the tests hold against each other.

use bytes::{BufMut, BytesMut};
use pgoutput::{Column, Old, Tuple};
use types::{Lsn, Oid, TableId};

use crate::subscription::Subscription;

/// A table's columns as the stream describes them, in the order of its tuples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamColumn {
    pub(crate) name: String,
    pub(crate) ty: Oid,
    pub(crate) typmod: i32,
    /// Old rows have it (under REPLICA IDENTITY FULL, all).
    pub(crate) key: bool,
}

/// Which columns of a tuple go where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Projector {
    table: TableId,
    /// The tuple's column for each wanted one.
    columns: Vec<usize>,
    /// `columns` only rises: a tuple can be walked once, without being collected.
    rises: bool,
    shard: u64,
    dormant: bool,
    /// Old rows do not tell which row it was.
    blind: bool,
    /// What transactions did that ended before this is in the snapshot to come.
    read_until: Lsn,
}

/// Why a row cannot be shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowError {
    /// The wanted column of this number came in text form: its type has no binary form.
    TextValue(usize),
    /// The tuple has fewer columns than its table.
    ShortTuple,
}

// Kinds of `types::Change::encode`.
const INSERT: u8 = b'I';
const UPDATE: u8 = b'U';
const UPDATE_OLD: u8 = b'O';
const DELETE: u8 = b'D';
const TRUNCATE: u8 = b'T';

impl Projector {
    /// Finds the wanted columns in the stream's description.
    ///
    /// # Errors
    /// Why the table is no longer what was subscribed to, for people.
    pub(crate) fn new(wanted: &Subscription, stream: &[StreamColumn]) -> Result<Self, String> {
        let mut columns = Vec::with_capacity(wanted.columns.len());
        for column in &wanted.columns {
            let name = &column.name;
            let Some(at) = stream.iter().position(|c| c.name == *name) else {
                return Err(format!("column {name} of {} is gone (or is generated)", wanted.name));
            };
            let Some(there) = stream.get(at) else { continue };
            if !column.types.is_empty() && !column.types.contains(&there.ty) {
                return Err(format!("column {name} of {} changed its type", wanted.name));
            }
            if column.typmod.is_some_and(|t| t != there.typmod) {
                return Err(format!("column {name} of {} changed its type's length or precision", wanted.name));
            }
            columns.push(at);
        }
        let logged = |at: &usize| stream.get(*at).is_some_and(|c| c.key);
        let mut identity = wanted.identity.iter().filter_map(|&i| columns.get(i));
        let blind = !identity.all(logged) || (wanted.whole && !stream.iter().all(|c| c.key));
        let read_until = if wanted.fresh { wanted.looked } else { Lsn::ZERO };
        let rises = columns.is_sorted_by(|a, b| a < b);
        Ok(Self { table: wanted.id, columns, rises, shard: wanted.shard, dormant: wanted.dormant, blind, read_until })
    }

    /// The aggregator's number of the table.
    pub(crate) fn table(&self) -> TableId {
        self.table
    }

    /// Whether updates and deletes do not say which row they are of.
    pub(crate) fn is_blind(&self) -> bool {
        self.blind
    }

    /// Whether what a transaction did that ends there is read with the table.
    pub(crate) fn is_read(&self, end: Lsn) -> bool {
        end < self.read_until
    }

    /// The shard that the table holds; 0: none.
    pub(crate) fn shard(&self) -> u64 {
        self.shard
    }

    /// Whether its rows do not count yet.
    pub(crate) fn is_dormant(&self) -> bool {
        self.dormant
    }

    /// Its rows count from here on.
    pub(crate) fn wake(&mut self) {
        self.dormant = false;
    }

    /// Appends an insert. After an error `into` is as it was before, here and below.
    pub(crate) fn insert(&self, new: Tuple<'_>, into: &mut BytesMut) -> Result<(), RowError> {
        self.change(INSERT, None, Some(new), into)
    }

    /// Appends an update. Unchanged TOASTed values are filled in where the whole old row was logged.
    pub(crate) fn update(&self, old: Option<Old<'_>>, new: Tuple<'_>, into: &mut BytesMut) -> Result<(), RowError> {
        let kind = if old.is_some() { UPDATE_OLD } else { UPDATE };
        self.change(kind, old, Some(new), into)
    }

    /// Appends a delete.
    pub(crate) fn delete(&self, old: Old<'_>, into: &mut BytesMut) -> Result<(), RowError> {
        self.change(DELETE, Some(old), None, into)
    }

    /// Appends a truncation.
    pub(crate) fn truncate(&self, into: &mut BytesMut) {
        into.put_u8(TRUNCATE);
        into.put_u32(self.table.0);
    }

    fn change(
        &self,
        kind: u8,
        old: Option<Old<'_>>,
        new: Option<Tuple<'_>>,
        into: &mut BytesMut,
    ) -> Result<(), RowError> {
        let start = into.len();
        into.put_u8(kind);
        into.put_u32(self.table.0);
        let full = match &old {
            Some(Old::Full(tuple)) => Some(*tuple),
            Some(Old::Key(_)) | None => None,
        };
        let written = match old.map(|o| o.tuple()) {
            Some(tuple) => self.row(tuple, None, into),
            None => Ok(()),
        };
        let written = written.and_then(|()| new.map_or(Ok(()), |tuple| self.row(tuple, full, into)));
        if written.is_err() {
            into.truncate(start);
        }
        written
    }

    /// Appends a row behind its length.
    fn row(&self, tuple: Tuple<'_>, full: Option<Tuple<'_>>, into: &mut BytesMut) -> Result<(), RowError> {
        let start = into.len();
        into.put_u32(0);
        if self.rises {
            let mut columns = tuple.columns();
            let mut next = 0;
            for (wanted, &at) in self.columns.iter().enumerate() {
                let column = columns.nth(at - next).ok_or(RowError::ShortTuple)?;
                next = at + 1;
                put_column(column, (wanted, at), full, into)?;
            }
        } else {
            let columns: Vec<Column<'_>> = tuple.columns().collect();
            for (wanted, &at) in self.columns.iter().enumerate() {
                let column = *columns.get(at).ok_or(RowError::ShortTuple)?;
                put_column(column, (wanted, at), full, into)?;
            }
        }
        let length = (into.len() - start - 4) as u32;
        if let Some(place) = into.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }
}

fn put_column(
    column: Column<'_>,
    (wanted, at): (usize, usize),
    full: Option<Tuple<'_>>,
    into: &mut BytesMut,
) -> Result<(), RowError> {
    match column {
        Column::Binary(value) => put_value(value, into),
        Column::Null => into.put_u8(0),
        Column::Unchanged => match full.and_then(|tuple| tuple.columns().nth(at)) {
            Some(Column::Binary(value)) => put_value(value, into),
            Some(Column::Text(_)) => return Err(RowError::TextValue(wanted)),
            Some(Column::Null) => into.put_u8(0),
            Some(Column::Unchanged) | None => into.put_u8(1),
        },
        Column::Text(_) => return Err(RowError::TextValue(wanted)),
    }
    Ok(())
}

/// `types::push_field` of a value.
fn put_value(value: &[u8], into: &mut BytesMut) {
    let mut prefix = value.len() + 2;
    while prefix >= 0x80 {
        into.put_u8((prefix & 0x7F) as u8 | 0x80);
        prefix >>= 7;
    }
    into.put_u8(prefix as u8);
    into.put_slice(value);
}
