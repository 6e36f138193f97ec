//! The largest closed prefix of what arrived.
//!
//! Each node starts as far as its stream was read, or before its first open piece. Then the pieces inside are looked
//! at, in order and on all nodes by turns: where a transaction has another piece outside, the node goes back to
//! before its piece, and so do the nodes of the transactions that fall out with it, to the fixed point. Two
//! transactions that committed in opposite orders on two nodes stay together in or go together out.
//!
//! The work is in proportion to the pieces that are inside at the start, nearly all of which leave with the cut.

use types::{Lsn, NodeId, Positions};

use crate::frontier::Frontier;

/// So many pieces of a node are looked at before the next node's turn, so that a node is not looked through in vain
/// that another one holds back early.
const TURN: usize = 64;

impl Frontier {
    /// The largest cut that is closed; `None` when no node got further. Whatever is in it is forgotten here.
    /// Positions are ends of transactions, of PREPAREs, or progress positions.
    pub fn next_cut(&mut self) -> Option<Positions> {
        self.lose_patience();
        if !std::mem::take(&mut self.stirred) {
            return None;
        }
        for node in self.nodes.values_mut() {
            node.bound = node.open.first_key_value().map_or(node.seen(), |(_, before)| *before);
            node.looked_at = 0;
        }
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        while ids.iter().filter(|id| self.look(**id)).count() > 0 {}
        if self.nodes.values().all(|node| node.bound <= node.cut) {
            return None;
        }
        self.advance();
        Some(self.cut())
    }

    /// Looks at the node's next pieces; false when there are none inside.
    fn look(&mut self, id: NodeId) -> bool {
        for turn in 0..TURN {
            let Some(node) = self.nodes.get(&id) else { return false };
            let Some((end, transaction)) = node.pieces.get(node.looked_at).filter(|(end, _)| *end <= node.bound) else {
                return turn > 0;
            };
            let pieces = self.transactions.get(transaction).map_or(&[][..], |t| &t.pieces);
            let outside = |node: NodeId, end: Lsn| self.nodes.get(&node).is_some_and(|n| end > n.bound);
            if pieces.iter().any(|p| outside(p.node, p.end)) {
                let before = pieces.iter().find(|p| p.node == id && p.end == *end).map(|p| p.before);
                self.go_back(id, before.unwrap_or(node.cut));
            } else if let Some(node) = self.nodes.get_mut(&id) {
                node.looked_at += 1;
            }
        }
        true
    }

    /// Moves a node back, and the other nodes out of the transactions that fall out of it.
    fn go_back(&mut self, id: NodeId, to: Lsn) {
        let mut moves = vec![(id, to)];
        while let Some((id, to)) = moves.pop() {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            if to >= node.bound {
                continue;
            }
            let outside = node.first_behind(node.bound);
            let inside = node.first_behind(to);
            node.bound = to;
            node.looked_at = node.looked_at.min(inside);
            let fell_out: Vec<_> = node.pieces.range(inside..outside).map(|(_, transaction)| *transaction).collect();
            for transaction in fell_out {
                let pieces = self.transactions.get(&transaction).map_or(&[][..], |t| &t.pieces);
                let inside = |node: NodeId, end: Lsn| self.nodes.get(&node).is_some_and(|n| end <= n.bound);
                moves.extend(pieces.iter().filter(|p| inside(p.node, p.end)).map(|p| (p.node, p.before)));
            }
        }
    }

    /// Makes the bounds the cut and forgets what is in it.
    fn advance(&mut self) {
        let mut done = Vec::new();
        for node in self.nodes.values_mut() {
            node.cut = node.cut.max(node.bound);
            let inside = node.first_behind(node.cut);
            done.extend(node.pieces.drain(..inside).map(|(_, transaction)| transaction));
        }
        for id in done {
            let pieces = self.transactions.remove(&id).map(|t| t.pieces).unwrap_or_default();
            for piece in pieces {
                debug_assert!(
                    self.nodes.get(&piece.node).is_none_or(|n| piece.end <= n.cut),
                    "a cut that is not closed"
                );
                if let (Some(node), Some(gid), Some(prepared)) =
                    (self.nodes.get_mut(&piece.node), piece.gid, piece.prepared)
                {
                    node.decided_begins.remove(&(prepared.begin, gid));
                }
            }
        }
    }
}
