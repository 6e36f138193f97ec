//! A row as one run of bytes, in the values' own binary form.
//!
//! Values travel from the WAL to the stream table in PostgreSQL's binary send format (what pgoutput with
//! `binary 'true'` and `COPY … (FORMAT binary)` carry), so a value nobody computes with is never decoded.
//! A row is its columns one after the other, each as a length prefix and the value's bytes:
//!
//! ```text
//! prefix (LEB128)   0 = NULL    1 = unchanged TOAST, not sent    n+2 = n bytes follow
//! ```
//!
//! There is no column count: a row is read with its schema at hand. Two rows of a schema with the same
//! bytes are the same row; the converse does not hold (numeric 1.0 and 1.00), see `scalar`'s keys for that.

use std::ops::Range;

use bytes::Bytes;

/// One column of a row, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field<'a> {
    /// SQL NULL.
    Null,
    /// A TOASTed value that the change did not touch, so PostgreSQL did not log it. Only ever in changes,
    /// never in what is kept.
    Unchanged,
    /// The value in PostgreSQL's binary send format.
    Value(&'a [u8]),
}

impl<'a> Field<'a> {
    /// The value's bytes; `None` for NULL (and for an unchanged value).
    #[must_use]
    pub fn value(self) -> Option<&'a [u8]> {
        match self {
            Self::Value(bytes) => Some(bytes),
            Self::Null | Self::Unchanged => None,
        }
    }
}

/// A row of a known schema; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Row(Bytes);

impl Row {
    /// Takes bytes that were made by [`RowBuilder`] or by [`push_field`].
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The encoded form.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Gives the encoded form away.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The columns in order.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        fields(&self.0)
    }

    /// The column at `index` (from 0). NULL when the row is shorter. Walks the columns before it.
    #[must_use]
    pub fn field(&self, index: usize) -> Field<'_> {
        self.fields().nth(index).unwrap_or(Field::Null)
    }

    /// Where each column's value lies in [`Self::as_bytes`]; `None` for NULL. For operators that touch many columns.
    pub fn ranges(&self, into: &mut Vec<Option<Range<usize>>>) {
        into.clear();
        let mut rest = Fields { bytes: &self.0, at: 0 };
        while let Some(field) = rest.next() {
            into.push(match field {
                Field::Value(v) => Some(rest.at - v.len()..rest.at),
                Field::Null | Field::Unchanged => None,
            });
        }
    }

    /// A row of some of this one's columns, in the given order.
    #[must_use]
    pub fn project(&self, columns: &[usize]) -> Self {
        let all: Vec<Field<'_>> = self.fields().collect();
        let mut out = RowBuilder::with_capacity(self.0.len());
        for &column in columns {
            out.push(all.get(column).copied().unwrap_or(Field::Null));
        }
        out.finish()
    }

    /// This row's columns followed by `other`'s.
    #[must_use]
    pub fn concat(&self, other: &Self) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + other.0.len());
        bytes.extend_from_slice(&self.0);
        bytes.extend_from_slice(&other.0);
        Self(bytes.into())
    }

    /// Whether a column was not sent because its TOASTed value did not change.
    #[must_use]
    pub fn has_unchanged(&self) -> bool {
        self.fields().any(|f| f == Field::Unchanged)
    }

    /// This row with each unchanged column taken from `old`, a row of the same schema.
    #[must_use]
    pub fn fill_unchanged(&self, old: &Self) -> Self {
        let mut out = RowBuilder::with_capacity(self.0.len() + 16);
        for (new, old) in self.fields().zip(old.fields().chain(std::iter::repeat(Field::Null))) {
            out.push(if new == Field::Unchanged { old } else { new });
        }
        out.finish()
    }
}

/// The columns of an encoded row. Ends at the first damaged prefix.
#[must_use]
pub fn fields(bytes: &[u8]) -> Fields<'_> {
    Fields { bytes, at: 0 }
}

/// Iterates over the columns of an encoded row.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let mut prefix = 0usize;
        let mut shift = 0u32;
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            prefix |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
            if shift > 35 {
                return None;
            }
        }
        match prefix {
            0 => Some(Field::Null),
            1 => Some(Field::Unchanged),
            n => {
                let end = self.at.checked_add(n - 2)?;
                let value = self.bytes.get(self.at..end)?;
                self.at = end;
                Some(Field::Value(value))
            }
        }
    }
}

/// Appends one column to an encoded row.
pub fn push_field(into: &mut Vec<u8>, field: Field<'_>) {
    let (mut prefix, value): (usize, &[u8]) = match field {
        Field::Null => (0, &[]),
        Field::Unchanged => (1, &[]),
        Field::Value(v) => (v.len() + 2, v),
    };
    while prefix >= 0x80 {
        into.push((prefix & 0x7F) as u8 | 0x80);
        prefix >>= 7;
    }
    into.push(prefix as u8);
    into.extend_from_slice(value);
}

/// Builds a row column by column.
#[derive(Debug, Default)]
pub struct RowBuilder(Vec<u8>);

impl RowBuilder {
    /// An empty row.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty row with room for `bytes` encoded bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Appends a column.
    pub fn push(&mut self, field: Field<'_>) -> &mut Self {
        push_field(&mut self.0, field);
        self
    }

    /// Appends a value, or NULL for `None`.
    pub fn push_value(&mut self, value: Option<&[u8]>) -> &mut Self {
        self.push(value.map_or(Field::Null, Field::Value))
    }

    /// Appends the columns of another row.
    pub fn push_row(&mut self, row: &Row) -> &mut Self {
        self.0.extend_from_slice(row.as_bytes());
        self
    }

    /// The finished row.
    #[must_use]
    pub fn finish(self) -> Row {
        Row(self.0.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(v: &Option<Option<Vec<u8>>>) -> Field<'_> {
        match v {
            None => Field::Unchanged,
            Some(None) => Field::Null,
            Some(Some(v)) => Field::Value(v),
        }
    }

    proptest! {
        #[test]
        fn a_row_gives_back_its_columns(columns in prop::collection::vec(
            prop::option::of(prop::option::of(prop::collection::vec(any::<u8>(), 0..300))), 0..20)) {
            let mut b = RowBuilder::new();
            for c in &columns {
                b.push(field(c));
            }
            let row = b.finish();
            let back: Vec<_> = row.fields().collect();
            prop_assert_eq!(&back, &columns.iter().map(field).collect::<Vec<_>>());
            let mut ranges = vec![];
            row.ranges(&mut ranges);
            for (r, f) in ranges.iter().zip(&back) {
                prop_assert_eq!(r.clone().map(|r| &row.as_bytes()[r]), f.value());
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            fields(&bytes).count();
        }
    }
}
