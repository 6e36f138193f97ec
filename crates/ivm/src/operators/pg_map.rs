//! Columns that PostgreSQL computes (ring 2).
//!
//! All rows of a cut are asked for at once, and rows that agree in the arguments once. The expressions are immutable, so
//! that a row that goes gets the values that it got when it came.

use plan::PgExpr;
use types::{Delta, Row};

use super::{Cx, Emit, Node};
use crate::error::{Failure, IvmError};
use crate::layout::Labels;
use crate::table::KeyTable;

/// Appends the expressions' values to each row.
#[derive(Debug)]
pub(crate) struct PgMap {
    pub(crate) input: Box<Node>,
    pub(crate) compute: PgCompute,
}

/// What is computed, without where the rows come from.
#[derive(Debug)]
pub(crate) struct PgCompute {
    /// The expressions over rows of just the argument columns.
    exprs: Vec<PgExpr>,
    /// The argument columns in the input's rows.
    args: Vec<usize>,
    settings: Vec<(String, String)>,
    labels: Labels,
}

impl PgCompute {
    /// `physical` are the expressions with their arguments' physical columns.
    pub(crate) fn new(physical: &[PgExpr], settings: &[(String, String)], labels: Labels) -> Self {
        let mut args: Vec<usize> = physical.iter().flat_map(|e| e.args.iter().copied()).collect();
        args.sort_unstable();
        args.dedup();
        let place = |column: &usize| args.iter().position(|a| a == column).unwrap_or_default();
        let exprs = physical.iter().map(|e| PgExpr { args: e.args.iter().map(place).collect(), ..e.clone() }).collect();
        Self { exprs, args, settings: settings.to_vec(), labels }
    }

    /// The rows with the values behind them, in their order.
    pub(crate) fn apply(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        let mut distinct = KeyTable::default();
        let mut asked: Vec<(Row, usize)> = Vec::new();
        let mut ids = Vec::with_capacity(rows.len());
        for (i, delta) in rows.iter().enumerate() {
            let args = delta.row.project(&self.args);
            let (id, new) = distinct.id(args.as_bytes());
            if new {
                asked.push((args, i));
            }
            ids.push(id as usize);
        }
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let arguments: Vec<Row> = asked.iter().map(|(row, _)| row.clone()).collect();
        let results = cx.evaluator.eval(&self.exprs, &self.settings, &arguments)?;
        if results.len() != arguments.len() {
            let got = results.len();
            return Err(IvmError::damaged(format!("PostgreSQL answered {got} rows for {}", arguments.len())).into());
        }
        let mut values = Vec::with_capacity(results.len());
        for (result, (_, first)) in results.into_iter().zip(&asked) {
            values.push(result.map_err(|e| {
                let at = rows.get(*first).map(|d| self.labels.describe(&d.row)).unwrap_or_default();
                Failure::Stream(format!("{e} in an expression that PostgreSQL computes{at}"))
            })?);
        }
        Ok(rows
            .iter()
            .zip(ids)
            .filter_map(|(delta, id)| Some(Delta { row: delta.row.concat(values.get(id)?), diff: delta.diff }))
            .collect())
    }
}

impl PgMap {
    pub(crate) fn apply(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        self.compute.apply(cx, rows)
    }

    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let Self { input, compute } = self;
        input.build(cx, &mut |cx, rows| {
            let rows = compute.apply(cx, &rows)?;
            emit(cx, rows)
        })
    }
}
