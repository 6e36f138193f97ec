//! Calls of aggregates and window functions as SQL: their arguments, and ORDER BY within and beside them.

use types::{Oid, PgType, quote_ident};

use crate::PlanError;
use crate::catalog::{Catalog, FunctionInfo};
use crate::expr::{Expr, ExprKind, Template};
use crate::reader::{Node, Tree};

/// Converts an expression of the level that the call stands in.
pub(crate) type Converting<'c> = dyn FnMut(&Tree) -> Result<Expr, PlanError> + 'c;

/// The function's name, with an open bracket.
pub(crate) fn begin(info: &FunctionInfo) -> Template {
    Template::new(format!("{}.{}(", quote_ident(&info.schema), quote_ident(&info.name)))
}

/// An expression as an argument that is declared with that type, compared by the expression's collation wherever it is a column
/// of another one by then.
pub(crate) fn argument(expr: &Expr, declared: Option<&Oid>, catalog: &Catalog) -> Expr {
    let mut out = expr.clone();
    if let Some(&declared) = declared
        && declared != expr.declared
        && catalog.types.get(&declared).is_some_and(|info| !info.is_pseudo)
    {
        let ty = PgType { collation: expr.ty.collation, ..catalog.ty(declared, -1, expr.ty.collation) };
        out = Expr { kind: ExprKind::Relabel(Box::new(out)), ty, declared };
    }
    collated(out, catalog)
}

/// The expression with its collation written, where that is not the default one.
pub(crate) fn collated(expr: Expr, catalog: &Catalog) -> Expr {
    let collation = expr.ty.collation;
    let written = matches!(expr.kind, ExprKind::Collate { .. });
    let plain = collation == 0 || collation == types::collation::DEFAULT;
    if plain || written || !catalog.collations.contains_key(&collation) {
        return expr;
    }
    let (ty, declared) = (expr.ty, expr.declared);
    Expr { kind: ExprKind::Collate { arg: Box::new(expr), collation }, ty, declared }
}

/// The expressions of a list; none when it is not there.
pub(crate) fn list(tree: &Tree, convert: &mut Converting<'_>) -> Result<Vec<Expr>, PlanError> {
    match tree {
        Tree::List(items) => items.iter().map(convert).collect(),
        _ => Ok(Vec::new()),
    }
}

/// Writes the keys of a sort clause, found by their targets' numbers.
pub(crate) fn sort_keys(
    template: &mut Template,
    clauses: &[&Node],
    catalog: &Catalog,
    find: &dyn Fn(i64) -> Option<Expr>,
) -> Result<(), PlanError> {
    for (i, clause) in clauses.iter().enumerate() {
        if i > 0 {
            template.text(", ");
        }
        let expr = find(clause.number("tleSortGroupRef")?).ok_or_else(|| clause.odd("tleSortGroupRef"))?;
        template.arg(expr);
        let operator = catalog.operators.get(&clause.oid("sortop")?).ok_or_else(|| clause.odd("sortop"))?;
        let nulls = if clause.flag("nulls_first") { "FIRST" } else { "LAST" };
        template.text(&format!(" USING {} NULLS {nulls}", operator.sql()));
    }
    Ok(())
}

/// Whether rows that are equal in these expressions, and so in the `columns`, are the same row, or no different in what is read of them.
pub(crate) fn decides(keys: &[Expr], columns: &[usize], unique: &[Vec<usize>], read: Option<&[Expr]>) -> bool {
    let is_key = |e: &Expr| keys.contains(e) || e.as_column().is_some_and(|c| columns.contains(&c));
    let constant = |e: &Expr| matches!(plain(e).kind, ExprKind::Const(_));
    unique.iter().any(|key| key.iter().all(|c| columns.contains(c)))
        || read.is_some_and(|read| read.iter().all(|e| constant(e) || is_key(e)))
}

fn plain(expr: &Expr) -> &Expr {
    match &expr.kind {
        ExprKind::Relabel(arg) | ExprKind::Collate { arg, .. } | ExprKind::Cast(arg) => plain(arg),
        _ => expr,
    }
}
