//! What operators say of themselves, for `explain`.

use std::time::{Duration, Instant};

use super::{Cx, Node, Operator};
use crate::definition::{CutRows, OperatorStats};
use crate::keeping::Operators;

/// How long an operator takes, without those before it.
pub(super) struct Timed {
    started: Instant,
    /// What others had taken that the same one reads.
    beside: Duration,
}

impl Timed {
    pub(super) fn begin(cx: &mut Cx<'_>) -> Self {
        Self { started: Instant::now(), beside: std::mem::take(&mut cx.below) }
    }

    pub(super) fn end(self, cx: &mut Cx<'_>) -> Duration {
        let took = self.started.elapsed();
        let below = std::mem::replace(&mut cx.below, self.beside + took);
        took.saturating_sub(below)
    }
}

impl Node {
    /// This operator and those below it, for `explain`.
    pub(crate) fn explain(&self, depth: usize, into: &mut Operators) {
        let (name, state) = match &self.operator {
            Operator::Source(o) if o.filtered => ("source", "rows that pass its conditions".into()),
            Operator::Source(_) => ("source", "all rows".into()),
            Operator::Common(o) => ("subplan", o.describe()),
            Operator::Filter(_) => ("filter", String::new()),
            Operator::Project(_) => ("project", String::new()),
            Operator::PgMap(_) => ("pg_map", String::new()),
            Operator::PgRows(_) => ("pg_rows", String::new()),
            Operator::PgAggregate(o) => ("pg_aggregate", o.describe()),
            Operator::Window(o) => ("window", o.describe()),
            Operator::Join(o) => ("join", o.describe()),
            Operator::Outer(o) => (o.name(), o.describe()),
            Operator::Beyond(o) => ("semi join", o.describe()),
            Operator::SetOp(o) => ("set_op", o.describe()),
            Operator::Expand(_) => ("expand", String::new()),
            Operator::Top(o) => ("top", o.describe()),
            Operator::Aggregate(o) => ("aggregate", o.describe()),
            Operator::Recursive(o) => ("recursive", o.describe()),
            Operator::Working(_) => ("working", String::new()),
            Operator::UnionAll(_) => ("union_all", String::new()),
            Operator::Values(_) => ("values", String::new()),
        };
        let by_postgres = match &self.operator {
            Operator::PgMap(_) | Operator::PgRows(_) | Operator::PgAggregate(_) | Operator::Window(_) => true,
            Operator::Outer(o) => o.asks(),
            _ => false,
        };
        let ring = if by_postgres { 2 } else { 1 };
        let holds = self.keeps.iter().map(|k| k.holding(&into.store)).collect();
        into.stats.push(OperatorStats { depth, name, ring, state, holds, cuts: self.last.iter().copied().collect() });
        into.keeps.push(self.keeps.clone());
        for input in self.inputs() {
            input.explain(depth + 1, into);
        }
    }

    /// Rows that came out of it in the last cuts.
    pub(crate) fn last_out(&self) -> Vec<CutRows> {
        self.last.iter().map(|cut| CutRows { rows_in: cut.rows_out, took: Duration::ZERO, ..*cut }).collect()
    }

    /// What stands before the operators of a subplan.
    pub(crate) fn heading(&self, state: String) -> OperatorStats {
        OperatorStats { depth: 0, name: "subplan", ring: 1, state, holds: Vec::new(), cuts: self.last_out() }
    }
}
