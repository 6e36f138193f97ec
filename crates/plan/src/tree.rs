//! The tree of relational operators that a query becomes.
//!
//! Every operator names its columns by position; keys of joins and groups are columns, so that an expression in
//! a key is first computed by a [`Rel::Project`]. An expression that is not native (ring 2) stands only in a
//! [`Rel::PgMap`], which appends its results to its input's columns.

use serde::{Deserialize, Serialize};
use types::{Column, Oid, PgType, Scalar, TableName};

/// A checked query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The tables read, each once, with the columns needed. [`Rel::Source`] points here.
    pub sources: Vec<SourceUse>,
    /// The operators.
    pub root: Rel,
    /// The answer's columns, exactly as PostgreSQL names and types them. As many as `root` has, or fewer:
    /// columns behind them are hidden ones that only the key needs.
    pub output: Vec<Column>,
    /// What makes a row of the answer unique.
    pub key: OutputKey,
    /// Settings that the query's STABLE functions depend on, pinned at definition (`TimeZone` → `UTC`).
    pub settings: Vec<(String, String)>,
}

/// What identifies a row of the stream table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputKey {
    /// Output columns that are unique together (NULLs equal to each other), and never equal without being
    /// the same value byte by byte after normalisation.
    Columns(Vec<usize>),
    /// Nothing natural: rows are counted, and each copy gets a `__tributary_row_id`.
    RowId,
}

/// A table and the columns that the query needs of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceUse {
    /// The logical table.
    pub table: TableName,
    /// Its `pg_class.oid` in the target database at the time of planning.
    pub relation: Oid,
    /// The columns needed, in attribute order; always with the identity's.
    pub columns: Vec<Column>,
    /// Positions in `columns` of the primary key (replica identity index), in its order; empty when the table has none and is kept as
    /// a multiset under `REPLICA IDENTITY FULL`.
    pub identity: Vec<usize>,
}

/// One relational operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rel {
    /// All rows of `sources[0..]`'s table, with its `columns`.
    Source(usize),
    /// Rows on which the (native, boolean) predicate is true.
    Filter {
        /// Rows in.
        input: Box<Rel>,
        /// Kept when true; not when false or NULL.
        predicate: Scalar,
    },
    /// One row out a row in.
    Project {
        /// Rows in.
        input: Box<Rel>,
        /// The columns out.
        exprs: Vec<Scalar>,
    },
    /// The input's columns followed by expressions that PostgreSQL computes.
    PgMap {
        /// Rows in.
        input: Box<Rel>,
        /// What is appended.
        exprs: Vec<PgExpr>,
    },
    /// Inner join on equality of columns (NULL matches nothing); with no pair of keys, the cross product.
    /// Columns out: all of left, then all of right.
    Join {
        /// One side.
        left: Box<Rel>,
        /// The other.
        right: Box<Rel>,
        /// Pairs of columns (left's, right's) of the same type that must be equal.
        keys: Vec<(usize, usize)>,
        /// Type of each pair.
        key_types: Vec<PgType>,
    },
    /// Groups. Columns out: the keys, then the aggregates. With no key: always exactly one row.
    Aggregate {
        /// Rows in.
        input: Box<Rel>,
        /// Columns to group by (NULLs together).
        keys: Vec<usize>,
        /// Their types.
        key_types: Vec<PgType>,
        /// What is computed of each group.
        aggregates: Vec<Aggregate>,
    },
    /// All rows of all inputs (same columns).
    UnionAll(Vec<Rel>),
    /// A constant table: rows of native constant expressions.
    Values {
        /// The rows.
        rows: Vec<Vec<Scalar>>,
        /// The columns' types.
        types: Vec<PgType>,
    },
}

/// One aggregate of a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Aggregate {
    /// Which.
    pub func: AggregateFunc,
    /// The argument's column; `None` for `count(*)`.
    pub arg: Option<usize>,
    /// The argument's type.
    pub arg_type: Option<PgType>,
    /// A boolean column; only rows where it is true count.
    pub filter: Option<usize>,
    /// DISTINCT inside the aggregate.
    pub distinct: bool,
    /// The result's type.
    pub ty: PgType,
}

/// The aggregates kept natively. `sum` and `avg` of int2, int4, int8, numeric, float4, float8, interval; `min` and
/// `max` of every type with a native order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "SQL's own names")]
pub enum AggregateFunc {
    CountStar,
    Count,
    Sum,
    Avg,
    Min,
    Max,
    BoolAnd,
    BoolOr,
}

/// An expression that PostgreSQL computes (ring 2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PgExpr {
    /// SQL in which `$1`, `$2`, … are the argument columns in order, already written with their casts' types.
    pub sql: String,
    /// The input's columns that it reads.
    pub args: Vec<usize>,
    /// Their types as SQL writes them, and by identifier.
    pub arg_types: Vec<(String, PgType)>,
    /// The result's type.
    pub ty: PgType,
    /// The result's type as SQL writes it.
    pub sql_type: String,
}
