//! What the sequencer shows of its queues, and whom it holds back when they are full.
//!
//! ```text
//!   a node is away, or slow ─▶ a transaction of another one waits for it ─▶ no cut takes what is behind
//!     the others' changes go to memory, then to the spool files, up to the limit
//!     there ─▶ Flow { hold } to the agents that nobody waits for ─▶ their slots keep the WAL
//!     the node is back ─▶ its stream is read ─▶ a cut takes what lies there ─▶ Flow { go on }
//! ```
//!
//! Never held back: a node that something is to come from, for without it nothing would ever move again; and anybody while
//! nothing is waited for, because then a cut takes what is there, or more of the stream is what a prepared branch's decision
//! comes with. An agent that is held back does orders and answers questions all the same.
//!
//! The limit is one of all nodes together. What was on its way when it was reached is still taken in: a few messages a node.

use std::collections::{BTreeMap, BTreeSet};

use metrics::Label;
use tokio::time::Instant;
use types::{Consistency, NodeId};

use crate::sequencer::{NodeProgress, Progress, Sequencer};

/// The labels of a gauge: those of atomic stream tables have only their own.
pub(crate) fn labels(consistency: Consistency, node: Option<NodeId>) -> Vec<Label> {
    let node = node.map(|n| Label::new("node", n.to_string()));
    let of = (consistency != Consistency::Atomic).then(|| Label::new("consistency", consistency.name()));
    node.into_iter().chain(of).collect()
}

impl Sequencer {
    /// Holds agents back whose changes could only be put aside beyond the limit, and lets those go on that are needed.
    pub(crate) fn hold_back(&mut self) {
        let full = self.buffered().1 >= self.limits.spool_bytes;
        if !full && self.nodes.values().all(|n| !n.held_back) {
            return;
        }
        let awaited: BTreeSet<NodeId> = self.frontier.waiting_for().iter().map(|w| w.node).collect();
        let stuck = full && (self.hold.is_some() || !awaited.is_empty());
        let reach = self.hold.as_ref().and_then(|h| h.outcome.as_ref()).map(|o| &o.reach);
        for (&node, state) in &mut self.nodes {
            let needed = awaited.contains(&node) || reach.is_some_and(|reach| state.received < reach.of(node));
            let held = stuck && !needed && state.queue.sizes().1 > 0;
            if held != state.held_back && self.links.flow(node, state.session, held) {
                state.held_back = held;
                let spooled = state.queue.sizes().1;
                tracing::info!(%node, held, spooled, "changes wait on disk for another node: the limit holds agents back");
            }
        }
    }

    /// Shows where everything is.
    pub(crate) fn report(&self) {
        let of = self.limits.consistency;
        let mut nodes = BTreeMap::new();
        for (&node, state) in &self.nodes {
            let (memory, disk) = state.queue.sizes();
            let (received, confirmed, held_back) = (state.received, state.confirmed, state.held_back);
            let buffered = memory as u64 + disk;
            nodes.insert(node, NodeProgress { received, confirmed, buffered, held_back });
            metrics::gauge!("tributary_buffered_bytes", labels(of, Some(node))).set(buffered as f64);
            metrics::gauge!("tributary_received_lsn", labels(of, Some(node))).set(received.0 as f64);
            metrics::gauge!("tributary_held_back", labels(of, Some(node))).set(f64::from(u8::from(held_back)));
        }
        let spooled = self.buffered().1;
        metrics::gauge!("tributary_spooled_bytes", labels(of, None)).set(spooled as f64);
        metrics::gauge!("tributary_spool_limit_bytes", labels(of, None)).set(self.limits.spool_bytes as f64);
        let mut waits: BTreeSet<String> = self.frontier.waiting_for().iter().map(ToString::to_string).collect();
        if let Some(hold) = &self.hold {
            let trouble = self.tables.trouble().map(|t| format!(" (not yet: {t})")).unwrap_or_default();
            waits.insert(format!("{hold}{trouble}"));
        }
        let before = self.progress.borrow().waiting_for.clone();
        let since = |what: &String| before.get(what).copied().unwrap_or_else(Instant::now);
        let waiting_for = waits.into_iter().map(|what| (what.clone(), since(&what))).collect();
        self.progress.send_replace(Progress { nodes, waiting_for, spooled });
    }
}
