//! Inner join on equal keys.
//!
//! ```text
//!   d(L ⋈ R)  =  dL ⋈ R  +  L ⋈ dR  +  dL ⋈ dR          L, R as of the last cut
//! ```
//!
//! Where a key changes on both sides at once, the three parts hold pairs of an old and a new row that cancel out. They
//! are cancelled here: no expression above may ever see a pair that exists neither before nor after the cut.

use types::Delta;

use super::flow::Flow;
use super::side::{Access, Found, Index, Keyed, Side};
use super::{CHUNK, Cx, Emit, Node};
use crate::error::Failure;
use crate::table::KeyTable;

/// Pairs rows with equal keys: all physical columns of the left, then all of the right.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) left: Side,
    pub(crate) right: Side,
    /// In the step of a recursion.
    pub(crate) flow: Option<JoinFlow>,
}

/// What is remembered until the cut ends, and which side the recursive rows are.
#[derive(Debug)]
pub(crate) struct JoinFlow {
    pub(crate) flow: Flow,
    pub(crate) is_right: bool,
}

fn pair(left: &Delta, right: &Delta) -> Delta {
    Delta { row: left.row.concat(&right.row), diff: left.diff * right.diff }
}

impl Join {
    /// Rows in, and the pairs' deltas.
    pub(crate) fn step(&mut self, cx: &mut Cx<'_>) -> Result<(usize, Vec<Delta>), Failure> {
        let lefts = self.left.input.step(cx)?;
        let rights = self.right.input.step(cx)?;
        let rows_in = lefts.len() + rights.len();
        self.forget();
        if rows_in == 0 {
            return Ok((0, Vec::new()));
        }
        let (left, right) = (&self.left.index, &self.right.index);
        let out = pairs(cx, left, right, &lefts, &rights)?;
        match &mut self.flow {
            None => {
                left.write(cx, &lefts)?;
                right.write(cx, &rights)?;
            }
            Some(JoinFlow { flow, is_right: false }) => {
                right.write(cx, &rights)?;
                flow.begin(right, rights, lefts)?;
            }
            Some(JoinFlow { flow, is_right: true }) => {
                left.write(cx, &lefts)?;
                flow.begin(left, lefts, rights)?;
            }
        }
        Ok((rows_in, out))
    }

    /// The recursive side, and the other one.
    fn sides(&mut self) -> (&mut Side, &mut Side) {
        if self.flow.as_ref().is_some_and(|f| f.is_right) {
            (&mut self.right, &mut self.left)
        } else {
            (&mut self.left, &mut self.right)
        }
    }

    /// The recursive side's input.
    pub(crate) fn recursive(&mut self) -> &mut Node {
        &mut self.sides().0.input
    }

    /// Within a recursion: the pairs of recursive rows that come or go.
    pub(crate) fn push(&mut self, cx: &mut Cx<'_>, rows: Vec<Delta>) -> Result<Vec<Delta>, Failure> {
        let Some(JoinFlow { flow, is_right }) = &mut self.flow else { return Err(Flow::missing()) };
        let other = if *is_right { &self.left.index } else { &self.right.index };
        let keys = Keyed::of(&rows, &other.probe, other.marked)?;
        let held = other.lookup(cx, &keys)?;
        let mut out = Vec::new();
        for (row, id) in rows.iter().zip(&keys.ids) {
            let Some(id) = *id else { continue };
            let others = flow.after(&keys, id, &held);
            out.extend(others.iter().map(|other| if *is_right { pair(other, row) } else { pair(row, other) }));
        }
        flow.rows.extend(rows);
        Ok(out)
    }

    /// Within a recursion: writes what the cut has done to the recursive side.
    pub(crate) fn settle(&mut self, cx: &mut Cx<'_>) -> Result<(), Failure> {
        let Some(JoinFlow { flow, is_right }) = &mut self.flow else { return Ok(()) };
        let rows = std::mem::take(flow).rows;
        let own = if *is_right { &self.right.index } else { &self.left.index };
        own.write(cx, &rows)
    }

    /// While building within a recursion: arranges the other side.
    pub(crate) fn prepare(&mut self, cx: &mut Cx<'_>) -> Result<(), Failure> {
        arrange(self.sides().1, cx)
    }

    /// Forgets what a cut that was not written has left.
    pub(crate) fn forget(&mut self) {
        if let Some(JoinFlow { flow, .. }) = &mut self.flow {
            *flow = Flow::default();
        }
    }

    /// All pairs, in pieces. One side's rows are read and looked up in the other, which is arranged first.
    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        // Point reads are the cheapest, and what has to be computed is read once.
        let cost = |side: &Side| match side.index.access {
            Access::Rows { .. } => 0,
            Access::Shared { .. } | Access::Prefix { .. } => 1,
            Access::Private { .. } | Access::Keyed { .. } => 2,
        };
        let through_left = cost(&self.right) <= cost(&self.left);
        let (read, other) =
            if through_left { (&mut self.left, &mut self.right) } else { (&mut self.right, &mut self.left) };
        arrange(other, cx)?;
        let (Side { input, index: read }, other) = (read, &other.index);
        input.build(cx, &mut |cx, rows| {
            read.write(cx, &rows)?;
            read.flush(cx)?;
            let keys = Keyed::of(&rows, &other.probe, other.marked)?;
            let found = other.lookup(cx, &keys)?;
            emit_pairs(cx, emit, &rows, &keys, &found, through_left)
        })
    }

    pub(crate) fn describe(&self) -> String {
        format!("left: {}; right: {}", self.left.index.describe(), self.right.index.describe())
    }
}

/// What becomes of the pairs of two sides, of which these rows changed.
pub(crate) fn pairs(
    cx: &mut Cx<'_>,
    left: &Index,
    right: &Index,
    lefts: &[Delta],
    rights: &[Delta],
) -> Result<Vec<Delta>, Failure> {
    let mut out = Vec::new();
    let left_keys = Keyed::of(lefts, &right.probe, right.marked)?;
    let right_keys = Keyed::of(rights, &left.probe, left.marked)?;
    let held_right = right.lookup(cx, &left_keys)?;
    let held_left = left.lookup(cx, &right_keys)?;
    let meeting = Meeting::of(&left_keys, right, lefts, rights)?;
    let mut mixed = Vec::new();
    for (row, id) in lefts.iter().zip(&left_keys.ids) {
        let Some(id) = *id else { continue };
        let into = if meeting.rights_of(id).is_empty() { &mut out } else { &mut mixed };
        into.extend(held_right.of(id).iter().map(|other| pair(row, other)));
    }
    for (i, (row, id)) in rights.iter().zip(&right_keys.ids).enumerate() {
        let Some(id) = *id else { continue };
        let into = if meeting.is_met(i) { &mut mixed } else { &mut out };
        into.extend(held_left.of(id).iter().map(|other| pair(other, row)));
    }
    for (row, id) in lefts.iter().zip(&left_keys.ids) {
        let Some(id) = *id else { continue };
        mixed.extend(meeting.rights_of(id).iter().filter_map(|&i| Some(pair(row, rights.get(i)?))));
    }
    out.append(&mut consolidated(mixed));
    Ok(out)
}

/// Changed rows of both sides that have a key in common.
#[derive(Debug, Default)]
struct Meeting {
    /// Of each key of the left: changed rows of the right.
    rights: Vec<Vec<usize>>,
    /// Of each changed row of the right.
    met: Vec<bool>,
}

impl Meeting {
    /// Which changed rows of the right have the key of a changed row of the left.
    fn of(left_keys: &Keyed, right: &Index, lefts: &[Delta], rights: &[Delta]) -> Result<Self, Failure> {
        let mut meeting = Self::default();
        if lefts.is_empty() || rights.is_empty() {
            return Ok(meeting);
        }
        meeting.rights = vec![Vec::new(); left_keys.keys.len()];
        meeting.met = vec![false; rights.len()];
        let own = Keyed::of(rights, &right.own, right.marked)?;
        for (i, id) in own.ids.iter().enumerate() {
            let Some(key) = id.map(|id| own.keys.key(id)) else { continue };
            if let Some(id) = left_keys.keys.find(key) {
                meeting.rights[id as usize].push(i);
                meeting.met[i] = true;
            }
        }
        Ok(meeting)
    }

    fn rights_of(&self, key: u32) -> &[usize] {
        self.rights.get(key as usize).map_or(&[], Vec::as_slice)
    }
    fn is_met(&self, right: usize) -> bool {
        self.met.get(right).copied().unwrap_or(false)
    }
}

/// Sums up what is said of each row.
pub(crate) fn consolidated(rows: Vec<Delta>) -> Vec<Delta> {
    if rows.len() < 2 {
        return rows;
    }
    let mut table = KeyTable::default();
    let mut out: Vec<Delta> = Vec::with_capacity(rows.len());
    for delta in rows {
        let (id, new) = table.id(delta.row.as_bytes());
        if new {
            out.push(delta);
        } else {
            out[id as usize].diff += delta.diff;
        }
    }
    out.retain(|delta| delta.diff != 0);
    out
}

/// Writes all of a side's rows into its own arrangement, if it has one.
fn arrange(side: &mut Side, cx: &mut Cx<'_>) -> Result<(), Failure> {
    let Side { input, index } = side;
    if index.access.own_state().is_none() {
        return Ok(());
    }
    input.build(cx, &mut |cx, rows| {
        index.write(cx, &rows)?;
        index.flush(cx)
    })?;
    cx.flush()
}

fn emit_pairs(
    cx: &mut Cx<'_>,
    emit: &mut Emit<'_>,
    rows: &[Delta],
    keys: &Keyed,
    found: &Found,
    rows_are_left: bool,
) -> Result<(), Failure> {
    let mut out = Vec::new();
    for (row, id) in rows.iter().zip(&keys.ids) {
        let Some(id) = *id else { continue };
        for other in found.of(id) {
            out.push(if rows_are_left { pair(row, other) } else { pair(other, row) });
            if out.len() >= CHUNK {
                emit(cx, std::mem::take(&mut out))?;
            }
        }
    }
    if out.is_empty() { Ok(()) } else { emit(cx, out) }
}
