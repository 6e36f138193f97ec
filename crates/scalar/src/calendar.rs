//! The proleptic Gregorian calendar, PostgreSQL's limits of dates and timestamps, and time zones.
//!
//! Years are astronomical: 0 is 1 BC. A timestamp is microseconds since 2000-01-01, its two ends are the infinities.

use jiff::Timestamp as Instant;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::error::EvalError;

/// Microseconds of a day.
pub(crate) const DAY: i64 = 86_400_000_000;
/// Microseconds of a second.
pub(crate) const SECOND: i64 = 1_000_000;
/// Days from 1970-01-01 to 2000-01-01.
pub(crate) const UNIX_DAYS: i64 = 10_957;
/// The Julian day of 2000-01-01.
pub(crate) const EPOCH_JULIAN: i64 = 2_451_545;
/// The first timestamp: 4714-11-24 BC.
const FIRST: i64 = -EPOCH_JULIAN * DAY;
/// Behind the last timestamp: the year 294277.
const END: i64 = 9_223_371_331_200_000_000;
/// Behind the last date: in the year 5874898.
const END_OF_DATES: i64 = 2_147_483_494 - EPOCH_JULIAN;
/// Days of 400 years; the calendar and its weekdays repeat.
const CYCLE: i64 = 146_097 * DAY;

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// 1–12
    pub(crate) month: i64,
    /// 1–31
    pub(crate) day: i64,
}

/// Days since 2000-01-01 of a calendar day; months outside 1–12 carry into years.
pub(crate) fn days_of(civil: Civil) -> i64 {
    let year = civil.year + (civil.month - 1).div_euclid(12);
    let month = (civil.month - 1).rem_euclid(12) + 1;
    // Years from March, so that the leap day is the last.
    let shifted = if month > 2 { year } else { year - 1 };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + civil.day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468 - UNIX_DAYS
}

/// The calendar day of days since 2000-01-01.
pub(crate) fn civil_of(days: i64) -> Civil {
    let shifted = days + UNIX_DAYS + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Civil { year: year + era * 400 + i64::from(month <= 2), month, day: of_year - (153 * from_march + 2) / 5 + 1 }
}

/// Days of a month.
pub(crate) fn month_length(year: i64, month: i64) -> i64 {
    days_of(Civil { year, month: month + 1, day: 1 }) - days_of(Civil { year, month, day: 1 })
}

/// The weekday, Sunday 0.
pub(crate) fn weekday(days: i64) -> i64 {
    (days + 6).rem_euclid(7)
}

/// The ISO 8601 year and week of a day.
pub(crate) fn iso_week(days: i64) -> (i64, i64) {
    // The week belongs to the year that has its Thursday.
    let thursday = days - (weekday(days) + 6) % 7 + 3;
    let year = civil_of(thursday).year;
    (year, (thursday - days_of(Civil { year, month: 1, day: 1 })) / 7 + 1)
}

/// Whether a timestamp is one of the infinities.
pub(crate) fn is_infinite(micros: i64) -> bool {
    micros == i64::MIN || micros == i64::MAX
}

/// Whether a date is one of the infinities.
pub(crate) fn is_infinite_date(days: i32) -> bool {
    days == i32::MIN || days == i32::MAX
}

/// A finite timestamp within PostgreSQL's limits.
pub(crate) fn timestamp(micros: i128) -> Result<i64, EvalError> {
    match i64::try_from(micros) {
        Ok(micros) if (FIRST..END).contains(&micros) => Ok(micros),
        _ => Err(EvalError::raised("22008", "timestamp out of range")),
    }
}

/// Whether it is a timestamp that PostgreSQL stores.
pub(crate) fn is_timestamp(micros: i64) -> bool {
    is_infinite(micros) || (FIRST..END).contains(&micros)
}

/// Whether it is a date that PostgreSQL stores.
pub(crate) fn is_date(days: i32) -> bool {
    is_infinite_date(days) || (-EPOCH_JULIAN..END_OF_DATES).contains(&i64::from(days))
}

/// A finite date within PostgreSQL's limits.
pub(crate) fn date(days: i64) -> Result<i32, EvalError> {
    let fits = (-EPOCH_JULIAN..END_OF_DATES).contains(&days);
    match i32::try_from(days) {
        Ok(days) if fits => Ok(days),
        _ => Err(EvalError::raised("22008", "date out of range")),
    }
}

/// A date as the timestamp of its midnight.
pub(crate) fn midnight(days: i32) -> Result<i64, EvalError> {
    match days {
        i32::MIN => Ok(i64::MIN),
        i32::MAX => Ok(i64::MAX),
        days => {
            let micros = i128::from(days) * i128::from(DAY);
            timestamp(micros).map_err(|_| EvalError::raised("22008", "date out of range for timestamp"))
        }
    }
}

/// A finite timestamp as its day and the microseconds within it.
pub(crate) fn split(micros: i64) -> (i64, i64) {
    (micros.div_euclid(DAY), micros.rem_euclid(DAY))
}

/// The zone of a name, from the machine's zone database.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    if name.eq_ignore_ascii_case("utc") || name.eq_ignore_ascii_case("gmt") {
        return Some(TimeZone::UTC);
    }
    TimeZone::get(name).ok()
}

/// How far (in microseconds) a timestamp is to be moved back by whole 400-year cycles so that the zone rules can be
/// asked: far behind the last irregular transition every zone repeats with the calendar.
fn cycles(micros: i64) -> i64 {
    const YEAR_9000: i64 = 2_557_000 * DAY;
    if micros < YEAR_9000 { 0 } else { ((micros - YEAR_9000) / CYCLE + 1) * CYCLE }
}

/// Seconds that the zone is ahead of UTC at a finite timestamp (UTC).
pub(crate) fn offset(zone: &TimeZone, micros: i64) -> i64 {
    if let Ok(fixed) = zone.to_fixed_offset() {
        return i64::from(fixed.seconds());
    }
    let near = micros - cycles(micros);
    let unix = near.div_euclid(SECOND) + UNIX_DAYS * 86_400;
    Instant::from_second(unix).map_or(0, |at| i64::from(zone.to_offset(at).seconds()))
}

/// A finite timestamp (UTC) as the zone's local time.
pub(crate) fn to_local(zone: &TimeZone, micros: i64) -> i64 {
    micros + offset(zone, micros) * SECOND
}

/// A local time as UTC. A time that a change of clocks skipped is taken by the rule before it, one that it
/// repeated by the rule after it, as PostgreSQL does.
pub(crate) fn to_utc(zone: &TimeZone, local: i64) -> Result<i64, EvalError> {
    if let Ok(fixed) = zone.to_fixed_offset() {
        return timestamp(i128::from(local) - i128::from(fixed.seconds()) * i128::from(SECOND));
    }
    let moved = cycles(local);
    let (days, of_day) = split(local - moved);
    let civil = civil_of(days);
    let parts = (i16::try_from(civil.year), civil.month as i8, civil.day as i8);
    let seconds = of_day / SECOND;
    let clock = ((seconds / 3600) as i8, (seconds / 60 % 60) as i8, (seconds % 60) as i8);
    let unix = parts
        .0
        .ok()
        .and_then(|year| DateTime::new(year, parts.1, parts.2, clock.0, clock.1, clock.2, 0).ok())
        .and_then(|at| zone.to_ambiguous_timestamp(at).later().ok())
        .ok_or_else(|| EvalError::raised("22008", "timestamp out of range"))?
        .as_second();
    let micros = i128::from(unix - UNIX_DAYS * 86_400) * i128::from(SECOND) + i128::from(of_day % SECOND);
    timestamp(micros + i128::from(moved))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_calendar_days_agree_over_all_dates() {
        let mut days = -EPOCH_JULIAN;
        while days < END_OF_DATES {
            let civil = civil_of(days);
            assert_eq!(days_of(civil), days);
            assert!(
                (1..=12).contains(&civil.month) && (1..=month_length(civil.year, civil.month)).contains(&civil.day)
            );
            days += 61;
        }
        assert_eq!(civil_of(0), Civil { year: 2000, month: 1, day: 1 });
        assert_eq!(weekday(0), 6);
    }
}
