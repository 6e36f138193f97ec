//! Distributed transactions between their first piece and the cut that takes them.

use std::collections::{BTreeMap, BTreeSet};

use types::{CitusTransaction, Gid, Lsn, NodeId};

/// Names a transaction inside this frontier; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransactionId(pub(crate) u64);

/// Names one question; an answer counts only while its ticket is the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u64);

/// What the branches of one transaction have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Citus(CitusTransaction),
    Pattern(String),
}

/// Where a branch was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) begin: Lsn,
    pub(crate) end: Lsn,
}

/// One commit on one node.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) node: NodeId,
    pub(crate) end: Lsn,
    /// The last position on the node without it.
    pub(crate) before: Lsn,
    /// The branch it committed; `None` for an initiator's plain commit.
    pub(crate) gid: Option<Gid>,
    /// Its PREPARE, when that is known.
    pub(crate) prepared: Option<Prepared>,
}

/// A branch that an initiator's list names.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) node: NodeId,
    pub(crate) gid: Gid,
    pub(crate) state: PartState,
    /// How often its node said that it is prepared, and its PREPARE was not in the stream.
    pub(crate) unseen: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartState {
    /// Its COMMIT PREPARED is one of the pieces.
    Here,
    /// It will come, as far as is known; not asked for.
    Expected,
    /// Its node is being asked, or said "not prepared" and its stream has not reached that moment.
    Asked(Ticket),
    /// Its node said that it is prepared: it will come, if it wrote anything.
    Promised(Ticket),
    /// It is in already, or there is none.
    Gone,
}

impl Part {
    /// Whether this question is the present one.
    pub(crate) fn is_asked_by(&self, ticket: Ticket) -> bool {
        matches!(self.state, PartState::Asked(asked) | PartState::Promised(asked) if asked == ticket)
    }

    pub(crate) fn is_missing(&self) -> bool {
        !matches!(self.state, PartState::Here | PartState::Gone)
    }
}

/// Where a node is in a gathering's present round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Being asked, or its stream has not reached its answer.
    Asked,
    /// Its stream passed its answer.
    Passed,
}

/// The search for the branches of a transaction that nobody lists. Each new piece starts a new round: only what was
/// found by asking after the last piece is all.
#[derive(Debug, Clone)]
pub(crate) struct Gathering {
    pub(crate) key: Key,
    /// The present round; `None` while an initiator's list is expected and nobody was asked.
    pub(crate) round: Option<Ticket>,
    pub(crate) standing: BTreeMap<NodeId, Standing>,
    /// Branches that were prepared when their node's answer was passed.
    pub(crate) undecided: BTreeSet<(NodeId, Gid)>,
}

/// How the pieces are known.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Alone,
    Listed { initiator: NodeId, parts: Vec<Part> },
    Gathered(Gathering),
}

/// A transaction.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) kind: Kind,
    /// Whether its pieces are free to be cut (all are there). The nodes' `open` pieces are those of the others.
    pub(crate) complete: bool,
}

impl Transaction {
    /// Whether nothing more is to come.
    pub(crate) fn has_all(&self) -> bool {
        match &self.kind {
            Kind::Alone => true,
            Kind::Listed { parts, .. } => !parts.iter().any(Part::is_missing),
            Kind::Gathered(g) => {
                g.round.is_some() && g.undecided.is_empty() && g.standing.values().all(|s| *s == Standing::Passed)
            }
        }
    }

    /// The listed branch that has not come, if it is one of this transaction's.
    pub(crate) fn missing(&mut self, node: NodeId, gid: &Gid) -> Option<&mut Part> {
        match &mut self.kind {
            Kind::Listed { parts, .. } => parts.iter_mut().find(|p| p.node == node && p.gid == *gid && p.is_missing()),
            _ => None,
        }
    }

    /// The search for its branches, if that is how they are known.
    pub(crate) fn gathering(&mut self) -> Option<&mut Gathering> {
        match &mut self.kind {
            Kind::Gathered(gathering) => Some(gathering),
            _ => None,
        }
    }
}
