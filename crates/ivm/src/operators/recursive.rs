//! WITH RECURSIVE: the base's rows, and what follows from them step by step.
//!
//! A step makes of each row others, whatever else is found: so what a cut does is what its changes of other tables make of
//! the rows that are there, what comes and goes at the base, and what follows from both ([`super::flow`]).
//!
//! * UNION ALL ([`super::levels`]): level by level, each level's changes from the one before; only the step's joins keep rows.
//! * UNION ([`super::derived`]): each row once, with how often it follows from others. What loses its last support goes, with what
//!   was supported by it; what of that follows from rows that stay comes again.

use types::{Delta, Row};

use super::derived::{Derived, Round};
use super::levels;
use super::working::{all_marked, mark_of};
use super::{Cx, Emit, Node};
use crate::error::{Failure, IvmError};

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Recursive {
    pub(crate) base: Box<Node>,
    /// Physical columns of the base's rows that are its columns; `None` when they are just these.
    pub(crate) base_columns: Option<Vec<usize>>,
    pub(crate) step: Step,
    /// `None` for UNION ALL.
    pub(crate) derived: Option<Derived>,
}

/// What is asked of the recursive rows.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) node: Box<Node>,
    pub(crate) columns: Vec<usize>,
    /// Where the mark of the row is that another follows from.
    pub(crate) mark: usize,
}

/// A row that follows from one with this mark; from no other at the base.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) row: Row,
    pub(crate) from: Option<u64>,
    pub(crate) diff: i64,
}

/// Levels of UNION ALL, or rounds of UNION, that a recursion takes at most in one cut.
const LEVELS: u64 = 100_000;
const ROUNDS: u64 = 1_000_000;
/// From which level or step on rows are deep, and how many such rows there are at most, all together (of UNION ALL), and of how
/// many bytes.
const DEEP: u64 = 1_000;
const DEEP_ROWS: usize = 5_000_000;
const DEEP_BYTES: usize = 1 << 27;
/// Bytes of rows that are held at once.
const HELD: usize = 1 << 29;

const REMEDY: &str = "write UNION instead of UNION ALL, or CYCLE, or keep the path of each row and leave out what it has (WHERE id \
     <> ALL (path)), or count the levels and end at one";

/// Notices a recursion that goes on and on.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    rounds: u64,
    deep_rows: usize,
    deep_bytes: usize,
    held: usize,
    /// Rows go on as they come.
    pub(crate) building: bool,
}

impl Bounds {
    /// Another round of a recursion that has each row once, of rows that are so many steps away from where they begin: those
    /// that carry the way to them grow with each.
    pub(crate) fn round(&mut self, depth: u64, rows: &[Delta]) -> Result<(), Failure> {
        self.rounds += 1;
        self.deep_bytes += if depth > DEEP { bytes(rows, 0) } else { 0 };
        self.check(self.rounds <= ROUNDS && self.deep_bytes <= DEEP_BYTES)
    }

    /// Rows of a level are looked at.
    pub(crate) fn level(&mut self, level: u64, rows: &[Delta]) -> Result<(), Failure> {
        if level > DEEP {
            self.deep_rows += rows.len();
            self.deep_bytes += bytes(rows, 0);
        }
        self.check(level <= LEVELS && self.deep_rows <= DEEP_ROWS && self.deep_bytes <= DEEP_BYTES)
    }

    /// Rows wait, or are kept until the cut ends.
    pub(crate) fn hold(&mut self, rows: &[Delta]) -> Result<(), Failure> {
        self.held = self.held.saturating_add(bytes(rows, size_of::<Delta>()));
        if self.held <= HELD || self.building {
            return self.check(self.held <= HELD);
        }
        Err(Failure::Stream(format!(
            "its recursion makes rows of more than {} MiB in one cut. If it ends at all, `tributary stream rebuild` finds \
             them in pieces; else {REMEDY}",
            HELD >> 20
        )))
    }

    /// They do no longer.
    pub(crate) fn release(&mut self, rows: &[Delta]) {
        self.held = self.held.saturating_sub(bytes(rows, size_of::<Delta>()));
    }

    fn check(&self, within: bool) -> Result<(), Failure> {
        if within {
            return Ok(());
        }
        Err(Failure::Stream(format!(
            "its recursion does not end: rows follow from each other in a circle, or ever new ones do; {REMEDY}"
        )))
    }
}

/// The rows' bytes and `more` for each. Each copy counts: whoever shows the rows has as many.
fn bytes(rows: &[Delta], more: usize) -> usize {
    let of = |d: &Delta| {
        let copies = usize::try_from(d.diff.unsigned_abs()).unwrap_or(usize::MAX);
        copies.saturating_mul(d.row.as_bytes().len() + more)
    };
    rows.iter().map(of).fold(0, usize::saturating_add)
}

impl Step {
    fn follow(&self, rows: Vec<Delta>) -> Result<Vec<Following>, Failure> {
        let one = |d: Delta| {
            let from = mark_of(&d.row, self.mark).ok_or_else(|| IvmError::damaged("the mark of a recursive row"))?;
            Ok(Following { row: d.row.project(&self.columns), from: Some(from), diff: d.diff })
        };
        rows.into_iter().map(one).collect()
    }

    /// What the cut's changes of the other inputs make of the rows that there were.
    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>) -> Result<Vec<Following>, Failure> {
        let rows = self.node.step(cx)?;
        self.follow(rows)
    }

    /// What follows from rows that come or go.
    pub(crate) fn push(&mut self, cx: &mut Cx<'_>, rows: &[Delta], mark: u64) -> Result<Vec<Following>, Failure> {
        let rows = self.node.push(cx, &all_marked(rows, mark))?;
        self.follow(rows)
    }
}

fn shaped(columns: Option<&[usize]>, mut rows: Vec<Delta>) -> Vec<Delta> {
    if let Some(columns) = columns {
        for delta in &mut rows {
            delta.row = delta.row.project(columns);
        }
    }
    rows
}

fn at_base(rows: Vec<Delta>) -> Vec<Following> {
    rows.into_iter().map(|d| Following { row: d.row, from: None, diff: d.diff }).collect()
}

impl Recursive {
    /// Rows in, and what comes out.
    pub(crate) fn step(&mut self, cx: &mut Cx<'_>) -> Result<(usize, Vec<Delta>), Failure> {
        let base = self.base.step(cx)?;
        let base = shaped(self.base_columns.as_deref(), base);
        let turned = self.step.begin(cx)?;
        let rows_in = base.len() + turned.len();
        let out = match &self.derived {
            _ if rows_in == 0 => Vec::new(),
            None => levels::step(&mut self.step, cx, base, turned)?,
            Some(derived) => {
                let mut round = Round::new(derived, cx)?;
                round.take(cx, at_base(base))?;
                round.take(cx, turned)?;
                round.over_delete(cx, &mut self.step)?;
                round.derive(cx, &mut self.step, None)?;
                round.finish(cx)?
            }
        };
        self.step.node.settle(cx)?;
        Ok((rows_in, out))
    }

    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        let Self { base, base_columns, step, derived } = self;
        step.node.prepare(cx)?;
        base.build(cx, &mut |cx, rows| {
            let rows = shaped(base_columns.as_deref(), rows);
            match derived {
                None => levels::build(step, cx, rows, emit),
                Some(derived) => {
                    let mut round = Round::new(derived, cx)?;
                    round.take(cx, at_base(rows))?;
                    round.derive(cx, step, Some(emit))
                }
            }
        })
    }

    pub(crate) fn describe(&self) -> String {
        match self.derived {
            None => "level by level; only the step's joins keep rows".into(),
            Some(_) => "each row with how often it follows from others, and from earlier ones".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::RowBuilder;

    fn rows(count: usize, bytes: usize) -> Vec<Delta> {
        let mut row = RowBuilder::new();
        row.push_value(Some(&vec![0; bytes]));
        vec![Delta::plus(row.finish()); count]
    }

    #[test]
    fn many_rows_near_where_they_begin_are_no_recursion_without_end() {
        let (mut bounds, rows) = (Bounds::default(), rows(1000, 1000));
        for _ in 0..10 * DEEP {
            bounds.round(20, &rows).unwrap();
            bounds.level(DEEP, &rows).unwrap();
        }
    }

    #[test]
    fn rows_far_from_it_are_bounded_by_their_bytes_and_narrow_ones_by_their_number() {
        let mut bounds = Bounds::default();
        let wide = rows(1, 1 << 20);
        let rounds = (0..1000).take_while(|_| bounds.round(DEEP + 1, &wide).is_ok()).count();
        assert_eq!(rounds, (DEEP_BYTES >> 20) - 1);
        let (mut bounds, narrow) = (Bounds::default(), rows(1000, 4));
        let levels = (0..10_000).take_while(|_| bounds.level(DEEP + 1, &narrow).is_ok()).count();
        assert_eq!(levels * 1000, DEEP_ROWS);
    }
}
