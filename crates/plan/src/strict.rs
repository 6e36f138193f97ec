//! Which inputs a condition rejects when all their columns are NULL.
//!
//! A row that an outer join filled with NULLs does not pass such a condition; the join then keeps only the rows with
//! partners, and is planned as one that does.

use std::collections::BTreeSet;

use crate::catalog::Catalog;
use crate::expr::{Expr, ExprKind};
use crate::scope::Level;

type Inputs = BTreeSet<usize>;

/// Inputs of which NULLs make the condition false or NULL.
pub(crate) fn rejects(condition: &Expr, level: &Level<'_>) -> Inputs {
    Strict { level, catalog: level.catalog }.not_true(condition)
}

struct Strict<'a> {
    level: &'a Level<'a>,
    catalog: &'a Catalog,
}

impl Strict<'_> {
    fn any<'e>(&self, exprs: impl IntoIterator<Item = &'e Expr>, of: fn(&Self, &Expr) -> Inputs) -> Inputs {
        exprs.into_iter().flat_map(|e| of(self, e)).collect()
    }

    fn all<'e>(&self, exprs: impl IntoIterator<Item = &'e Expr>, of: fn(&Self, &Expr) -> Inputs) -> Inputs {
        let mut each = exprs.into_iter().map(|e| of(self, e));
        let first = each.next().unwrap_or_default();
        each.fold(first, |a, b| a.intersection(&b).copied().collect())
    }

    /// Their NULLs make it false or NULL.
    fn not_true(&self, expr: &Expr) -> Inputs {
        match &expr.kind {
            ExprKind::And(args) => self.any(args, Self::not_true),
            ExprKind::Or(args) => self.all(args, Self::not_true),
            ExprKind::IsNull { arg, not: true, row: false } => self.null(arg),
            ExprKind::BoolTest { arg, want: Some(true), negated: false } => self.not_true(arg),
            ExprKind::BoolTest { arg, want: Some(false), negated: false } => self.null(arg),
            // Over an empty array it is false.
            ExprKind::Any { func, all: false, left, .. } if self.strict(*func) => self.null(left),
            _ => self.null(expr),
        }
    }

    /// Their NULLs make it NULL.
    fn null(&self, expr: &Expr) -> Inputs {
        match &expr.kind {
            ExprKind::Column(c) => Inputs::from([self.level.input_of(*c)]),
            ExprKind::Call { func, args, variadic: false, .. } if self.strict(*func) => self.any(args, Self::null),
            ExprKind::And(args) | ExprKind::Or(args) | ExprKind::Coalesce(args) => self.all(args, Self::null),
            ExprKind::Extreme { args, .. } => self.all(args, Self::null),
            ExprKind::Not(arg) | ExprKind::Relabel(arg) | ExprKind::ViaText(arg) | ExprKind::Collate { arg, .. } => {
                self.null(arg)
            }
            ExprKind::NullIf { left, .. } => self.null(left),
            _ => Inputs::new(),
        }
    }

    fn strict(&self, func: types::Oid) -> bool {
        self.catalog.functions.get(&func).is_some_and(|info| info.is_strict)
    }
}
