//! Recursions by example: circles, long paths, those that never end. Random ones are in `exact` and `building`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ivm::IvmError;
use plan::{OutputKey, Rel};
use rand::SeedableRng;
use rand::rngs::StdRng;
use types::{Change, Op, Scalar, StreamId, TableId};
use world::driver::Driver;
use world::plans::{self, Case, divided, minus};
use world::{World, int4, row, transaction, values};

/// Which nodes are reached from which, along the rows of `b`; with `all` as often as there are ways.
fn reached(all: bool) -> Case {
    let mut case = plans::all().into_iter().find(|c| c.name == "what is reached, in circles").unwrap();
    if all {
        let Rel::Recursive { all, .. } = &mut case.plan.root else { panic!("it is no recursion") };
        *all = true;
        case.plan.key = OutputKey::RowId;
    }
    case
}

/// As `reached`, but the second of a pair is 12 / (first − where the edge leads).
fn dividing(all: bool) -> Case {
    let mut case = reached(all);
    let Rel::Recursive { step, .. } = &mut case.plan.root else { panic!("it is no recursion") };
    let Rel::Project { exprs, .. } = &mut **step else { panic!("its step computes") };
    let twelve = Scalar { kind: types::ScalarKind::Const(int4(12)), ty: world::INT4 };
    exprs[1] = divided(twelve, minus(exprs[0].clone(), exprs[1].clone()));
    case
}

/// All edges, beside it.
fn edges() -> Case {
    let mut case = reached(true);
    let Rel::Recursive { base, .. } = case.plan.root else { panic!("it is no recursion") };
    case.plan.root = *base;
    case
}

fn edge(from: i32, to: i32) -> Change {
    Change { table: TableId(3), op: Op::Insert(row(&vec![int4(from), int4(to), None, None])) }
}

fn gone(from: i32, to: i32) -> Change {
    Change { table: TableId(3), op: Op::Delete(row(&vec![int4(from), int4(to), None, None])) }
}

struct Graph {
    world: World,
    driver: Driver,
    cases: Vec<Case>,
}

impl Graph {
    fn new(cases: Vec<Case>) -> Self {
        let world = World::new(StdRng::seed_from_u64(1));
        let mut driver = Driver::new();
        driver.start(&world);
        let mut graph = Self { world, driver, cases };
        for id in 1..=graph.cases.len() as u32 {
            graph.driver.create(&graph.cases[id as usize - 1], id);
        }
        graph
    }

    fn apply(&mut self, changes: &[Change]) -> ivm::CutOutput {
        self.world.lsn += 10;
        let transaction = transaction(0, self.world.lsn, changes);
        let cut = self.world.next_cut();
        self.driver.apply(cut, &[transaction], &self.cases)
    }

    /// Pairs in a stream table, each once.
    fn pairs(&self, id: u32) -> BTreeSet<(i32, i32)> {
        let number = |v: &Option<Vec<u8>>| i32::from_be_bytes(v.as_ref().unwrap()[..].try_into().unwrap());
        let rows = self.driver.contents[&StreamId(id)].values().map(values);
        rows.map(|r| (number(&r[0]), number(&r[1]))).collect()
    }
}

/// Every pair of these nodes.
fn square(nodes: &[i32]) -> BTreeSet<(i32, i32)> {
    nodes.iter().flat_map(|a| nodes.iter().map(|b| (*a, *b))).collect()
}

#[test]
fn rows_that_only_support_each_other_go_with_the_last_that_stood_by_itself() {
    let mut graph = Graph::new(vec![reached(false)]);
    graph.apply(&[edge(0, 1), edge(1, 2), edge(2, 3), edge(3, 1)]);
    let circle = square(&[1, 2, 3]);
    let from_outside: BTreeSet<_> = [(0, 1), (0, 2), (0, 3)].into();
    assert_eq!(graph.pairs(1), &circle | &from_outside);
    // A second way in, then the first one goes: nothing that is reached changes but the way.
    let output = graph.apply(&[edge(0, 3), gone(0, 1)]);
    assert_eq!(output.streams.iter().map(|s| s.changes.len()).sum::<usize>(), 0, "{output:?}");
    graph.driver.reopen();
    // Around the circle everything would still follow from each other.
    graph.apply(&[gone(0, 3)]);
    assert_eq!(graph.pairs(1), circle);
    graph.apply(&[gone(2, 3)]);
    assert_eq!(graph.pairs(1), [(1, 2), (3, 1), (3, 2)].into());
    graph.apply(&[gone(1, 2), gone(3, 1)]);
    assert_eq!(graph.pairs(1), BTreeSet::new());
}

#[test]
fn a_long_path_is_followed_cut_and_mended() {
    const LENGTH: i32 = 300;
    let mut graph = Graph::new(vec![reached(false), reached(true)]);
    graph.apply(&(0..LENGTH).map(|n| edge(n, n + 1)).collect::<Vec<_>>());
    let all = |from: i32, to: i32| (from..to).flat_map(move |a| (a + 1..=to).map(move |b| (a, b)));
    for round in 0..2 {
        let whole: BTreeSet<_> = all(0, LENGTH).collect();
        assert_eq!((graph.pairs(1), graph.pairs(2)), (whole.clone(), whole), "round {round}");
        graph.apply(&[gone(100, 101)]);
        let parts: BTreeSet<_> = all(0, 100).chain(all(101, LENGTH)).collect();
        assert_eq!((graph.pairs(1), graph.pairs(2)), (parts.clone(), parts), "round {round}");
        graph.driver.drop_stream(2);
        graph.driver.create(&graph.cases[1], 2);
        graph.apply(&[edge(100, 101)]);
    }
    let operators = graph.driver.engine().operators(StreamId(1)).unwrap();
    let operators = operators.stats();
    let last = |at: usize| operators[at].cuts.last().map(|cut| (cut.rows_in, cut.rows_out)).unwrap();
    let shown: Vec<_> = operators.iter().map(|o| (o.depth, o.name)).collect();
    assert_eq!(shown[1..], [(1, "recursive"), (2, "source"), (2, "join"), (3, "working"), (3, "source")]);
    // What one edge in the middle brings: the paths through it, each found from the one before.
    assert_eq!(last(1), (1 + 100, 101 * 200));
    assert!(last(3).0 >= 101 * 200 && last(4).1 == 101 * 200, "{operators:?}");
}

#[test]
fn pairs_of_rows_that_never_were_together_are_never_computed_in_a_recursion() {
    let mut graph = Graph::new(vec![dividing(false), dividing(true), edges()]);
    graph.apply(&[edge(1, 2), edge(2, 9)]);
    assert_eq!(graph.pairs(1), [(1, 2), (2, 9), (1, -1)].into());
    // The old (1, 2) with the new (2, 1) would be a division by nought.
    let output = graph.apply(&[gone(1, 2), edge(2, 1)]);
    assert_eq!(output.failed, []);
    for id in [1, 2] {
        assert_eq!(graph.pairs(id), [(2, 9), (2, 1)].into());
    }
    // Together they are one.
    let output = graph.apply(&[edge(1, 2)]);
    let failed: Vec<_> = output.failed.iter().map(|(id, reason)| (id.0, &reason[..24])).collect();
    assert_eq!(failed, [(1, "division by zero (22012)"), (2, "division by zero (22012)")]);
    graph.driver.drop_stream(1);
    graph.driver.engine().add_stream(graph.cases[0].define(1)).unwrap();
    let failed = graph.driver.engine().build(StreamId(1), &mut |_| Ok(()));
    assert!(matches!(&failed, Err(IvmError::Build(reason)) if reason.starts_with("division by zero")), "{failed:?}");
}

const REASON: &str = "its recursion does not end";

#[test]
fn a_recursion_that_runs_in_a_circle_stops_its_stream_table_alone() {
    let mut graph = Graph::new(vec![reached(true), edges(), reached(false)]);
    graph.apply(&[edge(1, 2), edge(2, 3)]);
    assert_eq!(graph.pairs(1), [(1, 2), (1, 3), (2, 3)].into());
    let before = Instant::now();
    let output = graph.apply(&[edge(3, 1), edge(4, 5)]);
    assert!(before.elapsed() < Duration::from_secs(300), "{:?}", before.elapsed());
    let [(StreamId(1), reason)] = &output.failed[..] else { panic!("{output:?}") };
    assert!(reason.starts_with(REASON) && reason.contains("UNION instead of UNION ALL"), "{reason}");
    assert_eq!((graph.pairs(1).len(), graph.pairs(2).len()), (3, 4));
    assert_eq!(graph.pairs(3), &square(&[1, 2, 3]) | &[(4, 5)].into());
    // Computed again it fails again, until the circle is open.
    graph.driver.drop_stream(1);
    graph.driver.engine().add_stream(graph.cases[0].define(1)).unwrap();
    let failed = graph.driver.engine().build(StreamId(1), &mut |_| Ok(()));
    assert!(matches!(&failed, Err(IvmError::Build(reason)) if reason.starts_with(REASON)), "{failed:?}");
    graph.driver.drop_stream(1);
    graph.apply(&[gone(2, 3)]);
    graph.driver.create(&graph.cases[0], 1);
    assert_eq!(graph.pairs(1), [(1, 2), (3, 1), (3, 2), (4, 5)].into());
}

/// Each level has twice the rows of the one before.
#[test]
fn a_recursion_that_grows_without_end_is_stopped_before_memory_is() {
    let mut graph = Graph::new(vec![reached(true), edges()]);
    let before = Instant::now();
    let output = graph.apply(&[edge(1, 1), edge(1, 2), edge(2, 1), edge(2, 2)]);
    assert!(before.elapsed() < Duration::from_secs(300), "{:?}", before.elapsed());
    assert!(matches!(&output.failed[..], [(StreamId(1), reason)] if reason.contains("MiB in one cut")), "{output:?}");
    assert_eq!(graph.pairs(2), square(&[1, 2]));
    // Computed, it hands on what it finds, up to some number of rows that wait.
    graph.driver.drop_stream(1);
    graph.driver.engine().add_stream(graph.cases[0].define(1)).unwrap();
    let (before, mut rows) = (Instant::now(), 0);
    let failed = graph.driver.engine().build(StreamId(1), &mut |piece| {
        rows += piece.len();
        Ok(())
    });
    println!("{rows} rows in {:?}", before.elapsed());
    assert!(matches!(&failed, Err(IvmError::Build(reason)) if reason.starts_with(REASON)), "{failed:?}");
}

#[test]
fn ever_new_rows_stop_a_recursion_that_has_each_once() {
    // The numbers from those of table `c` on.
    let mut case = plans::all().into_iter().find(|c| c.name == "numbers that follow, each once").unwrap();
    let Rel::Recursive { step, .. } = &mut case.plan.root else { panic!("it is no recursion") };
    let Rel::Project { input, .. } = &mut **step else { panic!("its step computes") };
    **input = Rel::Working { types: vec![world::INT4] };
    let mut graph = Graph::new(vec![case, edges()]);
    let one = Change { table: TableId(5), op: Op::Insert(row(&vec![int4(1), None])) };
    let before = Instant::now();
    let output = graph.apply(&[one, edge(1, 2)]);
    assert!(before.elapsed() < Duration::from_secs(300), "{:?}", before.elapsed());
    assert!(matches!(&output.failed[..], [(StreamId(1), reason)] if reason.starts_with(REASON)), "{output:?}");
    assert_eq!(graph.pairs(2), [(1, 2)].into());
}
