//! Conditions that can be asked of a table's rows before they are kept at all.
//!
//! A row that no use of its table in the query lets through need not be kept. Only what is asked first counts, so that a
//! condition that fails on a row fails as before: where `1 / a > 0` is asked before `b = 2`, every row is kept.

use types::{PgType, Scalar, ScalarKind, oid};

use crate::catalog::Catalog;
use crate::tree::{Rel, SourceUse};

/// A value of at most so many bytes, its header included, is never moved out of its row (`toast_tuple_find_biggest_attribute`).
const ALWAYS_INLINE: i32 = 24;

/// Gives each source the conditions that all its uses begin with.
///
/// None where a value may lie outside its row: an update that leaves such a value alone does not tell it, and of a row that
/// was not kept it could not be known.
pub(crate) fn note_filters(root: &Rel, common: &[Rel], sources: &mut [SourceUse], catalog: &Catalog) {
    let mut found: Vec<Option<Vec<&Scalar>>> = vec![None; sources.len()];
    common.iter().chain([root]).for_each(|rel| collect(rel, Vec::new(), &mut found));
    for (source, found) in sources.iter_mut().zip(found) {
        let is_narrow = catalog.relations.get(&source.relation).is_some_and(|r| r.is_narrow);
        if is_narrow || source.columns.iter().all(|c| is_short(c.ty)) {
            let stable = found.into_iter().flatten().take_while(|s| is_stable(s));
            source.filter = stable.cloned().collect();
        }
    }
}

/// `asked` is what the operators above ask, in the order in which they do.
fn collect<'p>(rel: &'p Rel, asked: Vec<&'p Scalar>, found: &mut [Option<Vec<&'p Scalar>>]) {
    match rel {
        Rel::Source(index) => {
            let Some(found) = found.get_mut(*index) else { return };
            let common = match found.take() {
                None => asked,
                Some(before) => before.into_iter().zip(asked).take_while(|(a, b)| a == b).map(|(a, _)| a).collect(),
            };
            *found = Some(common);
        }
        Rel::Filter { input, predicate } => {
            let mut all: Vec<&Scalar> = conjuncts(predicate).into_iter().map(bare).collect();
            all.extend(asked);
            collect(input, all, found);
        }
        _ => rel.inputs().into_iter().for_each(|input| collect(input, Vec::new(), found)),
    }
}

/// What it asks, one after the other.
pub(crate) fn conjuncts(predicate: &Scalar) -> Vec<&Scalar> {
    match &predicate.kind {
        ScalarKind::And(list) => list.iter().collect(),
        _ => vec![predicate],
    }
}

/// A condition that is asked is as good as whether it is true.
pub(crate) fn bare(condition: &Scalar) -> &Scalar {
    match &condition.kind {
        ScalarKind::BoolTest { arg, want: Some(true), negated: false } => arg,
        _ => condition,
    }
}

/// Nothing in it can come to mean something else.
fn is_stable(scalar: &Scalar) -> bool {
    let mut stable = scalar.ty.oid < oid::FIRST_USER;
    scalar.for_each_child(&mut |child| stable &= is_stable(child));
    stable
}

/// Every value of the type is in its row, however wide that is.
fn is_short(ty: PgType) -> bool {
    match ty.oid {
        oid::BOOL
        | oid::CHAR
        | oid::INT2
        | oid::INT4
        | oid::INT8
        | oid::OID
        | oid::FLOAT4
        | oid::FLOAT8
        | oid::DATE
        | oid::TIME
        | oid::TIMESTAMP
        | oid::TIMESTAMPTZ
        | oid::INTERVAL
        | oid::UUID => true,
        // Two headers of four bytes, and groups of four digits in two bytes each.
        oid::NUMERIC => {
            let digits = (ty.typmod - 4) >> 16 & 0xFFFF;
            ty.typmod >= 4 && 8 + 2 * ((digits + 3) / 4 + 1) <= ALWAYS_INLINE
        }
        // A character has at most four bytes.
        oid::BPCHAR | oid::VARCHAR => ty.typmod >= 4 && 4 + 4 * (ty.typmod - 4) <= ALWAYS_INLINE,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_types_are_those_that_never_leave_their_row() {
        let ty = |oid, typmod| PgType { oid, typmod, collation: 0 };
        let numeric = |precision: i32| ty(oid::NUMERIC, (precision << 16 | 2) + 4);
        for short in [ty(oid::INT8, -1), numeric(15), numeric(28), ty(oid::BPCHAR, 9), ty(oid::VARCHAR, 9)] {
            assert!(is_short(short), "{short:?}");
        }
        for long in [ty(oid::NUMERIC, -1), numeric(29), ty(oid::VARCHAR, -1), ty(oid::VARCHAR, 10), ty(oid::TEXT, -1)] {
            assert!(!is_short(long), "{long:?}");
        }
    }
}
