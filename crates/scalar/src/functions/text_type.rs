//! Casts between the text types, with their lengths, and from bool.

use std::borrow::Cow;

use types::Oid;

use super::Fun;
use super::text::{head, owned, part, tail, take};
use crate::compiled::mismatch;
use crate::datum::Datum;
use crate::error::EvalError;

pub(super) fn bool_to_text<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    match args {
        [Datum::Bool(v)] => Ok(Datum::Text(Cow::Borrowed(if *v { "true" } else { "false" }))),
        _ => Err(mismatch()),
    }
}

pub(super) fn without_trailing_blanks<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [text] = args else { return Err(mismatch()) };
    Ok(part(take(text)?, |t| t.trim_end_matches(' ')))
}

/// `varchar(n)`'s coercion: at most so many characters; an implicit one loses nothing but blanks.
fn to_varchar<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [text, Datum::Int4(typmod), Datum::Bool(explicit)] = args else { return Err(mismatch()) };
    let (typmod, explicit) = (*typmod, *explicit);
    let text = take(text)?;
    if typmod < 4 || text.len() <= (typmod - 4) as usize {
        return Ok(Datum::Text(text));
    }
    let most = (typmod - 4) as usize;
    if !explicit && tail(&text, most).bytes().any(|b| b != b' ') {
        return Err(EvalError::raised("22001", format!("value too long for type character varying({most})")));
    }
    Ok(part(text, |t| head(t, most)))
}

/// `char(n)`'s coercion: exactly so many characters.
fn to_bpchar<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [text, Datum::Int4(typmod), Datum::Bool(explicit)] = args else { return Err(mismatch()) };
    let (typmod, explicit) = (*typmod, *explicit);
    let text = take(text)?;
    if typmod < 4 {
        return Ok(Datum::Text(text));
    }
    let most = (typmod - 4) as usize;
    let has = text.chars().count();
    if has < most {
        let mut text = text.into_owned();
        text.extend(std::iter::repeat_n(' ', most - has));
        return Ok(owned(text));
    }
    if !explicit && tail(&text, most).bytes().any(|b| b != b' ') {
        return Err(EvalError::raised("22001", format!("value too long for type character({most})")));
    }
    Ok(part(text, |t| head(t, most)))
}

/// At most the 63 bytes of a `name`, whole characters.
fn name(text: &str) -> &str {
    let mut end = text.len().min(63);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

fn cut<'a>(args: &mut [Datum<'a>], f: impl for<'t> FnOnce(&'t str) -> &'t str) -> Result<Datum<'a>, EvalError> {
    match args {
        [text] => Ok(part(take(text)?, f)),
        _ => Err(mismatch()),
    }
}

/// The function of an identifier.
pub(super) fn function(func: Oid) -> Option<Fun> {
    Some(match func {
        669 => to_varchar,
        668 => to_bpchar,
        401 => without_trailing_blanks,
        406 | 408 | 1401 => |a| cut(a, |t| t),
        407 | 1400 => |a| cut(a, name),
        409 => |a| cut(a, |t| name(t).trim_end_matches(' ')),
        2971 => bool_to_text,
        _ => return None,
    })
}
