//! One node's stream behind its last cut.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use types::{Gid, Lsn};

use crate::transaction::{Key, Prepared, Ticket, TransactionId};

/// A branch that is prepared, as far as the stream was read.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) at: Prepared,
    pub(crate) key: Option<Key>,
}

/// Why a node is asked.
#[derive(Debug, Clone)]
pub(crate) enum Want {
    /// Does the listed branch still come?
    Part { transaction: TransactionId, gid: Gid, ticket: Ticket },
    /// Is the branch that was prepared before the cut still prepared?
    Pending { gid: Gid, prepared: Prepared },
    /// Where does the node stand, to find unlisted branches?
    Position { transaction: TransactionId, ticket: Ticket },
    /// Where does the node stand, now that all streams have begun?
    Begun { ticket: Ticket },
}

impl Want {
    /// The branch that is asked for.
    pub(crate) fn gid(&self) -> Option<&Gid> {
        match self {
            Self::Part { gid, .. } | Self::Pending { gid, .. } => Some(gid),
            Self::Position { .. } | Self::Begun { .. } => None,
        }
    }
}

/// What was expected to come by itself.
#[derive(Debug, Clone)]
pub(crate) enum Expectation {
    Part { transaction: TransactionId, gid: Gid },
    List { transaction: TransactionId },
}

/// A question under way.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) id: u64,
    pub(crate) wants: Vec<Want>,
}

#[derive(Debug, Default)]
pub(crate) struct Node {
    /// The node's position in the last cut.
    pub(crate) cut: Lsn,
    /// How far the present stream was read; behind `cut` while it catches up after a restart.
    pub(crate) stream: Lsn,
    /// Whether its slot exists for sure.
    pub(crate) begun: bool,
    /// A position of the node from when all slots existed.
    pub(crate) all_begun: Option<Lsn>,
    /// Pieces behind the cut, in order.
    pub(crate) pieces: VecDeque<(Lsn, TransactionId)>,
    /// Of these, the ones that cannot be cut yet; with the position before each.
    pub(crate) open: BTreeMap<Lsn, Lsn>,
    /// Prepared branches.
    pub(crate) pending: HashMap<Gid, Pending>,
    /// Where pending branches begin.
    pending_begins: BTreeSet<(Lsn, Gid)>,
    /// Where branches that committed behind the cut begin.
    pub(crate) decided_begins: BTreeSet<(Lsn, Gid)>,
    /// What may be confirmed while the stream catches up.
    pub(crate) floor: Lsn,
    /// Events and looks at the next cut so far: the measure of patience.
    pub(crate) turns: u64,
    /// Expectations on this node's stream, with the turn from which they are doubted.
    expected: BTreeMap<u64, Vec<Expectation>>,
    /// What the next question to this node is for.
    pub(crate) wants: Vec<Want>,
    pub(crate) asked: Option<Asked>,
    /// Answers that the stream has not reached.
    pub(crate) passing: BTreeMap<Lsn, Vec<Want>>,
    /// While a cut is searched: how far it can go here at most, and how many pieces were looked at.
    pub(crate) bound: Lsn,
    pub(crate) looked_at: usize,
}

impl Node {
    pub(crate) fn new(at: Lsn) -> Self {
        Self { cut: at, begun: at > Lsn::ZERO, ..Self::default() }
    }

    /// Everything up to here is known.
    pub(crate) fn seen(&self) -> Lsn {
        self.cut.max(self.stream)
    }

    /// Whether the stream is past the cut, so that all branches that were prepared at the cut came again.
    pub(crate) fn caught_up(&self) -> bool {
        self.stream >= self.cut
    }

    /// Takes note of a PREPARE. One that is older than what is known under its name came late.
    pub(crate) fn prepare(&mut self, gid: Gid, at: Prepared, key: Option<Key>) {
        if self.pending.get(&gid).is_some_and(|known| known.at.end >= at.end) {
            return;
        }
        if let Some(old) = self.pending.insert(gid.clone(), Pending { at, key }) {
            self.pending_begins.remove(&(old.at.begin, gid.clone()));
        }
        self.pending_begins.insert((at.begin, gid));
    }

    /// Takes out the branch that a decision at `end` decides.
    pub(crate) fn decide(&mut self, gid: &Gid, end: Lsn) -> Option<Pending> {
        if self.pending.get(gid)?.at.end >= end {
            return None; // an old decision that came again; the branch was prepared after it
        }
        let pending = self.pending.remove(gid)?;
        self.pending_begins.remove(&(pending.at.begin, gid.clone()));
        Some(pending)
    }

    /// Doubts the expectation when so many more turns went by.
    pub(crate) fn expect(&mut self, expectation: Expectation, patience: u64) {
        self.expected.entry(self.turns + patience).or_default().push(expectation);
    }

    /// One more turn: the expectations that are to be doubted now.
    pub(crate) fn turn(&mut self) -> Vec<Expectation> {
        self.turns += 1;
        let mut doubted = Vec::new();
        while self.expected.first_key_value().is_some_and(|(due, _)| *due <= self.turns) {
            doubted.extend(self.expected.pop_first().into_iter().flat_map(|(_, expectations)| expectations));
        }
        doubted
    }

    /// Whether the branch is prepared, and is not another one under the same name.
    pub(crate) fn is_pending(&self, gid: &Gid, at: Prepared) -> bool {
        self.pending.get(gid).is_some_and(|pending| pending.at == at)
    }

    /// The stream was read up to `end`. When it is past the cut for the first time, the branches that were prepared
    /// before the cut are asked for: while it was behind, it may have broken off and gone on behind their decisions.
    pub(crate) fn reached(&mut self, end: Lsn) {
        let was_behind = !self.caught_up();
        self.stream = self.stream.max(end);
        if was_behind && self.caught_up() {
            let old = self.pending.iter().filter(|(_, pending)| pending.at.end <= self.cut);
            self.wants.extend(old.map(|(gid, pending)| Want::Pending { gid: gid.clone(), prepared: pending.at }));
        }
    }

    /// See [`crate::Frontier::safe_to_confirm`].
    pub(crate) fn safe_to_confirm(&self) -> Lsn {
        let mut safe = if self.caught_up() { self.cut } else { self.floor.min(self.cut) };
        for begins in [&self.pending_begins, &self.decided_begins] {
            if let Some((begin, _)) = begins.first() {
                safe = safe.min(*begin);
            }
        }
        safe
    }

    /// Forgets what the stream brought behind the cut; what was asked is asked again.
    pub(crate) fn restart(&mut self) {
        self.floor = self.safe_to_confirm();
        self.stream = Lsn::ZERO;
        self.pieces.clear();
        self.open.clear();
        self.pending.clear();
        self.pending_begins.clear();
        self.decided_begins.clear();
        self.wants.extend(self.asked.take().into_iter().flat_map(|asked| asked.wants));
        self.wants.extend(std::mem::take(&mut self.passing).into_values().flatten());
    }

    /// The index of the first piece behind `position`.
    pub(crate) fn first_behind(&self, position: Lsn) -> usize {
        self.pieces.partition_point(|(end, _)| *end <= position)
    }

    /// Says that the piece that ends at `end` is another transaction's now.
    pub(crate) fn reassign(&mut self, end: Lsn, transaction: TransactionId) {
        if let Ok(index) = self.pieces.binary_search_by_key(&end, |(end, _)| *end)
            && let Some(piece) = self.pieces.get_mut(index)
        {
            piece.1 = transaction;
        }
    }
}
