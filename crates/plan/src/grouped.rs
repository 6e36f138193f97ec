//! A subquery's rows grouped by what its links compare: one row for each row around that meets any.

use types::{PgType, oid};

use crate::PlanError;
use crate::built::{Built, BuiltColumn, Shown};
use crate::expr::{Expr, ExprKind, boolean};
use crate::query::Planner;
use crate::subquery::{Rows, with_key};
use crate::tree::{Aggregate, AggregateFunc, Rel};

/// An aggregate over a subquery's rows, of an expression over its columns.
pub(crate) struct Total {
    pub(crate) func: AggregateFunc,
    pub(crate) arg: Option<Expr>,
    pub(crate) ty: PgType,
}

impl Total {
    /// How many rows.
    pub(crate) fn count() -> Self {
        Self { func: AggregateFunc::CountStar, arg: None, ty: PgType::plain(oid::INT8) }
    }

    /// Whether it is true of any row, or of all.
    pub(crate) fn of_booleans(func: AggregateFunc, arg: Expr) -> Self {
        Self { func, arg: Some(arg), ty: PgType::plain(oid::BOOL) }
    }
}

impl Planner<'_> {
    /// What the links compare, over the subquery's own columns; and the links where these are shown from column `first` on.
    pub(crate) fn linked(&self, rows: &Rows, first: usize) -> Result<(Vec<Expr>, Vec<Expr>), PlanError> {
        let (mut keys, mut links) = (Vec::new(), Vec::new());
        for link in &rows.links {
            let (side, within) = self.link_key(link).ok_or_else(crate::outer::reads_outer)?;
            links.push(with_key(link, side, first + keys.len()));
            keys.push(within.rewrite(&mut |e| match e.kind {
                ExprKind::Column(at) => rows.shown.exprs.get(at).cloned(),
                _ => None,
            }));
        }
        Ok((keys, links))
    }

    /// The rows grouped by what the links compare and by `further` keys. They show the further keys, a mark that is
    /// true and the totals: NULLs where there is no row to join.
    pub(crate) fn grouped(&mut self, rows: &Rows, further: &[Expr], totals: &[Total]) -> Result<Rows, PlanError> {
        let built = rows.shown.built.clone();
        let targets = further.len() + 1 + totals.len();
        let (mut keys, links) = self.linked(rows, targets)?;
        let compared = keys.len();
        keys.extend_from_slice(further);
        keys.push(boolean(true));
        let count = keys.len();
        let mut inputs = keys.clone();
        let mut aggregates = Vec::new();
        for total in totals {
            aggregates.push(Aggregate {
                func: total.func,
                arg: total.arg.as_ref().map(|_| inputs.len()),
                arg_type: total.arg.as_ref().map(|a| a.ty),
                filter: None,
                distinct: false,
                ty: total.ty,
            });
            inputs.extend(total.arg.clone());
        }
        let input = self.project(built, &inputs)?;
        for column in &input.columns[..count] {
            self.groupable(column, "a subquery that is compared by a column")?;
        }
        let mut columns = input.columns[..count].to_vec();
        columns.extend(totals.iter().map(|t| BuiltColumn { ty: t.ty, declared: t.ty.oid, not_null: false }));
        let key_types = input.columns[..count].iter().map(|c| c.ty).collect();
        let rel = Rel::Aggregate { input: Box::new(input.rel), keys: (0..count).collect(), key_types, aggregates };
        // The mark tells no rows apart.
        let built = Built { rel, columns, keys: vec![(0..count - 1).collect()] };
        let order = (compared..count + totals.len()).chain(0..compared);
        let exprs = order.map(|c| built.column(c)).collect::<Result<_, _>>()?;
        let shown = Shown { built, exprs };
        Ok(Rows { shown, targets, links, always: false, stand_in: rows.stand_in })
    }
}
