//! Sources in the engine: made known, read for the first time while cuts go on, forgotten.
//!
//! ```text
//!   add_source ─▶ Loading ── load_rows, load_rows, … ── finish_load ─▶ Ready
//!                    └─ changes of cuts ─▶ backlog ────────┘ those behind the snapshots
//! ```
//!
//! A snapshot's position is a slot's `consistent_point`. Decoding starts with the first commit record that begins at or
//! behind it (`SnapBuildXactNeedsSkip` in PostgreSQL's `snapbuild.c`); what committed before it is in the snapshot. The
//! position is where a record ends, so a transaction is in the snapshot exactly when the end of its commit record is
//! at or before it.

use bytes::Bytes;
use state::{Batch, Durability, Family, Read, Write};
use types::{Change, Lsn, NodeId, Positions, Row, SourceId, TableId};

use crate::backlog;
use crate::definition::SourceDef;
use crate::engine::Engine;
use crate::error::IvmError;
use crate::kept::Kept;
use crate::meta::{self, SourceCondition, StoredSource};
use crate::operators::CHUNK;
use crate::touched::{Broken, TouchError, Touched};

/// Keys that the backlog is put over the rows by at once.
const REPLAY: usize = 50_000;

impl Engine {
    /// Makes a source known. Its changes are kept aside from the next cut on, until [`Self::finish_load`].
    ///
    /// # Errors
    /// When it is known already, its key is not among its columns, or the store cannot be written.
    pub fn add_source(&mut self, def: SourceDef) -> Result<(), IvmError> {
        if self.sources.by_id.contains_key(&def.id) {
            return Err(IvmError::Exists(format!("source {}", def.id)));
        }
        if def.identity.iter().any(|i| *i >= def.columns.len()) {
            return Err(IvmError::Refused(format!("the key of {} is not among its columns", def.table)));
        }
        if let Some((table, _)) = def.tables.iter().find(|(t, _)| self.sources.by_table.contains_key(t)) {
            return Err(IvmError::Exists(format!("physical table {table}")));
        }
        check_tables(&def.tables)?;
        let native = Kept::natives(&def, &self.env);
        self.put_source(&def, &native, SourceCondition::Loading)?;
        self.conditions.insert(def.id, SourceCondition::Loading);
        self.sources.insert(Kept::new(def, &native, &self.env));
        Ok(())
    }

    /// More physical tables hold rows of a source from the next cut on.
    ///
    /// # Errors
    /// When the source is not known, a table is, or the store cannot be written.
    pub fn add_tables(&mut self, source: SourceId, tables: &[(TableId, NodeId)]) -> Result<(), IvmError> {
        let mut def = self.sources.get(source)?.def.clone();
        if let Some((table, _)) = tables.iter().find(|(t, _)| self.sources.by_table.contains_key(t)) {
            return Err(IvmError::Exists(format!("physical table {table}")));
        }
        check_tables(tables)?;
        def.tables.extend_from_slice(tables);
        let condition = self.conditions.get(&source).cloned().unwrap_or(SourceCondition::Loading);
        let native = self.sources.get(source)?.native();
        self.put_source(&def, &native, condition)?;
        self.sources.insert(Kept::new(def, &native, &self.env));
        Ok(())
    }

    pub(crate) fn put_source(
        &self,
        def: &SourceDef,
        native: &[bool],
        condition: SourceCondition,
    ) -> Result<(), IvmError> {
        let mut batch = Batch::new();
        let stored = StoredSource { def: def.clone(), condition, native: native.to_vec() };
        meta::put_source(&mut batch, &stored)?;
        self.write(&mut batch, Durability::Synced)
    }

    /// Whether a source's rows are those of the last cut.
    #[must_use]
    pub fn is_ready(&self, source: SourceId) -> bool {
        self.conditions.get(&source) == Some(&SourceCondition::Ready)
    }

    /// Sources whose changes were found not to be what is kept, or that were given up: their rows are of an earlier cut.
    pub fn broken_sources(&self) -> impl Iterator<Item = SourceId> {
        let broken = self.conditions.iter().filter(|(_, c)| matches!(c, SourceCondition::Broken(_)));
        broken.map(|(id, _)| *id)
    }

    fn loading(&self, source: SourceId) -> Result<&Kept, IvmError> {
        let kept = self.sources.get(source)?;
        match self.conditions.get(&source) {
            Some(SourceCondition::Loading | SourceCondition::Shadow) => Ok(kept),
            _ => Err(IvmError::NotNow(format!("source {source} is not being read"))),
        }
    }

    /// Writes rows of a snapshot. Safe with the next cut.
    ///
    /// # Errors
    /// When the source is not being read, rows do not have its columns, or the store cannot be written.
    pub fn load_rows(&mut self, source: SourceId, table: TableId, rows: &[Row]) -> Result<(), IvmError> {
        let kept = self.loading(source)?;
        let mut batch = Batch::new();
        kept.load(table, rows, &self.store, &mut batch).map_err(fatal)?;
        self.write(&mut batch, Durability::Buffered)
    }

    /// All rows of the snapshots are in: puts the changes that were kept aside over them, but for those of transactions that
    /// are in the snapshots. The source is then as of the last cut.
    ///
    /// # Errors
    /// When the last cut is before a snapshot, or the store cannot be written.
    pub fn finish_load(&mut self, source: SourceId, snapshots: &[(NodeId, Lsn)]) -> Result<(), IvmError> {
        let kept = self.loading(source)?;
        let snapshots = Positions(snapshots.iter().copied().collect());
        if !snapshots.within(&self.frontier.positions) {
            return Err(IvmError::NotNow(format!(
                "cut {} is before a snapshot of {}; wait for the cuts to pass it",
                self.frontier.seq, kept.def.table
            )));
        }
        let (def, native) = (kept.def.clone(), kept.native());
        self.replay(source, &snapshots)?;
        self.put_source(&def, &native, SourceCondition::Ready)?;
        self.conditions.insert(source, SourceCondition::Ready);
        Ok(())
    }

    /// Each piece of the backlog goes with the write that puts it over the rows, so that none counts twice.
    fn replay(&self, source: SourceId, snapshots: &Positions) -> Result<(), IvmError> {
        let kept = self.sources.get(source)?;
        let prefix = source.0.to_be_bytes();
        let mut cursor = self.store.cursor(Family::Backlog);
        cursor.seek(&prefix);
        let mut batch = Batch::new();
        let mut touched = Touched::default();
        while let Some((key, value)) = cursor.next()? {
            let (node, end, changes) = backlog::read(value).ok_or_else(|| IvmError::damaged("the backlog"))?;
            if end > snapshots.of(node) {
                self.touch_all(kept, &mut touched, changes)?;
            }
            batch.delete(Family::Backlog, key);
            if touched.len() >= REPLAY {
                let piece = std::mem::take(&mut touched);
                kept.resolve(piece, &self.store, None, &mut batch).map_err(fatal)?;
                self.write(&mut batch, Durability::Buffered)?;
            }
        }
        kept.resolve(touched, &self.store, None, &mut batch).map_err(fatal)?;
        self.write(&mut batch, Durability::Buffered)
    }

    fn touch_all(&self, kept: &Kept, touched: &mut Touched, mut changes: Bytes) -> Result<(), IvmError> {
        while let Some(change) = Change::decode(&mut changes).map_err(|e| IvmError::Changes(e.to_string()))? {
            kept.touch(touched, change.table, change.op, &self.store).map_err(fatal)?;
        }
        Ok(())
    }

    /// Forgets a source and its rows. Stream tables that still read it stop. Nothing happens when it is not there.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn drop_source(&mut self, source: SourceId) -> Result<(), IvmError> {
        if !self.sources.by_id.contains_key(&source) {
            return Ok(());
        }
        let readers = self.streams.values().filter(|s| s.stored.def.sources.contains(&source));
        for stream in readers.map(|s| s.stored.def.id).collect::<Vec<_>>() {
            self.fail(stream, &format!("its source {source} was dropped"))?;
        }
        let mut batch = Batch::new();
        meta::delete_source(&mut batch, source);
        batch.delete_prefix(Family::Sources, &source.0.to_be_bytes());
        batch.delete_prefix(Family::Backlog, &source.0.to_be_bytes());
        self.write(&mut batch, Durability::Synced)?;
        self.sources.remove(source);
        self.conditions.remove(&source);
        self.rows.remove(&source);
        Ok(())
    }

    /// Hands over all rows of a ready source, in pieces; a row that is there several times comes as often.
    ///
    /// # Errors
    /// When the source is not ready, the receiver fails ([`IvmError::Build`]), or the store cannot be read.
    pub fn scan_source(
        &self,
        source: SourceId,
        emit: &mut dyn FnMut(Vec<Row>) -> Result<(), String>,
    ) -> Result<(), IvmError> {
        let kept = self.sources.get(source)?;
        if !self.is_ready(source) {
            return Err(IvmError::NotNow(format!("source {source} is not read yet")));
        }
        kept.scan::<IvmError>(&self.store, CHUNK, &mut |rows| {
            let copies = |d: types::Delta| (0..d.diff).map(move |_| d.row.clone());
            emit(rows.into_iter().flat_map(copies).collect()).map_err(IvmError::Build)
        })
    }
}

/// Tables' numbers share their highest bit with a mark ([`crate::held`]).
fn check_tables(tables: &[(TableId, NodeId)]) -> Result<(), IvmError> {
    match tables.iter().find(|(table, _)| table.0 >> 31 != 0) {
        Some((table, _)) => Err(IvmError::Refused(format!("physical table {table}: numbers end at {}", u32::MAX >> 1))),
        None => Ok(()),
    }
}

/// While a source is read, rows that do not fit end the read.
fn fatal(error: TouchError) -> IvmError {
    match error {
        TouchError::Broken(Broken(reason)) => IvmError::Build(reason),
        TouchError::Engine(error) => error,
    }
}
