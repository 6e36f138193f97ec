//! Nodes that come, go, or are not what they were.
//!
//! ```text
//!   pg_dist_node row in a cut ─▶ look ─▶ Input::Nodes ─▶ sequencer: new ones join, missing ones leave
//!   (over postgres_fdw: a partition on an unknown server, or in 10 s)    and those at another address are read there
//!   agent: other system, other timeline, slot lost ─▶ sequencer: the node begins anew
//! ```
//!
//! A node that begins anew has lost the continuity of its stream: its position is forgotten, its slot is made again, and
//! all its tables are read again before the next cut. The same for tables on a node that left before its stream had been
//! read to the end; they are looked for elsewhere.
//!
//! Crash: the position is forgotten before the node may attach, and tables of nodes without a position are pending at every
//! start, so a new process finds what this one did not finish.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use topology::Cluster;
use types::{Lsn, NodeId};

use crate::cutting::forget_shadows;
use crate::engine::EngineRoom;
use crate::requests::Requests;
use crate::sequencer::{Input, NodeState, Sequencer};
use crate::tables::Spread;

/// Nodes are looked for so often also when nothing was heard of them.
const EVERY: Duration = Duration::from_secs(10);
/// The sequencer is busy if it has not taken news in by then; whoever waits for it tries again.
const TAKEN_IN: Duration = Duration::from_secs(5);

/// Looks for nodes whenever the metadata says that they changed.
pub(crate) async fn follow(requests: Arc<Requests>, changed: Arc<Notify>, inbox: mpsc::WeakSender<Input>) {
    loop {
        let heard = tokio::time::timeout(EVERY, changed.notified()).await.is_ok();
        match look(&requests, &inbox).await {
            Ok(Looked::Stops) => return,
            Ok(Looked::Same | Looked::New) => {}
            Err(error) => {
                tracing::debug!(%error, "the cluster's nodes were not looked up");
                if heard {
                    changed.notify_one();
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }
}

/// What came of a look.
enum Looked {
    Same,
    New,
    /// The aggregator stops.
    Stops,
}

/// Looks for nodes once, and has the sequencer take in what is new: also that a node is at another address.
async fn look(requests: &Requests, inbox: &mpsc::WeakSender<Input>) -> Result<Looked, String> {
    let cluster = discover(requests).await?;
    if requests.members.get().nodes == cluster.nodes {
        return Ok(Looked::Same);
    }
    let Some(inbox) = inbox.upgrade() else { return Ok(Looked::Stops) };
    let sent = inbox.send(Input::Nodes { cluster }).await;
    Ok(if sent.is_ok() { Looked::New } else { Looked::Stops })
}

impl Requests {
    /// Looks for nodes at once: over `postgres_fdw` no stream tells of a server that is new. Returns when one that was found is
    /// taken in.
    pub(crate) async fn look_for_nodes(&self) {
        let mut members = self.members.subscribe();
        members.mark_unchanged();
        match look(self, &self.inbox).await {
            Ok(Looked::New) => drop(tokio::time::timeout(TAKEN_IN, members.changed()).await),
            Ok(Looked::Same | Looked::Stops) => {}
            Err(error) => tracing::debug!(%error, "the cluster's nodes were not looked up"),
        }
    }
}

async fn discover(requests: &Requests) -> Result<Cluster, String> {
    let client = wal::connect(&requests.endpoint, "tributary coordinator").await.map_err(|e| e.to_string())?;
    topology::discover(&client, &requests.endpoint).await.map_err(|e| e.to_string())
}

impl Sequencer {
    /// Other nodes than before.
    pub(crate) async fn members(&mut self, cluster: Cluster) {
        let before: BTreeSet<NodeId> = self.nodes.keys().copied().collect();
        let now: BTreeSet<NodeId> = cluster.nodes.iter().map(|n| n.id).collect();
        for node in before.difference(&now) {
            tracing::info!(%node, "node left the cluster");
            self.doubt_all(*node).await;
            self.forget_position(*node).await;
            self.frontier.remove_node(*node);
            self.nodes.remove(node);
            self.links.forget(*node);
        }
        for node in now.difference(&before) {
            tracing::info!(%node, "node joined the cluster");
            self.frontier.add_node(*node, Lsn::ZERO);
            self.nodes.insert(*node, NodeState::new(&self.limits.spool_dir, *node, Lsn::ZERO));
        }
        self.members.set(cluster);
    }

    /// The node's stream goes on somewhere else: it begins anew, and its tables are read again.
    pub(crate) async fn begin_anew(&mut self, node: NodeId, reason: &str) -> std::io::Result<()> {
        let Some(state) = self.nodes.get_mut(&node) else { return Ok(()) };
        tracing::warn!(%node, reason, "the node begins anew: its tables are read again before the next cut");
        metrics::counter!("tributary_nodes_begun_anew_total").increment(1);
        state.queue.clear()?;
        state.position = Lsn::ZERO;
        state.received = Lsn::ZERO;
        state.confirmed = Lsn::ZERO;
        for cut in &mut self.under_way {
            cut.anew.insert(node);
        }
        self.frontier.add_node(node, Lsn::ZERO);
        self.doubt_all(node).await;
        self.forget_position(node).await;
        Ok(())
    }

    /// All tables of the node are read again, wherever they are then. What is being read already is of no use.
    async fn doubt_all(&mut self, node: NodeId) {
        for source in self.tables.sources() {
            let tables = source.tables.iter().filter(|t| t.is_shipped(node));
            let tables: BTreeSet<_> = tables.map(|t| t.id).collect();
            if !tables.is_empty() || (source.spread == Spread::Copied && source.tables.is_empty()) {
                self.pending.entry(source.id).or_default().extend(tables);
            }
        }
        if let Some(hold) = self.hold.take() {
            for (source, tables) in hold.again {
                self.pending.entry(source).or_default().extend(tables);
            }
            forget_shadows(&self.engine.clone(), &hold.outcome.unwrap_or_default().reread).await;
        }
    }

    async fn forget_position(&mut self, node: NodeId) {
        // The engine is idle or at work on an earlier cut, whose positions are as good as none for this node.
        let forget =
            move |room: &mut EngineRoom| room.engine.forget_position(node).map(|()| room.engine.frontier().seq);
        match self.engine.call(forget).await {
            Ok(Ok(seq)) => self.members.begins_anew(node, seq),
            Ok(Err(error)) => tracing::error!(%node, %error, "a node's position was not forgotten"),
            Err(_) => {}
        }
    }
}
