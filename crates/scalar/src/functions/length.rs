//! Lengths of text and bytea.

use types::Oid;

use super::Fun;
use crate::compiled::mismatch;
use crate::datum::Datum;
use crate::error::EvalError;

fn bytes<'a>(args: &[Datum<'a>], times: usize) -> Result<Datum<'a>, EvalError> {
    match args {
        [value] => Ok(Datum::Int4((value.as_bytes().ok_or_else(mismatch)?.len() * times) as i32)),
        _ => Err(mismatch()),
    }
}

/// The function of an identifier.
pub(super) fn function(func: Oid) -> Option<Fun> {
    Some(match func {
        1257 | 1317 | 1369 | 1381 => |a| match a {
            [Datum::Text(text)] => Ok(Datum::Int4(text.chars().count() as i32)),
            _ => Err(mismatch()),
        },
        // Trailing blanks of a bpchar do not count.
        1318 | 1367 | 1372 => |a| match a {
            [Datum::Text(text)] => Ok(Datum::Int4(text.trim_end_matches(' ').chars().count() as i32)),
            _ => Err(mismatch()),
        },
        720 | 1374 | 1375 | 2010 => |a| bytes(a, 1),
        1810 | 1811 => |a| bytes(a, 8),
        _ => return None,
    })
}
