//! WITH RECURSIVE … UNION: each row once, with how often it follows from others.
//!
//! ```text
//!   Groups    state (u32)  | key of all columns → when it came, support, all (varints) | the row
//!             clock (u32)                       → when the last one came (varint)
//! ```
//!
//! *All* is how often a row is at the base or follows from rows that are there. *Support* is how much of that is the base or rows that
//! came before it: as long as there is some, the row stands on the base and not on a circle of rows that follow from each
//! other. A row without support goes, and with it what it was counted for. If it still follows from rows that stay, it comes
//! again, later than all of them.

use bytes::Bytes;
use state::{Family, Read, Write};
use types::{Delta, Row};

use super::recursive::{Bounds, Following, Step};
use super::{CHUNK, Cx, Emit};
use crate::error::{Failure, IvmError};
use crate::key::{FieldMap, KeyEncoder, put_varint, take_varint};
use crate::table::KeyTable;

/// The rows' state.
#[derive(Debug)]
pub(crate) struct Derived {
    pub(crate) state: u32,
    pub(crate) clock: u32,
    pub(crate) key: KeyEncoder,
}

/// What is known of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    /// `None` when it is not there.
    came: Option<u64>,
    support: i64,
    all: i64,
    row: Row,
}

/// A cut's work, or a piece's of the first content.
pub(crate) struct Round<'d> {
    derived: &'d Derived,
    keys: KeyTable,
    olds: Vec<Known>,
    news: Vec<Known>,
    clock: u64,
    clock_was: u64,
    /// Rows that may have lost their support, and rows that may have to come.
    fallen: Vec<u32>,
    rising: Vec<u32>,
    bounds: Bounds,
}

impl<'d> Round<'d> {
    pub(crate) fn new(derived: &'d Derived, cx: &Cx<'_>) -> Result<Self, Failure> {
        let stored = cx.store.get(Family::Groups, &derived.clock.to_be_bytes())?;
        let clock = stored.map_or(Some(0), |stored| take_varint(&mut &stored[..])).ok_or_else(damaged)?;
        Ok(Self {
            derived,
            keys: KeyTable::default(),
            olds: Vec::new(),
            news: Vec::new(),
            clock,
            clock_was: clock,
            fallen: Vec::new(),
            rising: Vec::new(),
            bounds: Bounds::default(),
        })
    }

    /// Takes in that rows follow from others, or do no longer.
    pub(crate) fn take(&mut self, cx: &mut Cx<'_>, following: Vec<Following>) -> Result<(), Failure> {
        let ids = self.find(cx, &following)?;
        for (Following { row, from, diff }, id) in following.into_iter().zip(ids) {
            let Some(known) = self.news.get_mut(id as usize) else { continue };
            known.all += diff;
            match known.came {
                Some(came) if from.is_none_or(|from| from < came) => {
                    known.support += diff;
                    if diff < 0 {
                        self.fallen.push(id);
                    }
                }
                None if diff > 0 => {
                    // One that was there comes again as it was.
                    if self.olds.get(id as usize).is_some_and(|old| old.came.is_none()) {
                        known.row = row;
                    }
                    self.rising.push(id);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The rows' numbers; what is not known of them yet is read.
    fn find(&mut self, cx: &Cx<'_>, following: &[Following]) -> Result<Vec<u32>, Failure> {
        let (mut fields, mut scratch) = (FieldMap::default(), Vec::new());
        let first = self.keys.len();
        let mut ids = Vec::with_capacity(following.len());
        for Following { row, .. } in following {
            let row = row.as_bytes();
            fields.read(row, self.derived.key.reach);
            scratch.clear();
            self.derived.key.encode(&fields, row, &mut scratch).map_err(Failure::unreadable("a value"))?;
            ids.push(self.keys.id(&scratch).0);
        }
        let prefix = self.derived.state.to_be_bytes();
        let fresh = (first as u32..self.keys.len() as u32).map(|id| self.keys.key(id));
        let full: Vec<Vec<u8>> = fresh.map(|key| [&prefix[..], key].concat()).collect();
        let refs: Vec<&[u8]> = full.iter().map(Vec::as_slice).collect();
        let mut damage = false;
        cx.store.multi_get(Family::Groups, &refs, &mut |_, stored| {
            let known = stored.map_or(Some(Known::default()), decode);
            damage |= known.is_none();
            self.olds.push(known.unwrap_or_default());
        })?;
        if damage {
            return Err(damaged());
        }
        self.news.extend_from_slice(self.olds.get(first..).unwrap_or_default());
        Ok(ids)
    }

    /// Takes out what has lost its support, and what was supported by it.
    pub(crate) fn over_delete(&mut self, cx: &mut Cx<'_>, step: &mut Step) -> Result<(), Failure> {
        loop {
            let mut went: Vec<(u64, Delta)> = Vec::new();
            for id in std::mem::take(&mut self.fallen) {
                let Some(known) = self.news.get_mut(id as usize) else { continue };
                if let Some(came) = known.came
                    && known.support <= 0
                {
                    known.came = None;
                    known.support = 0;
                    went.push((came, Delta::minus(known.row.clone())));
                    self.rising.push(id);
                }
            }
            if went.is_empty() {
                return Ok(());
            }
            self.bounds.round(0, &[])?;
            went.sort_by_key(|(came, _)| *came);
            for same in went.chunk_by(|a, b| a.0 == b.0) {
                let Some((came, _)) = same.first() else { continue };
                let rows: Vec<Delta> = same.iter().map(|(_, delta)| delta.clone()).collect();
                let following = step.push(cx, &rows, *came)?;
                self.take(cx, following)?;
            }
        }
    }

    /// Puts in what follows from rows that are there, until nothing does. With `emit`, of the first content: rows go there, and are
    /// written as they come.
    pub(crate) fn derive(
        &mut self,
        cx: &mut Cx<'_>,
        step: &mut Step,
        mut emit: Option<&mut Emit<'_>>,
    ) -> Result<(), Failure> {
        self.bounds.building = emit.is_some();
        let mut waiting: Vec<(u64, u64, Vec<Delta>)> = Vec::new();
        let mut depth = 0;
        loop {
            let came = self.rise();
            if !came.is_empty() {
                self.bounds.hold(&came)?;
                waiting.extend(came.chunks(CHUNK).map(|piece| (self.clock, depth, piece.to_vec())));
            }
            if let Some(emit) = emit.as_deref_mut() {
                cx.wanted()?;
                let out = self.finish(cx)?;
                step.node.settle(cx)?;
                cx.flush()?;
                let bounds = std::mem::take(&mut self.bounds);
                *self = Self { bounds, ..Self::new(self.derived, cx)? };
                if !out.is_empty() {
                    emit(cx, out)?;
                }
            }
            let Some((mark, at, rows)) = waiting.pop() else { return Ok(()) };
            depth = at + 1;
            self.bounds.round(depth, &rows)?;
            if emit.is_some() {
                self.bounds.release(&rows);
            }
            let following = step.push(cx, &rows, mark)?;
            self.take(cx, following)?;
        }
    }

    /// Those that are not there and should be: they are, from now on.
    fn rise(&mut self) -> Vec<Delta> {
        let mut out = Vec::new();
        for id in std::mem::take(&mut self.rising) {
            let Some(known) = self.news.get_mut(id as usize) else { continue };
            if known.came.is_none() && known.all > 0 {
                if out.is_empty() {
                    self.clock += 1;
                }
                // Whatever it follows from came before.
                (known.came, known.support) = (Some(self.clock), known.all);
                out.push(Delta::plus(known.row.clone()));
            }
        }
        out
    }

    /// Writes what is different, and gives the rows that came and went.
    pub(crate) fn finish(&mut self, cx: &mut Cx<'_>) -> Result<Vec<Delta>, Failure> {
        let (mut out, mut full) = (Vec::new(), Vec::new());
        for ((key, old), new) in self.keys.keys().zip(&self.olds).zip(&self.news) {
            let sound = if new.came.is_some() { 0 < new.support && new.support <= new.all } else { new.all == 0 };
            if !sound {
                let what =
                    "a recursion's rows do not follow from each other as they did; this is a defect of tributary";
                return Err(Failure::Stream(what.into()));
            }
            match (old.came, new.came) {
                (None, Some(_)) => out.push(Delta::plus(new.row.clone())),
                (Some(_), None) => out.push(Delta::minus(old.row.clone())),
                _ => {}
            }
            if (old.came, old.support, old.all) == (new.came, new.support, new.all) {
                continue;
            }
            full.clear();
            full.extend_from_slice(&self.derived.state.to_be_bytes());
            full.extend_from_slice(key);
            match new.came {
                None => cx.batch.delete(Family::Groups, &full),
                Some(came) => cx.batch.put(Family::Groups, &full, &encode(came, new)),
            }
        }
        if self.clock != self.clock_was {
            let mut value = Vec::new();
            put_varint(&mut value, self.clock);
            cx.batch.put(Family::Groups, &self.derived.clock.to_be_bytes(), &value);
        }
        Ok(out)
    }
}

fn encode(came: u64, known: &Known) -> Vec<u8> {
    let mut out = Vec::with_capacity(known.row.as_bytes().len() + 6);
    put_varint(&mut out, came);
    put_varint(&mut out, known.support as u64);
    put_varint(&mut out, known.all as u64);
    out.extend_from_slice(known.row.as_bytes());
    out
}

fn decode(mut stored: &[u8]) -> Option<Known> {
    let came = take_varint(&mut stored)?;
    let mut number = || take_varint(&mut stored).and_then(|n| i64::try_from(n).ok());
    let (support, all) = (number()?, number()?);
    Some(Known { came: Some(came), support, all, row: Row::from_bytes(Bytes::copy_from_slice(stored)) })
}

fn damaged() -> Failure {
    IvmError::damaged("a recursion's row").into()
}
