//! GROUP BY, aggregates and HAVING.

use std::collections::HashMap;

use types::oid;

use crate::PlanError;
use crate::aggregates::AggCall;
use crate::built::{Built, Shown};
use crate::convert::convert;
use crate::expr::{Expr, ExprKind, INT4_EQUAL, INT8_GREATER};
use crate::folded;
use crate::grouping_sets::{self, GroupsFound, SET_NUMBER};
use crate::items::flatten;
use crate::outer::{Mode, reads_outer};
use crate::query::Planner;
use crate::reader::{Node, Tree};
use crate::rewritten;
use crate::scope::Level;
use crate::tree::JoinKind;
use crate::whole_row;

/// The numbers of the sets without groups.
fn places_of_totals(sets: Option<&[Vec<i64>]>) -> Vec<usize> {
    sets.unwrap_or_default().iter().enumerate().filter(|(_, set)| set.is_empty()).map(|(at, _)| at).collect()
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
        level: &mut Level<'a>,
    ) -> Result<Shown, PlanError> {
        let one_group = !query.has("groupClause") && !query.has("groupingSets");
        let apart = level.frame.as_ref().is_some_and(|f| f.mode == Mode::Apart);
        if one_group && apart && query.has("havingQual") {
            return Err(reads_outer()); // it could keep the group of no rows
        }
        let mut hidden = hidden.to_vec();
        let mut mark = None;
        level.grouping_sets = grouping_sets::sets(query)?;
        let totals: Vec<usize> = places_of_totals(level.grouping_sets.as_deref());
        if (one_group || !totals.is_empty()) && level.has_values() {
            // Each combination of values has its group, also of no rows.
            (built, mark) = self.with_empty_groups(built, level).map(|(built, mark)| (built, Some(mark)))?;
            hidden = level.values();
        }
        let mut clauses = Vec::new();
        for clause in query.nodes("groupClause") {
            let reference = clause.number("tleSortGroupRef")?;
            let target = targets.iter().find(|t| t.number("ressortgroupref").is_ok_and(|r| r == reference));
            clauses.push((reference, *target.ok_or_else(|| clause.odd("tleSortGroupRef"))?));
        }
        let mut one_column = Vec::new();
        if let Some(sets) = &level.grouping_sets {
            one_column = self.columns_named_twice(query, &clauses, sets)?;
            whole_row::check_grouped(query, shown, &clauses, sets)?;
            let names = level.one_column_a_name(built.columns.len());
            built = self.extend(built, &names)?;
        }
        let in_sets = level.grouping_sets.is_some();
        let read = |tree: &Tree, level: &mut Level<'a>| {
            let expr = convert(tree, level, self.catalog)?;
            Ok::<_, PlanError>(if in_sets { folded::reduced(&expr, self.catalog) } else { expr })
        };
        let mut groups = Vec::new();
        let mut places = HashMap::new();
        let mut found = GroupsFound::default();
        for (reference, target) in clauses {
            let expr = read(target.get("expr"), level)?;
            // In GROUPING SETS each is NULL where it is left out, whatever else is the same.
            let same = groups.iter().position(|g| *g == expr).filter(|_| !in_sets);
            let place = match same {
                Some(place) => place,
                None => {
                    found.add(target, &expr, self.catalog)?;
                    groups.push(expr);
                    groups.len() - 1
                }
            };
            places.insert(reference, place);
        }
        for expr in &hidden {
            if !groups.contains(expr) {
                groups.push(expr.clone());
            }
        }
        // What groups by rows of a set-returning function has them first.
        let mut made = Vec::new();
        if groups.iter().any(|g| self.returns_rows(g)) {
            let columns: Vec<Expr> = (0..built.columns.len()).map(|c| built.column(c)).collect::<Result<_, _>>()?;
            let exprs = [columns, groups.clone()].concat();
            let rows = self.expand_rows(Shown { built, exprs })?;
            built = rows.built;
            let given = &rows.exprs[rows.exprs.len() - groups.len()..];
            made = groups.iter().cloned().zip(given.iter().cloned()).filter(|(g, of)| g != of).collect();
            groups = given.to_vec();
        }
        let from_made = |e: &Expr| made.iter().find(|(g, _)| g == e).map(|(_, column)| column.clone());
        level.aggregates = Some(Vec::new());
        let mut wanted = Vec::new();
        for target in shown {
            wanted.push(read(target.get("expr"), level)?.rewrite(&mut |e| from_made(e)));
        }
        let place_of = |t: &&Node| t.number("ressortgroupref").ok().and_then(|r| places.get(&r).copied());
        let grouped_by: Vec<Option<usize>> = shown.iter().map(place_of).collect();
        let having = if query.has("havingQual") { Some(read(query.get("havingQual"), level)?) } else { None };
        let mut calls = level.aggregates.take().unwrap_or_default();
        self.note_orders(&built, &calls);
        let counted = (!totals.is_empty() && mark.is_some()).then_some(calls.len());
        calls.extend(counted.map(|_| AggCall::of_rows()));
        for call in &mut calls {
            if let Some(mark) = &mark {
                call.only_where(mark);
            }
        }
        let safe = |e: &Expr| self.raises_no_error(e);
        let exprs = || groups.iter().chain(calls.iter().flat_map(AggCall::exprs));
        // Only native aggregates are known to be NULL (or 0) over no rows.
        if apart && (!exprs().all(safe) || (one_group && !calls.iter().all(AggCall::may_be_native))) {
            return Err(reads_outer());
        }
        let whole = |(expr, at): (&Expr, &Option<usize>)| if at.is_some() { None } else { Some(expr.clone()) };
        let within: Vec<Expr> = wanted.iter().zip(&grouped_by).filter_map(whole).chain(having.clone()).collect();
        grouping_sets::check_named_twice(&one_column, &groups, &within)?;
        if let Some(sets) = &level.grouping_sets {
            let left_out = places.iter().filter(|(reference, _)| sets.iter().any(|set| !set.contains(reference)));
            let left_out: Vec<&Expr> = left_out.filter_map(|(_, place)| groups.get(*place)).collect();
            rewritten::check(&left_out, &within, self.catalog)?;
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
        let built = self.subqueries(built, &mut computed, level)?;
        let mut rest = computed.split_off(groups.len()).into_iter();
        for call in &mut calls {
            for expr in call.exprs_mut() {
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
        let counts = |at: usize| calls.get(at).is_some_and(AggCall::counts);
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
                    _ => found.find(&groups, e)?,
                };
                Some(Expr::column(at, e.ty, e.declared))
            })
        };
        let mut conditions = Vec::new();
        if let Some(counted) = counted {
            // Without rows only the totals have their row.
            let set = |at: &usize| crate::expr::int4(i32::try_from(*at).unwrap_or(i32::MAX));
            let number = || Expr::column(groups.len(), set(&0).ty, oid::INT4);
            let is_total = totals.iter().map(|at| crate::expr::comparison(INT4_EQUAL, number(), set(at)));
            let count = Expr::column(first + counted, crate::expr::int8(0).ty, oid::INT8);
            let some = crate::expr::comparison(INT8_GREATER, count, crate::expr::int8(0));
            let kind = ExprKind::Or(is_total.chain([some]).collect());
            conditions.push(Expr { kind, ..crate::expr::boolean(true) });
        }
        having.iter().for_each(|h| flatten(over_groups(h), &mut conditions));
        let (subs, plain): (Vec<_>, Vec<_>) = conditions.into_iter().partition(Expr::has_sub);
        built = self.filter(built, &plain)?;
        for condition in &subs {
            built = self.sub_condition(built, condition, level)?;
        }
        let shown_group = |(expr, at): (&Expr, &Option<usize>)| match at {
            Some(at) => Expr::column(*at, expr.ty, expr.declared),
            None => over_groups(expr),
        };
        let mut exprs: Vec<Expr> = wanted.iter().zip(&grouped_by).map(shown_group).collect();
        let built = self.subqueries(built, &mut exprs, level)?;
        exprs.extend(hidden.iter().map(over_groups));
        Ok(Shown { built, exprs })
    }

    /// The rows left joined to the values that the query reads of the one around, and a column that is true where there
    /// is a row. The level's columns are found where they are then.
    fn with_empty_groups(&self, built: Built, level: &mut Level<'a>) -> Result<(Built, Expr), PlanError> {
        let frame = level.frame.clone().ok_or_else(reads_outer)?;
        let values = self.stand_in(&frame);
        let width = values.columns.len();
        let (built, mark) = self.marked(built)?;
        let places: Vec<usize> = level.placed.clone();
        let pairs = frame.telling.iter().map(|&c| {
            let value = values.column(c)?;
            Ok(crate::expr::same(value.clone(), Expr::column(width + places[c], value.ty, value.declared)))
        });
        let pairs = pairs.collect::<Result<Vec<_>, PlanError>>()?;
        let (built, offset) = self.join_two(values, built, JoinKind::Left, pairs)?;
        level.placed = places
            .into_iter()
            .enumerate()
            .map(|(c, at)| if c < width { c } else { offset.saturating_add(at) })
            .collect();
        Ok((built, mark.map_columns(&|c| offset + c)))
    }
}
