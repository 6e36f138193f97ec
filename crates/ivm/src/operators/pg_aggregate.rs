//! Groups whose aggregates PostgreSQL computes again (ring 2).
//!
//! ```text
//!   Multisets    the groups' rows ([`super::members`])
//!   Groups       state (u32) | key of the group → its row as of the last cut
//! ```
//!
//! A cut's rows are counted into their groups, and all groups that are different then are computed by one statement.
//! The cost of a cut is that of the groups that it touches, whole. Without key columns there is always exactly one group.

use plan::PgExpr;
use state::{Family, Read, Write};
use types::{Delta, Row};

use super::members::{Group, Members, copies};
use super::{CHUNK, Cx, Emit, Node};
use crate::error::{Failure, IvmError};
use crate::layout::Labels;

/// Groups its input's rows.
#[derive(Debug)]
pub(crate) struct PgAggregate {
    pub(crate) input: Box<Node>,
    pub(crate) groups: PgGroups,
}

/// All groups, without where the rows come from.
#[derive(Debug)]
pub(crate) struct PgGroups {
    pub(crate) members: Members,
    /// The first columns of a kept row are the group's.
    pub(crate) keys: usize,
    /// Over kept rows.
    pub(crate) aggregates: Vec<PgExpr>,
    pub(crate) settings: Vec<(String, String)>,
    /// Of kept rows.
    pub(crate) labels: Labels,
}

/// Groups to be computed, and what each had.
#[derive(Debug, Default)]
struct Batch {
    keys: Vec<Vec<u8>>,
    groups: Vec<Vec<Row>>,
    olds: Vec<Option<Row>>,
}

impl PgGroups {
    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.members.state().to_be_bytes(), key].concat()
    }

    /// Computes groups, writes their rows and gives those that are different.
    fn compute(&self, cx: &mut Cx<'_>, batch: Batch) -> Result<Vec<Delta>, Failure> {
        let mut out = Vec::with_capacity(batch.keys.len() * 2);
        let asked: Vec<bool> = batch.groups.iter().map(|g| !g.is_empty() || self.members.is_one()).collect();
        let results = if asked.contains(&true) {
            let groups: Vec<Vec<Row>> =
                batch.groups.into_iter().zip(&asked).filter(|(_, asked)| **asked).map(|(g, _)| g).collect();
            self.rows(cx, &groups)?
        } else {
            Vec::new()
        };
        let mut results = results.into_iter();
        for ((key, old), asked) in batch.keys.iter().zip(batch.olds).zip(asked) {
            let new = if asked { results.next() } else { None };
            if old == new {
                continue;
            }
            match &new {
                Some(row) => cx.batch.put(Family::Groups, &self.key(key), row.as_bytes()),
                None => cx.batch.delete(Family::Groups, &self.key(key)),
            }
            out.extend(old.map(Delta::minus));
            out.extend(new.map(Delta::plus));
        }
        Ok(out)
    }

    /// The row of each group.
    fn rows(&self, cx: &mut Cx<'_>, groups: &[Vec<Row>]) -> Result<Vec<Row>, Failure> {
        let results = cx.evaluator.aggregate(&self.aggregates, &self.settings, groups)?;
        if results.len() != groups.len() {
            let what = format!("PostgreSQL answered {} groups for {}", results.len(), groups.len());
            return Err(IvmError::damaged(what).into());
        }
        let keys: Vec<usize> = (0..self.keys).collect();
        let one = |(result, group): (Result<Row, _>, &Vec<Row>)| {
            let first = group.first().cloned().unwrap_or_default();
            let result = result.map_err(|e| {
                let at = self.labels.describe(&first);
                Failure::Stream(format!("{e} in an aggregate that PostgreSQL computes{at}"))
            })?;
            Ok(first.project(&keys).concat(&result))
        };
        results.into_iter().zip(groups).map(one).collect()
    }

    fn step(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        let touched = self.members.touched(rows)?;
        let mut batch = Batch::default();
        let store = cx.store;
        let mut cursor = store.cursor(Family::Multisets);
        for (key, diffs) in touched.keys.keys().zip(&touched.diffs) {
            if diffs.is_empty() {
                continue;
            }
            let mut group = self.members.read(&mut cursor, key)?;
            for (row, diff) in diffs {
                let member = group.entry(row.clone()).or_default();
                member.count += diff;
                self.members.put(cx, key, row, member)?;
            }
            batch.groups.push(copies(&group)?);
            batch.keys.push(key.to_vec());
        }
        let keys: Vec<Vec<u8>> = batch.keys.iter().map(|key| self.key(key)).collect();
        let refs: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        store.multi_get(Family::Groups, &refs, &mut |_, stored| batch.olds.push(stored.map(row)))?;
        self.compute(cx, batch)
    }

    /// Computes all groups from their rows, in pieces.
    fn emit_all(&self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let mut batch = Batch::default();
        let mut size = 0;
        let mut any = false;
        self.members.each(cx, &mut |cx, key, group: Group| {
            any = true;
            let rows = copies(&group)?;
            size += rows.len();
            batch.keys.push(key);
            batch.groups.push(rows);
            batch.olds.push(None);
            if size < CHUNK {
                return Ok(());
            }
            size = 0;
            let rows = self.compute(cx, std::mem::take(&mut batch))?;
            emit(cx, rows)
        })?;
        if !any && self.members.is_one() {
            batch = Batch { keys: vec![Vec::new()], groups: vec![Vec::new()], olds: vec![None] };
        }
        let rows = self.compute(cx, batch)?;
        cx.flush()?;
        if rows.is_empty() { Ok(()) } else { emit(cx, rows) }
    }
}

fn row(stored: &[u8]) -> Row {
    Row::from_bytes(bytes::Bytes::copy_from_slice(stored))
}

impl PgAggregate {
    pub(crate) fn step(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        if rows.is_empty() { Ok(Vec::new()) } else { self.groups.step(cx, rows) }
    }

    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let Self { input, groups } = self;
        input.build(cx, &mut |cx, rows| groups.members.count(cx, &rows))?;
        groups.emit_all(cx, emit)
    }

    pub(crate) fn describe(&self) -> String {
        "the rows of each group".into()
    }
}
