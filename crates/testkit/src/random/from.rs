//! Random FROM lists: tables, items of WITH, subqueries, functions, and all joins of them.

use rand::Rng;

use super::expression::Expr;
use super::generate::{Generator, Readable, Scope};
use super::query::From;
use super::ty::Ty;

/// Joins of a query without an equality. Each multiplies the rows of all that is above it, for the engine at every change.
const MOST_PRODUCTS: usize = 2;

/// Joins in a query and in what it names: three of the former kind, each of some dozen rows, are a million pairs.
const MOST_JOINS: usize = 6;

impl Generator<'_> {
    /// Counts a join without an equality, if there may be one more.
    fn may_multiply(&mut self) -> bool {
        self.products += 1;
        let may = self.products <= MOST_PRODUCTS;
        self.joins += if may { 2 } else { 0 };
        may
    }

    /// A FROM list, and the columns that it gives.
    pub(super) fn from(&mut self, depth: usize, outer: &[Expr]) -> (Vec<From>, Vec<Expr>) {
        let count = [1, 1, 1, 2, 2, 3][self.rng.random_range(0..6)];
        let (mut tree, mut columns) = self.input(depth, outer);
        let mut list = Vec::new();
        for _ in 1..count {
            if self.often(25) && self.may_multiply() {
                list.push(tree);
                let around: Vec<Expr> = columns.iter().chain(outer).cloned().collect();
                let (next, more) =
                    if self.often(15) { self.function(depth, &around) } else { self.input(depth, outer) };
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
        if depth > 0 && self.often(12) && self.may_multiply() {
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
        self.joins += 1;
        if self.often(7) {
            let around: Vec<Expr> = known.iter().chain(outer).cloned().collect();
            let types = self.types(2);
            let mut rows: Vec<Vec<Expr>> =
                (0..self.rng.random_range(1..=3)).map(|_| self.row(&types, &around)).collect();
            if depth > 0 && self.often(25) {
                rows[0][0] = self.one_value(types[0], depth - 1, &around);
            }
            let alias = self.alias('v');
            let columns = named(&alias, &types);
            let right = Box::new(From::Values(rows, alias));
            let words = ["CROSS JOIN", "LEFT JOIN", "LEFT JOIN", "JOIN"][self.rng.random_range(0..4)];
            let scope = Scope { columns: known.iter().chain(&columns).cloned().collect(), ..Scope::default() };
            let on = match words {
                "CROSS JOIN" => None,
                _ if self.often(50) => Some(Expr::plain("true".into(), Ty::Bool)),
                _ => Some(self.expr(Ty::Bool, &scope, 1, 0)),
            };
            return (From::Join(Box::new(left), words, right, on), columns);
        }
        let (right, columns) = self.input(depth, outer);
        let mut words = match self.rng.random_range(0..100) {
            0..45 => "JOIN",
            45..70 => "LEFT JOIN",
            70..82 => "RIGHT JOIN",
            82..92 => "FULL JOIN",
            _ if self.may_multiply() => "CROSS JOIN",
            _ => "JOIN",
        };
        let pairs: Vec<(Expr, Expr)> = known
            .iter()
            .flat_map(|l| columns.iter().filter(|r| r.ty == l.ty).map(|r| (l.clone(), r.clone())))
            .collect();
        let mut on = match self.pick(&pairs).filter(|_| words == "FULL JOIN" || self.often(80) || !self.may_multiply())
        {
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
        if let (From::Named(..) | From::Sub(..), From::Named(..) | From::Sub(..)) = (&left, &right)
            && self.often(25)
            && let Some((words, on)) = self.by_name(known, &columns)
        {
            return (From::Join(Box::new(left), words, Box::new(right), on), columns);
        }
        (From::Join(Box::new(left), words, Box::new(right), on), columns)
    }

    /// A join by columns of the same name and type.
    fn by_name(&mut self, left: &[Expr], right: &[Expr]) -> Option<(&'static str, Option<Expr>)> {
        let name = |e: &Expr| e.parts[0].rsplit('.').next().unwrap_or_default().to_owned();
        let pairs = left.iter().flat_map(|l| right.iter().filter(|r| name(l) == name(r)).map(move |r| (l, r)));
        let pairs: Vec<(String, bool)> = pairs.map(|(l, r)| (name(l), l.ty == r.ty)).collect();
        if !pairs.is_empty() && pairs.iter().all(|(_, same)| *same) && self.often(40) {
            let words = ["NATURAL JOIN", "NATURAL LEFT JOIN", "NATURAL RIGHT JOIN", "NATURAL FULL JOIN"];
            return Some((words[self.rng.random_range(0..4)], None));
        }
        let same: Vec<String> = pairs.into_iter().filter(|(_, same)| *same).map(|(name, _)| name).collect();
        let column = self.pick(&same)?;
        let words = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"];
        Some((words[self.rng.random_range(0..4)], Some(Expr::plain(format!("USING ({column})"), Ty::Bool))))
    }

    /// A set-returning function, over a column around it where there is one that fits.
    fn function(&mut self, depth: usize, outer: &[Expr]) -> (From, Vec<Expr>) {
        let over = [
            ("generate_series(0, ? % 3)", Ty::Int, Ty::Int),
            ("unnest(?)", Ty::Ints, Ty::Int),
            ("unnest(?) WITH ORDINALITY", Ty::Ints, Ty::Int),
            ("regexp_split_to_table(?, 'a')", Ty::Text, Ty::Text),
            ("jsonb_array_elements(jsonb_build_array(?, NULL, 1))", Ty::Json, Ty::Json),
            ("jsonb_array_elements(jsonb_build_array(?, 1)) WITH ORDINALITY", Ty::Json, Ty::Json),
        ];
        let alias = self.alias('f');
        let mut fitting = Vec::new();
        for (text, of, ty) in over {
            fitting.extend(outer.iter().filter(|c| c.ty == of).map(|c| (text, c.clone(), ty)));
        }
        let call = match self.pick(&fitting) {
            _ if depth > 0 && self.often(25) => {
                let value = self.one_value(Ty::Int, depth - 1, outer);
                Expr::of("generate_series(0, ? % 3)", vec![value], Ty::Int)
            }
            Some((text, column, ty)) => Expr::of(text, vec![column], ty),
            None => Expr::plain("unnest(ARRAY[1, 2, NULL, 2])".into(), Ty::Int),
        };
        let mut types = vec![call.ty];
        if call.parts.concat().ends_with("ORDINALITY") {
            types.push(Ty::Big);
        }
        (From::Function(call, alias.clone()), named(&alias, &types))
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
            22..27 => return self.function(depth, outer),
            27..56 => {
                let few = |item: &&(String, Readable)| self.joins + item.1.joins <= MOST_JOINS;
                let items: Vec<(String, Readable)> = self.items.iter().filter(few).cloned().collect();
                if let Some((name, item)) = self.pick(&items) {
                    self.joins += item.joins;
                    let alias = self.alias('w');
                    let columns = named(&alias, &item.types);
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
        From::Named(_, alias) | From::Sub(_, _, alias) | From::Function(_, alias) | From::Values(_, alias) => {
            aliases.push(alias.clone());
        }
        From::Join(left, _, right, _) => {
            collect(left, aliases);
            collect(right, aliases);
        }
    }
}
