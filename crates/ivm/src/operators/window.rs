//! Window functions: PostgreSQL computes them again over the partitions that changed (ring 2).
//!
//! ```text
//!   Multisets    the partitions' rows ([`super::members`]), each with the functions' values for each of its copies
//! ```
//!
//! Whatever a row is to the others in its partition (before, beside, the last one), a change of one can change all of
//! them; only those whose values are different go on. The cost of a cut is that of the partitions that it touches.

use plan::PgExpr;
use state::{Family, Read};
use types::{Delta, Row};

use super::members::{Group, Member, Members, copies};
use super::{CHUNK, Cx, Emit, Node};
use crate::error::{Failure, IvmError};
use crate::key::{put_bytes, take_bytes};
use crate::layout::Labels;

/// Appends the functions' values to its input's rows.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) input: Box<Node>,
    pub(crate) partitions: Partitions,
}

/// All partitions, without where the rows come from.
#[derive(Debug)]
pub(crate) struct Partitions {
    pub(crate) members: Members,
    /// Over kept rows.
    pub(crate) windows: Vec<PgExpr>,
    pub(crate) settings: Vec<(String, String)>,
    /// Of kept rows.
    pub(crate) labels: Labels,
}

/// A partition before and after.
#[derive(Debug)]
struct Change {
    key: Vec<u8>,
    old: Group,
    new: Group,
}

impl Partitions {
    /// Computes partitions, writes what is different and gives it.
    fn compute(&self, cx: &mut Cx<'_>, changes: Vec<Change>) -> Result<Vec<Delta>, Failure> {
        let mut partitions = changes.iter().map(|c| copies(&c.new)).collect::<Result<Vec<_>, _>>()?;
        partitions.retain(|rows| !rows.is_empty());
        let mut results = if partitions.is_empty() {
            Vec::new()
        } else {
            cx.evaluator.windows(&self.windows, &self.settings, &partitions)?
        }
        .into_iter();
        let mut out = Vec::new();
        let mut asked = partitions.iter();
        for Change { key, old, mut new } in changes {
            new.retain(|_, member| member.count != 0);
            if !new.is_empty() {
                let (Some(rows), Some(values)) = (asked.next(), results.next()) else { return Err(odd()) };
                let values = values.map_err(|e| {
                    let at = rows.first().map(|r| self.labels.describe(r)).unwrap_or_default();
                    Failure::Stream(format!("{e} in a window function that PostgreSQL computes, in a partition{at}"))
                })?;
                attach(&mut new, rows, &values)?;
            }
            self.differences(cx, &key, &old, &new, &mut out)?;
        }
        Ok(out)
    }

    fn differences(
        &self,
        cx: &mut Cx<'_>,
        key: &[u8],
        old: &Group,
        new: &Group,
        out: &mut Vec<Delta>,
    ) -> Result<(), Failure> {
        let (nothing, none) = (Member::default(), Vec::new());
        for row in old.keys().filter(|row| !new.contains_key(*row)).chain(new.keys()) {
            let (before, after) = (old.get(row).unwrap_or(&nothing), new.get(row).unwrap_or(&nothing));
            if before == after {
                continue;
            }
            self.members.put(cx, key, row, after)?;
            let values = |member: &Member| if member.count == 0 { Ok(none.clone()) } else { values(&member.more) };
            let (went, came) = (values(before)?, values(after)?);
            let (mut went, mut came) = (went.into_iter().peekable(), came.into_iter().peekable());
            // Both are in order: equal values go together.
            while went.peek().is_some() || came.peek().is_some() {
                match (went.peek(), came.peek()) {
                    (Some(a), Some(b)) if a == b => drop((went.next(), came.next())),
                    (Some(a), b) if b.is_none_or(|b| a < b) => {
                        out.extend(went.next().map(|value| Delta::minus(row.concat(&value))));
                    }
                    _ => out.extend(came.next().map(|value| Delta::plus(row.concat(&value)))),
                }
            }
        }
        Ok(())
    }

    fn step(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        let touched = self.members.touched(rows)?;
        let store = cx.store;
        let mut cursor = store.cursor(Family::Multisets);
        let mut changes = Vec::new();
        for (key, diffs) in touched.keys.keys().zip(touched.diffs) {
            if diffs.is_empty() {
                continue;
            }
            let old = self.members.read(&mut cursor, key)?;
            let mut new = old.clone();
            for (row, diff) in diffs {
                let member = new.entry(row).or_default();
                member.count += diff;
                if member.count < 0 {
                    let what = "more copies of a row left a partition than were in it; this is a defect of tributary";
                    return Err(Failure::Stream(what.into()));
                }
            }
            changes.push(Change { key: key.to_vec(), old, new });
        }
        self.compute(cx, changes)
    }

    /// Computes all partitions from their rows, in pieces.
    fn emit_all(&self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let mut changes: Vec<Change> = Vec::new();
        let mut size = 0;
        self.members.each(cx, &mut |cx, key, new: Group| {
            size += new.len();
            changes.push(Change { key, old: Group::new(), new });
            if size < CHUNK {
                return Ok(());
            }
            size = 0;
            let rows = self.compute(cx, std::mem::take(&mut changes))?;
            cx.flush_large()?;
            emit(cx, rows)
        })?;
        let rows = self.compute(cx, changes)?;
        cx.flush()?;
        if rows.is_empty() { Ok(()) } else { emit(cx, rows) }
    }
}

/// Notes each copy's values with its row.
fn attach(group: &mut Group, rows: &[Row], values: &[Row]) -> Result<(), Failure> {
    if rows.len() != values.len() {
        return Err(odd());
    }
    let mut at = 0;
    for (row, member) in group {
        member.more.clear();
        let mut own = Vec::new();
        while rows.get(at) == Some(row) {
            own.extend(values.get(at));
            at += 1;
        }
        own.sort_unstable();
        own.iter().for_each(|value| put_bytes(&mut member.more, value.as_bytes()));
    }
    Ok(())
}

/// The values of each copy.
fn values(mut more: &[u8]) -> Result<Vec<Row>, Failure> {
    let mut out = Vec::new();
    while !more.is_empty() {
        let value = take_bytes(&mut more).ok_or_else(|| IvmError::damaged("a window function's values"))?;
        out.push(Row::from_bytes(bytes::Bytes::copy_from_slice(value)));
    }
    Ok(out)
}

fn odd() -> Failure {
    IvmError::damaged("PostgreSQL answered other rows than it was asked for").into()
}

impl Window {
    pub(crate) fn step(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<Vec<Delta>, Failure> {
        if rows.is_empty() { Ok(Vec::new()) } else { self.partitions.step(cx, rows) }
    }

    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let Self { input, partitions } = self;
        input.build(cx, &mut |cx, rows| partitions.members.count(cx, &rows))?;
        partitions.emit_all(cx, emit)
    }

    pub(crate) fn describe(&self) -> String {
        "the rows of each partition".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_noted_with_their_rows_in_an_order_of_their_own() {
        let row = |n: u8| Row::from_bytes(vec![3, n].into());
        let member = |count| Member { count, more: Vec::new() };
        let mut group = Group::from([(row(1), member(2)), (row(2), member(1))]);
        attach(&mut group, &[row(1), row(1), row(2)], &[row(9), row(8), row(7)]).unwrap();
        assert_eq!(values(&group[&row(1)].more).unwrap(), [row(8), row(9)]);
        assert_eq!(values(&group[&row(2)].more).unwrap(), [row(7)]);
        assert!(attach(&mut group, &[row(1)], &[]).is_err());
    }
}
