//! The parts of dates and times that `extract`, `date_part` and `date_trunc` name.

use jiff::tz::TimeZone;
use types::Oid;

use super::{extract, truncate};
use crate::datum::Datum;
use crate::error::EvalError;

/// A named part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    Julian,
    IsoYear,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    Epoch,
}

/// A function of a part and a value (not NULL), in a time zone when the value is a `timestamptz`.
pub(crate) type FieldFun = for<'a> fn(Field, &TimeZone, &Datum<'a>) -> Result<Datum<'a>, EvalError>;

/// A function that takes a part's name first.
pub(crate) struct OfField {
    pub(crate) fun: FieldFun,
    /// Whether it is about local time in the session's zone (or in the one named third).
    pub(crate) zoned: bool,
    /// The parts it has.
    pub(crate) fields: &'static [Field],
}

impl Field {
    /// The part of a name. PostgreSQL knows more abbreviations; those are left to it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "microseconds" | "microsecond" => Self::Microseconds,
            "milliseconds" | "millisecond" => Self::Milliseconds,
            "second" | "seconds" => Self::Second,
            "minute" | "minutes" => Self::Minute,
            "hour" | "hours" => Self::Hour,
            "day" | "days" => Self::Day,
            "week" | "weeks" => Self::Week,
            "month" | "months" => Self::Month,
            "quarter" => Self::Quarter,
            "year" | "years" => Self::Year,
            "decade" | "decades" => Self::Decade,
            "century" | "centuries" => Self::Century,
            "millennium" => Self::Millennium,
            "julian" => Self::Julian,
            "isoyear" => Self::IsoYear,
            "dow" => Self::DayOfWeek,
            "isodow" => Self::IsoDayOfWeek,
            "doy" => Self::DayOfYear,
            "epoch" => Self::Epoch,
            _ => return None,
        })
    }
}

const OF_TIME: &[Field] =
    &[Field::Microseconds, Field::Milliseconds, Field::Second, Field::Minute, Field::Hour, Field::Epoch];
const OF_DATE: &[Field] = &[
    Field::Day,
    Field::Week,
    Field::Month,
    Field::Quarter,
    Field::Year,
    Field::Decade,
    Field::Century,
    Field::Millennium,
    Field::Julian,
    Field::IsoYear,
    Field::DayOfWeek,
    Field::IsoDayOfWeek,
    Field::DayOfYear,
    Field::Epoch,
];
const OF_TIMESTAMP: &[Field] = &[
    Field::Microseconds,
    Field::Milliseconds,
    Field::Second,
    Field::Minute,
    Field::Hour,
    Field::Day,
    Field::Week,
    Field::Month,
    Field::Quarter,
    Field::Year,
    Field::Decade,
    Field::Century,
    Field::Millennium,
    Field::Julian,
    Field::IsoYear,
    Field::DayOfWeek,
    Field::IsoDayOfWeek,
    Field::DayOfYear,
    Field::Epoch,
];
const OF_INTERVAL: &[Field] = &[
    Field::Microseconds,
    Field::Milliseconds,
    Field::Second,
    Field::Minute,
    Field::Hour,
    Field::Day,
    Field::Month,
    Field::Quarter,
    Field::Year,
    Field::Decade,
    Field::Century,
    Field::Millennium,
    Field::Epoch,
];
const TRUNCATED: &[Field] = &[
    Field::Microseconds,
    Field::Milliseconds,
    Field::Second,
    Field::Minute,
    Field::Hour,
    Field::Day,
    Field::Week,
    Field::Month,
    Field::Quarter,
    Field::Year,
    Field::Decade,
    Field::Century,
    Field::Millennium,
];
const TRUNCATED_INTERVAL: &[Field] = &[
    Field::Microseconds,
    Field::Milliseconds,
    Field::Second,
    Field::Minute,
    Field::Hour,
    Field::Day,
    Field::Month,
    Field::Quarter,
    Field::Year,
    Field::Decade,
    Field::Century,
    Field::Millennium,
];

/// The function of an identifier.
pub(crate) fn function(func: Oid) -> Option<OfField> {
    let (fun, zoned, fields): (FieldFun, bool, &'static [Field]) = match func {
        6199 => (extract::of_date, false, OF_DATE),
        6200 => (extract::of_time, false, OF_TIME),
        6202 => (extract::of_timestamp, false, OF_TIMESTAMP),
        6203 => (extract::of_timestamp, true, OF_TIMESTAMP),
        6204 => (extract::of_interval, false, OF_INTERVAL),
        1384 => (extract::part_of_date, false, OF_TIMESTAMP),
        1385 => (extract::part_of_time, false, OF_TIME),
        2021 => (extract::part_of_timestamp, false, OF_TIMESTAMP),
        1171 => (extract::part_of_timestamp, true, OF_TIMESTAMP),
        1172 => (extract::part_of_interval, false, OF_INTERVAL),
        2020 => (truncate::timestamp, false, TRUNCATED),
        1217 | 1284 => (truncate::timestamptz, true, TRUNCATED),
        1218 => (truncate::interval, false, TRUNCATED_INTERVAL),
        _ => return None,
    };
    Some(OfField { fun, zoned, fields })
}
