//! FROM and WHERE: the inputs, what they show, and their joined rows.
//!
//! The inputs are planned in the order of FROM; conditions are converted over their columns side by side, and then the inputs
//! are joined in the order that suits the conditions.

use crate::PlanError;
use crate::built::{Built, Shown};
use crate::convert::convert;
use crate::expr::{Expr, ExprKind};
use crate::items::{self, Item};
use crate::joins::Joins;
use crate::query::Planner;
use crate::reader::Node;
use crate::scope::{Input, Level};

/// An entry that stands for no FROM at all, in PostgreSQL's numbers.
const RESULT: i64 = 8;

impl<'a> Planner<'a> {
    /// The joined and filtered rows, and how the rest of the level names their columns.
    pub(crate) fn from(&mut self, query: &'a Node) -> Result<(Built, Level<'a>), PlanError> {
        let rtable = query.nodes("rtable");
        let mut inputs: Vec<Input> = Vec::new();
        let mut builts = Vec::new();
        let mut width = 0;
        let tree = items::read(query.node("jointree")?, false, &mut |varno, nullable| {
            let entry = varno.checked_sub(1).and_then(|i| rtable.get(i).copied());
            let entry = entry.ok_or_else(|| query.odd("rtable"))?;
            if entry.number("rtekind")? == RESULT {
                return Ok(None);
            }
            let (mut shown, by_attribute) = self.entry(entry)?;
            if nullable {
                shown = self.nullable(shown)?;
            }
            let exprs = shown.exprs.iter().map(|e| e.map_columns(&|c| width + c)).collect();
            inputs.push(Input { varno, first: width, exprs, by_attribute });
            width += shown.built.columns.len();
            builts.push(Some(shown.built));
            Ok(Some(inputs.len() - 1))
        })?;
        let mut level =
            Level { inputs, rtable, catalog: self.catalog, placed: Vec::new(), aggregates: None, grouping_sets: None };
        let tree: Item<Vec<Expr>> = tree.converted(&mut |qual| convert(qual, &mut level, self.catalog))?;
        let tree = tree.reduced(&level, &std::collections::BTreeSet::new());
        let joined = Joins { planner: self, level: &mut level, builts }.item(tree, &mut Vec::new())?;
        let mut built = joined.built;
        built.tidy_keys();
        level.placed = (0..width).map(|c| joined.placed.get(&c).copied().unwrap_or(usize::MAX)).collect();
        Ok((built, level))
    }

    /// What is shown, for a place where an outer join can put NULLs instead of its rows: expressions become NULL there too,
    /// also those that are not when their columns are. Those that could raise an error are not computed below
    /// the join; a column that is true in all rows tells whether there is one.
    pub(crate) fn nullable(&self, shown: Shown) -> Result<Shown, PlanError> {
        if shown.exprs.iter().all(|e| e.as_column().is_some()) {
            return Ok(shown);
        }
        if shown.exprs.iter().all(|e| self.raises_no_error(e)) {
            return self.computed(shown)?.shown();
        }
        let (built, mark) = self.marked(shown.built)?;
        let exprs = shown.exprs.into_iter().map(|e| if e.as_column().is_some() { Ok(e) } else { self.when(&mark, e) });
        let exprs = exprs.collect::<Result<_, _>>()?;
        Ok(Shown { built, exprs })
    }

    /// With one more column that is true, and that column.
    pub(crate) fn marked(&self, built: Built) -> Result<(Built, Expr), PlanError> {
        let at = built.columns.len();
        let built = self.extend(built, &[crate::constant::truth()])?;
        let mark = built.column(at)?;
        Ok((built, mark))
    }

    /// The expression where the condition is true; else NULL.
    pub(crate) fn when(&self, condition: &Expr, expr: Expr) -> Result<Expr, PlanError> {
        let (ty, declared) = (expr.ty, expr.declared);
        let nothing = crate::constant::null(ty, declared, self.catalog.type_sql(declared)?);
        let kind = ExprKind::Case { branches: vec![(condition.clone(), expr)], otherwise: Box::new(nothing) };
        Ok(Expr { kind, ty, declared })
    }
}
