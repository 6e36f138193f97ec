//! Random queries over random tables that change at random.
//!
//! Everything follows from a seed. Values are few, equal and NULL often; results do not depend on the order in which rows are
//! read: floats have exact sums, what takes rows by an order has one that decides, and of types in which equal values can be
//! written differently ([`Ty::is_loose`]) nothing is asked that could tell such values apart.
//! A query is a tree ([`Query`]), so that one that fails can be made smaller ([`Query::smaller`]).

mod changes;
mod expression;
mod from;
mod generate;
mod query;
mod schema;
mod shapes;
mod shrink;
mod ty;
mod window;
mod with;

pub use changes::Changes;
pub use expression::Expr;
pub use generate::{Generator, Readable};
pub use query::Query;
pub use schema::{Place, RandomTable, Schema};
pub use shrink::{fewer, shrink};
pub use ty::Ty;
