//! Streams that start again, nodes that come and go.
//!
//! A restarted stream's pieces are forgotten, with the transactions that only they told of: a list that was in it takes
//! its branches back to "committed, list not seen". What comes again finds its place as at the first time.

use types::{Lsn, NodeId};

use crate::frontier::{Frontier, key_of};
use crate::node::Node;
use crate::transaction::{Kind, PartState, Piece, Transaction, TransactionId};

impl Frontier {
    /// The node's stream starts again, from its cut or from a PREPARE before it that was not decided there: what it
    /// brought behind the cut is forgotten.
    pub fn restarted(&mut self, node: NodeId) {
        let Some(state) = self.nodes.get_mut(&node) else { return };
        let mut touched: Vec<TransactionId> = state.pieces.iter().map(|(_, id)| *id).collect();
        state.restart();
        self.stirred = true;
        touched.dedup();
        // Backwards, so that of two lists that wait for the same name again the older one comes first again.
        for id in touched.into_iter().rev() {
            self.forget_pieces(id, node);
        }
        self.gather_again();
    }

    /// A node joins. Its stream begins at `at`, or, where that is [`Lsn::ZERO`], with its first event.
    /// One that is there already is replaced.
    pub fn add_node(&mut self, node: NodeId, at: Lsn) {
        self.remove_node(node);
        self.nodes.insert(node, Node::new(at));
        // A stream that begins now can lack what older transactions on other nodes name.
        self.begun = None;
        for state in self.nodes.values_mut() {
            state.all_begun = None;
        }
        self.gather_all_again();
    }

    /// A node leaves: cuts no longer have a position for it, and nothing is waited for from it.
    pub fn remove_node(&mut self, node: NodeId) {
        if self.nodes.remove(&node).is_none() {
            return;
        }
        self.stirred = true;
        self.lists.retain(|(of, _), _| *of != node);
        let ids: Vec<TransactionId> = self.transactions.keys().copied().collect();
        for id in ids {
            let Some(transaction) = self.transactions.get_mut(&id) else { continue };
            transaction.pieces.retain(|piece| piece.node != node);
            match &mut transaction.kind {
                Kind::Listed { parts, .. } => {
                    parts.iter_mut().filter(|p| p.node == node).for_each(|p| p.state = PartState::Gone);
                }
                Kind::Gathered(gathering) => {
                    gathering.standing.remove(&node);
                    gathering.undecided.retain(|(of, _)| *of != node);
                }
                Kind::Alone => {}
            }
            self.refresh(id);
            self.drop_if_empty(id);
        }
        self.gather_all_again();
    }

    fn forget_pieces(&mut self, id: TransactionId, node: NodeId) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        let mut forgotten = Vec::new();
        transaction.pieces.retain(|piece| {
            let keep = piece.node != node;
            if !keep {
                forgotten.extend(piece.gid.clone());
            }
            keep
        });
        let had_all = transaction.complete;
        match &mut transaction.kind {
            Kind::Alone => {}
            Kind::Listed { initiator, .. } if *initiator == node => {
                self.forget_list(id);
                return;
            }
            Kind::Listed { initiator, parts } => {
                let initiator = *initiator;
                for part in parts.iter_mut().filter(|p| p.node == node && p.state == PartState::Here) {
                    part.state = PartState::Expected;
                }
                let committed = transaction.pieces.iter().find(|p| p.node == initiator && p.gid.is_none());
                let all_begun = self.nodes.get(&initiator).and_then(|n| n.all_begun);
                let sure = committed.map(|p| p.end) > all_begun && all_begun.is_some();
                for gid in forgotten {
                    self.lists.entry((node, gid.clone())).or_default().push_front(id);
                    let state = self.expect_part(id, node, &gid, sure);
                    if let Some(part) = self.transactions.get_mut(&id).and_then(|t| t.missing(node, &gid)) {
                        part.state = state;
                    }
                }
                self.refresh(id);
            }
            Kind::Gathered(_) if had_all => {
                self.gather_pieces(id);
                return;
            }
            Kind::Gathered(_) => {}
        }
        self.drop_if_empty(id);
    }

    /// A list that is no longer known: its branches have committed and nobody says with which others.
    fn forget_list(&mut self, id: TransactionId) {
        self.unlist(id);
        self.gather_pieces(id);
    }

    /// The transaction waits for no listed branch any more.
    fn unlist(&mut self, id: TransactionId) {
        let Some(Transaction { kind: Kind::Listed { parts, .. }, .. }) = self.transactions.get(&id) else { return };
        for part in parts.iter().filter(|p| p.is_missing()) {
            let name = (part.node, part.gid.clone());
            if let Some(waiting) = self.lists.get_mut(&name) {
                waiting.retain(|other| *other != id);
                if waiting.is_empty() {
                    self.lists.remove(&name);
                }
            }
        }
    }

    /// Takes a transaction apart: each of its pieces goes to the gathering of its key, or stands alone.
    fn gather_pieces(&mut self, id: TransactionId) {
        let Some(transaction) = self.transactions.remove(&id) else { return };
        for piece in transaction.pieces {
            let key = piece.gid.as_ref().and_then(|gid| key_of(&self.rules, gid));
            let (home, complete) = match key {
                Some(key) => (self.gathering_of(key), false),
                None => (self.alone(), true),
            };
            let Piece { node, end, before, prepared, .. } = piece;
            if let Some(state) = self.nodes.get_mut(&node) {
                state.reassign(end, home);
                if complete {
                    state.open.remove(&end);
                } else {
                    state.open.insert(end, before);
                }
            }
            if let Some(transaction) = self.transactions.get_mut(&home) {
                transaction.pieces.push(piece);
                transaction.pieces.sort_by_key(|p| (p.node, p.end));
            }
            if !complete {
                self.gathered(home, node, prepared);
            }
        }
    }

    /// A transaction without others.
    pub(crate) fn alone(&mut self) -> TransactionId {
        let id = TransactionId(self.next_id());
        self.transactions.insert(id, Transaction { pieces: Vec::new(), kind: Kind::Alone, complete: true });
        id
    }

    /// Nor does it count that a list was expected: it may have been in a stream that is no more, and what would have doubted
    /// it has gone with that.
    fn gather_all_again(&mut self) {
        let unfinished: Vec<TransactionId> = self.gatherings.values().copied().collect();
        for id in unfinished {
            self.start_round(id);
        }
    }

    /// What was found out about unlisted branches no longer counts.
    fn gather_again(&mut self) {
        let unfinished: Vec<TransactionId> = self.gatherings.values().copied().collect();
        for id in unfinished {
            let gathering = self.transactions.get_mut(&id).and_then(Transaction::gathering);
            if gathering.is_some_and(|g| g.round.is_some()) {
                self.start_round(id);
            }
        }
    }

    fn drop_if_empty(&mut self, id: TransactionId) {
        if self.transactions.get(&id).is_none_or(|t| !t.pieces.is_empty()) {
            return;
        }
        self.unlist(id);
        if let Some(Transaction { kind: Kind::Gathered(gathering), .. }) = self.transactions.remove(&id)
            && self.gatherings.get(&gathering.key) == Some(&id)
        {
            self.gatherings.remove(&gathering.key);
        }
    }
}
