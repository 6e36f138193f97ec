//! A query to a checked tree of relational operators.

mod tree;

pub use tree::{Aggregate, AggregateFunc, OutputKey, PgExpr, Plan, Rel, SourceUse};
