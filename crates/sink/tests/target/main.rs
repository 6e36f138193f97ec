//! The sink on real servers: PostgreSQL, and Citus where it is installed.

#![allow(clippy::unwrap_used, reason = "in tests; helpers are no test functions to clippy")]

mod changes;
mod definitions;
mod faults;
mod odd_types;
mod publishing;
mod support;
mod waiting;
