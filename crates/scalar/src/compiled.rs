//! A compiled expression and its evaluation over one row.
//!
//! ```text
//! types::Scalar ── compile ──▶ Node tree ── eval(row) ──▶ Datum (borrowing from row and tree) ──▶ bytes
//! ```
//!
//! A plain column is copied without being read; comparisons of integers and of text read the row's bytes in place.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::tz::TimeZone;
use types::{Field as RowField, Oid, PgType, Row, Scalar};

use crate::compare::{Family, Relation};
use crate::datum::{Datum, Form};
use crate::env::Env;
use crate::error::{DatumError, EvalError, NotNative};
use crate::functions::{Field, FieldFun, Fun, ZonedFun};
use crate::operands::{compare, outcome};

/// An expression ready to be evaluated, again and again, from any thread.
#[derive(Debug, Clone)]
pub struct Compiled {
    node: Node,
    ty: PgType,
}

/// One step. Children are evaluated as PostgreSQL's executor does: left to right, no further than needed.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Column {
        index: usize,
        form: Form,
        ty: Oid,
    },
    Const(Datum<'static>),
    Compare {
        family: Family,
        relation: Relation,
        sides: Box<[Node; 2]>,
    },
    /// A strict function.
    Call {
        fun: Fun,
        args: Box<[Node]>,
    },
    /// A strict function that depends on the session's time zone.
    Zoned {
        fun: ZonedFun,
        zone: Arc<TimeZone>,
        args: Box<[Node]>,
    },
    /// A part of a date or time; the zone counts for `timestamptz` only.
    OfField {
        fun: FieldFun,
        field: Field,
        zone: Arc<TimeZone>,
        arg: Box<Node>,
    },
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Not(Box<Node>),
    IsNull {
        arg: Box<Node>,
        negated: bool,
    },
    BoolTest {
        arg: Box<Node>,
        want: Option<bool>,
        negated: bool,
    },
    Case {
        branches: Box<[(Node, Node)]>,
        otherwise: Box<Node>,
    },
    Coalesce(Box<[Node]>),
    NullIf {
        family: Family,
        left: Box<Node>,
        right: Box<Node>,
    },
    Distinct {
        family: Family,
        left: Box<Node>,
        right: Box<Node>,
    },
    Extreme {
        family: Family,
        greatest: bool,
        args: Box<[Node]>,
    },
    AnyOf {
        family: Family,
        relation: Relation,
        all: bool,
        left: Box<Node>,
        list: Box<[Node]>,
    },
    /// The same bytes read as another form.
    Reread {
        arg: Box<Node>,
        form: Form,
        ty: Oid,
    },
}

impl Compiled {
    /// Compiles an expression.
    ///
    /// # Errors
    /// [`NotNative`] when some part of it has to be left to PostgreSQL.
    pub fn new(expr: &Scalar, env: &Env) -> Result<Self, NotNative> {
        Ok(Self { node: crate::compile::node(expr, env)?, ty: expr.ty })
    }

    /// The result's type.
    #[must_use]
    pub fn ty(&self) -> PgType {
        self.ty
    }

    /// The column, when the expression is just that column's bytes.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        match self.node {
            Node::Column { index, .. } => Some(index),
            _ => None,
        }
    }

    /// The value's binary send format, borrowed from the row where it is a plain column; `None` is NULL.
    ///
    /// # Errors
    /// What PostgreSQL would raise, or a damaged value.
    pub fn eval<'a>(&'a self, row: &'a Row) -> Result<Option<Cow<'a, [u8]>>, EvalError> {
        if let Node::Column { index, .. } = self.node {
            return Ok(column(row, index)?.map(Cow::Borrowed));
        }
        Ok(match self.node.eval(row)? {
            Datum::Null => None,
            Datum::Text(Cow::Borrowed(text)) => Some(Cow::Borrowed(text.as_bytes())),
            Datum::Text(Cow::Owned(text)) => Some(Cow::Owned(text.into_bytes())),
            Datum::Bytea(bytes) | Datum::Opaque(bytes) => Some(bytes),
            other => other.to_bytes().map(Cow::Owned),
        })
    }

    /// Appends the value's binary send format; false (and nothing appended) for NULL.
    ///
    /// # Errors
    /// As for [`Self::eval`].
    pub fn eval_into(&self, row: &Row, into: &mut Vec<u8>) -> Result<bool, EvalError> {
        if let Node::Column { index, .. } = self.node {
            let value = column(row, index)?;
            into.extend_from_slice(value.unwrap_or_default());
            return Ok(value.is_some());
        }
        let value = self.node.eval(row)?;
        value.encode(into);
        Ok(!value.is_null())
    }

    /// The value in memory.
    ///
    /// # Errors
    /// As for [`Self::eval`].
    pub fn eval_datum<'a>(&'a self, row: &'a Row) -> Result<Datum<'a>, EvalError> {
        self.node.eval(row)
    }

    /// Whether a boolean expression is true (not false, not NULL).
    ///
    /// # Errors
    /// As for [`Self::eval`].
    pub fn is_true(&self, row: &Row) -> Result<bool, EvalError> {
        Ok(self.node.truth(row)? == Some(true))
    }
}

/// A column's bytes.
pub(crate) fn column(row: &Row, index: usize) -> Result<Option<&[u8]>, EvalError> {
    match row.field(index) {
        RowField::Value(bytes) => Ok(Some(bytes)),
        RowField::Null => Ok(None),
        RowField::Unchanged => Err(EvalError::Unchanged(index)),
    }
}

/// An error that only a tree not made by PostgreSQL's analysis can give.
pub(crate) fn mismatch() -> EvalError {
    EvalError::raised("XX000", "arguments do not match the function's types")
}

impl Node {
    /// The value, borrowing from the row and from constants.
    pub(crate) fn eval<'a>(&'a self, row: &'a Row) -> Result<Datum<'a>, EvalError> {
        match self {
            Self::Column { index, form, ty } => match column(row, *index)? {
                Some(bytes) => form.read(bytes).ok_or(EvalError::Datum(DatumError::Damaged(*ty))),
                None => Ok(Datum::Null),
            },
            Self::Const(value) => Ok(value.borrowed()),
            Self::Call { fun, args } => with_args(args, row, |args| fun(args)),
            Self::Zoned { fun, zone, args } => with_args(args, row, |args| fun(zone, args)),
            Self::OfField { fun, field, zone, arg } => match arg.eval(row)? {
                Datum::Null => Ok(Datum::Null),
                value => fun(*field, zone, &value),
            },
            Self::Compare { .. }
            | Self::And(_)
            | Self::Or(_)
            | Self::Not(_)
            | Self::IsNull { .. }
            | Self::BoolTest { .. }
            | Self::Distinct { .. }
            | Self::AnyOf { .. } => Ok(self.truth(row)?.map_or(Datum::Null, Datum::Bool)),
            Self::Case { branches, otherwise } => {
                for (when, then) in branches {
                    if when.truth(row)? == Some(true) {
                        return then.eval(row);
                    }
                }
                otherwise.eval(row)
            }
            Self::Coalesce(args) => {
                for arg in args {
                    let value = arg.eval(row)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Ok(Datum::Null)
            }
            Self::NullIf { family, left, right } => {
                let left = left.eval(row)?;
                let right = right.eval(row)?;
                if !left.is_null() && !right.is_null() && outcome(*family, &left, &right)?.is_eq() {
                    return Ok(Datum::Null);
                }
                Ok(left)
            }
            Self::Extreme { family, greatest, args } => {
                let mut best = Datum::Null;
                for arg in args {
                    let value = arg.eval(row)?;
                    if value.is_null() {
                        continue;
                    }
                    let better = match best {
                        Datum::Null => true,
                        _ if *greatest => outcome(*family, &value, &best)?.is_gt(),
                        _ => outcome(*family, &value, &best)?.is_lt(),
                    };
                    if better {
                        best = value;
                    }
                }
                Ok(best)
            }
            Self::Reread { arg, form, ty } => {
                let Some(bytes) = arg.eval(row)?.to_bytes() else { return Ok(Datum::Null) };
                let value = form.read(&bytes).ok_or(EvalError::Datum(DatumError::Damaged(*ty)))?;
                Ok(value.into_owned())
            }
        }
    }

    /// Whether its evaluation can fail on values that are what they should be.
    fn may_raise(&self) -> bool {
        !matches!(self, Self::Const(_) | Self::Column { .. })
    }

    /// The value of a boolean expression; `None` is NULL.
    fn truth(&self, row: &Row) -> Result<Option<bool>, EvalError> {
        match self {
            Self::Compare { family, relation, sides } => {
                Ok(compare(*family, &sides[0], &sides[1], row)?.map(|o| relation.holds(o)))
            }
            Self::And(args) => junction(args, row, false),
            Self::Or(args) => junction(args, row, true),
            Self::Not(arg) => Ok(arg.truth(row)?.map(|v| !v)),
            Self::IsNull { arg, negated } => Ok(Some(arg.is_null(row)? != *negated)),
            Self::BoolTest { arg, want, negated } => Ok(Some((arg.truth(row)? == *want) != *negated)),
            Self::Distinct { family, left, right } => {
                let left = left.eval(row)?;
                let right = right.eval(row)?;
                Ok(Some(match (left.is_null(), right.is_null()) {
                    (false, false) => outcome(*family, &left, &right)?.is_ne(),
                    (a, b) => a != b,
                }))
            }
            Self::AnyOf { family, relation, all, left, list } => {
                let left = left.eval(row)?;
                let mut unknown = false;
                for (at, item) in list.iter().enumerate() {
                    let item = item.eval(row)?;
                    if left.is_null() || item.is_null() {
                        unknown = true;
                    } else if relation.holds(outcome(*family, &left, &item)?) != *all {
                        // PostgreSQL makes the whole list first, with the errors of all of it.
                        for rest in list.iter().skip(at + 1).filter(|n| n.may_raise()) {
                            rest.eval(row)?;
                        }
                        return Ok(Some(!*all));
                    }
                }
                Ok(if unknown { None } else { Some(*all) })
            }
            _ => match self.eval(row)? {
                Datum::Bool(v) => Ok(Some(v)),
                Datum::Null => Ok(None),
                _ => Err(mismatch()),
            },
        }
    }

    fn is_null(&self, row: &Row) -> Result<bool, EvalError> {
        match self {
            Self::Column { index, .. } => Ok(column(row, *index)?.is_none()),
            _ => Ok(self.eval(row)?.is_null()),
        }
    }
}

/// Evaluates a strict function's arguments on the stack: NULL when one is.
fn with_args<'a, F>(args: &'a [Node], row: &'a Row, call: F) -> Result<Datum<'a>, EvalError>
where
    F: FnOnce(&mut [Datum<'a>]) -> Result<Datum<'a>, EvalError>,
{
    let mut values = [const { Datum::Null }; MAX_ARGS];
    let Some(values) = values.get_mut(..args.len()) else { return Err(mismatch()) };
    let mut null = false;
    for (value, arg) in values.iter_mut().zip(args) {
        *value = arg.eval(row)?;
        null |= value.is_null();
    }
    if null { Ok(Datum::Null) } else { call(values) }
}

/// The most arguments a native function has.
pub(crate) const MAX_ARGS: usize = 4;

/// AND (`decisive` false) or OR (`decisive` true).
fn junction(args: &[Node], row: &Row, decisive: bool) -> Result<Option<bool>, EvalError> {
    let mut unknown = false;
    for arg in args {
        match arg.truth(row)? {
            Some(v) if v == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { None } else { Some(!decisive) })
}
