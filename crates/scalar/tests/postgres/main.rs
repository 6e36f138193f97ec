//! Everything native against PostgreSQL itself, on random and edge values.
//!
//! Each test starts a server of its own, sends a batch of values in binary, lets PostgreSQL and the crate compute the same,
//! and wants the same bytes and the same SQLSTATEs. `TRIBUTARY_SEED` repeats a run, `TRIBUTARY_TEST_ROWS` makes
//! it longer.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

mod casts;
mod expressions;
mod functions;
mod keys;
mod numbers;
mod registry;
mod server;
mod sums;
mod values;
