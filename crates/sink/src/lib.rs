//! Deltas and the frontier into the target database, one transaction a cut.
//!
//! ```text
//! definitions ──► staging ──COPY──► (hidden table) ──publish──┐
//!                                                             ▼
//! SinkBatch ──► BEGIN; frontier (fenced); publish; deletes, updates, inserts; COMMIT ──► stream tables
//! ```
//!
//! Invariants: the frontier row and the rows it stands for commit together; a batch whose number the frontier has
//! already reached is skipped; an aggregator that another one has taken over from changes nothing more.

mod apply;
mod array;
mod batch;
mod catalog;
mod connector;
mod copy;
mod definition;
mod error;
mod frontier;
mod layout;
mod pipeline;
mod publish;
mod schema;
mod sink;
mod staging;
mod statement;
mod wait;

pub use batch::SinkBatch;
pub use connector::Connector;
pub use definition::Definition;
pub use error::{Severity, SinkError};
pub use frontier::{Frontier, NodeRow};
pub use layout::{KeySpec, ROW_ID, TableSpec};
pub use schema::{BadInstance, Instance};
pub use sink::Sink;
pub use wait::WaitToken;
