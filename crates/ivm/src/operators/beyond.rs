//! Rows whose value is beyond the least or the greatest of another input's: `v > (SELECT avg(v) FROM t)`, EXISTS by `v < w`.
//!
//! Both inputs lie in the order of their values ([`super::top`]). What rows are compared with is the other input's first (or last)
//! value; when that moves, only rows between where it was and where it is come or go.

use std::cmp::Ordering;

use bytes::Bytes;
use state::{Family, Read};
use types::{Delta, Row};

use super::join::consolidated;
use super::top::{Marked, Ordered, Stored, VALUE, damaged};
use super::{Cx, Emit, Node};
use crate::error::Failure;
use crate::key::FieldMap;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Beyond {
    pub(crate) rows: Ranked,
    pub(crate) bounds: Ranked,
    pub(crate) which: Which,
}

/// An input in the order of one column, NULLs last.
#[derive(Debug)]
pub(crate) struct Ranked {
    pub(crate) input: Node,
    pub(crate) ordered: Ordered,
}

/// Which rows come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Which {
    /// Those above the least bound; else those below the greatest.
    pub(crate) above: bool,
    /// Those at it, too.
    pub(crate) equal: bool,
}

/// What rows are compared with; `None`: nothing, and no row is shown.
type Bound = Option<Vec<u8>>;

impl Which {
    fn shows(self, value: &[u8], bound: Option<&[u8]>) -> bool {
        let Some(bound) = bound else { return false };
        value.first() == Some(&VALUE)
            && match value.cmp(bound) {
                Ordering::Equal => self.equal,
                Ordering::Greater => self.above,
                Ordering::Less => !self.above,
            }
    }

    /// Those of these rows.
    fn of(self, rows: &Marked, bound: Option<&[u8]>) -> Result<Vec<Delta>, Failure> {
        let mut out = Vec::new();
        for (entry, (end, diff)) in rows {
            let (value, row) = parts(entry, *end)?;
            if self.shows(value, bound) {
                out.push(Delta { row, diff: *diff });
            }
        }
        Ok(out)
    }
}

impl Ranked {
    /// What its entries with a value begin with.
    fn values(&self) -> Vec<u8> {
        [&self.ordered.state.to_be_bytes()[..], &[VALUE]].concat()
    }
}

/// Entries with how often each comes or goes.
fn summed(ordered: &Ordered, rows: &[Delta]) -> Result<Marked, Failure> {
    let (mut changes, mut fields) = (Marked::new(), FieldMap::default());
    for delta in rows {
        let (entry, _, end) = ordered.entry(&mut fields, &delta.row)?;
        changes.entry(entry).or_insert((end, 0)).1 += delta.diff;
    }
    changes.retain(|_, (_, diff)| *diff != 0);
    Ok(changes)
}

/// The value and the row of an entry.
fn parts(entry: &[u8], end: usize) -> Result<(&[u8], Row), Failure> {
    let (value, row) = entry.split_at_checked(end).ok_or_else(damaged)?;
    Ok((value, Row::from_bytes(Bytes::copy_from_slice(row))))
}

impl Beyond {
    /// Rows in, and what comes and goes.
    pub(crate) fn step(&mut self, cx: &mut Cx<'_>) -> Result<(usize, Vec<Delta>), Failure> {
        let rows = self.rows.input.step(cx)?;
        let bounds = self.bounds.input.step(cx)?;
        let rows_in = rows.len() + bounds.len();
        if rows_in == 0 {
            return Ok((0, Vec::new()));
        }
        let (changed, moved) = (summed(&self.rows.ordered, &rows)?, summed(&self.bounds.ordered, &bounds)?);
        let (before, after) = self.bound(cx, &moved)?;
        let mut out = self.between(cx, before.as_deref(), after.as_deref())?;
        out.extend(self.which.of(&changed, after.as_deref())?);
        self.rows.ordered.counted(cx, &[], &changed)?;
        self.bounds.ordered.counted(cx, &[], &moved)?;
        Ok((rows_in, consolidated(out)))
    }

    /// The bound as of the last cut, and after these changes.
    fn bound(&self, cx: &Cx<'_>, changes: &Marked) -> Result<(Bound, Bound), Failure> {
        let mut cursor = cx.store.cursor(Family::Multisets);
        let values = self.bounds.values();
        if self.which.above {
            cursor.seek(&values);
        } else {
            cursor.seek_last(&values);
        }
        let (mut before, mut stays) = (None, None);
        while let Some((key, stored)) = cursor.next()? {
            let entry = key.get(4..).unwrap_or_default();
            let Stored { copies, order: end, .. } = Stored::decode(stored)?;
            let value = entry.get(..end).ok_or_else(damaged)?;
            before.get_or_insert_with(|| value.to_vec());
            if copies + changes.get(entry).map_or(0, |(_, diff)| *diff) > 0 {
                stays = Some(value.to_vec());
                break;
            }
        }
        let came = changes.iter().filter(|(entry, (_, diff))| *diff > 0 && entry.first() == Some(&VALUE));
        let came = came.filter_map(|(entry, (end, _))| entry.get(..*end).map(<[u8]>::to_vec));
        let after = stays.into_iter().chain(came);
        Ok((before, if self.which.above { after.min() } else { after.max() }))
    }

    /// What becomes of the rows of the last cut when the bound moves.
    fn between(&self, cx: &Cx<'_>, before: Option<&[u8]>, after: Option<&[u8]>) -> Result<Vec<Delta>, Failure> {
        let mut out = Vec::new();
        let (low, high) = match (before, after) {
            (before, after) if before == after => return Ok(out),
            (Some(one), Some(other)) => (Some(one.min(other)), Some(one.max(other))),
            (one, other) if self.which.above => (one.or(other), None),
            (one, other) => (None, one.or(other)),
        };
        let values = self.rows.values();
        let from = low.map_or_else(|| values.clone(), |low| [&self.rows.ordered.state.to_be_bytes(), low].concat());
        let mut cursor = cx.store.cursor(Family::Multisets);
        cursor.seek_from(&values, &from);
        while let Some((key, stored)) = cursor.next()? {
            let Stored { copies, order: end, .. } = Stored::decode(stored)?;
            let (value, row) = parts(key.get(4..).unwrap_or_default(), end)?;
            if high.is_some_and(|high| value > high) {
                break;
            }
            match (self.which.shows(value, before), self.which.shows(value, after)) {
                (false, true) => out.push(Delta { row, diff: copies }),
                (true, false) => out.push(Delta { row, diff: -copies }),
                _ => {}
            }
        }
        Ok(out)
    }

    /// All rows that come out, in pieces: the bounds first.
    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        put_in_order(&mut self.bounds, cx, &mut |_, _| Ok(()))?;
        let (bound, _) = self.bound(cx, &Marked::new())?;
        let which = self.which;
        put_in_order(&mut self.rows, cx, &mut |cx, rows| {
            let out = which.of(rows, bound.as_deref())?;
            if out.is_empty() { Ok(()) } else { emit(cx, out) }
        })
    }

    pub(crate) fn describe(&self) -> String {
        let Which { above, equal } = self.which;
        let side = if above { "above the least" } else { "below the greatest" };
        let at = if equal { ", or equal" } else { "" };
        format!("rows {side}{at}; both sides in their order")
    }
}

/// While building: all rows of an input, written in their order.
fn put_in_order(
    ranked: &mut Ranked,
    cx: &mut Cx<'_>,
    then: &mut dyn FnMut(&mut Cx<'_>, &Marked) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Ranked { input, ordered } = ranked;
    input.build(cx, &mut |cx, rows| {
        let rows = summed(ordered, &rows)?;
        ordered.counted(cx, &[], &rows)?;
        cx.flush()?;
        then(cx, &rows)
    })
}
