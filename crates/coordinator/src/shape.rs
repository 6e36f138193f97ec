//! What the metadata rows of a cut mean for the sources that are kept. Pure: rows in, findings out.
//!
//! A move that was noticed in time (its new table was shipped before anything could be written to it) only changes the
//! spans of the shard's tables ([`crate::placement`]). Everything else is looked up in the catalogs and read again
//! ([`crate::mend`]): a table that was shipped too late, shards that came from a split or with a distribution, nodes
//! without metadata.
//!
//! "In time" is judged at the metadata's PREPARE on the target: nobody writes to the new table before the initiator has
//! committed, and it commits behind all PREPAREs. The COMMIT PREPARED on the target can be later than such a write.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proto::v1;
use proto::v1::shape_row::Kind;
use types::{Lsn, NodeId, SourceId, TableId};

use crate::placement::{KeptTable, Span};
use crate::tables::{KeptSource, Spread};

/// Where the metadata is whole.
const COORDINATOR: NodeId = NodeId(0);

/// The metadata rows of one transaction of one node.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) node: NodeId,
    /// Where it committed.
    pub(crate) end: Lsn,
    /// Where it was prepared; where it committed when it was not.
    pub(crate) at: Lsn,
    pub(crate) rows: Vec<v1::ShapeRow>,
}

/// Sources whose tables have to be looked up, and the tables to be read again in any case.
pub(crate) type Again = BTreeMap<SourceId, BTreeSet<TableId>>;

/// What a cut's metadata means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Tables that went to other nodes, with all their spans.
    pub(crate) moved: Vec<(TableId, Vec<Span>)>,
    pub(crate) again: Again,
    /// The list of nodes changed.
    pub(crate) nodes: bool,
}

/// A shard's stations on one node's stream: the node it goes to, where the metadata was prepared and committed.
type Stations = Vec<(NodeId, Lsn, Lsn)>;

/// Reads the rows of a cut, each node's in its commit order. `dropped`: the end of the last transaction of the node that
/// had changes of the table which did not count.
pub(crate) fn read(
    seen: &[Seen],
    sources: &[KeptSource],
    dropped: impl Fn(TableId, NodeId) -> Option<Lsn>,
) -> Findings {
    let mut findings = Findings::default();
    let mut placed: HashMap<u64, BTreeMap<NodeId, Stations>> = HashMap::new();
    let mut gone: BTreeSet<u64> = BTreeSet::new();
    let mut related: BTreeSet<u32> = BTreeSet::new();
    for of in seen {
        for row in &of.rows {
            match &row.kind {
                Some(Kind::Placement(p)) => {
                    let stations = placed.entry(p.shard).or_default().entry(of.node).or_default();
                    stations.push((NodeId(p.node), of.at, of.end));
                }
                Some(Kind::Shard(s)) if of.node == COORDINATOR => {
                    if s.relation == 0 {
                        gone.insert(s.shard);
                    } else {
                        related.insert(s.relation);
                    }
                }
                Some(Kind::Node(_)) if of.node == COORDINATOR => findings.nodes = true,
                _ => {}
            }
        }
    }
    if placed.is_empty() && gone.is_empty() && related.is_empty() && !findings.nodes {
        return findings;
    }
    for source in sources {
        let partitions = source.spread == Spread::Partitioned && !related.is_empty();
        if partitions || related.contains(&source.relation) || source.tables.iter().any(|t| gone.contains(&t.shard)) {
            findings.again.entry(source.id).or_default();
        }
        if source.spread == Spread::Copied {
            continue;
        }
        for table in source.tables.iter().filter(|t| t.shard != 0) {
            let Some(stations) = placed.get(&table.shard) else { continue };
            match follow(table, stations, &dropped) {
                Route::Stays => {}
                Route::Moved(spans) => findings.moved.push((table.id, spans)),
                Route::Unclear => drop(findings.again.entry(source.id).or_default().insert(table.id)),
            }
        }
    }
    // What is looked up again anyway gets its places from there.
    let again: BTreeSet<TableId> = sources
        .iter()
        .filter(|s| findings.again.contains_key(&s.id))
        .flat_map(|s| s.tables.iter().map(|t| t.id))
        .collect();
    let (looked_up, moved) = findings.moved.into_iter().partition(|(id, _)| again.contains(id));
    findings.moved = moved;
    let looked_up: Vec<(TableId, Vec<Span>)> = looked_up;
    for (table, _) in looked_up {
        if let Some(source) = sources.iter().find(|s| s.tables.iter().any(|t| t.id == table)) {
            findings.again.entry(source.id).or_default().insert(table);
        }
    }
    findings
}

enum Route {
    Stays,
    Moved(Vec<Span>),
    Unclear,
}

/// The stations of one shard, one after the other, each node's own positions beside them.
fn follow(
    table: &KeptTable,
    stations: &BTreeMap<NodeId, Stations>,
    dropped: &impl Fn(TableId, NodeId) -> Option<Lsn>,
) -> Route {
    // Rows that only say again where the shard is (its size, for one) are no moves.
    let moves = |node: NodeId| {
        let mut at = table.node;
        let all = stations.get(&node).into_iter().flatten();
        all.filter(move |(to, ..)| std::mem::replace(&mut at, *to) != *to).copied().collect::<Stations>()
    };
    let told = moves(COORDINATOR);
    if told.is_empty() {
        return if stations.is_empty() || stations.keys().all(|n| moves(*n).is_empty()) {
            Route::Stays
        } else {
            Route::Unclear
        };
    }
    let mut spans = table.spans.clone();
    for (step, (to, ..)) in told.iter().enumerate() {
        let Some(last) = spans.last_mut() else { return Route::Unclear };
        let (old, new) = (moves(last.node), moves(*to));
        let same = |all: &Stations| all.len() == told.len() && all.iter().zip(&told).all(|(a, b)| a.0 == b.0);
        let (Some((_, _, left)), Some((_, prepared, committed))) = (old.get(step), new.get(step)) else {
            return Route::Unclear;
        };
        let guest = table.guests.iter().find(|g| g.node == *to).and_then(|g| g.shipped_from);
        // At that very position the agent may have read the row that wakes the table before it was told of the table.
        let in_time = guest.is_some_and(|from| from < *prepared);
        // A write between PREPARE and COMMIT PREPARED that an earlier cut left out.
        let lost = dropped(table.id, *to).is_some_and(|end| end > *prepared && end <= *committed);
        if !same(&old) || !same(&new) || !in_time || lost {
            return Route::Unclear;
        }
        last.until = *left;
        spans.push(Span::since(*to, *prepared));
    }
    Route::Moved(spans)
}

#[cfg(test)]
mod tests {
    use types::TableName;

    use super::*;
    use crate::placement::Guest;

    fn placement(shard: u64, node: u32) -> v1::ShapeRow {
        v1::ShapeRow { kind: Some(Kind::Placement(v1::PlacementRow { shard, node })) }
    }

    fn shard(shard: u64, relation: u32) -> v1::ShapeRow {
        v1::ShapeRow { kind: Some(Kind::Shard(v1::ShardRow { shard, relation })) }
    }

    fn seen(node: u32, at: u64, end: u64, rows: Vec<v1::ShapeRow>) -> Seen {
        Seen { node: NodeId(node), at: Lsn(at), end: Lsn(end), rows }
    }

    fn source(guest: Option<u64>) -> KeptSource {
        let name = TableName::new("public", "t_102");
        let at = topology::Placement { node: NodeId(1), table: name, shard: Some(102), relation: 0 };
        let mut table = KeptTable::new(TableId(5), at);
        table.guests = vec![Guest { node: NodeId(2), shipped_from: guest.map(Lsn), ticket: 1, unsure: false }];
        KeptSource {
            id: SourceId(3),
            name: TableName::new("public", "t"),
            columns: Vec::new(),
            identity: Vec::new(),
            tables: vec![table],
            ready: true,
            relation: 77,
            spread: Spread::Once,
            broken: false,
            disturbed: false,
            hashed: false,
            definition: None,
            filter: None,
            is_copy: false,
        }
    }

    /// The metadata of a move from node 1 to node 2, as the three streams have it.
    fn a_move() -> Vec<Seen> {
        vec![
            seen(0, 10, 10, vec![placement(102, 2)]),
            seen(1, 18, 20, vec![placement(102, 2)]),
            seen(2, 28, 30, vec![placement(102, 2)]),
        ]
    }

    fn nothing(_: TableId, _: NodeId) -> Option<Lsn> {
        None
    }

    #[test]
    fn a_move_noticed_in_time_ends_one_span_and_begins_the_next() {
        let findings = read(&a_move(), &[source(Some(27))], nothing);
        let spans = vec![Span { node: NodeId(1), from: Lsn(0), until: Lsn(20) }, Span::since(NodeId(2), Lsn(28))];
        assert_eq!(findings.moved, [(TableId(5), spans)]);
        assert!(findings.again.is_empty());
    }

    #[test]
    fn a_table_shipped_too_late_or_a_write_left_out_is_read_again() {
        let again: Again = [(SourceId(3), [TableId(5)].into())].into();
        for guest in [None, Some(28), Some(29)] {
            assert_eq!(read(&a_move(), &[source(guest)], nothing).again, again);
        }
        let lost = read(&a_move(), &[source(Some(1))], |_, node| (node == NodeId(2)).then_some(Lsn(29)));
        assert_eq!((lost.again, lost.moved), (again, vec![]));
        let copies = read(&a_move(), &[source(Some(1))], |_, node| (node == NodeId(2)).then_some(Lsn(27)));
        assert_eq!(copies.moved.len(), 1);
    }

    #[test]
    fn a_stream_without_the_row_leaves_it_unclear() {
        for left_out in 0..3 {
            let mut rows = a_move();
            rows.remove(left_out);
            let findings = read(&rows, &[source(Some(1))], nothing);
            assert!(findings.moved.is_empty() && !findings.again.is_empty(), "{left_out}");
        }
    }

    #[test]
    fn rows_that_say_where_the_shard_is_are_no_moves() {
        let rows = [seen(0, 10, 10, vec![placement(102, 1), placement(999, 2)])];
        assert_eq!(read(&rows, &[source(None)], nothing), Findings::default());
    }

    #[test]
    fn shards_that_come_or_go_have_their_source_looked_up() {
        let again: Again = [(SourceId(3), [].into())].into();
        for row in [shard(102, 0), shard(5000, 77)] {
            assert_eq!(read(&[seen(0, 9, 9, vec![row])], &[source(None)], nothing).again, again);
        }
        let others = [seen(0, 9, 9, vec![shard(1, 0), shard(2, 78)])];
        assert_eq!(read(&others, &[source(None)], nothing), Findings::default());
    }

    #[test]
    fn a_shard_that_moves_and_is_split_in_one_cut_is_looked_up_and_read() {
        let mut rows = a_move();
        rows.push(seen(0, 40, 40, vec![shard(5000, 77)]));
        let findings = read(&rows, &[source(Some(1))], nothing);
        assert_eq!((findings.moved.len(), findings.again), (0, [(SourceId(3), [TableId(5)].into())].into()));
    }
}
