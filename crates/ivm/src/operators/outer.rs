//! Joins in which a row without a partner matters: left, semi and anti joins. (A full join is a left join and, for the other
//! side, an anti join.)
//!
//! ```text
//!   without a condition    Groups    state (u32) | join key → partners (varint): right's rows with that key
//!   with one               Groups    state (u32) | left row → copies, partners (varints) of each copy
//! ```
//!
//! All three need to know of a left row whether it has a partner, before and after the cut. Without a condition that is the same for all
//! left rows of a key, so that they are only looked up when the count of the key's partners goes between 0 and more. With a
//! condition it is each row's own; it is evaluated for pairs that are there before or after the cut, never for others.

use std::collections::HashMap;

use state::{Family, Read, Store, Write};
use types::{Delta, Row};

use super::filter::Predicate;
use super::join::{consolidated, pairs};
use super::outer_flow::OuterFlow;
use super::pg_map::PgCompute;
use super::side::{Index, Keyed, Side};
use super::{Cx, Emit, Node};
use crate::error::{Failure, IvmError};
use crate::key::{KeyEncoder, put_varint, take_varint};
use crate::table::KeyTable;

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OuterKind {
    /// Pairs, and left's rows without a partner with so many NULLs behind them.
    Left { padding: usize },
    /// Left's rows with a partner.
    Semi,
    /// Left's rows without one.
    Anti,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Outer {
    pub(crate) kind: OuterKind,
    pub(crate) left: Side,
    pub(crate) right: Node,
    /// Where right's rows are found, where pairs are looked at.
    pub(crate) pairs: Option<Index>,
    pub(crate) partners: Partners,
    /// In the step of a recursion, whose rows are left's.
    pub(crate) flow: Option<OuterFlow>,
}

/// Which left rows have partners.
#[derive(Debug)]
pub(crate) struct Partners {
    pub(crate) state: u32,
    /// The join's key of left's rows, and of right's.
    pub(crate) left: KeyEncoder,
    pub(crate) right: KeyEncoder,
    pub(crate) on: Option<On>,
}

/// A condition over pairs.
#[derive(Debug)]
pub(crate) struct On {
    /// What PostgreSQL appends to the pairs first.
    pub(crate) compute: Option<PgCompute>,
    pub(crate) predicate: Predicate,
}

impl On {
    /// Which of the pairs fulfil it.
    pub(super) fn of(&self, cx: &mut Cx<'_>, pairs: &[Delta]) -> Result<Vec<bool>, Failure> {
        match &self.compute {
            None => pairs.iter().map(|pair| self.predicate.is_true(&pair.row)).collect(),
            Some(compute) => {
                let computed = compute.apply(cx, pairs)?;
                computed.iter().map(|pair| self.predicate.is_true(&pair.row)).collect()
            }
        }
    }
}

/// A left row's copies, and the partners of each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) copies: i64,
    pub(super) partners: i64,
}

impl Counted {
    pub(super) fn decode(stored: &mut &[u8]) -> Option<Self> {
        Some(Self { copies: decode_count(stored)?, partners: decode_count(stored)? })
    }

    /// Nothing is kept of a row that is not there.
    pub(super) fn write(self, cx: &mut Cx<'_>, state: u32, row: &[u8]) -> Result<(), Failure> {
        if self.copies < 0 || self.partners < 0 {
            return Err(lost());
        }
        let mut value = Vec::new();
        put_varint(&mut value, self.copies as u64);
        put_varint(&mut value, self.partners as u64);
        write(cx, state, row, (self.copies > 0).then_some(&value));
        Ok(())
    }
}

pub(super) fn decode_count(stored: &mut &[u8]) -> Option<i64> {
    take_varint(stored).and_then(|n| i64::try_from(n).ok())
}

impl Outer {
    /// Rows in, and what becomes of those that come out.
    pub(crate) fn step(&mut self, cx: &mut Cx<'_>) -> Result<(usize, Vec<Delta>), Failure> {
        let lefts = self.left.input.step(cx)?;
        let rights = self.right.step(cx)?;
        let rows_in = lefts.len() + rights.len();
        self.forget();
        if rows_in == 0 {
            return Ok((0, Vec::new()));
        }
        let Self { kind, left: Side { index: left, .. }, pairs: index, partners, flow, .. } = self;
        let paired = match (&kind, &index) {
            (OuterKind::Left { .. }, Some(index)) => pairs(cx, left, index, &lefts, &rights)?,
            _ => Vec::new(),
        };
        let (paired, alone) = match &partners.on {
            None => (paired, partners.alone_by_key(cx, left, (&lefts, &rights), flow.as_mut())?),
            Some(on) => {
                let fit = on.of(cx, &paired)?;
                let paired = paired.into_iter().zip(fit).filter_map(|(pair, fits)| fits.then_some(pair)).collect();
                (paired, partners.alone_by_row(cx, (left, index.as_ref()), (&lefts, &rights), flow.as_mut())?)
            }
        };
        if let Some(index) = index {
            index.write(cx, &rights)?;
        }
        match flow {
            None => left.write(cx, &lefts)?,
            Some(flow) => flow.begin(index.as_ref(), rights, lefts.clone())?,
        }
        Ok((rows_in, kind.out(lefts, paired, alone)))
    }

    /// Forgets what a cut that was not written has left.
    pub(crate) fn forget(&mut self) {
        if let Some(flow) = &mut self.flow {
            *flow = OuterFlow::default();
        }
    }

    /// While building: arranges and counts right's rows.
    pub(crate) fn prepare(&mut self, cx: &mut Cx<'_>) -> Result<(), Failure> {
        let Self { right, pairs: index, partners, .. } = self;
        right.build(cx, &mut |cx, rows| {
            if let Some(index) = index {
                index.write(cx, &rows)?;
            }
            if partners.on.is_none() {
                partners.count(cx, &rows)?;
            }
            cx.flush()
        })
    }

    /// All that comes out, in pieces: right first, then left's rows, which find all their partners.
    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        self.prepare(cx)?;
        let Self { kind, left, pairs: index, partners, .. } = self;
        let Side { input, index: left_index } = left;
        input.build(cx, &mut |cx, rows| {
            left_index.write(cx, &rows)?;
            left_index.flush(cx)?;
            let rows = consolidated(rows);
            let looked_at = matches!(kind, OuterKind::Left { .. }) || partners.on.is_some();
            let mut paired = match index {
                Some(index) if looked_at => {
                    let asked = Keyed::of(&rows, &index.probe, index.marked)?;
                    let found = index.lookup(cx, &asked)?;
                    let of = |id: Option<u32>| id.map_or(&[][..], |id| found.of(id));
                    let rows = rows.iter().zip(asked.ids.iter().copied()).enumerate();
                    rows.flat_map(|(at, (row, id))| of(id).iter().map(move |other| (at, row, other)))
                        .map(|(at, row, other)| (at, other.diff, row.row.concat(&other.row), row.diff * other.diff))
                        .map(|(at, count, row, diff)| (at, count, Delta { row, diff }))
                        .collect()
                }
                _ => Vec::new(),
            };
            let alone = match &partners.on {
                None => partners.without(cx, &rows)?,
                Some(on) => {
                    let asked: Vec<Delta> = paired.iter().map(|(_, _, pair)| pair.clone()).collect();
                    let mut fit = on.of(cx, &asked)?.into_iter();
                    paired.retain(|_| fit.next().unwrap_or(false));
                    let mut counts = vec![0; rows.len()];
                    paired.iter().for_each(|(at, count, _)| counts[*at] += count);
                    partners.note(cx, &rows, &counts)?
                }
            };
            let paired = paired.into_iter().map(|(_, _, pair)| pair).collect();
            let out = kind.out(rows, paired, alone);
            if out.is_empty() { Ok(()) } else { emit(cx, out) }
        })?;
        cx.flush()
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            OuterKind::Left { .. } => "left join",
            OuterKind::Semi => "semi join",
            OuterKind::Anti => "anti join",
        }
    }

    /// Whether PostgreSQL computes its condition.
    pub(crate) fn asks(&self) -> bool {
        self.partners.on.as_ref().is_some_and(|on| on.compute.is_some())
    }

    pub(crate) fn describe(&self) -> String {
        let by = if self.partners.on.is_some() { "left row" } else { "key" };
        let right = self.pairs.as_ref().map(|index| format!("; right: {}", index.describe())).unwrap_or_default();
        format!("partners counted by {by}; left: {}{right}", self.left.index.describe())
    }
}

impl OuterKind {
    pub(super) fn out(self, lefts: Vec<Delta>, mut paired: Vec<Delta>, alone: Vec<Delta>) -> Vec<Delta> {
        match self {
            Self::Left { padding } => {
                let nulls = Row::from_bytes(vec![0; padding].into());
                paired.extend(alone.into_iter().map(|d| Delta { row: d.row.concat(&nulls), diff: d.diff }));
                paired
            }
            Self::Anti => alone,
            Self::Semi => {
                let mut out = lefts;
                out.extend(alone.into_iter().map(|d| Delta { row: d.row, diff: -d.diff }));
                consolidated(out)
            }
        }
    }
}

impl Partners {
    /// What becomes of left's rows without a partner, by the counts of keys.
    fn alone_by_key(
        &self,
        cx: &mut Cx<'_>,
        index: &Index,
        (lefts, rights): (&[Delta], &[Delta]),
        mut flow: Option<&mut OuterFlow>,
    ) -> Result<Vec<Delta>, Failure> {
        let Self { state, left, right, .. } = self;
        let left_keys = Keyed::of(lefts, left, 0)?;
        let right_keys = Keyed::of(rights, right, 0)?;
        // Left's keys first, then those that only right has.
        let mut keys = KeyTable::default();
        for key in left_keys.keys.keys() {
            keys.id(key);
        }
        let mut came: HashMap<u32, (i64, usize)> = HashMap::new();
        for (at, (delta, id)) in rights.iter().zip(&right_keys.ids).enumerate() {
            let Some(id) = id else { continue };
            let (id, _) = keys.id(right_keys.keys.key(*id));
            came.entry(id).or_insert((0, at)).0 += delta.diff;
        }
        let before = read(cx.store, *state, &keys, decode_count)?;
        let mut after = before.clone();
        let mut crossing: Vec<(usize, Delta)> = Vec::new();
        for (&id, &(diff, at)) in &came {
            let id = id as usize;
            let count = before[id].unwrap_or_default() + diff;
            if count < 0 {
                return Err(lost());
            }
            after[id] = Some(count);
            if let Some(flow) = &mut flow {
                flow.keys.insert(keys.key(id as u32).to_vec(), count);
            }
            if diff != 0 {
                let mut value = Vec::new();
                put_varint(&mut value, count as u64);
                write(cx, *state, keys.key(id as u32), (count > 0).then_some(&value));
            }
            if (before[id].unwrap_or_default() == 0) != (count == 0) {
                crossing.push((id, rights[at].clone()));
            }
        }
        crossing.sort_unstable_by_key(|(id, _)| *id);
        let partners = |id: usize| (before[id].unwrap_or_default(), after[id].unwrap_or_default());
        let mut out = Vec::new();
        for (delta, id) in lefts.iter().zip(&left_keys.ids) {
            // Before and after it has none, or after it has none and its group is added below as it was.
            if id.is_none_or(|id| partners(id as usize).1 == 0) {
                out.push(delta.clone());
            }
        }
        let (ids, representatives): (Vec<usize>, Vec<Delta>) = crossing.into_iter().unzip();
        let asked = Keyed::of(&representatives, &index.probe, index.marked)?;
        let held = index.lookup(cx, &asked)?;
        for (id, key) in ids.into_iter().zip(&asked.ids) {
            let Some(key) = *key else { continue };
            let sign = if partners(id).1 == 0 { 1 } else { -1 };
            out.extend(held.of(key).iter().map(|d| Delta { row: d.row.clone(), diff: d.diff * sign }));
        }
        Ok(consolidated(out))
    }

    /// The same by the counts of left's rows.
    fn alone_by_row(
        &self,
        cx: &mut Cx<'_>,
        (left, index): (&Index, Option<&Index>),
        (lefts, rights): (&[Delta], &[Delta]),
        mut flow: Option<&mut OuterFlow>,
    ) -> Result<Vec<Delta>, Failure> {
        let (Some(index), Some(on)) = (index, &self.on) else { return Ok(Vec::new()) };
        let mut out: Vec<Delta> = Vec::new();
        let lefts = consolidated(lefts.to_vec());
        let rights = consolidated(rights.to_vec());
        let right_keys = Keyed::of(&rights, &self.right, 0)?;
        let mut by_key: HashMap<&[u8], Vec<&Delta>> = HashMap::new();
        for (delta, id) in rights.iter().zip(&right_keys.ids) {
            let Some(id) = id else { continue };
            by_key.entry(right_keys.keys.key(*id)).or_default().push(delta);
        }
        // Left's rows that changed, and those that meet a row of right that changed.
        let mut rows = KeyTable::default();
        let mut diffs: Vec<i64> = Vec::new();
        let mut touched: Vec<Delta> = Vec::new();
        for (delta, id) in lefts.iter().zip(Keyed::of(&lefts, &self.left, 0)?.ids) {
            if id.is_none() {
                out.push(delta.clone());
                continue;
            }
            rows.id(delta.row.as_bytes());
            diffs.push(delta.diff);
            touched.push(delta.clone());
        }
        let asked = Keyed::of(&rights, &left.probe, left.marked)?;
        let met = left.lookup(cx, &asked)?;
        for id in 0..asked.keys.len() as u32 {
            for held in met.of(id) {
                if rows.id(held.row.as_bytes()).1 {
                    diffs.push(0);
                    touched.push(held.clone());
                }
            }
        }
        let counted = read(cx.store, self.state, &rows, Counted::decode)?;
        let keys = Keyed::of(&touched, &self.left, 0)?;
        // All partners of those that are new; of the others, only what changed.
        let is_new = |at: usize| counted[at].is_none_or(|c| c.copies == 0);
        let new: Vec<Delta> =
            touched.iter().enumerate().filter(|(at, _)| is_new(*at)).map(|(_, d)| d.clone()).collect();
        let found_keys = Keyed::of(&new, &index.probe, index.marked)?;
        let found = index.lookup(cx, &found_keys)?;
        let mut found_ids = found_keys.ids.iter();
        // The pairs that decide, with the left row of each.
        let (mut asked_pairs, mut of_row) = (Vec::new(), Vec::new());
        for (at, delta) in touched.iter().enumerate() {
            let before = counted[at].unwrap_or_default();
            let copies = before.copies + diffs[at];
            if copies < 0 {
                return Err(lost());
            }
            let found_id = if is_new(at) { found_ids.next().copied().flatten() } else { None };
            let changed = keys.ids[at].and_then(|id| by_key.get(keys.keys.key(id))).map_or(&[][..], Vec::as_slice);
            let partners: Vec<Delta> = match (before.copies, copies) {
                (_, 0) => Vec::new(),
                (0, _) => {
                    let held = found_id.map_or(&[][..], |id| found.of(id));
                    consolidated(held.iter().chain(changed.iter().copied()).cloned().collect())
                }
                _ => changed.iter().copied().cloned().collect(),
            };
            for partner in partners {
                asked_pairs.push(Delta { row: delta.row.concat(&partner.row), diff: partner.diff });
                of_row.push(at);
            }
        }
        let fit = on.of(cx, &asked_pairs)?;
        let mut more = vec![0; touched.len()];
        for ((pair, at), fits) in asked_pairs.iter().zip(of_row).zip(fit) {
            more[at] += if fits { pair.diff } else { 0 };
        }
        for (at, delta) in touched.iter().enumerate() {
            let before = counted[at].unwrap_or_default();
            let copies = before.copies + diffs[at];
            let partners = if copies == 0 { 0 } else { before.partners + more[at] };
            let was_alone = if before.partners == 0 { before.copies } else { 0 };
            let is_alone = if partners == 0 { copies } else { 0 };
            if was_alone != is_alone {
                out.push(Delta { row: delta.row.clone(), diff: is_alone - was_alone });
            }
            let counted = Counted { copies, partners };
            match &mut flow {
                None => counted.write(cx, self.state, delta.row.as_bytes())?,
                Some(flow) => drop(flow.counted.insert(delta.row.clone(), counted)),
            }
        }
        Ok(out)
    }

    /// While building: counts right's rows by key.
    fn count(&self, cx: &mut Cx<'_>, rights: &[Delta]) -> Result<(), Failure> {
        let keyed = Keyed::of(rights, &self.right, 0)?;
        let mut diffs = vec![0; keyed.keys.len()];
        for (delta, id) in rights.iter().zip(&keyed.ids) {
            if let Some(id) = id {
                diffs[*id as usize] += delta.diff;
            }
        }
        let before = read(cx.store, self.state, &keyed.keys, decode_count)?;
        for ((key, before), diff) in keyed.keys.keys().zip(before).zip(diffs) {
            let mut value = Vec::new();
            put_varint(&mut value, (before.unwrap_or_default() + diff) as u64);
            write(cx, self.state, key, Some(&value));
        }
        Ok(())
    }

    /// While building: left's rows whose key has no partner.
    fn without(&self, cx: &Cx<'_>, lefts: &[Delta]) -> Result<Vec<Delta>, Failure> {
        let keyed = Keyed::of(lefts, &self.left, 0)?;
        let counts = read(cx.store, self.state, &keyed.keys, decode_count)?;
        let alone = |id: &Option<u32>| id.is_none_or(|id| counts[id as usize].unwrap_or_default() == 0);
        Ok(lefts.iter().zip(&keyed.ids).filter(|(_, id)| alone(id)).map(|(d, _)| d.clone()).collect())
    }

    /// While building: notes how many partners each left row has; gives those that have none.
    fn note(&self, cx: &mut Cx<'_>, lefts: &[Delta], counts: &[i64]) -> Result<Vec<Delta>, Failure> {
        let joins = Keyed::of(lefts, &self.left, 0)?.ids;
        let mut rows = KeyTable::default();
        for delta in lefts {
            rows.id(delta.row.as_bytes());
        }
        // Copies of a row may have come with an earlier piece.
        let before = read(cx.store, self.state, &rows, decode_count)?;
        let mut out = Vec::new();
        for (((delta, id), count), before) in lefts.iter().zip(joins).zip(counts).zip(before) {
            if *count == 0 {
                out.push(delta.clone());
            }
            if id.is_some() {
                let mut value = Vec::new();
                put_varint(&mut value, (before.unwrap_or_default() + delta.diff) as u64);
                put_varint(&mut value, *count as u64);
                write(cx, self.state, delta.row.as_bytes(), Some(&value));
            }
        }
        cx.flush()?;
        Ok(out)
    }
}

/// What is stored for keys; `None` where nothing is.
pub(super) fn read<T>(
    store: &Store,
    state: u32,
    keys: &KeyTable,
    decode: impl Fn(&mut &[u8]) -> Option<T>,
) -> Result<Vec<Option<T>>, Failure> {
    let full: Vec<Vec<u8>> = keys.keys().map(|key| [&state.to_be_bytes(), key].concat()).collect();
    let refs: Vec<&[u8]> = full.iter().map(Vec::as_slice).collect();
    let mut out = Vec::with_capacity(refs.len());
    let mut damaged = false;
    store.multi_get(Family::Groups, &refs, &mut |_, stored| {
        let value = stored.map(|mut stored| decode(&mut stored));
        damaged |= matches!(value, Some(None));
        out.push(value.flatten());
    })?;
    if damaged { Err(IvmError::damaged("a join's partners").into()) } else { Ok(out) }
}

fn write(cx: &mut Cx<'_>, state: u32, key: &[u8], value: Option<&Vec<u8>>) {
    let full = [&state.to_be_bytes(), key].concat();
    match value {
        Some(value) => cx.batch.put(Family::Groups, &full, value),
        None => cx.batch.delete(Family::Groups, &full),
    }
}

fn lost() -> Failure {
    Failure::Stream("a row left a join that was not in it; this is a defect of tributary".into())
}
