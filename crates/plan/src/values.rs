//! VALUES: rows of expressions over no table.

use crate::PlanError;
use crate::built::{Built, BuiltColumn};
use crate::convert::{Scope, convert};
use crate::expr::Expr;
use crate::native::native;
use crate::query::Planner;
use crate::reader::{Node, Tree};
use crate::tree::Rel;

impl<'a> Planner<'a> {
    /// The rows of an entry of FROM that is VALUES.
    pub(crate) fn values(&mut self, entry: &'a Node) -> Result<Built, PlanError> {
        let Tree::List(lists) = entry.get("values_lists") else { return Err(entry.odd("values_lists")) };
        let (types, collations) = (entry.oids("coltypes"), entry.oids("colcollations"));
        let columns = types.iter().enumerate().map(|(i, &declared)| BuiltColumn {
            ty: self.catalog.ty(declared, -1, collations.get(i).copied().unwrap_or_default()),
            declared,
            not_null: false,
        });
        let columns: Vec<BuiltColumn> = columns.collect();
        let types: Vec<_> = columns.iter().map(|c| c.ty).collect();
        let mut rows = Vec::new();
        let mut inputs = Vec::new();
        for list in lists {
            let Tree::List(items) = list else { return Err(entry.odd("values_lists")) };
            let exprs =
                items.iter().map(|i| convert(i, &mut Constants, self.catalog)).collect::<Result<Vec<Expr>, _>>()?;
            if exprs.len() != columns.len() {
                return Err(entry.odd("coltypes"));
            }
            match exprs.iter().map(|e| native(e, self.env)).collect::<Result<Vec<_>, _>>() {
                Ok(row) => rows.push(row),
                // A row that only PostgreSQL computes is an input of its own, made of one row without columns.
                Err(_) => inputs.push(self.project(one_row(), &exprs)?.rel),
            }
        }
        let keys = if lists.len() == 1 { vec![Vec::new()] } else { Vec::new() };
        if !rows.is_empty() || inputs.is_empty() {
            inputs.insert(0, Rel::Values { rows, types });
        }
        let rel = if inputs.len() == 1 { inputs.remove(0) } else { Rel::UnionAll(inputs) };
        Ok(Built { rel, columns, keys })
    }
}

/// One row without columns.
pub(crate) fn one_row() -> Built {
    let rel = Rel::Values { rows: vec![Vec::new()], types: Vec::new() };
    Built { rel, columns: Vec::new(), keys: vec![Vec::new()] }
}

/// Names within an expression that may read no column.
pub(crate) struct Constants;

impl Scope for Constants {
    fn column(&mut self, _: usize, _: i64, _: &Node) -> Result<Expr, PlanError> {
        Err(PlanError::not_yet("LATERAL VALUES", "write it as a join"))
    }
    fn aggregate(&mut self, node: &Node) -> Result<Expr, PlanError> {
        Err(node.odd("place"))
    }
}
