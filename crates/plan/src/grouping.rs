//! GROUP BY, aggregates and HAVING.

use std::collections::HashMap;

use types::{Oid, PgType};

use crate::PlanError;
use crate::built::{Built, BuiltColumn, Shown};
use crate::convert::convert;
use crate::expr::{Expr, ExprKind};
use crate::grouping_sets::{self, SET_NUMBER};
use crate::query::Planner;
use crate::reader::Node;
use crate::scope::Level;
use crate::tree::{Aggregate, AggregateFunc, Rel};

/// An aggregate of a query level, before its argument is a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AggCall {
    func: AggregateFunc,
    arg: Option<Expr>,
    filter: Option<Expr>,
    distinct: bool,
    pub(crate) ty: PgType,
    pub(crate) declared: Oid,
}

impl AggCall {
    /// Reads an AGGREF node.
    pub(crate) fn read(node: &Node, level: &mut Level<'_>) -> Result<Self, PlanError> {
        let catalog = level.catalog();
        let oid = node.oid("aggfnoid")?;
        let info = catalog.functions.get(&oid).ok_or_else(|| node.odd("aggfnoid"))?;
        let not_yet = |what: String| PlanError::not_yet(what, "count, sum, avg, min, max, bool_and and bool_or can be");
        if node.number("agglevelsup")? != 0 {
            return Err(not_yet("an aggregate of an outer query".into()));
        }
        let func = match info.name.as_str() {
            _ if info.schema != "pg_catalog" => None,
            "count" if node.flag("aggstar") => Some(AggregateFunc::CountStar),
            "count" => Some(AggregateFunc::Count),
            "sum" => Some(AggregateFunc::Sum),
            "avg" => Some(AggregateFunc::Avg),
            "min" => Some(AggregateFunc::Min),
            "max" => Some(AggregateFunc::Max),
            "bool_and" | "every" => Some(AggregateFunc::BoolAnd),
            "bool_or" => Some(AggregateFunc::BoolOr),
            _ => None,
        };
        let func = func.ok_or_else(|| not_yet(format!("the aggregate {}()", info.name)))?;
        let args = node.nodes("args");
        let mut arg = None;
        for entry in args {
            if entry.flag("resjunk") {
                continue; // only ORDER BY within the aggregate reads it, which changes none of these
            }
            if arg.replace(convert(entry.get("expr"), level, catalog)?).is_some() {
                return Err(not_yet(format!("{}() of several arguments", info.name)));
            }
        }
        let filter = if node.has("aggfilter") { Some(convert(node.get("aggfilter"), level, catalog)?) } else { None };
        let declared = node.oid("aggtype")?;
        let ty = catalog.ty(declared, -1, node.oid("aggcollid")?);
        // DISTINCT changes nothing for these.
        let idempotent =
            matches!(func, AggregateFunc::Min | AggregateFunc::Max | AggregateFunc::BoolAnd | AggregateFunc::BoolOr);
        let distinct = node.has("aggdistinct") && !idempotent;
        Ok(Self { func, arg, filter, distinct, ty, declared })
    }
}

impl<'a> Planner<'a> {
    /// Groups the rows, keeps those groups that HAVING keeps, and computes the target list.
    pub(crate) fn group(
        &mut self,
        query: &'a Node,
        targets: &[&'a Node],
        shown: &[&'a Node],
        mut built: Built,
        mut level: Level<'a>,
    ) -> Result<Shown, PlanError> {
        level.grouping_sets = grouping_sets::sets(query)?;
        if level.grouping_sets.is_some() {
            let names = level.one_column_a_name(built.columns.len());
            built = self.extend(built, &names)?;
        }
        let mut groups = Vec::new();
        let mut places = HashMap::new();
        for clause in query.nodes("groupClause") {
            let reference = clause.number("tleSortGroupRef")?;
            let target = targets.iter().find(|t| t.number("ressortgroupref").is_ok_and(|r| r == reference));
            let target = target.ok_or_else(|| clause.odd("tleSortGroupRef"))?;
            let expr = convert(target.get("expr"), &mut level, self.catalog)?;
            let place = groups.iter().position(|g| *g == expr).unwrap_or_else(|| {
                groups.push(expr);
                groups.len() - 1
            });
            places.insert(reference, place);
        }
        level.aggregates = Some(Vec::new());
        let mut wanted = Vec::new();
        for target in shown {
            wanted.push(convert(target.get("expr"), &mut level, self.catalog)?);
        }
        let having = if query.has("havingQual") {
            Some(convert(query.get("havingQual"), &mut level, self.catalog)?)
        } else {
            None
        };
        let mut calls = level.aggregates.take().unwrap_or_default();
        for call in &mut calls {
            self.guard(call)?;
        }
        // What depends on the groups does not tell them apart.
        let key: Vec<usize> = (0..groups.len()).collect();
        // Columns that PostgreSQL lets stand beside the groups depend on a primary key among them.
        for expr in wanted.iter().chain(&having) {
            let mut outside = Vec::new();
            expr.rewrite(&mut |e| {
                if groups.contains(e) {
                    return Some(e.clone());
                }
                if matches!(e.kind, ExprKind::Column(_)) {
                    outside.push(e.clone());
                }
                None
            });
            for column in outside {
                if !groups.contains(&column) {
                    groups.push(column);
                }
            }
        }
        let sets = level.grouping_sets.take();
        let first = groups.len() + usize::from(sets.is_some());
        let built = match sets {
            None => Built { keys: vec![key], ..self.aggregate(built, &groups, &calls)? },
            Some(sets) => {
                // What depends on the groups is in every set.
                let dependent = key.len()..groups.len();
                let named = |set: &Vec<i64>| set.iter().filter_map(|r| places.get(r).copied()).collect::<Vec<_>>();
                let sets: Vec<Vec<usize>> =
                    sets.iter().map(|s| named(s).into_iter().chain(dependent.clone()).collect()).collect();
                self.expand_groups(&built, &groups, &calls, &sets)?
            }
        };
        let over_groups = |expr: &Expr| {
            expr.rewrite(&mut |e| {
                let at = match e.kind {
                    ExprKind::Agg(SET_NUMBER) => groups.len(),
                    ExprKind::Agg(at) => first + at,
                    _ => groups.iter().position(|g| g == e)?,
                };
                Some(Expr::column(at, e.ty, e.declared))
            })
        };
        let built = match having {
            Some(having) => self.filter(built, &[over_groups(&having)])?,
            None => built,
        };
        let exprs = wanted.iter().map(over_groups).collect();
        Ok(Shown { built, exprs })
    }

    /// The groups' columns, then the aggregates.
    pub(crate) fn aggregate(&self, built: Built, groups: &[Expr], calls: &[AggCall]) -> Result<Built, PlanError> {
        let mut inputs: Vec<Expr> = groups.to_vec();
        let mut column_of = |expr: &Expr| match inputs.iter().position(|e| e == expr) {
            Some(at) => at,
            None => {
                inputs.push(expr.clone());
                inputs.len() - 1
            }
        };
        let mut aggregates = Vec::new();
        for call in calls {
            if let Some(arg) = &call.arg {
                self.supported(call, arg)?;
            }
            aggregates.push(Aggregate {
                func: call.func,
                arg: call.arg.as_ref().map(&mut column_of),
                arg_type: call.arg.as_ref().map(|a| a.ty),
                filter: call.filter.as_ref().map(&mut column_of),
                distinct: call.distinct,
                ty: call.ty,
            });
        }
        let mut columns = Vec::new();
        let not_null = |expr: &Expr| expr.as_column().is_some_and(|c| built.columns[c].not_null);
        for group in groups {
            let column = BuiltColumn { ty: group.ty, declared: group.declared, not_null: not_null(group) };
            self.groupable(&column, "GROUP BY")?;
            columns.push(column);
        }
        for call in calls {
            let not_null = matches!(call.func, AggregateFunc::CountStar | AggregateFunc::Count);
            columns.push(BuiltColumn { ty: call.ty, declared: call.declared, not_null });
        }
        let projected = self.project(built, &inputs)?;
        let keys: Vec<usize> = (0..groups.len()).collect();
        let key_types = groups.iter().map(|g| g.ty).collect();
        let rel = Rel::Aggregate { input: Box::new(projected.rel), keys: keys.clone(), key_types, aggregates };
        Ok(Built { rel, columns, keys: vec![keys] })
    }

    /// An argument is not evaluated over rows that FILTER leaves out, where it could raise an error.
    fn guard(&self, call: &mut AggCall) -> Result<(), PlanError> {
        let (Some(filter), Some(arg)) = (&call.filter, &call.arg) else { return Ok(()) };
        if self.raises_no_error(arg) {
            return Ok(());
        }
        let nothing = crate::constant::null(arg.ty, arg.declared, self.catalog.type_sql(arg.declared)?);
        let branches = vec![(filter.clone(), arg.clone())];
        let (ty, declared) = (arg.ty, arg.declared);
        call.arg = Some(Expr { kind: ExprKind::Case { branches, otherwise: Box::new(nothing) }, ty, declared });
        Ok(())
    }

    fn supported(&self, call: &AggCall, arg: &Expr) -> Result<(), PlanError> {
        use types::oid;
        let support = scalar::key_support(arg.ty, self.env);
        let sql_type = self.catalog.type_sql(arg.declared)?;
        let numbers = [oid::INT2, oid::INT4, oid::INT8, oid::NUMERIC, oid::FLOAT4, oid::FLOAT8, oid::INTERVAL];
        match call.func {
            AggregateFunc::Sum | AggregateFunc::Avg if !numbers.contains(&arg.ty.oid) => {
                Err(PlanError::not_yet(format!("sum or avg of {sql_type}"), "cast the argument to numeric"))
            }
            AggregateFunc::Min | AggregateFunc::Max if !support.order => Err(PlanError::not_yet(
                format!("min or max of {sql_type} by its order here"),
                if arg.ty.collation == 0 {
                    "cast the argument to a type with a simple order"
                } else {
                    "order by bytes: min(x COLLATE \"C\")"
                },
            )),
            _ if call.distinct && !support.equality => {
                Err(PlanError::not_yet(format!("DISTINCT on {sql_type}"), "cast the argument to text"))
            }
            _ => Ok(()),
        }
    }
}
