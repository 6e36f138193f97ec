//! Which inputs of a query level are joined, in which order, and where its conditions are tried.
//!
//! A condition is tried as soon as all inputs that it reads are there: on one input below the joins, on the kept side of a
//! left join below it too; a condition of ON on the other side alone filters that side. Nothing goes below a full join.
//! An equality between two inputs becomes a join key. Inputs are joined in the order of FROM, but one that has a key with
//! those before it goes first.

use std::collections::{BTreeSet, HashMap};

use crate::PlanError;
use crate::built::Built;
use crate::expr::Expr;
use crate::items::Item;
use crate::query::Planner;
use crate::scope::Level;
use crate::tree::JoinKind;
use crate::values::one_row;

/// Inputs joined so far.
pub(crate) struct Joined {
    pub(crate) built: Built,
    pub(crate) inputs: BTreeSet<usize>,
    /// From columns side by side to this one's.
    pub(crate) placed: HashMap<usize, usize>,
}

impl Joined {
    /// No FROM.
    fn nothing() -> Self {
        Self { built: one_row(), inputs: BTreeSet::new(), placed: HashMap::new() }
    }

    pub(crate) fn place(&self, expr: &Expr) -> Expr {
        expr.map_columns(&|c| self.placed.get(&c).copied().unwrap_or(usize::MAX))
    }
}

/// A condition that was not tried yet, and the inputs that it reads.
pub(crate) type Condition = (Expr, BTreeSet<usize>);

/// What joining one level works with.
pub(crate) struct Joins<'p, 'q, 'a> {
    pub(crate) planner: &'p mut Planner<'a>,
    pub(crate) level: &'q mut Level<'a>,
    /// The inputs' rows, by their numbers; taken as they are joined.
    pub(crate) builts: Vec<Option<Built>>,
}

impl Joins<'_, '_, '_> {
    fn conditions(&self, exprs: Vec<Expr>) -> Vec<Condition> {
        let with_inputs = |e: Expr| {
            let inputs = self.level.inputs_of(&e);
            (e, inputs)
        };
        exprs.into_iter().map(with_inputs).collect()
    }

    /// An item's rows; what of `above` reads nothing else is tried on them and taken off the list.
    pub(crate) fn item(&mut self, item: Item<Vec<Expr>>, above: &mut Vec<Condition>) -> Result<Joined, PlanError> {
        match item {
            Item::Input(at) => {
                let built = self.builts.get_mut(at).and_then(Option::take);
                let built = built.ok_or_else(|| PlanError::Tree("an input of FROM is read twice".into()))?;
                let first = self.level.inputs[at].first;
                let placed = (0..built.columns.len()).map(|c| (first + c, c)).collect();
                let mut joined = Joined { built, inputs: BTreeSet::from([at]), placed };
                self.apply(&mut joined, above)?;
                Ok(joined)
            }
            Item::Group(items, own) => {
                let (constant, own): (Vec<_>, Vec<_>) =
                    self.conditions(own).into_iter().partition(|(_, inputs)| inputs.is_empty());
                above.splice(0..0, own);
                let waiting = items.into_iter().map(|item| self.item(item, above)).collect::<Result<Vec<_>, _>>()?;
                let mut joined = self.group(waiting, above)?;
                let constant: Vec<Expr> = constant.into_iter().map(|(c, _)| c).collect();
                joined.built = self.planner.filter(joined.built, &constant)?;
                Ok(joined)
            }
            Item::Outer { kind, left, right, on } => {
                let mut on = self.conditions(on);
                let (left, right) = if kind == JoinKind::Full {
                    (self.item(*left, &mut Vec::new())?, self.item(*right, &mut Vec::new())?)
                } else {
                    (self.item(*left, above)?, self.item(*right, &mut on)?)
                };
                let mut joined = self.pair(left, right, kind, &on)?;
                self.apply(&mut joined, above)?;
                Ok(joined)
            }
        }
    }

    /// Joins all that wait, and tries the conditions as soon as their inputs are there.
    fn group(&mut self, mut waiting: Vec<Joined>, conditions: &mut Vec<Condition>) -> Result<Joined, PlanError> {
        if waiting.is_empty() {
            return Ok(Joined::nothing());
        }
        let mut joined = waiting.remove(0);
        self.apply(&mut joined, conditions)?;
        while !waiting.is_empty() {
            let connected = waiting
                .iter()
                .position(|next| conditions.iter().any(|(c, _)| self.is_key(c, &joined.inputs, &next.inputs)));
            let next = waiting.remove(connected.unwrap_or(0));
            let (keys, others): (Vec<_>, Vec<_>) =
                std::mem::take(conditions).into_iter().partition(|(c, _)| self.is_key(c, &joined.inputs, &next.inputs));
            *conditions = others;
            joined = self.pair(joined, next, JoinKind::Inner, &keys)?;
            self.apply(&mut joined, conditions)?;
        }
        Ok(joined)
    }

    fn is_key(&self, condition: &Expr, left: &BTreeSet<usize>, right: &BTreeSet<usize>) -> bool {
        let Some((a, b, _)) = self.planner.equality(condition) else { return false };
        let (a, b) = (self.level.inputs_of(&a), self.level.inputs_of(&b));
        let within = |of: &BTreeSet<usize>, side: &BTreeSet<usize>| !of.is_empty() && of.is_subset(side);
        (within(&a, left) && within(&b, right)) || (within(&a, right) && within(&b, left))
    }

    /// Filters by the conditions that read these inputs only, and takes them off the list.
    fn apply(&mut self, joined: &mut Joined, conditions: &mut Vec<Condition>) -> Result<(), PlanError> {
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(conditions).into_iter().partition(|(_, i)| !i.is_empty() && i.is_subset(&joined.inputs));
        *conditions = later;
        let now: Vec<Expr> = now.iter().map(|(c, _)| joined.place(c)).collect();
        if !now.is_empty() {
            let built = joined.built.clone();
            joined.built = self.planner.filter(built, &now)?;
        }
        Ok(())
    }

    fn pair(&mut self, left: Joined, right: Joined, kind: JoinKind, on: &[Condition]) -> Result<Joined, PlanError> {
        let one_row = |built: &Built| built.keys.iter().any(Vec::is_empty);
        let connected = on.iter().any(|(c, _)| self.is_key(c, &left.inputs, &right.inputs));
        if !connected && !one_row(&left.built) && !one_row(&right.built) {
            self.planner.warnings.push(
                "two inputs are joined without an equality that a join can go by: every row of one side meets \
                 every row of the other, and each change costs as much"
                    .into(),
            );
        }
        let width = left.built.columns.len();
        let place = |c: usize| match (left.placed.get(&c), right.placed.get(&c)) {
            (Some(at), _) => *at,
            (None, Some(at)) => width + at,
            (None, None) => usize::MAX,
        };
        let conditions = on.iter().map(|(c, _)| c.map_columns(&place)).collect();
        let (built, offset) = self.planner.join_two(left.built, right.built, kind, conditions)?;
        let inputs = left.inputs.union(&right.inputs).copied().collect();
        let mut placed = left.placed;
        placed.extend(right.placed.into_iter().map(|(v, c)| (v, offset + c)));
        Ok(Joined { built, inputs, placed })
    }
}
