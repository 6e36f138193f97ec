//! The rows of a kept source.

use types::{Delta, SourceId};

use super::{CHUNK, Cx, Emit};
use crate::error::Failure;
use crate::resolve::SourceDelta;

/// All rows that are kept of a source, with all their kept columns.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) source: SourceId,
    /// The columns that the query reads, ascending; `None` when these are all, or when some operator holds whole rows (so
    /// that it must see every change of them).
    pub(crate) used: Option<Vec<usize>>,
    /// Only some of the table's rows are kept.
    pub(crate) filtered: bool,
}

impl Source {
    pub(crate) fn step(&self, cx: &Cx<'_>) -> Vec<Delta> {
        let Some(delta) = cx.deltas.get(&self.source) else { return Vec::new() };
        let (SourceDelta::Keyed(_, changes), Some(used)) = (delta, &self.used) else { return delta.deltas() };
        // A change of columns that the query does not read is none.
        let mut out = Vec::with_capacity(changes.len() * 2);
        for change in changes {
            if let (Some(old), Some(new)) = (&change.old, &change.new)
                && same_columns(old.as_bytes(), new.as_bytes(), used)
            {
                continue;
            }
            out.extend(change.old.clone().map(Delta::minus));
            out.extend(change.new.clone().map(Delta::plus));
        }
        out
    }

    pub(crate) fn build(&self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let (sources, kept) = (cx.sources, cx.kept);
        sources.get(self.source)?.scan::<Failure>(kept, CHUNK, &mut |rows| {
            cx.wanted()?;
            emit(cx, rows)
        })
    }
}

fn same_columns(old: &[u8], new: &[u8], used: &[usize]) -> bool {
    let (mut olds, mut news) = (types::fields(old), types::fields(new));
    let mut at = 0;
    for &column in used {
        let skip = column - at;
        if olds.nth(skip) != news.nth(skip) {
            return false;
        }
        at = column + 1;
    }
    true
}
