//! `extract` (numeric) and `date_part` (double precision).

use jiff::tz::TimeZone;

use super::date::{julian, unix_seconds};
use super::field::Field;
use crate::calendar::{self, Civil, DAY, SECOND, UNIX_DAYS, is_infinite, is_infinite_date, split, to_local};
use crate::compiled::mismatch;
use crate::datum::{Datum, Interval};
use crate::error::EvalError;
use crate::numeric::Numeric;

/// Microseconds from 1970 to 2000.
const EPOCH: i64 = UNIX_DAYS * DAY;

fn number<'a>(value: i64) -> Datum<'a> {
    Datum::Numeric(Numeric::from(value))
}

/// Microseconds as a number with some of them behind the point.
fn micros<'a>(value: i128, scale: u32) -> Datum<'a> {
    Datum::Numeric(Numeric::new(value, scale))
}

/// A part of an infinite date or timestamp: NULL when it goes around, else the infinity.
fn of_infinity(field: Field, positive: bool) -> Option<bool> {
    use Field::{Century, Decade, Epoch, IsoYear, Julian, Millennium, Year};
    matches!(field, Year | Decade | Century | Millennium | Julian | IsoYear | Epoch).then_some(positive)
}

fn infinite_numeric<'a>(field: Field, positive: bool) -> Datum<'a> {
    match of_infinity(field, positive) {
        None => Datum::Null,
        Some(true) => Datum::Numeric(Numeric::INFINITY),
        Some(false) => Datum::Numeric(Numeric::NEG_INFINITY),
    }
}

fn infinite_double<'a>(field: Field, positive: bool) -> Datum<'a> {
    match of_infinity(field, positive) {
        None => Datum::Null,
        Some(true) => Datum::Float8(f64::INFINITY),
        Some(false) => Datum::Float8(f64::NEG_INFINITY),
    }
}

/// Parts of a day that are whole numbers; `None` for the others.
fn of_day(field: Field, days: i64) -> Option<i64> {
    let civil = calendar::civil_of(days);
    // Astronomical years; there is no year 0 in what is shown.
    let shown = |year: i64| if year > 0 { year } else { year - 1 };
    let spans = |span: i64| {
        if civil.year > 0 { (civil.year + span - 1) / span } else { -((span - 1 - (civil.year - 1)) / span) }
    };
    Some(match field {
        Field::Day => civil.day,
        Field::Week => calendar::iso_week(days).1,
        Field::Month => civil.month,
        Field::Quarter => (civil.month - 1) / 3 + 1,
        Field::Year => shown(civil.year),
        Field::Decade if civil.year >= 0 => civil.year / 10,
        Field::Decade => -((8 - (civil.year - 1)) / 10),
        Field::Century => spans(100),
        Field::Millennium => spans(1000),
        Field::IsoYear => shown(calendar::iso_week(days).0),
        Field::DayOfWeek => calendar::weekday(days),
        Field::IsoDayOfWeek => (calendar::weekday(days) + 6) % 7 + 1,
        Field::DayOfYear => days - calendar::days_of(Civil { year: civil.year, month: 1, day: 1 }) + 1,
        _ => return None,
    })
}

pub(super) fn of_date<'a>(field: Field, _: &TimeZone, value: &Datum<'a>) -> Result<Datum<'a>, EvalError> {
    let Datum::Date(date) = value else { return Err(mismatch()) };
    if is_infinite_date(*date) {
        return Ok(infinite_numeric(field, *date > 0));
    }
    let days = i64::from(*date);
    match field {
        Field::Julian => Ok(number(julian(days))),
        Field::Epoch => Ok(number(unix_seconds(days))),
        _ => of_day(field, days).map(number).ok_or_else(mismatch),
    }
}

pub(super) fn of_time<'a>(field: Field, _: &TimeZone, value: &Datum<'a>) -> Result<Datum<'a>, EvalError> {
    let Datum::Time(time) = value else { return Err(mismatch()) };
    match field {
        Field::Epoch => Ok(micros(i128::from(*time), 6)),
        _ => clock(field, *time).ok_or_else(mismatch),
    }
}

/// Parts of a clock's microseconds (signed for intervals).
fn clock<'a>(field: Field, time: i64) -> Option<Datum<'a>> {
    let of_minute = i128::from(time % (60 * SECOND));
    Some(match field {
        Field::Microseconds => micros(of_minute, 0),
        Field::Milliseconds => micros(of_minute, 3),
        Field::Second => micros(of_minute, 6),
        Field::Minute => number(time / (60 * SECOND) % 60),
        Field::Hour => number(time / (3600 * SECOND)),
        _ => return None,
    })
}

fn clock_part<'a>(field: Field, time: i64) -> Option<Datum<'a>> {
    let of_minute = time % (60 * SECOND);
    let (seconds, fraction) = ((of_minute / SECOND) as f64, (of_minute % SECOND) as f64);
    Some(Datum::Float8(match field {
        Field::Microseconds => seconds * 1_000_000.0 + fraction,
        Field::Milliseconds => seconds * 1000.0 + fraction / 1000.0,
        Field::Second => seconds + fraction / 1_000_000.0,
        Field::Minute => (time / (60 * SECOND) % 60) as f64,
        Field::Hour => (time / (3600 * SECOND)) as f64,
        _ => return None,
    }))
}

/// The instant and what the clock shows there: for `timestamptz` local time.
fn instant(zone: &TimeZone, value: &Datum<'_>) -> Result<(i64, i64), EvalError> {
    match value {
        Datum::Timestamp(at) => Ok((*at, *at)),
        Datum::Timestamptz(at) if is_infinite(*at) => Ok((*at, *at)),
        Datum::Timestamptz(at) => Ok((*at, to_local(zone, *at))),
        _ => Err(mismatch()),
    }
}

pub(super) fn of_timestamp<'a>(field: Field, zone: &TimeZone, value: &Datum<'a>) -> Result<Datum<'a>, EvalError> {
    let (at, here) = instant(zone, value)?;
    if is_infinite(at) {
        return Ok(infinite_numeric(field, at > 0));
    }
    let (days, time) = split(here);
    match field {
        Field::Epoch => match at.checked_add(EPOCH) {
            Some(unix) => Ok(micros(i128::from(unix), 6)),
            // PostgreSQL divides here, and a quotient has fewer digits.
            None => {
                let unix = Numeric::new(i128::from(at) + i128::from(EPOCH), 0);
                unix.div(&Numeric::from(SECOND))?.round(6).map(Datum::Numeric)
            }
        },
        Field::Julian => {
            let fraction = Numeric::from(time).div(&Numeric::from(DAY))?;
            Numeric::from(julian(days)).add(&fraction).map(Datum::Numeric)
        }
        _ => of_day(field, days).map(number).or_else(|| clock(field, time)).ok_or_else(mismatch),
    }
}

pub(super) fn part_of_timestamp<'a>(field: Field, zone: &TimeZone, value: &Datum<'a>) -> Result<Datum<'a>, EvalError> {
    let (at, here) = instant(zone, value)?;
    if is_infinite(at) {
        return Ok(infinite_double(field, at > 0));
    }
    let (days, time) = split(here);
    match field {
        Field::Epoch => Ok(Datum::Float8(match at.checked_add(EPOCH) {
            Some(micros) => micros as f64 / 1_000_000.0,
            None => (at as f64 + EPOCH as f64) / 1_000_000.0,
        })),
        Field::Julian => {
            let (seconds, fraction) = ((time / SECOND) as f64, (time % SECOND) as f64);
            Ok(Datum::Float8(julian(days) as f64 + (seconds + fraction / 1_000_000.0) / 86_400.0))
        }
        _ => of_day(field, days)
            .map(|v| Datum::Float8(v as f64))
            .or_else(|| clock_part(field, time))
            .ok_or_else(mismatch),
    }
}

/// By way of the timestamp of its midnight.
pub(super) fn part_of_date<'a>(field: Field, zone: &TimeZone, value: &Datum<'a>) -> Result<Datum<'a>, EvalError> {
    let Datum::Date(date) = value else { return Err(mismatch()) };
    part_of_timestamp(field, zone, &Datum::Timestamp(calendar::midnight(*date)?))
}

pub(super) fn part_of_time<'a>(field: Field, _: &TimeZone, value: &Datum<'a>) -> Result<Datum<'a>, EvalError> {
    let Datum::Time(time) = value else { return Err(mismatch()) };
    match field {
        Field::Epoch => Ok(Datum::Float8(*time as f64 / 1_000_000.0)),
        _ => clock_part(field, *time).ok_or_else(mismatch),
    }
}

/// Parts of an interval's months and days.
fn of_months(field: Field, span: Interval) -> Option<i64> {
    let (years, months) = (i64::from(span.months / 12), i64::from(span.months % 12));
    Some(match field {
        Field::Day => i64::from(span.days),
        Field::Month => months,
        Field::Quarter => months / 3 + 1,
        Field::Year => years,
        Field::Decade => years / 10,
        Field::Century => years / 100,
        Field::Millennium => years / 1000,
        _ => return None,
    })
}

pub(super) fn of_interval<'a>(field: Field, _: &TimeZone, value: &Datum<'a>) -> Result<Datum<'a>, EvalError> {
    let Datum::Interval(span) = value else { return Err(mismatch()) };
    if field == Field::Epoch {
        // A year has 365.25 days here, a month 30.
        let quarters =
            1461 * i128::from(span.months / 12) + 120 * i128::from(span.months % 12) + 4 * i128::from(span.days);
        return Ok(micros(quarters * i128::from(DAY / 4) + i128::from(span.micros), 6));
    }
    of_months(field, *span).map(number).or_else(|| clock(field, span.micros)).ok_or_else(mismatch)
}

pub(super) fn part_of_interval<'a>(field: Field, _: &TimeZone, value: &Datum<'a>) -> Result<Datum<'a>, EvalError> {
    let Datum::Interval(span) = value else { return Err(mismatch()) };
    if field == Field::Epoch {
        const DAY_SECONDS: f64 = 86_400.0;
        let mut seconds = span.micros as f64 / 1_000_000.0;
        seconds += 365.25 * DAY_SECONDS * f64::from(span.months / 12);
        seconds += 30.0 * DAY_SECONDS * f64::from(span.months % 12);
        seconds += DAY_SECONDS * f64::from(span.days);
        return Ok(Datum::Float8(seconds));
    }
    let whole = of_months(field, *span).map(|v| Datum::Float8(v as f64));
    whole.or_else(|| clock_part(field, span.micros)).ok_or_else(mismatch)
}
