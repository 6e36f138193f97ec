//! A constant table.

use types::{Delta, Row};

use super::{Cx, Emit};
use crate::error::Failure;

/// Rows that were computed when the tree was compiled.
#[derive(Debug)]
pub(crate) struct Values {
    pub(crate) rows: Vec<Row>,
}

impl Values {
    pub(crate) fn build(&self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        if self.rows.is_empty() { Ok(()) } else { emit(cx, self.rows.iter().cloned().map(Delta::plus).collect()) }
    }
}
