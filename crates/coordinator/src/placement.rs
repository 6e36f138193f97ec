//! On which node, and from which position of its stream to which, a physical table's rows count.
//!
//! ```text
//!   node A  ──────────── until a ┐ the shard moves:            copies of the move, then
//!   node B      not counted      └ from b ────────▶  counted   on B nothing counts up to b
//! ```
//!
//! Positions and not states: a cut that was made durable and one that is made again after a crash are judged the same way,
//! so what is written down before the cut is as right as what is written after it.

use serde::{Deserialize, Serialize};
use topology::Placement;
use types::{Lsn, NodeId, Oid, TableId, TableName};

/// Transactions of the node that end behind `from` and not behind `until` count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) node: NodeId,
    pub(crate) from: Lsn,
    pub(crate) until: Lsn,
}

impl Span {
    /// From a position on.
    pub(crate) fn since(node: NodeId, from: Lsn) -> Self {
        Self { node, from, until: Lsn::MAX }
    }

    /// Whether a transaction of the node that ends at `end` counts.
    pub(crate) fn counts(&self, node: NodeId, end: Lsn) -> bool {
        self.node == node && self.from < end && end <= self.until
    }
}

/// A table of the same shard that a move fills on another node. Not written down: after a restart nobody knows for sure
/// that it is still the same table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) node: NodeId,
    /// Everything that ends behind this is shipped; `None`: it is not known to be.
    pub(crate) shipped_from: Option<Lsn>,
    /// Tells two tables of the same shard and node apart.
    pub(crate) ticket: u64,
    /// It was announced before, by a move that failed and left a table of the name: which of the two is shipped is not known.
    pub(crate) unsure: bool,
}

/// A physical table of a source: a shard, wherever it is, or a table that stays where it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeptTable {
    pub(crate) id: TableId,
    /// Where it is now.
    pub(crate) node: NodeId,
    pub(crate) table: TableName,
    /// The Citus shard; 0: none.
    #[serde(default)]
    pub(crate) shard: u64,
    /// Without a shard: `pg_class.oid` on its node, for a table made later under the name is another one.
    #[serde(default)]
    pub(crate) relation: Oid,
    /// In the order in which the shard went from one node to the next; the last is of `node`.
    #[serde(default)]
    pub(crate) spans: Vec<Span>,
    #[serde(skip)]
    pub(crate) guests: Vec<Guest>,
    /// Nodes whose agents may still ship it, though nothing there counts any more.
    #[serde(skip)]
    pub(crate) earlier: Vec<NodeId>,
}

impl KeptTable {
    /// A table that has been where it is.
    pub(crate) fn new(id: TableId, at: Placement) -> Self {
        Self {
            id,
            node: at.node,
            table: at.table,
            shard: at.shard.unwrap_or(0),
            relation: at.relation,
            spans: vec![Span::since(at.node, Lsn::ZERO)],
            guests: Vec::new(),
            earlier: Vec::new(),
        }
    }

    /// The same table where it is now, under another number.
    pub(crate) fn copied(&self, id: TableId) -> Self {
        let shard = (self.shard != 0).then_some(self.shard);
        Self::new(id, Placement { node: self.node, table: self.table.clone(), shard, relation: self.relation })
    }

    /// Whether this is the placement's shard, or its very table.
    pub(crate) fn is_of(&self, at: &Placement) -> bool {
        match at.shard {
            Some(shard) => self.shard == shard,
            None => self.shard == 0 && self.node == at.node && self.table == at.table && self.relation == at.relation,
        }
    }

    /// Whether this is the same shard as another one, or the very same table.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let same_place = self.node == other.node && self.table == other.table && self.relation == other.relation;
        self.shard == other.shard && (self.shard != 0 || same_place)
    }

    /// Whether a transaction of the node that ends at `end` counts.
    pub(crate) fn counts(&self, node: NodeId, end: Lsn) -> bool {
        self.spans.iter().any(|s| s.counts(node, end))
    }

    /// Whether the node's agent ships it.
    pub(crate) fn is_shipped(&self, node: NodeId) -> bool {
        self.spans.iter().any(|s| s.node == node) || self.guests.iter().any(|g| g.node == node)
    }

    /// Whether the node's agent was told to ship it, in this process.
    pub(crate) fn was_on(&self, node: NodeId) -> bool {
        self.earlier.contains(&node)
    }

    /// The node's agent ships it, or did.
    pub(crate) fn note(&mut self, node: NodeId) {
        if !self.earlier.contains(&node) {
            self.earlier.push(node);
        }
    }

    /// Nothing on the node counts yet.
    pub(crate) fn is_dormant(&self, node: NodeId) -> bool {
        self.spans.iter().all(|s| s.node != node)
    }

    /// Whether everything behind `position` on the node counts.
    pub(crate) fn is_plain(&self, node: NodeId, position: Lsn) -> bool {
        matches!(self.spans[..], [Span { node: n, from, until: Lsn::MAX }] if n == node && from <= position)
    }

    /// Forgets spans that ended at or before the durable cut.
    pub(crate) fn prune(&mut self, cut: &types::Positions) {
        let last = self.spans.len().saturating_sub(1);
        let mut at = 0;
        self.spans.retain(|s| {
            at += 1;
            at - 1 == last || s.until > cut.of(s.node)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_counts_on_one_node_until_it_goes_and_on_the_next_from_there() {
        let (a, b) = (NodeId(1), NodeId(2));
        let placement = Placement { node: a, table: TableName::new("public", "t_1"), shard: Some(1), relation: 0 };
        let mut table = KeptTable::new(TableId(1), placement);
        assert!(table.is_plain(a, Lsn(0)) && table.counts(a, Lsn(5)) && !table.counts(b, Lsn(5)));
        table.spans = vec![Span { node: a, from: Lsn(0), until: Lsn(10) }, Span::since(b, Lsn(100))];
        assert!(table.counts(a, Lsn(10)) && !table.counts(a, Lsn(11)));
        assert!(!table.counts(b, Lsn(100)) && table.counts(b, Lsn(101)));
        assert!(!table.is_plain(b, Lsn(200)));
        table.prune(&types::Positions([(a, Lsn(9))].into_iter().collect()));
        assert_eq!(table.spans.len(), 2);
        table.prune(&types::Positions([(a, Lsn(10))].into_iter().collect()));
        assert!(table.is_plain(b, Lsn(100)) && !table.is_plain(b, Lsn(99)));
    }
}
