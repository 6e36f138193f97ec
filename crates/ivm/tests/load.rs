//! The first read of a source while cuts go on: snapshots of each node at its own time, changes kept aside.

#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

use std::collections::BTreeMap;

use ivm::{IvmError, Transaction};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use types::{Cut, Lsn, NodeId, Positions, Row, Seq};
use world::driver::Driver;
use world::{Values, World, definition, plans, row, values};

/// Transactions that committed and are in no cut yet.
struct Pending {
    transactions: Vec<Transaction>,
    positions: BTreeMap<NodeId, Lsn>,
}

impl Pending {
    /// The next cut: some of what is there, each node's in order.
    fn cut(&mut self, world: &mut World, all: bool) -> (Cut, Vec<Transaction>) {
        let until: [Lsn; 2] = std::array::from_fn(|node| {
            let node = NodeId(node as u32 + 1);
            let ends: Vec<Lsn> = self.transactions.iter().filter(|t| t.node == node).map(|t| t.end).collect();
            if all || ends.is_empty() {
                return Lsn(world.lsn);
            }
            ends[world.random.random_range(0..ends.len())]
        });
        let position = |node: NodeId| until[node.0 as usize - 1];
        let (now, later) = std::mem::take(&mut self.transactions).into_iter().partition(|t| t.end <= position(t.node));
        self.transactions = later;
        for node in [NodeId(1), NodeId(2)] {
            let place = self.positions.entry(node).or_default();
            *place = (*place).max(position(node));
        }
        let seq = Seq(world.cut.seq.0 + 1);
        world.cut = Cut { seq, positions: Positions(self.positions.clone()) };
        (world.cut.clone(), now)
    }
}

fn sorted(mut rows: Vec<Values>) -> Vec<Values> {
    rows.sort();
    rows
}

#[test]
fn a_source_read_while_writers_go_on_is_exact_and_so_are_its_stream_tables() {
    let cases = plans::all();
    let first = std::env::var("TRIBUTARY_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    for seed in first..first + 12 {
        println!("TRIBUTARY_SEED={seed}");
        let mut world = World::new(StdRng::seed_from_u64(seed));
        let mut driver = Driver::new();
        driver.engine().start_at(world.cut.clone()).unwrap();
        driver.engine().add_source(definition(&world.tables[0])).unwrap();
        driver.engine().finish_load(world.tables[0].source, &[]).unwrap();
        driver.create(&cases[0], 1);
        let mut pending = Pending { transactions: Vec::new(), positions: world.cut.positions.0.clone() };
        // Cuts before anybody wants the other tables.
        for _ in 0..3 {
            pending.transactions.extend(world.transactions(8));
            let (cut, transactions) = pending.cut(&mut world, false);
            driver.apply(cut, &transactions, &cases);
        }
        let (b, c) = (definition(&world.tables[1]), definition(&world.tables[2]));
        driver.engine().add_source(b.clone()).unwrap();
        driver.engine().add_source(c.clone()).unwrap();
        let mut snapshots = Vec::new();
        for node in 0..2usize {
            for table in [1, 2] {
                let physical = world.tables[table].physical[node];
                let source = world.tables[table].source;
                // The snapshots of the two tables are one: taken before the first of them is read.
                if table == 1 {
                    pending.transactions.extend(world.transactions(10));
                    snapshots.push((NodeId(node as u32 + 1), Lsn(world.lsn), world.rows.clone()));
                }
                let rows: Vec<Row> = snapshots[node].2[&physical].iter().map(row).collect();
                for piece in rows.chunks(2) {
                    driver.engine().load_rows(source, physical, piece).unwrap();
                    pending.transactions.extend(world.transactions(2));
                    let (cut, transactions) = pending.cut(&mut world, false);
                    driver.apply(cut, &transactions, &cases);
                    if world.random.random_bool(0.2) {
                        driver.reopen();
                    }
                }
            }
        }
        let positions: Vec<_> = snapshots.iter().map(|s| (s.0, s.1)).collect();
        let reached = Positions(positions.iter().copied().collect()).within(&world.cut.positions);
        if !reached {
            let early = driver.engine().finish_load(b.id, &positions);
            assert!(matches!(early, Err(IvmError::NotNow(_))), "{early:?}");
        }
        pending.transactions.extend(world.transactions(5));
        let (cut, transactions) = pending.cut(&mut world, true);
        driver.apply(cut, &transactions, &cases);
        for (table, source) in [(1, b.id), (2, c.id)] {
            assert!(!driver.engine().is_ready(source));
            driver.engine().finish_load(source, &positions).unwrap();
            let mut rows = Vec::new();
            driver
                .engine()
                .scan_source(source, &mut |piece| {
                    rows.extend(piece.iter().map(values));
                    Ok(())
                })
                .unwrap();
            assert_eq!(sorted(rows), sorted(world.logical(table)), "seed {seed}: table {table}");
        }
        driver.check(&world, &cases, "loaded");
        driver.reopen();
        for (id, case) in (1..).zip(&cases).skip(1) {
            driver.create(case, id);
        }
        driver.check(&world, &cases, "computed over what was loaded");
        for step in 0..8 {
            pending.transactions.extend(world.transactions(6));
            let (cut, transactions) = pending.cut(&mut world, true);
            driver.apply(cut, &transactions, &cases);
            driver.check(&world, &cases, &format!("seed {seed}: step {step} after the read"));
        }
    }
}

#[test]
fn a_transaction_that_ended_at_the_snapshot_is_in_it_and_one_behind_is_not() {
    use types::{Change, Op};
    use world::{int4, text, transaction};
    let mut driver = Driver::new();
    let world = World::new(StdRng::seed_from_u64(1));
    driver.engine().start_at(world.cut.clone()).unwrap();
    // Without a key, a change that counted twice would show.
    let c = definition(&world.tables[2]);
    driver.engine().add_source(c.clone()).unwrap();
    let (table, node) = c.tables[0];
    let insert = |n: i32| Change { table, op: Op::Insert(row(&vec![int4(n), text("t")])) };
    let cut = |seq, end| Cut { seq: Seq(seq), positions: Positions([(node, Lsn(end)), (NodeId(2), Lsn(1))].into()) };
    let transactions =
        [transaction(0, 99, &[insert(1)]), transaction(0, 100, &[insert(2)]), transaction(0, 101, &[insert(3)])];
    driver.engine().apply(cut(1, 101), &transactions).unwrap();
    let snapshot: Vec<Row> = [1, 2].map(|n| row(&vec![int4(n), text("t")])).into();
    driver.engine().load_rows(c.id, table, &snapshot).unwrap();
    driver.engine().finish_load(c.id, &[(node, Lsn(100))]).unwrap();
    let mut rows = Vec::new();
    driver
        .engine()
        .scan_source(c.id, &mut |piece| {
            rows.extend(piece.iter().map(values));
            Ok(())
        })
        .unwrap();
    assert_eq!(sorted(rows), [1, 2, 3].map(|n| vec![int4(n), text("t")]));
    // Read once: a second time there is nothing to finish.
    assert!(matches!(driver.engine().finish_load(c.id, &[]), Err(IvmError::NotNow(_))));
    assert!(matches!(driver.engine().load_rows(c.id, table, &snapshot), Err(IvmError::NotNow(_))));
}

#[test]
fn a_source_that_is_dropped_while_it_is_read_leaves_nothing() {
    let mut driver = Driver::new();
    let mut world = World::new(StdRng::seed_from_u64(3));
    driver.engine().start_at(world.cut.clone()).unwrap();
    let a = definition(&world.tables[0]);
    driver.engine().add_source(a.clone()).unwrap();
    let transactions = world.transactions(30);
    let cut = world.next_cut();
    driver.engine().apply(cut, &transactions).unwrap();
    let rows: Vec<Row> = world.rows[&a.tables[0].0].iter().map(row).collect();
    driver.engine().load_rows(a.id, a.tables[0].0, &rows).unwrap();
    driver.engine().drop_source(a.id).unwrap();
    driver.engine().drop_source(a.id).unwrap();
    driver.engine = None;
    let store = state::Store::open(driver.dir.path(), &state::Options::default()).unwrap();
    for family in [state::Family::Sources, state::Family::Backlog] {
        let mut cursor = state::Read::cursor(&store, family);
        cursor.seek(&[]);
        assert!(cursor.next().unwrap().is_none(), "{family:?}");
    }
    drop(store);
    // Its number and tables can be given again.
    driver.reopen();
    driver.engine().add_source(a.clone()).unwrap();
    driver.engine().finish_load(a.id, &[]).unwrap();
    driver.engine().scan_source(a.id, &mut |rows| Err(format!("{} rows are there", rows.len()))).unwrap();
}
