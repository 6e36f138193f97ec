//! From pgoutput's messages to the events that the aggregator gets: the agent's heart, without I/O.
//!
//! ```text
//!   Begin        ─▶ changes ─▶ Piece …  ─ Commit   ─▶ Commit { participants }   (or Progress, when it held nothing)
//!   BeginPrepare ─▶ changes ─▶ Piece …  ─ Prepare  ─▶ Prepare … later CommitPrepared | RollbackPrepared
//!   keepalive between transactions                 ─▶ Progress
//! ```
//!
//! Positions. Every event bears the position right behind its record. A stream that starts again sends again what was
//! not confirmed; what the aggregator has already is left out here:
//!
//! * a plain transaction whose commit record begins before `have` (the aggregator's position, or the end of the last
//!   event that was sent to it) ended at or before it, for positions are ends of records;
//! * a PREPARE is left out when this attachment has sent it before. Otherwise it is sent, however old: its decision
//!   may be new. Its decision is then sent too, so that the aggregator can forget a branch it had;
//! * a decision at or before `have` is left out when its PREPARE did not come again.
//!
//! Invariant: pieces of different transactions never mix, and a transaction's pieces are followed by its end or by
//! `Restart`. Memory is bounded by what the caller takes out whenever [`Collector::is_full`].

use std::collections::HashSet;
use std::sync::Arc;

use bytes::BytesMut;
use pgoutput::{Message, Tuple};
use proto::v1;
use types::{Lsn, NodeId, TableId};

use crate::AgentError;
use crate::confirm::Confirmer;
use crate::directory::{Directory, Relation, Role, participant};
use crate::options::MESSAGE_BYTES;
use crate::projector::{Projector, RowError};
use crate::shape;
use crate::subscription::{Subscription, Unfit};

/// A piece is closed when it holds this many bytes.
const PIECE_BYTES: usize = 128 << 10;

/// What an event weighs beside its bytes.
const EVENT_BYTES: usize = 48;

/// The transaction that the stream is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    None,
    Plain,
    Branch,
    /// Left out; `Begin` or `BeginPrepare` decided so.
    Skipped,
}

/// See the module's description.
pub(crate) struct Collector {
    node: NodeId,
    directory: Directory,
    confirmer: Arc<Confirmer>,
    open: Open,
    /// Where the transaction commits, or is prepared: until then nobody else alters the tables that it writes to.
    at: Lsn,
    /// The open transaction has changes, here or sent already.
    has_changes: bool,
    /// Pieces of the open transaction have left for `events`.
    has_pieces: bool,
    participants: Vec<v1::Participant>,
    /// What the open transaction says of the cluster's shape.
    shape: Vec<v1::ShapeRow>,
    piece: BytesMut,
    events: Vec<v1::Event>,
    bytes: usize,
    /// Plain transactions and decisions up to here are the aggregator's already.
    have: Lsn,
    /// The end of the last transaction or decision that this attachment has sent.
    sent: Lsn,
    /// Where this attachment's first stream began.
    low: Lsn,
    /// Branches sent again that the aggregator may know, until their decision was sent again too; over several streams.
    again: HashSet<String>,
    /// The last position told, and the last that may be.
    told: Lsn,
    moved: Lsn,
    /// How far this attachment's streams were read.
    read: Lsn,
}

impl Collector {
    /// For one attachment: the aggregator has everything up to `resume_after`.
    pub(crate) fn new(node: NodeId, resume_after: Lsn, wanted: Vec<Subscription>, confirmer: Arc<Confirmer>) -> Self {
        Self {
            node,
            directory: Directory::new(wanted),
            confirmer,
            open: Open::None,
            at: Lsn::ZERO,
            has_changes: false,
            has_pieces: false,
            participants: Vec::new(),
            shape: Vec::new(),
            piece: BytesMut::new(),
            events: Vec::new(),
            bytes: 0,
            have: resume_after,
            sent: Lsn::ZERO,
            low: Lsn::MAX,
            again: HashSet::new(),
            told: resume_after,
            moved: resume_after,
            read: Lsn::ZERO,
        }
    }

    /// A stream begins that sends what was not confirmed at `from`. What the broken one left half-sent is taken back.
    pub(crate) fn start(&mut self, from: Lsn) {
        if self.has_pieces {
            self.push(v1::event::Kind::Restart(v1::Restart {}), 0);
        }
        self.directory.forget_relations();
        self.close();
        self.have = self.have.max(self.told);
        self.low = self.low.min(from);
        self.moved = self.moved.max(from);
        self.read = self.read.max(from);
    }

    /// Ships this table too. To be called between transactions.
    pub(crate) fn subscribe(&mut self, subscription: Subscription) {
        debug_assert!(self.is_between());
        let unfit = self.directory.subscribe(subscription);
        self.altered(unfit);
    }

    /// Ships these tables no longer.
    pub(crate) fn unsubscribe(&mut self, tables: &[TableId]) {
        self.directory.unsubscribe(tables);
    }

    /// These are no longer what was subscribed to: says so and ships them no longer.
    pub(crate) fn altered(&mut self, unfit: Vec<Unfit>) {
        for Unfit { table, reason, doubted } in unfit {
            tracing::warn!(table = table.0, reason, "subscribed table altered");
            if !doubted {
                self.directory.unsubscribe(&[table]);
            }
            self.push(v1::event::Kind::TableAltered(v1::TableAltered { table: table.0, reason, doubted }), 0);
        }
    }

    /// Whether the stream is between transactions.
    pub(crate) fn is_between(&self) -> bool {
        self.open == Open::None
    }

    /// The end of what was read so far: of transactions, or where a keepalive said that nothing came.
    pub(crate) fn position(&self) -> Lsn {
        self.moved.max(self.sent)
    }

    /// Whether the events make a message that should leave.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= MESSAGE_BYTES
    }

    /// Whether events wait.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether only a position waits to be told.
    pub(crate) fn has_progress(&self) -> bool {
        self.open == Open::None && self.moved > self.told
    }

    /// Takes the events out; with the position behind them if it is further (and nothing is open).
    pub(crate) fn take(&mut self) -> v1::Events {
        if self.has_progress() {
            self.told = self.moved;
            self.push(v1::event::Kind::Progress(v1::Progress { lsn: self.moved.0 }), 0);
        }
        self.bytes = 0;
        v1::Events { events: std::mem::take(&mut self.events) }
    }

    /// A keepalive: the server has sent everything up to `wal_end`.
    pub(crate) fn keepalive(&mut self, wal_end: Lsn) {
        if self.open == Open::None {
            self.moved = self.moved.max(wal_end);
            self.read = self.read.max(wal_end);
        }
    }

    /// A batch was taken in: what was read may be confirmed once it is durable.
    pub(crate) fn batch_read(&self) {
        self.confirmer.read(self.read);
    }

    /// The stream's next message.
    pub(crate) fn message(&mut self, message: &Message<'_>) -> Result<(), AgentError> {
        match message {
            Message::Insert(m) => self.insert(m.relation, m.new),
            Message::Update(m) => {
                self.reshape(m.relation, shape::Change::Written, m.new)?;
                self.ship(m.relation, true, |p, into| p.update(m.old, m.new, into))
            }
            Message::Delete(m) => {
                self.reshape(m.relation, shape::Change::Gone, m.old.tuple())?;
                self.ship(m.relation, true, |p, into| p.delete(m.old, into))
            }
            Message::Truncate(m) => m.relations().try_for_each(|id| {
                self.ship(id, false, |p, into| {
                    p.truncate(into);
                    Ok(())
                })
            }),
            Message::Begin(m) => {
                self.begin(Lsn(m.final_lsn.0), if Lsn(m.final_lsn.0) < self.have { Open::Skipped } else { Open::Plain })
            }
            Message::Commit(m) => self.commit(Lsn(m.end_lsn.0), m.timestamp.0),
            Message::BeginPrepare(m) => {
                let (begin, end) = (Lsn(m.prepare_lsn.0), Lsn(m.end_lsn.0));
                self.begin(begin, if begin >= self.low && end <= self.sent { Open::Skipped } else { Open::Branch })
            }
            Message::Prepare(m) => self.prepare(m),
            Message::CommitPrepared(m) => self.commit_prepared(m),
            Message::RollbackPrepared(m) => self.rollback_prepared(m),
            Message::Relation(m) => {
                let unfit = self.directory.describe(m, self.at);
                self.altered(unfit);
                Ok(())
            }
            Message::Origin(_) | Message::Type(_) | Message::Message(_) => Ok(()),
            Message::StreamStart(_)
            | Message::StreamStop
            | Message::StreamCommit(_)
            | Message::StreamAbort(_)
            | Message::StreamPrepare(_) => Err(AgentError::OutOfOrder("a streamed block, which was not asked for")),
        }
    }

    fn begin(&mut self, at: Lsn, open: Open) -> Result<(), AgentError> {
        if self.open != Open::None {
            return Err(AgentError::OutOfOrder("a transaction begins within another"));
        }
        (self.open, self.at) = (open, at);
        Ok(())
    }

    /// Forgets the open transaction.
    fn close(&mut self) {
        self.open = Open::None;
        self.has_changes = false;
        self.has_pieces = false;
        self.participants.clear();
        self.shape.clear();
        self.piece.clear();
    }

    fn push(&mut self, kind: v1::event::Kind, bytes: usize) {
        self.bytes += bytes + EVENT_BYTES;
        self.events.push(v1::Event { kind: Some(kind) });
    }

    fn flush_piece(&mut self) {
        if !self.piece.is_empty() {
            let changes = self.piece.split().freeze();
            let bytes = changes.len();
            self.has_pieces = true;
            self.push(v1::event::Kind::Piece(v1::Piece { changes }), bytes);
        }
    }

    /// An end of a transaction, or a decision, leaves.
    fn end(&mut self, end: Lsn, kind: v1::event::Kind) {
        self.push(kind, 0);
        self.sent = self.sent.max(end);
        self.told = self.told.max(end);
        self.moved = self.moved.max(end);
    }

    fn commit(&mut self, end: Lsn, commit_time: i64) -> Result<(), AgentError> {
        match self.open {
            Open::Skipped => {}
            Open::Plain if self.has_changes || !self.participants.is_empty() || !self.shape.is_empty() => {
                self.flush_piece();
                let (participants, shape) = (std::mem::take(&mut self.participants), std::mem::take(&mut self.shape));
                let commit = v1::Commit { end_lsn: end.0, commit_time, participants, shape };
                self.end(end, v1::event::Kind::Commit(commit));
            }
            Open::Plain => self.moved = self.moved.max(end),
            Open::None | Open::Branch => return Err(AgentError::OutOfOrder("a commit without its begin")),
        }
        self.read = self.read.max(end);
        self.close();
        Ok(())
    }

    fn prepare(&mut self, m: &pgoutput::Prepare<'_>) -> Result<(), AgentError> {
        let (begin, end) = (Lsn(m.prepare_lsn.0), Lsn(m.end_lsn.0));
        self.confirmer.prepared(m.gid, begin);
        match self.open {
            Open::Skipped => {}
            Open::Branch => {
                if !self.participants.is_empty() {
                    return Err(AgentError::OutOfOrder("a list of participants in a prepared transaction"));
                }
                self.flush_piece();
                if end <= self.have {
                    self.again.insert(m.gid.to_owned());
                }
                let shape = std::mem::take(&mut self.shape);
                let prepare = v1::Prepare { end_lsn: end.0, begin_lsn: begin.0, gid: m.gid.to_owned(), shape };
                self.end(end, v1::event::Kind::Prepare(prepare));
            }
            Open::None | Open::Plain => return Err(AgentError::OutOfOrder("a PREPARE without its begin")),
        }
        self.read = self.read.max(end);
        self.close();
        Ok(())
    }

    fn commit_prepared(&mut self, m: &pgoutput::CommitPrepared<'_>) -> Result<(), AgentError> {
        let end = Lsn(m.end_lsn.0);
        self.confirmer.committed(m.gid, end);
        if self.decision(m.gid, end)? {
            let (commit_time, gid) = (m.timestamp.0, m.gid.to_owned());
            self.end(end, v1::event::Kind::CommitPrepared(v1::CommitPrepared { end_lsn: end.0, commit_time, gid }));
        }
        Ok(())
    }

    fn rollback_prepared(&mut self, m: &pgoutput::RollbackPrepared<'_>) -> Result<(), AgentError> {
        let end = Lsn(m.rollback_end_lsn.0);
        self.confirmer.rolled_back(m.gid, end);
        if self.decision(m.gid, end)? {
            let gid = m.gid.to_owned();
            self.end(end, v1::event::Kind::RollbackPrepared(v1::RollbackPrepared { end_lsn: end.0, gid }));
        }
        Ok(())
    }

    /// Whether a decision is sent.
    fn decision(&mut self, gid: &str, end: Lsn) -> Result<bool, AgentError> {
        if self.open != Open::None {
            return Err(AgentError::OutOfOrder("a decision within a transaction"));
        }
        self.read = self.read.max(end);
        let again = self.again.remove(gid);
        Ok(end > self.have || again)
    }

    fn insert(&mut self, relation: u32, new: Tuple<'_>) -> Result<(), AgentError> {
        if let Some(Relation { role: Role::Participants { group, gid }, .. }) = self.directory.get(relation) {
            if self.open != Open::Skipped {
                self.participants.push(participant(new, *group, *gid)?);
            }
            return Ok(());
        }
        self.reshape(relation, shape::Change::Written, new)?;
        self.ship(relation, false, |p, into| p.insert(new, into))
    }

    /// Takes a row of Citus's metadata. A table of a shard that comes to this node is awake before any transaction can
    /// write to it there: that needs the metadata's commit, which is behind this row. If the metadata is rolled back, the
    /// table stays awake, and the aggregator drops what is shipped of it.
    fn reshape(&mut self, relation: u32, change: shape::Change, row: Tuple<'_>) -> Result<(), AgentError> {
        let Some(Relation { role: Role::Shape(catalog), .. }) = self.directory.get(relation) else { return Ok(()) };
        let Some(row) = catalog.read(change, row)? else { return Ok(()) };
        if let Some(v1::shape_row::Kind::Placement(placed)) = &row.kind
            && placed.node == self.node.0
        {
            self.directory.wake(placed.shard);
        }
        if self.open != Open::Skipped {
            self.shape.push(row);
        }
        Ok(())
    }

    /// Writes a change of a wanted table; `of_old`: of a row that was there. While a move fills a table, it has no key yet.
    fn ship(
        &mut self,
        relation: u32,
        of_old: bool,
        write: impl Fn(&Projector, &mut BytesMut) -> Result<(), RowError>,
    ) -> Result<(), AgentError> {
        match self.open {
            Open::Skipped => return Ok(()),
            Open::None => return Err(AgentError::OutOfOrder("a change outside of a transaction")),
            Open::Plain | Open::Branch => {}
        }
        let Some(relation) = self.directory.get(relation) else {
            return Err(AgentError::OutOfOrder("a change of an unknown table"));
        };
        let Role::Shipped(projectors) = &relation.role else { return Ok(()) };
        if self.piece.capacity() - self.piece.len() < 4 << 10 {
            self.piece.reserve(PIECE_BYTES);
        }
        let mut unfit = Vec::new();
        for projector in projectors.iter().filter(|p| !p.is_dormant()) {
            if of_old && projector.is_blind() {
                if projector.is_read(self.at) {
                    continue;
                }
                let reason = format!("REPLICA IDENTITY of {} no longer tells its rows apart", relation.name);
                unfit.push(Unfit::new(projector.table(), reason));
                continue;
            }
            match write(projector, &mut self.piece) {
                Ok(()) => self.has_changes = true,
                Err(RowError::TextValue(column)) => {
                    let table = projector.table();
                    let column = self.directory.column_name(table, column);
                    let reason = format!("column {column} of {} has a type without a binary form", relation.name);
                    unfit.push(Unfit::new(table, reason));
                }
                Err(RowError::ShortTuple) => {
                    return Err(AgentError::OutOfOrder("a row has fewer columns than its table"));
                }
            }
        }
        if self.piece.len() >= PIECE_BYTES {
            self.flush_piece();
        }
        self.altered(unfit);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
