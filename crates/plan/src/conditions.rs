//! In which order the conditions of a filter or a join are tried.
//!
//! PostgreSQL promises none, but it has one, and queries come to rely on it: the cheap conditions first, those that cost the same as
//! they are written, and none behind one that is false or NULL (`order_qual_clauses`, `cost_qual_eval` in its planner). What it does
//! not look at raises no error, so the order is the same here; but those that raise no errors come before all others.

use types::{Oid, oid};

use crate::expr::{Constant, Expr, ExprKind, is_true};
use crate::native::native;
use crate::query::Planner;

/// How many elements an array has that is computed, in PostgreSQL's estimate.
const USUAL_LENGTH: f32 = 10.0;
/// A constant list of so many is looked up by a hash.
const HASHED_LENGTH: f32 = 9.0;

/// Casts of numbers to types that have them all.
const WIDENING: [Oid; 13] = [313, 481, 754, 1740, 1781, 1782, 316, 235, 482, 311, 318, 236, 652];

/// Whether the function has a value for all arguments.
pub(crate) fn never_fails(func: Oid) -> bool {
    WIDENING.contains(&func)
}

impl Planner<'_> {
    /// The conditions in the order in which they are tried: native ones that raise no errors, then the others.
    pub(crate) fn ordered<'e>(&self, conditions: &'e [Expr]) -> Vec<&'e Expr> {
        let (mut ordered, mut rest): (Vec<_>, Vec<_>) = conditions.iter().partition(|c| self.is_safe(c));
        rest.sort_by(|a, b| self.cost(a).total_cmp(&self.cost(b)));
        ordered.append(&mut rest);
        ordered
    }

    /// Whether it is computed here, and raises no errors.
    pub(crate) fn is_safe(&self, condition: &Expr) -> bool {
        native(condition, self.env).is_ok() && self.raises_no_error(condition)
    }

    /// All of these conditions as one. Behind one that is NULL none is tried that could raise an error; AND by itself would.
    pub(crate) fn in_turn(&self, conditions: &[&Expr]) -> Expr {
        if let [one] = conditions {
            return (*one).clone();
        }
        let last = conditions.iter().rposition(|c| !self.raises_no_error(c)).unwrap_or(0);
        let one = |(at, condition): (usize, &&Expr)| {
            if at < last { is_true((*condition).clone()) } else { (*condition).clone() }
        };
        Expr::and(conditions.iter().enumerate().map(one).collect())
    }

    /// Whether the expression can be evaluated over rows that the query does not evaluate it over.
    pub(crate) fn raises_no_error(&self, expr: &Expr) -> bool {
        let itself = match &expr.kind {
            ExprKind::Call { func, .. } | ExprKind::Any { func, .. } => {
                self.catalog.comparisons.contains(func) || never_fails(*func)
            }
            // It is computed where it is used: no column has it.
            ExprKind::Row { .. } => expr.declared != oid::RECORD,
            ExprKind::ViaText(_) | ExprKind::Cast(_) | ExprKind::Template(_) | ExprKind::Window { .. } => false,
            _ => true,
        };
        itself && expr.children().into_iter().all(|child| self.raises_no_error(child))
    }

    /// PostgreSQL's estimate of what evaluating it costs, in calls of a simple function.
    fn cost(&self, expr: &Expr) -> f32 {
        let call = |func: &Oid| self.catalog.functions.get(func).map_or(1.0, |info| info.cost);
        let itself = match &expr.kind {
            ExprKind::Call { func, .. }
            | ExprKind::NullIf { equal: func, .. }
            | ExprKind::Distinct { equal: func, .. } => call(func),
            ExprKind::Any { func, array, .. } => {
                let length = match &array.kind {
                    ExprKind::Array(elements) | ExprKind::Const(Constant { elements: Some(elements), .. }) => {
                        elements.len() as f32
                    }
                    _ => USUAL_LENGTH,
                };
                let hashed = length >= HASHED_LENGTH && matches!(array.kind, ExprKind::Const(_));
                if hashed { call(func) + 1.0 } else { call(func) * length / 2.0 }
            }
            // One type's output, the other's input.
            ExprKind::ViaText(_) => 2.0,
            ExprKind::Cast(_) | ExprKind::Extreme { .. } | ExprKind::Template(_) => 1.0,
            _ => 0.0,
        };
        itself + expr.children().into_iter().map(|child| self.cost(child)).sum::<f32>()
    }
}
