//! The native functions by their `pg_proc` identifiers, one file an area.
//!
//! An identifier that no area knows is not native. All are strict: they never see NULL.

mod bytea;
mod date;
mod extract;
mod field;
mod float;
mod integer;
mod interval;
mod length;
mod number;
mod pattern;
mod text;
mod text_type;
mod timestamp;
mod truncate;
mod zoned;

use jiff::tz::TimeZone;
use types::{Oid, oid};

use crate::datum::Datum;
use crate::error::EvalError;

pub(crate) use field::{Field, FieldFun, OfField, function as of_field};
pub(crate) use interval::divide as divide_interval;
pub(crate) use text::CONCATENATE;

/// A function of its arguments alone. It may take them.
pub(crate) type Fun = for<'a> fn(&mut [Datum<'a>]) -> Result<Datum<'a>, EvalError>;
/// A function of the session's time zone too.
pub(crate) type ZonedFun = for<'a> fn(&TimeZone, &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError>;

/// How a function is called.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    Plain(Fun),
    Zoned(ZonedFun),
}

/// What a function needs of its input collation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing.
    Nothing,
    /// Equal texts are the same bytes.
    Deterministic,
    /// Texts are ordered by bytes.
    ByteOrder,
    /// Case conversion touches ASCII only.
    AsciiCase,
}

/// A native function.
pub(crate) struct Function {
    pub(crate) call: Call,
    pub(crate) needs: Needs,
}

impl Function {
    fn plain(fun: Fun) -> Self {
        Self { call: Call::Plain(fun), needs: Needs::Nothing }
    }

    fn needing(needs: Needs, fun: Fun) -> Self {
        Self { call: Call::Plain(fun), needs }
    }

    fn zoned(fun: ZonedFun) -> Self {
        Self { call: Call::Zoned(fun), needs: Needs::Nothing }
    }
}

/// The native function of an identifier.
pub(crate) fn function(func: Oid) -> Option<Function> {
    let areas: [fn(Oid) -> Option<Fun>; 9] = [
        integer::function,
        float::function,
        number::function,
        bytea::function,
        date::function,
        timestamp::function,
        interval::function,
        length::function,
        text_type::function,
    ];
    areas
        .iter()
        .find_map(|area| area(func))
        .map(Function::plain)
        .or_else(|| text::function(func))
        .or_else(|| pattern::function(func))
        .or_else(|| zoned::function(func).map(Function::zoned))
}

/// Whether a function is `||` of text with anything, and which sides are cast to text first.
pub(crate) fn concatenation(func: Oid) -> Option<(bool, bool)> {
    match func {
        2003 => Some((false, true)),
        2004 => Some((true, false)),
        _ => None,
    }
}

/// Whether a function is `AT TIME ZONE` with a named zone: then it is this function of the session's zone.
pub(crate) fn at_zone(func: Oid) -> Option<ZonedFun> {
    match func {
        1159 => zoned::function(2027),
        2069 => zoned::function(2028),
        _ => None,
    }
}

/// The function that casts a type to text, where it is not its output function.
pub(crate) fn text_cast(from: Oid) -> Option<Fun> {
    match from {
        oid::BOOL => Some(text_type::bool_to_text),
        oid::BPCHAR => Some(text_type::without_trailing_blanks),
        _ => None,
    }
}
