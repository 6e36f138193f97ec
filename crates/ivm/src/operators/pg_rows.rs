//! Rows that PostgreSQL makes of rows: set-returning functions (ring 2).
//!
//! As for computed columns, all rows of a cut are asked for at once and equal arguments once, and the functions are immutable:
//! a row that goes takes with it just the rows that came with it.

use types::{Delta, Field, Row, RowBuilder};

use super::{Cx, Emit, Node};
use crate::definition::FromItem;
use crate::error::{Failure, IvmError};
use crate::layout::Labels;
use crate::table::KeyTable;

/// Each row once for each row that the item gives for it.
#[derive(Debug)]
pub(crate) struct PgRows {
    pub(crate) input: Box<Node>,
    pub(crate) expand: Expansion,
}

/// What is asked for, without where the rows come from.
#[derive(Debug)]
pub(crate) struct Expansion {
    /// Over rows of just the argument columns.
    pub(crate) item: FromItem,
    /// The argument columns in the input's rows, each once.
    pub(crate) args: Vec<usize>,
    pub(crate) settings: Vec<(String, String)>,
    /// A row for which there is none stays, with NULLs.
    pub(crate) keep: bool,
    pub(crate) labels: Labels,
}

impl Expansion {
    fn apply(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        let mut distinct = KeyTable::default();
        let mut asked: Vec<Row> = Vec::new();
        let mut firsts = Vec::new();
        let mut ids = Vec::with_capacity(rows.len());
        for delta in rows {
            let args = delta.row.project(&self.args);
            let (id, new) = distinct.id(args.as_bytes());
            if new {
                asked.push(args);
                firsts.push(&delta.row);
            }
            ids.push(id as usize);
        }
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let results = cx.evaluator.rows(&self.item, &self.settings, &asked)?;
        if results.len() != asked.len() {
            let what = format!("PostgreSQL answered {} rows for {}", results.len(), asked.len());
            return Err(IvmError::damaged(what).into());
        }
        let mut given = Vec::with_capacity(results.len());
        for (result, first) in results.into_iter().zip(firsts) {
            let mut result = result.map_err(|e| {
                let at = self.labels.describe(first);
                Failure::Stream(format!("{e} in a set-returning function that PostgreSQL computes{at}"))
            })?;
            if result.is_empty() && self.keep {
                let mut nulls = RowBuilder::new();
                for _ in 0..self.item.width {
                    nulls.push(Field::Null);
                }
                result.push(nulls.finish());
            }
            given.push(result);
        }
        let mut out = Vec::new();
        for (delta, id) in rows.iter().zip(ids) {
            let given = given.get(id).into_iter().flatten();
            out.extend(given.map(|row| Delta { row: delta.row.concat(row), diff: delta.diff }));
        }
        Ok(out)
    }
}

impl PgRows {
    pub(crate) fn apply(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        self.expand.apply(cx, rows)
    }

    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let Self { input, expand } = self;
        input.build(cx, &mut |cx, rows| {
            let rows = expand.apply(cx, &rows)?;
            emit(cx, rows)
        })
    }
}
