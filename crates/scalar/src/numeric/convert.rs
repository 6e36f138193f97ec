//! Casts between `numeric`, integers and floats, and the coercion to `numeric(precision, scale)`.

use num_bigint::BigInt;

use super::{Big, Infinity, NaN, NegInfinity, Numeric, Small, decimal_digits, power_of_ten};
use crate::error::EvalError;

impl Numeric {
    /// The nearest integer, half away from zero.
    ///
    /// # Errors
    /// NaN, an infinity, or a value that `bigint` does not hold; `ty` is the type named in the message.
    pub fn to_i64(&self, ty: &'static str) -> Result<i64, EvalError> {
        let unsupported = |what: &str| EvalError::raised("0A000", format!("cannot convert {what} to {ty}"));
        match self.rescaled(0, true).0 {
            Small(m, _) => i64::try_from(m).map_err(|_| EvalError::OutOfRange(ty)),
            Big(..) => Err(EvalError::OutOfRange(ty)),
            NaN => Err(unsupported("NaN")),
            Infinity | NegInfinity => Err(unsupported("infinity")),
        }
    }

    /// The nearest `double precision`.
    ///
    /// # Errors
    /// When it is beyond the largest, or not zero and nearer to zero than to the smallest.
    pub fn to_f64(&self) -> Result<f64, EvalError> {
        let exact = match &self.0 {
            NaN => return Ok(f64::NAN),
            Infinity => return Ok(f64::INFINITY),
            NegInfinity => return Ok(f64::NEG_INFINITY),
            // A mantissa and a power of ten that are both exact have a correctly rounded quotient.
            Small(m, scale) if m.unsigned_abs() <= 1 << 53 && *scale <= 22 => {
                return Ok(*m as f64 / 10f64.powi(*scale as i32));
            }
            Small(m, scale) => format!("{m}e-{scale}"),
            Big(m, scale) => format!("{m}e-{scale}"),
        };
        let value: f64 = exact.parse().unwrap_or(f64::NAN);
        if value.is_infinite() || (value == 0.0 && !self.is_zero()) {
            return Err(EvalError::TextRange { ty: "double precision", text: self.to_string() });
        }
        Ok(value)
    }

    /// The nearest `real`.
    ///
    /// # Errors
    /// As for [`Self::to_f64`].
    pub fn to_f32(&self) -> Result<f32, EvalError> {
        let exact = match &self.0 {
            NaN => return Ok(f32::NAN),
            Infinity => return Ok(f32::INFINITY),
            NegInfinity => return Ok(f32::NEG_INFINITY),
            Small(m, scale) => format!("{m}e-{scale}"),
            Big(m, scale) => format!("{m}e-{scale}"),
        };
        let value: f32 = exact.parse().unwrap_or(f32::NAN);
        if value.is_infinite() || (value == 0.0 && !self.is_zero()) {
            return Err(EvalError::TextRange { ty: "real", text: self.to_string() });
        }
        Ok(value)
    }

    /// PostgreSQL's cast from `double precision`: its first 15 significant digits.
    #[must_use]
    pub fn from_f64(value: f64) -> Self {
        Self::from_digits(value, &format!("{value:.14e}"))
    }

    /// PostgreSQL's cast from `real`: its first 6 significant digits.
    #[must_use]
    pub fn from_f32(value: f32) -> Self {
        Self::from_digits(f64::from(value), &format!("{value:.5e}"))
    }

    /// From `d.ddde±x`, whose trailing zeros do not count.
    fn from_digits(value: f64, printed: &str) -> Self {
        if value.is_nan() {
            return Self::NAN;
        }
        if value.is_infinite() {
            return if value > 0.0 { Self::INFINITY } else { Self::NEG_INFINITY };
        }
        let (number, exponent) = printed.split_once('e').unwrap_or((printed, "0"));
        let exponent: i64 = exponent.parse().unwrap_or(0);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let fraction = fraction.trim_end_matches('0');
        let mantissa: i128 = format!("{whole}{fraction}").parse().unwrap_or(0);
        let scale = fraction.len() as i64 - exponent;
        match u32::try_from(scale) {
            Ok(scale) => Self(Small(mantissa, if mantissa == 0 { 0 } else { scale })),
            Err(_) => Self::from_big(BigInt::from(mantissa) * power_of_ten(scale.unsigned_abs() as u32), 0),
        }
    }

    /// Coerces to `numeric(precision, scale)` given as a type modifier; -1 changes nothing.
    ///
    /// # Errors
    /// When the value has more digits before the point than the type.
    pub fn with_typmod(&self, typmod: i32) -> Result<Self, EvalError> {
        if typmod < 4 || self.is_nan() {
            return Ok(self.clone());
        }
        if !self.is_finite() {
            return Err(EvalError::NumericField);
        }
        let precision = ((typmod - 4) >> 16) & 0xFFFF;
        let scale = (((typmod - 4) & 0x7FF) ^ 1024) - 1024;
        let rounded = self.rescaled(scale, true);
        let most = i64::from(precision - scale);
        let digits = match &rounded.0 {
            Small(0, _) => return Ok(rounded),
            Small(m, s) => i64::from(m.unsigned_abs().ilog10()) + 1 - i64::from(*s),
            Big(m, s) => decimal_digits(m) as i64 - i64::from(*s),
            NaN | Infinity | NegInfinity => return Ok(rounded),
        };
        if digits > most { Err(EvalError::NumericField) } else { Ok(rounded) }
    }
}
