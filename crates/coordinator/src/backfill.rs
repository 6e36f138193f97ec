//! The first read of a source, while writers go on.
//!
//! ```text
//!   1  engine knows the source: its changes in every cut from here on are kept aside
//!   2  agents ship its tables: from a position p_n of each node's stream
//!   3  agents export a snapshot each, at s_n ≥ p_n, and send its rows
//!   4  the published cut passes every s_n
//!   5  the changes kept aside that ended behind s_n are put over the rows: the source is exact at the present cut
//! ```
//!
//! The snapshots are each node's own and may cut a distributed transaction in two; the streams hold the other half,
//! and a cut at or after all of them holds it whole. If anything fails or the process dies before 5, all of it is
//! thrown away and read again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use proto::v1;
use tokio::sync::mpsc;
use topology::LogicalTable;
use types::{Lsn, NodeId, Positions, Row, TableId, TableName};

use crate::error::RequestError;
use crate::links::SnapshotPart;
use crate::progress::{NodeReads, ProgressSender};
use crate::requests::Requests;
use crate::tables::{KeptSource, subscription_of};

/// A first read is begun again so often when the cluster changes its shape meanwhile.
const ATTEMPTS: usize = 8;

/// A source that is to be kept.
pub(crate) struct WantedSource {
    pub(crate) reads: plan::SourceUse,
    /// Which of its rows; all when `None`.
    pub(crate) filter: Option<ivm::RowFilter>,
}

impl Requests {
    /// Keeps new sources: they are read and ready when it returns. When it fails, [`Self::release_sources`] takes away
    /// what there is of them.
    pub(crate) async fn keep(
        &self,
        wanted: &[WantedSource],
        logical: &[LogicalTable],
        progress: &ProgressSender,
    ) -> Result<Vec<KeptSource>, RequestError> {
        let mut logical = logical.to_vec();
        for _ in 0..ATTEMPTS {
            let mut sources = Vec::new();
            for source in wanted {
                let table = logical.iter().find(|t| t.name == source.reads.table).ok_or_else(|| {
                    RequestError::Internal(format!("no physical tables are known for {}", source.reads.table))
                })?;
                let plan::SourceUse { columns, identity, .. } = source.reads.clone();
                sources.push(self.tables.add(columns, identity, source.filter.clone(), table));
            }
            if self.read_sources(&sources, &NodeReads::default(), progress).await? {
                return Ok(sources);
            }
            tracing::info!("the cluster changed its shape during a first read; it begins again");
            self.release_sources().await;
            let names: Vec<_> = wanted.iter().map(|s| s.reads.table.clone()).collect();
            logical = self.look_up(&names).await?;
        }
        Err(RequestError::Unavailable("the cluster changes its shape all the time; try again when it rests".into()))
    }

    /// Where the tables' rows are now.
    async fn look_up(&self, names: &[TableName]) -> Result<Vec<LogicalTable>, RequestError> {
        let client = wal::connect(&self.endpoint, "tributary coordinator").await.map_err(RequestError::unavailable)?;
        let found = topology::tables(&client, &self.members.get(), names).await;
        found.map_err(|e| {
            if e.is_transient() { RequestError::unavailable(e) } else { RequestError::Refused(e.to_string()) }
        })
    }

    /// Whether the sources' tables are where they were. Those that left before the streams told of it are seen in the
    /// catalogs, later ones in the streams.
    async fn is_undisturbed(&self, sources: &[KeptSource]) -> Result<bool, RequestError> {
        let names: Vec<_> = sources.iter().map(|s| s.name.clone()).collect();
        let found = self.look_up(&names).await?;
        Ok(sources.iter().zip(&found).all(|(source, found)| {
            let places: BTreeSet<_> = source.tables.iter().map(|t| (t.node, &t.table, t.shard)).collect();
            // A copy has some of them.
            let of_it = |p: &&topology::Placement| !source.is_copy || source.tables.iter().any(|t| t.is_of(p));
            let now = found.placements.iter().filter(of_it).map(|p| (p.node, &p.table, p.shard.unwrap_or(0)));
            // What was given up in the middle was altered a moment before: it may be what is wanted now.
            let disturbed = self.tables.source(source.id).is_none_or(|s| s.disturbed || s.broken);
            !disturbed && source.relation == found.relation && now.collect::<BTreeSet<_>>() == places
        }))
    }

    /// Reads these new sources; they are ready when it returns, unless their tables went elsewhere meanwhile (false).
    pub(crate) async fn read_sources(
        &self,
        sources: &[KeptSource],
        counts: &NodeReads,
        progress: &ProgressSender,
    ) -> Result<bool, RequestError> {
        if sources.is_empty() {
            return Ok(true);
        }
        let known = sources.to_vec();
        self.call(move |room| {
            room.save_tables()?;
            for source in &known {
                let tables: Vec<_> = source.tables.iter().map(|t| (t.id, t.node)).collect();
                room.engine.add_source(ivm::SourceDef {
                    homes: if source.hashed { tables.iter().map(|t| t.0).collect() } else { Vec::new() },
                    id: source.id,
                    table: source.name.clone(),
                    columns: source.columns.clone(),
                    identity: source.identity.clone(),
                    filter: source.filter.clone(),
                    tables,
                })?;
            }
            Ok(())
        })
        .await?;
        let mut nodes: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
        for table in sources.iter().flat_map(|s| &s.tables) {
            nodes.entry(table.node).or_default().push(table.id.0);
        }
        try_join_all(nodes.keys().map(|&node| async move {
            let tables = sources.iter().flat_map(|s| subscription_of(s, node)).collect();
            self.links.order(node, v1::order::Kind::Subscribe(v1::Subscribe { tables })).await
        }))
        .await?;
        counts.expect(nodes.keys().copied());
        match self.load_and_finish(sources, &nodes, (counts, progress)).await {
            Ok(finished) => Ok(finished),
            // A table that went was looked for in vain.
            Err(error) => {
                if self.is_undisturbed(sources).await? {
                    Err(error)
                } else {
                    Ok(false)
                }
            }
        }
    }

    async fn load_and_finish(
        &self,
        sources: &[KeptSource],
        nodes: &BTreeMap<NodeId, Vec<u32>>,
        counts: (&NodeReads, &ProgressSender),
    ) -> Result<bool, RequestError> {
        let snapshots = self.load(sources, nodes, counts).await?;
        let positions = Positions(snapshots.iter().copied().collect());
        // An idle node's stream stands still; the question moves it.
        let now = self.waiter.positions().await;
        self.waiter.reach(&positions).await?;
        self.waiter.reach(&now).await?;
        if !self.is_undisturbed(sources).await? {
            return Ok(false);
        }
        tokio::time::sleep(lingers()).await;
        let ids: Vec<_> = sources.iter().map(|s| s.id).collect();
        self.call(move |room| {
            for id in ids {
                // The sequencer sees it as not ready until then, and does not wait for it.
                if room.tables.source(id).is_none_or(|s| s.disturbed) {
                    return Err(ivm::IvmError::NotNow(format!("source {id} went elsewhere while it was read")));
                }
                room.engine.finish_load(id, &snapshots)?;
                room.tables.set_ready(id);
            }
            room.save_tables()
        })
        .await?;
        Ok(true)
    }

    /// Takes a snapshot of every node's tables in and gives the snapshots' positions.
    async fn load(
        &self,
        sources: &[KeptSource],
        nodes: &BTreeMap<NodeId, Vec<u32>>,
        (counts, progress): (&NodeReads, &ProgressSender),
    ) -> Result<Vec<(NodeId, Lsn)>, RequestError> {
        let reads = nodes.iter().map(|(&node, tables)| async move {
            let (at, rows) = self.links.snapshot(node, tables.clone()).await?;
            self.load_node(node, sources, rows, (counts, progress)).await?;
            Ok::<_, RequestError>((node, at))
        });
        // All ends are awaited, so that no rows come for a source that is being thrown away.
        join_all(reads).await.into_iter().collect()
    }

    async fn load_node(
        &self,
        node: NodeId,
        sources: &[KeptSource],
        mut parts: mpsc::Receiver<SnapshotPart>,
        (counts, progress): (&NodeReads, &ProgressSender),
    ) -> Result<(), RequestError> {
        while let Some(part) = parts.recv().await {
            let rows = match part {
                SnapshotPart::Rows(rows) => rows,
                SnapshotPart::End(end) if end.error.is_empty() => {
                    counts.done(node);
                    progress.reading(counts.get());
                    return Ok(());
                }
                SnapshotPart::End(end) => return Err(RequestError::Unavailable(format!("node {node}: {}", end.error))),
            };
            let table = TableId(rows.table);
            let Some(source) = sources.iter().find(|s| s.tables.iter().any(|t| t.id == table)) else { continue };
            let (source, size, count) = (source.id, rows.rows.len() as u64, rows.count);
            let list = unpack(rows.rows).ok_or_else(|| RequestError::Internal("damaged snapshot rows".into()))?;
            self.call(move |room| room.engine.load_rows(source, table, &list)).await?;
            counts.add(node, count, size);
            progress.reading(counts.get());
        }
        Err(RequestError::Unavailable(format!("the agent of node {node} went away during the first read")))
    }
}

/// How long a source that was read waits to be made ready: not at all, but for a failpoint.
fn lingers() -> Duration {
    fail::fail_point!("backfill-before-finish", |ms| Duration::from_millis(
        ms.and_then(|ms| ms.parse().ok()).unwrap_or(0)
    ));
    Duration::ZERO
}

/// Rows, each behind a big-endian u32 length.
pub(crate) fn unpack(mut bytes: bytes::Bytes) -> Option<Vec<Row>> {
    use bytes::Buf;
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let length = bytes.try_get_u32().ok()? as usize;
        if bytes.len() < length {
            return None;
        }
        rows.push(Row::from_bytes(bytes.split_to(length)));
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_rows_come_out_and_damage_is_noticed() {
        let packed = bytes::Bytes::from_static(&[0, 0, 0, 1, 0, 0, 0, 0, 2, 3, b'x']);
        let rows = unpack(packed.clone()).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].field(0), types::Field::Value(b"x"));
        assert!(unpack(packed.slice(..packed.len() - 1)).is_none());
    }
}
