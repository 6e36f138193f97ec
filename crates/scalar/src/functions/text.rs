//! Functions of text. Positions and lengths count characters; the database's encoding is UTF8.

use std::borrow::Cow;

use types::Oid;

use super::{Fun, Function, Needs};
use crate::compare::without_blanks;
use crate::compiled::mismatch;
use crate::datum::Datum;
use crate::error::EvalError;

/// `text || text`.
pub(crate) const CONCATENATE: Fun = concatenate;

/// PostgreSQL's limit of one allocation.
const MAX_BYTES: usize = 0x3FFF_FFFF;

pub(super) fn too_large() -> EvalError {
    EvalError::raised("54000", "requested length too large")
}

/// Takes a text argument out.
pub(super) fn take<'a>(value: &mut Datum<'a>) -> Result<Cow<'a, str>, EvalError> {
    match std::mem::replace(value, Datum::Null) {
        Datum::Text(text) => Ok(text),
        _ => Err(mismatch()),
    }
}

pub(super) fn str<'v>(value: &'v Datum<'_>) -> Result<&'v str, EvalError> {
    match value {
        Datum::Text(text) => Ok(text),
        _ => Err(mismatch()),
    }
}

pub(super) fn int(value: &Datum<'_>) -> Result<i32, EvalError> {
    match value {
        Datum::Int4(v) => Ok(*v),
        _ => Err(mismatch()),
    }
}

pub(super) fn owned<'a>(text: impl Into<String>) -> Datum<'a> {
    Datum::Text(Cow::Owned(text.into()))
}

/// A part of a text, still borrowed when the text is.
pub(super) fn part<'a>(text: Cow<'a, str>, cut: impl for<'t> FnOnce(&'t str) -> &'t str) -> Datum<'a> {
    Datum::Text(match text {
        Cow::Borrowed(text) => Cow::Borrowed(cut(text)),
        Cow::Owned(text) => Cow::Owned(cut(&text).to_owned()),
    })
}

/// The byte behind the first `n` characters.
fn behind(text: &str, n: usize) -> usize {
    if text.is_ascii() {
        return n.min(text.len());
    }
    text.char_indices().nth(n).map_or(text.len(), |(at, _)| at)
}

pub(super) fn head(text: &str, n: usize) -> &str {
    text.get(..behind(text, n)).unwrap_or(text)
}

pub(super) fn tail(text: &str, n: usize) -> &str {
    text.get(behind(text, n)..).unwrap_or("")
}

fn concatenate<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [a, b] = args else { return Err(mismatch()) };
    let (a, b) = (take(a)?, take(b)?);
    if b.is_empty() {
        return Ok(Datum::Text(a));
    }
    if a.len() + b.len() > MAX_BYTES {
        return Err(EvalError::raised("54000", "invalid memory alloc request size"));
    }
    let mut text = a.into_owned();
    text.push_str(&b);
    Ok(owned(text))
}

/// `substring(text, start [, length])`.
fn substring<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let (text, start, length) = match args {
        [text, Datum::Int4(start)] => (text, *start, None),
        [text, Datum::Int4(start), Datum::Int4(length)] => (text, *start, Some(*length)),
        _ => return Err(mismatch()),
    };
    let skipped = (start.max(1) - 1) as usize;
    let kept = match length {
        None => usize::MAX,
        Some(length) if length < 0 => {
            return Err(EvalError::raised("22011", "negative substring length not allowed"));
        }
        Some(length) => match start.checked_add(length) {
            None => usize::MAX,
            Some(end) => (i64::from(end) - i64::from(start.max(1))).max(0) as usize,
        },
    };
    Ok(part(take(text)?, |t| head(tail(t, skipped), kept)))
}

fn left<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [text, Datum::Int4(n)] = args else { return Err(mismatch()) };
    let n = i64::from(*n);
    Ok(part(take(text)?, |t| head(t, wanted(t, n))))
}

fn right<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [text, Datum::Int4(n)] = args else { return Err(mismatch()) };
    let n = i64::from(*n);
    Ok(part(take(text)?, |t| tail(t, t.chars().count() - wanted(t, n))))
}

/// Characters that `left` and `right` keep: `n`, or all but `-n`.
fn wanted(text: &str, n: i64) -> usize {
    let length = text.chars().count();
    if n >= 0 { length.min(n as usize) } else { length.saturating_sub(n.unsigned_abs() as usize) }
}

/// What a trim takes away at which end.
#[derive(Clone, Copy)]
struct Ends {
    left: bool,
    right: bool,
}

fn trim<'a>(args: &mut [Datum<'a>], ends: Ends) -> Result<Datum<'a>, EvalError> {
    let (text, set) = match args {
        [text] => (text, Cow::Borrowed(" ")),
        [text, set] => (text, take(set)?),
        _ => return Err(mismatch()),
    };
    Ok(part(take(text)?, |t| {
        let t = if ends.left { t.trim_start_matches(|c| set.contains(c)) } else { t };
        if ends.right { t.trim_end_matches(|c| set.contains(c)) } else { t }
    }))
}

/// `lpad` and `rpad`: to exactly so many characters, cut at the right when there are more.
fn pad<'a>(args: &mut [Datum<'a>], at_left: bool) -> Result<Datum<'a>, EvalError> {
    let (text, length, fill) = match args {
        [text, Datum::Int4(n)] => (take(text)?, *n, Cow::Borrowed(" ")),
        [text, Datum::Int4(n), fill] => (take(text)?, *n, take(fill)?),
        _ => return Err(mismatch()),
    };
    let has = text.chars().count();
    let length = length.max(0) as usize;
    // With nothing to fill with, a text is only ever cut.
    let length = if fill.is_empty() { length.min(has) } else { length };
    if length.saturating_mul(4) + 4 > MAX_BYTES {
        return Err(too_large());
    }
    if has >= length {
        return Ok(part(text, |t| head(t, length)));
    }
    let filling = fill.chars().cycle().take(length - has);
    Ok(owned(if at_left {
        filling.chain(text.chars()).collect::<String>()
    } else {
        text.chars().chain(filling).collect()
    }))
}

fn repeat<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [text, Datum::Int4(n)] = args else { return Err(mismatch()) };
    let n = (*n).max(0) as usize;
    let text = str(text)?;
    if text.len().saturating_mul(n) + 4 > MAX_BYTES {
        return Err(too_large());
    }
    Ok(owned(text.repeat(n)))
}

/// The first place of a text in another, in characters from 1; 0 for none.
fn position<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [text, wanted] = args else { return Err(mismatch()) };
    let (text, wanted) = (str(text)?, str(wanted)?);
    let at = text.find(wanted).and_then(|at| text.get(..at)).map_or(0, |before| before.chars().count() + 1);
    Ok(Datum::Int4(at as i32))
}

fn replace<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [text, from, to] = args else { return Err(mismatch()) };
    let (text, from, to) = (take(text)?, take(from)?, take(to)?);
    if from.is_empty() || !text.contains(&*from) {
        return Ok(Datum::Text(text));
    }
    Ok(owned(text.replace(&*from, &to)))
}

fn translate<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [text, from, to] = args else { return Err(mismatch()) };
    let (text, from, to) = (str(text)?, str(from)?, str(to)?);
    let one = |c: char| match from.chars().position(|f| f == c) {
        None => Some(c),
        Some(at) => to.chars().nth(at),
    };
    Ok(owned(text.chars().filter_map(one).collect::<String>()))
}

fn split_part<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [text, by, Datum::Int4(n)] = args else { return Err(mismatch()) };
    let n = *n;
    if n == 0 {
        return Err(EvalError::raised("22023", "field position must not be zero"));
    }
    let by = take(by)?;
    let at = n.unsigned_abs() as usize - 1;
    Ok(part(take(text)?, |t| {
        if by.is_empty() {
            return if at == 0 { t } else { "" };
        }
        let found = if n > 0 {
            t.split(&*by).nth(at)
        } else {
            // Fields are found from the left even when counted from the right.
            t.split(&*by).count().checked_sub(at + 1).and_then(|at| t.split(&*by).nth(at))
        };
        found.unwrap_or("")
    }))
}

fn reverse<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [text] = args else { return Err(mismatch()) };
    Ok(owned(str(text)?.chars().rev().collect::<String>()))
}

fn overlay<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let (text, new, start, length) = match args {
        [text, new, Datum::Int4(start)] => (text, new, *start, None),
        [text, new, Datum::Int4(start), Datum::Int4(length)] => (text, new, *start, Some(*length)),
        _ => return Err(mismatch()),
    };
    let (text, new) = (str(text)?, str(new)?);
    if start <= 0 {
        return Err(EvalError::raised("22011", "negative substring length not allowed"));
    }
    let length = length.unwrap_or(new.chars().count() as i32);
    let behind = start.checked_add(length).ok_or(EvalError::OutOfRange("integer"))?;
    let rest = tail(text, (behind.max(1) - 1) as usize);
    Ok(owned(format!("{}{new}{rest}", head(text, start as usize - 1))))
}

fn chr<'a>(args: &mut [Datum<'a>]) -> Result<Datum<'a>, EvalError> {
    let [Datum::Int4(n)] = args else { return Err(mismatch()) };
    let n = *n;
    if n < 0 {
        return Err(EvalError::raised("22023", "character number must be positive"));
    }
    if n == 0 {
        return Err(EvalError::raised("54000", "null character not permitted"));
    }
    if n > 0x10_FFFF {
        return Err(EvalError::raised("54000", format!("requested character too large for encoding: {n}")));
    }
    let c = char::from_u32(n as u32)
        .ok_or_else(|| EvalError::raised("54000", format!("requested character not valid for encoding: {n}")))?;
    Ok(owned(c))
}

fn title(text: &str) -> String {
    let mut within = false;
    let one = |c: char| {
        let out = if within { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
        within = c.is_ascii_alphanumeric();
        out
    };
    text.chars().map(one).collect()
}

fn map<'a>(args: &mut [Datum<'a>], f: impl FnOnce(&str) -> String) -> Result<Datum<'a>, EvalError> {
    match args {
        [text] => Ok(owned(f(str(text)?))),
        _ => Err(mismatch()),
    }
}

fn larger<'a>(args: &mut [Datum<'a>], smaller: bool, blank: bool) -> Result<Datum<'a>, EvalError> {
    let [a, b] = args else { return Err(mismatch()) };
    let (a, b) = (take(a)?, take(b)?);
    let order = if blank { without_blanks(a.as_bytes()).cmp(without_blanks(b.as_bytes())) } else { a.cmp(&b) };
    // On equality `text_larger` gives the second, `bpchar_larger` the first.
    let first = if smaller { order.is_lt() } else { order.is_gt() } || (blank && order.is_eq());
    Ok(Datum::Text(if first { a } else { b }))
}

/// The function of an identifier, and what it needs of its collation.
pub(super) fn function(func: Oid) -> Option<Function> {
    collated(func).or_else(|| plain(func).map(Function::plain))
}

fn collated(func: Oid) -> Option<Function> {
    let (needs, fun): (Needs, Fun) = match func {
        870 => (Needs::AsciiCase, |a| map(a, str::to_ascii_lowercase)),
        871 => (Needs::AsciiCase, |a| map(a, str::to_ascii_uppercase)),
        872 => (Needs::AsciiCase, |a| map(a, title)),
        849 | 868 => (Needs::Deterministic, position),
        2087 => (Needs::Deterministic, replace),
        2088 => (Needs::Deterministic, split_part),
        3696 => (Needs::Deterministic, |a| match a {
            [text, head] => Ok(Datum::Bool(str(text)?.starts_with(str(head)?))),
            _ => Err(mismatch()),
        }),
        458 => (Needs::ByteOrder, |a| larger(a, false, false)),
        459 => (Needs::ByteOrder, |a| larger(a, true, false)),
        1063 => (Needs::ByteOrder, |a| larger(a, false, true)),
        1064 => (Needs::ByteOrder, |a| larger(a, true, true)),
        _ => return None,
    };
    Some(Function::needing(needs, fun))
}

fn plain(func: Oid) -> Option<Fun> {
    Some(match func {
        1258 => concatenate,
        877 | 883 | 936 | 937 => substring,
        3060 => left,
        3061 => right,
        875 | 881 => |a| trim(a, Ends { left: true, right: false }),
        876 | 882 => |a| trim(a, Ends { left: false, right: true }),
        884 | 885 => |a| trim(a, Ends { left: true, right: true }),
        873 | 879 => |a| pad(a, true),
        874 | 880 => |a| pad(a, false),
        1622 => repeat,
        878 => translate,
        3062 => reverse,
        1404 | 1405 => overlay,
        1620 => |a| match a {
            [text] => Ok(Datum::Int4(str(text)?.chars().next().map_or(0, |c| c as i32))),
            _ => Err(mismatch()),
        },
        1621 => chr,
        2089 => |a| match a {
            [n] => Ok(owned(format!("{:x}", int(n)?))),
            _ => Err(mismatch()),
        },
        2090 => |a| match a {
            [Datum::Int8(n)] => Ok(owned(format!("{n:x}"))),
            _ => Err(mismatch()),
        },
        _ => return None,
    })
}
