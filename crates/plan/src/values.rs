//! VALUES: rows of expressions over no table, or over each row of what is before them in FROM (LATERAL).

use std::collections::HashMap;

use types::{PgType, oid};

use crate::PlanError;
use crate::built::{Built, BuiltColumn};
use crate::catalog::Catalog;
use crate::expr::{Expr, ExprKind};
use crate::native::native;
use crate::query::Planner;
use crate::reader::{Node, Tree};
use crate::tree::Rel;
use crate::whole_row::THERE;

/// The lists of an entry of FROM that is VALUES.
#[derive(Debug)]
pub(crate) struct Lists {
    rows: Vec<Vec<Expr>>,
    columns: Vec<BuiltColumn>,
    /// Where attributes are among the columns.
    pub(crate) by_attribute: HashMap<i64, usize>,
}

impl Lists {
    /// Reads an entry's lists, with what converts their expressions.
    pub(crate) fn read<'a>(
        entry: &'a Node,
        catalog: &Catalog,
        convert: &mut dyn FnMut(&'a Tree) -> Result<Expr, PlanError>,
    ) -> Result<Self, PlanError> {
        let Tree::List(lists) = entry.get("values_lists") else { return Err(entry.odd("values_lists")) };
        let (types, collations) = (entry.oids("coltypes"), entry.oids("colcollations"));
        let mut columns: Vec<BuiltColumn> = types
            .iter()
            .enumerate()
            .map(|(i, &declared)| BuiltColumn {
                ty: catalog.ty(declared, -1, collations.get(i).copied().unwrap_or_default()),
                declared,
                not_null: true,
            })
            .collect();
        let mut rows = Vec::new();
        for list in lists {
            let Tree::List(items) = list else { return Err(entry.odd("values_lists")) };
            if items.len() != columns.len() {
                return Err(entry.odd("coltypes"));
            }
            let mut row = Vec::new();
            for (item, column) in items.iter().zip(&mut columns) {
                let expr = convert(item)?;
                column.not_null &= matches!(&expr.kind, ExprKind::Const(c) if c.value.is_some());
                row.push(relabeled(expr, column));
            }
            rows.push(row);
        }
        let by_attribute = (0..columns.len()).map(|i| (i as i64 + 1, i)).collect();
        Ok(Self { rows, columns, by_attribute })
    }

    /// All their expressions.
    pub(crate) fn args(&self) -> impl Iterator<Item = &Expr> {
        self.rows.iter().flatten()
    }

    /// How many columns there are.
    pub(crate) fn width(&self) -> usize {
        self.columns.len()
    }

    /// The expressions of its list, if it is just one and no subquery is in it.
    pub(crate) fn only_row(&self) -> Option<&[Expr]> {
        self.rows.first().filter(|row| self.rows.len() == 1 && !row.iter().any(Expr::has_sub)).map(Vec::as_slice)
    }

    /// The columns, when they begin with that one.
    pub(crate) fn shown(&self, first: usize) -> Vec<Expr> {
        self.columns.iter().enumerate().map(|(at, c)| Expr::column(first + at, c.ty, c.declared)).collect()
    }

    /// The same with other expressions.
    pub(crate) fn over(&self, place: impl Fn(&Expr) -> Expr) -> Self {
        let rows = self.rows.iter().map(|row| row.iter().map(&place).collect()).collect();
        Self { rows, columns: self.columns.clone(), by_attribute: self.by_attribute.clone() }
    }

    /// With one more column that is true: where it is NULL, there is no row.
    pub(crate) fn marked(mut self) -> Self {
        self.by_attribute.insert(THERE, self.columns.len());
        self.columns.push(BuiltColumn { ty: PgType::plain(oid::BOOL), declared: oid::BOOL, not_null: true });
        self.rows.iter_mut().for_each(|row| row.push(crate::expr::boolean(true)));
        self
    }

    /// The same, its columns named as the query that shows nothing but them does.
    pub(crate) fn renamed(self, by_attribute: HashMap<i64, usize>) -> Self {
        Self { by_attribute, ..self }
    }

    /// A column by which the rows are told apart: each has another constant there, of a type whose equal values have the same bytes.
    fn telling(&self) -> Option<usize> {
        let value = |row: &Vec<Expr>, at: usize| match row.get(at).map(innermost) {
            Some(Expr { kind: ExprKind::Const(c), .. }) => c.value.clone(),
            _ => None,
        };
        (0..self.columns.len()).find(|&at| {
            let plain = matches!(self.columns[at].ty.oid, oid::INT2 | oid::INT4 | oid::INT8 | oid::BOOL | oid::UUID);
            let text =
                self.columns[at].ty.oid == oid::TEXT && self.columns[at].ty.collation == types::collation::DEFAULT;
            let values: Option<std::collections::BTreeSet<_>> = self.rows.iter().map(|row| value(row, at)).collect();
            (plain || text) && values.is_some_and(|values| values.len() == self.rows.len())
        })
    }
}

/// As the column's type, of which it is but for how it was written.
fn relabeled(expr: Expr, column: &BuiltColumn) -> Expr {
    if expr.ty == column.ty || expr.ty.oid != column.ty.oid {
        return expr;
    }
    Expr { kind: ExprKind::Relabel(Box::new(expr)), ty: column.ty, declared: column.declared }
}

fn innermost(expr: &Expr) -> &Expr {
    match &expr.kind {
        ExprKind::Relabel(arg) => innermost(arg),
        _ => expr,
    }
}

impl Planner<'_> {
    /// The rows of lists that read nothing.
    pub(crate) fn values(&self, lists: &Lists) -> Result<Built, PlanError> {
        let types: Vec<_> = lists.columns.iter().map(|c| c.ty).collect();
        let mut rows = Vec::new();
        let mut inputs = Vec::new();
        for row in &lists.rows {
            match row.iter().map(|e| native(e, self.env)).collect::<Result<Vec<_>, _>>() {
                Ok(row) => rows.push(row),
                // A row that only PostgreSQL computes is an input of its own, made of one row without columns.
                Err(_) => inputs.push(self.project(one_row(), row)?.rel),
            }
        }
        let keys = if lists.rows.len() == 1 { vec![Vec::new()] } else { Vec::new() };
        if !rows.is_empty() || inputs.is_empty() {
            inputs.insert(0, Rel::Values { rows, types });
        }
        let rel = if inputs.len() == 1 { inputs.remove(0) } else { Rel::UnionAll(inputs) };
        let columns = lists.columns.iter().map(|c| BuiltColumn { not_null: false, ..*c }).collect();
        Ok(Built { rel, columns, keys })
    }

    /// Each row once for each list, with its values.
    pub(crate) fn with_lists(&self, built: Built, lists: &Lists) -> Result<Built, PlanError> {
        let width = built.columns.len();
        let own: Vec<Expr> = (0..width).map(|c| built.column(c)).collect::<Result<_, _>>()?;
        let exprs: Vec<Expr> = own.iter().cloned().chain(lists.args().cloned()).collect();
        let (rel, scalars) = self.scalars(built.rel, width, &exprs)?;
        let (own, made) = scalars.split_at(width);
        let made = made.chunks(lists.width().max(1)).map(|row| own.iter().chain(row).cloned().collect());
        let rel = Rel::Expand { input: Box::new(rel), lists: made.collect() };
        let columns = built.columns.into_iter().chain(lists.columns.iter().copied()).collect();
        let told = |key: Vec<usize>| match (lists.rows.len(), lists.telling()) {
            (1, _) => Some(key),
            (_, Some(at)) => Some([key, vec![width + at]].concat()),
            _ => None,
        };
        let keys = built.keys.into_iter().filter_map(told).collect();
        Ok(Built { rel, columns, keys })
    }
}

/// One row without columns.
pub(crate) fn one_row() -> Built {
    let rel = Rel::Values { rows: vec![Vec::new()], types: Vec::new() };
    Built { rel, columns: Vec::new(), keys: vec![Vec::new()] }
}
