//! Errors in the step of a recursion that may turn out to be none.
//!
//! A step meets rows that a cut takes away before they are gone: a pair of such a row with one that comes new is added, and
//! taken back later. It is there neither before nor after the cut, so an error over it counts only when it is still there at the end.

use std::collections::HashMap;

use types::{Delta, Row};

use super::Cx;
use crate::error::Failure;

/// What an operator without state makes of rows that come or go.
pub(super) type Apply<'a> = dyn Fn(&mut Cx<'_>, Vec<Delta>) -> Result<Vec<Delta>, Failure> + 'a;

/// Rows over which an operator failed, how often each is there, and why.
#[derive(Debug, Default)]
pub(crate) struct Late(HashMap<Row, (i64, String)>);

impl Late {
    /// What `apply` makes of the rows, without those over which it fails.
    pub(super) fn apply(
        &mut self,
        cx: &mut Cx<'_>,
        rows: Vec<Delta>,
        apply: &Apply<'_>,
    ) -> Result<Vec<Delta>, Failure> {
        match apply(cx, rows.clone()) {
            Err(Failure::Stream(_)) => {}
            done => return done,
        }
        let mut out = Vec::new();
        for delta in rows {
            match apply(cx, vec![delta.clone()]) {
                Err(Failure::Stream(why)) => self.0.entry(delta.row).or_insert((0, why)).0 += delta.diff,
                done => out.append(&mut done?),
            }
        }
        Ok(out)
    }

    /// The recursion has come to its end: the error over a row that is there.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        let there = std::mem::take(&mut self.0).into_iter().filter(|(_, (copies, _))| *copies != 0);
        // The same one every time.
        match there.min_by(|a, b| a.0.cmp(&b.0)) {
            Some((_, (_, why))) => Err(Failure::Stream(why)),
            None => Ok(()),
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
