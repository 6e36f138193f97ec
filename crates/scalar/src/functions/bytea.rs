//! Functions of `bytea`.

use std::borrow::Cow;

use types::Oid;

use super::Fun;
use crate::compiled::mismatch;
use crate::datum::Datum;
use crate::error::EvalError;

fn two<'v>(args: &'v [Datum<'_>]) -> Result<(&'v [u8], &'v [u8]), EvalError> {
    match args {
        [Datum::Bytea(a), Datum::Bytea(b)] => Ok((a, b)),
        _ => Err(mismatch()),
    }
}

fn substring<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let (bytes, start, length) = match args {
        [Datum::Bytea(bytes), Datum::Int4(start)] => (bytes, *start, None),
        [Datum::Bytea(bytes), Datum::Int4(start), Datum::Int4(length)] => (bytes, *start, Some(*length)),
        _ => return Err(mismatch()),
    };
    let from = ((start.max(1) - 1) as usize).min(bytes.len());
    let to = match length {
        None => bytes.len(),
        Some(length) if length < 0 => {
            return Err(EvalError::raised("22011", "negative substring length not allowed"));
        }
        Some(length) => match start.checked_add(length) {
            None => bytes.len(),
            Some(end) => ((i64::from(end) - 1).max(0) as usize).clamp(from, bytes.len()),
        },
    };
    let part = bytes.get(from..to).unwrap_or_default();
    Ok(Datum::Bytea(Cow::Owned(part.to_vec())))
}

/// The function of an identifier.
pub(super) fn function(func: Oid) -> Option<Fun> {
    Some(match func {
        2011 => |a| two(a).map(|(a, b)| Datum::Bytea(Cow::Owned([a, b].concat()))),
        2012 | 2013 | 2085 | 2086 => substring,
        2014 => |a| {
            let (bytes, wanted) = two(a)?;
            let at = if wanted.is_empty() { Some(0) } else { bytes.windows(wanted.len()).position(|w| w == wanted) };
            Ok(Datum::Int4(at.map_or(0, |at| at as i32 + 1)))
        },
        721 => |a| match a {
            [Datum::Bytea(bytes), Datum::Int4(n)] => {
                let byte = usize::try_from(*n).ok().and_then(|n| bytes.get(n));
                let out = || format!("index {n} out of valid range, 0..{}", bytes.len() as i64 - 1);
                byte.map(|b| Datum::Int4(i32::from(*b))).ok_or_else(|| EvalError::raised("2202E", out()))
            }
            _ => Err(mismatch()),
        },
        _ => return None,
    })
}
