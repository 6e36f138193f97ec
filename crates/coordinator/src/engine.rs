//! The engine's thread: cuts become durable here, one after the other.
//!
//! ```text
//!   sequencer ──Apply──▶ ┌────────┐ ──Publication──▶ publisher (bounded: a slow target is felt here, and before)
//!   requests  ──Call───▶ │ engine │ ──Applied──────▶ sequencer (slots)
//!                        └────────┘
//! ```
//!
//! One command at a time, so a request that runs here (a source's rows to load, a stream table to compute) sees the
//! state of one cut, which is durable. `apply` is one synced write; whatever happens before it is as if the cut had never been
//! made, whatever happens after it is made up for from the outbox by the next start. A large cut is written on a thread of its
//! own while the next is computed: nobody hears of the next before it is written, too, and that is behind this one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ivm::{Engine, StreamOutput};
use tokio::sync::{mpsc, oneshot};
use types::{Consistency, Cut, Lsn, NodeId, Positions, Seq, SourceId, StreamId, TableChange, TableId};

use crate::copies::Copies;
use crate::failing::Failing;
use crate::mend::Reread;
use crate::pressure::labels;
use crate::queue::Taken;
use crate::reconcile::too_different;
use crate::tables::Tables;

/// Operators and expressions may be nested deeply. Only what is used takes memory.
const STACK: usize = 16 << 20;

/// A cut to be applied.
#[derive(Debug)]
pub(crate) struct CutWork {
    pub(crate) positions: Positions,
    pub(crate) transactions: Vec<(NodeId, Taken)>,
    /// How far each slot may be confirmed once this is durable.
    pub(crate) confirm: BTreeMap<NodeId, Lsn>,
    /// Sources whose rows no longer come, and why: what reads them stops before this cut.
    pub(crate) broken: Vec<(SourceId, String)>,
    /// Tables that were read again: the cut begins with the difference.
    pub(crate) replace: Vec<Reread>,
    /// Tables' places changed: they are written down before the cut.
    pub(crate) save_tables: bool,
}

/// What became of a cut: of most all at once, of a large one first that it is computed, then that it is durable.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The next can come.
    pub(crate) computed: bool,
    /// It is durable, and how far each slot may be confirmed.
    pub(crate) confirm: Option<BTreeMap<NodeId, Lsn>>,
}

/// A durable cut on its way to the target.
#[derive(Debug, Default)]
pub(crate) struct Publication {
    pub(crate) cut: Cut,
    pub(crate) streams: Vec<StreamOutput>,
    /// Stream tables that stopped at the cut before this one.
    pub(crate) failed: Vec<(StreamId, String)>,
    /// A stream table that appears (or is replaced) with this cut.
    pub(crate) publish: Option<StreamId>,
    /// Commit times of the cut's transactions, µs since 2000, the nodes' clocks.
    pub(crate) commit_times: Vec<i64>,
    /// How long the engine took for each stream table.
    pub(crate) took: Vec<(StreamId, Duration)>,
    /// Told when it is visible.
    pub(crate) visible: Option<oneshot::Sender<()>>,
}

type Call = Box<dyn FnOnce(&mut EngineRoom) + Send>;

enum Command {
    Apply(CutWork),
    Call(Call),
    /// A cut that was written behind could not be.
    Unwritten,
    Stop,
}

/// The engine's thread is gone; its reason is in the log.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the engine has stopped; see the log")]
pub(crate) struct EngineGone;

/// How others reach the engine's thread.
#[derive(Clone)]
pub(crate) struct EngineHandle(mpsc::Sender<Command>);

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EngineHandle")
    }
}

impl EngineHandle {
    /// Hands a cut over; false when the engine is gone.
    pub(crate) async fn apply(&self, work: CutWork) -> bool {
        self.0.send(Command::Apply(work)).await.is_ok()
    }

    /// Ends the thread after what it was given before; publications end with it. Others may still hold handles: the
    /// publisher itself does.
    pub(crate) async fn stop(&self) {
        let _gone_already = self.0.send(Command::Stop).await;
    }

    /// Runs `f` between two cuts and gives back what it gives.
    ///
    /// # Errors
    /// [`EngineGone`].
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut EngineRoom) -> T + Send + 'static,
    ) -> Result<T, EngineGone> {
        let (answer, wait) = oneshot::channel();
        let call: Call = Box::new(move |room| {
            let _nobody_waits_any_more = answer.send(f(room));
        });
        self.0.send(Command::Call(call)).await.map_err(|_| EngineGone)?;
        wait.await.map_err(|_| EngineGone)
    }
}

/// What a room shares with others, and its limit.
pub(crate) struct RoomParts {
    pub(crate) tables: Arc<Tables>,
    pub(crate) failing: Arc<Failing>,
    pub(crate) copies: Arc<Copies>,
    pub(crate) difference_bytes: usize,
}

/// What a call works with.
pub(crate) struct EngineRoom {
    pub(crate) engine: Engine,
    consistency: Consistency,
    pub(crate) tables: Arc<Tables>,
    pub(crate) failing: Arc<Failing>,
    pub(crate) copies: Arc<Copies>,
    /// A larger difference between what is kept and what was read again is not put into a cut.
    pub(crate) difference_bytes: usize,
    publications: mpsc::Sender<Publication>,
    applied: mpsc::UnboundedSender<Applied>,
    /// To be told of a failure: weak, so that the inbox closes when nobody else has it.
    commands: mpsc::WeakSender<Command>,
}

impl EngineRoom {
    /// Writes down which tables are read.
    pub(crate) fn save_tables(&mut self) -> Result<(), ivm::IvmError> {
        let notes = serde_json::to_vec(&self.tables.notes()).map_err(|e| ivm::IvmError::Note(e.to_string()))?;
        self.engine.put_note("tables", &notes)
    }

    /// Writes down which stream tables are tried again.
    pub(crate) fn save_failing(&mut self) -> Result<(), ivm::IvmError> {
        let note = self.failing.note().map_err(|e| ivm::IvmError::Note(e.to_string()))?;
        self.engine.put_note("failing", &note)
    }

    /// Takes in what a cut did: who could not follow it, and who may be able to now.
    fn note_failing(&mut self, output: &ivm::CutOutput) -> Result<(), ivm::IvmError> {
        self.failing.touched(&output.sources);
        let broken = |source| output.broken.iter().any(|(s, _)| *s == source);
        let mut any = false;
        for (stream, _) in &output.failed {
            let sources = self.engine.defined_over(*stream);
            if sources.iter().any(|s| broken(*s)) {
                // No change of that source will be followed: read anew, it can be computed again.
                self.tables.stopped(*stream);
            } else {
                self.failing.stopped(*stream, sources);
                any = true;
            }
        }
        let broken: Vec<SourceId> = output.broken.iter().map(|(source, _)| *source).collect();
        self.note_broken(&broken)?;
        if any { self.save_failing() } else { Ok(()) }
    }

    /// The engine follows these no further: nobody new may read them. A process that ends before that is written finds it in
    /// the engine ([`ivm::Engine::broken_sources`]).
    fn note_broken(&mut self, sources: &[SourceId]) -> Result<(), ivm::IvmError> {
        if sources.is_empty() {
            return Ok(());
        }
        sources.iter().for_each(|id| self.tables.set_broken(*id));
        // Those that stopped before, for a row of it: no change of the source will come any more.
        self.failing.touched(sources);
        self.save_tables()
    }

    /// A cut at the present positions that makes a computed stream table appear, with what was done to its content since
    /// it was handed over.
    pub(crate) fn publish(
        &mut self,
        stream: StreamId,
        changes: Vec<TableChange>,
        visible: oneshot::Sender<()>,
    ) -> Result<Cut, ivm::IvmError> {
        let at = self.engine.frontier();
        let cut = Cut { seq: Seq(at.seq.0 + 1), positions: at.positions.clone() };
        let mut output = self.engine.apply(cut.clone(), &[])?;
        self.note_failing(&output)?;
        // Not in the outbox: should this process end before the target has it, it is computed again.
        output.streams.push(StreamOutput { stream, changes });
        let publication = Publication {
            cut: cut.clone(),
            streams: output.streams,
            failed: output.failed,
            publish: Some(stream),
            took: output.took,
            visible: Some(visible),
            ..Publication::default()
        };
        let _stopping = self.publications.blocking_send(publication);
        Ok(cut)
    }

    /// Hands a durable cut on; false when nobody listens any more.
    pub(crate) fn publish_cut(&self, publication: Publication) -> bool {
        for (stream, reason) in &publication.failed {
            tracing::error!(%stream, reason, "stream table stopped at its last exact cut");
        }
        self.publications.blocking_send(publication).is_ok()
    }

    /// Has a cut written that is computed, and handed on when it is durable; false when nobody listens any more. Ended before
    /// that, the cut was never made; ended before it is handed on, it is made up for from the outbox.
    fn write_behind(
        &self,
        unwritten: ivm::Unwritten,
        started: Instant,
        confirm: BTreeMap<NodeId, Lsn>,
        publication: Publication,
    ) -> Result<bool, ivm::IvmError> {
        let (applied, publications) = (self.applied.clone(), self.publications.clone());
        let (consistency, mut alarm) = (self.consistency, Alarm(Some(self.commands.clone())));
        self.engine.write_behind(unwritten, move |written| {
            if written.is_ok() {
                fail::fail_point!("engine-after-write-behind");
                note_durable(consistency, &publication.cut, started);
                let _stopping = applied.send(Applied { computed: false, confirm: Some(confirm) });
                let _stopping = publications.blocking_send(publication);
                alarm.disarm();
            }
        })?;
        Ok(self.applied.send(Applied { computed: true, confirm: None }).is_ok())
    }

    /// These sources are followed no further: what reads them stops at the present cut, and is tried again ([`crate::watch`]).
    pub(crate) fn give_up(
        &mut self,
        sources: Vec<(SourceId, String)>,
    ) -> Result<Vec<(StreamId, String)>, ivm::IvmError> {
        let mut failed = Vec::new();
        if sources.is_empty() {
            return Ok(failed);
        }
        // Written first: a process that ends between the two finds it here at the next start, and its readers are stopped then.
        sources.iter().for_each(|(id, _)| self.tables.set_broken(*id));
        self.save_tables()?;
        fail::fail_point!("engine-gives-up");
        for (id, reason) in sources {
            let Some(source) = self.tables.source(id) else { continue };
            for stream in self.engine.give_up_source(id, &reason)? {
                self.tables.stopped(stream);
                failed.push((stream, format!("{}: {reason}", source.name)));
            }
            // Those that stopped before, for a row of it: no change of the source will come any more.
            self.failing.touched(&[id]);
        }
        Ok(failed)
    }

    /// Applies a cut.
    pub(crate) fn apply_cut(
        &mut self,
        cut: &Cut,
        transactions: &[ivm::Transaction],
    ) -> Result<ivm::CutOutput, ivm::IvmError> {
        let output = self.persist(cut, |engine| engine.apply(cut.clone(), transactions))?;
        fail::fail_point!("engine-after-apply");
        self.note_failing(&output)?;
        Ok(output)
    }

    /// Tries again what passes by itself.
    fn persist<T>(
        &mut self,
        cut: &Cut,
        mut apply: impl FnMut(&mut Engine) -> Result<T, ivm::IvmError>,
    ) -> Result<T, ivm::IvmError> {
        loop {
            match apply(&mut self.engine) {
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, seq = %cut.seq, "cut not applied; trying again");
                    std::thread::sleep(Duration::from_millis(500));
                }
                done => return done,
            }
        }
    }

    /// Makes room for tables that were read again; gives what their source lacks or has too much, unless that is too large.
    /// What it takes is taken off the `room` that there is in the cut, in bytes.
    fn replace(&mut self, reread: &Reread, room: &mut usize) -> Result<Option<ivm::Difference>, ivm::IvmError> {
        let Reread { mended, shadow } = reread;
        let fresh = mended.read.iter().filter(|t| !self.engine.has_table(mended.source, t.id));
        let fresh: Vec<_> = fresh.map(|t| (t.id, t.node)).collect();
        if let Err(ivm::IvmError::UnknownSource(_)) = self.engine.add_tables(mended.source, &fresh) {
            return Ok(Some(ivm::Difference::default())); // dropped meanwhile
        }
        let known: BTreeSet<TableId> = self.engine.tables_of(mended.source)?.into_iter().collect();
        let again = mended.read.iter().map(|t| (t.id, t.id)).collect();
        let scope = ivm::Scope { going: mended.going.intersection(&known).copied().collect(), again };
        let difference = self.engine.difference(mended.source, *shadow, &scope, *room)?;
        if let Some(difference) = &difference {
            *room -= difference.bytes();
            metrics::counter!("tributary_rows_differing_total").increment(difference.changes);
            tracing::info!(source = %mended.source, changes = difference.changes, "what was read again differs by");
        }
        Ok(difference)
    }

    /// The cut with what was read again is durable. Until this is written, too, a new process reads it again.
    fn replaced(&mut self, all: &[Reread]) -> Result<(), ivm::IvmError> {
        for Reread { mended, shadow } in all {
            match self.engine.remove_tables(mended.source, &mended.going) {
                Ok(()) | Err(ivm::IvmError::UnknownSource(_)) => {}
                Err(error) => return Err(error),
            }
            self.engine.drop_source(*shadow)?;
            self.tables.settled(mended.source);
        }
        if all.is_empty() { Ok(()) } else { self.save_tables() }
    }

    /// False when nobody listens any more.
    fn apply(&mut self, work: CutWork) -> Result<bool, ivm::IvmError> {
        let started = Instant::now();
        if work.save_tables {
            self.save_tables()?;
        }
        let mut broken = work.broken;
        let mut transactions = Vec::with_capacity(work.transactions.len());
        let mut room = self.difference_bytes;
        for reread in &work.replace {
            let Some(ivm::Difference { pieces, .. }) = self.replace(reread, &mut room)? else {
                let source = self.tables.source(reread.mended.source);
                broken.extend(source.map(|s| (s.id, too_different(&s))));
                continue;
            };
            // What was read is of a moment behind the last cut; the engine asks for no more of the position.
            transactions.push(ivm::Transaction { node: NodeId(0), end: Lsn::MAX, pieces });
        }
        let mut failed = self.give_up(broken)?;
        let cut = Cut { seq: Seq(self.engine.frontier().seq.0 + 1), positions: work.positions };
        let mut commit_times = Vec::with_capacity(work.transactions.len());
        for (node, taken) in work.transactions {
            commit_times.push(taken.commit_time);
            transactions.push(ivm::Transaction { node, end: taken.end, pieces: taken.pieces });
        }
        fail::fail_point!("engine-before-apply");
        let (output, unwritten) = if work.replace.is_empty() && failed.is_empty() {
            self.persist(&cut, |engine| engine.apply_ahead(cut.clone(), &transactions))?
        } else {
            (self.persist(&cut, |engine| engine.apply(cut.clone(), &transactions))?, None)
        };
        fail::fail_point!("engine-after-apply");
        self.note_failing(&output)?;
        self.replaced(&work.replace)?;
        metrics::counter!("tributary_transactions_total").increment(commit_times.len() as u64);
        metrics::counter!("tributary_changes_total").increment(output.stats.changes);
        failed.extend(output.failed);
        let (streams, took) = (output.streams, output.took);
        let publication = Publication { cut, streams, failed, commit_times, took, ..Publication::default() };
        if let Some(unwritten) = unwritten {
            return self.write_behind(unwritten, started, work.confirm, publication);
        }
        note_durable(self.consistency, &publication.cut, started);
        let applied = Applied { computed: true, confirm: Some(work.confirm) };
        Ok(self.applied.send(applied).is_ok() && self.publish_cut(publication))
    }
}

/// Has the engine's thread look when a cut is not handed on, so that it ends also when nothing else comes.
struct Alarm(Option<mpsc::WeakSender<Command>>);

impl Alarm {
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(commands) = self.0.take().and_then(|c| c.upgrade()) {
            // With a full inbox the next command finds it.
            let _found_anyway = commands.try_send(Command::Unwritten);
        }
    }
}

fn note_durable(consistency: Consistency, cut: &Cut, started: Instant) {
    metrics::histogram!("tributary_cut_apply_seconds").record(started.elapsed().as_secs_f64());
    metrics::gauge!("tributary_durable_seq", labels(consistency, None)).set(cut.seq.0 as f64);
}

/// Starts the thread. Its end, with what went wrong, comes through the receiver.
pub(crate) fn spawn(
    engine: Engine,
    consistency: Consistency,
    with: RoomParts,
    publications: mpsc::Sender<Publication>,
    applied: mpsc::UnboundedSender<Applied>,
) -> std::io::Result<(EngineHandle, oneshot::Receiver<Result<(), ivm::IvmError>>)> {
    let (commands, mut inbox) = mpsc::channel(16);
    let (ended, end) = oneshot::channel();
    let RoomParts { tables, failing, copies, difference_bytes } = with;
    let mut room = EngineRoom {
        engine,
        consistency,
        tables,
        failing,
        copies,
        difference_bytes,
        publications,
        applied,
        commands: commands.downgrade(),
    };
    std::thread::Builder::new().name("engine".into()).stack_size(STACK).spawn(move || {
        let result = loop {
            match inbox.blocking_recv() {
                Some(Command::Call(call)) => match room.engine.settle() {
                    Ok(()) => call(&mut room),
                    Err(error) => break Err(error),
                },
                Some(Command::Unwritten) => match room.engine.settle() {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
                Some(Command::Apply(work)) => match room.apply(work) {
                    Ok(true) => {}
                    Ok(false) => break Ok(()),
                    Err(error) => break Err(error),
                },
                Some(Command::Stop) | None => break Ok(()),
            }
        };
        // The state is closed and the publisher's inbox with it before anyone hears of the end.
        drop(room);
        let _nobody_asks_any_more = ended.send(result);
    })?;
    Ok((EngineHandle(commands), end))
}
