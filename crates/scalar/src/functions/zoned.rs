//! Functions of `timestamptz` in the session's time zone.

use std::cmp::Ordering;

use jiff::tz::TimeZone;
use types::Oid;

use super::ZonedFun;
use super::interval::negated;
use super::timestamp::{micros, plus_months, to_date, with_interval};
use crate::calendar::{self, DAY, is_infinite, split, to_local, to_utc};
use crate::compiled::mismatch;
use crate::datum::{Datum, Interval};
use crate::error::EvalError;

fn one(args: &[Datum<'_>]) -> Result<i64, EvalError> {
    match args {
        [a] => micros(a),
        _ => Err(mismatch()),
    }
}

/// UTC to local, the infinities staying.
pub(super) fn local(zone: &TimeZone, at: i64) -> Result<i64, EvalError> {
    if is_infinite(at) { Ok(at) } else { calendar::timestamp(i128::from(to_local(zone, at))) }
}

/// Local to UTC, the infinities staying.
pub(super) fn utc(zone: &TimeZone, at: i64) -> Result<i64, EvalError> {
    if is_infinite(at) { Ok(at) } else { to_utc(zone, at) }
}

/// Months and days by the local clock, the rest by elapsed time.
fn plus_interval(zone: &TimeZone, at: i64, by: Interval) -> Result<i64, EvalError> {
    if is_infinite(at) {
        return Ok(at);
    }
    let mut at = at;
    if by.months != 0 {
        at = to_utc(zone, plus_months(to_local(zone, at), by.months)?)?;
    }
    if by.days != 0 {
        let moved = i128::from(to_local(zone, at)) + i128::from(by.days) * i128::from(DAY);
        at = to_utc(zone, calendar::timestamp(moved)?)?;
    }
    calendar::timestamp(i128::from(at) + i128::from(by.micros))
}

/// A date's midnight in the zone.
fn midnight(zone: &TimeZone, args: &[Datum<'_>]) -> Result<i64, EvalError> {
    match args {
        [Datum::Date(d)] => utc(zone, calendar::midnight(*d)?),
        [Datum::Date(d), Datum::Time(t)] => {
            let at = calendar::midnight(*d)?;
            if is_infinite(at) { Ok(at) } else { to_utc(zone, calendar::timestamp(i128::from(at) + i128::from(*t))?) }
        }
        _ => Err(mismatch()),
    }
}

/// A date, timestamp or timestamptz as an instant to compare: beyond the limits just inside the infinities.
fn comparable(zone: &TimeZone, value: &Datum<'_>) -> Result<i128, EvalError> {
    let local = match value {
        Datum::Timestamptz(at) => return Ok(i128::from(*at)),
        Datum::Timestamp(at) => *at,
        Datum::Date(i32::MIN) => i64::MIN,
        Datum::Date(i32::MAX) => i64::MAX,
        Datum::Date(days) => match calendar::midnight(*days) {
            Ok(midnight) => midnight,
            Err(_) => return Ok(i128::from(if *days > 0 { i64::MAX - 1 } else { i64::MIN + 1 })),
        },
        _ => return Err(mismatch()),
    };
    let inside = if local > 0 { i64::MAX - 1 } else { i64::MIN + 1 };
    Ok(i128::from(utc(zone, local).unwrap_or(inside)))
}

fn order(zone: &TimeZone, args: &[Datum<'_>]) -> Result<Ordering, EvalError> {
    match args {
        [a, b] => Ok(comparable(zone, a)?.cmp(&comparable(zone, b)?)),
        _ => Err(mismatch()),
    }
}

/// The function of an identifier.
pub(super) fn function(func: Oid) -> Option<ZonedFun> {
    Some(match func {
        2027 => |z, a| one(a).and_then(|at| local(z, at)).map(Datum::Timestamp),
        2028 => |z, a| one(a).and_then(|at| utc(z, at)).map(Datum::Timestamptz),
        1178 => |z, a| {
            let at = one(a)?;
            Ok(Datum::Date(to_date(if is_infinite(at) { at } else { to_local(z, at) })))
        },
        2019 => |z, a| {
            let at = one(a)?;
            Ok(if is_infinite(at) { Datum::Null } else { Datum::Time(split(to_local(z, at)).1) })
        },
        1174 | 1176 => |z, a| midnight(z, a).map(Datum::Timestamptz),
        1189 | 2549 => |z, a| with_interval(a).and_then(|(t, i)| plus_interval(z, t, i)).map(Datum::Timestamptz),
        1190 => |z, a| with_interval(a).and_then(|(t, i)| plus_interval(z, t, negated(i))).map(Datum::Timestamptz),
        // date with timestamptz, timestamptz with date, timestamp with timestamptz, timestamptz with timestamp
        2351 | 2377 | 2520 | 2527 => |z, a| order(z, a).map(|o| Datum::Bool(o.is_lt())),
        2352 | 2378 | 2521 | 2528 => |z, a| order(z, a).map(|o| Datum::Bool(o.is_le())),
        2353 | 2379 | 2522 | 2529 => |z, a| order(z, a).map(|o| Datum::Bool(o.is_eq())),
        2354 | 2380 | 2523 | 2530 => |z, a| order(z, a).map(|o| Datum::Bool(o.is_gt())),
        2355 | 2381 | 2524 | 2531 => |z, a| order(z, a).map(|o| Datum::Bool(o.is_ge())),
        2356 | 2382 | 2525 | 2532 => |z, a| order(z, a).map(|o| Datum::Bool(o.is_ne())),
        _ => return None,
    })
}
