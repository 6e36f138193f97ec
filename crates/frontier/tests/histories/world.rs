//! A small cluster that really happens, one step after the other: nodes with WAL, slots that begin some time,
//! distributed transactions in all stages. It knows everything, so it can say what a cut tears.

use std::collections::BTreeMap;

use frontier::Event;
use rand::Rng;
use rand::rngs::StdRng;
use types::{Gid, Lsn, NodeId, Positions};

/// One branch.
#[derive(Debug, Clone)]
pub(crate) struct Branch {
    pub(crate) node: usize,
    pub(crate) gid: Gid,
    began: u64,
    /// It writes nothing: neither its PREPARE nor its decision is in any stream.
    pub(crate) silent: bool,
    pub(crate) prepared: Option<(Lsn, Lsn)>,
    pub(crate) committed: Option<Lsn>,
    pub(crate) rolled_back: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    Citus {
        initiator: usize,
    },
    Application,
    /// Prepared and committed by hand under a name like Citus's; nobody lists it.
    Forged,
    /// A name that no rule takes.
    Nobody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Commit,
    Abort,
    Undecided,
}

#[derive(Debug, Clone)]
pub(crate) struct Tx {
    pub(crate) manager: Manager,
    pub(crate) branches: Vec<Branch>,
    /// The initiator's commit.
    pub(crate) list: Option<Lsn>,
    pub(crate) began: u64,
    name: String,
    fate: Fate,
    decided: bool,
}

impl Tx {
    fn finished(&self) -> bool {
        self.branches.iter().all(|b| b.committed.is_some() || b.rolled_back || (b.prepared.is_none() && self.decided))
            && (self.decided || self.fate == Fate::Abort)
            && !(self.fate == Fate::Commit && matches!(self.manager, Manager::Citus { .. }) && self.list.is_none())
    }
}

impl Tx {
    /// Whether its name may be used again. When somebody rolled back by hand what had committed and the name comes again
    /// before the streams are read, nobody can tell whose decision was whose; nor when a branch was in no stream at all.
    fn leaves_its_name(&self) -> bool {
        let by_hand = self.fate == Fate::Commit && self.branches.iter().any(|b| b.rolled_back);
        let silent = self.branches.iter().any(|b| b.silent);
        self.finished() && self.fate != Fate::Undecided && !by_hand && !silent
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) end: Lsn,
    pub(crate) event: Event,
}

#[derive(Debug, Default)]
pub(crate) struct WalNode {
    pub(crate) lsn: u64,
    pub(crate) log: Vec<Record>,
    /// Where the slot began.
    pub(crate) slot: Option<Lsn>,
    /// When.
    pub(crate) began: u64,
    /// When the frontier got to know the node.
    pub(crate) joined: Option<u64>,
}

pub(crate) struct World {
    pub(crate) nodes: Vec<WalNode>,
    pub(crate) txs: Vec<Tx>,
    pub(crate) time: u64,
    names: u64,
}

impl World {
    pub(crate) fn new(rng: &mut StdRng) -> Self {
        let count = rng.random_range(1..=4);
        let nodes = (0..count).map(|_| WalNode { lsn: rng.random_range(1..1000), ..WalNode::default() }).collect();
        Self { nodes, txs: Vec::new(), time: 0, names: 0 }
    }

    fn write(&mut self, node: usize, rng: &mut StdRng, event: impl FnOnce(Lsn) -> Event) -> Lsn {
        let n = &mut self.nodes[node];
        n.lsn += rng.random_range(1..6);
        let end = Lsn(n.lsn);
        n.log.push(Record { end, event: event(end) });
        n.lsn += if rng.random_bool(0.3) { rng.random_range(1..4) } else { 0 };
        end
    }

    /// Something happens somewhere.
    pub(crate) fn step(&mut self, rng: &mut StdRng, begin_new: bool) {
        self.time += 1;
        let node = rng.random_range(0..self.nodes.len());
        match rng.random_range(0..10) {
            0 | 1 => {
                self.write(node, rng, |end| Event::Commit { end, participants: Vec::new() });
            }
            2 => self.nodes[node].lsn += rng.random_range(1..9),
            3 | 4 if begin_new => self.begin(rng),
            _ => {
                let active: Vec<usize> = (0..self.txs.len()).filter(|t| self.is_active(*t)).collect();
                if !active.is_empty() {
                    self.go_on(active[rng.random_range(0..active.len())], rng);
                }
            }
        }
    }

    pub(crate) fn is_active(&self, tx: usize) -> bool {
        let tx = &self.txs[tx];
        let in_doubt = tx.fate == Fate::Undecided && tx.branches.iter().all(|b| b.prepared.is_some());
        !tx.finished() && !in_doubt
    }

    fn begin(&mut self, rng: &mut StdRng) {
        let n = self.nodes.len();
        let manager = match rng.random_range(0..20) {
            0..=10 => Manager::Citus { initiator: rng.random_range(0..n) },
            11..=16 => Manager::Application,
            17..=18 => Manager::Nobody,
            _ => Manager::Forged,
        };
        let mut fate = match rng.random_range(0..10) {
            0 => Fate::Undecided,
            1 | 2 => Fate::Abort,
            _ => Fate::Commit,
        };
        let mut name = None;
        // A manager may use a name again when its transaction is over and every stream had begun before it.
        let all_began = self.nodes.iter().map(|n| n.began).max().unwrap_or(0);
        if rng.random_bool(0.2) && self.nodes.iter().all(|n| n.slot.is_some()) {
            let again = |t: &&Tx| {
                t.manager == manager
                    && t.began > all_began
                    && self.txs.iter().all(|o| o.name != t.name || o.leaves_its_name())
            };
            name = self.txs.iter().rfind(again).map(|t| t.name.clone());
            if name.is_some() && fate == Fate::Undecided {
                fate = Fate::Commit;
            }
        }
        let name = name.unwrap_or_else(|| {
            self.names += 1;
            match manager {
                Manager::Citus { initiator } => format!("citus_{initiator}_77_{}", self.names),
                Manager::Forged => format!("citus_{}_78_{}", rng.random_range(0..n), self.names),
                Manager::Application => format!("app_{}", self.names),
                Manager::Nobody => format!("other_{}", self.names),
            }
        });
        let count = if manager == Manager::Nobody { 1 } else { rng.random_range(1..=4) };
        let talks = rng.random_bool(0.8) || !matches!(manager, Manager::Citus { .. } | Manager::Application);
        let branch = |j: usize, node: usize| {
            let gid = Gid::from(format!("{name}_{j}").as_str());
            let began = self.nodes[node].lsn;
            Branch { node, gid, began, silent: j == 1 && !talks, prepared: None, committed: None, rolled_back: false }
        };
        let branches = (0..count).map(|j| branch(j, rng.random_range(0..n))).collect();
        let began = self.time;
        self.txs.push(Tx { manager, branches, list: None, began, name, fate, decided: false });
    }

    fn go_on(&mut self, t: usize, rng: &mut StdRng) {
        let tx = self.txs[t].clone();
        let pick = |rng: &mut StdRng, of: &dyn Fn(&Branch) -> bool| {
            let found: Vec<usize> = (0..tx.branches.len()).filter(|b| of(&tx.branches[*b])).collect();
            (!found.is_empty()).then(|| found[rng.random_range(0..found.len())])
        };
        if !tx.decided {
            let next = pick(rng, &|b| b.prepared.is_none());
            if tx.fate == Fate::Abort && (next.is_none() || rng.random_bool(0.3)) {
                self.txs[t].decided = true;
            } else if let Some(b) = next {
                let (node, gid) = (tx.branches[b].node, tx.branches[b].gid.clone());
                if tx.branches[b].silent {
                    self.txs[t].branches[b].prepared = Some((Lsn::ZERO, Lsn::ZERO));
                    return;
                }
                let began = tx.branches[b].began;
                let begin = Lsn(rng.random_range(began..=self.nodes[node].lsn));
                let end = self.write(node, rng, |end| Event::Prepare { end, begin, gid });
                self.txs[t].branches[b].prepared = Some((begin, end));
            } else if tx.fate == Fate::Commit {
                self.txs[t].decided = true;
                if let Manager::Citus { initiator } = tx.manager {
                    let list = tx.branches.iter().map(|b| (NodeId(b.node as u32), b.gid.clone())).collect();
                    let end = self.write(initiator, rng, |end| Event::Commit { end, participants: list });
                    self.txs[t].list = Some(end);
                }
            }
            return;
        }
        let Some(b) = pick(rng, &|b| b.prepared.is_some() && b.committed.is_none() && !b.rolled_back) else { return };
        let (node, gid) = (tx.branches[b].node, tx.branches[b].gid.clone());
        if tx.branches[b].silent {
            self.txs[t].branches[b].committed = (tx.fate == Fate::Commit).then_some(Lsn::ZERO);
            self.txs[t].branches[b].rolled_back = tx.fate == Fate::Abort;
            return;
        }
        let by_hand = matches!(tx.manager, Manager::Citus { .. }) && rng.random_bool(0.02);
        if tx.fate == Fate::Abort || by_hand {
            self.write(node, rng, |end| Event::RollbackPrepared { end, gid });
            self.txs[t].branches[b].rolled_back = true;
        } else {
            let end = self.write(node, rng, |end| Event::CommitPrepared { end, gid });
            self.txs[t].branches[b].committed = Some(end);
        }
    }

    /// The branch is prepared now.
    pub(crate) fn is_prepared(&self, node: usize, gid: &Gid) -> bool {
        let is = |b: &Branch| {
            b.node == node && b.gid == *gid && b.prepared.is_some() && b.committed.is_none() && !b.rolled_back
        };
        self.txs.iter().flat_map(|t| &t.branches).any(is)
    }

    pub(crate) fn has_prepared(&self, node: usize) -> bool {
        let is = |b: &Branch| b.node == node && b.prepared.is_some() && b.committed.is_none() && !b.rolled_back;
        self.txs.iter().flat_map(|t| &t.branches).any(is)
    }

    fn behind_slot(&self, node: usize, end: Lsn) -> bool {
        self.nodes[node].slot.is_some_and(|slot| end > slot)
    }

    /// What a slot confirmed up to `from` sends, from the record `index` on: the next record's events.
    pub(crate) fn sent(&self, node: usize, index: usize, from: Lsn) -> Vec<Event> {
        let record = &self.nodes[node].log[index];
        if record.end <= from || !self.behind_slot(node, record.end) {
            return Vec::new();
        }
        let mut events = Vec::new();
        if let Event::CommitPrepared { end, gid } = &record.event {
            // PostgreSQL sends a transaction that was prepared before the slot began when it commits.
            let of = |b: &&Branch| b.node == node && b.gid == *gid && b.committed == Some(*end);
            let branch = self.txs.iter().flat_map(|t| &t.branches).find(of).unwrap();
            let (begin, prepared) = branch.prepared.unwrap();
            if !self.behind_slot(node, prepared) {
                events.push(Event::Prepare { end: prepared, begin, gid: gid.clone() });
            }
        }
        events.push(record.event.clone());
        events
    }

    /// Says which transaction the cut tears, if any. `nodes` of the world that are not in the cut are unknown there.
    pub(crate) fn torn(&self, cut: &Positions) -> Option<String> {
        for tx in &self.txs {
            let distributed = matches!(tx.manager, Manager::Citus { .. } | Manager::Application);
            if !distributed || self.is_beyond_help(tx) {
                continue;
            }
            let mut inside = Vec::new();
            let mut outside = Vec::new();
            let mut to_come = Vec::new();
            let mut see = |node: usize, end: Lsn| {
                if self.behind_slot(node, end) {
                    let at = cut.of(NodeId(node as u32));
                    if end <= at { inside.push((node, end)) } else { outside.push((node, end)) }
                }
            };
            if let (Manager::Citus { initiator }, Some(end)) = (tx.manager, tx.list) {
                see(initiator, end);
            }
            for b in tx.branches.iter().filter(|b| !b.silent) {
                match b.committed {
                    Some(end) => see(b.node, end),
                    None if b.prepared.is_some() && !b.rolled_back && tx.decided => to_come.push((b.node, Lsn::MAX)),
                    None => {}
                }
            }
            outside.append(&mut to_come);
            if !inside.is_empty() && !outside.is_empty() {
                return Some(format!("{cut:?} tears {tx:#?}\ninside {inside:?}, outside {outside:?}"));
            }
        }
        None
    }

    /// Its branches cannot be known from the streams: a node joined in its middle and no stream lists it.
    fn is_beyond_help(&self, tx: &Tx) -> bool {
        let joined_later = |node: usize| self.nodes[node].joined.is_none_or(|joined| joined >= tx.began);
        let listed = match (tx.manager, tx.list) {
            (Manager::Citus { initiator }, Some(end)) => self.behind_slot(initiator, end) && !joined_later(initiator),
            _ => false,
        };
        tx.branches.iter().filter(|b| !b.silent).any(|b| {
            joined_later(b.node) || (!listed && b.prepared.is_some_and(|(_, end)| !self.behind_slot(b.node, end)))
        })
    }

    /// Branches with their nodes, for checks of what may be confirmed.
    pub(crate) fn branches(&self) -> impl Iterator<Item = &Branch> {
        self.txs.iter().flat_map(|t| &t.branches).filter(|b| !b.silent)
    }

    pub(crate) fn by_node(&self) -> BTreeMap<NodeId, Lsn> {
        self.nodes.iter().enumerate().map(|(i, n)| (NodeId(i as u32), Lsn(n.lsn))).collect()
    }
}
