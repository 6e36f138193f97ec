//! Floats as text, as PostgreSQL 12 and later print them: the shortest digits that read back, `e` notation outside
//! 1e-4 … 1e15 (1e6 for `real`).
//!
//! PostgreSQL takes digits strictly inside the interval of numbers that round to the float, never a number exactly on
//! its edge, where Rust's shortest digits may lie; those few are found again with one digit more.

use std::cmp::Ordering;

use num_bigint::BigUint;

/// `double precision`'s output form.
pub(crate) fn double(value: f64) -> String {
    if let Some(text) = special(value) {
        return text;
    }
    let (m, e) = parts(value.abs());
    // Integers below 2^53 are printed whole, as they are.
    let exact = value.abs() < 9_007_199_254_740_992.0 && value.fract() == 0.0;
    let asymmetric = m == 1 << 52 && e > -1074;
    let (digits, exponent) = if exact {
        scientific(&format!("{:e}", value.abs()))
    } else {
        shortest(m, e, asymmetric, |n| {
            if n == 0 { format!("{:e}", value.abs()) } else { format!("{:.*e}", n - 1, value.abs()) }
        })
    };
    laid_out(value.is_sign_negative(), &digits, exponent, 15)
}

/// `real`'s output form.
pub(crate) fn real(value: f32) -> String {
    if let Some(text) = special(f64::from(value)) {
        return text;
    }
    let bits = value.abs().to_bits();
    let (fraction, exponent) = (u64::from(bits & 0x7F_FFFF), (bits >> 23) as i32);
    let (m, e) = if exponent == 0 { (fraction, -149) } else { (fraction | 1 << 23, exponent - 150) };
    let exact = value.abs() < 16_777_216.0 && value.fract() == 0.0;
    let asymmetric = m == 1 << 23 && e > -149;
    let (digits, exponent) = if exact {
        scientific(&format!("{:e}", value.abs()))
    } else {
        shortest(m, e, asymmetric, |n| {
            if n == 0 { format!("{:e}", value.abs()) } else { format!("{:.*e}", n - 1, value.abs()) }
        })
    };
    laid_out(value.is_sign_negative(), &digits, exponent, 6)
}

fn special(value: f64) -> Option<String> {
    if value.is_nan() {
        Some("NaN".to_owned())
    } else if value.is_infinite() {
        Some(if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned())
    } else if value == 0.0 {
        Some(if value.is_sign_negative() { "-0" } else { "0" }.to_owned())
    } else {
        None
    }
}

/// A positive double as `m × 2^e`.
fn parts(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52) as i32);
    if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) }
}

/// Digits and decimal exponent of the first one.
fn scientific(text: &str) -> (String, i32) {
    let (number, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (number.replace('.', ""), exponent.parse().unwrap_or(0))
}

/// The shortest digits strictly between the float's neighbours' midpoints. `print(n)` gives `n` digits rounded
/// correctly, `print(0)` the shortest ones that read back.
fn shortest(m: u64, e: i32, asymmetric: bool, print: impl Fn(usize) -> String) -> (String, i32) {
    let (mut digits, mut exponent) = scientific(&print(0));
    let mut length = digits.len();
    // Of two that are as short and as near, PostgreSQL takes the even one, as rounding to that many digits does.
    let rounded = scientific(&print(length));
    if inside(m, e, asymmetric, &rounded.0, rounded.1) {
        (digits, exponent) = rounded;
    }
    // Only an even mantissa lets Rust take a number on the edge.
    while m.is_multiple_of(2) && length < 17 && !inside(m, e, asymmetric, &digits, exponent) {
        length += 1;
        (digits, exponent) = scientific(&print(length));
    }
    while digits.len() > 1 && digits.ends_with('0') {
        digits.pop();
    }
    (digits, exponent)
}

/// Whether `d.ddd × 10^exponent` lies strictly between the midpoints around `m × 2^e`.
fn inside(m: u64, e: i32, asymmetric: bool, digits: &str, exponent: i32) -> bool {
    let Ok(number) = digits.parse::<u64>() else { return true };
    let ten = exponent - (digits.len() as i32 - 1);
    // In quarters of the float's unit: the midpoint above is 4m + 2, below 4m - 2, or 4m - 1 at a power of two.
    let compare = |quarters: u64| {
        let two = e - 2;
        let mut left = BigUint::from(number);
        let mut right = BigUint::from(quarters);
        let scale = |n: &mut BigUint, base: u32, power: u32| *n *= BigUint::from(base).pow(power);
        if ten >= 0 {
            scale(&mut left, 10, ten as u32);
        } else {
            scale(&mut right, 10, ten.unsigned_abs());
        }
        if two >= 0 {
            scale(&mut right, 2, two as u32);
        } else {
            scale(&mut left, 2, two.unsigned_abs());
        }
        left.cmp(&right)
    };
    let below = 4 * m - if asymmetric { 1 } else { 2 };
    compare(4 * m + 2) == Ordering::Less && compare(below) == Ordering::Greater
}

fn laid_out(negative: bool, digits: &str, exponent: i32, precision: i32) -> String {
    let sign = if negative { "-" } else { "" };
    let (first, rest) = digits.split_at(1);
    if exponent < -4 || exponent >= precision {
        let point = if rest.is_empty() { "" } else { "." };
        let minus = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{rest}e{minus}{:02}", exponent.abs());
    }
    if exponent < 0 {
        let zeros = "0".repeat((-exponent - 1) as usize);
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        let zeros = "0".repeat(whole - digits.len());
        return format!("{sign}{digits}{zeros}");
    }
    let (before, after) = digits.split_at(whole);
    format!("{sign}{before}.{after}")
}
