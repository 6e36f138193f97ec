//! WITH RECURSIVE.
//!
//! The step is asked again and again for what follows from the rows found last. To be kept incrementally each row of its answer
//! must follow from one row before it: the recursive rows may be filtered, computed and joined with others, not
//! counted, ordered or compared with each other.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::PlanError;
use crate::built::{Built, BuiltColumn, Shown};
use crate::cycle::Carried;
use crate::expr::{Expr, ExprKind, same};
use crate::outer::Frame;
use crate::query::{Planner, by_position};
use crate::reader::Node;
use crate::tree::{JoinKind, Rel};

/// A recursion whose step is being planned.
pub(crate) struct Recursion<'a> {
    cte: &'a Node,
    columns: Vec<BuiltColumn>,
    /// How many of them can be named. Behind them there is what SEARCH and CYCLE carry along, then what tells the values of the query around
    /// apart, each of which has a recursion of its own.
    own: usize,
    carried: usize,
    /// Whether nothing follows from a row, of one with CYCLE.
    is_back: Option<Expr>,
    /// Where those values are.
    frame: Option<Arc<Frame>>,
}

impl Recursion<'_> {
    /// The columns that are carried along.
    pub(crate) fn carried(&self) -> Range<usize> {
        self.own..self.own + self.carried
    }
}

impl<'a> Planner<'a> {
    /// The rows of a recursive item of WITH, with the numbers by which their columns are named.
    pub(crate) fn recursion(&mut self, cte: &'a Node) -> Result<(Shown, HashMap<i64, usize>), PlanError> {
        let query = cte.node("ctequery")?;
        let union = query.node("setOperations")?;
        if union.kind != "SETOPERATIONSTMT" || union.number("op")? != 1 {
            return Err(query.odd("setOperations"));
        }
        self.ctes.push(query.nodes("cteList"));
        let planned = self.recursive_union(cte, query, union);
        self.ctes.pop();
        let (built, carried) = planned?;
        let (mut exprs, numbers) = carried.shown(&built, self)?;
        for at in built.columns.len() - self.values_read()..built.columns.len() {
            exprs.push(built.column(at)?);
        }
        let by_attribute = numbers.into_iter().enumerate().map(|(at, number)| (number, at)).collect();
        Ok((Shown { built, exprs }, by_attribute))
    }

    /// How many columns tell apart what is read of the query around.
    pub(crate) fn values_read(&self) -> usize {
        self.frame.as_ref().map_or(0, |frame| frame.telling.len())
    }

    fn recursive_union(
        &mut self,
        cte: &'a Node,
        query: &'a Node,
        union: &'a Node,
    ) -> Result<(Built, Carried<'a>), PlanError> {
        let base = self.set_operation(query, union.node("larg")?)?;
        let base = self.coerced(base, union)?;
        let values = self.values_read();
        let own = base.columns.len().checked_sub(values).ok_or_else(|| union.odd("larg"))?;
        let all = union.flag("all");
        let carried = Carried::read(cte, &base.columns[..own], all, self)?;
        let mut first = carried.first(&base)?;
        let count = first.len() - own;
        for at in own..own + values {
            first.push(base.column(at)?);
        }
        let base = self.computed(Shown { exprs: first, built: base })?;
        let columns: Vec<BuiltColumn> = base.columns.iter().map(|c| BuiltColumn { not_null: false, ..*c }).collect();
        if !all {
            for column in &columns {
                self.groupable(column, "WITH RECURSIVE … UNION")?;
            }
        }
        let (is_back, frame) = (carried.is_back(&base)?, self.frame.clone());
        self.recursions.push(Recursion { cte, columns: columns.clone(), own, carried: count, is_back, frame });
        let step = self.set_operation(query, union.node("rarg")?);
        self.recursions.pop();
        let step = self.coerced(step?, union)?;
        let mut next = carried.next(&step, own + values)?;
        for at in own..own + values {
            next.push(step.column(at)?);
        }
        let step = self.computed(Shown { exprs: next, built: step })?;
        follows_from_one_row(&step.rel)?;
        let types = columns.iter().map(|c| c.ty).collect();
        let keys = if all { Vec::new() } else { vec![(0..columns.len()).collect()] };
        let rel = Rel::Recursive { base: Box::new(base.rel), step: Box::new(step.rel), all, types };
        Ok((Built { rel, columns, keys }, carried))
    }

    /// The recursive item within its own step; what is carried along stands behind the columns that can be named.
    pub(crate) fn working(&self, cte: &'a Node) -> Result<(Shown, HashMap<i64, usize>), PlanError> {
        let Some(recursion) = self.recursions.last().filter(|r| std::ptr::eq(r.cte, cte)) else {
            return Err(PlanError::not_yet(
                "a recursion that reads the rows of another around it",
                "join with the outer one's rows outside of the inner one",
            ));
        };
        let types = recursion.columns.iter().map(|c| c.ty).collect();
        let mut built = Built { rel: Rel::Working { types }, columns: recursion.columns.clone(), keys: Vec::new() };
        if let Some(is_back) = &recursion.is_back {
            let goes_on = Expr { kind: ExprKind::Not(Box::new(is_back.clone())), ..is_back.clone() };
            built = self.filter(built, &[goes_on])?;
        }
        let (shown, mut by_attribute) = by_position(built.shown()?);
        by_attribute.retain(|_, at| *at < recursion.own);
        Ok((shown, by_attribute))
    }
}

impl Planner<'_> {
    /// Of the recursive rows within their own step, whose columns begin at `first`, beside the values of the query around: that they are those
    /// of the same values.
    pub(crate) fn of_same_values(&self, values: &[Expr], first: usize) -> Result<Vec<Expr>, PlanError> {
        let Some((recursion, frame)) = self.recursions.last().and_then(|r| Some((r, r.frame.as_ref()?))) else {
            return Ok(Vec::new());
        };
        if self.frame.as_ref().is_none_or(|here| !Arc::ptr_eq(here, frame)) {
            return Err(PlanError::not_yet(
                "WITH RECURSIVE that reads the query around it, with the recursive rows in a subquery of its step",
                "name them in the step's own FROM",
            ));
        }
        let behind = recursion.carried().end;
        let own = recursion.columns[behind..].iter().enumerate();
        Ok(own
            .zip(values)
            .map(|((at, c), v)| same(Expr::column(first + behind + at, c.ty, c.declared), v.clone()))
            .collect())
    }
}

/// Refuses steps that do more with the recursive rows than follow each on its own; whether they read them at all.
fn follows_from_one_row(rel: &Rel) -> Result<bool, PlanError> {
    let mut reads = Vec::new();
    for input in rel.inputs() {
        reads.push(follows_from_one_row(input)?);
    }
    let refused = |what: &str, remedy: &str| {
        Err(PlanError::refused(
            format!("{what} over the rows of WITH RECURSIVE within its own step"),
            "what follows from one row would depend on the others",
            remedy,
        ))
    };
    let outside = "do it over the whole recursion's answer";
    match (rel, reads.as_slice()) {
        (Rel::Working { .. }, _) => Ok(true),
        // Its step reads rows of its own.
        (Rel::Recursive { .. }, [false, _]) => Ok(false),
        (_, reads) if reads.iter().all(|r| !r) => Ok(false),
        (Rel::Filter { .. } | Rel::Project { .. } | Rel::PgMap { .. } | Rel::PgRows { .. }, _) => Ok(true),
        (Rel::Expand { .. } | Rel::UnionAll(_), _) => Ok(true),
        (Rel::Join { kind: JoinKind::Inner, .. }, [left, right]) if left != right => Ok(true),
        (Rel::Join { kind: JoinKind::Left | JoinKind::Semi | JoinKind::Anti, .. }, [true, false]) => Ok(true),
        (Rel::Join { .. }, _) => refused("such a join", "join so that the recursive rows are the left, whole side"),
        (Rel::Aggregate { .. } | Rel::PgAggregate { .. }, _) => refused("GROUP BY or DISTINCT", outside),
        (Rel::Window { .. }, _) => refused("a window function", outside),
        (Rel::Top { .. }, _) => refused("LIMIT", outside),
        (Rel::SetOp { .. }, _) => refused("INTERSECT or EXCEPT", outside),
        _ => refused("another recursion", outside),
    }
}
