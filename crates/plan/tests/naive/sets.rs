//! INTERSECT and EXCEPT by counting.

use std::collections::BTreeMap;

use plan::SetOp;
use types::PgType;

use super::{Rows, key};

/// Of each row's copies at left, as many as its count at right leaves or allows.
pub(crate) fn set_operation(op: SetOp, all: bool, left: Rows, right: &Rows, types: &[PgType]) -> Rows {
    let of = |row: &Vec<Option<Vec<u8>>>| {
        assert_eq!(row.len(), types.len());
        row.iter().zip(types).flat_map(|(value, ty)| key(*ty, value)).collect::<Vec<u8>>()
    };
    let mut at_right: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for row in right {
        *at_right.entry(of(row)).or_default() += 1;
    }
    let mut taken: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut out = Vec::new();
    for row in left {
        let of = of(&row);
        let there = at_right.get(&of).copied().unwrap_or_default();
        let seen = taken.entry(of).or_default();
        *seen += 1;
        let keep = match (op, all) {
            (SetOp::Intersect, true) => *seen <= there,
            (SetOp::Intersect, false) => there > 0 && *seen == 1,
            (SetOp::Except, true) => *seen > there,
            (SetOp::Except, false) => there == 0 && *seen == 1,
        };
        if keep {
            out.push(row);
        }
    }
    out
}
