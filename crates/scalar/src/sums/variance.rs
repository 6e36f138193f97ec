//! Variance and standard deviation of `numeric` and of the integers, as PostgreSQL's `numeric_stddev_internal` computes them
//! from the sum of the values and the sum of their squares, both exact.

use super::NumericSum;
use crate::error::{DatumError, EvalError};
use crate::numeric::Numeric;

/// Exact sums of values and of their squares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VarianceSum {
    values: NumericSum,
    /// Of finite values.
    squares: NumericSum,
}

impl VarianceSum {
    /// Adds `value` `count` times; a negative count takes it out.
    pub fn add(&mut self, value: &Numeric, count: i64) {
        self.values.add(value, count);
        if value.is_finite() {
            self.squares.add(&value.squared(), count);
        }
    }

    /// How many values are in.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.values.count()
    }

    /// `var_samp` (or, not of a sample, `var_pop`); `None` (NULL) of too few values.
    ///
    /// # Errors
    /// When PostgreSQL cannot store the result.
    pub fn variance(&self, sample: bool) -> Result<Option<Numeric>, EvalError> {
        self.unchecked(sample)?.map(Numeric::stored).transpose()
    }

    /// The variance, also where only its root can be stored.
    fn unchecked(&self, sample: bool) -> Result<Option<Numeric>, EvalError> {
        let count = self.count();
        if count == 0 || (sample && count == 1) {
            return Ok(None);
        }
        let Some((sum, squares)) = self.values.finite().zip(self.squares.finite()) else {
            return Ok(Some(Numeric::NAN));
        };
        let numerator = squares.times(count).add_unchecked(&sum.squared().neg());
        if numerator.signum() <= 0 {
            return Ok(Some(Numeric::ZERO));
        }
        let others = if sample { count - 1 } else { count };
        numerator.div_unchecked(&Numeric::from(count).times(others)).map(Some)
    }

    /// `stddev_samp` (or, not of a sample, `stddev_pop`); `None` (NULL) of too few values.
    ///
    /// # Errors
    /// When PostgreSQL cannot store the result.
    pub fn deviation(&self, sample: bool) -> Result<Option<Numeric>, EvalError> {
        let root = |v: Numeric| match v.scale() {
            Some(scale) if !v.is_zero() => v.sqrt_at(scale),
            _ => v,
        };
        self.unchecked(sample)?.map(|v| root(v).stored()).transpose()
    }

    /// Appends the stored form.
    pub fn encode(&self, into: &mut Vec<u8>) {
        self.values.encode(into);
        self.squares.encode(into);
    }

    /// Takes the stored form off.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn decode(from: &mut &[u8]) -> Result<Self, DatumError> {
        Ok(Self { values: NumericSum::decode(from)?, squares: NumericSum::decode(from)? })
    }
}
