//! Keys of values that are made of others: arrays, ranges and jsonb. Equality only, no order.
//!
//! | type | form |
//! | --- | --- |
//! | arrays | dimensions and lower bounds, then each element's key |
//! | ranges | the flags, then the key of each bound that there is |
//! | multiranges | their number, then each range's |
//! | jsonb | its text, which PostgreSQL writes in one way only, with 1.0 and 1.00 as 1; 0 |

use types::{Oid, PgType, oid};

use crate::error::DatumError;
use crate::key::encode_key;

/// What a composed type consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Composed {
    Array(Oid),
    Range(Oid),
    Multirange(Oid),
}

impl Composed {
    /// The built-in ones whose elements can have keys.
    pub(crate) fn of(ty: Oid) -> Option<Self> {
        Some(match ty {
            1000 => Self::Array(oid::BOOL),
            1001 => Self::Array(oid::BYTEA),
            1002 => Self::Array(oid::CHAR),
            1003 => Self::Array(oid::NAME),
            1005 => Self::Array(oid::INT2),
            1007 => Self::Array(oid::INT4),
            1009 => Self::Array(oid::TEXT),
            1014 => Self::Array(oid::BPCHAR),
            1015 => Self::Array(oid::VARCHAR),
            1016 => Self::Array(oid::INT8),
            1021 => Self::Array(oid::FLOAT4),
            1022 => Self::Array(oid::FLOAT8),
            1028 => Self::Array(oid::OID),
            1115 => Self::Array(oid::TIMESTAMP),
            1182 => Self::Array(oid::DATE),
            1183 => Self::Array(oid::TIME),
            1185 => Self::Array(oid::TIMESTAMPTZ),
            1187 => Self::Array(oid::INTERVAL),
            1231 => Self::Array(oid::NUMERIC),
            2951 => Self::Array(oid::UUID),
            3807 => Self::Array(oid::JSONB),
            3904 => Self::Range(oid::INT4),
            3906 => Self::Range(oid::NUMERIC),
            3908 => Self::Range(oid::TIMESTAMP),
            3910 => Self::Range(oid::TIMESTAMPTZ),
            3912 => Self::Range(oid::DATE),
            3926 => Self::Range(oid::INT8),
            4451 => Self::Multirange(oid::INT4),
            4532 => Self::Multirange(oid::NUMERIC),
            4533 => Self::Multirange(oid::TIMESTAMP),
            4534 => Self::Multirange(oid::TIMESTAMPTZ),
            4535 => Self::Multirange(oid::DATE),
            4536 => Self::Multirange(oid::INT8),
            _ => return None,
        })
    }

    /// The type of the elements or bounds.
    pub(crate) fn element(self) -> Oid {
        let (Self::Array(element) | Self::Range(element) | Self::Multirange(element)) = self;
        element
    }

    /// Appends the key of a value; `None` for damaged bytes.
    pub(crate) fn encode(self, value: &[u8], into: &mut Vec<u8>) -> Option<Result<(), DatumError>> {
        let mut from = value;
        let encoded = match self {
            Self::Array(element) => array(element, &mut from, into)?,
            Self::Range(element) => range(element, &mut from, into)?,
            Self::Multirange(element) => {
                let count = int(&mut from)?;
                into.extend_from_slice(&count.to_be_bytes());
                for _ in 0..count {
                    let mut one = sized(&mut from)??;
                    if let Err(error) = range(element, &mut one, into)? {
                        return Some(Err(error));
                    }
                }
                Ok(())
            }
        };
        from.is_empty().then_some(encoded)
    }
}

fn array(element: Oid, from: &mut &[u8], into: &mut Vec<u8>) -> Option<Result<(), DatumError>> {
    const MOST_DIMENSIONS: i32 = 6;
    let (dimensions, _has_null, ty) = (int(from)?, int(from)?, int(from)?);
    if !(0..=MOST_DIMENSIONS).contains(&dimensions) || ty.cast_unsigned() != element {
        return None;
    }
    into.push(dimensions as u8);
    let mut count: usize = usize::from(dimensions > 0);
    for _ in 0..dimensions {
        let (length, lower) = (int(from)?, int(from)?);
        count = count.checked_mul(usize::try_from(length).ok()?)?;
        into.extend_from_slice(&length.to_be_bytes());
        into.extend_from_slice(&lower.to_be_bytes());
    }
    for _ in 0..count {
        let value = sized(from)?;
        if let Err(error) = encode_key(PgType::plain(element), value, into) {
            return Some(Err(error));
        }
    }
    Some(Ok(()))
}

fn range(element: Oid, from: &mut &[u8], into: &mut Vec<u8>) -> Option<Result<(), DatumError>> {
    const EMPTY: u8 = 0x01;
    const NO_LOWER: u8 = 0x08 | 0x20;
    const NO_UPPER: u8 = 0x10 | 0x40;
    let (&flags, rest) = from.split_first()?;
    *from = rest;
    into.push(flags);
    for absent in [EMPTY | NO_LOWER, EMPTY | NO_UPPER] {
        if flags & absent != 0 {
            continue;
        }
        let value = sized(from)??;
        if let Err(error) = encode_key(PgType::plain(element), Some(value), into) {
            return Some(Err(error));
        }
    }
    Some(Ok(()))
}

/// jsonb's binary form: a version, then its text. Object keys are in one order in it, and no number has an exponent.
pub(crate) fn jsonb(value: &[u8], into: &mut Vec<u8>) -> Option<()> {
    let (1, text) = value.split_first().map(|(version, text)| (*version, text))? else { return None };
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let rest = text.get(at..)?;
        let token = match byte {
            0 => return None,
            b'"' => string(rest)?,
            b'-' | b'0'..=b'9' => {
                rest.iter().position(|b| !matches!(b, b'-' | b'.' | b'0'..=b'9')).unwrap_or(rest.len())
            }
            _ => 1,
        };
        let bytes = rest.get(..token)?;
        let fraction = byte != b'"' && bytes.contains(&b'.');
        let kept = if fraction { bytes.iter().rposition(|b| *b != b'0').map_or(0, |last| last + 1) } else { token };
        let bytes = bytes.get(..kept)?;
        into.extend_from_slice(if fraction { bytes.strip_suffix(b".").unwrap_or(bytes) } else { bytes });
        at += token;
    }
    into.push(0);
    Some(())
}

/// The length of the string that the text begins with, quotes included.
fn string(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            0 => return None,
            _ => {}
        }
    }
    None
}

fn int(from: &mut &[u8]) -> Option<i32> {
    let (bytes, rest) = from.split_first_chunk::<4>()?;
    *from = rest;
    Some(i32::from_be_bytes(*bytes))
}

/// Bytes behind their length; an inner `None` is NULL.
fn sized<'a>(from: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = int(from)?;
    if length == -1 {
        return Some(None);
    }
    let (value, rest) = from.split_at_checked(usize::try_from(length).ok()?)?;
    *from = rest;
    Some(Some(value))
}
