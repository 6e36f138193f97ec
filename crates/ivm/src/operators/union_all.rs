//! All rows of all inputs.

use types::Delta;

use super::{Cx, Emit, Node};
use crate::error::Failure;

/// Puts its inputs' rows together.
#[derive(Debug)]
pub(crate) struct UnionAll {
    pub(crate) inputs: Vec<Branch>,
}

/// One input, and which of its physical columns are the union's.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) node: Node,
    /// `None` when they are just these.
    pub(crate) columns: Option<Vec<usize>>,
}

fn shaped(columns: Option<&[usize]>, mut rows: Vec<Delta>) -> Vec<Delta> {
    if let Some(columns) = columns {
        for delta in &mut rows {
            delta.row = delta.row.project(columns);
        }
    }
    rows
}

impl UnionAll {
    pub(crate) fn step(&mut self, cx: &mut Cx<'_>) -> Result<Vec<Delta>, Failure> {
        let mut out = Vec::new();
        for branch in &mut self.inputs {
            let rows = branch.node.step(cx)?;
            out.append(&mut shaped(branch.columns.as_deref(), rows));
        }
        Ok(out)
    }

    /// In the step of a recursion, all of whose branches read the recursive rows.
    pub(crate) fn push(&mut self, cx: &mut Cx<'_>, recursive: &[Delta]) -> Result<Vec<Delta>, Failure> {
        let mut out = Vec::new();
        for branch in &mut self.inputs {
            let rows = branch.node.push(cx, recursive)?;
            out.append(&mut shaped(branch.columns.as_deref(), rows));
        }
        Ok(out)
    }

    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        for Branch { node, columns } in &mut self.inputs {
            node.build(cx, &mut |cx, rows| emit(cx, shaped(columns.as_deref(), rows)))?;
        }
        Ok(())
    }
}
