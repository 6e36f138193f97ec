//! Types' output and input forms as text, for casts that go by way of text.
//!
//! Dates and times are printed under `DateStyle` ISO only and not read at all: what PostgreSQL reads depends on more
//! than is sure here.

use std::borrow::Cow;
use std::fmt::Write;

use jiff::tz::TimeZone;
use types::{Oid, oid};

use crate::calendar::{self, SECOND, is_infinite, split};
use crate::compiled::mismatch;
use crate::datum::{Datum, Interval};
use crate::env::Env;
use crate::error::EvalError;
use crate::float_text;
use crate::functions::{Fun, ZonedFun};
use crate::numeric::Numeric;

fn owned<'a>(text: String) -> Datum<'a> {
    Datum::Text(Cow::Owned(text))
}

/// The output function of a type, when it is native under the settings.
pub(crate) fn printer(from: Oid, env: &Env) -> Option<Fun> {
    let iso = env.date_style.trim_start().get(..3).is_some_and(|s| s.eq_ignore_ascii_case("iso"));
    Some(match from {
        oid::BOOL => |a| match a {
            [Datum::Bool(v)] => Ok(Datum::Text(Cow::Borrowed(if *v { "t" } else { "f" }))),
            _ => Err(mismatch()),
        },
        oid::INT2 | oid::INT4 | oid::INT8 | oid::OID => |a| match a {
            [v] => v.as_integer().map(|v| owned(v.to_string())).ok_or_else(mismatch),
            _ => Err(mismatch()),
        },
        oid::NUMERIC => |a| match a {
            [Datum::Numeric(v)] => Ok(owned(v.to_string())),
            _ => Err(mismatch()),
        },
        oid::FLOAT4 => |a| match a {
            [Datum::Float4(v)] => Ok(owned(float_text::real(*v))),
            _ => Err(mismatch()),
        },
        oid::FLOAT8 => |a| match a {
            [Datum::Float8(v)] => Ok(owned(float_text::double(*v))),
            _ => Err(mismatch()),
        },
        oid::UUID => |a| match a {
            [Datum::Uuid(v)] => Ok(owned(uuid(v))),
            _ => Err(mismatch()),
        },
        oid::DATE if iso => |a| match a {
            [Datum::Date(v)] => Ok(owned(date(*v))),
            _ => Err(mismatch()),
        },
        oid::TIME => |a| match a {
            [Datum::Time(v)] => Ok(owned(clock(*v))),
            _ => Err(mismatch()),
        },
        oid::TIMESTAMP if iso => |a| match a {
            [Datum::Timestamp(v)] => Ok(owned(timestamp(*v, ""))),
            _ => Err(mismatch()),
        },
        oid::INTERVAL if env.interval_style.eq_ignore_ascii_case("postgres") => |a| match a {
            [Datum::Interval(v)] => Ok(owned(interval(*v))),
            _ => Err(mismatch()),
        },
        // An enum travels as its label.
        user if env.is_enum(user) => |a| match a {
            [Datum::Opaque(v)] => String::from_utf8(v.to_vec()).map(owned).map_err(|_| mismatch()),
            _ => Err(mismatch()),
        },
        _ => return None,
    })
}

/// `timestamptz`'s output function.
pub(crate) fn zoned_printer(env: &Env) -> Option<ZonedFun> {
    let iso = env.date_style.trim_start().get(..3).is_some_and(|s| s.eq_ignore_ascii_case("iso"));
    iso.then_some(|zone: &TimeZone, args: &mut [Datum<'_>]| match args {
        [Datum::Timestamptz(at)] if is_infinite(*at) => Ok(owned(timestamp(*at, ""))),
        [Datum::Timestamptz(at)] => {
            let ahead = calendar::offset(zone, *at);
            Ok(owned(timestamp(*at + ahead * SECOND, &zone_suffix(ahead))))
        }
        _ => Err(mismatch()),
    })
}

/// The input function of a type, when it is native under the settings.
pub(crate) fn reader(to: Oid, env: &Env) -> Option<Fun> {
    // From 16 on numbers are also read in hexadecimal, octal, binary and with underscores.
    let plain_numbers = env.server_version < 160_000;
    Some(match to {
        oid::BOOL => |a| read(a, |t| boolean(t).map(Datum::Bool).ok_or_else(|| invalid("boolean", t))),
        oid::INT2 if plain_numbers => |a| {
            read(a, |t| integer(t, "smallint", i64::from(i16::MIN), i64::from(i16::MAX)).map(|v| Datum::Int2(v as i16)))
        },
        oid::INT4 if plain_numbers => |a| {
            read(a, |t| integer(t, "integer", i64::from(i32::MIN), i64::from(i32::MAX)).map(|v| Datum::Int4(v as i32)))
        },
        oid::INT8 if plain_numbers => |a| read(a, |t| integer(t, "bigint", i64::MIN, i64::MAX).map(Datum::Int8)),
        oid::NUMERIC if plain_numbers => |a| read(a, |t| t.parse::<Numeric>().map(Datum::Numeric)),
        oid::FLOAT8 => |a| read(a, |t| float::<f64>(t, "double precision").map(Datum::Float8)),
        oid::FLOAT4 => |a| read(a, |t| float::<f32>(t, "real").map(Datum::Float4)),
        oid::UUID => |a| read(a, |t| read_uuid(t).map(Datum::Uuid).ok_or_else(|| invalid("uuid", t))),
        _ => return None,
    })
}

fn read<'a>(
    args: &mut [Datum<'_>],
    parse: impl FnOnce(&str) -> Result<Datum<'static>, EvalError>,
) -> Result<Datum<'a>, EvalError> {
    match args {
        [Datum::Text(text)] => parse(text),
        _ => Err(mismatch()),
    }
}

fn invalid(ty: &'static str, text: &str) -> EvalError {
    EvalError::InvalidText { ty, text: text.to_owned() }
}

/// C's `isspace`.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c'))
}

fn boolean(text: &str) -> Option<bool> {
    let text = trimmed(text).to_ascii_lowercase();
    match text.as_str() {
        "" | "o" => None,
        "on" | "1" => Some(true),
        "of" | "off" | "0" => Some(false),
        t if "true".starts_with(t) || "yes".starts_with(t) => Some(true),
        t if "false".starts_with(t) || "no".starts_with(t) => Some(false),
        _ => None,
    }
}

fn integer(text: &str, ty: &'static str, low: i64, high: i64) -> Result<i64, EvalError> {
    let body = trimmed(text);
    let digits = body.strip_prefix(['+', '-']).unwrap_or(body);
    let (run, rest) = digits.split_at(digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()));
    if run.is_empty() {
        return Err(invalid(ty, text));
    }
    let too_large = || Err(EvalError::raised("22003", format!("value \"{text}\" is out of range for type {ty}")));
    // PostgreSQL adds the digits up, below zero, before it looks at what is behind them.
    if run.parse::<u64>().map_or(true, |v| v > low.unsigned_abs()) {
        return too_large();
    }
    if !rest.is_empty() {
        return Err(invalid(ty, text));
    }
    match body.parse::<i64>() {
        Ok(v) if (low..=high).contains(&v) => Ok(v),
        _ => too_large(),
    }
}

/// What both float types have.
trait Float: std::str::FromStr + Copy {
    fn is_zero(self) -> bool;
    fn is_infinite(self) -> bool;
}

impl Float for f64 {
    fn is_zero(self) -> bool {
        self == 0.0
    }
    fn is_infinite(self) -> bool {
        self.is_infinite()
    }
}

impl Float for f32 {
    fn is_zero(self) -> bool {
        self == 0.0
    }
    fn is_infinite(self) -> bool {
        self.is_infinite()
    }
}

fn float<F: Float>(text: &str, ty: &'static str) -> Result<F, EvalError> {
    let body = trimmed(text);
    let unsigned = body.strip_prefix(['+', '-']).unwrap_or(body).to_ascii_lowercase();
    let named = matches!(unsigned.as_str(), "nan" | "inf" | "infinity");
    if !named {
        let hexadecimal = unsigned.strip_prefix("0x").is_some_and(|rest| {
            let digits = rest.strip_prefix('.').unwrap_or(rest);
            digits.bytes().next().is_some_and(|b| b.is_ascii_hexdigit())
        });
        if hexadecimal || (unsigned.starts_with("nan(") && unsigned.ends_with(')')) {
            return Err(EvalError::raised("0A000", "this form of a float is not read natively"));
        }
        let well_formed = unsigned.bytes().next().is_some_and(|b| b.is_ascii_digit() || b == b'.')
            && unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'+' | b'-'));
        if !well_formed {
            return Err(invalid(ty, text));
        }
    }
    let value: F = body.parse().map_err(|_| invalid(ty, text))?;
    let zero = unsigned.split('e').next().is_none_or(|m| m.bytes().all(|b| matches!(b, b'0' | b'.')));
    if !named && (value.is_infinite() || (value.is_zero() && !zero)) {
        return Err(EvalError::TextRange { ty, text: body.to_owned() });
    }
    Ok(value)
}

fn read_uuid(text: &str) -> Option<[u8; 16]> {
    let mut rest = text.as_bytes();
    let braced = rest.first() == Some(&b'{');
    if braced {
        rest = rest.get(1..)?;
    }
    let digit = |b: &u8| (*b as char).to_digit(16).map(|d| d as u8);
    let mut value = [0; 16];
    for (i, byte) in value.iter_mut().enumerate() {
        let [high, low, tail @ ..] = rest else { return None };
        *byte = digit(high)? << 4 | digit(low)?;
        rest = match tail {
            [b'-', tail @ ..] if i % 2 == 1 && i < 15 => tail,
            tail => tail,
        };
    }
    if braced {
        rest = rest.strip_prefix(b"}")?;
    }
    rest.is_empty().then_some(value)
}

fn uuid(value: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (i, byte) in value.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The year as shown, and what stands behind the date: there is no year 0.
fn shown_year(year: i64) -> (i64, &'static str) {
    if year > 0 { (year, "") } else { (1 - year, " BC") }
}

fn date(days: i32) -> String {
    match days {
        i32::MIN => "-infinity".to_owned(),
        i32::MAX => "infinity".to_owned(),
        days => {
            let civil = calendar::civil_of(i64::from(days));
            let (year, era) = shown_year(civil.year);
            format!("{year:04}-{:02}-{:02}{era}", civil.month, civil.day)
        }
    }
}

fn clock(of_day: i64) -> String {
    let seconds = of_day / SECOND;
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    push_fraction(&mut text, of_day % SECOND);
    text
}

/// Microseconds behind the seconds, without trailing zeros.
fn push_fraction(text: &mut String, micros: i64) {
    if micros != 0 {
        let digits = format!("{:06}", micros.abs());
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
}

fn timestamp(at: i64, zone: &str) -> String {
    match at {
        i64::MIN => return "-infinity".to_owned(),
        i64::MAX => return "infinity".to_owned(),
        _ => {}
    }
    let (days, of_day) = split(at);
    let civil = calendar::civil_of(days);
    let (year, era) = shown_year(civil.year);
    format!("{year:04}-{:02}-{:02} {}{zone}{era}", civil.month, civil.day, clock(of_day))
}

fn zone_suffix(ahead: i64) -> String {
    let sign = if ahead < 0 { '-' } else { '+' };
    let ahead = ahead.abs();
    let mut text = format!("{sign}{:02}", ahead / 3600);
    if ahead % 3600 != 0 {
        let _ = write!(text, ":{:02}", ahead / 60 % 60);
    }
    if ahead % 60 != 0 {
        let _ = write!(text, ":{:02}", ahead % 60);
    }
    text
}

fn interval(value: Interval) -> String {
    let mut text = String::new();
    let mut before = false;
    for (n, unit) in [(value.months / 12, "year"), (value.months % 12, "mon"), (value.days, "day")] {
        if n == 0 {
            continue;
        }
        let space = if text.is_empty() { "" } else { " " };
        let plus = if before && n > 0 { "+" } else { "" };
        let plural = if n == 1 { "" } else { "s" };
        let _ = write!(text, "{space}{plus}{n} {unit}{plural}");
        before = n < 0;
    }
    if text.is_empty() || value.micros != 0 {
        let space = if text.is_empty() { "" } else { " " };
        let sign = if value.micros < 0 {
            "-"
        } else if before {
            "+"
        } else {
            ""
        };
        let magnitude = value.micros.unsigned_abs();
        let seconds = magnitude / 1_000_000;
        let _ = write!(text, "{space}{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        push_fraction(&mut text, (magnitude % 1_000_000) as i64);
    }
    text
}
