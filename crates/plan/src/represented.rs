//! Groups by values whose equality only PostgreSQL knows: citext, collations that are not deterministic, composites, and whatever
//! else has a hash operator class.
//!
//! ```text
//!   rows ─▶ the value's hash, by its type's own function     equal values have one hash
//!        ─▶ window: of the rows with that hash, the first of those that are equal to this one      PARTITION BY the value
//!        ─▶ groups by that one's text form                   which is one for all that are equal
//!        ─▶ the text form as a value again
//! ```
//!
//! Joins by such values go by the hash, and ask PostgreSQL about the pairs.
//!
//! PostgreSQL compares, within the window; the hash only says which rows can be equal at all, so that few are compared again when
//! one changes. What is shown of equal values is the shortest text form, and of those the first by bytes: always the same
//! for the same rows.

use scalar::key_support;
use types::{PgType, oid};

use crate::PlanError;
use crate::built::{Built, BuiltColumn};
use crate::calls;
use crate::catalog::Hash;
use crate::deparse::pg_expr;
use crate::expr::{Expr, ExprKind, Template};
use crate::query::Planner;
use crate::top::text_of;
use crate::tree::{Rel, SetOp};

impl Planner<'_> {
    /// The rows, and what to group them by in the place of `groups`, which is native. What was there keeps its place.
    pub(crate) fn represented(
        &self,
        mut built: Built,
        groups: &[Expr],
        construct: &str,
    ) -> Result<(Built, Vec<Expr>), PlanError> {
        let mut keys = groups.to_vec();
        for key in &mut keys {
            if !key_support(key.ty, self.env).equality {
                (built, *key) = self.one_for_all(built, key, construct)?;
            }
        }
        Ok((built, keys))
    }

    /// How its type finds equal values, if it can.
    fn hash(&self, value: &Expr) -> Option<&Hash> {
        let info = self.catalog.types.get(&value.declared).filter(|info| !info.is_pseudo);
        info.and_then(|info| info.hash.as_ref())
    }

    /// The value's hash, which is one for all that are equal under the collation.
    fn hashed(&self, value: &Expr, collation: types::Oid) -> Option<Expr> {
        let mut template = Template::new(format!("{}(", self.hash(value)?.function));
        let compared = Expr { ty: PgType { collation, ..value.ty }, ..value.clone() };
        template.arg(calls::collated(compared, self.catalog));
        template.text(", 0)");
        Some(Expr { kind: ExprKind::Template(template), ty: PgType::plain(oid::INT8), declared: oid::INT8 })
    }

    /// Of an equality that is not native, what both sides have in common when it holds.
    pub(crate) fn hashes(&self, condition: &Expr) -> Option<(Expr, Expr)> {
        let ExprKind::Call { func, args, collation, .. } = &condition.kind else { return None };
        let [a, b] = args.as_slice() else { return None };
        let is_equality = |e: &Expr| self.hash(e).is_some_and(|hash| hash.equality == *func);
        let known = a.ty.oid == b.ty.oid && is_equality(a) && is_equality(b);
        known.then(|| Some((self.hashed(a, *collation)?, self.hashed(b, *collation)?)))?
    }

    fn one_for_all(&self, built: Built, value: &Expr, construct: &str) -> Result<(Built, Expr), PlanError> {
        let column = BuiltColumn { ty: value.ty, declared: value.declared, not_null: false };
        if self.hash(value).is_none() {
            return Err(self.not_groupable(&column, construct)?);
        }
        let mut built = self.extend(built, std::slice::from_ref(value))?;
        let value = built.column(built.columns.len() - 1)?;
        let collated = || calls::collated(value.clone(), self.catalog);
        let hashed = self.hashed(&value, value.ty.collation).ok_or_else(|| PlanError::Tree("a hash is gone".into()))?;
        built = self.extend(built, &[hashed])?;
        let partition = built.columns.len() - 1;
        let mut first = Template::new("pg_catalog.first_value(");
        first.arg(collated());
        first.text(") OVER (PARTITION BY ");
        first.arg(collated());
        first.text(" ORDER BY pg_catalog.length(CAST(");
        first.arg(collated());
        first.text(" AS pg_catalog.text)), CAST(");
        first.arg(collated());
        first.text(" AS pg_catalog.text) COLLATE pg_catalog.\"C\")");
        let first = Expr { kind: ExprKind::Template(first), ty: value.ty, declared: value.declared };
        built.rel = Rel::Window {
            input: Box::new(built.rel),
            partition: vec![partition],
            partition_types: vec![PgType::plain(oid::INT8)],
            windows: vec![pg_expr(&first, self.catalog)?],
        };
        built.columns.push(column);
        let first = built.column(built.columns.len() - 1)?;
        Ok((built, text_of(first)))
    }

    /// The first columns are text forms where the `groups` that they stand for were not native: values again.
    pub(crate) fn as_values(&self, built: Built, groups: &[Expr]) -> Result<Built, PlanError> {
        if groups.iter().all(|g| key_support(g.ty, self.env).equality) {
            return Ok(built);
        }
        let mut exprs: Vec<Expr> = (0..built.columns.len()).map(|c| built.column(c)).collect::<Result<_, _>>()?;
        for (expr, group) in exprs.iter_mut().zip(groups) {
            if key_support(group.ty, self.env).equality {
                continue;
            }
            let text = Box::new(expr.clone());
            let is_text = matches!(group.ty.oid, oid::TEXT | oid::VARCHAR);
            let kind = if is_text { ExprKind::Relabel(text) } else { ExprKind::ViaText(text) };
            *expr = Expr { kind, ty: group.ty, declared: group.declared };
        }
        let keys = built.keys.clone();
        Ok(Built { keys, ..self.project(built, &exprs)? })
    }

    /// INTERSECT or EXCEPT where some columns are not native: the rows of both sides are represented together.
    pub(crate) fn difference_by_postgres(
        &self,
        name: &str,
        op: SetOp,
        all: bool,
        sides: [Built; 2],
    ) -> Result<Built, PlanError> {
        let [left, right] = sides;
        let shown: Vec<Expr> = (0..left.columns.len()).map(|c| left.column(c)).collect::<Result<_, _>>()?;
        let mark = |side| crate::expr::int8(side);
        let (left, right) = (self.extend(left, &[mark(0)])?, self.extend(right, &[mark(1)])?);
        let marked = left.columns.len() - 1;
        let (both, keys) = self.represented(crate::set_operation::union_all(left, right), &shown, name)?;
        let side = |number: i64| {
            let of = both.column(marked)?;
            let rows = self.filter(both.clone(), &[crate::expr::same(of, mark(number))])?;
            self.project(rows, &keys)
        };
        let built = self.compared(op, all, side(0)?, side(1)?);
        self.as_values(built, &shown)
    }
}
