//! What stops a stream table, a source or a cut, and what goes on all the same.

#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

use ivm::IvmError;
use plan::{AggregateFunc, OutputKey, Rel};
use rand::SeedableRng;
use rand::rngs::StdRng;
use state::{Family, Read, Store};
use std::sync::atomic::Ordering;
use std::time::Duration;
use types::{Change, Field, Op, RowBuilder, Scalar, StreamId, TableChange};
use world::driver::{Content, Driver};
use world::plans::{self, Case, divided, length, minus};
use world::{INT4, INT8, Values, World, column, int4, int8, numeric, row, text, transaction};

/// A row of table `a`: (a, id, d, b, c, f).
fn a_row(id: i64, a: Option<i32>, b: &str) -> Values {
    vec![a.and_then(int4), int8(id), None, text(b), numeric("1"), None]
}

fn insert(values: &Values) -> Change {
    Change { table: types::TableId(1), op: Op::Insert(row(values)) }
}

/// Cases over table `a` with one that divides by column `a`.
fn cases() -> Vec<Case> {
    let mut all = plans::all();
    let mut dividing = all.swap_remove(0);
    dividing.plan = plans::all()[1].plan.clone();
    dividing.plan.root = Rel::Project {
        input: Box::new(Rel::Source(0)),
        exprs: vec![divided(Scalar::column(1, INT4), Scalar::column(1, INT4)), Scalar::column(0, INT8)],
    };
    dividing.name = "dividing";
    vec![dividing, plans::all().swap_remove(0)]
}

fn started() -> (World, Driver) {
    let world = World::new(StdRng::seed_from_u64(1));
    let mut driver = Driver::new();
    driver.start(&world);
    (world, driver)
}

fn apply(world: &mut World, driver: &mut Driver, cases: &[Case], changes: &[Change]) -> ivm::CutOutput {
    world.lsn += 10;
    let transaction = transaction(0, world.lsn, changes);
    let cut = world.next_cut();
    driver.apply(cut, &[transaction], cases)
}

#[test]
fn an_error_in_an_expression_stops_its_stream_table_alone_at_the_cut_before() {
    let (mut world, mut driver) = started();
    let cases = cases();
    driver.create(&cases[0], 1);
    driver.create(&cases[1], 2);
    apply(&mut world, &mut driver, &cases, &[insert(&a_row(1, Some(2), "x"))]);
    let before = driver.contents[&StreamId(1)].clone();
    assert_eq!(before.len(), 1);
    let changes = [insert(&a_row(2, Some(3), "y")), insert(&a_row(3, Some(0), "z"))];
    let output = apply(&mut world, &mut driver, &cases, &changes);
    let reason = "division by zero (22012) in an expression at the row with a.id = 3";
    assert_eq!(output.failed, [(StreamId(1), reason.to_owned())]);
    assert_eq!(output.streams.iter().map(|s| s.stream).collect::<Vec<_>>(), [StreamId(2)]);
    assert_eq!((driver.contents[&StreamId(1)].len(), driver.contents[&StreamId(2)].len()), (1, 3));
    // It stays stopped, also after a restart, and says that it has to be computed again.
    apply(&mut world, &mut driver, &cases, &[insert(&a_row(4, Some(1), "x"))]);
    driver.reopen();
    assert_eq!(driver.engine().stream_sources(StreamId(1)), None);
    assert_eq!(driver.engine().stream_sources(StreamId(2)), Some(vec![types::SourceId(1)]));
    assert_eq!(driver.engine().streams_over(types::SourceId(1)), [StreamId(2)]);
    apply(&mut world, &mut driver, &cases, &[insert(&a_row(5, Some(1), "x"))]);
    assert_eq!((driver.contents[&StreamId(1)].clone(), driver.contents[&StreamId(2)].len()), (before, 5));
    // Computing it again fails while the row is there, and succeeds when it is gone.
    driver.drop_stream(1);
    driver.engine().add_stream(cases[0].define(1)).unwrap();
    let failed = driver.engine().build(StreamId(1), &mut |_| Ok(()));
    assert!(matches!(&failed, Err(IvmError::Build(r)) if r == reason), "{failed:?}");
    let gone = Change { table: types::TableId(1), op: Op::Delete(row(&a_row(3, None, ""))) };
    driver.drop_stream(1);
    apply(&mut world, &mut driver, &cases, &[gone]);
    driver.create(&cases[0], 1);
    assert_eq!(driver.contents[&StreamId(1)].len(), 4);
}

#[test]
fn what_a_stream_table_wrote_before_it_failed_is_not_written() {
    let (mut world, mut driver) = started();
    let mut case = plans::all().into_iter().find(|c| c.name == "having").unwrap();
    if let Rel::Filter { input, .. } = case.plan.root {
        case.plan.root = *input;
    }
    if let Rel::Project { exprs, .. } = &mut case.plan.root {
        exprs[0] = divided(Scalar::column(1, INT4), Scalar::column(1, INT4));
    }
    let cases = vec![case];
    driver.create(&cases[0], 1);
    apply(&mut world, &mut driver, &cases, &[insert(&a_row(1, Some(2), "x"))]);
    let output =
        apply(&mut world, &mut driver, &cases, &[insert(&a_row(2, Some(3), "x")), insert(&a_row(3, Some(0), "x"))]);
    assert_eq!(output.failed.len(), 1);
    assert_eq!(driver.engine().row_counts()[&StreamId(1)], 1);
    is_empty(&mut driver, &[Family::Arrangements, Family::Groups, Family::Multisets]);
}

#[test]
fn pairs_of_rows_that_never_were_together_are_never_computed() {
    let (mut world, mut driver) = started();
    let mut case = plans::all().into_iter().find(|c| c.name == "a whole key and other columns").unwrap();
    // 1 / (a.a - b.k2) of rows joined by a.id = b.v
    let one = Scalar { kind: types::ScalarKind::Const(int4(1)), ty: INT4 };
    case.plan.root = Rel::Project {
        input: Box::new(case.plan.root),
        exprs: vec![
            divided(one, minus(Scalar::column(1, INT4), Scalar::column(7, INT4))),
            Scalar::column(6, INT4),
            Scalar::column(7, INT4),
        ],
    };
    case.plan.output = [INT4, INT4, INT4].map(|ty| column("c", ty)).into();
    case.plan.key = OutputKey::Columns(vec![1, 2]);
    let cases = vec![case];
    driver.create(&cases[0], 1);
    let b_row =
        |k2: i32| Change { table: types::TableId(3), op: Op::Insert(row(&vec![int4(1), int4(k2), int8(5), None])) };
    apply(&mut world, &mut driver, &cases, &[insert(&a_row(5, Some(1), "")), b_row(2)]);
    // a: 1 to 2, b: 2 to 3. The new a with the old b would be a division by nought.
    let update = Change { table: types::TableId(1), op: Op::Update { old: None, new: row(&a_row(5, Some(2), "")) } };
    let gone = Change { table: types::TableId(3), op: Op::Delete(row(&vec![int4(1), int4(2), None, None])) };
    let output = apply(&mut world, &mut driver, &cases, &[update, gone, b_row(3)]);
    assert_eq!(output.failed, []);
    let rows: Vec<_> = driver.contents[&StreamId(1)].values().cloned().collect();
    assert_eq!(rows, [row(&vec![int4(-1), int4(1), int4(3)])]);
}

#[test]
fn a_row_that_comes_new_is_looked_for_elsewhere_unless_its_key_decides_where_it_is() {
    for (homes, kept) in [(vec![1, 2], 2), (vec![1], 1), (vec![], 1)] {
        let mut driver = Driver::new();
        let mut world = World::new(StdRng::seed_from_u64(1));
        driver.engine().start_at(world.cut.clone()).unwrap();
        let mut def = world::definition(&world.tables[0]);
        def.homes = homes.iter().map(|t| types::TableId(*t)).collect();
        driver.engine().add_source(def).unwrap();
        driver.engine().finish_load(types::SourceId(1), &[]).unwrap();
        let cases: Vec<Case> =
            plans::all().into_iter().filter(|c| c.name == "copies of rows of a keyed table").collect();
        driver.create(&cases[0], 1);
        let elsewhere = Change { table: types::TableId(2), ..insert(&a_row(1, Some(2), "y")) };
        apply(&mut world, &mut driver, &cases, &[insert(&a_row(1, Some(1), "x"))]);
        apply(&mut world, &mut driver, &cases, &[elsewhere]);
        assert_eq!(driver.engine().row_counts()[&StreamId(1)], kept, "homes {homes:?}");
    }
}

#[test]
fn a_row_that_is_read_again_with_other_values_replaces_the_one_that_is_held() {
    let (source, shadow, table) = (types::SourceId(1), types::SourceId(99), types::TableId(1));
    let mut driver = Driver::new();
    let mut world = World::new(StdRng::seed_from_u64(1));
    world.tables[0].hashed = true;
    driver.start(&world);
    let cases: Vec<Case> = plans::all().into_iter().filter(|c| c.name == "copies of rows of a keyed table").collect();
    driver.create(&cases[0], 1);
    apply(&mut world, &mut driver, &cases, &[insert(&a_row(1, Some(1), "x"))]);
    let engine = driver.engine();
    engine.add_shadow(source, shadow, &[(table, types::NodeId(1))]).unwrap();
    engine.load_rows(shadow, table, &[row(&a_row(1, Some(2), "y"))]).unwrap();
    let scope = ivm::Scope { again: [(table, table)].into(), ..ivm::Scope::default() };
    let difference = engine.difference(source, shadow, &scope, usize::MAX).unwrap().unwrap();
    assert_eq!(difference.changes, 1);
    world.lsn += 10;
    let found = ivm::Transaction { pieces: difference.pieces, ..transaction(0, world.lsn, &[]) };
    let cut = world.next_cut();
    driver.apply(cut, &[found], &cases);
    assert_eq!(driver.engine().row_counts()[&StreamId(1)], 1);
}

#[test]
fn an_error_that_postgresql_raises_stops_its_stream_table_alone() {
    let (mut world, mut driver) = started();
    let mut cases = cases();
    cases[0].plan.root = Rel::Project {
        input: Box::new(Rel::PgMap { input: Box::new(Rel::Source(0)), exprs: vec![length(2, "picky($1)")] }),
        exprs: vec![Scalar::column(6, INT4), Scalar::column(0, INT8)],
    };
    driver.create(&cases[0], 1);
    driver.create(&cases[1], 2);
    driver.away.store(true, Ordering::Relaxed);
    apply(&mut world, &mut driver, &cases, &[insert(&a_row(1, None, "x")), insert(&a_row(2, None, "x"))]);
    assert!(!driver.away.load(Ordering::Relaxed), "the evaluator was asked again after it was away");
    assert_eq!(driver.contents[&StreamId(1)].len(), 2);
    let output = apply(&mut world, &mut driver, &cases, &[insert(&a_row(7, None, "zz"))]);
    let reason = "zz is not liked (22023) in an expression that PostgreSQL computes at the row with a.id = 7";
    assert_eq!(output.failed, [(StreamId(1), reason.to_owned())]);
    assert_eq!(driver.contents[&StreamId(2)].len(), 3);
}

#[test]
fn an_error_in_an_aggregate_names_its_group_and_stops_its_stream_table_alone() {
    let (mut world, mut driver) = started();
    let mut cases = cases();
    cases[0].plan.root = Rel::PgAggregate {
        input: Box::new(Rel::Source(0)),
        keys: vec![0],
        key_types: vec![world::INT8],
        aggregates: vec![plan::PgExpr { ty: world::TEXT, ..length(2, "picky($1)") }],
    };
    cases[0].plan.key = OutputKey::Columns(vec![0]);
    cases[0].plan.output[0] = column("c0", world::INT8);
    driver.create(&cases[0], 1);
    driver.create(&cases[1], 2);
    apply(&mut world, &mut driver, &cases, &[insert(&a_row(1, None, "x")), insert(&a_row(2, None, "y"))]);
    assert_eq!(driver.contents[&StreamId(1)].len(), 2);
    let output = apply(&mut world, &mut driver, &cases, &[insert(&a_row(7, None, "zz")), insert(&a_row(8, None, "x"))]);
    let reason = "zz is not liked (22023) in an aggregate that PostgreSQL computes at the row with a.id = 7";
    assert_eq!(output.failed, [(StreamId(1), reason.to_owned())]);
    assert_eq!(driver.contents[&StreamId(2)].len(), 4);
}

#[test]
fn a_change_that_cannot_be_followed_breaks_its_source_and_nothing_else() {
    let (mut world, mut driver) = started();
    let cases = vec![cases().swap_remove(1), plans::all().swap_remove(3)];
    driver.create(&cases[0], 1);
    driver.create(&cases[1], 2);
    let mut partial = RowBuilder::new();
    partial.push_value(int4(1).as_deref()).push_value(int8(9).as_deref()).push(Field::Null).push(Field::Unchanged);
    partial.push(Field::Null).push(Field::Null);
    let lost = Change { table: types::TableId(1), op: Op::Update { old: None, new: partial.finish() } };
    let other = Change { table: types::TableId(5), op: Op::Insert(row(&vec![int4(1), text("x")])) };
    let output = apply(&mut world, &mut driver, &cases, &[lost, other]);
    assert_eq!(output.broken.len(), 1);
    assert!(output.broken[0].1.contains("public.a") && output.broken[0].1.contains("not kept"), "{output:?}");
    assert_eq!(output.failed.iter().map(|f| f.0).collect::<Vec<_>>(), [StreamId(1)]);
    assert_eq!(driver.contents[&StreamId(2)].len(), 1);
    driver.reopen();
    driver.drop_stream(1);
    driver.engine().add_stream(cases[0].define(1)).unwrap();
    assert!(matches!(driver.engine().build(StreamId(1), &mut |_| Ok(())), Err(IvmError::NotNow(_))));
    // Read again it is as good as new.
    driver.drop_stream(1);
    let source = world::definition(&world.tables[0]);
    driver.engine().drop_source(source.id).unwrap();
    driver.engine().add_source(source.clone()).unwrap();
    driver.engine().finish_load(source.id, &[]).unwrap();
    driver.create(&cases[0], 1);
    apply(&mut world, &mut driver, &cases, &[insert(&a_row(1, Some(1), "x"))]);
    assert_eq!(driver.contents[&StreamId(1)].len(), 1);
}

#[test]
fn a_cut_that_cannot_be_read_or_does_not_follow_changes_nothing() {
    let (mut world, mut driver) = started();
    let cases = cases();
    driver.create(&cases[1], 2);
    let cut = world.next_cut();
    let mut bad = transaction(0, world.lsn, &[insert(&a_row(1, None, "x"))]);
    bad.pieces.push(bytes::Bytes::from_static(b"rubbish"));
    let at = driver.engine().frontier().clone();
    assert!(matches!(driver.engine().apply(cut.clone(), &[bad]), Err(IvmError::Changes(_))));
    let mut skipping = cut.clone();
    skipping.seq.0 += 1;
    assert!(matches!(driver.engine().apply(skipping, &[]), Err(IvmError::OutOfOrder { .. })));
    let mut backwards = cut.clone();
    backwards.positions.0.clear();
    assert!(matches!(driver.engine().apply(backwards, &[]), Err(IvmError::OutOfOrder { .. })));
    assert_eq!(driver.engine().frontier(), &at);
    let good = transaction(0, world.lsn, &[insert(&a_row(1, None, "x"))]);
    let output = driver.engine().apply(cut, &[good]).unwrap();
    assert_eq!(output.streams.len(), 1);
    assert!(matches!(output.streams[0].changes[..], [TableChange::Insert(_)]));
}

#[test]
fn what_cannot_be_kept_is_refused_with_a_reason() {
    let (_, mut driver) = started();
    let grouped = plans::all().into_iter().find(|c| c.name == "having").unwrap();
    let with = |func, arg: usize| {
        let mut definition = grouped.define(9);
        definition.plan.root = Rel::Aggregate {
            input: Box::new(Rel::Source(0)),
            keys: vec![],
            key_types: vec![],
            aggregates: vec![plan::Aggregate {
                func,
                arg: Some(arg),
                arg_type: Some(definition.plan.sources[0].columns[arg].ty),
                filter: None,
                distinct: false,
                ty: INT8,
            }],
        };
        definition.plan.output = vec![column("c0", INT8)];
        definition.plan.key = OutputKey::Columns(vec![]);
        definition
    };
    let refused = |result: Result<(), IvmError>| match result {
        Err(IvmError::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert!(refused(driver.engine().add_stream(with(AggregateFunc::Max, 2))).contains("COLLATE \"C\""));
    assert!(refused(driver.engine().add_stream(with(AggregateFunc::Sum, 2))).contains("not native"));
    let mut definition = with(AggregateFunc::Count, 2);
    if let Rel::Aggregate { keys, key_types, .. } = &mut definition.plan.root {
        keys.push(2);
        key_types.push(types::PgType::plain(types::oid::JSON));
    }
    assert!(refused(driver.engine().add_stream(definition)).contains("no native equality"));
    let mut wrong = with(AggregateFunc::Count, 2);
    wrong.column_map[0].pop();
    assert!(refused(driver.engine().add_stream(wrong)).contains("lacks columns"));
    // A refused definition leaves nothing: its number is free.
    driver.engine().add_stream(with(AggregateFunc::Count, 2)).unwrap();
    assert!(matches!(driver.engine().add_stream(with(AggregateFunc::Count, 2)), Err(IvmError::Exists(_))));
    assert!(matches!(driver.engine().activate(StreamId(9)), Err(IvmError::NotNow(_))));
    assert!(matches!(driver.engine().build(StreamId(8), &mut |_| Ok(())), Err(IvmError::UnknownStream(_))));
}

#[test]
fn a_stream_table_that_was_not_activated_is_forgotten_with_its_state() {
    let (mut world, mut driver) = started();
    let cases = plans::all();
    for step in 0..3 {
        let transactions = world.transactions(30);
        let cut = world.next_cut();
        driver.apply(cut, &transactions, &cases);
        for (id, case) in (1..).zip(&cases) {
            driver.engine().add_stream(case.define(id)).unwrap();
            if step == 0 {
                let broken = driver.engine().build(StreamId(id), &mut |_| Err("the receiver went away".into()));
                assert!(matches!(broken, Ok(0) | Err(IvmError::Build(_))), "{broken:?}");
            } else {
                driver.engine().build(StreamId(id), &mut |_| Ok(())).unwrap();
            }
            assert_eq!(driver.engine().stream_sources(StreamId(id)), None);
        }
        driver.reopen();
    }
    is_empty(&mut driver, &[Family::Arrangements, Family::Groups, Family::Multisets]);
    for (id, case) in (1..).zip(&cases) {
        driver.create(case, id);
    }
    driver.check(&world, &cases, "after all that");
}

#[test]
fn a_dropped_or_paused_stream_table_frees_its_state_and_the_last_one_a_shared_arrangement() {
    let (mut world, mut driver) = started();
    let cases = plans::all();
    for (id, case) in (1..).zip(&cases) {
        driver.create(case, id);
    }
    for _ in 0..3 {
        let transactions = world.transactions(30);
        let cut = world.next_cut();
        driver.apply(cut, &transactions, &cases);
    }
    driver.check(&world, &cases, "all active");
    let operators = driver.engine().operators(StreamId(8)).unwrap().counted(Duration::from_secs(60)).unwrap();
    assert_eq!(operators.iter().map(|o| o.name).collect::<Vec<_>>(), ["output", "aggregate", "source"]);
    assert!(operators.iter().all(|o| o.ring == 1 && o.cuts.len() == 3 && o.cuts[2].rows_in > 0), "{operators:?}");
    // As many groups as there are rows in the answer, and the rows of the source, which are kept for all.
    let [groups] = &operators[1].holds[..] else { panic!("{operators:?}") };
    assert_eq!((groups.what, groups.shared, groups.more), ("groups", false, false));
    assert_eq!(groups.rows, driver.contents[&StreamId(8)].len() as u64);
    let [rows] = &operators[2].holds[..] else { panic!("{operators:?}") };
    assert!(rows.shared && rows.rows > 0 && groups.key.iter().chain(&rows.key).all(|name| name.contains('.')));
    for id in 1..=cases.len() as u32 {
        if id % 2 == 0 {
            driver.engine().pause(StreamId(id)).unwrap();
            driver.contents.remove(&StreamId(id));
        } else {
            driver.drop_stream(id);
        }
    }
    let transactions = world.transactions(30);
    let cut = world.next_cut();
    assert_eq!(driver.apply(cut, &transactions, &cases).streams, []);
    is_empty(&mut driver, &[Family::Arrangements, Family::Groups, Family::Multisets]);
    // A paused one is remembered, also by a restart, and comes back by being computed again.
    assert_eq!(driver.engine().stream_sources(StreamId(2)), Some(vec![types::SourceId(1)]));
    assert_eq!(driver.engine().stream_sources(StreamId(1)), None);
    for (id, case) in (1..).zip(&cases) {
        driver.drop_stream(id);
        driver.create(case, id);
    }
    driver.check(&world, &cases, "all again");
}

#[test]
fn a_key_that_is_shown_otherwise_is_deleted_and_inserted() {
    let (mut world, mut driver) = started();
    let cases = vec![plans::all().into_iter().find(|c| c.name == "groups by numeric").unwrap()];
    driver.create(&cases[0], 1);
    let of = |c: &str| vec![None, int8(1), None, None, numeric(c), None];
    apply(&mut world, &mut driver, &cases, &[insert(&of("1.0"))]);
    let update = Change { table: types::TableId(1), op: Op::Update { old: None, new: row(&of("1.00")) } };
    let output = apply(&mut world, &mut driver, &cases, &[update]);
    let group = |c: &str| row(&vec![numeric(c)]);
    assert_eq!(
        output.streams[0].changes,
        [TableChange::Delete(group("1.0")), TableChange::Insert(row(&vec![numeric("1.00"), int8(1)]))]
    );
    let only: Vec<_> = driver.contents[&StreamId(1)].values().cloned().collect::<Vec<_>>();
    assert_eq!(only, [row(&vec![numeric("1.00"), int8(1)])]);
}

#[test]
fn notes_last_and_a_cleared_engine_is_new() {
    let (mut world, mut driver) = started();
    driver.engine().put_note("tables", b"one").unwrap();
    driver.engine().put_note("tables", b"two").unwrap();
    let transactions = world.transactions(5);
    let cut = world.next_cut();
    driver.engine().apply(cut.clone(), &transactions).unwrap();
    driver.reopen();
    assert_eq!(driver.engine().note("tables").unwrap().as_deref(), Some(&b"two"[..]));
    assert_eq!(driver.engine().frontier(), &cut);
    assert!(matches!(driver.engine().start_at(cut.clone()), Err(IvmError::NotNow(_))));
    driver.engine().clear().unwrap();
    driver.reopen();
    assert_eq!(driver.engine().note("tables").unwrap(), None);
    is_empty(&mut driver, &[Family::Sources, Family::Outbox, Family::Backlog]);
    driver.contents = [(StreamId(1), Content::new())].into();
    driver.engine().start_at(cut.clone()).unwrap();
    assert_eq!(driver.engine().frontier(), &cut);
}

/// Looks into the store itself.
fn is_empty(driver: &mut Driver, families: &[Family]) {
    driver.engine = None;
    let store = Store::open(driver.dir.path(), &state::Options::default()).unwrap();
    for family in families {
        let mut cursor = store.cursor(*family);
        cursor.seek(&[]);
        let left = cursor.next().unwrap().map(|(key, _)| key.to_vec());
        assert_eq!(left, None, "something is left in {family:?}");
    }
    drop(store);
    driver.reopen();
}
