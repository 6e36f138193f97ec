//! Rows that are compared with one value of a subquery: `v > (SELECT avg(v) FROM t)`.
//!
//! Every row would be paired with that value, and paired again when it moves. Where nobody reads it besides, it is a semi join by the
//! comparison, of which only those rows are looked at that the value passes when it moves.

use std::collections::BTreeSet;

use types::{PgType, Scalar, ScalarKind, oid};

use crate::filters::{bare, conjuncts};
use crate::prune::Widths;
use crate::tree::{Condition, JoinKind, Rel};

/// The rows of `input` on which the predicate is true, their right columns left out, if they are such rows and only `needed` columns are read.
pub(crate) fn bounded(input: &Rel, predicate: &Scalar, needed: &BTreeSet<usize>, widths: &Widths) -> Option<Rel> {
    let Rel::Join { left, right, kind: JoinKind::Inner | JoinKind::Left, keys, on: None, .. } = input else {
        return None;
    };
    let width = widths.rel(left);
    if !keys.is_empty() || needed.range(width..).next().is_some() || !right.is_one_row(&[]) {
        return None;
    }
    let all = conjuncts(predicate);
    let reads_right = |c: &&Scalar| c.columns().iter().any(|c| *c >= width);
    let at = all.iter().position(reads_right)?;
    if all[at + 1..].iter().any(reads_right) {
        return None;
    }
    let (right, by) = compared(bare(all[at]), right, width)?;
    // In the order in which they are asked: what is behind it is not asked of rows that it leaves out.
    let filtered = |rel: Rel, asked: &[&Scalar]| match asked {
        [] => rel,
        [one] => Rel::Filter { input: Box::new(rel), predicate: (*one).clone() },
        many => {
            let all = many.iter().map(|c| (*c).clone()).collect();
            let predicate = Scalar { kind: ScalarKind::And(all), ty: PgType::plain(oid::BOOL) };
            Rel::Filter { input: Box::new(rel), predicate }
        }
    };
    let semi = Rel::Join {
        left: Box::new(filtered((**left).clone(), &all[..at])),
        right: Box::new(right),
        kind: JoinKind::Semi,
        keys: Vec::new(),
        key_types: Vec::new(),
        on: Some(Condition { exprs: Vec::new(), predicate: by }),
    };
    Some(filtered(semi, &all[at + 1..]))
}

/// The comparison of a left column with a right one of the same type, if the condition is one with a right value; and right with that column.
fn compared(condition: &Scalar, right: &Rel, width: usize) -> Option<(Rel, Scalar)> {
    let ScalarKind::Call { func, args, collation } = &condition.kind else { return None };
    let [one, other] = &args[..] else { return None };
    if scalar::beyond(*func).is_none() || one.ty.oid != other.ty.oid {
        return None;
    }
    let is_left = |arg: &Scalar| matches!(arg.kind, ScalarKind::Column(c) if c < width);
    let is_right = |arg: &Scalar| !arg.columns().is_empty() && arg.columns().iter().all(|c| *c >= width);
    let at = match (is_left(one) && is_right(other), is_left(other) && is_right(one)) {
        (true, _) => 1,
        (_, true) => 0,
        _ => return None,
    };
    let value = args[at].map_columns(&|c| c - width);
    let mut args = args.clone();
    args[at] = Scalar::column(width, args[at].ty);
    let by = Scalar { kind: ScalarKind::Call { func: *func, args, collation: *collation }, ty: condition.ty };
    Some((Rel::Project { input: Box::new(right.clone()), exprs: vec![value] }, by))
}
