//! Tables and views as inputs of a query: which of them can be followed, and what makes their rows unique.

use std::collections::HashMap;

use types::{Oid, TableName};

use crate::PlanError;
use crate::built::{Built, BuiltColumn, Shown};
use crate::catalog::Relation;
use crate::convert::{Scope, convert};
use crate::expr::Expr;
use crate::query::Planner;
use crate::reader::{Node, Tree};
use crate::tree::{Rel, SourceUse};

/// The names in a generated column's expression: its table's columns.
struct OwnColumns<'s> {
    exprs: &'s [Expr],
    map: &'s HashMap<i64, usize>,
}

impl Scope for OwnColumns<'_> {
    fn column(&mut self, _: usize, attribute: i64, node: &Node) -> Result<Expr, PlanError> {
        let expr = self.map.get(&attribute).and_then(|at| self.exprs.get(*at));
        expr.cloned().ok_or_else(|| node.odd("varattno"))
    }
    fn aggregate(&mut self, node: &Node) -> Result<Expr, PlanError> {
        Err(node.odd("place"))
    }
}

impl<'a> Planner<'a> {
    /// An entry of FROM that is a relation, and where its attributes are.
    pub(crate) fn relation(&mut self, entry: &'a Node) -> Result<(Shown, HashMap<i64, usize>), PlanError> {
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
            let (shown, mut map) = self.named_query(query)?;
            self.ctes = outer;
            if relation.is_stream {
                map = relation.columns.keys().map(|&a| (a, usize::try_from(a - 1).unwrap_or(usize::MAX))).collect();
            }
            return Ok((shown, map));
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
        let mut map: HashMap<i64, usize> = live.enumerate().map(|(i, (attribute, _))| (*attribute, i)).collect();
        let built = Built { rel: Rel::Source(index), columns: columns.collect(), keys };
        let mut shown = built.shown()?;
        // Generated columns are not in the stream of changes; they are computed as the table computes them.
        let mut generated = Vec::new();
        for (attribute, column) in &relation.columns {
            if let Some(formula) = &column.formula {
                let mut own = OwnColumns { exprs: &shown.exprs, map: &map };
                let expr = convert(formula, &mut own, self.catalog)?;
                let ty = column.column.ty;
                generated.push((*attribute, Expr { ty, declared: column.declared, ..expr }));
            }
        }
        for (attribute, expr) in generated {
            map.insert(attribute, shown.exprs.len());
            shown.exprs.push(expr);
        }
        Ok((shown, map))
    }

    fn source(&self, oid: Oid, relation: &Relation) -> Result<SourceUse, PlanError> {
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
        let filter = Vec::new();
        Ok(SourceUse { table: relation.name.clone(), relation: oid, columns, identity, filter })
    }

    fn streamable(&self, relation: &Relation) -> Result<(), PlanError> {
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
