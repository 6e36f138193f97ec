//! Expressions: from PostgreSQL's node tree to [`Expr`].

use types::{PgType, quote_ident};

use crate::PlanError;
use crate::catalog::Catalog;
use crate::constant::constant;
use crate::expr::{Expr, ExprKind, Template};
use crate::moments;
use crate::reader::{Node, Tree};
use crate::text_forms;
use crate::volatility;

/// A PARAM that is a column of the subquery that ANY or ALL compares with, in PostgreSQL's numbers.
const SUBLINK_PARAM: i64 = 2;

/// Where a query level's columns and aggregates are.
pub(crate) trait Scope {
    /// The expression that `varno`, `varattno` of this level stands for.
    fn column(&mut self, varno: usize, attribute: i64, node: &Node) -> Result<Expr, PlanError>;
    /// The aggregate as [`ExprKind::Agg`]; an error where none may stand.
    fn aggregate(&mut self, node: &Node) -> Result<Expr, PlanError>;
    /// `GROUPING(…)`; an error where none may stand.
    fn grouping(&mut self, node: &Node) -> Result<Expr, PlanError> {
        Err(node.odd("place"))
    }
    /// What a variable of a query around this one stands for.
    fn outer(&mut self, node: &Node) -> Result<Expr, PlanError> {
        let _ = node;
        Err(PlanError::not_yet("a column of the query around in such a place", "write it as a join"))
    }
    /// A SUBLINK node as [`ExprKind::Sub`], with what ANY or ALL compares.
    fn sublink(&mut self, node: &Node, test: Option<Expr>) -> Result<ExprKind, PlanError> {
        let _ = (node, test);
        Err(PlanError::not_yet("a subquery in such a place", "write it as a join"))
    }
}

/// Names within an expression that may read no column.
pub(crate) struct Constants;

impl Scope for Constants {
    fn column(&mut self, _: usize, _: i64, node: &Node) -> Result<Expr, PlanError> {
        Err(node.odd("place"))
    }
    fn aggregate(&mut self, node: &Node) -> Result<Expr, PlanError> {
        Err(node.odd("place"))
    }
}

/// Converts an expression of the level that `scope` describes.
pub(crate) fn convert(tree: &Tree, scope: &mut dyn Scope, catalog: &Catalog) -> Result<Expr, PlanError> {
    let node = tree.node().ok_or_else(|| PlanError::Tree("an expression is missing".into()))?;
    Converter { scope, catalog, case_arg: None }.expr(node)
}

struct Converter<'a> {
    scope: &'a mut dyn Scope,
    catalog: &'a Catalog,
    /// What CASE … WHEN value compares.
    case_arg: Option<Expr>,
}

impl Converter<'_> {
    fn typed(&self, kind: ExprKind, node: &Node, ty: &str, typmod: &str, collation: &str) -> Result<Expr, PlanError> {
        let declared = node.oid(ty)?;
        let typmod = if typmod.is_empty() { -1 } else { i32::try_from(node.number(typmod)?).unwrap_or(-1) };
        let collation = if collation.is_empty() { 0 } else { node.oid(collation)? };
        Ok(Expr { kind, ty: self.catalog.ty(declared, typmod, collation), declared })
    }

    fn boolean(kind: ExprKind) -> Expr {
        Expr { kind, ty: PgType::plain(types::oid::BOOL), declared: types::oid::BOOL }
    }

    fn list(&mut self, node: &Node, field: &str) -> Result<Vec<Expr>, PlanError> {
        node.nodes(field).into_iter().map(|n| self.expr(n)).collect()
    }

    fn child(&mut self, node: &Node, field: &str) -> Result<Box<Expr>, PlanError> {
        self.expr(node.node(field)?).map(Box::new)
    }

    fn pair(&mut self, node: &Node) -> Result<(Box<Expr>, Box<Expr>), PlanError> {
        let mut args = self.list(node, "args")?.into_iter();
        match (args.next(), args.next(), args.next()) {
            (Some(a), Some(b), None) => Ok((Box::new(a), Box::new(b))),
            _ => Err(node.odd("args")),
        }
    }

    #[allow(clippy::too_many_lines, reason = "one arm a kind of node")]
    fn expr(&mut self, node: &Node) -> Result<Expr, PlanError> {
        match node.kind.as_str() {
            "VAR" => {
                if node.number("varlevelsup")? != 0 {
                    return self.scope.outer(node);
                }
                self.scope.column(node.index("varno")?, node.number("varattno")?, node)
            }
            "CONST" => constant(node, self.catalog),
            "FUNCEXPR" => {
                let func = node.oid("funcid")?;
                volatility::check_call(self.catalog, func, &node.nodes("args"))?;
                let args = self.list(node, "args")?;
                text_forms::check_shown(self.catalog, func, &args)?;
                let kind = ExprKind::Call {
                    func,
                    args,
                    collation: node.oid("inputcollid")?,
                    variadic: node.flag("funcvariadic"),
                };
                self.typed(kind, node, "funcresulttype", "", "funccollid")
            }
            "OPEXPR" => {
                let func = node.oid("opfuncid")?;
                volatility::check(self.catalog, func)?;
                let args = self.list(node, "args")?;
                text_forms::check_shown(self.catalog, func, &args)?;
                // An operator has its function's arguments as they are declared.
                let variadic = self.catalog.functions.get(&func).is_some_and(|info| info.is_variadic);
                let kind = ExprKind::Call { func, args, collation: node.oid("inputcollid")?, variadic };
                self.typed(kind, node, "opresulttype", "", "opcollid")
            }
            "DISTINCTEXPR" => {
                let (left, right) = self.pair(node)?;
                let (equal, collation) = (node.oid("opfuncid")?, node.oid("inputcollid")?);
                Ok(Self::boolean(ExprKind::Distinct { equal, collation, left, right }))
            }
            "NULLIFEXPR" => {
                let (left, right) = self.pair(node)?;
                let (equal, collation) = (node.oid("opfuncid")?, node.oid("inputcollid")?);
                let (ty, declared) = (left.ty, left.declared);
                Ok(Expr { kind: ExprKind::NullIf { equal, collation, left, right }, ty, declared })
            }
            "SCALARARRAYOPEXPR" => {
                let func = node.oid("opfuncid")?;
                volatility::check(self.catalog, func)?;
                let (left, array) = self.pair(node)?;
                Ok(Self::boolean(ExprKind::Any {
                    operator: node.oid("opno")?,
                    func,
                    collation: node.oid("inputcollid")?,
                    all: !node.flag("useOr"),
                    left,
                    array,
                }))
            }
            "BOOLEXPR" => {
                let mut args = self.list(node, "args")?;
                let kind = match node.text("boolop") {
                    "and" => ExprKind::And(args),
                    "or" => ExprKind::Or(args),
                    "not" if args.len() == 1 => ExprKind::Not(Box::new(args.remove(0))),
                    _ => return Err(node.odd("boolop")),
                };
                Ok(Self::boolean(kind))
            }
            "NULLTEST" => {
                let arg = self.child(node, "arg")?;
                let row = node.flag("argisrow");
                Ok(Self::boolean(ExprKind::IsNull { arg, not: node.number("nulltesttype")? == 1, row }))
            }
            "BOOLEANTEST" => {
                let arg = self.child(node, "arg")?;
                let (want, negated) = match node.number("booltesttype")? {
                    0 => (Some(true), false),
                    1 => (Some(true), true),
                    2 => (Some(false), false),
                    3 => (Some(false), true),
                    4 => (None, false),
                    _ => (None, true),
                };
                Ok(Self::boolean(ExprKind::BoolTest { arg, want, negated }))
            }
            "CASEEXPR" | "CASE" => self.case(node),
            "CASETESTEXPR" => self.case_arg.clone().ok_or_else(|| node.odd("place")),
            "COALESCEEXPR" | "COALESCE" => {
                let kind = ExprKind::Coalesce(self.list(node, "args")?);
                self.typed(kind, node, "coalescetype", "", "coalescecollid")
            }
            "MINMAXEXPR" | "MINMAX" => {
                let kind = ExprKind::Extreme {
                    args: self.list(node, "args")?,
                    greatest: node.number("op")? == 0,
                    collation: node.oid("inputcollid")?,
                };
                self.typed(kind, node, "minmaxtype", "", "minmaxcollid")
            }
            "RELABELTYPE" => {
                let kind = ExprKind::Relabel(self.child(node, "arg")?);
                self.typed(kind, node, "resulttype", "resulttypmod", "resultcollid")
            }
            "COERCEVIAIO" => {
                let arg = self.child(node, "arg")?;
                let to = node.oid("resulttype")?;
                text_forms::check(self.catalog, arg.declared)?;
                text_forms::check(self.catalog, to)?;
                moments::check_reading(to)?;
                let kind = ExprKind::ViaText(arg);
                self.typed(kind, node, "resulttype", "", "resultcollid")
            }
            "ARRAYCOERCEEXPR" => {
                let arg = self.child(node, "arg")?;
                volatility::check_elements(self.catalog, node.get("elemexpr"))?;
                if node.node("elemexpr")?.kind == "COERCEVIAIO" {
                    let to = node.oid("resulttype")?;
                    text_forms::check(self.catalog, arg.declared)?;
                    text_forms::check(self.catalog, to)?;
                    moments::check_reading(to)?;
                }
                let kind = ExprKind::Cast(arg);
                self.typed(kind, node, "resulttype", "resulttypmod", "resultcollid")
            }
            "CONVERTROWTYPEEXPR" => {
                let kind = ExprKind::Cast(self.child(node, "arg")?);
                self.typed(kind, node, "resulttype", "", "")
            }
            "COERCETODOMAIN" => {
                let kind = ExprKind::Cast(self.child(node, "arg")?);
                self.typed(kind, node, "resulttype", "resulttypmod", "resultcollid")
            }
            "COLLATEEXPR" | "COLLATE" => {
                let arg = self.child(node, "arg")?;
                let collation = node.oid("collOid")?;
                let ty = PgType { collation, ..arg.ty };
                let declared = arg.declared;
                Ok(Expr { kind: ExprKind::Collate { arg, collation }, ty, declared })
            }
            "ARRAYEXPR" | "ARRAY" => {
                let kind = ExprKind::Array(self.list(node, "elements")?);
                self.typed(kind, node, "array_typeid", "", "array_collid")
            }
            "ROWEXPR" | "ROW" => {
                let args = self.list(node, "args")?;
                let names = node.get("colnames").texts();
                let plain = names.iter().enumerate().all(|(at, name)| *name == format!("f{}", at + 1));
                // The columns that a join has by USING.
                let plain = plain || names.len() != args.len() || node.oid("row_typeid")? != types::oid::RECORD;
                let names = if plain { Vec::new() } else { names.into_iter().map(str::to_owned).collect() };
                self.typed(ExprKind::Row { columns: args, names }, node, "row_typeid", "", "")
            }
            "NAMEDARGEXPR" => {
                let arg = self.child(node, "arg")?;
                let (ty, declared) = (arg.ty, arg.declared);
                let (name, number) = (node.text("name").to_owned(), node.index("argnumber")?);
                Ok(Expr { kind: ExprKind::Named { name, number, arg }, ty, declared })
            }
            "SUBSCRIPTINGREF" if !node.has("refassgnexpr") => {
                let kind = self.subscript(node)?;
                self.typed(kind, node, "refrestype", "reftypmod", "refcollid")
            }
            "FIELDSELECT" => {
                let kind = self.field(node)?;
                self.typed(kind, node, "resulttype", "resulttypmod", "resultcollid")
            }
            "ROWCOMPAREEXPR" => self.row_comparison(node),
            "AGGREF" => self.scope.aggregate(node),
            "SQLVALUEFUNCTION" => Err(volatility::sql_value(node.number("op")?)),
            "SUBLINK" => {
                let test = if node.has("testexpr") { Some(*self.child(node, "testexpr")?) } else { None };
                let kind = self.scope.sublink(node, test)?;
                let (declared, typmod, collation) = crate::node_type::of_sublink(node, self.catalog)?;
                Ok(Expr { kind, ty: self.catalog.ty(declared, typmod, collation), declared })
            }
            "PARAM" if node.number("paramkind")? == SUBLINK_PARAM => {
                let at = node.index("paramid")?.checked_sub(1).ok_or_else(|| node.odd("paramid"))?;
                self.typed(ExprKind::Param(at), node, "paramtype", "paramtypmod", "paramcollid")
            }
            "WINDOWFUNC" => crate::window::call(node, self.catalog, &mut |tree| match tree.node() {
                Some(node) => self.expr(node),
                None => Err(node.odd("arguments")),
            }),
            "XMLEXPR" => crate::xml::expression(node, &mut |node| {
                let shown = self.expr(node)?;
                text_forms::check_value(self.catalog, &shown).map(|()| shown)
            }),
            "GROUPINGFUNC" => self.scope.grouping(node),
            "PARAM" => {
                Err(PlanError::refused("a parameter", "a stream table has none", "write the value into the query"))
            }
            other => Err(PlanError::not_yet(
                format!("an expression of kind {other}"),
                "compute it in a function of your own that is immutable",
            )),
        }
    }

    /// `array[1]`, `array[1:2]`, `document['key']`; the bounds of a slice may be missing.
    fn subscript(&mut self, node: &Node) -> Result<ExprKind, PlanError> {
        let mut template = Template::new("(");
        template.arg(*self.child(node, "refexpr")?);
        template.text(")");
        let (lower, upper) = (node.optional_nodes("reflowerindexpr"), node.optional_nodes("refupperindexpr"));
        for (i, upper) in upper.iter().enumerate() {
            template.text("[");
            if let Some(lower) = lower.get(i) {
                if let Some(lower) = lower {
                    template.arg(self.expr(lower)?);
                }
                template.text(":");
            }
            if let Some(upper) = upper {
                template.arg(self.expr(upper)?);
            }
            template.text("]");
        }
        Ok(ExprKind::Template(template))
    }

    /// A field of a composite value.
    fn field(&mut self, node: &Node) -> Result<ExprKind, PlanError> {
        let arg = *self.child(node, "arg")?;
        let number = node.number("fieldnum")?;
        let declared = node.oid("resulttype")?;
        if let Some(column) = self.column_of(&arg, number)?.filter(|column| column.declared == declared) {
            return Ok(column.kind);
        }
        let name = self.catalog.fields.get(&(arg.ty.oid, number)).or_else(|| self.out_argument(&arg, number));
        let name = name
            .ok_or_else(|| PlanError::not_yet("a field of a record without a type", "cast it to a composite type"))?;
        let mut template = Template::new("(");
        template.arg(arg);
        template.text(&format!(").{}", quote_ident(name)));
        Ok(ExprKind::Template(template))
    }

    /// The column of a row that is made of columns, or that is where there is one.
    fn column_of(&self, row: &Expr, number: i64) -> Result<Option<Expr>, PlanError> {
        match &row.kind {
            ExprKind::Row { columns, .. } => {
                Ok(usize::try_from(number - 1).ok().and_then(|at| columns.get(at)).cloned())
            }
            ExprKind::Case { branches, otherwise } if matches!(&otherwise.kind, ExprKind::Const(c) if c.value.is_none()) =>
            {
                let [(condition, row)] = &branches[..] else { return Ok(None) };
                let Some(column) = self.column_of(row, number)? else { return Ok(None) };
                let sql = self.catalog.type_sql(column.declared)?;
                let nothing = crate::constant::null(column.ty, column.declared, sql);
                Ok(Some(crate::expr::case(vec![(condition.clone(), column)], nothing)))
            }
            _ => Ok(None),
        }
    }

    /// The name of a function's OUT argument, of one that gives records.
    fn out_argument(&self, arg: &Expr, number: i64) -> Option<&String> {
        let ExprKind::Call { func, .. } = &arg.kind else { return None };
        let outs = &self.catalog.functions.get(func)?.outs;
        outs.get(usize::try_from(number).ok()?.checked_sub(1)?).map(|o| &o.0)
    }

    /// `(a, b) < (c, d)`; equality of rows comes as one of their columns each.
    fn row_comparison(&mut self, node: &Node) -> Result<Expr, PlanError> {
        let operator = node.oids("opnos").first().and_then(|o| self.catalog.operators.get(o));
        let operator = operator.ok_or_else(|| node.odd("opnos"))?.sql();
        let mut template = Template::new("ROW(");
        template.list(self.list(node, "largs")?);
        template.text(&format!(") {operator} ROW("));
        template.list(self.list(node, "rargs")?);
        template.text(")");
        Ok(Self::boolean(ExprKind::Template(template)))
    }

    fn case(&mut self, node: &Node) -> Result<Expr, PlanError> {
        let outer = self.case_arg.take();
        if node.has("arg") {
            self.case_arg = Some(*self.child(node, "arg")?);
        }
        let mut branches = Vec::new();
        for when in node.nodes("args") {
            branches.push((*self.child(when, "expr")?, *self.child(when, "result")?));
        }
        let mut null = self.typed(ExprKind::Coalesce(Vec::new()), node, "casetype", "", "casecollid")?;
        let otherwise = if node.has("defresult") {
            self.child(node, "defresult")?
        } else {
            Box::new(crate::constant::null(null.ty, null.declared, self.catalog.type_sql(null.declared)?))
        };
        self.case_arg = outer;
        null.kind = ExprKind::Case { branches, otherwise };
        Ok(null)
    }
}
