//! One group's accumulators: what they hold, how they are stored, what they come to.
//!
//! ```text
//!   Groups    state (u32) | key of the group → key columns and rows ([`super::forms`]), accumulators, extremes
//! ```

use plan::AggregateFunc;
use scalar::{BitSum, Datum, DatumError, EvalError, FloatSum, IntSum, IntervalSum, Numeric, NumericSum, VarianceSum};
use types::{Field, Oid, Row, oid, push_field};

use super::extremes::Extremes;
use super::forms::Forms;
use crate::key::{put_varint, take_varint};

/// What is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Values, or rows.
    Count,
    /// Integers.
    Int,
    /// Numerics.
    Numeric,
    /// Floats.
    Float,
    /// Intervals.
    Interval,
    /// How many are true, how many false.
    Bool,
    /// Values and their squares.
    Variance,
    /// How many have each bit.
    Bits,
}

/// A sum that can give back what it took.
#[derive(Debug, Clone)]
pub(crate) enum Accumulator {
    Count(i64),
    Int(IntSum),
    Numeric(Box<NumericSum>),
    Float(Box<FloatSum>),
    Interval(Box<IntervalSum>),
    Bool { yes: i64, no: i64 },
    Variance(Box<VarianceSum>),
    Bits(Box<BitSum>),
}

impl Kind {
    /// What `sum` and `avg` of a type add up; `None` where they are not native.
    pub(crate) fn of_sum(ty: Oid) -> Option<Self> {
        Some(match ty {
            oid::INT2 | oid::INT4 | oid::INT8 => Self::Int,
            oid::NUMERIC => Self::Numeric,
            oid::FLOAT4 | oid::FLOAT8 => Self::Float,
            oid::INTERVAL => Self::Interval,
            _ => return None,
        })
    }

    pub(crate) fn empty(self) -> Accumulator {
        match self {
            Self::Count => Accumulator::Count(0),
            Self::Int => Accumulator::Int(IntSum::default()),
            Self::Numeric => Accumulator::Numeric(Box::default()),
            Self::Float => Accumulator::Float(Box::default()),
            Self::Interval => Accumulator::Interval(Box::default()),
            Self::Bool => Accumulator::Bool { yes: 0, no: 0 },
            Self::Variance => Accumulator::Variance(Box::default()),
            Self::Bits => Accumulator::Bits(Box::default()),
        }
    }

    fn decode(self, from: &mut &[u8]) -> Result<Accumulator, DatumError> {
        let mut count = || take_varint(from).map(unzigzag).ok_or(DatumError::Damaged(oid::INT8));
        Ok(match self {
            Self::Count => Accumulator::Count(count()?),
            Self::Bool => Accumulator::Bool { yes: count()?, no: count()? },
            Self::Int => Accumulator::Int(IntSum::decode(from)?),
            Self::Numeric => Accumulator::Numeric(Box::new(NumericSum::decode(from)?)),
            Self::Float => Accumulator::Float(Box::new(FloatSum::decode(from)?)),
            Self::Interval => Accumulator::Interval(Box::new(IntervalSum::decode(from)?)),
            Self::Variance => Accumulator::Variance(Box::new(VarianceSum::decode(from)?)),
            Self::Bits => Accumulator::Bits(Box::new(BitSum::decode(from)?)),
        })
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// An integer of any size.
fn integer(value: &[u8]) -> Option<i64> {
    Some(match *value {
        [a, b] => i64::from(i16::from_be_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
        _ => i64::from_be_bytes(value.try_into().ok()?),
    })
}

/// An integer of the type.
fn of_type(value: i64, ty: Oid) -> Datum<'static> {
    match ty {
        oid::INT2 => Datum::Int2(value as i16),
        oid::INT4 => Datum::Int4(value as i32),
        _ => Datum::Int8(value),
    }
}

impl Accumulator {
    /// Adds a value of type `ty` `diff` times; a negative `diff` takes it out.
    pub(crate) fn add(&mut self, ty: Oid, value: &[u8], diff: i64) -> Result<(), DatumError> {
        let damaged = DatumError::Damaged(ty);
        match self {
            Self::Count(count) => *count += diff,
            Self::Int(sum) => sum.add(integer(value).ok_or(damaged)?, diff),
            Self::Bits(bits) => bits.add(integer(value).ok_or(damaged)?, diff),
            Self::Variance(sum) if ty == oid::NUMERIC => match Datum::decode(ty, value)? {
                Datum::Numeric(value) => sum.add(&value, diff),
                _ => return Err(damaged),
            },
            Self::Variance(sum) => sum.add(&Numeric::from(integer(value).ok_or(damaged)?), diff),
            Self::Bool { yes, no } => *(if value == [0] { no } else { yes }) += diff,
            Self::Numeric(sum) => match Datum::decode(oid::NUMERIC, value)? {
                Datum::Numeric(value) => sum.add(&value, diff),
                _ => return Err(damaged),
            },
            Self::Float(sum) => match Datum::decode(ty, value)? {
                Datum::Float8(value) => sum.add(value, diff),
                Datum::Float4(value) => sum.add(f64::from(value), diff),
                _ => return Err(damaged),
            },
            Self::Interval(sum) => match Datum::decode(oid::INTERVAL, value)? {
                Datum::Interval(value) => sum.add(value, diff),
                _ => return Err(damaged),
            },
        }
        Ok(())
    }

    fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Count(count) => put_varint(into, zigzag(*count)),
            Self::Bool { yes, no } => {
                put_varint(into, zigzag(*yes));
                put_varint(into, zigzag(*no));
            }
            Self::Int(sum) => sum.encode(into),
            Self::Numeric(sum) => sum.encode(into),
            Self::Float(sum) => sum.encode(into),
            Self::Interval(sum) => sum.encode(into),
            Self::Variance(sum) => sum.encode(into),
            Self::Bits(bits) => bits.encode(into),
        }
    }

    /// Appends what the aggregate over arguments of type `ty` comes to.
    pub(crate) fn finish(&self, func: AggregateFunc, ty: Oid, into: &mut Vec<u8>) -> Result<(), EvalError> {
        use AggregateFunc::{Avg, BitAnd, BitOr, BoolAnd, BoolOr, StddevPop, StddevSamp, VarPop};
        let datum = match (self, func) {
            (Self::Count(count), _) => Datum::Int8(*count),
            (Self::Bool { yes: 0, no: 0 }, _) => Datum::Null,
            (Self::Bool { yes, .. }, BoolOr) => Datum::Bool(*yes > 0),
            (Self::Bool { no, .. }, BoolAnd) => Datum::Bool(*no == 0),
            (Self::Bool { .. }, _) => Datum::Null,
            (Self::Int(sum), Avg) => sum.average()?.map_or(Datum::Null, Datum::Numeric),
            (Self::Int(sum), _) if ty == oid::INT8 => sum.numeric().map_or(Datum::Null, Datum::Numeric),
            (Self::Int(sum), _) => sum.bigint()?.map_or(Datum::Null, Datum::Int8),
            (Self::Numeric(sum), Avg) => sum.average()?.map_or(Datum::Null, Datum::Numeric),
            (Self::Numeric(sum), _) => sum.value()?.map_or(Datum::Null, Datum::Numeric),
            (Self::Float(sum), Avg) => sum.average()?.map_or(Datum::Null, Datum::Float8),
            (Self::Float(sum), _) if ty == oid::FLOAT4 => sum.real()?.map_or(Datum::Null, Datum::Float4),
            (Self::Float(sum), _) => sum.double()?.map_or(Datum::Null, Datum::Float8),
            (Self::Variance(sum), StddevPop | StddevSamp) => {
                sum.deviation(func == StddevSamp)?.map_or(Datum::Null, Datum::Numeric)
            }
            (Self::Variance(sum), _) => sum.variance(func != VarPop)?.map_or(Datum::Null, Datum::Numeric),
            (Self::Bits(bits), _) => {
                let value = match func {
                    BitAnd => bits.and(),
                    BitOr => bits.or(),
                    _ => bits.xor(),
                };
                value.map_or(Datum::Null, |value| of_type(value, ty))
            }
            (Self::Interval(sum), Avg) => sum.average()?.map_or(Datum::Null, Datum::Interval),
            (Self::Interval(sum), _) => sum.sum()?.map_or(Datum::Null, Datum::Interval),
        };
        match datum {
            Datum::Null => push_field(into, Field::Null),
            Datum::Int8(value) => push_field(into, Field::Value(&value.to_be_bytes())),
            other => {
                let mut value = Vec::with_capacity(24);
                other.encode(&mut value);
                push_field(into, Field::Value(&value));
            }
        }
        Ok(())
    }
}

/// One group in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    /// Its key columns, as a part of a row, and how many rows are in it.
    pub(crate) key: Forms,
    pub(crate) accumulators: Vec<Accumulator>,
    pub(crate) extremes: Vec<Extremes>,
    /// Its row as of the last cut; `None` when it had none.
    pub(crate) out: Option<Row>,
    /// In the list of what the cut in hand touched.
    pub(crate) touched: bool,
}

impl Group {
    /// A group that nothing is in.
    pub(crate) fn empty(kinds: &[Kind], extremes: usize) -> Self {
        Self {
            accumulators: kinds.iter().map(|k| k.empty()).collect(),
            extremes: vec![Extremes::default(); extremes],
            ..Self::default()
        }
    }

    /// Appends the stored form.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        self.key.encode(into);
        for accumulator in &self.accumulators {
            accumulator.encode(into);
        }
        for extremes in &self.extremes {
            extremes.encode(into);
        }
    }

    /// Reads the stored form.
    pub(crate) fn decode(mut from: &[u8], kinds: &[Kind], extremes: usize) -> Option<Self> {
        let from = &mut from;
        let key = Forms::decode(from)?;
        let accumulators = kinds.iter().map(|k| k.decode(from).ok()).collect::<Option<_>>()?;
        let extremes = (0..extremes).map(|_| Extremes::decode(from)).collect::<Option<_>>()?;
        from.is_empty().then_some(Self { key, accumulators, extremes, out: None, touched: false })
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>()
            + self.key.size()
            + self.accumulators.len() * (size_of::<Accumulator>() + 48)
            + self.extremes.iter().map(Extremes::size).sum::<usize>()
            + self.out.as_ref().map_or(0, |row| row.as_bytes().len() + 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_reads_back_as_it_was_written() {
        let kinds = [
            Kind::Count,
            Kind::Int,
            Kind::Numeric,
            Kind::Float,
            Kind::Interval,
            Kind::Bool,
            Kind::Variance,
            Kind::Bits,
        ];
        let mut group = Group::empty(&kinds, 1);
        group.key.add(&[6, 0, 0, 0, 1], 3);
        let mut span = Vec::new();
        Datum::Interval(scalar::Interval { months: 1, days: 2, micros: 3 }).encode(&mut span);
        for (i, (ty, value)) in [
            (oid::INT4, 5i32.to_be_bytes().to_vec()),
            (oid::INT8, (-7i64).to_be_bytes().to_vec()),
            (oid::NUMERIC, vec![0, 1, 0, 0, 0, 0, 0, 2, 0, 9]),
            (oid::FLOAT8, 1.5f64.to_be_bytes().to_vec()),
            (oid::INTERVAL, span),
            (oid::BOOL, vec![0]),
            (oid::INT2, (-3i16).to_be_bytes().to_vec()),
            (oid::INT4, 6i32.to_be_bytes().to_vec()),
        ]
        .into_iter()
        .enumerate()
        {
            group.accumulators[i].add(ty, &value, 2).unwrap();
        }
        let mut bytes = Vec::new();
        group.encode(&mut bytes);
        let back = Group::decode(&bytes, &kinds, 1).unwrap();
        let mut again = Vec::new();
        back.encode(&mut again);
        assert_eq!(bytes, again);
        assert_eq!(back.key, group.key);
        assert!(Group::decode(&bytes[..bytes.len() - 1], &kinds, 1).is_none());
    }
}
