//! One query level: FROM, WHERE, groups, HAVING, the target list, DISTINCT, UNION ALL.

use std::collections::HashMap;

use scalar::Env;
use types::{Oid, TableName};

use crate::PlanError;
use crate::built::{Built, BuiltColumn, Shown};
use crate::catalog::{Cast, Catalog};
use crate::convert::{Scope, convert};
use crate::expr::{Expr, ExprKind};
use crate::reader::{Node, Tree};
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
        if node.has("sortClause") {
            self.warnings.push("ORDER BY without LIMIT has no effect: a table has no order".into());
        }
        self.ctes.push(node.nodes("cteList"));
        let shown = if node.has("setOperations") {
            self.set_operation(node, node.node("setOperations")?)
        } else {
            self.select(node)
        };
        self.ctes.pop();
        self.depth -= 1;
        shown
    }

    fn select(&mut self, node: &'a Node) -> Result<Shown, PlanError> {
        let targets: Vec<&Node> = node.nodes("targetList");
        let (built, mut level) = self.from(node)?;
        let wanted: Vec<&Node> = targets.iter().copied().filter(|t| !t.flag("resjunk")).collect();
        let grouped = node.flag("hasAggs") || node.has("groupClause") || node.has("havingQual");
        let shown = if grouped {
            self.group(node, &targets, &wanted, built, level)?
        } else {
            let exprs = wanted
                .iter()
                .map(|t| convert(t.get("expr"), &mut level, self.catalog))
                .collect::<Result<Vec<_>, _>>()?;
            Shown { built, exprs }
        };
        if node.has("distinctClause") { self.distinct(self.computed(shown)?)?.shown() } else { self.small(shown) }
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

    fn set_operation(&mut self, query: &'a Node, node: &'a Node) -> Result<Shown, PlanError> {
        if node.kind == "RANGETBLREF" {
            let rtable = query.nodes("rtable");
            let index = node.index("rtindex")?;
            let entry = index.checked_sub(1).and_then(|i| rtable.get(i)).ok_or_else(|| node.odd("rtindex"))?;
            return self.query(entry.node("subquery")?);
        }
        let (name, union) = match node.number("op")? {
            1 => ("UNION", true),
            2 => ("INTERSECT", false),
            _ => ("EXCEPT", false),
        };
        if !union {
            return Err(PlanError::not_yet(name, "write it as a join"));
        }
        let left = self.set_operation(query, node.node("larg")?)?;
        let left = self.coerced(left, node)?;
        let right = self.set_operation(query, node.node("rarg")?)?;
        let right = self.coerced(right, node)?;
        let columns: Vec<BuiltColumn> = left
            .columns
            .iter()
            .zip(&right.columns)
            .map(|(l, r)| BuiltColumn { not_null: l.not_null && r.not_null, ..*l })
            .collect();
        let mut inputs = Vec::new();
        for rel in [left.rel, right.rel] {
            match rel {
                Rel::UnionAll(more) => inputs.extend(more),
                rel => inputs.push(rel),
            }
        }
        let built = Built { rel: Rel::UnionAll(inputs), columns, keys: Vec::new() };
        if node.flag("all") { built.shown() } else { self.distinct(built)?.shown() }
    }

    /// A branch of a set operation with the columns' common types, to which PostgreSQL casts implicitly.
    fn coerced(&self, shown: Shown, operation: &Node) -> Result<Built, PlanError> {
        let (types, collations) = (operation.oids("colTypes"), operation.oids("colCollations"));
        if types.len() != shown.exprs.len() {
            return Err(operation.odd("colTypes"));
        }
        let mut exprs = Vec::new();
        for (index, (declared, expr)) in types.into_iter().zip(shown.exprs).enumerate() {
            let ty = self.catalog.ty(declared, -1, collations.get(index).copied().unwrap_or_default());
            let arg = Box::new(expr);
            let kind = match self.catalog.casts.get(&(arg.ty.oid, ty.oid)) {
                _ if arg.ty.oid == ty.oid => ExprKind::Relabel(arg),
                Some(Cast::Relabel) => ExprKind::Relabel(arg),
                Some(Cast::Text) => ExprKind::ViaText(arg),
                Some(Cast::Function(func)) => {
                    crate::volatility::check(self.catalog, *func)?;
                    ExprKind::Call { func: *func, args: vec![*arg], collation: 0, variadic: false }
                }
                None => {
                    return Err(PlanError::not_yet(
                        "UNION of columns of different types",
                        "cast them to the same types",
                    ));
                }
            };
            exprs.push(Expr { kind, ty, declared });
        }
        self.project(shown.built, &exprs)
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
        if cte.flag("cterecursive") || entry.flag("self_reference") {
            return Err(PlanError::not_yet("WITH RECURSIVE", ""));
        }
        let outer = self.ctes.split_off(level + 1);
        let built = self.query(cte.node("ctequery")?);
        self.ctes.extend(outer);
        built
    }

    fn values(&mut self, entry: &'a Node) -> Result<Built, PlanError> {
        let Tree::List(lists) = entry.get("values_lists") else { return Err(entry.odd("values_lists")) };
        let mut rows = Vec::new();
        let mut columns: Vec<BuiltColumn> = Vec::new();
        for list in lists {
            let Tree::List(items) = list else { return Err(entry.odd("values_lists")) };
            let exprs =
                items.iter().map(|i| convert(i, &mut Constants, self.catalog)).collect::<Result<Vec<Expr>, _>>()?;
            if columns.is_empty() {
                columns =
                    exprs.iter().map(|e| BuiltColumn { ty: e.ty, declared: e.declared, not_null: false }).collect();
            }
            let row = exprs.iter().map(|e| {
                crate::native::native(e, self.env).map_err(|why| {
                    PlanError::not_yet(format!("VALUES with such an expression ({why})"), "write a constant")
                })
            });
            rows.push(row.collect::<Result<Vec<_>, _>>()?);
        }
        let types = columns.iter().map(|c| c.ty).collect();
        let keys = if rows.len() == 1 { vec![Vec::new()] } else { Vec::new() };
        Ok(Built { rel: Rel::Values { rows, types }, columns, keys })
    }

    fn relation(&mut self, entry: &'a Node) -> Result<(Shown, HashMap<i64, usize>), PlanError> {
        let oid = entry.oid("relid")?;
        let relation =
            self.catalog.relations.get(&oid).ok_or_else(|| PlanError::Tree(format!("relation {oid} is unknown")))?;
        if entry.has("tablesample") {
            return Err(PlanError::refused(
                "TABLESAMPLE",
                "which rows it takes is not determined by the rows",
                "leave it out",
            ));
        }
        let name = &relation.name;
        if relation.kind == 'v' {
            let tree =
                self.catalog.views.get(&oid).ok_or_else(|| PlanError::Tree(format!("view {name} has no rule")))?;
            let Tree::List(queries) = tree else { return Err(PlanError::Tree(format!("view {name} has an odd rule"))) };
            let query = queries.first().and_then(Tree::node);
            let query = query.ok_or_else(|| PlanError::Tree(format!("view {name} has an empty rule")))?;
            let outer = std::mem::take(&mut self.ctes);
            let built = self.query(query)?;
            self.ctes = outer;
            let map = relation.columns.keys().map(|&a| (a, usize::try_from(a - 1).unwrap_or(usize::MAX))).collect();
            return Ok((built, map));
        }
        self.streamable(relation)?;
        if relation.kind == 'p' && !entry.flag("inh") {
            return Err(PlanError::refused(
                format!("ONLY {name}"),
                "a partitioned table has no rows but its partitions'",
                "leave ONLY out",
            ));
        }
        let index = match self.sources.iter().position(|s| s.relation == oid) {
            Some(index) => index,
            None => {
                let source = self.source(oid, relation)?;
                self.sources.push(source);
                self.sources.len() - 1
            }
        };
        let source = &self.sources[index];
        let live = relation.columns.values().filter(|c| !c.generated);
        let columns = live.map(|c| BuiltColumn { ty: c.column.ty, declared: c.declared, not_null: c.column.not_null });
        let keys = if source.identity.is_empty() { Vec::new() } else { vec![source.identity.clone()] };
        let live = relation.columns.iter().filter(|(_, c)| !c.generated);
        let map = live.enumerate().map(|(i, (attribute, _))| (*attribute, i)).collect();
        let built = Built { rel: Rel::Source(index), columns: columns.collect(), keys };
        Ok((built.shown()?, map))
    }

    fn source(&self, oid: Oid, relation: &crate::catalog::Relation) -> Result<SourceUse, PlanError> {
        let live: Vec<_> = relation.columns.iter().filter(|(_, c)| !c.generated).collect();
        let position = |attribute: &i64| live.iter().position(|(a, _)| *a == attribute);
        let named = |name: &String| live.iter().position(|(_, c)| c.column.name == *name);
        let identity: Option<Vec<usize>> = match self.identity_hint.get(&oid) {
            Some(names) => names.iter().map(named).collect(),
            None => relation.identity.iter().map(position).collect(),
        };
        let identity = identity.ok_or_else(|| {
            PlanError::not_yet(
                format!("a key over generated columns ({})", relation.name),
                "choose another replica identity",
            )
        })?;
        let known = self.identity_hint.contains_key(&oid);
        if identity.is_empty() && !relation.replica_full && !known {
            let name = relation.name.quoted();
            return Err(PlanError::refused(
                format!("table {}", relation.name),
                "it has neither a primary key nor REPLICA IDENTITY FULL, so its updates and deletes cannot be followed",
                format!("ALTER TABLE {name} ADD PRIMARY KEY (…), or ALTER TABLE {name} REPLICA IDENTITY FULL"),
            ));
        }
        let columns = live.iter().map(|(_, c)| c.column.clone()).collect();
        Ok(SourceUse { table: relation.name.clone(), relation: oid, columns, identity })
    }

    fn streamable(&self, relation: &crate::catalog::Relation) -> Result<(), PlanError> {
        let TableName { schema, name } = &relation.name;
        let what = format!("{schema}.{name}");
        let refused = |reason: &str, remedy: &str| Err(PlanError::refused(what.clone(), reason, remedy));
        if relation.is_system {
            return refused(
                "system catalogs are not in the stream of changes",
                "read it when reading the stream table",
            );
        }
        match relation.kind {
            'r' | 'p' => {}
            'm' => return refused("a materialized view is not in the stream of changes", "use the query behind it"),
            'f' => return refused("a foreign table's changes happen elsewhere", "start tributary where it is a table"),
            _ => return refused("it is not a table", "name a table or a view"),
        }
        match relation.persistence {
            't' => return refused("a temporary table is not in the stream of changes", "use an ordinary table"),
            'u' => return refused("an unlogged table is not in the stream of changes", "ALTER TABLE … SET LOGGED"),
            _ => {}
        }
        if relation.kind == 'r' && relation.has_children {
            return refused("tables that others inherit from cannot be kept yet", "use native partitions or UNION ALL");
        }
        if !relation.readable {
            return refused("this role may not read it", &format!("GRANT SELECT ON {} to it", relation.name.quoted()));
        }
        if relation.row_security && !self.allow_row_security {
            return refused(
                "it is under row-level security, and the stream table would show its readers what this role sees",
                "say --allow-row-security if that is meant",
            );
        }
        Ok(())
    }
}

/// An expression that reads no column.
struct Constants;

impl Scope for Constants {
    fn column(&mut self, _: usize, _: i64, _: &Node) -> Result<Expr, PlanError> {
        Err(PlanError::not_yet("LATERAL VALUES", "write it as a join"))
    }
    fn aggregate(&mut self, node: &Node) -> Result<Expr, PlanError> {
        Err(node.odd("place"))
    }
}

fn refuse(node: &Node) -> Result<(), PlanError> {
    if node.kind != "QUERY" || node.number("commandType")? != 1 || node.flag("hasModifyingCTE") {
        return Err(PlanError::refused("a statement that is not a SELECT", "a stream table is a query's answer", ""));
    }
    if node.has("limitCount") || node.has("limitOffset") {
        if !node.has("sortClause") {
            return Err(PlanError::refused(
                "LIMIT without ORDER BY",
                "which rows it takes is not determined by the rows",
                "add ORDER BY",
            ));
        }
        return Err(PlanError::not_yet(
            "ORDER BY … LIMIT",
            "keep the whole query, and limit when reading the stream table",
        ));
    }
    let flags = [
        ("hasWindowFuncs", "a window function", "use GROUP BY and join the result"),
        ("hasTargetSRFs", "a set-returning function", "join with a table that holds its rows"),
        ("hasRecursive", "WITH RECURSIVE", ""),
        ("hasDistinctOn", "DISTINCT ON", "use GROUP BY with min or max"),
    ];
    for (flag, construct, remedy) in flags {
        if node.flag(flag) {
            return Err(PlanError::not_yet(construct, remedy));
        }
    }
    if node.flag("hasForUpdate") || node.has("rowMarks") {
        return Err(PlanError::refused("FOR UPDATE", "a stream table locks no rows", "leave it out"));
    }
    if node.has("groupingSets") {
        return Err(PlanError::not_yet("GROUPING SETS, ROLLUP and CUBE", "use UNION ALL of several GROUP BY"));
    }
    Ok(())
}
