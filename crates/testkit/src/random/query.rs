//! Queries as trees.

use std::fmt;

use super::expression::Expr;

/// A query. Its columns are named `c0`, `c1`, …
#[derive(Debug, Clone)]
pub struct Query {
    /// Name, columns' names where they are not the query's own, RECURSIVE with the step.
    pub(super) with: Vec<With>,
    pub(super) body: Body,
    /// By which all columns, and how many rows.
    pub(super) limit: Option<Limit>,
}

/// An item of WITH.
#[derive(Debug, Clone)]
pub(super) struct With {
    pub(super) name: String,
    /// MATERIALIZED or NOT MATERIALIZED, or nothing.
    pub(super) hint: &'static str,
    pub(super) query: Query,
    /// UNION or UNION ALL, and the step.
    pub(super) step: Option<(&'static str, String)>,
    /// SEARCH and CYCLE.
    pub(super) clauses: String,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    Select(Box<Select>),
    /// Left, UNION or its kin, right.
    Set(Box<Query>, &'static str, Box<Query>),
    Values(Vec<Vec<Expr>>),
}

/// Which rows are taken, in an order that decides.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    /// Keys; behind them all columns follow.
    pub(super) order: String,
    pub(super) rows: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Select {
    /// DISTINCT, or DISTINCT ON with its order, or nothing.
    pub(super) distinct: String,
    pub(super) targets: Vec<Expr>,
    pub(super) from: Vec<From>,
    pub(super) filter: Option<Expr>,
    pub(super) group: Option<Group>,
    pub(super) having: Option<Expr>,
    /// Windows with names.
    pub(super) windows: Vec<(String, Expr)>,
    /// Of DISTINCT ON.
    pub(super) order: String,
}

#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) items: Vec<Expr>,
    /// ROLLUP, CUBE, GROUPING SETS, one of the mixtures of `written`, or nothing.
    pub(super) word: &'static str,
}

#[derive(Debug, Clone)]
pub(super) enum From {
    /// A table or an item of WITH, and its alias.
    Named(String, String),
    /// LATERAL or nothing, the query, its alias.
    Sub(&'static str, Box<Query>, String),
    /// A set-returning function and its alias.
    Function(Expr, String),
    /// Rows of LATERAL VALUES, and their alias.
    Values(Vec<Vec<Expr>>, String),
    /// Left, the join's words, right, ON.
    Join(Box<From>, &'static str, Box<From>, Option<Expr>),
}

impl Query {
    /// A query that is nothing but its body.
    pub(super) fn plain(body: Body) -> Self {
        Self { with: Vec::new(), body, limit: None }
    }

    /// The same with those of these queries that it reads as items of WITH before its own.
    #[must_use]
    pub fn within(mut self, items: &[(String, Self)]) -> Self {
        for (name, query) in items.iter().rev() {
            if self.to_string().contains(name.as_str()) {
                self.with.insert(
                    0,
                    With { name: name.clone(), hint: "", query: query.clone(), step: None, clauses: String::new() },
                );
            }
        }
        self
    }

    /// How many columns it has.
    pub(super) fn width(&self) -> usize {
        match &self.body {
            Body::Select(select) => select.targets.len(),
            Body::Set(left, ..) => left.width(),
            Body::Values(rows) => rows.first().map_or(0, Vec::len),
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.with.is_empty() {
            let recursive = if self.with.iter().any(|w| w.step.is_some()) { "RECURSIVE " } else { "" };
            write!(f, "WITH {recursive}")?;
            for (i, item) in self.with.iter().enumerate() {
                let comma = if i > 0 { ", " } else { "" };
                match &item.step {
                    None => write!(f, "{comma}{} AS {}({})", item.name, item.hint, item.query)?,
                    Some((union, step)) => {
                        write!(f, "{comma}{} AS (({}) {union} {step}){}", item.name, item.query, item.clauses)?;
                    }
                }
            }
            f.write_str(" ")?;
        }
        let width = self.width();
        match &self.body {
            Body::Select(select) => write!(f, "{select}")?,
            Body::Set(left, word, right) => write!(f, "({left}) {word} ({right})")?,
            Body::Values(rows) => write!(f, "SELECT * FROM {}", values(rows, "v"))?,
        }
        if let Some(limit) = &self.limit {
            let names: Vec<String> = (0..width).map(|c| format!("c{c}")).collect();
            let order = if limit.order.is_empty() { names.join(", ") } else { limit.order.clone() };
            write!(f, " ORDER BY {order} {}", limit.rows)?;
        }
        Ok(())
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<String> = self.targets.iter().enumerate().map(|(i, t)| format!("{t} AS c{i}")).collect();
        write!(f, "SELECT {}{}", self.distinct, targets.join(", "))?;
        if !self.from.is_empty() {
            write!(f, " FROM {}", list(&self.from))?;
        }
        if let Some(filter) = &self.filter {
            write!(f, " WHERE {filter}")?;
        }
        if let Some(group) = &self.group {
            write!(f, " GROUP BY {}", group.written())?;
        }
        if let Some(having) = &self.having {
            write!(f, " HAVING {having}")?;
        }
        for (at, (name, window)) in self.windows.iter().enumerate() {
            write!(f, "{} {name} AS ({window})", if at == 0 { " WINDOW" } else { "," })?;
        }
        f.write_str(&self.order)
    }
}

fn values(rows: &[Vec<Expr>], alias: &str) -> String {
    let names: Vec<String> = (0..rows.first().map_or(0, Vec::len)).map(|c| format!("c{c}")).collect();
    let rows: Vec<String> = rows.iter().map(|row| format!("({})", list(row))).collect();
    format!("(VALUES {}) {alias} ({})", rows.join(", "), names.join(", "))
}

impl Group {
    fn written(&self) -> String {
        let (Some(first), all) = (self.items.first(), list(&self.items)) else { return "()".into() };
        match self.word {
            "" => all,
            "SETS" => format!("GROUPING SETS (({all}), ({first}), (), ({first}))"),
            "BOTH" => format!("{first}, ROLLUP ({all})"),
            "DISTINCT" => format!("DISTINCT ROLLUP ({all}), CUBE ({all})"),
            word => format!("{word} ({all})"),
        }
    }
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name, alias) => write!(f, "{name} {alias}"),
            Self::Sub(lateral, query, alias) => write!(f, "{lateral}({query}) {alias}"),
            Self::Function(call, alias) if call.parts.concat().ends_with("ORDINALITY") => {
                write!(f, "{call} {alias} (c0, c1)")
            }
            Self::Function(call, alias) => write!(f, "{call} {alias} (c0)"),
            Self::Values(rows, alias) => write!(f, "LATERAL {}", values(rows, alias)),
            Self::Join(left, words, right, on) => {
                write!(f, "({left} {words} {right}")?;
                match on {
                    Some(on) if on.parts[0].starts_with("USING") => write!(f, " {on}")?,
                    Some(on) => write!(f, " ON {on}")?,
                    None => {}
                }
                f.write_str(")")
            }
        }
    }
}
