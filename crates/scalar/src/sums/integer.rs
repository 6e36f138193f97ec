//! Sum and average of `smallint`, `integer` and `bigint`.

use super::{put, take, take_i64};
use crate::error::{DatumError, EvalError};
use crate::numeric::Numeric;

/// An exact sum of integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IntSum {
    count: i64,
    sum: i128,
}

impl IntSum {
    /// Adds `value` `count` times; a negative count takes it out.
    pub fn add(&mut self, value: i64, count: i64) {
        self.count += count;
        self.sum += i128::from(value) * i128::from(count);
    }

    /// Adds what `other` has.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
    }

    /// How many values are in.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.count
    }

    /// `sum(smallint)` and `sum(integer)`; `None` (NULL) of no values.
    ///
    /// # Errors
    /// When the sum is no `bigint`.
    pub fn bigint(&self) -> Result<Option<i64>, EvalError> {
        if self.count == 0 {
            return Ok(None);
        }
        self.sum.try_into().map(Some).map_err(|_| EvalError::OutOfRange("bigint"))
    }

    /// `sum(bigint)`; `None` (NULL) of no values.
    #[must_use]
    pub fn numeric(&self) -> Option<Numeric> {
        (self.count != 0).then(|| Numeric::new(self.sum, 0))
    }

    /// `avg` of any integer type; `None` (NULL) of no values.
    ///
    /// # Errors
    /// Never for sums of fewer than 2^63 values.
    pub fn average(&self) -> Result<Option<Numeric>, EvalError> {
        self.numeric().map(|sum| sum.div(&Numeric::from(self.count))).transpose()
    }

    /// Appends the stored form.
    pub fn encode(&self, into: &mut Vec<u8>) {
        put(into, i128::from(self.count));
        put(into, self.sum);
    }

    /// Takes the stored form off.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn decode(from: &mut &[u8]) -> Result<Self, DatumError> {
        Ok(Self { count: take_i64(from)?, sum: take(from)? })
    }
}
