//! What operators see: nodes, frontier, stream tables, delays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::v1;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use types::{Consistency, Epoch, NodeId, StreamId};

use crate::catalog::{Catalog, Entry};
use crate::delays::Delays;
use crate::engine::EngineHandle;
use crate::links::{LinkStatus, Links};
use crate::members::Members;
use crate::progress::NodeReads;
use crate::publisher::Published;
use crate::sequencer::Progress;

/// Reads it all together.
pub(crate) struct StatusReader {
    pub(crate) instance: String,
    pub(crate) consistency: Consistency,
    pub(crate) spool_bytes: u64,
    pub(crate) epoch: Epoch,
    pub(crate) members: Members,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) links: Arc<Links>,
    pub(crate) engine: EngineHandle,
    pub(crate) delays: Arc<Delays>,
    pub(crate) published: watch::Receiver<Published>,
    pub(crate) progress: watch::Receiver<Progress>,
    /// How far the reading is that a cut waits for.
    pub(crate) read_again: Arc<NodeReads>,
    /// What slots held back when last looked; a look costs a query a node.
    pub(crate) retained: Mutex<Retained>,
}

/// WAL bytes that each node's slot holds back.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    at: Option<Instant>,
    bytes: BTreeMap<NodeId, u64>,
}

impl StatusReader {
    pub(crate) fn frontier(&self) -> v1::Frontier {
        let published = self.published.borrow().clone();
        let positions = published.positions.0.iter();
        v1::Frontier {
            seq: published.seq.0,
            epoch: self.epoch.0,
            positions: positions.map(|(n, l)| v1::NodePosition { node: n.0, lsn: l.0 }).collect(),
            without_nodes: Vec::new(),
        }
    }

    /// What the frontier waits for, a line each; with how long, from a second on.
    pub(crate) fn waiting_for(&self) -> Vec<String> {
        let waits = self.progress.borrow().waiting_for.clone();
        let line = |(what, since): (String, Instant)| match since.elapsed().as_secs() {
            0 => what,
            seconds => format!("{what}, for {seconds} s"),
        };
        let reads = self.read_again.get();
        let read = |n: &v1::NodeRead| {
            format!("{} rows of node {}{}", n.rows, n.node, if n.done { " (all)" } else { " so far" })
        };
        let so_far = format!("read again: {}", reads.iter().map(read).collect::<Vec<_>>().join(", "));
        waits.into_iter().map(line).chain((!reads.is_empty()).then_some(so_far)).collect()
    }

    /// Rows a stream table has, as the engine counts them; answers within a moment also when the engine is busy.
    async fn rows(&self) -> BTreeMap<StreamId, u64> {
        let counted = self.engine.call(|room| room.engine.row_counts());
        tokio::time::timeout(Duration::from_millis(500), counted).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    pub(crate) async fn stream_table(&self, entry: &Entry) -> v1::StreamTable {
        let rows = self.rows().await.get(&entry.id).copied().unwrap_or_default();
        entry.to_proto(self.consistency, self.published.borrow().seq, rows)
    }

    pub(crate) async fn stream_tables(&self) -> Vec<v1::StreamTable> {
        let rows = self.rows().await;
        let now = self.published.borrow().seq;
        let all = self.catalog.all();
        all.iter().map(|e| e.to_proto(self.consistency, now, rows.get(&e.id).copied().unwrap_or_default())).collect()
    }

    pub(crate) async fn nodes(&self) -> Vec<v1::Node> {
        let retained = self.retained().await;
        let links = self.links.status().borrow().clone();
        let progress = self.progress.borrow().clone();
        let published = self.published.borrow().clone();
        let cluster = self.members.get();
        let nodes = cluster.nodes.iter().map(|node| {
            let link = links
                .get(&node.id)
                .cloned()
                .unwrap_or_else(|| LinkStatus { trouble: "no agent has attached yet".into(), ..LinkStatus::default() });
            let stream = progress.nodes.get(&node.id).cloned().unwrap_or_default();
            v1::Node {
                id: node.id.0,
                name: node.name.clone(),
                host: node.endpoint.host().to_owned(),
                port: node.endpoint.port().into(),
                connected: link.connected,
                trouble: link.trouble,
                received_lsn: stream.received.0,
                frontier_lsn: published.positions.of(node.id).0,
                confirmed_lsn: stream.confirmed.0,
                retained_bytes: retained.get(&node.id).copied().unwrap_or_default(),
                buffered_bytes: stream.buffered,
                held_back: stream.held_back,
            }
        });
        nodes.collect()
    }

    async fn retained(&self) -> BTreeMap<NodeId, u64> {
        let mut retained = self.retained.lock().await;
        if retained.at.is_none_or(|at| at.elapsed() > Duration::from_secs(5)) {
            let cluster = self.members.get();
            let looks = cluster.nodes.iter().map(|node| async {
                let look = async {
                    let client = wal::connect(&node.endpoint, "tributary status").await.ok()?;
                    let slot = format!("tributary_{}{}", self.instance, self.consistency.suffix());
                    wal::inspect_slot(&client, &slot).await.ok()?.map(|s| s.retained_bytes)
                };
                let bytes = tokio::time::timeout(Duration::from_secs(1), look).await.ok().flatten();
                (node.id, bytes.unwrap_or_default())
            });
            retained.bytes = futures_util::future::join_all(looks).await.into_iter().collect();
            retained.at = Some(Instant::now());
        }
        retained.bytes.clone()
    }

    /// What there is to say of the stream tables of consistency per-node, beside themselves.
    pub(crate) async fn per_node(&self) -> v1::PerNodeStatus {
        v1::PerNodeStatus {
            frontier: Some(self.frontier()),
            nodes: self.nodes().await,
            waiting_for: self.waiting_for(),
            spooled_bytes: self.progress.borrow().spooled,
        }
    }

    pub(crate) async fn status(&self) -> v1::Status {
        let delays = self.delays.summary();
        v1::Status {
            instance: self.instance.clone(),
            provider: self.members.get().provider.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            epoch: self.epoch.0,
            frontier: Some(self.frontier()),
            nodes: self.nodes().await,
            stream_tables: self.stream_tables().await,
            waiting_for: self.waiting_for(),
            changes_per_second: delays.rate,
            delay_p50_seconds: delays.p50,
            delay_p99_seconds: delays.p99,
            spooled_bytes: self.progress.borrow().spooled,
            spool_limit_bytes: self.spool_bytes,
            per_node: None,
        }
    }
}
