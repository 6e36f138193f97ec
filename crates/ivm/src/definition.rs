//! What the engine is told and what it gives back.

use std::time::Duration;

use bytes::Bytes;
use plan::{PgExpr, Plan};
use serde::{Deserialize, Serialize};
use types::{Column, Lsn, NodeId, PgType, Row, Scalar, Seq, SourceId, StreamId, TableChange, TableId, TableName};

use crate::error::{EvaluatorError, RowError};

/// Evaluates what is left to PostgreSQL (ring 2), batched.
pub trait Evaluator: Send {
    /// For each row a row with one column an expression, in the order of `rows`. Expressions read the columns named by
    /// their `args`. A row for which PostgreSQL raises an error has that error in its place.
    ///
    /// # Errors
    /// [`EvaluatorError`] when PostgreSQL could not be asked; the call is repeated later.
    fn eval(
        &mut self,
        exprs: &[PgExpr],
        settings: &[(String, String)],
        rows: &[Row],
    ) -> Result<Vec<Result<Row, RowError>>, EvaluatorError>;

    /// For each group, given by all its rows in the order in which they are to be taken, one row with a column an aggregate. A
    /// group for which PostgreSQL raises an error has that error in its place. A group without rows comes alone.
    ///
    /// # Errors
    /// As [`Self::eval`].
    fn aggregate(
        &mut self,
        aggregates: &[PgExpr],
        settings: &[(String, String)],
        groups: &[Vec<Row>],
    ) -> Result<Vec<Result<Row, RowError>>, EvaluatorError>;

    /// For each partition, given by all its rows, and each of its rows, in order, one row with a column a window function. The
    /// functions' own PARTITION BY keeps the partitions apart.
    ///
    /// # Errors
    /// As [`Self::eval`].
    fn windows(
        &mut self,
        windows: &[PgExpr],
        settings: &[(String, String)],
        partitions: &[Vec<Row>],
    ) -> Result<Vec<Result<Vec<Row>, RowError>>, EvaluatorError>;

    /// For each row of arguments all rows that an item of FROM gives for it.
    ///
    /// # Errors
    /// As [`Self::eval`].
    fn rows(
        &mut self,
        item: &FromItem,
        settings: &[(String, String)],
        rows: &[Row],
    ) -> Result<Vec<Result<Vec<Row>, RowError>>, EvaluatorError>;
}

/// An item of FROM that PostgreSQL computes, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromItem {
    /// In SQL, with its alias; `$1`, `$2`, … are the arguments.
    pub sql: String,
    /// Positions of the arguments in the rows that are given.
    pub args: Vec<usize>,
    /// Their types as SQL writes them, and by identifier.
    pub arg_types: Vec<(String, PgType)>,
    /// How many columns it has.
    pub width: usize,
}

/// A logical table whose rows are kept, once for all stream tables that read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceDef {
    /// Its number.
    pub id: SourceId,
    /// Its name.
    pub table: TableName,
    /// The columns that are kept; every row has exactly these.
    pub columns: Vec<Column>,
    /// Positions in `columns` of the key; empty for a table without one, which is kept as a multiset under
    /// `REPLICA IDENTITY FULL`.
    pub identity: Vec<usize>,
    /// The physical tables that hold its rows, and their nodes.
    pub tables: Vec<(TableId, NodeId)>,
    /// Physical tables of which a key's row can only ever be in one, decided by the key. While `tables` are exactly these, a
    /// row that comes new to one of them is not looked for in the others: half of what an insert costs. Left empty
    /// where rows can move, and void as soon as `tables` are others (a shard was moved or split).
    #[serde(default)]
    pub homes: Vec<TableId>,
    /// Rows on which this is not true need not be kept.
    #[serde(default)]
    pub filter: Option<RowFilter>,
}

/// What is asked of a source's rows before they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowFilter {
    /// All of these, in this order, over the source's columns. A row on which one fails is kept: whoever reads it finds out.
    pub conditions: Vec<Scalar>,
    /// The settings under which they are asked.
    pub settings: Vec<(String, String)>,
}

impl SourceDef {
    /// Whether a row that comes to one physical table can meet one of its key in another.
    pub(crate) fn can_meet(&self) -> bool {
        let at_home = self.homes.len() == self.tables.len() && self.tables.iter().all(|(t, _)| self.homes.contains(t));
        self.tables.len() > 1 && !at_home
    }
}

/// A stream table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamDef {
    /// Its number.
    pub id: StreamId,
    /// Its query.
    pub plan: Plan,
    /// The kept source for each of `plan.sources`.
    pub sources: Vec<SourceId>,
    /// For each of `plan.sources` and each of its columns: the column's position in the kept source.
    pub column_map: Vec<Vec<usize>>,
}

/// A committed transaction of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Where it committed.
    pub node: NodeId,
    /// The end of its commit record.
    pub end: Lsn,
    /// Its changes: encoded lists of [`types::Change`], in order.
    pub pieces: Vec<Bytes>,
}

/// What a cut does to one stream table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOutput {
    /// Which.
    pub stream: StreamId,
    /// Its changes, at most one a key (or a delete and an insert of keys that PostgreSQL calls equal and that differ
    /// in their bytes, in this order).
    pub changes: Vec<TableChange>,
}

/// What came of a cut. It is durable when it is given back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CutOutput {
    /// The cut's number.
    pub seq: Seq,
    /// The stream tables that change.
    pub streams: Vec<StreamOutput>,
    /// Sources whose rows are different after the cut.
    pub sources: Vec<SourceId>,
    /// Stream tables that could not follow and stay at the cut before this one, with the reason.
    pub failed: Vec<(StreamId, String)>,
    /// Sources whose rows are not exact any more, with the reason: everything that reads them is among the failed, and they
    /// have to be dropped and read again.
    pub broken: Vec<(SourceId, String)>,
    /// How long each stream table took whose sources changed.
    pub took: Vec<(StreamId, Duration)>,
    /// How much it was.
    pub stats: CutStats,
}

/// How much work a cut was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CutStats {
    /// Changes of known tables that came in.
    pub changes: u64,
    /// Rows of ready sources that are different after the cut.
    pub rows: u64,
    /// Changes of stream tables that go out.
    pub outputs: u64,
    /// Keys written to the store.
    pub writes: u64,
    /// Bytes written to the store.
    pub bytes: u64,
}

/// Rows that went through an operator in one cut, and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutRows {
    /// The cut.
    pub seq: Seq,
    /// Rows in.
    pub rows_in: u64,
    /// Rows out.
    pub rows_out: u64,
    /// Without what the operators before it took.
    pub took: Duration,
}

/// Rows that an operator finds by a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// What they are.
    pub what: &'static str,
    /// The key's columns, by name; none: all are found together.
    pub key: Vec<String>,
    /// Kept once for all stream tables.
    pub shared: bool,
    /// About how many bytes they take in files; what was written last is in memory and not counted.
    pub bytes: u64,
    /// How many there are.
    pub rows: u64,
    /// There are more: they were not all counted.
    pub more: bool,
}

/// What one operator is, holds and did in the last cuts, for `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorStats {
    /// How deep it is in the tree; the output, above the root, has 0.
    pub depth: usize,
    /// What it is.
    pub name: &'static str,
    /// Who evaluates it: 1, natively; 2, PostgreSQL.
    pub ring: u8,
    /// How it reads or keeps its state, in a few words; empty for operators without state.
    pub state: String,
    /// What it keeps, and what it reads of what is kept for all.
    pub holds: Vec<Holding>,
    /// The last cuts that touched the stream table, the latest last.
    pub cuts: Vec<CutRows>,
}
