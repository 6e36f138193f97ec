//! The control services: `StreamTableService` and `ClusterService`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use proto::v1;
use proto::v1::create_stream_table_progress::Kind;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{BroadcastStream, ReceiverStream};
use tonic::{Request, Response, Status};
use types::{Consistency, NodeId};

use crate::catalog::Entry;
use crate::definition::parse_name;
use crate::error::RequestError;
use crate::lanes::Lanes;
use crate::progress::ProgressSender;
use crate::reconcile::{Reconciled, Scope};
use crate::requests::Requests;

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// `tributary.v1.StreamTableService`.
#[derive(Clone)]
pub(crate) struct StreamTables(pub(crate) Arc<Lanes>);

impl StreamTables {
    async fn show(&self, entry: &Entry) -> Result<v1::StreamTable, RequestError> {
        let lane = self.0.of(&entry.name.quoted()).await?;
        Ok(lane.status.stream_table(entry).await)
    }

    /// The requests of the lane that keeps the stream table.
    async fn requests_of(&self, name: &str) -> Result<Arc<Requests>, RequestError> {
        Ok(self.0.of(name).await?.requests.clone())
    }

    /// Runs a request in a task of its own, so that a client that goes away does not leave it half done, and
    /// streams its progress, then its result.
    fn tracked<F>(&self, work: impl FnOnce(Arc<Lanes>, ProgressSender) -> F) -> Streamed<v1::CreateStreamTableProgress>
    where
        F: Future<Output = Result<Entry, RequestError>> + Send + 'static,
    {
        self.followed(|lanes, progress| {
            let work = work(lanes, progress);
            async move { Ok((None, Some(work.await?))) }
        })
    }

    /// The same for what may have been read again, and may be of no stream table.
    fn followed<F>(&self, work: impl FnOnce(Arc<Lanes>, ProgressSender) -> F) -> Streamed<v1::CreateStreamTableProgress>
    where
        F: Future<Output = Result<(Option<Reconciled>, Option<Entry>), RequestError>> + Send + 'static,
    {
        let (progress, mut reads) = mpsc::channel::<v1::ReadProgress>(16);
        let (out, stream) = mpsc::channel(16);
        let work = tokio::spawn(work(self.0.clone(), ProgressSender(Some(progress))));
        let this = self.clone();
        tokio::spawn(async move {
            let message = |kind| v1::CreateStreamTableProgress { kind: Some(kind) };
            while let Some(read) = reads.recv().await {
                let _gone = out.send(Ok(message(Kind::Read(read)))).await;
            }
            let (reconciled, entry) = match work.await {
                Ok(Ok(done)) => done,
                Ok(Err(error)) => {
                    let _gone = out.send(Err(Status::from(error))).await;
                    return;
                }
                Err(panic) => {
                    let _gone = out.send(Err(Status::internal(panic.to_string()))).await;
                    return;
                }
            };
            if let Some(Reconciled { rows_read, differing, computed_again }) = reconciled {
                let computed_again = computed_again.iter().map(ToString::to_string).collect();
                let reconciled = v1::Reconciled { rows_read, rows_differing: differing, computed_again };
                let _gone = out.send(Ok(message(Kind::Reconciled(reconciled)))).await;
            }
            if let Some(entry) = entry {
                let shown = this.show(&entry).await.map_err(Status::from);
                let _gone = out.send(shown.map(|table| message(Kind::Done(table)))).await;
            }
        });
        Box::pin(ReceiverStream::new(stream))
    }
}

#[tonic::async_trait]
impl v1::stream_table_service_server::StreamTableService for StreamTables {
    type CreateStream = Streamed<v1::CreateStreamTableProgress>;
    type AlterStream = Streamed<v1::CreateStreamTableProgress>;
    type ResumeStream = Streamed<v1::CreateStreamTableProgress>;
    type RebuildStream = Streamed<v1::CreateStreamTableProgress>;
    type WatchStream = Streamed<v1::StreamTableChanges>;

    async fn create(&self, request: Request<v1::CreateStreamTableRequest>) -> Answer<Self::CreateStream> {
        let request = request.into_inner();
        Ok(Response::new(self.tracked(|lanes, progress| async move { lanes.create(request, progress).await })))
    }

    async fn get(&self, request: Request<v1::GetStreamTableRequest>) -> Answer<v1::StreamTable> {
        let name = request.into_inner().name;
        let entry = self.requests_of(&name).await?.entry(&name)?;
        Ok(Response::new(self.show(&entry).await?))
    }

    async fn list(&self, _: Request<v1::ListStreamTablesRequest>) -> Answer<v1::ListStreamTablesResponse> {
        Ok(Response::new(v1::ListStreamTablesResponse { stream_tables: stream_tables(&self.0).await }))
    }

    async fn alter(&self, request: Request<v1::AlterStreamTableRequest>) -> Answer<Self::AlterStream> {
        let request = request.into_inner();
        Ok(Response::new(self.tracked(|lanes, progress| async move { lanes.alter(request, &progress).await })))
    }

    async fn drop(&self, request: Request<v1::DropStreamTableRequest>) -> Answer<v1::DropStreamTableResponse> {
        let (lanes, request) = (self.0.clone(), request.into_inner());
        let dropped = tokio::spawn(async move { lanes.drop_stream(&request.name, request.cascade).await }).await;
        dropped.map_err(|e| Status::internal(e.to_string()))??;
        Ok(Response::new(v1::DropStreamTableResponse {}))
    }

    async fn pause(&self, request: Request<v1::PauseStreamTableRequest>) -> Answer<v1::StreamTable> {
        let name = request.into_inner().name;
        let requests = self.requests_of(&name).await?;
        let paused = tokio::spawn(async move { requests.pause(&name).await }).await;
        let entry = paused.map_err(|e| Status::internal(e.to_string()))??;
        Ok(Response::new(self.show(&entry).await?))
    }

    async fn resume(&self, request: Request<v1::ResumeStreamTableRequest>) -> Answer<Self::ResumeStream> {
        let name = request.into_inner().name;
        let requests = self.requests_of(&name).await?;
        Ok(Response::new(self.tracked(|_, progress| async move { requests.rebuild(&name, &progress).await })))
    }

    async fn rebuild(&self, request: Request<v1::RebuildStreamTableRequest>) -> Answer<Self::RebuildStream> {
        let request = request.into_inner();
        if request.reconcile {
            let scope = scope_of(&request)?;
            let work =
                |lanes: Arc<Lanes>, progress| async move { lanes.reconcile(&request.name, &scope, &progress).await };
            return Ok(Response::new(self.followed(work)));
        }
        let name = request.name;
        if !(request.tables.is_empty() && request.shards.is_empty() && request.nodes.is_empty()) {
            return Err(Status::invalid_argument("tables, shards and nodes are read again with reconcile only"));
        }
        let requests = self.requests_of(&name).await?;
        let work = |_, progress| async move { requests.rebuild_with_readers(&name, &progress).await };
        Ok(Response::new(self.tracked(work)))
    }

    async fn explain(&self, request: Request<v1::ExplainStreamTableRequest>) -> Answer<v1::ExplainStreamTableResponse> {
        let request = request.into_inner();
        let requests = match request.name.as_str() {
            "" => self.0.atomic().requests.clone(),
            name => self.requests_of(name).await?,
        };
        Ok(Response::new(requests.explain(request).await?))
    }

    async fn verify(&self, request: Request<v1::VerifyStreamTableRequest>) -> Answer<v1::VerifyStreamTableResponse> {
        let (lanes, request) = (self.0.clone(), request.into_inner());
        let verified = tokio::spawn(async move {
            if !request.name.is_empty() {
                return lanes.of(&request.name).await?.requests.verify(&request.name, request.repair).await;
            }
            let mut results = Vec::new();
            for lane in lanes.all().await {
                results.extend(lane.requests.verify("", request.repair).await?);
            }
            Ok(results)
        });
        let results = verified.await.map_err(|e| Status::internal(e.to_string()))??;
        Ok(Response::new(v1::VerifyStreamTableResponse { results }))
    }

    async fn watch(&self, request: Request<v1::WatchStreamTableRequest>) -> Answer<Self::WatchStream> {
        let name = request.into_inner().name;
        let lane = self.0.of(&name).await?;
        let entry = lane.requests.entry(&name)?;
        let changes = BroadcastStream::new(lane.changed.subscribe()).filter_map(move |changed| match changed {
            Ok(c) if c.stream == entry.id => Some(Ok(v1::StreamTableChanges {
                seq: c.seq.0,
                inserted: c.inserted,
                updated: c.updated,
                deleted: c.deleted,
                delay_seconds: c.delay,
            })),
            // A watcher that cannot follow misses cuts, not the table's content.
            Ok(_) | Err(_) => None,
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

/// What a request wants read again.
fn scope_of(request: &v1::RebuildStreamTableRequest) -> Result<Scope, RequestError> {
    let tables = request.tables.iter().map(|name| parse_name(name)).collect::<Result<_, _>>()?;
    let nodes = request.nodes.iter().map(|node| NodeId(*node)).collect();
    Ok(Scope { tables, shards: request.shards.clone(), nodes })
}

/// `tributary.v1.ClusterService`.
#[derive(Clone)]
pub(crate) struct ClusterControl(pub(crate) Arc<Lanes>);

/// Those of all lanes.
async fn stream_tables(lanes: &Lanes) -> Vec<v1::StreamTable> {
    let mut tables = Vec::new();
    for lane in lanes.all().await {
        tables.extend(lane.status.stream_tables().await);
    }
    tables.sort_by_key(|t| t.id);
    tables
}

#[tonic::async_trait]
impl v1::cluster_service_server::ClusterService for ClusterControl {
    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Answer<v1::Status> {
        let mut status = self.0.atomic().status.status().await;
        if let Some(lane) = self.0.per_node().await {
            status.stream_tables = stream_tables(&self.0).await;
            status.per_node = Some(lane.status.per_node().await);
        }
        Ok(Response::new(status))
    }

    async fn get_frontier(&self, _: Request<v1::GetFrontierRequest>) -> Answer<v1::Frontier> {
        Ok(Response::new(self.0.atomic().status.frontier()))
    }

    async fn wait_for_frontier(&self, request: Request<v1::WaitForFrontierRequest>) -> Answer<v1::Frontier> {
        let request = request.into_inner();
        let checked = |entry: Result<Entry, RequestError>| -> Result<(), Status> {
            let entry = entry?;
            match &entry.state {
                crate::catalog::StreamState::Active => Ok(()),
                state => Err(Status::failed_precondition(format!(
                    "{} is {} and does not advance{}{}",
                    entry.name,
                    state.name(),
                    if state.reason().is_empty() { "" } else { ": " },
                    state.reason()
                ))),
            }
        };
        let named = match request.stream_table.as_str() {
            "" => None,
            name => Some(self.0.of(name).await?),
        };
        let lane = named.clone().unwrap_or_else(|| self.0.atomic().clone());
        if named.is_some() {
            let entry = lane.requests.entry(&request.stream_table)?;
            // One that is tried again may follow by then.
            if lane.requests.failing.sources(entry.id).is_none() {
                checked(Ok(entry))?;
            }
        }
        let wait = async {
            let Some(lane) = &named else { return self.0.everything().await.map(|()| Vec::new()) };
            let without = match lane.consistency {
                Consistency::Atomic => lane.requests.waiter.everything().await.map(|_| Vec::new())?,
                Consistency::PerNode => lane.requests.waiter.present().await?,
            };
            lane.requests.settled().await;
            Ok(without)
        };
        let without = if request.timeout_seconds > 0.0 {
            let limit = Duration::try_from_secs_f64(request.timeout_seconds)
                .map_err(|_| Status::invalid_argument("the timeout is not a time"))?;
            tokio::time::timeout(limit, wait).await.map_err(|_| {
                let waiting = lane.status.waiting_for();
                let waiting =
                    if waiting.is_empty() { String::new() } else { format!("; waiting for {}", waiting.join(", ")) };
                Status::deadline_exceeded(format!("not everything became readable within {limit:?}{waiting}"))
            })??
        } else {
            wait.await?
        };
        if named.is_some() {
            checked(lane.requests.entry(&request.stream_table))?;
        }
        let mut frontier = lane.status.frontier();
        frontier.without_nodes = without.into_iter().map(|node| node.0).collect();
        Ok(Response::new(frontier))
    }

    async fn list_nodes(&self, _: Request<v1::ListNodesRequest>) -> Answer<v1::ListNodesResponse> {
        Ok(Response::new(v1::ListNodesResponse { nodes: self.0.atomic().status.nodes().await }))
    }
}
