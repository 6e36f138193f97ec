//! The pump: from the slot's stream through the collector to the aggregator.
//!
//! ```text
//!   reader thread ─ batches ─▶ decode ─▶ Collector ─ Events ─▶ queue ─▶ aggregator
//!                                ▲ commands (between transactions)
//! ```
//!
//! A batch is everything that the socket held; what it completed leaves at once when nothing left within the last
//! milliseconds, so a lone transaction is not delayed and many small ones share a message. Positions without events
//! leave at most every 10 ms.
//!
//! Held back (`Flow`), it reads no further than to the end of the transaction in hand: the reader thread's buffer fills, then the
//! socket's, and PostgreSQL keeps the rest. Commands are taken over all the same.
//!
//! Cancellation: dropping the pump at any await loses at most what was read and not sent. It was not confirmed, so
//! the next stream sends it again.

use std::time::Duration;

use pgoutput::Decoder;
use proto::v1;
use proto::v1::agent_message::Kind;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use wal::{Frame, ReplicationStream};

use crate::AgentError;
use crate::collector::Collector;
use crate::link::Outgoing;
use crate::node::Sql;
use crate::orders::{Command, done};

/// At most so often a message that is not full leaves.
const EVENTS_EVERY: Duration = Duration::from_millis(3);

/// At most so often a position leaves without events.
const PROGRESS_EVERY: Duration = Duration::from_millis(10);

/// How often the node is looked after: a node that shuts down waits for its streams, and ends its sessions first.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What a stream works with; it outlives the single stream.
pub(crate) struct Pump {
    pub(crate) collector: Collector,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) out: Outgoing,
    pub(crate) sql: Sql,
    /// The aggregator wants no more for now.
    pub(crate) held: watch::Receiver<bool>,
}

impl Pump {
    /// Until the stream breaks or the aggregator is gone.
    pub(crate) async fn run(&mut self, stream: &mut ReplicationStream) -> Result<(), AgentError> {
        let mut decoder = Decoder::new();
        let mut watch = tokio::time::interval(WATCH_EVERY);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Instant::now();
        loop {
            let held = *self.held.borrow_and_update() && self.collector.is_between();
            let events = self.collector.has_events();
            let due = told + if events { EVENTS_EVERY } else { PROGRESS_EVERY };
            if (events || self.collector.has_progress()) && (stream.is_drained() || held) && due <= Instant::now() {
                self.flush().await?;
                told = Instant::now();
            }
            tokio::select! {
                biased;
                _ = watch.tick() => {
                    if self.sql.was_closed() {
                        return Err(AgentError::NodeGone);
                    }
                }
                changed = self.held.changed() => {
                    if changed.is_err() {
                        return Err(AgentError::Link("its stream ended".into()));
                    }
                }
                batch = stream.next(), if !held => {
                    let batch = batch?;
                    for frame in batch.frames() {
                        match frame {
                            Frame::Keepalive { wal_end, .. } => self.collector.keepalive(wal_end),
                            Frame::Data { body, .. } => {
                                self.collector.message(&decoder.decode(body)?.message)?;
                                if self.collector.is_full() {
                                    self.flush().await?;
                                }
                                if self.collector.is_between() && !self.commands.is_empty() {
                                    self.command().await?;
                                }
                            }
                        }
                    }
                    self.collector.batch_read();
                }
                () = tokio::time::sleep_until(due), if self.collector.has_events() || self.collector.has_progress() => {}
                command = self.commands.recv(), if self.collector.is_between() => match command {
                    Some(command) => self.take_over(command).await?,
                    None => return Err(AgentError::Link("its stream ended".into())),
                },
            }
        }
    }

    /// Sends what was collected.
    async fn flush(&mut self) -> Result<(), AgentError> {
        let events = self.collector.take();
        if events.events.is_empty() { Ok(()) } else { self.out.send(Kind::Events(events)).await }
    }

    /// Takes the commands over that wait.
    async fn command(&mut self) -> Result<(), AgentError> {
        while let Ok(command) = self.commands.try_recv() {
            self.take_over(command).await?;
        }
        Ok(())
    }

    async fn take_over(&mut self, command: Command) -> Result<(), AgentError> {
        match command {
            Command::Unsubscribe { tables } => self.collector.unsubscribe(&tables),
            Command::Subscribe { order, tables, published } => {
                for table in tables {
                    self.collector.subscribe(table);
                }
                // What was read before the order took effect leaves before its answer.
                self.flush().await?;
                self.out.send(done(order, self.collector.position().max(published))).await?;
            }
        }
        Ok(())
    }

    /// Says why the node stands still, or, with an empty reason, that it goes on.
    pub(crate) async fn trouble(&self, reason: String, slot_lost: bool) -> Result<(), AgentError> {
        self.out.send(Kind::Trouble(v1::Trouble { reason, slot_lost })).await
    }
}
