//! The call to the aggregator: one bidirectional stream, for as long as both live.
//!
//! ```text
//!   events ────┐ (first)
//!              ├─▶ one gRPC stream ─▶ aggregator ─▶ Start, Durable, Order, Refused
//!   snapshots ─┘ (when no event waits)
//! ```
//!
//! Both ways in are bounded: when the aggregator does not read, gRPC's flow control stops the stream, the queues fill,
//! and PostgreSQL keeps what comes behind.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use proto::v1;
use proto::v1::agent_message::Kind;
use proto::v1::ingest_service_client::IngestServiceClient;
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::Endpoint as Address;

use crate::{AgentError, AgentOptions};

/// How long the aggregator may take to say something first.
const START_WITHIN: Duration = Duration::from_secs(30);

/// Snapshot messages that may wait; few, so that they do not delay events for long.
const SNAPSHOT_QUEUE: usize = 2;

/// The way to the aggregator.
#[derive(Clone)]
pub(crate) struct Outgoing {
    events: mpsc::Sender<v1::AgentMessage>,
    snapshots: mpsc::Sender<v1::AgentMessage>,
}

impl Outgoing {
    /// Sends in the stream's order; waits while the queue is full.
    pub(crate) async fn send(&self, kind: Kind) -> Result<(), AgentError> {
        self.events.send(v1::AgentMessage { kind: Some(kind) }).await.map_err(|_| gone())
    }

    /// Sends beside the stream, when it has nothing to send; in the order of these calls.
    pub(crate) async fn send_snapshot(&self, kind: Kind) -> Result<(), AgentError> {
        self.snapshots.send(v1::AgentMessage { kind: Some(kind) }).await.map_err(|_| gone())
    }
}

fn gone() -> AgentError {
    AgentError::Link("its stream ended".into())
}

/// What goes up: events before snapshot rows.
struct Upward {
    events: mpsc::Receiver<v1::AgentMessage>,
    snapshots: mpsc::Receiver<v1::AgentMessage>,
}

impl futures_util::Stream for Upward {
    type Item = v1::AgentMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<v1::AgentMessage>> {
        match self.events.poll_recv(cx) {
            Poll::Ready(Some(message)) => Poll::Ready(Some(message)),
            Poll::Ready(None) => self.snapshots.poll_recv(cx),
            Poll::Pending => match self.snapshots.poll_recv(cx) {
                Poll::Ready(Some(message)) => Poll::Ready(Some(message)),
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            },
        }
    }
}

/// An attached agent.
pub(crate) struct Link {
    pub(crate) out: Outgoing,
    pub(crate) down: Streaming<v1::AggregatorMessage>,
    pub(crate) start: v1::Start,
}

/// Dials the aggregator, says hello and waits for its answer.
pub(crate) async fn attach(options: &AgentOptions, hello: v1::Hello) -> Result<Link, AgentError> {
    let bad = || AgentError::BadAddress(options.coordinator.clone());
    let address = Address::from_shared(options.coordinator.clone()).map_err(|_| bad())?;
    if address.uri().host().is_none() || address.uri().scheme_str() != Some("http") {
        return Err(bad());
    }
    let channel = address
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .connect()
        .await?;
    let (events, upward_events) = mpsc::channel(options.queue_length());
    let (snapshots, upward_snapshots) = mpsc::channel(SNAPSHOT_QUEUE);
    let out = Outgoing { events, snapshots };
    out.send(Kind::Hello(hello)).await?;
    let upward = Upward { events: upward_events, snapshots: upward_snapshots };
    let started = async {
        let mut down =
            IngestServiceClient::new(channel).max_decoding_message_size(usize::MAX).attach(upward).await?.into_inner();
        let first = down.message().await?.and_then(|m| m.kind);
        match first {
            Some(v1::aggregator_message::Kind::Start(start)) => Ok(Link { out, down, start }),
            Some(v1::aggregator_message::Kind::Refused(refused)) => Err(AgentError::Refused(refused.reason)),
            _ => Err(AgentError::Link("it did not say where to start".into())),
        }
    };
    let late = |_| AgentError::Link("it did not answer".into());
    tokio::time::timeout(START_WITHIN, started).await.map_err(late)?
}
