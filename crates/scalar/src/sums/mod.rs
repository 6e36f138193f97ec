//! Sums that can take a value out again, for the accumulators of `sum` and `avg`.
//!
//! Each is a commutative group: adding with count +1 and -1 in any order comes to the same state, and the same
//! state has the same bytes. `count` values are those that are not NULL.

mod bits;
mod float;
mod integer;
mod interval;
mod numeric;
mod variance;

pub use bits::BitSum;
pub use float::FloatSum;
pub use integer::IntSum;
pub use interval::IntervalSum;
pub use numeric::NumericSum;
pub use variance::VarianceSum;

use crate::error::DatumError;

/// Appends an integer, few bytes when it is near zero.
fn put(into: &mut Vec<u8>, value: i128) {
    let mut rest = ((value << 1) ^ (value >> 127)) as u128;
    while rest >= 0x80 {
        into.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

/// Takes an integer off.
fn take(from: &mut &[u8]) -> Result<i128, DatumError> {
    let mut rest = 0u128;
    let mut shift = 0;
    loop {
        let (byte, tail) = from.split_first().ok_or(DatumError::Damaged(0))?;
        *from = tail;
        if shift > 126 || (shift == 126 && *byte > 3) {
            return Err(DatumError::Damaged(0));
        }
        rest |= u128::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    Ok((rest >> 1) as i128 ^ -((rest & 1) as i128))
}

/// Takes an integer off that fits `i64`.
fn take_i64(from: &mut &[u8]) -> Result<i64, DatumError> {
    take(from)?.try_into().map_err(|_| DatumError::Damaged(0))
}

/// Takes as many bytes off.
fn take_bytes<'a>(from: &mut &'a [u8], length: i128) -> Result<&'a [u8], DatumError> {
    let length = usize::try_from(length).map_err(|_| DatumError::Damaged(0))?;
    let (bytes, tail) = from.split_at_checked(length).ok_or(DatumError::Damaged(0))?;
    *from = tail;
    Ok(bytes)
}
