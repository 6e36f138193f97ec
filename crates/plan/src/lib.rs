//! A query to a checked tree of relational operators.
//!
//! ```text
//! query ─ temporary view, rolled back ─► PostgreSQL's analysed tree ─ reader ─► query, from, grouping ─► Rel ─ push ─ share ─ prune ─► Plan
//!                                                                       expressions: convert ─► native (ring 1)
//!                                                                                           └─► deparse (ring 2)
//! ```
//!
//! PostgreSQL says what a query means; nothing is re-guessed. What cannot be kept is refused with the reason and,
//! where there is one, the nearest query that works.

mod aggregates;
mod analyze;
mod array;
mod array_sub;
mod bounds;
mod built;
mod calls;
mod catalog;
mod conditions;
mod constant;
mod convert;
mod cycle;
mod deparse;
mod environment;
mod error;
mod explain;
mod expr;
mod filters;
mod folded;
mod from;
mod full;
mod functions;
mod grouped;
mod grouping;
mod grouping_sets;
mod guard;
mod hash;
mod implied;
mod items;
mod join;
mod join_key;
mod joins;
mod jsonb;
mod lateral;
mod literals;
mod moments;
mod named;
mod native;
mod nested;
mod node_type;
mod one_row;
mod outer;
mod pairs;
mod placed;
mod prune;
mod push;
mod query;
mod range;
mod reader;
mod recursion;
mod relation;
mod represented;
mod restricted;
mod rewritten;
mod row_id;
mod scope;
mod set_operation;
mod strict;
mod sublink;
mod subplans;
mod subquery;
mod text_forms;
mod told_apart;
mod top;
mod tree;
mod values;
mod volatility;
mod whole_row;
mod window;
mod xml;

pub use analyze::{FunctionUse, PlanOptions, Planned, plan};
pub use environment::environment;
pub use error::PlanError;
pub use explain::{aggregate_text, explain_text, scalar_text};
pub use nested::StreamView;
pub use pairs::Comparison;
pub use placed::placed;
pub use tree::{
    Aggregate, AggregateFunc, Condition, JoinKind, OutputKey, PgExpr, Plan, Rel, SetOp, SortKey, SourceUse,
};
