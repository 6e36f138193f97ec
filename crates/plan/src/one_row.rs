//! Subqueries of which one row at most is allowed.
//!
//! Where their keys do not say that there is no second row, rows are counted; a second one raises PostgreSQL's error where the
//! value is used, and only there. No row around is ever doubled.

use types::{PgType, oid};

use crate::PlanError;
use crate::built::{Built, Shown};
use crate::expr::{Constant, Expr, ExprKind, INT8_GREATER, boolean, case, comparison, is_null};
use crate::grouped::Total;
use crate::query::Planner;
use crate::sublink::{Sub, not};
use crate::subquery::{Rows, Want, over_pair};
use crate::tree::{AggregateFunc, JoinKind};

impl<'a> Planner<'a> {
    /// The only row of a subquery; NULLs when there is none, and an error in its values when there are several.
    pub(crate) fn one_row_of(&mut self, around: Built, sub: &Sub<'a, '_>) -> Result<(Built, Vec<Expr>), PlanError> {
        let mut rows = self.rows(sub, Want::Value)?;
        if !rows.always && !self.one_each(&rows) {
            let simple = |e: &Expr| !e.has_outer() && (e.as_column().is_some() || self.raises_no_error(e));
            let groups = rows.links.iter().all(|l| self.link_key(l).is_some());
            if rows.stand_in.is_none() && !(groups && rows.shown.exprs[..rows.targets].iter().all(simple)) {
                rows = self.rows(sub, Want::Values)?;
            }
        }
        if rows.always || self.one_each(&rows) {
            if !rows.always {
                rows.shown = self.nullable_first(rows.shown, rows.targets)?;
            }
            let shown = rows.shown.exprs[..rows.targets].to_vec();
            let (built, offset) = self.attach(around, (sub.args, sub.base), rows, JoinKind::Left, &[])?;
            return Ok((built, shown.iter().map(|e| over_pair(e, sub.args, offset)).collect()));
        }
        self.checked_row_of(around, sub, &rows)
    }

    /// The same where there can be several rows: they are counted.
    fn checked_row_of(
        &mut self,
        around: Built,
        sub: &Sub<'a, '_>,
        rows: &Rows,
    ) -> Result<(Built, Vec<Expr>), PlanError> {
        let targets = &rows.shown.exprs[..rows.targets];
        let mut totals = vec![Total::count()];
        let smallest: Option<Vec<Total>> = targets.iter().map(|t| self.smallest(t)).collect();
        let by_total = smallest.is_some();
        totals.extend(smallest.into_iter().flatten());
        let groups = self.grouped(rows, &[], &totals)?;
        let shown = groups.shown.exprs.clone();
        let counted = groups.clone();
        let (mut built, mut offset) = self.attach(around, (sub.args, sub.base), groups, JoinKind::Left, &[])?;
        let count = over_pair(&shown[1], &[], offset);
        let mut values: Vec<Expr> = shown[2..2 + totals.len() - 1].iter().map(|e| over_pair(e, &[], offset)).collect();
        if !by_total {
            // No aggregate takes such a value: the rows that are alone in their group, joined again.
            let only = self.only_rows(rows, counted)?;
            let shown = only.shown.exprs[..only.targets].to_vec();
            (built, offset) = self.attach(built, (sub.args, sub.base), only, JoinKind::Left, &[])?;
            values = shown.iter().map(|e| over_pair(e, &[], offset)).collect();
        }
        let one = is_null(too_many(&count), false);
        let checked = values.into_iter().zip(targets).map(|(value, target)| {
            let value = Expr { kind: ExprKind::Relabel(Box::new(value)), ty: target.ty, declared: target.declared };
            self.when(&one, value)
        });
        Ok((built, checked.collect::<Result<_, _>>()?))
    }

    /// The value of a group of one row, where an aggregate gives it as it is.
    fn smallest(&self, target: &Expr) -> Option<Total> {
        let mut arg = target.clone();
        match target.ty.oid {
            oid::BOOL => return Some(Total::of_booleans(AggregateFunc::BoolOr, arg)),
            oid::TEXT | oid::VARCHAR => {
                let ty = PgType { oid: oid::TEXT, typmod: -1, collation: types::collation::C };
                arg = Expr { kind: ExprKind::Relabel(Box::new(arg)), ty, declared: oid::TEXT };
            }
            oid::INT2
            | oid::INT4
            | oid::INT8
            | oid::NUMERIC
            | oid::FLOAT4
            | oid::FLOAT8
            | oid::DATE
            | oid::TIME
            | oid::TIMESTAMP
            | oid::TIMESTAMPTZ
            | oid::INTERVAL => {}
            _ => return None,
        }
        let ty = PgType { typmod: -1, ..arg.ty };
        Some(Total { func: AggregateFunc::Min, arg: Some(arg), ty })
    }

    /// Of the rows, those that are alone in their group, by the groups' counts.
    fn only_rows(&mut self, rows: &Rows, counted: Rows) -> Result<Rows, PlanError> {
        let shown = self.nullable_first(rows.shown.clone(), rows.targets)?;
        let own = Rows { shown, ..rows.clone() };
        // The groups are joined as if the rows were around them: by what the links compare.
        let mut args = vec![boolean(true); own.links.iter().map(outer_count).max().unwrap_or_default()];
        let mut same_links = Vec::new();
        for (link, group) in own.links.iter().zip(&counted.links) {
            let (Some((_, within)), Some((_, key))) = (self.link_key(link), self.link_key(group)) else { continue };
            let within = within.rewrite(&mut |e| match e.kind {
                ExprKind::Column(at) => own.shown.exprs.get(at).cloned(),
                _ => None,
            });
            same_links.push(crate::expr::same(
                Expr { kind: ExprKind::Outer(args.len()), ty: within.ty, declared: within.declared },
                key.clone(),
            ));
            args.push(within);
        }
        let count = counted.shown.exprs[1].clone();
        let one = not(comparison(INT8_GREATER, count, crate::expr::int8(1)));
        let mut single = counted;
        single.shown.built = self.filter(single.shown.built, &[one])?;
        single.links = same_links;
        single.stand_in = None;
        let built = self.attach(own.shown.built.clone(), (&args, &own.shown.built), single, JoinKind::Inner, &[])?.0;
        let mut built = built;
        let compared: Option<Vec<usize>> =
            args.iter().filter(|a| a.kind != boolean(true).kind).map(Expr::as_column).collect();
        built.keys.extend(compared);
        Ok(Rows { shown: Shown { built, exprs: own.shown.exprs.clone() }, ..own })
    }
}

fn outer_count(link: &Expr) -> usize {
    let own = if let ExprKind::Outer(at) = link.kind { at + 1 } else { 0 };
    link.children().into_iter().map(outer_count).fold(own, usize::max)
}

/// NULL up to one row; else an error that says PostgreSQL's words, by reading them as a number.
fn too_many(count: &Expr) -> Expr {
    let words = "more than one row returned by a subquery used as an expression";
    let text = PgType { oid: oid::TEXT, typmod: -1, collation: types::collation::DEFAULT };
    let sql = format!("{}::text", types::quote_literal(words));
    let constant = Constant { value: Some(words.as_bytes().to_vec()), sql, elements: None };
    let words = Expr { kind: ExprKind::Const(constant), ty: text, declared: oid::TEXT };
    let several = comparison(INT8_GREATER, count.clone(), crate::expr::int8(1));
    let words = case(vec![(several, words)], crate::constant::null(text, oid::TEXT, "text"));
    Expr { kind: ExprKind::ViaText(Box::new(words)), ty: PgType::plain(oid::INT4), declared: oid::INT4 }
}
