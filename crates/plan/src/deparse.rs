//! Ring 2: an expression as SQL over `$1`, `$2`, …, with nothing left to name resolution.

use types::{Oid, PgType, oid, quote_ident};

use crate::PlanError;
use crate::catalog::Catalog;
use crate::expr::{Expr, ExprKind, Template};
use crate::moments::{is_of_time, reading};
use crate::told_apart::bytes_of;
use crate::tree::PgExpr;

/// `record[]`, which PostgreSQL does not read back either.
const RECORD_ARRAY: Oid = 2287;

/// The expression for PostgreSQL.
pub(crate) fn pg_expr(expr: &Expr, catalog: &Catalog) -> Result<PgExpr, PlanError> {
    let mut deparser = Deparser { catalog, args: Vec::new(), rows: false };
    let sql = deparser.sql(expr)?;
    let sql_type = catalog.type_sql(expr.declared)?.to_owned();
    let sql = format!("({sql})::{sql_type}");
    let (args, arg_types) = deparser.arguments();
    Ok(PgExpr { sql, args, arg_types, ty: expr.ty, sql_type })
}

/// Columns, and their types as SQL writes them and by identifier.
pub(crate) type Arguments = (Vec<usize>, Vec<(String, PgType)>);

/// An item of FROM, in which set-returning functions may stand.
pub(crate) fn from_item(template: &Template, catalog: &Catalog) -> Result<(String, Arguments), PlanError> {
    let mut deparser = Deparser { catalog, args: Vec::new(), rows: true };
    let sql = deparser.template(template)?;
    Ok((sql, deparser.arguments()))
}

struct Deparser<'a> {
    catalog: &'a Catalog,
    args: Vec<(usize, String, PgType)>,
    /// Set-returning functions may stand in it.
    rows: bool,
}

impl Deparser<'_> {
    fn arguments(self) -> Arguments {
        self.args.into_iter().map(|(c, sql, ty)| (c, (sql, ty))).unzip()
    }

    fn template(&mut self, template: &Template) -> Result<String, PlanError> {
        let mut sql = String::new();
        for (i, part) in template.parts.iter().enumerate() {
            sql.push_str(part);
            if let Some(arg) = template.args.get(i) {
                sql.push_str(&self.sql(arg)?);
            }
        }
        Ok(sql)
    }

    fn list(&mut self, exprs: &[Expr]) -> Result<String, PlanError> {
        Ok(exprs.iter().map(|e| self.sql(e)).collect::<Result<Vec<_>, _>>()?.join(", "))
    }

    fn joined(&mut self, exprs: &[Expr], word: &str) -> Result<String, PlanError> {
        let parts = exprs.iter().map(|e| Ok(format!("({})", self.sql(e)?))).collect::<Result<Vec<_>, PlanError>>()?;
        Ok(parts.join(word))
    }

    /// An argument that must be compared by `collation`.
    fn collated(&mut self, expr: &Expr, collation: Oid) -> Result<String, PlanError> {
        let sql = self.sql(expr)?;
        let plain = collation == 0 || collation == types::collation::DEFAULT || expr.ty.collation == 0;
        match self.catalog.collations.get(&collation) {
            Some(name) if !plain => Ok(format!("({sql} COLLATE {name})")),
            _ => Ok(sql),
        }
    }

    fn sql(&mut self, expr: &Expr) -> Result<String, PlanError> {
        Ok(match &expr.kind {
            ExprKind::Column(_) if matches!(expr.declared, oid::RECORD | RECORD_ARRAY) => {
                return Err(PlanError::not_yet(
                    "a record without a type that PostgreSQL would be given",
                    "name its columns, or cast it to a composite type where it is made; for array_to_json(array_agg(t)) write json_agg(t)",
                ));
            }
            ExprKind::Column(column) => {
                let number = match self.args.iter().position(|a| a.0 == *column) {
                    Some(at) => at + 1,
                    None => {
                        let sql = self.catalog.type_sql(expr.declared)?.to_owned();
                        self.args.push((*column, sql, PgType { oid: expr.declared, ..expr.ty }));
                        self.args.len()
                    }
                };
                format!("${number}")
            }
            // The call writes the name.
            ExprKind::Named { arg, .. } => self.sql(arg)?,
            ExprKind::Agg(_) => return Err(PlanError::Tree("an aggregate within an expression".into())),
            ExprKind::Outer(_) => return Err(crate::outer::reads_outer()),
            ExprKind::Sub { .. } => {
                return Err(PlanError::not_yet(
                    "a subquery in such a place",
                    "write it as a join, or compute it in a subquery in FROM",
                ));
            }
            ExprKind::Same(left, right) => {
                format!("({}) IS NOT DISTINCT FROM ({})", self.collated(left, left.ty.collation)?, self.sql(right)?)
            }
            ExprKind::Param(_) => {
                return Err(PlanError::Tree("a part of a subquery's comparison stands alone".into()));
            }
            ExprKind::Const(constant) => constant.sql.clone(),
            ExprKind::Call { func, args, collation, variadic } => self.call(*func, args, *collation, *variadic)?,
            ExprKind::And(args) => self.joined(args, " AND ")?,
            ExprKind::Or(args) => self.joined(args, " OR ")?,
            ExprKind::Not(arg) => format!("NOT ({})", self.sql(arg)?),
            ExprKind::IsNull { arg, not, .. } => {
                format!("({}) IS {}NULL", self.sql(arg)?, if *not { "NOT " } else { "" })
            }
            ExprKind::BoolTest { arg, want, negated } => {
                let want = match want {
                    Some(true) => "TRUE",
                    Some(false) => "FALSE",
                    None => "UNKNOWN",
                };
                format!("({}) IS {}{want}", self.sql(arg)?, if *negated { "NOT " } else { "" })
            }
            ExprKind::Case { branches, otherwise } => {
                let mut sql = String::from("CASE");
                for (when, then) in branches {
                    sql.push_str(&format!(" WHEN {} THEN {}", self.sql(when)?, self.sql(then)?));
                }
                format!("{sql} ELSE {} END", self.sql(otherwise)?)
            }
            ExprKind::Coalesce(args) => format!("COALESCE({})", self.list(args)?),
            ExprKind::NullIf { collation, left, right, .. } => {
                format!("NULLIF({}, {})", self.collated(left, *collation)?, self.sql(right)?)
            }
            ExprKind::Distinct { collation, left, right, .. } => {
                format!("({}) IS DISTINCT FROM ({})", self.collated(left, *collation)?, self.sql(right)?)
            }
            ExprKind::Extreme { args, greatest, collation } => {
                let mut parts = Vec::new();
                for (i, arg) in args.iter().enumerate() {
                    parts.push(if i == 0 { self.collated(arg, *collation)? } else { self.sql(arg)? });
                }
                format!("{}({})", if *greatest { "GREATEST" } else { "LEAST" }, parts.join(", "))
            }
            ExprKind::Any { operator, collation, all, left, array, .. } => {
                let info = self.catalog.operators.get(operator);
                let info = info.ok_or_else(|| PlanError::Tree(format!("operator {operator} is unknown")))?;
                let operator = info.sql();
                let word = if *all { "ALL" } else { "ANY" };
                format!("({}) {operator} {word} ({})", self.collated(left, *collation)?, self.sql(array)?)
            }
            ExprKind::Cast(arg) => {
                let to = self.catalog.modified_type_sql(expr.declared, expr.ty.typmod)?;
                if is_of_time(expr.ty.oid) && !is_of_time(arg.ty.oid) {
                    return Ok(reading(&self.sql(arg)?, to));
                }
                format!("({})::{to}", self.sql(arg)?)
            }
            _ if bytes_of(expr).is_some() => {
                return Err(PlanError::Tree("bytes of a value are asked for in SQL".into()));
            }
            ExprKind::ViaText(arg) if is_of_time(expr.declared) => {
                let to = self.catalog.type_sql(expr.declared)?;
                format!("({})", reading(&self.sql(arg)?, to))
            }
            ExprKind::Relabel(arg) | ExprKind::ViaText(arg) => {
                format!("({})::{}", self.sql(arg)?, self.catalog.type_sql(expr.declared)?)
            }
            ExprKind::Collate { arg, collation } => {
                let name = self.catalog.collations.get(collation);
                let name = name.ok_or_else(|| PlanError::Tree(format!("collation {collation} is unknown")))?;
                format!("({} COLLATE {name})", self.sql(arg)?)
            }
            ExprKind::Array(elements) => {
                format!("ARRAY[{}]::{}", self.list(elements)?, self.catalog.type_sql(expr.declared)?)
            }
            ExprKind::Row { columns, names } if !names.is_empty() => self.named_row(columns, names)?,
            ExprKind::Row { columns, .. } => {
                let row = format!("ROW({})", self.list(columns)?);
                match self.catalog.types.get(&expr.declared) {
                    Some(info) if !info.is_pseudo => format!("{row}::{}", info.sql),
                    _ => row,
                }
            }
            ExprKind::Template(template) => self.template(template)?,
            ExprKind::Window { .. } => {
                return Err(PlanError::not_yet(
                    "a window function in such a place",
                    "compute it in a subquery in FROM, and use its result",
                ));
            }
        })
    }

    /// A record of which the columns have names, which `row_to_json` and its kin show.
    fn named_row(&mut self, columns: &[Expr], names: &[String]) -> Result<String, PlanError> {
        // The name of the row itself must be none of theirs.
        let mut row = String::from("x");
        while names.contains(&row) {
            row.push('_');
        }
        let column = |(column, name): (&Expr, &String)| Ok(format!("{} AS {}", self.sql(column)?, quote_ident(name)));
        let columns = columns.iter().zip(names).map(column).collect::<Result<Vec<_>, PlanError>>()?;
        Ok(format!("(SELECT {row} FROM (SELECT {}) {row})", columns.join(", ")))
    }

    fn call(&mut self, func: Oid, args: &[Expr], collation: Oid, variadic: bool) -> Result<String, PlanError> {
        let info = self.catalog.functions.get(&func);
        let info = info.ok_or_else(|| PlanError::Tree(format!("function {func} is unknown")))?;
        if info.returns_set && !self.rows {
            let remedy = "put it in FROM, or alone in the SELECT list of a subquery";
            return Err(PlanError::not_yet(format!("the set-returning {}() in such a place", info.name), remedy));
        }
        let (schema, name, declared) = (info.schema.clone(), info.name.clone(), info.args.clone());
        let mut parts = Vec::with_capacity(args.len());
        for (i, arg) in args.iter().enumerate() {
            let collatable = i == 0 || args[..i].iter().all(|a| a.ty.collation == 0);
            let mut sql = if collatable { self.collated(arg, collation)? } else { self.sql(arg)? };
            // The declared argument's type picks this very function among those of its name.
            let number = if let ExprKind::Named { number, .. } = arg.kind { number } else { i };
            if let Some(info) = declared.get(number).and_then(|oid| self.catalog.types.get(oid))
                && !info.is_pseudo
            {
                let collate = sql.rfind(" COLLATE ").filter(|_| sql.ends_with(')')).is_some();
                if !collate {
                    sql = format!("({sql})::{}", info.sql);
                }
            }
            if let ExprKind::Named { name, .. } = &arg.kind {
                sql = format!("{} => {sql}", quote_ident(name));
            }
            if variadic && i + 1 == args.len() {
                sql = format!("VARIADIC {sql}");
            }
            parts.push(sql);
        }
        Ok(format!("{}.{}({})", quote_ident(&schema), quote_ident(&name), parts.join(", ")))
    }
}
