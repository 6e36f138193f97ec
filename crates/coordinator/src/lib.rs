//! The assembled aggregator: agents' streams in, stream tables in the target out, and the services to control it.

mod backfill;
mod catalog;
mod compute;
mod coordinator;
mod cutting;
mod delays;
mod engine;
mod error;
mod evaluator;
mod explain;
mod failing;
mod http;
mod ingest;
mod links;
mod members;
mod mend;
mod nodes;
mod options;
mod placement;
mod publisher;
mod queue;
mod requests;
mod sequencer;
mod services;
mod shape;
mod spool;
mod status;
mod tables;
mod target;
mod verify;
mod wait;
mod watch;

pub use coordinator::{Coordinator, Handle};
pub use error::CoordinatorError;
pub use options::Options;
