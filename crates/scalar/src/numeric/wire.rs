//! `numeric`'s binary send format: groups of four decimal digits (base 10000), a weight, a sign, a display scale.

use num_bigint::{BigInt, Sign};
use num_traits::Signed;

use super::{Big, Infinity, NaN, NegInfinity, Numeric, Repr, Small, power_of_ten, small_power};

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEG_INFINITY: u16 = 0xF000;

/// The parts of the binary form, borrowed. Also what keys are made from, without going through a [`Numeric`].
pub(crate) struct Wire<'a> {
    pub(crate) weight: i16,
    pub(crate) sign: WireSign,
    pub(crate) scale: u16,
    groups: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireSign {
    Positive,
    Negative,
    NaN,
    Infinity,
    NegInfinity,
}

impl<'a> Wire<'a> {
    /// Takes the form apart; `None` when the bytes are none.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, groups) = bytes.split_at_checked(8)?;
        let word = |i: usize| Some(u16::from_be_bytes([*head.get(i)?, *head.get(i + 1)?]));
        let sign = match word(4)? {
            0 => WireSign::Positive,
            NEGATIVE => WireSign::Negative,
            NAN => WireSign::NaN,
            INFINITY => WireSign::Infinity,
            NEG_INFINITY => WireSign::NegInfinity,
            _ => return None,
        };
        let wire = Self { weight: word(2)? as i16, sign, scale: word(6)?, groups };
        let whole = usize::from(word(0)?) * 2 == groups.len() && wire.scale <= 0x3FFF;
        (whole && wire.groups().all(|g| g < 10_000)).then_some(wire)
    }

    /// The groups, most significant first.
    pub(crate) fn groups(&self) -> impl DoubleEndedIterator<Item = u16> + ExactSizeIterator + 'a {
        self.groups.chunks_exact(2).map(|g| u16::from_be_bytes([g[0], g[1]]))
    }
}

impl Numeric {
    /// Reads the binary send format.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let wire = Wire::parse(bytes)?;
        let negative = match wire.sign {
            WireSign::NaN => return Some(Self(NaN)),
            WireSign::Infinity => return Some(Self(Infinity)),
            WireSign::NegInfinity => return Some(Self(NegInfinity)),
            WireSign::Positive => false,
            WireSign::Negative => true,
        };
        let scale = u32::from(wire.scale);
        let count = wire.groups().len();
        if count == 0 {
            return Some(Self(Small(0, scale)));
        }
        // The last group counts 10^exponent in units of 10^-scale; negative: digits beyond the scale, always zeros.
        let exponent = 4 * (i64::from(wire.weight) - count as i64 + 1) + i64::from(scale);
        let digits = 4 * count as i64 + exponent.max(0);
        if count <= 9 && digits <= 38 {
            let mut m = 0i128;
            for g in wire.groups() {
                m = m * 10_000 + i128::from(g);
            }
            match u32::try_from(exponent) {
                Ok(up) => m *= small_power(up)?,
                Err(_) => m = u32::try_from(-exponent).ok().and_then(small_power).map_or(0, |p| m / p),
            }
            return Some(Self(Small(if negative { -m } else { m }, scale)));
        }
        // Powers of ten are bounded by the format: |weight| < 2^15 groups, scale < 2^14 digits.
        let mut digits = Vec::with_capacity(4 * count);
        for g in wire.groups() {
            digits.extend([g / 1000, g / 100 % 10, g / 10 % 10, g % 10].map(|d| d as u8));
        }
        let m = BigInt::from_radix_be(Sign::Plus, &digits, 10)?;
        let m = match u32::try_from(exponent) {
            Ok(up) => m * power_of_ten(up),
            Err(_) => m / power_of_ten(u32::try_from(-exponent).ok()?),
        };
        Some(Self::from_big(if negative { -m } else { m }, scale))
    }

    /// Appends the binary send format.
    pub(crate) fn write(&self, into: &mut Vec<u8>) {
        match &self.0 {
            Repr::NaN => head(into, 0, 0, NAN, 0),
            // PostgreSQL takes the scale from header bits that mean something else here.
            Repr::Infinity => head(into, 0, 0, INFINITY, 32),
            Repr::NegInfinity => head(into, 0, 0, NEG_INFINITY, 32),
            Small(0, scale) => head(into, 0, 0, 0, *scale),
            Small(m, scale) => {
                let mut groups = [0u16; 11];
                let mut at = 0;
                let mut rest = m.unsigned_abs();
                // Groups are aligned at the decimal point: the last one may be padded with zeros on the right.
                let last = scale % 4;
                if last > 0 {
                    let unit = 10u128.pow(last);
                    groups[0] = ((rest % unit) * 10u128.pow(4 - last)) as u16;
                    rest /= unit;
                    at = 1;
                }
                while rest > 0 {
                    if let Some(slot) = groups.get_mut(at) {
                        *slot = (rest % 10_000) as u16;
                    }
                    rest /= 10_000;
                    at += 1;
                }
                finish(into, groups.get(..at).unwrap_or(&groups), *scale, *m < 0);
            }
            Big(m, scale) => {
                let pad = (4 - scale % 4) % 4;
                let digits = (m.magnitude() * power_of_ten(pad).magnitude()).to_radix_le(10);
                let groups: Vec<u16> = digits
                    .chunks(4)
                    .map(|c| c.iter().rev().fold(0u16, |group, digit| group * 10 + u16::from(*digit)))
                    .collect();
                finish(into, &groups, *scale, m.is_negative());
            }
        }
    }
}

fn head(into: &mut Vec<u8>, groups: u16, weight: i16, sign: u16, scale: u32) {
    into.extend_from_slice(&groups.to_be_bytes());
    into.extend_from_slice(&weight.to_be_bytes());
    into.extend_from_slice(&sign.to_be_bytes());
    into.extend_from_slice(&(scale as u16).to_be_bytes());
}

/// Writes groups given least significant first, the lowest one ending at the scale rounded up to four.
fn finish(into: &mut Vec<u8>, groups: &[u16], scale: u32, negative: bool) {
    let zeros = groups.iter().take_while(|g| **g == 0).count();
    let top = groups.iter().rev().take_while(|g| **g == 0).count();
    let Some(kept) = groups.get(zeros..groups.len() - top) else {
        return head(into, 0, 0, 0, scale);
    };
    let weight = groups.len() as i64 - top as i64 - 1 - i64::from(scale.div_ceil(4));
    head(into, kept.len() as u16, weight as i16, if negative { NEGATIVE } else { 0 }, scale);
    for g in kept.iter().rev() {
        into.extend_from_slice(&g.to_be_bytes());
    }
}
