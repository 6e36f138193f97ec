//! One attachment to the aggregator: from hello to the end of the call.
//!
//! ```text
//!   identify node ─▶ attach (Hello, Start) ─▶ publications ─▶ slot ─▶ stream ──┐
//!                                               ▲    the node's side breaks    │
//!                                               └────────── back-off ◀─────────┘
//! ```
//!
//! When the node's side breaks, the attachment stays and the stream starts again from the slot; what the aggregator got
//! over this attachment is not sent again. When the aggregator's side breaks, everything starts again: what was
//! sent and not made durable is lost there, and the slot still has it.
//!
//! Cancellation: dropping the session ends its tasks, its sessions and the stream; nothing is left to be cleaned up.

use std::sync::Arc;
use std::time::Duration;

use proto::v1;
use proto::v1::agent_message::Kind;
use proto::v1::aggregator_message::Kind as Down;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::Streaming;
use topology::Provider;
use types::Lsn;
use wal::{ReplicationConnection, StreamOptions, SystemIdentity};

use crate::backoff::Backoff;
use crate::collector::Collector;
use crate::confirm::Confirmer;
use crate::link::{self, Link};
use crate::node::Sql;
use crate::orders::{Orders, answer_questions};
use crate::stream::Pump;
use crate::subscription::{Subscription, look_up};
use crate::{AgentError, AgentOptions, slot};

/// Orders and commands that may wait.
const ORDER_QUEUE: usize = 64;

/// A slot that takes longer to make waits for somebody.
const SLOT_SOON: Duration = Duration::from_secs(3);

/// The `application_name` of the replication connection.
const STREAM_NAME: &str = "tributary agent";

/// Attaches and streams until the aggregator's side ends or something happens that only a new attachment helps. What it says
/// of stream tables of consistency per-node goes to `per_node`.
pub(crate) async fn run(options: &AgentOptions, per_node: &watch::Sender<Option<bool>>) -> Result<(), AgentError> {
    let mut connection = Box::pin(ReplicationConnection::connect(&options.endpoint, STREAM_NAME)).await?;
    let identity = connection.identify_system().await?;
    let hello = v1::Hello {
        instance: options.instance.clone(),
        node: options.node.0,
        system_identifier: identity.system_identifier.clone(),
        timeline: identity.timeline,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let Link { out, down, start } = link::attach(options, hello).await?;
    let resume_after = Lsn(start.resume_after);
    tracing::info!(node = %options.node, %resume_after, tables = start.tables.len(), "attached to the aggregator");
    let wanted: Vec<Subscription> = start.tables.into_iter().map(Subscription::new).collect();
    let confirmer = Arc::new(Confirmer::default());
    let (orders_in, orders) = mpsc::channel(ORDER_QUEUE);
    let (asks_in, asks) = mpsc::channel(ORDER_QUEUE);
    let (commands_in, commands) = mpsc::channel(ORDER_QUEUE);
    let mut tasks = JoinSet::new();
    let (hold, held) = watch::channel(false);
    let per_node = per_node.clone();
    let listener = Listener { confirmer: confirmer.clone(), orders: orders_in, asks: asks_in, hold, per_node };
    tasks.spawn(listener.run(down));
    tasks.spawn(Orders::new(options, out.clone(), commands_in, &wanted).run(orders));
    tasks.spawn(answer_questions(options.clone(), out.clone(), asks, confirmer.clone()));
    let collector = Collector::new(options.node, resume_after, wanted.clone(), confirmer.clone());
    let sql = Sql::new(options.endpoint.clone(), "tributary agent");
    let attachment = Attachment {
        options,
        identity,
        known_system: start.system_identifier,
        resume_after,
        wanted,
        confirmer,
        pump: Pump { collector, commands, out, sql, held },
        started: false,
    };
    tokio::select! {
        error = Box::pin(attachment.run(connection)) => Err(error),
        Some(ended) = tasks.join_next() => {
            Err(ended.unwrap_or_else(|e| AgentError::Link(format!("a task of the agent ended: {e}"))))
        }
    }
}

/// What the aggregator sends down.
struct Listener {
    confirmer: Arc<Confirmer>,
    orders: mpsc::Sender<v1::Order>,
    asks: mpsc::Sender<(u64, v1::Ask)>,
    hold: watch::Sender<bool>,
    per_node: watch::Sender<Option<bool>>,
}

impl Listener {
    /// Until the call ends; says why it ended.
    async fn run(self, mut down: Streaming<v1::AggregatorMessage>) -> AgentError {
        loop {
            let kind = match down.message().await {
                Ok(Some(message)) => message.kind,
                Ok(None) => return AgentError::Link("it ended the call".into()),
                Err(status) => return status.into(),
            };
            let passed = match kind {
                Some(Down::Durable(durable)) => {
                    self.confirmer.durable(Lsn(durable.lsn));
                    true
                }
                Some(Down::Flow(flow)) => {
                    self.hold.send_replace(flow.hold);
                    true
                }
                Some(Down::PerNode(per_node)) => {
                    self.per_node.send_replace(Some(per_node.wanted));
                    true
                }
                Some(Down::Order(v1::Order { id, kind: Some(v1::order::Kind::Ask(ask)) })) => {
                    self.asks.send((id, ask)).await.is_ok()
                }
                Some(Down::Order(order)) => self.orders.send(order).await.is_ok(),
                Some(Down::Refused(refused)) => return AgentError::Refused(refused.reason),
                Some(Down::Start(_)) | None => return AgentError::Link("it broke the protocol".into()),
            };
            if !passed {
                return AgentError::Link("the agent stops".into());
            }
        }
    }
}

/// How long after all else the stream is started: at once, but for a failpoint.
fn lingers() -> Duration {
    fail::fail_point!("agent-before-stream", |ms| Duration::from_millis(
        ms.and_then(|ms| ms.parse().ok()).unwrap_or(0)
    ));
    Duration::ZERO
}

/// The node's side of an attachment.
struct Attachment<'a> {
    options: &'a AgentOptions,
    identity: SystemIdentity,
    known_system: String,
    resume_after: Lsn,
    wanted: Vec<Subscription>,
    confirmer: Arc<Confirmer>,
    pump: Pump,
    /// The slot is good and a stream was started in this attachment.
    started: bool,
}

impl Attachment<'_> {
    /// Streams, again and again, until only a new attachment helps. Gives why.
    async fn run(mut self, connection: ReplicationConnection) -> AgentError {
        let mut backoff = Backoff::new();
        let mut connection = Some(connection);
        loop {
            let error = match self.stream(connection.take(), &mut backoff).await {
                Ok(()) => AgentError::NodeGone,
                Err(error) => error,
            };
            self.confirmer.attach(None);
            if matches!(error, AgentError::Link(_) | AgentError::NodeReplaced { .. }) {
                return error;
            }
            let slot_lost = error.is_slot_lost();
            let pause = backoff.next(&error);
            tracing::warn!(node = %self.options.node, %error, retry_in = ?pause, "the node's stream stands still");
            if let Err(gone) = self.pump.trouble(error.to_string(), slot_lost).await {
                return gone;
            }
            tokio::time::sleep(pause).await;
            if slot_lost {
                // The aggregator may have decided by now to read the tables again: it is asked where to start.
                return error;
            }
        }
    }

    async fn stream(
        &mut self,
        connection: Option<ReplicationConnection>,
        backoff: &mut Backoff,
    ) -> Result<(), AgentError> {
        let options = self.options;
        let mut connection = match connection {
            Some(connection) => connection,
            None => {
                let mut connection = Box::pin(ReplicationConnection::connect(&options.endpoint, STREAM_NAME)).await?;
                let now = connection.identify_system().await?;
                if now.system_identifier != self.identity.system_identifier || now.timeline != self.identity.timeline {
                    return Err(AgentError::NodeReplaced { now: now.system_identifier, timeline: now.timeline });
                }
                connection
            }
        };
        if !self.known_system.is_empty() && self.known_system != self.identity.system_identifier {
            let now = &self.identity.system_identifier;
            return Err(AgentError::SlotLost(format!("the node is system {now}, it was {} before", self.known_system)));
        }
        let from = self.prepare(&mut connection).await?;
        let mut publications = vec![options.slot()];
        if options.provider == Provider::Citus {
            publications.push(options.meta_publication());
        }
        let stream_options =
            StreamOptions { publications, binary: true, messages: true, two_phase: true, ..StreamOptions::default() };
        tokio::time::sleep(lingers()).await;
        let mut stream = Box::pin(connection.start(&options.slot(), Lsn::ZERO, &stream_options)).await?;
        self.confirmer.attach(Some(stream.feedback()));
        self.pump.collector.start(from);
        tracing::info!(node = %options.node, %from, "streaming");
        self.pump.trouble(String::new(), false).await?;
        self.started = true;
        backoff.reset();
        self.pump.run(&mut stream).await
    }

    /// Everything that a stream stands on; gives the position that it begins at.
    async fn prepare(&mut self, connection: &mut ReplicationConnection) -> Result<Lsn, AgentError> {
        let options = self.options;
        let client = self.pump.sql.client().await?;
        if options.provider == Provider::Citus {
            topology::check_node(client).await?;
        }
        // After the first stream of a fresh slot, the slot is what it goes on from.
        let resume_after = if self.started { Lsn::MAX } else { self.resume_after };
        let fresh = resume_after == Lsn::ZERO;
        let mut unfit = Vec::new();
        if !self.started {
            unfit = look_up(client, &mut self.wanted).await?;
            self.wanted.iter_mut().for_each(|s| s.alone = options.provider != Provider::Citus);
            let there: Vec<_> =
                self.wanted.iter().filter(|s| !unfit.iter().any(|u| u.table == s.id)).cloned().collect();
            unfit.extend(slot::publish(client, options, &there, fresh).await?);
            for subscription in there {
                self.pump.collector.subscribe(subscription);
            }
        }
        let read = if self.started { self.pump.collector.position() } else { self.resume_after };
        let preparing = slot::prepare(client, connection, options, resume_after, read);
        tokio::pin!(preparing);
        let from = tokio::select! {
            from = &mut preparing => from?,
            () = tokio::time::sleep(SLOT_SOON) => {
                let reason = "a new replication slot waits for the end of transactions that run (or are prepared) on the node";
                tracing::warn!(node = %options.node, reason);
                let trouble = v1::Trouble { reason: reason.into(), slot_lost: false };
                self.pump.out.send(Kind::Trouble(trouble)).await?;
                preparing.await?
            }
        };
        self.pump.collector.altered(unfit);
        Ok(from)
    }
}
