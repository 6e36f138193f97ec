//! `date_trunc`.

use jiff::tz::TimeZone;

use super::field::Field;
use super::zoned::utc;
use crate::calendar::{self, Civil, DAY, SECOND, is_infinite, split, to_local};
use crate::compiled::mismatch;
use crate::datum::{Datum, Interval};
use crate::error::EvalError;

/// The microseconds that a part of a day has.
fn unit(field: Field) -> Option<i64> {
    match field {
        Field::Microseconds => Some(1),
        Field::Milliseconds => Some(1000),
        Field::Second => Some(SECOND),
        Field::Minute => Some(60 * SECOND),
        Field::Hour => Some(3600 * SECOND),
        _ => None,
    }
}

/// The first year of a span of years; before 1 AD the spans are counted from there backwards.
fn first_year(year: i64, span: i64) -> i64 {
    if year > 0 { (year + span - 1) / span * span - span + 1 } else { -((span - 1 - (year - 1)) / span) * span + 1 }
}

/// A local time truncated; not yet checked to be within the limits.
fn truncated(field: Field, at: i64) -> Result<i64, EvalError> {
    let (days, of_day) = split(at);
    let civil = calendar::civil_of(days);
    let first = |year, month| calendar::days_of(Civil { year, month, day: 1 });
    let days = match field {
        Field::Day => days,
        Field::Week => days - (calendar::weekday(days) + 6) % 7,
        Field::Month => first(civil.year, civil.month),
        Field::Quarter => first(civil.year, (civil.month - 1) / 3 * 3 + 1),
        Field::Year => first(civil.year, 1),
        // Decades are years with the same tens; those before 1 AD are counted from 1 BC.
        Field::Decade if civil.year > 0 => first(civil.year / 10 * 10, 1),
        Field::Decade => first(-((8 - (civil.year - 1)) / 10) * 10, 1),
        Field::Century => first(first_year(civil.year, 100), 1),
        Field::Millennium => first(first_year(civil.year, 1000), 1),
        _ => {
            let unit = unit(field).ok_or_else(mismatch)?;
            return Ok(at - of_day % unit);
        }
    };
    Ok(days.saturating_mul(DAY))
}

pub(super) fn timestamp<'a>(field: Field, _: &TimeZone, value: &Datum<'a>) -> Result<Datum<'a>, EvalError> {
    match value {
        Datum::Timestamp(at) if is_infinite(*at) => Ok(Datum::Timestamp(*at)),
        Datum::Timestamp(at) => calendar::timestamp(i128::from(truncated(field, *at)?)).map(Datum::Timestamp),
        _ => Err(mismatch()),
    }
}

pub(super) fn timestamptz<'a>(field: Field, zone: &TimeZone, value: &Datum<'a>) -> Result<Datum<'a>, EvalError> {
    let Datum::Timestamptz(at) = value else { return Err(mismatch()) };
    if is_infinite(*at) {
        return Ok(Datum::Timestamptz(*at));
    }
    let here = to_local(zone, *at);
    let cut = truncated(field, here)?;
    // Within a day the zone's offset stays; a day's beginning may have another.
    if unit(field).is_some() {
        let ahead = here - at;
        return calendar::timestamp(i128::from(cut) - i128::from(ahead)).map(Datum::Timestamptz);
    }
    utc(zone, cut).map(Datum::Timestamptz)
}

pub(super) fn interval<'a>(field: Field, _: &TimeZone, value: &Datum<'a>) -> Result<Datum<'a>, EvalError> {
    let Datum::Interval(span) = value else { return Err(mismatch()) };
    let months = |n: i32| Interval { months: span.months / n * n, days: 0, micros: 0 };
    Ok(Datum::Interval(match field {
        Field::Millennium => months(12_000),
        Field::Century => months(1200),
        Field::Decade => months(120),
        Field::Year => months(12),
        Field::Quarter => months(3),
        Field::Month => months(1),
        Field::Day => Interval { micros: 0, ..*span },
        _ => {
            let unit = unit(field).ok_or_else(mismatch)?;
            Interval { micros: span.micros / unit * unit, ..*span }
        }
    }))
}
