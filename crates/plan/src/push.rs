//! Conditions are asked as far down as they can be: of a group's rows instead of the group, of both sides of a join.
//!
//! What a condition leaves out below an operator that keeps state is not kept there, and what all uses of a source leave
//! out is not kept at all ([`crate::filters`]).
//!
//! No condition is evaluated over values over which the query does not evaluate it, unless it raises no errors. And where
//! an operator takes equal values together, conditions go below it only for types whose equal values are the same in every
//! byte: `1.0` and `1.00` are one group, of which one is shown, and `scale(x) = 1` is asked of that one.
//!
//! A condition that is never true goes down to the sources, which keep nothing then.

use scalar::{Compiled, Env, has_forms, key_support};
use types::{PgType, Row, Scalar, ScalarKind, oid};

use crate::catalog::Catalog;
use crate::conditions::never_fails;
use crate::filters::{bare, conjuncts};
use crate::prune::Widths;
use crate::tree::{JoinKind, Rel, SourceUse};

/// A condition is not made larger than this by putting expressions into the places of the columns that it reads.
const LARGEST: usize = 60;

/// The same rows; conditions as far down as they can be.
pub(crate) fn push(root: Rel, sources: &[SourceUse], catalog: &Catalog, env: &Env) -> Rel {
    Pusher { widths: &Widths::of(sources, &[]), catalog, env }.rel(root, Vec::new())
}

struct Pusher<'a> {
    widths: &'a Widths,
    catalog: &'a Catalog,
    env: &'a Env,
}

/// Over which values of its input an operator's condition is evaluated below it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Those over which it was.
    TheSame,
    /// Perhaps others besides.
    More,
}

/// Conditions that go below an operator, over what it reads; and those that stay above it.
type Parted = (Vec<Scalar>, Vec<Scalar>);

impl Pusher<'_> {
    /// The rows of `rel` on which all that is asked is true; it is asked in this order.
    fn rel(&self, rel: Rel, asked: Vec<Scalar>) -> Rel {
        if let Some(never) = asked.iter().find(|c| self.is_never(c)) {
            return self.nothing(rel, bare(never));
        }
        let (rel, above) = match rel {
            Rel::Filter { input, predicate } => {
                let mut all: Vec<Scalar> = Vec::new();
                for condition in conjuncts(&predicate).into_iter().chain(&asked) {
                    if !all.iter().any(|before| bare(before) == bare(condition)) {
                        all.push(condition.clone());
                    }
                }
                return self.rel(*input, all);
            }
            Rel::UnionAll(inputs) => {
                return Rel::UnionAll(inputs.into_iter().map(|input| self.rel(input, asked.clone())).collect());
            }
            Rel::Join { left, right, kind, keys, key_types, on } => {
                let on = (kind, keys, key_types, on);
                return self.join(*left, *right, on, asked);
            }
            Rel::Project { input, exprs } => {
                let put = |c: &Scalar| {
                    let placed = c.replace_columns(&|at, ty| read_as(exprs[at].clone(), ty));
                    Some(placed).filter(|placed| size(placed) <= LARGEST.max(size(c)))
                };
                let (below, above) = self.part(asked, Over::TheSame, &put);
                (Rel::Project { input: self.boxed(*input, below), exprs }, above)
            }
            Rel::PgMap { input, exprs } => {
                let (below, above) = self.part(asked, Over::TheSame, &self.of_input(&input));
                (Rel::PgMap { input: self.boxed(*input, below), exprs }, above)
            }
            Rel::PgRows { input, from, args, arg_types, columns, keep } => {
                // A row for which the function gives nothing was not asked.
                let over = if keep { Over::TheSame } else { Over::More };
                let (below, above) = self.part(asked, over, &self.of_input(&input));
                let input = self.boxed(*input, below);
                (Rel::PgRows { input, from, args, arg_types, columns, keep }, above)
            }
            Rel::Aggregate { input, keys, key_types, aggregates } => {
                let places: Vec<_> = (0..keys.len()).zip(keys.iter().copied()).collect();
                let (below, above) = self.part(asked, Over::TheSame, &self.by_equal(&places, &key_types));
                (Rel::Aggregate { input: self.boxed(*input, below), keys, key_types, aggregates }, above)
            }
            Rel::PgAggregate { input, keys, key_types, aggregates } => {
                let places: Vec<_> = (0..keys.len()).zip(keys.iter().copied()).collect();
                let (below, above) = self.part(asked, Over::TheSame, &self.by_equal(&places, &key_types));
                (Rel::PgAggregate { input: self.boxed(*input, below), keys, key_types, aggregates }, above)
            }
            Rel::Window { input, partition, partition_types, windows } => {
                let places: Vec<_> = partition.iter().map(|c| (*c, *c)).collect();
                let (below, above) = self.part(asked, Over::TheSame, &self.by_equal(&places, &partition_types));
                (Rel::Window { input: self.boxed(*input, below), partition, partition_types, windows }, above)
            }
            Rel::Top { input, partition, partition_types, order, offset, limit, ties } => {
                // Of a partition no row may be shown (OFFSET, LIMIT 0).
                let places: Vec<_> = partition.iter().map(|c| (*c, *c)).collect();
                let (below, above) = self.part(asked, Over::More, &self.by_equal(&places, &partition_types));
                let input = self.boxed(*input, below);
                (Rel::Top { input, partition, partition_types, order, offset, limit, ties }, above)
            }
            Rel::SetOp { op, all, left, right, types } => {
                // Rows that are in one of the two were not asked.
                let places: Vec<_> = (0..types.len()).map(|c| (c, c)).collect();
                let (below, above) = self.part(asked, Over::More, &self.by_equal(&places, &types));
                let (left, right) = (self.boxed(*left, below.clone()), self.boxed(*right, below));
                (Rel::SetOp { op, all, left, right, types }, above)
            }
            mut rel @ (Rel::Source(_)
            | Rel::Common(_)
            | Rel::Expand { .. }
            | Rel::Recursive { .. }
            | Rel::Working { .. }
            | Rel::Values { .. }) => {
                for input in rel.inputs_mut() {
                    let was = std::mem::replace(input, Rel::UnionAll(Vec::new()));
                    *input = self.rel(was, Vec::new());
                }
                (rel, asked)
            }
        };
        self.filtered(rel, above)
    }

    /// No row: PostgreSQL looks at none either, whatever else is asked. What has rows over none is left out itself.
    fn nothing(&self, rel: Rel, never: &Scalar) -> Rel {
        let mut rel = match rel {
            Rel::Filter { input, .. } => return self.nothing(*input, never),
            other => other,
        };
        let gives_rows_over_none = match &rel {
            Rel::Aggregate { keys, .. } | Rel::PgAggregate { keys, .. } => keys.is_empty(),
            other => other.inputs().is_empty(),
        };
        for input in rel.inputs_mut() {
            let was = std::mem::replace(input, Rel::UnionAll(Vec::new()));
            *input = self.nothing(was, never);
        }
        if gives_rows_over_none { Rel::Filter { input: Box::new(rel), predicate: never.clone() } } else { rel }
    }

    /// A constant that is not true.
    fn is_never(&self, condition: &Scalar) -> bool {
        let compiled = condition.columns().is_empty().then(|| Compiled::new(condition, self.env));
        let Some(Ok(compiled)) = compiled else { return false };
        compiled.eval(&Row::default()).is_ok_and(|value| value.as_deref() != Some(&[1]))
    }

    fn boxed(&self, rel: Rel, asked: Vec<Scalar>) -> Box<Rel> {
        Box::new(self.rel(rel, asked))
    }

    /// A condition on one side of a join goes to that side, and one on what the sides are joined by to both: a pair
    /// that it leaves out has rows of both sides that it leaves out.
    fn join(&self, left: Rel, right: Rel, (kind, keys, key_types, on): Joined, asked: Vec<Scalar>) -> Rel {
        let offset = self.widths.rel(&left);
        // A row without a partner was not asked, unless it stays.
        let over = if kind == JoinKind::Left { Over::TheSame } else { Over::More };
        let is_left = |c: &Scalar| kind != JoinKind::Full && c.columns().iter().all(|c| *c < offset);
        let (of_left, asked) = self.part(asked, over, &|c| is_left(c).then(|| c.clone()));
        let is_right = |c: &Scalar| kind == JoinKind::Inner && c.columns().iter().all(|c| *c >= offset);
        let lowered = |c: &Scalar| is_right(c).then(|| c.map_columns(&|c| c - offset));
        let (of_right, above) = self.part(asked, Over::More, &lowered);
        let (mut of_left, mut of_right) = (of_left, of_right);
        // Without a pair the other side's rows are of no use, but those of a FULL JOIN.
        if kind != JoinKind::Full
            && let Some(on) = &on
        {
            of_right.extend(conjuncts(&on.predicate).into_iter().filter(|c| self.is_never(c)).cloned());
        }
        let known = |side: &Rel, asked: &[Scalar]| {
            let mut facts = self.facts(side);
            facts.extend(asked.iter().map(|c| bare(c).clone()));
            facts
        };
        let (lefts, rights) = (known(&left, &of_left), known(&right, &of_right));
        let (to_left, to_right) = self.implied(kind, (&lefts, &rights), &keys, &key_types);
        of_left.extend(to_left);
        of_right.extend(to_right);
        let (left, right) = (self.boxed(left, of_left), self.boxed(right, of_right));
        self.filtered(Rel::Join { left, right, kind, keys, key_types, on }, above)
    }

    /// What is true of all rows of each side that matter because of what they are joined by, and not known of it yet.
    fn implied(
        &self,
        kind: JoinKind,
        (lefts, rights): (&[Scalar], &[Scalar]),
        keys: &[(usize, usize)],
        types: &[PgType],
    ) -> Parted {
        let of = |from: &[Scalar], keys: &[(usize, usize)], known: &[Scalar]| -> Vec<Scalar> {
            let same = self.by_equal(keys, types);
            let implied = from.iter().filter(|c| self.raises_no_error(c)).filter_map(same);
            implied.filter(|c| !known.contains(c)).collect()
        };
        let back: Vec<_> = keys.iter().map(|(left, right)| (*right, *left)).collect();
        let to_right = if kind == JoinKind::Full { Vec::new() } else { of(lefts, keys, rights) };
        let inner = matches!(kind, JoinKind::Inner | JoinKind::Semi);
        let to_left = if inner { of(rights, &back, lefts) } else { Vec::new() };
        (to_left, to_right)
    }

    /// Conditions that are true of every row.
    fn facts(&self, rel: &Rel) -> Vec<Scalar> {
        match rel {
            Rel::Filter { input, predicate } => {
                let mut facts = self.facts(input);
                facts.extend(conjuncts(predicate).into_iter().map(|c| bare(c).clone()));
                facts
            }
            Rel::PgMap { input, .. }
            | Rel::PgRows { input, .. }
            | Rel::Window { input, .. }
            | Rel::Top { input, .. } => self.facts(input),
            Rel::Project { input, exprs } => {
                let place = |c: usize| exprs.iter().position(|e| matches!(e.kind, ScalarKind::Column(at) if at == c));
                self.facts(input).iter().filter_map(|c| moved(c, &place)).collect()
            }
            Rel::Aggregate { input, keys, key_types, .. } | Rel::PgAggregate { input, keys, key_types, .. } => {
                let places: Vec<_> = keys.iter().copied().zip(0..).collect();
                self.facts(input).iter().filter_map(self.by_equal(&places, key_types)).collect()
            }
            Rel::Join { left, right, kind, keys, key_types, .. } => {
                let (mut lefts, mut rights) = (self.facts(left), self.facts(right));
                let (to_left, to_right) = self.implied(*kind, (&lefts, &rights), keys, key_types);
                lefts.extend(to_left);
                rights.extend(to_right);
                let mut facts = if *kind == JoinKind::Full { Vec::new() } else { lefts };
                if *kind == JoinKind::Inner {
                    let offset = self.widths.rel(left);
                    facts.extend(rights.iter().map(|c| c.map_columns(&|c| c + offset)));
                }
                facts
            }
            _ => Vec::new(),
        }
    }

    /// Parts what is asked of an operator's rows. Nothing overtakes a condition that stays, unless it raises no errors.
    fn part(&self, asked: Vec<Scalar>, over: Over, below: &dyn Fn(&Scalar) -> Option<Scalar>) -> Parted {
        let mut parted = Parted::default();
        for condition in asked {
            let free = over == Over::TheSame && parted.1.is_empty() || self.raises_no_error(&condition);
            // One that reads nothing is about the operator's rows, not about what these are made of.
            let moved = if free && !condition.columns().is_empty() { below(&condition) } else { None };
            match moved {
                Some(condition) => parted.0.push(condition),
                None => parted.1.push(condition),
            }
        }
        parted
    }

    /// The condition itself, when it reads the operator's input alone, whose columns are its first ones.
    fn of_input(&self, input: &Rel) -> impl Fn(&Scalar) -> Option<Scalar> + use<> {
        let width = self.widths.rel(input);
        move |c| c.columns().iter().all(|c| *c < width).then(|| c.clone())
    }

    /// The condition over other columns, which are equal: none of a type whose equal values differ.
    fn by_equal<'p>(
        &self,
        places: &'p [(usize, usize)],
        types: &[PgType],
    ) -> impl Fn(&Scalar) -> Option<Scalar> + use<'p> {
        let exact = |ty: &PgType| key_support(*ty, self.env).equality && !has_forms(*ty, self.env);
        let places: Vec<&(usize, usize)> =
            places.iter().zip(types).filter(|(_, ty)| exact(ty)).map(|(p, _)| p).collect();
        move |c| moved(c, &|column| places.iter().find(|p| p.0 == column).map(|p| p.1))
    }

    /// Whether the condition can be evaluated over any values.
    fn raises_no_error(&self, scalar: &Scalar) -> bool {
        let itself = match &scalar.kind {
            ScalarKind::Call { func, .. } | ScalarKind::AnyOf { func, .. } => {
                self.catalog.comparisons.contains(func) || never_fails(*func)
            }
            ScalarKind::ViaText(_) => false,
            _ => true,
        };
        let mut all = itself;
        scalar.for_each_child(&mut |child| all = all && self.raises_no_error(child));
        all || self.is_value(scalar)
    }

    /// A constant expression that has a value.
    fn is_value(&self, scalar: &Scalar) -> bool {
        let evaluated = || Compiled::new(scalar, self.env).is_ok_and(|c| c.eval(&Row::default()).is_ok());
        scalar.columns().is_empty() && evaluated()
    }

    /// The rows on which all of these are true, asked in this order. Behind one that is NULL none is asked that could raise an
    /// error; AND by itself would.
    fn filtered(&self, rel: Rel, mut asked: Vec<Scalar>) -> Rel {
        let last = asked.iter().rposition(|c| !self.raises_no_error(c)).unwrap_or(0);
        for (at, condition) in asked.iter_mut().enumerate() {
            let itself = bare(condition).clone();
            *condition = if at < last { is_true(itself) } else { itself };
        }
        let predicate = match asked.len() {
            0 => return rel,
            1 => asked.remove(0),
            _ => Scalar { kind: ScalarKind::And(asked), ty: PgType::plain(oid::BOOL) },
        };
        Rel::Filter { input: Box::new(rel), predicate }
    }
}

/// How two sides are joined.
type Joined = (JoinKind, Vec<(usize, usize)>, Vec<PgType>, Option<crate::tree::Condition>);

/// The condition over other columns, if each has a place.
fn moved(condition: &Scalar, place: &dyn Fn(usize) -> Option<usize>) -> Option<Scalar> {
    let columns = condition.columns();
    let has_place = !columns.is_empty() && columns.iter().all(|c| place(*c).is_some());
    has_place.then(|| condition.map_columns(&|c| place(c).unwrap_or(c)))
}

/// What a condition reads as a type, of which the column was without a cast: one that leaves the bytes alone.
fn read_as(expr: Scalar, ty: PgType) -> Scalar {
    if expr.ty.oid == ty.oid { expr } else { Scalar { kind: ScalarKind::Relabel(Box::new(expr)), ty } }
}

fn is_true(condition: Scalar) -> Scalar {
    let kind = ScalarKind::BoolTest { arg: Box::new(condition), want: Some(true), negated: false };
    Scalar { kind, ty: PgType::plain(oid::BOOL) }
}

fn size(scalar: &Scalar) -> usize {
    let mut all = 1;
    scalar.for_each_child(&mut |child| all += size(child));
    all
}
