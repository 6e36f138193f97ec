//! A node that begins anew, behind what was under way on the others.

use frontier::{Event, Frontier, Rules};
use types::{Gid, Lsn, NodeId, Positions};

const GID: &str = "citus_0_77_1_1";

/// Answers every question so: the node stands at `at`, and nothing is prepared.
fn answer_all(frontier: &mut Frontier, at: u64) {
    for ask in frontier.asks() {
        let prepared = vec![false; ask.gids.len()];
        frontier.answer(ask.id, ask.node, Lsn(at), &prepared);
    }
}

/// Node 0, which begins all transactions, is promoted elsewhere between a branch's commit on node 1 and its own list of the
/// branches in its stream: the list is in no stream any more.
#[test]
fn a_list_that_was_expected_from_a_node_that_begins_anew_is_not_waited_for() {
    for leaves in [false, true] {
        let nodes = [NodeId(0), NodeId(1)];
        let at = Positions(nodes.iter().map(|node| (*node, Lsn(100))).collect());
        let mut frontier = Frontier::new(nodes, at, Rules { citus: true, ..Rules::default() });
        for node in nodes {
            frontier.event(node, Event::Progress { lsn: Lsn(100) });
        }
        answer_all(&mut frontier, 100);
        let gid = Gid::from(GID);
        frontier.event(NodeId(1), Event::Prepare { begin: Lsn(101), end: Lsn(105), gid: gid.clone() });
        frontier.event(NodeId(1), Event::CommitPrepared { end: Lsn(110), gid });
        assert!(frontier.asks().is_empty(), "the list is expected to come by itself");
        if leaves {
            frontier.remove_node(NodeId(0));
        } else {
            frontier.add_node(NodeId(0), Lsn::ZERO);
            frontier.event(NodeId(0), Event::Progress { lsn: Lsn(50) });
        }
        assert!(frontier.next_cut().is_none_or(|cut| cut.of(NodeId(1)) < Lsn(110)));
        answer_all(&mut frontier, 120);
        for node in nodes {
            frontier.event(node, Event::Progress { lsn: Lsn(120) });
        }
        assert_eq!(frontier.next_cut().map(|cut| cut.of(NodeId(1))), Some(Lsn(120)), "leaves: {leaves}");
        assert!(frontier.waiting_for().is_empty());
    }
}
