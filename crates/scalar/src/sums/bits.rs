//! `bit_and`, `bit_or` and `bit_xor` of the integers: how many values have each bit.

use super::{put, take_i64};
use crate::error::DatumError;

/// Counts of values by bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitSum {
    count: i64,
    ones: [i64; 64],
}

impl Default for BitSum {
    fn default() -> Self {
        Self { count: 0, ones: [0; 64] }
    }
}

impl BitSum {
    /// Adds a value (sign-extended) `count` times; a negative count takes it out.
    pub fn add(&mut self, value: i64, count: i64) {
        self.count += count;
        for (bit, ones) in self.ones.iter_mut().enumerate() {
            *ones += (value >> bit & 1) * count;
        }
    }

    fn of(&self, bit_is_set: impl Fn(i64) -> bool) -> Option<i64> {
        let bits = self.ones.iter().enumerate().filter(|(_, ones)| bit_is_set(**ones));
        (self.count != 0).then(|| bits.fold(0, |value, (bit, _)| value | 1 << bit))
    }

    /// Bits that all values have; `None` (NULL) of no values.
    #[must_use]
    pub fn and(&self) -> Option<i64> {
        self.of(|ones| ones == self.count)
    }

    /// Bits that some values have; `None` (NULL) of no values.
    #[must_use]
    pub fn or(&self) -> Option<i64> {
        self.of(|ones| ones > 0)
    }

    /// Bits that an odd number of values has; `None` (NULL) of no values.
    #[must_use]
    pub fn xor(&self) -> Option<i64> {
        self.of(|ones| ones & 1 == 1)
    }

    /// Appends the stored form.
    pub fn encode(&self, into: &mut Vec<u8>) {
        put(into, i128::from(self.count));
        let last = self.ones.iter().rposition(|ones| *ones != 0).map_or(0, |at| at + 1);
        put(into, last as i128);
        self.ones.iter().take(last).for_each(|ones| put(into, i128::from(*ones)));
    }

    /// Takes the stored form off.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn decode(from: &mut &[u8]) -> Result<Self, DatumError> {
        let mut out = Self { count: take_i64(from)?, ..Self::default() };
        let last = usize::try_from(take_i64(from)?).ok().filter(|n| *n <= 64).ok_or(DatumError::Damaged(0))?;
        for ones in out.ones.iter_mut().take(last) {
            *ones = take_i64(from)?;
        }
        Ok(out)
    }
}
