//! A whole row as a value: `SELECT t FROM t`, `to_jsonb(t)`.

use types::{oid, quote_ident};

use crate::PlanError;
use crate::expr::{Expr, ExprKind, Template};
use crate::reader::Node;
use crate::row_id;
use crate::scope::Level;

/// The entry of a join, in PostgreSQL's numbers.
const JOIN: i64 = 2;

impl Level<'_> {
    /// The row of an input: of its own type where it has one, else a record with the columns' names.
    pub(crate) fn whole_row(&mut self, varno: usize, node: &Node) -> Result<Expr, PlanError> {
        let entry = varno.checked_sub(1).and_then(|i| self.rtable.get(i).copied()).ok_or_else(|| node.odd("varno"))?;
        let input = self.inputs.iter().find(|i| i.varno == varno).ok_or_else(|| node.odd("varno"))?;
        let mut attributes: Vec<i64> = input.by_attribute.keys().copied().collect();
        attributes.sort_unstable();
        let columns = attributes
            .iter()
            .map(|attribute| crate::convert::Scope::column(self, varno, *attribute, node))
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
            let mut template = Template::new("(SELECT x FROM (SELECT ");
            for (i, (column, attribute)) in columns.iter().zip(&attributes).enumerate() {
                let name = usize::try_from(attribute - 1).ok().and_then(|at| names.get(at));
                let name = name.ok_or_else(|| entry.odd("eref"))?;
                template.text(if i == 0 { "" } else { ", " });
                template.arg(column.clone());
                template.text(&format!(" AS {}", quote_ident(name)));
            }
            template.text(") x)");
            ExprKind::Template(template)
        } else {
            ExprKind::Row(columns.clone())
        };
        let row = Expr { kind, ty, declared };
        if !self.has_outer_joins()? {
            return Ok(row);
        }
        // Where an outer join found none, there is no row; a row of NULLs would be another value.
        let not_null =
            relation.and_then(|r| attributes.iter().position(|a| r.columns.get(a).is_some_and(|c| c.column.not_null)));
        let Some(proof) = not_null else {
            return Err(PlanError::not_yet(
                "a whole row of a subquery beside an outer join",
                "name its columns: jsonb_build_object('a', a, …)",
            ));
        };
        let proof = Expr {
            kind: ExprKind::IsNull { arg: Box::new(columns[proof].clone()), not: true, row: false },
            ty: types::PgType::plain(oid::BOOL),
            declared: oid::BOOL,
        };
        let nothing = crate::constant::null(ty, declared, self.catalog.type_sql(declared)?);
        let kind = ExprKind::Case { branches: vec![(proof, row)], otherwise: Box::new(nothing) };
        Ok(Expr { kind, ty, declared })
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
