//! Groups that PostgreSQL no longer finds in an expression.
//!
//! It simplifies expressions before it looks for groups in them: `NOT (a IS NULL)` becomes `a IS NOT NULL`. Where GROUPING SETS
//! leave the group `a IS NULL` out, it takes `a` of any row then, and not NULL.

use types::oid;

use crate::PlanError;
use crate::catalog::Catalog;
use crate::expr::{Expr, ExprKind};
use crate::folded::written;

/// `=` and `<>` of boolean.
const BOOL_EQUAL: types::Oid = 60;
const BOOL_UNEQUAL: types::Oid = 84;

/// What stands around an expression.
#[derive(Clone, Copy, PartialEq)]
enum Around {
    And,
    Or,
    IsNull,
    Other,
}

/// Refuses expressions in which it is one of `groups`, each of which some set leaves out.
pub(crate) fn check(groups: &[&Expr], exprs: &[Expr], catalog: &Catalog) -> Result<(), PlanError> {
    if exprs.iter().any(|expr| is_lost(expr, groups, catalog, false, Around::Other)) {
        return Err(PlanError::refused(
            "a condition over a group that GROUPING SETS leave out",
            "PostgreSQL simplifies it and takes columns of any row",
            "compute the group in a subquery in FROM, and group by its column",
        ));
    }
    Ok(())
}

fn is_lost(expr: &Expr, groups: &[&Expr], catalog: &Catalog, negated: bool, around: Around) -> bool {
    if groups.contains(&expr) {
        return (negated && has_opposite(expr, catalog))
            || match &expr.kind {
                ExprKind::And(_) => around == Around::And,
                ExprKind::Or(_) => around == Around::Or,
                ExprKind::Row { .. } => around == Around::IsNull,
                _ => false,
            };
    }
    let of = |child: &Expr, negated, around| is_lost(child, groups, catalog, negated, around);
    match &expr.kind {
        ExprKind::Not(arg) => of(arg, !negated, Around::Other),
        ExprKind::And(args) => args.iter().any(|arg| of(arg, negated, Around::And)),
        ExprKind::Or(args) => args.iter().any(|arg| of(arg, negated, Around::Or)),
        ExprKind::IsNull { arg, row: true, .. } => of(arg, false, Around::IsNull),
        ExprKind::Call { func: func @ (BOOL_EQUAL | BOOL_UNEQUAL), args, .. } => {
            // Compared with a constant it is the other side or its opposite.
            let negated = match args.iter().find_map(|arg| written(arg).flatten()) {
                Some(constant) => negated != (constant == (*func == BOOL_UNEQUAL)),
                None => false,
            };
            args.iter().any(|arg| of(arg, negated, Around::Other))
        }
        _ => expr.children().into_iter().any(|child| of(child, false, Around::Other)),
    }
}

/// Whether its negation is written without NOT.
fn has_opposite(expr: &Expr, catalog: &Catalog) -> bool {
    match &expr.kind {
        ExprKind::Not(_)
        | ExprKind::And(_)
        | ExprKind::Or(_)
        | ExprKind::IsNull { .. }
        | ExprKind::BoolTest { .. }
        | ExprKind::Any { .. } => true,
        ExprKind::Call { func, .. } => catalog.negators.contains_key(func) || *func >= oid::FIRST_USER,
        _ => false,
    }
}
