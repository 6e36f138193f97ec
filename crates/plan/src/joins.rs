//! Which inputs of a query level are joined, in which order, and where its conditions are tried.
//!
//! A condition is tried as soon as all inputs that it reads are there: on one input below the joins, on the kept side of a
//! left join below it too; a condition of ON on the other side alone filters that side. Nothing goes below a full join.
//! An equality between two inputs becomes a join key. Inputs of which conditions leave some rows only are first joined to
//! those whose rows meet one of theirs at most, since each join holds what is joined below it. Then they are joined
//! in the order of FROM, but one that has a key with those before it goes first.

use std::collections::{BTreeSet, HashMap};

use crate::PlanError;
use crate::built::Built;
use crate::expr::{Expr, ExprKind};
use crate::items::Item;
use crate::lateral::Lateral;
use crate::query::Planner;
use crate::scope::Level;
use crate::sublink::innermost;
use crate::tree::JoinKind;
use crate::values::one_row;

/// Inputs joined so far.
pub(crate) struct Joined {
    pub(crate) built: Built,
    pub(crate) inputs: BTreeSet<usize>,
    /// From columns side by side to this one's.
    pub(crate) placed: HashMap<usize, usize>,
    /// Conditions were tried on its rows.
    pub(crate) restricted: bool,
}

impl Joined {
    /// No FROM.
    fn nothing() -> Self {
        Self { built: one_row(), inputs: BTreeSet::new(), placed: HashMap::new(), restricted: false }
    }

    pub(crate) fn place(&self, expr: &Expr) -> Expr {
        expr.map_columns(&|c| self.placed.get(&c).copied().unwrap_or(usize::MAX))
    }
}

/// Which conditions are tried, of those of which all inputs are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    /// Those without subqueries.
    Plain,
    /// Those too by which a subquery's rows keep or drop rows.
    Keeping,
    /// All: also those for which a subquery's value must be joined.
    All,
}

/// A condition that was not tried yet, and the inputs that it reads.
pub(crate) type Condition = (Expr, BTreeSet<usize>);

/// What stands in an input's rows for values of inputs that it reads, until these are joined.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) id: usize,
    /// The values, over columns side by side.
    pub(crate) args: Vec<Expr>,
    /// The inputs that they are of.
    pub(crate) reads: BTreeSet<usize>,
}

/// What joining one level works with.
pub(crate) struct Joins<'p, 'q, 'a> {
    pub(crate) planner: &'p mut Planner<'a>,
    pub(crate) level: &'q Level<'a>,
    /// The inputs' rows, by their numbers; taken as they are joined.
    pub(crate) builts: Vec<Option<Built>>,
    /// Of inputs that read others; taken when these are there.
    pub(crate) stand_ins: HashMap<usize, StandIn>,
    /// Functions that are applied to the rows of the inputs that they read.
    pub(crate) functions: HashMap<usize, Lateral>,
    /// How many columns were made for values of subqueries, beyond those that lie side by side.
    pub(crate) beyond: usize,
    /// Of these columns, the inputs whose rows have them.
    pub(crate) owners: HashMap<usize, BTreeSet<usize>>,
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
            Item::Input(at) if self.functions.contains_key(&at) => Err(function_beyond()),
            Item::Input(at) => self.input(at, above, Tried::Keeping),
            Item::Group(items, mut own) => {
                let implied: Vec<Expr> = own.iter().flat_map(|c| self.implied(c)).collect();
                own.extend(implied);
                let (constant, own): (Vec<_>, Vec<_>) =
                    self.conditions(own).into_iter().partition(|(_, inputs)| inputs.is_empty());
                above.splice(0..0, own);
                let items = self.functions_beside(items);
                let (functions, items): (Vec<_>, Vec<_>) = items.into_iter().partition(|i| self.is_function(i));
                let functions = functions.iter().flat_map(Item::inputs).collect();
                // What restricts other inputs is joined to them before a subquery's rows are looked for.
                let tried = if items.len() > 2 { Tried::Plain } else { Tried::Keeping };
                let one = |item| match item {
                    Item::Input(at) if !self.functions.contains_key(&at) => self.input(at, above, tried),
                    item => self.item(item, above),
                };
                let waiting = items.into_iter().map(one).collect::<Result<Vec<_>, _>>()?;
                let mut joined = self.group(waiting, functions, above)?;
                let constant: Vec<Expr> = constant.into_iter().map(|(c, _)| c).collect();
                for condition in constant {
                    joined.built = self.keep(joined.built, &condition)?;
                }
                Ok(joined)
            }
            Item::Outer { kind, left, right, on } => {
                let mut on = self.conditions(on);
                let (mut left, mut right) = if kind == JoinKind::Full {
                    let (mut of_left, mut of_right) = (Vec::new(), Vec::new());
                    let (left, right) = (self.item(*left, &mut of_left)?, self.item(*right, &mut of_right)?);
                    let reads_values = self.level.has_values() && on.iter().any(|(_, inputs)| inputs.contains(&0));
                    if reads_values || !of_left.is_empty() || !of_right.is_empty() {
                        let mut joined = self.full_of_values((left, of_left), (right, of_right), on, above)?;
                        self.apply(&mut joined, above, Tried::Keeping)?;
                        return Ok(joined);
                    }
                    (left, right)
                } else if self.is_function(&right) {
                    let left = self.item(*left, above)?;
                    let mut joined = self.outer_function(left, &right, on)?;
                    self.apply(&mut joined, above, Tried::Keeping)?;
                    return Ok(joined);
                } else {
                    let left = self.item(*left, above)?;
                    let mut right = self.item(*right, &mut on)?;
                    self.apply(&mut right, &mut on, Tried::All)?;
                    (left, right)
                };
                self.values_of_sides(&mut left, &mut right, &mut on)?;
                let mut joined = self.pair(left, right, kind, &on)?;
                self.apply(&mut joined, above, Tried::Keeping)?;
                Ok(joined)
            }
        }
    }

    /// An input's rows, as far as they pass what is `tried`.
    fn input(&mut self, at: usize, above: &mut Vec<Condition>, tried: Tried) -> Result<Joined, PlanError> {
        let built = self.builts.get_mut(at).and_then(Option::take);
        let built = built.ok_or_else(|| PlanError::Tree("an input of FROM is read twice".into()))?;
        let first = self.level.inputs[at].first;
        let placed = (0..built.columns.len()).map(|c| (first + c, c)).collect();
        let mut joined = Joined { built, inputs: BTreeSet::from([at]), placed, restricted: false };
        self.apply(&mut joined, above, tried)?;
        Ok(joined)
    }

    /// A left join whose left side begins with a function that reads other items, or whose right side is one, takes these to its
    /// left side.
    fn functions_beside(&self, mut items: Vec<Item<Vec<Expr>>>) -> Vec<Item<Vec<Expr>>> {
        let reads = |at: usize| self.functions.get(&at).map(|f| f.reads.clone()).unwrap_or_default();
        let lacking = |items: &[Item<Vec<Expr>>]| {
            let all: BTreeSet<usize> = items.iter().flat_map(Item::inputs).collect();
            let mut lacking = items.iter().map(|i| if self.is_function(i) { BTreeSet::new() } else { i.lacks(&reads) });
            lacking.position(|l| !l.is_empty() && l.is_subset(&all))
        };
        while let Some(at) = lacking(&items) {
            let item = items.remove(at);
            let read = item.lacks(&reads);
            let (read, rest): (Vec<_>, Vec<_>) = items.into_iter().partition(|i| !i.inputs().is_disjoint(&read));
            items = rest;
            items.insert(at.min(items.len()), item.beside(read));
        }
        items
    }

    /// Whether it is a function that reads other inputs.
    fn is_function(&self, item: &Item<Vec<Expr>>) -> bool {
        matches!(item, Item::Input(at) if self.functions.contains_key(at))
    }

    /// The rows with those that a function gives for each of them; with `keep` also those for which it gives none.
    fn with_function(&mut self, mut joined: Joined, at: usize, keep: bool) -> Result<Joined, PlanError> {
        let odd = || PlanError::Tree("a function of FROM is read twice".into());
        let Lateral { made, .. } = self.functions.remove(&at).ok_or_else(odd)?;
        let (first, width) = (self.level.inputs[at].first, joined.built.columns.len());
        joined.placed.extend((0..made.width()).map(|c| (first + c, width + c)));
        let made = made.over(|arg| joined.place(arg));
        joined.built = self.planner.with_made(joined.built, &made, keep, self.level)?;
        joined.inputs.insert(at);
        Ok(joined)
    }

    /// `LEFT JOIN LATERAL f(…) ON …`.
    fn outer_function(
        &mut self,
        mut left: Joined,
        right: &Item<Vec<Expr>>,
        mut on: Vec<Condition>,
    ) -> Result<Joined, PlanError> {
        let at = right.inputs().first().copied().unwrap_or_default();
        if !self.functions.get(&at).is_some_and(|f| f.reads.is_subset(&left.inputs)) {
            return Err(PlanError::not_yet(
                "a function in FROM that reads beyond its outer join",
                "join what it reads to the left side first",
            ));
        }
        let is_true = |e: &Expr| matches!(&e.kind, ExprKind::Const(c) if c.value == Some(vec![1]));
        if on.iter().all(|(c, _)| is_true(c)) {
            return self.with_function(left, at, true);
        }
        let (mut right, links) = self.function_apart(&left, at)?;
        on.extend(links);
        self.values_of_sides(&mut left, &mut right, &mut on)?;
        self.pair(left, right, JoinKind::Left, &on)
    }

    /// The function's rows for each combination of what it reads of the left side, and the conditions by which they belong to the
    /// left side's rows.
    fn function_apart(&mut self, left: &Joined, at: usize) -> Result<(Joined, Vec<Condition>), PlanError> {
        let odd = || PlanError::Tree("a function of FROM is read twice".into());
        let Lateral { made, .. } = self.functions.remove(&at).ok_or_else(odd)?;
        let mut args: Vec<Expr> = Vec::new();
        for call in made.args() {
            call.rewrite(&mut |e| {
                if matches!(e.kind, ExprKind::Column(_)) && !args.contains(e) {
                    args.push(e.clone());
                }
                None
            });
        }
        let placed: Vec<Expr> = args.iter().map(|arg| left.place(arg)).collect();
        let values = self.planner.told_apart(left.built.clone(), &placed)?;
        let telling = self.planner.telling_columns(args.iter().map(|arg| arg.ty));
        let mut shown = HashMap::new();
        let mut links = Vec::new();
        for (place, arg) in args.iter().enumerate() {
            // A column that lies beyond all inputs' own.
            let column = self.level.width + self.beyond;
            self.beyond += 1;
            shown.insert(column, telling[place]);
            let told = self.planner.telling(arg.clone());
            let link = crate::expr::same(told.clone(), Expr::column(column, told.ty, told.declared));
            links.push((link, self.level.inputs_of(arg)));
        }
        let place = |column: usize| args.iter().position(|a| a.as_column() == Some(column)).unwrap_or(usize::MAX);
        let made = made.over(|call| call.map_columns(&place));
        let first = self.level.inputs[at].first;
        shown.extend((0..made.width()).map(|c| (first + c, values.columns.len() + c)));
        let built = self.planner.with_made(values, &made, false, self.level)?;
        Ok((Joined { built, inputs: BTreeSet::from([at]), placed: shown, restricted: false }, links))
    }

    /// Joins all that wait, and tries the conditions as soon as their inputs are there. Functions are applied when what they read
    /// is there, and nothing is left to join by a key.
    fn group(
        &mut self,
        mut waiting: Vec<Joined>,
        mut functions: Vec<usize>,
        conditions: &mut Vec<Condition>,
    ) -> Result<Joined, PlanError> {
        if waiting.is_empty() && functions.is_empty() {
            return Ok(Joined::nothing());
        }
        if waiting.is_empty() {
            return Err(function_beyond());
        }
        if functions.is_empty() {
            self.restricted_first(&mut waiting, conditions)?;
        }
        for joined in &mut waiting {
            self.apply(joined, conditions, Tried::Keeping)?;
        }
        let mut joined = waiting.remove(0);
        while !waiting.is_empty() || !functions.is_empty() {
            let free: Vec<usize> = (0..waiting.len()).filter(|&at| !self.waits(&waiting, &functions, at)).collect();
            let connects = |next: &Joined| conditions.iter().any(|(c, _)| self.is_key(c, &joined.inputs, &next.inputs));
            let connected = free.iter().copied().find(|&at| connects(&waiting[at]));
            let reads = |at: &usize| self.functions.get(at).is_some_and(|f| f.reads.is_subset(&joined.inputs));
            if connected.is_none()
                && let Some(ready) = functions.iter().position(reads)
            {
                // What leaves rows out does so before anything is computed of them.
                self.apply(&mut joined, conditions, Tried::All)?;
                joined = self.with_function(joined, functions.remove(ready), false)?;
                self.apply(&mut joined, conditions, Tried::Keeping)?;
                continue;
            }
            if waiting.is_empty() {
                return Err(PlanError::not_yet(
                    "a function in FROM that reads what is joined later",
                    "join what it reads before it",
                ));
            }
            let next = waiting.remove(connected.or(free.first().copied()).unwrap_or(0));
            joined = self.by_keys(joined, next, conditions, Tried::Keeping)?;
        }
        self.apply(&mut joined, conditions, Tried::All)?;
        Ok(joined)
    }

    /// Joins two by the conditions that are keys between them, and tries what can be tried then.
    pub(crate) fn by_keys(
        &mut self,
        left: Joined,
        right: Joined,
        conditions: &mut Vec<Condition>,
        tried: Tried,
    ) -> Result<Joined, PlanError> {
        let (keys, others): (Vec<_>, Vec<_>) =
            std::mem::take(conditions).into_iter().partition(|(c, _)| self.is_key(c, &left.inputs, &right.inputs));
        *conditions = others;
        let mut joined = self.pair(left, right, JoinKind::Inner, &keys)?;
        self.apply(&mut joined, conditions, tried)?;
        Ok(joined)
    }

    /// Whether one of those that wait reads another that does, or a function.
    fn waits(&self, waiting: &[Joined], functions: &[usize], at: usize) -> bool {
        let reads = |input: &usize| self.stand_ins.get(input).map(|s| &s.reads);
        let read: BTreeSet<usize> = waiting[at].inputs.iter().filter_map(reads).flatten().copied().collect();
        functions.iter().any(|f| read.contains(f))
            || waiting.iter().enumerate().any(|(other, joined)| other != at && !joined.inputs.is_disjoint(&read))
    }

    pub(crate) fn is_key(&self, condition: &Expr, left: &BTreeSet<usize>, right: &BTreeSet<usize>) -> bool {
        let (a, b) = match &condition.kind {
            ExprKind::Same(a, b) => (self.inputs_of(a), self.inputs_of(b)),
            _ if condition.has_sub() => return false,
            // One that only PostgreSQL knows goes by what both sides have in common when it holds.
            _ => match self
                .planner
                .equality(condition)
                .map(|(a, b, _)| (a, b))
                .or_else(|| self.planner.hashes(condition))
            {
                Some((a, b)) => (self.level.inputs_of(&a), self.level.inputs_of(&b)),
                None => return false,
            },
        };
        let within = |of: &BTreeSet<usize>, side: &BTreeSet<usize>| !of.is_empty() && of.is_subset(side);
        (within(&a, left) && within(&b, right)) || (within(&a, right) && within(&b, left))
    }

    /// Filters by the conditions that read these inputs only and are `tried`, and takes them off the list.
    pub(crate) fn apply(
        &mut self,
        joined: &mut Joined,
        conditions: &mut Vec<Condition>,
        tried: Tried,
    ) -> Result<(), PlanError> {
        let now = |(c, inputs): &Condition| {
            let keeps_or_drops = match &c.kind {
                ExprKind::Not(arg) => matches!(arg.kind, ExprKind::Sub { .. }),
                kind => matches!(kind, ExprKind::Sub { .. }),
            };
            let is_tried = match tried {
                Tried::Plain => !c.has_sub(),
                Tried::Keeping => keeps_or_drops || !c.has_sub(),
                Tried::All => true,
            };
            is_tried && !inputs.is_empty() && inputs.is_subset(&joined.inputs)
        };
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(conditions).into_iter().partition(now);
        *conditions = later;
        joined.restricted |= !now.is_empty();
        let now: Vec<Expr> = now.iter().map(|(c, _)| joined.place(c)).collect();
        let (subs, plain): (Vec<_>, Vec<_>) = now.into_iter().partition(Expr::has_sub);
        if !plain.is_empty() {
            let built = joined.built.clone();
            joined.built = self.planner.filter(built, &plain)?;
        }
        for condition in subs {
            let built = joined.built.clone();
            joined.built = self.keep(built, &condition)?;
        }
        Ok(())
    }

    fn keep(&mut self, built: Built, condition: &Expr) -> Result<Built, PlanError> {
        if condition.has_sub() {
            self.planner.sub_condition(built, condition, self.level)
        } else {
            self.planner.filter(built, std::slice::from_ref(condition))
        }
    }

    /// Subqueries in the condition of an outer join, that read one side: their values become columns of that side.
    pub(crate) fn values_of_sides(
        &mut self,
        left: &mut Joined,
        right: &mut Joined,
        on: &mut [Condition],
    ) -> Result<(), PlanError> {
        while let Some(sub) = on.iter().find_map(|(c, _)| innermost(c)) {
            let inputs = self.level.inputs_of(&sub);
            let side = if inputs.is_subset(&right.inputs) {
                &mut *right
            } else if inputs.is_subset(&left.inputs) {
                &mut *left
            } else {
                return Err(PlanError::not_yet(
                    "a subquery in an outer join's condition that reads both of its sides",
                    "join the subquery's rows to one side first",
                ));
            };
            let mut value = [side.place(&sub)];
            let built = self.planner.subqueries(side.built.clone(), &mut value, self.level)?;
            let at = built.columns.len();
            side.built = self.planner.extend(built, &value)?;
            let column = self.beyond_all(side, at);
            for (condition, _) in &mut *on {
                let value = Expr::column(column, sub.ty, sub.declared);
                *condition = condition.rewrite(&mut |e| (*e == sub).then(|| value.clone()));
            }
        }
        Ok(())
    }

    /// A number for a column that lies beyond all inputs' own, of rows that have it there.
    pub(crate) fn beyond_all(&mut self, joined: &mut Joined, at: usize) -> usize {
        let column = self.level.width + self.beyond;
        self.beyond += 1;
        joined.placed.insert(column, at);
        self.owners.insert(column, joined.inputs.clone());
        column
    }

    /// Which inputs an expression reads.
    pub(crate) fn inputs_of(&self, expr: &Expr) -> BTreeSet<usize> {
        let of = |column: usize| {
            self.owners.get(&column).cloned().unwrap_or_else(|| BTreeSet::from([self.level.input_of(column)]))
        };
        expr.columns().into_iter().flat_map(of).collect()
    }

    pub(crate) fn pair_full(&mut self, left: Joined, right: Joined, on: &[Condition]) -> Result<Joined, PlanError> {
        self.pair(left, right, JoinKind::Full, on)
    }

    fn pair(&mut self, left: Joined, mut right: Joined, kind: JoinKind, on: &[Condition]) -> Result<Joined, PlanError> {
        let ready: Vec<usize> = right.inputs.iter().copied().collect();
        for input in ready {
            if self.stand_ins.get(&input).is_some_and(|s| s.reads.is_subset(&left.inputs))
                && let Some(stand_in) = self.stand_ins.remove(&input)
            {
                let args: Vec<Expr> = stand_in.args.iter().map(|a| left.place(a)).collect();
                self.planner.with_values(&mut right.built.rel, stand_in.id, &left.built, &args)?;
            }
        }
        let width = left.built.columns.len();
        let place = |c: usize| match (left.placed.get(&c), right.placed.get(&c)) {
            (Some(at), _) => *at,
            (None, Some(at)) => width + at,
            (None, None) => usize::MAX,
        };
        let conditions: Vec<Expr> = on.iter().map(|(c, _)| c.map_columns(&place)).collect();
        if conditions.iter().any(|c| c.columns().contains(&usize::MAX)) {
            return Err(reads_beyond());
        }
        let (built, offset) = self.planner.join_two(left.built, right.built, kind, conditions)?;
        let inputs = left.inputs.union(&right.inputs).copied().collect();
        let mut placed = left.placed;
        placed.extend(right.placed.into_iter().map(|(v, c)| (v, offset + c)));
        Ok(Joined { built, inputs, placed, restricted: false })
    }
}

fn function_beyond() -> PlanError {
    PlanError::not_yet(
        "a function in FROM that reads beyond its side of an outer join",
        "write LEFT JOIN LATERAL f(…) ON true beside what it reads",
    )
}

/// Rows on one side of an outer join depend on what is joined later.
pub(crate) fn reads_beyond() -> PlanError {
    PlanError::not_yet(
        "LATERAL within an outer join that reads beyond its other side",
        "join what it reads to that side first",
    )
}
