//! Stream tables defined, dropped, stopped and computed again.
//!
//! One request at a time; a failed one is undone to the last trace: no definition, no table, no kept source, no
//! subscription stays behind. A process that dies in the middle leaves a definition in state `building`, which the
//! next start computes from the beginning.
//!
//! ```text
//!   plan ─▶ definition (building) ─▶ sources read, if new ─▶ content computed at a cut, into a hidden table (`compute`) ─┐
//!   definition (active) ◀─ table in its place, brought to cut k+1, in one transaction ◀───────────── publication ◀───────┘
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use plan::Planned;
use proto::v1;
use sink::Sink;
use tokio::sync::{Mutex, mpsc, watch};
use topology::LogicalTable;
use types::{Consistency, NodeId, Seq, SourceId, StreamId, TableName};
use wal::Endpoint;

use crate::backfill::WantedSource;
use crate::catalog::{Catalog, Catalogs, Entry, StreamState};
use crate::copies::Copies;
use crate::definition::{definition, parse_name, table_spec};
use crate::engine::{EngineHandle, EngineRoom};
use crate::error::RequestError;
use crate::failing::{Asked, Failing};
use crate::links::Links;
use crate::members::Members;
use crate::progress::{NodeReads, ProgressSender};
use crate::publisher::Published;
use crate::sequencer::Input;
use crate::tables::{KeptSource, Tables};
use crate::wait::Waiter;

/// A trouble that is there twice, so far apart, does not pass by itself soon.
const STANDSTILL: std::time::Duration = std::time::Duration::from_secs(5);

/// Everything that requests work on.
pub(crate) struct Requests {
    pub(crate) endpoint: Endpoint,
    pub(crate) instance: String,
    pub(crate) members: Members,
    /// The stream tables of this lane, and of both.
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) catalogs: Catalogs,
    pub(crate) consistency: Consistency,
    pub(crate) tables: Arc<Tables>,
    /// How far the reading is that the next cut waits for.
    pub(crate) read_again: Arc<NodeReads>,
    /// What is read again on request.
    pub(crate) copies: Arc<Copies>,
    pub(crate) links: Arc<Links>,
    pub(crate) engine: EngineHandle,
    pub(crate) published: watch::Receiver<Published>,
    pub(crate) waiter: Waiter,
    /// Stream tables that are tried again, and how to have that done at once.
    pub(crate) failing: Arc<Failing>,
    pub(crate) asked: mpsc::Sender<Asked>,
    /// The sequencer's.
    pub(crate) inbox: mpsc::WeakSender<Input>,
    /// A cut waits so long for tables to be read again while there are stream tables that do not need them.
    pub(crate) hold_limit: std::time::Duration,
    /// One request that changes something at a time. Held over awaits on purpose.
    pub(crate) changing: Mutex<()>,
}

impl Requests {
    /// Runs `f` between two cuts.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut EngineRoom) -> Result<T, ivm::IvmError> + Send + 'static,
    ) -> Result<T, RequestError> {
        self.engine.call(f).await.map_err(RequestError::unavailable)?.map_err(|error| match error {
            ivm::IvmError::NotNow(_) => RequestError::unavailable(error),
            error => RequestError::internal(error),
        })
    }

    /// A connection for definitions and tables: its own, so that the publisher's goes on.
    pub(crate) async fn sink(&self) -> Result<Sink, RequestError> {
        Sink::connect(&self.endpoint, &self.instance, self.consistency).await.map_err(RequestError::unavailable)
    }

    pub(crate) fn entry(&self, name: &str) -> Result<Entry, RequestError> {
        let parsed = parse_name(name)?;
        self.catalog.by_name(&parsed).ok_or_else(|| RequestError::Unknown(name.to_owned()))
    }

    /// All agents are there and every node's position is known.
    pub(crate) async fn all_attached(&self) -> Result<(), RequestError> {
        let missing = |links: &std::collections::BTreeMap<NodeId, crate::links::LinkStatus>| {
            let cluster = self.members.get();
            let away = cluster.nodes.iter().filter(|n| !links.get(&n.id).is_some_and(|l| l.connected));
            away.map(|n| {
                let why = links.get(&n.id).map(|l| l.trouble.clone()).unwrap_or_default();
                let why = if why.is_empty() { "no agent is attached".into() } else { why };
                format!("node {} ({}): {why}", n.id, n.name)
            })
            .collect::<Vec<_>>()
        };
        let mut status = self.links.status();
        let present =
            tokio::time::timeout(std::time::Duration::from_secs(10), status.wait_for(|s| missing(s).is_empty()));
        if present.await.is_err() {
            return Err(RequestError::Unavailable(missing(&self.links.status().borrow()).join("; ")));
        }
        tokio::select! {
            done = self.waiter.everything() => done.map(drop),
            trouble = self.standstill() => Err(RequestError::Unavailable(trouble)),
        }
    }

    /// Until an attached agent has stood still for some time, for want of a right for example; why.
    async fn standstill(&self) -> String {
        let mut before = String::new();
        loop {
            tokio::time::sleep(STANDSTILL).await;
            let links = self.links.status().borrow().clone();
            let troubles = links.iter().filter(|(_, link)| !link.trouble.is_empty());
            let now =
                troubles.map(|(node, link)| format!("node {node}: {}", link.trouble)).collect::<Vec<_>>().join("; ");
            if !now.is_empty() && now == before {
                return now;
            }
            before = now;
        }
    }

    /// Defines a stream table and, unless `no_wait`, returns when it is exact.
    pub(crate) async fn create(
        self: &Arc<Self>,
        request: v1::CreateStreamTableRequest,
        progress: ProgressSender,
    ) -> Result<Entry, RequestError> {
        let changing = self.changing.lock().await;
        let name = parse_name(&request.name)?;
        if self.catalog.by_name(&name).or_else(|| self.catalogs.beside(self.consistency).by_name(&name)).is_some() {
            return Err(RequestError::Exists(name.to_string()));
        }
        let options = request.options.unwrap_or_default();
        progress.phase("planning");
        let (planned, logical) = self.plan(&request.query, &options).await?;
        let sink = self.sink().await?;
        sink.check_free(&name).await.map_err(|e| RequestError::Refused(e.to_string()))?;
        self.all_attached().await?;
        let entry = Entry {
            id: self.catalogs.number(|highest| self.tables.next_stream(highest)),
            name,
            query: request.query,
            options,
            plan: planned.plan,
            warnings: planned.warnings,
            reads: planned.reads,
            sources: Vec::new(),
            state: StreamState::Building,
            stopped_at: self.published.borrow().seq,
        };
        sink.insert(&definition(&entry)?).await.map_err(|e| RequestError::Refused(e.to_string()))?;
        self.catalog.insert(entry.clone());
        fail::fail_point!("create-after-definition");
        if request.no_wait {
            drop(changing);
            let (this, id) = (self.clone(), entry.id);
            tokio::spawn(async move {
                let _changing = this.changing.lock().await;
                if let Err(error) = this.fill(id, &logical, &ProgressSender::default()).await {
                    tracing::error!(stream = %id, %error, "stream table not computed");
                    this.stop(
                        id,
                        &format!("its content could not be computed: {error}; `tributary stream rebuild` tries again"),
                    )
                    .await;
                }
            });
            return Ok(entry);
        }
        if let Err(error) = self.fill(entry.id, &logical, &progress).await {
            self.undo(&sink, entry.id).await;
            return Err(error);
        }
        self.catalog.get(entry.id).ok_or(RequestError::Unknown(request.name))
    }

    /// Computes a stream table's content over its sources, reading those that are not kept yet, and puts it in place.
    pub(crate) async fn fill(
        &self,
        id: StreamId,
        logical: &[LogicalTable],
        progress: &ProgressSender,
    ) -> Result<(), RequestError> {
        let entry = self.catalog.get(id).ok_or_else(|| RequestError::Unknown(id.to_string()))?;
        let mut sources: Vec<Option<KeptSource>> = Vec::new();
        let mut new = Vec::new();
        let others = self.catalog.all().into_iter().filter(|e| e.id != id);
        let others: BTreeSet<SourceId> = others.flat_map(|e| e.sources).collect();
        for wanted in &entry.plan.sources {
            let identity: Vec<_> = wanted.identity.iter().map(|&i| wanted.columns[i].name.as_str()).collect();
            let relation = logical.iter().find(|t| t.name == wanted.table).map_or(0, |t| t.relation);
            let rows = ivm::RowFilter { conditions: wanted.filter.clone(), settings: entry.plan.settings.clone() };
            let kept = self.tables.covering(relation, &wanted.table, &wanted.columns, &identity, &rows);
            if kept.is_none() {
                // Whoever comes second reads all rows, and whoever comes after finds them.
                let all = rows.conditions.is_empty() || self.tables.knows(relation, &wanted.table, &others);
                let reads = if all { self.widened(wanted, logical, &others) } else { wanted.clone() };
                new.push(WantedSource { reads, filter: (!all).then_some(rows) });
            }
            sources.push(kept);
        }
        let read = match self.keep(&new, logical, progress).await {
            Ok(read) => read,
            Err(error) => {
                self.release_sources().await;
                return Err(error);
            }
        };
        let mut read = read.into_iter();
        let sources: Vec<KeptSource> = sources.into_iter().filter_map(|s| s.or_else(|| read.next())).collect();
        let ids: Vec<SourceId> = sources.iter().map(|s| s.id).collect();
        self.catalog.set_sources(id, ids.clone());
        let number = self.failing.number(id);
        let result = self.compute(&entry, &sources, progress).await;
        let noted = match &result {
            Ok(()) => self.failing.follows(id, number),
            Err(_) => {
                // They stay: it is tried again when they change.
                self.failing.not_computed(id, ids);
                true
            }
        };
        if noted {
            self.call(EngineRoom::save_failing).await?;
        }
        if result.is_ok() {
            self.share_sources().await;
        }
        result
    }

    /// Computes it again from the kept sources, by the query as it is read today; its table keeps its name, rights and
    /// dependents.
    pub(crate) async fn rebuild(&self, name: &str, progress: &ProgressSender) -> Result<Entry, RequestError> {
        let _changing = self.changing.lock().await;
        self.rebuild_alone(self.entry(name)?, progress).await
    }

    /// The same for one who holds back all other changes, and looked whether it is needed still.
    pub(crate) async fn rebuild_alone(&self, entry: Entry, progress: &ProgressSender) -> Result<Entry, RequestError> {
        self.all_attached().await?;
        let (planned, logical) = self.plan(&entry.query, &entry.options).await?;
        let (id, name) = (entry.id, entry.name.clone());
        let redefined = self.redefine(entry, planned, &logical, progress).await;
        // What it was computed from before may be read by nobody now.
        self.release_sources().await;
        redefined?;
        self.catalog.get(id).ok_or_else(|| RequestError::Unknown(name.to_string()))
    }

    /// The same on request, and then all that read it, one after the other: a function that they use may have another body
    /// now. Those that are paused stay so. One that cannot be computed is stopped, one whose query cannot be planned, or while
    /// an agent is away, stays as it is; the others are computed all the same, and the first error is given.
    pub(crate) async fn rebuild_with_readers(
        &self,
        name: &str,
        progress: &ProgressSender,
    ) -> Result<Entry, RequestError> {
        let entry = self.rebuild(name, progress).await?;
        let mut result = Ok(entry.clone());
        for reader in self.catalog.readers_of(&entry.name).into_iter().filter(|r| r.state != StreamState::Paused) {
            match self.rebuild(&reader.name.to_string(), progress).await {
                // Dropped meanwhile.
                Ok(_) | Err(RequestError::Unknown(_)) => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// Gives it another query. When that fails it stays as it was, stopped.
    pub(crate) async fn alter(
        &self,
        request: v1::AlterStreamTableRequest,
        progress: &ProgressSender,
    ) -> Result<Entry, RequestError> {
        let _changing = self.changing.lock().await;
        let mut entry = self.entry(&request.name)?;
        if !request.query.is_empty() {
            entry.query = request.query;
        }
        entry.options = request.options.unwrap_or(entry.options);
        let readers = self.catalog.readers_of(&entry.name);
        refuse_readers(&entry.name, &readers, request.cascade, "changes with it")?;
        let (planned, logical) = self.plan(&entry.query, &entry.options).await?;
        if let Some(through) = readers.iter().map(|r| &r.name).chain([&entry.name]).find(|n| planned.reads.contains(n))
        {
            return Err(RequestError::Refused(format!("{} would read itself, through {through}", entry.name)));
        }
        same_columns(&entry, &planned, "the new query's columns or key differ from those of the table")?;
        self.all_attached().await?;
        let id = entry.id;
        // Until their turn comes they stay at their last cut, also when this process ends before.
        for reader in &readers {
            let reason = format!("{} was altered; `tributary stream rebuild` computes it again", entry.name);
            self.halt(reader.id, reason).await?;
        }
        self.redefine(entry, planned, &logical, progress).await?;
        for reader in readers {
            let (planned, logical) = self.plan(&reader.query, &reader.options).await?;
            self.redefine(reader, planned, &logical, progress).await?;
        }
        self.release_sources().await;
        self.catalog.get(id).ok_or(RequestError::Unknown(request.name))
    }

    /// Computes it by another plan of the same columns.
    pub(crate) async fn redefine(
        &self,
        mut entry: Entry,
        planned: Planned,
        logical: &[LogicalTable],
        progress: &ProgressSender,
    ) -> Result<(), RequestError> {
        entry.state = StreamState::Building;
        let id = entry.id;
        self.replan(&mut entry, planned).await?;
        if let Err(error) = self.fill(id, logical, progress).await {
            self.stop(id, &error.to_string()).await;
            return Err(error);
        }
        Ok(())
    }

    /// Writes down by which plan it is to be computed, which must be of the same columns.
    pub(crate) async fn replan(&self, entry: &mut Entry, planned: Planned) -> Result<(), RequestError> {
        same_columns(entry, &planned, "what it reads changed: its columns or key are no longer those of the table")?;
        (entry.plan, entry.warnings, entry.reads) = (planned.plan, planned.warnings, planned.reads);
        let sink = self.sink().await?;
        sink.replace(&definition(entry)?).await.map_err(RequestError::unavailable)?;
        self.catalog.insert(entry.clone());
        Ok(())
    }

    /// Stops keeping it; its content stays as of its last cut.
    pub(crate) async fn pause(&self, name: &str) -> Result<Entry, RequestError> {
        let _changing = self.changing.lock().await;
        let entry = self.entry(name)?;
        let id = entry.id;
        let at = self
            .call(move |room| {
                room.engine.pause(id)?;
                Ok(room.engine.frontier().seq)
            })
            .await?;
        self.written(at).await;
        self.catalog.set_state(id, StreamState::Paused, at);
        let sink = self.sink().await?;
        sink.set_state(id, StreamState::Paused.name(), "").await.map_err(RequestError::unavailable)?;
        self.entry(name)
    }

    /// Removes it: its table, definition and state, and what only it read; with `cascade`, those that read it before it.
    pub(crate) async fn drop_stream(&self, name: &str, cascade: bool) -> Result<(), RequestError> {
        let _changing = self.changing.lock().await;
        let entry = self.entry(name)?;
        let readers = self.catalog.readers_of(&entry.name);
        refuse_readers(&entry.name, &readers, cascade, "goes with it")?;
        let sink = self.sink().await?;
        for reader in readers.iter().rev() {
            self.remove(&sink, reader.id).await?;
        }
        self.remove(&sink, entry.id).await
    }

    async fn remove(&self, sink: &Sink, id: StreamId) -> Result<(), RequestError> {
        let Some(entry) = self.catalog.get(id) else { return Ok(()) };
        let at = self.leave_engine(id).await?;
        self.catalog.set_state(id, StreamState::Building, at);
        self.written(at).await;
        sink.drop_table(&table_spec(&entry)).await.map_err(|e| RequestError::Refused(e.to_string()))?;
        self.catalog.remove(id);
        self.release_sources().await;
        Ok(())
    }

    /// Has the engine forget a stream table; gives the cut behind which it has none of its changes.
    pub(crate) async fn leave_engine(&self, id: StreamId) -> Result<Seq, RequestError> {
        self.call(move |room| {
            room.engine.drop_stream(id)?;
            if room.failing.forget(id) {
                room.save_failing()?;
            }
            Ok(room.engine.frontier().seq)
        })
        .await
    }

    /// Until what the engine had handed over at this cut is in the target, or nothing more goes there.
    pub(crate) async fn written(&self, at: Seq) {
        let mut published = self.published.clone();
        published.wait_for(|p| p.seq >= at).await.map(drop).ok();
    }

    /// Takes back what a failed request made.
    async fn undo(&self, sink: &Sink, id: StreamId) {
        if let Err(error) = self.remove(sink, id).await {
            tracing::error!(stream = %id, %error, "what a failed request made could not be taken back; the next start does it");
        }
    }

    /// Stops one that is kept, with its table at the engine's present cut.
    async fn halt(&self, id: StreamId, reason: String) -> Result<(), RequestError> {
        let told = reason.clone();
        let at = self.call(move |room| room.engine.fail(id, &told).map(|()| room.engine.frontier().seq)).await?;
        self.written(at).await;
        self.stop(id, &reason).await;
        Ok(())
    }

    /// Stops it at its last exact cut.
    pub(crate) async fn stop(&self, id: StreamId, reason: &str) {
        let at = self.published.borrow().seq;
        self.catalog.set_failed(id, reason, at);
        let noted = match self.sink().await {
            Ok(sink) => sink.set_state(id, "failed", reason).await.map_err(RequestError::unavailable),
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            tracing::error!(stream = %id, %error, "a stopped stream table's state was not written");
        }
    }

    /// Forgets the sources that no stream table reads any more.
    pub(crate) async fn release_sources(&self) {
        let mut used = self.catalog.sources_in_use();
        used.extend(self.copies.in_use());
        let unused: Vec<_> = self.tables.sources().into_iter().filter(|s| !used.contains(&s.id)).collect();
        if unused.is_empty() {
            return;
        }
        let ids: Vec<SourceId> = unused.iter().map(|s| s.id).collect();
        let forget = move |room: &mut EngineRoom| {
            for id in ids {
                match room.engine.drop_source(id) {
                    // Written down, but the process ended before the engine learned of it.
                    Ok(()) | Err(ivm::IvmError::UnknownSource(_)) => room.tables.remove(id),
                    Err(error) => return Err(error),
                }
            }
            room.save_tables()
        };
        if let Err(error) = self.call(forget).await {
            tracing::error!(%error, "unused sources were not forgotten; the next request tries again");
            return;
        }
        let still_read: Vec<(NodeId, TableName)> =
            self.tables.sources().into_iter().flat_map(|s| s.tables).map(|t| (t.node, t.table)).collect();
        for node in &self.members.get().nodes {
            let here = unused.iter().flat_map(|s| &s.tables).filter(|t| t.node == node.id);
            let (shared, own): (Vec<_>, Vec<_>) = here.partition(|t| still_read.contains(&(t.node, t.table.clone())));
            for (tables, unpublish) in [(shared, false), (own, true)] {
                if tables.is_empty() {
                    continue;
                }
                let tables = tables.iter().map(|t| t.id.0).collect();
                let order = v1::order::Kind::Unsubscribe(v1::Unsubscribe { tables, unpublish });
                if let Err(error) = self.links.order(node.id, order).await {
                    tracing::warn!(node = %node.id, %error, "tables stay published until the agent attaches again");
                }
            }
        }
    }
}

/// A table keeps its columns and key; a query with others needs another table.
fn same_columns(entry: &Entry, planned: &Planned, reason: &str) -> Result<(), RequestError> {
    if planned.plan.output == entry.plan.output && planned.plan.key == entry.plan.key {
        return Ok(());
    }
    Err(RequestError::Refused(format!("{}: {reason}; drop it and create it again", entry.name)))
}

/// Without `cascade`, nothing happens to a stream table that others read.
pub(crate) fn refuse_readers(
    name: &TableName,
    readers: &[Entry],
    cascade: bool,
    what: &str,
) -> Result<(), RequestError> {
    if cascade || readers.is_empty() {
        return Ok(());
    }
    let names = readers.iter().map(|r| r.name.to_string()).collect::<Vec<_>>().join(", ");
    Err(RequestError::Refused(format!("{name} is read by {names}; with --cascade each of them {what}")))
}
