//! UNION, INTERSECT and EXCEPT, with and without ALL, nested as they are written.
//!
//! Each operation casts its branches to its own columns' types, which PostgreSQL has chosen and does not write into the
//! branches; then rows are equal when all their columns are, NULLs too.

use crate::PlanError;
use crate::built::{Built, BuiltColumn, Shown};
use crate::catalog::Cast;
use crate::expr::{Expr, ExprKind, same};
use crate::query::Planner;
use crate::reader::Node;
use crate::row_id;
use crate::tree::{JoinKind, Rel, SetOp};

impl<'a> Planner<'a> {
    /// The rows of a tree of set operations within `query`.
    pub(crate) fn set_operation(&mut self, query: &'a Node, node: &'a Node) -> Result<Shown, PlanError> {
        if node.kind == "RANGETBLREF" {
            let rtable = query.nodes("rtable");
            let index = node.index("rtindex")?;
            let entry = index.checked_sub(1).and_then(|i| rtable.get(i)).ok_or_else(|| node.odd("rtindex"))?;
            return self.query(entry.node("subquery")?);
        }
        let left = self.set_operation(query, node.node("larg")?)?;
        let left = self.coerced(left, node)?;
        let right = self.set_operation(query, node.node("rarg")?)?;
        let right = self.coerced(right, node)?;
        let all = node.flag("all");
        match node.number("op")? {
            1 if all => union_all(left, right).shown(),
            1 => self.distinct(union_all(left, right))?.shown(),
            2 => self.difference("INTERSECT", SetOp::Intersect, all, left, right)?.shown(),
            3 => self.difference("EXCEPT", SetOp::Except, all, left, right)?.shown(),
            _ => Err(node.odd("op")),
        }
    }

    /// INTERSECT or EXCEPT: rows of the left side, so that what is unique there stays unique.
    fn difference(&mut self, name: &str, op: SetOp, all: bool, left: Built, right: Built) -> Result<Built, PlanError> {
        if !all && left.columns.iter().any(|c| self.groupable(c, name).is_err()) {
            return self.difference_by_pairs(name, op, left, right);
        }
        for column in &left.columns {
            self.groupable(column, name)?;
        }
        let types: Vec<_> = left.columns.iter().map(|c| c.ty).collect();
        let mut keys = left.keys;
        if op == SetOp::Intersect {
            keys.extend(right.keys);
        }
        if !all {
            keys.push((0..types.len()).collect());
        }
        let columns = left
            .columns
            .iter()
            .zip(&right.columns)
            .map(|(l, r)| BuiltColumn { not_null: l.not_null || (op == SetOp::Intersect && r.not_null), ..*l });
        let columns = columns.collect();
        let rel = Rel::SetOp { op, all, left: Box::new(left.rel), right: Box::new(right.rel), types };
        let mut built = Built { rel, columns, keys };
        built.tidy_keys();
        Ok(built)
    }

    /// The same where only PostgreSQL knows which values are equal: rows of the left side, each once, with or without an equal one on the
    /// right.
    fn difference_by_pairs(&mut self, name: &str, op: SetOp, left: Built, right: Built) -> Result<Built, PlanError> {
        let width = left.columns.len();
        let mut conditions = Vec::new();
        for (at, column) in left.columns.iter().enumerate() {
            let (own, other) = (left.column(at)?, right.column(at)?.map_columns(&|c| width + c));
            match self.groupable(column, name) {
                Ok(()) => conditions.push(same(own, other)),
                Err(refused) => conditions.extend(self.alike(&own, &other).ok_or(refused)?),
            }
        }
        let left = self.distinct(left)?;
        let kind = if op == SetOp::Intersect { JoinKind::Semi } else { JoinKind::Anti };
        let (built, _) = self.join_two(left, right, kind, conditions)?;
        let shown = (0..width).map(|c| built.column(c)).collect::<Result<Vec<_>, _>>()?;
        self.project(built, &shown)
    }

    /// A branch of a set operation with the columns' common types, to which PostgreSQL casts implicitly.
    pub(crate) fn coerced(&self, shown: Shown, operation: &Node) -> Result<Built, PlanError> {
        let (types, collations) = (operation.oids("colTypes"), operation.oids("colCollations"));
        // Behind its own columns there are those by which a subquery's rows belong to the query around.
        let behind = shown.exprs.get(types.len()..).filter(|behind| behind.len() >= self.values_read());
        let behind = behind.ok_or_else(row_id::refused)?.to_vec();
        let mut exprs = Vec::new();
        for (index, (declared, expr)) in types.into_iter().zip(shown.exprs).enumerate() {
            let ty = self.catalog.ty(declared, -1, collations.get(index).copied().unwrap_or_default());
            let arg = Box::new(expr);
            let kind = match self.catalog.casts.get(&(arg.ty.oid, ty.oid)) {
                _ if arg.ty.oid == ty.oid => ExprKind::Relabel(arg),
                Some(Cast::Relabel) => ExprKind::Relabel(arg),
                Some(Cast::Text) => ExprKind::ViaText(arg),
                Some(Cast::Function(func)) => {
                    crate::volatility::check(self.catalog, *func)?;
                    ExprKind::Call { func: *func, args: vec![*arg], collation: 0, variadic: false }
                }
                // Of arrays and composites: PostgreSQL has found that there is a way, and finds it again.
                None => ExprKind::Cast(arg),
            };
            exprs.push(Expr { kind, ty, declared });
        }
        exprs.extend(behind);
        self.project(shown.built, &exprs)
    }
}

/// All rows of both sides.
fn union_all(left: Built, right: Built) -> Built {
    let columns = left
        .columns
        .iter()
        .zip(&right.columns)
        .map(|(l, r)| BuiltColumn { not_null: l.not_null && r.not_null, ..*l })
        .collect();
    let mut inputs = Vec::new();
    for rel in [left.rel, right.rel] {
        match rel {
            Rel::UnionAll(more) => inputs.extend(more),
            rel => inputs.push(rel),
        }
    }
    Built { rel: Rel::UnionAll(inputs), columns, keys: Vec::new() }
}
