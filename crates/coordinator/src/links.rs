//! The agents that are attached now, and what was asked of them.
//!
//! An order goes down a node's stream and its answer comes back up it. When an agent goes away, whoever waits for
//! its answers is told so at once; nothing is asked again here, because only the asker knows whether it still matters.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::v1;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::Status;
use types::{Lsn, NodeId};

use crate::error::OrderError;

/// A part of a snapshot's rows, or its end.
#[derive(Debug)]
pub(crate) enum SnapshotPart {
    Rows(v1::SnapshotRows),
    End(v1::SnapshotEnd),
}

/// What goes down an agent's stream.
pub(crate) type Down = Result<v1::AggregatorMessage, Status>;

#[derive(Debug)]
struct Link {
    session: u64,
    out: mpsc::Sender<Down>,
    pending: HashMap<u64, oneshot::Sender<v1::OrderDone>>,
    snapshots: HashMap<u64, mpsc::Sender<SnapshotPart>>,
}

/// What is known of a node's agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LinkStatus {
    pub(crate) connected: bool,
    pub(crate) trouble: String,
    pub(crate) version: String,
}

/// The attached agents. Its lock is never held across an await.
#[derive(Debug)]
pub(crate) struct Links {
    links: Mutex<BTreeMap<NodeId, Link>>,
    status: watch::Sender<BTreeMap<NodeId, LinkStatus>>,
    next: AtomicU64,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self { links: Mutex::default(), status: watch::Sender::default(), next: AtomicU64::new(1) }
    }

    /// Connected or not, and why, node by node.
    pub(crate) fn status(&self) -> watch::Receiver<BTreeMap<NodeId, LinkStatus>> {
        self.status.subscribe()
    }

    /// A number that no session and no order had before in this process.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<NodeId, Link>) -> T) -> T {
        let mut links = self.links.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        f(&mut links)
    }

    /// An agent attached. One that was there for the same node is cut off: its stream is gone, it only has not noticed.
    pub(crate) fn attach(&self, node: NodeId, session: u64, out: mpsc::Sender<Down>, version: &str) {
        let link = Link { session, out, pending: HashMap::new(), snapshots: HashMap::new() };
        self.with(|links| links.insert(node, link));
        self.status.send_modify(|all| {
            all.insert(node, LinkStatus { connected: true, trouble: String::new(), version: version.to_owned() });
        });
    }

    /// A session ended. False when a newer one has taken its place.
    pub(crate) fn detach(&self, node: NodeId, session: u64, reason: &str) -> bool {
        let current = self.with(|links| {
            let current = links.get(&node).is_some_and(|l| l.session == session);
            if current {
                links.remove(&node);
            }
            current
        });
        if current {
            self.status.send_modify(|all| {
                let entry = all.entry(node).or_default();
                entry.connected = false;
                if entry.trouble.is_empty() {
                    entry.trouble = reason.to_owned();
                }
            });
        }
        current
    }

    /// The session of the node's agent; 0 when none is attached.
    pub(crate) fn session(&self, node: NodeId) -> u64 {
        self.with(|links| links.get(&node).map_or(0, |link| link.session))
    }

    /// The node is no part of the cluster any more.
    pub(crate) fn forget(&self, node: NodeId) {
        self.with(|links| links.remove(&node));
        self.status.send_modify(|all| drop(all.remove(&node)));
    }

    /// The agent says why its node stands still; empty when it goes on.
    pub(crate) fn trouble(&self, node: NodeId, reason: &str) {
        self.status.send_if_modified(|all| {
            let entry = all.entry(node).or_default();
            let changed = entry.trouble != reason;
            reason.clone_into(&mut entry.trouble);
            changed
        });
    }

    /// Tells an agent to read no further, or to go on. False when this did not leave: it is to be said again.
    pub(crate) fn flow(&self, node: NodeId, session: u64, hold: bool) -> bool {
        let kind = v1::aggregator_message::Kind::Flow(v1::Flow { hold });
        self.with(|links| {
            let link = links.get(&node).filter(|l| l.session == session);
            link.is_some_and(|l| l.out.try_send(Ok(v1::AggregatorMessage { kind: Some(kind) })).is_ok())
        })
    }

    /// Says to all agents whether there are stream tables of consistency per-node.
    pub(crate) async fn tell_per_node(&self, wanted: bool) {
        let nodes = self.with(|links| links.keys().copied().collect::<Vec<_>>());
        for node in nodes {
            self.tell_node_per_node(node, wanted).await;
        }
    }

    /// Says it to one.
    pub(crate) async fn tell_node_per_node(&self, node: NodeId, wanted: bool) {
        let kind = v1::aggregator_message::Kind::PerNode(v1::PerNode { wanted });
        if let Some(out) = self.with(|links| links.get(&node).map(|l| l.out.clone())) {
            let _gone = out.send(Ok(v1::AggregatorMessage { kind: Some(kind) })).await;
        }
    }

    /// Tells a node how far it may confirm its slot. Skipped when the way down is full: a later one says more.
    pub(crate) fn durable(&self, node: NodeId, lsn: Lsn) {
        let kind = v1::aggregator_message::Kind::Durable(v1::Durable { lsn: lsn.0 });
        self.with(|links| {
            if let Some(link) = links.get(&node) {
                let _full_or_gone = link.out.try_send(Ok(v1::AggregatorMessage { kind: Some(kind) }));
            }
        });
    }

    /// Gives an order and waits for its answer.
    ///
    /// # Errors
    /// [`OrderError`] when the agent is not there, goes away, or could not do it.
    pub(crate) async fn order(&self, node: NodeId, kind: v1::order::Kind) -> Result<v1::OrderDone, OrderError> {
        let id = self.number();
        self.send(node, id, kind, None).await
    }

    /// Orders a snapshot of subscribed tables: its position, then its rows.
    ///
    /// # Errors
    /// As [`Self::order`].
    pub(crate) async fn snapshot(
        &self,
        node: NodeId,
        tables: Vec<u32>,
    ) -> Result<(Lsn, mpsc::Receiver<SnapshotPart>), OrderError> {
        let id = self.number();
        let (sender, receiver) = mpsc::channel(8);
        let kind = v1::order::Kind::Snapshot(v1::Snapshot { tables });
        let done = self.send(node, id, kind, Some(sender)).await?;
        Ok((Lsn(done.lsn), receiver))
    }

    async fn send(
        &self,
        node: NodeId,
        id: u64,
        kind: v1::order::Kind,
        snapshot: Option<mpsc::Sender<SnapshotPart>>,
    ) -> Result<v1::OrderDone, OrderError> {
        let (answer, wait) = oneshot::channel();
        let out = self.with(|links| {
            let link = links.get_mut(&node)?;
            link.pending.insert(id, answer);
            if let Some(sender) = snapshot {
                link.snapshots.insert(id, sender);
            }
            Some(link.out.clone())
        });
        let out = out.ok_or(OrderError::NotAttached(node))?;
        let order = v1::Order { id, kind: Some(kind) };
        let message = v1::AggregatorMessage { kind: Some(v1::aggregator_message::Kind::Order(order)) };
        out.send(Ok(message)).await.map_err(|_| OrderError::WentAway(node))?;
        let done = wait.await.map_err(|_| OrderError::WentAway(node))?;
        if done.error.is_empty() { Ok(done) } else { Err(OrderError::Failed { node, reason: done.error }) }
    }

    /// An order's answer came.
    pub(crate) fn done(&self, node: NodeId, done: v1::OrderDone) {
        let waiting = self.with(|links| {
            let link = links.get_mut(&node)?;
            if !done.error.is_empty() {
                link.snapshots.remove(&done.id);
            }
            link.pending.remove(&done.id)
        });
        if let Some(waiting) = waiting {
            let _nobody_waits_any_more = waiting.send(done);
        }
    }

    /// Where the rows of a snapshot go; `None` when nobody wants them any more.
    pub(crate) fn snapshot_sink(&self, node: NodeId, id: u64) -> Option<mpsc::Sender<SnapshotPart>> {
        self.with(|links| links.get(&node)?.snapshots.get(&id).cloned())
    }

    /// A snapshot ended or nobody wants it any more.
    pub(crate) fn snapshot_over(&self, node: NodeId, id: u64) {
        self.with(|links| links.get_mut(&node).and_then(|link| link.snapshots.remove(&id)));
    }

    /// Cuts all agents off, for an ordered stop.
    pub(crate) fn close(&self) {
        self.with(BTreeMap::clear);
    }
}
