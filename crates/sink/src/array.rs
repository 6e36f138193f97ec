//! Many values of one type as one binary array parameter.
//!
//! The form is `array_recv`'s: dimensions (1), whether there are NULLs, the elements' type, their count, the lower
//! bound (1), then each element as a length (-1 for NULL) and its bytes.

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use types::Oid;

const HEADER: usize = 20;
const NULLS_AT: usize = 4;
const COUNT_AT: usize = 12;

/// A growing array parameter.
#[derive(Debug)]
pub(crate) struct Array {
    bytes: BytesMut,
    count: u32,
}

impl Array {
    /// No element yet of this type.
    pub(crate) fn new(element: Oid) -> Self {
        let mut bytes = BytesMut::with_capacity(256);
        bytes.put_u32(1);
        bytes.put_u32(0);
        bytes.put_u32(element);
        bytes.put_u32(0);
        bytes.put_u32(1);
        debug_assert_eq!(bytes.len(), HEADER);
        Self { bytes, count: 0 }
    }

    /// Appends a value, or NULL.
    pub(crate) fn push(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => {
                self.bytes.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                self.bytes.put_slice(value);
            }
            None => {
                self.bytes.put_i32(-1);
                self.patch(NULLS_AT, 1);
            }
        }
        self.count += 1;
        self.patch(COUNT_AT, self.count);
    }

    /// Its size on the wire.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn patch(&mut self, at: usize, value: u32) {
        if let Some(place) = self.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }
}

impl ToSql for Array {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_slice(&self.bytes);
        Ok(IsNull::No)
    }

    /// The statement's own casts say the type; a wrong one is PostgreSQL's error.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use postgres_protocol::types::array_from_sql;
    use types::oid;

    #[test]
    fn an_array_is_as_the_driver_reads_it() {
        use tokio_postgres::fallible_iterator::FallibleIterator;
        let mut array = Array::new(oid::INT4);
        for value in [Some([0, 0, 0, 7]), None, Some([0, 0, 1, 0])] {
            array.push(value.as_ref().map(<[u8; 4]>::as_slice));
        }
        let read = array_from_sql(&array.bytes).unwrap();
        assert!(read.has_nulls());
        assert_eq!(read.element_type(), oid::INT4);
        let values: Vec<_> = read.values().map(|v| Ok(v.map(<[u8]>::to_vec))).collect().unwrap();
        assert_eq!(values, [Some(vec![0, 0, 0, 7]), None, Some(vec![0, 0, 1, 0])]);
    }
}
