//! PostgreSQL's scalar values, functions and orders, bit for bit.
//!
//! In come [`types::Scalar`] expressions and [`types::Row`]s whose values are in PostgreSQL's binary send format; out come
//! values in the same format, keys ([`encode_key`]) and sums that can subtract. The invariant: what is computed here
//! is what PostgreSQL computes, to the last digit and SQLSTATE; whatever is not sure to be is [`NotNative`] and left to
//! PostgreSQL itself.

mod calendar;
mod compare;
mod compile;
mod compiled;
mod composed;
mod datum;
mod env;
mod error;
mod float_text;
mod functions;
mod key;
mod numeric;
mod operands;
mod sums;
mod text_form;

pub use compare::beyond;
pub use compile::is_native;
pub use compiled::Compiled;
pub use datum::{Datum, Interval};
pub use env::{CollationKind, Env};
pub use error::{DatumError, EvalError, NotNative};
pub use key::{KeySupport, encode_key, has_forms, key_support};
pub use numeric::Numeric;
pub use sums::{BitSum, FloatSum, IntSum, IntervalSum, NumericSum, VarianceSum};
