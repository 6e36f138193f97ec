//! Values of which each is met once, of any type.
//!
//! Where it is known here when two values of a type are equal, and equal ones are alike, values are told apart by that, else by their bytes: of
//! values that are equal and not alike each is met by itself then, for what is asked of them may tell them apart (`n::text`).

use types::{Oid, PgType, oid};

use crate::PlanError;
use crate::built::{Built, BuiltColumn, place};
use crate::deparse::pg_expr;
use crate::expr::{Expr, ExprKind};
use crate::native::native;
use crate::query::Planner;
use crate::tree::PgExpr;

impl Planner<'_> {
    /// Whether it is known when two values are equal, and those that are are alike, as `1.0` and `1.00` are not.
    pub(crate) fn is_one_form(&self, ty: PgType) -> bool {
        let fixed = ty.oid == oid::NUMERIC && ty.typmod >= 0;
        scalar::key_support(ty, self.env).equality && (fixed || !scalar::has_forms(ty, self.env))
    }

    /// What a value is told apart by: itself, or its bytes.
    pub(crate) fn telling(&self, value: Expr) -> Expr {
        if self.is_one_form(value.ty) {
            return value;
        }
        let kind = ExprKind::Relabel(Box::new(value));
        Expr { kind, ty: PgType::plain(oid::BYTEA), declared: oid::BYTEA }
    }

    /// Of columns of values, those by which they are told apart: the ones of bytes stand behind all values, in their order.
    pub(crate) fn telling_columns(&self, types: impl IntoIterator<Item = PgType>) -> Vec<usize> {
        let own: Vec<bool> = types.into_iter().map(|ty| self.is_one_form(ty)).collect();
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
        for value in values {
            self.has_name(value.ty, value.declared)?;
        }
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

    /// Refuses types that no column can have: records without a name.
    pub(crate) fn has_name(&self, ty: PgType, declared: Oid) -> Result<(), PlanError> {
        if self.catalog.types.get(&declared).is_none_or(|info| !info.is_pseudo) {
            return Ok(());
        }
        let column = BuiltColumn { ty, declared, not_null: false };
        Err(self.not_groupable(&column, "a subquery that reads the query around it by a column")?)
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
            let value = bytes_of(e).filter(|value| native(value, self.env).is_err())?;
            let asked_expr = pg_expr(value, self.catalog).map_err(|error| failed = Some(error)).ok()?;
            let at = place(asked, asked_expr);
            let column = Expr::column(width + at, value.ty, value.declared);
            Some(Expr { kind: ExprKind::Relabel(Box::new(column)), ..e.clone() })
        });
        failed.map_or(Ok(rewritten), Err)
    }
}

/// The value whose bytes it is.
pub(crate) fn bytes_of(expr: &Expr) -> Option<&Expr> {
    match &expr.kind {
        ExprKind::Relabel(value) if expr.declared == oid::BYTEA && value.ty.oid != oid::BYTEA => Some(value),
        _ => None,
    }
}

/// Whether the bytes of a value are in it, which SQL does not have.
pub(crate) fn has_bytes(expr: &Expr) -> bool {
    expr.any(&|e| bytes_of(e).is_some())
}
