//! Replication slots, looked at and dropped from an SQL session.

use tokio_postgres::Client;
use types::Lsn;

use crate::WalError;

/// A slot as `pg_replication_slots` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// Somebody streams from it now.
    pub active: bool,
    /// The walsender that does.
    pub active_pid: Option<i32>,
    /// Up to here the consumer confirmed; a stream starts here.
    pub confirmed_flush: Option<Lsn>,
    /// From here on the server keeps WAL for it; `None` when it was invalidated.
    pub restart_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Prepared transactions are streamed at their PREPARE.
    pub two_phase: bool,
    /// The output plugin.
    pub plugin: String,
    /// The database it was made in.
    pub database: Option<String>,
    /// How much WAL the server keeps for it.
    pub retained_bytes: u64,
}

impl SlotInfo {
    /// It can never be streamed from again.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.restart_lsn.is_none() || self.wal_status.as_deref() == Some("lost")
    }
}

/// Looks at a slot; `None` when there is none of this name.
///
/// # Errors
/// [`WalError::Sql`].
pub async fn inspect_slot(client: &Client, name: &str) -> Result<Option<SlotInfo>, WalError> {
    let sql = "SELECT active, active_pid, confirmed_flush_lsn::text, restart_lsn::text, wal_status, two_phase, \
               coalesce(plugin, '')::text, database::text, \
               greatest(coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
               ELSE pg_current_wal_lsn() END, restart_lsn), 0), 0)::int8 \
               FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";
    let failed = WalError::sql("looking at a replication slot");
    let Some(row) = client.query_opt(sql, &[&name]).await.map_err(failed)? else { return Ok(None) };
    let position = |i: usize| row.get::<_, Option<&str>>(i).and_then(|text| text.parse().ok());
    Ok(Some(SlotInfo {
        active: row.get(0),
        active_pid: row.get(1),
        confirmed_flush: position(2),
        restart_lsn: position(3),
        wal_status: row.get(4),
        two_phase: row.get(5),
        plugin: row.get(6),
        database: row.get(7),
        retained_bytes: row.get::<_, i64>(8).unsigned_abs(),
    }))
}

/// Drops a slot; `false` when there is none. A slot in use is an error (55006, transient).
///
/// # Errors
/// [`WalError::Sql`]; [`WalError::NoRight`] when the role may not use replication.
pub async fn drop_slot_if_exists(client: &Client, name: &str) -> Result<bool, WalError> {
    let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";
    match client.query(sql, &[&name]).await {
        Ok(rows) => Ok(!rows.is_empty()),
        // Somebody was faster.
        Err(e) if e.code().is_some_and(|code| code.code() == "42704") => Ok(false),
        Err(e) if e.code().is_some_and(|code| code.code() == "42501") => Err(WalError::NoRight {
            what: format!("this role may not drop replication slot {name}"),
            remedy: "as an administrator: ALTER ROLE … REPLICATION, or run `tributary setup`".to_owned(),
        }),
        Err(e) => Err(WalError::sql("dropping a replication slot")(e)),
    }
}
