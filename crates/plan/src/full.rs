//! FULL JOIN of sides that read the query around it.
//!
//! For each of the values that are read there is a FULL JOIN of its own. So each side is joined with the values first, the join goes by them as
//! well, and its rows belong to the values of whichever side there is.

use crate::PlanError;
use crate::expr::{Expr, ExprKind, same};
use crate::joins::{Condition, Joined, Joins, Tried, reads_beyond};

impl Joins<'_, '_, '_> {
    /// The rows of a FULL JOIN whose sides, or whose condition, read beyond them; what is left to do with them comes into `above`.
    pub(crate) fn full_of_values(
        &mut self,
        (left, of_left): (Joined, Vec<Condition>),
        (right, of_right): (Joined, Vec<Condition>),
        mut on: Vec<Condition>,
        above: &mut Vec<Condition>,
    ) -> Result<Joined, PlanError> {
        let (mut left, by_left) = self.beside_values(left, of_left)?;
        let (mut right, by_right) = self.beside_values(right, of_right)?;
        // The condition may read them: they are the same on both sides of a pair.
        self.hide_values(&mut right);
        let inputs = &left.inputs | &right.inputs;
        on.extend(by_left.iter().zip(&by_right).map(|(l, r)| (same(l.clone(), r.clone()), inputs.clone())));
        self.values_of_sides(&mut left, &mut right, &mut on)?;
        let mut joined = self.pair_full(left, right, &on)?;
        self.hide_values(&mut joined);
        for ((l, r), value) in by_left.iter().zip(&by_right).zip(self.level.values()) {
            let kind = ExprKind::Coalesce(vec![joined.place(l), joined.place(r)]);
            let at = joined.built.columns.len();
            joined.built = self.planner.extend(joined.built, &[Expr { kind, ..value.clone() }])?;
            let column = self.beyond_all(&mut joined, at);
            let told = Expr::column(column, value.ty, value.declared);
            let reads = self.inputs_of(&value).into_iter().chain(joined.inputs.iter().copied()).collect();
            above.push((same(value, told), reads));
        }
        Ok(joined)
    }

    /// A side's rows for each of the values, and the columns by which these are told apart.
    fn beside_values(
        &mut self,
        side: Joined,
        mut conditions: Vec<Condition>,
    ) -> Result<(Joined, Vec<Expr>), PlanError> {
        let frame = self.level.frame.clone().filter(|_| self.level.has_values()).ok_or_else(reads_beyond)?;
        let built = self.planner.stand_in(&frame);
        let placed = (0..built.columns.len()).map(|c| (c, c)).collect();
        let values = Joined { built, inputs: [0].into(), placed, restricted: false };
        let mut joined = self.by_keys(values, side, &mut conditions, Tried::All)?;
        self.apply(&mut joined, &mut conditions, Tried::All)?;
        if !conditions.is_empty() {
            return Err(reads_beyond());
        }
        joined.inputs.remove(&0);
        let mut told = Vec::new();
        for value in self.level.values() {
            let at = joined.place(&value).as_column().ok_or_else(reads_beyond)?;
            let column = self.beyond_all(&mut joined, at);
            told.push(Expr::column(column, value.ty, value.declared));
        }
        Ok((joined, told))
    }

    /// Without the values, which are others than those that the level begins with.
    fn hide_values(&self, joined: &mut Joined) {
        joined.placed.retain(|column, _| self.level.input_of(*column) != 0);
    }
}
