//! A subquery's rows, found without evaluating it once a row of the query around it.
//!
//! What does not read the query around is planned as it is. What reads it only in conditions of its WHERE is planned apart:
//! these conditions are handed out, and join its rows to those around ([`Mode::Apart`]; groups are made by the
//! columns compared, too). Anything else is planned over the distinct values that it reads, which are an input of it
//! and come out with its rows ([`Mode::Within`]): its rows are then joined to those around by these values, NULLs
//! equal to each other. In this way all of its operators work on all values at once.

use std::collections::HashMap;
use std::sync::Arc;

use types::{Oid, PgType};

use crate::PlanError;
use crate::built::{Built, BuiltColumn, Shown};
use crate::expr::{Expr, ExprKind, same};
use crate::outer::{Frame, Mode, Name, is_reads_outer};
use crate::query::Planner;
use crate::reader::Node;
use crate::tree::{JoinKind, Rel};

/// Conditions that a query planned apart hands out, over [`ExprKind::Outer`] and the expressions it shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links {
    pub(crate) conditions: Vec<Expr>,
    /// How many of the shown expressions, the last ones, are there for these conditions alone.
    pub(crate) hidden: usize,
    /// It has one row for each row around it, also where there is none to join: its expressions, over NULLs, are right.
    pub(crate) always: bool,
}

/// A subquery's rows, and how they belong to those around it.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// Its own expressions; then what the links compare.
    pub(crate) shown: Shown,
    pub(crate) targets: usize,
    /// Over [`ExprKind::Outer`] and the shown expressions.
    pub(crate) links: Vec<Expr>,
    pub(crate) always: bool,
    /// What stands in `shown` for the arguments' values, and how many arguments these are.
    pub(crate) stand_in: Option<(usize, usize)>,
}

/// What is wanted of a subquery's links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Any conditions.
    Pairs,
    /// Equalities only.
    Groups,
    /// The same, and that its own expressions read nothing around.
    Compared,
    /// Any; one that has a row where there is none to join, too.
    Value,
    /// That its rows are found within the arguments' values.
    Values,
}

/// Sources from here on stand for the values that a subquery reads, until the rows around it are known.
const STAND_INS: usize = usize::MAX / 2;

/// Nested subqueries double what is tried; after so many, none is tried apart.
const MOST_ATTEMPTS: usize = 100;

impl<'a> Planner<'a> {
    /// Plans a subquery that reads these arguments; `query` is looked at, `plan` plans it.
    pub(crate) fn dependent(
        &mut self,
        query: &'a Node,
        names: HashMap<Name, usize>,
        types: &[(PgType, Oid)],
        want: Want,
        plan: &mut dyn FnMut(&mut Self) -> Result<Shown, PlanError>,
    ) -> Result<Rows, PlanError> {
        let outer = self.frame.take();
        let rows = self.in_frame(query, names, types, want, plan);
        self.frame = outer;
        rows
    }

    fn in_frame(
        &mut self,
        query: &'a Node,
        names: HashMap<Name, usize>,
        types: &[(PgType, Oid)],
        want: Want,
        plan: &mut dyn FnMut(&mut Self) -> Result<Shown, PlanError>,
    ) -> Result<Rows, PlanError> {
        if types.is_empty() {
            let shown = plan(self)?;
            let targets = shown.exprs.len();
            return Ok(Rows { shown, targets, links: Vec::new(), always: false, stand_in: None });
        }
        let count = types.len();
        if want != Want::Values && can_be_apart(query) && self.attempts < MOST_ATTEMPTS {
            self.attempts += 1;
            let state = (self.depth, self.ctes.clone(), self.warnings.len());
            let (names, types) = (names.clone(), types.to_vec());
            self.frame = Some(Arc::new(Frame { mode: Mode::Apart, names, types, telling: Vec::new(), stand_in: 0 }));
            self.links = None;
            let apart = plan(self);
            match (apart, self.links.take()) {
                (Ok(shown), Some(Links { conditions, hidden, always })) => {
                    let targets = shown.exprs.len() - hidden;
                    let rows = Rows { shown, targets, links: conditions, always, stand_in: None };
                    let groups = || rows.links.iter().all(|l| self.link_key(l).is_some());
                    let fits = match want {
                        Want::Value => true,
                        Want::Pairs => !always,
                        Want::Groups => !always && groups(),
                        Want::Compared => {
                            !always && groups() && !rows.shown.exprs[..targets].iter().any(Expr::has_outer)
                        }
                        Want::Values => false,
                    };
                    if fits {
                        return Ok(rows);
                    }
                }
                (Err(error), _) if !is_reads_outer(&error) => return Err(error),
                _ => {}
            }
            let (depth, ctes, warnings) = state;
            self.depth = depth;
            self.ctes = ctes;
            self.warnings.truncate(warnings);
        }
        for &(ty, declared) in types {
            self.has_name(ty, declared)?;
        }
        self.stand_ins += 1;
        let stand_in = STAND_INS + self.stand_ins;
        let telling = self.telling_columns(types.iter().map(|(ty, _)| *ty));
        self.frame = Some(Arc::new(Frame { mode: Mode::Within, names, types: types.to_vec(), telling, stand_in }));
        let shown = plan(self)?;
        let targets = shown.exprs.len().checked_sub(count);
        let targets = targets.ok_or_else(|| PlanError::Tree("a subquery lost what it reads".into()))?;
        let link = |i: usize| {
            let value = Expr { kind: ExprKind::Outer(i), ty: types[i].0, declared: types[i].1 };
            let told = self.telling(value);
            same(told.clone(), Expr::column(targets + i, told.ty, told.declared))
        };
        Ok(Rows {
            shown,
            targets,
            links: (0..count).map(link).collect(),
            always: false,
            stand_in: Some((stand_in, count)),
        })
    }

    /// The rows that stand for a frame's arguments until their values are known: each combination once.
    pub(crate) fn stand_in(&self, frame: &Frame) -> Built {
        let column = |&(ty, declared): &(PgType, Oid)| BuiltColumn { ty, declared, not_null: false };
        let values: Vec<BuiltColumn> = frame.types.iter().map(column).collect();
        let (columns, telling) = self.told_apart_columns(&values);
        Built { rel: Rel::Source(frame.stand_in), columns, keys: vec![telling] }
    }

    /// Puts the distinct values of the arguments over `around` in the place of what stands for them.
    pub(crate) fn with_values(
        &mut self,
        rel: &mut Rel,
        stand_in: usize,
        around: &Built,
        args: &[Expr],
    ) -> Result<(), PlanError> {
        let values = self.told_apart(around.clone(), args)?;
        substitute(rel, stand_in, &values.rel);
        Ok(())
    }

    /// Of a link that is an equality between what is around and what is within: the place among its two sides that is
    /// within, and that side.
    pub(crate) fn link_key<'e>(&self, link: &'e Expr) -> Option<(usize, &'e Expr)> {
        let (left, right) = match &link.kind {
            ExprKind::Same(left, right) => (&**left, &**right),
            ExprKind::Call { args, .. } => {
                self.equality(link)?;
                match args.as_slice() {
                    [left, right] => (left, right),
                    _ => return None,
                }
            }
            _ => return None,
        };
        if link.has_sub() {
            return None;
        }
        let within = |e: &Expr| !e.has_outer() && !e.columns().is_empty();
        let around = |e: &Expr| e.has_outer() && e.columns().is_empty();
        if within(left) && around(right) {
            Some((0, left))
        } else if within(right) && around(left) {
            Some((1, right))
        } else {
            None
        }
    }

    /// Whether no row around has more than one of these: a key of theirs is fixed by the links.
    pub(crate) fn one_each(&self, rows: &Rows) -> bool {
        let fixed: Vec<usize> = rows
            .links
            .iter()
            .filter_map(|l| {
                let within = self.link_key(l)?.1;
                let shown = rows.shown.exprs.get(within.as_column()?)?;
                // Compared as the one, shown as the other.
                self.key_column(&Expr { ty: within.ty, ..shown.clone() }, &rows.shown.built.columns)
            })
            .collect();
        rows.shown.built.keys.iter().any(|key| key.iter().all(|c| fixed.contains(c)))
    }

    /// Joins the rows to those around them by their links and by further conditions, which are over the columns around,
    /// and over [`ExprKind::Param`], the rows' own expressions. What the rows read has the values that it has over `base`.
    /// Says where the rows' columns begin.
    pub(crate) fn attach(
        &mut self,
        around: Built,
        (args, base): (&[Expr], &Built),
        rows: Rows,
        kind: JoinKind,
        further: &[Expr],
    ) -> Result<(Built, usize), PlanError> {
        let width = around.columns.len();
        let shown = |at: usize| rows.shown.exprs.get(at).map(|e| over_pair(e, args, width));
        let links = rows.links.iter().map(|l| {
            l.rewrite(&mut |e| match e.kind {
                ExprKind::Column(at) => shown(at),
                ExprKind::Outer(at) => args.get(at).cloned(),
                _ => None,
            })
        });
        let further = further.iter().map(|f| {
            f.rewrite(&mut |e| match e.kind {
                ExprKind::Param(at) => shown(at),
                _ => None,
            })
        });
        let conditions = links.chain(further).collect();
        let mut built = rows.shown.built;
        if let Some((stand_in, count)) = rows.stand_in {
            self.with_values(&mut built.rel, stand_in, base, args.get(..count).unwrap_or(args))?;
        }
        self.join_two(around, built, kind, conditions)
    }
}

/// An expression of a subquery, over the columns around it followed, from `offset` on, by its own.
pub(crate) fn over_pair(expr: &Expr, args: &[Expr], offset: usize) -> Expr {
    expr.rewrite(&mut |e| match e.kind {
        ExprKind::Column(c) => Some(Expr::column(offset + c, e.ty, e.declared)),
        ExprKind::Outer(at) => args.get(at).cloned(),
        _ => None,
    })
}

/// A link with a column in the place of the side that is within.
pub(crate) fn with_key(link: &Expr, side: usize, column: usize) -> Expr {
    let mut link = link.clone();
    let place = match &mut link.kind {
        ExprKind::Same(left, right) => Some(if side == 0 { &mut **left } else { &mut **right }),
        ExprKind::Call { args, .. } => args.get_mut(side),
        _ => None,
    };
    if let Some(place) = place {
        *place = Expr::column(column, place.ty, place.declared);
    }
    link
}

/// Whether conditions can be handed out of it: each of its rows comes from rows that fulfil them, whatever the others.
fn can_be_apart(query: &Node) -> bool {
    let flags = ["hasWindowFuncs", "hasTargetSRFs", "hasDistinctOn", "hasRecursive"];
    let fields = ["setOperations", "limitCount", "limitOffset", "groupingSets"];
    !flags.iter().any(|f| query.flag(f)) && !fields.iter().any(|f| query.has(f))
}

fn substitute(rel: &mut Rel, stand_in: usize, values: &Rel) {
    if *rel == Rel::Source(stand_in) {
        *rel = values.clone();
    } else {
        rel.inputs_mut().into_iter().for_each(|input| substitute(input, stand_in, values));
    }
}
