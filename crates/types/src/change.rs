//! One row's change, and the compact form in which an agent ships many.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Row, TableId};

/// What happened to one physical table, in the order of its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The physical table.
    pub table: TableId,
    /// What happened there.
    pub op: Op,
}

/// A change's kind and rows. Rows have the columns of the table's subscription, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A row came.
    Insert(Row),
    /// A row changed. `old` is there when its key changed (then only key columns are set, the others NULL)
    /// or when the table logs whole old rows (`REPLICA IDENTITY FULL`). `new` may have unchanged columns.
    Update {
        /// The row before, as far as PostgreSQL logged it.
        old: Option<Row>,
        /// The row after.
        new: Row,
    },
    /// A row went: its key columns, the others NULL, or the whole row under `REPLICA IDENTITY FULL`.
    Delete(Row),
    /// All rows of the physical table went.
    Truncate,
}

const INSERT: u8 = b'I';
const UPDATE: u8 = b'U';
const UPDATE_OLD: u8 = b'O';
const DELETE: u8 = b'D';
const TRUNCATE: u8 = b'T';

/// Bytes that are no list of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged list of changes")]
pub struct DamagedChanges;

impl Change {
    /// Appends the compact form: kind, table, then each row as a length (u32, big-endian) and its bytes.
    pub fn encode(&self, into: &mut BytesMut) {
        match &self.op {
            Op::Insert(row) => head(into, INSERT, self.table, &[row]),
            Op::Update { old: None, new } => head(into, UPDATE, self.table, &[new]),
            Op::Update { old: Some(old), new } => head(into, UPDATE_OLD, self.table, &[old, new]),
            Op::Delete(row) => head(into, DELETE, self.table, &[row]),
            Op::Truncate => head(into, TRUNCATE, self.table, &[]),
        }
    }

    /// Takes the next change off a list; `None` at its end. Rows share the list's memory.
    ///
    /// # Errors
    /// [`DamagedChanges`] when the bytes end early or name no kind.
    pub fn decode(from: &mut Bytes) -> Result<Option<Self>, DamagedChanges> {
        if from.is_empty() {
            return Ok(None);
        }
        if from.len() < 5 {
            return Err(DamagedChanges);
        }
        let kind = from.get_u8();
        let table = TableId(from.get_u32());
        let op = match kind {
            INSERT => Op::Insert(row(from)?),
            UPDATE => Op::Update { old: None, new: row(from)? },
            UPDATE_OLD => Op::Update { old: Some(row(from)?), new: row(from)? },
            DELETE => Op::Delete(row(from)?),
            TRUNCATE => Op::Truncate,
            _ => return Err(DamagedChanges),
        };
        Ok(Some(Self { table, op }))
    }
}

fn head(into: &mut BytesMut, kind: u8, table: TableId, rows: &[&Row]) {
    into.put_u8(kind);
    into.put_u32(table.0);
    for row in rows {
        into.put_u32(row.as_bytes().len() as u32);
        into.put_slice(row.as_bytes());
    }
}

fn row(from: &mut Bytes) -> Result<Row, DamagedChanges> {
    let length = from.try_get_u32().map_err(|_| DamagedChanges)? as usize;
    if from.len() < length {
        return Err(DamagedChanges);
    }
    Ok(Row::from_bytes(from.split_to(length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Field, RowBuilder};
    use proptest::prelude::*;

    fn a_row(text: &[u8]) -> Row {
        let mut b = RowBuilder::new();
        b.push(Field::Value(text)).push(Field::Null);
        b.finish()
    }

    #[test]
    fn changes_read_back() {
        let all = [
            Op::Insert(a_row(b"a")),
            Op::Update { old: None, new: a_row(b"b") },
            Op::Update { old: Some(a_row(b"b")), new: a_row(b"c") },
            Op::Delete(a_row(b"c")),
            Op::Truncate,
        ]
        .map(|op| Change { table: TableId(7), op });
        let mut bytes = BytesMut::new();
        for c in &all {
            c.encode(&mut bytes);
        }
        let mut bytes = bytes.freeze();
        for c in &all {
            assert_eq!(Change::decode(&mut bytes).unwrap().as_ref(), Some(c));
        }
        assert_eq!(Change::decode(&mut bytes), Ok(None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = Bytes::from(bytes);
            while let Ok(Some(_)) = Change::decode(&mut bytes) {}
        }
    }
}
