//! The generator: queries first, then what they show.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::expression::{Arg, Expr};
use super::query::{Body, Group, Limit, Query, Select};
use super::schema::Schema;
use super::shapes::{aggregates, shapes};
use super::ty::Ty;

/// Makes random queries over tables.
pub struct Generator<'s> {
    pub(super) rng: StdRng,
    pub(super) schema: &'s Schema,
    /// Aliases given out.
    pub(super) aliases: usize,
    /// Items of WITH, views and stream tables that can be named.
    pub(super) items: Vec<(String, Readable)>,
    /// Joins without an equality in the query that is being made.
    pub(super) products: usize,
    /// All joins in it and in what it names, those without an equality twice.
    pub(super) joins: usize,
    /// Windows with names in the query that is being made.
    pub(super) windows: Vec<(String, Expr)>,
    /// A window function in it goes by the places of rows.
    pub(super) decided: bool,
    /// Views and stream tables that can be named.
    views: Vec<(String, Readable)>,
}

/// What a query is to those that name it.
#[derive(Debug, Clone)]
pub struct Readable {
    /// Its columns'.
    pub(super) types: Vec<Ty>,
    /// As the generator counts them.
    pub(super) joins: usize,
}

/// What an expression may read.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) columns: Vec<Expr>,
    /// Columns of the queries around.
    pub(super) outer: Vec<Expr>,
    pub(super) subqueries: bool,
}

impl Scope {
    /// Columns that a subquery may read of this query and those around it.
    fn for_subqueries(&self) -> Vec<Expr> {
        let named = |e: &&Expr| e.is_leaf() && e.parts[0].contains('.') && !e.parts[0].contains('(');
        self.columns.iter().filter(named).chain(&self.outer).cloned().collect()
    }
}

impl<'s> Generator<'s> {
    /// A generator whose queries follow from the seed.
    pub fn new(seed: u64, schema: &'s Schema) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            schema,
            aliases: 0,
            items: Vec::new(),
            products: 0,
            joins: 0,
            windows: Vec::new(),
            decided: false,
            views: Vec::new(),
        }
    }

    pub(super) fn often(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    pub(super) fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() { None } else { Some(of[self.rng.random_range(0..of.len())].clone()) }
    }

    pub(super) fn alias(&mut self, letter: char) -> String {
        self.aliases += 1;
        format!("{letter}{}", self.aliases)
    }

    pub(super) fn types(&mut self, most: usize) -> Vec<Ty> {
        let palette = &self.schema.palette;
        (0..self.rng.random_range(1..=most)).map(|_| palette[self.rng.random_range(0..palette.len())]).collect()
    }

    /// A query of one to four columns, and what it is to others.
    pub fn query(&mut self) -> (Query, Readable) {
        let types = self.types(4);
        self.items.clone_from(&self.views);
        (self.products, self.joins) = (0, 0);
        let query = self.of_types(&types, 3, &[]);
        (query, Readable { types, joins: self.joins })
    }

    /// From now on queries may read a view or stream table of such a query; its columns are `c0`, `c1`, ….
    pub fn may_read(&mut self, name: &str, readable: &Readable) {
        // The latest few, so that chains become long.
        if self.views.len() == 4 {
            self.views.remove(0);
        }
        self.views.push((name.to_owned(), readable.clone()));
    }

    /// A query whose columns have these types, nested at most `depth` deep, that may read `outer`.
    pub(super) fn of_types(&mut self, types: &[Ty], depth: usize, outer: &[Expr]) -> Query {
        let known = self.items.len();
        let mut with = Vec::new();
        if depth > 1 && self.often(18) {
            for _ in 0..self.rng.random_range(1..=2) {
                with.push(self.item(depth, outer));
            }
        }
        let body = match self.rng.random_range(0..100) {
            0..18 if depth > 0 => {
                let words = ["UNION", "UNION ALL", "INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL"];
                let word = words[self.rng.random_range(0..6)];
                let left = self.of_types(types, depth - 1, outer);
                let narrower: Vec<Ty> =
                    types.iter().map(|ty| if *ty == Ty::Big && self.often(40) { Ty::Int } else { *ty }).collect();
                let right = self.of_types(&narrower, depth - 1, outer);
                Body::Set(Box::new(left), word, Box::new(right))
            }
            18..22 => {
                let rows = self.rng.random_range(1..=3);
                Body::Values((0..rows).map(|_| self.row(types, outer)).collect())
            }
            _ => Body::Select(Box::new(self.select(types, depth, outer, false))),
        };
        let ordered = matches!(&body, Body::Select(select) if !select.order.is_empty());
        let limit = if !ordered && self.often(12) { Some(self.limit(types.len())) } else { None };
        self.items.truncate(known);
        Query { with, body, limit }
    }

    /// A row of VALUES, some of it over `around`.
    pub(super) fn row(&mut self, types: &[Ty], around: &[Expr]) -> Vec<Expr> {
        let scope = Scope { outer: around.to_vec(), ..Scope::default() };
        let value = |ty: &Ty| match around.is_empty() || self.often(40) {
            true => Expr::plain(ty.value(&mut self.rng), *ty),
            false => self.expr(*ty, &scope, 1, 0),
        };
        types.iter().map(value).collect()
    }

    fn limit(&mut self, width: usize) -> Limit {
        let mut keys: Vec<String> = (0..width).map(|c| format!("c{c}")).collect();
        if self.often(50) {
            keys.reverse();
        }
        for key in &mut keys {
            key.push_str(["", "", " DESC", " DESC NULLS LAST", " NULLS FIRST"][self.rng.random_range(0..5)]);
        }
        let (rows, skipped) = (self.rng.random_range(0..8), self.rng.random_range(0..4));
        let rows = match self.rng.random_range(0..4) {
            0 => format!("LIMIT {rows}"),
            1 => format!("LIMIT {rows} OFFSET {skipped}"),
            2 => format!("OFFSET {skipped}"),
            _ => {
                keys.truncate(1);
                format!("FETCH FIRST {rows} ROWS WITH TIES")
            }
        };
        Limit { order: keys.join(", "), rows }
    }

    pub(super) fn select(&mut self, types: &[Ty], depth: usize, outer: &[Expr], one_row: bool) -> Select {
        let around = (std::mem::take(&mut self.windows), std::mem::take(&mut self.decided));
        let mut select = self.unnamed(types, depth, outer, one_row);
        select.windows = std::mem::take(&mut self.windows);
        (self.windows, self.decided) = around;
        select
    }

    fn unnamed(&mut self, types: &[Ty], depth: usize, outer: &[Expr], one_row: bool) -> Select {
        let (from, columns) = self.from(depth, outer);
        let scope = Scope { columns, outer: outer.to_vec(), subqueries: depth > 0 };
        let filter = self.often(55).then(|| self.expr(Ty::Bool, &scope, 2, depth));
        let mut select = Select { from, filter, ..Select::default() };
        if one_row || self.often(35) {
            self.grouped(&mut select, types, scope, depth, one_row);
            return select;
        }
        let mut shown = scope.clone();
        if self.often(12) {
            for ty in types {
                if let Some(call) = self.window(*ty, &scope) {
                    shown.columns.extend([call.clone(), call]);
                }
            }
        }
        select.targets = types.iter().map(|ty| self.expr(*ty, &shown, 2, depth)).collect();
        if self.often(6) {
            for (target, ty) in select.targets.iter_mut().zip(types) {
                if let Some(call) = self.rows_of(*ty, &scope) {
                    *target = call;
                }
            }
        }
        for (target, ty) in select.targets.iter_mut().zip(types) {
            if self.often(8) && !select.from.is_empty() {
                *target = self.whole_row(*ty, &scope.columns).unwrap_or_else(|| target.clone());
            }
        }
        match self.rng.random_range(0..100) {
            0..12 => select.distinct = "DISTINCT ".into(),
            12..18 => {
                select.distinct = ["DISTINCT ON (c0) ", "DISTINCT ON (c0, c1) "][usize::from(types.len() > 2)].into();
                let keys: Vec<String> = (0..types.len())
                    .map(|c| format!("c{c}{}", ["", " DESC", " NULLS FIRST"][self.rng.random_range(0..3)]))
                    .collect();
                select.order = format!(" ORDER BY {}", keys.join(", "));
            }
            _ => {}
        }
        select
    }

    fn grouped(&mut self, select: &mut Select, types: &[Ty], scope: Scope, depth: usize, one_row: bool) {
        let mut items: Vec<Expr> = Vec::new();
        if !one_row {
            for _ in 0..self.rng.random_range(0..=2) {
                let Some(column) = self.pick(&scope.columns) else { break };
                let item = if self.often(25) { self.over(&column) } else { column };
                if !items.iter().any(|i| i.to_string() == item.to_string()) {
                    items.push(item);
                }
            }
        }
        let inside = Scope { columns: scope.columns.clone(), ..Scope::default() };
        let mut after = Scope { columns: items.clone(), outer: scope.outer, subqueries: scope.subqueries };
        for ty in types {
            let call = self.aggregate(*ty, &inside);
            after.columns.push(call);
        }
        if one_row || !items.is_empty() || self.often(80) {
            let sets = !items.is_empty() && self.often(18);
            let words = ["ROLLUP", "CUBE", "GROUPING SETS", "SETS", "BOTH", "DISTINCT"];
            let word = if sets { words[self.rng.random_range(0..6)] } else { "" };
            if sets {
                after.columns.push(Expr::of("GROUPING(?)", vec![items[0].clone()], Ty::Int));
            }
            if !items.is_empty() {
                select.group = Some(Group { items, word });
            }
        } else {
            select.group = Some(Group { items, word: "" });
        }
        if !one_row && self.often(25) {
            select.having = Some(self.expr(Ty::Bool, &after, 1, depth));
        }
        if !one_row && select.group.is_some() && self.often(10) {
            let call = self.window(types[0], &after);
            select.targets.extend(call);
        }
        let rest = types.iter().skip(select.targets.len());
        let rest: Vec<Expr> = rest.map(|ty| self.expr(*ty, &after, 1, depth)).collect();
        select.targets.extend(rest);
        if one_row || select.group.is_none() {
            // It is grouped by its aggregates alone, of which there has to be one.
            let ty = types[0];
            select.targets[0] = self.aggregate(ty, &inside);
        }
    }

    /// An expression over a column.
    fn over(&mut self, column: &Expr) -> Expr {
        let fitting: Vec<(&str, Ty)> = Ty::PLAIN
            .iter()
            .chain(&Ty::OTHERS)
            .flat_map(|ty| shapes(*ty).iter().map(|shape| (shape, *ty)))
            .filter(|((_, args), _)| args.len() == 1 && args[0] == column.ty)
            .map(|((text, _), ty)| (*text, ty))
            .collect();
        match self.pick(&fitting) {
            Some((text, ty)) => Expr::of(text, vec![column.clone()], ty),
            None => column.clone(),
        }
    }

    fn aggregate(&mut self, ty: Ty, scope: &Scope) -> Expr {
        let (text, args) = aggregates(ty)[self.rng.random_range(0..aggregates(ty).len())];
        let simple = !text.starts_with('(') && !text.contains("::");
        let simple = simple && !["round", "left", "cardinality"].iter().any(|w| text.starts_with(w));
        let mut args: Vec<Expr> = args.iter().map(|ty| self.expr(*ty, scope, 1, 0)).collect();
        // What is ordered by itself has to be the same in both places.
        if let ([first, second], true) = (args.as_mut_slice(), text.contains("ORDER BY")) {
            *second = first.clone();
        }
        if simple && self.often(20) {
            args.push(self.expr(Ty::Bool, scope, 1, 0));
            return Expr::of(&format!("{text} FILTER (WHERE ?)"), args, ty);
        }
        Expr::of(text, args, ty)
    }

    /// An expression of a type, `size` operators deep.
    pub(super) fn expr(&mut self, ty: Ty, scope: &Scope, size: usize, depth: usize) -> Expr {
        if size == 0 || self.often(35) {
            let of = |from: &[Expr]| from.iter().filter(|c| c.ty == ty).cloned().collect::<Vec<_>>();
            let (own, outer) = (of(&scope.columns), of(&scope.outer));
            if !outer.is_empty() && self.often(45) {
                return self.pick(&outer).unwrap_or_else(|| unreachable!("there are some"));
            }
            if let Some(column) = self.pick(&own).filter(|_| self.often(85)) {
                return column;
            }
            return Expr::plain(ty.value(&mut self.rng), ty);
        }
        if scope.subqueries && depth > 0 && self.often(if ty == Ty::Bool { 22 } else { 7 }) {
            return self.subquery(ty, scope, depth - 1);
        }
        // Mostly over types that columns have.
        let has = |args: &[Ty]| args.iter().all(|ty| *ty == Ty::Bool || self.schema.palette.contains(ty));
        let fitting: Vec<_> = shapes(ty).iter().filter(|(_, args)| has(args)).copied().collect();
        let (text, args) = match self.pick(&fitting).filter(|_| self.often(95)) {
            Some(shape) => shape,
            None => shapes(ty)[self.rng.random_range(0..shapes(ty).len())],
        };
        Expr::of(text, args.iter().map(|ty| self.expr(*ty, scope, size - 1, depth)).collect(), ty)
    }

    /// A set-returning function in a SELECT list.
    fn rows_of(&mut self, ty: Ty, scope: &Scope) -> Option<Expr> {
        let (text, of) = match ty {
            Ty::Int => [("generate_series(0, ? % 3)", Ty::Int), ("unnest(?)", Ty::Ints)][self.rng.random_range(0..2)],
            Ty::Text => ("regexp_split_to_table(?, '_')", Ty::Text),
            Ty::Json => ("jsonb_array_elements(jsonb_build_array(?, 2))", Ty::Json),
            _ => return None,
        };
        let arg = self.expr(of, &Scope { columns: scope.columns.clone(), ..Scope::default() }, 1, 0);
        Some(Expr::of(text, vec![arg], ty))
    }

    /// A subquery that has one row.
    pub(super) fn one_value(&mut self, ty: Ty, depth: usize, outer: &[Expr]) -> Expr {
        let select = Body::Select(Box::new(self.select(&[ty], depth, outer, true)));
        Expr::new("(?)", vec![Arg::Query(Box::new(Query::plain(select)))], ty)
    }

    /// The whole row of an entry of FROM, as a value of the type.
    fn whole_row(&mut self, ty: Ty, columns: &[Expr]) -> Option<Expr> {
        let text = match ty {
            Ty::Json => "to_jsonb({})",
            Ty::Text => "left(row_to_json({})::text, 20)",
            Ty::Bool => "({} IS NOT NULL)",
            _ => return None,
        };
        let column = self.pick(columns).filter(Expr::is_leaf)?;
        let (alias, _) = column.parts[0].split_once('.').filter(|(alias, _)| !alias.contains('('))?;
        Some(Expr::plain(text.replace("{}", alias), ty))
    }

    fn subquery(&mut self, ty: Ty, scope: &Scope, depth: usize) -> Expr {
        let outer = scope.for_subqueries();
        // Equal integers are the same, so that the order is decided.
        let arrays = match ty {
            Ty::Ints => Some("ARRAY(SELECT c0 FROM (?) s ORDER BY 1)"),
            Ty::Int => Some("cardinality(ARRAY(SELECT c0 FROM (?) s ORDER BY 1 DESC))"),
            Ty::Text => Some("array_to_string(ARRAY(SELECT c0 FROM (?) s ORDER BY 1 NULLS FIRST), ',', '-')"),
            _ => None,
        };
        if let Some(text) = arrays.filter(|_| self.often(if ty == Ty::Ints { 60 } else { 15 })) {
            let query = self.of_types(&[Ty::Int], depth, &outer);
            return Expr::new(text, vec![Arg::Query(Box::new(query))], ty);
        }
        if ty != Ty::Bool {
            return self.one_value(ty, depth, &outer);
        }
        if self.often(45) {
            let types = self.types(2);
            let query = self.of_types(&types, depth, &outer);
            let text = ["EXISTS (?)", "(NOT EXISTS (?))"][self.rng.random_range(0..2)];
            return Expr::new(text, vec![Arg::Query(Box::new(query))], ty);
        }
        let of = self.types(1)[0];
        let query = Arg::Query(Box::new(self.of_types(&[of], depth, &outer)));
        let plain = Scope { subqueries: false, ..scope.clone() };
        let value = Arg::Expr(self.expr(of, &plain, 1, 0));
        let texts = ["(? IN (?))", "(? NOT IN (?))", "(? = ANY (?))", "(? > ALL (?))", "(? <= ANY (?))"];
        Expr::new(texts[self.rng.random_range(0..5)], vec![value, query], ty)
    }
}
