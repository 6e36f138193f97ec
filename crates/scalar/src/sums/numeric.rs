//! Sum and average of `numeric`.
//!
//! PostgreSQL shows a sum with the largest display scale of what was summed. To have it again after a value was
//! taken out, values are summed for each scale apart, with their count. NaN and the infinities are counted.

use num_bigint::BigInt;

use super::{put, take, take_bytes, take_i64};
use crate::error::{DatumError, EvalError};
use crate::numeric::Numeric;

/// An exact sum of numerics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumericSum {
    nan: i64,
    infinity: i64,
    neg_infinity: i64,
    /// Ascending by scale; none with count and sum both 0.
    scales: Vec<OfScale>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct OfScale {
    scale: u32,
    count: i64,
    sum: Numeric,
}

impl NumericSum {
    /// Adds `value` `count` times; a negative count takes it out.
    pub fn add(&mut self, value: &Numeric, count: i64) {
        match value.scale() {
            None if value.is_nan() => self.nan += count,
            None if value.signum() > 0 => self.infinity += count,
            None => self.neg_infinity += count,
            Some(scale) => self.add_finite(scale, count, &value.times(count)),
        }
    }

    fn add_finite(&mut self, scale: u32, count: i64, times: &Numeric) {
        match self.scales.binary_search_by_key(&scale, |s| s.scale) {
            Ok(at) => {
                if let Some(of) = self.scales.get_mut(at) {
                    of.count += count;
                    of.sum = plus(&of.sum, times);
                    if of.count == 0 && of.sum.is_zero() {
                        self.scales.remove(at);
                    }
                }
            }
            Err(at) => self.scales.insert(at, OfScale { scale, count, sum: times.clone() }),
        }
    }

    /// Adds what `other` has.
    pub fn merge(&mut self, other: &Self) {
        self.nan += other.nan;
        self.infinity += other.infinity;
        self.neg_infinity += other.neg_infinity;
        for of in &other.scales {
            self.add_finite(of.scale, of.count, &of.sum);
        }
    }

    /// How many values are in.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.nan + self.infinity + self.neg_infinity + self.scales.iter().map(|s| s.count).sum::<i64>()
    }

    /// `sum(numeric)`; `None` (NULL) of no values.
    ///
    /// # Errors
    /// When PostgreSQL cannot store the result.
    pub fn value(&self) -> Result<Option<Numeric>, EvalError> {
        if self.count() == 0 {
            return Ok(None);
        }
        if self.nan > 0 || (self.infinity > 0 && self.neg_infinity > 0) {
            return Ok(Some(Numeric::NAN));
        }
        if self.infinity > 0 {
            return Ok(Some(Numeric::INFINITY));
        }
        if self.neg_infinity > 0 {
            return Ok(Some(Numeric::NEG_INFINITY));
        }
        self.finite().unwrap_or(Numeric::ZERO).add(&Numeric::ZERO).map(Some)
    }

    /// The sum, whatever its size, if only finite values are in.
    pub(super) fn finite(&self) -> Option<Numeric> {
        let finite = self.nan == 0 && self.infinity == 0 && self.neg_infinity == 0;
        finite.then(|| self.scales.iter().fold(Numeric::ZERO, |sum, of| plus(&sum, &of.sum)))
    }

    /// `avg(numeric)`; `None` (NULL) of no values.
    ///
    /// # Errors
    /// When PostgreSQL cannot store the result.
    pub fn average(&self) -> Result<Option<Numeric>, EvalError> {
        self.value()?.map(|sum| sum.div(&Numeric::from(self.count()))).transpose()
    }

    /// Appends the stored form.
    pub fn encode(&self, into: &mut Vec<u8>) {
        for count in [self.nan, self.infinity, self.neg_infinity, self.scales.len() as i64] {
            put(into, i128::from(count));
        }
        for of in &self.scales {
            put(into, i128::from(of.scale));
            put(into, i128::from(of.count));
            let mantissa = of.sum.mantissa().to_signed_bytes_be();
            put(into, mantissa.len() as i128);
            into.extend_from_slice(&mantissa);
        }
    }

    /// Takes the stored form off.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn decode(from: &mut &[u8]) -> Result<Self, DatumError> {
        let (nan, infinity, neg_infinity) = (take_i64(from)?, take_i64(from)?, take_i64(from)?);
        let mut scales = Vec::new();
        for _ in 0..take_i64(from)? {
            let scale = u32::try_from(take(from)?).map_err(|_| DatumError::Damaged(types::oid::NUMERIC))?;
            let count = take_i64(from)?;
            let length = take(from)?;
            let mantissa = BigInt::from_signed_bytes_be(take_bytes(from, length)?);
            scales.push(OfScale { scale, count, sum: Numeric::from_big(mantissa, scale) });
        }
        Ok(Self { nan, infinity, neg_infinity, scales })
    }
}

/// The sum of finite values, whatever its size: what is stored is checked when it is read.
fn plus(a: &Numeric, b: &Numeric) -> Numeric {
    a.add_unchecked(b)
}
