//! Subqueries in expressions: their values as columns of the rows around them, and as conditions that keep or drop rows.
//!
//! EXISTS and IN among a WHERE's conditions are semi joins, their negations anti joins; NOT IN also asks whether there is a
//! NULL on either side. Everywhere else the rows around are left joined to the subquery's rows, grouped so that there is
//! one at most, and the value is an expression over what was joined; more than one row where one is allowed raises an
//! error where the value is used, and only there.

use std::collections::HashMap;

use types::{PgType, oid};

use crate::PlanError;
use crate::built::Built;
use crate::expr::{Expr, ExprKind, boolean, case, is_null};
use crate::grouped::Total;
use crate::guard::guards;
use crate::node_type::{ALL, ANY, ARRAY, EXISTS, ROW_COMPARE, VALUE};
use crate::outer::types_of;
use crate::query::Planner;
use crate::reader::Node;
use crate::scope::{Level, names};
use crate::subquery::{Rows, Want, over_pair};
use crate::tree::{AggregateFunc, JoinKind};

/// A subquery in an expression.
pub(crate) struct Sub<'a, 'e> {
    kind: i64,
    pub(crate) query: &'a Node,
    /// The level that the subquery is.
    level: usize,
    pub(crate) args: &'e [Expr],
    test: Option<&'e Expr>,
    /// The rows around before the values of others were joined to them, which changes nothing in what this one reads.
    pub(crate) base: &'e Built,
}

impl<'a> Planner<'a> {
    /// Adds what the subqueries in these expressions need as columns, and puts their values in their places.
    pub(crate) fn subqueries(
        &mut self,
        mut built: Built,
        exprs: &mut [Expr],
        level: &Level<'a>,
    ) -> Result<Built, PlanError> {
        let base = built.clone();
        while let Some(sub) = ready(exprs) {
            let known = |g: &Expr| !g.has_sub() && g.columns().iter().all(|c| *c < base.columns.len());
            let guards: Vec<Expr> = guards(exprs, &sub).into_iter().filter(known).collect();
            let base = self.filter_in_turn(base.clone(), &guards.iter().collect::<Vec<_>>())?;
            let (next, value) = self.value(built, &sub, &base, level)?;
            built = next;
            for expr in &mut *exprs {
                *expr = expr.rewrite(&mut |e| (*e == sub).then(|| value.clone()));
            }
        }
        Ok(built)
    }

    /// Rows on which a condition with subqueries holds. Columns that there were keep their places.
    pub(crate) fn sub_condition(
        &mut self,
        built: Built,
        condition: &Expr,
        level: &Level<'a>,
    ) -> Result<Built, PlanError> {
        let (expr, negated) = match &condition.kind {
            ExprKind::Not(arg) => (&**arg, true),
            _ => (condition, false),
        };
        let test_has_sub = |e: &Expr| e.children().into_iter().any(Expr::has_sub);
        if matches!(expr.kind, ExprKind::Sub { .. }) && !test_has_sub(expr) {
            let sub = subquery(expr, &built, level)?;
            let opposite = sub.test.and_then(|t| self.opposite(t));
            let done = match (sub.kind, negated, &opposite) {
                (EXISTS, _, _) => Some(self.exists_condition(&built, &sub, negated)?),
                (ANY, false, _) => Some(self.any_condition(&built, &sub)?),
                (ANY, true, _) => self.none_condition(&built, &sub)?,
                (ALL, false, Some(test)) => self.none_condition(&built, &Sub { test: Some(test), ..sub })?,
                (ALL, true, Some(test)) => Some(self.any_condition(&built, &Sub { test: Some(test), ..sub })?),
                _ => None,
            };
            if let Some(done) = done {
                return Ok(done);
            }
        }
        let mut exprs = [condition.clone()];
        let built = self.subqueries(built, &mut exprs, level)?;
        self.filter(built, &exprs)
    }

    /// Its rows, found as is wanted.
    pub(crate) fn rows(&mut self, sub: &Sub<'a, '_>, want: Want) -> Result<Rows, PlanError> {
        self.rows_showing(sub, want, false)
    }

    /// The same; behind what they show, what only their ORDER BY reads.
    pub(crate) fn ordered_rows(&mut self, sub: &Sub<'a, '_>, want: Want) -> Result<Rows, PlanError> {
        self.rows_showing(sub, want, true)
    }

    fn rows_showing(&mut self, sub: &Sub<'a, '_>, want: Want, order: bool) -> Result<Rows, PlanError> {
        let names: HashMap<_, _> = names(sub.query, sub.level, &self.ctes)?
            .into_iter()
            .enumerate()
            .map(|(at, (name, _))| (name, at))
            .collect();
        self.dependent(sub.query, names, &types_of(sub.args), want, &mut |planner| {
            planner.shows_order = order;
            planner.query(sub.query)
        })
    }

    fn exists_condition(&mut self, around: &Built, sub: &Sub<'a, '_>, negated: bool) -> Result<Built, PlanError> {
        let rows = self.rows(sub, Want::Pairs)?;
        let kind = if negated { JoinKind::Anti } else { JoinKind::Semi };
        Ok(self.attach(around.clone(), (sub.args, sub.base), rows, kind, &[])?.0)
    }

    fn any_condition(&mut self, around: &Built, sub: &Sub<'a, '_>) -> Result<Built, PlanError> {
        let rows = self.rows(sub, Want::Pairs)?;
        let tests = parts(sub.test);
        Ok(self.attach(around.clone(), (sub.args, sub.base), rows, JoinKind::Semi, &tests)?.0)
    }

    /// NOT IN, if its comparison is an equality: no row that is equal, and no NULL on either side where there is any row.
    fn none_condition(&mut self, around: &Built, sub: &Sub<'a, '_>) -> Result<Option<Built>, PlanError> {
        let tests = parts(sub.test);
        let Some(sides) = self.sides(&tests) else { return Ok(None) };
        let rows = self.rows(sub, Want::Compared)?;
        if sides.iter().all(|s| self.never_null(s, around, &rows)) {
            return Ok(Some(self.attach(around.clone(), (sub.args, sub.base), rows, JoinKind::Anti, &tests)?.0));
        }
        let [(outer, inner)] = sides.as_slice() else { return Ok(None) };
        let kept = self.attach(around.clone(), (sub.args, sub.base), rows.clone(), JoinKind::Anti, &tests)?.0;
        let (built, [mark, nulls]) = self.nulls(kept, sub, &rows, inner)?;
        let unknown = either(is_null(outer.clone(), false), nulls);
        let unknown = Expr {
            kind: ExprKind::BoolTest { arg: Box::new(unknown), want: Some(true), negated: true },
            ..boolean(true)
        };
        Ok(Some(self.filter(built, &[either(is_null(mark, false), unknown)])?))
    }

    /// Left joined: whether there is any row, and whether any has a NULL.
    fn nulls(
        &mut self,
        around: Built,
        sub: &Sub<'a, '_>,
        rows: &Rows,
        inner: &Expr,
    ) -> Result<(Built, [Expr; 2]), PlanError> {
        let null = is_null(self.own(rows, inner)?, false);
        let total = Total::of_booleans(AggregateFunc::BoolOr, null);
        let groups = self.grouped(rows, &[], &[total])?;
        let shown = groups.shown.exprs.clone();
        let (built, offset) = self.attach(around, (sub.args, sub.base), groups, JoinKind::Left, &[])?;
        let at = |i: usize| over_pair(&shown[i], &[], offset);
        Ok((built, [at(0), at(1)]))
    }

    /// The value of a subquery, over the rows around with more columns.
    fn value(
        &mut self,
        around: Built,
        expr: &Expr,
        base: &Built,
        level: &Level<'a>,
    ) -> Result<(Built, Expr), PlanError> {
        // What it reads is among the columns that there were, unless it reads another one's value.
        let base = if expr.columns().iter().all(|c| *c < base.columns.len()) { base } else { &around.clone() };
        let sub = subquery(expr, base, level)?;
        match sub.kind {
            EXISTS => {
                let rows = self.rows(&sub, Want::Groups)?;
                let groups = self.grouped(&rows, &[], &[])?;
                let mark = groups.shown.exprs[0].clone();
                let (built, offset) = self.attach(around, (sub.args, sub.base), groups, JoinKind::Left, &[])?;
                Ok((built, is_null(over_pair(&mark, &[], offset), true)))
            }
            VALUE => {
                let (built, mut values) = self.one_row_of(around, &sub)?;
                Ok((built, values.remove(0)))
            }
            ROW_COMPARE => {
                let test = sub.test.ok_or_else(|| sub.query.odd("testexpr"))?;
                let (built, values) = self.one_row_of(around, &sub)?;
                let compared = test.rewrite(&mut |e| match e.kind {
                    ExprKind::Param(at) => values.get(at).cloned(),
                    _ => None,
                });
                Ok((built, compared))
            }
            ANY | ALL => self.comparison_value(around, &sub),
            ARRAY => self.array_value(around, &sub, (expr.ty, expr.declared)),
            _ => Err(sub.query.odd("subLinkType")),
        }
    }

    /// `x IN (…)`, `x > ALL (…)` as a value: true, false or NULL.
    fn comparison_value(&mut self, around: Built, sub: &Sub<'a, '_>) -> Result<(Built, Expr), PlanError> {
        let all = sub.kind == ALL;
        // ALL is not ANY of the opposite.
        let opposite = sub.test.and_then(|t| self.opposite(t));
        let tests = parts(if all { opposite.as_ref() } else { sub.test });
        if let Some(sides) = self.sides(&tests)
            && (!all || opposite.is_some())
        {
            let rows = self.rows(sub, Want::Compared)?;
            let known = sides.iter().all(|s| self.never_null(s, &around, &rows));
            if known || sides.len() == 1 {
                let inner = sides.iter().map(|(_, inner)| self.own(&rows, inner)).collect::<Result<Vec<_>, _>>()?;
                let equal = self.grouped(&rows, &inner, &[])?;
                let mark = equal.shown.exprs[inner.len()].clone();
                // The keys that are compared come first: they are what the parameters stand for.
                let further = renumbered(&tests, &sides);
                let (mut built, offset) = self.attach(around, (sub.args, sub.base), equal, JoinKind::Left, &further)?;
                let found = is_null(over_pair(&mark, &[], offset), true);
                let mut value = found.clone();
                if let ([(outer, inner)], false) = (sides.as_slice(), known) {
                    let (joined, [any, nulls]) = self.nulls(built, sub, &rows, inner)?;
                    built = joined;
                    let unknown = either(is_null(outer.clone(), false), nulls);
                    let branches =
                        vec![(found, boolean(true)), (is_null(any, false), boolean(false)), (unknown, null())];
                    value = case(branches, boolean(false));
                }
                return Ok((built, if all { not(value) } else { value }));
            }
        }
        self.compared_each(around, sub)
    }

    /// Any comparison: each combination of what is compared meets the rows, and the answers are gathered.
    fn compared_each(&mut self, around: Built, sub: &Sub<'a, '_>) -> Result<(Built, Expr), PlanError> {
        let test = sub.test.ok_or_else(|| sub.query.odd("testexpr"))?;
        let rows = self.rows(sub, Want::Groups)?;
        // Of the rows around: what the links read, and what is compared.
        let mut args: Vec<Expr> = sub.args.to_vec();
        let mut placed = HashMap::new();
        for c in test.columns() {
            let column = around.column(c)?;
            let at = args.iter().position(|a| *a == column).unwrap_or_else(|| {
                args.push(column);
                args.len() - 1
            });
            placed.insert(c, at);
        }
        let values = self.told_apart(sub.base.clone(), &args)?;
        let telling = self.telling_columns(args.iter().map(|a| a.ty));
        let own: Vec<Expr> = (0..args.len()).map(|c| values.column(c)).collect::<Result<_, _>>()?;
        let shown = rows.shown.exprs.clone();
        let (pairs, offset) = self.attach(values.clone(), (&own, &values), rows, JoinKind::Inner, &[])?;
        let compared = test.rewrite(&mut |e| match e.kind {
            ExprKind::Column(c) => placed.get(&c).map(|at| own[*at].clone()),
            ExprKind::Param(at) => shown.get(at).map(|e| over_pair(e, &own, offset)),
            _ => None,
        });
        let all = sub.kind == ALL;
        let func = if all { AggregateFunc::BoolAnd } else { AggregateFunc::BoolOr };
        let pairs = self.extend(pairs, &[compared])?;
        let compared = pairs.column(pairs.columns.len() - 1)?;
        let totals = [
            Total::of_booleans(func, compared.clone()),
            Total::of_booleans(AggregateFunc::BoolOr, is_null(compared, false)),
        ];
        let link = |at: usize| {
            let told = self.telling(Expr { kind: ExprKind::Outer(at), ..own[at].clone() });
            values.column(telling[at]).map(|column| crate::expr::same(told, column))
        };
        let links = (0..args.len()).map(link).collect::<Result<_, _>>()?;
        let pairs = Rows { shown: pairs.shown()?, targets: 0, links, always: false, stand_in: None };
        let groups = self.grouped(&pairs, &[], &totals)?;
        let shown = groups.shown.exprs.clone();
        let (built, offset) = self.attach(around, (&args, sub.base), groups, JoinKind::Left, &[])?;
        let [any, decided, unknown] = [0, 1, 2].map(|at| over_pair(&shown[at], &[], offset));
        let decided = if all { not(decided) } else { decided };
        let branches = vec![(is_null(any, false), boolean(all)), (decided, boolean(!all)), (unknown, null())];
        Ok((built, case(branches, boolean(all))))
    }

    /// The two sides of comparisons that are all equalities between what is around and the subquery's own columns.
    fn sides(&self, tests: &[Expr]) -> Option<Vec<(Expr, Expr)>> {
        let side = |test: &Expr| {
            self.equality(test)?;
            let ExprKind::Call { args, .. } = &test.kind else { return None };
            let [a, b] = args.as_slice() else { return None };
            let within = |e: &Expr| e.any(&|e| matches!(e.kind, ExprKind::Param(_))) && e.columns().is_empty();
            let around = |e: &Expr| !e.any(&|e| matches!(e.kind, ExprKind::Param(_)));
            match (within(a) && around(b), within(b) && around(a)) {
                (true, _) => Some((b.clone(), a.clone())),
                (_, true) => Some((a.clone(), b.clone())),
                _ => None,
            }
        };
        let sides: Option<Vec<_>> = tests.iter().map(side).collect();
        sides.filter(|s| !s.is_empty())
    }

    /// The comparison that is true where this one is false, if it is one whose opposite is an equality.
    fn opposite(&self, test: &Expr) -> Option<Expr> {
        let ExprKind::Call { func, args, collation, variadic } = &test.kind else { return None };
        let func = *self.catalog.negators.get(func)?;
        let kind = ExprKind::Call { func, args: args.clone(), collation: *collation, variadic: *variadic };
        let opposite = Expr { kind, ty: test.ty, declared: test.declared };
        self.equality(&opposite).map(|_| opposite)
    }

    /// Neither side of the comparison is ever NULL.
    fn never_null(&self, (outer, inner): &(Expr, Expr), around: &Built, rows: &Rows) -> bool {
        let never = |e: &Expr, built: &Built| match &e.kind {
            ExprKind::Const(c) => c.value.is_some(),
            _ => e.as_column().is_some_and(|c| built.columns.get(c).is_some_and(|c| c.not_null)),
        };
        let inner = self.own(rows, inner);
        never(outer, around) && inner.is_ok_and(|i| never(&i, &rows.shown.built))
    }

    /// What is compared, over the subquery's own columns.
    fn own(&self, rows: &Rows, inner: &Expr) -> Result<Expr, PlanError> {
        let own = inner.rewrite(&mut |e| match e.kind {
            ExprKind::Param(at) => rows.shown.exprs.get(at).cloned(),
            _ => None,
        });
        if own.has_outer() { Err(crate::outer::reads_outer()) } else { Ok(own) }
    }
}

/// The comparisons of several columns, one each.
fn parts(test: Option<&Expr>) -> Vec<Expr> {
    let mut all = Vec::new();
    if let Some(test) = test {
        crate::items::flatten(test.clone(), &mut all);
    }
    all
}

/// The comparisons with the keys' numbers in the places of the sides that are within.
fn renumbered(tests: &[Expr], sides: &[(Expr, Expr)]) -> Vec<Expr> {
    let of = |(at, (test, (_, inner))): (usize, (&Expr, &(Expr, Expr)))| {
        test.rewrite(&mut |e| {
            (e == inner).then_some(Expr { kind: ExprKind::Param(at), ty: e.ty, declared: e.declared })
        })
    };
    tests.iter().zip(sides).enumerate().map(of).collect()
}

fn subquery<'a, 'e>(expr: &'e Expr, base: &'e Built, level: &Level<'a>) -> Result<Sub<'a, 'e>, PlanError> {
    let ExprKind::Sub { id, args, test } = &expr.kind else {
        return Err(PlanError::Tree("not a subquery".into()));
    };
    let node = level.sublinks.get(*id).ok_or_else(|| PlanError::Tree("a subquery of another level".into()))?;
    let (kind, query) = (node.number("subLinkType")?, node.node("subselect")?);
    Ok(Sub { kind, query, level: level.number + 1, args, test: test.as_deref(), base })
}

/// A subquery that can be computed now: not one that a window function decides about, before there is any.
fn ready(exprs: &[Expr]) -> Option<Expr> {
    let mut subs = Vec::new();
    exprs.iter().for_each(|e| all_innermost(e, &mut subs));
    subs.into_iter().find(|sub| !guards(exprs, sub).iter().any(Expr::has_window))
}

fn all_innermost(expr: &Expr, into: &mut Vec<Expr>) {
    let before = into.len();
    expr.children().into_iter().for_each(|child| all_innermost(child, into));
    if into.len() == before {
        into.extend(innermost(expr));
    }
}

/// A subquery within which there is nothing that has to be computed first: no other one, no window function.
pub(crate) fn innermost(expr: &Expr) -> Option<Expr> {
    let within = expr.children().into_iter().find_map(innermost);
    within.or_else(|| (matches!(expr.kind, ExprKind::Sub { .. }) && !expr.has_window()).then(|| expr.clone()))
}

pub(crate) fn not(arg: Expr) -> Expr {
    Expr { kind: ExprKind::Not(Box::new(arg)), ..boolean(true) }
}

fn either(a: Expr, b: Expr) -> Expr {
    Expr { kind: ExprKind::Or(vec![a, b]), ..boolean(true) }
}

/// NULL of boolean.
fn null() -> Expr {
    crate::constant::null(PgType::plain(oid::BOOL), oid::BOOL, "boolean")
}
