//! The aggregator, put together: what is started, in which order, and how it stops.
//!
//! Start: the target's epoch is taken over (an older aggregator is fenced from here on), the state directory is opened,
//! cuts that are durable here and not yet in the target are sent again, then agents may attach and cuts go on. A state
//! directory that is new, or older than the target, is made anew: its stream tables are computed from the sources.

use std::sync::Arc;
use std::time::{Duration, Instant};

use frontier::{KeyOf, Rules};
use proto::v1;
use sink::Sink;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use topology::{Cluster, Provider};
use types::{Cut, Epoch, Gid, Positions, Seq};
use wal::Endpoint;

use crate::catalog::{Catalog, StreamState};
use crate::definition::entry_of;
use crate::delays::Delays;
use crate::engine;
use crate::error::CoordinatorError;
use crate::evaluator::PgEvaluator;
use crate::failing::{self, Asked, Failing};
use crate::ingest::Ingest;
use crate::links::Links;
use crate::members::Members;
use crate::options::Options;
use crate::publisher::{Published, Publisher, WRITTEN};
use crate::requests::Requests;
use crate::sequencer::{Connections, Input, Limits, Progress, Sequencer};
use crate::services::{ClusterControl, StreamTables};
use crate::shape::Again;
use crate::status::StatusReader;
use crate::tables::{Notes, Tables};
use crate::urgency::Urgency;
use crate::wait::Waiter;
use crate::watch::Definitions;
use crate::{http, mend, nodes, target, watch as tables_watch};

/// A running aggregator.
#[derive(Debug)]
pub struct Handle {
    members: Members,
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<Result<(), CoordinatorError>>,
    listen: std::net::SocketAddr,
}

impl Handle {
    /// The cluster as it is known, and as it changes.
    #[must_use]
    pub fn cluster(&self) -> watch::Receiver<Cluster> {
        self.members.subscribe()
    }

    /// Where it listens for gRPC (the port that was got when 0 was asked for).
    #[must_use]
    pub fn listen(&self) -> std::net::SocketAddr {
        self.listen
    }

    /// Asks it to stop; [`Self::ended`] says when it has.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Until it has ended.
    ///
    /// # Errors
    /// What ended it, unless it was asked to.
    pub async fn ended(&mut self) -> Result<(), CoordinatorError> {
        (&mut self.ended).await.unwrap_or(Err(CoordinatorError::Ended("the aggregator")))
    }
}

/// The aggregator.
#[derive(Debug)]
pub struct Coordinator;

impl Coordinator {
    /// Starts it; returns when it listens. Agents then attach and cuts begin.
    ///
    /// # Errors
    /// When the target, the data directory or a socket cannot be used: one clear line.
    pub async fn start(options: Options) -> Result<Handle, CoordinatorError> {
        let endpoint = Endpoint::parse(&options.database_url)?;
        let rules = options.gid_pattern.as_deref().map(pattern).transpose()?;
        let client = wal::connect(&endpoint, "tributary coordinator").await?;
        let cluster = topology::discover(&client, &endpoint).await?;
        drop(client);
        let rules = Rules { citus: cluster.provider == Provider::Citus, pattern: rules };
        std::fs::create_dir_all(&options.data_dir)
            .map_err(CoordinatorError::io(format!("data directory {}", options.data_dir.display())))?;
        let grpc = TcpListener::bind(options.listen)
            .await
            .map_err(CoordinatorError::io(format!("listening on {}", options.listen)))?;
        let web = TcpListener::bind(options.http)
            .await
            .map_err(CoordinatorError::io(format!("listening on {}", options.http)))?;
        let listen = grpc.local_addr().map_err(CoordinatorError::io("the gRPC socket"))?;

        let store = state::Store::open(&options.data_dir.join("state"), &state::Options::default())?;
        let sink = Sink::connect(&endpoint, &options.instance).await?;
        sink.install().await?;
        let epoch = sink.take_over().await?;
        let target = sink.frontier().await?;
        let evaluator = PgEvaluator::new(tokio::runtime::Handle::current(), endpoint.clone());
        let environment = target::environment(&endpoint).await?;
        let mut engine = ivm::Engine::open(store, Box::new(evaluator), environment)?;
        let written = engine.note(WRITTEN)?.and_then(|note| note.try_into().ok()).map_or(0, u64::from_be_bytes);
        let (is_older, went_back) = (engine.frontier().seq < target.seq, target.seq.0 < written);
        if is_older || went_back || (engine.frontier().seq.0 == 0 && engine.frontier().positions.0.is_empty()) {
            if went_back {
                tracing::warn!(target = %target.seq, written, "the target went back behind what was written to it; the state directory is made anew");
            } else if engine.frontier().seq.0 > 0 {
                tracing::warn!(here = %engine.frontier().seq, target = %target.seq, "the state directory is older than the target; it is made anew");
            }
            engine.clear()?;
            engine.start_at(Cut { seq: target.seq, positions: Positions::default() })?;
        }
        let notes: Notes = match engine.note("tables")? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| CoordinatorError::Setting(e.to_string()))?,
            None => Notes::default(),
        };
        let failing = match engine.note("failing")? {
            Some(bytes) => Failing::read(&bytes).map_err(|e| CoordinatorError::Setting(e.to_string()))?,
            None => Failing::default(),
        };
        tracing::info!(%epoch, seq = %engine.frontier().seq, provider = %cluster.provider, nodes = cluster.nodes.len(), "started");
        let members = Members::new(cluster);
        let parts = Parts { options, endpoint, members: members.clone(), rules, epoch, grpc, web };
        let (stop, stopping) = watch::channel(false);
        let (done, ended) = oneshot::channel();
        let running = parts.assemble(engine, sink, Arc::new(Tables::new(notes)), Arc::new(failing), stopping).await?;
        tokio::spawn(async move {
            let _nobody_asks_any_more = done.send(running.run().await);
        });
        Ok(Handle { members, stop, ended, listen })
    }
}

/// The first group of a regular expression names a transaction.
fn pattern(text: &str) -> Result<KeyOf, CoordinatorError> {
    let expression = regex::Regex::new(text).map_err(|e| CoordinatorError::Setting(format!("gid_pattern: {e}")))?;
    if expression.captures_len() < 2 {
        return Err(CoordinatorError::Setting("gid_pattern: needs a group that names the transaction".into()));
    }
    Ok(Box::new(move |gid: &Gid| Some(expression.captures(&gid.0)?.get(1)?.as_str().to_owned())))
}

/// What was opened, before it is put together.
struct Parts {
    options: Options,
    endpoint: Endpoint,
    members: Members,
    rules: Rules,
    epoch: Epoch,
    grpc: TcpListener,
    web: TcpListener,
}

impl Parts {
    async fn assemble(
        self,
        mut engine: ivm::Engine,
        sink: Sink,
        tables: Arc<Tables>,
        failing: Arc<Failing>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Running, CoordinatorError> {
        let catalog = Arc::new(Catalog::default());
        let mut lost = Vec::new();
        for definition in sink.list().await? {
            let Some(mut entry) = entry_of(&definition) else {
                lost.push((definition.id, definition.name));
                continue;
            };
            match engine.stream_sources(entry.id) {
                Some(sources) => {
                    if entry.state == StreamState::Active {
                        failing.forget(entry.id);
                    }
                    entry.sources = sources;
                }
                None if entry.state == StreamState::Active => entry.state = StreamState::Building,
                None => entry.sources = failing.sources(entry.id).unwrap_or_default(),
            }
            catalog.insert(entry);
        }
        for (id, name) in lost {
            tracing::error!(stream = %id, %name, "its definition cannot be read; drop it in the target and create it again");
        }
        // Nodes that left while nobody looked.
        let nodes = self.members.ids();
        let gone: Vec<_> = engine.frontier().positions.0.keys().filter(|n| !nodes.contains(n)).copied().collect();
        for node in gone {
            engine.forget_position(node)?;
        }
        let at = engine.frontier().clone();
        let delays = Arc::new(Delays::default());
        let links = Arc::new(Links::new());
        let urgency = Urgency::default();
        let (publications, publish_inbox) = mpsc::channel(2);
        let (applied, applied_inbox) = mpsc::channel(4);
        let (inbox, sequencer_inbox) = mpsc::channel(64);
        let (published_tx, published) = watch::channel(Published { seq: at.seq, positions: at.positions.clone() });
        let (changed, _) = broadcast::channel(1024);
        let (progress_tx, progress) = watch::channel(Progress::default());
        let mut publisher = Publisher {
            sink,
            inbox: publish_inbox,
            published: published_tx,
            changed: changed.clone(),
            catalog: catalog.clone(),
            delays: delays.clone(),
            engine: None,
            last_prune: Instant::now(),
            written: Seq(0),
            noted: Seq(0),
        };
        target::send_again(&engine, &mut publisher, &at).await?;
        let (engine, engine_end) = engine::spawn(engine, tables.clone(), failing.clone(), publications, applied)
            .map_err(CoordinatorError::io("the engine's thread"))?;
        publisher.engine = Some(engine.clone());
        let (mend, mend_inbox) = mpsc::unbounded_channel();
        let nodes_changed = Arc::new(Notify::new());
        let sequencer = Sequencer::new(
            &nodes,
            &at.positions,
            self.rules,
            Limits {
                spool_dir: self.options.data_dir.clone(),
                queue_bytes: self.options.queue_bytes,
                spool_bytes: self.options.spool_bytes,
            },
            Connections {
                links: links.clone(),
                tables: tables.clone(),
                engine: engine.clone(),
                inbox: sequencer_inbox,
                answers: inbox.downgrade(),
                applied: applied_inbox,
                urgency: urgency.clone(),
                progress: progress_tx,
                mend,
                nodes_changed: nodes_changed.clone(),
                members: self.members.clone(),
            },
        );
        let waiter = Waiter {
            members: self.members.clone(),
            links: links.clone(),
            published: published.clone(),
            urgency,
            definitions: Definitions::new(self.endpoint.clone(), tables.clone(), inbox.downgrade()),
        };
        let (asked, asked_inbox) = mpsc::channel(16);
        let requests = Arc::new(Requests {
            endpoint: self.endpoint.clone(),
            instance: self.options.instance.clone(),
            members: self.members.clone(),
            catalog: catalog.clone(),
            tables,
            links: links.clone(),
            engine: engine.clone(),
            published: published.clone(),
            waiter,
            changing: Mutex::new(()),
            failing,
            asked,
            inbox: inbox.downgrade(),
        });
        let status = Arc::new(StatusReader {
            instance: self.options.instance.clone(),
            epoch: self.epoch,
            members: self.members,
            catalog,
            links: links.clone(),
            engine,
            delays,
            published,
            progress,
            retained: Mutex::default(),
        });
        let mended = inbox.downgrade();
        let ingest = Ingest {
            instance: self.options.instance,
            links: links.clone(),
            inbox,
            nodes_changed: nodes_changed.clone(),
        };
        Ok(Running {
            sequencer,
            publisher,
            engine_end,
            requests,
            status,
            ingest,
            mend: (mend_inbox, mended),
            asked: asked_inbox,
            nodes_changed,
            changed,
            links,
            grpc: self.grpc,
            web: self.web,
            stopping,
        })
    }
}

/// Everything that runs.
struct Running {
    sequencer: Sequencer,
    publisher: Publisher,
    engine_end: oneshot::Receiver<Result<(), ivm::IvmError>>,
    requests: Arc<Requests>,
    status: Arc<StatusReader>,
    ingest: Ingest,
    nodes_changed: Arc<Notify>,
    /// Who waits for failing stream tables to be tried again.
    asked: mpsc::Receiver<Asked>,
    /// What the sequencer wants read again, and where to say that it was.
    mend: (mpsc::UnboundedReceiver<(u64, Again)>, mpsc::WeakSender<Input>),
    changed: broadcast::Sender<crate::publisher::Changed>,
    links: Arc<Links>,
    grpc: TcpListener,
    web: TcpListener,
    stopping: watch::Receiver<bool>,
}

impl Running {
    /// Until asked to stop or one part ends. The order of a stop: agents are cut off, the sequencer hands over no more
    /// cuts, the engine finishes what it has, the publisher writes what is durable.
    async fn run(self) -> Result<(), CoordinatorError> {
        let (ready_tx, ready) = watch::channel(Some("starting".to_owned()));
        let (reporter, health) = tonic_health::server::health_reporter();
        let mut tasks: JoinSet<Ended> = JoinSet::new();
        let (sequencer, publisher, engine_end) = (self.sequencer, self.publisher, self.engine_end);
        let engine = self.requests.engine.clone();
        let sequencer = tasks.spawn(async move {
            sequencer.run().await.map_err(CoordinatorError::io("waiting changes")).map(|()| "the sequencer")
        });
        tasks.spawn(async move { publisher.run().await.map_err(CoordinatorError::from).map(|()| "the publisher") });
        tasks.spawn(async move {
            match engine_end.await {
                Ok(result) => result.map_err(CoordinatorError::from).map(|()| "the engine"),
                Err(_) => Err(CoordinatorError::Ended("the engine")),
            }
        });
        let mut side = JoinSet::new();
        side.spawn(nodes::follow(self.requests.clone(), self.nodes_changed, self.mend.1.clone()));
        side.spawn(tables_watch::run(self.requests.clone()));
        side.spawn(mend::run(self.requests.clone(), self.mend.0, self.mend.1));
        side.spawn(failing::run(self.requests.clone(), self.asked));
        side.spawn(target::recover(self.requests.clone()));
        side.spawn(target::answer_waits(self.requests.clone()));
        side.spawn(target::report_nodes(self.requests.clone(), self.status.clone()));
        side.spawn(target::readiness(self.requests.clone(), ready_tx, reporter));
        let stopped = |mut stopping: watch::Receiver<bool>| async move {
            let _gone = stopping.wait_for(|s| *s).await;
        };
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .build_v1()
            .map_err(|e| CoordinatorError::Setting(e.to_string()))?;
        let server = tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .http2_keepalive_interval(Some(Duration::from_secs(10)))
            .add_service(health)
            .add_service(reflection)
            .add_service(
                v1::ingest_service_server::IngestServiceServer::new(self.ingest).max_decoding_message_size(usize::MAX),
            )
            .add_service(v1::stream_table_service_server::StreamTableServiceServer::new(StreamTables {
                requests: self.requests.clone(),
                status: self.status.clone(),
                changed: self.changed,
            }))
            .add_service(v1::cluster_service_server::ClusterServiceServer::new(ClusterControl {
                requests: self.requests,
                status: self.status,
            }));
        let serve = server.serve_with_incoming(TcpListenerStream::new(self.grpc));
        let web = http::serve(self.web, ready, stopped(self.stopping.clone()));
        let mut serving = JoinSet::new();
        serving.spawn(async move { serve.await.map_err(|e| CoordinatorError::Setting(format!("gRPC: {e}"))) });
        serving.spawn(async move { web.await.map_err(CoordinatorError::io("HTTP")) });
        let asked = stopped(self.stopping);
        let result = tokio::select! {
            () = asked => Ok(()),
            Some(ended) = tasks.join_next() => Err(reason(ended, &mut tasks).await),
            Some(ended) = serving.join_next() => ended.unwrap_or(Err(CoordinatorError::Ended("a server"))),
        };
        // What is not finished within the time is made up for by the next start.
        self.links.close();
        side.shutdown().await;
        serving.shutdown().await;
        // Between two turns it holds nothing that is durable.
        sequencer.abort();
        let finish = async {
            engine.stop().await;
            while tasks.join_next().await.is_some() {}
        };
        if tokio::time::timeout(Duration::from_secs(10), finish).await.is_err() {
            tracing::warn!("stopped without finishing the cut in hand; the next start finishes it");
        }
        tracing::info!("stopped");
        result
    }
}

/// What the tasks of a running aggregator end with.
type Ended = Result<&'static str, CoordinatorError>;

/// Why the aggregator ends when a part of it has: a part that failed takes those that it feeds with it, and they may be heard
/// of first.
async fn reason(first: Result<Ended, tokio::task::JoinError>, tasks: &mut JoinSet<Ended>) -> CoordinatorError {
    let mut ended = Some(first);
    let mut named = CoordinatorError::Ended("a task");
    while let Some(result) = ended {
        match result {
            Ok(Err(error)) => return error,
            Ok(Ok(part)) => named = CoordinatorError::Ended(part),
            Err(_) => {}
        }
        ended = tokio::time::timeout(Duration::from_secs(2), tasks.join_next()).await.ok().flatten();
    }
    named
}
