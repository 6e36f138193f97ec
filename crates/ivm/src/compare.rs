//! Tables read again, compared with what is kept: the difference as ordinary changes.
//!
//! ```text
//!   add_shadow ─▶ load_rows … ─▶ difference ─▶ changes at the head of the next cut ─▶ drop_source
//! ```
//!
//! A shadow has the columns and the key of the source beside which it is made, so that both lie in the store in the same
//! order and are compared in one pass. No cut touches it, and [`Engine::open`] forgets it: whoever read tables again
//! when the process ended does so once more.
//!
//! What goes out belongs to the cut that it heads: rows, arrangements and stream tables take it in one write with the
//! cut's own changes. Memory is that of the difference, not of the tables, and of that
//! up to a limit.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use state::{Cursor, Family, Read};
use types::{Change, NodeId, Op, Row, SourceId, TableId};

use crate::definition::SourceDef;
use crate::engine::Engine;
use crate::error::IvmError;
use crate::held::HeldRows;
use crate::kept::{Kept, count};
use crate::meta::SourceCondition;

/// A piece of changes is closed when it holds this many bytes.
const PIECE_BYTES: usize = 128 << 10;

/// Which tables of a source are compared.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Tables that the source has no longer: all their rows go.
    pub going: BTreeSet<TableId>,
    /// Tables that were read again: as the shadow calls them, and as the source does.
    pub again: BTreeMap<TableId, TableId>,
}

impl Scope {
    fn holds(&self, table: TableId) -> bool {
        self.going.contains(&table) || self.again.values().any(|t| *t == table)
    }
}

/// What it takes to make a source equal to what was read again.
#[derive(Debug, Clone, Default)]
pub struct Difference {
    /// Encoded lists of changes.
    pub pieces: Vec<Bytes>,
    /// How many.
    pub changes: u64,
}

impl Difference {
    /// Bytes of all pieces.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

impl Engine {
    /// A place for some tables of a source to be read into again, by [`Self::load_rows`].
    ///
    /// # Errors
    /// When the source is not known, the number is taken, or the store cannot be written.
    pub fn add_shadow(&mut self, of: SourceId, id: SourceId, tables: &[(TableId, NodeId)]) -> Result<(), IvmError> {
        if self.sources.by_id.contains_key(&id) {
            return Err(IvmError::Exists(format!("source {id}")));
        }
        let kept = self.sources.get(of)?;
        let native = kept.native();
        let def = SourceDef { id, tables: tables.to_vec(), ..kept.def.clone() };
        self.put_source(&def, &native, SourceCondition::Shadow)?;
        self.conditions.insert(id, SourceCondition::Shadow);
        // Its tables' changes go on to the source.
        self.sources.by_id.insert(id, Kept::new(def, &native, &self.env));
        Ok(())
    }

    /// The physical tables of a source.
    ///
    /// # Errors
    /// [`IvmError::UnknownSource`].
    pub fn tables_of(&self, source: SourceId) -> Result<Vec<TableId>, IvmError> {
        Ok(self.sources.get(source)?.def.tables.iter().map(|(table, _)| *table).collect())
    }

    /// Tables hold no rows of a source any more. Those that it has under them must have gone.
    ///
    /// # Errors
    /// When the source is not known, or the store cannot be written.
    pub fn remove_tables(&mut self, source: SourceId, tables: &BTreeSet<TableId>) -> Result<(), IvmError> {
        let kept = self.sources.get(source)?;
        let (mut def, native) = (kept.def.clone(), kept.native());
        def.tables.retain(|(table, _)| !tables.contains(table));
        let condition = self.conditions.get(&source).cloned().unwrap_or(SourceCondition::Loading);
        self.put_source(&def, &native, condition)?;
        self.sources.remove(source);
        self.sources.insert(Kept::new(def, &native, &self.env));
        Ok(())
    }

    /// How the source's rows in these tables differ from those of the shadow (or of a ready source with the same
    /// columns and key), as changes of the source. `None` when these take more than `limit` bytes.
    ///
    /// # Errors
    /// When either is not known, or the store cannot be read.
    pub fn difference(
        &self,
        source: SourceId,
        shadow: SourceId,
        scope: &Scope,
        limit: usize,
    ) -> Result<Option<Difference>, IvmError> {
        let (kept, again) = (self.sources.get(source)?, self.sources.get(shadow)?);
        let mut out = Writer { limit, ..Writer::default() };
        if kept.key.is_some() {
            self.keyed(kept, again, scope, &mut out)?;
        } else {
            for (theirs, ours) in &scope.again {
                self.counted(Some((again, *theirs)), kept, *ours, &mut out)?;
            }
            for table in &scope.going {
                self.counted(None, kept, *table, &mut out)?;
            }
        }
        Ok(out.is_within().then(|| out.finish()))
    }

    fn keyed(&self, kept: &Kept, again: &Kept, scope: &Scope, out: &mut Writer) -> Result<(), IvmError> {
        let mut pair = Pair::new(
            Side::new(self.store.cursor(Family::Sources), &kept.prefix),
            Side::new(self.store.cursor(Family::Sources), &again.prefix),
        );
        let rows = |value: Option<&[u8]>| match value {
            None => Ok(HeldRows::default()),
            Some(value) => HeldRows::decode(value).ok_or_else(|| IvmError::damaged("a kept row")),
        };
        while out.is_within()
            && let Some((_, ours, theirs)) = pair.next()?
        {
            let (ours, theirs) = (rows(ours)?, rows(theirs)?);
            for (table, row) in ours.first.iter().chain(&ours.waiting).filter(|h| scope.holds(h.0)) {
                let stays = theirs.first.iter().chain(&theirs.waiting).any(|h| scope.again.get(&h.0) == Some(table));
                if !stays {
                    out.put(*table, Op::Delete(row.clone()));
                }
            }
            for (table, row) in theirs.first.iter().chain(&theirs.waiting) {
                let Some(table) = scope.again.get(table) else { continue };
                match ours.of(*table) {
                    Some(held) if held == row => {}
                    // What comes new need not be looked for; this is held.
                    Some(_) => out.put(*table, Op::Update { old: None, new: row.clone() }),
                    None => out.put(*table, Op::Insert(row.clone())),
                }
            }
        }
        Ok(())
    }

    /// One table of a multiset.
    fn counted(
        &self,
        again: Option<(&Kept, TableId)>,
        kept: &Kept,
        table: TableId,
        out: &mut Writer,
    ) -> Result<(), IvmError> {
        let prefix = |kept: &Kept, table: TableId| [&kept.prefix[..], &table.0.to_be_bytes()].concat();
        let theirs = match again {
            Some((again, theirs)) => Side::new(self.store.cursor(Family::Sources), &prefix(again, theirs)),
            None => Side::none(self.store.cursor(Family::Sources)),
        };
        let mut pair = Pair::new(Side::new(self.store.cursor(Family::Sources), &prefix(kept, table)), theirs);
        while out.is_within()
            && let Some((row, ours, theirs)) = pair.next()?
        {
            let (ours, theirs) = (ours.map_or(Ok(0), count)?, theirs.map_or(Ok(0), count)?);
            let row = Row::from_bytes(Bytes::copy_from_slice(row));
            (theirs..ours).for_each(|_| out.put(table, Op::Delete(row.clone())));
            (ours..theirs).for_each(|_| out.put(table, Op::Insert(row.clone())));
        }
        Ok(())
    }

    /// Whether a table is one of the source's.
    #[must_use]
    pub fn has_table(&self, source: SourceId, table: TableId) -> bool {
        self.sources.get(source).is_ok_and(|kept| kept.def.tables.iter().any(|(t, _)| *t == table))
    }
}

/// Collects changes into pieces.
#[derive(Default)]
struct Writer {
    limit: usize,
    /// Bytes of closed pieces.
    closed: usize,
    piece: BytesMut,
    done: Difference,
}

impl Writer {
    fn put(&mut self, table: TableId, op: Op) {
        Change { table, op }.encode(&mut self.piece);
        self.done.changes += 1;
        if self.piece.len() >= PIECE_BYTES {
            self.closed += self.piece.len();
            self.done.pieces.push(self.piece.split().freeze());
        }
    }

    fn is_within(&self) -> bool {
        self.closed + self.piece.len() <= self.limit
    }

    fn finish(mut self) -> Difference {
        if !self.piece.is_empty() {
            self.done.pieces.push(self.piece.freeze());
        }
        self.done
    }
}

/// A run of keys under one prefix, and the entry that it stands at.
struct Side<'a> {
    cursor: Cursor<'a>,
    prefix: usize,
    at: Option<(Vec<u8>, Vec<u8>)>,
    over: bool,
}

impl<'a> Side<'a> {
    fn new(mut cursor: Cursor<'a>, prefix: &[u8]) -> Self {
        cursor.seek(prefix);
        Self { cursor, prefix: prefix.len(), at: None, over: false }
    }

    fn none(cursor: Cursor<'a>) -> Self {
        Self { cursor, prefix: 0, at: None, over: true }
    }

    /// Stands at an entry that was not taken, if there is one.
    fn fill(&mut self) -> Result<(), IvmError> {
        if self.at.is_none() && !self.over {
            match self.cursor.next()? {
                Some((key, value)) => {
                    self.at = Some((key.get(self.prefix..).unwrap_or_default().to_vec(), value.to_vec()));
                }
                None => self.over = true,
            }
        }
        Ok(())
    }
}

/// Two runs, walked through together in the order of the keys behind their prefixes.
struct Pair<'a> {
    ours: Side<'a>,
    theirs: Side<'a>,
    key: Vec<u8>,
    values: (Option<Vec<u8>>, Option<Vec<u8>>),
}

/// A key and the values on both sides.
type Both<'a> = (&'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

impl<'a> Pair<'a> {
    fn new(ours: Side<'a>, theirs: Side<'a>) -> Self {
        Self { ours, theirs, key: Vec::new(), values: (None, None) }
    }

    fn next(&mut self) -> Result<Option<Both<'_>>, IvmError> {
        self.ours.fill()?;
        self.theirs.fill()?;
        let order = match (&self.ours.at, &self.theirs.at) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((ours, _)), Some((theirs, _))) => ours.cmp(theirs),
        };
        let ours = if order == Ordering::Greater { None } else { self.ours.at.take() };
        let theirs = if order == Ordering::Less { None } else { self.theirs.at.take() };
        let (mut key, mut values) = (Vec::new(), (None, None));
        for (entry, value) in [(ours, &mut values.0), (theirs, &mut values.1)] {
            if let Some((k, v)) = entry {
                key = k;
                *value = Some(v);
            }
        }
        (self.key, self.values) = (key, values);
        Ok(Some((&self.key, self.values.0.as_deref(), self.values.1.as_deref())))
    }
}
