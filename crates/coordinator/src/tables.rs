//! Which physical tables are read for which kept source: the list that agents are subscribed to.
//!
//! Durable as a note in the state store, written before the engine or an agent learns of a table, so that the ids in
//! kept rows always have a name here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use ivm::RowFilter;
use proto::v1;
use serde::{Deserialize, Serialize};
use topology::LogicalTable;
use types::{Column, Lsn, NodeId, Oid, Positions, SourceId, StreamId, TableId, TableName};

pub(crate) use crate::kept_source::{KeptSource, Spread, Wants, subscribe, subscription_of};
pub(crate) use crate::placement::{Guest, KeptTable, Span};

/// Everything that is remembered beside rows and positions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Notes {
    sources: BTreeMap<SourceId, KeptSource>,
    systems: BTreeMap<NodeId, String>,
    /// Sources of which tables are being read again, with those tables: until the cut that holds the result is
    /// durable, and then not any more. A process that finds some here reads them again.
    #[serde(default)]
    pending: BTreeMap<SourceId, BTreeSet<TableId>>,
    /// Some tables are on their way, or were: what comes of them has to be looked at. Not sure while `None`.
    #[serde(skip)]
    restless: Option<bool>,
    /// Why tables cannot be read again yet.
    #[serde(skip)]
    trouble: Option<String>,
    /// Stream tables that stopped because a table was altered: their queries may fit it all the same.
    #[serde(skip)]
    stopped: Vec<StreamId>,
    /// Something here has to be written down, and no cut waits for it.
    #[serde(skip)]
    unsaved: bool,
    next_source: u32,
    next_table: u32,
    next_stream: u32,
}

/// See the module's description. Its lock is never held across an await.
#[derive(Debug, Default)]
pub(crate) struct Tables(Mutex<Notes>);

/// What came of reading a source's tables again.
#[derive(Debug, Clone)]
pub(crate) struct Mended {
    pub(crate) source: SourceId,
    /// Tables that it has no longer.
    pub(crate) going: BTreeSet<TableId>,
    /// Tables that were read, with their new places and the snapshots' positions in their spans.
    pub(crate) read: Vec<KeptTable>,
    /// `pg_class.oid` on node 0 now.
    pub(crate) relation: Oid,
    pub(crate) spread: Spread,
}

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
        tables.filter(|t| t.is_shipped(node)).map(|t| t.id).collect()
    }

    pub(crate) fn source_of(&self, table: TableId) -> Option<KeptSource> {
        self.lock().sources.values().find(|s| s.tables.iter().any(|t| t.id == table)).cloned()
    }

    pub(crate) fn sources(&self) -> Vec<KeptSource> {
        self.lock().sources.values().cloned().collect()
    }

    /// A ready source of this very table that has all these columns, by name and type, the same identity, and all rows
    /// that are wanted.
    pub(crate) fn covering(
        &self,
        relation: Oid,
        name: &TableName,
        columns: &[Column],
        identity: &[&str],
        rows: &RowFilter,
    ) -> Option<KeptSource> {
        let notes = self.lock();
        let covers = |s: &&KeptSource| {
            s.can_be_read()
                && s.name == *name
                && s.relation == relation
                && s.identity_names().eq(identity.iter().copied())
                && s.has_columns(columns)
                && s.has_rows_of(rows, columns)
        };
        // The widest: those who read narrower ones move to it ([`crate::sharing`]).
        notes.sources.values().filter(covers).max_by_key(|s| (s.filter.is_none(), s.columns.len())).cloned()
    }

    /// Whether rows of this very table are kept in one of these sources.
    pub(crate) fn knows(&self, relation: Oid, name: &TableName, among: &BTreeSet<SourceId>) -> bool {
        let is_it = |s: &KeptSource| s.ready && !s.broken && s.name == *name && s.relation == relation;
        self.lock().sources.values().any(|s| among.contains(&s.id) && is_it(s))
    }

    /// A new source over a table's placements.
    pub(crate) fn add(
        &self,
        columns: Vec<Column>,
        identity: Vec<usize>,
        filter: Option<RowFilter>,
        table: &LogicalTable,
    ) -> KeptSource {
        let mut notes = self.lock();
        notes.next_source += 1;
        let id = SourceId(notes.next_source);
        let mut tables = Vec::new();
        for p in &table.placements {
            notes.next_table += 1;
            let id = TableId(notes.next_table);
            tables.push(KeptTable::new(id, p.clone()));
        }
        let source = KeptSource {
            id,
            name: table.name.clone(),
            columns,
            identity,
            tables,
            ready: false,
            relation: table.relation,
            spread: Spread::of(table.kind),
            broken: false,
            disturbed: false,
            hashed: table.hashed,
            definition: None,
            filter,
            is_copy: false,
        };
        notes.sources.insert(id, source.clone());
        source
    }

    /// A copy of these tables of a source, where they are now, to be read beside it. `None` when it has none of them.
    pub(crate) fn add_copy(&self, of: SourceId, tables: &BTreeSet<TableId>) -> Option<KeptSource> {
        let mut notes = self.lock();
        let of = notes.sources.get(&of).filter(|s| s.ready && !s.broken)?.clone();
        notes.next_source += 1;
        let id = SourceId(notes.next_source);
        let mut copies = Vec::new();
        for table in of.tables.iter().filter(|t| tables.contains(&t.id)) {
            notes.next_table += 1;
            copies.push(table.copied(TableId(notes.next_table)));
        }
        // Which key is in which table is known of all tables together.
        let copy = KeptSource {
            id,
            tables: copies,
            ready: false,
            hashed: false,
            disturbed: false,
            is_copy: true,
            definition: None,
            ..of
        };
        (!copy.tables.is_empty()).then(|| {
            notes.restless = None;
            notes.sources.insert(id, copy.clone());
            copy
        })
    }

    pub(crate) fn set_ready(&self, id: SourceId) {
        if let Some(source) = self.lock().sources.get_mut(&id) {
            source.ready = true;
        }
    }

    pub(crate) fn remove(&self, id: SourceId) {
        self.lock().sources.remove(&id);
    }

    /// Numbers for new physical tables and for a shadow.
    pub(crate) fn next_table(&self) -> TableId {
        let mut notes = self.lock();
        notes.next_table += 1;
        TableId(notes.next_table)
    }

    pub(crate) fn next_source(&self) -> SourceId {
        let mut notes = self.lock();
        notes.next_source += 1;
        SourceId(notes.next_source)
    }

    pub(crate) fn source(&self, id: SourceId) -> Option<KeptSource> {
        self.lock().sources.get(&id).cloned()
    }

    fn change(&self, table: TableId, f: impl FnOnce(&mut KeptTable)) {
        let mut notes = self.lock();
        notes.restless = None;
        let mut tables = notes.sources.values_mut().flat_map(|s| &mut s.tables);
        if let Some(table) = tables.find(|t| t.id == table) {
            f(table);
        }
    }

    /// A move is about to fill a table of the shard on the node; an older one there is no more. Gives what has to be
    /// subscribed to, by the ticket.
    pub(crate) fn expect_guest(&self, shard: u64, node: NodeId, ticket: u64) -> Vec<v1::Table> {
        let mut notes = self.lock();
        notes.restless = None;
        let mut wanted = Vec::new();
        for source in notes.sources.values_mut().filter(|s| s.spread != Spread::Copied) {
            let wants = Wants::of(source);
            for table in source.tables.iter_mut().filter(|t| t.shard == shard && t.node != node) {
                let unsure = table.guests.iter().any(|g| g.node == node);
                table.guests.retain(|g| g.node != node);
                table.note(node);
                table.guests.push(Guest { node, shipped_from: None, ticket, unsure });
                wanted.push(subscribe(table, node, wants.clone()));
            }
        }
        wanted
    }

    /// The guests of the ticket are shipped from here on, unless they may be others of the name: those are read when the move ends.
    pub(crate) fn guest_arrived(&self, ticket: u64, from: Lsn) {
        let mut notes = self.lock();
        let tables = notes.sources.values_mut().flat_map(|s| &mut s.tables);
        for guest in tables.flat_map(|t| &mut t.guests).filter(|g| g.ticket == ticket && !g.unsure) {
            guest.shipped_from = Some(from);
        }
    }

    /// Whether a guest of the ticket is still waited for.
    pub(crate) fn expects(&self, ticket: u64) -> bool {
        let notes = self.lock();
        let mut guests = notes.sources.values().flat_map(|s| &s.tables).flat_map(|t| &t.guests);
        guests.any(|g| g.ticket == ticket && g.shipped_from.is_none())
    }

    /// A table went to other nodes: its last span ends, these follow.
    pub(crate) fn moved(&self, table: TableId, spans: Vec<Span>) {
        self.change(table, |t| {
            if let Some(last) = spans.last() {
                t.node = last.node;
            }
            t.guests.retain(|g| spans.iter().all(|s| s.node != g.node));
            spans.iter().chain(&t.spans.clone()).for_each(|s| t.note(s.node));
            t.spans = spans;
        });
    }

    /// Its rows are not followed any more.
    pub(crate) fn set_broken(&self, source: SourceId) {
        if let Some(source) = self.lock().sources.get_mut(&source) {
            source.broken = true;
        }
    }

    /// Says why tables cannot be read again yet; false when that was said before.
    pub(crate) fn set_trouble(&self, trouble: Option<String>) -> bool {
        let mut notes = self.lock();
        let new = notes.trouble != trouble;
        notes.trouble = trouble;
        new
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// The source was looked up when its table's definition was this, or later.
    pub(crate) fn looked_up(&self, source: SourceId, definition: String) {
        let mut notes = self.lock();
        let Some(source) = notes.sources.get_mut(&source) else { return };
        if source.definition.as_ref() != Some(&definition) {
            source.definition = Some(definition);
            notes.unsaved = true;
        }
    }

    /// Whether something has to be written down, once.
    pub(crate) fn take_unsaved(&self) -> bool {
        std::mem::take(&mut self.lock().unsaved)
    }

    /// A stream table stopped because of an altered table.
    pub(crate) fn stopped(&self, stream: StreamId) {
        self.lock().stopped.push(stream);
    }

    /// Those that stopped since this was last asked.
    pub(crate) fn take_stopped(&self) -> Vec<StreamId> {
        std::mem::take(&mut self.lock().stopped)
    }

    /// Its first read is of no use: it is begun again.
    pub(crate) fn disturb(&self, source: SourceId) {
        if let Some(source) = self.lock().sources.get_mut(&source) {
            source.disturbed = true;
        }
    }

    /// Puts the places of what was read again in. It is pending until [`Self::settled`].
    pub(crate) fn mended(&self, mended: &Mended) {
        let mut notes = self.lock();
        notes.restless = None;
        let Some(source) = notes.sources.get_mut(&mended.source) else { return };
        source.relation = mended.relation;
        source.spread = mended.spread;
        let mut read = mended.read.clone();
        for table in &mut read {
            let before = source.tables.iter().find(|t| t.id == table.id);
            table.earlier = before.map(|t| t.earlier.clone()).unwrap_or_default();
            before.into_iter().flat_map(|t| &t.spans).for_each(|s| table.note(s.node));
            table.note(table.node);
        }
        source.tables.retain(|t| !mended.going.contains(&t.id) && mended.read.iter().all(|r| r.id != t.id));
        source.tables.extend(read);
        source.tables.sort_by_key(|t| t.id);
        let read = mended.read.iter().map(|t| t.id).collect();
        notes.pending.insert(mended.source, read);
    }

    /// The cut that holds the result is durable.
    pub(crate) fn settled(&self, source: SourceId) {
        self.lock().pending.remove(&source);
    }

    /// What the process before this one did not finish: tables that were being read again, and those on nodes that left
    /// or began anew.
    pub(crate) fn unfinished(&self, nodes: &[NodeId], at: &Positions) -> BTreeMap<SourceId, BTreeSet<TableId>> {
        let notes = self.lock();
        let mut unfinished = notes.pending.clone();
        let is_lost = |node: NodeId| !nodes.contains(&node) || at.of(node) == Lsn::ZERO;
        for source in notes.sources.values().filter(|s| s.ready && !s.broken) {
            let lost: BTreeSet<TableId> = source.tables.iter().filter(|t| is_lost(t.node)).map(|t| t.id).collect();
            if !lost.is_empty() {
                unfinished.entry(source.id).or_default().extend(lost);
            }
        }
        unfinished
    }

    /// Forgets what ended at or before the durable cut.
    pub(crate) fn prune(&self, cut: &Positions) {
        let mut notes = self.lock();
        if notes.restless == Some(false) {
            return;
        }
        for table in notes.sources.values_mut().flat_map(|s| &mut s.tables).filter(|t| t.spans.len() > 1) {
            table.prune(cut);
        }
        let rests = |t: &KeptTable| t.earlier.is_empty() && t.guests.is_empty() && t.is_plain(t.node, cut.of(t.node));
        let restless = notes.sources.values().flat_map(|s| &s.tables).any(|t| !rests(t));
        notes.restless = Some(restless);
    }

    /// Tables of which the node can ship rows that do not count, given that it was read up to `position`.
    pub(crate) fn doubtful(&self, node: NodeId, position: Lsn) -> BTreeMap<TableId, KeptTable> {
        let notes = self.lock();
        if notes.restless == Some(false) {
            return BTreeMap::new();
        }
        let tables = notes.sources.values().flat_map(|s| &s.tables).filter(|t| !t.is_plain(node, position));
        // Those that were never on the node are not shipped from there.
        tables.filter(|t| t.is_shipped(node) || t.was_on(node)).map(|t| (t.id, t.clone())).collect()
    }

    /// Where the tables count whose shards went from node to node and may still be written to in both places in one cut.
    pub(crate) fn moving(&self) -> BTreeMap<TableId, Vec<Span>> {
        let notes = self.lock();
        if notes.restless == Some(false) {
            return BTreeMap::new();
        }
        let tables = notes.sources.values().flat_map(|s| &s.tables).filter(|t| t.spans.len() > 1);
        tables.map(|t| (t.id, t.spans.clone())).collect()
    }

    /// An agent attaches: it ships what it is told now, and nothing that it was told before. What a move is filling there
    /// is not among that, for nobody knows whether it is there: it is read again when the move ends.
    pub(crate) fn attached(&self, node: NodeId) {
        let mut notes = self.lock();
        notes.restless = None;
        for table in notes.sources.values_mut().flat_map(|s| &mut s.tables) {
            table.guests.retain(|g| g.node != node);
            table.earlier.retain(|n| *n != node);
        }
    }

    pub(crate) fn next_stream(&self, at_least: StreamId) -> StreamId {
        let mut notes = self.lock();
        notes.next_stream = notes.next_stream.max(at_least.0) + 1;
        StreamId(notes.next_stream)
    }
}

#[cfg(test)]
mod tests {
    use topology::TableKind;

    use super::*;

    #[test]
    fn a_guest_that_is_announced_twice_is_not_relied_on() {
        let tables = Tables::default();
        let name = TableName::new("public", "t");
        let at = TableName::new("public", "t_102");
        let placement = topology::Placement { node: NodeId(1), table: at, shard: Some(102), relation: 0 };
        let table = LogicalTable {
            name,
            relation: 77,
            kind: TableKind::Distributed,
            placements: vec![placement],
            columns: Vec::new(),
            generated: Vec::new(),
            identity: Vec::new(),
            replica_full: true,
            hashed: false,
            row_security: false,
        };
        let source = tables.add(Vec::new(), Vec::new(), None, &table).id;
        let announced = |ticket, from| {
            tables.expect_guest(102, NodeId(2), ticket);
            tables.guest_arrived(ticket, Lsn(from));
            tables.source(source).unwrap().tables[0].guests[0].shipped_from
        };
        assert_eq!(announced(1, 5), Some(Lsn(5)));
        assert_eq!(announced(2, 9), None);
        // An agent that attaches knows of neither.
        tables.attached(NodeId(2));
        assert_eq!(announced(3, 12), Some(Lsn(12)));
    }
}
