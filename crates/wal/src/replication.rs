//! A connection in replication mode: slots with exported snapshots, and the start of streams.
//!
//! The commands block a thread of tokio's blocking pool. A command whose future is dropped is cancelled at the
//! server (making a slot can wait for hours for a running transaction) and the connection is gone.

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use types::{Lsn, quote_ident};

use crate::login::{Backend, log_in};
use crate::reader::Pace;
use crate::stream::ReplicationStream;
use crate::wire::{Canceller, Reply, Wire};
use crate::{Endpoint, ServerError, WalError};

/// Who the server is (`IDENTIFY_SYSTEM`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Chosen at initdb; another one means another cluster.
    pub system_identifier: String,
    /// Grows when a standby is promoted.
    pub timeline: i32,
    /// The flushed WAL's end.
    pub position: Lsn,
}

/// The kind of a new slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotKind {
    /// It goes with its connection.
    pub temporary: bool,
    /// Prepared transactions are streamed at their PREPARE.
    pub two_phase: bool,
}

/// A slot just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSlot {
    /// What committed before it is in the snapshot, what commits at or after it in the stream.
    pub consistent_point: Lsn,
    /// The exported snapshot's name. It lives until the connection's next command or end.
    pub snapshot: Option<String>,
}

/// Which changes are streamed, by where they come from (PostgreSQL 16 and later).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginFilter {
    /// All.
    Any,
    /// Only those that did not arrive by replication.
    Local,
}

/// What a stream carries.
#[derive(Debug, Clone, Default)]
pub struct StreamOptions {
    /// The publications; they are looked up at each change, as they were then.
    pub publications: Vec<String>,
    /// Values in binary send format where the type has one.
    pub binary: bool,
    /// Messages of `pg_logical_emit_message`.
    pub messages: bool,
    /// Prepared transactions at their PREPARE.
    pub two_phase: bool,
    /// Large transactions in blocks before they commit. Without it the server spills them to its disk.
    pub streaming: bool,
    /// `None` is the server's default (all), for PostgreSQL 15 too.
    pub origin: Option<OriginFilter>,
    /// How the read loop waits under load.
    pub pace: Pace,
}

impl StreamOptions {
    /// The options of START_REPLICATION.
    fn sql(&self) -> String {
        let version = match (self.two_phase, self.streaming) {
            (true, _) => 3,
            (false, true) => 2,
            (false, false) => 1,
        };
        let publications: Vec<String> = self.publications.iter().map(|p| quote_ident(p)).collect();
        let mut sql = format!("proto_version '{version}', publication_names {}", literal(&publications.join(",")));
        for (on, option) in [
            (self.binary, "binary 'true'"),
            (self.messages, "messages 'true'"),
            (self.two_phase, "two_phase 'on'"),
            (self.streaming, "streaming 'on'"),
            (self.origin == Some(OriginFilter::Any), "origin 'any'"),
            (self.origin == Some(OriginFilter::Local), "origin 'none'"),
        ] {
            if on {
                sql.push_str(", ");
                sql.push_str(option);
            }
        }
        sql
    }
}

/// The replication grammar knows only plain string constants, in which a backslash is one.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A connection in replication mode that is not streaming.
pub struct ReplicationConnection {
    /// `None` while a command runs, and for good when its future was dropped.
    wire: Option<Wire>,
    endpoint: Endpoint,
    backend: Backend,
}

impl ReplicationConnection {
    /// Connects and logs in with `replication=database`.
    ///
    /// # Errors
    /// [`WalError::Unreachable`], [`WalError::Tls`], [`WalError::Login`], [`WalError::NoRight`] when the role may
    /// not stream, and [`WalError::Server`] for what passes by itself.
    pub async fn connect(endpoint: &Endpoint, application_name: &str) -> Result<Self, WalError> {
        let (at, name) = (endpoint.clone(), application_name.to_owned());
        let (wire, backend) = blocking(move || log_in(&at, &name)).await?;
        Ok(Self { wire: Some(wire), endpoint: endpoint.clone(), backend })
    }

    /// Who the server is, and how far its WAL is flushed.
    ///
    /// # Errors
    /// [`WalError::Disconnected`] or what the server says.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, WalError> {
        let row = self.row("IDENTIFY_SYSTEM").await?;
        let peer = &self.endpoint;
        let cell = |i: usize| row.get(i).cloned().flatten().ok_or_else(|| damaged(peer, "IDENTIFY_SYSTEM"));
        Ok(SystemIdentity {
            system_identifier: cell(0)?,
            timeline: cell(1)?.parse().map_err(|_| damaged(peer, "a timeline"))?,
            position: cell(2)?.parse().map_err(|_| damaged(peer, "a position"))?,
        })
    }

    /// Makes a logical slot for pgoutput. Waits for the transactions that are running, prepared ones included.
    /// Needs PostgreSQL 15.
    ///
    /// # Errors
    /// What the server says: 42710 the name is taken, 53400 no slot is free, 55000 `wal_level` is too low.
    pub async fn create_slot(
        &mut self,
        name: &str,
        kind: SlotKind,
        export_snapshot: bool,
    ) -> Result<CreatedSlot, WalError> {
        let statement = format!(
            "CREATE_REPLICATION_SLOT {}{} LOGICAL pgoutput (SNAPSHOT '{}'{})",
            quote_ident(name),
            if kind.temporary { " TEMPORARY" } else { "" },
            if export_snapshot { "export" } else { "nothing" },
            if kind.two_phase { ", TWO_PHASE" } else { "" },
        );
        let row = self.row(&statement).await?;
        let point = row.get(1).cloned().flatten().and_then(|text| text.parse().ok());
        Ok(CreatedSlot {
            consistent_point: point.ok_or_else(|| damaged(&self.endpoint, "a slot's position"))?,
            snapshot: row.get(2).cloned().flatten().filter(|name| !name.is_empty()),
        })
    }

    /// Drops a slot, after waiting until nobody uses it any more.
    ///
    /// # Errors
    /// What the server says: 42704 there is none.
    pub async fn drop_slot(&mut self, name: &str) -> Result<(), WalError> {
        self.query(&format!("DROP_REPLICATION_SLOT {} WAIT", quote_ident(name))).await.map(|_| ())
    }

    /// Starts streaming from `from` or from where the slot was confirmed to, whichever is later.
    ///
    /// # Errors
    /// [`WalError::SlotLost`] when the slot is gone or invalidated; a transient [`WalError::Server`] (55006) while
    /// another connection still holds it; otherwise what the server says.
    pub async fn start(
        mut self,
        slot: &str,
        from: Lsn,
        options: &StreamOptions,
    ) -> Result<ReplicationStream, WalError> {
        let statement = format!("START_REPLICATION SLOT {} LOGICAL {from} ({})", quote_ident(slot), options.sql());
        let name = slot.to_owned();
        let wire = self
            .run(move |wire| start_streaming(wire, &statement, &name))
            .await
            .and_then(|()| self.wire.take().ok_or(WalError::Closed))?;
        ReplicationStream::new(wire, slot, from, options.pace)
    }

    /// Ends the connection and waits (a second at most) until the server has done so too: its temporary slots are gone.
    pub async fn close(mut self) {
        if let Some(wire) = self.wire.take() {
            let _ = blocking(move || {
                wire.terminate_and_wait();
                Ok(())
            })
            .await;
        }
    }

    async fn row(&mut self, statement: &str) -> Result<Vec<Option<String>>, WalError> {
        let rows = self.query(statement).await?;
        rows.into_iter().next().ok_or_else(|| damaged(&self.endpoint, "an answer without a row"))
    }

    async fn query(&mut self, statement: &str) -> Result<Vec<Vec<Option<String>>>, WalError> {
        let statement = statement.to_owned();
        self.run(move |wire| wire.query(&statement)).await
    }

    /// Runs a command on the blocking pool, with a guard that cancels it when this future is dropped.
    async fn run<T: Send + 'static>(
        &mut self,
        command: impl FnOnce(&mut Wire) -> Result<T, WalError> + Send + 'static,
    ) -> Result<T, WalError> {
        let mut wire = self.wire.take().ok_or(WalError::Closed)?;
        let transport = wire.socket.transport().try_clone().map_err(|e| wire.broken(&e))?;
        let mut guard = CancelOnDrop(Some(Canceller {
            endpoint: self.endpoint.clone(),
            transport,
            process_id: self.backend.process_id,
            secret_key: self.backend.secret_key,
        }));
        let (wire, result) = blocking(move || {
            let result = command(&mut wire);
            Ok((wire, result))
        })
        .await?;
        guard.0 = None;
        let dead = matches!(result, Err(WalError::Disconnected { .. } | WalError::Protocol { .. }));
        self.wire = (!dead).then_some(wire);
        result
    }
}

impl Drop for ReplicationConnection {
    fn drop(&mut self) {
        // An idle connection: the goodbye fits into the socket's buffer, nothing waits.
        if let Some(wire) = self.wire.take() {
            wire.terminate();
        }
    }
}

impl std::fmt::Debug for ReplicationConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicationConnection").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

struct CancelOnDrop(Option<Canceller>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(canceller) = self.0.take() {
            let thread = std::thread::Builder::new().name("wal-cancel".to_owned());
            if let Err(error) = thread.spawn(move || canceller.cancel()) {
                tracing::warn!(%error, "could not cancel a replication command");
            }
        }
    }
}

fn start_streaming(wire: &mut Wire, statement: &str, slot: &str) -> Result<(), WalError> {
    let mut out = BytesMut::new();
    frontend::query(statement, &mut out).map_err(|e| wire.protocol(e.to_string()))?;
    wire.send(&out)?;
    match wire.receive()? {
        Reply::CopyBoth => Ok(()),
        Reply::Message(Message::ErrorResponse(body)) => Err(refused_start(slot, ServerError::from_body(&body))),
        Reply::Message(_) => Err(wire.protocol("no start of streaming".to_owned())),
    }
}

/// Errors of START_REPLICATION that mean that the slot cannot go on: it does not exist (42704), it was invalidated
/// or belongs to another database (55000), its WAL was removed (58P01).
fn refused_start(slot: &str, error: ServerError) -> WalError {
    if matches!(error.code.as_str(), "42704" | "55000" | "58P01") {
        return WalError::SlotLost { slot: slot.to_owned(), reason: error.to_string() };
    }
    error.into()
}

fn damaged(endpoint: &Endpoint, what: &str) -> WalError {
    WalError::Protocol { peer: endpoint.peer(), reason: format!("{what} cannot be read") }
}

/// Runs on the blocking pool; a panic there goes on here.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WalError> + Send + 'static,
) -> Result<T, WalError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down.
        Err(_) => Err(WalError::Closed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_choose_the_protocol_version() {
        let mut options = StreamOptions { publications: vec!["a".into(), "it's".into()], ..Default::default() };
        assert_eq!(options.sql(), r#"proto_version '1', publication_names '"a","it''s"'"#);
        options.streaming = true;
        assert!(options.sql().starts_with("proto_version '2'"));
        options.two_phase = true;
        options.binary = true;
        assert!(options.sql().starts_with("proto_version '3'"));
        assert!(options.sql().ends_with(", binary 'true', two_phase 'on', streaming 'on'"));
    }

    #[test]
    fn a_slot_that_cannot_go_on_is_lost_and_one_in_use_is_tried_again() {
        let of = |code: &str| refused_start("s", ServerError { code: code.into(), ..Default::default() });
        for code in ["42704", "55000", "58P01"] {
            assert!(matches!(of(code), WalError::SlotLost { .. }) && !of(code).is_transient());
        }
        assert!(of("55006").is_transient() && of("57P03").is_transient());
        assert!(!of("42601").is_transient());
    }
}
