//! What is durable: arrangements, accumulators, outbox and frontier in RocksDB.
//!
//! ```text
//!   engine ──reads (the last cut's state)──▶ Store
//!   engine ──one Batch a cut, synced───────▶ Store ──▶ write-ahead log, memtables, files
//!                 (a large one while the next cut is computed)
//! ```
//!
//! This crate knows keys and values as bytes in one of seven [`Family`]s and nothing of what they mean. The engine uses
//! it through [`Read`] and [`Write`], which are as narrow as they can be, so that another store can take its place.

mod batch;
mod behind;
mod cursor;
mod error;
mod family;
mod frozen;
mod options;
mod parallel;
mod store;

pub use batch::{Batch, Write};
pub use cursor::{Cursor, Entry};
pub use error::StateError;
pub use family::Family;
pub use frozen::Frozen;
pub use options::Options;
pub use parallel::in_parallel;
pub use store::{Durability, Read, Store};
