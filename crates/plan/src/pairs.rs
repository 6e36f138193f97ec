//! What a join has to bring together where it has no key: one row with the others, rows in the order of a comparison, or all with all.

use types::{PgType, ScalarKind};

use crate::prune::Widths;
use crate::tree::{Condition, JoinKind, Plan, Rel};

/// What is said of a query that joins so.
pub(crate) const ALL_PAIRS: &str = "two inputs are joined without an equality that a join can go by: each change is compared with all rows \
    of the other side";

/// A comparison of a left column with a right one by `<`, `<=`, `>` or `>=`.
#[derive(Debug, Clone, Copy)]
pub struct Comparison {
    /// The column of left.
    pub left: usize,
    /// The column of right, in its own columns.
    pub right: usize,
    /// As what they are compared.
    pub ty: PgType,
    /// It is true where left's value is above right's; else where it is below.
    pub above: bool,
    /// Where they are equal, too.
    pub equal: bool,
}

impl Condition {
    /// The comparison that it is, if it is nothing else. `width`: how many columns left has.
    #[must_use]
    pub fn as_comparison(&self, width: usize) -> Option<Comparison> {
        let ScalarKind::Call { func, args, collation } = &self.predicate.kind else { return None };
        let (above, equal) = scalar::beyond(*func)?;
        let [one, other] = &args[..] else { return None };
        let (ScalarKind::Column(a), ScalarKind::Column(b)) = (&one.kind, &other.kind) else { return None };
        if !self.exprs.is_empty() || one.ty.oid != other.ty.oid {
            return None;
        }
        let ty = PgType { oid: one.ty.oid, typmod: -1, collation: *collation };
        match (a.checked_sub(width), b.checked_sub(width)) {
            (None, Some(right)) => Some(Comparison { left: *a, right, ty, above, equal }),
            (Some(right), None) => Some(Comparison { left: *b, right, ty, above: !above, equal }),
            _ => None,
        }
    }
}

impl Rel {
    /// Whether it never has more than one row. `common`: the plan's subplans.
    pub(crate) fn is_one_row(&self, common: &[Self]) -> bool {
        match self {
            Self::Aggregate { keys, .. } | Self::PgAggregate { keys, .. } => keys.is_empty(),
            Self::Filter { input, .. } | Self::Project { input, .. } | Self::PgMap { input, .. } => {
                input.is_one_row(common)
            }
            Self::Top { input, partition, limit, ties, .. } => {
                input.is_one_row(common) || partition.is_empty() && *limit == Some(1) && !ties
            }
            Self::Values { rows, .. } => rows.len() <= 1,
            Self::Common(at) => common.get(*at).is_some_and(|rel| rel.is_one_row(common)),
            _ => false,
        }
    }
}

impl Plan {
    /// Whether an operator of the plan never has more than one row.
    #[must_use]
    pub fn is_one_row(&self, rel: &Rel) -> bool {
        rel.is_one_row(&self.common)
    }

    /// Whether an operator of the plan is a semi join whose sides lie in the order of what it compares.
    #[must_use]
    pub fn goes_by_order(&self, rel: &Rel) -> bool {
        let Rel::Join { left, kind: JoinKind::Semi, keys, on: Some(on), .. } = rel else { return false };
        let width = || Widths::of(&self.sources, &self.common).rel(left);
        keys.is_empty() && on.as_comparison(width()).is_some()
    }

    /// Whether somewhere every row of one side of a join meets every row of the other.
    pub(crate) fn pairs_all(&self) -> bool {
        self.common.iter().chain([&self.root]).any(|rel| self.pairs_all_below(rel))
    }

    fn pairs_all_below(&self, rel: &Rel) -> bool {
        let here = match rel {
            Rel::Join { left, right, keys, .. } => {
                keys.is_empty() && !self.goes_by_order(rel) && !self.is_one_row(left) && !self.is_one_row(right)
            }
            _ => false,
        };
        here || rel.inputs().into_iter().any(|input| self.pairs_all_below(input))
    }
}
