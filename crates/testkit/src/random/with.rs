//! Random items of WITH, recursive ones too.

use rand::Rng;

use super::expression::Expr;
use super::generate::{Generator, Readable};
use super::query::{Body, With};
use super::ty::Ty;

impl Generator<'_> {
    /// An item, which can be named from here on; some read `outer`.
    pub(super) fn item(&mut self, depth: usize, outer: &[Expr]) -> With {
        let name = self.alias('w');
        if self.often(28) {
            return self.recursive(name, depth, outer);
        }
        let types = self.types(3);
        let before = self.joins;
        let around = if self.often(30) { outer } else { &[] };
        let query = self.of_types(&types, depth - 1, around);
        self.items.push((name.clone(), Readable { types, joins: self.joins - before }));
        let hint = ["", "", "MATERIALIZED ", "NOT MATERIALIZED "][self.rng.random_range(0..4)];
        With { name, hint, query, step: None, clauses: String::new() }
    }

    /// One that ends: UNION over keys of tables, which are few, or a number that grows up to a bound.
    fn recursive(&mut self, name: String, depth: usize, outer: &[Expr]) -> With {
        let table = self.pick(&self.schema.tables);
        let by = table.and_then(|t| {
            let ints: Vec<String> = t.columns.iter().filter(|c| c.1 == Ty::Int).map(|c| c.0.clone()).collect();
            Some((t.name, self.pick(&ints)?, t.keyed))
        });
        let mut types = vec![Ty::Int];
        let (union, step) = match by {
            Some((table, x, keyed)) if self.often(75) => match self.rng.random_range(0..6) {
                0 | 1 => ("UNION", format!("SELECT t.k AS c0 FROM {name} JOIN {table} t ON t.{x} = {name}.c0")),
                2 => ("UNION", format!("SELECT t.{x} AS c0 FROM {name} LEFT JOIN {table} t ON t.k = {name}.c0")),
                3 => {
                    let not = ["", "NOT "][self.rng.random_range(0..2)];
                    let step = format!(
                        "SELECT t.k AS c0 FROM {name} JOIN {table} t ON t.{x} = {name}.c0 \
                         WHERE {not}EXISTS (SELECT FROM {table} u WHERE u.{x} = t.k)"
                    );
                    ("UNION", step)
                }
                4 => {
                    types.push(Ty::Int);
                    let step = format!(
                        "SELECT t.k AS c0, {name}.c1 + 1 AS c1 FROM {name} JOIN {table} t ON t.{x} = {name}.c0 WHERE {name}.c1 < 4"
                    );
                    ("UNION", step)
                }
                _ => {
                    let end = if keyed { 4 } else { 1 };
                    let step = format!(
                        "SELECT {name}.c0 + 1 AS c0 FROM {name} JOIN {table} t ON t.k = {name}.c0 WHERE {name}.c0 BETWEEN -2 AND {end}"
                    );
                    ("UNION ALL", step)
                }
            },
            _ => {
                let union = ["UNION", "UNION ALL"][self.rng.random_range(0..2)];
                (union, format!("SELECT {name}.c0 + 1 AS c0 FROM {name} WHERE {name}.c0 BETWEEN -2 AND 4"))
            }
        };
        let ints: Vec<Expr> = outer.iter().filter(|e| e.ty == Ty::Int).cloned().collect();
        let around = self.pick(&ints).filter(|_| self.often(40));
        let step = match &around {
            Some(around) if step.contains(" WHERE ") => format!("{step} AND {name}.c0 IS DISTINCT FROM {around}"),
            Some(around) => format!("{step} WHERE {name}.c0 IS DISTINCT FROM {around}"),
            None => step,
        };
        let before = self.joins;
        let query = self.of_types(&types, depth - 2, if around.is_some() { outer } else { &[] });
        let mut clauses = String::new();
        // With the way that led to it no row comes a second time: UNION ends nothing then that has no end of its own.
        let ends = step.contains(" + 1 AS c");
        // PostgreSQL takes them over a SELECT only.
        let may = union == "UNION" && matches!(query.body, Body::Select(_)) && query.limit.is_none();
        let (search, cycle) = (may && self.often(15), may && self.often(30));
        if search && (ends || cycle) {
            let order = ["DEPTH", "BREADTH"][self.rng.random_range(0..2)];
            clauses.push_str(&format!(" SEARCH {order} FIRST BY c0 SET searched"));
        }
        if cycle {
            clauses.push_str(&format!(" CYCLE c0 SET c{} USING path", types.len()));
            types.push(Ty::Bool);
        }
        self.items.push((name.clone(), Readable { types, joins: self.joins - before }));
        With { name, hint: "", query, step: Some((union, step)), clauses }
    }
}
