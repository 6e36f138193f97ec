//! Types of columns, and the few values that there are of each.

use rand::Rng;
use rand::rngs::StdRng;

/// A type of values. Most are written in one way only, so that equal ones are the same; see [`Ty::is_loose`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "SQL's own names")]
pub enum Ty {
    Int,
    Big,
    /// Always with two digits behind the point.
    Numeric,
    Text,
    Bool,
    Date,
    /// Halves and quarters, so that sums do not depend on their order; -0, NaN and infinity.
    Float,
    /// `char(3)`.
    Char,
    /// With any number of digits behind the point, and NaN.
    Wide,
    /// `int[]`.
    Ints,
    Range,
    Json,
    /// An enum.
    Mood,
    Span,
    Stamp,
}

impl Ty {
    /// Those of every day.
    pub const PLAIN: [Self; 6] = [Self::Int, Self::Big, Self::Numeric, Self::Text, Self::Bool, Self::Date];

    /// The others.
    pub const OTHERS: [Self; 9] =
        [Self::Float, Self::Char, Self::Wide, Self::Ints, Self::Range, Self::Json, Self::Mood, Self::Span, Self::Stamp];

    /// Whether equal values can be written in different ways (`1.0` and `1.00`, `-0` and `0`, a month and thirty days).
    #[must_use]
    pub fn is_loose(self) -> bool {
        matches!(self, Self::Float | Self::Wide | Self::Span)
    }

    /// As SQL writes it.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Big => "bigint",
            Self::Numeric => "numeric(10,2)",
            Self::Text => "text",
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Float => "float8",
            Self::Char => "char(3)",
            Self::Wide => "numeric",
            Self::Ints => "int[]",
            Self::Range => "int4range",
            Self::Json => "jsonb",
            Self::Mood => "mood",
            Self::Span => "interval",
            Self::Stamp => "timestamptz",
        }
    }

    /// One of a few values, with its type.
    pub(super) fn literal(self, rng: &mut StdRng) -> String {
        let small = rng.random_range(-1..5);
        let mut one = |of: &[&str]| of[rng.random_range(0..of.len())].to_owned();
        match self {
            Self::Int => small.to_string(),
            Self::Big => format!("{small}::bigint"),
            Self::Numeric => format!("{}.{}", small, one(&["00", "50", "25"])),
            Self::Text => format!("'{}'::text", one(&["", "a", "b", "Ab", "a_%", "ä", "b "])),
            Self::Bool => one(&["true", "false"]),
            Self::Date => format!("'2024-02-{}'::date", 27 + small.clamp(0, 2)),
            Self::Float => {
                format!("'{}'::float8", one(&["0", "-0", "0.5", "-1.25", "2", "2.5", "NaN", "Infinity"]))
            }
            Self::Char => format!("'{}'::char(3)", one(&["", "a", "a ", "b", "abc", "ä"])),
            Self::Wide => {
                format!(
                    "'{}'::numeric",
                    one(&["0", "0.0", "1", "1.0", "1.00", "-2.5", "2.50", "12345678901234.5", "NaN"])
                )
            }
            Self::Ints => {
                format!(
                    "'{}'::int[]",
                    one(&["{}", "{1}", "{1,2}", "{2,1}", "{NULL}", "{1,NULL}", "{3,3,3}", "[0:1]={1,2}"])
                )
            }
            Self::Range => {
                format!("'{}'::int4range", one(&["empty", "[1,3)", "[1,2]", "(,3)", "[2,)", "(,)", "[0,5)"]))
            }
            Self::Json => {
                let of = [
                    "null",
                    "1",
                    "2",
                    r#""a""#,
                    r#"{"a": 1}"#,
                    r#"{"a": "b", "b": null}"#,
                    "[]",
                    r#"[1, "a", null]"#,
                    "{}",
                ];
                format!("'{}'::jsonb", one(&of))
            }
            Self::Mood => format!("'{}'::mood", one(&["sad", "ok", "happy"])),
            Self::Span => {
                format!(
                    "'{}'::interval",
                    one(&["1 day", "24 hours", "1 month", "30 days", "-1 hour", "0", "90 minutes"])
                )
            }
            Self::Stamp => {
                let of = ["2024-02-28 23:30:00+00", "2024-02-29 00:00:00+00", "2024-02-29 12:00:00.5+00", "infinity"];
                format!("'{}'::timestamptz", one(&of))
            }
        }
    }

    /// The same, NULL one time in four.
    pub(super) fn value(self, rng: &mut StdRng) -> String {
        if rng.random_bool(0.25) { format!("NULL::{}", self.sql()) } else { self.literal(rng) }
    }

    /// What stands for an expression of this type when a case is made smaller.
    pub(super) fn simplest(self) -> &'static str {
        match self {
            Self::Int => "1",
            Self::Big => "1::bigint",
            Self::Numeric => "1.00",
            Self::Text => "'a'::text",
            Self::Bool => "true",
            Self::Date => "'2024-02-28'::date",
            Self::Float => "'0.5'::float8",
            Self::Char => "'a'::char(3)",
            Self::Wide => "'1.0'::numeric",
            Self::Ints => "'{1,2}'::int[]",
            Self::Range => "'[1,3)'::int4range",
            Self::Json => "'1'::jsonb",
            Self::Mood => "'ok'::mood",
            Self::Span => "'1 day'::interval",
            Self::Stamp => "'2024-02-29 00:00:00+00'::timestamptz",
        }
    }

    /// How far a frame of RANGE goes, for types whose frames can go by a distance.
    pub(super) fn distance(self) -> Option<&'static str> {
        match self {
            Self::Int | Self::Big | Self::Numeric | Self::Wide => Some("1"),
            Self::Float => Some("0.5"),
            Self::Date | Self::Stamp => Some("'1 day'::interval"),
            _ => None,
        }
    }
}
