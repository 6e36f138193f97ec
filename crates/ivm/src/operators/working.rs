//! The rows that a recursion found last: what its step begins with.
//!
//! A physical column behind the row's own is its mark, by which the recursion knows a row again that another row follows
//! from: its level, or when it came.

use types::{Delta, Field, Row, RowBuilder};

/// Nothing is kept here.
#[derive(Debug)]
pub(crate) struct Working;

/// A row with its mark behind.
pub(crate) fn marked(row: &Row, mark: u64) -> Row {
    let mut out = RowBuilder::with_capacity(row.as_bytes().len() + 9);
    out.push_row(row).push(Field::Value(&mark.to_be_bytes()));
    out.finish()
}

/// Rows with a mark behind.
pub(crate) fn all_marked(rows: &[Delta], mark: u64) -> Vec<Delta> {
    rows.iter().map(|d| Delta { row: marked(&d.row, mark), diff: d.diff }).collect()
}

/// The mark at a physical column of what follows from a row.
pub(crate) fn mark_of(row: &Row, column: usize) -> Option<u64> {
    Some(u64::from_be_bytes(row.field(column).value()?.try_into().ok()?))
}
