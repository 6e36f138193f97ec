//! A query level's names: what its columns stand for, before its inputs are joined and after.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::PlanError;
use crate::aggregates::AggCall;
use crate::catalog::Catalog;
use crate::convert::{Scope, convert};
use crate::expr::{Expr, ExprKind};
use crate::outer::{Frame, Free, Mode, Name, aggregate_name, free, sublinks};
use crate::query::Planner;
use crate::reader::{Node, Tree};
use crate::row_id;

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
    /// How many columns all of them have, side by side.
    pub(crate) width: usize,
    pub(crate) rtable: Vec<&'a Node>,
    pub(crate) catalog: &'a Catalog,
    /// How many levels there are, this one included.
    pub(crate) number: usize,
    /// Their WITH lists, outermost first.
    ctes: Vec<Vec<&'a Node>>,
    /// Where it finds what it reads of the levels around it. Of [`Mode::Within`], the first input are these values.
    pub(crate) frame: Option<Arc<Frame>>,
    /// The SUBLINK nodes; a subquery's number is its place here.
    pub(crate) sublinks: Vec<&'a Node>,
    /// Conditions that read levels around, of a frame of [`Mode::Apart`]; over joined columns.
    pub(crate) correlated: Vec<Expr>,
    /// Where a column that lies side by side is after the joins; empty before.
    pub(crate) placed: Vec<usize>,
    pub(crate) aggregates: Option<Vec<AggCall>>,
    /// Of GROUPING SETS and their kin, as the numbers of targets.
    pub(crate) grouping_sets: Option<Vec<Vec<i64>>>,
}

/// The number of no entry: of an input that is not one of FROM's own.
pub(crate) const NO_ENTRY: usize = usize::MAX;

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
                return self.whole_row(varno, node);
            }
            let at = input.by_attribute.get(&attribute).ok_or_else(|| self.hidden(varno, attribute))?;
            let expr = input.exprs.get(*at).ok_or_else(|| node.odd("varattno"))?;
            return Ok(self.in_place(expr));
        }
        // A join's own name: its columns are expressions over its inputs'.
        let entry = varno.checked_sub(1).and_then(|i| self.rtable.get(i).copied());
        if let Some(entry) = entry.filter(|_| attribute == 0) {
            return self.row_of_join(entry, varno, node);
        }
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

    fn outer(&mut self, node: &Node) -> Result<Expr, PlanError> {
        let level = usize::try_from(node.number("varlevelsup")?).ok().and_then(|up| self.number.checked_sub(up));
        let level = level.ok_or_else(|| node.odd("varlevelsup"))?;
        let (varno, attribute) = (node.index("varno")?, node.number("varattno")?);
        self.argument(Name::Column { level, varno, attribute })
    }

    fn sublink(&mut self, node: &Node, test: Option<Expr>) -> Result<ExprKind, PlanError> {
        let id = self.sublinks.iter().position(|s| std::ptr::eq(std::ptr::from_ref(*s), node));
        let id = id.ok_or_else(|| PlanError::not_yet("a subquery in such a place", "write it as a join"))?;
        let args = self.arguments(self.sublinks[id].node("subselect")?, self.number + 1)?;
        Ok(ExprKind::Sub { id, args, test: test.map(Box::new) })
    }

    fn aggregate(&mut self, node: &Node) -> Result<Expr, PlanError> {
        if node.number("agglevelsup")? != 0 {
            return self.argument(aggregate_name(node));
        }
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
    /// A level's names before there are any inputs.
    pub(crate) fn new(query: &'a Node, planner: &Planner<'a>) -> Self {
        Self {
            inputs: Vec::new(),
            width: 0,
            rtable: query.nodes("rtable"),
            catalog: planner.catalog,
            number: planner.ctes.len(),
            ctes: planner.ctes.clone(),
            frame: planner.frame.clone(),
            sublinks: sublinks(query),
            correlated: Vec::new(),
            placed: Vec::new(),
            aggregates: None,
            grouping_sets: None,
        }
    }

    /// Why an entry's column cannot be read that it has.
    pub(crate) fn hidden(&self, varno: usize, attribute: i64) -> PlanError {
        let Some(entry) = varno.checked_sub(1).and_then(|i| self.rtable.get(i)) else { return row_id::refused() };
        let names = entry.node("eref").map(|e| e.get("colnames").texts()).unwrap_or_default();
        let name = usize::try_from(attribute - 1).ok().and_then(|at| names.get(at));
        let relation = entry.oid("relid").ok().and_then(|oid| self.catalog.relations.get(&oid));
        if relation.is_some_and(|r| r.is_stream) || name.is_some_and(|n| *n == row_id::NAME) {
            return row_id::refused();
        }
        if entry.has("ctename") {
            return PlanError::not_yet(
                "what SEARCH orders by, or the path of CYCLE",
                "keep a path yourself: ARRAY[id] first, then path || id; with CYCLE beside, if you like",
            );
        }
        PlanError::not_yet("a generated column", "write its expression; it is not in the stream of changes")
    }

    /// These columns of the recursive rows, if they are an input of this level.
    pub(crate) fn carried(&self, columns: std::ops::Range<usize>) -> Vec<Expr> {
        let is_recursive = |i: &&Input| {
            i.varno.checked_sub(1).and_then(|at| self.rtable.get(at)).is_some_and(|e| e.flag("self_reference"))
        };
        let carried = self.inputs.iter().find(is_recursive).and_then(|i| i.exprs.get(columns));
        carried.unwrap_or_default().iter().map(|e| self.in_place(e)).collect()
    }

    /// Adds an input of that many columns, with what it shows over them.
    pub(crate) fn add(&mut self, varno: usize, width: usize, exprs: Vec<Expr>, by_attribute: HashMap<i64, usize>) {
        self.inputs.push(Input { varno, first: self.width, exprs, by_attribute });
        self.width += width;
    }

    /// What an argument of the frame stands for.
    fn argument(&self, name: Name) -> Result<Expr, PlanError> {
        let frame = self.frame.as_ref().ok_or_else(|| PlanError::Tree("a variable of no level".into()))?;
        let at = frame.argument(name)?;
        let expr = match frame.mode {
            Mode::Apart => frame.types.get(at).map(|&(ty, declared)| Expr { kind: ExprKind::Outer(at), ty, declared }),
            Mode::Within => self.inputs.first().and_then(|i| i.exprs.get(at)).map(|e| self.in_place(e)),
        };
        expr.ok_or_else(|| PlanError::Tree("an argument of no frame".into()))
    }

    pub(crate) fn in_place(&self, expr: &Expr) -> Expr {
        expr.map_columns(&|c| self.placed.get(c).copied().unwrap_or(c))
    }

    /// Whether the arguments' values are an input here.
    pub(crate) fn has_values(&self) -> bool {
        self.frame.as_ref().is_some_and(|f| f.mode == Mode::Within)
    }

    /// What the arguments' values are told apart by, where they are an input here.
    pub(crate) fn values(&self) -> Vec<Expr> {
        let (Some(first), Some(frame)) = (self.inputs.first().filter(|_| self.has_values()), &self.frame) else {
            return Vec::new();
        };
        frame.telling.iter().filter_map(|at| first.exprs.get(*at)).map(|e| self.in_place(e)).collect()
    }

    /// All that a query of the given level within this one reads of this one and those around, each once.
    pub(crate) fn arguments(&mut self, query: &'a Node, level: usize) -> Result<Vec<Expr>, PlanError> {
        let mut args = Vec::new();
        for (name, found) in names(query, level, &self.ctes)? {
            let of_here = found.level == self.number;
            args.push(match name {
                Name::Column { varno, attribute, .. } if of_here => self.column(varno, attribute, found.node)?,
                Name::Aggregate(_) if of_here => self.aggregate(&found.node.lowered(found.up))?,
                _ => self.argument(name)?,
            });
        }
        Ok(args)
    }

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

/// What a query of that level reads beyond itself, each once, in the order of its arguments.
pub(crate) fn names<'a>(
    query: &'a Node,
    level: usize,
    ctes: &[Vec<&'a Node>],
) -> Result<Vec<(Name, Free<'a>)>, PlanError> {
    let mut names: Vec<(Name, Free<'a>)> = Vec::new();
    for found in free(query, level, ctes) {
        let name = found.name()?;
        if !names.iter().any(|(n, _)| *n == name) {
            names.push((name, found));
        }
    }
    Ok(names)
}
