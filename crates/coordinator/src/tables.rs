//! Which physical tables are read for which kept source: the list that agents are subscribed to.
//!
//! Durable as a note in the state store, written before the engine or an agent learns of a table, so that the ids in
//! kept rows always have a name here.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use proto::v1;
use serde::{Deserialize, Serialize};
use types::{Column, NodeId, SourceId, StreamId, TableId, TableName};

/// A source as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeptSource {
    pub(crate) id: SourceId,
    pub(crate) name: TableName,
    pub(crate) columns: Vec<Column>,
    pub(crate) identity: Vec<usize>,
    pub(crate) tables: Vec<KeptTable>,
    /// Its first read is over.
    pub(crate) ready: bool,
}

/// A physical table of a source.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeptTable {
    pub(crate) id: TableId,
    pub(crate) node: NodeId,
    pub(crate) table: TableName,
}

/// Everything that is remembered beside rows and positions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Notes {
    sources: BTreeMap<SourceId, KeptSource>,
    systems: BTreeMap<NodeId, String>,
    next_source: u32,
    next_table: u32,
    next_stream: u32,
}

/// See the module's description. Its lock is never held across an await.
#[derive(Debug, Default)]
pub(crate) struct Tables(Mutex<Notes>);

impl Tables {
    pub(crate) fn new(notes: Notes) -> Self {
        Self(Mutex::new(notes))
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What is to be written down.
    pub(crate) fn notes(&self) -> Notes {
        self.lock().clone()
    }

    pub(crate) fn system_of(&self, node: NodeId) -> Option<String> {
        self.lock().systems.get(&node).cloned()
    }

    pub(crate) fn set_system(&self, node: NodeId, system: &str) {
        self.lock().systems.insert(node, system.to_owned());
    }

    /// The tables that an agent ships.
    pub(crate) fn subscription(&self, node: NodeId) -> Vec<v1::Table> {
        self.lock().sources.values().flat_map(|source| subscription_of(source, node)).collect()
    }

    pub(crate) fn of_node(&self, node: NodeId) -> Vec<TableId> {
        let notes = self.lock();
        let tables = notes.sources.values().flat_map(|s| &s.tables);
        tables.filter(|t| t.node == node).map(|t| t.id).collect()
    }

    pub(crate) fn source_of(&self, table: TableId) -> Option<KeptSource> {
        self.lock().sources.values().find(|s| s.tables.iter().any(|t| t.id == table)).cloned()
    }

    pub(crate) fn sources(&self) -> Vec<KeptSource> {
        self.lock().sources.values().cloned().collect()
    }

    /// A ready source of this table that has all these columns, by name and type, and the same identity.
    pub(crate) fn covering(&self, name: &TableName, columns: &[Column], identity: &[&str]) -> Option<KeptSource> {
        let notes = self.lock();
        let covers = |s: &&KeptSource| {
            s.ready
                && s.name == *name
                && s.identity.iter().map(|&i| s.columns[i].name.as_str()).eq(identity.iter().copied())
                && columns.iter().all(|c| s.columns.iter().any(|k| k.name == c.name && k.ty == c.ty))
        };
        notes.sources.values().find(covers).cloned()
    }

    /// A new source over these physical tables.
    pub(crate) fn add(
        &self,
        name: TableName,
        columns: Vec<Column>,
        identity: Vec<usize>,
        placements: impl IntoIterator<Item = (NodeId, TableName)>,
    ) -> KeptSource {
        let mut notes = self.lock();
        notes.next_source += 1;
        let id = SourceId(notes.next_source);
        let mut tables = Vec::new();
        for (node, table) in placements {
            notes.next_table += 1;
            tables.push(KeptTable { id: TableId(notes.next_table), node, table });
        }
        let source = KeptSource { id, name, columns, identity, tables, ready: false };
        notes.sources.insert(id, source.clone());
        source
    }

    pub(crate) fn set_ready(&self, id: SourceId) {
        if let Some(source) = self.lock().sources.get_mut(&id) {
            source.ready = true;
        }
    }

    pub(crate) fn remove(&self, id: SourceId) {
        self.lock().sources.remove(&id);
    }

    pub(crate) fn next_stream(&self, at_least: StreamId) -> StreamId {
        let mut notes = self.lock();
        notes.next_stream = notes.next_stream.max(at_least.0) + 1;
        StreamId(notes.next_stream)
    }
}

/// A source's tables on one node, as an agent is told of them.
pub(crate) fn subscription_of(source: &KeptSource, node: NodeId) -> Vec<v1::Table> {
    let tables = source.tables.iter().filter(|t| t.node == node);
    tables
        .map(|t| v1::Table {
            id: t.id.0,
            schema: t.table.schema.clone(),
            name: t.table.name.clone(),
            columns: source.columns.iter().map(|c| c.name.clone()).collect(),
            types: source.columns.iter().map(|c| c.ty.oid).collect(),
        })
        .collect()
}
