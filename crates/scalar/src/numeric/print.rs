//! `numeric` as text, both ways, as `numeric_in` and `numeric_out` have it.

use std::fmt;
use std::str::FromStr;

use num_bigint::BigInt;
use num_traits::Signed;

use super::{Big, Infinity, MAX_INTEGER_DIGITS, MAX_SCALE, NaN, NegInfinity, Numeric, Small, power_of_ten, scale_up};
use crate::error::EvalError;

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (negative, digits, scale) = match &self.0 {
            NaN => return f.write_str("NaN"),
            Infinity => return f.write_str("Infinity"),
            NegInfinity => return f.write_str("-Infinity"),
            Small(m, scale) => (*m < 0, m.unsigned_abs().to_string(), *scale as usize),
            Big(m, scale) => (m.is_negative(), m.magnitude().to_string(), *scale as usize),
        };
        if negative {
            f.write_str("-")?;
        }
        if scale == 0 {
            return f.write_str(&digits);
        }
        match digits.len().checked_sub(scale) {
            Some(point) if point > 0 => {
                let (whole, fraction) = digits.split_at(point);
                write!(f, "{whole}.{fraction}")
            }
            _ => write!(f, "0.{digits:0>scale$}"),
        }
    }
}

impl FromStr for Numeric {
    type Err = EvalError;

    /// Reads what PostgreSQL 15 reads: blanks around, a sign, digits with a point, an exponent, `NaN`, `Infinity`, `inf`.
    fn from_str(text: &str) -> Result<Self, EvalError> {
        let bad = || EvalError::InvalidText { ty: "numeric", text: text.to_owned() };
        let body = text.trim_matches(|c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c'));
        let (negative, unsigned) = match body.as_bytes().first() {
            Some(b'-') => (true, &body[1..]),
            Some(b'+') => (false, &body[1..]),
            _ => (false, body),
        };
        if unsigned.eq_ignore_ascii_case("infinity") || unsigned.eq_ignore_ascii_case("inf") {
            return Ok(if negative { Self::NEG_INFINITY } else { Self::INFINITY });
        }
        if body.eq_ignore_ascii_case("nan") {
            return Ok(Self::NAN);
        }
        let (number, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
            None => (unsigned, None),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(bad());
        }
        let exponent = match exponent {
            None => 0,
            Some(e) => {
                let digits = e.strip_prefix(['+', '-']).unwrap_or(e);
                if digits.is_empty() || !all_digits(digits) {
                    return Err(bad());
                }
                match e.parse::<i32>() {
                    Ok(e) if e.abs() < i32::MAX / 2 => i64::from(e),
                    _ => return Err(EvalError::NumericOverflow),
                }
            }
        };
        Self::assemble(negative, whole, fraction, exponent)
    }
}

impl Numeric {
    fn assemble(negative: bool, whole: &str, fraction: &str, exponent: i64) -> Result<Self, EvalError> {
        let mut digits = String::with_capacity(whole.len() + fraction.len());
        digits.push_str(whole);
        digits.push_str(fraction);
        let scale = fraction.len() as i64 - exponent;
        let significant = digits.trim_start_matches('0');
        // What cannot be stored is refused before powers of ten of that size are made.
        if scale > i64::from(MAX_SCALE) {
            return Err(EvalError::NumericOverflow);
        }
        let shown = scale.max(0) as u32;
        if significant.is_empty() {
            return Ok(Self(Small(0, shown)));
        }
        if significant.len() as i64 - scale > MAX_INTEGER_DIGITS as i64 {
            return Err(EvalError::NumericOverflow);
        }
        let up = (-scale).max(0) as u32;
        if let Ok(m) = significant.parse::<i128>()
            && let Some(m) = scale_up(m, up)
        {
            return Ok(Self(Small(if negative { -m } else { m }, shown)));
        }
        let m: BigInt = significant.parse().map_err(|_| EvalError::NumericOverflow)?;
        let m = m * power_of_ten(up);
        Self::from_big(if negative { -m } else { m }, shown).stored()
    }
}
