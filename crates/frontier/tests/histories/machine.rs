//! The frontier between a world and a checker: delivers, asks, restarts, crashes, at random.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use frontier::{Ask, Event, Frontier, Rules};
use rand::Rng;
use rand::rngs::StdRng;
use types::{Gid, Lsn, NodeId, Positions};

use crate::world::World;

/// What happened in a history.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) cuts: u64,
    pub(crate) asks: u64,
    pub(crate) transactions: u64,
    pub(crate) restarts: u64,
    pub(crate) crashes: u64,
    pub(crate) late: u64,
}

impl AddAssign for Seen {
    fn add_assign(&mut self, o: Self) {
        self.cuts += o.cuts;
        self.asks += o.asks;
        self.transactions += o.transactions;
        self.restarts += o.restarts;
        self.crashes += o.crashes;
        self.late += o.late;
    }
}

/// A node's stream as the machine reads it.
#[derive(Debug, Default)]
struct Stream {
    next: usize,
    from: Lsn,
    /// How far the frontier was told.
    told: Lsn,
    /// The furthest of `told` since the frontier knows of a restart.
    reached: Lsn,
    confirmed: Lsn,
    /// Branches whose changes are here.
    changes: BTreeSet<Gid>,
    /// Where the branches begin that the agent read, and whose decisions it did not; it confirms nothing behind these.
    undecided: BTreeMap<Gid, Lsn>,
}

struct Emitted {
    positions: Positions,
    confirm: BTreeMap<usize, Lsn>,
}

struct Machine {
    rng: StdRng,
    world: World,
    frontier: Frontier,
    streams: Vec<Stream>,
    asks: Vec<Ask>,
    last: Positions,
    durable: Positions,
    waiting: Vec<Emitted>,
    seen: Seen,
    seed: u64,
    trace: bool,
}

pub(crate) fn run(seed: u64, mut rng: StdRng, trace: bool) -> Seen {
    let mut world = World::new(&mut rng);
    for _ in 0..rng.random_range(0..40) {
        world.step(&mut rng, true);
    }
    let mut positions = Positions::default();
    let mut streams: Vec<Stream> = Vec::new();
    for (i, node) in world.nodes.iter_mut().enumerate() {
        let mut stream = Stream::default();
        if i == 0 || rng.random_bool(0.8) {
            node.joined = Some(world.time);
        }
        if node.joined.is_some() && rng.random_bool(0.7) {
            node.slot = Some(Lsn(node.lsn));
            node.began = world.time;
            if rng.random_bool(0.5) {
                positions.0.insert(NodeId(i as u32), Lsn(node.lsn));
            }
        }
        stream.confirmed = node.slot.unwrap_or(Lsn::ZERO);
        streams.push(stream);
    }
    let joined = (0..world.nodes.len()).filter(|i| world.nodes[*i].joined.is_some());
    let frontier = Frontier::new(joined.map(|i| NodeId(i as u32)), positions.clone(), rules());
    let (last, durable) = (positions.clone(), positions);
    let (asks, waiting, seen) = (Vec::new(), Vec::new(), Seen::default());
    let mut machine = Machine { rng, world, frontier, streams, asks, last, durable, waiting, seen, seed, trace };
    let steps = machine.rng.random_range(20..400);
    for _ in 0..steps {
        machine.step();
    }
    machine.finish();
    machine.seen.transactions = machine.world.txs.len() as u64;
    machine.seen
}

fn rules() -> Rules {
    let key = |gid: &Gid| gid.0.strip_prefix("app_").and_then(|rest| rest.split('_').next()).map(str::to_owned);
    Rules { citus: true, pattern: Some(Box::new(key)), per_node: false }
}

impl Machine {
    fn step(&mut self) {
        let node = self.rng.random_range(0..self.world.nodes.len());
        match self.rng.random_range(0..100) {
            0..=39 => self.world.step(&mut self.rng, true),
            40..=69 => {
                let count = self.rng.random_range(1..8);
                self.deliver(node, count);
            }
            70..=79 => self.cut(),
            80..=84 => self.ask(),
            85..=91 => self.answer_one(),
            92 | 93 => self.make_durable(),
            94 => self.begin_slot(node, false),
            95 => self.join(node),
            96 | 97 => self.restart(node),
            98 => self.rewind(node),
            _ if self.rng.random_bool(0.3) => self.crash(),
            _ => {}
        }
    }

    fn log(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{}", what());
        }
    }

    fn fail(&self, what: &str) -> ! {
        panic!("TRIBUTARY_SEED={}: {what}\nwaiting for {:#?}", self.seed, self.frontier.waiting_for());
    }

    fn is_up(&self, node: usize) -> bool {
        self.world.nodes[node].slot.is_some() && self.world.nodes[node].joined.is_some()
    }

    fn give(&mut self, node: usize, event: Event) {
        let id = NodeId(node as u32);
        self.log(|| format!("node {node}: {event:?}"));
        match &event {
            Event::Prepare { gid, begin, .. } => {
                self.streams[node].changes.insert(gid.clone());
                self.streams[node].undecided.insert(gid.clone(), *begin);
            }
            Event::CommitPrepared { end, gid } => {
                let here = self.streams[node].changes.remove(gid);
                self.streams[node].undecided.remove(gid);
                if !here && *end > self.last.of(id) {
                    self.fail(&format!("node {node} commits {gid} at {end:?} and its changes were confirmed away"));
                }
            }
            Event::RollbackPrepared { gid, .. } => {
                self.streams[node].undecided.remove(gid);
                self.streams[node].changes.remove(gid);
            }
            _ => {}
        }
        let stream = &mut self.streams[node];
        stream.reached = stream.reached.max(stream.told);
        self.frontier.event(id, event);
    }

    fn deliver(&mut self, node: usize, count: usize) {
        if !self.is_up(node) {
            return;
        }
        for _ in 0..count {
            let stream = &mut self.streams[node];
            let records = &self.world.nodes[node].log;
            let slot = self.world.nodes[node].slot.unwrap();
            if stream.next < records.len() {
                let index = stream.next;
                stream.next += 1;
                stream.told = records[index].end.max(slot);
                for event in self.world.sent(node, index, self.streams[node].from) {
                    self.give(node, event);
                }
            }
            if self.rng.random_bool(0.3) {
                let stream = &self.streams[node];
                let next = self.world.nodes[node].log.get(stream.next).map(|r| r.end.0 - 1);
                let limit = next.unwrap_or(self.world.nodes[node].lsn);
                if limit > stream.told.0 && limit > slot.0 {
                    let lsn = Lsn(self.rng.random_range(stream.told.0.max(slot.0)..=limit));
                    self.streams[node].told = lsn;
                    self.give(node, Event::Progress { lsn });
                }
            }
        }
    }

    fn cut(&mut self) {
        let before = self.frontier.cut();
        let Some(positions) = self.frontier.next_cut() else {
            if self.frontier.cut() != before {
                self.fail("a cut that was not given out");
            }
            return;
        };
        self.log(|| format!("cut {positions:?}"));
        self.seen.cuts += 1;
        if !self.last.within(&positions) || positions == self.last || positions != self.frontier.cut() {
            self.fail(&format!("the cut {positions:?} does not advance {:?}", self.last));
        }
        for (node, lsn) in &positions.0 {
            if *lsn > self.last.of(*node) && *lsn > self.streams[node.0 as usize].reached {
                self.fail(&format!("the cut {positions:?} goes beyond what node {node} sent"));
            }
        }
        if let Some(torn) = self.world.torn(&positions) {
            self.fail(&torn);
        }
        self.last = positions.clone();
        let nodes = 0..self.streams.len();
        let confirm = nodes.map(|n| (n, self.frontier.safe_to_confirm(NodeId(n as u32)))).collect();
        self.check_confirm(&confirm);
        self.waiting.push(Emitted { positions, confirm });
    }

    fn check_confirm(&self, confirm: &BTreeMap<usize, Lsn>) {
        for branch in self.world.branches() {
            let cut = self.last.of(NodeId(branch.node as u32));
            let slot = self.world.nodes[branch.node].slot.unwrap_or(Lsn::MAX);
            let Some((begin, end)) = branch.prepared else { continue };
            let needed = end > slot && end <= cut && !branch.rolled_back && branch.committed.is_none_or(|c| c > cut);
            if needed && confirm[&branch.node] > begin {
                self.fail(&format!("{} may be confirmed behind {branch:?}; the cut is {cut}", confirm[&branch.node]));
            }
            if confirm[&branch.node] > cut {
                self.fail("may be confirmed behind the cut");
            }
        }
    }

    fn make_durable(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let count = self.rng.random_range(1..=self.waiting.len());
        for emitted in self.waiting.drain(..count) {
            self.durable = emitted.positions;
            for (node, lsn) in emitted.confirm {
                let stream = &mut self.streams[node];
                let lsn = stream.undecided.values().fold(lsn, |lsn, begin| lsn.min(*begin));
                stream.confirmed = stream.confirmed.max(lsn);
            }
        }
    }

    fn ask(&mut self) {
        for ask in self.frontier.asks() {
            self.log(|| format!("{ask:?}"));
            self.seen.asks += 1;
            if !self.is_up(ask.node.0 as usize) {
                self.fail(&format!("{ask:?}: the node's slot had not begun"));
            }
            self.asks.push(ask);
        }
    }

    fn answer_one(&mut self) {
        if self.asks.is_empty() {
            return;
        }
        let ask = self.asks.swap_remove(self.rng.random_range(0..self.asks.len()));
        if self.rng.random_bool(0.1) {
            self.log(|| format!("failed {}", ask.id));
            self.frontier.ask_failed(ask.id, ask.node);
            return;
        }
        let node = ask.node.0 as usize;
        let prepared: Vec<bool> = ask.gids.iter().map(|gid| self.world.is_prepared(node, gid)).collect();
        let between = self.rng.random_range(0..4);
        for _ in 0..between {
            self.world.step(&mut self.rng, true);
        }
        let at = Lsn(self.world.nodes[node].lsn);
        for _ in 0..between {
            let node = self.rng.random_range(0..self.world.nodes.len());
            self.deliver(node, 1);
        }
        self.log(|| format!("answer {} of node {node}: {at:?} {prepared:?}", ask.id));
        self.frontier.answer(ask.id, ask.node, at, &prepared);
    }

    /// PostgreSQL waits with a new slot for most prepared transactions, not for all.
    fn begin_slot(&mut self, node: usize, now: bool) {
        let waits = !now && self.world.has_prepared(node) && self.rng.random_bool(0.8);
        let state = &mut self.world.nodes[node];
        if state.slot.is_none() && state.joined.is_some() && !waits {
            state.slot = Some(Lsn(state.lsn));
            state.began = self.world.time;
            self.streams[node].confirmed = Lsn(state.lsn);
            self.seen.late += 1;
            self.log(|| format!("slot of node {node} begins at {:?}", self.world.nodes[node].slot));
        }
    }

    fn join(&mut self, node: usize) {
        if self.world.nodes[node].joined.is_none() {
            self.log(|| format!("node {node} joins"));
            self.world.nodes[node].joined = Some(self.world.time);
            self.frontier.add_node(NodeId(node as u32), Lsn::ZERO);
        }
    }

    fn restart(&mut self, node: usize) {
        if self.is_up(node) {
            self.log(|| format!("node {node} restarts"));
            self.seen.restarts += 1;
            self.read_again(node);
            self.streams[node].changes.clear();
            self.streams[node].undecided.clear();
            self.streams[node].reached = Lsn::ZERO;
            self.frontier.restarted(NodeId(node as u32));
        }
    }

    /// The agent lost its connection and reads again, nobody is told.
    fn rewind(&mut self, node: usize) {
        if self.is_up(node) {
            self.log(|| format!("node {node} reads again"));
            self.read_again(node);
        }
    }

    fn read_again(&mut self, node: usize) {
        let stream = &mut self.streams[node];
        stream.next = 0;
        stream.from = stream.confirmed;
        stream.told = stream.confirmed;
    }

    fn crash(&mut self) {
        self.log(|| format!("crash, back to {:?}", self.durable));
        self.seen.crashes += 1;
        self.waiting.clear();
        self.asks.clear();
        self.last = self.durable.clone();
        let joined = (0..self.streams.len()).filter(|i| self.world.nodes[*i].joined.is_some());
        self.frontier = Frontier::new(joined.map(|i| NodeId(i as u32)), self.durable.clone(), rules());
        for node in 0..self.streams.len() {
            self.read_again(node);
            self.streams[node].changes.clear();
            self.streams[node].undecided.clear();
            self.streams[node].reached = Lsn::ZERO;
        }
    }

    /// Everything ends, is delivered and answered: then everything committed must be in a cut.
    fn finish(&mut self) {
        self.log(|| "finish".into());
        for node in 0..self.streams.len() {
            self.join(node);
            self.begin_slot(node, true);
        }
        while (0..self.world.txs.len()).any(|t| self.world.is_active(t)) {
            self.world.step(&mut self.rng, false);
        }
        let end = Positions(self.world.by_node());
        for _ in 0..2500 {
            for node in 0..self.streams.len() {
                self.deliver(node, self.world.nodes[node].log.len() - self.streams[node].next);
                let lsn = Lsn(self.world.nodes[node].lsn);
                if self.streams[node].reached < lsn {
                    self.streams[node].told = lsn;
                    self.give(node, Event::Progress { lsn });
                }
            }
            self.cut();
            if self.last == end {
                return;
            }
            self.ask();
            while let Some(ask) = self.asks.pop() {
                let node = ask.node.0 as usize;
                let prepared: Vec<bool> = ask.gids.iter().map(|gid| self.world.is_prepared(node, gid)).collect();
                self.frontier.answer(ask.id, ask.node, Lsn(self.world.nodes[node].lsn), &prepared);
            }
        }
        self.fail(&format!("all was delivered up to {end:?}, but the last cut is {:?}", self.last));
    }
}
