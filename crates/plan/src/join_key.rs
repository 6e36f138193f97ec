//! What inputs are joined by, and what is unique in a join.

use types::oid;

use crate::built::Built;
use crate::expr::{Expr, ExprKind, FLOAT8_OF_FLOAT4, INT8_OF_INT2, INT8_OF_INT4};
use crate::tree::JoinKind;

/// Two sides of a join.
pub(crate) struct Sides<'a> {
    pub(crate) left: &'a Built,
    pub(crate) right: &'a Built,
    /// Columns (left's, right's) that are equal in a pair.
    pub(crate) pairs: &'a [(usize, usize)],
    /// Columns (left's; right's) that have one value in all pairs.
    pub(crate) fixed: (&'a [usize], &'a [usize]),
    /// Where right's columns begin in the result.
    pub(crate) offset: usize,
}

impl Sides<'_> {
    /// Joined by a key of right's: a row of left's has one partner at most.
    fn right_is_met_once(&self) -> bool {
        let met = |c: &usize| self.fixed.1.contains(c) || self.pairs.iter().any(|p| p.1 == *c);
        self.right.keys.iter().any(|k| k.iter().all(met))
    }

    fn left_is_met_once(&self) -> bool {
        let met = |c: &usize| self.fixed.0.contains(c) || self.pairs.iter().any(|p| p.0 == *c);
        self.left.keys.iter().any(|k| k.iter().all(met))
    }

    fn of_right<'k>(&self, key: &'k [usize]) -> impl Iterator<Item = usize> + use<'k> {
        let offset = self.offset;
        key.iter().map(move |c| offset + c)
    }
}

/// What is unique in a join. Both sides' keys together; one side's alone where the other side's key is what it is
/// joined by; and each with a join column in the place of its partner.
///
/// Of a left join, left's columns can stand for right's, but not the other way: those are NULL in rows without a partner.
/// Rows without partners of the two sides of a full join are told apart by a key column that is never NULL on its side.
pub(crate) fn joined_keys(kind: JoinKind, sides: &Sides<'_>) -> Vec<Vec<usize>> {
    let (left, right, pairs, offset) = (&sides.left.keys, &sides.right.keys, sides.pairs, sides.offset);
    let mut keys = Vec::new();
    match kind {
        JoinKind::Semi | JoinKind::Anti => return left.clone(),
        JoinKind::Full => {
            for l in left {
                for r in right {
                    let marked = l.iter().any(|&c| sides.left.columns[c].not_null)
                        || r.iter().any(|&c| sides.right.columns[c].not_null);
                    if marked {
                        keys.push(l.iter().copied().chain(sides.of_right(r)).collect());
                    }
                }
            }
            return keys;
        }
        JoinKind::Inner | JoinKind::Left => {}
    }
    if sides.right_is_met_once() {
        keys.extend(left.iter().cloned());
    }
    if kind == JoinKind::Inner && sides.left_is_met_once() {
        keys.extend(right.iter().map(|k| sides.of_right(k).collect::<Vec<_>>()));
    }
    for l in left {
        for r in right {
            let mut key = l.clone();
            // A right key column that equals a left one adds nothing that the left one does not.
            key.extend(r.iter().map(|c| match pairs.iter().find(|p| p.1 == *c) {
                Some(p) if l.contains(&p.0) => p.0,
                _ => offset + c,
            }));
            keys.push(key);
        }
    }
    if kind == JoinKind::Left {
        return keys;
    }
    let swapped: Vec<Vec<usize>> = keys
        .iter()
        .flat_map(|key| {
            pairs.iter().flat_map(move |&(l, r)| {
                let swap = move |from: usize, to: usize| {
                    key.contains(&from).then(|| key.iter().map(|&c| if c == from { to } else { c }).collect())
                };
                [swap(l, offset + r), swap(offset + r, l)]
            })
        })
        .flatten()
        .collect();
    keys.extend(swapped);
    keys
}

/// An integer as int8, a float as float8; `None` for other types. Different values stay different.
pub(crate) fn widened(expr: &Expr) -> Option<Expr> {
    let (func, wide) = match expr.ty.oid {
        oid::INT8 | oid::FLOAT8 => return Some(expr.clone()),
        oid::INT4 => (INT8_OF_INT4, oid::INT8),
        oid::INT2 => (INT8_OF_INT2, oid::INT8),
        oid::FLOAT4 => (FLOAT8_OF_FLOAT4, oid::FLOAT8),
        _ => return None,
    };
    let kind = ExprKind::Call { func, args: vec![expr.clone()], collation: 0, variadic: false };
    Some(Expr { kind, ty: types::PgType::plain(wide), declared: wide })
}

/// The column that was widened.
pub(crate) fn before_widening(expr: &Expr) -> Option<usize> {
    match &expr.kind {
        ExprKind::Call { func: INT8_OF_INT4 | INT8_OF_INT2 | FLOAT8_OF_FLOAT4, args, .. } => args.first()?.as_column(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::built::BuiltColumn;
    use crate::tree::Rel;

    /// Left's key is column 0 of two, right's is column 0 of two.
    fn of(kind: JoinKind, not_null: bool, pairs: &[(usize, usize)]) -> Vec<Vec<usize>> {
        let column = |not_null| BuiltColumn { ty: types::PgType::plain(oid::INT4), declared: oid::INT4, not_null };
        let rel = Rel::Values { rows: Vec::new(), types: Vec::new() };
        let side = Built { rel, columns: vec![column(not_null), column(false)], keys: vec![vec![0]] };
        let mut keys = joined_keys(kind, &Sides { left: &side, right: &side, pairs, fixed: (&[], &[]), offset: 2 });
        keys.sort();
        keys.dedup();
        keys
    }

    fn unique(pairs: &[(usize, usize)]) -> Vec<Vec<usize>> {
        of(JoinKind::Inner, true, pairs)
    }

    #[test]
    fn a_left_join_keeps_lefts_key_where_right_is_met_once() {
        assert_eq!(of(JoinKind::Left, true, &[(1, 0)]), [vec![0], vec![0, 2]]);
        assert_eq!(of(JoinKind::Left, true, &[(0, 1)]), [vec![0, 2]]);
        // Right's key is NULL in all rows without a partner.
        assert!(!of(JoinKind::Left, true, &[(0, 0)]).contains(&vec![2]));
    }

    #[test]
    fn a_full_join_needs_both_keys_and_one_that_is_never_null() {
        assert_eq!(of(JoinKind::Full, true, &[(0, 0)]), [vec![0, 2]]);
        assert!(of(JoinKind::Full, false, &[(0, 0)]).is_empty());
    }

    #[test]
    fn semi_and_anti_joins_keep_lefts_keys() {
        assert_eq!(of(JoinKind::Semi, true, &[]), [vec![0]]);
        assert_eq!(of(JoinKind::Anti, true, &[(1, 1)]), [vec![0]]);
    }

    #[test]
    fn a_side_joined_by_its_key_adds_nothing_to_the_others() {
        assert!(unique(&[(1, 0)]).contains(&vec![0]));
        assert!(!unique(&[(1, 0)]).contains(&vec![2]));
        assert!(unique(&[(0, 1)]).contains(&vec![2]));
    }

    #[test]
    fn without_a_key_joined_by_both_keys_are_needed() {
        assert!(unique(&[]).iter().all(|key| key == &vec![0, 2]));
        assert!(unique(&[(1, 1)]).iter().all(|key| key.len() == 2));
    }

    #[test]
    fn a_join_column_stands_for_its_partner() {
        // Both keys are joined by: either side's identifies a row.
        let keys = unique(&[(0, 0)]);
        assert!(keys.contains(&vec![0]) && keys.contains(&vec![2]));
    }
}
