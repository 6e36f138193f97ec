//! Columns that nothing reads are taken out, down to the sources.
//!
//! Twice over the tree: first to learn which columns of each source all its uses together need, then to rewrite it.

use std::collections::BTreeSet;

use types::{PgType, Scalar};

use crate::tree::{PgExpr, Rel, SourceUse};

/// Takes out what is not needed, from the operators and from `sources`.
pub(crate) fn prune(root: Rel, width: usize, sources: &mut [SourceUse]) -> Rel {
    let widths: Vec<usize> = sources.iter().map(|s| s.columns.len()).collect();
    let mut needs: Vec<BTreeSet<usize>> = sources.iter().map(|s| s.identity.iter().copied().collect()).collect();
    let all: BTreeSet<usize> = (0..width).collect();
    Pruner { needs: &mut needs, widths: &widths, learning: true }.rel(root.clone(), &all);
    let (rel, kept) = Pruner { needs: &mut needs, widths: &widths, learning: false }.rel(root, &all);
    debug_assert!(kept.iter().copied().eq(0..width));
    for (source, needs) in sources.iter_mut().zip(&needs) {
        let place = |old: &usize| needs.range(..old).count();
        source.identity = source.identity.iter().map(place).collect();
        source.columns = needs.iter().filter_map(|&c| source.columns.get(c).cloned()).collect();
    }
    rel
}

struct Pruner<'a> {
    needs: &'a mut [BTreeSet<usize>],
    /// Of the sources, before anything is taken out.
    widths: &'a [usize],
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
            Rel::Filter { input, predicate } => {
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
            Rel::Join { left, right, keys, key_types } => self.join(*left, *right, &keys, key_types, needed),
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
                let kept: Kept = needed.iter().copied().collect();
                let inputs = inputs.into_iter().map(|input| {
                    let (rel, input_kept) = self.rel(input, needed);
                    if input_kept == kept {
                        return rel;
                    }
                    let place = place(&input_kept);
                    // Only positions matter to a column that goes through.
                    let column = |&c: &usize| Scalar::column(place(c), PgType::plain(0));
                    Rel::Project { input: Box::new(rel), exprs: kept.iter().map(column).collect() }
                });
                (Rel::UnionAll(inputs.collect()), kept)
            }
            Rel::Values { rows, types } => {
                let kept = (0..types.len()).collect();
                (Rel::Values { rows, types }, kept)
            }
        }
    }

    fn pg_map(&mut self, input: Rel, exprs: &[PgExpr], needed: &BTreeSet<usize>) -> (Rel, Kept) {
        let width = width(&input, self.widths);
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
        left: Rel,
        right: Rel,
        keys: &[(usize, usize)],
        key_types: Vec<PgType>,
        needed: &BTreeSet<usize>,
    ) -> (Rel, Kept) {
        let width = width(&left, self.widths);
        let mut of_left: BTreeSet<usize> = needed.iter().copied().filter(|c| *c < width).collect();
        let mut of_right: BTreeSet<usize> = needed.iter().filter(|c| **c >= width).map(|c| c - width).collect();
        for &(l, r) in keys {
            of_left.insert(l);
            of_right.insert(r);
        }
        let (left, left_kept) = self.rel(left, &of_left);
        let (right, right_kept) = self.rel(right, &of_right);
        let (place_left, place_right) = (place(&left_kept), place(&right_kept));
        let keys = keys.iter().map(|&(l, r)| (place_left(l), place_right(r))).collect();
        let mut kept = left_kept;
        kept.extend(right_kept.iter().map(|c| width + c));
        (Rel::Join { left: Box::new(left), right: Box::new(right), keys, key_types }, kept)
    }
}

/// A projection that does something; one that gives every column as it is, is none.
fn project(input: Rel, input_columns: &Kept, exprs: Vec<Scalar>) -> Rel {
    let same = exprs.len() == input_columns.len()
        && exprs.iter().enumerate().all(|(i, e)| e.kind == types::ScalarKind::Column(i));
    if same { input } else { Rel::Project { input: Box::new(input), exprs } }
}

/// How many columns an operator had before anything was taken out.
fn width(rel: &Rel, sources: &[usize]) -> usize {
    match rel {
        Rel::Source(index) => sources.get(*index).copied().unwrap_or_default(),
        Rel::Filter { input, .. } => width(input, sources),
        Rel::Project { exprs, .. } => exprs.len(),
        Rel::PgMap { input, exprs } => width(input, sources) + exprs.len(),
        Rel::Join { left, right, .. } => width(left, sources) + width(right, sources),
        Rel::Aggregate { keys, aggregates, .. } => keys.len() + aggregates.len(),
        Rel::UnionAll(inputs) => inputs.first().map_or(0, |i| width(i, sources)),
        Rel::Values { types, .. } => types.len(),
    }
}
