//! A row as it stands in a change message, read column by column without copying.
//!
//! A tuple is walked once when its message is decoded, so that walking it again cannot fail.

use crate::Error;
use crate::reader::Reader;

/// One column's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Column<'a> {
    /// SQL NULL. In an old key tuple also every column outside the key.
    Null,
    /// A TOASTed value that the change did not touch: it was not logged.
    Unchanged,
    /// The value in its type's text form.
    Text(&'a [u8]),
    /// The value in its type's binary send form (option `binary 'true'`).
    Binary(&'a [u8]),
}

/// The columns of one row version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'a> {
    count: u16,
    /// Checked to be exactly `count` columns.
    bytes: &'a [u8],
}

impl<'a> Tuple<'a> {
    /// How many columns there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether the table has no columns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How long the tuple is on the wire, without its column count: a measure of the memory its values need.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.bytes.len()
    }

    /// The columns in the relation's order.
    #[must_use]
    pub fn columns(&self) -> Columns<'a> {
        Columns { left: self.count, reader: Reader(self.bytes) }
    }

    /// Takes a tuple off a message and checks it.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let count = reader.u16("a tuple's column count")?;
        let start = reader.0;
        for _ in 0..count {
            column(reader)?;
        }
        let length = start.len() - reader.0.len();
        let bytes = start.get(..length).ok_or(Error::Short("a tuple"))?;
        Ok(Self { count, bytes })
    }
}

impl<'a> IntoIterator for Tuple<'a> {
    type Item = Column<'a>;
    type IntoIter = Columns<'a>;

    fn into_iter(self) -> Columns<'a> {
        self.columns()
    }
}

/// Iterates over the columns of a [`Tuple`].
#[derive(Debug, Clone)]
pub struct Columns<'a> {
    left: u16,
    reader: Reader<'a>,
}

impl<'a> Iterator for Columns<'a> {
    type Item = Column<'a>;

    #[inline]
    fn next(&mut self) -> Option<Column<'a>> {
        self.left = self.left.checked_sub(1)?;
        column(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Columns<'_> {}

#[inline]
fn column<'a>(reader: &mut Reader<'a>) -> Result<Column<'a>, Error> {
    match reader.u8("a column's kind")? {
        b'n' => Ok(Column::Null),
        b'u' => Ok(Column::Unchanged),
        b't' => Ok(Column::Text(value(reader)?)),
        b'b' => Ok(Column::Binary(value(reader)?)),
        value => Err(Error::BadTag { what: "a column's kind", value }),
    }
}

#[inline]
fn value<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    let length = reader.u32("a value's length")?;
    reader.bytes(length as usize, "a value")
}
