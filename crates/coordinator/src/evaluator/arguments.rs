//! How a batch's argument columns come to PostgreSQL.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use types::{Field, Row};

use super::question::Question;
use super::session::{Failure, Session, failure};

/// Of more rows, or larger ones, the server would hold all values at once, which takes it some kilobytes for a jsonb: one group or
/// partition of millions of rows would take all its memory. From a table it reads them one after the other, and sorts them on disk.
const MOST_UNNESTED: usize = 20_000;
const MOST_UNNESTED_BYTES: usize = 64 << 20;

/// Sent to the server at a time.
const PIECE: usize = 1 << 20;

/// The argument columns of a question, each once for each type that it is read as: the column in the rows, its type as SQL writes it and by
/// identifier. A value and its bytes can be one column.
#[derive(Debug)]
pub(super) struct Arguments<'a>(Vec<(usize, &'a str, u32)>);

impl<'a> Arguments<'a> {
    pub(super) fn of(question: &Question<'a>) -> Self {
        let mut out = Self(Vec::new());
        match question {
            Question::Columns(exprs) | Question::Aggregates(exprs) | Question::Windows(exprs) => {
                exprs.iter().for_each(|e| out.add(&e.args, &e.arg_types));
            }
            Question::Rows(item) => out.add(&item.args, &item.arg_types),
        }
        out
    }

    fn add(&mut self, args: &[usize], types: &'a [(String, types::PgType)]) {
        for (column, (sql_type, ty)) in args.iter().zip(types) {
            if self.place(*column, sql_type).is_none() {
                self.0.push((*column, sql_type, ty.oid));
            }
        }
    }

    /// The number that a column of the rows has among the arguments, as that type.
    pub(super) fn place(&self, column: usize, sql_type: &str) -> Option<usize> {
        self.0.iter().position(|a| a.0 == column && a.1 == sql_type)
    }

    /// Whether so many rows, or such large ones, go by way of a table.
    pub(super) fn are_large(&self, units: &[&[Row]]) -> bool {
        let rows: usize = units.iter().map(|unit| unit.len()).sum();
        let of = |row: &Row| self.0.iter().filter_map(|a| row.field(a.0).value()).map(<[u8]>::len).sum::<usize>();
        rows > MOST_UNNESTED || units.iter().flat_map(|unit| unit.iter()).map(of).sum::<usize>() > MOST_UNNESTED_BYTES
    }

    /// Whether an array a column carries them: no type is one that `unnest` would take apart.
    pub(super) fn fit_arrays(&self) -> bool {
        self.0.iter().all(|(_, sql, oid)| *oid < 10_000 && !sql.ends_with(']'))
    }

    /// The batch as a relation of parameters.
    pub(super) fn unnest(&self) -> String {
        let (mut arrays, mut names) = ("$1::int8[], $2::int8[]".to_owned(), "unit, ord".to_owned());
        for (i, (_, sql, _)) in self.0.iter().enumerate() {
            let _infallible = write!(arrays, ", ${}::{sql}[]", i + 3);
            let _infallible = write!(names, ", c{i}");
        }
        format!("(SELECT * FROM unnest({arrays}) AS a({names}))")
    }

    /// The parameters.
    pub(super) fn arrays(&self, units: &[&[Row]]) -> Vec<RawArray> {
        let count = units.iter().map(|u| u.len()).sum();
        let numbers = units.iter().enumerate().flat_map(|(unit, rows)| std::iter::repeat_n(unit as i64, rows.len()));
        let mut out = vec![RawArray::numbers(count, numbers), RawArray::numbers(count, 0..count as i64)];
        out.extend(self.0.iter().map(|(column, _, oid)| RawArray::column(units, count, *column, *oid)));
        out
    }
}

/// A temporary table for the arguments of some types, whose rows are a type as well: an array of them carries what arrays of their own
/// would not. Only large batches are ever in it, since each TRUNCATE leaves dead rows in the target's catalogs.
#[derive(Debug, Clone)]
pub(super) struct ArgumentTable {
    pub(super) name: String,
    row: u32,
    columns: Vec<u32>,
}

impl ArgumentTable {
    /// The batch as a relation of one parameter.
    pub(super) fn unnest(&self) -> String {
        format!("(SELECT * FROM unnest($1::{}[]) AS a)", self.name)
    }

    /// The parameter.
    pub(super) fn array(&self, arguments: &Arguments<'_>, units: &[&[Row]]) -> RawArray {
        let mut bytes = RawArray::header(units.iter().map(|u| u.len()).sum(), self.row);
        let rows = units.iter().enumerate().flat_map(|(unit, rows)| rows.iter().map(move |row| (unit, row)));
        for (ord, (unit, row)) in rows.enumerate() {
            let at = bytes.len();
            bytes.put_i32(0);
            bytes.put_i32(self.columns.len() as i32);
            let (unit, ord) = ((unit as i64).to_be_bytes(), (ord as i64).to_be_bytes());
            let values = arguments.0.iter().map(|a| row.field(a.0));
            for (oid, value) in
                self.columns.iter().zip([Field::Value(&unit), Field::Value(&ord)].into_iter().chain(values))
            {
                bytes.put_u32(*oid);
                put_value(&mut bytes, value);
            }
            let len = (bytes.len() - at - 4) as i32;
            bytes[at..at + 4].copy_from_slice(&len.to_be_bytes());
        }
        RawArray(bytes)
    }
}

impl Session {
    /// The table for arguments of their types, made when it is needed for the first time.
    pub(super) async fn table(&mut self, arguments: &Arguments<'_>) -> Result<ArgumentTable, Failure> {
        let mut columns = "unit int8, ord int8".to_owned();
        for (i, (_, sql, _)) in arguments.0.iter().enumerate() {
            let _infallible = write!(columns, ", c{i} {sql}");
        }
        if let Some(table) = self.tables.get(&columns) {
            return Ok(table.clone());
        }
        let name = format!("pg_temp.tributary_args_{}", self.tables.len());
        let sql = format!("CREATE TEMP TABLE {name} ({columns})");
        self.client.batch_execute(&sql).await.map_err(|e| failure(&e))?;
        let sql = "SELECT c.reltype, pg_catalog.array_agg(a.atttypid ORDER BY a.attnum) FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 WHERE c.oid = $1::text::regclass GROUP BY 1";
        let row = self.client.query_one(sql, &[&name]).await.map_err(|e| failure(&e))?;
        let table = ArgumentTable { name, row: row.get(0), columns: row.get(1) };
        self.tables.insert(columns, table.clone());
        Ok(table)
    }

    /// Puts the arguments into a table of their types, emptied first.
    pub(super) async fn copy_in(
        &mut self,
        table: &ArgumentTable,
        arguments: &Arguments<'_>,
        units: &[&[Row]],
    ) -> Result<(), Failure> {
        self.empty(table).await?;
        let sql = format!("COPY {} FROM STDIN (FORMAT binary)", table.name);
        let sink = self.client.copy_in(&sql).await.map_err(|e| failure(&e))?;
        let mut sink = std::pin::pin!(sink);
        let mut bytes = BytesMut::from(&b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"[..]);
        let rows = units.iter().enumerate().flat_map(|(unit, rows)| rows.iter().map(move |row| (unit, row)));
        for (ord, (unit, row)) in rows.enumerate() {
            bytes.put_i16(arguments.0.len() as i16 + 2);
            for number in [unit, ord] {
                bytes.put_i32(8);
                bytes.put_i64(number as i64);
            }
            for (column, _, _) in &arguments.0 {
                put_value(&mut bytes, row.field(*column));
            }
            if bytes.len() >= PIECE {
                sink.feed(bytes.split().freeze()).await.map_err(|e| failure(&e))?;
            }
        }
        bytes.put_i16(-1);
        sink.send(bytes.freeze()).await.map_err(|e| failure(&e))?;
        sink.finish().await.map_err(|e| failure(&e))?;
        Ok(())
    }

    pub(super) async fn empty(&self, table: &ArgumentTable) -> Result<(), Failure> {
        self.client.batch_execute(&format!("TRUNCATE {}", table.name)).await.map_err(|e| failure(&e))
    }
}

fn put_value(into: &mut BytesMut, field: Field<'_>) {
    match field.value() {
        Some(value) => {
            into.put_i32(value.len() as i32);
            into.put_slice(value);
        }
        None => into.put_i32(-1),
    }
}

/// A one-dimensional array in binary form, of elements that are in binary form already.
#[derive(Debug)]
pub(super) struct RawArray(BytesMut);

impl RawArray {
    fn header(count: usize, oid: u32) -> BytesMut {
        let mut bytes = BytesMut::new();
        bytes.put_i32(1);
        bytes.put_i32(1);
        bytes.put_u32(oid);
        bytes.put_i32(count as i32);
        bytes.put_i32(1);
        bytes
    }

    fn numbers(count: usize, numbers: impl Iterator<Item = i64>) -> Self {
        let mut bytes = Self::header(count, types::oid::INT8);
        for number in numbers {
            bytes.put_i32(8);
            bytes.put_i64(number);
        }
        Self(bytes)
    }

    fn column(units: &[&[Row]], count: usize, column: usize, oid: u32) -> Self {
        let mut bytes = Self::header(count, oid);
        for row in units.iter().flat_map(|rows| rows.iter()) {
            put_value(&mut bytes, row.field(column));
        }
        Self(bytes)
    }
}

impl ToSql for RawArray {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    to_sql_checked!();
}

/// A value as it came.
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}
