//! Stream tables in the engine: defined, computed for the first time, started, stopped.
//!
//! ```text
//!   add_stream ─▶ Defined ─ build ─▶ Building ─ activate ─▶ Active ─ pause ─▶ Paused
//!                                                             └─ an expression fails ─▶ Failed
//! ```
//!
//! A state is written for one cut: between `build` and `activate` there must be none. Only active stream tables have
//! states; whoever stops starts again by being dropped, added and built.

use std::collections::BTreeMap;
use std::time::Duration;

use state::{Batch, Durability};
use types::{Row, Seq, SourceId, StreamId};

use crate::arrangement::{Arrangement, ArrangementDef};
use crate::compile::{States, TREE_VERSION, Tree, compile};
use crate::definition::StreamDef;
use crate::engine::{Engine, WANTED};
use crate::error::{Failure, IvmError};
use crate::meta::{self, SourceCondition, StoredSource, StoredStream, StreamCondition};
use crate::operators::Cx;

/// A stream table as the engine knows it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) stored: StoredStream,
    /// Of one that is not paused or failed.
    pub(crate) tree: Option<Tree>,
    pub(crate) rows: u64,
}

impl Stream {
    pub(crate) fn is_active(&self) -> bool {
        self.stored.condition == StreamCondition::Active
    }

    /// Its tree is here or with whoever computes its content.
    pub(crate) fn is_building(&self) -> bool {
        matches!(self.stored.condition, StreamCondition::Defined | StreamCondition::Building)
    }
}

/// Numbers for the states of a tree.
pub(crate) struct Given<'a> {
    /// Those that it had, when it is compiled again.
    again: Option<std::slice::Iter<'a, u32>>,
    pub(crate) next: u32,
    pub(crate) states: Vec<u32>,
    arrangements: &'a BTreeMap<u32, Arrangement>,
    pub(crate) shared: Vec<u32>,
    pub(crate) made: Vec<ArrangementDef>,
}

impl<'a> Given<'a> {
    pub(crate) fn again(states: &'a [u32], arrangements: &'a BTreeMap<u32, Arrangement>) -> Self {
        Self { again: Some(states.iter()), ..Self::new(0, arrangements) }
    }

    fn new(next: u32, arrangements: &'a BTreeMap<u32, Arrangement>) -> Self {
        Self { again: None, next, states: Vec::new(), arrangements, shared: Vec::new(), made: Vec::new() }
    }

    /// Whether the tree asked for just what it had.
    pub(crate) fn is_used_up(&self) -> bool {
        self.again.as_ref().is_none_or(|left| left.len() == 0) && self.made.is_empty()
    }

    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }
}

impl States for Given<'_> {
    fn own(&mut self) -> Result<u32, String> {
        let state = match &mut self.again {
            Some(states) => *states.next().ok_or("it asks for more states than it had")?,
            None => self.fresh(),
        };
        self.states.push(state);
        Ok(state)
    }

    fn shared(&mut self, source: SourceId, columns: &[usize]) -> Result<u32, String> {
        let is_it = |def: &&ArrangementDef| def.source == source && def.columns == columns;
        let known = self.arrangements.values().map(|a| &a.def).chain(&self.made).find(is_it).map(|def| def.state);
        let state = match known {
            Some(state) => state,
            None => {
                let state = self.fresh();
                self.made.push(ArrangementDef { state, source, columns: columns.to_vec(), complete: false });
                state
            }
        };
        if !self.shared.contains(&state) {
            self.shared.push(state);
        }
        Ok(state)
    }
}

impl Engine {
    /// Defines a stream table over sources that are known.
    ///
    /// # Errors
    /// [`IvmError::Refused`] with the reason for a query that cannot be kept.
    pub fn add_stream(&mut self, def: StreamDef) -> Result<(), IvmError> {
        if self.streams.contains_key(&def.id) {
            return Err(IvmError::Exists(format!("stream table {}", def.id)));
        }
        for source in &def.sources {
            self.sources.get(*source)?;
        }
        let mut given = Given::new(self.next_state, &self.arrangements);
        let tree = compile(&def, &self.env, &self.sources, &mut given).map_err(IvmError::Refused)?;
        let Given { next, states, shared, made, .. } = given;
        let condition = StreamCondition::Defined;
        let stored = StoredStream { version: TREE_VERSION, def, condition, states, arrangements: shared };
        let mut batch = Batch::new();
        let mut arrangements = Vec::new();
        for def in made {
            meta::put_arrangement(&mut batch, &def)?;
            arrangements.push(Arrangement::new(def.clone(), self.sources.get(def.source)?, &self.env)?);
        }
        meta::put_stream(&mut batch, &stored)?;
        meta::put_counter(&mut batch, next);
        self.write(&mut batch, Durability::Synced)?;
        self.next_state = next;
        self.arrangements.extend(arrangements.into_iter().map(|a| (a.def.state, a)));
        self.streams.insert(stored.def.id, Stream { stored, tree: Some(tree), rows: 0 });
        self.share_memory();
        Ok(())
    }

    /// Computes a defined stream table's content at the last cut and hands it over in pieces: the answer's columns, behind
    /// them the row's identifier where it has one. Gives the number of rows. [`Self::activate`] must follow
    /// before the next cut.
    ///
    /// # Errors
    /// [`IvmError::Build`] when an expression or the receiver failed; the stream table is then to be dropped.
    pub fn build(
        &mut self,
        stream: StreamId,
        emit: &mut dyn FnMut(Vec<Row>) -> Result<(), String>,
    ) -> Result<u64, IvmError> {
        self.can_be_built(stream)?;
        self.set_condition(stream, StreamCondition::Building)?;
        self.build_arrangements(stream)?;
        let mut batch = Batch::new();
        let rows = self.build_tree(stream, &mut batch, emit).map_err(Failure::into_error)?;
        meta::put_rows(&mut batch, stream, rows);
        self.write(&mut batch, Durability::Buffered)?;
        if let Some(known) = self.streams.get_mut(&stream) {
            known.rows = rows;
        }
        Ok(rows)
    }

    /// Whether a stream table's content can be computed at this cut.
    pub(crate) fn can_be_built(&self, stream: StreamId) -> Result<(), IvmError> {
        let known = self.streams.get(&stream).ok_or(IvmError::UnknownStream(stream))?;
        if known.stored.condition != StreamCondition::Defined || known.tree.is_none() {
            return Err(IvmError::NotNow(format!("stream table {stream} was computed before; drop and add it first")));
        }
        // An arrangement that is being made is of one cut, and its maker's alone.
        let being_made = |state: &&u32| self.arrangements.get(state).is_some_and(|a| !a.def.complete);
        let mine: Vec<&u32> = known.stored.arrangements.iter().filter(being_made).collect();
        let others = self.noted.keys().filter_map(|id| Some((id, self.streams.get(id)?)));
        for (other, work) in others.filter(|(id, _)| **id != stream) {
            if work.stored.arrangements.iter().any(|state| mine.contains(&state)) {
                return Err(IvmError::NotNow(format!(
                    "stream table {other} is being computed over the same arrangement"
                )));
            }
        }
        self.sources_are_ready(stream)
    }

    pub(crate) fn sources_are_ready(&self, stream: StreamId) -> Result<(), IvmError> {
        let known = self.streams.get(&stream).ok_or(IvmError::UnknownStream(stream))?;
        for source in &known.stored.def.sources {
            match self.conditions.get(source) {
                Some(SourceCondition::Ready) => {}
                Some(SourceCondition::Broken(reason)) => return Err(IvmError::NotNow(reason.clone())),
                _ => return Err(IvmError::NotNow(format!("source {source} is not read yet"))),
            }
        }
        Ok(())
    }

    fn build_arrangements(&mut self, stream: StreamId) -> Result<(), IvmError> {
        let wanted = self.streams.get(&stream).map(|s| s.stored.arrangements.clone()).unwrap_or_default();
        for state in wanted {
            let Some(arrangement) = self.arrangements.get_mut(&state) else { continue };
            if arrangement.def.complete {
                continue;
            }
            // What an attempt before this one has left.
            let mut batch = Batch::new();
            meta::delete_state(&mut batch, state);
            self.store.write(&mut batch, Durability::Buffered)?;
            arrangement.build(self.sources.get(arrangement.def.source)?, &self.store, &self.store)?;
            let def = ArrangementDef { complete: true, ..arrangement.def.clone() };
            meta::put_arrangement(&mut batch, &def)?;
            self.store.write(&mut batch, Durability::Buffered)?;
            arrangement.def = def;
        }
        Ok(())
    }

    fn build_tree(
        &mut self,
        stream: StreamId,
        batch: &mut Batch,
        emit: &mut dyn FnMut(Vec<Row>) -> Result<(), String>,
    ) -> Result<u64, Failure> {
        let nothing = BTreeMap::new();
        let evaluator = self.evaluator.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut cx = Cx {
            store: &self.store,
            kept: &self.store,
            stop: &WANTED,
            batch,
            sources: &self.sources,
            arrangements: &self.arrangements,
            deltas: &nothing,
            commons: Vec::new(),
            below: Duration::ZERO,
            rows: &mut self.rows,
            evaluator: evaluator.as_mut(),
            limits: self.limits,
            seq: Seq(0),
        };
        let Some(Tree { rows: tree, output }) = self.streams.get_mut(&stream).and_then(|s| s.tree.as_mut()) else {
            return Err(IvmError::UnknownStream(stream).into());
        };
        let mut rows = 0;
        Failure::contained(|| {
            tree.build(&mut cx, &mut |cx, piece| {
                let piece = output.build(cx, &piece)?;
                rows += piece.len() as u64;
                cx.trim_rows();
                if piece.is_empty() { Ok(()) } else { emit(piece).map_err(Failure::Stream) }
            })
        })?;
        cx.flush()?;
        Ok(rows)
    }

    /// A computed stream table follows every cut from now on.
    ///
    /// # Errors
    /// When it was not computed.
    pub fn activate(&mut self, stream: StreamId) -> Result<(), IvmError> {
        match self.streams.get(&stream).map(|s| &s.stored.condition) {
            None => Err(IvmError::UnknownStream(stream)),
            Some(StreamCondition::Active) => Ok(()),
            Some(StreamCondition::Building) => self.set_condition(stream, StreamCondition::Active),
            Some(_) => Err(IvmError::NotNow(format!("stream table {stream} is not computed"))),
        }
    }

    pub(crate) fn set_condition(&mut self, stream: StreamId, condition: StreamCondition) -> Result<(), IvmError> {
        let known = self.streams.get(&stream).ok_or(IvmError::UnknownStream(stream))?;
        let stored = StoredStream { condition, ..known.stored.clone() };
        let mut batch = Batch::new();
        meta::put_stream(&mut batch, &stored)?;
        self.write(&mut batch, Durability::Synced)?;
        if let Some(known) = self.streams.get_mut(&stream) {
            known.stored = stored;
        }
        Ok(())
    }

    /// Stops a stream table and frees its state; it is remembered. Nothing happens to one that is not there or stopped.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn pause(&mut self, stream: StreamId) -> Result<(), IvmError> {
        self.stop(stream, StreamCondition::Paused)
    }

    /// Stops a stream table that cannot be kept any further, as [`Self::pause`] does.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn fail(&mut self, stream: StreamId, reason: &str) -> Result<(), IvmError> {
        self.stop(stream, StreamCondition::Failed(reason.to_owned()))
    }

    /// A source's rows are followed no further: its readers stop at the present cut, and it has no new ones. Gives those that
    /// stopped; none when the source is not known.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn give_up_source(&mut self, source: SourceId, reason: &str) -> Result<Vec<StreamId>, IvmError> {
        let Ok(kept) = self.sources.get(source) else { return Ok(Vec::new()) };
        let (condition, failed) =
            (SourceCondition::Broken(reason.to_owned()), StreamCondition::Failed(reason.to_owned()));
        let mut batch = Batch::new();
        let stored = StoredSource { def: kept.def.clone(), condition: condition.clone(), native: kept.native() };
        meta::put_source(&mut batch, &stored)?;
        let readers = self.streams_over(source);
        for reader in &readers {
            self.put_stopped(*reader, failed.clone(), &mut batch)?;
        }
        self.write(&mut batch, Durability::Synced)?;
        self.conditions.insert(source, condition);
        for reader in &readers {
            self.stopped(*reader, failed.clone())?;
        }
        Ok(readers)
    }

    fn stop(&mut self, stream: StreamId, condition: StreamCondition) -> Result<(), IvmError> {
        let mut batch = Batch::new();
        self.put_stopped(stream, condition.clone(), &mut batch)?;
        self.write(&mut batch, Durability::Synced)?;
        self.stopped(stream, condition)
    }

    /// What is written when a stream table stops.
    pub(crate) fn put_stopped(
        &self,
        stream: StreamId,
        condition: StreamCondition,
        batch: &mut Batch,
    ) -> Result<(), IvmError> {
        let Some(known) = self.streams.get(&stream).filter(|s| s.tree.is_some()) else { return Ok(()) };
        meta::put_stream(batch, &StoredStream { condition, ..known.stored.clone() })?;
        known.stored.states.iter().for_each(|state| meta::delete_state(batch, *state));
        Ok(())
    }

    /// After that was written.
    pub(crate) fn stopped(&mut self, stream: StreamId, condition: StreamCondition) -> Result<(), IvmError> {
        let Some(known) = self.streams.get_mut(&stream).filter(|s| s.tree.is_some()) else { return Ok(()) };
        known.stored.condition = condition;
        known.tree = None;
        let mut batch = Batch::new();
        self.release_arrangements(&mut batch);
        self.share_memory();
        self.write(&mut batch, Durability::Buffered)
    }

    /// Forgets a stream table and its state. Nothing happens to one that is not there.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn drop_stream(&mut self, stream: StreamId) -> Result<(), IvmError> {
        let Some(known) = self.streams.get(&stream) else { return Ok(()) };
        let mut batch = Batch::new();
        known.stored.states.iter().for_each(|state| meta::delete_state(&mut batch, *state));
        meta::delete_stream(&mut batch, stream);
        self.write(&mut batch, Durability::Synced)?;
        self.streams.remove(&stream);
        self.noted.remove(&stream);
        let mut batch = Batch::new();
        self.release_arrangements(&mut batch);
        self.share_memory();
        self.write(&mut batch, Durability::Buffered)
    }
}
