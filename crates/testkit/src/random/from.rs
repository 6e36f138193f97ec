//! Random FROM lists: tables, items of WITH, subqueries, functions, and all joins of them.

use rand::Rng;

use super::expression::Expr;
use super::generate::{Generator, Scope};
use super::query::From;
use super::schema::Ty;

impl Generator<'_> {
    /// A FROM list, and the columns that it gives.
    pub(super) fn from(&mut self, depth: usize, outer: &[Expr]) -> (Vec<From>, Vec<Expr>) {
        let count = [1, 1, 1, 2, 2, 3][self.rng.random_range(0..6)];
        let (mut tree, mut columns) = self.input(depth, outer);
        let mut list = Vec::new();
        for _ in 1..count {
            if self.often(25) {
                list.push(tree);
                let (next, more) = self.input(depth, outer);
                tree = next;
                columns.extend(more);
            } else {
                // Only the last tree's columns can be named in ON, and the others' as well as LATERAL's.
                let known = tree_columns(&tree, &columns);
                let (joined, more) = self.join(tree, &known, depth, outer);
                tree = joined;
                columns.extend(more);
            }
        }
        list.push(tree);
        (list, columns)
    }

    fn join(&mut self, left: From, known: &[Expr], depth: usize, outer: &[Expr]) -> (From, Vec<Expr>) {
        if depth > 0 && self.often(12) {
            let around: Vec<Expr> = known.iter().chain(outer).cloned().collect();
            let types = self.types(2);
            let query = self.of_types(&types, depth - 1, &around);
            let alias = self.alias('l');
            let columns = named(&alias, &types);
            let right = Box::new(From::Sub("LATERAL ", Box::new(query), alias));
            let words = ["CROSS JOIN", "LEFT JOIN", "JOIN"][self.rng.random_range(0..3)];
            let on = (words != "CROSS JOIN").then(|| Expr::plain("true".into(), Ty::Bool));
            return (From::Join(Box::new(left), words, right, on), columns);
        }
        let (right, columns) = self.input(depth, outer);
        let mut words = match self.rng.random_range(0..100) {
            0..45 => "JOIN",
            45..70 => "LEFT JOIN",
            70..82 => "RIGHT JOIN",
            82..92 => "FULL JOIN",
            _ => "CROSS JOIN",
        };
        let pairs: Vec<(Expr, Expr)> = known
            .iter()
            .flat_map(|l| columns.iter().filter(|r| r.ty == l.ty).map(|r| (l.clone(), r.clone())))
            .collect();
        let mut on = match self.pick(&pairs).filter(|_| words == "FULL JOIN" || self.often(80)) {
            Some((l, r)) => Expr::of("(? = ?)", vec![l, r], Ty::Bool),
            None => {
                if words == "FULL JOIN" {
                    words = "LEFT JOIN";
                }
                let scope = Scope { columns: known.iter().chain(&columns).cloned().collect(), ..Scope::default() };
                self.expr(Ty::Bool, &scope, 1, 0)
            }
        };
        if self.often(25) {
            let scope = Scope { columns: known.iter().chain(&columns).cloned().collect(), ..Scope::default() };
            let more = self.expr(Ty::Bool, &scope, 1, 0);
            on = Expr::of("(? AND ?)", vec![on, more], Ty::Bool);
        }
        let on = (words != "CROSS JOIN").then_some(on);
        (From::Join(Box::new(left), words, Box::new(right), on), columns)
    }

    fn input(&mut self, depth: usize, outer: &[Expr]) -> (From, Vec<Expr>) {
        match self.rng.random_range(0..100) {
            0..22 if depth > 0 => {
                let types = self.types(3);
                let query = self.of_types(&types, depth - 1, &[]);
                let alias = self.alias('q');
                let columns = named(&alias, &types);
                return (From::Sub("", Box::new(query), alias), columns);
            }
            22..26 => {
                let alias = self.alias('f');
                let columns = named(&alias, &[Ty::Int]);
                let ints: Vec<Expr> = outer.iter().filter(|c| c.ty == Ty::Int).cloned().collect();
                let call = match self.pick(&ints) {
                    Some(column) => Expr::of("generate_series(0, ? % 3)", vec![column], Ty::Int),
                    None => Expr::plain("unnest(ARRAY[1, 2, NULL, 2])".into(), Ty::Int),
                };
                return (From::Function(call, alias), columns);
            }
            26..56 => {
                let items = self.items.clone();
                if let Some((name, types)) = self.pick(&items) {
                    let alias = self.alias('w');
                    let columns = named(&alias, &types);
                    return (From::Named(name, alias), columns);
                }
            }
            _ => {}
        }
        let table = self.rng.random_range(0..self.schema.tables.len());
        let table = &self.schema.tables[table];
        let (name, all) = (table.name.clone(), table.all_columns());
        let alias = self.alias('t');
        let columns = all.iter().map(|(name, ty)| Expr::plain(format!("{alias}.{name}"), *ty)).collect();
        (From::Named(name, alias), columns)
    }
}

fn named(alias: &str, types: &[Ty]) -> Vec<Expr> {
    types.iter().enumerate().map(|(i, ty)| Expr::plain(format!("{alias}.c{i}"), *ty)).collect()
}

/// Of these columns, those of inputs within the tree.
fn tree_columns(tree: &From, columns: &[Expr]) -> Vec<Expr> {
    let mut aliases = Vec::new();
    collect(tree, &mut aliases);
    let own = |c: &&Expr| c.parts[0].split('.').next().is_some_and(|a| aliases.iter().any(|alias| alias == a));
    columns.iter().filter(own).cloned().collect()
}

fn collect(tree: &From, aliases: &mut Vec<String>) {
    match tree {
        From::Named(_, alias) | From::Sub(_, _, alias) | From::Function(_, alias) => aliases.push(alias.clone()),
        From::Join(left, _, right, _) => {
            collect(left, aliases);
            collect(right, aliases);
        }
    }
}
