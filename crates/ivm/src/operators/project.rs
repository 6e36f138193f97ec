//! One row out a row in, its columns computed.

use scalar::Compiled;
use types::{Delta, Field, Row, push_field};

use super::{Cx, Emit, Node};
use crate::error::Failure;
use crate::layout::Labels;

/// Computes each column of its rows. (A projection to plain columns is no operator, only a layout.)
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) input: Box<Node>,
    pub(crate) columns: Columns,
}

/// What is computed, without where the rows come from.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) exprs: Vec<Compiled>,
    pub(crate) labels: Labels,
}

impl Columns {
    fn row(&self, row: &Row) -> Result<Row, Failure> {
        let mut out = Vec::with_capacity(row.as_bytes().len() + 16);
        for expr in &self.exprs {
            let value = expr.eval(row).map_err(|e| {
                Failure::Stream(format!("{e} ({}) in an expression{}", e.sqlstate(), self.labels.describe(row)))
            })?;
            push_field(&mut out, value.as_deref().map_or(Field::Null, Field::Value));
        }
        Ok(Row::from_bytes(out.into()))
    }

    pub(crate) fn apply(&self, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        rows.iter().map(|d| Ok(Delta { row: self.row(&d.row)?, diff: d.diff })).collect()
    }
}

impl Project {
    pub(crate) fn apply(&self, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        self.columns.apply(rows)
    }

    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let Self { input, columns } = self;
        input.build(cx, &mut |cx, rows| emit(cx, columns.apply(&rows)?))
    }
}
