//! What PostgreSQL computes, with its arguments in their places.

/// The SQL of a [`crate::PgExpr`] or [`crate::Rel::PgRows`] with `$1`, `$2`, … replaced by what `place` gives for the number before
/// (0, 1, …). A `$1` within quotes stays, and so does one of which `place` knows nothing.
pub fn placed(sql: &str, place: &dyn Fn(usize) -> Option<String>) -> String {
    let mut out = String::with_capacity(sql.len() + 16);
    let mut quote = None;
    let mut escapes = false;
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                escapes = c == '\'' && out.ends_with(['E', 'e']);
            }
            // A doubled one is within.
            (Some(q), c) if q == c => {
                if chars.peek() == Some(&q) {
                    out.push(c);
                    out.extend(chars.next());
                    continue;
                }
                quote = None;
            }
            (Some(_), '\\') if escapes => {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
            _ => {}
        }
        if c != '$' || quote.is_some() {
            out.push(c);
            continue;
        }
        let mut number = String::new();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            number.push(digit);
        }
        let at = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
        match at.and_then(place) {
            Some(argument) => out.push_str(&argument),
            None => {
                out.push('$');
                out.push_str(&number);
            }
        }
    }
    out
}
