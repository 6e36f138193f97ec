//! Differences between one cut and the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Lsn, NodeId, Row, Seq};

/// `diff` more copies of `row` (fewer when negative); never 0 in a consolidated list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The row.
    pub row: Row,
    /// How many copies came (positive) or went (negative).
    pub diff: i64,
}

impl Delta {
    /// One more copy.
    #[must_use]
    pub fn plus(row: Row) -> Self {
        Self { row, diff: 1 }
    }
    /// One copy fewer.
    #[must_use]
    pub fn minus(row: Row) -> Self {
        Self { row, diff: -1 }
    }
}

/// A vector of positions, one a node: everything that committed at or before it is in, nothing after it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Positions(pub BTreeMap<NodeId, Lsn>);

impl Positions {
    /// The node's position; [`Lsn::ZERO`] for a node that is not in it.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Lsn {
        self.0.get(&node).copied().unwrap_or(Lsn::ZERO)
    }

    /// Whether every position of `self` is at or behind that of `other`.
    #[must_use]
    pub fn within(&self, other: &Self) -> bool {
        self.0.iter().all(|(node, lsn)| *lsn <= other.of(*node))
    }
}

/// A consistent cut with its number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cut {
    /// Its number in the one global sequence.
    pub seq: Seq,
    /// How far each node is in it: the end position of its last transaction at or before the cut.
    pub positions: Positions,
}

/// One row's fate in a stream table at a cut. Exactly what the table needs: an `Insert`'s key is not
/// there yet, an `Update`'s and a `Delete`'s is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableChange {
    /// A new row (all columns, key columns included).
    Insert(Row),
    /// A row whose key stays and whose other columns change (all columns after the change).
    Update(Row),
    /// A row that goes: its key columns only, in the key's order.
    Delete(Row),
}
