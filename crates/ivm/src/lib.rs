//! A cut's source deltas to its stream tables' deltas.
//!
//! In come definitions ([`SourceDef`], [`StreamDef`]) and cuts (the nodes' committed [`Transaction`]s in their encoded
//! form); out come the changes of every stream table ([`CutOutput`]), durable. Everything is synchronous and
//! deterministic, and free of anything that only an aggregator has.

mod apply;
mod arrangement;
mod backlog;
mod building;
mod cache;
mod compare;
mod compile;
mod definition;
mod engine;
mod error;
mod held;
mod keeping;
mod kept;
mod key;
mod layout;
mod load;
mod meta;
mod moving;
mod operators;
mod outbox;
mod resolve;
mod rows;
mod streams;
mod table;
mod touched;

pub use apply::Unwritten;
pub use building::Building;
pub use compare::{Difference, Scope};
pub use definition::{
    CutOutput, CutRows, CutStats, Evaluator, FromItem, Holding, OperatorStats, RowFilter, SourceDef, StreamDef,
    StreamOutput, Transaction,
};
pub use engine::Engine;
pub use error::{EvaluatorError, IvmError, RowError};
pub use keeping::Operators;
pub use outbox::Outbox;
