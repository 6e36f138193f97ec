//! The engine: definitions in, cuts in, stream tables' changes out.
//!
//! ```text
//!   apply    transactions ─ collect ─▶ touched keys ─ resolve ─▶ sources' deltas ─▶ shared arrangements
//!                                                                      └──▶ each stream table's tree ─▶ changes
//!            one synced write: rows, arrangements, operators' states, outbox, frontier
//! ```
//!
//! Invariants: what is read from the store is the state at [`Engine::frontier`], never in between; an `apply` that gave an error wrote
//! nothing and can be repeated with the same cut. A stream table that cannot follow stops alone, at the cut before: its
//! writes are collected apart and thrown away.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use scalar::Env;
use state::{Batch, Durability, Family, Frozen, Read, Store, Write};
use types::{Cut, Seq, SourceId, StreamId};

use crate::apply::BEHIND_FROM;
use crate::arrangement::Arrangement;
use crate::building::Noted;
use crate::compile::{TREE_VERSION, compile};
use crate::definition::Evaluator;
use crate::error::IvmError;
use crate::keeping::Operators;
use crate::kept::{Kept, Sources};
use crate::meta::{self, SourceCondition, StoredSource, StoredStream, StreamCondition};
use crate::operators::Node;
use crate::outbox::Outbox;
use crate::rows::RowCache;
use crate::streams::{Given, Stream};

/// Bytes that rows of sources and groups may take in memory, all together, unless [`Engine::limit_memory`] says otherwise.
const MEMORY: usize = 128 << 20;

/// Memory for a cut's writes that is kept for the next.
pub(crate) const SPARE: usize = 16 << 20;

/// Never set: what the engine itself computes is wanted.
pub(crate) static WANTED: AtomicBool = AtomicBool::new(false);

/// See the module's description. Everything is synchronous; it belongs to one thread.
pub struct Engine {
    pub(crate) store: Arc<Store>,
    /// Behind a lock that nobody ever waits for, so that the engine can be looked at from several threads.
    pub(crate) evaluator: Mutex<Box<dyn Evaluator>>,
    pub(crate) env: Env,
    pub(crate) frontier: Cut,
    pub(crate) next_state: u32,
    pub(crate) sources: Sources,
    pub(crate) conditions: BTreeMap<SourceId, SourceCondition>,
    pub(crate) arrangements: BTreeMap<u32, Arrangement>,
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    pub(crate) rows: BTreeMap<SourceId, RowCache>,
    pub(crate) published: Option<Seq>,
    /// What cuts have done to the sources of stream tables that are being computed.
    pub(crate) noted: BTreeMap<StreamId, Noted>,
    /// How many frozen stores there were.
    pub(crate) frozen: u64,
    /// Of the last cut, empty: the next has its memory.
    pub(crate) spare: Batch,
    /// Bytes of a cut's writes from which on they go behind.
    pub(crate) behind_from: usize,
    memory: usize,
    /// What of it rows of sources, and what each operator may take.
    pub(crate) limits: Limits,
}

/// Bytes that may be held in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// By rows of sources, all together.
    pub(crate) rows: usize,
    /// By each operator.
    pub(crate) operator: usize,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("frontier", &self.frontier)
            .field("sources", &self.sources.by_id.len())
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens what is in a store. Stream tables that were not active (or paused) are forgotten with their states; so are
    /// those that an older version of this crate compiled differently.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version does not understand.
    pub fn open(store: Store, evaluator: Box<dyn Evaluator>, env: Env) -> Result<Self, IvmError> {
        Frozen::clean(&store)?;
        let definitions = meta::load(&store)?;
        let mut engine = Self {
            store: Arc::new(store),
            evaluator: Mutex::new(evaluator),
            env,
            frontier: definitions.frontier,
            next_state: definitions.next_state,
            sources: Sources::default(),
            conditions: BTreeMap::new(),
            arrangements: BTreeMap::new(),
            streams: BTreeMap::new(),
            rows: BTreeMap::new(),
            published: None,
            noted: BTreeMap::new(),
            frozen: 0,
            spare: Batch::new(),
            behind_from: BEHIND_FROM,
            memory: MEMORY,
            limits: Limits { rows: MEMORY / 2, operator: MEMORY / 2 },
        };
        let mut batch = Batch::new();
        for StoredSource { def, condition, native } in definitions.sources {
            if condition == SourceCondition::Shadow {
                meta::delete_source(&mut batch, def.id);
                batch.delete_prefix(Family::Sources, &def.id.0.to_be_bytes());
                continue;
            }
            engine.conditions.insert(def.id, condition);
            engine.sources.insert(Kept::new(def, &native, &engine.env));
        }
        for def in definitions.arrangements {
            let state = def.state;
            let kept = engine.sources.by_id.get(&def.source).filter(|_| def.complete);
            match kept.and_then(|kept| Arrangement::new(def, kept, &engine.env).ok()) {
                Some(arrangement) => drop(engine.arrangements.insert(state, arrangement)),
                None => meta::delete_arrangement(&mut batch, state),
            }
        }
        for (stored, rows) in definitions.streams {
            engine.reopen(stored, rows, &mut batch)?;
        }
        engine.release_arrangements(&mut batch);
        engine.write(&mut batch, Durability::Synced)?;
        engine.share_memory();
        Ok(engine)
    }

    fn reopen(&mut self, stored: StoredStream, rows: u64, batch: &mut Batch) -> Result<(), IvmError> {
        let id = stored.def.id;
        let tree = match stored.condition {
            StreamCondition::Active if stored.version == TREE_VERSION => {
                let complete = stored.arrangements.iter().all(|a| self.arrangements.contains_key(a));
                let mut given = Given::again(&stored.states, &self.arrangements);
                match compile(&stored.def, &self.env, &self.sources, &mut given) {
                    Ok(tree) if complete && given.is_used_up() => Some(tree),
                    Ok(_) => None,
                    Err(reason) => {
                        tracing::warn!(stream = %id, reason, "a stream table's operators are not what they were");
                        None
                    }
                }
            }
            _ => None,
        };
        match (tree, &stored.condition) {
            (Some(tree), _) => {
                self.streams.insert(id, Stream { stored, tree: Some(tree), rows });
            }
            (None, StreamCondition::Paused | StreamCondition::Failed(_)) => {
                self.streams.insert(id, Stream { stored, tree: None, rows });
            }
            (None, condition) => {
                tracing::info!(stream = %id, ?condition, "a stream table's state is cleared; it has to be computed again");
                stored.states.iter().for_each(|s| meta::delete_state(batch, *s));
                meta::delete_stream(batch, id);
            }
        }
        Ok(())
    }

    /// The last cut. It is durable, or is being written ([`Engine::write_behind`]).
    #[must_use]
    pub fn frontier(&self) -> &Cut {
        &self.frontier
    }

    /// Gives a store without cuts its first frontier.
    ///
    /// # Errors
    /// When there is one already, or the store cannot be written.
    pub fn start_at(&mut self, cut: Cut) -> Result<(), IvmError> {
        if self.frontier != Cut::default() {
            return Err(IvmError::NotNow(format!("the state is at cut {} already", self.frontier.seq)));
        }
        let mut batch = Batch::new();
        meta::put_frontier(&mut batch, &cut)?;
        self.write(&mut batch, Durability::Synced)?;
        self.frontier = cut;
        Ok(())
    }

    /// Enums and collations that were made since the engine was opened, for what is defined from now on. Settings stay as they were.
    pub fn learn_types(&mut self, env: Env) {
        self.env.enums.extend(env.enums);
        self.env.collations.extend(env.collations);
    }

    /// A node's positions begin anew (or it left): the last cut has none for it any more.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn forget_position(&mut self, node: types::NodeId) -> Result<(), IvmError> {
        let mut cut = self.frontier.clone();
        if cut.positions.0.remove(&node).is_some() {
            let mut batch = Batch::new();
            meta::put_frontier(&mut batch, &cut)?;
            self.write(&mut batch, Durability::Synced)?;
            self.frontier = cut;
        }
        Ok(())
    }

    /// Forgets everything: the store is as if it were new.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn clear(&mut self) -> Result<(), IvmError> {
        self.store.clear()?;
        self.frontier = Cut::default();
        self.next_state = 1;
        self.sources = Sources::default();
        self.conditions.clear();
        self.arrangements.clear();
        self.streams.clear();
        self.rows.clear();
        self.published = None;
        self.noted.clear();
        Ok(())
    }

    /// A note of the caller's.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, IvmError> {
        Ok(self.store.get(Family::Meta, &meta::note_key(name))?)
    }

    /// Keeps a note for the caller.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put_note(&mut self, name: &str, note: &[u8]) -> Result<(), IvmError> {
        let mut batch = Batch::new();
        batch.put(Family::Meta, &meta::note_key(name), note);
        self.write(&mut batch, Durability::Synced)
    }

    /// Cuts behind `after` that changed stream tables and were not pruned, oldest first.
    pub fn outbox_from(&self, after: Seq) -> Outbox<'_> {
        Outbox::after(&self.store, after)
    }

    /// The target has everything up to `upto`: it is forgotten with the next cut.
    pub fn published(&mut self, upto: Seq) {
        self.published = self.published.max(Some(upto));
    }

    /// How many rows each active stream table has.
    #[must_use]
    pub fn row_counts(&self) -> BTreeMap<StreamId, u64> {
        self.streams.iter().map(|(id, stream)| (*id, stream.rows)).collect()
    }

    /// Active stream tables that read a source.
    #[must_use]
    pub fn streams_over(&self, source: SourceId) -> Vec<StreamId> {
        let reads = |s: &&Stream| s.is_active() && s.stored.def.sources.contains(&source);
        self.streams.values().filter(reads).map(|s| s.stored.def.id).collect()
    }

    /// The sources of a stream table that is kept or paused; `None` for one that has to be computed again.
    #[must_use]
    pub fn stream_sources(&self, stream: StreamId) -> Option<Vec<SourceId>> {
        let stream = self.streams.get(&stream)?;
        let kept = matches!(stream.stored.condition, StreamCondition::Active | StreamCondition::Paused);
        kept.then(|| stream.stored.def.sources.clone())
    }

    /// The sources that a stream table was defined over, whatever became of it.
    #[must_use]
    pub fn defined_over(&self, stream: StreamId) -> Vec<SourceId> {
        self.streams.get(&stream).map(|s| s.stored.def.sources.clone()).unwrap_or_default()
    }

    /// A stream table's operators, the root first, with what they keep and did in the last cuts; none of one that is
    /// stopped.
    ///
    /// # Errors
    /// [`IvmError::UnknownStream`].
    pub fn operators(&self, stream: StreamId) -> Result<Operators, IvmError> {
        let known = self.streams.get(&stream).ok_or(IvmError::UnknownStream(stream))?;
        let mut out = Operators { stats: Vec::new(), keeps: Vec::new(), store: self.store.clone() };
        if let Some(tree) = &known.tree {
            tree.explain(&mut out);
        }
        Ok(out)
    }

    /// A copy of the state at the last cut, in a directory that does not exist yet.
    ///
    /// # Errors
    /// What the file system says.
    pub fn checkpoint(&self, path: &std::path::Path) -> Result<(), IvmError> {
        Ok(self.store.checkpoint(path)?)
    }

    pub(crate) fn write(&self, batch: &mut Batch, durability: Durability) -> Result<(), IvmError> {
        if batch.is_empty() { Ok(()) } else { Ok(self.store.write(batch, durability)?) }
    }

    /// Writes and forgets arrangements that no stream table reads any more.
    pub(crate) fn release_arrangements(&mut self, batch: &mut Batch) {
        let mut used: Vec<u32> = Vec::new();
        for stream in self.streams.values().filter(|s| s.tree.is_some() || s.is_building()) {
            used.extend(&stream.stored.arrangements);
        }
        self.arrangements.retain(|state, _| {
            let keep = used.contains(state);
            if !keep {
                meta::delete_arrangement(batch, *state);
            }
            keep
        });
    }

    /// At most so many bytes of rows and groups are held in memory from the next cut on (a cut in hand may need more). Less
    /// memory means more reads.
    pub fn limit_memory(&mut self, bytes: usize) {
        self.memory = bytes;
        self.share_memory();
    }

    /// [`Engine::apply_ahead`] gives the writes of a cut back when they have so many bytes, whatever is being written.
    pub fn write_behind_from(&mut self, bytes: usize) {
        self.behind_from = bytes;
    }

    /// Divides the memory: one half for rows of sources, one for the operators.
    pub(crate) fn share_memory(&mut self) {
        let trees = self.streams.values().filter_map(|s| s.tree.as_ref());
        let holders = trees.flat_map(|tree| tree.rows.nodes()).map(Node::caches).sum::<usize>();
        self.limits = Limits { rows: self.memory / 2, operator: self.memory / 2 / holders.max(1) };
    }

    /// After something went wrong half-way: what operators hold in memory may be ahead of the store. (Rows never are.)
    pub(crate) fn forget_memory(&mut self) {
        for tree in self.streams.values_mut().filter_map(|s| s.tree.as_mut()) {
            tree.rows.nodes_mut().for_each(Node::forget);
        }
    }
}
