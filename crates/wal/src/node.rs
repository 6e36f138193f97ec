//! What a node can do, where its WAL is, and which transactions are prepared on it.

use std::fmt;

use tokio_postgres::Client;
use types::{Gid, Lsn};

use crate::WalError;

/// Something about a node that keeps it from being streamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.remedy)
    }
}

/// Everything about the node and the session's role that keeps a new slot of pgoutput from being made and streamed.
///
/// # Errors
/// [`WalError::Sql`].
pub async fn check_node(client: &Client) -> Result<Vec<Problem>, WalError> {
    check_node_for(client, "").await
}

/// [`check_node`] for a slot that may have been made before: then it has its place, whatever is free.
///
/// # Errors
/// [`WalError::Sql`].
pub async fn check_node_for(client: &Client, slot: &str) -> Result<Vec<Problem>, WalError> {
    let sql = "SELECT current_setting('server_version_num')::int4, current_setting('wal_level'), pg_is_in_recovery(), \
               current_setting('max_replication_slots')::int4, \
               (SELECT count(*) FROM pg_catalog.pg_replication_slots)::int4, \
               EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1), \
               current_setting('max_wal_senders')::int4, \
               (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walsender')::int4, \
               EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = current_user AND (rolreplication OR rolsuper)), \
               current_user::text, \
               (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'output_plugin_libraries')";
    let row = client.query_one(sql, &[&slot]).await.map_err(WalError::sql("checking a node"))?;
    let mut problems = Vec::new();
    let mut report = |wrong: bool, what: String, remedy: String| {
        if wrong {
            problems.push(Problem { what, remedy });
        }
    };
    let version: i32 = row.get(0);
    report(
        version < 150_000,
        format!("the server is PostgreSQL {}", version / 10_000),
        "tributary needs PostgreSQL 15 or later".to_owned(),
    );
    let wal_level: &str = row.get(1);
    report(
        wal_level != "logical",
        format!("wal_level is {wal_level}"),
        "ALTER SYSTEM SET wal_level = 'logical', then restart the server".to_owned(),
    );
    report(row.get(2), "the server is a standby".to_owned(), "connect to the primary".to_owned());
    let (slots, used, own): (i32, i32, bool) = (row.get(3), row.get(4), row.get(5));
    report(
        !own && used >= slots,
        format!("all {slots} replication slots are taken"),
        "raise max_replication_slots and restart the server, or drop a slot that nobody uses".to_owned(),
    );
    let (senders, busy): (i32, i32) = (row.get(6), row.get(7));
    report(
        !own && busy >= senders,
        format!("all {senders} WAL senders are taken"),
        "raise max_wal_senders and restart the server".to_owned(),
    );
    let role: &str = row.get(9);
    report(
        !row.get::<_, bool>(8),
        format!("role {role} has no replication right"),
        format!("ALTER ROLE {} REPLICATION, or run `tributary setup` as an administrator", types::quote_ident(role)),
    );
    // Newer servers list them, and show the list to some roles only.
    let plugins: Option<&str> = row.get(10);
    report(
        plugins.is_some_and(|list| !list.is_empty() && !list.split(',').any(|name| name.trim() == "pgoutput")),
        format!("output_plugin_libraries is '{}'", plugins.unwrap_or_default()),
        "add pgoutput to output_plugin_libraries, then reload the server".to_owned(),
    );
    Ok(problems)
}

/// A position at or behind the end of everything that has committed so far, and one that a stream reaches without
/// further writes.
///
/// PostgreSQL gives the place where the next record *goes*; at the begin of a page that is behind the page's header,
/// while the last record *ends* before it. An idle stream stands at that end, so the header is taken off.
///
/// # Errors
/// [`WalError::Sql`].
pub async fn current_lsn(client: &Client) -> Result<Lsn, WalError> {
    let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8, \
               (SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size'), \
               current_setting('wal_block_size')::int8";
    let row = client.query_one(sql, &[]).await.map_err(WalError::sql("asking for the WAL's position"))?;
    let next: i64 = row.get(0);
    Ok(record_end(next.unsigned_abs(), row.get::<_, i64>(1).unsigned_abs(), row.get::<_, i64>(2).unsigned_abs()))
}

/// Headers of a page: 40 bytes at the begin of a segment, 24 elsewhere (`SizeOfXLogLongPHD`, `SizeOfXLogShortPHD`).
fn record_end(next: u64, segment_bytes: u64, block_bytes: u64) -> Lsn {
    const LONG: u64 = 40;
    const SHORT: u64 = 24;
    Lsn(match (next.checked_rem(segment_bytes), next.checked_rem(block_bytes)) {
        (Some(LONG), _) => next - LONG,
        (_, Some(SHORT)) => next - SHORT,
        _ => next,
    })
}

/// For each name, whether a transaction is prepared under it now, in this database.
///
/// # Errors
/// [`WalError::Sql`].
pub async fn prepared_gids(client: &Client, gids: &[Gid]) -> Result<Vec<bool>, WalError> {
    let names: Vec<&str> = gids.iter().map(|gid| &*gid.0).collect();
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts p \
               WHERE p.gid = name AND p.database = current_database()) \
               FROM unnest($1::text[]) WITH ORDINALITY AS asked(name, place) ORDER BY place";
    let rows = client.query(sql, &[&names]).await.map_err(WalError::sql("looking for prepared transactions"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_behind_a_page_header_is_the_end_before_it() {
        let (segment, block) = (16 << 20, 8192);
        assert_eq!(record_end(segment + 40, segment, block), Lsn(segment));
        assert_eq!(record_end(segment + 8192 + 24, segment, block), Lsn(segment + 8192));
        for inside in [segment + 48, segment + 8192 + 32, segment + 24 + 8192 * 2 + 8] {
            assert_eq!(record_end(inside, segment, block), Lsn(inside));
        }
    }
}
