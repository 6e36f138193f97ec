//! LEFT, semi and anti joins within the step of a recursion, whose rows are the left side's ([`super::flow`]).

use std::collections::HashMap;

use types::{Delta, Row};

use super::flow::Flow;
use super::join::consolidated;
use super::outer::{Counted, Outer, decode_count, read};
use super::side::{Index, Keyed};
use super::{Cx, OuterKind};
use crate::error::Failure;
use crate::table::KeyTable;

/// What is remembered until the cut ends.
#[derive(Debug, Default)]
pub(crate) struct OuterFlow {
    join: Flow,
    /// Of the join's keys that the cut has touched: right's rows after it.
    pub(super) keys: HashMap<Vec<u8>, i64>,
    /// Of left's rows that the cut has touched, where a condition decides: what is to be written of them.
    pub(super) counted: HashMap<Row, Counted>,
}

impl OuterFlow {
    /// The cut begins: right's changes, and what they do to left's rows.
    pub(super) fn begin(&mut self, right: Option<&Index>, rights: Vec<Delta>, rows: Vec<Delta>) -> Result<(), Failure> {
        match right {
            Some(right) => self.join.begin(right, rights, rows),
            None => {
                self.join.rows = rows;
                Ok(())
            }
        }
    }

    /// More copies of left's rows, each with as many partners as it has after the cut.
    fn count(&mut self, cx: &Cx<'_>, state: u32, rows: &[Delta], partners: &[i64]) -> Result<(), Failure> {
        let mut unknown = KeyTable::default();
        for delta in rows.iter().filter(|d| !self.counted.contains_key(&d.row)) {
            unknown.id(delta.row.as_bytes());
        }
        let stored = read(cx.store, state, &unknown, Counted::decode)?;
        for (delta, partners) in rows.iter().zip(partners) {
            let known = unknown.find(delta.row.as_bytes()).and_then(|id| stored.get(id as usize).copied().flatten());
            let counted = self.counted.entry(delta.row.clone()).or_insert_with(|| known.unwrap_or_default());
            counted.copies += delta.diff;
            counted.partners = *partners;
        }
        Ok(())
    }
}

impl Outer {
    /// Within a recursion: what recursive rows that come or go come to.
    pub(crate) fn push(&mut self, cx: &mut Cx<'_>, rows: Vec<Delta>) -> Result<Vec<Delta>, Failure> {
        let Self { kind, pairs, partners, flow, .. } = self;
        let Some(flow) = flow else { return Err(Flow::missing()) };
        let rows = consolidated(rows);
        let Some(index) = pairs else {
            let keys = Keyed::of(&rows, &partners.left, 0)?;
            let stored = read(cx.store, partners.state, &keys.keys, decode_count)?;
            let count = |id: u32| {
                let now = flow.keys.get(keys.keys.key(id)).copied();
                now.or_else(|| stored.get(id as usize).copied().flatten()).unwrap_or_default()
            };
            let is_alone = |id: &Option<u32>| id.is_none_or(|id| count(id) == 0);
            let alone = rows.iter().zip(&keys.ids).filter(|(_, id)| is_alone(id)).map(|(d, _)| d.clone()).collect();
            flow.join.rows.extend_from_slice(&rows);
            return Ok(kind.out(rows, Vec::new(), alone));
        };
        let keys = Keyed::of(&rows, &index.probe, index.marked)?;
        let held = index.lookup(cx, &keys)?;
        // Pairs with their left row's place and how often their right row is there.
        let (mut paired, mut of): (Vec<Delta>, Vec<(usize, i64)>) = (Vec::new(), Vec::new());
        for (at, (row, id)) in rows.iter().zip(&keys.ids).enumerate() {
            let others = id.map(|id| flow.join.after(&keys, id, &held)).unwrap_or_default();
            of.extend(others.iter().map(|other| (at, other.diff)));
            paired.extend(
                others.iter().map(|other| Delta { row: row.row.concat(&other.row), diff: row.diff * other.diff }),
            );
        }
        let mut counts = vec![0; rows.len()];
        let fit = match &partners.on {
            Some(on) => on.of(cx, &paired)?,
            None => vec![true; paired.len()],
        };
        for ((at, copies), _) in of.iter().zip(&fit).filter(|(_, fits)| **fits) {
            counts[*at] += copies;
        }
        let mut fit = fit.into_iter();
        paired.retain(|_| fit.next().unwrap_or(false));
        if partners.on.is_some() {
            // A row whose key has a NULL has no partner whatever happens, and is not counted.
            let joins = Keyed::of(&rows, &partners.left, 0)?.ids;
            let joining = rows.iter().zip(&counts).zip(joins).filter(|(_, id)| id.is_some());
            let (joining, partners_of): (Vec<Delta>, Vec<i64>) = joining.map(|((d, n), _)| (d.clone(), *n)).unzip();
            flow.count(cx, partners.state, &joining, &partners_of)?;
        }
        let alone = rows.iter().zip(&counts).filter(|(_, count)| **count == 0).map(|(d, _)| d.clone()).collect();
        flow.join.rows.extend_from_slice(&rows);
        let paired = if matches!(kind, OuterKind::Left { .. }) { paired } else { Vec::new() };
        Ok(kind.out(rows, paired, alone))
    }

    /// Within a recursion: writes what the cut has done to the recursive side.
    pub(crate) fn settle(&mut self, cx: &mut Cx<'_>) -> Result<(), Failure> {
        let Some(flow) = &mut self.flow else { return Ok(()) };
        let OuterFlow { join, counted, .. } = std::mem::take(flow);
        for (row, counted) in counted {
            counted.write(cx, self.partners.state, row.as_bytes())?;
        }
        self.left.index.write(cx, &join.rows)
    }
}
