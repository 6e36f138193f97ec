//! One query level: FROM, WHERE, groups, HAVING, the target list, DISTINCT; and the entries of FROM.

use std::collections::HashMap;

use scalar::Env;
use types::Oid;

use crate::PlanError;
use crate::built::{Built, BuiltColumn, Shown};
use crate::catalog::Catalog;
use crate::convert::convert;
use crate::reader::Node;
use crate::recursion::Recursion;
use crate::top::Taken;
use crate::tree::{Rel, SourceUse};

/// What planning one query works with.
pub(crate) struct Planner<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) env: &'a Env,
    pub(crate) allow_row_security: bool,
    /// What identifies rows of relations whose own catalogs do not say.
    pub(crate) identity_hint: &'a HashMap<Oid, Vec<String>>,
    /// The tables read, with all their columns.
    pub(crate) sources: Vec<SourceUse>,
    pub(crate) warnings: Vec<String>,
    /// The WITH lists of the enclosing levels, outermost first.
    pub(crate) ctes: Vec<Vec<&'a Node>>,
    /// The recursions whose steps are being planned, outermost first.
    pub(crate) recursions: Vec<Recursion<'a>>,
    /// How deep views and subqueries are nested.
    pub(crate) depth: usize,
}

/// Queries nested deeper than this are refused before they overflow the stack.
const DEEPEST: usize = 64;

impl<'a> Planner<'a> {
    /// A query, with its columns in order.
    pub(crate) fn query(&mut self, node: &'a Node) -> Result<Shown, PlanError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(PlanError::not_yet("a query nested so deep", ""));
        }
        refuse(node)?;
        self.ctes.push(node.nodes("cteList"));
        let shown = match node.has("setOperations") {
            true => self.ordered_set_operation(node),
            false => self.select(node),
        };
        self.ctes.pop();
        self.depth -= 1;
        shown
    }

    fn ordered_set_operation(&mut self, node: &'a Node) -> Result<Shown, PlanError> {
        let shown = self.set_operation(node, node.node("setOperations")?)?;
        let targets = node.nodes("targetList");
        let order = self.order(&node.nodes("sortClause"), |reference| {
            let target = targets.iter().find(|t| t.number("ressortgroupref").is_ok_and(|r| r == reference))?;
            target.index("resno").ok()?.checked_sub(1)
        })?;
        let wanted = shown.exprs.len();
        match self.limit(node, order)? {
            Some(taken) => self.take(shown, wanted, &taken),
            None => {
                self.note_order(node);
                Ok(shown)
            }
        }
    }

    fn note_order(&mut self, node: &Node) {
        if node.has("sortClause") {
            self.warnings.push("ORDER BY without LIMIT has no effect: a table has no order".into());
        }
    }

    fn select(&mut self, node: &'a Node) -> Result<Shown, PlanError> {
        let targets: Vec<&Node> = node.nodes("targetList");
        let (built, mut level) = self.from(node)?;
        let (sort, distinct) = (node.nodes("sortClause"), node.nodes("distinctClause"));
        let on = node.flag("hasDistinctOn");
        let limited = on || node.has("limitCount") || node.has("limitOffset");
        // First what the query shows, then what only decides which rows it takes.
        let mut shown: Vec<&Node> = targets.iter().copied().filter(|t| !t.flag("resjunk")).collect();
        let wanted = shown.len();
        if limited {
            let clauses = || sort.iter().chain(&distinct).filter_map(|c| c.number("tleSortGroupRef").ok());
            let decides = |t: &&Node| t.number("ressortgroupref").is_ok_and(|r| clauses().any(|c| c == r));
            shown.extend(targets.iter().copied().filter(|t| t.flag("resjunk")).filter(decides));
        }
        let place =
            |reference: i64| shown.iter().position(|t| t.number("ressortgroupref").is_ok_and(|r| r == reference));
        let clauses = ["groupClause", "groupingSets", "havingQual"];
        let grouped = node.flag("hasAggs") || clauses.iter().any(|clause| node.has(clause));
        let mut rows = if grouped {
            self.group(node, &targets, &shown, built, level)?
        } else {
            let exprs = shown
                .iter()
                .map(|t| convert(t.get("expr"), &mut level, self.catalog))
                .collect::<Result<Vec<_>, _>>()?;
            Shown { built, exprs }
        };
        if on {
            let references = distinct.iter().map(|c| c.number("tleSortGroupRef")).collect::<Result<Vec<_>, _>>()?;
            let partition = references.iter().filter_map(|r| place(*r)).collect();
            let of_group = |c: &&Node| c.number("tleSortGroupRef").is_ok_and(|r| !references.contains(&r));
            let order = self.order(&sort.iter().copied().filter(of_group).collect::<Vec<_>>(), place)?;
            let (construct, ordered, limit) = ("DISTINCT ON", !sort.is_empty(), Some(1));
            let taken = Taken { construct, partition, order, ordered, limit, ..Taken::default() };
            rows = self.take(rows, wanted, &taken)?;
        } else if !distinct.is_empty() {
            rows = self.distinct(self.computed(rows)?)?.shown()?;
        }
        if limited && let Some(taken) = self.limit(node, self.order(&sort, place)?)? {
            rows = self.take(rows, wanted, &taken)?;
        } else if !on {
            self.note_order(node);
        }
        rows.exprs.truncate(wanted);
        self.small(rows)
    }

    /// Each row once.
    pub(crate) fn distinct(&mut self, built: Built) -> Result<Built, PlanError> {
        let keys: Vec<usize> = (0..built.columns.len()).collect();
        if !built.keys.is_empty() {
            return Ok(built); // its rows are distinct as they are
        }
        for column in &built.columns {
            self.groupable(column, "DISTINCT")?;
        }
        let key_types = built.columns.iter().map(|c| c.ty).collect();
        let rel = Rel::Aggregate { input: Box::new(built.rel), keys: keys.clone(), key_types, aggregates: Vec::new() };
        Ok(Built { rel, columns: built.columns, keys: vec![keys] })
    }

    /// Groups and joins need to know when two values are equal.
    pub(crate) fn groupable(&self, column: &BuiltColumn, construct: &str) -> Result<(), PlanError> {
        if scalar::key_support(column.ty, self.env).equality {
            return Ok(());
        }
        Err(PlanError::not_yet(
            format!("{construct} on type {}", self.catalog.type_sql(column.declared)?),
            "cast it to text, if equal texts are what you mean",
        ))
    }

    /// Rows of an entry of the FROM list.
    pub(crate) fn entry(&mut self, entry: &'a Node) -> Result<(Shown, HashMap<i64, usize>), PlanError> {
        let by_position = |shown: Shown| {
            let map = (0..shown.exprs.len()).map(|i| (i as i64 + 1, i)).collect();
            (shown, map)
        };
        match entry.number("rtekind")? {
            0 => self.relation(entry),
            1 => {
                if entry.flag("lateral") {
                    return Err(PlanError::not_yet("LATERAL", "write it as a join"));
                }
                self.query(entry.node("subquery")?).map(by_position)
            }
            5 => self.values(entry)?.shown().map(by_position),
            6 => self.cte(entry).map(by_position),
            3 | 4 => Err(PlanError::not_yet("a function in FROM", "join with a table that holds its rows")),
            kind => Err(PlanError::not_yet(format!("an entry of kind {kind} in FROM"), "")),
        }
    }

    fn cte(&mut self, entry: &'a Node) -> Result<Shown, PlanError> {
        let name = entry.text("ctename");
        let up = entry.index("ctelevelsup")?;
        let level = self.ctes.len().checked_sub(1 + up).ok_or_else(|| entry.odd("ctelevelsup"))?;
        let found = self.ctes[level].iter().copied().find(|c| c.text("ctename") == name);
        let cte = found.ok_or_else(|| entry.odd("ctename"))?;
        if entry.flag("self_reference") {
            return self.working(cte);
        }
        let outer = self.ctes.split_off(level + 1);
        let built = match cte.flag("cterecursive") {
            true => self.recursion(cte),
            false => self.query(cte.node("ctequery")?),
        };
        self.ctes.extend(outer);
        built
    }
}

fn refuse(node: &Node) -> Result<(), PlanError> {
    if node.kind != "QUERY" || node.number("commandType")? != 1 || node.flag("hasModifyingCTE") {
        return Err(PlanError::refused("a statement that is not a SELECT", "a stream table is a query's answer", ""));
    }
    let flags = [
        ("hasWindowFuncs", "a window function", "use GROUP BY and join the result"),
        ("hasTargetSRFs", "a set-returning function", "join with a table that holds its rows"),
    ];
    for (flag, construct, remedy) in flags {
        if node.flag(flag) {
            return Err(PlanError::not_yet(construct, remedy));
        }
    }
    if node.flag("hasForUpdate") || node.has("rowMarks") {
        return Err(PlanError::refused("FOR UPDATE", "a stream table locks no rows", "leave it out"));
    }
    Ok(())
}
