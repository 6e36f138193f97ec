//! Changes of tables that no stream tells of.
//!
//! A table that is altered and not written to, dropped, or made again under its name says nothing in the WAL. So the
//! definitions of all sources are looked at every second, and whenever somebody waits for what was committed, in one
//! statement; a source whose definition is new is looked up like one whose shards changed ([`crate::mend`]): it goes on, is
//! read again, or stops what reads it.
//!
//! What is written between such a change and the look is not lost: the stream describes a table anew before its next row,
//! and the agent stops it there if it does not fit any more.
//!
//! The definition that a source was last looked up with is written down. A new process looks those up at once whose definition
//! is another now; the others when all nodes of theirs are there (a table made again on its node alone is found so), for
//! over `postgres_fdw` a node that is away cannot be asked for its tables, and nothing that goes on without it may wait for that.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;
use tokio_postgres::Client;
use types::{NodeId, SourceId, StreamId, TableName};
use wal::Endpoint;

use crate::catalog::{Entry, StreamState};
use crate::engine::EngineRoom;
use crate::error::RequestError;
use crate::progress::ProgressSender;
use crate::requests::Requests;
use crate::sequencer::Input;
use crate::shape::Again;
use crate::tables::Tables;

const EVERY: Duration = Duration::from_secs(1);
/// A stream table that cannot be computed again is tried with growing pauses, up to this.
const LONGEST: Duration = Duration::from_secs(8);
/// One that stops again so soon after it was computed again has a cause that lasts: it waits longer each time, up to the same.
const SOON: Duration = Duration::from_secs(60);

/// When stream tables were last computed again, and for how long they had waited for that.
type Recovered = Arc<std::sync::Mutex<HashMap<StreamId, (Instant, Duration)>>>;

/// The definitions of all sources as they were last seen; all clones see the same.
#[derive(Debug, Clone)]
pub(crate) struct Definitions {
    endpoint: Endpoint,
    tables: Arc<Tables>,
    inbox: mpsc::WeakSender<Input>,
    /// One look at a time.
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    client: Option<Client>,
    known: HashMap<SourceId, Option<String>>,
    /// Not looked up in this process: their definitions are what they were.
    later: BTreeSet<SourceId>,
}

/// Sources that are being looked up.
struct Look {
    definitions: Vec<(SourceId, Option<String>)>,
    finished: oneshot::Receiver<()>,
}

impl Definitions {
    pub(crate) fn new(endpoint: Endpoint, tables: Arc<Tables>, inbox: mpsc::WeakSender<Input>) -> Self {
        Self { endpoint, tables, inbox, seen: Arc::default() }
    }

    /// Has every source looked up whose definition is new. Returns when the cut that takes it in is durable.
    ///
    /// # Errors
    /// Node 0 cannot be asked, or the aggregator stops. Nothing is lost by it: the next look finds the same.
    pub(crate) async fn look(&self) -> Result<(), RequestError> {
        let Some(look) = self.find().await? else { return Ok(()) };
        self.finish(look).await
    }

    /// Has those looked up that were left for later, if the nodes of their tables are `there`.
    async fn look_later(&self, there: impl Fn(NodeId) -> bool) -> Result<(), RequestError> {
        let mut seen = self.seen.lock().await;
        let here = |id: &SourceId| self.tables.source(*id).is_none_or(|s| s.tables.iter().all(|t| there(t.node)));
        let ready: Vec<SourceId> = seen.later.iter().filter(|id| here(id)).copied().collect();
        seen.later.retain(|id| !ready.contains(id));
        let definitions: Vec<_> = ready.iter().filter_map(|id| Some((*id, seen.known.get(id)?.clone()))).collect();
        drop(seen);
        if definitions.is_empty() {
            return Ok(());
        }
        self.finish(self.begin(definitions).await?).await
    }

    async fn find(&self) -> Result<Option<Look>, RequestError> {
        let sources: Vec<_> =
            self.tables.sources().into_iter().filter(|s| s.ready && !s.broken && !s.is_copy).collect();
        let mut seen = self.seen.lock().await;
        if sources.is_empty() {
            return Ok(None);
        }
        let names: Vec<TableName> = sources.iter().map(|s| s.name.clone()).collect();
        let session = match seen.client.take().filter(|c| !c.is_closed()) {
            Some(session) => session,
            None => wal::connect(&self.endpoint, "tributary watch").await.map_err(RequestError::unavailable)?,
        };
        let now = definitions(&session, &names).await.map_err(RequestError::unavailable)?;
        seen.client = Some(session);
        seen.known.retain(|id, _| sources.iter().any(|s| s.id == *id));
        let mut new = Vec::new();
        for source in &sources {
            let definition = now.get(&source.name).cloned();
            let before = seen.known.get(&source.id);
            if before.is_none() && definition.is_some() && definition == source.definition {
                seen.known.insert(source.id, definition);
                seen.later.insert(source.id);
            } else if before != Some(&definition) {
                // Looked at for the first time, too: it may have changed since its first read began.
                new.push((source.id, definition));
            }
        }
        if new.is_empty() {
            return Ok(None);
        }
        // Known when it was handed over: whoever waits for this may give up before, and the next look finds it then.
        let look = self.begin(new).await?;
        seen.known.extend(look.definitions.iter().cloned());
        Ok(Some(look))
    }

    async fn begin(&self, definitions: Vec<(SourceId, Option<String>)>) -> Result<Look, RequestError> {
        let again: Again = definitions.iter().map(|(id, _)| (*id, BTreeSet::new())).collect();
        let inbox = self.inbox.upgrade().ok_or_else(stops)?;
        let (done, finished) = oneshot::channel();
        inbox.send(Input::Again { again, done: Some(done) }).await.map_err(|_| stops())?;
        Ok(Look { definitions, finished })
    }

    async fn finish(&self, look: Look) -> Result<(), RequestError> {
        look.finished.await.map_err(|_| stops())?;
        for (source, definition) in look.definitions {
            if let Some(definition) = definition {
                self.tables.looked_up(source, definition);
            }
        }
        Ok(())
    }
}

fn stops() -> RequestError {
    RequestError::Unavailable("the aggregator stops".into())
}

/// Until the process ends.
pub(crate) async fn run(requests: Arc<Requests>) {
    let recovered = Recovered::default();
    loop {
        tokio::time::sleep(EVERY).await;
        try_again(&requests, &recovered);
        // Whoever is not reached now is asked again.
        if let Err(error) = look(&requests).await {
            tracing::debug!(%error, "the sources' definitions could not be looked at");
        }
    }
}

async fn look(requests: &Requests) -> Result<(), RequestError> {
    let definitions = &requests.waiter.definitions;
    definitions.look().await?;
    let links = requests.links.status().borrow().clone();
    definitions.look_later(|node| links.get(&node).is_some_and(|l| l.connected && l.trouble.is_empty())).await?;
    if requests.tables.take_unsaved() {
        requests.call(EngineRoom::save_tables).await?;
    }
    Ok(())
}

/// A stream table whose source was altered, or is not followed any more, stops. When its query reads as before (the change was
/// to a column that only others use), it is computed again by itself; otherwise it stays as it was, with the reason.
fn try_again(requests: &Arc<Requests>, recovered: &Recovered) {
    for id in requests.tables.take_stopped() {
        let Some(entry) = requests.catalog.get(id) else { continue };
        let (requests, recovered) = (requests.clone(), recovered.clone());
        let lock = |r: &Recovered| r.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&id).copied();
        let last = lock(&recovered).filter(|(at, waited)| at.elapsed() < SOON + *waited);
        let wait = last.map_or(Duration::ZERO, |(_, waited)| (waited * 2).clamp(EVERY, SOON));
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let (name, mut pause) = (entry.name.to_string(), EVERY);
            while requests.catalog.get(id).is_some_and(|e| e.state != StreamState::Paused) {
                match requests.rebuild_stopped(id).await {
                    Ok(false) => return,
                    Ok(true) => {
                        let mut recovered = recovered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        recovered.insert(id, (Instant::now(), wait));
                        tracing::info!(stream = %id, name, "its source changed, and its query fits: computed again");
                        return;
                    }
                    // The same cause gives different errors, as it meets one part or another.
                    Err(error) if !matches!(error, RequestError::Unavailable(_)) && pause > LONGEST => {
                        tracing::warn!(stream = %id, name, %error, "its source changed; it stays stopped");
                        return;
                    }
                    Err(error) => {
                        tracing::info!(stream = %id, name, %error, "its source changed; not computed again yet");
                    }
                }
                tokio::time::sleep(pause).await;
                pause = if pause > LONGEST { pause } else { pause * 2 };
            }
        });
    }
}

impl Requests {
    /// Whether it was computed again; not when somebody else did so before, paused or dropped it. Looked at with all other changes held
    /// back: one that follows would stand still at its last cut for as long as computing it once more takes, and whoever waited
    /// for what was committed would not find it there.
    async fn rebuild_stopped(&self, id: StreamId) -> Result<bool, RequestError> {
        let _changing = self.changing.lock().await;
        // The engine knows: the catalog learns that it stopped when the target does.
        let follows = self.call(move |room| Ok(room.engine.stream_sources(id).is_some())).await?;
        let stays = |entry: &Entry| !follows && entry.state != StreamState::Paused;
        let Some(entry) = self.catalog.get(id).filter(stays) else { return Ok(false) };
        self.rebuild_alone(entry, &ProgressSender::default()).await.map(|_| true)
    }
}

/// What matters of each table's definition; tables that do not exist are missing.
async fn definitions(
    client: &Client,
    names: &[TableName],
) -> Result<HashMap<TableName, String>, tokio_postgres::Error> {
    let (schemas, tables): (Vec<&str>, Vec<&str>) = names.iter().map(|n| (n.schema.as_str(), n.name.as_str())).unzip();
    let sql = "SELECT n.nspname::text, c.relname::text, concat_ws('/', c.oid, c.relkind, c.relreplident,
            (SELECT string_agg(concat_ws(',', a.attname, a.atttypid, a.atttypmod, a.attcollation), ';' ORDER BY a.attnum)
             FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
            (SELECT string_agg(i.indexrelid::text, ',' ORDER BY i.indexrelid)
             FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident)),
            (SELECT string_agg(h.inhrelid::text, ',' ORDER BY h.inhrelid) FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid))
        FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[])) w (schema, name)
        JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
        JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name";
    let rows = client.query(sql, &[&schemas, &tables]).await?;
    Ok(rows.iter().map(|r| (TableName::new(r.get::<_, &str>(0), r.get::<_, &str>(1)), r.get(2))).collect())
}
