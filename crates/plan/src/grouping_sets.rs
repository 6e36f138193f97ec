//! GROUPING SETS, ROLLUP and CUBE.
//!
//! ```text
//! rows ─ Expand: once for each set, NULLs for the groups that are not in it, the set's number ─ Aggregate by groups and number ┐
//! rows ─ Aggregate without keys, for each set without groups: it has its row over no rows, too ────────────────────────────────┴ UNION ALL
//! ```
//!
//! GROUPING() depends on nothing but the set's number.

use types::{PgType, oid};

use crate::PlanError;
use crate::aggregates::AggCall;
use crate::built::{Built, BuiltColumn};
use crate::catalog::Catalog;
use crate::expr::{Expr, ExprKind, INT4_EQUAL};
use crate::folded::is_folded;
use crate::native::native;
use crate::query::{Planner, find_cte};
use crate::reader::{Node, Tree};
use crate::scope::Level;
use crate::tree::Rel;

/// The aggregate's number that stands for the number of the grouping set.
pub(crate) const SET_NUMBER: usize = usize::MAX;

/// Of a WITH query, in PostgreSQL's numbers.
const MATERIALIZED: i64 = 1;
const NOT_MATERIALIZED: i64 = 2;

/// PostgreSQL's own limit.
const MOST_SETS: usize = 4096;

/// The sets of a query, as the numbers that its targets have there; `None` when it has just its GROUP BY.
pub(crate) fn sets(query: &Node) -> Result<Option<Vec<Vec<i64>>>, PlanError> {
    if !query.has("groupingSets") {
        return Ok(None);
    }
    let mut sets = vec![Vec::new()];
    for item in query.nodes("groupingSets") {
        let more = expand(item)?;
        if sets.len() * more.len() > MOST_SETS {
            return Err(PlanError::refused("so many grouping sets", "there are more than 4096", "name fewer"));
        }
        sets = sets.iter().flat_map(|s| more.iter().map(move |m| united([s, m]))).collect();
    }
    if query.flag("groupDistinct") {
        let mut once: Vec<Vec<i64>> = Vec::new();
        for set in sets {
            if !once.iter().any(|o| o.len() == set.len() && set.iter().all(|s| o.contains(s))) {
                once.push(set);
            }
        }
        sets = once;
    }
    Ok(Some(sets))
}

fn united<'s>(sets: impl IntoIterator<Item = &'s Vec<i64>>) -> Vec<i64> {
    let mut all = Vec::new();
    for number in sets.into_iter().flatten() {
        if !all.contains(number) {
            all.push(*number);
        }
    }
    all
}

/// The sets that one item of GROUP BY stands for.
fn expand(item: &Node) -> Result<Vec<Vec<i64>>, PlanError> {
    let parts = || item.nodes("content").into_iter().map(expand).collect::<Result<Vec<_>, _>>();
    // ROLLUP and CUBE are of plain lists.
    let lists = || parts().map(|p| p.into_iter().flatten().collect::<Vec<_>>());
    Ok(match item.number("kind")? {
        0 => vec![Vec::new()],
        1 => vec![item.get("content").oids().into_iter().map(i64::from).collect()],
        2 => {
            let lists = lists()?;
            (0..=lists.len()).rev().map(|n| united(&lists[..n])).collect()
        }
        3 => {
            let lists = lists()?;
            if lists.len() > 12 {
                return Err(PlanError::refused("such a CUBE", "there are more than 4096 sets", "name fewer"));
            }
            let subset = |bits: usize| lists.iter().enumerate().filter(move |(i, _)| bits >> i & 1 == 1);
            (0..1_usize << lists.len()).rev().map(|bits| united(subset(bits).map(|(_, l)| l))).collect()
        }
        4 => parts()?.into_iter().flatten().collect(),
        _ => return Err(item.odd("kind")),
    })
}

/// How groups are found within other expressions, as PostgreSQL does it.
#[derive(Default)]
pub(crate) struct GroupsFound {
    /// Of each, the place of its target; `None` for what PostgreSQL makes a constant before it looks for groups. That is one of
    /// them as a whole target only.
    targets: Vec<Option<i64>>,
}

impl GroupsFound {
    /// The next group.
    pub(crate) fn add(&mut self, target: &Node, expr: &Expr, catalog: &Catalog) -> Result<(), PlanError> {
        let resno = target.number("resno")?;
        let reads = expr.any(&|e| matches!(e.kind, ExprKind::Column(_) | ExprKind::Outer(_) | ExprKind::Sub { .. }));
        let folded = !reads && is_folded(target.node("expr")?, catalog);
        self.targets.push((!folded).then_some(resno));
        Ok(())
    }

    /// Of groups that are the same, it is the one that the SELECT list has first.
    pub(crate) fn find(&self, groups: &[Expr], expr: &Expr) -> Option<usize> {
        let target = |at: &usize| self.targets.get(*at).copied().unwrap_or(Some(i64::MAX));
        let same = (0..groups.len()).filter(|at| groups[*at] == *expr && target(at).is_some());
        same.min_by_key(target)
    }
}

/// Refuses what reads one of several groups that are one column of a subquery under several names.
pub(crate) fn check_named_twice(places: &[usize], groups: &[Expr], exprs: &[Expr]) -> Result<(), PlanError> {
    let reads = |e: &Expr| places.iter().any(|at| groups.get(*at).is_some_and(|group| e.any(&|part| part == group)));
    if exprs.iter().any(reads) {
        let what = "an expression over a group that is the same column as another, in GROUPING SETS";
        return Err(PlanError::refused(
            what,
            "PostgreSQL's versions differ in which of the two they take",
            "group by the column once, or compute the expression in a query around",
        ));
    }
    Ok(())
}

impl Level<'_> {
    /// `GROUPING(a, b)`: a bit for each argument, set when it is not among the set's groups.
    pub(crate) fn grouping_function(&self, node: &Node) -> Result<Expr, PlanError> {
        if node.number("agglevelsup")? != 0 {
            return Err(PlanError::not_yet(
                "GROUPING of an outer query",
                "compute it in a subquery in FROM, and use its result",
            ));
        }
        let Tree::List(_) = node.get("refs") else { return Err(node.odd("refs")) };
        let refs: Vec<i64> = node.get("refs").oids().into_iter().map(i64::from).collect();
        let of = |set: &Vec<i64>| refs.iter().fold(0, |bits, r| bits << 1 | i32::from(!set.contains(r)));
        let sets = self.grouping_sets.as_deref().unwrap_or_default();
        let values: Vec<i32> = sets.iter().map(of).collect();
        let last = values.last().copied().unwrap_or_default();
        if values.iter().all(|v| *v == last) {
            return Ok(crate::expr::int4(last));
        }
        let ty = PgType::plain(oid::INT4);
        let number = || Expr { kind: ExprKind::Agg(SET_NUMBER), ty, declared: oid::INT4 };
        let branch = |(set, value): (usize, &i32)| {
            let set = crate::expr::int4(i32::try_from(set).unwrap_or(i32::MAX));
            (crate::expr::comparison(INT4_EQUAL, number(), set), crate::expr::int4(*value))
        };
        let branches = values.iter().enumerate().map(branch).collect();
        let otherwise = Box::new(crate::expr::int4(last));
        Ok(Expr { kind: ExprKind::Case { branches, otherwise }, ty, declared: oid::INT4 })
    }

    /// Gives every name a column of its own: grouping makes NULLs of names, not of what happens to be computed alike. Returns
    /// what has to be appended to the rows.
    pub(crate) fn one_column_a_name(&mut self, width: usize) -> Vec<Expr> {
        let mut columns = Vec::new();
        let placed = std::mem::take(&mut self.placed);
        for expr in self.inputs.iter_mut().flat_map(|input| &mut input.exprs) {
            let at = Expr::column(width + columns.len(), expr.ty, expr.declared);
            columns.push(std::mem::replace(expr, at).map_columns(&|c| placed.get(c).copied().unwrap_or(c)));
        }
        columns
    }
}

impl<'a> Planner<'a> {
    /// The groups, by their places, that are one column under several names.
    pub(crate) fn columns_named_twice(
        &self,
        query: &'a Node,
        clauses: &[(i64, &'a Node)],
        sets: &[Vec<i64>],
    ) -> Result<Vec<usize>, PlanError> {
        let mut columns = Vec::new();
        for (_, target) in clauses {
            let var = target.node("expr")?;
            let is_column = var.kind == "VAR" && var.number("varlevelsup")? == 0;
            columns.push(if is_column {
                let name = (var.index("varno")?, var.number("varattno")?);
                Some((self.once_pulled_up(query, name)?, name))
            } else {
                None
            });
        }
        // Where a set has both or neither, it does not matter which is taken.
        let apart = |one: i64, other: i64| sets.iter().any(|set| set.contains(&one) != set.contains(&other));
        let twice = |at: &usize| {
            let Some((column, name)) = &columns[*at] else { return false };
            columns.iter().zip(clauses).any(|(other, (reference, _))| {
                let alike = other.as_ref().is_some_and(|(of, as_name)| of == column && as_name != name);
                alike && apart(clauses[*at].0, *reference)
            })
        };
        Ok((0..columns.len()).filter(twice).collect())
    }

    /// What a column is after PostgreSQL has pulled up the subqueries in FROM: the entries that lead to it, and its number in
    /// the last of them.
    fn once_pulled_up(&self, query: &'a Node, name: (usize, i64)) -> Result<(Vec<usize>, i64), PlanError> {
        let (mut query, (mut varno, mut attribute)) = (query, name);
        let mut ctes = self.ctes.clone();
        let mut path = vec![varno];
        while let Some(entry) = varno.checked_sub(1).and_then(|at| query.nodes("rtable").get(at).copied()) {
            let Some(within) = self.pulled_up(entry, &mut ctes)? else { break };
            let shown =
                within.nodes("targetList").into_iter().find(|t| t.number("resno").is_ok_and(|n| n == attribute));
            let Some(var) = shown.and_then(|t| t.node("expr").ok()).filter(|e| e.kind == "VAR") else { break };
            if var.number("varlevelsup")? != 0 {
                break;
            }
            (query, varno, attribute) = (within, var.index("varno")?, var.number("varattno")?);
            path.push(varno);
        }
        Ok((path, attribute))
    }

    /// The query that an entry of FROM is, if PostgreSQL puts its FROM in the place of the entry. `ctes` are the WITH lists
    /// that the entry sees, and then those that the query sees.
    fn pulled_up(&self, entry: &'a Node, ctes: &mut Vec<Vec<&'a Node>>) -> Result<Option<&'a Node>, PlanError> {
        let query = match entry.number("rtekind")? {
            0 => {
                let oid = entry.oid("relid")?;
                let is_view = self.catalog.relations.get(&oid).is_some_and(|r| !r.is_stream);
                let Some(Tree::List(queries)) = self.catalog.views.get(&oid).filter(|_| is_view) else {
                    return Ok(None);
                };
                ctes.clear();
                queries.first().and_then(Tree::node)
            }
            1 => entry.node("subquery").ok(),
            6 if !entry.flag("self_reference") => {
                let (level, cte) = find_cte(entry, ctes)?;
                ctes.truncate(level + 1);
                let inlined = match cte.number("ctematerialized")? {
                    MATERIALIZED => false,
                    NOT_MATERIALIZED => true,
                    _ => cte.number("cterefcount")? == 1,
                };
                cte.node("ctequery").ok().filter(|_| inlined && !cte.flag("cterecursive"))
            }
            _ => None,
        };
        ctes.push(Vec::new());
        let fields = ["setOperations", "groupClause", "groupingSets", "havingQual", "sortClause", "distinctClause"];
        let more = ["limitOffset", "limitCount", "cteList", "rowMarks"];
        let flags = ["hasAggs", "hasWindowFuncs", "hasTargetSRFs"];
        let stays = |q: &Node| fields.iter().chain(&more).any(|f| q.has(f)) || flags.iter().any(|f| q.flag(f));
        Ok(query.filter(|q| !stays(q)))
    }
}

impl Planner<'_> {
    /// The groups of all sets: the groups' columns, the set's number, the aggregates. `sets` are places in `groups`.
    pub(crate) fn expand_groups(
        &mut self,
        built: &Built,
        groups: &[Expr],
        calls: &[AggCall],
        sets: &[Vec<usize>],
    ) -> Result<Built, PlanError> {
        let number = |set: usize| crate::expr::int4(i32::try_from(set).unwrap_or(i32::MAX));
        let nothing = |group: &Expr| {
            let sql = self.catalog.type_sql(group.declared)?;
            Ok::<_, PlanError>(crate::constant::null(group.ty, group.declared, sql))
        };
        let (empty, filled): (Vec<_>, Vec<_>) = sets.iter().enumerate().partition(|(_, set)| set.is_empty());
        let mut inputs = Vec::new();
        let mut columns = Vec::new();
        if !filled.is_empty() {
            let width = built.columns.len();
            let computed = self.extend(built.clone(), groups)?;
            let mut lists = Vec::new();
            for (at, set) in &filled {
                let mut list: Vec<Expr> = (0..width).map(|c| computed.column(c)).collect::<Result<_, _>>()?;
                for (i, group) in groups.iter().enumerate() {
                    list.push(if set.contains(&i) { computed.column(width + i)? } else { nothing(group)? });
                }
                list.push(number(*at));
                let native = |e: &Expr| native(e, self.env).map_err(PlanError::Tree);
                lists.push(list.iter().map(native).collect::<Result<Vec<_>, _>>()?);
            }
            let mut expanded = computed.columns;
            for (i, column) in expanded.iter_mut().skip(width).enumerate() {
                column.not_null &= filled.iter().all(|(_, set)| set.contains(&i));
            }
            expanded.push(BuiltColumn { ty: PgType::plain(oid::INT4), declared: oid::INT4, not_null: true });
            let rel = Rel::Expand { input: Box::new(computed.rel), lists };
            let expanded = Built { rel, columns: expanded, keys: Vec::new() };
            let by: Vec<Expr> = (width..=width + groups.len()).map(|c| expanded.column(c)).collect::<Result<_, _>>()?;
            let grouped = self.aggregate(expanded, &by, calls)?;
            columns = grouped.columns;
            inputs.push(grouped.rel);
        }
        for (at, _) in empty {
            let total = self.aggregate(built.clone(), &[], calls)?;
            let mut exprs = groups.iter().map(nothing).collect::<Result<Vec<_>, _>>()?;
            exprs.push(number(at));
            for column in 0..total.columns.len() {
                exprs.push(total.column(column)?);
            }
            let total = self.project(total, &exprs)?;
            if columns.is_empty() {
                columns = total.columns;
            } else {
                columns.iter_mut().zip(&total.columns).for_each(|(c, t)| c.not_null &= t.not_null);
            }
            inputs.push(total.rel);
        }
        let rel = if inputs.len() == 1 { inputs.remove(0) } else { Rel::UnionAll(inputs) };
        let key = match sets {
            [only] => only.clone(),
            _ => (0..=groups.len()).collect(),
        };
        Ok(Built { rel, columns, keys: vec![key] })
    }
}
