//! WITH RECURSIVE … UNION ALL: level by level.
//!
//! ```text
//!   R(0)  =  base                        dR(0)    =  dbase
//!   R(n+1) = S(R(n))                     dR(n+1)  =  (S' − S)(R(n))  +  S'(dR(n))
//! ```
//!
//! A row that several levels have is there as often. No level depends on itself, so circles in the data are no matter as
//! long as no recursion runs into one, before the cut or after it.

use std::collections::BTreeMap;

use types::Delta;

use super::join::consolidated;
use super::recursive::{Bounds, Following, Step};
use super::{CHUNK, Cx, Emit};
use crate::error::Failure;

/// What a cut does: to the base, and by what the step's other inputs make of the rows that there were.
pub(crate) fn step(
    step: &mut Step,
    cx: &mut Cx<'_>,
    base: Vec<Delta>,
    turned: Vec<Following>,
) -> Result<Vec<Delta>, Failure> {
    let mut waiting: BTreeMap<u64, Vec<Delta>> = BTreeMap::new();
    waiting.entry(0).or_default().extend(base);
    for Following { row, from, diff } in turned {
        let level = from.map_or(0, |level| level + 1);
        waiting.entry(level).or_default().push(Delta { row, diff });
    }
    let (mut out, mut bounds) = (Vec::new(), Bounds::default());
    while let Some((level, rows)) = waiting.pop_first() {
        let rows = consolidated(rows);
        if rows.is_empty() {
            continue;
        }
        bounds.level(level, &rows)?;
        bounds.hold(&rows)?;
        let next = step.push(cx, &rows, level)?;
        if !next.is_empty() {
            let following = next.into_iter().map(|f| Delta { row: f.row, diff: f.diff });
            waiting.entry(level + 1).or_default().extend(following);
        }
        out.extend(rows);
    }
    Ok(consolidated(out))
}

/// A piece of the base, and all that follows from it.
pub(crate) fn build(step: &mut Step, cx: &mut Cx<'_>, base: Vec<Delta>, emit: &mut Emit<'_>) -> Result<(), Failure> {
    let mut bounds = Bounds::default();
    bounds.building = true;
    let mut waiting = vec![(0, base)];
    while let Some((level, rows)) = waiting.pop() {
        bounds.level(level, &rows)?;
        bounds.release(&rows);
        cx.wanted()?;
        let next = step.push(cx, &rows, level)?;
        step.node.settle(cx)?;
        cx.flush()?;
        let next: Vec<Delta> = next.into_iter().map(|f| Delta { row: f.row, diff: f.diff }).collect();
        bounds.hold(&next)?;
        waiting.extend(next.chunks(CHUNK).map(|piece| (level + 1, piece.to_vec())));
        emit(cx, rows)?;
    }
    Ok(())
}
