//! What the frontier promises, one case at a time.

mod questions;

use frontier::{Ask, Event, Frontier, Rules};
use types::{Gid, Lsn, NodeId, Positions};

/// A frontier over nodes 0..count at 100 each, whose streams are at their cuts.
struct Cluster {
    frontier: Frontier,
    count: u32,
}

impl Cluster {
    fn of(count: u32, pattern: bool) -> Self {
        Self::at(&vec![100; count as usize], pattern)
    }

    fn at(positions: &[u64], pattern: bool) -> Self {
        let key = |gid: &Gid| gid.0.strip_prefix("app_").map(|rest| rest.split('_').next().unwrap_or(rest).to_owned());
        let pattern: Option<frontier::KeyOf> = if pattern { Some(Box::new(key)) } else { None };
        let count = positions.len() as u32;
        let known = positions.iter().enumerate().filter(|(_, at)| **at > 0);
        let at = Positions(known.map(|(node, at)| (NodeId(node as u32), Lsn(*at))).collect());
        let frontier = Frontier::new((0..count).map(NodeId), at, Rules { citus: true, pattern, per_node: false });
        let mut it = Self { frontier, count };
        for (node, at) in positions.iter().enumerate() {
            if *at > 0 {
                it.progress(node as u32, *at);
            }
        }
        it
    }

    /// Its question when all streams had begun is answered: node n stands at `at`.
    fn settled(mut self, at: u64) -> Self {
        for ask in self.asks() {
            self.answer(&ask, at, &[]);
        }
        self
    }

    fn event(&mut self, node: u32, event: Event) {
        self.frontier.event(NodeId(node), event);
    }
    fn plain(&mut self, node: u32, end: u64) {
        self.event(node, Event::Commit { end: Lsn(end), participants: Vec::new() });
    }
    fn progress(&mut self, node: u32, at: u64) {
        self.event(node, Event::Progress { lsn: Lsn(at) });
    }
    fn prepare(&mut self, node: u32, begin: u64, end: u64, gid: &str) {
        self.event(node, Event::Prepare { begin: Lsn(begin), end: Lsn(end), gid: gid.into() });
    }
    fn commit(&mut self, node: u32, end: u64, gid: &str) {
        self.event(node, Event::CommitPrepared { end: Lsn(end), gid: gid.into() });
    }
    fn rollback(&mut self, node: u32, end: u64, gid: &str) {
        self.event(node, Event::RollbackPrepared { end: Lsn(end), gid: gid.into() });
    }
    fn list(&mut self, node: u32, end: u64, branches: &[(u32, &str)]) {
        let participants = branches.iter().map(|(node, gid)| (NodeId(*node), Gid::from(*gid))).collect();
        self.event(node, Event::Commit { end: Lsn(end), participants });
    }
    fn asks(&mut self) -> Vec<Ask> {
        self.frontier.asks()
    }
    fn answer(&mut self, ask: &Ask, at: u64, prepared: &[bool]) {
        self.frontier.answer(ask.id, ask.node, Lsn(at), prepared);
    }
    fn cut(&mut self) -> Option<Vec<u64>> {
        let cut = self.frontier.next_cut()?;
        Some((0..self.count).map(|node| cut.of(NodeId(node)).0).collect())
    }
    fn safe(&self, node: u32) -> u64 {
        self.frontier.safe_to_confirm(NodeId(node)).0
    }
    fn waits(&self) -> Vec<String> {
        self.frontier.waiting_for().iter().map(ToString::to_string).collect()
    }
}

const G1: &str = "citus_0_77_1_1";
const G2: &str = "citus_0_77_1_2";

#[test]
fn plain_commits_are_cut_where_each_stream_stands() {
    let mut c = Cluster::of(2, false);
    assert_eq!(c.cut(), None);
    c.plain(0, 110);
    c.progress(1, 130);
    assert_eq!(c.cut(), Some(vec![110, 130]));
    assert_eq!(c.cut(), None);
    c.plain(0, 105);
    assert_eq!(c.cut(), None, "what was before the cut is ignored");
}

#[test]
fn a_branch_waits_for_the_others_and_the_initiator() {
    let mut c = Cluster::of(3, false).settled(100);
    c.prepare(1, 101, 105, G1);
    c.prepare(2, 101, 105, G2);
    c.plain(1, 110);
    c.commit(1, 120, G1);
    c.plain(1, 130);
    assert_eq!(c.cut(), Some(vec![100, 110, 105]));
    assert_eq!(c.waits(), ["node 0: the commit of the transaction whose branch citus_0_77_1_1 committed"]);
    c.list(0, 150, &[(1, G1), (2, G2)]);
    assert_eq!(c.cut(), None);
    assert_eq!(c.waits(), ["node 2: COMMIT PREPARED of citus_0_77_1_2, whose transaction committed on node 0"]);
    c.commit(2, 125, G2);
    assert_eq!(c.cut(), Some(vec![150, 130, 125]));
    assert_eq!(c.waits(), Vec::<String>::new());
    assert!(c.asks().is_empty());
}

#[test]
fn two_transactions_in_opposite_orders_fall_into_one_cut() {
    let (a, b) = (["citus_0_1_1_1", "citus_0_1_1_2"], ["citus_0_2_2_1", "citus_0_2_2_2"]);
    let mut c = Cluster::of(3, false).settled(100);
    c.list(0, 110, &[(1, a[0]), (2, a[1])]);
    c.list(0, 120, &[(1, b[0]), (2, b[1])]);
    c.commit(1, 110, a[0]);
    c.commit(2, 110, b[1]);
    c.commit(1, 120, b[0]);
    assert_eq!(c.cut(), None);
    c.commit(2, 120, a[1]);
    assert_eq!(c.cut(), Some(vec![120, 120, 120]));
}

#[test]
fn a_node_goes_back_with_the_transactions_of_its_siblings() {
    // x on 0 and 1 is complete, behind y on 1, whose other branch on 2 has not come.
    let mut c = Cluster::of(4, false).settled(100);
    c.list(3, 110, &[(1, "citus_3_1_1_1"), (2, "citus_3_1_1_2")]);
    c.list(3, 120, &[(0, "citus_3_1_2_1"), (1, "citus_3_1_2_2")]);
    c.plain(0, 105);
    c.commit(0, 110, "citus_3_1_2_1");
    c.plain(1, 105);
    c.commit(1, 110, "citus_3_1_1_1");
    c.commit(1, 120, "citus_3_1_2_2");
    c.plain(0, 130);
    assert_eq!(c.cut(), Some(vec![105, 105, 100, 100]));
    c.commit(2, 110, "citus_3_1_1_2");
    assert_eq!(c.cut(), Some(vec![130, 120, 110, 120]));
}

#[test]
fn undecided_branches_do_not_hold_the_cut_but_the_slot() {
    let mut c = Cluster::of(2, false).settled(100);
    c.prepare(1, 103, 110, G1);
    c.plain(1, 200);
    assert_eq!(c.cut(), Some(vec![100, 200]));
    assert_eq!(c.safe(1), 103);
    c.list(0, 150, &[(1, G1)]);
    assert_eq!(c.cut(), None, "the decision is there: the branch is waited for");
    c.commit(1, 210, G1);
    assert_eq!(c.safe(1), 103, "committed, not cut");
    assert_eq!(c.cut(), Some(vec![150, 210]));
    assert_eq!(c.safe(1), 210);
}

#[test]
fn a_branch_rolled_back_is_dropped() {
    let mut c = Cluster::of(2, false).settled(100);
    c.prepare(1, 103, 110, G1);
    c.rollback(1, 120, G1);
    assert_eq!(c.cut(), Some(vec![100, 120]));
    assert_eq!(c.safe(1), 120);
}

#[test]
fn a_branch_whose_list_came_before_the_initiators_slot_is_cut_with_what_is_known() {
    let mut c = Cluster::of(3, false);
    c.prepare(1, 101, 105, G1);
    c.prepare(2, 101, 105, G2);
    c.commit(1, 110, G1);
    assert_eq!(c.cut(), Some(vec![100, 105, 105]));
    for ask in c.asks() {
        c.answer(&ask, 130, &[]);
    }
    c.progress(0, 130);
    c.progress(1, 130);
    assert_eq!(c.cut(), Some(vec![130, 105, 105]));
    c.progress(2, 130);
    assert_eq!(c.cut(), Some(vec![130, 105, 130]), "the other branch is known from its PREPARE");
    assert_eq!(c.waits(), ["node 2: the decision of prepared citus_0_77_1_2, whose transaction committed elsewhere"]);
    c.commit(2, 140, G2);
    for ask in c.asks() {
        c.answer(&ask, 140, &[]);
    }
    (0..3).for_each(|node| c.progress(node, 140));
    assert_eq!(c.cut(), Some(vec![140, 140, 140]));
}

#[test]
fn names_that_no_rule_takes_are_transactions_of_their_own() {
    let mut c = Cluster::of(2, true).settled(100);
    c.prepare(0, 101, 105, "mine");
    c.commit(0, 110, "mine");
    assert_eq!(c.cut(), Some(vec![110, 100]));
    assert!(c.asks().is_empty());
}

#[test]
fn a_restarted_stream_takes_its_part_back() {
    let mut c = Cluster::of(3, false).settled(100);
    c.prepare(1, 101, 105, G1);
    c.list(0, 150, &[(1, G1), (2, G2)]);
    c.commit(1, 110, G1);
    c.frontier.restarted(NodeId(1));
    c.prepare(2, 101, 105, G2);
    c.commit(2, 110, G2);
    assert_eq!(c.cut(), Some(vec![100, 100, 105]));
    c.prepare(1, 101, 105, G1);
    c.commit(1, 110, G1);
    assert_eq!(c.cut(), Some(vec![150, 110, 110]));
}

#[test]
fn a_restarted_initiator_takes_its_list_back() {
    let mut c = Cluster::of(3, false).settled(100);
    c.prepare(1, 101, 105, G1);
    c.prepare(2, 101, 105, G2);
    c.list(0, 150, &[(1, G1), (2, G2)]);
    c.commit(1, 110, G1);
    c.commit(2, 110, G2);
    c.frontier.restarted(NodeId(0));
    assert_eq!(c.cut(), Some(vec![100, 105, 105]));
    c.list(0, 150, &[(1, G1), (2, G2)]);
    assert_eq!(c.cut(), Some(vec![150, 110, 110]));
}

#[test]
fn while_a_restarted_stream_catches_up_nothing_more_is_confirmed() {
    let mut c = Cluster::of(2, false).settled(100);
    c.prepare(1, 103, 110, G1);
    c.plain(1, 200);
    c.cut();
    c.frontier.restarted(NodeId(1));
    assert_eq!(c.safe(1), 103);
    c.plain(0, 120);
    c.cut();
    assert_eq!(c.safe(1), 103, "the PREPARE has not come again yet");
    c.prepare(1, 103, 110, G1);
    c.progress(1, 220);
    c.cut();
    assert_eq!(c.safe(1), 103);

    let fresh = Frontier::new([NodeId(1)], Positions([(NodeId(1), Lsn(200))].into()), Rules::default());
    assert_eq!(fresh.safe_to_confirm(NodeId(1)), Lsn::ZERO, "nothing is known of branches before the cut");
}

#[test]
fn an_aggregator_that_starts_again_goes_on_at_its_cut() {
    let mut c = Cluster::at(&[150, 200], false);
    c.prepare(1, 103, 110, G1); // comes again: undecided at the cut
    c.plain(1, 190); // in the cut
    c.commit(1, 210, G1);
    assert_eq!(c.cut(), None);
    c.list(0, 160, &[(1, G1)]);
    assert_eq!(c.cut(), Some(vec![160, 210]));
    assert_eq!(c.safe(1), 210);
}

#[test]
fn a_node_that_leaves_is_not_waited_for() {
    let mut c = Cluster::of(3, false).settled(100);
    c.list(0, 150, &[(1, G1), (2, G2)]);
    c.prepare(1, 101, 105, G1);
    c.commit(1, 110, G1);
    assert_eq!(c.cut(), Some(vec![100, 105, 100]));
    c.frontier.remove_node(NodeId(2));
    let cut = c.frontier.next_cut().unwrap();
    assert_eq!(cut, Positions([(NodeId(0), Lsn(150)), (NodeId(1), Lsn(110))].into()));
    c.frontier.add_node(NodeId(2), Lsn(500));
    c.progress(2, 510);
    assert_eq!(c.cut(), Some(vec![150, 110, 510]));
}

#[test]
fn a_name_used_again_is_another_transaction() {
    let mut c = Cluster::of(2, false).settled(100);
    for end in [110, 120] {
        c.list(0, end, &[(1, G1)]);
    }
    c.prepare(1, 101, 105, G1);
    c.commit(1, 110, G1);
    assert_eq!(c.cut(), Some(vec![110, 110]));
    c.prepare(1, 111, 115, G1);
    assert_eq!(c.safe(1), 110);
    c.commit(1, 120, G1);
    assert_eq!(c.cut(), Some(vec![120, 120]));
}

#[test]
fn a_thousand_transactions_behind_a_node_that_is_down_are_cut_when_it_is_back() {
    let mut c = Cluster::of(3, false).settled(100);
    for n in 0..1000 {
        let (a, b) = (format!("citus_0_77_{n}_1"), format!("citus_0_77_{n}_2"));
        c.prepare(1, 1000 + n * 10, 1001 + n * 10, &a);
        c.commit(1, 1002 + n * 10, &a);
        c.list(0, 1000 + n, &[(1, &a), (2, &b)]);
        c.cut();
    }
    assert_eq!(c.frontier.cut().of(NodeId(1)), Lsn(1001));
    for n in 0..1000 {
        c.commit(2, 1000 + n, &format!("citus_0_77_{n}_2"));
    }
    assert_eq!(c.cut(), Some(vec![1999, 10992, 1999]));
}

#[test]
fn a_million_plain_commits_take_little_time() {
    let mut c = Cluster::of(3, false).settled(100);
    let begun = std::time::Instant::now();
    for n in 0..1_000_000_u64 {
        c.plain((n % 3) as u32, 1000 + n);
    }
    assert!(c.cut().is_some());
    // Seconds anywhere; hours, were a commit's work to grow with those before it.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[test]
fn a_branch_whose_decision_was_skipped_on_the_way_back_is_forgotten() {
    // The PREPARE from before the cut came again; then the stream broke off and went on behind its decision.
    let mut c = Cluster::at(&[300], false);
    c.frontier.restarted(NodeId(0));
    c.prepare(0, 103, 110, G1);
    c.progress(0, 310);
    c.cut();
    assert_eq!(c.safe(0), 103);
    let ask = c.asks().into_iter().find(|ask| ask.gids == [Gid::from(G1)]).unwrap();
    c.answer(&ask, 320, &[false]);
    c.progress(0, 330);
    assert_eq!(c.cut(), Some(vec![330]));
    assert_eq!(c.safe(0), 330);
}
