//! The comparison operators: which function is which comparison, and comparing two values in memory.

use std::cmp::Ordering;

use types::Oid;

use crate::datum::Datum;

/// What a comparison asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Relation {
    const ALL: [Self; 6] = [Self::Eq, Self::Ne, Self::Lt, Self::Le, Self::Gt, Self::Ge];

    /// Whether an outcome answers it.
    pub(crate) fn holds(self, outcome: Ordering) -> bool {
        match self {
            Self::Eq => outcome.is_eq(),
            Self::Ne => outcome.is_ne(),
            Self::Lt => outcome.is_lt(),
            Self::Le => outcome.is_le(),
            Self::Gt => outcome.is_gt(),
            Self::Ge => outcome.is_ge(),
        }
    }

    /// Whether it only asks for equality, for which any deterministic collation compares bytes.
    pub(crate) fn is_equality(self) -> bool {
        matches!(self, Self::Eq | Self::Ne)
    }
}

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// int2, int4, int8 in any mix, oid, bool, date, time, and each timestamp with its own kind: by their integer.
    Integer,
    /// float4 and float8 in any mix.
    Float,
    /// text and name in any mix: bytes, when the collation allows.
    Text,
    /// bpchar: bytes without trailing blanks, when the collation allows.
    Blank,
    /// By bytes whatever the collation (`bytea`, the `_pattern_` operators).
    Bytes,
    /// bpchar by bytes whatever the collation.
    BlankBytes,
    /// numeric, interval, uuid, "char", enums (equality only), date with timestamp.
    Value,
}

/// Of a function that is `a > b` or the like: whether `a` is above `b` where it is true, and whether it is also true where they are equal.
#[must_use]
pub fn beyond(func: Oid) -> Option<(bool, bool)> {
    match comparison(func)?.1 {
        Relation::Gt => Some((true, false)),
        Relation::Ge => Some((true, true)),
        Relation::Lt => Some((false, false)),
        Relation::Le => Some((false, true)),
        Relation::Eq | Relation::Ne => None,
    }
}

/// The comparison that a `pg_proc` function is.
pub(crate) fn comparison(func: Oid) -> Option<(Family, Relation)> {
    let listed = |family: Family, list: [Oid; 6]| {
        let at = list.iter().position(|o| *o == func)?;
        Relation::ALL.get(at).map(|r| (family, *r))
    };
    match func {
        60 | 84 | 56 | 1691 | 57 | 1692 => listed(Family::Integer, [60, 84, 56, 1691, 57, 1692]),
        63 | 145 | 64 | 148 | 146 | 151 => listed(Family::Integer, [63, 145, 64, 148, 146, 151]),
        65 | 144 | 66 | 149 | 147 | 150 => listed(Family::Integer, [65, 144, 66, 149, 147, 150]),
        158 | 164 | 160 | 166 | 162 | 168 => listed(Family::Integer, [158, 164, 160, 166, 162, 168]),
        159 | 165 | 161 | 167 | 163 | 169 => listed(Family::Integer, [159, 165, 161, 167, 163, 169]),
        467..=472 => listed(Family::Integer, [467, 468, 469, 471, 470, 472]),
        474..=479 => listed(Family::Integer, [474, 475, 476, 478, 477, 479]),
        852..=857 => listed(Family::Integer, [852, 853, 854, 856, 855, 857]),
        1850..=1855 => listed(Family::Integer, [1850, 1851, 1852, 1854, 1853, 1855]),
        1856..=1861 => listed(Family::Integer, [1856, 1857, 1858, 1860, 1859, 1861]),
        184 | 185 | 716 | 717 | 1638 | 1639 => listed(Family::Integer, [184, 185, 716, 717, 1638, 1639]),
        1086..=1091 => listed(Family::Integer, [1086, 1091, 1087, 1088, 1089, 1090]),
        1145 | 1102..=1106 => listed(Family::Integer, [1145, 1106, 1102, 1103, 1104, 1105]),
        1152..=1157 => listed(Family::Integer, [1152, 1153, 1154, 1155, 1157, 1156]),
        2052..=2057 => listed(Family::Integer, [2052, 2053, 2054, 2055, 2057, 2056]),
        287..=292 => listed(Family::Float, [287, 288, 289, 290, 291, 292]),
        293..=298 => listed(Family::Float, [293, 294, 295, 296, 297, 298]),
        299..=304 => listed(Family::Float, [299, 300, 301, 302, 303, 304]),
        305..=310 => listed(Family::Float, [305, 306, 307, 308, 309, 310]),
        67 | 157 | 740..=743 => listed(Family::Text, [67, 157, 740, 741, 742, 743]),
        62 | 655..=659 => listed(Family::Text, [62, 659, 655, 656, 657, 658]),
        240..=245 => listed(Family::Text, [240, 245, 241, 242, 244, 243]),
        247..=252 => listed(Family::Text, [247, 252, 248, 249, 251, 250]),
        1048..=1053 => listed(Family::Blank, [1048, 1053, 1049, 1050, 1051, 1052]),
        2160 => Some((Family::Bytes, Relation::Lt)),
        2161 => Some((Family::Bytes, Relation::Le)),
        2163 => Some((Family::Bytes, Relation::Ge)),
        2164 => Some((Family::Bytes, Relation::Gt)),
        1948..=1953 => listed(Family::Bytes, [1948, 1953, 1949, 1950, 1951, 1952]),
        2174 => Some((Family::BlankBytes, Relation::Lt)),
        2175 => Some((Family::BlankBytes, Relation::Le)),
        2177 => Some((Family::BlankBytes, Relation::Ge)),
        2178 => Some((Family::BlankBytes, Relation::Gt)),
        1718..=1723 => listed(Family::Value, [1718, 1719, 1722, 1723, 1720, 1721]),
        1162..=1167 => listed(Family::Value, [1162, 1163, 1164, 1165, 1167, 1166]),
        2954..=2959 => listed(Family::Value, [2956, 2959, 2954, 2955, 2958, 2957]),
        61 | 70 | 72 | 73 | 74 | 1246 => listed(Family::Value, [61, 70, 1246, 72, 73, 74]),
        2338..=2343 => listed(Family::Value, [2340, 2343, 2338, 2339, 2341, 2342]),
        2364..=2369 => listed(Family::Value, [2366, 2369, 2364, 2365, 2367, 2368]),
        3508 => Some((Family::Value, Relation::Eq)),
        3509 => Some((Family::Value, Relation::Ne)),
        _ => None,
    }
}

/// PostgreSQL's order of floats: NaN equals itself and is above everything.
pub(crate) fn order_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// A text without the trailing blanks that do not count in `bpchar`.
pub(crate) fn without_blanks(text: &[u8]) -> &[u8] {
    let kept = text.iter().rposition(|b| *b != b' ').map_or(0, |last| last + 1);
    text.get(..kept).unwrap_or(text)
}

/// A date as the timestamp of its midnight, or, beyond the range of timestamps, just inside the infinities.
fn midnight(days: i32) -> i128 {
    match days {
        i32::MIN => i128::from(i64::MIN),
        i32::MAX => i128::from(i64::MAX),
        days => (i128::from(days) * 86_400_000_000).clamp(i128::from(i64::MIN) + 1, i128::from(i64::MAX) - 1),
    }
}

impl Datum<'_> {
    /// The integer that a fixed-size value is ordered by.
    pub(crate) fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Bool(v) => Some(i64::from(*v)),
            Self::Int2(v) => Some(i64::from(*v)),
            Self::Int4(v) | Self::Date(v) => Some(i64::from(*v)),
            Self::Oid(v) => Some(i64::from(*v)),
            Self::Char(v) => Some(i64::from(*v)),
            Self::Int8(v) | Self::Time(v) | Self::Timestamp(v) | Self::Timestamptz(v) => Some(*v),
            _ => None,
        }
    }

    /// A float of either size.
    pub(crate) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float4(v) => Some(f64::from(*v)),
            Self::Float8(v) => Some(*v),
            _ => None,
        }
    }

    /// Text or bytes.
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(v) => Some(v.as_bytes()),
            Self::Bytea(v) | Self::Opaque(v) => Some(v),
            _ => None,
        }
    }

    /// PostgreSQL's order of two values of types that compare with each other; text by bytes. `None` when they do
    /// not, or one is NULL.
    #[must_use]
    pub fn order(&self, other: &Datum<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Numeric(a), Datum::Numeric(b)) => Some(a.cmp(b)),
            (Self::Interval(a), Datum::Interval(b)) => Some(a.span().cmp(&b.span())),
            (Self::Uuid(a), Datum::Uuid(b)) => Some(a.cmp(b)),
            (Self::Date(a), Datum::Timestamp(b)) => Some(midnight(*a).cmp(&i128::from(*b))),
            (Self::Timestamp(a), Datum::Date(b)) => Some(i128::from(*a).cmp(&midnight(*b))),
            _ => {
                if let (Some(a), Some(b)) = (self.as_integer(), other.as_integer()) {
                    return Some(a.cmp(&b));
                }
                if let (Some(a), Some(b)) = (self.as_float(), other.as_float()) {
                    return Some(order_floats(a, b));
                }
                self.as_bytes().zip(other.as_bytes()).map(|(a, b)| a.cmp(b))
            }
        }
    }
}
