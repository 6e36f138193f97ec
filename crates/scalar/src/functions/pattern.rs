//! `LIKE` and `ILIKE`, matched as PostgreSQL's `like_match.c` does.

use types::Oid;

use super::{Fun, Function, Needs};
use crate::compiled::mismatch;
use crate::datum::Datum;
use crate::error::EvalError;

/// How a match went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    /// No, and neither from a later start: the text is used up.
    Never,
}

fn dangling() -> EvalError {
    EvalError::raised("22025", "LIKE pattern must not end with escape character")
}

/// Bytes of the UTF-8 character that starts with the byte; in bytea each byte is one.
fn width(first: u8, is_text: bool) -> usize {
    match first {
        0xC0..=0xDF if is_text => 2,
        0xE0..=0xEF if is_text => 3,
        0xF0..=0xF7 if is_text => 4,
        _ => 1,
    }
}

fn behind(bytes: &[u8], n: usize) -> &[u8] {
    bytes.get(n..).unwrap_or_default()
}

fn matches(mut text: &[u8], mut pattern: &[u8], is_text: bool) -> Result<Match, EvalError> {
    if pattern == b"%" {
        return Ok(Match::Yes);
    }
    while let (Some(&t), Some(&p)) = (text.first(), pattern.first()) {
        match p {
            b'\\' => {
                pattern = behind(pattern, 1);
                let literal = *pattern.first().ok_or_else(dangling)?;
                if literal != t {
                    return Ok(Match::No);
                }
            }
            b'%' => return after_percent(text, behind(pattern, 1), is_text),
            b'_' => {
                text = behind(text, width(t, is_text));
                pattern = behind(pattern, 1);
                continue;
            }
            _ if p != t => return Ok(Match::No),
            _ => {}
        }
        text = behind(text, 1);
        pattern = behind(pattern, 1);
    }
    if !text.is_empty() {
        return Ok(Match::No);
    }
    Ok(if pattern.iter().all(|p| *p == b'%') { Match::Yes } else { Match::Never })
}

/// What follows a `%`: tried from every place where its first literal stands.
fn after_percent(mut text: &[u8], mut pattern: &[u8], is_text: bool) -> Result<Match, EvalError> {
    loop {
        match pattern.first() {
            None => return Ok(Match::Yes),
            Some(b'%') => pattern = behind(pattern, 1),
            Some(b'_') => {
                let Some(t) = text.first() else { return Ok(Match::Never) };
                text = behind(text, width(*t, is_text));
                pattern = behind(pattern, 1);
            }
            Some(_) => break,
        }
    }
    let first = match pattern {
        [b'\\'] => return Err(dangling()),
        [b'\\', literal, ..] | [literal, ..] => *literal,
        [] => return Ok(Match::Yes),
    };
    while let Some(&t) = text.first() {
        if t == first {
            let found = matches(text, pattern, is_text)?;
            if found != Match::No {
                return Ok(found);
            }
        }
        text = behind(text, width(t, is_text));
    }
    Ok(Match::Never)
}

fn like(args: &[Datum<'_>]) -> Result<bool, EvalError> {
    match args {
        [Datum::Text(text), Datum::Text(pattern)] => {
            Ok(matches(text.as_bytes(), pattern.as_bytes(), true)? == Match::Yes)
        }
        [Datum::Bytea(text), Datum::Bytea(pattern)] => Ok(matches(text, pattern, false)? == Match::Yes),
        _ => Err(mismatch()),
    }
}

fn like_any_case(args: &[Datum<'_>]) -> Result<bool, EvalError> {
    match args {
        [Datum::Text(text), Datum::Text(pattern)] => {
            let (text, pattern) = (text.to_ascii_lowercase(), pattern.to_ascii_lowercase());
            Ok(matches(text.as_bytes(), pattern.as_bytes(), true)? == Match::Yes)
        }
        _ => Err(mismatch()),
    }
}

/// A pattern with another escape character, with PostgreSQL's own: `LIKE … ESCAPE`.
fn with_backslashes(pattern: &str, escape: &str) -> Result<String, EvalError> {
    let mut characters = escape.chars();
    let escape = characters.next();
    if characters.next().is_some() {
        return Err(EvalError::raised("22025", "invalid escape string"));
    }
    if escape == Some('\\') {
        return Ok(pattern.to_owned());
    }
    let mut out = String::with_capacity(pattern.len() + 4);
    let mut after_escape = false;
    for c in pattern.chars() {
        if Some(c) == escape && !after_escape {
            out.push('\\');
            after_escape = true;
            continue;
        }
        if c == '\\' && !after_escape {
            out.push('\\');
        }
        out.push(c);
        after_escape = false;
    }
    Ok(out)
}

/// The function of an identifier, and what it needs of its collation.
pub(super) fn function(func: Oid) -> Option<Function> {
    let (needs, fun): (Needs, Fun) = match func {
        850 | 1569 | 858 | 1571 | 1631 => (Needs::Deterministic, |a| like(a).map(Datum::Bool)),
        851 | 1570 | 859 | 1572 | 1632 => (Needs::Deterministic, |a| like(a).map(|v| Datum::Bool(!v))),
        2005 | 2007 => (Needs::Nothing, |a| like(a).map(Datum::Bool)),
        2006 | 2008 => (Needs::Nothing, |a| like(a).map(|v| Datum::Bool(!v))),
        1633 | 1635 | 1660 => (Needs::AsciiCase, |a| like_any_case(a).map(Datum::Bool)),
        1634 | 1636 | 1661 => (Needs::AsciiCase, |a| like_any_case(a).map(|v| Datum::Bool(!v))),
        1637 => (Needs::Nothing, |a| match a {
            [Datum::Text(pattern), Datum::Text(escape)] => Ok(Datum::Text(with_backslashes(pattern, escape)?.into())),
            _ => Err(mismatch()),
        }),
        _ => return None,
    };
    Some(Function::needing(needs, fun))
}
