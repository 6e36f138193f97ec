//! The operators of a stream table: differences in, differences out.
//!
//! ```text
//!   step    a cut:   inputs' deltas ──▶ operator (reads its state as of the last cut, writes into the cut's batch) ──▶ deltas
//!   build   once:    inputs' rows   ──▶ operator (its state is empty, written piece by piece)                      ──▶ rows
//! ```
//!
//! Invariant: an operator that keeps state touches each key of it at most once a cut, so that reading the last cut's state
//! is enough and no operator ever needs to see what the cut has written. Rows between operators carry every column of
//! the source rows that they are made of; which of them a parent means is settled when the tree is compiled
//! ([`crate::layout::Layout`]), so that columns are copied only where rows are made anew.

mod aggregate;
mod beyond;
mod derived;
mod expand;
mod extremes;
mod filter;
mod flow;
mod forms;
mod group;
mod join;
mod late;
mod levels;
mod members;
mod outer;
mod outer_flow;
mod output;
mod pg_aggregate;
mod pg_map;
mod pg_rows;
mod project;
mod recursive;
mod set_op;
mod shape;
mod side;
mod source;
mod stats;
mod subplan;
mod top;
mod union_all;
mod values;
mod window;
mod working;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use state::{Batch, Durability, Store};
use types::{Delta, Seq, SourceId};

pub(crate) use aggregate::{Aggregate, Groups};
pub(crate) use beyond::{Beyond, Ranked, Which};
pub(crate) use derived::Derived;
pub(crate) use expand::Expand;
pub(crate) use filter::{Filter, Predicate};
pub(crate) use flow::Flow;
pub(crate) use join::{Join, JoinFlow, consolidated};
pub(crate) use members::Members;
pub(crate) use outer::{On, Outer, OuterKind, Partners};
pub(crate) use outer_flow::OuterFlow;
pub(crate) use output::{Output, OutputKey};
pub(crate) use pg_aggregate::{PgAggregate, PgGroups};
pub(crate) use pg_map::{PgCompute, PgMap};
pub(crate) use pg_rows::{Expansion, PgRows};
pub(crate) use project::{Columns, Project};
pub(crate) use recursive::{Recursive, Step};
pub(crate) use set_op::{Counts, SetOp};
pub(crate) use shape::Shape;
pub(crate) use side::{Access, Index, Side};
pub(crate) use source::Source;
pub(crate) use subplan::{Common, Kept};
pub(crate) use top::{OrderKey, Ordered, Top};
pub(crate) use union_all::{Branch, UnionAll};
pub(crate) use values::Values;
pub(crate) use window::{Partitions, Window};
pub(crate) use working::Working;

use crate::arrangement::Arrangement;
use crate::definition::{CutRows, Evaluator};
use crate::engine::Limits;
use crate::error::Failure;
use crate::keeping::Keeping;
use crate::kept::Sources;
use crate::resolve::SourceDelta;
use crate::rows::{self, RowCache};
use late::{Apply, Late};
use stats::Timed;

/// Rows handed on at once when a stream table is built.
pub(crate) const CHUNK: usize = 4096;

/// What an operator works with.
pub(crate) struct Cx<'a> {
    /// The state as of the last cut; while building, as of the last flush.
    pub(crate) store: &'a Store,
    /// The sources' rows and the arrangements that are shared, as of the same cut: the same store, but for a stream table that
    /// is computed while cuts go on.
    pub(crate) kept: &'a Store,
    /// Set when whatever is being computed is no longer wanted.
    pub(crate) stop: &'a AtomicBool,
    /// What this stream table writes.
    pub(crate) batch: &'a mut Batch,
    pub(crate) sources: &'a Sources,
    pub(crate) arrangements: &'a BTreeMap<u32, Arrangement>,
    /// What the cut does to the sources; empty while building.
    pub(crate) deltas: &'a BTreeMap<SourceId, SourceDelta>,
    /// What the cut does to the subplans that several operators read, as far as they are computed.
    pub(crate) commons: Vec<Vec<Delta>>,
    /// How long the operators before the one at work have taken.
    pub(crate) below: Duration,
    /// Rows of sources in memory.
    pub(crate) rows: &'a mut BTreeMap<SourceId, RowCache>,
    pub(crate) evaluator: &'a mut dyn Evaluator,
    pub(crate) limits: Limits,
    /// The cut.
    pub(crate) seq: Seq,
}

impl<'a> Cx<'a> {
    /// Where the shared arrangement lies: one that is being made for this stream table is in the store itself.
    pub(crate) fn arranged(&self, arrangement: &Arrangement) -> &'a Store {
        if arrangement.def.complete { self.kept } else { self.store }
    }

    /// An error once whatever is being computed is no longer wanted.
    pub(crate) fn wanted(&self) -> Result<(), Failure> {
        let is_wanted = !self.stop.load(Ordering::Relaxed);
        is_wanted.then_some(()).ok_or_else(|| Failure::Stream("it is no longer wanted".into()))
    }

    /// While building: makes what was written readable. What is no longer wanted writes nothing more: nobody may know its states.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.wanted()?;
        Ok(self.store.write(self.batch, Durability::Buffered)?)
    }

    /// Forgets rows of sources that were not used lately.
    pub(crate) fn trim_rows(&mut self) {
        rows::trim_all(self.rows.values_mut(), self.limits.rows);
    }

    /// While building: flushes when much has been written.
    pub(crate) fn flush_large(&mut self) -> Result<(), Failure> {
        if self.batch.size() > 4 << 20 { self.flush() } else { Ok(()) }
    }
}

/// Where rows go while building.
pub(crate) type Emit<'e> = dyn FnMut(&mut Cx<'_>, Vec<Delta>) -> Result<(), Failure> + 'e;

/// So many of the last cuts are remembered.
const CUTS: usize = 5;

/// An operator and what it did last.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) operator: Operator,
    /// What it keeps, or reads of what is kept for all.
    pub(crate) keeps: Vec<Keeping>,
    last: VecDeque<CutRows>,
    /// In the step of a recursion, where its rows flow.
    late: Option<Late>,
}

/// One relational operator. Each has a file of its name.
#[derive(Debug)]
pub(crate) enum Operator {
    Source(Source),
    Common(Common),
    Filter(Filter),
    Project(Project),
    PgMap(PgMap),
    PgRows(PgRows),
    PgAggregate(PgAggregate),
    Window(Window),
    Join(Box<Join>),
    Outer(Box<Outer>),
    Beyond(Box<Beyond>),
    Expand(Expand),
    SetOp(Box<SetOp>),
    Top(Box<Top>),
    Aggregate(Box<Aggregate>),
    Recursive(Box<Recursive>),
    Working(Working),
    UnionAll(UnionAll),
    Values(Values),
}

impl Node {
    pub(crate) fn new(operator: Operator) -> Self {
        Self { operator, keeps: Vec::new(), last: VecDeque::new(), late: None }
    }

    pub(crate) fn keeping(self, keeps: Vec<Keeping>) -> Self {
        Self { keeps, ..self }
    }

    /// A cut that is tried again is one. What is done before a stream table's first cut is none.
    fn begin(&mut self, seq: Seq) {
        if seq == Seq(0) {
            return;
        }
        self.last.retain(|cut| cut.seq != seq);
        if self.last.len() == CUTS {
            self.last.pop_front();
        }
        self.last.push_back(CutRows { seq, rows_in: 0, rows_out: 0, took: Duration::ZERO });
    }

    fn note(&mut self, rows_in: usize, rows_out: usize, took: Duration) {
        if let Some(cut) = self.last.back_mut() {
            cut.rows_in += rows_in as u64;
            cut.rows_out += rows_out as u64;
            cut.took += took;
        }
    }

    /// What the cut does to this operator's rows.
    pub(crate) fn step(&mut self, cx: &mut Cx<'_>) -> Result<Vec<Delta>, Failure> {
        self.begin(cx.seq);
        let timed = Timed::begin(cx);
        self.late.iter_mut().for_each(Late::clear);
        let (rows_in, out) = match &mut self.operator {
            Operator::Source(o) => {
                let out = o.step(cx);
                (out.len(), out)
            }
            Operator::Common(o) => {
                let out = o.step(cx)?;
                (out.len(), out)
            }
            Operator::Filter(o) => {
                let rows = o.input.step(cx)?;
                (rows.len(), computed(&mut self.late, cx, rows, &|_, rows| o.apply(rows))?)
            }
            Operator::Project(o) => {
                let rows = o.input.step(cx)?;
                (rows.len(), computed(&mut self.late, cx, rows, &|_, rows| o.apply(&rows))?)
            }
            Operator::PgMap(o) => {
                let rows = o.input.step(cx)?;
                (rows.len(), computed(&mut self.late, cx, rows, &|cx, rows| o.apply(cx, &rows))?)
            }
            Operator::PgRows(o) => {
                let rows = o.input.step(cx)?;
                (rows.len(), computed(&mut self.late, cx, rows, &|cx, rows| o.apply(cx, &rows))?)
            }
            Operator::PgAggregate(o) => {
                let rows = o.input.step(cx)?;
                (rows.len(), o.step(cx, &rows)?)
            }
            Operator::Window(o) => {
                let rows = o.input.step(cx)?;
                (rows.len(), o.step(cx, &rows)?)
            }
            Operator::Join(o) => o.step(cx)?,
            Operator::Outer(o) => o.step(cx)?,
            Operator::Beyond(o) => o.step(cx)?,
            Operator::SetOp(o) => o.step(cx)?,
            Operator::Expand(o) => {
                let rows = o.input.step(cx)?;
                (rows.len(), computed(&mut self.late, cx, rows, &|_, rows| o.apply(&rows))?)
            }
            Operator::Top(o) => {
                let rows = o.input.step(cx)?;
                (rows.len(), o.step(cx, &rows)?)
            }
            Operator::Aggregate(o) => {
                let rows = o.input.step(cx)?;
                (rows.len(), o.step(cx, &rows)?)
            }
            Operator::UnionAll(o) => {
                let out = o.step(cx)?;
                (out.len(), out)
            }
            Operator::Recursive(o) => o.step(cx)?,
            // What is in the step of a recursion is pushed.
            Operator::Values(_) | Operator::Working(_) => (0, Vec::new()),
        };
        self.note(rows_in, out.len(), timed.end(cx));
        Ok(out)
    }

    /// All rows of this operator, in pieces, its state written on the way.
    pub(crate) fn build(&mut self, cx: &mut Cx<'_>, emit: &mut Emit<'_>) -> Result<(), Failure> {
        match &mut self.operator {
            Operator::Source(o) => o.build(cx, emit),
            Operator::Common(o) => o.build(cx, emit),
            Operator::Filter(o) => o.build(cx, emit),
            Operator::Project(o) => o.build(cx, emit),
            Operator::PgMap(o) => o.build(cx, emit),
            Operator::PgRows(o) => o.build(cx, emit),
            Operator::PgAggregate(o) => o.build(cx, emit),
            Operator::Window(o) => o.build(cx, emit),
            Operator::Join(o) => o.build(cx, emit),
            Operator::Outer(o) => o.build(cx, emit),
            Operator::Beyond(o) => o.build(cx, emit),
            Operator::SetOp(o) => o.build(cx, emit),
            Operator::Expand(o) => o.build(cx, emit),
            Operator::Top(o) => o.build(cx, emit),
            Operator::Aggregate(o) => o.build(cx, emit),
            Operator::UnionAll(o) => o.build(cx, emit),
            Operator::Recursive(o) => o.build(cx, emit),
            Operator::Working(_) => Ok(()),
            Operator::Values(o) => o.build(cx, emit),
        }
    }

    /// In the step of a recursion: what recursive rows that come or go come to, the other inputs as they are after the cut.
    pub(crate) fn push(&mut self, cx: &mut Cx<'_>, recursive: &[Delta]) -> Result<Vec<Delta>, Failure> {
        let timed = Timed::begin(cx);
        let (rows_in, out) = match &mut self.operator {
            Operator::Working(_) => (0, recursive.to_vec()),
            Operator::Filter(o) => {
                let rows = o.input.push(cx, recursive)?;
                (rows.len(), computed(&mut self.late, cx, rows, &|_, rows| o.apply(rows))?)
            }
            Operator::Project(o) => {
                let rows = o.input.push(cx, recursive)?;
                (rows.len(), computed(&mut self.late, cx, rows, &|_, rows| o.apply(&rows))?)
            }
            Operator::PgMap(o) => {
                let rows = o.input.push(cx, recursive)?;
                (rows.len(), computed(&mut self.late, cx, rows, &|cx, rows| o.apply(cx, &rows))?)
            }
            Operator::PgRows(o) => {
                let rows = o.input.push(cx, recursive)?;
                (rows.len(), computed(&mut self.late, cx, rows, &|cx, rows| o.apply(cx, &rows))?)
            }
            Operator::Expand(o) => {
                let rows = o.input.push(cx, recursive)?;
                (rows.len(), computed(&mut self.late, cx, rows, &|_, rows| o.apply(&rows))?)
            }
            Operator::UnionAll(o) => {
                let out = o.push(cx, recursive)?;
                (out.len(), out)
            }
            Operator::Join(o) => {
                let rows = o.recursive().push(cx, recursive)?;
                (rows.len(), o.push(cx, rows)?)
            }
            Operator::Outer(o) => {
                let rows = o.left.input.push(cx, recursive)?;
                (rows.len(), o.push(cx, rows)?)
            }
            _ => return Err(Flow::missing()),
        };
        self.note(rows_in, out.len(), timed.end(cx));
        Ok(out)
    }

    /// In the step of a recursion, when it has come to its end: what the cut did to the recursive rows is written.
    pub(crate) fn settle(&mut self, cx: &mut Cx<'_>) -> Result<(), Failure> {
        self.late.iter_mut().try_for_each(Late::settle)?;
        match &mut self.operator {
            Operator::Join(o) => o.settle(cx)?,
            Operator::Outer(o) => o.settle(cx)?,
            // One within has settled its own.
            Operator::Recursive(_) => return Ok(()),
            _ => {}
        }
        self.inputs_mut().into_iter().try_for_each(|input| input.settle(cx))
    }

    /// While building: arranges what the recursive rows meet in a step.
    pub(crate) fn prepare(&mut self, cx: &mut Cx<'_>) -> Result<(), Failure> {
        match &mut self.operator {
            Operator::Join(o) => {
                o.prepare(cx)?;
                o.recursive().prepare(cx)
            }
            Operator::Outer(o) => {
                o.prepare(cx)?;
                o.left.input.prepare(cx)
            }
            _ => self.inputs_mut().into_iter().try_for_each(|input| input.prepare(cx)),
        }
    }

    /// Whether recursive rows flow through here. Gives the reason when they do where none can.
    pub(crate) fn is_recursive(&self) -> Result<bool, String> {
        let below = self.inputs().into_iter().map(Self::is_recursive).collect::<Result<Vec<_>, _>>()?;
        match (&self.operator, below.as_slice()) {
            (Operator::Working(_), _) => Ok(true),
            // Its step reads rows of its own.
            (Operator::Recursive(_), [base, _]) if !base => Ok(false),
            (_, below) if below.iter().all(|b| !b) => Ok(false),
            (Operator::Filter(_) | Operator::Project(_) | Operator::Expand(_), _) => Ok(true),
            (Operator::PgMap(_) | Operator::PgRows(_), _) => Ok(true),
            (Operator::UnionAll(_), below) if below.iter().all(|b| *b) => Ok(true),
            (Operator::UnionAll(_), _) => {
                Err("a part of a recursion's step does not read the recursive rows; move it in front of UNION".into())
            }
            (Operator::Join(_), [left, right]) if left != right => Ok(true),
            (Operator::Outer(_), [true, false]) => Ok(true),
            _ => Err("a recursion's step does more with the recursive rows than follow each on its own".into()),
        }
    }

    /// That this is the step of a recursion.
    pub(crate) fn set_recursive(&mut self) {
        if self.is_recursive() == Ok(true) {
            self.late = Some(Late::default());
            self.inputs_mut().into_iter().for_each(Self::set_recursive);
        }
    }

    pub(crate) fn inputs(&self) -> Vec<&Self> {
        match &self.operator {
            Operator::Source(_) | Operator::Common(_) | Operator::Values(_) | Operator::Working(_) => Vec::new(),
            Operator::Filter(o) => vec![&o.input],
            Operator::Project(o) => vec![&o.input],
            Operator::PgMap(o) => vec![&o.input],
            Operator::PgRows(o) => vec![&o.input],
            Operator::PgAggregate(o) => vec![&o.input],
            Operator::Window(o) => vec![&o.input],
            Operator::Join(o) => vec![&o.left.input, &o.right.input],
            Operator::Outer(o) => vec![&o.left.input, &o.right],
            Operator::Beyond(o) => vec![&o.rows.input, &o.bounds.input],
            Operator::SetOp(o) => vec![&o.left, &o.right],
            Operator::Expand(o) => vec![&o.input],
            Operator::Top(o) => vec![&o.input],
            Operator::Aggregate(o) => vec![&o.input],
            Operator::Recursive(o) => vec![&o.base, &o.step.node],
            Operator::UnionAll(o) => o.inputs.iter().map(|i| &i.node).collect(),
        }
    }

    pub(crate) fn inputs_mut(&mut self) -> Vec<&mut Self> {
        match &mut self.operator {
            Operator::Source(_) | Operator::Common(_) | Operator::Values(_) | Operator::Working(_) => Vec::new(),
            Operator::Filter(o) => vec![&mut o.input],
            Operator::Project(o) => vec![&mut o.input],
            Operator::PgMap(o) => vec![&mut o.input],
            Operator::PgRows(o) => vec![&mut o.input],
            Operator::PgAggregate(o) => vec![&mut o.input],
            Operator::Window(o) => vec![&mut o.input],
            Operator::Join(o) => vec![&mut o.left.input, &mut o.right.input],
            Operator::Outer(o) => vec![&mut o.left.input, &mut o.right],
            Operator::Beyond(o) => vec![&mut o.rows.input, &mut o.bounds.input],
            Operator::SetOp(o) => vec![&mut o.left, &mut o.right],
            Operator::Expand(o) => vec![&mut o.input],
            Operator::Top(o) => vec![&mut o.input],
            Operator::Aggregate(o) => vec![&mut o.input],
            Operator::Recursive(o) => vec![&mut o.base, &mut o.step.node],
            Operator::UnionAll(o) => o.inputs.iter_mut().map(|i| &mut i.node).collect(),
        }
    }

    /// Forgets what is held in memory: it may be ahead of the store.
    pub(crate) fn forget(&mut self) {
        self.late.iter_mut().for_each(Late::clear);
        match &mut self.operator {
            Operator::Aggregate(o) => o.forget(),
            Operator::Join(o) => o.forget(),
            Operator::Outer(o) => o.forget(),
            _ => {}
        }
        for input in self.inputs_mut() {
            input.forget();
        }
    }

    /// How many operators of the tree hold state in memory.
    pub(crate) fn caches(&self) -> usize {
        let own = usize::from(matches!(self.operator, Operator::Aggregate(_)));
        own + self.inputs().into_iter().map(Self::caches).sum::<usize>()
    }
}

/// What an operator makes of rows that come or go.
fn computed(
    late: &mut Option<Late>,
    cx: &mut Cx<'_>,
    rows: Vec<Delta>,
    apply: &Apply<'_>,
) -> Result<Vec<Delta>, Failure> {
    match late {
        None => apply(cx, rows),
        Some(late) => late.apply(cx, rows, apply),
    }
}
