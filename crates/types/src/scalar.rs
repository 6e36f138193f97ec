//! A scalar expression over one row: PostgreSQL's own analysis, by its own function identifiers.
//!
//! The planner makes it from PostgreSQL's analysed tree, so every cast that PostgreSQL inserted is here and
//! nothing is left to be resolved. Columns are those of the operator's input row.

use serde::{Deserialize, Serialize};

use crate::{Oid, PgType};

/// An expression and its type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scalar {
    /// What it computes.
    pub kind: ScalarKind,
    /// The result's type.
    pub ty: PgType,
}

/// What an expression computes. NULL rules are PostgreSQL's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ScalarKind {
    /// Column of the input row, from 0.
    Column(usize),
    /// A constant in binary send format; `None` is NULL.
    Const(Option<Vec<u8>>),
    /// `pg_proc` function (an operator is its function) over the arguments; `collation` is the input collation, 0 for none.
    Call {
        /// `pg_proc.oid`.
        func: Oid,
        /// Its arguments.
        args: Vec<Scalar>,
        /// The collation that comparisons and case conversions go by; 0 for none.
        collation: Oid,
    },
    /// Three-valued AND of all.
    And(Vec<Scalar>),
    /// Three-valued OR of all.
    Or(Vec<Scalar>),
    /// Three-valued NOT.
    Not(Box<Scalar>),
    /// IS NULL, of a value that is not a composite.
    IsNull(Box<Scalar>),
    /// IS NOT NULL, of a value that is not a composite.
    IsNotNull(Box<Scalar>),
    /// IS TRUE, IS NOT FALSE, … `want` is `None` for UNKNOWN, `negated` for the NOT forms.
    BoolTest {
        /// The tested value.
        arg: Box<Scalar>,
        /// What is asked for.
        want: Option<bool>,
        /// IS NOT ….
        negated: bool,
    },
    /// CASE WHEN … THEN … ELSE … END; the form with an operand is rewritten to conditions.
    Case {
        /// Condition and result.
        branches: Vec<(Scalar, Scalar)>,
        /// The ELSE part; a NULL constant when there is none.
        otherwise: Box<Scalar>,
    },
    /// The first that is not NULL.
    Coalesce(Vec<Scalar>),
    /// NULL when `equal(left, right)` is true, else left.
    NullIf {
        /// The equality's `pg_proc.oid`.
        equal: Oid,
        /// Its arguments' collation.
        collation: Oid,
        /// First argument, and the result.
        left: Box<Scalar>,
        /// Second argument.
        right: Box<Scalar>,
    },
    /// IS DISTINCT FROM by the given equality function.
    Distinct {
        /// The equality's `pg_proc.oid`.
        equal: Oid,
        /// Its arguments' collation.
        collation: Oid,
        /// One side.
        left: Box<Scalar>,
        /// The other.
        right: Box<Scalar>,
    },
    /// GREATEST (or LEAST) of all that are not NULL, by the type's order.
    Extreme {
        /// The candidates.
        args: Vec<Scalar>,
        /// GREATEST when true.
        greatest: bool,
        /// The order's collation.
        collation: Oid,
    },
    /// `left op ANY (list)` (or ALL) over an explicit list, NULL rules as in SQL.
    AnyOf {
        /// The operator's `pg_proc.oid`.
        func: Oid,
        /// Its collation.
        collation: Oid,
        /// ALL instead of ANY.
        all: bool,
        /// Left argument.
        left: Box<Scalar>,
        /// The list's elements.
        list: Vec<Scalar>,
    },
    /// A cast that keeps the bytes (varchar to text); only the type changes.
    Relabel(Box<Scalar>),
    /// A cast by way of the text form.
    ViaText(Box<Scalar>),
}

impl Scalar {
    /// Column `index` of type `ty`.
    #[must_use]
    pub fn column(index: usize, ty: PgType) -> Self {
        Self { kind: ScalarKind::Column(index), ty }
    }

    /// Calls `f` on each direct child.
    pub fn for_each_child<'a>(&'a self, f: &mut dyn FnMut(&'a Scalar)) {
        match &self.kind {
            ScalarKind::Column(_) | ScalarKind::Const(_) => {}
            ScalarKind::Call { args, .. }
            | ScalarKind::And(args)
            | ScalarKind::Or(args)
            | ScalarKind::Coalesce(args)
            | ScalarKind::Extreme { args, .. } => args.iter().for_each(f),
            ScalarKind::Not(a)
            | ScalarKind::IsNull(a)
            | ScalarKind::IsNotNull(a)
            | ScalarKind::BoolTest { arg: a, .. }
            | ScalarKind::Relabel(a)
            | ScalarKind::ViaText(a) => f(a),
            ScalarKind::Case { branches, otherwise } => {
                for (when, then) in branches {
                    f(when);
                    f(then);
                }
                f(otherwise);
            }
            ScalarKind::NullIf { left, right, .. } | ScalarKind::Distinct { left, right, .. } => {
                f(left);
                f(right);
            }
            ScalarKind::AnyOf { left, list, .. } => {
                f(left);
                list.iter().for_each(f);
            }
        }
    }

    /// Every column read, each once, ascending.
    #[must_use]
    pub fn columns(&self) -> Vec<usize> {
        fn walk(s: &Scalar, into: &mut Vec<usize>) {
            if let ScalarKind::Column(c) = s.kind {
                into.push(c);
            }
            s.for_each_child(&mut |child| walk(child, into));
        }
        let mut all = Vec::new();
        walk(self, &mut all);
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The same expression with each column replaced by `map(column)`.
    #[must_use]
    pub fn map_columns(&self, map: &dyn Fn(usize) -> usize) -> Self {
        self.replace_columns(&|column, ty| Self::column(map(column), ty))
    }

    /// The same expression with `with(column, its type)` in the place of each column.
    #[must_use]
    pub fn replace_columns(&self, with: &dyn Fn(usize, PgType) -> Self) -> Self {
        let one = |s: &Scalar| s.replace_columns(with);
        let boxed = |s: &Scalar| Box::new(s.replace_columns(with));
        let many = |v: &[Scalar]| v.iter().map(one).collect::<Vec<_>>();
        let kind = match &self.kind {
            ScalarKind::Column(c) => return with(*c, self.ty),
            ScalarKind::Const(v) => ScalarKind::Const(v.clone()),
            ScalarKind::Call { func, args, collation } => {
                ScalarKind::Call { func: *func, args: many(args), collation: *collation }
            }
            ScalarKind::And(v) => ScalarKind::And(many(v)),
            ScalarKind::Or(v) => ScalarKind::Or(many(v)),
            ScalarKind::Not(a) => ScalarKind::Not(boxed(a)),
            ScalarKind::IsNull(a) => ScalarKind::IsNull(boxed(a)),
            ScalarKind::IsNotNull(a) => ScalarKind::IsNotNull(boxed(a)),
            ScalarKind::BoolTest { arg, want, negated } => {
                ScalarKind::BoolTest { arg: boxed(arg), want: *want, negated: *negated }
            }
            ScalarKind::Case { branches, otherwise } => ScalarKind::Case {
                branches: branches.iter().map(|(w, t)| (one(w), one(t))).collect(),
                otherwise: boxed(otherwise),
            },
            ScalarKind::Coalesce(v) => ScalarKind::Coalesce(many(v)),
            ScalarKind::NullIf { equal, collation, left, right } => {
                ScalarKind::NullIf { equal: *equal, collation: *collation, left: boxed(left), right: boxed(right) }
            }
            ScalarKind::Distinct { equal, collation, left, right } => {
                ScalarKind::Distinct { equal: *equal, collation: *collation, left: boxed(left), right: boxed(right) }
            }
            ScalarKind::Extreme { args, greatest, collation } => {
                ScalarKind::Extreme { args: many(args), greatest: *greatest, collation: *collation }
            }
            ScalarKind::AnyOf { func, collation, all, left, list } => {
                ScalarKind::AnyOf { func: *func, collation: *collation, all: *all, left: boxed(left), list: many(list) }
            }
            ScalarKind::Relabel(a) => ScalarKind::Relabel(boxed(a)),
            ScalarKind::ViaText(a) => ScalarKind::ViaText(boxed(a)),
        };
        Self { kind, ty: self.ty }
    }
}
