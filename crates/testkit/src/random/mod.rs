//! Random queries over random tables that change at random.
//!
//! Everything follows from a seed. Values are few, equal and NULL often; results do not depend on the order in which rows are
//! read: floats are left out, numerics keep one scale, and what takes rows by an order has one that decides.
//! A query is a tree ([`Query`]), so that one that fails can be made smaller ([`Query::smaller`]).

mod changes;
mod expression;
mod from;
mod generate;
mod query;
mod schema;
mod shrink;

pub use changes::Changes;
pub use expression::Expr;
pub use generate::Generator;
pub use query::Query;
pub use schema::{Place, RandomTable, Schema, Ty};
pub use shrink::{fewer, shrink};
