//! Under which conditions a part of an expression is evaluated at all.
//!
//! A branch of CASE, an argument of COALESCE behind others, and what stands behind others in AND and OR: what a subquery there
//! computes is not computed for rows for which PostgreSQL would not, because it could raise an error.

use crate::expr::{Expr, ExprKind, boolean, is_null};

/// The conditions that all hold where `part` is evaluated within any of `exprs`; none when it stands in several places.
pub(crate) fn guards(exprs: &[Expr], part: &Expr) -> Vec<Expr> {
    let mut found = Vec::new();
    exprs.iter().for_each(|e| search(e, part, &mut Vec::new(), &mut found));
    if found.len() == 1 { found.remove(0) } else { Vec::new() }
}

fn search(expr: &Expr, part: &Expr, guards: &mut Vec<Expr>, found: &mut Vec<Vec<Expr>>) {
    if expr == part {
        found.push(guards.clone());
        return;
    }
    let before = guards.len();
    match &expr.kind {
        ExprKind::Case { branches, otherwise } => {
            for (when, then) in branches {
                search(when, part, guards, found);
                guards.push(when.clone());
                search(then, part, guards, found);
                guards.pop();
                guards.push(test(when, true, true));
            }
            search(otherwise, part, guards, found);
        }
        ExprKind::Coalesce(args) => in_turn(args, part, guards, found, |a| is_null(a.clone(), false)),
        ExprKind::And(args) => in_turn(args, part, guards, found, |a| test(a, false, true)),
        ExprKind::Or(args) => in_turn(args, part, guards, found, |a| test(a, true, true)),
        // Window functions are computed of all rows, before anything that is made of them.
        ExprKind::Window { .. } => {
            expr.children().into_iter().for_each(|child| search(child, part, &mut Vec::new(), found));
        }
        _ => expr.children().into_iter().for_each(|child| search(child, part, guards, found)),
    }
    guards.truncate(before);
}

/// Arguments each of which is evaluated where `goes_on` of all before it.
fn in_turn(
    args: &[Expr],
    part: &Expr,
    guards: &mut Vec<Expr>,
    found: &mut Vec<Vec<Expr>>,
    goes_on: impl Fn(&Expr) -> Expr,
) {
    for arg in args {
        search(arg, part, guards, found);
        guards.push(goes_on(arg));
    }
}

fn test(arg: &Expr, want: bool, negated: bool) -> Expr {
    Expr { kind: ExprKind::BoolTest { arg: Box::new(arg.clone()), want: Some(want), negated }, ..boolean(true) }
}
