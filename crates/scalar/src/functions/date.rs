//! Functions of `date` and `time`, without a time zone.

use types::Oid;

use super::Fun;
use crate::calendar::{self, Civil, DAY, EPOCH_JULIAN, SECOND, is_infinite, is_infinite_date};
use crate::compiled::mismatch;
use crate::datum::{Datum, Interval};
use crate::error::EvalError;
use crate::functions::timestamp::plus_interval;

fn dates(args: &[Datum<'_>]) -> Result<(i32, i32), EvalError> {
    match args {
        [Datum::Date(a), Datum::Date(b)] => Ok((*a, *b)),
        _ => Err(mismatch()),
    }
}

fn date_and_days(args: &[Datum<'_>]) -> Result<(i32, i32), EvalError> {
    match args {
        [Datum::Date(a), Datum::Int4(b)] | [Datum::Int4(b), Datum::Date(a)] => Ok((*a, *b)),
        _ => Err(mismatch()),
    }
}

fn plus_days(date: i32, days: i64) -> Result<Datum<'static>, EvalError> {
    if is_infinite_date(date) {
        return Ok(Datum::Date(date));
    }
    calendar::date(i64::from(date) + days).map(Datum::Date)
}

fn date_at_time(args: &[Datum<'_>]) -> Result<Datum<'static>, EvalError> {
    let (Some(date), Some(time)) = (
        args.iter().find_map(|a| if let Datum::Date(d) = a { Some(*d) } else { None }),
        args.iter().find_map(|a| if let Datum::Time(t) = a { Some(*t) } else { None }),
    ) else {
        return Err(mismatch());
    };
    let midnight = calendar::midnight(date)?;
    if is_infinite(midnight) {
        return Ok(Datum::Timestamp(midnight));
    }
    calendar::timestamp(i128::from(midnight) + i128::from(time)).map(Datum::Timestamp)
}

fn date_and_interval(args: &[Datum<'_>]) -> Result<(i64, Interval), EvalError> {
    match args {
        [Datum::Date(d), Datum::Interval(i)] | [Datum::Interval(i), Datum::Date(d)] => {
            Ok((calendar::midnight(*d)?, *i))
        }
        _ => Err(mismatch()),
    }
}

fn times(args: &[Datum<'_>]) -> Result<(i64, i64), EvalError> {
    match args {
        [Datum::Time(a), Datum::Time(b)] => Ok((*a, *b)),
        _ => Err(mismatch()),
    }
}

/// A time moved by an interval's microseconds, around the clock.
fn moved(args: &[Datum<'_>], sign: i64) -> Result<Datum<'static>, EvalError> {
    let (time, span) = match args {
        [Datum::Time(t), Datum::Interval(i)] | [Datum::Interval(i), Datum::Time(t)] => (*t, *i),
        _ => return Err(mismatch()),
    };
    let micros = time.wrapping_add(span.micros.wrapping_mul(sign));
    Ok(Datum::Time(micros.rem_euclid(DAY)))
}

fn make_date(args: &[Datum<'_>]) -> Result<Datum<'static>, EvalError> {
    let [Datum::Int4(year), Datum::Int4(month), Datum::Int4(day)] = args else { return Err(mismatch()) };
    let (year, month, day) = (i64::from(*year), i64::from(*month), i64::from(*day));
    let wrong = || EvalError::raised("22008", format!("date field value out of range: {year}-{month:02}-{day:02}"));
    // There is no year 0; -1 is 1 BC.
    let astronomical = match year {
        0 => return Err(wrong()),
        1.. => year,
        _ => year + 1,
    };
    if !(1..=12).contains(&month) || day < 1 || day > calendar::month_length(astronomical, month) {
        return Err(wrong());
    }
    calendar::date(calendar::days_of(Civil { year: astronomical, month, day }))
        .map(Datum::Date)
        .map_err(|_| EvalError::raised("22008", format!("date out of range: {year}-{month:02}-{day:02}")))
}

/// A time or timestamp at a precision of 0–6 digits, half away from zero.
pub(super) fn at_precision(micros: i64, precision: i32) -> i64 {
    let Some(unit) = u32::try_from(6 - precision).ok().filter(|n| *n <= 6).map(|n| 10i64.pow(n)) else {
        return micros;
    };
    let half = unit / 2;
    if micros >= 0 {
        (micros.saturating_add(half) / unit) * unit
    } else {
        -((micros.saturating_neg().saturating_add(half) / unit) * unit)
    }
}

/// The function of an identifier.
pub(super) fn function(func: Oid) -> Option<Fun> {
    of_dates(func).or_else(|| of_times(func))
}

fn of_dates(func: Oid) -> Option<Fun> {
    Some(match func {
        1140 => |a| {
            let (a, b) = dates(a)?;
            if is_infinite_date(a) || is_infinite_date(b) {
                return Err(EvalError::raised("22008", "cannot subtract infinite dates"));
            }
            Ok(Datum::Int4(a.wrapping_sub(b)))
        },
        1141 | 2550 => |a| date_and_days(a).and_then(|(date, days)| plus_days(date, i64::from(days))),
        1142 => |a| date_and_days(a).and_then(|(date, days)| plus_days(date, -i64::from(days))),
        1138 => |a| dates(a).map(|(a, b)| Datum::Date(a.max(b))),
        1139 => |a| dates(a).map(|(a, b)| Datum::Date(a.min(b))),
        1092 => |a| dates(a).map(|(a, b)| Datum::Int4(a.cmp(&b) as i32)),
        1373 => |a| match a {
            [Datum::Date(d)] => Ok(Datum::Bool(!is_infinite_date(*d))),
            _ => Err(mismatch()),
        },
        2024 => |a| match a {
            [Datum::Date(d)] => calendar::midnight(*d).map(Datum::Timestamp),
            _ => Err(mismatch()),
        },
        2025 | 1272 | 1296 => |a| date_at_time(a),
        2071 | 2546 => |a| date_and_interval(a).and_then(|(at, by)| plus_interval(at, by)).map(Datum::Timestamp),
        2072 => |a| {
            let (at, by) = date_and_interval(a)?;
            plus_interval(at, super::interval::negated(by)).map(Datum::Timestamp)
        },
        3846 => |a| make_date(a),
        _ => return None,
    })
}

fn of_times(func: Oid) -> Option<Fun> {
    Some(match func {
        1107 => |a| times(a).map(|(a, b)| Datum::Int4(a.cmp(&b) as i32)),
        1377 => |a| times(a).map(|(a, b)| Datum::Time(a.max(b))),
        1378 => |a| times(a).map(|(a, b)| Datum::Time(a.min(b))),
        1690 => |a| times(a).map(|(a, b)| Datum::Interval(Interval { micros: a - b, ..Interval::default() })),
        1747 | 1848 => |a| moved(a, 1),
        1748 => |a| moved(a, -1),
        1370 => |a| match a {
            [Datum::Time(t)] => Ok(Datum::Interval(Interval { micros: *t, ..Interval::default() })),
            _ => Err(mismatch()),
        },
        1419 => |a| match a {
            [Datum::Interval(i)] if i.micros >= 0 => Ok(Datum::Time(i.micros % DAY)),
            [Datum::Interval(i)] => {
                // As PostgreSQL computes it, wrapping around at the smallest interval.
                let days = i.micros.wrapping_neg().wrapping_add(DAY - 1) / DAY;
                Ok(Datum::Time(i.micros.wrapping_add(days.wrapping_mul(DAY))))
            }
            _ => Err(mismatch()),
        },
        1968 => |a| match a {
            [Datum::Time(t), Datum::Int4(p)] => Ok(Datum::Time(at_precision(*t, *p))),
            _ => Err(mismatch()),
        },
        _ => return None,
    })
}

/// Seconds of a Julian day's beginning, for `extract`.
pub(super) fn julian(days: i64) -> i64 {
    days + EPOCH_JULIAN
}

/// Seconds since 1970 of a day's beginning.
pub(super) fn unix_seconds(days: i64) -> i64 {
    (days + calendar::UNIX_DAYS) * (DAY / SECOND)
}
