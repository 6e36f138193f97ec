//! The service agents attach to: one call a node.
//!
//! Events go to the [`sequencer`](crate::sequencer) in the order in which they came; answers and snapshot rows go to
//! whoever asked. The sequencer's inbox is bounded, so an aggregator that cannot follow is felt by gRPC's flow
//! control, then by the agent, then at the slot.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use proto::v1;
use proto::v1::agent_message::Kind as Up;
use proto::v1::aggregator_message::Kind as DownKind;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use types::NodeId;

use crate::lanes::Lanes;
use crate::links::{Down, Links, SnapshotPart};
use crate::sequencer::{Input, System};

/// `tributary.v1.IngestService`: where agents of all lanes come in.
#[derive(Clone)]
pub(crate) struct Door(pub(crate) Arc<Lanes>);

/// Where those of one lane go on.
#[derive(Debug, Clone)]
pub(crate) struct Ingest {
    /// As its agents call it.
    pub(crate) instance: String,
    /// Whether there are stream tables of consistency per-node; of the instance's own agents only.
    pub(crate) per_node: Option<watch::Receiver<bool>>,
    pub(crate) links: Arc<Links>,
    pub(crate) inbox: mpsc::Sender<Input>,
    /// Has the cluster's nodes looked up.
    pub(crate) nodes_changed: Arc<Notify>,
}

/// An agent that was started beside a new node can be faster than the news of that node; it is refused after this.
const JOINS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What an agent has to know before it sends: filled by the sequencer.
pub(crate) type StartReply = oneshot::Sender<Result<v1::Start, String>>;

#[tonic::async_trait]
impl v1::ingest_service_server::IngestService for Door {
    type AttachStream = Pin<Box<dyn Stream<Item = Down> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut up = request.into_inner();
        let hello = match up.next().await {
            Some(Ok(v1::AgentMessage { kind: Some(Up::Hello(hello)) })) => hello,
            _ => return Err(Status::invalid_argument("an agent says hello first")),
        };
        let (out, down) = mpsc::channel(64);
        let lanes = self.0.clone();
        tokio::spawn(async move {
            match lanes.of_instance(&hello.instance).await {
                Some(lane) => lane.ingest.clone().serve(hello, up, out).await,
                None => {
                    let ours = &lanes.atomic().ingest.instance;
                    let reason = format!("this aggregator is instance '{ours}', the agent is of '{}'", hello.instance);
                    refuse(&out, reason).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(down))))
    }
}

impl Ingest {
    /// One agent, until it goes away. Cancelled only with the process.
    async fn serve(self, hello: v1::Hello, mut up: Streaming<v1::AgentMessage>, out: mpsc::Sender<Down>) {
        let node = NodeId(hello.node);
        let Some((session, start)) = self.begin(node, &hello, &out).await else { return };
        tracing::info!(%node, resume_after = %types::Lsn(start.resume_after), "agent attached");
        let message = v1::AggregatorMessage { kind: Some(DownKind::Start(start)) };
        if out.send(Ok(message)).await.is_err() {
            return;
        }
        self.links.attach(node, session, out, &hello.version);
        if let Some(wanted) = &self.per_node {
            // Behind the attachment: a change from now on is said to it, too.
            let wanted = *wanted.borrow();
            self.links.tell_node_per_node(node, wanted).await;
        }
        let reason = self.pump(node, session, &mut up).await;
        if self.links.detach(node, session, &reason) {
            tracing::warn!(%node, reason, "agent went away");
        }
    }

    /// Where the agent is to begin, and the number of its session. A node that is not known may have joined a moment ago.
    async fn begin(&self, node: NodeId, hello: &v1::Hello, out: &mpsc::Sender<Down>) -> Option<(u64, v1::Start)> {
        let began = tokio::time::Instant::now();
        loop {
            let session = self.links.number();
            let (reply, start) = oneshot::channel();
            let system = System { identifier: hello.system_identifier.clone(), timeline: hello.timeline };
            self.inbox.send(Input::Attached { node, session, system, reply }).await.ok()?;
            match start.await.ok()? {
                Ok(start) => return Some((session, start)),
                Err(_) if began.elapsed() < JOINS_WITHIN && !out.is_closed() => {
                    self.nodes_changed.notify_one();
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(reason) => {
                    self.links.trouble(node, &reason);
                    refuse(out, reason).await;
                    return None;
                }
            }
        }
    }

    /// Passes messages on until the stream ends; says why it ended.
    async fn pump(&self, node: NodeId, session: u64, up: &mut Streaming<v1::AgentMessage>) -> String {
        loop {
            let message = match up.next().await {
                Some(Ok(message)) => message,
                Some(Err(status)) => return format!("its agent's stream broke: {}", status.message()),
                None => return "its agent stopped".into(),
            };
            match message.kind {
                Some(Up::Events(events)) => {
                    if self.inbox.send(Input::Events { node, session, events: events.events }).await.is_err() {
                        return "the aggregator stops".into();
                    }
                }
                Some(Up::Done(done)) => self.links.done(node, done),
                Some(Up::SnapshotRows(rows)) => {
                    let id = rows.id;
                    self.snapshot(node, id, SnapshotPart::Rows(rows)).await;
                }
                Some(Up::SnapshotEnd(end)) => {
                    let id = end.id;
                    self.snapshot(node, id, SnapshotPart::End(end)).await;
                    self.links.snapshot_over(node, id);
                }
                Some(Up::Trouble(trouble)) => {
                    if !trouble.reason.is_empty() {
                        tracing::warn!(%node, reason = trouble.reason, slot_lost = trouble.slot_lost, "agent reports trouble");
                    }
                    self.links.trouble(node, &trouble.reason);
                    if trouble.slot_lost {
                        let lost = Input::SlotLost { node, session, reason: trouble.reason };
                        if self.inbox.send(lost).await.is_err() {
                            return "the aggregator stops".into();
                        }
                    }
                }
                Some(Up::Hello(_)) | None => return "its agent broke the protocol".into(),
            }
        }
    }

    async fn snapshot(&self, node: NodeId, id: u64, part: SnapshotPart) {
        if let Some(sink) = self.links.snapshot_sink(node, id)
            && sink.send(part).await.is_err()
        {
            self.links.snapshot_over(node, id);
        }
    }
}

async fn refuse(out: &mpsc::Sender<Down>, reason: String) {
    tracing::warn!(reason, "agent refused");
    let message = v1::AggregatorMessage { kind: Some(DownKind::Refused(v1::Refused { reason })) };
    let _gone = out.send(Ok(message)).await;
}
