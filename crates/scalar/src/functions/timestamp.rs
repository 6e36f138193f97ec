//! Functions of `timestamp`, and those of `timestamptz` that do not ask for the session's time zone.

use types::Oid;

use super::Fun;
use super::date::at_precision;
use super::interval::{justify_hours, negated};
use crate::calendar::{self, Civil, DAY, is_infinite};
use crate::compiled::mismatch;
use crate::datum::{Datum, Interval};
use crate::error::EvalError;

/// The microseconds of a timestamp of either kind.
pub(super) fn micros(value: &Datum<'_>) -> Result<i64, EvalError> {
    match value {
        Datum::Timestamp(v) | Datum::Timestamptz(v) => Ok(*v),
        _ => Err(mismatch()),
    }
}

fn pair(args: &[Datum<'_>]) -> Result<(i64, i64), EvalError> {
    match args {
        [a, b] => Ok((micros(a)?, micros(b)?)),
        _ => Err(mismatch()),
    }
}

fn one(args: &[Datum<'_>]) -> Result<i64, EvalError> {
    match args {
        [a] => micros(a),
        _ => Err(mismatch()),
    }
}

pub(super) fn with_interval(args: &[Datum<'_>]) -> Result<(i64, Interval), EvalError> {
    match args {
        [t, Datum::Interval(i)] | [Datum::Interval(i), t] => Ok((micros(t)?, *i)),
        _ => Err(mismatch()),
    }
}

/// A local time some months later, on the last day of a month that is too short.
pub(super) fn plus_months(at: i64, months: i32) -> Result<i64, EvalError> {
    let (days, of_day) = calendar::split(at);
    let civil = calendar::civil_of(days);
    let month = civil.year * 12 + civil.month - 1 + i64::from(months);
    let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
    let day = civil.day.min(calendar::month_length(year, month));
    let days = calendar::days_of(Civil { year, month, day });
    calendar::timestamp(i128::from(days) * i128::from(DAY) + i128::from(of_day))
}

/// `timestamp + interval`: months, then days, then the rest, each within the limits.
pub(super) fn plus_interval(at: i64, by: Interval) -> Result<i64, EvalError> {
    if is_infinite(at) {
        return Ok(at);
    }
    let at = if by.months == 0 { at } else { plus_months(at, by.months)? };
    let at = calendar::timestamp(i128::from(at) + i128::from(by.days) * i128::from(DAY))?;
    calendar::timestamp(i128::from(at) + i128::from(by.micros))
}

fn difference(a: i64, b: i64) -> Result<Datum<'static>, EvalError> {
    if is_infinite(a) || is_infinite(b) {
        return Err(EvalError::raised("22008", "cannot subtract infinite timestamps"));
    }
    // Differences beyond 292,000 years wrap around in PostgreSQL 15.
    let micros = a.wrapping_sub(b);
    justify_hours(Interval { months: 0, days: 0, micros }).map(Datum::Interval)
}

fn to_precision(args: &[Datum<'_>]) -> Result<i64, EvalError> {
    match args {
        [t, Datum::Int4(precision)] => {
            let t = micros(t)?;
            Ok(if is_infinite(t) { t } else { at_precision(t, *precision) })
        }
        _ => Err(mismatch()),
    }
}

/// `timestamp AT TIME ZONE interval`, both ways: whole seconds ahead of UTC.
fn at_offset(args: &[Datum<'_>], sign: i64) -> Result<i64, EvalError> {
    let [Datum::Interval(ahead), at] = args else { return Err(mismatch()) };
    let at = micros(at)?;
    if is_infinite(at) {
        return Ok(at);
    }
    if ahead.months != 0 || ahead.days != 0 {
        let message = "interval time zone must not include months or days";
        return Err(EvalError::raised("22023", message));
    }
    // PostgreSQL keeps the offset in 32 bits.
    let seconds = (ahead.micros / calendar::SECOND).wrapping_mul(sign) as i32;
    calendar::timestamp(i128::from(at) + i128::from(seconds) * i128::from(calendar::SECOND))
}

/// `age(timestamp, timestamp)`: the difference in years, months, days and time, field by field.
fn age(a: i64, b: i64) -> Result<Interval, EvalError> {
    // PostgreSQL 15 takes infinity for what its number would mean.
    if a == i64::MIN || b == i64::MIN {
        return Err(EvalError::raised("22008", "timestamp out of range"));
    }
    let ((first, at_first), (second, at_second)) = (calendar::split(a), calendar::split(b));
    let (one, two) = (calendar::civil_of(first), calendar::civil_of(second));
    let sign = if a < b { -1 } else { 1 };
    let mut months = sign * ((one.year - two.year) * 12 + one.month - two.month);
    let mut days = sign * (one.day - two.day);
    let mut time = sign * (at_first - at_second);
    if time < 0 {
        time += DAY;
        days -= 1;
    }
    // A day that is missing comes from the month of the earlier one.
    let month = if a < b { one } else { two };
    while days < 0 {
        days += calendar::month_length(month.year, month.month);
        months -= 1;
    }
    let out = |_| EvalError::raised("22008", "interval out of range");
    let months = i32::try_from(sign * months).map_err(out)?;
    Ok(Interval { months, days: (sign * days) as i32, micros: sign * time })
}

/// `to_timestamp(double precision)`: seconds since 1970.
fn from_seconds(args: &[Datum<'_>]) -> Result<Datum<'static>, EvalError> {
    let [Datum::Float8(seconds)] = args else { return Err(mismatch()) };
    if seconds.is_nan() {
        return Err(EvalError::raised("22008", "timestamp cannot be NaN"));
    }
    if seconds.is_infinite() {
        return Ok(Datum::Timestamptz(if *seconds > 0.0 { i64::MAX } else { i64::MIN }));
    }
    let out = || EvalError::raised("22008", format!("timestamp out of range: \"{seconds}\""));
    if *seconds < -210_866_803_200.0 || *seconds >= 9_224_318_016_000.0 {
        return Err(out());
    }
    let micros = ((seconds - 946_684_800.0) * 1_000_000.0).round_ties_even();
    calendar::timestamp(micros as i128).map(Datum::Timestamptz).map_err(|_| out())
}

/// The function of an identifier.
pub(super) fn function(func: Oid) -> Option<Fun> {
    Some(match func {
        2031 | 1188 => |a| pair(a).and_then(|(a, b)| difference(a, b)),
        2032 | 2548 => |a| with_interval(a).and_then(|(t, i)| plus_interval(t, i)).map(Datum::Timestamp),
        2033 => |a| with_interval(a).and_then(|(t, i)| plus_interval(t, negated(i))).map(Datum::Timestamp),
        2035 => |a| pair(a).map(|(a, b)| Datum::Timestamp(a.min(b))),
        2036 => |a| pair(a).map(|(a, b)| Datum::Timestamp(a.max(b))),
        1195 => |a| pair(a).map(|(a, b)| Datum::Timestamptz(a.min(b))),
        1196 => |a| pair(a).map(|(a, b)| Datum::Timestamptz(a.max(b))),
        2045 | 1314 => |a| pair(a).map(|(a, b)| Datum::Int4(a.cmp(&b) as i32)),
        2048 | 1389 => |a| one(a).map(|a| Datum::Bool(!is_infinite(a))),
        1961 => |a| to_precision(a).map(Datum::Timestamp),
        1967 => |a| to_precision(a).map(Datum::Timestamptz),
        2029 => |a| one(a).map(|a| Datum::Date(to_date(a))),
        1316 => |a| {
            let at = one(a)?;
            Ok(if is_infinite(at) { Datum::Null } else { Datum::Time(calendar::split(at).1) })
        },
        1158 => |a| from_seconds(a),
        2058 => |a| pair(a).and_then(|(a, b)| age(a, b)).map(Datum::Interval),
        1026 => |a| at_offset(a, 1).map(Datum::Timestamp),
        2070 => |a| at_offset(a, -1).map(Datum::Timestamptz),
        _ => return None,
    })
}

/// A timestamp's day.
pub(super) fn to_date(at: i64) -> i32 {
    match at {
        i64::MIN => i32::MIN,
        i64::MAX => i32::MAX,
        at => calendar::split(at).0 as i32,
    }
}
