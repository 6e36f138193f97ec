//! One value in memory, from and to PostgreSQL's binary send format.
//!
//! Text and bytes are borrowed from the row they came in; nothing is allocated to read a value, except for
//! numerics beyond 38 digits.

use std::borrow::Cow;

use types::{Oid, oid};

use crate::calendar::{DAY, is_date, is_timestamp};
use crate::error::DatumError;
use crate::numeric::Numeric;

/// A value. What it means is the type's affair: `text`, `varchar`, `name` and `bpchar` are all [`Datum::Text`].
#[derive(Debug, Clone, PartialEq)]
pub enum Datum<'a> {
    /// SQL NULL.
    Null,
    /// `boolean`
    Bool(bool),
    /// `smallint`
    Int2(i16),
    /// `integer`
    Int4(i32),
    /// `bigint`
    Int8(i64),
    /// `oid`
    Oid(u32),
    /// `"char"`, one byte
    Char(u8),
    /// `real`
    Float4(f32),
    /// `double precision`
    Float8(f64),
    /// `numeric`
    Numeric(Numeric),
    /// `text`, `varchar`, `bpchar` (with its blanks), `name`
    Text(Cow<'a, str>),
    /// `bytea`
    Bytea(Cow<'a, [u8]>),
    /// `date`: days since 2000-01-01; `i32::MIN` and `i32::MAX` are the infinities
    Date(i32),
    /// `time`: microseconds since midnight
    Time(i64),
    /// `timestamp`: microseconds since 2000-01-01; `i64::MIN` and `i64::MAX` are the infinities
    Timestamp(i64),
    /// `timestamptz`: microseconds since 2000-01-01 UTC; `i64::MIN` and `i64::MAX` are the infinities
    Timestamptz(i64),
    /// `interval`
    Interval(Interval),
    /// `uuid`
    Uuid([u8; 16]),
    /// A value of any other type, passed through (an enum's label, a jsonb, an array).
    Opaque(Cow<'a, [u8]>),
}

/// An `interval`'s three independent parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interval {
    /// Months (years are 12).
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl Interval {
    /// The length PostgreSQL compares by: 30-day months and 24-hour days, in microseconds.
    #[must_use]
    pub fn span(self) -> i128 {
        const DAY: i128 = 86_400_000_000;
        i128::from(self.micros) + DAY * (i128::from(self.days) + 30 * i128::from(self.months))
    }

    /// Reads the binary form.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 16] = bytes.try_into().ok()?;
        let [a, b, c, d, e, f, g, h, d0, d1, d2, d3, m0, m1, m2, m3] = *bytes;
        Some(Self {
            micros: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            days: i32::from_be_bytes([d0, d1, d2, d3]),
            months: i32::from_be_bytes([m0, m1, m2, m3]),
        })
    }

    /// Appends the binary form.
    pub(crate) fn write(self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.micros.to_be_bytes());
        into.extend_from_slice(&self.days.to_be_bytes());
        into.extend_from_slice(&self.months.to_be_bytes());
    }
}

/// What a type's values are in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Char,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    Opaque,
}

impl Form {
    /// The form of a type's values.
    pub(crate) fn of(ty: Oid) -> Self {
        match ty {
            oid::BOOL => Self::Bool,
            oid::INT2 => Self::Int2,
            oid::INT4 => Self::Int4,
            oid::INT8 => Self::Int8,
            oid::OID => Self::Oid,
            oid::CHAR => Self::Char,
            oid::FLOAT4 => Self::Float4,
            oid::FLOAT8 => Self::Float8,
            oid::NUMERIC => Self::Numeric,
            oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::UNKNOWN => Self::Text,
            oid::BYTEA => Self::Bytea,
            oid::DATE => Self::Date,
            oid::TIME => Self::Time,
            oid::TIMESTAMP => Self::Timestamp,
            oid::TIMESTAMPTZ => Self::Timestamptz,
            oid::INTERVAL => Self::Interval,
            oid::UUID => Self::Uuid,
            _ => Self::Opaque,
        }
    }

    /// Reads a value of this form; `None` when the bytes are none.
    pub(crate) fn read(self, bytes: &[u8]) -> Option<Datum<'_>> {
        Some(match self {
            Self::Bool => Datum::Bool(*<&[u8; 1]>::try_from(bytes).ok()? != [0]),
            Self::Int2 => Datum::Int2(i16::from_be_bytes(bytes.try_into().ok()?)),
            Self::Int4 => Datum::Int4(i32::from_be_bytes(bytes.try_into().ok()?)),
            Self::Int8 => Datum::Int8(i64::from_be_bytes(bytes.try_into().ok()?)),
            Self::Oid => Datum::Oid(u32::from_be_bytes(bytes.try_into().ok()?)),
            Self::Char => Datum::Char(<[u8; 1]>::try_from(bytes).ok()?[0]),
            Self::Float4 => Datum::Float4(f32::from_be_bytes(bytes.try_into().ok()?)),
            Self::Float8 => Datum::Float8(f64::from_be_bytes(bytes.try_into().ok()?)),
            Self::Numeric => Datum::Numeric(Numeric::read(bytes)?),
            Self::Text => Datum::Text(Cow::Borrowed(std::str::from_utf8(bytes).ok()?)),
            Self::Bytea => Datum::Bytea(Cow::Borrowed(bytes)),
            Self::Date => Datum::Date(Some(i32::from_be_bytes(bytes.try_into().ok()?)).filter(|d| is_date(*d))?),
            Self::Time => {
                Datum::Time(Some(i64::from_be_bytes(bytes.try_into().ok()?)).filter(|t| (0..=DAY).contains(t))?)
            }
            Self::Timestamp => Datum::Timestamp(instant(bytes)?),
            Self::Timestamptz => Datum::Timestamptz(instant(bytes)?),
            Self::Interval => Datum::Interval(Interval::read(bytes)?),
            Self::Uuid => Datum::Uuid(bytes.try_into().ok()?),
            Self::Opaque => Datum::Opaque(Cow::Borrowed(bytes)),
        })
    }
}

/// A timestamp within PostgreSQL's limits.
fn instant(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?)).filter(|at| is_timestamp(*at))
}

impl<'a> Datum<'a> {
    /// Reads a value of type `ty` from its binary send format.
    ///
    /// # Errors
    /// [`DatumError::Damaged`] when the bytes are no such value.
    pub fn decode(ty: Oid, bytes: &'a [u8]) -> Result<Self, DatumError> {
        Form::of(ty).read(bytes).ok_or(DatumError::Damaged(ty))
    }

    /// Appends the binary send format; nothing for NULL.
    pub fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Null => {}
            Self::Bool(v) => into.push(u8::from(*v)),
            Self::Char(v) => into.push(*v),
            Self::Int2(v) => into.extend_from_slice(&v.to_be_bytes()),
            Self::Int4(v) | Self::Date(v) => into.extend_from_slice(&v.to_be_bytes()),
            Self::Oid(v) => into.extend_from_slice(&v.to_be_bytes()),
            Self::Int8(v) | Self::Time(v) | Self::Timestamp(v) | Self::Timestamptz(v) => {
                into.extend_from_slice(&v.to_be_bytes());
            }
            Self::Float4(v) => into.extend_from_slice(&v.to_be_bytes()),
            Self::Float8(v) => into.extend_from_slice(&v.to_be_bytes()),
            Self::Numeric(v) => v.write(into),
            Self::Text(v) => into.extend_from_slice(v.as_bytes()),
            Self::Bytea(v) | Self::Opaque(v) => into.extend_from_slice(v),
            Self::Interval(v) => v.write(into),
            Self::Uuid(v) => into.extend_from_slice(v),
        }
    }

    /// The binary send format; `None` for NULL.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        if self.is_null() {
            return None;
        }
        let mut bytes = Vec::with_capacity(16);
        self.encode(&mut bytes);
        Some(bytes)
    }

    /// Whether it is SQL NULL.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The same value, borrowed from this one.
    #[must_use]
    pub fn borrowed(&self) -> Datum<'_> {
        match self {
            Self::Text(v) => Datum::Text(Cow::Borrowed(v)),
            Self::Bytea(v) => Datum::Bytea(Cow::Borrowed(v)),
            Self::Opaque(v) => Datum::Opaque(Cow::Borrowed(v)),
            Self::Null => Datum::Null,
            Self::Bool(v) => Datum::Bool(*v),
            Self::Int2(v) => Datum::Int2(*v),
            Self::Int4(v) => Datum::Int4(*v),
            Self::Int8(v) => Datum::Int8(*v),
            Self::Oid(v) => Datum::Oid(*v),
            Self::Char(v) => Datum::Char(*v),
            Self::Float4(v) => Datum::Float4(*v),
            Self::Float8(v) => Datum::Float8(*v),
            Self::Numeric(v) => Datum::Numeric(v.clone()),
            Self::Date(v) => Datum::Date(*v),
            Self::Time(v) => Datum::Time(*v),
            Self::Timestamp(v) => Datum::Timestamp(*v),
            Self::Timestamptz(v) => Datum::Timestamptz(*v),
            Self::Interval(v) => Datum::Interval(*v),
            Self::Uuid(v) => Datum::Uuid(*v),
        }
    }

    /// The same value, owning its bytes.
    #[must_use]
    pub fn into_owned(self) -> Datum<'static> {
        match self {
            Self::Text(v) => Datum::Text(Cow::Owned(v.into_owned())),
            Self::Bytea(v) => Datum::Bytea(Cow::Owned(v.into_owned())),
            Self::Opaque(v) => Datum::Opaque(Cow::Owned(v.into_owned())),
            Self::Null => Datum::Null,
            Self::Bool(v) => Datum::Bool(v),
            Self::Int2(v) => Datum::Int2(v),
            Self::Int4(v) => Datum::Int4(v),
            Self::Int8(v) => Datum::Int8(v),
            Self::Oid(v) => Datum::Oid(v),
            Self::Char(v) => Datum::Char(v),
            Self::Float4(v) => Datum::Float4(v),
            Self::Float8(v) => Datum::Float8(v),
            Self::Numeric(v) => Datum::Numeric(v),
            Self::Date(v) => Datum::Date(v),
            Self::Time(v) => Datum::Time(v),
            Self::Timestamp(v) => Datum::Timestamp(v),
            Self::Timestamptz(v) => Datum::Timestamptz(v),
            Self::Interval(v) => Datum::Interval(v),
            Self::Uuid(v) => Datum::Uuid(v),
        }
    }
}
