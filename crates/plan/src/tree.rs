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
    /// Subplans that are read at several places, each behind those that it reads itself. [`Rel::Common`] points here.
    #[serde(default)]
    pub common: Vec<Rel>,
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
    /// What every use of the table in the query asks of a row before anything else, over `columns`, in the order in which it
    /// is asked: a row on which one of these is false or NULL (and none before it fails) is never needed.
    #[serde(default)]
    pub filter: Vec<Scalar>,
}

/// One relational operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rel {
    /// All rows of `sources[0..]`'s table, with its `columns`.
    Source(usize),
    /// All rows of a subplan of `common`.
    Common(usize),
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
    /// Pairs of rows with equal keys (NULL matches nothing; with no pair of keys, every pair) for which the condition
    /// is true. Columns out: all of left, then all of right; of [`JoinKind::Semi`] and [`JoinKind::Anti`] left's alone.
    Join {
        /// One side.
        left: Box<Rel>,
        /// The other.
        right: Box<Rel>,
        /// What becomes of rows without a partner.
        kind: JoinKind,
        /// Pairs of columns (left's, right's) of the same type that must be equal.
        keys: Vec<(usize, usize)>,
        /// Type of each pair.
        key_types: Vec<PgType>,
        /// What a pair must fulfil besides. Never with [`JoinKind::Inner`], behind which a filter does the same.
        on: Option<Condition>,
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
    /// Groups whose aggregates PostgreSQL computes again from their rows. Columns out as of [`Rel::Aggregate`].
    PgAggregate {
        /// Rows in.
        input: Box<Rel>,
        /// Columns to group by (NULLs together).
        keys: Vec<usize>,
        /// Their types.
        key_types: Vec<PgType>,
        /// Aggregate calls in SQL, each complete with its DISTINCT, ORDER BY and FILTER.
        aggregates: Vec<PgExpr>,
    },
    /// Window functions, computed again over the partitions that changed. Columns out: the input's, then the windows'.
    Window {
        /// Rows in.
        input: Box<Rel>,
        /// Columns that all the windows partition by (NULLs together); rows with other values never change a result.
        partition: Vec<usize>,
        /// Their types.
        partition_types: Vec<PgType>,
        /// Window function calls in SQL, each complete with its OVER clause.
        windows: Vec<PgExpr>,
    },
    /// Each row of the input once for each row that a set-returning function gives for it, in PostgreSQL. Columns out:
    /// the input's, then the function's.
    PgRows {
        /// Rows in.
        input: Box<Rel>,
        /// An item of FROM in SQL in which `$1`, `$2`, … are the arguments; its columns are `columns`.
        from: String,
        /// The input's columns that it reads.
        args: Vec<usize>,
        /// Their types as SQL writes them, and by identifier.
        arg_types: Vec<(String, PgType)>,
        /// The types of the function's columns.
        columns: Vec<(String, PgType)>,
        /// A row for which the function gives nothing stays, with NULLs (LEFT JOIN LATERAL … ON true).
        keep: bool,
    },
    /// Each row of the input once for each list, as that list's expressions make it (GROUPING SETS, LATERAL VALUES).
    Expand {
        /// Rows in.
        input: Box<Rel>,
        /// Lists of equally many expressions of equal types.
        lists: Vec<Vec<Scalar>>,
    },
    /// INTERSECT or EXCEPT of rows that are equal in all columns (NULLs too).
    SetOp {
        /// Which.
        op: SetOp,
        /// Keep copies: the smaller count, or the difference of the counts.
        all: bool,
        /// One side.
        left: Box<Rel>,
        /// The other, of the same types.
        right: Box<Rel>,
        /// The columns' types.
        types: Vec<PgType>,
    },
    /// Of each partition's rows, in order, those from `offset` on, at most `limit`. Rows that are equal in the order are taken in
    /// the order of their whole values.
    Top {
        /// Rows in.
        input: Box<Rel>,
        /// Columns that make a partition (NULLs together); none: all rows are one.
        partition: Vec<usize>,
        /// Their types.
        partition_types: Vec<PgType>,
        /// The order.
        order: Vec<SortKey>,
        /// Rows left out first.
        offset: u64,
        /// Rows kept at most; `None`: all.
        limit: Option<u64>,
        /// Keep the rows that are equal in the order to the last one kept, too.
        ties: bool,
    },
    /// `WITH RECURSIVE`: the base's rows, and the step's over what was new, until nothing is.
    Recursive {
        /// Rows to begin with.
        base: Box<Rel>,
        /// Rows from rows: reads [`Rel::Working`].
        step: Box<Rel>,
        /// UNION ALL: copies are kept; else each row is taken once.
        all: bool,
        /// The columns' types.
        types: Vec<PgType>,
    },
    /// The rows that the innermost enclosing [`Rel::Recursive`] found last.
    Working {
        /// The columns' types.
        types: Vec<PgType>,
    },
    /// A constant table: rows of native constant expressions.
    Values {
        /// The rows.
        rows: Vec<Vec<Scalar>>,
        /// The columns' types.
        types: Vec<PgType>,
    },
}

/// What becomes of rows without a partner in a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JoinKind {
    /// They go.
    Inner,
    /// Left's stay, with NULLs.
    Left,
    /// Both sides' stay, with NULLs.
    Full,
    /// Left's rows with a partner, each once however many it has.
    Semi,
    /// Left's rows without one.
    Anti,
}

/// A condition over the columns of both sides of a join, in which PostgreSQL may compute a part.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Condition {
    /// Appended to the pair's columns first.
    pub exprs: Vec<PgExpr>,
    /// A pair counts when it is true.
    pub predicate: Scalar,
}

/// INTERSECT or EXCEPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "SQL's own names")]
pub enum SetOp {
    Intersect,
    Except,
}

/// One key of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SortKey {
    /// The column.
    pub column: usize,
    /// Its type, which has a native order.
    pub ty: PgType,
    /// Largest first.
    pub descending: bool,
    /// NULLs before all values.
    pub nulls_first: bool,
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

impl Aggregate {
    /// The first by bytes of a column's texts.
    pub(crate) fn first_text(column: usize) -> Self {
        let ty = crate::represented::AS_TEXT;
        Self { func: AggregateFunc::Min, arg: Some(column), arg_type: Some(ty), filter: None, distinct: false, ty }
    }
}

/// The aggregates kept natively. `sum` and `avg` of int2, int4, int8, numeric, float4, float8, interval; variances and deviations
/// of int2, int4, int8, numeric; `bit_and` and its kin of int2, int4, int8; `min` and `max` of every type with a native order.
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
    VarPop,
    VarSamp,
    StddevPop,
    StddevSamp,
    BitAnd,
    BitOr,
    BitXor,
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

impl Rel {
    /// The operators that this one reads, left before right.
    #[must_use]
    pub fn inputs(&self) -> Vec<&Self> {
        match self {
            Self::Source(_) | Self::Common(_) | Self::Values { .. } | Self::Working { .. } => Vec::new(),
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::PgMap { input, .. }
            | Self::Aggregate { input, .. }
            | Self::PgAggregate { input, .. }
            | Self::Window { input, .. }
            | Self::PgRows { input, .. }
            | Self::Expand { input, .. }
            | Self::Top { input, .. } => vec![input],
            Self::Join { left, right, .. } | Self::SetOp { left, right, .. } => vec![left, right],
            Self::Recursive { base, step, .. } => vec![base, step],
            Self::UnionAll(inputs) => inputs.iter().collect(),
        }
    }

    /// The same, to change.
    pub(crate) fn inputs_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Source(_) | Self::Common(_) | Self::Values { .. } | Self::Working { .. } => Vec::new(),
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::PgMap { input, .. }
            | Self::Aggregate { input, .. }
            | Self::PgAggregate { input, .. }
            | Self::Window { input, .. }
            | Self::PgRows { input, .. }
            | Self::Expand { input, .. }
            | Self::Top { input, .. } => vec![input],
            Self::Join { left, right, .. } | Self::SetOp { left, right, .. } => vec![left, right],
            Self::Recursive { base, step, .. } => vec![base, step],
            Self::UnionAll(inputs) => inputs.iter_mut().collect(),
        }
    }
}
