//! Restricted inputs are joined first.
//!
//! Every join but those of plain tables holds what is joined below it. An input of which conditions leave some rows only, and
//! which others meet by a key of its, takes rows from those and never adds any.

use std::collections::BTreeSet;

use crate::PlanError;
use crate::join_key::before_widening;
use crate::joins::{Condition, Joined, Joins, Tried};

impl Joins<'_, '_, '_> {
    /// Joins restricted inputs to others that they restrict in turn, from the outermost on.
    pub(crate) fn restricted_first(
        &mut self,
        waiting: &mut Vec<Joined>,
        conditions: &mut Vec<Condition>,
    ) -> Result<(), PlanError> {
        let reads_others = |joined: &Joined| joined.inputs.iter().any(|input| self.stand_ins.contains_key(input));
        if waiting.iter().any(reads_others) {
            return Ok(());
        }
        // Two are joined in one way only.
        while waiting.len() > 2 {
            let all = 0..waiting.len();
            let meets = |at: usize, other: usize| {
                at != other && waiting[at].restricted && self.meets_once(&waiting[other], &waiting[at], conditions)
            };
            let of = |at: usize| all.clone().map(|other| meets(at, other)).collect();
            let table: Vec<Vec<bool>> = all.clone().map(of).collect();
            let restricts = |at: usize, other: usize| table[at][other];
            let is_settled = |at: usize| all.clone().all(|other| !restricts(other, at) || restricts(at, other));
            let pairs = all.clone().flat_map(|at| all.clone().map(move |other| (at, other)));
            let found = pairs.filter(|&(at, other)| restricts(at, other) && is_settled(at));
            // What is not restricted yet may restrict others then.
            let Some((at, other)) = found.min_by_key(|&(at, other)| (waiting[other].restricted, at, other)) else {
                break;
            };
            let (right, left) = if at > other {
                (waiting.remove(at), waiting.remove(other))
            } else {
                let left = waiting.remove(other);
                (waiting.remove(at), left)
            };
            let mut joined = self.by_keys(left, right, conditions, Tried::Plain)?;
            joined.restricted = true;
            waiting.insert(at.min(other), joined);
        }
        Ok(())
    }

    /// Whether equalities make each row of `left` meet one of `right` at most.
    fn meets_once(&self, left: &Joined, right: &Joined, conditions: &[Condition]) -> bool {
        let keys = conditions.iter().filter(|(c, _)| self.is_key(c, &left.inputs, &right.inputs));
        let columns: BTreeSet<usize> = keys
            .filter_map(|(c, _)| {
                let (a, b, _) = self.planner.equality(c)?;
                let of_right = if self.level.inputs_of(&a).is_subset(&right.inputs) { a } else { b };
                let of_right = right.place(&of_right);
                before_widening(&of_right).or_else(|| self.planner.key_column(&of_right, &right.built.columns))
            })
            .collect();
        !columns.is_empty() && right.built.keys.iter().any(|key| key.iter().all(|c| columns.contains(c)))
    }
}
