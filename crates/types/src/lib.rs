//! The nouns every stage shares, without I/O: positions, rows, changes, cuts, deltas, schemas, scalar expressions.
//!
//! Also [`contained`], since the planner, the engine and the process around them share it.
//!
//! Stages do not import each other; what crosses a wall between two of them is defined here.

mod change;
mod consistency;
mod contained;
mod delta;
mod ids;
mod row;
mod scalar;
mod schema;

pub use change::{Change, DamagedChanges, Op};
pub use consistency::Consistency;
pub use contained::{Bug, contained, is_contained};
pub use delta::{Cut, Delta, Positions, TableChange};
pub use ids::{BadLsn, CitusTransaction, Epoch, Gid, Lsn, NodeId, Oid, Seq, SourceId, StreamId, TableId};
pub use row::{Field, Fields, Row, RowBuilder, fields, push_field};
pub use scalar::{Scalar, ScalarKind};
pub use schema::{Column, PgType, TableName, collation, oid, quote_ident, quote_literal};
