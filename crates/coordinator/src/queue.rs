//! One node's transactions between its stream and the cut that takes them.
//!
//! ```text
//!   pieces ─▶ open ──Commit──────────────▶ ready ──take_until(cut)──▶ engine
//!               └────Prepare──▶ prepared ──CommitPrepared──▲
//! ```
//!
//! Nothing here is durable: what is lost with the process was not confirmed to the slot and comes again.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;

use bytes::Bytes;
use proto::v1;
use types::{Gid, Lsn, NodeId};

use crate::shape::Seen;
use crate::spool::{Piece, Spool};

/// A committed transaction that waits for its cut.
#[derive(Debug)]
struct Waiting {
    end: Lsn,
    commit_time: i64,
    pieces: Vec<Piece>,
    shape: Option<Shape>,
    bytes: usize,
}

/// What a transaction says of the cluster's shape, and where it was prepared (or committed).
#[derive(Debug, Clone)]
struct Shape {
    at: Lsn,
    rows: Vec<v1::ShapeRow>,
}

/// A prepared branch.
#[derive(Debug, Default)]
struct Branch {
    pieces: Vec<Piece>,
    shape: Option<Shape>,
}

/// A transaction on its way to the engine.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) end: Lsn,
    pub(crate) commit_time: i64,
    pub(crate) pieces: Vec<Bytes>,
}

/// One node's queue.
#[derive(Debug)]
pub(crate) struct NodeQueue {
    spool: Spool,
    open: Vec<Piece>,
    prepared: HashMap<Gid, Branch>,
    ready: VecDeque<Waiting>,
    ready_bytes: usize,
    memory: usize,
}

impl NodeQueue {
    pub(crate) fn new(dir: &Path, node: NodeId) -> Self {
        Self {
            spool: Spool::new(dir, node),
            open: Vec::new(),
            prepared: HashMap::new(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            memory: 0,
        }
    }

    /// Bytes held in memory and on disk.
    pub(crate) fn sizes(&self) -> (usize, u64) {
        (self.memory, self.spool.live())
    }

    /// Whether a committed transaction waits.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Bytes of the transactions that wait, wherever they are.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    fn wait(&mut self, end: Lsn, commit_time: i64, pieces: Vec<Piece>, shape: Option<Shape>) {
        if !pieces.is_empty() || shape.is_some() {
            let bytes = pieces.iter().map(Piece::sizes).map(|(memory, disk)| memory + disk as usize).sum();
            self.ready_bytes += bytes;
            self.ready.push_back(Waiting { end, commit_time, pieces, shape, bytes });
        }
    }

    /// A piece of the transaction that is being sent; `room` bytes may stay in memory.
    pub(crate) fn piece(&mut self, bytes: Bytes, room: usize) -> io::Result<()> {
        let piece = if bytes.len() <= room { Piece::Memory(bytes) } else { self.spool.put(&bytes)? };
        self.memory += piece.sizes().0;
        self.open.push(piece);
        Ok(())
    }

    /// The open transaction committed.
    pub(crate) fn commit(&mut self, end: Lsn, commit_time: i64, shape: Vec<v1::ShapeRow>) {
        let pieces = std::mem::take(&mut self.open);
        let shape = (!shape.is_empty()).then_some(Shape { at: end, rows: shape });
        self.wait(end, commit_time, pieces, shape);
    }

    /// The rows of Citus's metadata in the transactions that ended at or before `position`, in order.
    pub(crate) fn shape_until(&self, node: NodeId, position: Lsn) -> impl Iterator<Item = Seen> {
        let waiting = self.ready.iter().take_while(move |t| t.end <= position);
        waiting.filter_map(move |t| {
            let shape = t.shape.as_ref()?;
            Some(Seen { node, end: t.end, at: shape.at, rows: shape.rows.clone() })
        })
    }

    /// The open transaction was prepared. One that is known already came again after a restart of the stream: the same.
    pub(crate) fn prepare(&mut self, gid: Gid, at: Lsn, shape: Vec<v1::ShapeRow>) -> io::Result<()> {
        let pieces = std::mem::take(&mut self.open);
        let shape = (!shape.is_empty()).then_some(Shape { at, rows: shape });
        if let Some(before) = self.prepared.insert(gid, Branch { pieces, shape }) {
            self.discard(&before.pieces)?;
        }
        Ok(())
    }

    /// A prepared branch committed. False when its changes are not here.
    pub(crate) fn commit_prepared(&mut self, gid: &Gid, end: Lsn, commit_time: i64) -> bool {
        match self.prepared.remove(gid) {
            Some(Branch { pieces, shape }) => {
                self.wait(end, commit_time, pieces, shape);
                true
            }
            None => false,
        }
    }

    /// A prepared branch was rolled back.
    pub(crate) fn rollback_prepared(&mut self, gid: &Gid) -> io::Result<()> {
        match self.prepared.remove(gid) {
            Some(branch) => self.discard(&branch.pieces),
            None => Ok(()),
        }
    }

    /// Forgets the pieces since the last end of a transaction.
    pub(crate) fn forget_open(&mut self) -> io::Result<()> {
        let pieces = std::mem::take(&mut self.open);
        self.discard(&pieces)
    }

    /// Forgets everything: the stream starts again from the node's last cut.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.forget_open()?;
        for (_, branch) in std::mem::take(&mut self.prepared) {
            self.discard(&branch.pieces)?;
        }
        self.ready_bytes = 0;
        for waiting in std::mem::take(&mut self.ready) {
            self.discard(&waiting.pieces)?;
        }
        Ok(())
    }

    /// Takes the transactions that ended at or before `position`, in order.
    pub(crate) fn take_until(&mut self, position: Lsn, into: &mut Vec<Taken>) -> io::Result<()> {
        while self.ready.front().is_some_and(|t| t.end <= position) {
            let Some(waiting) = self.ready.pop_front() else { break };
            self.ready_bytes -= waiting.bytes;
            let mut pieces = Vec::with_capacity(waiting.pieces.len());
            for piece in waiting.pieces {
                self.memory -= piece.sizes().0;
                pieces.push(self.spool.take(piece)?);
            }
            if pieces.is_empty() {
                continue;
            }
            into.push(Taken { end: waiting.end, commit_time: waiting.commit_time, pieces });
        }
        Ok(())
    }

    fn discard(&mut self, pieces: &[Piece]) -> io::Result<()> {
        for piece in pieces {
            self.memory -= piece.sizes().0;
            self.spool.discard(piece)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &mut NodeQueue, position: u64) -> Vec<(u64, String)> {
        let mut out = Vec::new();
        queue.take_until(Lsn(position), &mut out).unwrap();
        out.into_iter()
            .map(|t| (t.end.0, t.pieces.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect()))
            .collect()
    }

    #[test]
    fn transactions_leave_in_commit_order_and_only_up_to_the_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut q = NodeQueue::new(dir.path(), NodeId(1));
        q.piece("a".into(), 100).unwrap();
        q.prepare(Gid::from("g"), Lsn(5), Vec::new()).unwrap();
        q.piece("b".into(), 0).unwrap();
        q.piece("c".into(), 100).unwrap();
        q.commit(Lsn(10), 0, Vec::new());
        assert_eq!((q.sizes(), q.ready_bytes()), ((2, 1), 2));
        assert!(q.commit_prepared(&Gid::from("g"), Lsn(20), 0));
        assert!(!q.commit_prepared(&Gid::from("g"), Lsn(20), 0));
        assert_eq!((taken(&mut q, 9), q.ready_bytes()), (vec![], 3));
        assert_eq!(taken(&mut q, 10), vec![(10, "bc".into())]);
        assert_eq!(taken(&mut q, 30), vec![(20, "a".into())]);
        assert_eq!((q.sizes(), q.ready_bytes()), ((0, 0), 0));
    }

    #[test]
    fn a_prepare_that_comes_again_replaces_itself() {
        let dir = tempfile::tempdir().unwrap();
        let mut q = NodeQueue::new(dir.path(), NodeId(1));
        for _ in 0..2 {
            q.piece("a".into(), 0).unwrap();
            q.prepare(Gid::from("g"), Lsn(1), Vec::new()).unwrap();
        }
        q.commit_prepared(&Gid::from("g"), Lsn(5), 0);
        assert_eq!(taken(&mut q, 5), vec![(5, "a".into())]);
        q.piece("x".into(), 9).unwrap();
        q.clear().unwrap();
        assert_eq!(q.sizes(), (0, 0));
    }
}
