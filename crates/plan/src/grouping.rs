//! GROUP BY, aggregates and HAVING.

use std::collections::HashMap;

use types::{Oid, PgType};

use crate::PlanError;
use crate::built::{Built, BuiltColumn, Shown};
use crate::convert::convert;
use crate::expr::{Expr, ExprKind};
use crate::grouping_sets::{self, SET_NUMBER};
use crate::items::flatten;
use crate::outer::{Mode, reads_outer};
use crate::query::Planner;
use crate::reader::Node;
use crate::scope::Level;
use crate::tree::{Aggregate, AggregateFunc, JoinKind, Rel};

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
    /// The argument and the filter.
    fn exprs(&self) -> impl Iterator<Item = &Expr> {
        self.arg.iter().chain(&self.filter)
    }

    /// Reads an AGGREF node.
    pub(crate) fn read(node: &Node, level: &mut Level<'_>) -> Result<Self, PlanError> {
        let catalog = level.catalog();
        let oid = node.oid("aggfnoid")?;
        let info = catalog.functions.get(&oid).ok_or_else(|| node.odd("aggfnoid"))?;
        let not_yet = |what: String| PlanError::not_yet(what, "count, sum, avg, min, max, bool_and and bool_or can be");
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
        hidden: &[Expr],
        mut built: Built,
        mut level: Level<'a>,
    ) -> Result<Shown, PlanError> {
        let one_group = !query.has("groupClause") && !query.has("groupingSets");
        let apart = level.frame.as_ref().is_some_and(|f| f.mode == Mode::Apart);
        if one_group && apart && query.has("havingQual") {
            return Err(reads_outer()); // it could keep the group of no rows
        }
        let mut hidden = hidden.to_vec();
        let mut mark = None;
        if one_group && level.has_values() {
            // Each combination of values has its group, also of no rows.
            (built, mark) = self.with_empty_groups(built, &mut level).map(|(built, mark)| (built, Some(mark)))?;
            hidden = level.values();
        }
        level.grouping_sets = grouping_sets::sets(query)?;
        if let Some(sets) = &level.grouping_sets {
            if level.frame.is_some() && sets.iter().any(Vec::is_empty) {
                return Err(PlanError::not_yet(
                    "a grouping set of everything in a subquery that reads the query around it",
                    "write UNION ALL of a GROUP BY and a total",
                ));
            }
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
        for expr in &hidden {
            if !groups.contains(expr) {
                groups.push(expr.clone());
            }
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
            if let Some(mark) = &mark {
                let filters = std::iter::once(mark.clone()).chain(call.filter.take()).collect();
                call.filter = Some(Expr::and(filters));
            }
            self.guard(call)?;
        }
        let safe = |e: &Expr| self.raises_no_error(e);
        if apart && !groups.iter().chain(calls.iter().flat_map(AggCall::exprs)).all(safe) {
            return Err(reads_outer());
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
        let mut computed: Vec<Expr> = groups.clone();
        computed.extend(calls.iter().flat_map(AggCall::exprs).cloned());
        let built = self.subqueries(built, &mut computed, &level)?;
        let mut rest = computed.split_off(groups.len()).into_iter();
        for call in &mut calls {
            for expr in [&mut call.arg, &mut call.filter].into_iter().flatten() {
                *expr = rest.next().ok_or_else(|| query.odd("aggregates"))?;
            }
        }
        let sets = level.grouping_sets.take();
        let first = groups.len() + usize::from(sets.is_some());
        let mut built = match sets {
            None => Built { keys: vec![key], ..self.aggregate(built, &computed, &calls)? },
            Some(sets) => {
                // What depends on the groups is in every set, and so is what a subquery reads.
                let dependent = key.len()..groups.len();
                let read = groups.iter().enumerate().filter(|(_, g)| hidden.contains(g)).map(|(at, _)| at);
                let always: Vec<usize> = read.chain(dependent).collect();
                let named = |set: &Vec<i64>| set.iter().filter_map(|r| places.get(r).copied()).collect::<Vec<_>>();
                let sets: Vec<Vec<usize>> =
                    sets.iter().map(|s| named(s).into_iter().chain(always.clone()).collect()).collect();
                self.expand_groups(&built, &computed, &calls, &sets)?
            }
        };
        let counts = |at: usize| matches!(calls[at].func, AggregateFunc::CountStar | AggregateFunc::Count);
        let over_groups = |expr: &Expr| {
            expr.rewrite(&mut |e| {
                let at = match e.kind {
                    ExprKind::Agg(SET_NUMBER) => groups.len(),
                    // Where a row around meets no group, there is a count all the same.
                    ExprKind::Agg(at) if one_group && apart && counts(at) => {
                        let count = Expr::column(first + at, e.ty, e.declared);
                        let kind = ExprKind::Coalesce(vec![count, crate::expr::int8(0)]);
                        return Some(Expr { kind, ty: e.ty, declared: e.declared });
                    }
                    ExprKind::Agg(at) => first + at,
                    _ => groups.iter().position(|g| g == e)?,
                };
                Some(Expr::column(at, e.ty, e.declared))
            })
        };
        let mut conditions = Vec::new();
        having.iter().for_each(|h| flatten(over_groups(h), &mut conditions));
        let (subs, plain): (Vec<_>, Vec<_>) = conditions.into_iter().partition(Expr::has_sub);
        built = self.filter(built, &plain)?;
        for condition in &subs {
            built = self.sub_condition(built, condition, &level)?;
        }
        let mut exprs: Vec<Expr> = wanted.iter().map(over_groups).collect();
        let built = self.subqueries(built, &mut exprs, &level)?;
        exprs.extend(hidden.iter().map(over_groups));
        Ok(Shown { built, exprs })
    }

    /// The rows left joined to the values that the query reads of the one around, and a column that is true where there
    /// is a row. The level's columns are found where they are then.
    fn with_empty_groups(&self, built: Built, level: &mut Level<'a>) -> Result<(Built, Expr), PlanError> {
        let frame = level.frame.clone().ok_or_else(reads_outer)?;
        let values = Self::stand_in(&frame);
        let width = values.columns.len();
        let (built, mark) = self.marked(built)?;
        let places: Vec<usize> = level.placed.clone();
        let pairs = (0..width).map(|c| {
            let value = values.column(c)?;
            Ok(crate::expr::same(value.clone(), Expr::column(width + places[c], value.ty, value.declared)))
        });
        let pairs = pairs.collect::<Result<Vec<_>, PlanError>>()?;
        let (built, offset) = self.join_two(values, built, JoinKind::Left, pairs)?;
        level.placed = places.into_iter().enumerate().map(|(c, at)| if c < width { c } else { offset + at }).collect();
        Ok((built, mark.map_columns(&|c| offset + c)))
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
