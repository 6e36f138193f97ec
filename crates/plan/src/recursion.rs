//! WITH RECURSIVE.
//!
//! The step is asked again and again for what follows from the rows found last. To be kept incrementally each row of its answer
//! must follow from one row before it: the recursive rows may be filtered, computed and joined with others, not
//! counted, ordered or compared with each other.

use crate::PlanError;
use crate::built::{Built, BuiltColumn, Shown};
use crate::query::Planner;
use crate::reader::Node;
use crate::tree::{JoinKind, Rel};

/// A recursion whose step is being planned.
pub(crate) struct Recursion<'a> {
    cte: &'a Node,
    columns: Vec<BuiltColumn>,
}

impl<'a> Planner<'a> {
    /// The rows of a recursive item of WITH.
    pub(crate) fn recursion(&mut self, cte: &'a Node) -> Result<Shown, PlanError> {
        for (field, word) in [("search_clause", "SEARCH"), ("cycle_clause", "CYCLE")] {
            if cte.has(field) {
                return Err(PlanError::refused(
                    word,
                    "its path is a list of rows without a type, which cannot be handed on",
                    "keep the path yourself: ARRAY[id] first, then path || id, with WHERE id <> ALL (path)",
                ));
            }
        }
        let query = cte.node("ctequery")?;
        let union = query.node("setOperations")?;
        if union.kind != "SETOPERATIONSTMT" || union.number("op")? != 1 {
            return Err(query.odd("setOperations"));
        }
        self.ctes.push(query.nodes("cteList"));
        let planned = self.recursive_union(cte, query, union);
        self.ctes.pop();
        planned?.shown()
    }

    fn recursive_union(&mut self, cte: &'a Node, query: &'a Node, union: &'a Node) -> Result<Built, PlanError> {
        let base = self.set_operation(query, union.node("larg")?)?;
        let base = self.coerced(base, union)?;
        let columns: Vec<BuiltColumn> = base.columns.iter().map(|c| BuiltColumn { not_null: false, ..*c }).collect();
        let all = union.flag("all");
        if !all {
            for column in &columns {
                self.groupable(column, "WITH RECURSIVE … UNION")?;
            }
        }
        self.recursions.push(Recursion { cte, columns: columns.clone() });
        let step = self.set_operation(query, union.node("rarg")?);
        self.recursions.pop();
        let step = self.coerced(step?, union)?;
        follows_from_one_row(&step.rel)?;
        let types = columns.iter().map(|c| c.ty).collect();
        let keys = if all { Vec::new() } else { vec![(0..columns.len()).collect()] };
        let rel = Rel::Recursive { base: Box::new(base.rel), step: Box::new(step.rel), all, types };
        Ok(Built { rel, columns, keys })
    }

    /// The recursive item within its own step.
    pub(crate) fn working(&self, cte: &'a Node) -> Result<Shown, PlanError> {
        let Some(recursion) = self.recursions.last().filter(|r| std::ptr::eq(r.cte, cte)) else {
            return Err(PlanError::not_yet(
                "a recursion that reads the rows of another around it",
                "join with the outer one's rows outside of the inner one",
            ));
        };
        let types = recursion.columns.iter().map(|c| c.ty).collect();
        Built { rel: Rel::Working { types }, columns: recursion.columns.clone(), keys: Vec::new() }.shown()
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
