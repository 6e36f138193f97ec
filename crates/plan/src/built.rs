//! A part of the tree while it is being built: the operators, their columns, and what makes their rows unique.

use types::{Oid, PgType, Scalar};

use crate::PlanError;
use crate::deparse::pg_expr;
use crate::expr::{Expr, ExprKind};
use crate::native::native;
use crate::query::Planner;
use crate::told_apart::has_bytes;
use crate::tree::{PgExpr, Rel};

/// A column of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BuiltColumn {
    pub(crate) ty: PgType,
    pub(crate) declared: Oid,
    pub(crate) not_null: bool,
}

/// See the module's description.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    pub(crate) rel: Rel,
    pub(crate) columns: Vec<BuiltColumn>,
    /// Sets of columns each of which is unique (NULLs equal to each other); the empty set: at most one row.
    pub(crate) keys: Vec<Vec<usize>>,
}

/// Rows, and what a query shows of them: expressions over their columns that are not computed yet. The query around it
/// filters and joins the rows first, as PostgreSQL does, so that what raises errors is computed over rows that are left.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) built: Built,
    pub(crate) exprs: Vec<Expr>,
}

/// Expressions are computed before they grow larger than this: nested queries could double them level by level.
const LARGEST: usize = 200;

/// More are not followed.
const MOST_KEYS: usize = 12;

impl Built {
    pub(crate) fn column(&self, index: usize) -> Result<Expr, PlanError> {
        let column = self.columns.get(index).ok_or_else(|| PlanError::Tree(format!("there is no column {index}")))?;
        Ok(Expr::column(index, column.ty, column.declared))
    }

    /// All columns as they are.
    pub(crate) fn shown(self) -> Result<Shown, PlanError> {
        let exprs = (0..self.columns.len()).map(|c| self.column(c)).collect::<Result<_, _>>()?;
        Ok(Shown { built: self, exprs })
    }

    /// Without keys that are others' supersets.
    pub(crate) fn tidy_keys(&mut self) {
        for key in &mut self.keys {
            key.sort_unstable();
            key.dedup();
        }
        self.keys.sort_by_key(Vec::len);
        let mut kept: Vec<Vec<usize>> = Vec::new();
        for key in std::mem::take(&mut self.keys) {
            if kept.len() < MOST_KEYS && !kept.iter().any(|k| k.iter().all(|c| key.contains(c))) {
                kept.push(key);
            }
        }
        self.keys = kept;
    }
}

/// Where an expression is among those that are asked, which it is put behind when it is not there yet.
pub(crate) fn place(asked: &mut Vec<PgExpr>, expr: PgExpr) -> usize {
    asked.iter().position(|a| *a == expr).unwrap_or_else(|| {
        asked.push(expr);
        asked.len() - 1
    })
}

impl Planner<'_> {
    /// What is shown, computed.
    pub(crate) fn computed(&self, shown: Shown) -> Result<Built, PlanError> {
        let as_they_are = shown.exprs.len() == shown.built.columns.len()
            && shown.exprs.iter().enumerate().all(|(i, e)| e.kind == ExprKind::Column(i));
        if as_they_are { Ok(shown.built) } else { self.project(shown.built, &shown.exprs) }
    }

    /// What is shown, computed if it has become large.
    pub(crate) fn small(&self, shown: Shown) -> Result<Shown, PlanError> {
        let large = shown.exprs.iter().any(|e| e.size() > LARGEST);
        if large { self.computed(shown)?.shown() } else { Ok(shown) }
    }

    /// The expressions over `rel`'s columns as native ones: what is PostgreSQL's is computed below, and read as a column.
    pub(crate) fn scalars(&self, rel: Rel, width: usize, exprs: &[Expr]) -> Result<(Rel, Vec<Scalar>), PlanError> {
        let mut asked = Vec::new();
        let mut scalars = Vec::new();
        for expr in exprs {
            let expr = self.bytes_of_columns(expr, width, &mut asked)?;
            match native(&expr, self.env) {
                Ok(scalar) => scalars.push(scalar),
                Err(_) => {
                    let at = place(&mut asked, pg_expr(&expr, self.catalog)?);
                    scalars.push(Scalar::column(width + at, expr.ty));
                }
            }
        }
        let rel = if asked.is_empty() { rel } else { Rel::PgMap { input: Box::new(rel), exprs: asked } };
        Ok((rel, scalars))
    }

    /// Rows on which all conditions hold, tried in PostgreSQL's order.
    pub(crate) fn filter(&self, built: Built, conditions: &[Expr]) -> Result<Built, PlanError> {
        self.filter_in_turn(built, &self.ordered(conditions))
    }

    /// Rows on which all conditions hold, tried in this order: each can guard those behind it.
    pub(crate) fn filter_in_turn(&self, built: Built, conditions: &[&Expr]) -> Result<Built, PlanError> {
        let width = built.columns.len();
        let mut rel = built.rel;
        let kind = |c: &Expr| (native(c, self.env).is_ok(), has_bytes(c));
        for run in conditions.chunk_by(|a, b| kind(a) == kind(b)) {
            let predicate = self.in_turn(run);
            let is_native = native(&predicate, self.env).is_ok();
            let (below, mut scalars) = self.scalars(rel, width, &[predicate])?;
            rel = Rel::Filter { input: Box::new(below), predicate: scalars.remove(0) };
            if !is_native {
                let exprs = (0..width).map(|c| Scalar::column(c, built.columns[c].ty)).collect();
                rel = Rel::Project { input: Box::new(rel), exprs };
            }
        }
        Ok(Built { rel, ..built })
    }

    /// The column that an expression is, if rows that are equal in the expression are equal in the column.
    pub(crate) fn key_column(&self, expr: &Expr, columns: &[BuiltColumn]) -> Option<usize> {
        expr.as_column().filter(|c| columns.get(*c).is_some_and(|column| self.keeps_apart(expr.ty, column.ty)))
    }

    /// Whether values that are equal as the one type are so as the other, from which a cast makes the one without touching
    /// their bytes. Where equal values have the same bytes they are equal as anything; a cast to citext or char(n) makes
    /// values equal that were not.
    fn keeps_apart(&self, now: PgType, before: PgType) -> bool {
        let native = |ty| scalar::key_support(ty, self.env).equality;
        now == before || (native(now) && (now.oid == before.oid || !scalar::has_forms(now, self.env)))
    }

    /// One column out an expression; keys follow where their columns go through unchanged.
    pub(crate) fn project(&self, built: Built, exprs: &[Expr]) -> Result<Built, PlanError> {
        let (rel, scalars) = self.scalars(built.rel, built.columns.len(), exprs)?;
        let through = |c: &usize| exprs.iter().position(|e| self.key_column(e, &built.columns) == Some(*c));
        let keys = built.keys.iter().filter_map(|key| key.iter().map(through).collect()).collect();
        let columns = exprs.iter().map(|e| BuiltColumn {
            ty: e.ty,
            declared: e.declared,
            not_null: match &e.kind {
                ExprKind::Const(c) => c.value.is_some(),
                _ => e.as_column().is_some_and(|c| built.columns[c].not_null),
            },
        });
        let columns = columns.collect();
        Ok(Built { rel: Rel::Project { input: Box::new(rel), exprs: scalars }, columns, keys })
    }

    /// Its own columns, then these expressions.
    pub(crate) fn extend(&self, built: Built, exprs: &[Expr]) -> Result<Built, PlanError> {
        if exprs.is_empty() {
            return Ok(built);
        }
        let mut all: Vec<Expr> = (0..built.columns.len()).map(|c| built.column(c)).collect::<Result<_, _>>()?;
        all.extend_from_slice(exprs);
        self.project(built, &all)
    }
}
