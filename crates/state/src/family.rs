//! The seven families of keys. Their names and order are on disk: append only.

/// A family of keys, stored and tuned apart from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// Rows of sources, by their key.
    Sources = 0,
    /// Rows again, by other columns: the sides of joins.
    Arrangements = 1,
    /// Accumulators of groups.
    Groups = 2,
    /// Counted values in order: `min`, `max`, DISTINCT, rows without a key.
    Multisets = 3,
    /// Cuts that are not in the target yet.
    Outbox = 4,
    /// Changes of sources whose first read is under way.
    Backlog = 5,
    /// Definitions, the frontier, notes.
    Meta = 6,
}

impl Family {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Sources, Self::Arrangements, Self::Groups, Self::Multisets, Self::Outbox, Self::Backlog, Self::Meta];

    /// The name of its RocksDB column family.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Arrangements => "arrangements",
            Self::Groups => "groups",
            Self::Multisets => "multisets",
            Self::Outbox => "outbox",
            Self::Backlog => "backlog",
            Self::Meta => "meta",
        }
    }

    /// Read by whole key often enough, and in vain often enough, to pay for filters in memory.
    pub(crate) fn is_read_by_key(self) -> bool {
        matches!(self, Self::Sources | Self::Groups | Self::Multisets | Self::Arrangements)
    }
}
