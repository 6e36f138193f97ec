//! How far a request is, for whoever asked for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use proto::v1;
use tokio::sync::mpsc;
use types::NodeId;

/// Where the progress of a first read goes; to nobody when nobody waits.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProgressSender(pub(crate) Option<mpsc::Sender<v1::ReadProgress>>);

impl ProgressSender {
    pub(crate) fn phase(&self, phase: &str) {
        self.send(v1::ReadProgress { phase: phase.to_owned(), nodes: Vec::new() });
    }
    pub(crate) fn reading(&self, nodes: Vec<v1::NodeRead>) {
        self.send(v1::ReadProgress { phase: "reading".into(), nodes });
    }
    /// Dropped when the receiver is slow: the next says more.
    fn send(&self, progress: v1::ReadProgress) {
        if let Some(sender) = &self.0 {
            let _full_or_gone = sender.try_send(progress);
        }
    }
}

/// Rows and bytes read, node by node.
#[derive(Debug, Default)]
pub(crate) struct NodeReads(Mutex<BTreeMap<NodeId, v1::NodeRead>>);

impl NodeReads {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, v1::NodeRead>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// These nodes are read from here on, and nothing was read of them yet.
    pub(crate) fn begin(&self, nodes: impl Iterator<Item = NodeId>) {
        *self.lock() = nodes.map(|n| (n, v1::NodeRead { node: n.0, ..Default::default() })).collect();
    }

    /// These are read, too.
    pub(crate) fn expect(&self, nodes: impl Iterator<Item = NodeId>) {
        let mut all = self.lock();
        for node in nodes {
            all.entry(node).or_insert_with(|| v1::NodeRead { node: node.0, ..Default::default() });
        }
    }

    pub(crate) fn add(&self, node: NodeId, rows: u64, bytes: u64) {
        if let Some(read) = self.lock().get_mut(&node) {
            read.rows += rows;
            read.bytes += bytes;
            read.done = false;
        }
    }

    pub(crate) fn done(&self, node: NodeId) {
        if let Some(read) = self.lock().get_mut(&node) {
            read.done = true;
        }
    }

    pub(crate) fn rows_of(&self, node: NodeId) -> u64 {
        self.lock().get(&node).map_or(0, |read| read.rows)
    }

    /// Of all nodes.
    pub(crate) fn rows(&self) -> u64 {
        self.lock().values().map(|read| read.rows).sum()
    }

    pub(crate) fn get(&self) -> Vec<v1::NodeRead> {
        self.lock().values().copied().collect()
    }
}
