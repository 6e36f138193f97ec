//! The binary COPY format: bytes of `COPY … TO STDOUT (FORMAT binary)`, cut anywhere, to rows.

use bytes::{Buf, Bytes, BytesMut};
use types::{Field, Row, push_field};

/// What the format begins with.
pub const COPY_SIGNATURE: &[u8; 11] = b"PGCOPY\n\xFF\r\n\0";
/// A row's or value's length beyond PostgreSQL's own limit is damage.
const LONGEST_VALUE: i32 = 1 << 30;

/// Where the decoder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the signature.
    Header,
    /// Before a row.
    Rows,
    /// Behind the trailer.
    End,
}

/// Decodes a binary COPY as its bytes come. The rows of a piece share their memory.
#[derive(Debug)]
pub struct BinaryCopy {
    at: At,
    columns: usize,
    /// The begin of a row (or of the header) whose rest has not come.
    rest: BytesMut,
    /// Encoded rows, and where each ends.
    rows: Vec<u8>,
    ends: Vec<usize>,
}

/// Bytes that are no binary COPY of the expected columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the binary COPY is damaged: {0}")]
pub struct DamagedCopy(&'static str);

impl BinaryCopy {
    /// A decoder for rows of `columns` columns.
    #[must_use]
    pub fn new(columns: usize) -> Self {
        Self { at: At::Header, columns, rest: BytesMut::new(), rows: Vec::new(), ends: Vec::new() }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`DamagedCopy`]; the decoder is of no use afterwards.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), DamagedCopy> {
        // PostgreSQL sends whole rows, so mostly nothing is kept and nothing is copied.
        if self.rest.is_empty() {
            let left = self.take(bytes)?;
            self.rest.extend_from_slice(left);
        } else {
            self.rest.extend_from_slice(bytes);
            let all = self.rest.split();
            let left = self.take(&all)?.len();
            let begun = all.len() - left;
            self.rest = all;
            self.rest.advance(begun);
        }
        Ok(())
    }

    /// How many bytes of finished rows wait to be taken.
    #[must_use]
    pub fn ready_bytes(&self) -> usize {
        self.rows.len()
    }

    /// The finished rows.
    pub fn take_rows(&mut self) -> Vec<Row> {
        let bytes = Bytes::from(std::mem::take(&mut self.rows));
        let mut begin = 0;
        let rows = self.ends.drain(..).map(|end| {
            let row = bytes.slice(begin..end);
            begin = end;
            Row::from_bytes(row)
        });
        rows.collect()
    }

    /// Says that no more bytes come.
    ///
    /// # Errors
    /// [`DamagedCopy`] when the trailer has not come.
    pub fn finish(&self) -> Result<(), DamagedCopy> {
        if self.at == At::End { Ok(()) } else { Err(DamagedCopy("it ends early")) }
    }

    /// Decodes all that is whole and gives back the rest.
    fn take<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], DamagedCopy> {
        if self.at == At::Header {
            let Some(behind) = header(bytes)? else { return Ok(bytes) };
            bytes = behind;
            self.at = At::Rows;
        }
        while self.at == At::Rows {
            let Some((count, fields)) = bytes.split_first_chunk::<2>() else { return Ok(bytes) };
            match i16::from_be_bytes(*count) {
                -1 => {
                    self.at = At::End;
                    bytes = fields;
                }
                count if usize::try_from(count) == Ok(self.columns) => {
                    let Some(behind) = self.row(fields)? else { return Ok(bytes) };
                    bytes = behind;
                }
                _ => return Err(DamagedCopy("a row has another number of columns")),
            }
        }
        if bytes.is_empty() { Ok(bytes) } else { Err(DamagedCopy("something follows its end")) }
    }

    /// Encodes one row; `None` (and nothing encoded) when it is not whole.
    fn row<'a>(&mut self, mut bytes: &'a [u8]) -> Result<Option<&'a [u8]>, DamagedCopy> {
        let begin = self.rows.len();
        for _ in 0..self.columns {
            let Some((length, behind)) = bytes.split_first_chunk::<4>() else {
                self.rows.truncate(begin);
                return Ok(None);
            };
            let field = match i32::from_be_bytes(*length) {
                -1 => {
                    bytes = behind;
                    Field::Null
                }
                length @ 0..LONGEST_VALUE => {
                    let Some((value, behind)) = behind.split_at_checked(length as usize) else {
                        self.rows.truncate(begin);
                        return Ok(None);
                    };
                    bytes = behind;
                    Field::Value(value)
                }
                _ => return Err(DamagedCopy("a value's length is out of range")),
            };
            push_field(&mut self.rows, field);
        }
        self.ends.push(self.rows.len());
        Ok(Some(bytes))
    }
}

/// What lies behind the header; `None` when it is not whole.
fn header(bytes: &[u8]) -> Result<Option<&[u8]>, DamagedCopy> {
    let Some((signature, rest)) = bytes.split_first_chunk::<11>() else { return Ok(None) };
    if signature != COPY_SIGNATURE {
        return Err(DamagedCopy("it does not begin as one"));
    }
    let Some((flags, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    // The upper half is for what a reader must understand.
    if u32::from_be_bytes(*flags) >> 16 != 0 {
        return Err(DamagedCopy("it has flags that are not known"));
    }
    let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    Ok(rest.split_at_checked(u32::from_be_bytes(*length) as usize).map(|(_, behind)| behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(pieces: Vec<Vec<u8>>, columns in 0usize..4, behind_header: bool) {
            let mut decoder = BinaryCopy::new(columns);
            if behind_header {
                decoder.push(&copy(&[])[..21]).unwrap();
            }
            for piece in pieces {
                if decoder.push(&piece).is_err() {
                    break;
                }
            }
            decoder.take_rows();
        }

        #[test]
        fn damaged_copies_are_read_without_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut bytes = copy(&[&[Some(b"one"), None], &[Some(b""), Some(&[7; 300])]]);
            let length = bytes.len();
            bytes[at.index(length)] = byte;
            let mut decoder = BinaryCopy::new(2);
            let (first, second) = bytes.split_at(cut.index(length));
            let _ = decoder.push(first).and_then(|()| decoder.push(second)).and_then(|()| decoder.finish());
            decoder.take_rows();
        }
    }

    fn copy(rows: &[&[Option<&[u8]>]]) -> Vec<u8> {
        let mut bytes = COPY_SIGNATURE.to_vec();
        bytes.extend([0; 4]);
        bytes.extend([0, 0, 0, 2, 9, 9]);
        for row in rows {
            bytes.extend((row.len() as i16).to_be_bytes());
            for value in *row {
                match value {
                    None => bytes.extend((-1i32).to_be_bytes()),
                    Some(v) => {
                        bytes.extend((v.len() as i32).to_be_bytes());
                        bytes.extend(*v);
                    }
                }
            }
        }
        bytes.extend((-1i16).to_be_bytes());
        bytes
    }

    #[test]
    fn rows_are_the_same_wherever_the_bytes_are_cut() {
        let bytes = copy(&[&[Some(b"one"), None], &[Some(b""), Some(&[7; 300])]]);
        for piece in 1..bytes.len() {
            let mut decoder = BinaryCopy::new(2);
            for piece in bytes.chunks(piece) {
                decoder.push(piece).unwrap();
            }
            decoder.finish().unwrap();
            let rows = decoder.take_rows();
            let fields: Vec<Vec<_>> = rows.iter().map(|row| row.fields().collect()).collect();
            let (empty, large) = (Field::Value(b""), [7; 300]);
            assert_eq!(fields, [vec![Field::Value(b"one"), Field::Null], vec![empty, Field::Value(&large)]]);
            assert!(decoder.take_rows().is_empty() && decoder.ready_bytes() == 0);
        }
    }

    #[test]
    fn damage_is_noticed() {
        let whole = copy(&[&[Some(b"one")]]);
        let fails = |bytes: &[u8], columns| {
            let mut decoder = BinaryCopy::new(columns);
            decoder.push(bytes).and_then(|()| decoder.finish()).is_err()
        };
        assert!(!fails(&whole, 1));
        assert!(fails(&whole, 2), "another number of columns");
        assert!(fails(&whole[..whole.len() - 1], 1), "no trailer");
        assert!(fails(&[&whole[..], b"x"].concat(), 1), "something behind");
        assert!(fails(b"PGCOPY?????????????", 1), "no signature");
        let mut long = whole.clone();
        long[23] = 0x80;
        assert!(fails(&long, 1), "a negative length");
    }
}
