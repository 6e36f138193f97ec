//! What a stream table does while a node is away or slow.

use std::fmt;

/// The operator's choice, for each stream table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Consistency {
    /// It waits: every transaction is in it whole or not at all, on all nodes.
    #[default]
    Atomic,
    /// It goes on with the nodes that are there: it holds of each node everything up to a position of that node's own.
    PerNode,
}

impl Consistency {
    /// As people and the target's catalog write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Atomic => "atomic",
            Self::PerNode => "per-node",
        }
    }

    /// What stands behind the instance's name in the names of its slots and publications.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Atomic => "",
            Self::PerNode => "_pernode",
        }
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
