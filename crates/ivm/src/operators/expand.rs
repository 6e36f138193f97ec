//! Several rows out a row in (GROUPING SETS, LATERAL VALUES).

use types::Delta;

use super::project::Columns;
use super::{Cx, Emit, Node};
use crate::error::Failure;

/// Each row once for each list of expressions.
#[derive(Debug)]
pub(crate) struct Expand {
    pub(crate) input: Box<Node>,
    pub(crate) lists: Vec<Columns>,
}

fn expanded(lists: &[Columns], rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
    let mut out = Vec::with_capacity(rows.len() * lists.len());
    for list in lists {
        out.append(&mut list.apply(rows)?);
    }
    Ok(out)
}

impl Expand {
    pub(crate) fn apply(&self, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        expanded(&self.lists, rows)
    }

    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let Self { input, lists } = self;
        input.build(cx, &mut |cx, rows| emit(cx, expanded(lists, &rows)?))
    }
}
