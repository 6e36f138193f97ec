//! Changes of a source that came while its first read was under way.
//!
//! ```text
//!   Backlog    source (u32) | cut (u64) | number (u32) → node (u32) | end of the transaction (u64) | list of changes
//! ```

use bytes::{Buf, Bytes};
use state::{Batch, Family, Write};
use types::{Lsn, NodeId, Seq, SourceId};

use crate::definition::Transaction;

/// Puts changes of one source, out of one transaction.
pub(crate) fn put(batch: &mut Batch, source: SourceId, seq: Seq, number: u32, of: &Transaction, changes: &[u8]) {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&source.0.to_be_bytes());
    key[4..12].copy_from_slice(&seq.0.to_be_bytes());
    key[12..].copy_from_slice(&number.to_be_bytes());
    let mut value = Vec::with_capacity(changes.len() + 12);
    value.extend_from_slice(&of.node.0.to_be_bytes());
    value.extend_from_slice(&of.end.0.to_be_bytes());
    value.extend_from_slice(changes);
    batch.put(Family::Backlog, &key, &value);
}

/// Reads an entry: node, end of the transaction, list of changes.
pub(crate) fn read(value: &[u8]) -> Option<(NodeId, Lsn, Bytes)> {
    let mut bytes = Bytes::copy_from_slice(value);
    let node = NodeId(bytes.try_get_u32().ok()?);
    let end = Lsn(bytes.try_get_u64().ok()?);
    Some((node, end, bytes))
}
