//! Tables as they were at a known position: an exported snapshot, and sessions that read in it.
//!
//! ```text
//! ReplicationConnection (temporary slot, holds the snapshot) ── position
//!        └─ snapshot ─► session 1 … session n ── COPY (binary) ──► pieces of rows
//! ```
//!
//! What committed before [`SnapshotReader::position`] is in the snapshot, what commits at or after it is in every
//! slot's stream. The temporary slot keeps WAL from the position on until the reader is closed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, CopyOutStream};
use types::{Lsn, Row, TableName, quote_ident, quote_literal};

use crate::replication::{ReplicationConnection, SlotKind};
use crate::session::connect_owned;
use crate::{BinaryCopy, Endpoint, WalError};

/// About this many bytes of rows make a piece.
const PIECE_BYTES: usize = 256 * 1024;

/// A snapshot of a node, and sessions to read it with.
pub struct SnapshotReader {
    endpoint: Endpoint,
    application_name: String,
    position: Lsn,
    snapshot: String,
    /// Sessions that nobody uses; each is inside its transaction.
    idle: Arc<Mutex<VecDeque<Session>>>,
    /// One permit a session that may be open.
    turns: Arc<Semaphore>,
    /// Holds the snapshot and its slot; it must stay idle.
    holder: ReplicationConnection,
}

/// A session in the snapshot. Its task is ended with it, so that a broken-off COPY does not run on.
struct Session {
    client: Client,
    task: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SnapshotReader {
    /// Takes a snapshot. Waits until every transaction that is running now has ended, prepared ones included; a
    /// dropped future cancels that. At most `sessions` tables (one at least) are read at the same time.
    ///
    /// # Errors
    /// Those of [`ReplicationConnection::connect`] and [`ReplicationConnection::create_slot`].
    pub async fn open(
        endpoint: &Endpoint,
        application_name: &str,
        slot: &str,
        sessions: usize,
    ) -> Result<Self, WalError> {
        let mut holder = ReplicationConnection::connect(endpoint, application_name).await?;
        let kind = SlotKind { temporary: true, two_phase: false };
        let made = holder.create_slot(slot, kind, true).await?;
        let snapshot = made.snapshot.ok_or_else(|| WalError::Protocol {
            peer: endpoint.peer(),
            reason: "a slot was made without its snapshot".to_owned(),
        })?;
        let reader = Self {
            endpoint: endpoint.clone(),
            application_name: application_name.to_owned(),
            position: made.consistent_point,
            snapshot,
            idle: Arc::default(),
            turns: Arc::new(Semaphore::new(sessions.max(1))),
            holder,
        };
        // One session at once: whether the snapshot can be used is known from here on.
        let first = reader.open_session().await?;
        put_back(&reader.idle, first);
        Ok(reader)
    }

    /// The snapshot's position.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// Reads a table's own rows (not those of tables that inherit from it), in pieces of a few hundred KiB; rows
    /// larger than that are pieces of their own. Waits for a free session. Dropping the stream ends the reading.
    ///
    /// Every column's type must have a binary send function (42883 otherwise).
    ///
    /// # Errors
    /// [`WalError::NoRight`] without SELECT on the columns; [`WalError::Sql`]. Errors in the middle are items.
    pub async fn copy(&self, table: &TableName, columns: &[String]) -> Result<CopyStream, WalError> {
        let permit = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| WalError::Closed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let session = match idle {
            Some(session) => session,
            None => self.open_session().await?,
        };
        let columns_sql = columns.iter().map(|c| quote_ident(c)).collect::<Vec<_>>().join(", ");
        let sql = format!("COPY (SELECT {columns_sql} FROM ONLY {}) TO STDOUT (FORMAT binary)", table.quoted());
        // After an error the transaction is of no use: the session is dropped.
        let copy = session.client.copy_out(&sql).await.map_err(|e| copy_refused(e, table))?;
        Ok(CopyStream {
            copy: Box::pin(copy),
            decoder: BinaryCopy::new(columns.len()),
            peer: self.endpoint.peer(),
            busy: Some(Busy { session, idle: Arc::clone(&self.idle), _permit: permit }),
        })
    }

    /// Ends the sessions and gives the slot back, in order.
    pub async fn close(self) {
        self.turns.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.holder.close().await;
    }

    async fn open_session(&self) -> Result<Session, WalError> {
        let (client, task) = connect_owned(&self.endpoint, &self.application_name).await?;
        let session = Session { client, task };
        enter(&session.client, &self.snapshot).await?;
        Ok(session)
    }
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader").field("endpoint", &self.endpoint).field("position", &self.position).finish()
    }
}

/// On Citus the shards must be visible, and reading one is reading a plain table.
async fn enter(client: &Client, snapshot: &str) -> Result<(), WalError> {
    let failed = WalError::sql("entering a snapshot");
    crate::prepare_publication_session(client).await?;
    let sql = format!(
        "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
         SET row_security = off; \
         BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
        quote_literal(snapshot)
    );
    client.batch_execute(&sql).await.map_err(failed)
}

fn copy_refused(error: tokio_postgres::Error, table: &TableName) -> WalError {
    if error.code().is_some_and(|code| code.code() == "42501") {
        return WalError::NoRight {
            what: format!("this role may not read {table}: {}", crate::describe(&error)),
            remedy: format!("run `tributary setup --table {table}` as an administrator"),
        };
    }
    WalError::sql("reading a table")(error)
}

fn put_back(idle: &Mutex<VecDeque<Session>>, session: Session) {
    idle.lock().unwrap_or_else(PoisonError::into_inner).push_back(session);
}

/// A session at work. Fields are dropped in this order: the permit last.
struct Busy {
    session: Session,
    idle: Arc<Mutex<VecDeque<Session>>>,
    _permit: OwnedSemaphorePermit,
}

/// The rows of a table, piece by piece. Ends after an error.
pub struct CopyStream {
    copy: Pin<Box<CopyOutStream>>,
    decoder: BinaryCopy,
    peer: String,
    /// `None` when the reading is over.
    busy: Option<Busy>,
}

impl CopyStream {
    /// The reading came to its end: the session can read the next table.
    fn done(&mut self) -> Result<(), WalError> {
        self.decoder.finish().map_err(|e| self.damaged(e))?;
        if let Some(Busy { session, idle, .. }) = self.busy.take() {
            put_back(&idle, session);
        }
        Ok(())
    }

    fn damaged(&self, error: crate::copy::DamagedCopy) -> WalError {
        WalError::Protocol { peer: self.peer.clone(), reason: error.to_string() }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Vec<Row>, WalError>>> {
        while self.busy.is_some() {
            match self.copy.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => {
                    self.decoder.push(&bytes).map_err(|e| self.damaged(e))?;
                    if self.decoder.ready_bytes() >= PIECE_BYTES {
                        return Poll::Ready(Some(Ok(self.decoder.take_rows())));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(WalError::sql("reading a table")(error))));
                }
                Poll::Ready(None) => self.done()?,
            }
        }
        let last = self.decoder.take_rows();
        Poll::Ready((!last.is_empty()).then_some(Ok(last)))
    }
}

impl Stream for CopyStream {
    type Item = Result<Vec<Row>, WalError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.poll_piece(cx);
        if let Poll::Ready(Some(Err(_))) = &polled {
            self.busy = None;
            self.decoder = BinaryCopy::new(0);
        }
        polled
    }
}

impl std::fmt::Debug for CopyStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyStream").field("peer", &self.peer).finish_non_exhaustive()
    }
}
