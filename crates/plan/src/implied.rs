//! What a condition over several inputs says of one of them alone.

use crate::expr::{Expr, ExprKind, boolean};
use crate::joins::Joins;

impl Joins<'_, '_, '_> {
    /// Of `(a.x = 1 AND b.y = 2) OR (a.x = 2 AND b.y = 1)`: `a.x = 1 OR a.x = 2`, and the same of `b`. Only what raises no
    /// errors, so that it can be tried before everything else. The condition itself still has to be tried.
    pub(crate) fn implied(&self, condition: &Expr) -> Vec<Expr> {
        let ExprKind::Or(alternatives) = &condition.kind else { return Vec::new() };
        let inputs = self.level.inputs_of(condition);
        if inputs.len() < 2 || condition.has_sub() {
            return Vec::new();
        }
        let parts = |alternative: &Expr, input: usize| -> Vec<Expr> {
            let parts = match &alternative.kind {
                ExprKind::And(parts) => parts.iter().collect(),
                _ => vec![alternative],
            };
            let alone = |part: &&Expr| self.level.inputs_of(part).iter().eq([&input]) && self.planner.is_safe(part);
            parts.into_iter().filter(alone).cloned().collect()
        };
        let of = |input: usize| {
            let parts: Vec<Vec<Expr>> = alternatives.iter().map(|a| parts(a, input)).collect();
            let all = |mut parts: Vec<Expr>| if parts.len() == 1 { parts.remove(0) } else { Expr::and(parts) };
            let every = parts.iter().all(|p| !p.is_empty());
            every.then(|| Expr { kind: ExprKind::Or(parts.into_iter().map(all).collect()), ..boolean(true) })
        };
        inputs.into_iter().filter_map(of).collect()
    }
}
