//! A query level's names: what its columns stand for, before its inputs are joined and after.

use std::collections::{BTreeSet, HashMap};

use crate::PlanError;
use crate::catalog::Catalog;
use crate::convert::{Scope, convert};
use crate::expr::{Expr, ExprKind};
use crate::grouping::AggCall;
use crate::reader::{Node, Tree};

/// An input in the order of FROM. Before they are joined, expressions number columns as if all inputs lay side by side
/// in that order.
pub(crate) struct Input {
    pub(crate) varno: usize,
    /// Where its columns begin.
    pub(crate) first: usize,
    /// What it shows, over columns side by side.
    pub(crate) exprs: Vec<Expr>,
    pub(crate) by_attribute: HashMap<i64, usize>,
}

/// A query level's names.
pub(crate) struct Level<'a> {
    pub(crate) inputs: Vec<Input>,
    pub(crate) rtable: Vec<&'a Node>,
    pub(crate) catalog: &'a Catalog,
    /// Where a column that lies side by side is after the joins; empty before.
    pub(crate) placed: Vec<usize>,
    pub(crate) aggregates: Option<Vec<AggCall>>,
    /// Of GROUPING SETS and their kin, as the numbers of targets.
    pub(crate) grouping_sets: Option<Vec<Vec<i64>>>,
}

impl Scope for Level<'_> {
    fn column(&mut self, varno: usize, attribute: i64, node: &Node) -> Result<Expr, PlanError> {
        if let Some(input) = self.inputs.iter().find(|i| i.varno == varno) {
            if attribute < 0 {
                return Err(PlanError::refused(
                    "a system column",
                    "ctid, xmin and their kin are not part of the rows",
                    "use the primary key",
                ));
            }
            if attribute == 0 {
                return Err(PlanError::not_yet("a whole row as a value", "name its columns"));
            }
            let at = input.by_attribute.get(&attribute).ok_or_else(|| {
                PlanError::not_yet("a generated column", "write its expression; it is not in the stream of changes")
            })?;
            let expr = input.exprs.get(*at).ok_or_else(|| node.odd("varattno"))?;
            let place = |c: usize| self.placed.get(c).copied().unwrap_or(c);
            return Ok(expr.map_columns(&place));
        }
        // A join's own name: its columns are expressions over its inputs'.
        let entry = varno.checked_sub(1).and_then(|i| self.rtable.get(i).copied());
        // From PostgreSQL 18 on, the groups have an entry of their own.
        let aliases = |e: &'_ Node| if e.has("groupexprs") { "groupexprs" } else { "joinaliasvars" };
        let aliased = entry.and_then(|e| match e.get(aliases(e)) {
            Tree::List(vars) => usize::try_from(attribute - 1).ok().and_then(|i| vars.get(i)),
            _ => None,
        });
        let catalog = self.catalog;
        convert(aliased.ok_or_else(|| node.odd("varno"))?, self, catalog)
    }

    fn grouping(&mut self, node: &Node) -> Result<Expr, PlanError> {
        self.grouping_function(node)
    }

    fn aggregate(&mut self, node: &Node) -> Result<Expr, PlanError> {
        let Some(mut calls) = self.aggregates.take() else { return Err(node.odd("place")) };
        let call = AggCall::read(node, self);
        let expr = call.map(|call| {
            let expr = |at| Expr { kind: ExprKind::Agg(at), ty: call.ty, declared: call.declared };
            match calls.iter().position(|c| *c == call) {
                Some(at) => expr(at),
                None => {
                    let expr = expr(calls.len());
                    calls.push(call);
                    expr
                }
            }
        });
        self.aggregates = Some(calls);
        expr
    }
}

impl<'a> Level<'a> {
    pub(crate) fn catalog(&self) -> &'a Catalog {
        self.catalog
    }

    /// Which inputs an expression over columns side by side reads.
    pub(crate) fn inputs_of(&self, expr: &Expr) -> BTreeSet<usize> {
        expr.columns().into_iter().map(|c| self.input_of(c)).collect()
    }

    /// The input that a column side by side is of.
    pub(crate) fn input_of(&self, column: usize) -> usize {
        self.inputs.iter().rposition(|i| i.first <= column).unwrap_or(0)
    }
}
