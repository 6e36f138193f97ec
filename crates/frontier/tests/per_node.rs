//! Frontiers whose nodes do not wait for each other: random histories of plain, distributed and shape-changing transactions, with
//! nodes that are away and streams that start again. `TRIBUTARY_SEED=n` replays one history.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use frontier::{Event, Frontier, Rules};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use types::{Gid, Lsn, NodeId, Positions};

const NODES: u32 = 3;

/// A node's WAL: events with whether they change the cluster's shape, by their ends.
#[derive(Default)]
struct Wal {
    events: Vec<(Lsn, Event, bool)>,
    end: u64,
    /// Of each branch: where it begins, its PREPARE's end, and its decision's, once there is one.
    branches: BTreeMap<Gid, (Lsn, Lsn, Option<Lsn>)>,
}

impl Wal {
    fn write(&mut self, reshapes: bool, event: impl FnOnce(Lsn) -> Event) -> Lsn {
        self.end += 10;
        let end = Lsn(self.end);
        self.events.push((end, event(end), reshapes));
        end
    }
}

struct History {
    wals: Vec<Wal>,
    /// The pieces of each transaction that changes the cluster's shape.
    shapes: Vec<BTreeMap<NodeId, Lsn>>,
}

impl History {
    /// Plain commits and two-phase commits begun by node 0, in every order that Citus allows.
    fn random(rng: &mut StdRng) -> Self {
        let mut wals: Vec<Wal> = (0..NODES).map(|_| Wal::default()).collect();
        let mut shapes = Vec::new();
        for number in 0..rng.random_range(1..25) {
            if rng.random_bool(0.4) {
                let node = rng.random_range(0..NODES) as usize;
                wals[node].write(false, |end| Event::Commit { end, participants: Vec::new() });
                continue;
            }
            let reshapes = rng.random_bool(0.3);
            let gid = |node: u32| Gid::from(format!("citus_0_7_{number}_{node}").as_str());
            let nodes: Vec<u32> = (1..NODES).filter(|_| reshapes || rng.random_bool(0.7)).collect();
            for &node in &nodes {
                let wal = &mut wals[node as usize];
                let begin = Lsn(wal.end + 1);
                let at = wal.write(reshapes, |end| Event::Prepare { end, begin, gid: gid(node) });
                wal.branches.insert(gid(node), (begin, at, None));
            }
            let participants = nodes.iter().map(|n| (NodeId(*n), gid(*n))).collect();
            let end = wals[0].write(reshapes, |end| Event::Commit { end, participants });
            let mut pieces = BTreeMap::from([(NodeId(0), end)]);
            for &node in &nodes {
                let wal = &mut wals[node as usize];
                if rng.random_bool(0.3) {
                    wal.write(false, |end| Event::Commit { end, participants: Vec::new() });
                }
                let end = wal.write(false, |end| Event::CommitPrepared { end, gid: gid(node) });
                wal.branches.entry(gid(node)).and_modify(|b| b.2 = Some(end));
                pieces.insert(NodeId(node), end);
            }
            if reshapes {
                shapes.push(pieces);
            }
        }
        Self { wals, shapes }
    }

    fn torn(&self, cut: &Positions) -> bool {
        self.shapes.iter().any(|pieces| {
            let inside = pieces.iter().filter(|(node, end)| **end <= cut.of(**node)).count();
            inside != 0 && inside != pieces.len()
        })
    }
}

struct Machine {
    history: History,
    frontier: Frontier,
    read: Vec<usize>,
    cut: Positions,
}

impl Machine {
    fn new(history: History) -> Self {
        let rules = Rules { citus: true, per_node: true, ..Rules::default() };
        let frontier = Frontier::new((0..NODES).map(NodeId), Positions::default(), rules);
        Self { history, frontier, read: vec![0; NODES as usize], cut: Positions::default() }
    }

    fn deliver(&mut self, node: u32) {
        let at = self.read[node as usize];
        let Some((_, event, reshapes)) = self.history.wals[node as usize].events.get(at).cloned() else { return };
        self.read[node as usize] += 1;
        if reshapes {
            self.frontier.reshaping_event(NodeId(node), event);
        } else {
            self.frontier.event(NodeId(node), event);
        }
    }

    fn position(&self, node: u32) -> Lsn {
        let read = self.read[node as usize].checked_sub(1);
        read.map_or(Lsn::ZERO, |last| self.history.wals[node as usize].events[last].0)
    }

    /// The stream starts again from what may be confirmed; PREPAREs from there on come again.
    fn restart(&mut self, node: u32) {
        let from = self.frontier.safe_to_confirm(NodeId(node));
        self.frontier.restarted(NodeId(node));
        let wal = &self.history.wals[node as usize];
        self.read[node as usize] = wal.events.partition_point(|(end, ..)| *end <= from);
    }

    fn cut(&mut self) {
        let Some(cut) = self.frontier.next_cut() else { return };
        assert!(self.cut.within(&cut), "a cut went back: {:?} to {cut:?}", self.cut);
        assert!(!self.history.torn(&cut), "half a change of shape in {cut:?}");
        self.cut = cut;
        for node in 0..NODES {
            let safe = self.frontier.safe_to_confirm(NodeId(node));
            assert!(safe <= self.cut.of(NodeId(node)));
            for (gid, (begin, prepared, decided)) in &self.history.wals[node as usize].branches {
                let open = decided.is_none_or(|end| end > self.cut.of(NodeId(node)));
                let known = *prepared <= self.cut.of(NodeId(node));
                assert!(!(known && open && safe > *begin), "{gid} of node {node} is confirmed before its decision");
            }
        }
    }

    /// Nodes that are there say that nothing is prepared, and where they stand.
    fn answer(&mut self, away: Option<u32>) {
        for ask in self.frontier.asks() {
            if away == Some(ask.node.0) {
                self.frontier.ask_failed(ask.id, ask.node);
                continue;
            }
            let end = Lsn(self.history.wals[ask.node.0 as usize].end);
            self.frontier.answer(ask.id, ask.node, end, &vec![false; ask.gids.len()]);
        }
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    let one = std::env::var("TRIBUTARY_SEED").ok().and_then(|s| s.parse().ok());
    one.map_or(0..20_000, |seed: u64| seed..seed + 1)
}

#[test]
fn shape_changes_stay_whole_positions_only_advance_and_everything_comes_in() {
    for seed in seeds() {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut m = Machine::new(History::random(&mut rng));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let away = rng.random_bool(0.5).then(|| rng.random_range(0..NODES));
            for _ in 0..rng.random_range(0..120) {
                match rng.random_range(0..12) {
                    0 => m.cut(),
                    1 => m.answer(away),
                    2 if rng.random_bool(0.2) => m.restart(rng.random_range(0..NODES)),
                    _ => {
                        let node = rng.random_range(0..NODES);
                        if away != Some(node) {
                            m.deliver(node);
                        }
                    }
                }
            }
            m.cut();
            // All are back and are read to their ends.
            for _ in 0..4 {
                for node in 0..NODES {
                    while m.read[node as usize] < m.history.wals[node as usize].events.len() {
                        m.deliver(node);
                    }
                    let lsn = Lsn(m.history.wals[node as usize].end);
                    m.frontier.event(NodeId(node), Event::Progress { lsn });
                }
                m.answer(None);
                m.cut();
            }
            for node in 0..NODES {
                let end = Lsn(m.history.wals[node as usize].end);
                assert_eq!(m.cut.of(NodeId(node)), end, "node {node} was not read to its end: {:?}", m.frontier);
                assert_eq!(m.frontier.safe_to_confirm(NodeId(node)), end);
            }
            assert!(m.frontier.waiting_for().is_empty());
        }));
        assert!(result.is_ok(), "TRIBUTARY_SEED={seed}");
    }
}

#[test]
fn nothing_but_a_change_of_shape_waits_for_a_node_that_is_away() {
    let mut went_on = 0;
    for seed in seeds() {
        let mut rng = StdRng::seed_from_u64(seed);
        let history = History::random(&mut rng);
        if !history.shapes.is_empty() {
            continue;
        }
        let mut m = Machine::new(history);
        let away = rng.random_range(0..NODES);
        for _ in 0..rng.random_range(1..80) {
            let node = rng.random_range(0..NODES);
            if node != away {
                m.deliver(node);
            }
            m.cut();
            for node in 0..NODES {
                assert_eq!(
                    m.cut.of(NodeId(node)),
                    m.position(node),
                    "TRIBUTARY_SEED={seed}: node {node} was held back"
                );
            }
        }
        assert!(m.frontier.waiting_for().is_empty() && m.frontier.asks().is_empty(), "TRIBUTARY_SEED={seed}");
        went_on += 1;
    }
    assert!(went_on > 100 || std::env::var_os("TRIBUTARY_SEED").is_some());
}
