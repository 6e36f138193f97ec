//! PostgreSQL's `numeric`: an integer over a power of ten, with the display scale that PostgreSQL gives each result.
//!
//! A finite value is `mantissa × 10^-scale`; the scale is the display scale (`1.50` is 150 with scale 2), and no
//! digit lies beyond it. Mantissas up to 38 digits are an `i128`, longer ones a `BigInt`. Equality and order are
//! by value, as PostgreSQL's: 1.0 = 1.00, NaN equals itself and is above everything.

mod arith;
mod convert;
mod print;
mod root;
mod wire;

pub(crate) use wire::{Wire, WireSign};

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};

use crate::error::EvalError;

/// A numeric. Cheap to copy while it has at most 38 digits.
#[derive(Debug, Clone)]
pub struct Numeric(Repr);

#[derive(Debug, Clone)]
enum Repr {
    NegInfinity,
    Infinity,
    NaN,
    /// Mantissa and scale.
    Small(i128, u32),
    /// Mantissa outside `i128`, and scale.
    Big(Box<BigInt>, u32),
}

use Repr::{Big, Infinity, NaN, NegInfinity, Small};

/// The largest display scale that PostgreSQL stores.
const MAX_SCALE: u32 = 16383;
/// The most digits before the decimal point that PostgreSQL stores.
const MAX_INTEGER_DIGITS: u64 = 131_072;

impl Numeric {
    /// 0 with scale 0.
    pub const ZERO: Self = Self(Small(0, 0));
    /// Not a number.
    pub const NAN: Self = Self(NaN);
    /// Positive infinity (PostgreSQL 14 and later).
    pub const INFINITY: Self = Self(Infinity);
    /// Negative infinity (PostgreSQL 14 and later).
    pub const NEG_INFINITY: Self = Self(NegInfinity);

    /// `mantissa × 10^-scale`.
    #[must_use]
    pub const fn new(mantissa: i128, scale: u32) -> Self {
        Self(Small(mantissa, scale))
    }

    /// `mantissa × 10^-scale` of any size.
    #[must_use]
    pub(crate) fn from_big(mantissa: BigInt, scale: u32) -> Self {
        match mantissa.to_i128() {
            Some(small) => Self(Small(small, scale)),
            None => Self(Big(Box::new(mantissa), scale)),
        }
    }

    /// Whether it is NaN.
    #[must_use]
    pub fn is_nan(&self) -> bool {
        matches!(self.0, NaN)
    }

    /// Whether it is neither NaN nor infinite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        matches!(self.0, Small(..) | Big(..))
    }

    /// Whether it is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        matches!(self.0, Small(0, _))
    }

    /// The display scale: digits shown after the decimal point. `None` for NaN and the infinities.
    #[must_use]
    pub fn scale(&self) -> Option<u32> {
        match self.0 {
            Small(_, scale) | Big(_, scale) => Some(scale),
            NegInfinity | Infinity | NaN => None,
        }
    }

    /// -1, 0 or 1; 0 for NaN.
    #[must_use]
    pub fn signum(&self) -> i32 {
        match &self.0 {
            NegInfinity => -1,
            Infinity => 1,
            NaN => 0,
            Small(m, _) => m.signum() as i32,
            Big(m, _) => {
                if m.is_negative() {
                    -1
                } else {
                    1
                }
            }
        }
    }

    /// The mantissa as a big integer; 0 for what is not finite.
    pub(crate) fn mantissa(&self) -> BigInt {
        match &self.0 {
            Small(m, _) => BigInt::from(*m),
            Big(m, _) => (**m).clone(),
            NegInfinity | Infinity | NaN => BigInt::zero(),
        }
    }

    /// Refuses what PostgreSQL cannot store.
    pub(crate) fn stored(self) -> Result<Self, EvalError> {
        let fits = match &self.0 {
            NegInfinity | Infinity | NaN => true,
            Small(_, scale) => *scale <= MAX_SCALE,
            Big(m, scale) => *scale <= MAX_SCALE && integer_digits(m, *scale) <= MAX_INTEGER_DIGITS,
        };
        if fits { Ok(self) } else { Err(EvalError::NumericOverflow) }
    }

    /// PostgreSQL's order: -Infinity < finite < Infinity < NaN = NaN.
    fn order(&self, other: &Self) -> Ordering {
        let rank = |n: &Self| match n.0 {
            NegInfinity => 0,
            Small(..) | Big(..) => 1,
            Infinity => 2,
            NaN => 3,
        };
        match (&self.0, &other.0) {
            (Small(a, sa), Small(b, sb)) if sa == sb => a.cmp(b),
            (Small(a, sa), Small(b, sb)) => {
                let scale = *sa.max(sb);
                match (scale_up(*a, scale - sa), scale_up(*b, scale - sb)) {
                    (Some(a), Some(b)) => a.cmp(&b),
                    _ => self.order_big(other),
                }
            }
            (Small(..) | Big(..), Small(..) | Big(..)) => self.order_big(other),
            _ => rank(self).cmp(&rank(other)),
        }
    }

    fn order_big(&self, other: &Self) -> Ordering {
        let (sa, sb) = (self.scale().unwrap_or(0), other.scale().unwrap_or(0));
        let signs = self.signum().cmp(&other.signum());
        if signs != Ordering::Equal {
            return signs;
        }
        let scale = sa.max(sb);
        (self.mantissa() * power_of_ten(scale - sa)).cmp(&(other.mantissa() * power_of_ten(scale - sb)))
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        self.order(other) == Ordering::Equal
    }
}

impl Eq for Numeric {}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Numeric {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order(other)
    }
}

impl From<i64> for Numeric {
    fn from(v: i64) -> Self {
        Self(Small(i128::from(v), 0))
    }
}

impl From<i32> for Numeric {
    fn from(v: i32) -> Self {
        Self(Small(i128::from(v), 0))
    }
}

/// 10 to the `n`th as `i128`, up to 38.
const fn small_power(n: u32) -> Option<i128> {
    10i128.checked_pow(n)
}

/// `m × 10^n` when it fits.
fn scale_up(m: i128, n: u32) -> Option<i128> {
    if m == 0 {
        return Some(0);
    }
    small_power(n).and_then(|p| m.checked_mul(p))
}

/// 10 to the `n`th.
fn power_of_ten(n: u32) -> BigInt {
    match small_power(n) {
        Some(p) => BigInt::from(p),
        None => BigInt::from(10u32).pow(n),
    }
}

/// Decimal digits of the magnitude; 0 has none.
fn decimal_digits(m: &BigInt) -> u64 {
    if let Some(small) = m.magnitude().to_u128() {
        return small.checked_ilog10().map_or(0, |l| u64::from(l) + 1);
    }
    // The estimate is at most one short: 2^(bits-1) <= |m| < 2^bits.
    let low = ((m.bits() - 1) as f64 * std::f64::consts::LOG10_2).floor() as u64;
    let mut digits = low.max(1);
    while *power_of_ten(digits as u32).magnitude() <= *m.magnitude() {
        digits += 1;
    }
    digits
}

/// Digits before the decimal point of `m × 10^-scale`, exactly where it matters.
fn integer_digits(m: &BigInt, scale: u32) -> u64 {
    let about = (m.bits() as f64 * std::f64::consts::LOG10_2) as u64;
    if about + 2 < MAX_INTEGER_DIGITS + u64::from(scale) {
        return about.saturating_sub(u64::from(scale));
    }
    decimal_digits(m).saturating_sub(u64::from(scale))
}

/// `m / 10^n`, half away from zero.
fn divide_rounded(m: i128, n: u32) -> i128 {
    match small_power(n) {
        Some(p) => {
            let (q, r) = (m / p, m % p);
            if r.unsigned_abs() >= p.unsigned_abs().div_ceil(2) && n > 0 { q + m.signum() } else { q }
        }
        // |m| < 1.8e38, so that it is below half of 10^39.
        None => 0,
    }
}

/// `m / 10^n`, half away from zero.
fn divide_rounded_big(m: &BigInt, n: u32) -> BigInt {
    let p = power_of_ten(n);
    let half = &p >> 1u32;
    if n == 0 {
        m.clone()
    } else if m.is_negative() {
        (m - half) / p
    } else {
        (m + half) / p
    }
}
