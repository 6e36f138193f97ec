//! Square root, greatest common divisor and least common multiple.

use num_integer::Integer;
use num_traits::Signed;

use super::arith::MAX_DISPLAY_SCALE;
use super::{Infinity, NaN, NegInfinity, Numeric, power_of_ten};
use crate::error::EvalError;

impl Numeric {
    /// The square root, with at least 16 significant digits.
    ///
    /// # Errors
    /// For a negative value.
    pub fn sqrt(&self) -> Result<Self, EvalError> {
        let negative = || EvalError::raised("2201F", "cannot take square root of a negative number");
        match self.0 {
            NaN => return Ok(Self::NAN),
            Infinity => return Ok(Self::INFINITY),
            NegInfinity => return Err(negative()),
            _ if self.signum() < 0 => return Err(negative()),
            _ => {}
        }
        let own = self.scale().unwrap_or(0);
        let (weight, _) = self.leading_group();
        let scale = (16 - (weight * 2 + 1)).max(i64::from(own)).clamp(0, MAX_DISPLAY_SCALE) as u32;
        Ok(self.sqrt_at(scale))
    }

    /// The square root of a finite value that is not negative, rounded to that scale.
    pub(crate) fn sqrt_at(&self, scale: u32) -> Self {
        let own = self.scale().unwrap_or(0);
        // One digit more than shown decides the rounding; the root of an integer is never exactly half.
        let up = i64::from(2 * (scale + 1)) - i64::from(own);
        let m = self.mantissa();
        let m = match u32::try_from(up) {
            Ok(up) => m * power_of_ten(up),
            Err(_) => m / power_of_ten(up.unsigned_abs() as u32),
        };
        let root = m.sqrt();
        Self::from_big((root + 5) / 10, scale)
    }

    /// The greatest common divisor, at the larger scale.
    ///
    /// # Errors
    /// When PostgreSQL cannot store the result.
    pub fn gcd(&self, other: &Self) -> Result<Self, EvalError> {
        if self.is_nan() || other.is_nan() || !self.is_finite() || !other.is_finite() {
            return Ok(Self::NAN);
        }
        let (sa, sb) = (self.scale().unwrap_or(0), other.scale().unwrap_or(0));
        let scale = sa.max(sb);
        let a = self.mantissa() * power_of_ten(scale - sa);
        let b = other.mantissa() * power_of_ten(scale - sb);
        Self::from_big(a.gcd(&b).abs(), scale).stored()
    }
}
