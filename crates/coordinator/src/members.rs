//! The cluster's nodes, as they are known now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use topology::Cluster;
use types::{NodeId, Seq};

/// The nodes; all clones see the same.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    cluster: Arc<watch::Sender<Cluster>>,
    /// The last cuts with positions of streams that are no more.
    anew: Arc<Mutex<BTreeMap<NodeId, Seq>>>,
}

impl Members {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { cluster: Arc::new(watch::Sender::new(cluster)), anew: Arc::default() }
    }

    /// The nodes now.
    pub(crate) fn get(&self) -> Cluster {
        self.cluster.borrow().clone()
    }

    /// Their numbers.
    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.cluster.borrow().nodes.iter().map(|n| n.id).collect()
    }

    /// Other nodes from here on.
    pub(crate) fn set(&self, cluster: Cluster) {
        self.cluster.send_replace(cluster);
    }

    /// Sees every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Cluster> {
        self.cluster.subscribe()
    }

    /// The node's stream begins anew behind this cut. Its positions up to there say nothing of the new stream: one of a node that
    /// was restored to an earlier point is behind what was read.
    pub(crate) fn begins_anew(&self, node: NodeId, behind: Seq) {
        self.anew.lock().unwrap_or_else(PoisonError::into_inner).insert(node, behind);
    }

    /// Whether the cut's position of the node is one of its present stream.
    pub(crate) fn is_of_present_stream(&self, node: NodeId, cut: Seq) -> bool {
        self.anew.lock().unwrap_or_else(PoisonError::into_inner).get(&node).is_none_or(|behind| cut > *behind)
    }
}
