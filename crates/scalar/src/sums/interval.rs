//! Sum and average of `interval`.

use super::{put, take, take_i64};
use crate::datum::Interval;
use crate::error::{DatumError, EvalError};
use crate::functions::divide_interval;

/// An exact sum of intervals, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IntervalSum {
    count: i64,
    months: i128,
    days: i128,
    micros: i128,
}

impl IntervalSum {
    /// Adds `value` `count` times; a negative count takes it out.
    pub fn add(&mut self, value: Interval, count: i64) {
        self.count += count;
        self.months += i128::from(value.months) * i128::from(count);
        self.days += i128::from(value.days) * i128::from(count);
        self.micros += i128::from(value.micros) * i128::from(count);
    }

    /// Adds what `other` has.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.months += other.months;
        self.days += other.days;
        self.micros += other.micros;
    }

    /// How many values are in.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.count
    }

    /// `sum(interval)`; `None` (NULL) of no values.
    ///
    /// # Errors
    /// When a part leaves its range.
    pub fn sum(&self) -> Result<Option<Interval>, EvalError> {
        if self.count == 0 {
            return Ok(None);
        }
        let out = || EvalError::raised("22008", "interval out of range");
        Ok(Some(Interval {
            months: self.months.try_into().map_err(|_| out())?,
            days: self.days.try_into().map_err(|_| out())?,
            micros: self.micros.try_into().map_err(|_| out())?,
        }))
    }

    /// `avg(interval)`; `None` (NULL) of no values.
    ///
    /// # Errors
    /// When a part of the sum leaves its range.
    pub fn average(&self) -> Result<Option<Interval>, EvalError> {
        self.sum()?.map(|sum| divide_interval(sum, self.count as f64)).transpose()
    }

    /// Appends the stored form.
    pub fn encode(&self, into: &mut Vec<u8>) {
        for part in [i128::from(self.count), self.months, self.days, self.micros] {
            put(into, part);
        }
    }

    /// Takes the stored form off.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn decode(from: &mut &[u8]) -> Result<Self, DatumError> {
        Ok(Self { count: take_i64(from)?, months: take(from)?, days: take(from)?, micros: take(from)? })
    }
}
