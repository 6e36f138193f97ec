//! All nodes' events in, consistent cuts out.
//!
//! ```text
//!   agent 0 ─┐                    ┌─ frontier: which prefix is closed
//!   agent 1 ─┼─▶ inbox ─▶ here ───┤
//!   agent 2 ─┘                    └─ queues: the rows of that prefix ─▶ engine (one cut at a time)
//!                                                                         │ durable
//!   slots ◀── agents ◀─────────────── how far each may be confirmed ◀─────┘
//! ```
//!
//! Invariant: the rows handed to the engine with a cut are those of exactly the transactions that ended at or before
//! the cut's positions and behind the last cut's. While the engine computes one cut, the next grows; so the cuts are
//! small when there is time and large when there is not.
//!
//! Nothing here survives the process. A cut that was handed over but not made durable is made again from what the
//! agents send again, because slots are confirmed only after `Applied`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use frontier::{Ask, Event, Frontier, Rules};
use proto::v1;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use topology::Cluster;
use types::{Consistency, Gid, Lsn, NodeId, Positions, TableId};

use crate::cutting::{Hold, forget_shadows};
use crate::engine::{Applied, EngineHandle};
use crate::ingest::StartReply;
use crate::links::Links;
use crate::members::Members;
use crate::mend::{Outcome, Wanted};
use crate::queue::NodeQueue;
use crate::shape::Again;
use crate::tables::Tables;
use crate::urgency::Urgency;

/// A cut without rows only moves the slots; it can wait so long for company.
const EMPTY_CUT_EVERY: Duration = Duration::from_secs(2);

/// A cut follows the one before at the soonest after this, unless somebody waits: under load, cuts and transactions in
/// the target are fewer, which both they and the source's transactions are the cheaper for.
const CUT_EVERY: Duration = Duration::from_millis(10);
/// With so many bytes of finished transactions no more are taken in before a cut takes these: what the engine works on at
/// once stays small, and the next cut is there when it is ready.
const CUT_BYTES: usize = 4 << 20;

/// What comes to the sequencer.
#[derive(Debug)]
pub(crate) enum Input {
    /// An agent attached and wants to know where to start.
    Attached { node: NodeId, session: u64, system: System, reply: StartReply },
    /// Events of a node in its commit order.
    Events { node: NodeId, session: u64, events: Vec<v1::Event> },
    /// The answer to a question of the frontier.
    Answer { id: u64, node: NodeId, answer: Option<(Lsn, Vec<bool>)> },
    /// Sources to be looked up, and these tables of them to be read again. `done` is told when that is durable.
    Again { again: Again, done: Option<oneshot::Sender<()>> },
    /// The cluster's nodes, which are not those that were known.
    Nodes { cluster: Cluster },
    /// The node's slot does not reach back to where it was read.
    SlotLost { node: NodeId, session: u64, reason: String },
    /// Tables were read again for the held cut.
    Mended { id: u64, outcome: Outcome },
}

/// Which server a node is, and how often it was promoted or restored.
#[derive(Debug, Clone)]
pub(crate) struct System {
    pub(crate) identifier: String,
    pub(crate) timeline: i32,
}

impl System {
    /// As it is kept.
    fn name(&self) -> String {
        format!("{}/{}", self.identifier, self.timeline)
    }
}

/// What status shows of a node's stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeProgress {
    pub(crate) received: Lsn,
    pub(crate) confirmed: Lsn,
    pub(crate) buffered: u64,
    pub(crate) held_back: bool,
}

/// What status shows of the sequencer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub(crate) nodes: BTreeMap<NodeId, NodeProgress>,
    /// What the frontier waits for, and since when.
    pub(crate) waiting_for: BTreeMap<String, Instant>,
    /// Bytes on disk.
    pub(crate) spooled: u64,
}

#[derive(Debug)]
pub(crate) struct NodeState {
    pub(crate) session: u64,
    /// Its agent was told to read no further.
    pub(crate) held_back: bool,
    pub(crate) queue: NodeQueue,
    /// In the last cut handed to the engine.
    pub(crate) position: Lsn,
    pub(crate) received: Lsn,
    pub(crate) confirmed: Lsn,
}

/// What is to be thought of when a cut is durable.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    /// Who waited for tables to be read again that are with it.
    pub(crate) finishing: Vec<oneshot::Sender<()>>,
    /// Nodes that began anew since it was handed over: what it may confirm is of their old streams.
    pub(crate) anew: BTreeSet<NodeId>,
}

/// Settings of the sequencer.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) spool_dir: PathBuf,
    pub(crate) queue_bytes: usize,
    pub(crate) spool_bytes: u64,
    /// Whose changes these are: metrics say so.
    pub(crate) consistency: Consistency,
}

/// See the module's description.
pub(crate) struct Sequencer {
    pub(crate) frontier: Frontier,
    pub(crate) nodes: BTreeMap<NodeId, NodeState>,
    pub(crate) limits: Limits,
    pub(crate) links: Arc<Links>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) engine: EngineHandle,
    inbox: mpsc::Receiver<Input>,
    /// Where answers come back in; weak so that the inbox closes when all agents' services are gone.
    answers: mpsc::WeakSender<Input>,
    applied: mpsc::UnboundedReceiver<Applied>,
    /// The engine computes the last cut.
    pub(crate) in_flight: bool,
    /// Cuts that were handed over and are not durable, in their order.
    pub(crate) under_way: VecDeque<UnderWay>,
    pub(crate) last_cut: Instant,
    pub(crate) broken: Vec<(TableId, String)>,
    /// The cut that waits for tables to be read again.
    pub(crate) hold: Option<Hold>,
    /// Since when no cut could be made, through all holds of it.
    pub(crate) held_since: Option<Instant>,
    /// The frontier is ahead of what was handed over.
    pub(crate) ahead: bool,
    /// Tables' places changed since they were written down.
    pub(crate) reshaped: bool,
    /// To be read again with the next cut: the process before this one did not finish it.
    pub(crate) pending: Again,
    /// Who waits for tables to be read again.
    pub(crate) asked: Vec<oneshot::Sender<()>>,
    /// Where changes that did not count were last left out.
    pub(crate) dropped: BTreeMap<(TableId, NodeId), Lsn>,
    pub(crate) mend: mpsc::UnboundedSender<Wanted>,
    pub(crate) nodes_changed: Arc<Notify>,
    pub(crate) members: Members,
    urgency: Urgency,
    pub(crate) progress: watch::Sender<Progress>,
}

/// What the sequencer is connected with.
pub(crate) struct Connections {
    pub(crate) links: Arc<Links>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) engine: EngineHandle,
    pub(crate) inbox: mpsc::Receiver<Input>,
    pub(crate) answers: mpsc::WeakSender<Input>,
    pub(crate) applied: mpsc::UnboundedReceiver<Applied>,
    pub(crate) urgency: Urgency,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) mend: mpsc::UnboundedSender<Wanted>,
    pub(crate) nodes_changed: Arc<Notify>,
    pub(crate) members: Members,
}

impl NodeState {
    pub(crate) fn new(spool_dir: &Path, node: NodeId, position: Lsn) -> Self {
        let queue = NodeQueue::new(spool_dir, node);
        Self { session: 0, held_back: false, queue, position, received: position, confirmed: Lsn::ZERO }
    }
}

impl Sequencer {
    /// Goes on from the durable cut `at`.
    pub(crate) fn new(nodes: &[NodeId], at: &Positions, rules: Rules, limits: Limits, with: Connections) -> Self {
        let states = nodes.iter().map(|&node| (node, NodeState::new(&limits.spool_dir, node, at.of(node))));
        Self {
            pending: with.tables.unfinished(nodes, at),
            asked: Vec::new(),
            under_way: VecDeque::new(),
            hold: None,
            held_since: None,
            ahead: false,
            reshaped: false,
            dropped: BTreeMap::new(),
            mend: with.mend,
            nodes_changed: with.nodes_changed,
            members: with.members,
            frontier: Frontier::new(nodes.iter().copied(), at.clone(), rules),
            nodes: states.collect(),
            limits,
            links: with.links,
            tables: with.tables,
            engine: with.engine,
            inbox: with.inbox,
            answers: with.answers,
            applied: with.applied,
            in_flight: false,
            last_cut: Instant::now(),
            broken: Vec::new(),
            urgency: with.urgency,
            progress: with.progress,
        }
    }

    /// Until the inbox closes or the engine is gone. Cancelling between two turns loses only what is not durable anyway.
    pub(crate) async fn run(mut self) -> std::io::Result<()> {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let room = self.has_room();
            let due = self.last_cut + CUT_EVERY;
            let early = !self.in_flight && self.is_early();
            tokio::select! {
                biased;
                applied = self.applied.recv() => match applied {
                    Some(applied) => self.applied(applied),
                    None => return Ok(()),
                },
                input = self.inbox.recv(), if room => match input {
                    Some(input) => self.take(input).await?,
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(due), if early => {}
                _ = tick.tick() => self.report(),
            }
            // Everything that is there already goes into the same cut.
            while self.has_room() && self.ready() < CUT_BYTES {
                match self.inbox.try_recv() {
                    Ok(input) => self.take(input).await?,
                    Err(_) => break,
                }
            }
            if !self.in_flight && !self.is_early() && !self.cut().await? {
                return Ok(());
            }
            self.hold_back();
        }
    }

    /// Whether there is something for a cut, and it can wait for company.
    fn is_early(&self) -> bool {
        self.last_cut.elapsed() < CUT_EVERY
            && !self.urgency.is_held()
            && self.ready() < CUT_BYTES
            && self.nodes.values().any(|n| n.queue.has_ready())
    }

    /// Bytes of transactions that wait for a cut.
    fn ready(&self) -> usize {
        self.nodes.values().map(|n| n.queue.ready_bytes()).sum()
    }

    /// Whether more may be taken in. With too much in memory, agents wait, as long as a cut is under way: without
    /// one, only more events can close the next, so they are taken in and go to disk. When that is enough, those agents are
    /// held back that nobody waits for ([`crate::pressure`]).
    fn has_room(&self) -> bool {
        !self.in_flight || (self.buffered().0 < self.limits.queue_bytes && self.ready() < CUT_BYTES)
    }

    pub(crate) fn buffered(&self) -> (usize, u64) {
        self.nodes.values().map(|n| n.queue.sizes()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    }

    async fn take(&mut self, input: Input) -> std::io::Result<()> {
        match input {
            Input::Attached { node, session, system, reply } => self.attach(node, session, &system, reply).await,
            Input::Events { node, session, events } => self.events(node, session, events),
            Input::Answer { id, node, answer } => {
                match answer {
                    Some((at, prepared)) => self.frontier.answer(id, node, at, &prepared),
                    None => self.frontier.ask_failed(id, node),
                }
                Ok(())
            }
            Input::Again { again, done } => {
                for (source, tables) in again {
                    self.pending.entry(source).or_default().extend(tables);
                }
                self.asked.extend(done);
                Ok(())
            }
            Input::Nodes { cluster } => {
                self.members(cluster).await;
                Ok(())
            }
            Input::SlotLost { node, session, reason } => {
                if self.nodes.get(&node).is_some_and(|n| n.session == session && n.position != Lsn::ZERO) {
                    self.begin_anew(node, &reason).await?;
                }
                Ok(())
            }
            Input::Mended { id, outcome } => {
                match self.hold.as_mut().filter(|h| h.id == id) {
                    Some(hold) => hold.outcome = Some(outcome),
                    // A node began anew meanwhile.
                    None => forget_shadows(&self.engine.clone(), &outcome.reread).await,
                }
                Ok(())
            }
        }
    }

    async fn attach(&mut self, node: NodeId, session: u64, system: &System, reply: StartReply) -> std::io::Result<()> {
        let known = self.tables.system_of(node);
        let position = self.nodes.get(&node).map(|n| n.position);
        if let Some(known) = known.as_ref().filter(|known| **known != system.name())
            && position.is_some_and(|at| at != Lsn::ZERO)
        {
            let reason = format!("it is another server, or was promoted or restored ({}, was {known})", system.name());
            self.begin_anew(node, &reason).await?;
        }
        let Some(state) = self.nodes.get_mut(&node) else {
            let _gone = reply.send(Err(format!("node {node} is not part of this cluster")));
            return Ok(());
        };
        if known.is_none_or(|known| known != system.name()) {
            // Written down before its first cut can be: both go through the engine, this first.
            self.tables.set_system(node, &system.name());
            self.reshaped = true;
        }
        state.session = session;
        state.held_back = false;
        self.tables.attached(node);
        state.queue.clear()?;
        state.received = state.position;
        self.frontier.restarted(node);
        let start = v1::Start {
            resume_after: state.position.0,
            tables: self.tables.subscription(node),
            system_identifier: if state.position == Lsn::ZERO { String::new() } else { system.identifier.clone() },
        };
        let _gone = reply.send(Ok(start));
        Ok(())
    }

    fn events(&mut self, node: NodeId, session: u64, events: Vec<v1::Event>) -> std::io::Result<()> {
        use v1::event::Kind;
        let (mut memory, _) = self.buffered();
        let Some(state) = self.nodes.get_mut(&node) else { return Ok(()) };
        if state.session != session {
            return Ok(()); // the last words of a stream that was replaced
        }
        let mut shapes = Vec::new();
        for event in events {
            let Some(kind) = event.kind else { continue };
            let mut reshapes = false;
            let (end, event) = match kind {
                Kind::Piece(piece) => {
                    let room = self.limits.queue_bytes.saturating_sub(memory);
                    let before = state.queue.sizes().0;
                    state.queue.piece(piece.changes, room)?;
                    memory += state.queue.sizes().0 - before;
                    continue;
                }
                Kind::Restart(_) => {
                    state.queue.forget_open()?;
                    continue;
                }
                Kind::TableAltered(altered) => {
                    let table = TableId(altered.table);
                    match self.tables.source_of(table).filter(|_| altered.doubted) {
                        Some(source) => drop(self.pending.entry(source.id).or_default().insert(table)),
                        None => self.broken.push((table, altered.reason)),
                    }
                    continue;
                }
                Kind::Commit(commit) => {
                    let end = Lsn(commit.end_lsn);
                    if end <= state.position {
                        state.queue.forget_open()?;
                        continue;
                    }
                    reshapes = !commit.shape.is_empty();
                    shapes.extend(commit.shape.iter().cloned());
                    state.queue.commit(end, commit.commit_time, commit.shape);
                    let participants =
                        commit.participants.iter().map(|p| (NodeId(p.node), Gid::from(p.gid.as_str()))).collect();
                    (end, Event::Commit { end, participants })
                }
                Kind::Prepare(prepare) => {
                    let (end, gid) = (Lsn(prepare.end_lsn), Gid::from(prepare.gid.as_str()));
                    reshapes = !prepare.shape.is_empty();
                    shapes.extend(prepare.shape.iter().cloned());
                    state.queue.prepare(gid.clone(), end, prepare.shape)?;
                    (end, Event::Prepare { end, begin: Lsn(prepare.begin_lsn), gid })
                }
                Kind::CommitPrepared(commit) => {
                    let (end, gid) = (Lsn(commit.end_lsn), Gid::from(commit.gid.as_str()));
                    if end <= state.position {
                        state.queue.rollback_prepared(&gid)?;
                        continue;
                    }
                    if !state.queue.commit_prepared(&gid, end, commit.commit_time) {
                        tracing::error!(%node, %gid, "a prepared branch committed whose changes never came");
                        let reason =
                            format!("node {node} committed prepared transaction {gid}, whose changes never came");
                        self.broken.extend(self.tables.of_node(node).into_iter().map(|t| (t, reason.clone())));
                    }
                    (end, Event::CommitPrepared { end, gid })
                }
                Kind::RollbackPrepared(rollback) => {
                    let (end, gid) = (Lsn(rollback.end_lsn), Gid::from(rollback.gid.as_str()));
                    state.queue.rollback_prepared(&gid)?;
                    (end, Event::RollbackPrepared { end, gid })
                }
                Kind::Progress(progress) => (Lsn(progress.lsn), Event::Progress { lsn: Lsn(progress.lsn) }),
            };
            state.received = state.received.max(end);
            if reshapes {
                self.frontier.reshaping_event(node, event);
            } else {
                self.frontier.event(node, event);
            }
        }
        self.foresee(node, &shapes);
        for ask in self.frontier.asks() {
            self.ask(ask);
        }
        Ok(())
    }

    /// Puts a question of the frontier to a node. Its answer, or that there was none, comes back through the inbox.
    pub(crate) fn ask(&self, ask: Ask) {
        let Some(answers) = self.answers.upgrade() else { return };
        let links = self.links.clone();
        tokio::spawn(async move {
            let gids = ask.gids.iter().map(ToString::to_string).collect();
            let answer = match links.order(ask.node, v1::order::Kind::Ask(v1::Ask { gids })).await {
                Ok(done) => Some((Lsn(done.lsn), done.prepared)),
                Err(error) => {
                    tracing::debug!(node = %ask.node, %error, "a question was not answered; it is put again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    None
                }
            };
            let _stopping = answers.send(Input::Answer { id: ask.id, node: ask.node, answer }).await;
        });
    }

    /// Whether a cut is worth its work now.
    pub(crate) fn is_worth_it(&self) -> bool {
        let waits = self.last_cut.elapsed() < EMPTY_CUT_EVERY && !self.urgency.is_held() && self.broken.is_empty();
        !waits || self.hold.is_some() || !self.pending.is_empty() || self.nodes.values().any(|n| n.queue.has_ready())
    }

    /// What became of a cut. When it is durable the slots may go on.
    fn applied(&mut self, applied: Applied) {
        if applied.computed {
            self.in_flight = false;
        }
        let Some(confirm) = applied.confirm else { return };
        let UnderWay { finishing, anew } = self.under_way.pop_front().unwrap_or_default();
        for done in finishing {
            let _gone = done.send(());
        }
        for (node, lsn) in confirm.into_iter().filter(|(node, _)| !anew.contains(node)) {
            // A stream that began again since then may have to bring a PREPARE once more.
            let lsn = lsn.min(self.frontier.safe_to_confirm(node));
            if let Some(state) = self.nodes.get_mut(&node)
                && lsn > state.confirmed
            {
                state.confirmed = lsn;
                self.links.durable(node, lsn);
            }
        }
    }
}
