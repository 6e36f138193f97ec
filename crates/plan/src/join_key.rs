//! What inputs are joined by, and what is unique in a join.

use types::oid;

use crate::expr::{Expr, ExprKind};

/// What is unique in a join: both sides' keys together; one side's alone where the other side's key is what it is
/// joined by; and each with a join column in the place of its partner.
pub(crate) fn joined_keys(
    left: &[Vec<usize>],
    right: &[Vec<usize>],
    pairs: &[(usize, usize)],
    offset: usize,
) -> Vec<Vec<usize>> {
    let right_in_output = |key: &Vec<usize>| key.iter().map(|c| offset + c).collect::<Vec<_>>();
    let mut keys = Vec::new();
    if right.iter().any(|k| k.iter().all(|c| pairs.iter().any(|p| p.1 == *c))) {
        keys.extend(left.iter().cloned());
    }
    if left.iter().any(|k| k.iter().all(|c| pairs.iter().any(|p| p.0 == *c))) {
        keys.extend(right.iter().map(right_in_output));
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

const INT8_OF_INT4: types::Oid = 481;
const INT8_OF_INT2: types::Oid = 754;
const FLOAT8_OF_FLOAT4: types::Oid = 311;

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

    /// Left's key is column 0 of two, right's is column 0 of two.
    fn unique(pairs: &[(usize, usize)]) -> Vec<Vec<usize>> {
        let mut keys = joined_keys(&[vec![0]], &[vec![0]], pairs, 2);
        keys.sort();
        keys.dedup();
        keys
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
