//! What goes into the frontier and what comes out besides cuts: values only.

use std::fmt;

use types::{Gid, Lsn, NodeId};

/// Something that happened on a node, in the node's commit order. `end` is the position right after the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A transaction committed plainly.
    Commit {
        /// Its end.
        end: Lsn,
        /// On a Citus initiator: every branch of the transaction with its node. The complete list, and the decision.
        participants: Vec<(NodeId, Gid)>,
    },
    /// A branch was prepared. May come again after a restart of the stream, also from before the node's cut.
    Prepare {
        /// Its end.
        end: Lsn,
        /// A slot confirmed up to here still sends the branch's changes again.
        begin: Lsn,
        /// Its name.
        gid: Gid,
    },
    /// A prepared branch committed.
    CommitPrepared {
        /// Its end.
        end: Lsn,
        /// Its name.
        gid: Gid,
    },
    /// A prepared branch was rolled back.
    RollbackPrepared {
        /// Its end.
        end: Lsn,
        /// Its name.
        gid: Gid,
    },
    /// Nothing happened since the last event up to here.
    Progress {
        /// The position reached.
        lsn: Lsn,
    },
}

/// From a prepared branch's name to the key that all branches of its distributed transaction share.
pub type KeyOf = Box<dyn Fn(&Gid) -> Option<String> + Send>;

/// Which prepared branches belong to distributed transactions.
#[derive(Default)]
pub struct Rules {
    /// Names of the form `citus_…` are Citus's, their participants are listed by the initiator's commit.
    pub citus: bool,
    /// Names of another transaction manager. A branch that neither rule takes is a transaction of its own.
    ///
    /// A manager that uses a key again should have ended the transaction before: transactions under one key that come
    /// faster than the streams are read fall into one cut.
    pub pattern: Option<KeyOf>,
    /// Nodes do not wait for each other: a branch is a transaction of its own, unless its transaction changes the
    /// cluster's shape ([`crate::Frontier::reshaping_event`]).
    pub per_node: bool,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("citus", &self.citus)
            .field("pattern", &self.pattern.is_some())
            .field("per_node", &self.per_node)
            .finish()
    }
}

/// A question to a node: which of these branches are prepared, and *after* that was looked up: where does your WAL end?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Who is asked.
    pub node: NodeId,
    /// The branches; empty when only the position matters.
    pub gids: Vec<Gid>,
    /// To be given back with the answer.
    pub id: u64,
}

/// What holds a node's position back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The node that something is still to come from.
    pub node: NodeId,
    /// The branch that is waited for, or because of which is waited.
    pub gid: Gid,
    /// What is to come.
    pub what: WaitingFor,
}

/// What is to come from the node of a [`Wait`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingFor {
    /// The branch's COMMIT PREPARED: its transaction committed on the initiator.
    Branch {
        /// Where the transaction committed.
        initiator: NodeId,
    },
    /// The initiator's commit with the list of participants: the branch committed already.
    List,
    /// The node's answer, then its stream up to there: other branches of the transaction may be in it.
    Position,
    /// The decision of a branch that was prepared when another one of its transaction committed.
    Decision,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, gid, what } = self;
        match what {
            WaitingFor::Branch { initiator } => {
                write!(f, "node {node}: COMMIT PREPARED of {gid}, whose transaction committed on node {initiator}")
            }
            WaitingFor::List => write!(f, "node {node}: the commit of the transaction whose branch {gid} committed"),
            WaitingFor::Position => {
                write!(f, "node {node}: its stream up to now, which may hold more of the transaction of {gid}")
            }
            WaitingFor::Decision => {
                write!(f, "node {node}: the decision of prepared {gid}, whose transaction committed elsewhere")
            }
        }
    }
}
