//! Set-returning functions, in SELECT lists and in FROM.

use std::collections::HashMap;

use types::{Oid, PgType, oid, quote_ident};

use crate::PlanError;
use crate::built::{Built, BuiltColumn, Shown};
use crate::catalog::Catalog;
use crate::deparse::from_item;
use crate::expr::{Expr, ExprKind, Template};
use crate::query::Planner;
use crate::reader::{Node, Tree};
use crate::text_forms;
use crate::tree::Rel;
use crate::whole_row::THERE;

/// Functions of FROM in which the arguments are expressions over some rows.
#[derive(Debug)]
pub(crate) struct FromFunctions {
    template: Template,
    columns: Vec<Column>,
    /// Where attributes are among the columns.
    pub(crate) by_attribute: HashMap<i64, usize>,
    /// The column that numbers the rows.
    ordinality: Option<usize>,
}

/// A column of theirs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) declared: Oid,
    pub(crate) typmod: i32,
    pub(crate) collation: Oid,
    pub(crate) not_null: bool,
}

impl FromFunctions {
    /// An item of FROM as it is written, with its columns in order; one of them may number the rows.
    pub(crate) fn new(template: Template, columns: Vec<Column>, ordinality: Option<usize>) -> Self {
        let by_attribute = (0..columns.len()).map(|at| (at as i64 + 1, at)).collect();
        Self { template, columns, by_attribute, ordinality }
    }

    /// What the arguments are.
    pub(crate) fn args(&self) -> &[Expr] {
        &self.template.args
    }

    /// How many columns there are.
    pub(crate) fn width(&self) -> usize {
        self.columns.len()
    }

    /// The columns, when they begin with that one.
    pub(crate) fn shown(&self, first: usize, catalog: &Catalog) -> Vec<Expr> {
        let column = |(at, column): (usize, &Column)| {
            let ty = catalog.ty(column.declared, column.typmod, column.collation);
            Expr::column(first + at, ty, column.declared)
        };
        self.columns.iter().enumerate().map(column).collect()
    }

    /// The same with other arguments.
    pub(crate) fn over(&self, place: impl Fn(&Expr) -> Expr) -> Self {
        let Template { parts, args } = &self.template;
        let template = Template { parts: parts.clone(), args: args.iter().map(place).collect() };
        let (columns, by_attribute) = (self.columns.clone(), self.by_attribute.clone());
        Self { template, columns, by_attribute, ordinality: self.ordinality }
    }
}

/// Whether a target's expression gives rows, of a query that says that some do.
pub(crate) fn gives_rows(target: &Node) -> bool {
    let mut found = false;
    target.get("expr").walk(&mut |node| found |= node.flag("funcretset"));
    found
}

impl<'a> Planner<'a> {
    /// Whether a set-returning function stands in an expression.
    pub(crate) fn returns_rows(&self, expr: &Expr) -> bool {
        let itself = match &expr.kind {
            ExprKind::Call { func, .. } => self.catalog.functions.get(func).is_some_and(|info| info.returns_set),
            _ => false,
        };
        itself || expr.children().into_iter().any(|child| self.returns_rows(child))
    }

    /// Each row once for each that the set-returning expressions give, side by side as PostgreSQL runs them; these are columns then.
    pub(crate) fn expand_rows(&mut self, shown: Shown) -> Result<Shown, PlanError> {
        let Shown { mut built, mut exprs } = shown;
        let giving: Vec<usize> = (0..exprs.len()).filter(|&at| self.returns_rows(&exprs[at])).collect();
        if giving.is_empty() {
            return Ok(Shown { built, exprs });
        }
        let mut template = Template::new("(SELECT ");
        let mut columns = Vec::new();
        for (number, &at) in giving.iter().enumerate() {
            let expr = exprs[at].clone();
            let width = built.columns.len() + number;
            exprs[at] = Expr::column(width, expr.ty, expr.declared);
            let PgType { typmod, collation, .. } = expr.ty;
            columns.push(Column { declared: expr.declared, typmod, collation, not_null: false });
            template.text(if number == 0 { "" } else { ", " });
            template.arg(expr);
            template.text(&format!(" AS c{number}"));
        }
        template.text(") AS f");
        built = self.apply_functions(built, &template, &columns, false)?;
        Ok(Shown { built, exprs })
    }

    /// Each row with the columns of the item of FROM that is computed for it.
    pub(crate) fn with_functions(
        &self,
        built: Built,
        functions: &FromFunctions,
        keep: bool,
    ) -> Result<Built, PlanError> {
        let number = functions.ordinality.map(|at| built.columns.len() + at);
        let numbered =
            built.keys.iter().filter_map(|key| Some(key.iter().copied().chain([number?]).collect())).collect();
        let built = self.apply_functions(built, &functions.template, &functions.columns, keep)?;
        Ok(Built { keys: numbered, ..built })
    }

    fn apply_functions(
        &self,
        mut built: Built,
        template: &Template,
        columns: &[Column],
        keep: bool,
    ) -> Result<Built, PlanError> {
        let (from, (args, arg_types)) = from_item(template, self.catalog)?;
        let mut given = Vec::new();
        for column in columns {
            let ty = self.catalog.ty(column.declared, column.typmod, column.collation);
            let sql = self.catalog.type_sql(column.declared)?.to_owned();
            given.push((sql, ty));
            built.columns.push(BuiltColumn { ty, declared: column.declared, not_null: column.not_null && !keep });
        }
        built.keys = Vec::new();
        built.rel = Rel::PgRows { input: Box::new(built.rel), from, args, arg_types, columns: given, keep };
        Ok(built)
    }

    /// An entry of FROM that is made of functions. With `marked` their rows are numbered, also where nobody asked for it: where there
    /// is no number, there is no row.
    pub(crate) fn functions(
        &self,
        entry: &'a Node,
        marked: bool,
        convert: &mut dyn FnMut(&'a Tree) -> Result<Expr, PlanError>,
    ) -> Result<FromFunctions, PlanError> {
        let mut template = Template::new("ROWS FROM (");
        let mut columns: Vec<Column> = Vec::new();
        let mut by_attribute = HashMap::new();
        let mut attribute = 0;
        for (number, function) in entry.nodes("functions").into_iter().enumerate() {
            let expr = convert(function.get("funcexpr"))?;
            let defined = function.oids("funccoltypes");
            defined.iter().try_for_each(|ty| text_forms::check(self.catalog, *ty))?;
            let own = if defined.is_empty() { self.result_columns(&expr)? } else { self.defined_columns(function) };
            template.text(if number == 0 { "" } else { ", " });
            template.arg(expr);
            if !defined.is_empty() {
                template.text(" AS (");
                let names = function.get("funccolnames").texts();
                for (i, ((_, column), name)) in own.iter().zip(names).enumerate() {
                    let sql = self.catalog.modified_type_sql(column.declared, column.typmod)?;
                    template.text(&format!("{}{} {sql}", if i == 0 { "" } else { ", " }, quote_ident(name)));
                }
                template.text(")");
            }
            let count = function.number("funccolcount")?;
            for (at, column) in own {
                by_attribute.insert(attribute + at, columns.len());
                columns.push(column);
            }
            attribute += count;
        }
        template.text(")");
        let numbered = entry.flag("funcordinality");
        let ordinality = (numbered || marked).then_some(columns.len());
        if ordinality.is_some() {
            template.text(" WITH ORDINALITY");
            by_attribute.extend(numbered.then_some((attribute + 1, columns.len())));
            by_attribute.extend(marked.then_some((THERE, columns.len())));
            columns.push(Column { declared: oid::INT8, typmod: -1, collation: 0, not_null: true });
        }
        let names: Vec<String> = (0..columns.len()).map(|i| format!("c{i}")).collect();
        template.text(&format!(" AS f({})", names.join(", ")));
        Ok(FromFunctions { template, columns, by_attribute, ordinality })
    }

    fn defined_columns(&self, function: &Node) -> Vec<(i64, Column)> {
        let typmods = function.get("funccoltypmods").numbers();
        let collations = function.oids("funccolcollations");
        let column = |(i, declared): (usize, Oid)| {
            let typmod = typmods.get(i).and_then(|t| i32::try_from(*t).ok()).unwrap_or(-1);
            let collation = collations.get(i).copied().unwrap_or_default();
            (i as i64 + 1, Column { declared, typmod, collation, not_null: false })
        };
        function.oids("funccoltypes").into_iter().enumerate().map(column).collect()
    }

    /// The columns of a function's result in FROM, with their numbers.
    fn result_columns(&self, expr: &Expr) -> Result<Vec<(i64, Column)>, PlanError> {
        let plain = |declared: Oid| {
            let collation = self.catalog.types.get(&declared).map_or(0, |info| info.collation);
            Column { declared, typmod: -1, collation, not_null: false }
        };
        let composite = expr.ty.oid;
        let fields = self.catalog.field_types.range((composite, 0)..=(composite, i64::MAX));
        let fields: Vec<(i64, Column)> = fields
            .map(|(&(_, number), &(declared, typmod, collation))| {
                (number, Column { declared, typmod, collation, not_null: false })
            })
            .collect();
        if !fields.is_empty() {
            return Ok(fields);
        }
        if composite != oid::RECORD {
            let PgType { typmod, collation, .. } = expr.ty;
            return Ok(vec![(1, Column { declared: expr.declared, typmod, collation, not_null: false })]);
        }
        let outs = match &expr.kind {
            ExprKind::Call { func, .. } => self.catalog.functions.get(func).map(|info| info.outs.clone()),
            _ => None,
        };
        let outs = outs.unwrap_or_default();
        let pseudo = |o: &Oid| self.catalog.types.get(o).is_none_or(|t| t.is_pseudo);
        if outs.is_empty() || outs.iter().any(|(_, ty)| pseudo(ty)) {
            return Err(PlanError::not_yet(
                "a function in FROM whose columns' types depend on its arguments",
                "name its columns and types: f(…) AS x (a integer, …)",
            ));
        }
        Ok(outs.iter().enumerate().map(|(i, (_, ty))| (i as i64 + 1, plain(*ty))).collect())
    }
}
