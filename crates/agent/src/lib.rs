//! Beside one PostgreSQL node: its committed transactions and prepared branches, cut down to the columns that plans
//! need, shipped to the aggregator in the node's commit order, and resumed without loss or doubling when either dies.
//!
//! ```text
//!   slot ─ wal ─▶ stream ─▶ collector (directory, projector) ─▶ link ═ gRPC ═▶ aggregator
//!    ▲                          │ undecided branches                             │
//!    └────────────────────── confirm ◀─────────────────────────── Durable ───────┘
//!                             orders, snapshot ◀────────────────── Order
//! ```
//!
//! [`Agent::spawn`] starts one. It needs a role with REPLICATION, SELECT on the tables, and the publications that
//! `tributary setup` makes (or the right to make them).

mod agent;
mod backoff;
mod collector;
mod confirm;
mod directory;
mod error;
mod link;
mod node;
mod options;
mod orders;
mod per_node;
mod projector;
mod session;
mod shape;
mod slot;
mod snapshot;
mod stream;
mod subscription;

pub use agent::{Agent, Handle};
pub use error::AgentError;
pub use options::AgentOptions;
