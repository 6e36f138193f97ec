//! The rows of groups, counted: what is kept of a group that PostgreSQL computes again.
//!
//! ```text
//!   Multisets    state (u32) | key of the group | row → length of the group's key, count (varints), what the operator adds
//! ```
//!
//! A row here is just the columns that the operator keeps. The rows of a group lie together, in the order of their bytes: that is the
//! order in which PostgreSQL gets them, so that the same rows always give the same answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use state::{Cursor, Family, Read, Write};
use types::{Delta, Row, RowBuilder};

use super::Cx;
use crate::error::{Failure, IvmError};
use crate::key::{FieldMap, KeyEncoder, put_varint, take_varint};
use crate::table::KeyTable;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Members {
    state: u32,
    key: KeyEncoder,
    /// The physical columns of the input that are kept, in order.
    columns: Vec<usize>,
}

/// More rows of one group are not sent to PostgreSQL. A join of few values can make millions of equal rows, which take no more room than
/// one until then.
const MOST_COPIES: usize = 20_000_000;

/// What is kept of one row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) count: i64,
    /// The operator's own.
    pub(crate) more: Vec<u8>,
}

/// A group's rows.
pub(crate) type Group = BTreeMap<Row, Member>;

/// Where whole groups go, with their keys.
pub(crate) type Take<'t> = dyn FnMut(&mut Cx<'_>, Vec<u8>, Group) -> Result<(), Failure> + 't;

/// What a cut does to groups.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) keys: KeyTable,
    /// By the key's number: how many copies of each row came or went.
    pub(crate) diffs: Vec<BTreeMap<Row, i64>>,
}

impl Members {
    pub(crate) fn new(state: u32, key: KeyEncoder, columns: Vec<usize>) -> Self {
        Self { state, key, columns }
    }

    pub(crate) fn state(&self) -> u32 {
        self.state
    }

    /// Whether all rows are one group.
    pub(crate) fn is_one(&self) -> bool {
        self.key.len() == 0
    }

    fn prefix(&self, key: &[u8]) -> Vec<u8> {
        [&self.state.to_be_bytes(), key].concat()
    }

    /// Rows by group, those that cancel out taken away.
    pub(crate) fn touched(&self, rows: &[Delta]) -> Result<Touched, Failure> {
        let mut out = Touched::default();
        let (mut fields, mut scratch) = (FieldMap::default(), Vec::new());
        let reach = self.columns.iter().map(|c| c + 1).max().unwrap_or(0).max(self.key.reach);
        for delta in rows {
            let row = delta.row.as_bytes();
            fields.read(row, reach);
            scratch.clear();
            self.key.encode(&fields, row, &mut scratch).map_err(Failure::unreadable("a value"))?;
            let (id, new) = out.keys.id(&scratch);
            if new {
                out.diffs.push(BTreeMap::new());
            }
            let mut kept = RowBuilder::with_capacity(row.len());
            for column in &self.columns {
                kept.push_value(fields.get(row, *column));
            }
            if let Some(diffs) = out.diffs.get_mut(id as usize) {
                *diffs.entry(kept.finish()).or_default() += delta.diff;
            }
        }
        for diffs in &mut out.diffs {
            diffs.retain(|_, diff| *diff != 0);
        }
        Ok(out)
    }

    /// The rows of a group as of the last cut.
    pub(crate) fn read(&self, cursor: &mut Cursor<'_>, key: &[u8]) -> Result<Group, Failure> {
        let prefix = self.prefix(key);
        cursor.seek(&prefix);
        let mut out = Group::new();
        while let Some((stored_key, stored)) = cursor.next()? {
            let row = stored_key.get(prefix.len()..).unwrap_or_default();
            let (length, member) = decode(stored)?;
            if length == key.len() {
                out.insert(Row::from_bytes(Bytes::copy_from_slice(row)), member);
            }
        }
        Ok(out)
    }

    /// Writes one row of a group; one without copies goes.
    pub(crate) fn put(&self, cx: &mut Cx<'_>, key: &[u8], row: &Row, member: &Member) -> Result<(), Failure> {
        let mut full = self.prefix(key);
        full.extend_from_slice(row.as_bytes());
        match member.count {
            0 => cx.batch.delete(Family::Multisets, &full),
            n if n > 0 => cx.batch.put(Family::Multisets, &full, &encode(key.len(), member)),
            _ => {
                let what = "more copies of a row left a group than were in it; this is a defect of tributary";
                return Err(Failure::Stream(what.into()));
            }
        }
        Ok(())
    }

    /// While building: counts rows, without what the operator adds to them.
    pub(crate) fn count(&self, cx: &mut Cx<'_>, rows: &[Delta]) -> Result<(), Failure> {
        let touched = self.touched(rows)?;
        let mut full = Vec::new();
        let mut counted = Vec::new();
        for (key, diffs) in touched.keys.keys().zip(&touched.diffs) {
            for (row, diff) in diffs {
                full.push([&self.prefix(key)[..], row.as_bytes()].concat());
                counted.push((key, row, *diff));
            }
        }
        let refs: Vec<&[u8]> = full.iter().map(Vec::as_slice).collect();
        let mut before = Vec::with_capacity(refs.len());
        cx.store.multi_get(Family::Multisets, &refs, &mut |_, stored| {
            before.push(stored.map_or(Ok(0), |stored| decode(stored).map(|(_, member)| member.count)));
        })?;
        for ((key, row, diff), before) in counted.into_iter().zip(before) {
            self.put(cx, key, row, &Member { count: before? + diff, more: Vec::new() })?;
        }
        cx.flush()
    }

    /// All groups in the order of their keys, each whole.
    pub(crate) fn each(&self, cx: &mut Cx<'_>, take: &mut Take<'_>) -> Result<(), Failure> {
        let store = cx.store;
        let mut cursor = store.cursor(Family::Multisets);
        cursor.seek(&self.state.to_be_bytes());
        let (mut key, mut group) = (Vec::new(), Group::new());
        while let Some((stored_key, stored)) = cursor.next()? {
            let (length, member) = decode(stored)?;
            let rest = stored_key.get(4..).unwrap_or_default();
            let (own, row) = rest.split_at_checked(length).ok_or_else(damaged)?;
            if own != key && !group.is_empty() {
                take(cx, std::mem::take(&mut key), std::mem::take(&mut group))?;
            }
            if group.is_empty() {
                key = own.to_vec();
            }
            group.insert(Row::from_bytes(Bytes::copy_from_slice(row)), member);
        }
        if group.is_empty() { Ok(()) } else { take(cx, key, group) }
    }
}

/// A group's rows as PostgreSQL gets them: each as often as it is there. A group that is too large for it fails.
pub(crate) fn copies(group: &Group) -> Result<Vec<Row>, Failure> {
    let counts = group.values().map(|member| usize::try_from(member.count).unwrap_or_default());
    let total = counts.clone().fold(0, usize::saturating_add);
    if total > MOST_COPIES {
        let what = format!("a group of {total} rows for PostgreSQL to compute again; {MOST_COPIES} is the most");
        return Err(Failure::Stream(what));
    }
    let mut rows = Vec::with_capacity(total);
    for (row, count) in group.keys().zip(counts) {
        rows.extend(std::iter::repeat_n(row.clone(), count));
    }
    Ok(rows)
}

fn encode(key: usize, member: &Member) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + member.more.len());
    put_varint(&mut out, key as u64);
    put_varint(&mut out, member.count as u64);
    out.extend_from_slice(&member.more);
    out
}

fn decode(mut stored: &[u8]) -> Result<(usize, Member), Failure> {
    let mut number = || take_varint(&mut stored).and_then(|n| i64::try_from(n).ok());
    let (Some(length), Some(count)) = (number(), number()) else { return Err(damaged()) };
    let length = usize::try_from(length).map_err(|_| damaged())?;
    Ok((length, Member { count, more: stored.to_vec() }))
}

fn damaged() -> Failure {
    IvmError::damaged("a counted row of a group").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_reads_back() {
        for member in [Member { count: 1, more: vec![] }, Member { count: 300, more: vec![1, 2, 3] }] {
            assert_eq!(decode(&encode(17, &member)).ok(), Some((17, member)));
        }
        assert!(decode(&[]).is_err() && decode(&[0x80, 1]).is_err());
    }

    #[test]
    fn copies_are_as_many_as_were_counted() {
        let row = |b: &[u8]| {
            let mut builder = RowBuilder::new();
            builder.push_value(Some(b));
            builder.finish()
        };
        let group = Group::from([
            (row(b"b"), Member { count: 1, more: vec![] }),
            (row(b"a"), Member { count: 2, more: vec![] }),
        ]);
        assert_eq!(copies(&group).unwrap(), [row(b"a"), row(b"a"), row(b"b")]);
    }

    #[test]
    fn a_group_that_is_too_large_for_postgresql_fails_before_it_takes_the_memory() {
        let many = |count| Group::from([(Row::default(), Member { count, more: vec![] })]);
        let failed = copies(&many(1 << 40));
        assert!(matches!(&failed, Err(Failure::Stream(why)) if why.contains("1099511627776 rows")), "{failed:?}");
        assert_eq!(copies(&many(0)).unwrap(), []);
    }
}
