//! The frontier: takes the nodes' events in.
//!
//! A plain commit leaves nothing behind but the node's new position. A piece of a distributed transaction is kept by
//! its node (in order) and by its transaction; `lists` and `gatherings` find the transaction that a branch belongs to.
//!
//! Invariant: a node's `open` are exactly its pieces of transactions that are not `complete`; `lists` holds exactly
//! the missing parts of listed transactions; `gatherings` exactly the gathered ones that are not complete.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

use types::{Gid, Lsn, NodeId, Positions};

use crate::event::{Event, Rules, Wait, WaitingFor};
use crate::node::{Node, Want};
use crate::transaction::{
    Gathering, Key, Kind, Part, PartState, Piece, Prepared, Standing, Ticket, Transaction, TransactionId,
};

/// See the crate's description. All methods are quick; none blocks.
pub struct Frontier {
    pub(crate) rules: Rules,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) transactions: HashMap<TransactionId, Transaction>,
    /// Transactions whose list names the branch and which wait for it, oldest first.
    pub(crate) lists: HashMap<(NodeId, Gid), VecDeque<TransactionId>>,
    pub(crate) gatherings: HashMap<Key, TransactionId>,
    /// The question that settles when all streams had begun; `None` until it can be put.
    pub(crate) begun: Option<Ticket>,
    /// Something happened since the last look at the next cut.
    pub(crate) stirred: bool,
    last_id: u64,
}

impl Frontier {
    /// Goes on from the cut `at`. A node that is not in it is new: its stream begins with the first event.
    /// The nodes send everything that ended behind `at`, and the PREPAREs before that which were undecided there.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = NodeId>, at: Positions, rules: Rules) -> Self {
        let Positions(mut at) = at;
        let node = |id| (id, Node::new(at.remove(&id).unwrap_or(Lsn::ZERO)));
        let nodes = nodes.into_iter().map(node).collect();
        Self {
            rules,
            nodes,
            transactions: HashMap::new(),
            lists: HashMap::new(),
            gatherings: HashMap::new(),
            begun: None,
            stirred: true,
            last_id: 0,
        }
    }

    /// The last cut.
    #[must_use]
    pub fn cut(&self) -> Positions {
        Positions(self.nodes.iter().map(|(id, node)| (*id, node.cut)).collect())
    }

    /// Takes in a node's next event. What was taken in before is ignored, by its position.
    pub fn event(&mut self, node: NodeId, event: Event) {
        self.take(node, event, !self.rules.per_node);
    }

    /// The same for a Commit or Prepare that changes the cluster's shape: all pieces of its transaction come into one cut
    /// also where nodes do not wait for each other, so that no shard is read on two nodes, or on none.
    pub fn reshaping_event(&mut self, node: NodeId, event: Event) {
        self.take(node, event, true);
    }

    /// `bound`: the event's transaction is one with its pieces on other nodes.
    fn take(&mut self, node: NodeId, event: Event, bound: bool) {
        let Some(state) = self.nodes.get_mut(&node) else { return };
        state.begun = true;
        state.turns += 1;
        self.stirred = true;
        let end = match event {
            Event::Commit { end, participants } => {
                let seen = state.seen();
                if !participants.is_empty() && end > seen && (bound || self.has_bound(&participants)) {
                    self.list(node, end, participants);
                }
                end
            }
            Event::Prepare { end, begin, gid } => {
                // What the stream was past already came again, or was prepared before the slot began.
                if end > state.stream {
                    let key = if bound { key_of(&self.rules, &gid) } else { None };
                    state.prepare(gid, Prepared { begin, end }, key);
                }
                end
            }
            Event::CommitPrepared { end, gid } => {
                self.commit_prepared(node, end, &gid);
                end
            }
            Event::RollbackPrepared { end, gid } => {
                self.rollback_prepared(node, end, &gid);
                end
            }
            Event::Progress { lsn } => lsn,
        };
        self.reached(node, end);
    }

    /// The position behind which a slot may not be confirmed after the last cut: the cut's position, or the begin of
    /// a PREPARE before it whose decision is not in the cut. Can go back; a slot that was confirmed further stays.
    #[must_use]
    pub fn safe_to_confirm(&self, node: NodeId) -> Lsn {
        self.nodes.get(&node).map_or(Lsn::ZERO, Node::safe_to_confirm)
    }

    /// What holds the nodes back: for each node that cannot go to the end of its stream, what its first held piece
    /// waits for. Empty when nothing does.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<Wait> {
        let mut found = Vec::new();
        for node in self.nodes.values() {
            let Some((first, _)) = node.open.first_key_value() else { continue };
            let id = node.pieces.binary_search_by_key(first, |(end, _)| *end).ok().and_then(|at| node.pieces.get(at));
            let Some(transaction) = id.and_then(|(_, id)| self.transactions.get(id)) else { continue };
            for wait in waits_of(transaction) {
                if !found.contains(&wait) {
                    found.push(wait);
                }
            }
        }
        found
    }

    /// Whether one of the branches is known to change the cluster's shape.
    fn has_bound(&self, branches: &[(NodeId, Gid)]) -> bool {
        branches.iter().any(|(node, gid)| {
            let gathered = key_of(&self.rules, gid).is_some_and(|key| self.gatherings.contains_key(&key));
            gathered || self.nodes.get(node).and_then(|n| n.pending.get(gid)).is_some_and(|p| p.key.is_some())
        })
    }

    fn list(&mut self, initiator: NodeId, end: Lsn, mut participants: Vec<(NodeId, Gid)>) {
        participants.sort();
        participants.dedup();
        let id = TransactionId(self.next_id());
        let sure = self.nodes.get(&initiator).and_then(|n| n.all_begun).is_some_and(|all_begun| end > all_begun);
        let mut transaction = Transaction { pieces: Vec::new(), kind: Kind::Alone, complete: false };
        let mut parts = Vec::new();
        for (node, gid) in participants {
            let state = if !self.nodes.contains_key(&node) {
                PartState::Gone // not one of ours: nothing of it can be in any cut
            } else if let Some(piece) = self.take_gathered(node, &gid) {
                if let Some(state) = self.nodes.get_mut(&node) {
                    state.reassign(piece.end, id);
                    state.open.insert(piece.end, piece.before);
                }
                transaction.pieces.push(piece);
                PartState::Here
            } else {
                self.lists.entry((node, gid.clone())).or_default().push_back(id);
                self.expect_part(id, node, &gid, sure)
            };
            parts.push(Part { node, gid, state, unseen: 0 });
        }
        transaction.kind = Kind::Listed { initiator, parts };
        self.transactions.insert(id, transaction);
        self.add_piece(id, initiator, end, None, None);
        self.refresh(id);
    }

    fn commit_prepared(&mut self, node: NodeId, end: Lsn, gid: &Gid) {
        let Some(state) = self.nodes.get_mut(&node) else { return };
        let pending = state.decide(gid, end);
        let prepared = pending.as_ref().map(|p| p.at);
        let key = pending.map_or_else(|| unseen_key(&self.rules, gid), |p| p.key);
        if end <= state.seen() {
            return;
        }
        if let Some(id) = self.take_listed(node, gid) {
            self.add_piece(id, node, end, Some(gid.clone()), prepared);
            if let Some(part) = self.transactions.get_mut(&id).and_then(|t| t.missing(node, gid)) {
                part.state = PartState::Here;
            }
            self.decided_elsewhere(node, gid, key.as_ref());
            self.refresh(id);
        } else if let Some(key) = key {
            let id = self.gathering_of(key);
            self.add_piece(id, node, end, Some(gid.clone()), prepared);
            self.gathered(id, node, prepared);
        } else {
            let id = self.alone();
            self.add_piece(id, node, end, Some(gid.clone()), prepared);
        }
    }

    fn rollback_prepared(&mut self, node: NodeId, end: Lsn, gid: &Gid) {
        let Some(state) = self.nodes.get_mut(&node) else { return };
        let pending = state.decide(gid, end);
        if end <= state.seen() {
            return;
        }
        let key = pending.map_or_else(|| unseen_key(&self.rules, gid), |p| p.key);
        self.decided_elsewhere(node, gid, key.as_ref());
        if let Some(id) = self.lists.get(&(node, gid.clone())).and_then(|ids| ids.front().copied()) {
            // Either somebody rolled a committed transaction's branch back by hand, or the name was used before.
            self.ask_part(id, node, gid);
        }
    }

    /// A branch was decided that a gathering may have waited for.
    fn decided_elsewhere(&mut self, node: NodeId, gid: &Gid, key: Option<&Key>) {
        let Some(&id) = key.and_then(|key| self.gatherings.get(key)) else { return };
        let gathering = self.transactions.get_mut(&id).and_then(Transaction::gathering);
        if gathering.is_some_and(|g| g.undecided.remove(&(node, gid.clone()))) {
            self.refresh(id);
        }
    }

    /// Takes the branch off the oldest list that waits for it.
    fn take_listed(&mut self, node: NodeId, gid: &Gid) -> Option<TransactionId> {
        let name = (node, gid.clone());
        let waiting = self.lists.get_mut(&name)?;
        let id = waiting.pop_front();
        let others: Vec<TransactionId> = waiting.iter().copied().collect();
        if others.is_empty() {
            self.lists.remove(&name);
        }
        for other in others {
            self.ask_part(other, node, gid); // what was said of the name may have been said of this branch
        }
        id
    }

    /// Takes the branch's oldest piece out of the gathering that has it.
    fn take_gathered(&mut self, node: NodeId, gid: &Gid) -> Option<Piece> {
        let key = key_of(&self.rules, gid)?;
        let id = *self.gatherings.get(&key)?;
        let transaction = self.transactions.get_mut(&id)?;
        let at = transaction.pieces.iter().position(|p| p.node == node && p.gid.as_ref() == Some(gid))?;
        let piece = transaction.pieces.remove(at);
        if transaction.pieces.is_empty() {
            self.transactions.remove(&id);
            self.gatherings.remove(&key);
        }
        Some(piece)
    }

    /// The gathering of `key`, a new one if there is none.
    pub(crate) fn gathering_of(&mut self, key: Key) -> TransactionId {
        if let Some(id) = self.gatherings.get(&key) {
            return *id;
        }
        let id = TransactionId(self.next_id());
        self.gatherings.insert(key.clone(), id);
        let (round, standing, undecided) = Default::default();
        let kind = Kind::Gathered(Gathering { key, round, standing, undecided });
        self.transactions.insert(id, Transaction { pieces: Vec::new(), kind, complete: false });
        id
    }

    fn add_piece(&mut self, id: TransactionId, node: NodeId, end: Lsn, gid: Option<Gid>, prepared: Option<Prepared>) {
        let (Some(state), Some(transaction)) = (self.nodes.get_mut(&node), self.transactions.get_mut(&id)) else {
            return;
        };
        let before = state.seen();
        state.pieces.push_back((end, id));
        if !transaction.complete {
            state.open.insert(end, before);
        }
        if let (Some(gid), Some(prepared)) = (&gid, prepared) {
            state.decided_begins.insert((prepared.begin, gid.clone()));
        }
        transaction.pieces.push(Piece { node, end, before, gid, prepared });
    }

    /// Looks again whether the transaction is complete, and opens or frees its pieces.
    pub(crate) fn refresh(&mut self, id: TransactionId) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        let complete = transaction.has_all();
        if complete == transaction.complete {
            return;
        }
        transaction.complete = complete;
        for piece in &transaction.pieces {
            let Some(node) = self.nodes.get_mut(&piece.node) else { continue };
            if complete {
                node.open.remove(&piece.end);
            } else {
                node.open.insert(piece.end, piece.before);
            }
        }
        if complete && let Kind::Gathered(gathering) = &transaction.kind {
            self.gatherings.remove(&gathering.key);
        }
        self.stirred = true;
    }

    /// The node's stream was read up to `end`.
    fn reached(&mut self, node: NodeId, end: Lsn) {
        let Some(state) = self.nodes.get_mut(&node) else { return };
        state.reached(end);
        if state.passing.is_empty() {
            return;
        }
        let behind = state.passing.split_off(&Lsn(state.stream.0.saturating_add(1)));
        for (at, wants) in std::mem::replace(&mut state.passing, behind) {
            for want in wants {
                self.passed(node, at, &want);
            }
        }
    }

    /// The stream passed the node's answer `at`: what was to come before it came.
    pub(crate) fn passed(&mut self, node: NodeId, at: Lsn, want: &Want) {
        match want {
            Want::Part { transaction: id, gid, ticket } => {
                let Some(transaction) = self.transactions.get_mut(id) else { return };
                let Some(part) = transaction.missing(node, gid) else { return };
                if part.state == PartState::Promised(*ticket) {
                    self.unseen(*id, node, gid);
                    return;
                }
                if part.state != PartState::Asked(*ticket) {
                    return;
                }
                part.state = PartState::Gone;
                if let Some(waiting) = self.lists.get_mut(&(node, gid.clone())) {
                    waiting.retain(|other| other != id);
                    if waiting.is_empty() {
                        self.lists.remove(&(node, gid.clone()));
                    }
                }
                self.refresh(*id);
            }
            Want::Position { transaction: id, ticket } => {
                let Some(state) = self.nodes.get(&node) else { return };
                let Some(gathering) = self.transactions.get_mut(id).and_then(Transaction::gathering) else { return };
                if gathering.round != Some(*ticket) {
                    return;
                }
                gathering.standing.insert(node, Standing::Passed);
                let belongs = |p: &crate::node::Pending| p.at.end <= at && p.key.as_ref() == Some(&gathering.key);
                let found = state.pending.iter().filter(|(_, p)| belongs(p)).map(|(gid, _)| (node, gid.clone()));
                let found: Vec<_> = found.collect();
                gathering.undecided.extend(found);
                self.refresh(*id);
            }
            Want::Pending { gid, prepared } => {
                let Some(state) = self.nodes.get_mut(&node).filter(|n| n.is_pending(gid, *prepared)) else { return };
                let key = state.decide(gid, Lsn::MAX).and_then(|pending| pending.key);
                self.decided_elsewhere(node, gid, key.as_ref());
            }
            Want::Begun { .. } => {}
        }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

/// The key of the branch's transaction, when it is not a transaction of its own.
pub(crate) fn key_of(rules: &Rules, gid: &Gid) -> Option<Key> {
    let citus = if rules.citus { gid.citus().map(Key::Citus) } else { None };
    citus.or_else(|| rules.pattern.as_ref().and_then(|of| of(gid)).map(Key::Pattern))
}

/// The same for a branch whose PREPARE is not in the stream: it wrote nothing that is published, the cluster's shape neither.
fn unseen_key(rules: &Rules, gid: &Gid) -> Option<Key> {
    if rules.per_node { None } else { key_of(rules, gid) }
}

fn waits_of(transaction: &Transaction) -> Vec<Wait> {
    match &transaction.kind {
        Kind::Alone => Vec::new(),
        Kind::Listed { initiator, parts } => {
            let what = WaitingFor::Branch { initiator: *initiator };
            parts.iter().filter(|p| p.is_missing()).map(|p| Wait { node: p.node, gid: p.gid.clone(), what }).collect()
        }
        Kind::Gathered(g) => {
            let Some(gid) = transaction.pieces.first().and_then(|p| p.gid.clone()) else { return Vec::new() };
            if let (None, Key::Citus(citus)) = (g.round, &g.key) {
                return vec![Wait { node: citus.initiator, gid, what: WaitingFor::List }];
            }
            let what = WaitingFor::Position;
            let nodes = g.standing.iter().filter(|(_, s)| **s == Standing::Asked);
            let nodes = nodes.map(|(node, _)| Wait { node: *node, gid: gid.clone(), what });
            let what = WaitingFor::Decision;
            let branches = g.undecided.iter().map(|(node, gid)| Wait { node: *node, gid: gid.clone(), what });
            nodes.chain(branches).collect()
        }
    }
}

impl fmt::Debug for Frontier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frontier")
            .field("cut", &self.cut())
            .field("transactions", &self.transactions.len())
            .field("waiting_for", &self.waiting_for())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_commits_and_what_was_cut_leave_nothing_behind() {
        let nodes = [NodeId(0), NodeId(1)];
        let mut f = Frontier::new(nodes, Positions::default(), Rules { citus: true, ..Rules::default() });
        for n in 1..1000 {
            f.event(NodeId(n % 2), Event::Commit { end: Lsn(n.into()), participants: Vec::new() });
        }
        assert!(f.nodes.values().all(|n| n.pieces.is_empty()) && f.transactions.is_empty());
        let gid = Gid::from("citus_0_1_1_1");
        f.event(NodeId(1), Event::Prepare { begin: Lsn(1000), end: Lsn(1001), gid: gid.clone() });
        f.event(NodeId(1), Event::CommitPrepared { end: Lsn(1002), gid: gid.clone() });
        f.event(NodeId(0), Event::Commit { end: Lsn(1003), participants: vec![(NodeId(1), gid)] });
        assert_eq!(f.transactions.len(), 1);
        assert!(f.next_cut().is_some());
        assert!(f.transactions.is_empty() && f.lists.is_empty() && f.gatherings.is_empty());
        let forgot =
            |n: &Node| n.pieces.is_empty() && n.open.is_empty() && n.pending.is_empty() && n.decided_begins.is_empty();
        assert!(f.nodes.values().all(forgot));
    }
}
