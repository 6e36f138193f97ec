//! Functions of `interval`.

use types::Oid;

use super::Fun;
use crate::calendar::DAY;
use crate::compiled::mismatch;
use crate::datum::{Datum, Interval};
use crate::error::EvalError;

fn out_of_range() -> EvalError {
    EvalError::raised("22008", "interval out of range")
}

fn pair(args: &[Datum<'_>]) -> Result<(Interval, Interval), EvalError> {
    match args {
        [Datum::Interval(a), Datum::Interval(b)] => Ok((*a, *b)),
        _ => Err(mismatch()),
    }
}

fn one(args: &[Datum<'_>]) -> Result<Interval, EvalError> {
    match args {
        [Datum::Interval(a)] => Ok(*a),
        _ => Err(mismatch()),
    }
}

fn with_factor(args: &[Datum<'_>]) -> Result<(Interval, f64), EvalError> {
    match args {
        [Datum::Interval(i), Datum::Float8(f)] | [Datum::Float8(f), Datum::Interval(i)] => Ok((*i, *f)),
        _ => Err(mismatch()),
    }
}

/// The opposite, for adding: a part at its type's minimum stays, as PostgreSQL's own negation there does.
pub(super) fn negated(i: Interval) -> Interval {
    Interval { months: i.months.wrapping_neg(), days: i.days.wrapping_neg(), micros: i.micros.wrapping_neg() }
}

fn plus(a: Interval, b: Interval) -> Option<Interval> {
    Some(Interval {
        months: a.months.checked_add(b.months)?,
        days: a.days.checked_add(b.days)?,
        micros: a.micros.checked_add(b.micros)?,
    })
}

fn minus(a: Interval, b: Interval) -> Option<Interval> {
    Some(Interval {
        months: a.months.checked_sub(b.months)?,
        days: a.days.checked_sub(b.days)?,
        micros: a.micros.checked_sub(b.micros)?,
    })
}

/// PostgreSQL's `TSROUND`: to microseconds.
fn to_micros(seconds: f64) -> f64 {
    (seconds * 1_000_000.0).round_ties_even() / 1_000_000.0
}

/// C's conversion where it is defined.
fn whole(value: f64) -> Result<i32, EvalError> {
    let limit = 2_147_483_648.0;
    if (-limit..limit).contains(&value) { Ok(value as i32) } else { Err(out_of_range()) }
}

/// The common end of multiplication and division: each part scaled, fractions cascading down to smaller units.
fn cascade(months: f64, days: f64, micros: f64) -> Result<Interval, EvalError> {
    const SECONDS: f64 = 86_400.0;
    let whole_months = whole(months)?;
    let mut whole_days = whole(days)?;
    let month_days = to_micros((months - f64::from(whole_months)) * 30.0);
    let day_part = whole(month_days)?;
    let mut seconds = to_micros((days - f64::from(whole_days) + month_days - f64::from(day_part)) * SECONDS);
    if seconds.abs() >= SECONDS {
        let carried = whole(seconds / SECONDS)?;
        whole_days = whole_days.checked_add(carried).ok_or_else(out_of_range)?;
        seconds -= f64::from(carried) * SECONDS;
    }
    whole_days = whole_days.checked_add(day_part).ok_or_else(out_of_range)?;
    let micros = (micros + seconds * 1_000_000.0).round_ties_even();
    let limit = 9_223_372_036_854_775_808.0;
    if !(micros >= -limit && micros < limit) {
        return Err(out_of_range());
    }
    Ok(Interval { months: whole_months, days: whole_days, micros: micros as i64 })
}

/// `interval / double precision`.
pub(crate) fn divide(span: Interval, factor: f64) -> Result<Interval, EvalError> {
    if factor == 0.0 {
        return Err(EvalError::DivisionByZero);
    }
    cascade(f64::from(span.months) / factor, f64::from(span.days) / factor, span.micros as f64 / factor)
}

fn multiply(span: Interval, factor: f64) -> Result<Interval, EvalError> {
    cascade(f64::from(span.months) * factor, f64::from(span.days) * factor, span.micros as f64 * factor)
}

/// Whole days out of the microseconds, of the same sign as the days.
pub(super) fn justify_hours(span: Interval) -> Result<Interval, EvalError> {
    let carried = span.days.checked_add((span.micros / DAY) as i32).ok_or_else(out_of_range)?;
    let (mut days, mut micros) = (carried, span.micros % DAY);
    if days > 0 && micros < 0 {
        micros += DAY;
        days -= 1;
    } else if days < 0 && micros > 0 {
        micros -= DAY;
        days += 1;
    }
    Ok(Interval { months: span.months, days, micros })
}

fn justify_days(span: Interval) -> Result<Interval, EvalError> {
    let (mut months, mut days) = (span.months.checked_add(span.days / 30).ok_or_else(out_of_range)?, span.days % 30);
    if months > 0 && days < 0 {
        days += 30;
        months -= 1;
    } else if months < 0 && days > 0 {
        days -= 30;
        months += 1;
    }
    Ok(Interval { months, days, micros: span.micros })
}

/// The function of an identifier.
pub(super) fn function(func: Oid) -> Option<Fun> {
    Some(match func {
        1168 => |a| {
            let a = one(a)?;
            minus(Interval::default(), a).map(Datum::Interval).ok_or_else(out_of_range)
        },
        1169 => |a| pair(a).and_then(|(a, b)| plus(a, b).map(Datum::Interval).ok_or_else(out_of_range)),
        1170 => |a| pair(a).and_then(|(a, b)| minus(a, b).map(Datum::Interval).ok_or_else(out_of_range)),
        1197 => |a| pair(a).map(|(a, b)| Datum::Interval(if a.span() < b.span() { a } else { b })),
        1198 => |a| pair(a).map(|(a, b)| Datum::Interval(if a.span() > b.span() { a } else { b })),
        1315 => |a| pair(a).map(|(a, b)| Datum::Int4(a.span().cmp(&b.span()) as i32)),
        1326 => |a| with_factor(a).and_then(|(i, f)| divide(i, f)).map(Datum::Interval),
        1618 | 1624 => |a| with_factor(a).and_then(|(i, f)| multiply(i, f)).map(Datum::Interval),
        1175 => |a| one(a).and_then(justify_hours).map(Datum::Interval),
        1295 => |a| one(a).and_then(justify_days).map(Datum::Interval),
        _ => return None,
    })
}
