//! Which physical column of a row each column of an operator's output is.
//!
//! ```text
//!   plan:      Project [total, id] over Source (id, region, total)
//!   rows:      those of the kept source, as they are:  id | note | region | total
//!   layout:    [3, 0] of 4
//! ```
//!
//! Filters, projections to plain columns and joins therefore copy nothing that need not be copied.

use types::{Oid, Row, Scalar, oid};

/// See the module's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The physical column of each column.
    pub(crate) columns: Vec<usize>,
    /// How many physical columns a row has.
    pub(crate) width: usize,
    /// In the step of a recursion: the physical column with the mark of the row that this one follows from.
    pub(crate) mark: Option<usize>,
}

impl Layout {
    /// Rows that have just their columns.
    pub(crate) fn exact(width: usize) -> Self {
        Self { columns: (0..width).collect(), width, mark: None }
    }

    /// Rows that have just their columns, and a mark behind them if rows before had one.
    pub(crate) fn marked_like(width: usize, before: &Self) -> Self {
        match before.mark {
            None => Self::exact(width),
            Some(_) => Self { columns: (0..width).collect(), width: width + 1, mark: Some(width) },
        }
    }

    /// Whether rows have just their columns, in order.
    pub(crate) fn is_exact(&self) -> bool {
        self.columns.len() == self.width && self.columns.iter().enumerate().all(|(i, c)| i == *c)
    }

    /// Physical columns of some columns.
    pub(crate) fn physical(&self, columns: &[usize]) -> Result<Vec<usize>, String> {
        columns.iter().map(|&c| self.at(c)).collect()
    }

    /// The physical column of a column.
    pub(crate) fn at(&self, column: usize) -> Result<usize, String> {
        self.columns
            .get(column)
            .copied()
            .ok_or_else(|| format!("the plan names column {column} of {}", self.columns.len()))
    }

    /// An expression over physical columns.
    pub(crate) fn expression(&self, expression: &Scalar) -> Result<Scalar, String> {
        for column in expression.columns() {
            self.at(column)?;
        }
        Ok(expression.map_columns(&|c| self.columns.get(c).copied().unwrap_or(usize::MAX)))
    }
}

/// Columns that name a row to a reader, with the physical column and the type of each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Labels(pub(crate) Vec<(String, usize, Oid)>);

impl Labels {
    /// ` at orders.id = 7, …`; empty when nothing is known.
    pub(crate) fn describe(&self, row: &Row) -> String {
        let mut out = String::new();
        for (name, column, ty) in &self.0 {
            let Some(value) = shown(*ty, row.field(*column).value()) else { continue };
            out.push_str(if out.is_empty() { " at the row with " } else { ", " });
            out.push_str(name);
            out.push_str(" = ");
            out.push_str(&value);
        }
        out
    }
}

/// ` of the group 7, "x"`: the first columns of a row; empty when there are none.
pub(crate) fn group_name(types: &[Oid], row: &Row) -> String {
    let shown = |(at, ty): (usize, &Oid)| shown(*ty, row.field(at).value()).unwrap_or_else(|| "…".into());
    let columns: Vec<String> = types.iter().enumerate().map(shown).collect();
    if columns.is_empty() { String::new() } else { format!(" of the group {}", columns.join(", ")) }
}

fn shown(ty: Oid, value: Option<&[u8]>) -> Option<String> {
    let Some(value) = value else { return Some("NULL".into()) };
    Some(match ty {
        oid::INT2 => i16::from_be_bytes(value.try_into().ok()?).to_string(),
        oid::INT4 => i32::from_be_bytes(value.try_into().ok()?).to_string(),
        oid::INT8 => i64::from_be_bytes(value.try_into().ok()?).to_string(),
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME => format!("{:?}", String::from_utf8_lossy(value)),
        oid::UUID => value.iter().map(|b| format!("{b:02x}")).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::RowBuilder;

    #[test]
    fn a_row_is_named_by_its_key() {
        let mut b = RowBuilder::new();
        b.push_value(Some(&7i64.to_be_bytes())).push_value(Some(b"x")).push_value(None);
        let labels = Labels(vec![
            ("orders.id".into(), 0, oid::INT8),
            ("orders.code".into(), 1, oid::TEXT),
            ("orders.doc".into(), 1, oid::JSONB),
            ("orders.n".into(), 2, oid::INT4),
        ]);
        let row = b.finish();
        assert_eq!(labels.describe(&row), " at the row with orders.id = 7, orders.code = \"x\", orders.n = NULL");
        assert_eq!(Labels::default().describe(&row), "");
        let types = [oid::INT8, oid::JSONB, oid::TEXT];
        assert_eq!(group_name(&types, &row), " of the group 7, …, NULL");
        assert_eq!(group_name(&[], &row), "");
    }

    #[test]
    fn a_column_that_is_not_there_is_noticed() {
        let layout = Layout { columns: vec![2, 0], width: 3, mark: None };
        assert!(!layout.is_exact() && Layout::exact(3).is_exact());
        assert_eq!(layout.physical(&[1, 0]), Ok(vec![0, 2]));
        assert!(layout.physical(&[2]).is_err());
    }
}
