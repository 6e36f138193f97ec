//! Functions of `numeric`, and its casts.

use types::Oid;

use super::Fun;
use super::integer::{int2, int4};
use crate::compiled::mismatch;
use crate::datum::Datum;
use crate::error::EvalError;
use crate::numeric::Numeric;

fn pair<'n>(args: &'n [Datum<'_>]) -> Result<(&'n Numeric, &'n Numeric), EvalError> {
    match args {
        [Datum::Numeric(a), Datum::Numeric(b)] => Ok((a, b)),
        _ => Err(mismatch()),
    }
}

fn one<'n>(args: &'n [Datum<'_>]) -> Result<&'n Numeric, EvalError> {
    match args {
        [Datum::Numeric(a)] => Ok(a),
        _ => Err(mismatch()),
    }
}

fn with_integer<'n>(args: &'n [Datum<'_>]) -> Result<(&'n Numeric, i32), EvalError> {
    match args {
        [Datum::Numeric(a), Datum::Int4(b)] => Ok((a, *b)),
        _ => Err(mismatch()),
    }
}

/// The function of an identifier.
pub(super) fn function(func: Oid) -> Option<Fun> {
    arithmetic(func).or_else(|| casts(func))
}

fn arithmetic(func: Oid) -> Option<Fun> {
    Some(match func {
        1724 => |a| pair(a).and_then(|(a, b)| a.add(b)).map(Datum::Numeric),
        1725 => |a| pair(a).and_then(|(a, b)| a.sub(b)).map(Datum::Numeric),
        1726 => |a| pair(a).and_then(|(a, b)| a.mul(b)).map(Datum::Numeric),
        1727 => |a| pair(a).and_then(|(a, b)| a.div(b)).map(Datum::Numeric),
        1728 | 1729 => |a| pair(a).and_then(|(a, b)| a.rem(b)).map(Datum::Numeric),
        1973 | 1980 => |a| pair(a).and_then(|(a, b)| a.div_trunc(b)).map(Datum::Numeric),
        1764 => |a| one(a).and_then(|a| a.add(&Numeric::new(1, 0))).map(Datum::Numeric),
        1771 => |a| one(a).map(|a| Datum::Numeric(a.neg())),
        1915 => |a| one(a).map(|a| Datum::Numeric(a.clone())),
        1704 | 1705 => |a| one(a).map(|a| Datum::Numeric(a.abs())),
        1706 => |a| one(a).map(|a| Datum::Numeric(a.sign())),
        1707 => |a| with_integer(a).and_then(|(a, n)| a.round(n)).map(Datum::Numeric),
        1708 => |a| one(a).and_then(|a| a.round(0)).map(Datum::Numeric),
        1709 => |a| with_integer(a).and_then(|(a, n)| a.trunc(n)).map(Datum::Numeric),
        1710 => |a| one(a).and_then(|a| a.trunc(0)).map(Datum::Numeric),
        1711 | 2167 => |a| one(a).and_then(Numeric::ceil).map(Datum::Numeric),
        1712 => |a| one(a).and_then(Numeric::floor).map(Datum::Numeric),
        1730 | 1731 => |a| one(a).and_then(Numeric::sqrt).map(Datum::Numeric),
        1766 => |a| pair(a).map(|(a, b)| Datum::Numeric(if a < b { a } else { b }.clone())),
        1767 => |a| pair(a).map(|(a, b)| Datum::Numeric(if a > b { a } else { b }.clone())),
        1769 => |a| pair(a).map(|(a, b)| Datum::Int4(a.cmp(b) as i32)),
        3281 => |a| one(a).map(|a| a.scale().map_or(Datum::Null, |s| Datum::Int4(s as i32))),
        5042 => |a| one(a).map(|a| a.min_scale().map_or(Datum::Null, |s| Datum::Int4(s as i32))),
        5043 => |a| one(a).map(|a| Datum::Numeric(a.trim_scale())),
        5048 => |a| pair(a).and_then(|(a, b)| a.gcd(b)).map(Datum::Numeric),
        _ => return None,
    })
}

fn casts(func: Oid) -> Option<Fun> {
    Some(match func {
        1740 | 1781 | 1782 => |a| match a {
            [v] => v.as_integer().map(|v| Datum::Numeric(Numeric::from(v))).ok_or_else(mismatch),
            _ => Err(mismatch()),
        },
        1742 => |a| match a {
            [Datum::Float4(v)] => Ok(Datum::Numeric(Numeric::from_f32(*v))),
            _ => Err(mismatch()),
        },
        1743 => |a| match a {
            [Datum::Float8(v)] => Ok(Datum::Numeric(Numeric::from_f64(*v))),
            _ => Err(mismatch()),
        },
        1783 => |a| one(a).and_then(|a| int2(Some(a.to_i64("smallint")?))),
        1744 => |a| one(a).and_then(|a| int4(Some(a.to_i64("integer")?))),
        1779 => |a| one(a).and_then(|a| a.to_i64("bigint")).map(Datum::Int8),
        1745 => |a| one(a).and_then(Numeric::to_f32).map(Datum::Float4),
        1746 => |a| one(a).and_then(Numeric::to_f64).map(Datum::Float8),
        1703 => |a| with_integer(a).and_then(|(a, typmod)| a.with_typmod(typmod)).map(Datum::Numeric),
        _ => return None,
    })
}
