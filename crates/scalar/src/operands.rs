//! The operands of a comparison: read where they lie, and compared.

use std::borrow::Cow;
use std::cmp::Ordering;

use types::Row;

use crate::compare::{Family, order_floats, without_blanks};
use crate::compiled::{Node, column, mismatch};
use crate::datum::{Datum, Form};
use crate::error::{DatumError, EvalError};

impl Node {
    /// A fixed-size value by the integer it is ordered by.
    fn integer(&self, row: &Row) -> Result<Option<i64>, EvalError> {
        match self {
            Self::Column { index, form, ty } => {
                let Some(bytes) = column(row, *index)? else { return Ok(None) };
                let value = match form {
                    Form::Int4 | Form::Date => bytes.try_into().ok().map(|b| i64::from(i32::from_be_bytes(b))),
                    Form::Int8 | Form::Timestamp | Form::Timestamptz | Form::Time => {
                        bytes.try_into().ok().map(i64::from_be_bytes)
                    }
                    _ => form.read(bytes).and_then(|v| v.as_integer()),
                };
                Ok(Some(value.ok_or(DatumError::Damaged(*ty))?))
            }
            _ => match self.eval(row)? {
                Datum::Null => Ok(None),
                value => value.as_integer().map(Some).ok_or_else(mismatch),
            },
        }
    }

    /// A text's or bytea's bytes, a constant's and a column's in place.
    fn bytes<'a>(&'a self, row: &'a Row) -> Result<Option<Cow<'a, [u8]>>, EvalError> {
        match self {
            Self::Column { index, .. } => Ok(column(row, *index)?.map(Cow::Borrowed)),
            _ => match self.eval(row)? {
                Datum::Null => Ok(None),
                Datum::Text(Cow::Borrowed(v)) => Ok(Some(Cow::Borrowed(v.as_bytes()))),
                Datum::Text(Cow::Owned(v)) => Ok(Some(Cow::Owned(v.into_bytes()))),
                Datum::Bytea(v) | Datum::Opaque(v) => Ok(Some(v)),
                _ => Err(mismatch()),
            },
        }
    }
}

/// Compares two operands, in place where they are columns; `None` when one is NULL.
pub(crate) fn compare(family: Family, left: &Node, right: &Node, row: &Row) -> Result<Option<Ordering>, EvalError> {
    match family {
        Family::Integer => Ok(left.integer(row)?.zip(right.integer(row)?).map(|(a, b)| a.cmp(&b))),
        Family::Text | Family::Bytes => Ok(left.bytes(row)?.zip(right.bytes(row)?).map(|(a, b)| a.cmp(&b))),
        Family::Blank | Family::BlankBytes => {
            let sides = left.bytes(row)?.zip(right.bytes(row)?);
            Ok(sides.map(|(a, b)| without_blanks(&a).cmp(without_blanks(&b))))
        }
        Family::Float | Family::Value => {
            let (left, right) = (left.eval(row)?, right.eval(row)?);
            if left.is_null() || right.is_null() {
                return Ok(None);
            }
            outcome(family, &left, &right).map(Some)
        }
    }
}

/// Compares two values that are not NULL.
pub(crate) fn outcome(family: Family, left: &Datum<'_>, right: &Datum<'_>) -> Result<Ordering, EvalError> {
    match family {
        Family::Blank | Family::BlankBytes => {
            let sides = left.as_bytes().zip(right.as_bytes());
            sides.map(|(a, b)| without_blanks(a).cmp(without_blanks(b))).ok_or_else(mismatch)
        }
        Family::Float => left.as_float().zip(right.as_float()).map(|(a, b)| order_floats(a, b)).ok_or_else(mismatch),
        _ => left.order(right).ok_or_else(mismatch),
    }
}
