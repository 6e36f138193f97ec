//! FROM and WHERE: the inputs, what they show, and their joined rows.
//!
//! The inputs are planned in the order of FROM; conditions are converted over their columns side by side, and then the inputs
//! are joined in the order that suits the conditions. An input that reads those before it (LATERAL), or the query around,
//! is planned as a subquery is, and brings the conditions along by which its rows belong to theirs.

use std::collections::{BTreeSet, HashMap};

use crate::PlanError;
use crate::built::{Built, Shown};
use crate::convert::convert;
use crate::expr::{Expr, ExprKind};
use crate::items::{self, Item};
use crate::joins::{Joins, StandIn, reads_beyond};
use crate::lateral::{Lateral, Made, VALUES, lists, plain_values};
use crate::outer::{Mode, Name, reads_outer, types_of};
use crate::query::{Planner, find_cte};
use crate::reader::Node;
use crate::scope::{Level, NO_ENTRY, names};
use crate::subquery::{Want, over_pair};
use crate::values::one_row;
use crate::whole_row::{THERE, whole_rows};
use crate::xml;

/// An entry that stands for no FROM at all, in PostgreSQL's numbers.
const RESULT: i64 = 8;
/// An entry that is made of functions.
const FUNCTIONS: i64 = 3;
/// An entry that is XMLTABLE.
const XML_TABLE: i64 = 4;

/// The inputs' rows while they are collected, and what those that read others bring along.
#[derive(Default)]
struct Inputs {
    builts: Vec<Option<Built>>,
    conditions: HashMap<usize, Vec<Expr>>,
    stand_ins: HashMap<usize, StandIn>,
    /// Functions of which arguments are columns of inputs before them; they have no rows of their own.
    functions: HashMap<usize, Lateral>,
    /// Entries of which the whole row is read.
    whole: BTreeSet<usize>,
}

impl<'a> Planner<'a> {
    /// The joined and filtered rows, and how the rest of the level names their columns.
    pub(crate) fn from(&mut self, query: &'a Node) -> Result<(Built, Level<'a>), PlanError> {
        let mut level = Level::new(query, self);
        let mut inputs = Inputs { whole: whole_rows(query), ..Inputs::default() };
        if let Some(frame) = level.frame.clone().filter(|f| f.mode == Mode::Within) {
            let values = self.stand_in(&frame).shown()?;
            level.add(NO_ENTRY, values.built.columns.len(), values.exprs, HashMap::new());
            inputs.builts.push(Some(values.built));
        }
        let tree = items::read(query.node("jointree")?, false, &mut |varno, nullable| {
            let entry = varno.checked_sub(1).and_then(|i| level.rtable.get(i).copied());
            let entry = entry.ok_or_else(|| query.odd("rtable"))?;
            if entry.number("rtekind")? == RESULT {
                return Ok(None);
            }
            self.input(entry, varno, nullable, &mut level, &mut inputs)
        })?;
        let tree: Item<Vec<Expr>> = tree.converted(&mut |qual| convert(qual, &mut level, self.catalog))?;
        let tree = tree.with_conditions(&mut inputs.conditions);
        let tree = if level.has_values() { Item::Group(vec![Item::Input(0), tree], Vec::new()) } else { tree };
        let mut tree = tree.reduced(&level, &BTreeSet::new());
        let mut correlated = Vec::new();
        if let Item::Group(_, conditions) = &mut tree {
            let (outer, own) = std::mem::take(conditions).into_iter().partition(Expr::has_outer);
            *conditions = own;
            correlated = outer;
        }
        if correlated.iter().any(Expr::has_sub) {
            return Err(reads_outer());
        }
        let mut above = Vec::new();
        let Inputs { builts, stand_ins, functions, .. } = inputs;
        let mut joins =
            Joins { planner: self, level: &level, builts, stand_ins, functions, beyond: 0, owners: HashMap::new() };
        let joined = joins.item(tree, &mut above)?;
        if !above.is_empty() || !joins.stand_ins.is_empty() {
            return Err(reads_beyond());
        }
        let mut built = joined.built;
        built.tidy_keys();
        level.placed = (0..level.width).map(|c| joined.placed.get(&c).copied().unwrap_or(usize::MAX)).collect();
        level.correlated = correlated.iter().map(|c| c.map_columns(&|c| level.placed[c])).collect();
        Ok((built, level))
    }

    /// Plans an entry of FROM, and gives its number among the inputs; `None` when it adds no rows to them.
    fn input(
        &mut self,
        entry: &'a Node,
        varno: usize,
        nullable: bool,
        level: &mut Level<'a>,
        inputs: &mut Inputs,
    ) -> Result<Option<usize>, PlanError> {
        let number = inputs.builts.len();
        let first = level.width;
        // An outer join can leave its rows out, of which the whole is read.
        let marked = nullable && inputs.whole.contains(&varno);
        match entry.number("rtekind")? {
            FUNCTIONS => {
                let functions = self.functions(entry, marked, &mut |tree| convert(tree, level, self.catalog))?;
                return self.made_input(Made::Functions(functions), varno, level, inputs).map(Some);
            }
            XML_TABLE => {
                let made = xml::table(entry, marked, self.catalog, &mut |tree| convert(tree, level, self.catalog))?;
                return self.made_input(Made::Functions(made), varno, level, inputs).map(Some);
            }
            VALUES => {
                let values = lists(entry, 0, self.catalog, &mut |tree| convert(tree, level, self.catalog))?;
                let values = if marked { values.marked() } else { values };
                return self.made_input(Made::Lists(values), varno, level, inputs).map(Some);
            }
            _ => {}
        }
        let is_step = entry.flag("self_reference");
        let around = if is_step { None } else { self.query_of(entry)? };
        let args = around.map(|(query, depth)| level.arguments(query, depth)).transpose()?.unwrap_or_default();
        // Of a WITH query that stands further out, what it reads has other names here.
        let mut beside = around.filter(|(_, depth)| !args.is_empty() && *depth == level.number + 1);
        if let Some((query, depth)) = beside
            && names(query, depth, &self.ctes)?.iter().any(|(name, _)| matches!(name, Name::Aggregate(_)))
        {
            // Aggregates are known by their nodes, of which the lists read here are copies.
            beside = None;
        }
        if let Some((values, named)) = beside.and_then(|(query, _)| plain_values(query)) {
            let values = lists(values, 1, self.catalog, &mut |tree| convert(tree, level, self.catalog))?;
            let values = values.renamed(named);
            if let Some(row) = values.only_row().filter(|row| !nullable && !row.iter().any(Expr::has_outer)) {
                // Like columns of the rows that it reads: computed where they are read, and only there.
                level.add(varno, 0, row.to_vec(), values.by_attribute.clone());
                inputs.builts.push(None);
                return Ok(None);
            }
            let values = if marked { values.marked() } else { values };
            return self.made_input(Made::Lists(values), varno, level, inputs).map(Some);
        }
        let (shown, by_attribute, exprs) = if let (Some((query, depth)), false) = (around, args.is_empty()) {
            let by_name = names(query, depth, &self.ctes)?;
            let by_name = by_name.into_iter().enumerate().map(|(at, (name, _))| (name, at)).collect();
            let mut by_attribute = HashMap::new();
            let mut rows = self.dependent(query, by_name, &types_of(&args), Want::Pairs, &mut |planner| {
                let (shown, map) = planner.entry(entry)?;
                by_attribute = map;
                Ok(shown)
            })?;
            if nullable {
                rows.shown = self.nullable_first(rows.shown, rows.targets)?;
            }
            if marked {
                let (built, mark) = self.marked(rows.shown.built)?;
                rows.shown.built = built;
                rows.shown.exprs.push(mark);
                by_attribute.insert(THERE, rows.targets);
            }
            let exprs: Vec<Expr> = rows.shown.exprs.iter().map(|e| over_pair(e, &args, first)).collect();
            let links = rows.links.iter().map(|l| {
                l.rewrite(&mut |e| match e.kind {
                    ExprKind::Column(at) => exprs.get(at).cloned(),
                    ExprKind::Outer(at) => args.get(at).cloned(),
                    _ => None,
                })
            });
            inputs.conditions.insert(number, links.collect());
            if let Some((id, _)) = rows.stand_in {
                if args.iter().any(Expr::has_outer) {
                    return Err(reads_outer());
                }
                let reads = args.iter().flat_map(|a| level.inputs_of(a)).collect();
                inputs.stand_ins.insert(number, StandIn { id, args, reads });
            }
            let mark = exprs.last().filter(|_| marked);
            let exprs = exprs[..rows.targets].iter().chain(mark).cloned().collect();
            (rows.shown, by_attribute, exprs)
        } else {
            if is_step {
                let same = self.of_same_values(&level.values(), first)?;
                inputs.conditions.insert(number, same);
            }
            let frame = self.frame.take();
            let (mut shown, mut by_attribute) = self.entry(entry)?;
            self.frame = frame;
            if nullable {
                let all = shown.exprs.len();
                shown = self.nullable_first(shown, all)?;
            }
            if marked {
                let (built, mark) = self.marked(shown.built)?;
                by_attribute.insert(THERE, shown.exprs.len());
                shown.built = built;
                shown.exprs.push(mark);
            }
            let exprs = shown.exprs.iter().map(|e| e.map_columns(&|c| first + c)).collect();
            (shown, by_attribute, exprs)
        };
        level.add(varno, shown.built.columns.len(), exprs, by_attribute);
        inputs.builts.push(Some(shown.built));
        Ok(Some(number))
    }

    /// Functions and VALUES in FROM: an input like others when their arguments are constants, else rows made of those that they read.
    fn made_input(
        &mut self,
        made: Made,
        varno: usize,
        level: &mut Level<'a>,
        inputs: &mut Inputs,
    ) -> Result<usize, PlanError> {
        let number = inputs.builts.len();
        if made.args().into_iter().any(Expr::has_outer) {
            return Err(reads_outer());
        }
        let reads: BTreeSet<usize> = made.args().into_iter().flat_map(|a| level.inputs_of(a)).collect();
        let exprs = made.shown(level.width, self.catalog);
        level.add(varno, made.width(), exprs, made.by_attribute().clone());
        if reads.is_empty() {
            let built = match &made {
                Made::Lists(lists) if !made.args().into_iter().any(Expr::has_sub) => self.values(lists)?,
                made => self.with_made(one_row(), made, false, level)?,
            };
            inputs.builts.push(Some(built));
        } else {
            inputs.builts.push(None);
            inputs.functions.insert(number, Lateral { made, reads });
        }
        Ok(number)
    }

    /// The query that an entry of FROM is, and its level.
    fn query_of(&self, entry: &'a Node) -> Result<Option<(&'a Node, usize)>, PlanError> {
        Ok(match entry.number("rtekind")? {
            1 => Some((entry.node("subquery")?, self.ctes.len() + 1)),
            6 => {
                let (level, cte) = find_cte(entry, &self.ctes)?;
                Some((cte.node("ctequery")?, level + 2))
            }
            _ => None,
        })
    }

    /// What is shown, for a place where an outer join can put NULLs instead of its rows: the first expressions become NULL
    /// there too, also those that are not when their columns are. Those that could raise an error are not computed below
    /// the join; a column that is true in all rows tells whether there is one.
    pub(crate) fn nullable_first(&self, shown: Shown, count: usize) -> Result<Shown, PlanError> {
        let first = &shown.exprs[..count];
        if first.iter().all(|e| e.as_column().is_some()) {
            return Ok(shown);
        }
        if shown.exprs.iter().all(|e| self.raises_no_error(e) && !e.has_outer()) {
            return self.computed(shown)?.shown();
        }
        let (built, mark) = self.marked(shown.built)?;
        let marked = |(at, e): (usize, Expr)| {
            if at >= count || e.as_column().is_some() { Ok(e) } else { self.when(&mark, e) }
        };
        let exprs = shown.exprs.into_iter().enumerate().map(marked).collect::<Result<_, _>>()?;
        Ok(Shown { built, exprs })
    }

    /// With one more column that is true, and that column.
    pub(crate) fn marked(&self, built: Built) -> Result<(Built, Expr), PlanError> {
        let at = built.columns.len();
        let built = self.extend(built, &[crate::expr::boolean(true)])?;
        let mark = built.column(at)?;
        Ok((built, mark))
    }

    /// The expression where the condition is true; else NULL.
    pub(crate) fn when(&self, condition: &Expr, expr: Expr) -> Result<Expr, PlanError> {
        let nothing = crate::constant::null(expr.ty, expr.declared, self.catalog.type_sql(expr.declared)?);
        Ok(crate::expr::case(vec![(condition.clone(), expr)], nothing))
    }
}
