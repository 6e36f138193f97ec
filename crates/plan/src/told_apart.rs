//! Values of which each is met once, of any type.
//!
//! Where it is known here when two values of a type are equal, values are told apart by that, else by their bytes: of values that are equal
//! and not alike each is met by itself then, which gives the same answers more than once and no others.

use types::{PgType, oid};

use crate::PlanError;
use crate::built::{Built, BuiltColumn};
use crate::deparse::pg_expr;
use crate::expr::{Expr, ExprKind};
use crate::native::native;
use crate::query::Planner;
use crate::tree::PgExpr;

impl Planner<'_> {
    /// What a value is told apart by: itself, or its bytes.
    pub(crate) fn telling(&self, value: Expr) -> Expr {
        if scalar::key_support(value.ty, self.env).equality {
            return value;
        }
        let kind = ExprKind::Relabel(Box::new(value));
        Expr { kind, ty: PgType::plain(oid::BYTEA), declared: oid::BYTEA }
    }

    /// Of columns of values, those by which they are told apart: the ones of bytes stand behind all values, in their order.
    pub(crate) fn telling_columns(&self, types: impl IntoIterator<Item = PgType>) -> Vec<usize> {
        let own: Vec<bool> = types.into_iter().map(|ty| scalar::key_support(ty, self.env).equality).collect();
        let mut next = own.len();
        let column = |(at, own): (usize, &bool)| {
            let behind = next;
            next += usize::from(!own);
            if *own { at } else { behind }
        };
        own.iter().enumerate().map(column).collect()
    }

    /// Values over the rows, each combination once; behind them the bytes of those that are told apart by these.
    pub(crate) fn told_apart(&mut self, rows: Built, values: &[Expr]) -> Result<Built, PlanError> {
        let computed = self.project(rows, values)?;
        let own: Vec<Expr> = (0..values.len()).map(|c| computed.column(c)).collect::<Result<_, _>>()?;
        let told: Vec<Expr> = own.iter().map(|value| self.telling(value.clone())).collect();
        let telling = self.telling_columns(own.iter().map(|value| value.ty));
        if told == own {
            return self.distinct(computed);
        }
        let distinct = self.project(computed, &told)?;
        let distinct = self.distinct(distinct)?;
        let mut shown = Vec::new();
        let mut bytes = Vec::new();
        for (at, value) in own.iter().enumerate() {
            let column = distinct.column(at)?;
            if telling[at] == at {
                shown.push(column);
                continue;
            }
            bytes.push(column.clone());
            shown.push(Expr { kind: ExprKind::Relabel(Box::new(column)), ..value.clone() });
        }
        shown.extend(bytes);
        Ok(Built { keys: vec![telling], ..self.project(distinct, &shown)? })
    }

    /// The columns of what [`Self::told_apart`] gives.
    pub(crate) fn told_apart_columns(&self, values: &[BuiltColumn]) -> (Vec<BuiltColumn>, Vec<usize>) {
        let telling = self.telling_columns(values.iter().map(|c| c.ty));
        let bytes = BuiltColumn { ty: PgType::plain(oid::BYTEA), declared: oid::BYTEA, not_null: false };
        let behind = telling.iter().filter(|at| **at >= values.len()).map(|_| bytes);
        (values.iter().copied().chain(behind).collect(), telling)
    }

    /// With the bytes of values that PostgreSQL computes as those of columns, which stand behind the first `width`: SQL has no bytes of a
    /// value.
    pub(crate) fn bytes_of_columns(
        &self,
        expr: &Expr,
        width: usize,
        asked: &mut Vec<PgExpr>,
    ) -> Result<Expr, PlanError> {
        let mut failed = None;
        let rewritten = expr.rewrite(&mut |e| {
            let ExprKind::Relabel(value) = &e.kind else { return None };
            if e.declared != oid::BYTEA || value.ty.oid == oid::BYTEA || native(value, self.env).is_ok() {
                return None;
            }
            let asked_expr = pg_expr(value, self.catalog).map_err(|error| failed = Some(error)).ok()?;
            let at = asked.iter().position(|a| *a == asked_expr).unwrap_or_else(|| {
                asked.push(asked_expr);
                asked.len() - 1
            });
            let column = Expr::column(width + at, value.ty, value.declared);
            Some(Expr { kind: ExprKind::Relabel(Box::new(column)), ..e.clone() })
        });
        failed.map_or(Ok(rewritten), Err)
    }
}
