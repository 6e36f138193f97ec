//! Ring 2: expressions that PostgreSQL computes, batched.
//!
//! One statement a batch: the argument columns go as binary arrays through `unnest` (or, for types that `unnest` would
//! take apart, by COPY into a temporary table), the results come back in the rows' order, in binary form. A batch that
//! fails is halved until the one row that PostgreSQL cannot compute is alone; that row's error is the stream table's.

use std::collections::HashMap;
use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use futures_util::SinkExt;
use ivm::{Evaluator, EvaluatorError, RowError};
use plan::PgExpr;
use tokio::runtime::Handle;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Statement};
use types::{Field, Row, RowBuilder};
use wal::Endpoint;

/// Rows in one statement.
const BATCH: usize = 5_000;

/// A session on the target that computes; opened when first needed and again after it broke.
pub(crate) struct PgEvaluator {
    runtime: Handle,
    endpoint: Endpoint,
    session: Option<Session>,
}

struct Session {
    client: Client,
    statements: HashMap<String, Statement>,
    settings: Vec<(String, String)>,
    tables: HashMap<String, String>,
}

enum Failure {
    /// PostgreSQL cannot compute one of the rows.
    Row(RowError),
    /// The session is no good.
    Session(String),
}

impl PgEvaluator {
    pub(crate) fn new(runtime: Handle, endpoint: Endpoint) -> Self {
        Self { runtime, endpoint, session: None }
    }
}

impl Evaluator for PgEvaluator {
    fn eval(
        &mut self,
        exprs: &[PgExpr],
        settings: &[(String, String)],
        rows: &[Row],
    ) -> Result<Vec<Result<Row, RowError>>, EvaluatorError> {
        let runtime = self.runtime.clone();
        runtime.block_on(async {
            let session = match &mut self.session {
                Some(session) => session,
                none => none.insert(Session::open(&self.endpoint).await.map_err(EvaluatorError)?),
            };
            let mut out = Vec::with_capacity(rows.len());
            let result = async {
                session.pin(settings).await?;
                for batch in rows.chunks(BATCH) {
                    session.halving(exprs, batch, &mut out).await?;
                }
                Ok::<_, String>(())
            }
            .await;
            match result {
                Ok(()) => Ok(out),
                Err(reason) => {
                    self.session = None;
                    Err(EvaluatorError(reason))
                }
            }
        })
    }
}

impl Session {
    async fn open(endpoint: &Endpoint) -> Result<Self, String> {
        let client = wal::connect(endpoint, "tributary evaluator").await.map_err(|e| e.to_string())?;
        // What expressions print must not depend on the role's or database's settings beyond those that are pinned.
        client
            .batch_execute(
                "SET extra_float_digits = 1; SET bytea_output = 'hex'; SET plan_cache_mode = force_generic_plan",
            )
            .await
            .map_err(|e| e.to_string())?;
        Ok(Self { client, statements: HashMap::new(), settings: Vec::new(), tables: HashMap::new() })
    }

    async fn pin(&mut self, settings: &[(String, String)]) -> Result<(), String> {
        if self.settings != settings {
            let mut sql = String::new();
            for (name, value) in settings {
                let (name, value) = (types::quote_literal(name), types::quote_literal(value));
                let _infallible = write!(sql, "SELECT set_config({name}, {value}, false);");
            }
            self.client.batch_execute(&sql).await.map_err(|e| wal::describe(&e))?;
            self.settings = settings.to_vec();
        }
        Ok(())
    }

    /// Computes a batch; where it fails, its halves, until the failing rows are alone.
    async fn halving(
        &mut self,
        exprs: &[PgExpr],
        rows: &[Row],
        out: &mut Vec<Result<Row, RowError>>,
    ) -> Result<(), String> {
        let mut todo = vec![rows];
        while let Some(rows) = todo.pop() {
            match self.compute(exprs, rows).await {
                Ok(results) => out.extend(results.into_iter().map(Ok)),
                Err(Failure::Session(reason)) => return Err(reason),
                Err(Failure::Row(error)) if rows.len() == 1 => out.push(Err(error)),
                Err(Failure::Row(_)) => {
                    let (first, second) = rows.split_at(rows.len() / 2);
                    todo.push(second);
                    todo.push(first);
                }
            }
        }
        Ok(())
    }

    async fn compute(&mut self, exprs: &[PgExpr], rows: &[Row]) -> Result<Vec<Row>, Failure> {
        // Each distinct argument column once.
        let mut args: Vec<(usize, &str, u32)> = Vec::new();
        for expr in exprs {
            for (column, (sql_type, ty)) in expr.args.iter().zip(&expr.arg_types) {
                if !args.iter().any(|a| a.0 == *column) {
                    args.push((*column, sql_type, ty.oid));
                }
            }
        }
        let list = exprs.iter().map(|e| placed(e, &args)).collect::<Vec<_>>().join(", ");
        let results = if args.iter().all(|(_, sql, oid)| *oid < 10_000 && !sql.ends_with(']')) {
            let unnest = args.iter().enumerate().map(|(i, (_, sql, _))| format!("${}::{sql}[]", i + 2));
            let unnest = std::iter::once("$1::int8[]".to_owned()).chain(unnest).collect::<Vec<_>>().join(", ");
            let names = (0..args.len()).fold("ord".to_owned(), |names, i| format!("{names}, c{i}"));
            let sql = format!("SELECT {list} FROM unnest({unnest}) AS r({names}) ORDER BY r.ord");
            let statement = self.prepare(&sql).await?;
            let mut params = vec![RawArray::ordinals(rows.len())];
            params.extend(args.iter().map(|(column, _, oid)| RawArray::column(rows, *column, *oid)));
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|p| p as &(dyn ToSql + Sync)).collect();
            self.client.query(&statement, &params).await
        } else {
            let table = self.copy_in(&args, rows).await?;
            let sql = format!("SELECT {list} FROM pg_temp.{table} AS r ORDER BY r.ord");
            let statement = self.prepare(&sql).await?;
            self.client.query(&statement, &[]).await
        };
        let results = results.map_err(|e| failure(&e))?;
        let mut out = Vec::with_capacity(results.len());
        for result in &results {
            let mut row = RowBuilder::new();
            for column in 0..exprs.len() {
                let value: Option<Raw<'_>> = result.try_get(column).map_err(|e| Failure::Session(e.to_string()))?;
                row.push_value(value.map(|v| v.0));
            }
            out.push(row.finish());
        }
        Ok(out)
    }

    async fn prepare(&mut self, sql: &str) -> Result<Statement, Failure> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await.map_err(|e| failure(&e))?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Puts the arguments into a temporary table of their types, emptied first.
    async fn copy_in(&mut self, args: &[(usize, &str, u32)], rows: &[Row]) -> Result<String, Failure> {
        let mut columns = "ord int8".to_owned();
        for (i, (_, sql, _)) in args.iter().enumerate() {
            let _infallible = write!(columns, ", c{i} {sql}");
        }
        let table = match self.tables.get(&columns) {
            Some(table) => table.clone(),
            None => {
                let table = format!("tributary_args_{}", self.tables.len());
                let sql = format!("CREATE TEMP TABLE {table} ({columns})");
                self.client.batch_execute(&sql).await.map_err(|e| failure(&e))?;
                self.tables.insert(columns, table.clone());
                table
            }
        };
        let sql = format!("TRUNCATE pg_temp.{table}");
        self.client.batch_execute(&sql).await.map_err(|e| failure(&e))?;
        let mut bytes = BytesMut::from(&b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"[..]);
        for (ord, row) in rows.iter().enumerate() {
            bytes.put_i16(args.len() as i16 + 1);
            bytes.put_i32(8);
            bytes.put_i64(ord as i64);
            for (column, _, _) in args {
                put_value(&mut bytes, row.field(*column));
            }
        }
        bytes.put_i16(-1);
        let sql = format!("COPY pg_temp.{table} FROM STDIN (FORMAT binary)");
        let sink = self.client.copy_in(&sql).await.map_err(|e| failure(&e))?;
        let mut sink = std::pin::pin!(sink);
        sink.send(bytes.freeze()).await.map_err(|e| failure(&e))?;
        sink.finish().await.map_err(|e| failure(&e))?;
        Ok(table)
    }
}

/// The expression with `$1`, `$2`, … replaced by the batch's columns. A `$n` inside quotes stays.
fn placed(expr: &PgExpr, args: &[(usize, &str, u32)]) -> String {
    let mut out = String::with_capacity(expr.sql.len() + 16);
    let mut quote = None;
    let mut escapes = false;
    let mut chars = expr.sql.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                escapes = c == '\'' && out.ends_with(['E', 'e']);
            }
            (Some(q), c) if q == c => quote = None,
            (Some(_), '\\') if escapes => {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
            _ => {}
        }
        if c == '$' && quote.is_none() {
            let mut number = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                number.push(digit);
            }
            let column = number.parse::<usize>().ok().and_then(|n| expr.args.get(n.checked_sub(1)?));
            if let Some(place) = column.and_then(|c| args.iter().position(|a| a.0 == *c)) {
                let _infallible = write!(out, "r.c{place}");
                continue;
            }
            out.push('$');
            out.push_str(&number);
            continue;
        }
        out.push(c);
    }
    out
}

fn failure(error: &tokio_postgres::Error) -> Failure {
    match error.as_db_error() {
        // Connection, resources, operator intervention and system errors are not the row's fault.
        Some(db) if !matches!(&db.code().code()[..2], "08" | "53" | "57" | "58" | "XX") => {
            Failure::Row(RowError { code: db.code().code().to_owned(), message: db.message().to_owned() })
        }
        _ => Failure::Session(wal::describe(error)),
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
struct RawArray(BytesMut);

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

    fn ordinals(count: usize) -> Self {
        let mut bytes = Self::header(count, types::oid::INT8);
        for i in 0..count {
            bytes.put_i32(8);
            bytes.put_i64(i as i64);
        }
        Self(bytes)
    }

    fn column(rows: &[Row], column: usize, oid: u32) -> Self {
        let mut bytes = Self::header(rows.len(), oid);
        for row in rows {
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
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::PgType;

    #[test]
    fn placeholders_become_columns_but_not_inside_quotes() {
        let expr = PgExpr {
            sql: "pg_catalog.concat($2::text, '$1', E'it\\'s $1', \"$1\", $1)".into(),
            args: vec![4, 7],
            arg_types: vec![("text".into(), PgType::plain(25)), ("text".into(), PgType::plain(25))],
            ty: PgType::plain(25),
            sql_type: "text".into(),
        };
        let args = [(7, "text", 25), (4, "text", 25)];
        assert_eq!(placed(&expr, &args), "pg_catalog.concat(r.c0::text, '$1', E'it\\'s $1', \"$1\", r.c1)");
    }
}
