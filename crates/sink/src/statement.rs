//! The statements that bring changes into a stream table, and the rows they carry.
//!
//! Rows go as one array parameter a column. A key column that is NULL is matched by `IS NULL` in a statement of its own
//! kind, so that the common statement's equalities find the key's index. Types that no array carries go through a
//! temporary table with the same column names, filled by COPY.

use types::{Field, TableChange};

use crate::SinkError;
use crate::array::Array;
use crate::layout::Layout;

/// Inserts of no more rows than this go by a statement that needs no round trip of its own, others by COPY.
pub(crate) const FEW: usize = 50;

/// One statement carries no more than about this many bytes.
const MOST_BYTES: usize = 8 << 20;
/// Nor more rows than this.
const MOST_ROWS: usize = 20_000;

/// Which key columns are NULL: bit i for the i-th of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NullKeys(u64);

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Delete(NullKeys),
    Update(NullKeys),
    Insert,
}

/// A statement's text and the table columns that its rows have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) sql: String,
    /// Positions in the layout's columns, in the order of the parameters.
    pub(crate) columns: Vec<usize>,
    /// Which fields of a change's row these are.
    used: Vec<bool>,
    /// The temporary table that holds the rows: its name and definition. `None`: array parameters do.
    pub(crate) temporary: Option<(String, String)>,
}

impl Shape {
    pub(crate) fn new(layout: &Layout, kind: Kind) -> Self {
        let null_key = |column: usize| match kind {
            Kind::Delete(nulls) | Kind::Update(nulls) => {
                layout.key.iter().enumerate().any(|(i, &k)| k == column && nulls.0 >> i & 1 == 1)
            }
            Kind::Insert => false,
        };
        let columns: Vec<usize> = match kind {
            Kind::Insert => (0..layout.columns.len()).collect(),
            Kind::Update(_) => (0..layout.columns.len()).filter(|&c| !null_key(c)).collect(),
            Kind::Delete(_) => layout.key.iter().copied().filter(|&c| !null_key(c)).collect(),
        };
        // Rows for a delete have the key's columns only.
        let used = match kind {
            Kind::Delete(_) => layout.key.iter().map(|&c| !null_key(c)).collect(),
            Kind::Update(_) | Kind::Insert => (0..layout.columns.len()).map(|c| !null_key(c)).collect(),
        };
        let arrays: Option<Vec<String>> = columns
            .iter()
            .enumerate()
            .map(|(n, &c)| {
                layout.columns[c].array.as_ref().map(|array| format!("pg_catalog.unnest(${}::{array})", n + 1))
            })
            .collect();
        let names: Vec<_> = columns.iter().map(|c| format!("c{c}")).collect();
        let (source, temporary) = match arrays {
            Some(arrays) => (format!("ROWS FROM ({}) AS u({})", arrays.join(", "), names.join(", ")), None),
            None => {
                let name = temporary_name(layout, kind);
                let selected: Vec<_> = columns.iter().map(|&c| format!("{} AS c{c}", layout.columns[c].name)).collect();
                let ddl = format!(
                    "CREATE TEMP TABLE {name} ON COMMIT DELETE ROWS AS SELECT {} FROM {} WITH NO DATA",
                    selected.join(", "),
                    layout.table
                );
                (format!("pg_temp.{name} AS u"), Some((format!("pg_temp.{name}"), ddl)))
            }
        };
        let table = &layout.table;
        let matches: Vec<_> = layout
            .key
            .iter()
            .map(|&k| {
                let column = &layout.columns[k];
                match &column.equal {
                    Some(equal) if !null_key(k) => format!("t.{} {equal} u.c{k}", column.name),
                    _ => format!("t.{} IS NULL", column.name),
                }
            })
            .collect();
        let condition = if matches.is_empty() { "true".to_owned() } else { matches.join(" AND ") };
        let sql = match kind {
            Kind::Insert => {
                let into: Vec<_> = columns.iter().map(|&c| layout.columns[c].name.as_str()).collect();
                format!("INSERT INTO {table} ({}) SELECT {} FROM {source}", into.join(", "), names.join(", "))
            }
            Kind::Delete(_) if columns.is_empty() => format!("DELETE FROM {table} AS t WHERE {condition}"),
            Kind::Delete(_) => format!("DELETE FROM {table} AS t USING {source} WHERE {condition}"),
            Kind::Update(_) => {
                let set: Vec<_> = columns
                    .iter()
                    .filter(|c| !layout.key.contains(c))
                    .map(|&c| format!("{} = u.c{c}", layout.columns[c].name))
                    .collect();
                format!("UPDATE {table} AS t SET {} FROM {source} WHERE {condition}", set.join(", "))
            }
        };
        Self { kind, sql, columns, used, temporary }
    }

    /// The COPY that fills the temporary table.
    pub(crate) fn fill_sql(&self) -> Option<String> {
        self.temporary.as_ref().map(|(name, _)| format!("COPY {name} FROM STDIN (FORMAT binary)"))
    }

    /// A change's values in the order of [`Self::columns`].
    pub(crate) fn fields<'a>(&'a self, change: &'a TableChange) -> impl Iterator<Item = Field<'a>> {
        let (TableChange::Insert(row) | TableChange::Update(row) | TableChange::Delete(row)) = change;
        let fields = row.fields().chain(std::iter::repeat(Field::Null));
        self.used.iter().zip(fields).filter_map(|(used, field)| used.then_some(field))
    }
}

fn temporary_name(layout: &Layout, kind: Kind) -> String {
    let (letter, nulls) = match kind {
        Kind::Delete(nulls) => ('d', nulls.0),
        Kind::Update(nulls) => ('u', nulls.0),
        Kind::Insert => ('i', 0),
    };
    format!("tributary_{}_{letter}{nulls:x}", layout.stream)
}

/// `COPY` of whole rows straight into the table.
pub(crate) fn copy_sql(layout: &Layout) -> String {
    let names: Vec<_> = layout.columns.iter().map(|c| c.name.as_str()).collect();
    format!("COPY {} ({}) FROM STDIN (FORMAT binary)", layout.table, names.join(", "))
}

/// Which statement a change needs.
pub(crate) fn kind_of(layout: &Layout, change: &TableChange) -> Kind {
    match change {
        TableChange::Insert(_) => Kind::Insert,
        TableChange::Update(row) => {
            let mut nulls = 0;
            for (column, field) in row.fields().enumerate() {
                if field.value().is_none()
                    && let Some(position) = layout.key.iter().position(|&k| k == column)
                {
                    nulls |= 1 << (position & 63);
                }
            }
            Kind::Update(NullKeys(nulls))
        }
        TableChange::Delete(key) => {
            let null = key.fields().enumerate().filter(|(_, field)| field.value().is_none());
            Kind::Delete(NullKeys(null.fold(0, |bits, (position, _)| bits | 1 << (position & 63))))
        }
    }
}

/// Rows of one statement as array parameters.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) arrays: Vec<Array>,
    pub(crate) count: usize,
}

impl Rows {
    /// The changes in as many statements' parameters as their size needs.
    ///
    /// # Errors
    /// [`SinkError::Damaged`] when a row has a value that was not sent.
    pub(crate) fn pack(layout: &Layout, shape: &Shape, changes: &[&TableChange]) -> Result<Vec<Self>, SinkError> {
        let mut packed: Vec<Self> = Vec::new();
        for change in changes {
            let full = |rows: &Self| {
                rows.count >= MOST_ROWS || rows.arrays.iter().map(Array::len).sum::<usize>() >= MOST_BYTES
            };
            if packed.last().is_none_or(full) {
                let arrays = shape.columns.iter().map(|&c| Array::new(layout.columns[c].ty)).collect();
                packed.push(Self { arrays, count: 0 });
            }
            let Some(rows) = packed.last_mut() else { continue };
            for (array, field) in rows.arrays.iter_mut().zip(shape.fields(change)) {
                if field == Field::Unchanged {
                    return Err(unchanged(layout));
                }
                array.push(field.value());
            }
            rows.count += 1;
        }
        Ok(packed)
    }
}

pub(crate) fn unchanged(layout: &Layout) -> SinkError {
    SinkError::Damaged(format!("a row for {} has a value that was never sent", layout.table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::LayoutColumn;
    use types::{Row, RowBuilder, StreamId, oid};

    fn layout() -> Layout {
        let column = |name: &str, array: Option<&str>, key: bool| LayoutColumn {
            name: format!("\"{name}\""),
            ty: oid::INT4,
            array: array.map(Into::into),
            equal: key.then(|| "OPERATOR(\"pg_catalog\".=)".into()),
        };
        Layout {
            stream: StreamId(3),
            table: "\"public\".\"t\"".into(),
            columns: vec![
                column("v", Some("integer[]"), false),
                column("a", Some("integer[]"), true),
                column("b", Some("integer[]"), true),
            ],
            key: vec![2, 1],
        }
    }

    fn row(fields: &[Option<&[u8]>]) -> Row {
        let mut b = RowBuilder::new();
        for f in fields {
            b.push_value(*f);
        }
        b.finish()
    }

    #[test]
    fn a_null_key_is_matched_by_is_null_and_the_others_by_the_index() {
        let layout = layout();
        let delete = TableChange::Delete(row(&[None, Some(b"aaaa")]));
        let shape = Shape::new(&layout, kind_of(&layout, &delete));
        assert_eq!(
            shape.sql,
            "DELETE FROM \"public\".\"t\" AS t USING ROWS FROM (pg_catalog.unnest($1::integer[])) AS u(c1) \
             WHERE t.\"b\" IS NULL AND t.\"a\" OPERATOR(\"pg_catalog\".=) u.c1"
        );
        assert_eq!(shape.fields(&delete).collect::<Vec<_>>(), [Field::Value(b"aaaa")]);
    }

    #[test]
    fn an_update_sets_what_is_not_in_the_key() {
        let layout = layout();
        let update = TableChange::Update(row(&[Some(b"vvvv"), Some(b"aaaa"), Some(b"bbbb")]));
        let shape = Shape::new(&layout, kind_of(&layout, &update));
        assert_eq!(
            shape.sql,
            "UPDATE \"public\".\"t\" AS t SET \"v\" = u.c0 FROM ROWS FROM (pg_catalog.unnest($1::integer[]), \
             pg_catalog.unnest($2::integer[]), pg_catalog.unnest($3::integer[])) AS u(c0, c1, c2) WHERE t.\"b\" OPERATOR(\"pg_catalog\".=) u.c2 AND t.\"a\" OPERATOR(\"pg_catalog\".=) u.c1"
        );
    }

    #[test]
    fn the_only_row_of_a_table_without_key_needs_no_condition() {
        let layout = Layout { key: vec![], ..layout() };
        let shape = Shape::new(&layout, Kind::Delete(NullKeys(0)));
        assert_eq!(shape.sql, "DELETE FROM \"public\".\"t\" AS t WHERE true");
    }

    #[test]
    fn a_type_that_no_array_carries_goes_through_a_temporary_table() {
        let mut layout = layout();
        layout.columns[0].array = None;
        let shape = Shape::new(&layout, Kind::Update(NullKeys(0)));
        assert!(shape.sql.contains("FROM pg_temp.tributary_3_u0 AS u WHERE"), "{}", shape.sql);
        assert_eq!(shape.fill_sql().unwrap(), "COPY pg_temp.tributary_3_u0 FROM STDIN (FORMAT binary)");
        assert!(Shape::new(&layout, Kind::Delete(NullKeys(0))).temporary.is_none());
    }

    #[test]
    fn many_rows_are_several_statements() {
        let layout = layout();
        let shape = Shape::new(&layout, Kind::Insert);
        let change = TableChange::Insert(row(&[None, Some(b"aaaa"), Some(b"bbbb")]));
        let changes = vec![&change; MOST_ROWS + 1];
        let packed = Rows::pack(&layout, &shape, &changes).unwrap();
        assert_eq!(packed.iter().map(|p| p.count).collect::<Vec<_>>(), [MOST_ROWS, 1]);
    }
}
