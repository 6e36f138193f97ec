//! The slot and the publications: there, and good for where the aggregator stands, before a stream is started.
//!
//! Publications come first: a stream whose slot is older than its publication cannot be decoded.

use std::time::Duration;

use tokio_postgres::Client;
use topology::Provider;
use types::{Lsn, TableName};
use wal::{ReplicationConnection, SlotInfo, SlotKind};

use crate::shape;
use crate::subscription::{Subscription, Unfit};
use crate::{AgentError, AgentOptions};

/// Makes the publications where they are missing. Tables that should have been published all the time and were not
/// are put (back) in, and named: their changes of the meantime are lost. A fresh start loses nothing.
pub(crate) async fn publish(
    client: &Client,
    options: &AgentOptions,
    wanted: &[Subscription],
    fresh: bool,
) -> Result<Vec<Unfit>, AgentError> {
    if options.provider == Provider::Citus {
        let catalogs = ["pg_dist_transaction"].iter().chain(&shape::CATALOGS);
        let catalogs: Vec<_> = catalogs.map(|name| TableName::new("pg_catalog", *name)).collect();
        wal::ensure_publication(client, &options.meta_publication(), &catalogs).await?;
    }
    let mut tables: Vec<TableName> = wanted.iter().filter(|s| s.there).map(|s| s.name.clone()).collect();
    tables.sort();
    tables.dedup();
    let published = wal::ensure_publication(client, &options.slot(), &tables).await?;
    if fresh {
        return Ok(Vec::new());
    }
    let lost = wanted.iter().filter(|s| published.added.contains(&s.name));
    let reason = |s: &Subscription| format!("{} was not in publication {} for a time", s.name, options.slot());
    // A shard can have left the node and come back; whether anything is missing is found out by reading it again. So for a
    // table that is known to be the very one.
    Ok(lost.map(|s| Unfit { table: s.id, reason: reason(s), doubted: s.shard != 0 || s.relation != 0 }).collect())
}

/// Makes or checks the slot; gives the position from which its stream will send.
///
/// * `resume_after` 0, the node is new: whatever slot there is goes, a new one is made, and its stream holds
///   everything that commits from its position on;
/// * otherwise the slot must hold everything behind `resume_after`, and the WAL must reach to `read`, up to which it was
///   read already: a node that was restored to an earlier point has another history from there on.
pub(crate) async fn prepare(
    client: &Client,
    connection: &mut ReplicationConnection,
    options: &AgentOptions,
    resume_after: Lsn,
    read: Lsn,
) -> Result<Lsn, AgentError> {
    let name = options.slot();
    let found = wal::inspect_slot(client, &name).await?;
    if let Some(SlotInfo { database: Some(database), active, .. }) = &found {
        let here: String = client.query_one("SELECT current_database()::text", &[]).await?.get(0);
        if *database != here {
            return Err(AgentError::SlotTaken { slot: name, database: database.clone() });
        }
        if *active {
            release(client, &name).await?;
        }
    }
    if resume_after == Lsn::ZERO {
        wal::drop_slot_if_exists(client, &name).await?;
        tracing::info!(slot = name, "making the replication slot; this waits for transactions that are running");
        let kind = SlotKind { temporary: false, two_phase: true };
        let created = connection.create_slot(&name, kind, false).await?;
        fail::fail_point!("agent-after-slot-create");
        return Ok(created.consistent_point);
    }
    let end = wal::current_lsn(client).await?;
    if end < read {
        return Err(AgentError::SlotLost(format!(
            "the node's WAL ends at {end}, before {read}, up to which it was read: it was restored to an earlier point"
        )));
    }
    let Some(slot) = found else {
        return Err(AgentError::SlotLost(format!("replication slot {name} is gone")));
    };
    check(&name, &slot, resume_after)
}

/// The position that the slot's stream begins at, if it holds everything behind `resume_after`.
fn check(name: &str, slot: &SlotInfo, resume_after: Lsn) -> Result<Lsn, AgentError> {
    let lost = |reason: String| Err(AgentError::SlotLost(format!("replication slot {name} {reason}")));
    if slot.is_lost() {
        return lost("was invalidated: it fell behind max_slot_wal_keep_size".into());
    }
    if slot.plugin != "pgoutput" || !slot.two_phase {
        return lost("was made by somebody else: it is not one of pgoutput with two_phase".into());
    }
    match slot.confirmed_flush {
        Some(confirmed) if confirmed <= resume_after => Ok(confirmed),
        Some(confirmed) => lost(format!("is confirmed up to {confirmed}, beyond {resume_after}")),
        None => lost("has no position".into()),
    }
}

/// Ends the session that reads the slot. It can only be what is left of an earlier agent of this node: the aggregator
/// lets one agent a node start. It may end by itself in a moment.
pub(crate) async fn release(client: &Client, slot: &str) -> Result<(), AgentError> {
    for attempt in 0..20 {
        let Some(pid) = wal::inspect_slot(client, slot).await?.and_then(|s| s.active_pid) else { return Ok(()) };
        if attempt == 2 {
            tracing::warn!(slot, pid, "ending the session of an earlier agent that still reads the slot");
            client.execute("SELECT pg_catalog.pg_terminate_backend($1)", &[&pid]).await?;
        }
        if attempt == 19 {
            return Err(AgentError::SlotInUse { slot: slot.to_owned(), pid });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
