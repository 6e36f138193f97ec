//! One pipeline from the agents' streams to the stream tables of one consistency.
//!
//! Stream tables of consistency `atomic` and of `per-node` share nothing but the process, the target database and the services:
//! each of the two lanes has agents, slots, queues, a frontier, an engine with its state, a sequence of cuts and a frontier
//! row of its own. So neither can hold back or mislead the other, and what is promised of a start, a crash or a
//! second aggregator is promised of each by the same words.
//!
//! Start: the target's epoch is taken over (an older aggregator is fenced from here on), the state directory is opened,
//! cuts that are durable here and not yet in the target are sent again, then agents may attach and cuts go on. A state
//! directory that is new, or older than the target, is made anew: its stream tables are computed from the sources.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use frontier::Rules;
use sink::Sink;
use tokio::sync::{Mutex, Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use topology::Cluster;
use types::{Consistency, Cut, Epoch, Positions, Seq, SourceId};
use wal::Endpoint;

use crate::catalog::{Catalogs, StreamState};
use crate::copies::Copies;
use crate::definition::entry_of;
use crate::delays::Delays;
use crate::engine::{self, RoomParts};
use crate::error::CoordinatorError;
use crate::evaluator::PgEvaluator;
use crate::failing::{self, Asked, Failing};
use crate::ingest::Ingest;
use crate::links::Links;
use crate::members::Members;
use crate::progress::NodeReads;
use crate::publisher::{Changed, Published, Publisher, WRITTEN};
use crate::requests::Requests;
use crate::sequencer::{Connections, Input, Limits, Progress, Sequencer};
use crate::status::StatusReader;
use crate::tables::{Notes, Tables};
use crate::urgency::Urgency;
use crate::wait::Waiter;
use crate::watch::Definitions;
use crate::{mend, nodes, target, watch as tables_watch};

/// What a lane is made of.
pub(crate) struct LaneOptions {
    pub(crate) consistency: Consistency,
    pub(crate) instance: String,
    pub(crate) endpoint: Endpoint,
    /// Of its own.
    pub(crate) data_dir: PathBuf,
    pub(crate) queue_bytes: usize,
    pub(crate) spool_bytes: u64,
    pub(crate) cache_bytes: usize,
    pub(crate) hold_limit: Duration,
    pub(crate) cluster: Cluster,
    pub(crate) rules: Rules,
    pub(crate) catalogs: Catalogs,
    /// Whether there are stream tables of consistency per-node, for the agents of the instance itself.
    pub(crate) per_node: Option<watch::Receiver<bool>>,
}

/// What the services see of a lane.
pub(crate) struct Lane {
    pub(crate) consistency: Consistency,
    pub(crate) requests: Arc<Requests>,
    pub(crate) status: Arc<StatusReader>,
    pub(crate) changed: broadcast::Sender<Changed>,
    pub(crate) ingest: Ingest,
}

impl LaneOptions {
    /// Opens everything and puts it together. Nothing moves before [`Running::run`].
    pub(crate) async fn start(self) -> Result<(Arc<Lane>, Running), CoordinatorError> {
        let dir = self.data_dir.display().to_string();
        std::fs::create_dir_all(&self.data_dir).map_err(CoordinatorError::io(format!("data directory {dir}")))?;
        // Half for blocks of files, half for what the engine holds.
        let half = self.cache_bytes / 2;
        let options = state::Options { block_cache_bytes: half, ..state::Options::default() };
        let store = state::Store::open(&self.data_dir.join("state"), &options)?;
        let sink = Sink::connect(&self.endpoint, &self.instance, self.consistency).await?;
        sink.install().await?;
        let epoch = sink.take_over().await?;
        let target = sink.frontier().await?;
        let evaluator = PgEvaluator::new(tokio::runtime::Handle::current(), self.endpoint.clone());
        let environment = target::environment(&self.endpoint).await?;
        let mut engine = ivm::Engine::open(store, Box::new(evaluator), environment)?;
        engine.limit_memory(half);
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
        tracing::info!(consistency = %self.consistency, %epoch, seq = %engine.frontier().seq, provider = %self.cluster.provider, nodes = self.cluster.nodes.len(), "started");
        let copies = match engine.note("copies")? {
            Some(bytes) => Copies::read(&bytes).map_err(|e| CoordinatorError::Setting(e.to_string()))?,
            None => Copies::default(),
        };
        let with = RoomParts {
            tables: Arc::new(Tables::new(notes)),
            failing: Arc::new(failing),
            copies: Arc::new(copies),
            difference_bytes: self.queue_bytes,
        };
        self.assemble(engine, sink, epoch, with).await
    }

    async fn assemble(
        self,
        mut engine: ivm::Engine,
        sink: Sink,
        epoch: Epoch,
        with: RoomParts,
    ) -> Result<(Arc<Lane>, Running), CoordinatorError> {
        let RoomParts { tables, failing, copies, difference_bytes } = with;
        let members = Members::new(self.cluster);
        let catalog = self.catalogs.of(self.consistency).clone();
        // One that broke within a cut is written in the engine first.
        engine.broken_sources().for_each(|id| tables.set_broken(id));
        // The process before may have ended before it stopped who reads these.
        for source in tables.sources().into_iter().filter(|s| s.broken) {
            let reason = format!("{} was followed no further; it is computed again", source.name);
            engine.give_up_source(source.id, &reason)?;
        }
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
                None => {
                    entry.sources = failing.sources(entry.id).unwrap_or_default();
                    // It stopped because a source was followed no further: the process before did not get to trying it again.
                    let is_lost = |id: &SourceId| tables.source(*id).is_none_or(|s| s.broken);
                    if entry.sources.is_empty() && engine.defined_over(entry.id).iter().any(is_lost) {
                        tables.stopped(entry.id);
                    }
                }
            }
            catalog.insert(entry);
        }
        for (id, name) in lost {
            tracing::error!(stream = %id, %name, "its definition cannot be read; drop it in the target and create it again");
        }
        // Nodes that left while nobody looked.
        let nodes = members.ids();
        let gone: Vec<_> = engine.frontier().positions.0.keys().filter(|n| !nodes.contains(n)).copied().collect();
        for node in gone {
            engine.forget_position(node)?;
        }
        let at = engine.frontier().clone();
        let delays = Arc::new(Delays::default());
        let links = Arc::new(Links::new());
        let urgency = Urgency::default();
        let (publications, publish_inbox) = mpsc::channel(2);
        // Nobody waits here for the sequencer, which may be waiting for the engine. There are a few: one or two a cut.
        let (applied, applied_inbox) = mpsc::unbounded_channel();
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
            consistency: self.consistency,
            engine: None,
            last_prune: Instant::now(),
            written: Seq(0),
            noted: Seq(0),
        };
        target::send_again(&engine, &mut publisher, &at).await?;
        let with =
            RoomParts { tables: tables.clone(), failing: failing.clone(), copies: copies.clone(), difference_bytes };
        let read_again = Arc::new(NodeReads::default());
        let (engine, engine_end) = engine::spawn(engine, self.consistency, with, publications, applied)
            .map_err(CoordinatorError::io("the engine's thread"))?;
        publisher.engine = Some(engine.clone());
        let (mend, mend_inbox) = mpsc::unbounded_channel();
        let nodes_changed = Arc::new(Notify::new());
        let sequencer = Sequencer::new(
            &nodes,
            &at.positions,
            self.rules,
            Limits {
                spool_dir: self.data_dir.clone(),
                queue_bytes: self.queue_bytes,
                spool_bytes: self.spool_bytes,
                consistency: self.consistency,
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
                members: members.clone(),
            },
        );
        let waiter = Waiter {
            members: members.clone(),
            links: links.clone(),
            published: published.clone(),
            urgency,
            definitions: Definitions::new(self.endpoint.clone(), tables.clone(), inbox.downgrade()),
        };
        let (asked, asked_inbox) = mpsc::channel(16);
        let requests = Arc::new(Requests {
            endpoint: self.endpoint.clone(),
            instance: self.instance.clone(),
            members: members.clone(),
            catalog: catalog.clone(),
            catalogs: self.catalogs,
            consistency: self.consistency,
            tables,
            read_again: read_again.clone(),
            copies,
            hold_limit: self.hold_limit,
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
            instance: self.instance.clone(),
            consistency: self.consistency,
            spool_bytes: self.spool_bytes,
            epoch,
            members,
            catalog,
            links: links.clone(),
            engine,
            delays,
            published,
            progress,
            read_again,
            retained: Mutex::default(),
        });
        let mended = inbox.downgrade();
        let name = format!("{}{}", self.instance, self.consistency.suffix());
        let ingest = Ingest {
            instance: name,
            links: links.clone(),
            inbox,
            per_node: self.per_node,
            nodes_changed: nodes_changed.clone(),
        };
        let lane = Lane { consistency: self.consistency, requests, status, changed, ingest };
        let lane = Arc::new(lane);
        let running = Running {
            lane: lane.clone(),
            sequencer,
            publisher,
            engine_end,
            mend: (mend_inbox, mended),
            asked: asked_inbox,
            nodes_changed,
            links,
        };
        Ok((lane, running))
    }
}

/// Everything of a lane that runs.
pub(crate) struct Running {
    lane: Arc<Lane>,
    sequencer: Sequencer,
    publisher: Publisher,
    engine_end: oneshot::Receiver<Result<(), ivm::IvmError>>,
    nodes_changed: Arc<Notify>,
    /// Who waits for failing stream tables to be tried again.
    asked: mpsc::Receiver<Asked>,
    /// What the sequencer wants read again, and where to say that it was.
    mend: (mpsc::UnboundedReceiver<mend::Wanted>, mpsc::WeakSender<Input>),
    links: Arc<Links>,
}

impl Running {
    /// Until asked to stop or one part ends. The order of a stop: agents are cut off, the sequencer hands over no more
    /// cuts, the engine finishes what it has, the publisher writes what is durable.
    pub(crate) async fn run(self, mut stopping: watch::Receiver<bool>) -> Result<(), CoordinatorError> {
        let requests = self.lane.requests.clone();
        let mut tasks: JoinSet<Ended> = JoinSet::new();
        let (sequencer, publisher, engine_end) = (self.sequencer, self.publisher, self.engine_end);
        let engine = requests.engine.clone();
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
        side.spawn(nodes::follow(requests.clone(), self.nodes_changed, self.mend.1.clone()));
        side.spawn(tables_watch::run(requests.clone()));
        side.spawn(mend::run(requests.clone(), self.mend.0, self.mend.1));
        side.spawn(failing::run(requests.clone(), self.asked));
        side.spawn(target::recover(requests));
        let asked = async move {
            let _gone = stopping.wait_for(|s| *s).await;
        };
        let result = tokio::select! {
            () = asked => Ok(()),
            Some(ended) = tasks.join_next() => Err(reason(ended, &mut tasks).await),
        };
        // What is not finished within the time is made up for by the next start.
        self.links.close();
        side.shutdown().await;
        // Between two turns it holds nothing that is durable.
        sequencer.abort();
        let finish = async {
            engine.stop().await;
            while tasks.join_next().await.is_some() {}
        };
        if tokio::time::timeout(Duration::from_secs(10), finish).await.is_err() {
            tracing::warn!("stopped without finishing the cut in hand; the next start finishes it");
        }
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
