//! `verify`: a stream table against its query, evaluated by PostgreSQL over the sources as the nodes hold them.
//!
//! Citus cannot be asked: its reads see half of distributed transactions. So the sources are read again, the way a
//! new source is first read (snapshots, then the streams up to a consistent cut), beside the rows that are kept. At
//! one cut, with the engine held still, the copies and the stream table's content go into temporary tables of one
//! session; there PostgreSQL evaluates the query over the copies, and both differences must be empty. Writers go on
//! all the while; other stream tables stand still for the copying.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use futures_util::SinkExt;
use proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Client;
use types::{Column, Row, TableName, quote_ident};

use crate::backfill::WantedSource;
use crate::catalog::{Entry, StreamState};
use crate::error::RequestError;
use crate::progress::ProgressSender;
use crate::reconcile::Scope;
use crate::requests::Requests;
use crate::tables::KeptSource;

/// A copied source, and the pieces of its rows.
type CopyPiece = (usize, Vec<Row>);

impl Requests {
    /// Verifies one stream table, or all with an empty name.
    ///
    /// With `repair`, the sources of one that differs are read again, and it is computed again when that was not it.
    pub(crate) async fn verify(&self, name: &str, repair: bool) -> Result<Vec<v1::Verification>, RequestError> {
        let entries = if name.is_empty() { self.catalog.all() } else { vec![self.entry(name)?] };
        let mut results = Vec::new();
        for entry in entries {
            let result = if entry.state == StreamState::Active {
                let mut result = self.verify_one(&entry).await?;
                if repair && !result.exact {
                    let done = self.reconcile(&entry.sources, &Scope::default(), &ProgressSender::default()).await?;
                    let rows = done.unwrap_or_default().differing;
                    self.waiter.everything().await?;
                    result = self.verify_one(&entry).await?;
                    result.detail = format!("it differed; {rows} rows of its sources did");
                    if !result.exact {
                        self.rebuild(&entry.name.to_string(), &ProgressSender::default()).await?;
                        result = self.verify_one(&entry).await?;
                        result.detail = "it differed and was computed again".into();
                    }
                }
                result
            } else {
                v1::Verification {
                    name: entry.name.to_string(),
                    detail: format!("not verified: it is {}", entry.state.name()),
                    ..Default::default()
                }
            };
            results.push(result);
        }
        Ok(results)
    }

    async fn verify_one(&self, entry: &Entry) -> Result<v1::Verification, RequestError> {
        let _changing = self.changing.lock().await;
        let (planned, logical) = self.plan(&entry.query, &entry.options).await?;
        // The copies belong to no stream table: whatever happens, they are taken away again.
        // All rows, so that what is kept of them is verified, too.
        let all = |reads: &plan::SourceUse| WantedSource { reads: reads.clone(), filter: None };
        let wanted: Vec<_> = planned.plan.sources.iter().map(all).collect();
        let result = match self.keep(&wanted, &logical, &ProgressSender::default()).await {
            Ok(copies) => self.compare(entry, &copies).await,
            Err(error) => Err(error),
        };
        self.release_sources().await;
        result
    }

    async fn compare(&self, entry: &Entry, copies: &[KeptSource]) -> Result<v1::Verification, RequestError> {
        let session = Session::open(self, entry, copies).await?;
        let (pieces, receiver) = mpsc::channel::<CopyPiece>(4);
        let (copied, copy_result) = oneshot::channel();
        let (release, held) = oneshot::channel::<()>();
        let sources: Vec<_> = copies.iter().map(|c| c.id).collect();
        let held_at = self.call(move |room| {
            for (index, source) in sources.into_iter().enumerate() {
                room.engine.scan_source(source, &mut |rows| {
                    pieces.blocking_send((index, rows)).map_err(|_| "the copy broke".to_owned())
                })?;
            }
            drop(pieces);
            let _gone = copied.send(room.engine.frontier().seq);
            let _released = held.blocking_recv();
            Ok(())
        });
        let work = async {
            session.copy_in(copies, receiver).await?;
            let seq = copy_result.await.map_err(|_| RequestError::Internal("the copy broke".into()))?;
            let mut published = self.published.clone();
            published
                .wait_for(|p| p.seq >= seq)
                .await
                .map_err(|_| RequestError::Unavailable("the aggregator stops".into()))?;
            session.copy_stream_table(entry).await?;
            Ok::<_, RequestError>(seq)
        };
        let work = async {
            let result = work.await;
            drop(release);
            result
        };
        let (held_at, seq) = tokio::join!(held_at, work);
        let seq = seq?;
        held_at?;
        let (rows, surplus, missing) = session.differences(entry).await?;
        let exact = surplus == 0 && missing == 0;
        let detail = if exact {
            String::new()
        } else {
            "the stream table differs from its query; `tributary stream rebuild` computes it again".into()
        };
        let name = entry.name.to_string();
        Ok(v1::Verification { name, exact, rows, surplus, missing, seq: seq.0, detail })
    }
}

/// The session in which PostgreSQL compares.
struct Session {
    client: Client,
    query: String,
}

impl Session {
    /// Temporary tables for the copies, temporary views for the views, and the query over them.
    async fn open(requests: &Requests, entry: &Entry, copies: &[KeptSource]) -> Result<Self, RequestError> {
        let client = wal::connect(&requests.endpoint, "tributary verify").await.map_err(RequestError::unavailable)?;
        let run =
            async |sql: &str| client.batch_execute(sql).await.map_err(|e| RequestError::Internal(wal::describe(&e)));
        for (name, value) in &entry.plan.settings {
            run(&format!("SELECT set_config({}, {}, false)", types::quote_literal(name), types::quote_literal(value)))
                .await?;
        }
        let mut views = Vec::new();
        let mut reads: Vec<_> = entry.reads.iter().filter_map(|name| requests.catalog.by_name(name)).collect();
        // What is read by others comes before them.
        reads.sort_by_key(|e| e.reads.len());
        for read in reads {
            let (query, behind) = deparsed(&client, &read.query, &read.plan.settings).await?;
            views.extend(behind);
            // Who says `*` of a stream table names what tells its rows apart, too, which its query does not give.
            let mut columns: Vec<String> = read.plan.output.iter().map(|c| quote_ident(&c.name)).collect();
            if read.plan.key == plan::OutputKey::RowId {
                columns.push(format!("NULL::uuid AS {}", quote_ident(sink::ROW_ID)));
            }
            views.push((read.name, format!("SELECT {} FROM ({query}) q", columns.join(", "))));
        }
        let (query, behind) = deparsed(&client, &entry.query, &entry.plan.settings).await?;
        views.extend(behind);
        let mut copied: Vec<TableName> = Vec::new();
        for source in copies {
            let columns = columns_sql(&client, &source.columns).await?;
            copied.push(source.name.clone());
            run(&format!("CREATE TEMP TABLE {} ({columns})", copy_name(&source.name, &copied))).await?;
        }
        for (name, sql) in views {
            if copied.contains(&name) {
                continue;
            }
            let sql = requalify(&sql, &copied);
            copied.push(name.clone());
            run(&format!("CREATE TEMP VIEW {} AS {sql}", copy_name(&name, &copied))).await?;
        }
        Ok(Self { query: requalify(&query, &copied), client })
    }

    async fn copy_in(&self, copies: &[KeptSource], mut pieces: mpsc::Receiver<CopyPiece>) -> Result<(), RequestError> {
        let internal = |e: tokio_postgres::Error| RequestError::Internal(wal::describe(&e));
        let names: Vec<TableName> = copies.iter().map(|c| c.name.clone()).collect();
        while let Some((index, rows)) = pieces.recv().await {
            let Some(source) = copies.get(index) else { continue };
            let sql = format!("COPY pg_temp.{} FROM STDIN (FORMAT binary)", copy_name(&source.name, &names));
            let sink = self.client.copy_in(&sql).await.map_err(internal)?;
            let mut sink = std::pin::pin!(sink);
            let mut bytes = BytesMut::from(&b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"[..]);
            for row in &rows {
                bytes.put_i16(source.columns.len() as i16);
                for field in row.fields() {
                    match field.value() {
                        Some(value) => {
                            bytes.put_i32(value.len() as i32);
                            bytes.put_slice(value);
                        }
                        None => bytes.put_i32(-1),
                    }
                }
            }
            bytes.put_i16(-1);
            sink.send(bytes.freeze()).await.map_err(internal)?;
            sink.finish().await.map_err(internal)?;
        }
        Ok(())
    }

    async fn copy_stream_table(&self, entry: &Entry) -> Result<(), RequestError> {
        let columns = entry.plan.output.iter().map(|c| quote_ident(&c.name)).collect::<Vec<_>>().join(", ");
        let sql = format!("CREATE TEMP TABLE \"tributary content\" AS SELECT {columns} FROM {}", entry.name.quoted());
        self.client.batch_execute(&sql).await.map_err(|e| RequestError::Internal(wal::describe(&e)))
    }

    /// Rows of the table, rows it has too many, rows that it lacks.
    async fn differences(&self, entry: &Entry) -> Result<(u64, u64, u64), RequestError> {
        let comparable = |c: &Column| {
            let name = quote_ident(&c.name);
            match c.ty.oid {
                // json has no equality; float sums depend on the order in which PostgreSQL happens to add.
                types::oid::JSON => format!("{name}::text"),
                types::oid::FLOAT4 => format!("round_float({name}::float8, 5)"),
                types::oid::FLOAT8 => format!("round_float({name}, 12)"),
                _ => name,
            }
        };
        let columns = entry.plan.output.iter().map(comparable).collect::<Vec<_>>().join(", ");
        let columns = columns.replace("round_float(", "pg_temp.round_float(");
        let sql = format!(
            "CREATE FUNCTION pg_temp.round_float(x float8, digits int) RETURNS text IMMUTABLE LANGUAGE sql AS
                 $$ SELECT to_char(x, '9.' || repeat('9', digits) || 'EEEE') $$;
             CREATE TEMP TABLE \"tributary answer\" AS {};
             CREATE TEMP VIEW \"tributary a\" AS SELECT {columns} FROM pg_temp.\"tributary content\";
             CREATE TEMP VIEW \"tributary b\" AS SELECT {columns} FROM pg_temp.\"tributary answer\"",
            self.query
        );
        let internal = |e: tokio_postgres::Error| RequestError::Internal(wal::describe(&e));
        self.client.batch_execute(&sql).await.map_err(internal)?;
        let count = "SELECT (SELECT count(*) FROM pg_temp.\"tributary a\"),
             (SELECT count(*) FROM (TABLE pg_temp.\"tributary a\" EXCEPT ALL TABLE pg_temp.\"tributary b\") s),
             (SELECT count(*) FROM (TABLE pg_temp.\"tributary b\" EXCEPT ALL TABLE pg_temp.\"tributary a\") m)";
        let row = self.client.query_one(count, &[]).await.map_err(internal)?;
        let number = |i: usize| u64::try_from(row.get::<_, i64>(i)).unwrap_or_default();
        Ok((number(0), number(1), number(2)))
    }
}

/// The columns with their types and collations.
async fn columns_sql(client: &Client, columns: &[Column]) -> Result<String, RequestError> {
    let mut sql = String::new();
    for (i, column) in columns.iter().enumerate() {
        let separator = if i == 0 { "" } else { ", " };
        let _infallible = write!(sql, "{separator}{} {}", quote_ident(&column.name), column.sql_type);
        if ![0, types::collation::DEFAULT].contains(&column.ty.collation) {
            let named = "SELECT pg_catalog.format('%I.%I', n.nspname, c.collname) FROM pg_catalog.pg_collation c
                         JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace WHERE c.oid = $1";
            let found = client.query_opt(named, &[&column.ty.collation]).await;
            let found = found.map_err(|e| RequestError::Internal(wal::describe(&e)))?;
            if let Some(row) = found {
                let _infallible = write!(sql, " COLLATE {}", row.get::<_, &str>(0));
            }
        }
    }
    Ok(sql)
}

/// The query with every name qualified, and the views behind it, innermost first, the same way.
async fn deparsed(
    client: &Client,
    query: &str,
    settings: &[(String, String)],
) -> Result<(String, Vec<(TableName, String)>), RequestError> {
    let path = settings.iter().find(|(name, _)| name == "search_path").map_or("", |(_, value)| value);
    let internal = |e: tokio_postgres::Error| RequestError::Internal(wal::describe(&e));
    let result = async {
        client
            .batch_execute(&format!(
                "BEGIN; DO $$ BEGIN PERFORM set_config('citus.enable_ddl_propagation', 'off', true); END $$;
                 SELECT pg_catalog.set_config('search_path', {}, true);
                 CREATE TEMP VIEW tributary_verified AS {}; SET LOCAL search_path = ''",
                types::quote_literal(path),
                query.trim().trim_end_matches(';')
            ))
            .await?;
        let text = "SELECT pg_catalog.pg_get_viewdef('pg_temp.tributary_verified'::regclass)";
        let text: String = client.query_one(text, &[]).await?.get(0);
        let views = "WITH RECURSIVE v(oid, depth) AS (
                 SELECT 'pg_temp.tributary_verified'::regclass::oid, 0
                 UNION
                 SELECT c.oid, v.depth + 1 FROM v
                 JOIN pg_catalog.pg_rewrite r ON r.ev_class = v.oid
                 JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
                      AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> v.oid
                 JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND c.relkind = 'v')
             SELECT n.nspname, c.relname, pg_catalog.pg_get_viewdef(c.oid)
             FROM (SELECT oid, max(depth) AS depth FROM v WHERE depth > 0 GROUP BY oid) v
             JOIN pg_catalog.pg_class c USING (oid) JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             ORDER BY v.depth DESC";
        let rows = client.query(views, &[]).await?;
        let views = rows.iter().map(|r| (TableName::new(r.get::<_, &str>(0), r.get::<_, &str>(1)), r.get(2)));
        Ok::<_, tokio_postgres::Error>((text, views.collect()))
    }
    .await;
    client.batch_execute("ROLLBACK").await.map_err(internal)?;
    let (text, views): (String, Vec<(TableName, String)>) = result.map_err(internal)?;
    let clean = |sql: String| sql.trim().trim_end_matches(';').to_owned();
    Ok((clean(text), views.into_iter().map(|(n, sql)| (n, clean(sql))).collect()))
}

/// What the copy of one of these is called: its own name, but for one that follows another of that name in another schema.
fn copy_name(table: &TableName, all: &[TableName]) -> String {
    match all.iter().take_while(|t| *t != table).filter(|t| t.name == table.name).count() {
        0 => quote_ident(&table.name),
        before => quote_ident(&format!("tributary copy {before} {}", table.name.chars().take(10).collect::<String>())),
    }
}

/// `schema.name` becomes `pg_temp.name` for the given tables, wherever a deparsed query names them.
fn requalify(sql: &str, tables: &[TableName]) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    'next: while let Some(c) = rest.chars().next() {
        let word_before = out.chars().last().is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '"' | '.'));
        if !word_before && (c == '"' || c.is_alphabetic() || c == '_') {
            for table in tables {
                for schema in [table.schema.clone(), quote_ident(&table.schema)] {
                    for name in [table.name.clone(), quote_ident(&table.name)] {
                        let Some(after) = rest.strip_prefix(&format!("{schema}.{name}")) else { continue };
                        if !after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '"')) {
                            let copy = copy_name(table, tables);
                            let _infallible = write!(out, "pg_temp.{copy}");
                            // Columns are named by it. Keywords are deparsed in capitals.
                            let alias =
                                after.trim_start().starts_with(|c: char| c.is_lowercase() || c == '_' || c == '"');
                            if copy != quote_ident(&table.name) && !alias {
                                let _infallible = write!(out, " {}", quote_ident(&table.name));
                            }
                            rest = after;
                            continue 'next;
                        }
                    }
                }
            }
        }
        // A quoted text or identifier goes over whole.
        let length = match c {
            '\'' | '"' => rest[1..].find(c).map_or(rest.len(), |end| end + 2),
            c => c.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tables_are_requalified() {
        let tables = [TableName::new("public", "orders"), TableName::new("My App", "users")];
        let sql = "SELECT o.a, 'public.orders' AS x FROM public.orders o JOIN \"My App\".users ON \
                   (public.orders_total(o.a) = 1) JOIN public.orders_2 ON true";
        let expected = "SELECT o.a, 'public.orders' AS x FROM pg_temp.\"orders\" o JOIN pg_temp.\"users\" ON \
                        (public.orders_total(o.a) = 1) JOIN public.orders_2 ON true";
        assert_eq!(requalify(sql, &tables), expected);
        // Of one name in two schemas.
        let tables = [TableName::new("one", "notes"), TableName::new("two", "notes")];
        let sql = "SELECT notes.kind FROM one.notes UNION ALL SELECT notes.kind FROM two.notes WHERE notes.id IN (SELECT n.id FROM two.notes n)";
        let expected = "SELECT notes.kind FROM pg_temp.\"notes\" UNION ALL SELECT notes.kind FROM pg_temp.\"tributary copy 1 notes\" \
                        \"notes\" WHERE notes.id IN (SELECT n.id FROM pg_temp.\"tributary copy 1 notes\" n)";
        assert_eq!(requalify(sql, &tables), expected);
    }
}
