//! A subplan that several operators read: computed once a cut.
//!
//! ```text
//!   Arrangements    state (u32) | number (u64) → how often (i64) | row      only while the stream table is built
//! ```
//!
//! Its readers take what a cut does to it; whoever needs its rows arranges them for itself. Only when they are built
//! does each want all rows, from the beginning: they lie in the store until all have read them.

use bytes::Bytes;
use state::{Batch, Family, Read, Write};
use types::{Delta, Row};

use super::{CHUNK, Cx, Emit, Node};
use crate::error::{Failure, IvmError};
use crate::keeping::Operators;

/// The subplan.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) node: Node,
    /// For people.
    pub(crate) name: String,
    pub(crate) state: u32,
}

/// One that reads it.
#[derive(Debug)]
pub(crate) struct Common {
    /// The subplan's place.
    pub(crate) at: usize,
    pub(crate) name: String,
    pub(crate) state: u32,
}

impl Kept {
    /// Computes all rows, for [`Common::build`].
    pub(crate) fn build(&mut self, cx: &mut Cx<'_>) -> Result<(), Failure> {
        let (mut number, mut entry) = (0u64, Vec::new());
        let state = self.state.to_be_bytes();
        self.node.build(cx, &mut |cx, rows| {
            for delta in rows {
                entry.clear();
                entry.extend_from_slice(&delta.diff.to_be_bytes());
                entry.extend_from_slice(delta.row.as_bytes());
                cx.batch.put(Family::Arrangements, &[&state[..], &number.to_be_bytes()].concat(), &entry);
                number += 1;
            }
            cx.trim_rows();
            cx.flush_large()
        })?;
        cx.flush()
    }

    /// When all readers have read them.
    pub(crate) fn forget_rows(&self, batch: &mut Batch) {
        batch.delete_prefix(Family::Arrangements, &self.state.to_be_bytes());
    }

    /// Behind the operators that read it.
    pub(crate) fn explain(&self, into: &mut Operators) {
        into.stats.push(self.node.heading(format!("{}, computed once for all that read it", self.name)));
        into.keeps.push(Vec::new());
        self.node.explain(1, into);
    }
}

impl Common {
    pub(crate) fn step(&self, cx: &Cx<'_>) -> Result<Vec<Delta>, Failure> {
        Ok(cx.commons.get(self.at).ok_or_else(|| IvmError::damaged("a subplan is read before it is computed"))?.clone())
    }

    pub(crate) fn build(&self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let mut cursor = cx.store.cursor(Family::Arrangements);
        cursor.seek(&self.state.to_be_bytes());
        let mut rows = Vec::new();
        while let Some((_, entry)) = cursor.next()? {
            let (diff, row) = entry.split_first_chunk().ok_or_else(|| IvmError::damaged("a subplan's row"))?;
            rows.push(Delta { row: Row::from_bytes(Bytes::copy_from_slice(row)), diff: i64::from_be_bytes(*diff) });
            if rows.len() >= CHUNK {
                cx.wanted()?;
                emit(cx, std::mem::take(&mut rows))?;
            }
        }
        if rows.is_empty() { Ok(()) } else { emit(cx, rows) }
    }

    pub(crate) fn describe(&self) -> String {
        format!("{}, below", self.name)
    }
}
