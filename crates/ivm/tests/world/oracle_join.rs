//! Joins of all kinds, set operations and ordered rows, as plainly as they can be evaluated.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use plan::{JoinKind, Rel, SetOp};
use types::PgType;

use super::Values;
use super::oracle::{Data, normal, rows};

pub fn joined(
    kind: JoinKind,
    left: &[Values],
    right: &[Values],
    pairs: &dyn Fn(&Values, &Values) -> bool,
) -> Vec<Values> {
    // NULLs behind a row are left out: what is not there reads as NULL.
    let mut out = Vec::new();
    let mut met = vec![false; right.len()];
    for l in left {
        let partners: Vec<usize> = (0..right.len()).filter(|&i| pairs(l, &right[i])).collect();
        partners.iter().for_each(|&i| met[i] = true);
        match kind {
            JoinKind::Semi => out.extend((!partners.is_empty()).then(|| l.clone())),
            JoinKind::Anti => out.extend(partners.is_empty().then(|| l.clone())),
            _ => out.extend(partners.iter().map(|&i| [l.clone(), right[i].clone()].concat())),
        }
        if partners.is_empty() && matches!(kind, JoinKind::Left | JoinKind::Full) {
            out.push(l.clone());
        }
    }
    if kind == JoinKind::Full {
        let width = left.first().map_or(super::plans::outer::FULL_LEFT, Vec::len);
        let alone = right.iter().zip(met).filter(|(_, met)| !met);
        out.extend(alone.map(|(r, _)| [vec![None; width], r.clone()].concat()));
    }
    out
}

pub fn set_op(op: SetOp, all: bool, left: Vec<Values>, right: Vec<Values>, types: &[PgType]) -> Vec<Values> {
    let key = |r: &Values| -> Vec<Vec<u8>> { r.iter().zip(types).map(|(v, ty)| normal(*ty, v.as_deref())).collect() };
    let mut counts: BTreeMap<_, (usize, usize, Values)> = BTreeMap::new();
    for r in left {
        counts.entry(key(&r)).or_insert_with(|| (0, 0, r.clone())).0 += 1;
    }
    for r in right {
        counts.entry(key(&r)).or_insert_with(|| (0, 0, r.clone())).1 += 1;
    }
    let copies = |(l, r, row): (usize, usize, Values)| {
        let n = match (op, all) {
            (SetOp::Intersect, true) => l.min(r),
            (SetOp::Intersect, false) => usize::from(l > 0 && r > 0),
            (SetOp::Except, true) => l.saturating_sub(r),
            (SetOp::Except, false) => usize::from(l > 0 && r == 0),
        };
        std::iter::repeat_n(row, n)
    };
    counts.into_values().flat_map(copies).collect()
}

pub fn top(rel: &Rel, sources: &Data) -> Vec<Values> {
    let Rel::Top { input, partition, partition_types, order, offset, limit, ties } = rel else { unreachable!() };
    let mut partitions: BTreeMap<Vec<Vec<u8>>, Vec<Values>> = BTreeMap::new();
    for r in rows(input, sources) {
        let key = partition.iter().zip(partition_types).map(|(k, ty)| normal(*ty, r[*k].as_deref())).collect();
        partitions.entry(key).or_default().push(r);
    }
    let compare = |a: &Values, b: &Values| {
        for key in order {
            let (a, b) = (&a[key.column], &b[key.column]);
            let nulls = if key.nulls_first { Ordering::Less } else { Ordering::Greater };
            let found = match (a, b) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => nulls,
                (Some(_), None) => nulls.reverse(),
                (Some(a), Some(b)) => {
                    let found = normal(key.ty, Some(a)).cmp(&normal(key.ty, Some(b)));
                    if key.descending { found.reverse() } else { found }
                }
            };
            if found != Ordering::Equal {
                return found;
            }
        }
        Ordering::Equal
    };
    let mut out = Vec::new();
    for mut members in partitions.into_values() {
        members.sort_by(|a, b| compare(a, b));
        let from = (*offset as usize).min(members.len());
        let mut to = limit.map_or(members.len(), |l| (from + l as usize).min(members.len()));
        while *ties && to > from && to < members.len() && compare(&members[to - 1], &members[to]) == Ordering::Equal {
            to += 1;
        }
        out.extend_from_slice(&members[from..to]);
    }
    out
}
