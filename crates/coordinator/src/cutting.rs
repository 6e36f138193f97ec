//! From the frontier's next cut to the engine: which rows of the prefix count, and cuts that have to wait.
//!
//! ```text
//!   frontier.next_cut ─▶ metadata rows up to there ─▶ nothing to say ───────────────────────────────┐
//!                                                  ├▶ moves noticed in time: spans, written down ───┼▶ CutWork
//!                                                  └▶ anything else: held, read again (mend) ───────┘
//! ```
//!
//! While a cut is held the frontier goes on: what comes behind falls into the same cut, which is then larger. Nothing was
//! taken from the queues, and nodes' positions stay where the engine is, so that an agent that attaches meanwhile begins at
//! the right place. It sends all of the held cut once more: the cut waits for that, too.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use proto::v1;
use proto::v1::shape_row::Kind;
use types::{Change, Lsn, NodeId, SourceId, TableId};

use crate::engine::{CutWork, EngineHandle, EngineRoom};
use crate::mend::{Outcome, Reread, Wanted};
use crate::placement::Span;
use crate::queue::Taken;
use crate::sequencer::{Sequencer, UnderWay};
use crate::shape::{self, Again, Seen};
use crate::tables::KeptSource;

/// A cut that waits for tables to be read again.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) id: u64,
    /// The tables' names, for people.
    names: String,
    pub(crate) again: Again,
    pub(crate) outcome: Option<Outcome>,
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to be read again: the cluster's shape or a node changed", self.names)
    }
}

impl Sequencer {
    /// Hands the next cut to the engine, if there is one worth it. False when the engine is gone.
    pub(crate) async fn cut(&mut self) -> std::io::Result<bool> {
        if self.hold.as_ref().is_some_and(|h| h.outcome.is_none()) || !self.is_worth_it() {
            return Ok(true);
        }
        let next = self.frontier.next_cut();
        for ask in self.frontier.asks() {
            self.ask(ask);
        }
        if next.is_none() && !self.ahead && self.pending.is_empty() {
            return Ok(true);
        }
        self.ahead = true;
        let stays = |outcome| self.nodes_stayed(outcome);
        if !self.hold.as_ref().and_then(|h| h.outcome.as_ref()).is_none_or(stays)
            && let Some(hold) = self.hold.take()
        {
            tracing::info!("an agent went away while tables were read again: they are read once more");
            self.hold(hold.again, &hold.outcome.unwrap_or_default().reread).await;
            return Ok(true);
        }
        let positions = self.frontier.cut();
        // The queue of an agent that attached in the meantime is filled anew.
        if self.nodes.iter().any(|(node, state)| state.received < positions.of(*node)) {
            return Ok(true);
        }
        if let Some(outcome) = self.hold.as_ref().and_then(|h| h.outcome.as_ref())
            && outcome.reach.0.iter().any(|(node, at)| self.nodes.contains_key(node) && *at > positions.of(*node))
        {
            return Ok(true);
        }
        let seen: Vec<Seen> =
            self.nodes.iter().flat_map(|(&node, s)| s.queue.shape_until(node, positions.of(node))).collect();
        let Some(outcome) = self.shaped(&seen).await else { return Ok(true) };
        let mut work = CutWork {
            positions,
            transactions: Vec::new(),
            confirm: BTreeMap::new(),
            broken: Vec::new(),
            replace: outcome.reread,
            save_tables: self.reshaped,
        };
        let of_table = |(table, reason)| Some((self.tables.source_of(table)?.id, reason));
        work.broken.extend(std::mem::take(&mut self.broken).into_iter().filter_map(of_table));
        work.broken.extend(outcome.broken);
        self.reshaped = false;
        // Whatever was written to them was so before the tables in their place were read.
        let going: BTreeSet<TableId> = work.replace.iter().flat_map(|r| r.mended.going.iter().copied()).collect();
        for (&node, state) in &mut self.nodes {
            let before = state.position;
            state.position = state.position.max(work.positions.of(node));
            let mut taken = Vec::new();
            state.queue.take_until(state.position, &mut taken)?;
            let doubtful = self.tables.doubtful(node, before);
            for transaction in &mut taken {
                let end = transaction.end;
                let skip = doubtful.iter().filter(|(_, t)| !t.counts(node, end)).map(|(id, _)| *id);
                let skip: BTreeSet<TableId> = skip.chain(going.iter().copied()).collect();
                for table in leave_out(transaction, &skip) {
                    self.dropped.insert((table, node), end);
                }
            }
            work.transactions.extend(taken.into_iter().map(|t| (node, t)));
            work.confirm.insert(node, self.frontier.safe_to_confirm(node));
        }
        work.transactions = behind_moves(std::mem::take(&mut work.transactions), &self.tables.moving());
        let finishing = if self.pending.is_empty() { std::mem::take(&mut self.asked) } else { Vec::new() };
        self.under_way.push_back(UnderWay { finishing, ..UnderWay::default() });
        self.tables.prune(&work.positions);
        self.held_since = None;
        self.ahead = false;
        self.in_flight = true;
        self.last_cut = tokio::time::Instant::now();
        Ok(self.engine.apply(work).await)
    }

    /// Whether the agents that were told of tables in their new places are still those that ship them.
    fn nodes_stayed(&self, outcome: &Outcome) -> bool {
        outcome
            .sessions
            .iter()
            .all(|(node, session)| self.nodes.get(node).is_some_and(|state| state.session == *session))
    }

    /// What the metadata says, taken over. `None`: the cut has to wait.
    async fn shaped(&mut self, seen: &[Seen]) -> Option<Outcome> {
        if seen.is_empty() && self.hold.is_none() && self.pending.is_empty() {
            return Some(Outcome::default());
        }
        let sources = self.tables.sources();
        let held = self.hold.take();
        let outcome = held.as_ref().and_then(|h| h.outcome.clone()).unwrap_or_default();
        let mended: BTreeSet<SourceId> = held.iter().flat_map(|h| h.again.keys().copied()).collect();
        let (ours, others): (Vec<KeptSource>, Vec<KeptSource>) =
            sources.into_iter().partition(|s| mended.contains(&s.id));
        let dropped = |table, node| self.dropped.get(&(table, node)).copied();
        let mut findings = shape::read(seen, &others, dropped);
        let mut late = later_than(&outcome, seen, &ours);
        for (id, tables) in std::mem::take(&mut self.pending) {
            let once_more = match (mended.contains(&id), tables.is_empty()) {
                (false, _) => &mut findings.again,
                // In doubt since the source's tables were looked at: it was not looked for.
                (true, false) => &mut late,
                // To be looked up once more, with the cut behind this one: nothing has to be read for that as yet.
                (true, true) => &mut self.pending,
            };
            once_more.entry(id).or_default().extend(tables);
        }
        if findings.nodes {
            self.nodes_changed.notify_one();
        }
        // A first read that is under way is begun again, and so is a copy; nothing else reads the source.
        let is_read = |id: &SourceId| others.iter().any(|s| s.id == *id && s.ready && !s.broken && !s.is_copy);
        findings.again.retain(|id, _| {
            let keep = is_read(id);
            if !keep {
                self.tables.disturb(*id);
                // Durable before the cut: a copy outlives the process.
                self.reshaped = true;
            }
            keep
        });
        for source in others.iter().filter(|s| !s.ready) {
            if findings.moved.iter().any(|(t, _)| source.tables.iter().any(|k| k.id == *t)) {
                self.tables.disturb(source.id);
            }
        }
        if !findings.again.is_empty() || !late.is_empty() {
            let mut again = findings.again;
            for (id, tables) in held.map(|h| h.again).unwrap_or_default().into_iter().chain(late) {
                again.entry(id).or_default().extend(tables);
            }
            // What was read is of no use any more.
            self.hold(again, &outcome.reread).await;
            return None;
        }
        let tables = others.iter().flat_map(|s| &s.tables).filter(|t| findings.moved.iter().any(|(id, _)| *id == t.id));
        // Several sources can read a shard.
        let shards: BTreeSet<u64> = tables.map(|t| t.shard).collect();
        metrics::counter!("tributary_shard_moves_total").increment(shards.len() as u64);
        for (table, spans) in findings.moved {
            tracing::info!(%table, to = ?spans.last().map(|s| s.node), "shard moved; nothing is read again");
            self.tables.moved(table, spans);
            self.reshaped = true;
        }
        for one in &outcome.reread {
            let (going, read) = (one.mended.going.len(), one.mended.read.len());
            tracing::info!(source = %one.mended.source, going, read, "tables were read again");
            self.tables.mended(&one.mended);
            self.reshaped = true;
        }
        Some(outcome)
    }

    /// Holds the cut back until these are read.
    async fn hold(&mut self, again: Again, useless: &[Reread]) {
        let id = self.links.number();
        let names: BTreeSet<String> =
            again.keys().filter_map(|s| self.tables.source(*s)).map(|s| s.name.to_string()).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        tracing::info!(tables = names, "the cluster's shape changed; reading again before the next cut");
        forget_shadows(&self.engine.clone(), useless).await;
        let since = *self.held_since.get_or_insert_with(tokio::time::Instant::now);
        let asked = tokio::time::Instant::now();
        let _stopping = self.mend.send(Wanted { id, again: again.clone(), since, asked });
        self.hold = Some(Hold { id, names, again, outcome: None });
    }

    /// Takes the metadata in that has to be reacted to before its cut: tables that a move is about to fill.
    pub(crate) fn foresee(&self, node: NodeId, rows: &[v1::ShapeRow]) {
        if node != NodeId(0) {
            return;
        }
        for row in rows {
            let Some(Kind::Cleanup(cleanup)) = &row.kind else { continue };
            let digits = cleanup.table.trim_end_matches('"').rsplit('_').next();
            let Some(shard) = digits.and_then(|d| d.parse().ok()).filter(|_| cleanup.is_new) else { continue };
            let (target, ticket) = (NodeId(cleanup.node), self.links.number());
            let tables = self.tables.expect_guest(shard, target, ticket);
            if !tables.is_empty() {
                self.receive_guest(target, ticket, tables);
            }
        }
    }

    /// Has the tables shipped as soon as they are there, which is a moment after they were announced.
    fn receive_guest(&self, node: NodeId, ticket: u64, tables: Vec<v1::Table>) {
        fail::fail_point!("shape-guest-not-received", |_| ());
        let (links, kept) = (self.links.clone(), self.tables.clone());
        tokio::spawn(async move {
            let started = tokio::time::Instant::now();
            while kept.expects(ticket) && started.elapsed() < GUEST_WITHIN {
                let order = v1::order::Kind::Subscribe(v1::Subscribe { tables: tables.clone() });
                match links.order(node, order).await {
                    Ok(done) => {
                        kept.guest_arrived(ticket, Lsn(done.lsn));
                        tracing::info!(%node, from = %Lsn(done.lsn), "the new table of a moving shard is published");
                        return;
                    }
                    Err(error) => tracing::debug!(%node, %error, "the new table of a moving shard is not there yet"),
                }
                tokio::time::sleep(GUEST_PAUSE).await;
            }
        });
    }
}

/// What was read is of no use.
pub(crate) async fn forget_shadows(engine: &EngineHandle, useless: &[Reread]) {
    let shadows: Vec<SourceId> = useless.iter().map(|r| r.shadow).collect();
    if shadows.is_empty() {
        return;
    }
    let forget = move |room: &mut EngineRoom| shadows.iter().try_for_each(|s| room.engine.drop_source(*s));
    if let Ok(Err(error)) = engine.call(forget).await {
        tracing::debug!(%error, "shadows stay until the next start");
    }
}

/// The new table of a moving shard is looked for so often, and so long.
const GUEST_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);
const GUEST_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

/// Sources whose metadata changed on node 0 behind the place where it was looked at: read again once more, those too that were
/// where they were. What is given up is not followed further, wherever it goes.
fn later_than(outcome: &Outcome, seen: &[Seen], ours: &[KeptSource]) -> Again {
    let Outcome { reread, broken, looked_at, .. } = outcome;
    let mut late = Again::new();
    let rows = seen.iter().filter(|s| s.node == NodeId(0) && s.end > *looked_at).flat_map(|s| &s.rows);
    for row in rows {
        for source in ours.iter().filter(|s| broken.iter().all(|(id, _)| *id != s.id)) {
            let read = reread.iter().filter(|r| r.mended.source == source.id).flat_map(|r| &r.mended.read);
            let mut shards = source.tables.iter().chain(read).map(|t| t.shard);
            let hit = match &row.kind {
                Some(Kind::Placement(p)) => shards.any(|s| s == p.shard),
                Some(Kind::Shard(s)) => {
                    let relation = reread.iter().find(|r| r.mended.source == source.id).map(|r| r.mended.relation);
                    shards.any(|shard| shard == s.shard)
                        || s.relation == source.relation
                        || Some(s.relation) == relation
                }
                _ => false,
            };
            if hit {
                let tables = source
                    .tables
                    .iter()
                    .filter(|t| matches!(&row.kind, Some(Kind::Placement(p)) if p.shard == t.shard));
                late.entry(source.id).or_default().extend(tables.map(|t| t.id));
            }
        }
    }
    late
}

/// Puts what was written to a shard where it went behind what was written to it where it was before: of two changes of one row
/// the engine keeps the last, and transactions of two nodes have no other order.
fn behind_moves(transactions: Vec<(NodeId, Taken)>, moved: &BTreeMap<TableId, Vec<Span>>) -> Vec<(NodeId, Taken)> {
    if moved.is_empty() {
        return transactions;
    }
    let mut all = Vec::with_capacity(transactions.len());
    let mut later: BTreeMap<usize, Vec<(NodeId, Taken)>> = BTreeMap::new();
    for (node, mut transaction) in transactions {
        let (end, commit_time) = (transaction.end, transaction.commit_time);
        let station = |table: TableId| moved.get(&table)?.iter().position(|s| s.counts(node, end));
        for (station, piece) in take_out(&mut transaction, |table| station(table).unwrap_or(0)) {
            later.entry(station).or_default().push((node, Taken { end, commit_time, pieces: vec![piece] }));
        }
        all.push((node, transaction));
    }
    all.extend(later.into_values().flatten());
    all
}

/// Takes the changes of some tables out of a transaction; gives those that had any.
fn leave_out(transaction: &mut Taken, skip: &BTreeSet<TableId>) -> BTreeSet<TableId> {
    let mut had = BTreeSet::new();
    if !skip.is_empty() {
        take_out(transaction, |table| {
            let out = skip.contains(&table);
            if out {
                had.insert(table);
            }
            usize::from(out)
        });
    }
    had
}

/// Takes the changes of tables that have a number above 0 out of a transaction; gives them by the numbers.
fn take_out(transaction: &mut Taken, mut number: impl FnMut(TableId) -> usize) -> BTreeMap<usize, Bytes> {
    let mut out: BTreeMap<usize, BytesMut> = BTreeMap::new();
    for piece in &mut transaction.pieces {
        let (mut rest, mut kept, mut taken) = (piece.clone(), BytesMut::new(), false);
        loop {
            let here = rest.clone();
            match Change::decode(&mut rest) {
                Ok(Some(change)) => {
                    let number = number(change.table);
                    taken |= number > 0;
                    change.encode(if number > 0 { out.entry(number).or_default() } else { &mut kept });
                }
                Ok(None) => break,
                // Damage is the engine's to complain about.
                Err(_) => {
                    kept.extend_from_slice(&here);
                    break;
                }
            }
        }
        if taken {
            *piece = kept.freeze();
        }
    }
    transaction.pieces.retain(|piece: &Bytes| !piece.is_empty());
    out.into_iter().map(|(number, changes)| (number, changes.freeze())).collect()
}

#[cfg(test)]
mod tests {
    use types::{Op, Row};

    use super::*;

    fn taken(end: u64, changes: &[(u32, &[u8])]) -> Taken {
        let mut piece = BytesMut::new();
        for (table, text) in changes {
            let row = Row::from_bytes(Bytes::copy_from_slice(text));
            Change { table: TableId(*table), op: Op::Insert(row) }.encode(&mut piece);
        }
        Taken { end: Lsn(end), commit_time: 0, pieces: vec![piece.freeze()] }
    }

    fn read(transactions: &[(NodeId, Taken)]) -> Vec<(u32, u64, Vec<u32>)> {
        let tables = |t: &Taken| {
            let mut tables = Vec::new();
            for mut piece in t.pieces.clone() {
                while let Ok(Some(change)) = Change::decode(&mut piece) {
                    tables.push(change.table.0);
                }
            }
            tables
        };
        transactions.iter().map(|(node, t)| (node.0, t.end.0, tables(t))).collect()
    }

    #[test]
    fn what_was_written_behind_a_move_comes_behind_what_was_written_before_it() {
        // Table 5 went from node 2 to node 1 and back, table 6 stays where it is.
        let spans = vec![
            Span { node: NodeId(2), from: Lsn(0), until: Lsn(20) },
            Span { node: NodeId(1), from: Lsn(10), until: Lsn(30) },
            Span::since(NodeId(2), Lsn(40)),
        ];
        let all = || {
            vec![
                (NodeId(1), taken(15, &[(5, b"b"), (6, b"x")])),
                (NodeId(1), taken(16, &[(5, b"c")])),
                (NodeId(2), taken(12, &[(6, b"y"), (5, b"a")])),
                (NodeId(2), taken(45, &[(5, b"d"), (6, b"z")])),
            ]
        };
        let ordered = read(&behind_moves(all(), &[(TableId(5), spans)].into()));
        let first = [(1, 15, vec![6]), (1, 16, vec![]), (2, 12, vec![6, 5]), (2, 45, vec![6])];
        let later = [(1, 15, vec![5]), (1, 16, vec![5]), (2, 45, vec![5])];
        assert_eq!(ordered, [first.as_slice(), later.as_slice()].concat());
        assert_eq!(read(&behind_moves(all(), &BTreeMap::new())), read(&all()));
    }

    #[test]
    fn what_went_elsewhere_since_it_was_looked_at_is_read_once_more_unless_it_is_given_up() {
        let tables = crate::tables::Tables::default();
        let source = |name: &str, relation, shard| {
            let placement = topology::Placement {
                node: NodeId(1),
                table: types::TableName::new("public", format!("{name}_{shard}")),
                shard: Some(shard),
                relation: 0,
            };
            let table = topology::LogicalTable {
                name: types::TableName::new("public", name),
                relation,
                kind: topology::TableKind::Distributed,
                placements: vec![placement],
                columns: Vec::new(),
                generated: Vec::new(),
                identity: Vec::new(),
                replica_full: true,
                hashed: false,
                row_security: false,
            };
            tables.add(Vec::new(), Vec::new(), None, &table)
        };
        let (stays, slow) = (source("stays", 7, 101), source("slow", 8, 102));
        let moved = |shard| v1::ShapeRow { kind: Some(Kind::Placement(v1::PlacementRow { shard, node: 2 })) };
        let seen = [Seen { node: NodeId(0), end: Lsn(50), at: Lsn(50), rows: vec![moved(101), moved(102)] }];
        let ours = [stays.clone(), slow.clone()];
        let outcome = |looked_at| Outcome {
            broken: vec![(slow.id, "it takes long".into())],
            looked_at: Lsn(looked_at),
            ..Outcome::default()
        };
        let late: Again = [(stays.id, [stays.tables[0].id].into())].into();
        assert_eq!(later_than(&outcome(40), &seen, &ours), late);
        assert_eq!(later_than(&outcome(50), &seen, &ours), Again::new());
    }

    #[test]
    fn what_is_damaged_stays_for_the_engine_to_complain_about() {
        let mut transaction = taken(15, &[(5, b"a"), (6, b"b")]);
        let whole = transaction.pieces[0].clone();
        let cut = whole.slice(..whole.len() - 1);
        transaction.pieces = vec![cut.clone()];
        assert_eq!(leave_out(&mut transaction, &[TableId(5)].into()), [TableId(5)].into());
        assert!(cut.ends_with(&transaction.pieces[0]) && Change::decode(&mut transaction.pieces[0]).is_err());
    }
}
