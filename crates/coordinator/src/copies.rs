//! Which tables are being read again on request, and how far that is ([`crate::reconcile`]).
//!
//! Durable as a note in the state store: a new process finds what the last one did not finish, with the copies that it had read.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use types::{NodeId, SourceId, TableId};

use crate::progress::NodeReads;

/// Tables of one source on one node, and the copy that they are read into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) source: SourceId,
    pub(crate) node: NodeId,
    pub(crate) tables: BTreeSet<TableId>,
    /// None yet, or there is nothing left to be compared with.
    pub(crate) copy: Option<SourceId>,
}

impl Part {
    /// Whether all tables of another part are among its own.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.source == other.source && self.tables.is_superset(&other.tables)
    }
}

/// The parts of the request in hand. Its lock is never held across an await.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    parts: Mutex<Vec<Part>>,
    /// One request at a time. Held over awaits on purpose.
    pub(crate) one: tokio::sync::Mutex<()>,
    /// How far the reading is.
    pub(crate) reads: NodeReads,
}

impl Copies {
    /// Those of the process before.
    ///
    /// # Errors
    /// When the note cannot be read.
    pub(crate) fn read(note: &[u8]) -> serde_json::Result<Self> {
        Ok(Self { parts: Mutex::new(serde_json::from_slice(note)?), ..Self::default() })
    }

    /// What is to be written down.
    pub(crate) fn note(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&*self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, parts: Vec<Part>) {
        *self.lock() = parts;
    }

    pub(crate) fn all(&self) -> Vec<Part> {
        self.lock().clone()
    }

    pub(crate) fn set_copy(&self, number: usize, copy: Option<SourceId>) {
        if let Some(part) = self.lock().get_mut(number) {
            part.copy = copy;
        }
    }

    /// Copies that are not to be forgotten.
    pub(crate) fn in_use(&self) -> BTreeSet<SourceId> {
        self.lock().iter().filter_map(|p| p.copy).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_process_finds_what_was_read() {
        let copies = Copies::default();
        let part = |node| Part { source: SourceId(1), node: NodeId(node), tables: [TableId(7)].into(), copy: None };
        copies.set(vec![part(1), part(2)]);
        copies.set_copy(1, Some(SourceId(9)));
        let again = Copies::read(&copies.note().unwrap()).unwrap();
        assert_eq!(again.all(), copies.all());
        assert_eq!(again.in_use(), [SourceId(9)].into());
    }
}
