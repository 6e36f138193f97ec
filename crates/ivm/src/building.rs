//! A stream table's first content, computed while cuts go on.
//!
//! ```text
//!   begin_build   cut s      the store is frozen; from here on the keys that cuts touch are noted       engine's thread
//!   compute                  the content at s, from the frozen store; states into the living one        another
//!   advance       cut s'     frozen again, the notes are handed over; noting starts anew                engine's thread
//!   follow                   s to s' as if it were one cut: old rows from the one, new from the other    another
//!   finish_build  cut s''    the same once more, now up to the living store; the tree is the engine's   engine's thread
//! ```
//!
//! `advance` and `follow` are repeated until little is left, so that the engine's thread never waits for more than the
//! freezing (some tenths of a second) and the last few keys. The states of the new stream table, and the arrangements that are made for
//! it, are written by this alone: nothing else knows their numbers before the end. If the process dies before, the
//! stream table is `Building`, and the next start removes what was written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use state::{Batch, Durability, Family, Frozen, Read, Store};
use types::{Delta, Row, Seq, SourceId, StreamId, TableChange};

use crate::arrangement::{Arrangement, ArrangementDef};
use crate::compile::Tree;
use crate::definition::Evaluator;
use crate::engine::{Engine, Limits, WANTED};
use crate::error::{Failure, IvmError};
use crate::held::HeldRows;
use crate::kept::{Kept, Sources, count, table_of};
use crate::meta::{self, StreamCondition};
use crate::operators::{Cx, consolidated};
use crate::resolve::{CountedChange, KeyedChange, SourceDelta};
use crate::rows::RowCache;
use crate::table::KeyTable;

/// The keys that cuts have touched, source by source.
#[derive(Debug, Default)]
pub(crate) struct Noted(BTreeMap<SourceId, KeyTable>);

impl Noted {
    fn new(sources: &[SourceId]) -> Self {
        Self(sources.iter().map(|s| (*s, KeyTable::default())).collect())
    }

    /// Takes in what a cut has done to a source.
    pub(crate) fn take(&mut self, source: SourceId, delta: &SourceDelta) {
        let Some(keys) = self.0.get_mut(&source) else { return };
        match delta {
            SourceDelta::Keyed(table, changes) => {
                for change in changes {
                    keys.id(table.key(change.key));
                }
            }
            SourceDelta::Counted(changes) => {
                for change in changes {
                    keys.id(&[&change.table.0.to_be_bytes(), &change.row.as_bytes()[..]].concat());
                }
            }
        }
    }

    fn len(&self) -> usize {
        self.0.values().map(KeyTable::len).sum()
    }
}

/// A stream table whose content is being computed. Dropping it gives up; the stream table is then to be dropped.
pub struct Building {
    stream: StreamId,
    tree: Tree,
    store: Arc<Store>,
    frozen: Frozen,
    sources: Sources,
    arrangements: BTreeMap<u32, Arrangement>,
    evaluator: Box<dyn Evaluator>,
    limits: Limits,
    stop: Arc<AtomicBool>,
    /// What is between the frozen store and this newer one.
    newer: Option<(Noted, Frozen)>,
    rows: u64,
    /// What was done to the content since it was handed over.
    changes: Vec<Delta>,
}

impl std::fmt::Debug for Building {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Building").field("stream", &self.stream).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Building {
    /// Computes the content as of the cut at which it was begun and hands it over in pieces, as [`Engine::build`] does.
    ///
    /// # Errors
    /// [`IvmError::Build`] when an expression or the receiver failed, or `stop` was set.
    pub fn compute(&mut self, emit: &mut dyn FnMut(Vec<Row>) -> Result<(), String>) -> Result<u64, IvmError> {
        for arrangement in self.arrangements.values().filter(|a| !a.def.complete) {
            // What an attempt before this one has left.
            let mut batch = Batch::new();
            meta::delete_state(&mut batch, arrangement.def.state);
            self.store.write(&mut batch, Durability::Buffered)?;
            arrangement.build(self.sources.get(arrangement.def.source)?, &self.frozen, &self.store)?;
        }
        let mut batch = Batch::new();
        let (nothing, mut cache) = (BTreeMap::new(), BTreeMap::new());
        let Tree { rows: tree, output } = &mut self.tree;
        let mut cx = Cx {
            store: &self.store,
            kept: &self.frozen,
            stop: &self.stop,
            batch: &mut batch,
            sources: &self.sources,
            arrangements: &self.arrangements,
            deltas: &nothing,
            commons: Vec::new(),
            below: Duration::ZERO,
            rows: &mut cache,
            evaluator: self.evaluator.as_mut(),
            limits: self.limits,
            seq: Seq(0),
        };
        let mut rows = 0;
        let built = Failure::contained(|| {
            tree.build(&mut cx, &mut |cx, piece| {
                let piece = output.build(cx, &piece)?;
                rows += piece.len() as u64;
                cx.trim_rows();
                if piece.is_empty() { Ok(()) } else { emit(piece).map_err(Failure::Stream) }
            })
        });
        built.and_then(|()| cx.flush()).map_err(Failure::into_error)?;
        self.rows = rows;
        Ok(rows)
    }

    /// Follows up to where [`Engine::advance`] has frozen the store.
    ///
    /// # Errors
    /// As [`Self::compute`].
    pub fn follow(&mut self) -> Result<(), IvmError> {
        let Some((noted, newer)) = self.newer.take() else { return Ok(()) };
        let mut batch = Batch::new();
        let rows = self.step(&noted, &newer, &mut BTreeMap::new(), &mut batch).map_err(Failure::into_error)?;
        self.store.write(&mut batch, Durability::Buffered)?;
        self.changes.extend(rows);
        self.changes = consolidated(std::mem::take(&mut self.changes));
        self.frozen = newer;
        Ok(())
    }

    /// From the frozen store to `newer` as if it were one cut: what becomes of the root's rows.
    fn step(
        &mut self,
        noted: &Noted,
        newer: &Store,
        cache: &mut BTreeMap<SourceId, RowCache>,
        batch: &mut Batch,
    ) -> Result<Vec<Delta>, Failure> {
        let mut deltas = BTreeMap::new();
        for (source, keys) in noted.0.iter().filter(|(_, keys)| keys.len() > 0) {
            let delta = between(self.sources.get(*source)?, keys, &self.frozen, newer)?;
            deltas.insert(*source, delta);
        }
        let mut cx = Cx {
            store: &self.store,
            kept: &self.frozen,
            stop: &self.stop,
            batch,
            sources: &self.sources,
            arrangements: &self.arrangements,
            deltas: &deltas,
            commons: Vec::new(),
            below: Duration::ZERO,
            rows: cache,
            evaluator: self.evaluator.as_mut(),
            limits: self.limits,
            seq: Seq(0),
        };
        let rows = Failure::contained(|| self.tree.rows.step(&mut cx))?;
        // They are read as of the frozen store until the batch is written.
        for arrangement in self.arrangements.values().filter(|a| !a.def.complete) {
            if let Some(delta) = deltas.get(&arrangement.def.source) {
                arrangement.follow(delta, batch)?;
            }
        }
        Ok(rows)
    }
}

impl Engine {
    /// Begins to compute a defined stream table's content as of the last cut, beside the cuts to come. `evaluator` is for it
    /// alone; once `stop` is set, it gives up soon.
    ///
    /// # Errors
    /// When it is not defined, its sources are not read yet, or the store cannot be frozen.
    pub fn begin_build(
        &mut self,
        stream: StreamId,
        evaluator: Box<dyn Evaluator>,
        stop: Arc<AtomicBool>,
    ) -> Result<Building, IvmError> {
        self.can_be_built(stream)?;
        let frozen = self.freeze()?;
        self.set_condition(stream, StreamCondition::Building)?;
        let known = self.streams.get_mut(&stream).ok_or(IvmError::UnknownStream(stream))?;
        let tree = known.tree.take().ok_or(IvmError::UnknownStream(stream))?;
        let def = &known.stored.def;
        self.noted.insert(stream, Noted::new(&def.sources));
        let sources = def.sources.iter().filter_map(|s| self.sources.by_id.get(s).cloned());
        let sources = sources.fold(Sources::default(), |mut all, kept| {
            all.insert(kept);
            all
        });
        let shared = known.stored.arrangements.iter();
        let arrangements = shared.filter_map(|state| Some((*state, self.arrangements.get(state)?.clone()))).collect();
        Ok(Building {
            stream,
            tree,
            store: self.store.clone(),
            frozen,
            sources,
            arrangements,
            evaluator,
            limits: self.limits,
            stop,
            newer: None,
            rows: 0,
            changes: Vec::new(),
        })
    }

    fn freeze(&mut self) -> Result<Frozen, IvmError> {
        self.frozen += 1;
        Ok(Frozen::of(&self.store, self.frozen)?)
    }

    /// How many rows were touched since it was begun, or since the last [`Self::advance`].
    #[must_use]
    pub fn behind(&self, building: &Building) -> usize {
        self.noted.get(&building.stream).map_or(0, Noted::len)
    }

    /// Lets it follow up to the last cut.
    ///
    /// # Errors
    /// When the store cannot be frozen.
    pub fn advance(&mut self, building: &mut Building) -> Result<(), IvmError> {
        if building.newer.is_some() {
            return Err(IvmError::NotNow("it has not followed the last advance yet".into()));
        }
        let frozen = self.freeze()?;
        let known = self.streams.get(&building.stream).ok_or(IvmError::UnknownStream(building.stream))?;
        let noted = self.noted.insert(building.stream, Noted::new(&known.stored.def.sources)).unwrap_or_default();
        building.newer = Some((noted, frozen));
        Ok(())
    }

    /// Brings it to the last cut; from the next on it follows every one. Gives what has to be done to the content that was
    /// handed over.
    ///
    /// # Errors
    /// As [`Self::build`]; the stream table is then to be dropped.
    pub fn finish_build(&mut self, mut building: Building) -> Result<Vec<TableChange>, IvmError> {
        building.follow()?;
        let stream = building.stream;
        self.sources_are_ready(stream)?;
        let noted = self.noted.remove(&stream).unwrap_or_default();
        let mut batch = Batch::new();
        let (store, nothing) = (self.store.clone(), BTreeMap::new());
        let last = building.step(&noted, &store, &mut BTreeMap::new(), &mut batch).map_err(Failure::into_error)?;
        let mut changes = std::mem::take(&mut building.changes);
        changes.extend(last);
        let changes = consolidated(changes);
        let mut cx = Cx {
            store: &store,
            kept: &store,
            stop: &WANTED,
            batch: &mut batch,
            sources: &self.sources,
            arrangements: &self.arrangements,
            deltas: &nothing,
            commons: Vec::new(),
            below: Duration::ZERO,
            rows: &mut BTreeMap::new(),
            evaluator: building.evaluator.as_mut(),
            limits: building.limits,
            seq: Seq(0),
        };
        let stepped = Failure::contained(|| building.tree.output.step(&mut cx, &changes));
        let (out, grown) = stepped.map_err(Failure::into_error)?;
        let rows = building.rows.saturating_add_signed(grown);
        let mut complete = Vec::new();
        for arrangement in self.arrangements.values().filter(|a| building.arrangements.contains_key(&a.def.state)) {
            if !arrangement.def.complete {
                let def = ArrangementDef { complete: true, ..arrangement.def.clone() };
                meta::put_arrangement(&mut batch, &def)?;
                complete.push(def);
            }
        }
        meta::put_rows(&mut batch, stream, rows);
        self.write(&mut batch, Durability::Synced)?;
        for def in complete {
            if let Some(arrangement) = self.arrangements.get_mut(&def.state) {
                arrangement.def = def;
            }
        }
        let Some(known) = self.streams.get_mut(&stream) else { return Err(IvmError::UnknownStream(stream)) };
        known.tree = Some(building.tree);
        known.rows = rows;
        self.share_memory();
        self.set_condition(stream, StreamCondition::Active)?;
        Ok(out)
    }
}

/// What became of these keys of a source from one store to the other.
fn between(kept: &Kept, keys: &KeyTable, old: &Store, new: &Store) -> Result<SourceDelta, IvmError> {
    let full: Vec<Vec<u8>> = keys.keys().map(|key| [&kept.prefix()[..], key].concat()).collect();
    let refs: Vec<&[u8]> = full.iter().map(Vec::as_slice).collect();
    if kept.key.is_none() {
        let counts = |store: &Store| -> Result<Vec<u64>, IvmError> {
            let mut out = Vec::with_capacity(refs.len());
            store.multi_get(Family::Sources, &refs, &mut |_, value| out.push(value.map_or(Ok(0), count)))?;
            out.into_iter().collect()
        };
        let (olds, news) = (counts(old)?, counts(new)?);
        let mut changes = Vec::new();
        for ((key, old), new) in keys.keys().zip(olds).zip(news).filter(|((_, old), new)| old != new) {
            let table = table_of(key).ok_or_else(|| IvmError::damaged("a row's physical table"))?;
            let row = Row::from_bytes(key[4..].to_vec().into());
            changes.push(CountedChange { table, row, diff: new.cast_signed() - old.cast_signed(), count: new });
        }
        return Ok(SourceDelta::Counted(changes));
    }
    let rows = |store: &Store| -> Result<Vec<HeldRows>, IvmError> {
        let mut out = Vec::with_capacity(refs.len());
        store.multi_get(Family::Sources, &refs, &mut |_, value| {
            out.push(value.map_or(Some(HeldRows::default()), HeldRows::decode));
        })?;
        out.into_iter().map(|rows| rows.ok_or_else(|| IvmError::damaged("a kept row"))).collect()
    };
    let (olds, news) = (rows(old)?, rows(new)?);
    let mut table = KeyTable::default();
    let mut changes = Vec::new();
    for ((key, old), new) in keys.keys().zip(olds).zip(news) {
        let crowded = !new.waiting.is_empty();
        let at = new.first.as_ref().map_or(types::TableId(0), |h| h.0);
        let (old, new) = (old.first.map(|h| h.1), new.first.map(|h| h.1));
        if old != new {
            let (key, _) = table.id(key);
            changes.push(KeyedChange { key, table: at, old, new, place: None, crowded });
        }
    }
    Ok(SourceDelta::Keyed(table, changes))
}
