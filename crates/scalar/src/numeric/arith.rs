//! Arithmetic, with PostgreSQL's result scales, rounding and special values.

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};

use super::{
    Big, Infinity, MAX_INTEGER_DIGITS, MAX_SCALE, NaN, NegInfinity, Numeric, Small, decimal_digits, divide_rounded,
    divide_rounded_big, power_of_ten, scale_up, small_power,
};
use crate::error::EvalError;

/// Significant digits that a quotient has at least.
const MIN_SIGNIFICANT_DIGITS: i64 = 16;
/// The largest scale that a quotient is given.
pub(super) const MAX_DISPLAY_SCALE: i64 = 1000;
/// The scales that `round` takes: one digit more than a value can have, in case it rounds up.
const ROUNDED: std::ops::RangeInclusive<i32> = -(MAX_INTEGER_DIGITS as i32) - 1..=MAX_SCALE as i32;
/// The scales that `trunc` takes.
const TRUNCATED: std::ops::RangeInclusive<i32> = -(MAX_INTEGER_DIGITS as i32)..=MAX_SCALE as i32;

impl Numeric {
    /// `self + other`.
    ///
    /// # Errors
    /// When PostgreSQL cannot store the result.
    pub fn add(&self, other: &Self) -> Result<Self, EvalError> {
        match (&self.0, &other.0) {
            (Small(a, sa), Small(b, sb)) => {
                let scale = *sa.max(sb);
                let sum = scale_up(*a, scale - sa).zip(scale_up(*b, scale - sb)).and_then(|(a, b)| a.checked_add(b));
                match sum {
                    Some(sum) => Ok(Self(Small(sum, scale))),
                    None => self.add_big(other),
                }
            }
            (NaN, _) | (_, NaN) | (Infinity, NegInfinity) | (NegInfinity, Infinity) => Ok(Self::NAN),
            (Infinity, _) | (_, Infinity) => Ok(Self::INFINITY),
            (NegInfinity, _) | (_, NegInfinity) => Ok(Self::NEG_INFINITY),
            _ => self.add_big(other),
        }
    }

    fn add_big(&self, other: &Self) -> Result<Self, EvalError> {
        self.add_finite_big(other).stored()
    }

    fn add_finite_big(&self, other: &Self) -> Self {
        let (sa, sb) = (self.scale().unwrap_or(0), other.scale().unwrap_or(0));
        let scale = sa.max(sb);
        let sum = self.mantissa() * power_of_ten(scale - sa) + other.mantissa() * power_of_ten(scale - sb);
        Self::from_big(sum, scale)
    }

    /// `self + other` of finite values, even where PostgreSQL could not store it; for accumulators.
    pub(crate) fn add_unchecked(&self, other: &Self) -> Self {
        self.add(other).unwrap_or_else(|_| self.add_finite_big(other))
    }

    /// `self - other`.
    ///
    /// # Errors
    /// When PostgreSQL cannot store the result.
    pub fn sub(&self, other: &Self) -> Result<Self, EvalError> {
        self.add(&other.neg())
    }

    /// `-self`.
    #[must_use]
    pub fn neg(&self) -> Self {
        match &self.0 {
            NegInfinity => Self::INFINITY,
            Infinity => Self::NEG_INFINITY,
            NaN => Self::NAN,
            Small(m, scale) => match m.checked_neg() {
                Some(m) => Self(Small(m, *scale)),
                None => Self::from_big(-BigInt::from(*m), *scale),
            },
            Big(m, scale) => Self::from_big(-(**m).clone(), *scale),
        }
    }

    /// The magnitude.
    #[must_use]
    pub fn abs(&self) -> Self {
        if self.signum() < 0 { self.neg() } else { self.clone() }
    }

    /// -1, 0, 1 or NaN.
    #[must_use]
    pub fn sign(&self) -> Self {
        if self.is_nan() { Self::NAN } else { Self::from(self.signum()) }
    }

    /// `self * other`.
    ///
    /// # Errors
    /// When PostgreSQL cannot store the result.
    pub fn mul(&self, other: &Self) -> Result<Self, EvalError> {
        match (&self.0, &other.0) {
            (Small(a, sa), Small(b, sb)) if sa + sb <= MAX_SCALE => match a.checked_mul(*b) {
                Some(product) => Ok(Self(Small(product, sa + sb))),
                None => self.mul_big(other),
            },
            (NaN, _) | (_, NaN) => Ok(Self::NAN),
            (Infinity | NegInfinity, _) | (_, Infinity | NegInfinity) => {
                Ok(Self::infinite(self.signum() * other.signum()))
            }
            _ => self.mul_big(other),
        }
    }

    fn mul_big(&self, other: &Self) -> Result<Self, EvalError> {
        let scale = self.scale().unwrap_or(0) + other.scale().unwrap_or(0);
        let product = self.mantissa() * other.mantissa();
        if scale > MAX_SCALE {
            return Self::from_big(divide_rounded_big(&product, scale - MAX_SCALE), MAX_SCALE).stored();
        }
        Self::from_big(product, scale).stored()
    }

    /// The infinity of the sign; NaN for 0.
    fn infinite(sign: i32) -> Self {
        match sign {
            0 => Self::NAN,
            1.. => Self::INFINITY,
            _ => Self::NEG_INFINITY,
        }
    }

    /// `self / other`.
    ///
    /// # Errors
    /// Division by zero, or when PostgreSQL cannot store the result.
    pub fn div(&self, other: &Self) -> Result<Self, EvalError> {
        if let Some(special) = self.special_quotient(other)? {
            return Ok(special);
        }
        self.divide(other, self.quotient_scale(other), true)?.stored()
    }

    /// The same of finite values, whatever the size of the result.
    pub(crate) fn div_unchecked(&self, other: &Self) -> Result<Self, EvalError> {
        self.divide(other, self.quotient_scale(other), true)
    }

    /// PostgreSQL's `div`: the quotient's integer part.
    ///
    /// # Errors
    /// Division by zero, or when PostgreSQL cannot store the result.
    pub fn div_trunc(&self, other: &Self) -> Result<Self, EvalError> {
        if let Some(special) = self.special_quotient(other)? {
            return Ok(special);
        }
        self.divide(other, 0, false)?.stored()
    }

    fn special_quotient(&self, other: &Self) -> Result<Option<Self>, EvalError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Some(Self::NAN));
        }
        if !self.is_finite() {
            return match (other.is_finite(), other.signum()) {
                (false, _) => Ok(Some(Self::NAN)),
                (true, 0) => Err(EvalError::DivisionByZero),
                (true, sign) => Ok(Some(Self::infinite(self.signum() * sign))),
            };
        }
        if !other.is_finite() {
            return Ok(Some(Self::ZERO));
        }
        if other.is_zero() { Err(EvalError::DivisionByZero) } else { Ok(None) }
    }

    /// `select_div_scale`: at least 16 significant digits, counted in groups of four.
    fn quotient_scale(&self, other: &Self) -> u32 {
        let (w1, d1) = self.leading_group();
        let (w2, d2) = other.leading_group();
        let weight = w1 - w2 - i64::from(d1 <= d2);
        (MIN_SIGNIFICANT_DIGITS - weight * 4)
            .max(i64::from(self.scale().unwrap_or(0)))
            .max(i64::from(other.scale().unwrap_or(0)))
            .clamp(0, MAX_DISPLAY_SCALE) as u32
    }

    /// Weight and value of the first group of four digits that is not zero; (0, 0) for zero.
    pub(super) fn leading_group(&self) -> (i64, u32) {
        let Some(scale) = self.scale() else { return (0, 0) };
        let digits = match &self.0 {
            Small(0, _) => return (0, 0),
            Small(m, _) => i64::from(m.unsigned_abs().ilog10()) + 1,
            Big(m, _) => decimal_digits(m) as i64,
            NegInfinity | Infinity | NaN => return (0, 0),
        };
        let exponent = digits - 1 - i64::from(scale);
        let weight = exponent.div_euclid(4);
        let wanted = exponent.rem_euclid(4) + 1;
        let first = match &self.0 {
            Small(m, _) if digits <= wanted => m.unsigned_abs() * 10u128.pow((wanted - digits) as u32),
            Small(m, _) => m.unsigned_abs() / 10u128.pow((digits - wanted) as u32),
            Big(m, _) => (m.magnitude() / power_of_ten((digits - wanted) as u32).magnitude()).to_u128().unwrap_or(0),
            NegInfinity | Infinity | NaN => 0,
        };
        (weight, first as u32)
    }

    /// The quotient of two finite values at a scale, half away from zero or cut off.
    fn divide(&self, other: &Self, scale: u32, round: bool) -> Result<Self, EvalError> {
        let (sa, sb) = (i64::from(self.scale().unwrap_or(0)), i64::from(other.scale().unwrap_or(0)));
        let shift = i64::from(scale) + sb - sa;
        let up = shift.max(0) as u32;
        let down = (-shift).max(0) as u32;
        if let (Small(a, _), Small(b, _)) = (&self.0, &other.0)
            && let (Some(n), Some(d)) = (scale_up(*a, up), scale_up(*b, down))
        {
            let (Some(q), Some(r)) = (n.checked_div(d), n.checked_rem(d)) else {
                return self.divide_big(other, scale, up, down, round);
            };
            let away = round && r.unsigned_abs() >= d.unsigned_abs() - r.unsigned_abs();
            let q = if away { q + n.signum() * d.signum() } else { q };
            return Ok(Self(Small(q, scale)));
        }
        self.divide_big(other, scale, up, down, round)
    }

    fn divide_big(&self, other: &Self, scale: u32, up: u32, down: u32, round: bool) -> Result<Self, EvalError> {
        let n = self.mantissa() * power_of_ten(up);
        let d = other.mantissa() * power_of_ten(down);
        if d.is_zero() {
            return Err(EvalError::DivisionByZero);
        }
        let mut q = &n / &d;
        let r = &n - &q * &d;
        if round && (r.magnitude() << 1u32) >= *d.magnitude() {
            q += if n.is_negative() == d.is_negative() { 1 } else { -1 };
        }
        Ok(Self::from_big(q, scale))
    }

    /// `self % other`; the sign is that of `self`.
    ///
    /// # Errors
    /// Division by zero.
    pub fn rem(&self, other: &Self) -> Result<Self, EvalError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Self::NAN);
        }
        if other.is_zero() {
            return Err(EvalError::DivisionByZero);
        }
        if !self.is_finite() {
            return Ok(Self::NAN);
        }
        if !other.is_finite() {
            return Ok(self.clone());
        }
        let (sa, sb) = (self.scale().unwrap_or(0), other.scale().unwrap_or(0));
        let scale = sa.max(sb);
        if let (Small(a, _), Small(b, _)) = (&self.0, &other.0)
            && let (Some(a), Some(b)) = (scale_up(*a, scale - sa), scale_up(*b, scale - sb))
        {
            return Ok(Self(Small(a.checked_rem(b).unwrap_or(0), scale)));
        }
        let a = self.mantissa() * power_of_ten(scale - sa);
        let b = other.mantissa() * power_of_ten(scale - sb);
        Self::from_big(a % b, scale).stored()
    }

    /// PostgreSQL's `round(value, scale)`: half away from zero; the result shows `scale` digits (none when negative).
    ///
    /// # Errors
    /// When PostgreSQL cannot store the result.
    pub fn round(&self, scale: i32) -> Result<Self, EvalError> {
        self.rescaled(scale.clamp(*ROUNDED.start(), *ROUNDED.end()), true).stored()
    }

    /// PostgreSQL's `trunc(value, scale)`: towards zero; the result shows `scale` digits (none when negative).
    ///
    /// # Errors
    /// When PostgreSQL cannot store the result.
    pub fn trunc(&self, scale: i32) -> Result<Self, EvalError> {
        self.rescaled(scale.clamp(*TRUNCATED.start(), *TRUNCATED.end()), false).stored()
    }

    pub(super) fn rescaled(&self, scale: i32, round: bool) -> Self {
        let Some(now) = self.scale() else { return self.clone() };
        let shown = scale.max(0) as u32;
        let up = i64::from(scale) - i64::from(now);
        if let Ok(up) = u32::try_from(up) {
            if let Small(m, _) = &self.0
                && let Some(m) = scale_up(*m, up)
            {
                return Self(Small(m, shown));
            }
            return Self::from_big(self.mantissa() * power_of_ten(up), shown);
        }
        let down = up.unsigned_abs() as u32;
        let back = scale.min(0).unsigned_abs();
        if let Small(m, _) = &self.0 {
            let cut = if round { divide_rounded(*m, down) } else { small_power(down).map_or(0, |p| m / p) };
            if let Some(m) = scale_up(cut, back) {
                return Self(Small(m, shown));
            }
        }
        let m = self.mantissa();
        let cut = if round { divide_rounded_big(&m, down) } else { m / power_of_ten(down) };
        Self::from_big(cut * power_of_ten(back), shown)
    }

    /// The smallest integer not below.
    ///
    /// # Errors
    /// When PostgreSQL cannot store the result.
    pub fn ceil(&self) -> Result<Self, EvalError> {
        let cut = self.rescaled(0, false);
        if cut.is_finite() && cut < *self { cut.add(&Self::new(1, 0)) } else { Ok(cut) }
    }

    /// The largest integer not above.
    ///
    /// # Errors
    /// When PostgreSQL cannot store the result.
    pub fn floor(&self) -> Result<Self, EvalError> {
        let cut = self.rescaled(0, false);
        if cut.is_finite() && cut > *self { cut.sub(&Self::new(1, 0)) } else { Ok(cut) }
    }

    /// The fewest digits after the point that show the value exactly.
    #[must_use]
    pub fn min_scale(&self) -> Option<u32> {
        self.trim_scale().scale()
    }

    /// The same value without trailing zeros after the point.
    #[must_use]
    pub fn trim_scale(&self) -> Self {
        match &self.0 {
            Small(0, _) => Self::ZERO,
            Small(m, scale) => {
                let (mut m, mut scale) = (*m, *scale);
                while scale > 0 && m % 10 == 0 {
                    m /= 10;
                    scale -= 1;
                }
                Self(Small(m, scale))
            }
            Big(m, scale) => {
                let zeros = m.to_string().bytes().rev().take_while(|b| *b == b'0').count() as u32;
                let cut = zeros.min(*scale);
                Self::from_big(&**m / power_of_ten(cut), scale - cut)
            }
            NegInfinity | Infinity | NaN => self.clone(),
        }
    }

    /// The square of a finite value, whatever its size; for accumulators.
    pub(crate) fn squared(&self) -> Self {
        match &self.0 {
            Small(m, scale) => match m.checked_mul(*m) {
                Some(square) => Self(Small(square, scale * 2)),
                None => Self::from_big(BigInt::from(*m) * *m, scale * 2),
            },
            Big(m, scale) => Self::from_big(&**m * &**m, scale * 2),
            NegInfinity | Infinity | NaN => self.clone(),
        }
    }

    /// `self × count`, at the same scale; for accumulators.
    pub(crate) fn times(&self, count: i64) -> Self {
        match &self.0 {
            Small(m, scale) => match m.checked_mul(i128::from(count)) {
                Some(m) => Self(Small(m, *scale)),
                None => Self::from_big(BigInt::from(*m) * count, *scale),
            },
            Big(m, scale) => Self::from_big(&**m * count, *scale),
            NegInfinity | Infinity | NaN => self.clone(),
        }
    }
}
