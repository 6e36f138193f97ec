//! Columns that nothing reads are taken out, down to the sources.
//!
//! Twice over the tree: first to learn which columns of each source, and of each common subplan, all its uses together need,
//! then to rewrite it.

use std::collections::BTreeSet;

use types::{PgType, Scalar};

use crate::bounds::bounded;
use crate::subplans::without_copies;
use crate::tree::{Condition, JoinKind, PgExpr, Rel, SortKey, SourceUse};

/// Takes out what is not needed, from the operators, the subplans that they have in common, and `sources`.
pub(crate) fn prune(root: Rel, common: Vec<Rel>, width: usize, sources: &mut [SourceUse]) -> (Rel, Vec<Rel>) {
    let widths = Widths::of(sources, &common);
    let needs = sources.iter().map(|s| s.identity.iter().copied().collect()).collect();
    let mut pruner = Pruner { needs, of_common: vec![BTreeSet::new(); common.len()], widths: &widths, learning: true };
    let all: BTreeSet<usize> = (0..width).collect();
    pruner.rel(root.clone(), &all);
    // Whoever reads a subplan is before it now, and behind it when it is rewritten.
    for at in (0..common.len()).rev() {
        let needed = pruner.of_common[at].clone();
        pruner.rel(common[at].clone(), &needed);
    }
    pruner.learning = false;
    let mut rewritten = Vec::with_capacity(common.len());
    for (at, rel) in common.into_iter().enumerate() {
        let needed = pruner.of_common[at].clone();
        let (rel, kept) = pruner.rel(rel, &needed);
        pruner.of_common[at] = kept.into_iter().collect();
        rewritten.push(rel);
    }
    let (rel, kept) = pruner.rel(root, &all);
    debug_assert!(kept.iter().copied().eq(0..width));
    for (source, needs) in sources.iter_mut().zip(&pruner.needs) {
        let place = |old: &usize| needs.range(..old).count();
        source.identity = source.identity.iter().map(place).collect();
        source.columns = needs.iter().filter_map(|&c| source.columns.get(c).cloned()).collect();
    }
    without_copies(rel, rewritten)
}

struct Pruner<'a> {
    /// Columns of the sources.
    needs: Vec<BTreeSet<usize>>,
    /// Columns of the common subplans: those that their readers need, then those that come out.
    of_common: Vec<BTreeSet<usize>>,
    /// Before anything is taken out.
    widths: &'a Widths,
    learning: bool,
}

/// The columns kept of an operator's, ascending.
type Kept = Vec<usize>;

fn place(kept: &Kept) -> impl Fn(usize) -> usize + use<> {
    let kept = kept.clone();
    move |old| kept.binary_search(&old).unwrap_or(usize::MAX)
}

impl Pruner<'_> {
    fn rel(&mut self, rel: Rel, needed: &BTreeSet<usize>) -> (Rel, Kept) {
        match rel {
            Rel::Source(index) => {
                if self.learning {
                    self.needs[index].extend(needed);
                }
                (Rel::Source(index), self.needs[index].iter().copied().collect())
            }
            Rel::Common(index) => {
                if self.learning {
                    self.of_common[index].extend(needed);
                }
                // A reader sees what it needs, and not what the others do.
                let kept: Kept = self.of_common[index].iter().copied().collect();
                (columns(Rel::Common(index), &kept, needed), needed.iter().copied().collect())
            }
            Rel::Filter { input, predicate } => {
                if let Some(rel) = bounded(&input, &predicate, needed, self.widths) {
                    return self.rel(rel, needed);
                }
                let mut below = needed.clone();
                below.extend(predicate.columns());
                let (input, kept) = self.rel(*input, &below);
                let predicate = predicate.map_columns(&place(&kept));
                (Rel::Filter { input: Box::new(input), predicate }, kept)
            }
            Rel::Project { input, exprs } => {
                let kept: Kept = needed.iter().copied().filter(|c| *c < exprs.len()).collect();
                let exprs: Vec<Scalar> = kept.iter().filter_map(|&c| exprs.get(c).cloned()).collect();
                let below = exprs.iter().flat_map(Scalar::columns).collect();
                let (input, input_kept) = self.rel(*input, &below);
                let exprs: Vec<Scalar> = exprs.iter().map(|e| e.map_columns(&place(&input_kept))).collect();
                (project(input, &input_kept, exprs), kept)
            }
            Rel::PgMap { input, exprs } => self.pg_map(*input, &exprs, needed),
            Rel::Join { left, right, kind, keys, key_types, on } => {
                self.join((*left, *right), kind, &keys, key_types, on, needed)
            }
            Rel::Aggregate { input, keys, key_types, aggregates } => {
                let mut kept: Kept = (0..keys.len()).collect();
                kept.extend(needed.iter().copied().filter(|c| *c >= keys.len()));
                let mut aggregates: Vec<_> =
                    kept[keys.len()..].iter().filter_map(|c| aggregates.get(c - keys.len()).cloned()).collect();
                let read = aggregates.iter().flat_map(|a| [a.arg, a.filter]).flatten();
                let below = keys.iter().copied().chain(read).collect();
                let (input, input_kept) = self.rel(*input, &below);
                let place = place(&input_kept);
                for aggregate in &mut aggregates {
                    aggregate.arg = aggregate.arg.map(&place);
                    aggregate.filter = aggregate.filter.map(&place);
                }
                let keys = keys.into_iter().map(&place).collect();
                (Rel::Aggregate { input: Box::new(input), keys, key_types, aggregates }, kept)
            }
            Rel::UnionAll(inputs) => {
                let inputs = inputs.into_iter().map(|input| self.exactly(input, needed)).collect();
                (Rel::UnionAll(inputs), needed.iter().copied().collect())
            }
            Rel::PgAggregate { input, keys, key_types, aggregates } => {
                let mut kept: Kept = (0..keys.len()).collect();
                kept.extend(needed.iter().copied().filter(|c| *c >= keys.len()));
                let aggregates: Vec<_> =
                    kept[keys.len()..].iter().filter_map(|c| aggregates.get(c - keys.len()).cloned()).collect();
                let below = keys.iter().chain(aggregates.iter().flat_map(|a| &a.args)).copied().collect();
                let (input, input_kept) = self.rel(*input, &below);
                let place = place(&input_kept);
                let aggregates = aggregates.into_iter().map(|a| placed(a, &place)).collect();
                let keys = keys.into_iter().map(&place).collect();
                let input = Box::new(input);
                if kept.len() == key_types.len() {
                    // Only the groups are read, for which PostgreSQL is not needed.
                    return (Rel::Aggregate { input, keys, key_types, aggregates: Vec::new() }, kept);
                }
                (Rel::PgAggregate { input, keys, key_types, aggregates }, kept)
            }
            Rel::Window { input, partition, partition_types, windows } => {
                let width = self.widths.rel(&input);
                let used: Vec<usize> = (0..windows.len()).filter(|w| needed.contains(&(width + w))).collect();
                let windows: Vec<_> = used.iter().filter_map(|&w| windows.get(w).cloned()).collect();
                let mut below: BTreeSet<usize> = needed.range(..width).copied().collect();
                below.extend(partition.iter().chain(windows.iter().flat_map(|w| &w.args)));
                let (input, mut kept) = self.rel(*input, &below);
                let place = place(&kept);
                kept.extend(used.iter().map(|w| width + w));
                if windows.is_empty() {
                    return (input, kept);
                }
                let windows = windows.into_iter().map(|w| placed(w, &place)).collect();
                let partition = partition.into_iter().map(&place).collect();
                (Rel::Window { input: Box::new(input), partition, partition_types, windows }, kept)
            }
            Rel::PgRows { input, from, args, arg_types, columns, keep } => {
                let width = self.widths.rel(&input);
                let below = needed.range(..width).chain(&args).copied().collect();
                let (input, mut kept) = self.rel(*input, &below);
                let args = args.into_iter().map(place(&kept)).collect();
                kept.extend(width..width + columns.len());
                (Rel::PgRows { input: Box::new(input), from, args, arg_types, columns, keep }, kept)
            }
            Rel::Expand { input, lists } => {
                let kept: Kept = needed.iter().copied().collect();
                let lists: Vec<Vec<Scalar>> =
                    lists.iter().map(|l| kept.iter().filter_map(|&c| l.get(c).cloned()).collect()).collect();
                let below = lists.iter().flatten().flat_map(Scalar::columns).collect();
                let (input, input_kept) = self.rel(*input, &below);
                let place = place(&input_kept);
                let lists = lists.iter().map(|l| l.iter().map(|e| e.map_columns(&place)).collect()).collect();
                (Rel::Expand { input: Box::new(input), lists }, kept)
            }
            Rel::SetOp { op, all, left, right, types } => {
                let every = (0..types.len()).collect();
                let left = Box::new(self.exactly(*left, &every));
                let right = Box::new(self.exactly(*right, &every));
                (Rel::SetOp { op, all, left, right, types }, every.into_iter().collect())
            }
            Rel::Top { input, partition, partition_types, order, offset, limit, ties } => {
                let ordered = order.iter().map(|k| k.column);
                let below = needed.iter().chain(&partition).copied().chain(ordered).collect();
                let (input, kept) = self.rel(*input, &below);
                let place = place(&kept);
                let partition = partition.into_iter().map(&place).collect();
                let order = order.into_iter().map(|k| SortKey { column: place(k.column), ..k }).collect();
                let input = Box::new(input);
                (Rel::Top { input, partition, partition_types, order, offset, limit, ties }, kept)
            }
            Rel::Recursive { base, step, all, types } => {
                let every = (0..types.len()).collect();
                let base = Box::new(self.exactly(*base, &every));
                let step = Box::new(self.exactly(*step, &every));
                (Rel::Recursive { base, step, all, types }, every.into_iter().collect())
            }
            Rel::Working { types } => {
                let kept = (0..types.len()).collect();
                (Rel::Working { types }, kept)
            }
            Rel::Values { rows, types } => {
                let kept = (0..types.len()).collect();
                (Rel::Values { rows, types }, kept)
            }
        }
    }

    /// An input of which just these columns come out.
    fn exactly(&mut self, input: Rel, needed: &BTreeSet<usize>) -> Rel {
        let (rel, kept) = self.rel(input, needed);
        columns(rel, &kept, needed)
    }

    fn pg_map(&mut self, input: Rel, exprs: &[PgExpr], needed: &BTreeSet<usize>) -> (Rel, Kept) {
        let width = self.widths.rel(&input);
        let used: Vec<usize> = (0..exprs.len()).filter(|e| needed.contains(&(width + e))).collect();
        let mut below: BTreeSet<usize> = needed.iter().copied().filter(|c| *c < width).collect();
        below.extend(used.iter().filter_map(|&e| exprs.get(e)).flat_map(|e| e.args.clone()));
        let (input, mut kept) = self.rel(input, &below);
        let place = place(&kept);
        let exprs: Vec<PgExpr> = used
            .iter()
            .filter_map(|&e| exprs.get(e))
            .map(|e| PgExpr { args: e.args.iter().map(|&a| place(a)).collect(), ..e.clone() })
            .collect();
        kept.extend(used.iter().map(|e| width + e));
        if exprs.is_empty() {
            return (input, kept);
        }
        (Rel::PgMap { input: Box::new(input), exprs }, kept)
    }

    fn join(
        &mut self,
        (left, right): (Rel, Rel),
        kind: JoinKind,
        keys: &[(usize, usize)],
        key_types: Vec<PgType>,
        on: Option<Condition>,
        needed: &BTreeSet<usize>,
    ) -> (Rel, Kept) {
        let (width, right_width) = (self.widths.rel(&left), self.widths.rel(&right));
        let mut of_both = needed.clone();
        if let Some(on) = &on {
            of_both.extend(on.predicate.columns());
            of_both.extend(on.exprs.iter().flat_map(|e| &e.args));
        }
        let mut of_left: BTreeSet<usize> = of_both.range(..width).copied().collect();
        let mut of_right: BTreeSet<usize> = of_both.range(width..width + right_width).map(|c| c - width).collect();
        for &(l, r) in keys {
            of_left.insert(l);
            of_right.insert(r);
        }
        let (left, left_kept) = self.rel(left, &of_left);
        let (right, right_kept) = self.rel(right, &of_right);
        let (place_left, place_right) = (place(&left_kept), place(&right_kept));
        let keys = keys.iter().map(|&(l, r)| (place_left(l), place_right(r))).collect();
        let place_pair = |c: usize| match c.checked_sub(width) {
            None => place_left(c),
            Some(c) if c < right_width => left_kept.len() + place_right(c),
            Some(c) => left_kept.len() + right_kept.len() + c - right_width,
        };
        let on = on.map(|on| Condition {
            exprs: on.exprs.into_iter().map(|e| placed(e, &place_pair)).collect(),
            predicate: on.predicate.map_columns(&place_pair),
        });
        let mut kept = left_kept.clone();
        if !matches!(kind, JoinKind::Semi | JoinKind::Anti) {
            kept.extend(right_kept.iter().map(|c| width + c));
        }
        (Rel::Join { left: Box::new(left), right: Box::new(right), kind, keys, key_types, on }, kept)
    }
}

/// Of what is kept just what is needed.
fn columns(rel: Rel, kept: &Kept, needed: &BTreeSet<usize>) -> Rel {
    if kept.iter().eq(needed) {
        return rel;
    }
    let place = place(kept);
    // Only positions matter to a column that goes through.
    let column = |&c: &usize| Scalar::column(place(c), PgType::plain(0));
    Rel::Project { input: Box::new(rel), exprs: needed.iter().map(column).collect() }
}

fn placed(expr: PgExpr, place: &dyn Fn(usize) -> usize) -> PgExpr {
    PgExpr { args: expr.args.iter().map(|&a| place(a)).collect(), ..expr }
}

/// A projection that does something; one that gives every column as it is, is none.
fn project(input: Rel, input_columns: &Kept, exprs: Vec<Scalar>) -> Rel {
    let same = exprs.len() == input_columns.len()
        && exprs.iter().enumerate().all(|(i, e)| e.kind == types::ScalarKind::Column(i));
    if same { input } else { Rel::Project { input: Box::new(input), exprs } }
}

/// How many columns sources and common subplans have.
#[derive(Debug)]
pub(crate) struct Widths {
    sources: Vec<usize>,
    common: Vec<usize>,
}

impl Widths {
    pub(crate) fn of(sources: &[SourceUse], common: &[Rel]) -> Self {
        let sources = sources.iter().map(|s| s.columns.len()).collect();
        let mut widths = Self { sources, common: Vec::with_capacity(common.len()) };
        for rel in common {
            widths.common.push(widths.rel(rel));
        }
        widths
    }

    /// How many columns an operator has.
    pub(crate) fn rel(&self, rel: &Rel) -> usize {
        match rel {
            Rel::Source(index) => self.sources.get(*index).copied().unwrap_or_default(),
            Rel::Common(index) => self.common.get(*index).copied().unwrap_or_default(),
            Rel::Filter { input, .. } | Rel::Top { input, .. } => self.rel(input),
            Rel::Project { exprs, .. } => exprs.len(),
            Rel::PgMap { input, exprs } | Rel::Window { input, windows: exprs, .. } => self.rel(input) + exprs.len(),
            Rel::PgRows { input, columns, .. } => self.rel(input) + columns.len(),
            Rel::Join { left, kind: JoinKind::Semi | JoinKind::Anti, .. } => self.rel(left),
            Rel::Join { left, right, .. } => self.rel(left) + self.rel(right),
            Rel::Aggregate { keys, aggregates, .. } => keys.len() + aggregates.len(),
            Rel::PgAggregate { keys, aggregates, .. } => keys.len() + aggregates.len(),
            Rel::UnionAll(inputs) => inputs.first().map_or(0, |i| self.rel(i)),
            Rel::Expand { lists, .. } => lists.first().map_or(0, Vec::len),
            Rel::Values { types, .. }
            | Rel::SetOp { types, .. }
            | Rel::Recursive { types, .. }
            | Rel::Working { types } => types.len(),
        }
    }
}
