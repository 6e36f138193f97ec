//! Rows on which a predicate is true.

use scalar::Compiled;
use types::Delta;

use super::{Cx, Emit, Node};
use crate::error::Failure;
use crate::layout::Labels;

/// Keeps rows on which the predicate is true.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) input: Box<Node>,
    pub(crate) predicate: Predicate,
}

/// A compiled condition with what names a row in its errors.
#[derive(Debug, Clone)]
pub(crate) struct Predicate {
    pub(crate) condition: Compiled,
    pub(crate) labels: Labels,
}

impl Predicate {
    pub(crate) fn is_true(&self, row: &types::Row) -> Result<bool, Failure> {
        self.condition
            .is_true(row)
            .map_err(|e| Failure::Stream(format!("{e} ({}) in a condition{}", e.sqlstate(), self.labels.describe(row))))
    }
}

impl Filter {
    pub(crate) fn apply(&self, mut rows: Vec<Delta>) -> Result<Vec<Delta>, Failure> {
        let mut failure = None;
        rows.retain(|delta| {
            failure.is_none()
                && self.predicate.is_true(&delta.row).unwrap_or_else(|e| {
                    failure = Some(e);
                    false
                })
        });
        failure.map_or(Ok(rows), Err)
    }

    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let Self { input, predicate } = self;
        input.build(cx, &mut |cx, mut rows| {
            let mut kept = Vec::with_capacity(rows.len());
            for delta in rows.drain(..) {
                if predicate.is_true(&delta.row)? {
                    kept.push(delta);
                }
            }
            if kept.is_empty() { Ok(()) } else { emit(cx, kept) }
        })
    }
}
