//! Tables read again: what heals everything that breaks a stream's continuity.
//!
//! ```text
//!   sequencer: a cut with metadata that does not say enough ─▶ holds that cut back
//!     1  node 0 is asked where it stands: metadata up to there is in the catalogs that are looked at next
//!     2  the source's tables are looked up; those in new places, or in doubt, are subscribed to
//!     3  a snapshot a node, at s_n; its rows go into a shadow beside the source
//!     4  every node is asked where it stands now: a cut at or behind that holds all that the snapshots half show
//!   sequencer: the first cut there = the difference between source and shadow, then what ended behind each s_n
//! ```
//!
//! No cut is made meanwhile, so nobody ever sees, or computes with, a source that is exact only in parts; agents are held
//! back by the spool's limit. When that takes long, a look at a table of a server that is away included, and there are stream
//! tables that do not read these sources, the cut is made without the sources: what reads them stops at the cut before, is computed
//! again beside the cuts, and appears whole. Rows are never in memory all at once: they lie in the shadow, and the cut has the difference.
//!
//! An agent that goes away between its snapshot and the cut takes its subscription with it: all is read again then.
//!
//! Crash at any point: the held cut was not made, and is found again. From the moment when the new places are written
//! down until the cut is durable, they are pending ([`crate::tables::Tables::pending`]), and a new process reads them again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use proto::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_postgres::Client;
use topology::{Cluster, LogicalTable};
use types::{Lsn, NodeId, Positions, SourceId, TableId};

use crate::backfill::unpack;
use crate::catalog::{Entry, StreamState};
use crate::error::RequestError;
use crate::links::SnapshotPart;
use crate::placement::{KeptTable, Span};
use crate::requests::Requests;
use crate::sequencer::Input;
use crate::shape::Again;
use crate::tables::{KeptSource, Mended, Spread, Wants, subscribe};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// What is read gets so long at least, whatever held the cut before.
const LEAST: Duration = Duration::from_secs(2);

/// One source read again, and where.
#[derive(Debug, Clone)]
pub(crate) struct Reread {
    pub(crate) mended: Mended,
    /// Where the rows lie in the engine.
    pub(crate) shadow: SourceId,
}

/// What came of it all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) reread: Vec<Reread>,
    /// Sources that cannot be read any more, and why.
    pub(crate) broken: Vec<(SourceId, String)>,
    /// Node 0's position from before the catalogs were looked at.
    pub(crate) looked_at: Lsn,
    /// A cut has to be at or behind this.
    pub(crate) reach: Positions,
    /// The agents that ship the tables in their new places, by their sessions: another agent of the node was not told of them,
    /// and lacks what was written behind the snapshot.
    pub(crate) sessions: BTreeMap<NodeId, u64>,
}

/// What the sequencer wants for the cut that it holds.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) id: u64,
    pub(crate) again: Again,
    /// Since when the cut is held, for whatever it was first.
    pub(crate) since: Instant,
    /// Since when for this.
    pub(crate) asked: Instant,
}

/// Does what the sequencer asks for, one after the other.
pub(crate) async fn run(
    requests: Arc<Requests>,
    mut wanted: mpsc::UnboundedReceiver<Wanted>,
    inbox: mpsc::WeakSender<Input>,
) {
    while let Some(mut now) = wanted.recv().await {
        let outcome = loop {
            // What was asked for before is not waited for any more.
            while let Ok(newer) = wanted.try_recv() {
                now = newer;
            }
            match requests.read_again(&now).await {
                Ok(outcome) => break outcome,
                Err(error) => {
                    if requests.tables.set_trouble(Some(error.to_string())) {
                        tracing::warn!(%error, "tables could not be read again yet; trying again");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        requests.tables.set_trouble(None);
        let Some(inbox) = inbox.upgrade() else { return };
        if inbox.send(Input::Mended { id: now.id, outcome }).await.is_err() {
            return;
        }
    }
}

impl Requests {
    /// Looks the sources up and reads what is in a new place, or in doubt; gives them up when that takes too long.
    async fn read_again(&self, wanted: &Wanted) -> Result<Outcome, RequestError> {
        let mut outcome = Outcome::default();
        let mut left: BTreeSet<SourceId> = wanted.again.keys().copied().collect();
        let read = tokio::select! {
            read = self.look_and_read(wanted, &mut outcome, &mut left) => Some(read),
            () = self.others_wait(wanted) => None,
        };
        self.read_again.begin(std::iter::empty());
        match read {
            Some(Ok(())) => return Ok(outcome),
            Some(Err(error)) if !self.is_too_long(wanted) => {
                self.forget_shadows(&outcome).await;
                return Err(error);
            }
            Some(Err(_)) | None => {}
        }
        self.forget_shadows(&outcome).await;
        let known = left.into_iter().filter(|id| self.tables.source(*id).is_some());
        outcome.broken.extend(known.map(|id| (id, self.taking_long())));
        // What was found to be where it was is kept, and was looked at then.
        Ok(Outcome { broken: outcome.broken, looked_at: outcome.looked_at, ..Outcome::default() })
    }

    /// `left`: the sources of which it is not known yet whether they are where they were.
    async fn look_and_read(
        &self,
        wanted: &Wanted,
        outcome: &mut Outcome,
        left: &mut BTreeSet<SourceId>,
    ) -> Result<(), RequestError> {
        outcome.looked_at = self.waiter.position(NodeId(0)).await.unwrap_or_default();
        let client = wal::connect(&self.endpoint, "tributary coordinator").await.map_err(RequestError::unavailable)?;
        tokio::time::sleep(looks_for()).await;
        let cluster = self.members.get();
        for (id, doubted) in &wanted.again {
            let Some(source) = self.tables.source(*id) else { continue };
            let found = topology::tables(&client, &cluster, std::slice::from_ref(&source.name)).await;
            let place = match found {
                Ok(mut found) => {
                    found.pop().map_or(Err("it was not found".into()), |t| self.place(&source, &t, doubted))
                }
                Err(error) if error.is_transient() => {
                    if matches!(error, topology::TopologyError::UnknownServer { .. }) {
                        self.look_for_nodes().await;
                    }
                    return Err(RequestError::unavailable(error));
                }
                Err(error) => Err(error.to_string()),
            };
            match place {
                // It is where it was.
                Ok(Mended { going, read, relation, spread, .. })
                    if going.is_empty()
                        && read.is_empty()
                        && relation == source.relation
                        && spread == source.spread =>
                {
                    left.remove(id);
                }
                Ok(mended) => {
                    let shadow = self.tables.next_source();
                    outcome.reread.push(Reread { mended, shadow });
                }
                Err(reason) => {
                    left.remove(id);
                    outcome.broken.push((*id, reason));
                }
            }
        }
        let sources: Vec<KeptSource> = wanted.again.keys().filter_map(|id| self.tables.source(*id)).collect();
        let nodes = outcome.reread.iter().flat_map(|r| &r.mended.read).map(|t| t.node);
        outcome.sessions = nodes.map(|node| (node, self.links.session(node))).collect();
        self.read_slowly(&sources, &mut outcome.reread).await?;
        self.still_there(&client, &cluster, &sources, &outcome.reread).await?;
        // Nothing to put in: the next cut need not wait for anything, and what is being caught up with comes in small cuts.
        if !outcome.reread.is_empty() {
            outcome.reach = self.waiter.positions().await;
        }
        Ok(())
    }

    async fn read_slowly(&self, sources: &[KeptSource], reread: &mut [Reread]) -> Result<(), RequestError> {
        self.read_all(sources, reread).await?;
        if !reread.is_empty() {
            tokio::time::sleep(lingers()).await;
        }
        Ok(())
    }

    /// Until the cut was held for as long as it may be, and there are stream tables that wait without reading any of these
    /// sources.
    async fn others_wait(&self, wanted: &Wanted) {
        while !self.is_too_long(wanted) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn is_too_long(&self, wanted: &Wanted) -> bool {
        let unaffected = |e: &Entry| {
            e.state == StreamState::Active && !e.sources.iter().any(|source| wanted.again.contains_key(source))
        };
        // What is wanted since a moment, behind something that took long, is not given up without a try.
        let is_over = wanted.since.elapsed() >= self.hold_limit && wanted.asked.elapsed() >= LEAST.min(self.hold_limit);
        is_over && self.catalog.all().iter().any(unaffected)
    }

    /// Why stream tables stop that read what takes long to be read.
    fn taking_long(&self) -> String {
        format!(
            "the cluster's shape changed, and reading the table again takes longer than {:?}; the others go on, and it is computed again",
            self.hold_limit
        )
    }

    /// Tables without a shard are read by name: what was read is of use if the name still means the same one.
    async fn still_there(
        &self,
        client: &Client,
        cluster: &Cluster,
        sources: &[KeptSource],
        reread: &[Reread],
    ) -> Result<(), RequestError> {
        for one in reread.iter().filter(|r| r.mended.read.iter().any(|t| t.shard == 0)) {
            let Some(source) = sources.iter().find(|s| s.id == one.mended.source) else { continue };
            let found = topology::tables(client, cluster, std::slice::from_ref(&source.name)).await;
            let found = found.map_err(RequestError::unavailable)?;
            let is_there = |t: &KeptTable| t.shard != 0 || found.iter().flat_map(|f| &f.placements).any(|p| t.is_of(p));
            if !one.mended.read.iter().all(is_there) {
                return Err(RequestError::Unavailable(format!("{} was made again while it was read", source.name)));
            }
        }
        Ok(())
    }

    /// Where the source's tables are now: which went, which are to be read.
    fn place(&self, source: &KeptSource, found: &LogicalTable, doubted: &BTreeSet<TableId>) -> Result<Mended, String> {
        unaltered(source, found)?;
        let mut going: BTreeSet<TableId> = source.tables.iter().map(|t| t.id).collect();
        let mut read = Vec::new();
        for p in &found.placements {
            // One that was dropped and made again has a number of its own: the stream tells the two apart, too.
            let known = source.tables.iter().find(|t| t.is_of(p));
            if let Some(known) = known {
                going.remove(&known.id);
                if known.node == p.node && known.table == p.table && !doubted.contains(&known.id) {
                    continue;
                }
            }
            let id = known.map_or_else(|| self.tables.next_table(), |t| t.id);
            read.push(KeptTable::new(id, p.clone()));
        }
        Ok(Mended { source: source.id, going, read, relation: found.relation, spread: Spread::of(found.kind) })
    }

    /// Subscribes to the tables, and reads them into shadows, all nodes at a time.
    async fn read_all(&self, sources: &[KeptSource], reread: &mut [Reread]) -> Result<(), RequestError> {
        let of = |id: SourceId| sources.iter().find(|s| s.id == id);
        let mut nodes: BTreeMap<NodeId, Vec<v1::Table>> = BTreeMap::new();
        let mut home: BTreeMap<TableId, SourceId> = BTreeMap::new();
        for one in reread.iter() {
            let (source, shadow) = (one.mended.source, one.shadow);
            let Some(kept) = of(source) else { continue };
            for table in &one.mended.read {
                nodes.entry(table.node).or_default().push(subscribe(table, table.node, Wants::of(kept)));
                home.insert(table.id, shadow);
            }
            let tables: Vec<_> = one.mended.read.iter().map(|t| (t.id, t.node)).collect();
            self.call(move |room| {
                // Left over from a try that failed.
                room.engine.drop_source(shadow)?;
                room.engine.add_shadow(source, shadow, &tables)
            })
            .await?;
        }
        let home = &home;
        self.read_again.begin(nodes.keys().copied());
        let positions = try_join_all(nodes.into_iter().map(|(node, tables)| async move {
            let ids = tables.iter().map(|t| t.id).collect();
            self.links.order(node, v1::order::Kind::Subscribe(v1::Subscribe { tables })).await?;
            let (at, parts) = self.links.snapshot(node, ids).await?;
            self.fill_shadows(node, parts, home).await?;
            Ok::<_, RequestError>((node, at))
        }))
        .await?;
        for table in reread.iter_mut().flat_map(|r| &mut r.mended.read) {
            let at = positions.iter().find(|(node, _)| *node == table.node).map_or(Lsn::ZERO, |(_, at)| *at);
            table.spans = vec![Span::since(table.node, at)];
        }
        Ok(())
    }

    async fn fill_shadows(
        &self,
        node: NodeId,
        mut parts: mpsc::Receiver<SnapshotPart>,
        home: &BTreeMap<TableId, SourceId>,
    ) -> Result<(), RequestError> {
        while let Some(part) = parts.recv().await {
            let rows = match part {
                SnapshotPart::Rows(rows) => rows,
                SnapshotPart::End(end) if end.error.is_empty() => {
                    self.read_again.done(node);
                    return Ok(());
                }
                SnapshotPart::End(end) => return Err(RequestError::Unavailable(format!("node {node}: {}", end.error))),
            };
            let table = TableId(rows.table);
            let Some(shadow) = home.get(&table).copied() else { continue };
            metrics::counter!("tributary_rows_read_again_total").increment(rows.count);
            self.read_again.add(node, rows.count, rows.rows.len() as u64);
            let list = unpack(rows.rows).ok_or_else(|| RequestError::Internal("damaged snapshot rows".into()))?;
            self.call(move |room| room.engine.load_rows(shadow, table, &list)).await?;
        }
        Err(RequestError::Unavailable(format!("the agent of node {node} went away while tables were read again")))
    }

    async fn forget_shadows(&self, outcome: &Outcome) {
        let shadows: Vec<SourceId> = outcome.reread.iter().map(|r| r.shadow).collect();
        let forget =
            move |room: &mut crate::engine::EngineRoom| shadows.iter().try_for_each(|s| room.engine.drop_source(*s));
        if let Err(error) = self.call(forget).await {
            tracing::debug!(%error, "shadows stay until the next start");
        }
    }
}

/// How long a look takes at least: nothing, but for a failpoint.
fn looks_for() -> Duration {
    fail::fail_point!("mend-look", |ms| Duration::from_millis(ms.and_then(|ms| ms.parse().ok()).unwrap_or(0)));
    Duration::ZERO
}

/// How long after the snapshots it is said that they were taken: at once, but for a failpoint.
fn lingers() -> Duration {
    fail::fail_point!("mend-read", |ms| Duration::from_millis(ms.and_then(|ms| ms.parse().ok()).unwrap_or(0)));
    Duration::ZERO
}

/// Whether the table is still what the source was made of; why not, and what to do.
fn unaltered(source: &KeptSource, found: &LogicalTable) -> Result<(), String> {
    let again = "once the query fits the table again, `tributary stream rebuild` reads it";
    for column in &source.columns {
        match found.columns.iter().find(|c| c.name == column.name) {
            None => return Err(format!("column {} of {} is gone; {again}", column.name, source.name)),
            Some(c) if c.ty != column.ty => {
                return Err(format!("column {} of {} changed its type; {again}", column.name, source.name));
            }
            Some(_) => {}
        }
    }
    let identity: Vec<_> = source.identity.iter().filter_map(|&i| source.columns.get(i)).map(|c| &c.name).collect();
    if !found.identity.is_empty() && !identity.is_empty() && !identity.iter().all(|c| found.identity.contains(c)) {
        return Err(format!("{} has another primary key; `tributary stream rebuild` reads it again", source.name));
    }
    if identity.is_empty() && !found.replica_full {
        return Err(format!("{} no longer has REPLICA IDENTITY FULL; {again}", source.name));
    }
    Ok(())
}
