//! The stream tables that there are, as requests and status see them.
//!
//! The definitions' truth is in the target (`tributary.stream_tables`); this is its picture in memory, with what
//! changes from cut to cut. Its lock is never held across an await.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use plan::{OutputKey, Plan};
use proto::v1;
use types::{Consistency, Seq, SourceId, StreamId, TableName};

/// Where a stream table stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamState {
    /// Its content is being computed for the first time or again.
    Building,
    /// Kept with every cut.
    Active,
    /// Stopped by an operator.
    Paused,
    /// Stopped at its last exact cut, for this reason.
    Failed(String),
}

impl StreamState {
    /// As `tributary.stream_tables` has it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Failed(_) => "failed",
        }
    }

    /// Why it is not kept; empty when it is.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Failed(reason) => reason,
            Self::Building | Self::Active | Self::Paused => "",
        }
    }

    /// From `tributary.stream_tables`.
    pub(crate) fn read(state: &str, reason: &str) -> Self {
        match state {
            "active" => Self::Active,
            "paused" => Self::Paused,
            "failed" => Self::Failed(reason.to_owned()),
            _ => Self::Building,
        }
    }
}

/// One stream table.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: StreamId,
    pub(crate) name: TableName,
    pub(crate) query: String,
    pub(crate) options: v1::Options,
    pub(crate) plan: Plan,
    /// What a user should know about the query.
    pub(crate) warnings: Vec<String>,
    /// Stream tables that it reads, also through others.
    pub(crate) reads: Vec<TableName>,
    pub(crate) sources: Vec<SourceId>,
    pub(crate) state: StreamState,
    /// The cut at which it stopped; meaningless while it is kept.
    pub(crate) stopped_at: Seq,
}

impl Entry {
    /// As the services show it; `now` is the published cut.
    pub(crate) fn to_proto(&self, consistency: Consistency, now: Seq, rows: u64) -> v1::StreamTable {
        let seq = if self.state == StreamState::Active { now } else { self.stopped_at };
        let key = match &self.plan.key {
            OutputKey::Columns(columns) => columns.iter().map(|&c| self.plan.output[c].name.clone()).collect(),
            OutputKey::RowId => vec![sink::ROW_ID.to_owned()],
        };
        let state = match self.state {
            StreamState::Building => v1::stream_table::State::Building,
            StreamState::Active => v1::stream_table::State::Active,
            StreamState::Paused => v1::stream_table::State::Paused,
            StreamState::Failed(_) => v1::stream_table::State::Failed,
        };
        let output = self.plan.output.iter();
        v1::StreamTable {
            name: self.name.to_string(),
            query: self.query.clone(),
            state: state.into(),
            reason: self.state.reason().to_owned(),
            seq: seq.0,
            sources: self.plan.sources.iter().map(|s| s.table.to_string()).collect(),
            columns: output.map(|c| v1::OutputColumn { name: c.name.clone(), r#type: c.sql_type.clone() }).collect(),
            key,
            rows,
            id: self.id.0,
            options: Some(self.options.clone()),
            warnings: self.warnings.clone(),
            reads: self.reads.iter().map(TableName::to_string).collect(),
            consistency: crate::lanes::to_proto(consistency).into(),
        }
    }
}

/// The stream tables of both consistencies. All clones see the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogs {
    atomic: Arc<Catalog>,
    per_node: Arc<Catalog>,
    /// The last number that was given to a stream table in this process.
    given: Arc<Mutex<StreamId>>,
}

impl Catalogs {
    /// Those of one consistency.
    pub(crate) fn of(&self, consistency: Consistency) -> &Arc<Catalog> {
        match consistency {
            Consistency::Atomic => &self.atomic,
            Consistency::PerNode => &self.per_node,
        }
    }

    /// The other ones.
    pub(crate) fn beside(&self, consistency: Consistency) -> &Arc<Catalog> {
        match consistency {
            Consistency::Atomic => &self.per_node,
            Consistency::PerNode => &self.atomic,
        }
    }

    /// A number that no other stream table of either consistency has: `next` gives one behind its argument.
    pub(crate) fn number(&self, next: impl FnOnce(StreamId) -> StreamId) -> StreamId {
        let mut given = self.given.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let all = self.atomic.all().into_iter().chain(self.per_node.all()).map(|e| e.id);
        *given = next(all.max().unwrap_or_default().max(*given));
        *given
    }
}

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Catalog(Mutex<BTreeMap<StreamId, Entry>>);

impl Catalog {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamId, Entry>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, entry: Entry) {
        self.lock().insert(entry.id, entry);
    }

    pub(crate) fn remove(&self, id: StreamId) {
        self.lock().remove(&id);
    }

    pub(crate) fn get(&self, id: StreamId) -> Option<Entry> {
        self.lock().get(&id).cloned()
    }

    pub(crate) fn name(&self, id: StreamId) -> Option<String> {
        self.lock().get(&id).map(|entry| entry.name.to_string())
    }

    pub(crate) fn by_name(&self, name: &TableName) -> Option<Entry> {
        self.lock().values().find(|e| e.name == *name).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Entry> {
        self.lock().values().cloned().collect()
    }

    /// Those that read it, also through others; what is read by others comes before them.
    pub(crate) fn readers_of(&self, name: &TableName) -> Vec<Entry> {
        let mut readers: Vec<_> = self.lock().values().filter(|e| e.reads.contains(name)).cloned().collect();
        // Whoever reads another reads all that that one reads.
        readers.sort_by_key(|e| e.reads.len());
        readers
    }

    /// Whether cuts go into this one.
    pub(crate) fn is_published(&self, id: StreamId) -> bool {
        self.lock().get(&id).is_some_and(|e| e.state == StreamState::Active)
    }

    pub(crate) fn set_state(&self, id: StreamId, state: StreamState, at: Seq) {
        if let Some(entry) = self.lock().get_mut(&id) {
            entry.state = state;
            entry.stopped_at = at;
        }
    }

    pub(crate) fn set_sources(&self, id: StreamId, sources: Vec<SourceId>) {
        if let Some(entry) = self.lock().get_mut(&id) {
            entry.sources = sources;
        }
    }

    /// It stopped before the cut that is being published.
    pub(crate) fn set_failed(&self, id: StreamId, reason: &str, last: Seq) {
        self.set_state(id, StreamState::Failed(reason.to_owned()), last);
    }

    /// The sources that some stream table reads.
    pub(crate) fn sources_in_use(&self) -> BTreeSet<SourceId> {
        self.lock().values().flat_map(|e| e.sources.clone()).collect()
    }
}
