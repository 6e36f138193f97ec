//! Columns of a row as key bytes.
//!
//! Keys are made by [`scalar::encode_key`]: equal bytes exactly when PostgreSQL calls the values equal, prefix-free, so that
//! the key of some columns is a prefix of the key of these and more. The identity of a source may also have types that
//! are not native; PostgreSQL logs a row's key with the very bytes of the row, so these are taken as they are.

use scalar::{DatumError, Env};
use types::{Field, PgType, oid};

/// Where a row's columns lie, read once and used by everything that touches the row.
#[derive(Debug, Default)]
pub(crate) struct FieldMap(Vec<(u32, u32)>);

const NULL: (u32, u32) = (u32::MAX, 0);

impl FieldMap {
    /// Finds the first `count` columns.
    pub(crate) fn read(&mut self, row: &[u8], count: usize) {
        self.0.clear();
        let base = row.as_ptr() as usize;
        for field in types::fields(row).take(count) {
            self.0.push(match field {
                Field::Value(v) => ((v.as_ptr() as usize - base) as u32, v.len() as u32),
                Field::Null | Field::Unchanged => NULL,
            });
        }
    }

    /// Finds all columns: how many there are, and whether some were not sent.
    pub(crate) fn read_all(&mut self, row: &[u8]) -> (usize, bool) {
        self.0.clear();
        let base = row.as_ptr() as usize;
        let mut partial = false;
        for field in types::fields(row) {
            self.0.push(match field {
                Field::Value(v) => ((v.as_ptr() as usize - base) as u32, v.len() as u32),
                Field::Null => NULL,
                Field::Unchanged => {
                    partial = true;
                    NULL
                }
            });
        }
        (self.0.len(), partial)
    }

    /// A column's value; `None` for NULL and for a column that was not found.
    pub(crate) fn get<'a>(&self, row: &'a [u8], column: usize) -> Option<&'a [u8]> {
        match self.0.get(column) {
            Some(&(start, length)) if start != u32::MAX => row.get(start as usize..(start + length) as usize),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
struct KeyColumn {
    column: usize,
    ty: PgType,
    native: bool,
}

/// Makes keys of some columns.
#[derive(Debug, Clone)]
pub(crate) struct KeyEncoder {
    columns: Vec<KeyColumn>,
    /// How many columns of a row must be known.
    pub(crate) reach: usize,
}

impl KeyEncoder {
    /// Of columns whose types must have a native equality.
    pub(crate) fn new(columns: &[usize], types: &[PgType], env: &Env) -> Result<Self, String> {
        for ty in types.iter().take(columns.len()) {
            if !scalar::key_support(*ty, env).equality {
                return Err(format!(
                    "values of type {} have no native equality, so they cannot be grouped or joined by",
                    ty.oid
                ));
            }
        }
        Ok(Self::of(columns, types, env))
    }

    /// Of columns that identify a row; those without a native equality by their bytes.
    pub(crate) fn of(columns: &[usize], types: &[PgType], env: &Env) -> Self {
        let native: Vec<bool> = types.iter().map(|ty| scalar::key_support(*ty, env).equality).collect();
        Self::with(columns, types, &native)
    }

    /// Of columns of which it is known whether their keys are native.
    pub(crate) fn with(columns: &[usize], types: &[PgType], native: &[bool]) -> Self {
        let columns: Vec<_> = columns
            .iter()
            .zip(types)
            .zip(native)
            .map(|((&column, ty), &native)| KeyColumn { column, ty: *ty, native })
            .collect();
        let reach = columns.iter().map(|c| c.column + 1).max().unwrap_or(0);
        Self { columns, reach }
    }

    /// Whether every column's key is PostgreSQL's equality.
    pub(crate) fn is_native(&self) -> bool {
        self.columns.iter().all(|c| c.native)
    }

    /// Which columns' keys are PostgreSQL's equality.
    pub(crate) fn natives(&self) -> Vec<bool> {
        self.columns.iter().map(|c| c.native).collect()
    }

    /// The columns, in the key's order.
    pub(crate) fn columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.columns.iter().map(|c| c.column)
    }

    /// How many columns the key has.
    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    /// Appends the key of a row whose fields were found.
    pub(crate) fn encode(&self, fields: &FieldMap, row: &[u8], into: &mut Vec<u8>) -> Result<(), DatumError> {
        for column in &self.columns {
            column.encode(fields.get(row, column.column), into)?;
        }
        Ok(())
    }

    /// Appends a join's key; false (and something useless appended) when a column is NULL, which matches nothing.
    /// `mark` becomes the length of the first `marked` columns' key.
    pub(crate) fn encode_join(
        &self,
        fields: &FieldMap,
        row: &[u8],
        into: &mut Vec<u8>,
        marked: usize,
        mark: &mut usize,
    ) -> Result<bool, DatumError> {
        let start = into.len();
        for (i, column) in self.columns.iter().enumerate() {
            if i == marked {
                *mark = into.len() - start;
            }
            let Some(value) = fields.get(row, column.column) else { return Ok(false) };
            column.encode(Some(value), into)?;
        }
        if marked >= self.columns.len() {
            *mark = into.len() - start;
        }
        Ok(true)
    }
}

impl KeyColumn {
    fn encode(&self, value: Option<&[u8]>, into: &mut Vec<u8>) -> Result<(), DatumError> {
        if self.native {
            return scalar::encode_key(self.ty, value, into);
        }
        match value {
            None => into.push(0xFF),
            Some(value) => {
                into.push(1);
                into.extend_from_slice(&(value.len() as u32).to_be_bytes());
                into.extend_from_slice(value);
            }
        }
        Ok(())
    }
}

/// Whether values of the two types have the same keys.
pub(crate) fn same_keys(a: PgType, b: PgType) -> bool {
    let form = |ty: PgType| match ty.oid {
        oid::VARCHAR | oid::NAME => oid::TEXT,
        other => other,
    };
    form(a) == form(b)
}

/// Appends an unsigned integer, seven bits a byte.
pub(crate) fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Takes one off.
pub(crate) fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes bytes behind their length off.
pub(crate) fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(from)?).ok()?;
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
}

/// Appends bytes behind their length.
pub(crate) fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::RowBuilder;

    fn row(values: &[Option<&[u8]>]) -> types::Row {
        let mut b = RowBuilder::new();
        for v in values {
            b.push_value(*v);
        }
        b.finish()
    }

    #[test]
    fn the_key_of_the_first_columns_is_a_prefix() {
        let int = PgType::plain(oid::INT4);
        let text = PgType { oid: oid::TEXT, typmod: -1, collation: types::collation::C };
        let env = Env::default();
        let both = KeyEncoder::new(&[2, 0], &[text, int], &env).unwrap();
        let one = KeyEncoder::new(&[2], &[text], &env).unwrap();
        let r = row(&[Some(&[0, 0, 0, 7]), None, Some(b"ab")]);
        let (mut long, mut short) = (Vec::new(), Vec::new());
        let mut fields = FieldMap::default();
        fields.read(r.as_bytes(), 3);
        both.encode(&fields, r.as_bytes(), &mut long).unwrap();
        one.encode(&fields, r.as_bytes(), &mut short).unwrap();
        assert!(long.starts_with(&short) && long.len() == short.len() + 5);
        let (mut joined, mut mark) = (Vec::new(), 0);
        assert!(both.encode_join(&fields, r.as_bytes(), &mut joined, 1, &mut mark).unwrap());
        assert_eq!((joined, mark), (long, short.len()));
    }

    #[test]
    fn null_joins_nothing_and_types_without_equality_are_refused() {
        let env = Env::default();
        let int = PgType::plain(oid::INT4);
        let key = KeyEncoder::new(&[1], &[int], &env).unwrap();
        let r = row(&[Some(b"x"), None]);
        let mut fields = FieldMap::default();
        fields.read(r.as_bytes(), 2);
        assert!(!key.encode_join(&fields, r.as_bytes(), &mut Vec::new(), 1, &mut 0).unwrap());
        assert!(KeyEncoder::new(&[0], &[PgType::plain(oid::JSON)], &env).is_err());
        assert!(!KeyEncoder::of(&[0], &[PgType::plain(oid::JSON)], &env).is_native());
    }

    #[test]
    fn varints_read_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut rest = &bytes[..];
            assert_eq!(take_varint(&mut rest), Some(value));
            assert!(rest.is_empty());
        }
        assert_eq!(take_varint(&mut &[0x80u8][..]), None);
    }
}
