//! What is kept of each group for its aggregates, and what is shown of it.
//!
//! Aggregates that need the same share it: `sum(x)` and `avg(x)` one accumulator, `min(x)`, `max(x)` and `count(DISTINCT x)`
//! one ordered multiset.

use plan::{Aggregate, AggregateFunc};
use scalar::Env;
use types::{Oid, PgType, oid};

use super::extremes::{ValueSet, native};
use super::group::Kind;
use crate::layout::Layout;

/// What is added up of every row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adder {
    /// The argument's physical column; `None` to count rows.
    pub(crate) column: Option<usize>,
    pub(crate) ty: Oid,
    /// A boolean physical column that must be true.
    pub(crate) filter: Option<usize>,
    /// Which accumulator takes it.
    pub(crate) into: usize,
}

/// One aggregate of the group's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// How many rows there are.
    Rows,
    /// What an accumulator comes to.
    Of { accumulator: usize, func: AggregateFunc, ty: Oid },
    /// The least of some values.
    Least(usize),
    /// The greatest.
    Greatest(usize),
}

/// What is kept of each group, and what is shown of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) adders: Vec<Adder>,
    pub(crate) values: Vec<ValueSet>,
    pub(crate) results: Vec<Shown>,
}

fn is_integer(ty: Oid) -> bool {
    matches!(ty, oid::INT2 | oid::INT4 | oid::INT8)
}

impl Shape {
    /// Adds what one aggregate needs.
    ///
    /// Gives the reason when it cannot be kept.
    pub(crate) fn add(&mut self, aggregate: &Aggregate, layout: &Layout, env: &Env) -> Result<(), String> {
        use AggregateFunc::{
            Avg, BitAnd, BitOr, BitXor, BoolAnd, BoolOr, Count, CountStar, Max, Min, StddevPop, StddevSamp, Sum,
            VarPop, VarSamp,
        };
        let filter = aggregate.filter.map(|f| layout.at(f)).transpose()?;
        let func = aggregate.func;
        let (arg, ty) = match (aggregate.arg, aggregate.arg_type) {
            (Some(arg), Some(ty)) if func != CountStar => (layout.at(arg)?, ty),
            _ if matches!(func, CountStar | Count) => {
                let shown = match filter {
                    None => Shown::Rows,
                    Some(_) => {
                        let accumulator = self.adder(&Adder { column: None, ty: 0, filter, into: 0 }, Kind::Count);
                        Shown::Of { accumulator, func, ty: 0 }
                    }
                };
                self.results.push(shown);
                return Ok(());
            }
            _ => return Err("the plan has an aggregate without its argument".into()),
        };
        let kind = match func {
            Min | Max => {
                native(ty, true, env)?;
                let values = self.values(arg, ty, filter)?;
                let set = &mut self.values[values];
                self.results.push(if func == Min {
                    set.least = true;
                    Shown::Least(values)
                } else {
                    set.greatest = true;
                    Shown::Greatest(values)
                });
                return Ok(());
            }
            CountStar | Count => Kind::Count,
            BoolAnd | BoolOr => Kind::Bool,
            BitAnd | BitOr | BitXor if is_integer(ty.oid) => Kind::Bits,
            VarPop | VarSamp | StddevPop | StddevSamp if is_integer(ty.oid) || ty.oid == oid::NUMERIC => Kind::Variance,
            BitAnd | BitOr | BitXor | VarPop | VarSamp | StddevPop | StddevSamp => {
                return Err(format!("{func:?} of type {} is not native", ty.oid));
            }
            Sum | Avg => {
                Kind::of_sum(ty.oid).ok_or_else(|| format!("sum and avg of type {} are not native", ty.oid))?
            }
        };
        let accumulator = if aggregate.distinct && kind != Kind::Bool {
            native(ty, false, env)?;
            let values = self.values(arg, ty, filter)?;
            self.distinct(values, kind)
        } else {
            self.adder(&Adder { column: Some(arg), ty: ty.oid, filter, into: 0 }, kind)
        };
        self.results.push(Shown::Of { accumulator, func, ty: ty.oid });
        Ok(())
    }

    /// The accumulator for what is added up, shared with an equal one.
    fn adder(&mut self, adder: &Adder, kind: Kind) -> usize {
        let same = |a: &&Adder| Adder { into: 0, ..(*a).clone() } == *adder && self.kinds.get(a.into) == Some(&kind);
        if let Some(known) = self.adders.iter().find(same) {
            return known.into;
        }
        self.kinds.push(kind);
        let into = self.kinds.len() - 1;
        self.adders.push(Adder { into, ..adder.clone() });
        into
    }

    /// The counted values of a column, shared with equal ones.
    fn values(&mut self, column: usize, ty: PgType, filter: Option<usize>) -> Result<usize, String> {
        if let Some(known) = self.values.iter().position(|v| (v.column, v.ty, v.filter) == (column, ty, filter)) {
            return Ok(known);
        }
        if self.values.len() > usize::from(u8::MAX) {
            return Err("more than 256 columns with min, max or DISTINCT in one GROUP BY".into());
        }
        self.values.push(ValueSet { column, ty, filter, least: false, greatest: false, distinct: Vec::new() });
        Ok(self.values.len() - 1)
    }

    /// The accumulator that takes each of some values once.
    fn distinct(&mut self, values: usize, kind: Kind) -> usize {
        let known = self.values[values].distinct.iter().find(|&&a| self.kinds.get(a) == Some(&kind));
        if let Some(known) = known {
            return *known;
        }
        self.kinds.push(kind);
        let into = self.kinds.len() - 1;
        self.values[values].distinct.push(into);
        into
    }
}
