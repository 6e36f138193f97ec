//! Two inputs become one: what they are joined by, what else a pair must fulfil, what is unique and not NULL in the result.

use types::{PgType, Scalar, oid};

use crate::PlanError;
use crate::built::{Built, BuiltColumn};
use crate::deparse::pg_expr;
use crate::expr::{Expr, ExprKind, is_null};
use crate::join_key::{Sides, before_widening, joined_keys, widened};
use crate::native::native;
use crate::query::Planner;
use crate::tree::{Condition, JoinKind, Rel};

/// An equality that a join can go by.
#[derive(Debug, PartialEq)]
pub(crate) struct KeyPair {
    /// Over left's columns.
    pub(crate) left: Expr,
    /// Over right's columns.
    pub(crate) right: Expr,
    pub(crate) collation: types::Oid,
}

impl KeyPair {
    fn ty(&self) -> PgType {
        PgType { oid: self.left.ty.oid, typmod: -1, collation: self.collation }
    }
}

/// A pair of keys, if one is of left's columns alone and the other of right's.
fn sides(a: Expr, b: Expr, collation: types::Oid, width: usize) -> Option<KeyPair> {
    let of = |e: &Expr| (e.columns().iter().any(|c| *c < width), e.columns().iter().any(|c| *c >= width));
    let (left, right) = match (of(&a), of(&b)) {
        ((true, false), (false, true)) => (a, b),
        ((false, true), (true, false)) => (b, a),
        _ => return None,
    };
    Some(KeyPair { left, right: right.map_columns(&|c| c - width), collation })
}

impl Planner<'_> {
    /// The two sides of an equality, brought to one type, if a join can go by it.
    pub(crate) fn equality(&self, condition: &Expr) -> Option<(Expr, Expr, types::Oid)> {
        let ExprKind::Call { func, args, collation, .. } = &condition.kind else { return None };
        let [a, b] = args.as_slice() else { return None };
        if !self.catalog.equalities.contains(func) {
            return None;
        }
        let (a, b) = if a.ty.oid == b.ty.oid { (a.clone(), b.clone()) } else { (widened(a)?, widened(b)?) };
        if a.ty.oid != b.ty.oid {
            return None;
        }
        let ty = PgType { oid: a.ty.oid, typmod: -1, collation: *collation };
        scalar::key_support(ty, self.env).equality.then_some((a, b, *collation))
    }

    /// Joins two inputs by conditions over left's columns followed by right's. Says where right's columns begin, behind
    /// left's and what was computed for its keys. What a semi or anti join gives are left's columns alone.
    pub(crate) fn join_two(
        &self,
        left: Built,
        right: Built,
        kind: JoinKind,
        conditions: Vec<Expr>,
    ) -> Result<(Built, usize), PlanError> {
        let width = left.columns.len();
        let mut keys: Vec<KeyPair> = Vec::new();
        let mut rest = Vec::new();
        // Columns that are equal in a pair, or both NULL.
        let mut equal: Vec<(usize, usize)> = Vec::new();
        for condition in conditions {
            if let ExprKind::Same(a, b) = &condition.kind {
                keys.extend(self.same(a, b, &left, &right)?);
                let of_both = |e: &Expr| {
                    let column = e.as_column()?;
                    let (columns, first) = if column < width { (&left.columns, 0) } else { (&right.columns, width) };
                    self.key_column(&e.map_columns(&|c| c - first), columns).map(|c| c + first)
                };
                if let (Some(a), Some(b)) = (of_both(a), of_both(b)) {
                    equal.extend(b.checked_sub(width).map(|b| (a, b)).or(a.checked_sub(width).map(|a| (b, a))));
                }
                continue;
            }
            match self.key_pair(&condition, width) {
                Some(pair) if keys.contains(&pair) => {}
                Some(pair) => keys.push(pair),
                None => {
                    let hashes = self.hashes(&condition).and_then(|(a, b)| sides(a, b, 0, width));
                    keys.extend(hashes.filter(|pair| !keys.contains(pair)));
                    rest.push(condition);
                }
            }
        }
        let (left, left_keys) = self.key_columns(left, keys.iter().map(|k| &k.left))?;
        let (right, right_keys) = self.key_columns(right, keys.iter().map(|k| &k.right))?;
        let offset = left.columns.len();
        let pairs: Vec<(usize, usize)> = left_keys.into_iter().zip(right_keys).collect();
        let key_types = keys.iter().map(KeyPair::ty).collect();
        for (key, &(l, r)) in keys.iter().zip(&pairs) {
            // Equal as another type than that of the column.
            let coarser =
                |key: &Expr, of: &Built| key.as_column().is_some() && self.key_column(key, &of.columns).is_none();
            if coarser(&key.left, &left) || coarser(&key.right, &right) {
                continue;
            }
            // A key that was widened is as good as what it was widened from.
            equal.push((l, r));
            let (from_left, from_right) =
                (before_widening(&key.left).unwrap_or(l), before_widening(&key.right).unwrap_or(r));
            equal.extend([(from_left, r), (l, from_right), (from_left, from_right)]);
        }
        equal.sort_unstable();
        equal.dedup();
        let (fixed_left, fixed_right) = self.fixed(&rest, width, (&left.columns, &right.columns));
        let fixed = (fixed_left.as_slice(), fixed_right.as_slice());
        let unique = joined_keys(kind, &Sides { left: &left, right: &right, pairs: &equal, fixed, offset });
        let rest: Vec<Expr> =
            rest.iter().map(|c| c.map_columns(&|c| if c < width { c } else { c - width + offset })).collect();
        let mut columns = left.columns;
        let both = offset + right.columns.len();
        if !matches!(kind, JoinKind::Semi | JoinKind::Anti) {
            columns.extend(right.columns);
        }
        let (outer_left, outer_right) = (kind == JoinKind::Full, matches!(kind, JoinKind::Full | JoinKind::Left));
        for (at, column) in columns.iter_mut().enumerate() {
            column.not_null &= if at < offset { !outer_left } else { !outer_right };
        }
        for &(l, r) in &pairs {
            match kind {
                JoinKind::Inner => {
                    columns[l].not_null = true;
                    columns[offset + r].not_null = true;
                }
                JoinKind::Semi => columns[l].not_null = true,
                _ => {}
            }
        }
        let on = if kind == JoinKind::Inner || rest.is_empty() { None } else { Some(self.condition(&rest, both)?) };
        let (left, right) = (Box::new(left.rel), Box::new(right.rel));
        let rel = Rel::Join { left, right, kind, keys: pairs, key_types, on };
        let mut built = Built { rel, columns, keys: unique };
        built.tidy_keys();
        if kind == JoinKind::Inner && !rest.is_empty() {
            built = self.filter(built, &rest)?;
        }
        Ok((built, offset))
    }

    fn key_pair(&self, condition: &Expr, width: usize) -> Option<KeyPair> {
        let (a, b, collation) = self.equality(condition)?;
        sides(a, b, collation, width)
    }

    /// Columns of either side that a condition sets equal to a constant.
    fn fixed(
        &self,
        conditions: &[Expr],
        width: usize,
        (left, right): (&[BuiltColumn], &[BuiltColumn]),
    ) -> (Vec<usize>, Vec<usize>) {
        let columns = [&left[..width.min(left.len())], right].concat();
        let column = |condition: &Expr| {
            let (a, b, _) = self.equality(condition)?;
            let of = |a: &Expr, b: &Expr| {
                let a = before_widening(a).or_else(|| self.key_column(a, &columns));
                a.filter(|_| b.columns().is_empty())
            };
            of(&a, &b).or_else(|| of(&b, &a))
        };
        let (left, right): (Vec<_>, Vec<_>) = conditions.iter().filter_map(column).partition(|c| *c < width);
        (left, right.into_iter().map(|c| c - width).collect())
    }

    /// Equal or both NULL, as equalities: whether it is NULL, and the value or another one.
    fn same(&self, a: &Expr, b: &Expr, left: &Built, right: &Built) -> Result<Vec<KeyPair>, PlanError> {
        let width = left.columns.len();
        let of_left = |e: &Expr| e.columns().iter().all(|c| *c < width);
        let (a, b) = if of_left(a) { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) };
        if !of_left(&a) || b.columns().iter().any(|c| *c < width) {
            return Err(PlanError::Tree("values of a subquery are joined on one side".into()));
        }
        let b = b.map_columns(&|c| c - width);
        let collation = a.ty.collation;
        let never = |e: &Expr, built: &Built| e.as_column().is_some_and(|c| built.columns[c].not_null);
        if never(&a, left) || never(&b, right) {
            return Ok(vec![KeyPair { left: a, right: b, collation }]);
        }
        let text = PgType { oid: oid::TEXT, typmod: -1, collation: types::collation::C };
        let value = |e: Expr| -> Result<Expr, PlanError> {
            let sql_type = self.catalog.type_sql(e.declared)?;
            // An enum has no value that is there for sure; its text has.
            let (e, other) = match crate::constant::some_value(e.ty, e.declared, sql_type) {
                Some(other) => (e, other),
                None => {
                    let e = Expr { kind: ExprKind::ViaText(Box::new(e)), ty: text, declared: oid::TEXT };
                    let other = crate::constant::some_value(text, oid::TEXT, "text");
                    (e, other.ok_or_else(|| PlanError::Tree("text has no value".into()))?)
                }
            };
            let (ty, declared) = (e.ty, e.declared);
            Ok(Expr { kind: ExprKind::Coalesce(vec![e, other]), ty, declared })
        };
        let nulls = KeyPair { left: is_null(a.clone(), false), right: is_null(b.clone(), false), collation: 0 };
        Ok(vec![KeyPair { left: value(a)?, right: value(b)?, collation }, nulls])
    }

    /// All conditions of a pair. Where PostgreSQL has to be asked, it is asked for all of them, so that one can guard those
    /// behind it.
    fn condition(&self, conditions: &[Expr], width: usize) -> Result<Condition, PlanError> {
        let ordered = self.ordered(conditions);
        let all = self.in_turn(&ordered);
        if let Ok(predicate) = native(&all, self.env) {
            return Ok(Condition { exprs: Vec::new(), predicate });
        }
        let safe = ordered.iter().filter(|c| self.is_safe(c));
        let mut predicates: Vec<Scalar> = safe.filter_map(|c| native(c, self.env).ok()).collect();
        predicates.push(Scalar::column(width, PgType::plain(oid::BOOL)));
        let predicate = match predicates.len() {
            1 => predicates.remove(0),
            _ => Scalar { kind: types::ScalarKind::And(predicates), ty: PgType::plain(oid::BOOL) },
        };
        Ok(Condition { exprs: vec![pg_expr(&all, self.catalog)?], predicate })
    }

    /// The side with every key as a column, and which columns those are.
    fn key_columns<'e>(
        &self,
        built: Built,
        keys: impl Iterator<Item = &'e Expr>,
    ) -> Result<(Built, Vec<usize>), PlanError> {
        let mut computed: Vec<Expr> = Vec::new();
        let width = built.columns.len();
        let columns = keys
            .map(|key| {
                key.as_column().unwrap_or_else(|| {
                    let at = computed.iter().position(|c| c == key).unwrap_or_else(|| {
                        computed.push(key.clone());
                        computed.len() - 1
                    });
                    width + at
                })
            })
            .collect();
        Ok((self.extend(built, &computed)?, columns))
    }
}
