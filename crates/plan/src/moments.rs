//! Texts that PostgreSQL reads as a moment that passes: 'now', 'today' and their kin.

use types::{Oid, quote_literal};

use crate::PlanError;
use crate::literals::literal_at;
use crate::reader::{Node, Tree};
use crate::volatility::by_time;

const WORDS: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// `date`, `time`, `timestamp`, `timestamptz`, `timetz`; their arrays; ranges of them and multiranges, and arrays of those.
const OF_TIME: [Oid; 22] = [
    1082, 1083, 1114, 1184, 1266, 1182, 1183, 1115, 1185, 1270, 3908, 3910, 3912, 3909, 3911, 3913, 4533, 4534, 4535,
    6152, 6153, 6155,
];

/// `timetz` and its array.
const WITH_OFFSET: [Oid; 2] = [1266, 1270];

/// Whether a text of the type may tell the time.
pub(crate) fn is_of_time(ty: Oid) -> bool {
    OF_TIME.contains(&ty)
}

/// Refuses constants of the query that say when it was defined. What a view says so was decided when the view was made.
pub(crate) fn check(tree: &Tree, text: &str) -> Result<(), PlanError> {
    let mut found = Ok(());
    tree.walk(&mut |node| {
        if found.is_ok() && node.kind == "CONST" {
            found = check_constant(node, text);
        }
    });
    found
}

fn check_constant(node: &Node, text: &str) -> Result<(), PlanError> {
    // Where it came from is not known of what was written elsewhere.
    let Ok(at) = node.index("location") else { return Ok(()) };
    let literal = text.get(at..).and_then(literal_at);
    let Some(literal) = literal.filter(|_| node.oid("consttype").is_ok_and(is_of_time)) else { return Ok(()) };
    let mut words = literal.split(|c: char| !c.is_ascii_alphabetic());
    if words.any(|word| WORDS.iter().any(|passes| word.eq_ignore_ascii_case(passes))) {
        Err(by_time(&format!("the constant {}", quote_literal(literal))))
    } else {
        Ok(())
    }
}

/// Refuses the reading of texts that depends on the day for all of them.
pub(crate) fn check_reading(to: Oid) -> Result<(), PlanError> {
    if WITH_OFFSET.contains(&to) {
        return Err(offset_of_today("a text as timetz"));
    }
    Ok(())
}

/// A time of day that gets the offset that its zone has today.
pub(crate) fn offset_of_today(what: &str) -> PlanError {
    PlanError::refused(
        what,
        "which offset a zone has depends on the day on which it is asked",
        "keep the time without a zone, and convert it when reading the stream table",
    )
}

/// SQL that reads a text of a row, or an array of them, as a moment, unless that is one that passes: then it is no such text,
/// as any other that cannot be read.
pub(crate) fn reading(text: &str, sql_type: &str) -> String {
    let words = WORDS.join("|");
    let passes = format!("OPERATOR(pg_catalog.~*) '(^|[^a-z])({words})($|[^a-z])'");
    format!(
        "CASE WHEN ({text})::pg_catalog.text COLLATE pg_catalog.\"C\" {passes} \
         THEN pg_catalog.concat(({text})::pg_catalog.text, ' passes')::{sql_type} ELSE ({text})::{sql_type} END"
    )
}
