//! How a batch's argument columns come to PostgreSQL.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use types::{Field, Row};

use super::question::Question;
use super::session::{Failure, Session, failure};

/// Of more rows the server would hold all values at once, which takes it some kilobytes for a jsonb: one group or partition of millions of
/// rows would take all its memory. From a table it reads them one after the other, and sorts them on disk.
const MOST_UNNESTED: usize = 20_000;

/// Whether so many rows go by way of a table.
pub(super) fn is_large(rows: usize) -> bool {
    rows > MOST_UNNESTED
}

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

    /// Whether they are few enough, and no type is one that `unnest` would take apart.
    pub(super) fn fit_unnest(&self, rows: usize) -> bool {
        !is_large(rows) && self.0.iter().all(|(_, sql, oid)| *oid < 10_000 && !sql.ends_with(']'))
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

impl Session {
    /// Puts the arguments into a temporary table of their types, emptied first.
    pub(super) async fn copy_in(&mut self, arguments: &Arguments<'_>, units: &[&[Row]]) -> Result<String, Failure> {
        let mut columns = "unit int8, ord int8".to_owned();
        for (i, (_, sql, _)) in arguments.0.iter().enumerate() {
            let _infallible = write!(columns, ", c{i} {sql}");
        }
        let table = match self.tables.get(&columns) {
            Some(table) => table.clone(),
            None => {
                let table = format!("pg_temp.tributary_args_{}", self.tables.len());
                let sql = format!("CREATE TEMP TABLE {table} ({columns})");
                self.client.batch_execute(&sql).await.map_err(|e| failure(&e))?;
                self.tables.insert(columns, table.clone());
                table
            }
        };
        self.client.batch_execute(&format!("TRUNCATE {table}")).await.map_err(|e| failure(&e))?;
        let sql = format!("COPY {table} FROM STDIN (FORMAT binary)");
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
        Ok(table)
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
