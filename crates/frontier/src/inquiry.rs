//! Questions to the nodes.
//!
//! Normally nobody need be asked: what a list names comes, and so does the list of what committed. It does not when a
//! slot began in the middle: the branch, or the list, came before the stream does. Such cases end as soon as all
//! slots exist. So each node is asked once where it stands when all streams have begun. A list behind that has all
//! its branches in the streams, a branch that was *prepared* behind that has its list in one. Only what is older is
//! asked for at once. All else is asked for after much patience (`PATIENCE`), so that nothing, whatever odd thing was
//! done to the cluster by hand, is waited for in silence for ever.
//!
//! A branch that wrote nothing is in no stream, neither its PREPARE nor its decision. So a listed branch whose PREPARE
//! has not come is asked for at once too, and again while it is prepared and its PREPARE still has not come; more and
//! more patiently, as it may be left prepared for long.
//!
//! No promise of the frontier depends on when is asked: an answer says for sure what is so at its moment.
//!
//! Another manager's transactions (see `Rules::pattern`) need the answers always.
//!
//! At most one question to a node is under way; what comes up meanwhile goes into the next one.

use types::{Gid, Lsn, NodeId};

use crate::event::Ask;
use crate::frontier::Frontier;
use crate::node::{Asked, Expectation, Node, Want};
use crate::transaction::{Key, PartState, Prepared, Standing, Ticket, Transaction, TransactionId};

/// So many events of a node and looks at the next cut may go by before something that should come is asked for.
const PATIENCE: u64 = 1000;

/// A prepared branch that is not in its stream is asked for so often without a pause.
const EAGER: u32 = 8;
/// Then with pauses that double up to 2 to the power of this many turns.
const LONGEST_PAUSE: u32 = 7;

impl Frontier {
    /// The questions to put to nodes now, each once; an answer comes by [`Frontier::answer`], or [`Frontier::ask_failed`].
    pub fn asks(&mut self) -> Vec<Ask> {
        if self.begun.is_none() && self.nodes.values().all(|node| node.begun) {
            let ticket = Ticket(self.next_id());
            self.begun = Some(ticket);
            for node in self.nodes.values_mut() {
                node.wants.push(Want::Begun { ticket });
            }
        }
        let ready = |n: &Node| n.begun && n.asked.is_none() && !n.wants.is_empty();
        let nodes: Vec<NodeId> = self.nodes.iter().filter(|(_, n)| ready(n)).map(|(id, _)| *id).collect();
        let mut asks = Vec::new();
        for node in nodes {
            let wants = self.nodes.get_mut(&node).map(|n| std::mem::take(&mut n.wants)).unwrap_or_default();
            let wants: Vec<Want> = wants.into_iter().filter(|want| self.matters(node, want)).collect();
            if wants.is_empty() {
                continue;
            }
            let id = self.next_id();
            asks.push(Ask { node, gids: gids_of(&wants), id });
            if let Some(state) = self.nodes.get_mut(&node) {
                state.asked = Some(Asked { id, wants });
            }
        }
        asks
    }

    /// The node's answer: `prepared` for each branch of the question in its order, and then its position `at`.
    pub fn answer(&mut self, id: u64, node: NodeId, at: Lsn, prepared: &[bool]) {
        let Some(wants) = self.take_asked(id, node) else { return };
        if gids_of(&wants).len() != prepared.len() {
            if let Some(state) = self.nodes.get_mut(&node) {
                state.wants.extend(wants); // no answer to this question: it is put again
            }
            return;
        }
        self.stirred = true;
        let mut prepared = prepared.iter();
        for want in wants {
            let is_prepared = want.gid().is_some() && prepared.next() == Some(&true);
            match &want {
                Want::Part { transaction, gid, ticket } => self.answered(*transaction, node, gid, *ticket, is_prepared),
                Want::Pending { .. } if is_prepared => continue,
                _ => {}
            }
            let Some(state) = self.nodes.get_mut(&node) else { return };
            if let Want::Begun { ticket } = want {
                if self.begun == Some(ticket) {
                    state.all_begun = Some(at);
                }
                continue;
            }
            let at = at.max(state.cut);
            if state.stream >= at {
                self.passed(node, at, &want);
            } else {
                state.passing.entry(at).or_default().push(want);
            }
        }
    }

    /// The node could not be asked. The question is put again, with what came up since.
    pub fn ask_failed(&mut self, id: u64, node: NodeId) {
        if let Some(wants) = self.take_asked(id, node)
            && let Some(state) = self.nodes.get_mut(&node)
        {
            state.wants.extend(wants);
        }
    }

    /// A listed branch is prepared, or is not; what that means shows when the stream has reached that moment.
    fn answered(&mut self, id: TransactionId, node: NodeId, gid: &Gid, ticket: Ticket, is_prepared: bool) {
        let part = self.transactions.get_mut(&id).and_then(|t| t.missing(node, gid));
        if let Some(part) = part.filter(|part| part.is_asked_by(ticket)) {
            part.state = if is_prepared { PartState::Promised(ticket) } else { PartState::Asked(ticket) };
        }
    }

    fn take_asked(&mut self, id: u64, node: NodeId) -> Option<Vec<Want>> {
        let asked = &mut self.nodes.get_mut(&node)?.asked;
        asked.take_if(|asked| asked.id == id).map(|asked| asked.wants)
    }

    /// Whether an answer would still tell something.
    fn matters(&mut self, node: NodeId, want: &Want) -> bool {
        match want {
            Want::Part { transaction, gid, ticket } => {
                let part = self.transactions.get_mut(transaction).and_then(|t| t.missing(node, gid));
                part.is_some_and(|part| part.is_asked_by(*ticket))
            }
            Want::Position { transaction, ticket } => {
                let gathering = self.transactions.get_mut(transaction).and_then(Transaction::gathering);
                gathering.is_some_and(|g| g.round == Some(*ticket))
            }
            Want::Pending { gid, prepared } => self.nodes.get(&node).is_some_and(|n| n.is_pending(gid, *prepared)),
            Want::Begun { ticket } => self.begun == Some(*ticket),
        }
    }

    /// A listed branch has not come: the state it is in, having it asked for where it may never come (not `sure`).
    pub(crate) fn expect_part(&mut self, id: TransactionId, node: NodeId, gid: &Gid, sure: bool) -> PartState {
        let ticket = Ticket(self.next_id());
        let Some(state) = self.nodes.get_mut(&node) else { return PartState::Gone };
        // A branch that wrote nothing is not in any stream: only one whose PREPARE is there is sure to come.
        if sure && state.pending.contains_key(gid) {
            let expectation = Expectation::Part { transaction: id, gid: gid.clone() };
            state.expect(expectation, PATIENCE);
            return PartState::Expected;
        }
        state.wants.push(Want::Part { transaction: id, gid: gid.clone(), ticket });
        PartState::Asked(ticket)
    }

    /// Asks for a listed branch (again): an answer that is under way no longer counts.
    pub(crate) fn ask_part(&mut self, id: TransactionId, node: NodeId, gid: &Gid) {
        let ticket = Ticket(self.next_id());
        let Some(part) = self.transactions.get_mut(&id).and_then(|t| t.missing(node, gid)) else { return };
        part.state = PartState::Asked(ticket);
        if let Some(state) = self.nodes.get_mut(&node) {
            state.wants.push(Want::Part { transaction: id, gid: gid.clone(), ticket });
        }
    }

    /// A listed branch is prepared, and the stream is past the moment when that was so.
    pub(crate) fn unseen(&mut self, id: TransactionId, node: NodeId, gid: &Gid) {
        let Some(state) = self.nodes.get_mut(&node).filter(|n| !n.pending.contains_key(gid)) else { return };
        let Some(part) = self.transactions.get_mut(&id).and_then(|t| t.missing(node, gid)) else { return };
        part.unseen += 1;
        if part.unseen <= EAGER {
            self.ask_part(id, node, gid);
        } else {
            part.state = PartState::Expected;
            let pause = 1 << (part.unseen - EAGER).min(LONGEST_PAUSE);
            state.expect(Expectation::Part { transaction: id, gid: gid.clone() }, pause);
        }
    }

    /// A piece came into a gathering: asks everybody, unless the list will surely come.
    pub(crate) fn gathered(&mut self, id: TransactionId, node: NodeId, prepared: Option<Prepared>) {
        let all_begun = self.nodes.get(&node).and_then(|n| n.all_begun);
        let sure = all_begun.zip(prepared).is_some_and(|(all_begun, prepared)| prepared.end > all_begun);
        let Some(gathering) = self.transactions.get_mut(&id).and_then(Transaction::gathering) else { return };
        // Where nodes do not wait for each other, a list that came before may have been passed over.
        let sure = sure && !self.rules.per_node;
        if let (Key::Citus(citus), None, true) = (&gathering.key, gathering.round, sure)
            && let Some(initiator) = self.nodes.get_mut(&citus.initiator)
        {
            let expectation = Expectation::List { transaction: id };
            initiator.expect(expectation, PATIENCE);
            return;
        }
        self.start_round(id);
    }

    /// Asks every node where it stands, to know what belongs to the gathered transaction.
    pub(crate) fn start_round(&mut self, id: TransactionId) {
        let ticket = Ticket(self.next_id());
        let Some(gathering) = self.transactions.get_mut(&id).and_then(Transaction::gathering) else { return };
        gathering.round = Some(ticket);
        gathering.undecided.clear();
        gathering.standing = self.nodes.keys().map(|node| (*node, Standing::Asked)).collect();
        for node in self.nodes.values_mut() {
            node.wants.push(Want::Position { transaction: id, ticket });
        }
        self.refresh(id);
    }

    /// One more look at the next cut went by: doubts what was expected for too long.
    pub(crate) fn lose_patience(&mut self) {
        let mut doubted = Vec::new();
        for (id, node) in &mut self.nodes {
            doubted.extend(node.turn().into_iter().map(|expectation| (*id, expectation)));
        }
        for (node, expectation) in doubted {
            match expectation {
                Expectation::Part { transaction: id, gid } => {
                    let part = self.transactions.get_mut(&id).and_then(|t| t.missing(node, &gid));
                    if part.is_some_and(|part| part.state == PartState::Expected) {
                        self.ask_part(id, node, &gid);
                    }
                }
                Expectation::List { transaction: id } => {
                    let gathering = self.transactions.get_mut(&id).and_then(Transaction::gathering);
                    if gathering.is_some_and(|g| g.round.is_none()) {
                        self.start_round(id);
                    }
                }
            }
        }
    }
}

fn gids_of(wants: &[Want]) -> Vec<Gid> {
    wants.iter().filter_map(Want::gid).cloned().collect()
}
