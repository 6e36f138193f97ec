//! A plan to a tree of operators.
//!
//! Deterministic: the same definition asks for the same states in the same order, so that a stream table finds its state
//! again after a restart. Whoever changes that raises [`TREE_VERSION`].

mod beyond;
mod outer;
mod postgres;
mod recursion;
mod sets;
mod subplans;
mod tree;

use plan::{Aggregate as PlanAggregate, JoinKind, OutputKey as PlanKey, Rel};
use scalar::{Compiled, Env};
use state::Family;
use types::{PgType, Scalar, ScalarKind, SourceId};

use crate::definition::StreamDef;
use crate::keeping::Keeping;
use crate::kept::Sources;
use crate::key::{KeyEncoder, same_keys};
use crate::layout::{Labels, Layout};
use crate::operators::{
    Access, Aggregate, Columns, Filter, Flow, Groups, Index, Join, JoinFlow, Node, Operator, Output, OutputKey,
    PgCompute, PgMap, Predicate, Project, Shape, Side, Source,
};

/// Raised when a definition compiles to operators that do not understand the states of before.
pub(crate) const TREE_VERSION: u32 = 7;

pub(crate) use tree::{Rows, Tree};

/// Where operators get the numbers of their states from.
pub(crate) trait States {
    /// A state of the stream table's own.
    fn own(&mut self) -> Result<u32, String>;
    /// The arrangement of a source by columns, ascending.
    fn shared(&mut self, source: SourceId, columns: &[usize]) -> Result<u32, String>;
}

/// An operator, and what its parent has to know of it.
struct Built {
    node: Node,
    layout: Layout,
    /// The physical columns' names, for people.
    names: Vec<String>,
    /// No row is ever there twice.
    unique: bool,
    /// Sets of physical columns, with their types, that are unique together.
    keys: Vec<UniqueKey>,
    labels: Labels,
    /// Rows of a source behind filters only.
    plain: Option<Plain>,
}

impl Built {
    fn names_of(&self, physical: &[usize]) -> Vec<String> {
        physical.iter().map(|c| self.names.get(*c).cloned().unwrap_or_default()).collect()
    }

    /// Of the columns that its parent sees.
    fn shown_names(&self) -> Vec<String> {
        self.names_of(&self.layout.columns)
    }
}

type UniqueKey = Vec<(usize, PgType)>;

/// Whether `columns`, compared as these types, hold a key.
fn hold_a_key(keys: &[UniqueKey], columns: &[usize], types: &[PgType]) -> bool {
    let compared =
        |key: &(usize, PgType)| columns.iter().zip(types).any(|(c, ty)| *c == key.0 && same_keys(key.1, *ty));
    keys.iter().any(|key| key.iter().all(compared))
}

struct Plain {
    source: SourceId,
    filters: Vec<Predicate>,
}

/// Compiles a definition over these sources.
///
/// # Errors
/// Why it cannot be kept; a bug, too, is the definition's alone.
pub(crate) fn compile(def: &StreamDef, env: &Env, sources: &Sources, states: &mut dyn States) -> Result<Tree, String> {
    types::contained(|| compiled(def, env, sources, states)).unwrap_or_else(|bug| Err(bug.to_string()))
}

fn compiled(def: &StreamDef, env: &Env, sources: &Sources, states: &mut dyn States) -> Result<Tree, String> {
    let mut compiler = Compiler {
        def,
        env: pinned(env, &def.plan.settings),
        sources,
        states,
        holds_rows: false,
        recursions: Vec::new(),
        commons: Vec::new(),
        planned: Vec::new(),
    };
    for (at, subplan) in def.plan.common.iter().enumerate() {
        let built = compiler.rel(subplan)?;
        let place = compiler.common(built, format!("subplan {}", at + 1))?;
        compiler.planned.push(place);
    }
    let built = compiler.rel(&def.plan.root)?;
    let output = compiler.output(&built)?;
    let holds_rows = compiler.holds_rows;
    let commons = compiler.commons.into_iter().map(|c| c.kept).collect();
    let mut tree = Tree { rows: Rows { root: built.node, commons }, output };
    if !holds_rows {
        tree.rows.nodes_mut().for_each(|node| tree::note_used(node, def, sources));
    }
    Ok(tree)
}

/// The settings that were pinned with the definition, over those of the database.
pub(crate) fn pinned(env: &Env, settings: &[(String, String)]) -> Env {
    let mut env = env.clone();
    for (name, value) in settings {
        match name.to_ascii_lowercase().as_str() {
            "timezone" => env.timezone.clone_from(value),
            "datestyle" => env.date_style.clone_from(value),
            "intervalstyle" => env.interval_style.clone_from(value),
            _ => {}
        }
    }
    env
}

struct Compiler<'a> {
    def: &'a StreamDef,
    env: Env,
    sources: &'a Sources,
    states: &'a mut dyn States,
    /// Some operator keeps whole rows of its input.
    holds_rows: bool,
    /// Of the recursions whose steps are being compiled: whether a row is never there twice.
    recursions: Vec<bool>,
    /// Subplans that several operators read.
    commons: Vec<subplans::Common>,
    /// Which of them the plan's are.
    planned: Vec<usize>,
}

impl Compiler<'_> {
    fn rel(&mut self, rel: &Rel) -> Result<Built, String> {
        match rel {
            Rel::Source(index) => self.source(*index),
            Rel::Common(index) => {
                let place = self.planned.get(*index).copied();
                self.reader(place.ok_or_else(|| format!("the plan reads subplan {index} before it is there"))?)
            }
            Rel::Filter { input, predicate } => self.filter(input, predicate),
            Rel::Project { input, exprs } => self.project(input, exprs),
            Rel::PgMap { input, exprs } => self.pg_map(input, exprs),
            Rel::Join { left, right, kind: JoinKind::Inner, keys, key_types, on: None } => {
                self.join(left, right, keys, key_types)
            }
            Rel::Aggregate { input, keys, key_types, aggregates } => self.aggregate(input, keys, key_types, aggregates),
            Rel::PgAggregate { input, keys, key_types, aggregates } => {
                self.pg_aggregate(input, keys, key_types, aggregates)
            }
            Rel::Window { input, partition, partition_types, windows } => {
                self.window(input, partition, partition_types, windows)
            }
            Rel::PgRows { input, from, args, arg_types, columns, keep } => {
                self.pg_rows(input, from, (args, arg_types), columns.len(), *keep)
            }
            Rel::UnionAll(inputs) => self.union_all(inputs),
            Rel::Values { rows, types } => self.values(rows, types),
            Rel::Join { left, right, kind, keys, key_types, on } => {
                self.outer(*kind, &outer::Joined { left, right, keys, types: key_types, on: on.as_ref() })
            }
            Rel::Expand { input, lists } => self.expand(input, lists),
            Rel::SetOp { op, all, left, right, types } => self.set_op(*op, *all, (left, right), types),
            Rel::Top { input, partition, partition_types, order, offset, limit, ties } => {
                let (offset, limit, ties) = (*offset, *limit, *ties);
                self.top(input, &sets::Cut { partition, types: partition_types, order, offset, limit, ties })
            }
            Rel::Recursive { base, step, all, types } => self.recursive(base, step, *all, types),
            Rel::Working { types } => self.working(types),
        }
    }

    fn expression(&self, layout: &Layout, expression: &Scalar) -> Result<Compiled, String> {
        Compiled::new(&layout.expression(expression)?, &self.env).map_err(|e| e.to_string())
    }

    fn source(&mut self, index: usize) -> Result<Built, String> {
        let missing = || format!("the plan names source {index}, which is not defined");
        let id = *self.def.sources.get(index).ok_or_else(missing)?;
        let map = self.def.column_map.get(index).ok_or_else(missing)?;
        let kept = self.sources.by_id.get(&id).ok_or_else(missing)?;
        let width = kept.def.columns.len();
        let wanted = self.def.plan.sources.get(index).ok_or_else(missing)?;
        if map.len() != wanted.columns.len() || map.iter().any(|c| *c >= width) {
            return Err(format!("the kept source {} lacks columns of {}", id, wanted.table));
        }
        let name = |column: &usize| format!("{}.{}", kept.def.table.name, kept.def.columns[*column].name);
        let labels = kept.def.identity.iter().map(|c| (name(c), *c, kept.def.columns[*c].ty.oid)).collect();
        let identity = kept.key.as_ref().filter(|key| key.is_native()).map(|_| &kept.def.identity);
        let key = |identity: &Vec<usize>| identity.iter().map(|&c| (c, kept.def.columns[c].ty)).collect();
        let names: Vec<String> = (0..width).map(|c| name(&c)).collect();
        let by = kept.def.identity.iter().map(name).collect();
        let source = Operator::Source(Source { source: id, used: None, filtered: kept.def.filter.is_some() });
        Ok(Built {
            node: Node::new(source).keeping(vec![Keeping::source(by, id)]),
            names,
            layout: Layout { columns: map.clone(), width, mark: None },
            unique: kept.key.is_some(),
            keys: identity.map(key).into_iter().collect(),
            labels: Labels(labels),
            plain: Some(Plain { source: id, filters: Vec::new() }),
        })
    }

    fn filter(&mut self, input: &Rel, predicate: &Scalar) -> Result<Built, String> {
        let mut built = self.rel(input)?;
        let condition = self.expression(&built.layout, predicate)?;
        let predicate = Predicate { condition, labels: built.labels.clone() };
        if let Some(plain) = &mut built.plain {
            plain.filters.push(predicate.clone());
        }
        built.node = Node::new(Operator::Filter(Filter { input: Box::new(built.node), predicate }));
        Ok(built)
    }

    fn project(&mut self, input: &Rel, exprs: &[Scalar]) -> Result<Built, String> {
        let built = self.rel(input)?;
        self.projected(built, exprs)
    }

    /// The mark of rows that flow in a recursion, behind their columns.
    fn mark(&self, layout: &Layout) -> Result<Option<Compiled>, String> {
        let compiled = |mark| Compiled::new(&Scalar::column(mark, PgType::plain(types::oid::INT8)), &self.env);
        layout.mark.map(compiled).transpose().map_err(|e| e.to_string())
    }

    fn projected(&self, mut built: Built, exprs: &[Scalar]) -> Result<Built, String> {
        if let Some(columns) = exprs.iter().map(plain_column).collect::<Option<Vec<_>>>() {
            built.layout.columns = built.layout.physical(&columns)?;
            return Ok(built);
        }
        let mut compiled = exprs.iter().map(|e| self.expression(&built.layout, e)).collect::<Result<Vec<_>, _>>()?;
        compiled.extend(self.mark(&built.layout)?);
        let layout = Layout::marked_like(exprs.len(), &built.layout);
        let mut labels = Labels::default();
        for (i, expr) in exprs.iter().enumerate() {
            let Some(column) = plain_column(expr).and_then(|c| built.layout.at(c).ok()) else { continue };
            labels.0.extend(built.labels.0.iter().filter(|l| l.1 == column).map(|l| (l.0.clone(), i, l.2)));
        }
        let place = |&(column, ty): &(usize, PgType)| {
            let is_it = |e: &Scalar| plain_column(e).and_then(|c| built.layout.at(c).ok()) == Some(column);
            exprs.iter().position(is_it).map(|at| (at, ty))
        };
        let keys = built.keys.iter().filter_map(|key| key.iter().map(place).collect()).collect();
        let shown = built.shown_names();
        let named = |c: usize| shown.get(c).cloned().unwrap_or_default();
        let names = exprs.iter().map(|e| short(plan::scalar_text(e, &named))).collect();
        let columns = Columns { exprs: compiled, labels: built.labels };
        Ok(Built {
            node: Node::new(Operator::Project(Project { input: Box::new(built.node), columns })),
            layout,
            names,
            unique: false,
            keys,
            labels,
            plain: None,
        })
    }

    fn pg_map(&mut self, input: &Rel, exprs: &[plan::PgExpr]) -> Result<Built, String> {
        let mut built = self.rel(input)?;
        let physical = exprs
            .iter()
            .map(|e| Ok(plan::PgExpr { args: built.layout.physical(&e.args)?, ..e.clone() }))
            .collect::<Result<Vec<_>, String>>()?;
        let compute = PgCompute::new(&physical, &self.def.plan.settings, built.labels.clone());
        built.layout.columns.extend(built.layout.width..built.layout.width + exprs.len());
        built.layout.width += exprs.len();
        let asked = exprs.iter().map(|e| short(e.sql.clone())).collect();
        built.names = beside(built.names, built.layout.width - exprs.len(), asked);
        built.plain = None;
        built.node = Node::new(Operator::PgMap(PgMap { input: Box::new(built.node), compute }));
        Ok(built)
    }

    fn join(&mut self, left: &Rel, right: &Rel, keys: &[(usize, usize)], types: &[PgType]) -> Result<Built, String> {
        if keys.len() != types.len() {
            return Err("the plan has not one type for each pair of join keys".into());
        }
        let (left, right) = (self.rel(left)?, self.rel(right)?);
        let lefts = left.layout.physical(&keys.iter().map(|k| k.0).collect::<Vec<_>>())?;
        let rights = right.layout.physical(&keys.iter().map(|k| k.1).collect::<Vec<_>>())?;
        let (left_index, left_keeps) = self.index(&left, &lefts, &rights, types)?;
        let (right_index, right_keeps) = self.index(&right, &rights, &lefts, types)?;
        let offset = left.layout.width;
        let mut unique_keys = Vec::new();
        if hold_a_key(&right.keys, &rights, types) {
            unique_keys.extend(left.keys.iter().cloned());
        }
        if hold_a_key(&left.keys, &lefts, types) {
            let behind = |key: &UniqueKey| key.iter().map(|(c, ty)| (c + offset, *ty)).collect();
            unique_keys.extend(right.keys.iter().map(behind));
        }
        let is_right = right.layout.mark.is_some();
        let mut layout = left.layout;
        layout.columns.extend(right.layout.columns.iter().map(|c| c + offset));
        layout.mark = layout.mark.or(right.layout.mark.map(|c| c + offset));
        layout.width += right.layout.width;
        let mut labels = left.labels;
        labels.0.extend(right.labels.0.into_iter().map(|(name, column, ty)| (name, column + offset, ty)));
        let names = beside(left.names, offset, right.names);
        let join = Join {
            flow: layout.mark.map(|_| JoinFlow { flow: Flow::default(), is_right }),
            left: Side { input: left.node, index: left_index },
            right: Side { input: right.node, index: right_index },
        };
        Ok(Built {
            node: Node::new(Operator::Join(Box::new(join))).keeping(vec![left_keeps, right_keeps]),
            layout,
            names,
            unique: left.unique && right.unique,
            keys: unique_keys,
            labels,
            plain: None,
        })
    }

    /// Where a side's rows are found by the join's key.
    fn index(
        &mut self,
        side: &Built,
        own: &[usize],
        other: &[usize],
        types: &[PgType],
    ) -> Result<(Index, Keeping), String> {
        let (access, order, marked) = self.access(side, own, types)?;
        let pick = |columns: &[usize]| order.iter().filter_map(|&i| columns.get(i).copied()).collect::<Vec<_>>();
        let types: Vec<PgType> = order.iter().filter_map(|&i| types.get(i).copied()).collect();
        let by = side.names_of(&pick(own));
        let keeps = match access {
            Access::Rows { source } | Access::Prefix { source } => Keeping::source(by, source),
            Access::Shared { state } => Keeping::arrangement(by, state),
            Access::Private { state, .. } | Access::Keyed { state } => {
                Keeping::own("rows", by, &[Family::Arrangements], state)
            }
        };
        let index = Index {
            access,
            own: KeyEncoder::new(&pick(own), &types, &self.env)?,
            probe: KeyEncoder::new(&pick(other), &types, &self.env)?,
            marked,
            filters: side.plain.as_ref().map(|p| p.filters.clone()).unwrap_or_default(),
        };
        Ok((index, keeps))
    }

    /// How a side is found, the order of the pairs for it, and how many of them are the identity.
    fn access(&mut self, side: &Built, own: &[usize], types: &[PgType]) -> Result<(Access, Vec<usize>, usize), String> {
        let all: Vec<usize> = (0..own.len()).collect();
        if let Some(plain) = &side.plain
            && let Some(kept) = self.sources.by_id.get(&plain.source)
        {
            let as_kept = |i: usize| kept.def.columns.get(own[i]).is_some_and(|c| same_keys(c.ty, types[i]));
            if kept.key.as_ref().is_some_and(KeyEncoder::is_native) {
                let mut order = Vec::new();
                for column in &kept.def.identity {
                    let Some(i) = all.iter().find(|&&i| own[i] == *column && as_kept(i)) else { break };
                    order.push(*i);
                }
                let marked = order.len();
                if marked == kept.def.identity.len() {
                    order.extend(all.iter().filter(|i| !order[..marked].contains(i)).collect::<Vec<_>>());
                    return Ok((Access::Rows { source: plain.source }, order, marked));
                }
                if marked == all.len() {
                    return Ok((Access::Prefix { source: plain.source }, order, marked));
                }
            }
            let mut order = all.clone();
            order.sort_by_key(|&i| own[i]);
            let columns: Vec<usize> = order.iter().map(|&i| own[i]).collect();
            if all.iter().all(|&i| as_kept(i)) && columns.windows(2).all(|w| w[0] != w[1]) {
                let state = self.states.shared(plain.source, &columns)?;
                return Ok((Access::Shared { state }, order, 0));
            }
        }
        self.holds_rows = true;
        let state = self.states.own()?;
        // In the step of a recursion a row is there once a mark.
        if side.layout.mark.is_none() && hold_a_key(&side.keys, own, types) {
            return Ok((Access::Keyed { state }, all, 0));
        }
        Ok((Access::Private { state, unique: side.unique }, all, 0))
    }

    fn aggregate(
        &mut self,
        input: &Rel,
        keys: &[usize],
        types: &[PgType],
        aggregates: &[PlanAggregate],
    ) -> Result<Built, String> {
        let built = self.rel(input)?;
        let columns = built.layout.physical(keys)?;
        if columns.len() != types.len() {
            return Err("the plan has not one type for each group key".into());
        }
        let key = KeyEncoder::new(&columns, types, &self.env)?;
        let mut shape = Shape::default();
        for aggregate in aggregates {
            shape.add(aggregate, &built.layout, &self.env)?;
        }
        let mut labels = Labels::default();
        for (i, column) in columns.iter().enumerate() {
            labels.0.extend(built.labels.0.iter().filter(|l| l.1 == *column).map(|l| (l.0.clone(), i, l.2)));
        }
        let state = self.states.own()?;
        let groups = Groups::new(state, key, types, shape, &self.env);
        let by = built.names_of(&columns);
        let keeps = Keeping::own("groups", by.clone(), &[Family::Groups, Family::Multisets], state);
        let shown = built.shown_names();
        let named = |c: usize| shown.get(c).cloned().unwrap_or_default();
        let computed = aggregates.iter().map(|a| short(plan::aggregate_text(a, &named)));
        let operator = Operator::Aggregate(Box::new(Aggregate { input: Box::new(built.node), groups }));
        Ok(Built {
            node: Node::new(operator).keeping(vec![keeps]),
            names: by.into_iter().chain(computed).collect(),
            layout: Layout::exact(keys.len() + aggregates.len()),
            unique: true,
            keys: vec![types.iter().copied().enumerate().collect()],
            labels,
            plain: None,
        })
    }

    fn output(&mut self, built: &Built) -> Result<Output, String> {
        let shown: Vec<usize> = (0..self.def.plan.output.len()).collect();
        let shown = built.layout.physical(&shown)?;
        let exact = shown.len() == built.layout.width && shown.iter().enumerate().all(|(i, c)| i == *c);
        let mut keeps = Vec::new();
        let key = match &self.def.plan.key {
            PlanKey::RowId => {
                let state = self.states.own()?;
                let names = self.def.plan.output.iter().map(|c| c.name.clone()).collect();
                keeps.push(Keeping::own("different rows", names, &[Family::Multisets], state));
                OutputKey::RowId { state }
            }
            PlanKey::Columns(columns) => {
                let types = columns
                    .iter()
                    .map(|&c| self.def.plan.output.get(c).map(|o| o.ty))
                    .collect::<Option<Vec<_>>>()
                    .ok_or("the plan's key names a column that the answer does not have")?;
                OutputKey::Columns(KeyEncoder::of(&built.layout.physical(columns)?, &types, &self.env))
            }
        };
        Ok(Output { columns: (!exact).then_some(shown), key, keeps })
    }
}

/// A name is for people, and one of a deep query would grow with each of its levels.
fn short(mut name: String) -> String {
    const LONGEST: usize = 60;
    if let Some((at, _)) = name.char_indices().nth(LONGEST) {
        name.truncate(at);
        name.push('…');
    }
    name
}

/// Names of columns beside others, some of which have none.
fn beside(mut names: Vec<String>, width: usize, others: Vec<String>) -> Vec<String> {
    names.resize(width, String::new());
    names.extend(others);
    names
}

/// Names of columns that have none.
fn numbered(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("column {n}")).collect()
}

/// The column, where an expression is one as it is.
fn plain_column(expression: &Scalar) -> Option<usize> {
    match &expression.kind {
        ScalarKind::Column(column) => Some(*column),
        ScalarKind::Relabel(inner) => plain_column(inner),
        _ => None,
    }
}
