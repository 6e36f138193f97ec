//! A whole row as a value: `SELECT t FROM t`, `to_jsonb(t)`.

use std::collections::BTreeSet;

use types::oid;

use crate::PlanError;
use crate::convert::Scope;
use crate::expr::{Expr, ExprKind};
use crate::reader::{Node, Tree};
use crate::row_id;
use crate::scope::Level;

/// Among an input's attributes, where PostgreSQL has the row itself: a column that is not NULL where there is a row. There is one where the
/// row is read and an outer join can leave it out.
pub(crate) const THERE: i64 = 0;
/// The entry of a join, in PostgreSQL's numbers.
const JOIN: i64 = 2;

/// The entries of which a query, or what is nested in it, reads the whole row.
pub(crate) fn whole_rows(query: &Node) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    query.fields().for_each(|(_, tree)| find_whole(tree, 0, true, &mut found));
    found
}

/// Of a query that is `depth` levels up; what its aggregates read is left out if not asked for.
fn find_whole(tree: &Tree, depth: i64, aggregated: bool, found: &mut BTreeSet<usize>) {
    let is = |node: &Node, field, value| node.number(field).is_ok_and(|number| number == value);
    match tree {
        Tree::List(items) => items.iter().for_each(|item| find_whole(item, depth, aggregated, found)),
        Tree::Node(node) => {
            if node.kind == "AGGREF" && is(node, "agglevelsup", depth) && !aggregated {
                return;
            }
            if node.kind == "VAR" && is(node, "varattno", 0) && is(node, "varlevelsup", depth) {
                found.extend(node.index("varno").ok());
            }
            let depth = depth + i64::from(node.kind == "QUERY");
            node.fields().for_each(|(_, tree)| find_whole(tree, depth, aggregated, found));
        }
        Tree::Nothing | Tree::Token(_) | Tree::Bytes(_) => {}
    }
}

/// Refuses a whole row beside GROUPING SETS that leave out one of its columns: PostgreSQL's row has the column all the same.
pub(crate) fn check_grouped(
    query: &Node,
    shown: &[&Node],
    groups: &[(i64, &Node)],
    sets: &[Vec<i64>],
) -> Result<(), PlanError> {
    let mut whole = BTreeSet::new();
    shown.iter().for_each(|target| find_whole(target.get("expr"), 0, false, &mut whole));
    find_whole(query.get("havingQual"), 0, false, &mut whole);
    for (reference, target) in groups {
        let var = target.node("expr")?;
        let is_column = var.kind == "VAR" && var.number("varlevelsup")? == 0 && var.number("varattno")? != 0;
        let left_out = sets.iter().any(|set| !set.contains(reference));
        if is_column && left_out && whole.contains(&var.index("varno")?) {
            return Err(PlanError::not_yet(
                "a whole row of which a column is left out by GROUPING SETS",
                "group in a subquery, and join the row to it",
            ));
        }
    }
    Ok(())
}

impl Level<'_> {
    /// The row of an input: of its own type where it has one, else a record with the columns' names.
    pub(crate) fn whole_row(&mut self, varno: usize, node: &Node) -> Result<Expr, PlanError> {
        let entry = varno.checked_sub(1).and_then(|i| self.rtable.get(i).copied()).ok_or_else(|| node.odd("varno"))?;
        let input = self.inputs.iter().find(|i| i.varno == varno).ok_or_else(|| node.odd("varno"))?;
        let marked = input.by_attribute.get(&THERE).and_then(|at| input.exprs.get(*at)).map(|e| self.in_place(e));
        let mut attributes: Vec<i64> = input.by_attribute.keys().copied().filter(|a| *a != THERE).collect();
        attributes.sort_unstable();
        let columns = attributes
            .iter()
            .map(|attribute| Scope::column(self, varno, *attribute, node))
            .collect::<Result<Vec<_>, _>>()?;
        let declared = node.oid("vartype")?;
        let relation = entry.oid("relid").ok().and_then(|oid| self.catalog.relations.get(&oid));
        // What nobody can read is not in the row either.
        let fields = self.catalog.field_types.range((declared, 0)..=(declared, i64::MAX)).count();
        if fields > columns.len() {
            return Err(row_id::refused());
        }
        let named = entry.node("eref")?.get("colnames").texts().len() as i64;
        if declared == oid::RECORD
            && let Some(missing) = (1..=named).find(|attribute| !attributes.contains(attribute))
        {
            return Err(self.hidden(varno, missing));
        }
        let ty = self.catalog.ty(declared, -1, 0);
        let kind = if declared == oid::RECORD {
            let names = entry.node("eref")?.get("colnames").texts();
            let name = |attribute: &i64| {
                let name = usize::try_from(attribute - 1).ok().and_then(|at| names.get(at)).copied();
                name.map(str::to_owned).ok_or_else(|| entry.odd("eref"))
            };
            let names = attributes.iter().map(name).collect::<Result<Vec<_>, _>>()?;
            ExprKind::Row { columns: columns.clone(), names }
        } else {
            ExprKind::Row { columns: columns.clone(), names: Vec::new() }
        };
        let row = Expr { kind, ty, declared };
        if !self.has_outer_joins()? {
            return Ok(row);
        }
        // Where an outer join found none, there is no row; a row of NULLs would be another value.
        let is_row = |e: &Expr| self.catalog.field_types.range((e.ty.oid, 0)..=(e.ty.oid, i64::MAX)).next().is_some();
        let proves = |(a, e): (&i64, &Expr)| {
            // A composite value that is not NULL has IS NOT NULL only where all its fields have.
            relation.is_some_and(|r| r.columns.get(a).is_some_and(|c| c.column.not_null)) && !is_row(e)
        };
        let not_null = attributes.iter().zip(&columns).position(proves);
        let proof = match (not_null, marked) {
            (Some(at), _) => columns[at].clone(),
            (None, Some(mark)) => mark,
            (None, None) => return Ok(row),
        };
        let proof = crate::expr::is_null(proof, true);
        let nothing = crate::constant::null(ty, declared, self.catalog.type_sql(declared)?);
        let kind = ExprKind::Case { branches: vec![(proof, row)], otherwise: Box::new(nothing) };
        Ok(Expr { kind, ty, declared })
    }

    /// The row of a join that has a name. Whether it is NULL where an outer join finds none differs between PostgreSQL's versions.
    pub(crate) fn row_of_join(&mut self, entry: &Node, varno: usize, node: &Node) -> Result<Expr, PlanError> {
        if entry.number("rtekind")? != JOIN {
            return Err(node.odd("varno"));
        }
        if self.has_outer_joins()? {
            return Err(PlanError::not_yet("a whole row of a join beside an outer join", "name its columns"));
        }
        let names = entry.node("eref")?.get("colnames").texts();
        let columns = (1..=names.len()).map(|at| Scope::column(self, varno, at as i64, node));
        let columns = columns.collect::<Result<_, _>>()?;
        let kind = ExprKind::Row { columns, names: names.into_iter().map(str::to_owned).collect() };
        Ok(Expr { kind, ty: self.catalog.ty(oid::RECORD, -1, 0), declared: oid::RECORD })
    }

    fn has_outer_joins(&self) -> Result<bool, PlanError> {
        for entry in &self.rtable {
            if entry.number("rtekind")? == JOIN && entry.number("jointype")? != 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
