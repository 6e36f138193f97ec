//! A snapshot of some tables, read beside the stream.
//!
//! The answer with the snapshot's position goes first, then the rows in pieces, then the end. What commits at or after
//! the position is in the stream, what came before it is in the rows. The rows go up only when no event waits.
//!
//! Cancellation: dropping the future ends the sessions and the temporary slot.

use bytes::{BufMut, BytesMut};
use futures_util::stream::{self, StreamExt};
use proto::v1;
use proto::v1::agent_message::Kind;
use types::{Row, TableId, TableName};
use wal::{Endpoint, SnapshotReader};

use crate::AgentError;
use crate::link::Outgoing;
use crate::orders::{done, failed};

/// Tables of one snapshot that are read at the same time.
const SESSIONS: usize = 2;

/// A table to read.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) id: TableId,
    pub(crate) name: TableName,
    pub(crate) columns: Vec<String>,
}

/// What a snapshot's task works with.
pub(crate) struct Snapshot {
    pub(crate) order: u64,
    pub(crate) endpoint: Endpoint,
    /// The temporary slot's name.
    pub(crate) slot: String,
    pub(crate) tables: Vec<Wanted>,
    pub(crate) out: Outgoing,
}

impl Snapshot {
    /// Takes the snapshot, answers the order and sends the rows. An aggregator that is gone just ends it.
    pub(crate) async fn run(self) {
        let id = self.order;
        let opening = SnapshotReader::open(&self.endpoint, "tributary agent snapshot", &self.slot, SESSIONS);
        let reader = match Box::pin(opening).await {
            Ok(reader) => reader,
            Err(error) => {
                tracing::warn!(order = id, %error, "no snapshot could be taken");
                let _gone = self.out.send_snapshot(failed(id, error)).await;
                return;
            }
        };
        tracing::info!(order = id, position = %reader.position(), tables = self.tables.len(), "snapshot taken");
        if self.out.send_snapshot(done(id, reader.position())).await.is_err() {
            return;
        }
        let reads = stream::iter(&self.tables).map(|table| self.read(&reader, table)).buffer_unordered(SESSIONS);
        let failure = reads.filter_map(async |read| read.err()).boxed().next().await;
        if let Some(error) = &failure {
            tracing::warn!(order = id, %error, "snapshot broke off");
        }
        let error = failure.map(|e| e.to_string()).unwrap_or_default();
        let _gone = self.out.send_snapshot(Kind::SnapshotEnd(v1::SnapshotEnd { id, error })).await;
        reader.close().await;
    }

    async fn read(&self, reader: &SnapshotReader, table: &Wanted) -> Result<(), AgentError> {
        let mut pieces = reader.copy(&table.name, &table.columns).await?;
        while let Some(rows) = pieces.next().await {
            let rows = rows?;
            let message = v1::SnapshotRows {
                id: self.order,
                table: table.id.0,
                count: rows.len() as u64,
                rows: pack(&rows).freeze(),
            };
            self.out.send_snapshot(Kind::SnapshotRows(message)).await?;
        }
        Ok(())
    }
}

/// Each row behind its length.
fn pack(rows: &[Row]) -> BytesMut {
    let mut packed = BytesMut::with_capacity(rows.iter().map(|r| r.as_bytes().len() + 4).sum());
    for row in rows {
        packed.put_u32(row.as_bytes().len() as u32);
        packed.put_slice(row.as_bytes());
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_packed_behind_their_lengths() {
        let rows = [Row::from_bytes("ab".into()), Row::default()];
        assert_eq!(&pack(&rows)[..], b"\0\0\0\x02ab\0\0\0\0");
    }
}
