//! Sources read again on request, while the cuts go on.
//!
//! ```text
//!   1  what is asked for is written down: parts, each the tables of one source on one node
//!   2  each part is read into a copy, as a new source is first read ([`crate::backfill`]); cuts keep the copy from then on
//!   3  between two cuts: source and copies compared; what differs is a cut of its own
//!   4  the parts are forgotten, then the copies
//! ```
//!
//! All nodes are read side by side, each part by part. Nothing waits for the reading: a copy is as exact as its source, at the
//! same cut. Rows lie in the state directory, so memory is that of the difference. A difference that is too large for a
//! cut is none: the stream tables over the source stop where they are, and are computed again over what is read then.
//!
//! Crash at 1 or 2: a new process goes on with the parts; those whose copies were whole are not read again. At 3, before the cut
//! is durable: the same; behind it: they are compared once more, and nothing differs. At 4: copies of no part are forgotten by the
//! next start. A part whose tables go elsewhere while it is read is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use types::{Cut, Lsn, NodeId, Seq, SourceId, TableId, TableName};

use crate::copies::Part;
use crate::engine::{EngineRoom, Publication};
use crate::error::RequestError;
use crate::progress::ProgressSender;
use crate::requests::Requests;
use crate::tables::KeptSource;

/// How often progress is shown.
const SHOWN: Duration = Duration::from_millis(200);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// A reading that fails so often while all agents are there does not succeed by itself.
const ATTEMPTS: usize = 8;

/// Which of the kept tables are meant; what is empty does not restrict.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    pub(crate) tables: Vec<TableName>,
    pub(crate) shards: Vec<u64>,
    pub(crate) nodes: Vec<NodeId>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reconciled {
    pub(crate) rows_read: u64,
    pub(crate) differing: u64,
    /// Tables that differed by more than a cut can hold: what reads them is computed again.
    pub(crate) computed_again: Vec<TableName>,
}

impl std::ops::AddAssign for Reconciled {
    fn add_assign(&mut self, other: Self) {
        self.rows_read += other.rows_read;
        self.differing += other.differing;
        self.computed_again.extend(other.computed_again);
    }
}

impl Scope {
    /// The parts of a source that are meant, by nodes.
    fn parts(&self, source: &KeptSource) -> Vec<Part> {
        if !self.tables.is_empty() && !self.tables.contains(&source.name) {
            return Vec::new();
        }
        let mut nodes: BTreeMap<NodeId, BTreeSet<TableId>> = BTreeMap::new();
        for table in &source.tables {
            let is_meant = (self.shards.is_empty() || self.shards.contains(&table.shard))
                && (self.nodes.is_empty() || self.nodes.contains(&table.node));
            if is_meant {
                nodes.entry(table.node).or_default().insert(table.id);
            }
        }
        let part = |(node, tables)| Part { source: source.id, node, tables, copy: None };
        nodes.into_iter().map(part).collect()
    }
}

impl Requests {
    /// Reads tables of these sources again, and takes over what differs in one step, which is visible when it returns.
    /// `None` when nothing of them is in the scope.
    pub(crate) async fn reconcile(
        &self,
        of: &[SourceId],
        scope: &Scope,
        progress: &ProgressSender,
    ) -> Result<Option<Reconciled>, RequestError> {
        let _one = self.copies.one.lock().await;
        let sources = of.iter().filter_map(|id| self.tables.source(*id)).filter(|s| s.ready && !s.broken);
        let parts: Vec<Part> = sources.flat_map(|s| scope.parts(&s)).collect();
        if parts.is_empty() {
            return Ok(None);
        }
        self.all_attached().await?;
        // With what an earlier process was asked for and did not finish.
        let mut all = self.copies.all();
        all.extend(parts.into_iter().filter(|part| !self.copies.all().iter().any(|p| p.covers(part))));
        self.copies.set(all);
        self.call(EngineRoom::save_copies).await?;
        let work = self.carry_out();
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => {
                    progress.reading(self.copies.reads.get());
                    return done.map(Some);
                }
                () = tokio::time::sleep(SHOWN) => progress.reading(self.copies.reads.get()),
            }
        }
    }

    /// Finishes what the process before this one did not.
    pub(crate) async fn finish_copies(&self) {
        let _one = self.copies.one.lock().await;
        if self.copies.all().is_empty() {
            return;
        }
        match self.carry_out().await {
            Ok(Reconciled { rows_read, differing, .. }) => {
                tracing::info!(
                    rows_read,
                    differing,
                    "tables that an earlier process was asked to read were read again"
                );
            }
            Err(error) => tracing::error!(%error, "tables that an earlier process was asked to read were not read"),
        }
    }

    /// Everything behind step 1. Whatever comes of it, no part is left.
    async fn carry_out(&self) -> Result<Reconciled, RequestError> {
        self.copies.reads.begin(std::iter::empty());
        let mut failures = 0;
        let result = loop {
            let error = match self.read_and_compare().await {
                Ok(Some(done)) => break Ok(done),
                Ok(None) => unsettled(),
                Err(error) => error,
            };
            tracing::debug!(%error, "tables were not read again yet");
            tokio::time::sleep(PAUSE).await;
            let mut all_there = true;
            while !self.are_all_there() {
                all_there = false;
                tokio::time::sleep(PAUSE).await;
            }
            failures += usize::from(all_there);
            if failures > ATTEMPTS {
                break Err(error);
            }
        };
        self.copies.set(Vec::new());
        self.call(EngineRoom::save_copies).await?;
        self.forget_copies().await;
        result
    }

    /// Whether every node's agent is attached; of the nodes that there are now.
    fn are_all_there(&self) -> bool {
        let links = self.links.status().borrow().clone();
        self.members.ids().iter().all(|node| links.get(node).is_some_and(|l| l.connected))
    }

    /// Copies of no part, and those that are of no use.
    async fn forget_copies(&self) {
        for (number, part) in self.copies.all().into_iter().enumerate() {
            if part.copy.is_some_and(|copy| !self.tables.source(copy).is_some_and(|c| c.is_copy && c.is_exact())) {
                self.copies.set_copy(number, None);
            }
        }
        // Not beside a request, whose new sources nothing reads yet.
        let _changing = self.changing.lock().await;
        self.release_sources().await;
    }

    async fn read_and_compare(&self) -> Result<Option<Reconciled>, RequestError> {
        self.forget_copies().await;
        let mut nodes: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for (number, part) in self.copies.all().iter().enumerate() {
            nodes.entry(part.node).or_default().push(number);
        }
        // All ends are awaited: what one node has read stays, whatever becomes of the others.
        let reads = join_all(nodes.into_values().map(|parts| async move {
            for number in parts {
                self.copy(number).await?;
            }
            Ok(())
        }));
        reads.await.into_iter().collect::<Result<(), RequestError>>()?;
        tokio::time::sleep(lingers()).await;
        let parts = self.copies.all();
        let Some((done, at)) = self.call(move |room| room.take_over(&parts)).await? else { return Ok(None) };
        self.written(at).await;
        Ok(Some(Reconciled { rows_read: self.copies.reads.rows(), ..done }))
    }

    /// Reads one part, unless it was read already.
    async fn copy(&self, number: usize) -> Result<(), RequestError> {
        let Some(part) = self.copies.all().into_iter().nth(number).filter(|p| p.copy.is_none()) else { return Ok(()) };
        let copy = {
            // Not beside a request that forgets what nobody reads.
            let _changing = self.changing.lock().await;
            // Without any of its tables there is nothing to compare.
            let Some(copy) = self.tables.add_copy(part.source, &part.tables) else { return Ok(()) };
            self.copies.set_copy(number, Some(copy.id));
            copy
        };
        // The number is given before it is written into a part: nobody else gets it at the next start.
        self.call(EngineRoom::save_tables).await?;
        self.call(EngineRoom::save_copies).await?;
        let before = self.copies.reads.rows_of(part.node);
        let read = self.read_sources(std::slice::from_ref(&copy), &self.copies.reads, &ProgressSender::default()).await;
        let rows = self.copies.reads.rows_of(part.node) - before;
        metrics::counter!("tributary_rows_read_again_total").increment(rows);
        match read {
            Ok(true) => Ok(()),
            // Altered or dropped meanwhile: what reads it stops, and there is nothing to compare with.
            _ if self.tables.source(part.source).is_none_or(|s| s.broken) => Ok(()),
            Ok(false) => Err(unsettled()),
            Err(error) => Err(error),
        }
    }
}

/// How long copies wait to be compared: not at all, but for a failpoint.
fn lingers() -> Duration {
    fail::fail_point!("reconcile-before-compare", |ms| Duration::from_millis(
        ms.and_then(|ms| ms.parse().ok()).unwrap_or(0)
    ));
    Duration::ZERO
}

/// The tables went elsewhere while they were read, or since.
fn unsettled() -> RequestError {
    RequestError::Unavailable("the cluster changes its shape all the time; try again when it rests".into())
}

impl EngineRoom {
    /// Writes down what is being read again on request.
    pub(crate) fn save_copies(&mut self) -> Result<(), ivm::IvmError> {
        let note = self.copies.note().map_err(|e| ivm::IvmError::Note(e.to_string()))?;
        self.engine.put_note("copies", &note)
    }

    /// Makes a cut of what differs between sources and copies; gives that, and the last cut then. `None` when a copy is not
    /// exact any more.
    fn take_over(&mut self, parts: &[Part]) -> Result<Option<(Reconciled, Seq)>, ivm::IvmError> {
        let (mut transactions, mut done, mut room) = (Vec::new(), Reconciled::default(), self.difference_bytes);
        let mut too_large: BTreeMap<SourceId, String> = BTreeMap::new();
        for part in parts {
            let (source, copy) = (self.tables.source(part.source), part.copy.and_then(|c| self.tables.source(c)));
            let (Some(source), Some(copy)) = (source.filter(|s| s.ready && !s.broken), copy) else { continue };
            if !copy.is_copy || !copy.is_exact() {
                return Ok(None);
            }
            // The shard's table on both sides; the engine may not have the latest ones yet, and they were just read.
            let pairs = copy.tables.iter().filter_map(|c| Some((c.id, source.tables.iter().find(|t| t.is(c))?.id)));
            let again: BTreeMap<TableId, TableId> = pairs
                .filter(|(c, t)| self.engine.has_table(copy.id, *c) && self.engine.has_table(source.id, *t))
                .collect();
            let scope = ivm::Scope { going: BTreeSet::new(), again };
            match self.engine.difference(source.id, copy.id, &scope, room)? {
                Some(difference) => {
                    room -= difference.bytes();
                    let ivm::Difference { pieces, changes } = difference;
                    done.differing += changes;
                    transactions.push(ivm::Transaction { node: NodeId(0), end: Lsn::MAX, pieces });
                }
                None => {
                    if too_large.insert(source.id, too_different(&source)).is_none() {
                        done.computed_again.push(source.name);
                    }
                }
            }
        }
        metrics::counter!("tributary_rows_differing_total").increment(done.differing);
        let at = self.engine.frontier().clone();
        if done.differing == 0 && too_large.is_empty() {
            return Ok(Some((done, at.seq)));
        }
        let mut failed = self.give_up(too_large.into_iter().collect())?;
        let cut = Cut { seq: Seq(at.seq.0 + 1), positions: at.positions };
        let output = self.apply_cut(&cut, &transactions)?;
        failed.extend(output.failed);
        let seq = cut.seq;
        let (streams, took) = (output.streams, output.took);
        let publication = Publication { cut, streams, failed, took, ..Publication::default() };
        let _stopping = self.publish_cut(publication);
        Ok(Some((done, seq)))
    }
}

/// Why stream tables stop instead of taking a difference over.
pub(crate) fn too_different(source: &KeptSource) -> String {
    format!("what was read again of {} differs by more than one cut can hold; it is computed again", source.name)
}
