//! Rows of one key as they are kept, with the physical tables that they came from.
//!
//! A key has one row. But a row that moves from one node to another can come to the second before it leaves the first,
//! where the two transactions are not one: until both are in a cut, two tables have a row of the key. The
//! one that came last counts, the other waits behind it and counts again should that one go.
//!
//! ```text
//!   physical table (u32) | row                                                 one row
//!   physical table (u32) with the highest bit | length (u32) | row | …         several, the one that counts first
//! ```

use bytes::Bytes;
use types::{Row, TableId};

/// A row with the physical table that it came from.
pub(crate) type Held = (TableId, Row);

const SEVERAL: u32 = 1 << 31;

/// All rows of a key, the one that counts first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HeldRows {
    pub(crate) first: Option<Held>,
    /// Without an allocation where there are none, which is nearly always.
    pub(crate) waiting: Vec<Held>,
}

impl HeldRows {
    /// One row, or none.
    pub(crate) fn one(first: Option<Held>) -> Self {
        Self { first, waiting: Vec::new() }
    }

    /// The row of one physical table.
    pub(crate) fn of(&self, table: TableId) -> Option<&Row> {
        self.first.iter().chain(&self.waiting).find(|h| h.0 == table).map(|h| &h.1)
    }

    /// A table has no row of the key any more.
    pub(crate) fn leave(&mut self, table: TableId) {
        if self.first.as_ref().is_some_and(|h| h.0 == table) {
            self.first = if self.waiting.is_empty() { None } else { Some(self.waiting.remove(0)) };
        } else if !self.waiting.is_empty() {
            self.waiting.retain(|h| h.0 != table);
        }
    }

    /// A table has this row now: it counts.
    pub(crate) fn come(&mut self, table: TableId, row: Row) {
        self.leave(table);
        if let Some(before) = self.first.replace((table, row)) {
            self.waiting.insert(0, before);
        }
    }

    /// Forgets all rows that are not wanted.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&Row) -> bool) {
        self.waiting.retain(|h| wanted(&h.1));
        if let Some((table, _)) = self.first.as_ref().filter(|h| !wanted(&h.1)) {
            self.leave(*table);
        }
    }

    /// Appends the stored form; nothing when there is no row.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        let Some((table, row)) = &self.first else { return };
        if self.waiting.is_empty() {
            into.extend_from_slice(&table.0.to_be_bytes());
            into.extend_from_slice(row.as_bytes());
            return;
        }
        for (table, row) in self.first.iter().chain(&self.waiting) {
            into.extend_from_slice(&(table.0 | SEVERAL).to_be_bytes());
            into.extend_from_slice(&(row.as_bytes().len() as u32).to_be_bytes());
            into.extend_from_slice(row.as_bytes());
        }
    }

    /// Reads the stored form.
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let (table, row) = first(value)?;
        let mut out = Self::one(Some((table, Row::from_bytes(Bytes::copy_from_slice(row)))));
        let mut rest = value;
        let mut skip = true;
        while number(rest)? & SEVERAL != 0 {
            let (table, row) = first(rest)?;
            if !std::mem::take(&mut skip) {
                out.waiting.push((table, Row::from_bytes(Bytes::copy_from_slice(row))));
            }
            rest = rest.get(8 + row.len()..)?;
            if rest.is_empty() {
                break;
            }
        }
        Some(out)
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.first_chunk()?))
}

/// The row that counts, out of a stored form.
pub(crate) fn first(value: &[u8]) -> Option<(TableId, &[u8])> {
    let table = number(value)?;
    let rest = value.get(4..)?;
    if table & SEVERAL == 0 {
        return Some((TableId(table), rest));
    }
    let length = number(rest)? as usize;
    Some((TableId(table & !SEVERAL), rest.get(4..)?.get(..length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bytes: &'static [u8]) -> Row {
        Row::from_bytes(Bytes::from_static(bytes))
    }

    fn stored(rows: &HeldRows) -> Vec<u8> {
        let mut out = Vec::new();
        rows.encode(&mut out);
        out
    }

    #[test]
    fn the_row_that_came_last_counts_until_it_goes() {
        let mut rows = HeldRows::default();
        rows.come(TableId(1), row(b"one"));
        rows.come(TableId(2), row(b"two"));
        rows.come(TableId(3), row(b""));
        rows.come(TableId(2), row(b"second"));
        assert_eq!(rows.first, Some((TableId(2), row(b"second"))));
        assert_eq!(rows.of(TableId(1)), Some(&row(b"one")));
        let bytes = stored(&rows);
        assert_eq!(HeldRows::decode(&bytes), Some(rows.clone()));
        assert_eq!(first(&bytes), Some((TableId(2), &b"second"[..])));
        rows.leave(TableId(2));
        rows.leave(TableId(9));
        assert_eq!(rows.first, Some((TableId(3), row(b""))));
        rows.leave(TableId(1));
        assert_eq!(rows, HeldRows::one(Some((TableId(3), row(b"")))));
        let bytes = stored(&rows);
        assert_eq!(HeldRows::decode(&bytes), Some(rows.clone()));
        rows.leave(TableId(3));
        assert_eq!((rows.first.as_ref(), stored(&rows)), (None, vec![]));
    }

    #[test]
    fn damaged_bytes_are_noticed() {
        for bytes in [&b""[..], b"abc", &[0x80, 0, 0, 1], &[0x80, 0, 0, 1, 0, 0, 0, 9, 1]] {
            assert_eq!(HeldRows::decode(bytes), None);
        }
    }
}
