//! Integer arithmetic, bit operations and casts between integers, bool and oid.

use types::Oid;

use super::Fun;
use crate::compiled::mismatch;
use crate::datum::Datum;
use crate::error::EvalError;

const INT2: &str = "smallint";
const INT4: &str = "integer";
const INT8: &str = "bigint";

/// An integer argument of any size.
fn int(value: &Datum<'_>) -> Result<i64, EvalError> {
    match value {
        Datum::Int2(v) => Ok(i64::from(*v)),
        Datum::Int4(v) => Ok(i64::from(*v)),
        Datum::Int8(v) => Ok(*v),
        _ => Err(mismatch()),
    }
}

fn pair(args: &[Datum<'_>]) -> Result<(i64, i64), EvalError> {
    match args {
        [a, b] => Ok((int(a)?, int(b)?)),
        _ => Err(mismatch()),
    }
}

fn one(args: &[Datum<'_>]) -> Result<i64, EvalError> {
    match args {
        [a] => int(a),
        _ => Err(mismatch()),
    }
}

pub(super) fn int2(v: Option<i64>) -> Result<Datum<'static>, EvalError> {
    let v = v.and_then(|v| i16::try_from(v).ok()).ok_or(EvalError::OutOfRange(INT2))?;
    Ok(Datum::Int2(v))
}

pub(super) fn int4(v: Option<i64>) -> Result<Datum<'static>, EvalError> {
    let v = v.and_then(|v| i32::try_from(v).ok()).ok_or(EvalError::OutOfRange(INT4))?;
    Ok(Datum::Int4(v))
}

fn int8(v: Option<i64>) -> Result<Datum<'static>, EvalError> {
    Ok(Datum::Int8(v.ok_or(EvalError::OutOfRange(INT8))?))
}

fn divided(a: i64, b: i64) -> Result<Option<i64>, EvalError> {
    if b == 0 { Err(EvalError::DivisionByZero) } else { Ok(a.checked_div(b)) }
}

fn remainder(a: i64, b: i64) -> Result<Option<i64>, EvalError> {
    if b == 0 { Err(EvalError::DivisionByZero) } else { Ok(Some(a.wrapping_rem(b))) }
}

/// The greatest common divisor; `None` when it is not in the type (of two minima).
fn gcd(a: i64, b: i64) -> u64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn lcm(a: i64, b: i64) -> Option<i64> {
    if a == 0 || b == 0 {
        return Some(0);
    }
    let shared = gcd(a, b);
    let product = (a.unsigned_abs() / shared).checked_mul(b.unsigned_abs())?;
    i64::try_from(product).ok()
}

/// The function of an identifier.
pub(super) fn function(func: Oid) -> Option<Fun> {
    arithmetic(func).or_else(|| bits(func)).or_else(|| casts(func))
}

fn arithmetic(func: Oid) -> Option<Fun> {
    Some(match func {
        176 => |a| pair(a).and_then(|(a, b)| int2(a.checked_add(b))),
        180 => |a| pair(a).and_then(|(a, b)| int2(a.checked_sub(b))),
        152 => |a| pair(a).and_then(|(a, b)| int2(a.checked_mul(b))),
        153 => |a| pair(a).and_then(|(a, b)| int2(divided(a, b)?)),
        155 | 940 => |a| pair(a).and_then(|(a, b)| int2(remainder(a, b)?)),
        // int4 with int4, and with int2 on either side
        177..=179 => |a| pair(a).and_then(|(a, b)| int4(a.checked_add(b))),
        181..=183 => |a| pair(a).and_then(|(a, b)| int4(a.checked_sub(b))),
        141 | 170 | 171 => |a| pair(a).and_then(|(a, b)| int4(a.checked_mul(b))),
        154 | 172 | 173 => |a| pair(a).and_then(|(a, b)| int4(divided(a, b)?)),
        156 | 941 => |a| pair(a).and_then(|(a, b)| int4(remainder(a, b)?)),
        // int8 with int8, int4, int2
        463 | 837 | 841 | 1274 | 1278 => |a| pair(a).and_then(|(a, b)| int8(a.checked_add(b))),
        464 | 838 | 942 | 1275 | 1279 => |a| pair(a).and_then(|(a, b)| int8(a.checked_sub(b))),
        465 | 839 | 943 | 1276 | 1280 => |a| pair(a).and_then(|(a, b)| int8(a.checked_mul(b))),
        466 | 840 | 948 | 1277 | 1281 => |a| pair(a).and_then(|(a, b)| int8(divided(a, b)?)),
        945 | 947 => |a| pair(a).and_then(|(a, b)| int8(remainder(a, b)?)),
        213 => |a| one(a).and_then(|a| int2(a.checked_neg())),
        212 => |a| one(a).and_then(|a| int4(a.checked_neg())),
        462 => |a| one(a).and_then(|a| int8(a.checked_neg())),
        1398 | 1253 => |a| one(a).and_then(|a| int2(a.checked_abs())),
        1397 | 1251 => |a| one(a).and_then(|a| int4(a.checked_abs())),
        1396 | 1230 => |a| one(a).and_then(|a| int8(a.checked_abs())),
        1911 => |a| one(a).and_then(|a| int2(Some(a))),
        1912 => |a| one(a).and_then(|a| int4(Some(a))),
        1910 => |a| one(a).and_then(|a| int8(Some(a))),
        5044 => |a| pair(a).and_then(|(a, b)| int4(i64::try_from(gcd(a, b)).ok())),
        5045 => |a| pair(a).and_then(|(a, b)| int8(i64::try_from(gcd(a, b)).ok())),
        5046 => |a| pair(a).and_then(|(a, b)| int4(lcm(a, b))),
        5047 => |a| pair(a).and_then(|(a, b)| int8(lcm(a, b))),
        _ => return None,
    })
}

fn bits(func: Oid) -> Option<Fun> {
    // Shifts are by the count modulo the width that C's compilers give them; only counts inside the width are sure.
    Some(match func {
        1892 => |a| pair(a).and_then(|(a, b)| int2(Some(a & b))),
        1893 => |a| pair(a).and_then(|(a, b)| int2(Some(a | b))),
        1894 => |a| pair(a).and_then(|(a, b)| int2(Some(a ^ b))),
        1895 => |a| one(a).and_then(|a| int2(Some(!a))),
        1898 => |a| pair(a).and_then(|(a, b)| int4(Some(a & b))),
        1899 => |a| pair(a).and_then(|(a, b)| int4(Some(a | b))),
        1900 => |a| pair(a).and_then(|(a, b)| int4(Some(a ^ b))),
        1901 => |a| one(a).and_then(|a| int4(Some(!a))),
        1904 => |a| pair(a).and_then(|(a, b)| int8(Some(a & b))),
        1905 => |a| pair(a).and_then(|(a, b)| int8(Some(a | b))),
        1906 => |a| pair(a).and_then(|(a, b)| int8(Some(a ^ b))),
        1907 => |a| one(a).and_then(|a| int8(Some(!a))),
        // A smallint is shifted as an integer and cut to its width.
        1896 => |a| pair(a).map(|(a, b)| Datum::Int2((a as i32).wrapping_shl(b as u32) as i16)),
        1897 => |a| pair(a).map(|(a, b)| Datum::Int2((a as i32).wrapping_shr(b as u32) as i16)),
        1902 => |a| pair(a).map(|(a, b)| Datum::Int4((a as i32).wrapping_shl(b as u32))),
        1903 => |a| pair(a).map(|(a, b)| Datum::Int4((a as i32).wrapping_shr(b as u32))),
        1908 => |a| pair(a).map(|(a, b)| Datum::Int8(a.wrapping_shl(b as u32))),
        1909 => |a| pair(a).map(|(a, b)| Datum::Int8(a.wrapping_shr(b as u32))),
        _ => return None,
    })
}

fn casts(func: Oid) -> Option<Fun> {
    Some(match func {
        314 | 714 => |a| one(a).and_then(|a| int2(Some(a))),
        313 | 480 => |a| one(a).and_then(|a| int4(Some(a))),
        481 | 754 => |a| one(a).and_then(|a| int8(Some(a))),
        1287 => |a| {
            let v = u32::try_from(one(a)?).map_err(|_| EvalError::OutOfRange("OID"))?;
            Ok(Datum::Oid(v))
        },
        1288 => |a| match a {
            [Datum::Oid(v)] => Ok(Datum::Int8(i64::from(*v))),
            _ => Err(mismatch()),
        },
        2557 => |a| one(a).map(|a| Datum::Bool(a != 0)),
        2558 => |a| match a {
            [Datum::Bool(v)] => Ok(Datum::Int4(i32::from(*v))),
            _ => Err(mismatch()),
        },
        77 => |a| match a {
            [Datum::Char(v)] => Ok(Datum::Int4(i32::from(*v as i8))),
            _ => Err(mismatch()),
        },
        78 => |a| {
            let v = i8::try_from(one(a)?).map_err(|_| EvalError::OutOfRange("\"char\""))?;
            Ok(Datum::Char(v as u8))
        },
        _ => return None,
    })
}
