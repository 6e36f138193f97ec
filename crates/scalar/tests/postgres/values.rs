//! Random values of every native type, the odd ones often.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use scalar::{Datum, Interval, Numeric};
use types::{Oid, oid};

use crate::server::Value;

/// A value, NULL now and then.
pub(crate) fn value(rng: &mut StdRng, ty: Oid) -> Value {
    if rng.random_ratio(1, 25) {
        return None;
    }
    datum(rng, ty).to_bytes()
}

pub(crate) fn datum(rng: &mut StdRng, ty: Oid) -> Datum<'static> {
    match ty {
        oid::BOOL => Datum::Bool(rng.random()),
        oid::INT2 => Datum::Int2(int(rng, i64::from(i16::MIN), i64::from(i16::MAX)) as i16),
        oid::INT4 => Datum::Int4(int(rng, i64::from(i32::MIN), i64::from(i32::MAX)) as i32),
        oid::INT8 => Datum::Int8(int(rng, i64::MIN, i64::MAX)),
        oid::OID => Datum::Oid(int(rng, 0, i64::from(u32::MAX)) as u32),
        oid::CHAR => Datum::Char(rng.random_range(1..128)),
        oid::FLOAT4 => Datum::Float4(float4(rng)),
        oid::FLOAT8 => Datum::Float8(float8(rng)),
        oid::NUMERIC => Datum::Numeric(numeric(rng)),
        oid::TEXT | oid::VARCHAR => Datum::Text(text(rng).into()),
        oid::BPCHAR => Datum::Text(format!("{}{}", text(rng), " ".repeat(rng.random_range(0..3))).into()),
        oid::NAME => Datum::Text(text(rng).chars().take(12).collect::<String>().into()),
        oid::BYTEA => {
            let length = rng.random_range(0..9);
            Datum::Bytea((0..length).map(|_| *[0, 1, 2, 65, 92, 128, 255].choose(rng).unwrap()).collect())
        }
        oid::DATE => Datum::Date(date(rng)),
        oid::TIME => Datum::Time(match rng.random_range(0..8) {
            0 => 0,
            1 => 86_400_000_000,
            2 => 86_399_999_999,
            3 => rng.random_range(0..86_400) * 1_000_000,
            _ => rng.random_range(0..86_400_000_000),
        }),
        oid::TIMESTAMP => Datum::Timestamp(timestamp(rng)),
        oid::TIMESTAMPTZ => Datum::Timestamptz(timestamp(rng)),
        oid::INTERVAL => Datum::Interval(interval(rng)),
        oid::UUID => Datum::Uuid(std::array::from_fn(|_| *[0, 1, 127, 128, 255, 0xAB].choose(rng).unwrap())),
        _ => Datum::Opaque(["sad", "ok", "happy"].choose(rng).unwrap().as_bytes().to_vec().into()),
    }
}

fn int(rng: &mut StdRng, low: i64, high: i64) -> i64 {
    match rng.random_range(0..10) {
        0 => low,
        1 => high,
        2 => *[0, 1, -1, 2, 10, 100].choose(rng).unwrap(),
        3 => low + rng.random_range(0..3),
        4 => rng.random_range(low..=high),
        5 => ((high as f64).sqrt() as i64 + rng.random_range(-2..3)).clamp(low, high),
        _ => rng.random_range(-50..50i64),
    }
    .clamp(low, high)
}

pub(crate) fn float8(rng: &mut StdRng) -> f64 {
    const ODD: [f64; 24] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        1.5,
        2.5,
        -0.5,
        -2.5,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        -5e-324,
        32767.5,
        -32768.5,
        2147483647.5,
        -2147483648.5,
        9223372036854775807.0,
        1e15,
        123456.5,
    ];
    match rng.random_range(0..8) {
        0 => *ODD.choose(rng).unwrap(),
        1 => f64::from_bits(rng.random()),
        2 => 2f64.powi(rng.random_range(-1074..1024)),
        3 => format!("1e{}", rng.random_range(-320..309)).parse().unwrap(),
        4 => f64::from(rng.random_range(-100_000..100_000)),
        5 => f64::from(rng.random_range(-100_000..100_000)) / 100.0,
        6 => rng.random_range(-1e10..1e10),
        _ => f64::from(rng.random::<f32>()),
    }
}

fn float4(rng: &mut StdRng) -> f32 {
    const ODD: [f32; 16] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        2.5,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1e-45,
        1e6,
        123456.5,
        32767.5,
    ];
    match rng.random_range(0..6) {
        0 => *ODD.choose(rng).unwrap(),
        1 => f32::from_bits(rng.random()),
        2 => 2f32.powi(rng.random_range(-149..128)),
        3 => format!("1e{}", rng.random_range(-45..39)).parse().unwrap(),
        4 => rng.random_range(-1000..1000) as f32 / 8.0,
        _ => rng.random_range(-1e6..1e6),
    }
}

pub(crate) fn numeric(rng: &mut StdRng) -> Numeric {
    const ODD: [&str; 26] = [
        "0",
        "0.0",
        "0.000",
        "1",
        "-1",
        "1.0",
        "1.00",
        "0.5",
        "-0.5",
        "1.5",
        "2.5",
        "NaN",
        "Infinity",
        "-Infinity",
        "9999",
        "10000",
        "0.0001",
        "0.9999",
        "99999999.99999999",
        "32767.5",
        "-32768.5",
        "2147483647.5",
        "9223372036854775807.5",
        "-9223372036854775808.4",
        "170141183460469231731687303715884105727",
        "-170141183460469231731687303715884105728",
    ];
    let digits = |rng: &mut StdRng, n: usize| -> String {
        let kind = rng.random_range(0..4);
        (0..n)
            .map(|_| char::from(b'0' + if kind == 0 { *[0, 9].choose(rng).unwrap() } else { rng.random_range(0..10) }))
            .collect()
    };
    let text = match rng.random_range(0..12) {
        0 | 1 => (*ODD.choose(rng).unwrap()).to_owned(),
        2 => {
            let (n, e) = (rng.random_range(1..60), rng.random_range(-80..80));
            format!("{}e{e}", digits(rng, n))
        }
        3 => {
            let e = rng.random_range(-400..400);
            format!("{}e{e}", rng.random_range(-999..999))
        }
        4..=7 => format!("{}.{:02}", rng.random_range(-100_000..100_000), rng.random_range(0..100)),
        8 => format!("{}", rng.random_range(-1000..1000)),
        _ => {
            let (whole, fraction) = (rng.random_range(1..25), rng.random_range(0..20));
            format!("{}{}.{}0", if rng.random() { "-" } else { "" }, digits(rng, whole), digits(rng, fraction))
        }
    };
    text.parse().unwrap()
}

pub(crate) fn text(rng: &mut StdRng) -> String {
    const PIECES: [&str; 26] = [
        "a", "b", "c", "A", "B", "z", "ab", "abc", " ", "  ", "%", "_", "\\", "é", "ß", "漢", "😀", "1", "23", ".",
        ",", "-", "\t", "É", "İ", "aa",
    ];
    match rng.random_range(0..12) {
        0 => String::new(),
        1 => rng.random_range(-1000..1000).to_string(),
        2 => "x".repeat(rng.random_range(0..80)),
        _ => (0..rng.random_range(0..7)).map(|_| *PIECES.choose(rng).unwrap()).collect(),
    }
}

fn date(rng: &mut StdRng) -> i32 {
    match rng.random_range(0..10) {
        0 => *[i32::MIN, i32::MAX, -2_451_545, 2_145_031_948, 0, -1, 106_751_982, 106_751_983].choose(rng).unwrap(),
        1 => rng.random_range(-2_451_545..2_145_031_948),
        2 => rng.random_range(-731_000..-729_000),
        3 => rng.random_range(-2_451_545..0),
        _ => rng.random_range(-40_000..40_000),
    }
}

pub(crate) fn timestamp(rng: &mut StdRng) -> i64 {
    const FIRST: i64 = -211_813_488_000_000_000;
    const LAST: i64 = 9_223_371_331_199_999_999;
    match rng.random_range(0..12) {
        0 => *[i64::MIN, i64::MAX, FIRST, LAST, 0, -1, 1, -86_400_000_000].choose(rng).unwrap(),
        1 => rng.random_range(FIRST..=LAST),
        2 => rng.random_range(FIRST..0),
        3 => i64::from(date(rng).clamp(-2_451_545, 106_751_982)) * 86_400_000_000,
        4 => rng.random_range(-40_000..40_000) * 1_800_000_000i64,
        5 => rng.random_range(-63_200_000_000_000_000..-63_000_000_000_000_000),
        _ => rng.random_range(-1_500_000_000_000_000..1_500_000_000_000_000),
    }
}

pub(crate) fn interval(rng: &mut StdRng) -> Interval {
    match rng.random_range(0..8) {
        0 => Interval {
            months: *[0, 1, -1, i32::MAX, i32::MIN].choose(rng).unwrap(),
            days: *[0, 1, -1, i32::MAX, i32::MIN].choose(rng).unwrap(),
            micros: *[0, 1, -1, i64::MAX, i64::MIN].choose(rng).unwrap(),
        },
        1 => Interval { months: rng.random_range(-100_000..100_000), days: rng.random(), micros: rng.random() },
        2 => Interval { micros: rng.random_range(-1_000_000_000_000..1_000_000_000_000), ..Interval::default() },
        3 => Interval { days: rng.random_range(-100..100), ..Interval::default() },
        4 => Interval { months: rng.random_range(-40..40), ..Interval::default() },
        _ => Interval {
            months: rng.random_range(-40..40),
            days: rng.random_range(-100..100),
            micros: rng.random_range(-4000..4000) * 100_000_000,
        },
    }
}
