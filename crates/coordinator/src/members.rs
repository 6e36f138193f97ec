//! The cluster's nodes, as they are known now.

use std::sync::Arc;

use tokio::sync::watch;
use topology::Cluster;
use types::NodeId;

/// The nodes; all clones see the same.
#[derive(Debug, Clone)]
pub(crate) struct Members(Arc<watch::Sender<Cluster>>);

impl Members {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self(Arc::new(watch::Sender::new(cluster)))
    }

    /// The nodes now.
    pub(crate) fn get(&self) -> Cluster {
        self.0.borrow().clone()
    }

    /// Their numbers.
    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.0.borrow().nodes.iter().map(|n| n.id).collect()
    }

    /// Other nodes from here on.
    pub(crate) fn set(&self, cluster: Cluster) {
        self.0.send_replace(cluster);
    }

    /// Sees every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Cluster> {
        self.0.subscribe()
    }
}
