//! Groups by values whose equality only PostgreSQL knows: citext, collations that are not deterministic, composites, arrays of enums.
//!
//! ```text
//!   rows ─▶ the value's hash, by its type's own function     equal values have one hash
//!        ─▶ window: of the rows with that hash, the first of those that are equal to this one      PARTITION BY the value
//!        ─▶ groups by that one's bytes                         which are one for all that are equal
//!        ─▶ shown: the first by bytes of the group's own values
//! ```
//!
//! PostgreSQL compares, within the window; the hash only says which rows can be equal at all. All rows with one value are compared again
//! when one of them changes. Joins by such values go by the hash, and ask PostgreSQL about the pairs.

use scalar::key_support;
use types::{Oid, PgType, collation, oid};

use crate::PlanError;
use crate::built::{Built, BuiltColumn};
use crate::calls;
use crate::deparse::pg_expr;
use crate::expr::{Expr, ExprKind, Template, boolean, is_null, same};
use crate::hash::Hash;
use crate::query::Planner;
use crate::top::text_of;
use crate::tree::Rel;

/// Rows, and what they are grouped by.
pub(crate) struct Represented {
    pub(crate) built: Built,
    /// In the place of each group, native.
    pub(crate) by: Vec<Expr>,
    /// Of the groups that were not native, by their places: the rows' own values as texts.
    pub(crate) own: Vec<(usize, Expr)>,
}

impl Planner<'_> {
    /// What was there keeps its place.
    pub(crate) fn represented(
        &self,
        mut built: Built,
        groups: &[Expr],
        construct: &str,
    ) -> Result<Represented, PlanError> {
        let (mut by, mut own) = (groups.to_vec(), Vec::new());
        for (place, key) in by.iter_mut().enumerate() {
            if key_support(key.ty, self.env).equality {
                continue;
            }
            own.push((place, text_of(key.clone())));
            (built, *key) = self.one_for_all(built, key, construct)?;
        }
        Ok(Represented { built, by, own })
    }

    /// How its type finds equal values, if it can. Enums have keys, which their type alone does not say.
    fn hash(&self, value: &Expr) -> Option<&Hash> {
        let asks = value.declared == value.ty.oid && !self.env.is_enum(value.ty.oid) && value.ty.oid != oid::RECORD;
        let info = self.catalog.types.get(&value.declared).filter(|_| asks);
        info.and_then(|info| info.hash.as_ref())
    }

    /// The value's hash, which is one for all that are equal under the collation.
    fn hashed(&self, value: &Expr, collation: Oid) -> Option<Expr> {
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

    /// That two values are equal or both NULL, where only PostgreSQL knows: by what they have in common then, and by a condition.
    pub(crate) fn alike(&self, one: &Expr, other: &Expr) -> Option<[Expr; 2]> {
        let collation = one.ty.collation;
        let equality = self.hash(one)?.equality;
        let of_both = |kind| Expr { kind, ..boolean(true) };
        let hashes = same(self.hashed(one, collation)?, self.hashed(other, collation)?);
        if equality == RECORD_EQUAL {
            // A composite of NULLs is NULL, says IS NULL, and it is not equal to one that is NULL as a whole.
            let (left, right) = (Box::new(one.clone()), Box::new(other.clone()));
            let distinct = of_both(ExprKind::Distinct { equal: equality, collation: 0, left, right });
            return Some([hashes, of_both(ExprKind::Not(Box::new(distinct)))]);
        }
        let args = vec![one.clone(), other.clone()];
        let equal = ExprKind::Call { func: equality, args, collation, variadic: false };
        let nulls = ExprKind::And(vec![is_null(one.clone(), false), is_null(other.clone(), false)]);
        Some([hashes, of_both(ExprKind::Or(vec![of_both(equal), of_both(nulls)]))])
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
        first.text(" ORDER BY CAST(");
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

    /// Of an aggregate's columns the last are texts of the groups in these places: they are shown there, as the values that they are.
    pub(crate) fn with_own(&self, built: Built, groups: &[Expr], own: &[(usize, Expr)]) -> Result<Built, PlanError> {
        if own.is_empty() {
            return Ok(built);
        }
        let width = built.columns.len() - own.len();
        let mut exprs: Vec<Expr> = (0..width).map(|c| built.column(c)).collect::<Result<_, _>>()?;
        for (at, (place, _)) in own.iter().enumerate() {
            let group = &groups[*place];
            let text = Box::new(built.column(width + at)?);
            let is_text = matches!(group.ty.oid, oid::TEXT | oid::VARCHAR);
            let kind = if is_text { ExprKind::Relabel(text) } else { ExprKind::ViaText(text) };
            exprs[*place] = Expr { kind, ty: group.ty, declared: group.declared };
        }
        let keys = built.keys.clone();
        Ok(Built { keys, ..self.project(built, &exprs)? })
    }
}

/// The function of `record = record`.
const RECORD_EQUAL: Oid = 2981;

/// The type of values as texts.
pub(crate) const AS_TEXT: PgType = PgType { oid: oid::TEXT, typmod: -1, collation: collation::C };
