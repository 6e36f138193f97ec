//! Float arithmetic with PostgreSQL's overflow rules, rounding functions, and casts between floats and integers.
//!
//! Functions of the C library whose last digit differs between libraries (`exp`, `ln`, `power`, `sin`, …) are not here.

use types::Oid;

use super::Fun;
use super::integer::{int2, int4};
use crate::compare::order_floats;
use crate::compiled::mismatch;
use crate::datum::Datum;
use crate::error::EvalError;

/// PostgreSQL's constant.
const RADIANS_OF_A_DEGREE: f64 = 0.017_453_292_519_943_295;

fn double(value: &Datum<'_>) -> Result<f64, EvalError> {
    value.as_float().ok_or_else(mismatch)
}

fn doubles(args: &[Datum<'_>]) -> Result<(f64, f64), EvalError> {
    match args {
        [a, b] => Ok((double(a)?, double(b)?)),
        _ => Err(mismatch()),
    }
}

fn reals(args: &[Datum<'_>]) -> Result<(f32, f32), EvalError> {
    match args {
        [Datum::Float4(a), Datum::Float4(b)] => Ok((*a, *b)),
        _ => Err(mismatch()),
    }
}

fn one(args: &[Datum<'_>]) -> Result<f64, EvalError> {
    match args {
        [a] => double(a),
        _ => Err(mismatch()),
    }
}

fn one_real(args: &[Datum<'_>]) -> Result<f32, EvalError> {
    match args {
        [Datum::Float4(a)] => Ok(*a),
        _ => Err(mismatch()),
    }
}

fn one_integer(args: &[Datum<'_>]) -> Result<i64, EvalError> {
    match args {
        [a] => a.as_integer().ok_or_else(mismatch),
        _ => Err(mismatch()),
    }
}

macro_rules! checked {
    ($plus:ident, $minus:ident, $times:ident, $over:ident, $float:ty) => {
        fn $plus(a: $float, b: $float) -> Result<$float, EvalError> {
            let v = a + b;
            if v.is_infinite() && !a.is_infinite() && !b.is_infinite() { Err(EvalError::FloatOverflow) } else { Ok(v) }
        }
        fn $minus(a: $float, b: $float) -> Result<$float, EvalError> {
            $plus(a, -b)
        }
        fn $times(a: $float, b: $float) -> Result<$float, EvalError> {
            let v = a * b;
            if v.is_infinite() && !a.is_infinite() && !b.is_infinite() {
                Err(EvalError::FloatOverflow)
            } else if v == 0.0 && a != 0.0 && b != 0.0 {
                Err(EvalError::FloatUnderflow)
            } else {
                Ok(v)
            }
        }
        fn $over(a: $float, b: $float) -> Result<$float, EvalError> {
            if b == 0.0 && !a.is_nan() {
                return Err(EvalError::DivisionByZero);
            }
            let v = a / b;
            if v.is_infinite() && !a.is_infinite() {
                Err(EvalError::FloatOverflow)
            } else if v == 0.0 && a != 0.0 && !b.is_infinite() {
                Err(EvalError::FloatUnderflow)
            } else {
                Ok(v)
            }
        }
    };
}

checked!(plus, minus, times, over, f64);
checked!(plus_real, minus_real, times_real, over_real, f32);

/// The nearest integer, ties to even, when it is within the bounds (the upper one exclusive).
fn to_integer(value: f64, low: f64, high: f64, ty: &'static str) -> Result<i64, EvalError> {
    let value = value.round_ties_even();
    if value >= low && value < high { Ok(value as i64) } else { Err(EvalError::OutOfRange(ty)) }
}

fn to_int2(value: f64) -> Result<Datum<'static>, EvalError> {
    int2(Some(to_integer(value, -32768.0, 32768.0, "smallint")?))
}

fn to_int4(value: f64) -> Result<Datum<'static>, EvalError> {
    int4(Some(to_integer(value, -2_147_483_648.0, 2_147_483_648.0, "integer")?))
}

fn to_int8(value: f64) -> Result<Datum<'static>, EvalError> {
    let limit = 9_223_372_036_854_775_808.0;
    Ok(Datum::Int8(to_integer(value, -limit, limit, "bigint")?))
}

fn to_real(value: f64) -> Result<Datum<'static>, EvalError> {
    let v = value as f32;
    if v.is_infinite() && !value.is_infinite() {
        Err(EvalError::FloatOverflow)
    } else if v == 0.0 && value != 0.0 {
        Err(EvalError::FloatUnderflow)
    } else {
        Ok(Datum::Float4(v))
    }
}

/// The function of an identifier.
pub(super) fn function(func: Oid) -> Option<Fun> {
    arithmetic(func).or_else(|| casts(func))
}

fn arithmetic(func: Oid) -> Option<Fun> {
    Some(match func {
        // float8 with float8, and with float4 on either side
        218 | 281 | 285 => |a| doubles(a).and_then(|(a, b)| plus(a, b)).map(Datum::Float8),
        219 | 282 | 286 => |a| doubles(a).and_then(|(a, b)| minus(a, b)).map(Datum::Float8),
        216 | 279 | 283 => |a| doubles(a).and_then(|(a, b)| times(a, b)).map(Datum::Float8),
        217 | 280 | 284 => |a| doubles(a).and_then(|(a, b)| over(a, b)).map(Datum::Float8),
        204 => |a| reals(a).and_then(|(a, b)| plus_real(a, b)).map(Datum::Float4),
        205 => |a| reals(a).and_then(|(a, b)| minus_real(a, b)).map(Datum::Float4),
        202 => |a| reals(a).and_then(|(a, b)| times_real(a, b)).map(Datum::Float4),
        203 => |a| reals(a).and_then(|(a, b)| over_real(a, b)).map(Datum::Float4),
        206 => |a| one_real(a).map(|a| Datum::Float4(-a)),
        220 => |a| one(a).map(|a| Datum::Float8(-a)),
        207 | 1394 => |a| one_real(a).map(|a| Datum::Float4(a.abs())),
        221 | 1395 => |a| one(a).map(|a| Datum::Float8(a.abs())),
        1913 => |a| one_real(a).map(Datum::Float4),
        1914 => |a| one(a).map(Datum::Float8),
        228 | 1342 => |a| one(a).map(|a| Datum::Float8(a.round_ties_even())),
        229 | 1343 => |a| one(a).map(|a| Datum::Float8(a.trunc())),
        2308 | 2320 => |a| one(a).map(|a| Datum::Float8(a.ceil())),
        2309 => |a| one(a).map(|a| Datum::Float8(a.floor())),
        2310 => |a| {
            let a = one(a)?;
            Ok(Datum::Float8(if a > 0.0 {
                1.0
            } else if a < 0.0 {
                -1.0
            } else {
                0.0
            }))
        },
        230 | 1344 => |a| {
            let a = one(a)?;
            if a < 0.0 {
                return Err(EvalError::raised("2201F", "cannot take square root of a negative number"));
            }
            Ok(Datum::Float8(a.sqrt()))
        },
        1608 => |a| one(a).and_then(|a| over(a, RADIANS_OF_A_DEGREE)).map(Datum::Float8),
        1609 => |a| one(a).and_then(|a| times(a, RADIANS_OF_A_DEGREE)).map(Datum::Float8),
        1610 => |a| if a.is_empty() { Ok(Datum::Float8(std::f64::consts::PI)) } else { Err(mismatch()) },
        223 => |a| doubles(a).map(|(a, b)| Datum::Float8(if order_floats(a, b).is_gt() { a } else { b })),
        224 => |a| doubles(a).map(|(a, b)| Datum::Float8(if order_floats(a, b).is_lt() { a } else { b })),
        209 => |a| reals(a).map(|(a, b)| Datum::Float4(if order_floats(a.into(), b.into()).is_gt() { a } else { b })),
        211 => |a| reals(a).map(|(a, b)| Datum::Float4(if order_floats(a.into(), b.into()).is_lt() { a } else { b })),
        _ => return None,
    })
}

fn casts(func: Oid) -> Option<Fun> {
    Some(match func {
        235 | 316 | 482 => |a| one_integer(a).map(|a| Datum::Float8(a as f64)),
        236 | 318 | 652 => |a| one_integer(a).map(|a| Datum::Float4(a as f32)),
        237 | 238 => |a| one(a).and_then(to_int2),
        317 | 319 => |a| one(a).and_then(to_int4),
        483 | 653 => |a| one(a).and_then(to_int8),
        311 => |a| one(a).map(Datum::Float8),
        312 => |a| one(a).and_then(to_real),
        _ => return None,
    })
}
