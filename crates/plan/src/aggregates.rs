//! Aggregate calls: which are kept natively, and each as PostgreSQL computes it.
//!
//! Of a query level's aggregates either all are native, or PostgreSQL computes all of them: what is not native needs all rows of
//! a group that is touched, and the native ones cost nothing beside.

use types::{Oid, PgType, oid};

use crate::PlanError;
use crate::built::{Built, BuiltColumn};
use crate::calls::{self, Converting};
use crate::convert::convert;
use crate::deparse::pg_expr;
use crate::expr::{Expr, ExprKind, Template};
use crate::query::Planner;
use crate::reader::{Node, Tree};
use crate::represented::Represented;
use crate::scope::Level;
use crate::text_forms;
use crate::tree::{Aggregate, AggregateFunc, Rel};
use crate::volatility;

/// An aggregate of a query level, before its arguments are columns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AggCall {
    native: Option<Native>,
    /// The call without FILTER, for PostgreSQL.
    call: Template,
    /// Only rows where it is true count.
    filter: Option<Expr>,
    order: Order,
    pub(crate) ty: PgType,
    pub(crate) declared: Oid,
}

/// One that may be kept natively, if the argument's type allows.
#[derive(Debug, Clone, PartialEq)]
struct Native {
    func: AggregateFunc,
    distinct: bool,
}

/// What an aggregate makes of the order of its rows.
#[derive(Debug, Clone, PartialEq)]
enum Order {
    /// It gives the same in any.
    Free,
    /// It is a user's, of that name, and does not say.
    Unknown(String),
    /// Of that name, ordered by the keys; it reads the arguments.
    By { name: String, keys: Vec<Expr>, args: Vec<Expr> },
}

/// Built-in aggregates whose result shows the order of the rows.
const ORDERED: &[&str] = &[
    "array_agg",
    "string_agg",
    "json_agg",
    "json_agg_strict",
    "jsonb_agg",
    "jsonb_agg_strict",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "json_object_agg_unique_strict",
    "jsonb_object_agg",
    "jsonb_object_agg_strict",
    "xmlagg",
    "any_value",
];

/// Whether an aggregate's result can show the order of its rows: `None` when it is a user's and nobody knows.
pub(crate) fn shows_order(info: &crate::catalog::FunctionInfo) -> Option<bool> {
    (info.schema == "pg_catalog").then(|| ORDERED.contains(&info.name.as_str()))
}

/// An item of an aggregate's list of arguments.
struct Arg {
    expr: Expr,
    /// As SQL has it.
    written: Expr,
    reference: i64,
    /// ORDER BY reads it, the aggregate does not.
    junk: bool,
}

impl AggCall {
    /// `count(*)`.
    pub(crate) fn of_rows() -> Self {
        let native = Some(Native { func: AggregateFunc::CountStar, distinct: false });
        let call = Template::new("pg_catalog.count(*)");
        let (order, ty) = (Order::Free, PgType::plain(oid::INT8));
        Self { native, call, filter: None, order, ty, declared: oid::INT8 }
    }

    /// `array_agg` of an element, ordered by the keys.
    pub(crate) fn of_array(call: Template, keys: Vec<Expr>, element: Expr, (ty, declared): (PgType, Oid)) -> Self {
        let order = match keys.is_empty() {
            true => Order::Free,
            false => Order::By { name: "ARRAY".into(), keys, args: vec![element] },
        };
        Self { native: None, call, filter: None, order, ty, declared }
    }

    /// The arguments and the filter.
    pub(crate) fn exprs(&self) -> impl Iterator<Item = &Expr> {
        self.call.args.iter().chain(&self.filter)
    }

    /// The same, to change.
    pub(crate) fn exprs_mut(&mut self) -> impl Iterator<Item = &mut Expr> {
        self.call.args.iter_mut().chain(&mut self.filter)
    }

    /// Whether it counts: 0 over no rows, never NULL.
    pub(crate) fn counts(&self) -> bool {
        let counts = |n: &Native| matches!(n.func, AggregateFunc::CountStar | AggregateFunc::Count);
        self.native.as_ref().is_some_and(counts)
    }

    /// Whether it is one of those that are kept natively, if of another type.
    pub(crate) fn may_be_native(&self) -> bool {
        self.native.is_some()
    }

    /// The argument of a native one; `None` of `count(*)`.
    fn arg(&self) -> Option<&Expr> {
        self.call.args.first()
    }

    /// Takes only rows where the condition is true.
    pub(crate) fn only_where(&mut self, condition: &Expr) {
        let filters = std::iter::once(condition.clone()).chain(self.filter.take()).collect();
        self.filter = Some(Expr::and(filters));
    }

    /// The whole call, for PostgreSQL.
    fn sql(&self) -> Expr {
        let mut template = self.call.clone();
        if let Some(filter) = &self.filter {
            template.text(" FILTER (WHERE ");
            template.arg(filter.clone());
            template.text(")");
        }
        Expr { kind: ExprKind::Template(template), ty: self.ty, declared: self.declared }
    }

    /// Reads an AGGREF node.
    pub(crate) fn read(node: &Node, level: &mut Level<'_>) -> Result<Self, PlanError> {
        let catalog = level.catalog();
        let id = node.oid("aggfnoid")?;
        let info = catalog.functions.get(&id).ok_or_else(|| node.odd("aggfnoid"))?;
        volatility::check(catalog, id)?;
        let mut expr = |tree: &Tree| convert(tree, level, catalog);
        let (call, args, keys) = written(node, info, catalog, &mut expr)?;
        let filter = if node.has("aggfilter") { Some(expr(node.get("aggfilter"))?) } else { None };
        let declared = node.oid("aggtype")?;
        let ty = catalog.ty(declared, -1, node.oid("aggcollid")?);
        let distinct = node.has("aggdistinct");
        let shown: Vec<Expr> = args.iter().filter(|a| !a.junk).map(|a| a.expr.clone()).collect();
        text_forms::check_shown(catalog, id, &shown)?;
        let native = native(node, &info.schema, &info.name, &shown, distinct);
        let name = info.name.clone();
        let order = match shows_order(info) {
            _ if node.text("aggkind") != "n" => Order::Free,
            Some(false) => Order::Free,
            // DISTINCT sorts.
            _ if distinct && keys.is_empty() => Order::Free,
            Some(true) if keys.is_empty() && name == "any_value" => {
                return Err(PlanError::refused(
                    "any_value()",
                    "the answer is not determined by the rows",
                    "use min() or max()",
                ));
            }
            Some(true) if keys.is_empty() => {
                return Err(PlanError::refused(
                    format!("{name}() without ORDER BY"),
                    "the answer is not determined by the rows",
                    format!("write ORDER BY in it: {name}(… ORDER BY …)"),
                ));
            }
            None if keys.is_empty() => Order::Unknown(name),
            _ => Order::By { name, keys, args: shown },
        };
        Ok(Self { native, call, filter, order, ty, declared })
    }
}

/// The call without FILTER, its arguments, and what it is ordered by.
fn written(
    node: &Node,
    info: &crate::catalog::FunctionInfo,
    catalog: &crate::catalog::Catalog,
    convert: &mut Converting<'_>,
) -> Result<(Template, Vec<Arg>, Vec<Expr>), PlanError> {
    let direct = calls::list(node.get("aggdirectargs"), convert)?;
    if direct.iter().any(|e| !e.columns().is_empty() || e.has_outer() || e.has_sub()) {
        let what = format!("{}() WITHIN GROUP of what is not constant", info.name);
        return Err(PlanError::not_yet(what, "write each fraction as a constant, in a call of its own"));
    }
    let mut args: Vec<Arg> = Vec::new();
    for entry in node.nodes("args") {
        let expr = convert(entry.get("expr"))?;
        let junk = entry.flag("resjunk");
        let declared = if junk { None } else { info.args.get(direct.len() + args.len()) };
        let written = calls::argument(&expr, declared, catalog);
        args.push(Arg { expr, written, reference: entry.number("ressortgroupref")?, junk });
    }
    let find = |reference: i64| args.iter().find(|a| a.reference == reference).map(|a| a.written.clone());
    let order = node.nodes("aggorder");
    let mut template = calls::begin(info);
    if node.text("aggkind") == "n" {
        if node.has("aggdistinct") {
            template.text("DISTINCT ");
        }
        if node.flag("aggstar") {
            template.text("*");
        }
        let count = args.iter().filter(|a| !a.junk).count();
        for (i, arg) in args.iter().filter(|a| !a.junk).enumerate() {
            if i > 0 {
                template.text(", ");
            }
            if node.flag("aggvariadic") && i + 1 == count {
                template.text("VARIADIC ");
            }
            template.arg(arg.written.clone());
        }
        if !order.is_empty() {
            template.text(" ORDER BY ");
            calls::sort_keys(&mut template, &order, catalog, &find)?;
        }
    } else {
        template.list(direct);
        template.text(") WITHIN GROUP (ORDER BY ");
        calls::sort_keys(&mut template, &order, catalog, &find)?;
    }
    template.text(")");
    let reference = |clause: &&Node| clause.number("tleSortGroupRef").ok();
    let keys = order.iter().filter_map(reference);
    let keys = keys.filter_map(|r| args.iter().find(|a| a.reference == r)).map(|a| a.expr.clone()).collect();
    Ok((template, args, keys))
}

/// As it can be kept natively, if the argument's type allows.
fn native(node: &Node, schema: &str, name: &str, args: &[Expr], distinct: bool) -> Option<Native> {
    use AggregateFunc::{BitAnd, BitOr, BoolAnd, BoolOr, Max, Min};
    let func = match name {
        _ if schema != "pg_catalog" => return None,
        "count" if node.flag("aggstar") => AggregateFunc::CountStar,
        "count" => AggregateFunc::Count,
        "sum" => AggregateFunc::Sum,
        "avg" => AggregateFunc::Avg,
        "min" => Min,
        "max" => Max,
        "bool_and" | "every" => BoolAnd,
        "bool_or" => BoolOr,
        "var_pop" => AggregateFunc::VarPop,
        "var_samp" | "variance" => AggregateFunc::VarSamp,
        "stddev_pop" => AggregateFunc::StddevPop,
        "stddev_samp" | "stddev" => AggregateFunc::StddevSamp,
        "bit_and" => BitAnd,
        "bit_or" => BitOr,
        "bit_xor" => AggregateFunc::BitXor,
        _ => return None,
    };
    if args.len() > 1 {
        return None;
    }
    // DISTINCT changes nothing for these.
    let distinct = distinct && !matches!(func, Min | Max | BoolAnd | BoolOr | BitAnd | BitOr);
    Some(Native { func, distinct })
}

impl Planner<'_> {
    /// Warns of aggregates over these rows whose order leaves open what they give.
    pub(crate) fn note_orders(&mut self, built: &Built, calls: &[AggCall]) {
        for call in calls {
            match &call.order {
                Order::Free => {}
                Order::Unknown(name) => self.warnings.push(format!(
                    "{name}() is taken to give the same in whatever order it gets its rows; write ORDER BY in it if it does not"
                )),
                Order::By { name, keys, args } => {
                    let columns: Vec<_> = keys.iter().filter_map(|k| self.key_column(k, &built.columns)).collect();
                    if !calls::decides(keys, &columns, &built.keys, Some(args)) {
                        self.warnings.push(format!(
                            "{name}() gets its rows by an order that leaves open which of equal ones is first; they are taken in \
                             a fixed order, which need not be the one of another run of the query; add a unique column to ORDER BY"
                        ));
                    }
                }
            }
        }
    }

    /// The groups' columns, then the aggregates.
    pub(crate) fn aggregate(&self, built: Built, groups: &[Expr], calls: &[AggCall]) -> Result<Built, PlanError> {
        let Represented { built, by, own } = self.represented(built, groups, "GROUP BY")?;
        let not_null = |expr: &Expr| expr.as_column().is_some_and(|c| built.columns[c].not_null);
        let column = |by: &Expr| BuiltColumn { ty: by.ty, declared: by.declared, not_null: not_null(by) };
        let mut columns: Vec<BuiltColumn> = by.iter().map(column).collect();
        for call in calls {
            columns.push(BuiltColumn { ty: call.ty, declared: call.declared, not_null: call.counts() });
        }
        columns.extend(own.iter().map(|(_, text)| BuiltColumn {
            ty: text.ty,
            declared: text.declared,
            not_null: false,
        }));
        let texts: Vec<Expr> = own.iter().map(|(_, text)| text.clone()).collect();
        let natives: Option<Vec<(&AggCall, &Native)>> =
            calls.iter().map(|c| c.native.as_ref().filter(|n| self.supported(n, c.arg())).map(|n| (c, n))).collect();
        let rel = match natives {
            Some(natives) => self.native_aggregate(built, &by, &natives, &texts)?,
            None => self.pg_aggregate(built, &by, calls, &texts)?,
        };
        self.with_own(Built { rel, columns, keys: vec![(0..groups.len()).collect()] }, groups, &own)
    }

    /// Behind the calls, the first by bytes of each of the `texts`.
    fn native_aggregate(
        &self,
        built: Built,
        groups: &[Expr],
        calls: &[(&AggCall, &Native)],
        texts: &[Expr],
    ) -> Result<Rel, PlanError> {
        let mut inputs: Vec<Expr> = groups.to_vec();
        let mut column_of = |expr: &Expr| match inputs.iter().position(|e| e == expr) {
            Some(at) => at,
            None => {
                inputs.push(expr.clone());
                inputs.len() - 1
            }
        };
        let mut aggregates = Vec::new();
        for (call, native) in calls {
            let arg = self.guarded(call.filter.as_ref(), call.arg())?;
            aggregates.push(Aggregate {
                func: native.func,
                arg: arg.as_ref().map(&mut column_of),
                arg_type: arg.as_ref().map(|a| a.ty),
                filter: call.filter.as_ref().map(&mut column_of),
                distinct: native.distinct,
                ty: call.ty,
            });
        }
        aggregates.extend(texts.iter().map(|text| Aggregate::first_text(column_of(text))));
        let projected = self.project(built, &inputs)?;
        let keys: Vec<usize> = (0..groups.len()).collect();
        let key_types = groups.iter().map(|g| g.ty).collect();
        Ok(Rel::Aggregate { input: Box::new(projected.rel), keys, key_types, aggregates })
    }

    fn pg_aggregate(&self, built: Built, groups: &[Expr], calls: &[AggCall], texts: &[Expr]) -> Result<Rel, PlanError> {
        let width = built.columns.len();
        let mut computed: Vec<Expr> = Vec::new();
        let place = |group: &Expr| {
            group.as_column().unwrap_or_else(|| {
                computed.push(group.clone());
                width + computed.len() - 1
            })
        };
        let keys = groups.iter().map(place).collect();
        let key_types = groups.iter().map(|g| g.ty).collect();
        let built = self.extend(built, &computed)?;
        let first = |text: &Expr| {
            let mut template = Template::new("pg_catalog.min(");
            template.arg(text.clone());
            template.text(" COLLATE pg_catalog.\"C\")");
            Expr { kind: ExprKind::Template(template), ..text.clone() }
        };
        let all = calls.iter().map(AggCall::sql).chain(texts.iter().map(first));
        let aggregates = all.map(|e| pg_expr(&e, self.catalog)).collect::<Result<_, _>>()?;
        Ok(Rel::PgAggregate { input: Box::new(built.rel), keys, key_types, aggregates })
    }

    /// The argument, which is not evaluated over rows that FILTER leaves out, where it could raise an error.
    fn guarded(&self, filter: Option<&Expr>, arg: Option<&Expr>) -> Result<Option<Expr>, PlanError> {
        let (Some(filter), Some(arg)) = (filter, arg) else { return Ok(arg.cloned()) };
        if self.raises_no_error(arg) {
            return Ok(Some(arg.clone()));
        }
        let nothing = crate::constant::null(arg.ty, arg.declared, self.catalog.type_sql(arg.declared)?);
        let branches = vec![(filter.clone(), arg.clone())];
        let (ty, declared) = (arg.ty, arg.declared);
        Ok(Some(Expr { kind: ExprKind::Case { branches, otherwise: Box::new(nothing) }, ty, declared }))
    }

    /// Whether the argument's type allows to keep it natively.
    fn supported(&self, call: &Native, arg: Option<&Expr>) -> bool {
        let Some(arg) = arg else { return true };
        let support = scalar::key_support(arg.ty, self.env);
        let numbers = [oid::INT2, oid::INT4, oid::INT8, oid::NUMERIC, oid::FLOAT4, oid::FLOAT8, oid::INTERVAL];
        let integers = [oid::INT2, oid::INT4, oid::INT8];
        match call.func {
            AggregateFunc::BitAnd | AggregateFunc::BitOr | AggregateFunc::BitXor if !integers.contains(&arg.ty.oid) => {
                false
            }
            // Of floats, PostgreSQL's result depends on the order of the rows: it computes them again.
            AggregateFunc::VarPop | AggregateFunc::VarSamp | AggregateFunc::StddevPop | AggregateFunc::StddevSamp
                if arg.ty.oid != oid::NUMERIC && !integers.contains(&arg.ty.oid) =>
            {
                false
            }
            AggregateFunc::Sum | AggregateFunc::Avg if !numbers.contains(&arg.ty.oid) => false,
            AggregateFunc::Min | AggregateFunc::Max if !support.order => false,
            _ => !call.distinct || support.equality,
        }
    }
}
