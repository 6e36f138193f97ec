//! Keys: values as bytes that are equal exactly when PostgreSQL calls the values equal, and that sort as its btree does.
//!
//! A key column is a mark (value or NULL; NULL last) and the value's key form. The forms are self-delimiting and no form
//! is a prefix of another of the same type, so keys of several columns are the columns' keys one after the other.
//!
//! | type | form |
//! | --- | --- |
//! | integers, date, time, timestamps | big-endian, sign bit flipped |
//! | float4, float8 | IEEE bits made ascending; -0 is 0, all NaN are one, above infinity |
//! | numeric | class, weight, groups of four digits + 1, 0; complemented when negative: 1.0 and 1.00 are one |
//! | text, varchar, name | the bytes, 0 |
//! | bpchar | the same without trailing blanks |
//! | bytea, enums; inet, bit strings and the like | the bytes with 0 as 0 255, then 0 0 |
//! | interval | its length by 30-day months and 24-hour days |
//! | bool, "char", uuid, oid | the bytes |
//! | arrays, ranges, jsonb | see [`crate::composed`] |

use types::{Oid, PgType, oid};

use crate::composed::{Composed, jsonb};
use crate::datum::Interval;
use crate::env::Env;
use crate::error::DatumError;
use crate::numeric::{Wire, WireSign};

/// What a type's keys are good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySupport {
    /// Same key bytes exactly when PostgreSQL's default btree (or hash) equality says equal.
    pub equality: bool,
    /// Key bytes sort as PostgreSQL's default btree order (ascending, NULLs last).
    pub order: bool,
}

impl KeySupport {
    const NONE: Self = Self { equality: false, order: false };
    const EQUALITY: Self = Self { equality: true, order: false };
    const ORDER: Self = Self { equality: true, order: true };
}

/// What keys of the type are good for under the settings.
#[must_use]
pub fn key_support(ty: PgType, env: &Env) -> KeySupport {
    match ty.oid {
        oid::BOOL
        | oid::INT2
        | oid::INT4
        | oid::INT8
        | oid::OID
        | oid::CHAR
        | oid::FLOAT4
        | oid::FLOAT8
        | oid::NUMERIC
        | oid::BYTEA
        | oid::DATE
        | oid::TIME
        | oid::TIMESTAMP
        | oid::TIMESTAMPTZ
        | oid::INTERVAL
        | oid::UUID => KeySupport::ORDER,
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME => {
            // A `name` without a collation of its own has C, as `pg_type` says.
            let collation = if ty.oid == oid::NAME && ty.collation == 0 { types::collation::C } else { ty.collation };
            if env.orders_by_bytes(collation) {
                KeySupport::ORDER
            } else if env.is_deterministic(collation) {
                KeySupport::EQUALITY
            } else {
                KeySupport::NONE
            }
        }
        oid::JSONB => KeySupport::EQUALITY,
        other if env.is_enum(other) || is_plain(other) => KeySupport::EQUALITY,
        other => match Composed::of(other) {
            Some(composed) if key_support(PgType { oid: composed.element(), ..ty }, env).equality => {
                KeySupport::EQUALITY
            }
            _ => KeySupport::NONE,
        },
    }
}

/// Built-in types of which equal values, and no others, have the same binary form; but for a cidr that is compared as inet.
fn is_plain(ty: Oid) -> bool {
    // money, inet, cidr, macaddr, macaddr8, time with time zone, bit, bit varying, `pg_lsn`.
    let values = matches!(ty, 790 | 869 | 650 | 829 | 774 | 1266 | 1560 | 1562 | 3220);
    // tid, xid8. Not xid, cid and int2vector, which cannot be in a unique index, nor oidvector, some of whose values cannot be compared.
    let system = matches!(ty, 27 | 5069);
    // regproc, regprocedure, regoper, regoperator, regclass, regtype, regconfig, regdictionary, regnamespace, regrole, regcollation.
    let names = matches!(ty, 24 | 2202..=2206 | 3734 | 3769 | 4089 | 4096 | 4191);
    // tsvector: positions and weights count.
    values || system || names || ty == 3614
}

/// Whether values of the type that have the same key may differ in their bytes, as `1.0` and `1.00` do.
#[must_use]
pub fn has_forms(ty: PgType, env: &Env) -> bool {
    let one = matches!(
        ty.oid,
        oid::BOOL
            | oid::INT2
            | oid::INT4
            | oid::INT8
            | oid::OID
            | oid::CHAR
            | oid::BYTEA
            | oid::DATE
            | oid::TIME
            | oid::TIMESTAMP
            | oid::TIMESTAMPTZ
            | oid::UUID
            | oid::TEXT
            | oid::VARCHAR
            | oid::NAME
    );
    !(one || env.is_enum(ty.oid) || is_plain(ty.oid))
}

const INET: Oid = 869;
const VALUE: u8 = 1;
const NULL: u8 = 0xFF;

/// Appends a value's key; `None` is NULL. The type must have [`KeySupport::equality`].
///
/// # Errors
/// [`DatumError::Damaged`] when the bytes are no such value, [`DatumError::NoKey`] for a built-in type without keys.
/// Nothing usable was appended then.
pub fn encode_key(ty: PgType, value: Option<&[u8]>, into: &mut Vec<u8>) -> Result<(), DatumError> {
    let Some(value) = value else {
        into.push(NULL);
        return Ok(());
    };
    into.push(VALUE);
    encode_value(ty.oid, value, into).ok_or(DatumError::Damaged(ty.oid))?
}

/// `None` for damaged bytes.
fn encode_value(ty: Oid, value: &[u8], into: &mut Vec<u8>) -> Option<Result<(), DatumError>> {
    match ty {
        oid::INT2 => into.extend_from_slice(&(u16::from_be_bytes(value.try_into().ok()?) ^ (1 << 15)).to_be_bytes()),
        oid::INT4 | oid::DATE => {
            into.extend_from_slice(&(u32::from_be_bytes(value.try_into().ok()?) ^ (1 << 31)).to_be_bytes());
        }
        oid::INT8 | oid::TIME | oid::TIMESTAMP | oid::TIMESTAMPTZ => {
            into.extend_from_slice(&(u64::from_be_bytes(value.try_into().ok()?) ^ (1 << 63)).to_be_bytes());
        }
        oid::BOOL => into.push(u8::from(*<&[u8; 1]>::try_from(value).ok()? != [0])),
        oid::CHAR => into.extend_from_slice(<&[u8; 1]>::try_from(value).ok()?),
        oid::OID => into.extend_from_slice(<&[u8; 4]>::try_from(value).ok()?),
        oid::UUID => into.extend_from_slice(<&[u8; 16]>::try_from(value).ok()?),
        oid::TEXT | oid::VARCHAR | oid::NAME => return terminated(value, into),
        oid::BPCHAR => {
            let kept = value.iter().rposition(|b| *b != b' ').map_or(0, |last| last + 1);
            return terminated(value.get(..kept)?, into);
        }
        oid::BYTEA => escaped(value, into),
        oid::FLOAT8 => into.extend_from_slice(&float8(f64::from_be_bytes(value.try_into().ok()?)).to_be_bytes()),
        oid::FLOAT4 => into.extend_from_slice(&float4(f32::from_be_bytes(value.try_into().ok()?)).to_be_bytes()),
        oid::INTERVAL => {
            let span = Interval::read(value)?.span();
            into.extend_from_slice(&(span as u128 ^ (1 << 127)).to_be_bytes());
        }
        oid::NUMERIC => numeric(value, into)?,
        oid::JSONB => jsonb(value, into)?,
        INET => {
            // A cidr that is compared as inet says by its third byte that it was one.
            let mut plain = value.to_vec();
            *plain.get_mut(2)? = 0;
            escaped(&plain, into);
        }
        other if other >= oid::FIRST_USER || is_plain(other) => escaped(value, into),
        other => match Composed::of(other) {
            Some(composed) => return composed.encode(value, into),
            None => return Some(Err(DatumError::NoKey(other))),
        },
    }
    Some(Ok(()))
}

/// Text: PostgreSQL's holds no zero byte, so that one ends it.
fn terminated(text: &[u8], into: &mut Vec<u8>) -> Option<Result<(), DatumError>> {
    if text.contains(&0) {
        return None;
    }
    into.extend_from_slice(text);
    into.push(0);
    Some(Ok(()))
}

fn escaped(bytes: &[u8], into: &mut Vec<u8>) {
    for (i, part) in bytes.split(|b| *b == 0).enumerate() {
        if i > 0 {
            into.extend_from_slice(&[0, 0xFF]);
        }
        into.extend_from_slice(part);
    }
    into.extend_from_slice(&[0, 0]);
}

fn float8(value: f64) -> u64 {
    let value = if value.is_nan() { f64::from_bits(0x7FF8 << 48) } else { value + 0.0 };
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

fn float4(value: f32) -> u32 {
    let value = if value.is_nan() { f32::from_bits(0x7FC0 << 16) } else { value + 0.0 };
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | (1 << 31) }
}

fn numeric(value: &[u8], into: &mut Vec<u8>) -> Option<()> {
    let wire = Wire::parse(value)?;
    let negative = match wire.sign {
        WireSign::Positive => false,
        WireSign::Negative => true,
        special => {
            into.push(match special {
                WireSign::NegInfinity => 0,
                WireSign::Infinity => 4,
                _ => 5,
            });
            return Some(());
        }
    };
    let leading = wire.groups().take_while(|g| *g == 0).count();
    let trailing = wire.groups().rev().take_while(|g| *g == 0).count();
    let count = wire.groups().len();
    if leading == count {
        into.push(2);
        return Some(());
    }
    let flip: u16 = if negative { 0xFFFF } else { 0 };
    let weight = (i32::from(wire.weight) - leading as i32 + (1 << 17)) as u32 ^ if negative { u32::MAX } else { 0 };
    into.push(if negative { 1 } else { 3 });
    into.extend_from_slice(&weight.to_be_bytes());
    for g in wire.groups().skip(leading).take(count - leading - trailing) {
        into.extend_from_slice(&((g + 1) ^ flip).to_be_bytes());
    }
    into.extend_from_slice(&flip.to_be_bytes());
    Some(())
}
