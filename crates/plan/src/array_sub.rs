//! `ARRAY(SELECT … ORDER BY …)`: the values of a subquery's rows in their order, as one array.
//!
//! It is `array_agg` over the rows, grouped by what belongs them to the rows around: PostgreSQL computes the array again where
//! one of its rows changes. Where there is no row it is an empty array, not NULL.

use tokio_postgres::Client;
use types::{Oid, PgType};

use crate::PlanError;
use crate::aggregates::AggCall;
use crate::built::Built;
use crate::calls::{collated, sort_keys};
use crate::catalog::{Catalog, asked};
use crate::expr::{Constant, Expr, ExprKind, Template};
use crate::query::Planner;
use crate::reader::Node;
use crate::sublink::Sub;
use crate::subquery::{Want, over_pair};
use crate::tree::JoinKind;

impl Catalog {
    /// Of each type known so far the type of arrays of it: of an array its own, with a dimension more.
    pub(crate) async fn load_arrays(&mut self, client: &Client) -> Result<(), PlanError> {
        let known: Vec<Oid> = self.types.keys().copied().collect();
        let sql = "SELECT oid, CASE WHEN typcategory = 'A' AND typelem <> 0 THEN oid ELSE typarray END FROM pg_catalog.pg_type
            WHERE oid = ANY ($1) AND (typarray <> 0 OR typcategory = 'A')";
        let rows = client.query(sql, &[&known]).await.map_err(asked)?;
        self.arrays = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let arrays = self.arrays.values().copied().collect();
        self.load_types(client, &arrays).await
    }

    /// The type of arrays of that type.
    pub(crate) fn array_of(&self, element: Oid) -> Option<Oid> {
        let is_one = || self.arrays.values().any(|array| *array == element);
        self.arrays.get(&element).copied().or_else(|| is_one().then_some(element))
    }
}

/// A query's targets: what it shows; where its order is shown, too, behind that what only its ORDER BY reads.
pub(crate) fn shown_targets(query: &Node, with_order: bool) -> Vec<&Node> {
    let targets = query.nodes("targetList");
    let mut shown: Vec<&Node> = targets.iter().copied().filter(|t| !t.flag("resjunk")).collect();
    if with_order {
        let order: Vec<i64> = references(query);
        let is_asked = |t: &&Node| t.number("ressortgroupref").is_ok_and(|r| order.contains(&r));
        shown.extend(targets.into_iter().filter(|t| t.flag("resjunk")).filter(is_asked));
    }
    shown
}

fn references(query: &Node) -> Vec<i64> {
    query.nodes("sortClause").iter().filter_map(|c| c.number("tleSortGroupRef").ok()).collect()
}

impl<'a> Planner<'a> {
    /// The array, over the rows around with more columns; `ty` is its type.
    pub(crate) fn array_value(
        &mut self,
        around: Built,
        sub: &Sub<'a, '_>,
        (ty, declared): (PgType, Oid),
    ) -> Result<(Built, Expr), PlanError> {
        let rows = self.ordered_rows(sub, Want::Compared)?;
        let first = rows.shown.exprs.first().ok_or_else(|| sub.query.odd("targetList"))?;
        let element = collated(first.clone(), self.catalog);
        let order = sub.query.nodes("sortClause");
        if order.is_empty() && !self.one_each(&rows) {
            return Err(PlanError::refused(
                "ARRAY of a subquery without ORDER BY",
                "the order of its elements is not determined by the rows",
                "write ORDER BY in the subquery; of rows of unnest() by WITH ORDINALITY",
            ));
        }
        let targets = shown_targets(sub.query, true);
        let shown = |reference: i64| {
            let at = targets.iter().position(|t| t.number("ressortgroupref").is_ok_and(|r| r == reference))?;
            rows.shown.exprs.get(at).map(|e| collated(e.clone(), self.catalog))
        };
        let mut call = Template::new("pg_catalog.array_agg(");
        call.arg(element.clone());
        if !order.is_empty() {
            call.text(" ORDER BY ");
            sort_keys(&mut call, &order, self.catalog, &shown)?;
        }
        call.text(")");
        let keys: Vec<Expr> = references(sub.query).into_iter().filter_map(shown).collect();
        let call = AggCall::of_array(call, keys, element, (ty, declared));
        let (groups, links) = self.linked(&rows, 1)?;
        self.note_orders(&rows.shown.built, std::slice::from_ref(&call));
        let mut arrays = rows;
        arrays.shown.built = self.aggregate(arrays.shown.built, &groups, &[call])?;
        let built = &arrays.shown.built;
        let columns = std::iter::once(groups.len()).chain(0..groups.len());
        arrays.shown.exprs = columns.map(|c| built.column(c)).collect::<Result<_, _>>()?;
        (arrays.targets, arrays.links) = (1, links);
        let array = arrays.shown.exprs[0].clone();
        let (built, offset) = self.attach(around, (sub.args, sub.base), arrays, JoinKind::Left, &[])?;
        let array = over_pair(&array, &[], offset);
        let parts = vec![array, self.empty_array(ty, declared)?];
        Ok((built, Expr { kind: ExprKind::Coalesce(parts), ty, declared }))
    }

    /// An array of no dimension: its send format is the number of dimensions, a flag for NULLs, and the elements' type.
    fn empty_array(&self, ty: PgType, declared: Oid) -> Result<Expr, PlanError> {
        let element = self.catalog.types.get(&declared).map_or(0, |info| info.element);
        let value = [[0; 4], [0; 4], element.to_be_bytes()].concat();
        let sql = format!("'{{}}'::{}", self.catalog.type_sql(declared)?);
        let constant = Constant { value: Some(value), sql, elements: None };
        Ok(Expr { kind: ExprKind::Const(constant), ty, declared })
    }
}
