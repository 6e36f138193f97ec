//! Sum and average of `real` and `double precision`.
//!
//! PostgreSQL's own sums of floats depend on the order of the rows. This one is exact: an integer times a power of two holds
//! the sum without any rounding, so that the order does not matter and values can be taken out; the result is
//! rounded once, correctly. NaN and the infinities are counted, and so is -0: the sum of nothing else is -0.

use num_bigint::{BigInt, BigUint};
use num_traits::{Signed, ToPrimitive, Zero};

use super::{put, take, take_bytes, take_i64};
use crate::error::{DatumError, EvalError};

/// An exact sum of floats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FloatSum {
    count: i64,
    nan: i64,
    infinity: i64,
    neg_infinity: i64,
    neg_zero: i64,
    sum: Exact,
}

/// `mantissa × 2^exponent`; zero has exponent 0.
#[derive(Debug, Clone)]
enum Exact {
    Small(i128, i32),
    Big(BigInt, i32),
}

impl Default for Exact {
    fn default() -> Self {
        Self::Small(0, 0)
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for Exact {}

impl Exact {
    fn parts(&self) -> (BigInt, i32) {
        match self {
            Self::Small(m, e) => (BigInt::from(*m), *e),
            Self::Big(m, e) => (m.clone(), *e),
        }
    }

    /// The form with an odd mantissa, the same however the value came about.
    fn canonical(&self) -> (BigInt, i32) {
        let (m, e) = self.parts();
        match m.trailing_zeros() {
            None => (m, 0),
            Some(zeros) => (m >> zeros, e + zeros as i32),
        }
    }

    fn of(m: BigInt, e: i32) -> Self {
        match m.to_i128() {
            Some(0) => Self::default(),
            Some(m) => Self::Small(m, e),
            None => Self::Big(m, e),
        }
    }

    fn plus(&self, m: i128, e: i32) -> Self {
        if m == 0 {
            return self.clone();
        }
        if let Self::Small(own, exponent) = self {
            if *own == 0 {
                return Self::Small(m, e);
            }
            let low = (*exponent).min(e);
            if let (Some(a), Some(b)) = (shifted(*own, *exponent - low), shifted(m, e - low))
                && let Some(sum) = a.checked_add(b)
            {
                return if sum == 0 { Self::default() } else { Self::Small(sum, low) };
            }
        }
        self.plus_big(&BigInt::from(m), e)
    }

    fn plus_big(&self, m: &BigInt, e: i32) -> Self {
        let (own, exponent) = self.parts();
        let low = exponent.min(e);
        let (sum, e) = (((own << (exponent - low) as u32) + (m << (e - low) as u32)), low);
        match sum.trailing_zeros() {
            None => Self::default(),
            Some(zeros) => Self::of(sum >> zeros, e + zeros as i32),
        }
    }
}

/// `m × 2^by` when it fits.
fn shifted(m: i128, by: i32) -> Option<i128> {
    let by = u32::try_from(by).ok()?;
    // One bit stays free for the sign.
    (by < m.unsigned_abs().leading_zeros()).then(|| m << by)
}

impl FloatSum {
    /// Adds `value` `count` times; a negative count takes it out. A `real` is added as the double that it is.
    pub fn add(&mut self, value: f64, count: i64) {
        self.count += count;
        if value.is_nan() {
            self.nan += count;
        } else if value.is_infinite() {
            let side = if value > 0.0 { &mut self.infinity } else { &mut self.neg_infinity };
            *side += count;
        } else {
            let bits = value.to_bits();
            if bits == 1 << 63 {
                self.neg_zero += count;
            }
            let fraction = i128::from(bits & ((1 << 52) - 1));
            let exponent = (bits >> 52 & 0x7FF) as i32;
            let (m, e) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
            let zeros = if m == 0 { 0 } else { m.trailing_zeros() };
            let m = (m >> zeros) * i128::from(count);
            self.sum = self.sum.plus(if bits >> 63 == 1 { -m } else { m }, e + zeros as i32);
        }
    }

    /// Adds what `other` has.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.nan += other.nan;
        self.infinity += other.infinity;
        self.neg_infinity += other.neg_infinity;
        self.neg_zero += other.neg_zero;
        let (m, e) = other.sum.parts();
        self.sum = self.sum.plus_big(&m, e);
    }

    /// How many values are in.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.count
    }

    /// The sum, where it is none of finite numbers other than -0.
    fn special(&self) -> Option<f64> {
        if self.nan > 0 || (self.infinity > 0 && self.neg_infinity > 0) {
            Some(f64::NAN)
        } else if self.infinity > 0 {
            Some(f64::INFINITY)
        } else if self.neg_infinity > 0 {
            Some(f64::NEG_INFINITY)
        } else if self.neg_zero == self.count {
            Some(-0.0)
        } else {
            None
        }
    }

    /// `sum(double precision)`; `None` (NULL) of no values.
    ///
    /// # Errors
    /// When finite values sum beyond the largest double.
    pub fn double(&self) -> Result<Option<f64>, EvalError> {
        if self.count == 0 {
            return Ok(None);
        }
        if let Some(special) = self.special() {
            return Ok(Some(special));
        }
        let (m, e) = self.sum.canonical();
        let sum = rounded(&m, e, 53, -1074);
        if sum.is_finite() { Ok(Some(sum)) } else { Err(EvalError::FloatOverflow) }
    }

    /// `sum(real)`; `None` (NULL) of no values.
    ///
    /// # Errors
    /// When finite values sum beyond the largest `real`.
    pub fn real(&self) -> Result<Option<f32>, EvalError> {
        if self.count == 0 {
            return Ok(None);
        }
        if let Some(special) = self.special() {
            return Ok(Some(special as f32));
        }
        let (m, e) = self.sum.canonical();
        let sum = rounded(&m, e, 24, -149) as f32;
        if sum.is_finite() { Ok(Some(sum)) } else { Err(EvalError::FloatOverflow) }
    }

    /// `avg` of either type, a double; `None` (NULL) of no values.
    ///
    /// # Errors
    /// As for [`Self::double`].
    pub fn average(&self) -> Result<Option<f64>, EvalError> {
        // PostgreSQL begins with 0, to which -0 adds nothing.
        Ok(self.double()?.map(|sum| (sum + 0.0) / self.count as f64))
    }

    /// Appends the stored form.
    pub fn encode(&self, into: &mut Vec<u8>) {
        for count in [self.count, self.nan, self.infinity, self.neg_infinity, self.neg_zero] {
            put(into, i128::from(count));
        }
        let (m, e) = self.sum.canonical();
        let mantissa = if m.is_zero() { Vec::new() } else { m.to_signed_bytes_be() };
        put(into, i128::from(e));
        put(into, mantissa.len() as i128);
        into.extend_from_slice(&mantissa);
    }

    /// Takes the stored form off.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn decode(from: &mut &[u8]) -> Result<Self, DatumError> {
        let (count, nan) = (take_i64(from)?, take_i64(from)?);
        let (infinity, neg_infinity, neg_zero) = (take_i64(from)?, take_i64(from)?, take_i64(from)?);
        let damaged = DatumError::Damaged(types::oid::FLOAT8);
        let e = i32::try_from(take(from)?).map_err(|_| damaged.clone())?;
        if !(-1074..=2048).contains(&e) {
            return Err(damaged);
        }
        let length = take(from)?;
        let mantissa = take_bytes(from, length)?;
        let sum = Exact::of(BigInt::from_signed_bytes_be(mantissa), e);
        Ok(Self { count, nan, infinity, neg_infinity, neg_zero, sum })
    }
}

/// `m × 2^e` to `bits` significant bits, none below 2^`least`, half to even; infinite when beyond a double.
fn rounded(m: &BigInt, e: i32, bits: u64, least: i32) -> f64 {
    let magnitude = m.magnitude();
    if magnitude.is_zero() {
        return 0.0;
    }
    let drop = (magnitude.bits() as i64 - bits as i64).max(i64::from(least) - i64::from(e)).max(0) as u64;
    let mut kept: BigUint = magnitude >> drop;
    if drop > 0 {
        let half = BigUint::from(1u32) << (drop - 1);
        let rest = magnitude - (&kept << drop);
        if rest > half || (rest == half && kept.bit(0)) {
            kept += 1u32;
        }
    }
    // At most 53 bits are left, so that the conversion and the scaling by powers of two are exact.
    let mut value = kept.to_f64().unwrap_or(f64::INFINITY);
    let mut exponent = i64::from(e) + drop as i64;
    while exponent > 0 && value.is_finite() {
        let step = exponent.min(1000);
        value *= 2f64.powi(step as i32);
        exponent -= step;
    }
    while exponent < 0 {
        let step = exponent.max(-1000);
        value *= 2f64.powi(step as i32);
        exponent -= step;
    }
    if m.is_negative() { -value } else { value }
}
