//! One cut: from the nodes' transactions to what each stream table is told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use state::{Batch, Durability, StateError};
use types::{Change, Cut, Seq, SourceId, StreamId, TableId};

use crate::backlog;
use crate::definition::{CutOutput, CutStats, StreamOutput, Transaction};
use crate::engine::{Engine, SPARE, WANTED};
use crate::error::{Failure, IvmError};
use crate::meta::{self, SourceCondition, StoredSource, StreamCondition};
use crate::operators::Cx;
use crate::outbox;
use crate::resolve::SourceDelta;
use crate::rows::{self, RowCache};
use crate::streams::Stream;
use crate::touched::{Broken, TouchError, Touched};

/// With fewer bytes of writes a cut is not worth a thread of its own, unless one is there.
pub(crate) const BEHIND_FROM: usize = 256 << 10;
/// With more bytes those of two cuts are too much memory.
const BEHIND_UP_TO: usize = 64 << 20;

/// The writes of a cut.
#[derive(Debug)]
#[must_use = "the cut is durable when these are"]
pub struct Unwritten(Batch);

/// What a cut's transactions say.
#[derive(Debug, Default)]
struct Collected {
    touched: Vec<(SourceId, Touched)>,
    broken: BTreeMap<SourceId, String>,
    changes: u64,
}

/// Where the changes of a physical table go.
#[derive(Debug, Clone, Copy)]
enum Route {
    /// Into this place of [`Collected::touched`].
    Touched(usize),
    Backlog(SourceId),
    /// Nobody wants them.
    Nowhere,
}

impl Engine {
    /// Applies the next cut. What it gives is durable.
    ///
    /// # Errors
    /// Nothing was written then. Of a transient one ([`IvmError::is_transient`]) the same cut can be applied again.
    pub fn apply(&mut self, cut: Cut, transactions: &[Transaction]) -> Result<CutOutput, IvmError> {
        let prepared = self.prepare(&cut, transactions).and_then(|prepared| self.put(prepared));
        self.settled(cut, prepared)
    }

    /// The same, but of a cut that is worth it the writes are given back, for [`Engine::write_behind`]: it is durable with
    /// them, and before anything else is asked of the engine they are to be handed over. One that stops a stream table is never
    /// given back.
    ///
    /// # Errors
    /// As [`Engine::apply`].
    pub fn apply_ahead(
        &mut self,
        cut: Cut,
        transactions: &[Transaction],
    ) -> Result<(CutOutput, Option<Unwritten>), IvmError> {
        let mut unwritten = None;
        let prepared = self.prepare(&cut, transactions).and_then(|mut prepared| {
            let bytes = prepared.batch.size();
            let worth_it = bytes <= BEHIND_UP_TO && (bytes >= self.behind_from || self.store.is_behind());
            if worth_it && prepared.failed.is_empty() && prepared.broken.is_empty() {
                unwritten = Some(Unwritten(std::mem::take(&mut prepared.batch)));
                return Ok(prepared);
            }
            self.put(prepared)
        });
        Ok((self.settled(cut, prepared)?, unwritten))
    }

    /// Writes what [`Engine::apply_ahead`] gave back, on another thread, after what was given to it before. `then` is called
    /// there when it is durable, or when it is not and the engine can only be opened anew; it must not wait for the engine. The
    /// engine can be used meanwhile, and waits where it needs what is being written.
    ///
    /// # Errors
    /// Those of what was written before it.
    pub fn write_behind(
        &self,
        unwritten: Unwritten,
        then: impl FnOnce(Result<(), &StateError>) + Send + 'static,
    ) -> Result<(), IvmError> {
        Ok(self.store.write_behind(unwritten.0, then)?)
    }

    /// Until everything is durable.
    ///
    /// # Errors
    /// The store's.
    pub fn settle(&self) -> Result<(), IvmError> {
        Ok(self.store.settle()?)
    }

    fn put(&self, mut prepared: Prepared) -> Result<Prepared, IvmError> {
        self.write(&mut prepared.batch, Durability::Synced)?;
        Ok(prepared)
    }

    fn settled(&mut self, cut: Cut, prepared: Result<Prepared, IvmError>) -> Result<CutOutput, IvmError> {
        match prepared {
            Ok(prepared) => self.commit(cut, prepared),
            Err(error) => {
                self.forget_memory();
                Err(error)
            }
        }
    }

    /// Everything up to the write.
    fn prepare(&mut self, cut: &Cut, transactions: &[Transaction]) -> Result<Prepared, IvmError> {
        if cut.seq.0 != self.frontier.seq.0 + 1 || !self.frontier.positions.within(&cut.positions) {
            return Err(IvmError::OutOfOrder { found: cut.seq, last: self.frontier.seq });
        }
        let mut batch = Batch::new();
        let collected = self.collect(cut, transactions, &mut batch)?;
        let mut stats = CutStats { changes: collected.changes, ..CutStats::default() };
        let mut broken = collected.broken;
        let mut deltas = BTreeMap::new();
        let mut writes = std::mem::take(&mut self.spare);
        if writes.capacity() == 0 {
            writes = self.store.spare();
        }
        for (source, touched) in collected.touched {
            if touched.is_empty() || broken.contains_key(&source) {
                continue;
            }
            let kept = self.sources.get(source)?;
            writes.clear();
            match kept.resolve(touched, &self.store, Some(self.rows.entry(source).or_default()), &mut writes) {
                Ok(delta) => {
                    stats.rows += delta.len() as u64;
                    for arrangement in self.arrangements.values().filter(|a| a.def.source == source && a.def.complete) {
                        arrangement.follow(&delta, &mut writes)?;
                    }
                    batch.append(&mut writes);
                    deltas.insert(source, delta);
                }
                Err(TouchError::Engine(error)) => return Err(error),
                Err(TouchError::Broken(Broken(reason))) => {
                    broken.insert(source, reason);
                }
            }
        }
        let mut prepared = Prepared { batch, deltas, ..Prepared::default() };
        self.put_broken(broken, &mut prepared)?;
        self.step(cut.seq, &mut prepared)?;
        for (stream, reason) in &prepared.failed {
            self.put_stopped(*stream, StreamCondition::Failed(reason.clone()), &mut prepared.batch)?;
        }
        if let Some(upto) = self.published {
            outbox::prune(&mut prepared.batch, upto);
        }
        outbox::put(&mut prepared.batch, cut, &prepared.streams)?;
        meta::put_frontier(&mut prepared.batch, cut)?;
        stats.outputs = prepared.streams.iter().map(|s| s.changes.len() as u64).sum();
        stats.writes = prepared.batch.len() as u64;
        stats.bytes = prepared.batch.size() as u64;
        prepared.stats = stats;
        Ok(prepared)
    }

    /// Sorts the changes by source and key. Those of sources whose first read is under way are put aside.
    fn collect(&self, cut: &Cut, transactions: &[Transaction], batch: &mut Batch) -> Result<Collected, IvmError> {
        let mut out = Collected::default();
        let mut routes: BTreeMap<TableId, Route> = BTreeMap::new();
        let mut aside: BTreeMap<SourceId, BytesMut> = BTreeMap::new();
        let mut aside_count = 0;
        for transaction in transactions {
            for piece in &transaction.pieces {
                self.collect_piece(piece, &mut out, &mut routes, &mut aside)?;
                while let Some((source, changes)) = aside.pop_first() {
                    backlog::put(batch, source, cut.seq, aside_count, transaction, &changes);
                    aside_count += 1;
                }
            }
        }
        Ok(out)
    }

    fn collect_piece(
        &self,
        piece: &Bytes,
        out: &mut Collected,
        routes: &mut BTreeMap<TableId, Route>,
        aside: &mut BTreeMap<SourceId, BytesMut>,
    ) -> Result<(), IvmError> {
        let mut rest = piece.clone();
        let mut last: Option<(TableId, Route)> = None;
        while let Some(change) = Change::decode(&mut rest).map_err(|e| IvmError::Changes(e.to_string()))? {
            let route = match last {
                Some((table, route)) if table == change.table => route,
                _ => *routes.entry(change.table).or_insert_with(|| self.route(change.table, out)),
            };
            last = Some((change.table, route));
            match route {
                Route::Nowhere => continue,
                Route::Backlog(source) => change.encode(aside.entry(source).or_default()),
                Route::Touched(place) => {
                    let Some((source, touched)) = out.touched.get_mut(place) else { continue };
                    match self.sources.get(*source)?.touch(touched, change.table, change.op, &self.store) {
                        Ok(()) => {}
                        Err(TouchError::Engine(error)) => return Err(error),
                        Err(TouchError::Broken(Broken(reason))) => {
                            out.broken.entry(*source).or_insert(reason);
                        }
                    }
                }
            }
            out.changes += 1;
        }
        Ok(())
    }

    fn route(&self, table: TableId, out: &mut Collected) -> Route {
        let Some(source) = self.sources.by_table.get(&table) else { return Route::Nowhere };
        match self.conditions.get(source) {
            Some(SourceCondition::Ready) => {}
            Some(SourceCondition::Loading) => return Route::Backlog(*source),
            _ => return Route::Nowhere,
        }
        let place = out.touched.iter().position(|(s, _)| s == source).unwrap_or_else(|| {
            out.touched.push((*source, Touched::default()));
            out.touched.len() - 1
        });
        Route::Touched(place)
    }

    /// Sources whose rows are not exact any more stop everything that reads them.
    fn put_broken(&self, broken: BTreeMap<SourceId, String>, prepared: &mut Prepared) -> Result<(), IvmError> {
        for (source, reason) in broken {
            let kept = self.sources.get(source)?;
            let condition = SourceCondition::Broken(reason.clone());
            let stored = StoredSource { def: kept.def.clone(), condition, native: kept.native() };
            meta::put_source(&mut prepared.batch, &stored)?;
            for stream in self.streams_over(source) {
                if prepared.failed.iter().all(|(s, _)| *s != stream) {
                    prepared.failed.push((stream, reason.clone()));
                }
            }
            prepared.broken.push((source, reason));
        }
        Ok(())
    }

    /// Takes the sources' deltas through the stream tables that read them.
    fn step(&mut self, seq: Seq, prepared: &mut Prepared) -> Result<(), IvmError> {
        let evaluator = self.evaluator.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut writes = Batch::new();
        for (id, stream) in &mut self.streams {
            let touched = stream.stored.def.sources.iter().any(|s| prepared.deltas.contains_key(s));
            if !touched || !stream.is_active() || prepared.failed.iter().any(|(s, _)| s == id) {
                continue;
            }
            writes.clear();
            let started = Instant::now();
            let mut cx = Cx {
                store: &self.store,
                kept: &self.store,
                stop: &WANTED,
                batch: &mut writes,
                sources: &self.sources,
                arrangements: &self.arrangements,
                deltas: &prepared.deltas,
                commons: Vec::new(),
                below: Duration::ZERO,
                rows: &mut self.rows,
                evaluator: evaluator.as_mut(),
                limits: self.limits,
                seq,
            };
            let stepped = Failure::contained(|| step_stream(stream, &mut cx));
            prepared.took.push((*id, started.elapsed()));
            match stepped {
                Ok((changes, grown)) => {
                    if grown != 0 {
                        let rows = stream.rows.saturating_add_signed(grown);
                        meta::put_rows(&mut writes, *id, rows);
                        prepared.rows.push((*id, rows));
                    }
                    prepared.batch.append(&mut writes);
                    if !changes.is_empty() {
                        prepared.streams.push(StreamOutput { stream: *id, changes });
                    }
                }
                Err(Failure::Stream(reason)) => prepared.failed.push((*id, reason)),
                Err(Failure::Engine(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Everything after the write, or beside it.
    fn commit(&mut self, cut: Cut, prepared: Prepared) -> Result<CutOutput, IvmError> {
        if (1..=SPARE).contains(&prepared.batch.capacity()) {
            self.spare = prepared.batch;
        }
        for (source, delta) in &prepared.deltas {
            for noted in self.noted.values_mut() {
                noted.take(*source, delta);
            }
            let cache = self.rows.entry(*source).or_default();
            remember(cache, delta);
        }
        rows::trim_all(self.rows.values_mut(), self.limits.rows);
        for (stream, rows) in prepared.rows {
            if let Some(stream) = self.streams.get_mut(&stream) {
                stream.rows = rows;
            }
        }
        for (source, reason) in &prepared.broken {
            self.conditions.insert(*source, SourceCondition::Broken(reason.clone()));
        }
        self.published = None;
        let seq = cut.seq;
        self.frontier = cut;
        for (stream, reason) in &prepared.failed {
            self.stopped(*stream, StreamCondition::Failed(reason.clone()))?;
        }
        Ok(CutOutput {
            seq,
            streams: prepared.streams,
            sources: prepared.deltas.into_keys().collect(),
            failed: prepared.failed,
            broken: prepared.broken,
            took: prepared.took,
            stats: prepared.stats,
        })
    }
}

/// A cut that only has to be written.
#[derive(Debug, Default)]
struct Prepared {
    batch: Batch,
    deltas: BTreeMap<SourceId, SourceDelta>,
    streams: Vec<StreamOutput>,
    failed: Vec<(StreamId, String)>,
    broken: Vec<(SourceId, String)>,
    rows: Vec<(StreamId, u64)>,
    took: Vec<(StreamId, Duration)>,
    stats: CutStats,
}

fn step_stream(stream: &mut Stream, cx: &mut Cx<'_>) -> Result<(Vec<types::TableChange>, i64), Failure> {
    let Some(tree) = &mut stream.tree else { return Ok((Vec::new(), 0)) };
    let rows = tree.rows.step(cx)?;
    tree.output.step(cx, &rows)
}

/// Rows in memory as of the cut that was written.
fn remember(cache: &mut RowCache, delta: &SourceDelta) {
    let SourceDelta::Keyed(keys, changes) = delta else { return };
    for change in changes {
        if change.crowded {
            // Only the store knows them all.
            cache.forget(keys.key(change.key));
            continue;
        }
        let held = change.new.as_ref().map(|row| (change.table, &row.as_bytes()[..]));
        cache.follow(keys.key(change.key), held, change.old.is_none(), change.place);
    }
}
