//! One query level: FROM, WHERE, groups, HAVING, the target list, DISTINCT; and the entries of FROM.

use std::collections::HashMap;
use std::sync::Arc;

use scalar::Env;
use types::Oid;

use crate::PlanError;
use crate::array_sub::shown_targets;
use crate::built::{Built, BuiltColumn, Shown};
use crate::catalog::Catalog;
use crate::convert::convert;
use crate::expr::{Expr, ExprKind};
use crate::functions::gives_rows;
use crate::outer::{Frame, Mode, reads_outer};
use crate::reader::Node;
use crate::recursion::Recursion;
use crate::represented::Represented;
use crate::scope::Level;
use crate::subquery::{Links, with_key};
use crate::top::Taken;
use crate::tree::{Aggregate, Rel, SourceUse};
use crate::window;

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
    /// Where the query that is being planned finds what it reads of the queries around it.
    pub(crate) frame: Option<Arc<Frame>>,
    /// What the query planned last hands out, when it was planned apart from what it reads.
    pub(crate) links: Option<Links>,
    /// How many stand-ins were made for values that subqueries read.
    pub(crate) stand_ins: usize,
    /// How often a subquery was tried apart from what it reads.
    pub(crate) attempts: usize,
    /// The query that is planned next shows what its ORDER BY reads, too, and what is made of it has that order.
    pub(crate) shows_order: bool,
}

/// Queries nested deeper than this are refused before they overflow the stack.
const DEEPEST: usize = 64;

impl<'a> Planner<'a> {
    /// A query, with its columns in order.
    pub(crate) fn query(&mut self, node: &'a Node) -> Result<Shown, PlanError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(PlanError::too_deep(&format!("subqueries within each other go to {DEEPEST} levels")));
        }
        refuse(node)?;
        self.ctes.push(node.nodes("cteList"));
        let shows_order = std::mem::take(&mut self.shows_order);
        let shown = match node.has("setOperations") {
            true => self.ordered_set_operation(node, shows_order),
            false => self.select(node, shows_order),
        };
        self.ctes.pop();
        self.depth -= 1;
        shown
    }

    fn ordered_set_operation(&mut self, node: &'a Node, shows_order: bool) -> Result<Shown, PlanError> {
        let shown = self.set_operation(node, node.node("setOperations")?)?;
        let targets = node.nodes("targetList");
        let order = self.order(&node.nodes("sortClause"), |reference| {
            let target = targets.iter().find(|t| t.number("ressortgroupref").is_ok_and(|r| r == reference))?;
            target.index("resno").ok()?.checked_sub(1)
        })?;
        let wanted = shown.exprs.len();
        match self.limit(node, order)? {
            Some(mut taken) => {
                taken.partition.extend(targets.len()..wanted);
                self.take(shown, wanted, &taken)
            }
            None => {
                self.note_order(node, shows_order);
                Ok(shown)
            }
        }
    }

    fn note_order(&mut self, node: &Node, shows_order: bool) {
        if node.has("sortClause") && !shows_order {
            self.warnings.push("ORDER BY without LIMIT has no effect: a table has no order".into());
        }
    }

    fn select(&mut self, node: &'a Node, shows_order: bool) -> Result<Shown, PlanError> {
        let targets = self.without_row_ids(node, node.nodes("targetList"));
        let (mut built, mut level) = self.from(node)?;
        let (sort, distinct) = (node.nodes("sortClause"), node.nodes("distinctClause"));
        let on = node.flag("hasDistinctOn");
        let limited = on || node.has("limitCount") || node.has("limitOffset");
        // First what the query shows, then what only decides which rows it takes.
        let mut shown = self.without_row_ids(node, shown_targets(node, shows_order));
        let wanted = shown.len();
        let mut asked = window::references(node);
        if limited {
            asked.extend(sort.iter().chain(&distinct).filter_map(|c| c.number("tleSortGroupRef").ok()));
        }
        let is_shown = |t: &Node| shown.iter().any(|s| std::ptr::eq(*s, t));
        let is_asked = |t: &&Node| t.number("ressortgroupref").is_ok_and(|r| r != 0 && asked.contains(&r));
        // A set-returning function makes rows even where nothing reads it.
        let makes_rows = |t: &&Node| node.flag("hasTargetSRFs") && gives_rows(t);
        let others = targets.iter().copied().filter(|t| t.flag("resjunk") && !is_shown(t));
        let others: Vec<&Node> = others.filter(|t| is_asked(t) || makes_rows(t)).collect();
        shown.extend(others);
        let clauses = ["groupClause", "groupingSets", "havingQual"];
        let grouped = node.flag("hasAggs") || clauses.iter().any(|clause| node.has(clause));
        // Between the two, what belongs its rows to those of the query around.
        let (mut hidden, links) = self.hidden(&level, wanted, grouped || !distinct.is_empty())?;
        hidden.extend(self.recursions.last().map(|r| level.carried(r.carried())).unwrap_or_default());
        let own = wanted;
        let wanted = own + hidden.len();
        let behind = |at: usize| if at < own { at } else { at + hidden.len() };
        let place = |reference: i64| {
            shown.iter().position(|t| t.number("ressortgroupref").is_ok_and(|r| r == reference)).map(behind)
        };
        let always = grouped && !node.has("groupClause") && !node.has("groupingSets");
        let mut rows = if grouped {
            self.group(node, &targets, &shown, &hidden, built, &mut level)?
        } else {
            let mut exprs = shown
                .iter()
                .map(|t| convert(t.get("expr"), &mut level, self.catalog))
                .collect::<Result<Vec<_>, _>>()?;
            built = self.subqueries(built, &mut exprs, &level)?;
            exprs.extend_from_slice(&hidden);
            Shown { built, exprs }
        };
        rows.exprs[own..].rotate_right(hidden.len());
        if node.flag("hasWindowFuncs") {
            rows = self.windows(node, rows, own..wanted, &place)?;
            // Those that compare what a window function gives.
            rows.built = self.subqueries(rows.built, &mut rows.exprs, &level)?;
        }
        // What no clause goes by is computed of the rows that DISTINCT ON takes, if ORDER BY says which.
        let decides = |t: &Node| gives_rows(t) && t.number("ressortgroupref").is_ok_and(|r| r != 0);
        let after = on && !sort.is_empty() && !shown.iter().any(|t| decides(t));
        if node.flag("hasTargetSRFs") && !after {
            rows = self.expand_rows(rows)?;
        }
        if on {
            let references = distinct.iter().map(|c| c.number("tleSortGroupRef")).collect::<Result<Vec<_>, _>>()?;
            let partition = references.iter().filter_map(|r| place(*r)).chain(own..wanted).collect();
            let of_group = |c: &&Node| c.number("tleSortGroupRef").is_ok_and(|r| !references.contains(&r));
            let order = self.order(&sort.iter().copied().filter(of_group).collect::<Vec<_>>(), place)?;
            let (construct, ordered, limit) = ("DISTINCT ON", !sort.is_empty(), Some(1));
            let taken = Taken { construct, partition, order, ordered, limit, ..Taken::default() };
            rows = self.take(rows, wanted, &taken)?;
            if node.flag("hasTargetSRFs") && after {
                rows = self.expand_rows(rows)?;
            }
        } else if !distinct.is_empty() {
            // What only windows asked for does not tell rows apart.
            rows.exprs.truncate(wanted);
            rows = self.distinct(self.computed(rows)?)?.shown()?;
        }
        if limited && let Some(mut taken) = self.limit(node, self.order(&sort, place)?)? {
            taken.partition.extend(own..wanted);
            rows = self.take(rows, wanted, &taken)?;
        } else if !on {
            self.note_order(node, shows_order);
        }
        rows.exprs.truncate(wanted);
        let rows = self.small(rows)?;
        self.links = links.map(|conditions| Links { conditions, hidden: hidden.len(), always });
        Ok(rows)
    }

    /// Of a query that reads the one around it: what it shows besides, and the conditions that it hands out, over what it
    /// shows from `first` on. Where rows become one (`merged`), these must be equalities by which they are told apart.
    fn hidden(
        &self,
        level: &Level<'a>,
        first: usize,
        merged: bool,
    ) -> Result<(Vec<Expr>, Option<Vec<Expr>>), PlanError> {
        if level.frame.as_ref().is_none_or(|f| f.mode == Mode::Within) {
            return Ok((level.values(), None));
        }
        let mut hidden: Vec<Expr> = Vec::new();
        let mut place = |expr: &Expr| {
            first
                + hidden.iter().position(|h| h == expr).unwrap_or_else(|| {
                    hidden.push(expr.clone());
                    hidden.len() - 1
                })
        };
        let mut links = Vec::new();
        for condition in &level.correlated {
            links.push(match self.link_key(condition) {
                Some((side, within)) => with_key(condition, side, place(within)),
                None if merged => return Err(reads_outer()),
                None => condition.rewrite(&mut |e| match e.kind {
                    ExprKind::Column(_) => Some(Expr::column(place(e), e.ty, e.declared)),
                    _ => None,
                }),
            });
        }
        Ok((hidden, Some(links)))
    }

    /// Each row once.
    pub(crate) fn distinct(&mut self, built: Built) -> Result<Built, PlanError> {
        let keys: Vec<usize> = (0..built.columns.len()).collect();
        if !built.keys.is_empty() {
            return Ok(built); // its rows are distinct as they are
        }
        let shown: Vec<Expr> = keys.iter().map(|c| built.column(*c)).collect::<Result<_, _>>()?;
        let Represented { mut built, by, own } = self.represented(built, &shown, "DISTINCT")?;
        let texts: Vec<Expr> = own.iter().map(|(_, text)| text.clone()).collect();
        if !own.is_empty() {
            built = self.project(built, &[by.clone(), texts].concat())?;
        }
        let aggregates = (keys.len()..keys.len() + own.len()).map(Aggregate::first_text).collect();
        let key_types = by.iter().map(|key| key.ty).collect();
        let rel = Rel::Aggregate { input: Box::new(built.rel), keys: keys.clone(), key_types, aggregates };
        self.with_own(Built { rel, columns: built.columns, keys: vec![keys] }, &shown, &own)
    }

    /// Groups and joins need to know when two values are equal.
    pub(crate) fn groupable(&self, column: &BuiltColumn, construct: &str) -> Result<(), PlanError> {
        if scalar::key_support(column.ty, self.env).equality {
            return Ok(());
        }
        Err(self.not_groupable(column, construct)?)
    }

    pub(crate) fn not_groupable(&self, column: &BuiltColumn, construct: &str) -> Result<PlanError, PlanError> {
        Ok(PlanError::not_yet(
            format!("{construct} on type {}", self.catalog.type_sql(column.declared)?),
            "cast it to text, if equal texts are what you mean",
        ))
    }

    /// A query, with the numbers by which its columns are named.
    pub(crate) fn named_query(&mut self, query: &'a Node) -> Result<(Shown, HashMap<i64, usize>), PlanError> {
        let shown = self.query(query)?;
        self.ctes.push(query.nodes("cteList"));
        let numbers = self.numbers(query);
        self.ctes.pop();
        Ok((shown, numbers?))
    }

    /// Rows of an entry of the FROM list.
    pub(crate) fn entry(&mut self, entry: &'a Node) -> Result<(Shown, HashMap<i64, usize>), PlanError> {
        match entry.number("rtekind")? {
            0 => self.relation(entry),
            1 => self.named_query(entry.node("subquery")?),
            6 => self.cte(entry),
            kind => {
                Err(PlanError::not_yet(format!("an entry of kind {kind} in FROM"), "read a table, view or subquery"))
            }
        }
    }

    fn cte(&mut self, entry: &'a Node) -> Result<(Shown, HashMap<i64, usize>), PlanError> {
        let (level, cte) = find_cte(entry, &self.ctes)?;
        if entry.flag("self_reference") {
            return self.working(cte);
        }
        let outer = self.ctes.split_off(level + 1);
        let apart = self.frame.as_ref().is_some_and(|f| f.mode == Mode::Apart);
        let built = match cte.flag("cterecursive") {
            true if apart => return Err(reads_outer()),
            true => self.recursion(cte),
            false => self.named_query(cte.node("ctequery")?),
        };
        self.ctes.extend(outer);
        built
    }
}

/// The WITH query that an entry of FROM names, and the place of its level among the lists that the entry sees.
pub(crate) fn find_cte<'a>(entry: &Node, ctes: &[Vec<&'a Node>]) -> Result<(usize, &'a Node), PlanError> {
    let name = entry.text("ctename");
    let up = entry.index("ctelevelsup")?;
    let level = ctes.len().checked_sub(1 + up).ok_or_else(|| entry.odd("ctelevelsup"))?;
    let found = ctes[level].iter().copied().find(|c| c.text("ctename") == name);
    Ok((level, found.ok_or_else(|| entry.odd("ctename"))?))
}

/// Rows with the numbers by which their columns are named.
pub(crate) fn by_position(shown: Shown) -> (Shown, HashMap<i64, usize>) {
    let map = (0..shown.exprs.len()).map(|i| (i as i64 + 1, i)).collect();
    (shown, map)
}

fn refuse(node: &Node) -> Result<(), PlanError> {
    if node.kind != "QUERY" || node.number("commandType")? != 1 || node.flag("hasModifyingCTE") {
        return Err(PlanError::refused("a statement that is not a SELECT", "a stream table is a query's answer", ""));
    }
    if node.flag("hasForUpdate") || node.has("rowMarks") {
        return Err(PlanError::refused("FOR UPDATE", "a stream table locks no rows", "leave it out"));
    }
    Ok(())
}
