//! An engine in the world: its stream tables' content as the changes make it, compared with the oracle's.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ivm::{CutOutput, Engine, Evaluator, EvaluatorError, FromItem, RowError, StreamDef, StreamOutput, Transaction};
use plan::{OutputKey, PgExpr};
use state::{Options, StateError, Store};
use types::{Cut, Field, Row, RowBuilder, Seq, StreamId, TableChange};

use super::oracle::{Data, letters, normal, pg, pg_aggregate, pg_window, rows};
use super::plans::Case;
use super::{Values, World, definition, row, values};

/// PostgreSQL, pretended; out of reach for one call when told so.
pub struct Pretended {
    pub away: Arc<AtomicBool>,
}

impl Evaluator for Pretended {
    fn eval(
        &mut self,
        exprs: &[PgExpr],
        settings: &[(String, String)],
        rows: &[Row],
    ) -> Result<Vec<Result<Row, RowError>>, EvaluatorError> {
        self.ask(settings)?;
        let distinct: BTreeSet<_> = rows.iter().collect();
        assert_eq!(distinct.len(), rows.len(), "a row was asked for twice");
        let one = |row: &Row| {
            let mut out = RowBuilder::new();
            for expr in exprs {
                let args: Vec<_> = expr.args.iter().map(|&a| row.field(a).value().map(<[u8]>::to_vec)).collect();
                let value = pg(expr, &args).map_err(|message| RowError { code: "22023".into(), message })?;
                out.push_value(value.as_deref());
            }
            Ok(out.finish())
        };
        Ok(rows.iter().map(one).collect())
    }

    fn aggregate(
        &mut self,
        aggregates: &[PgExpr],
        settings: &[(String, String)],
        groups: &[Vec<Row>],
    ) -> Result<Vec<Result<Row, RowError>>, EvaluatorError> {
        self.ask(settings)?;
        assert!(groups.len() == 1 || groups.iter().all(|g| !g.is_empty()), "an empty group among others");
        let one = |group: &Vec<Row>| {
            assert!(group.is_sorted(), "the rows of a group come in a fixed order");
            let group: Vec<Values> = group.iter().map(values).collect();
            let one = |e: &PgExpr| pg_aggregate(e, &group).map_err(|m| RowError { code: "22023".into(), message: m });
            Ok(row(&aggregates.iter().map(one).collect::<Result<Values, _>>()?))
        };
        Ok(groups.iter().map(one).collect())
    }

    fn windows(
        &mut self,
        windows: &[PgExpr],
        settings: &[(String, String)],
        partitions: &[Vec<Row>],
    ) -> Result<Vec<Result<Vec<Row>, RowError>>, EvaluatorError> {
        self.ask(settings)?;
        let one = |partition: &Vec<Row>| {
            assert!(!partition.is_empty() && partition.is_sorted(), "the rows of a partition come in a fixed order");
            let rows: Vec<Values> = partition.iter().map(values).collect();
            let of = |at| row(&windows.iter().map(|w| pg_window(w, &rows, at)).collect());
            Ok((0..rows.len()).map(of).collect())
        };
        Ok(partitions.iter().map(one).collect())
    }

    fn rows(
        &mut self,
        item: &FromItem,
        settings: &[(String, String)],
        rows: &[Row],
    ) -> Result<Vec<Result<Vec<Row>, RowError>>, EvaluatorError> {
        self.ask(settings)?;
        assert_eq!((item.sql.as_str(), item.width), ("letters($1) AS f(c0)", 1));
        let distinct: BTreeSet<_> = rows.iter().collect();
        assert_eq!(distinct.len(), rows.len(), "a row was asked for twice");
        let one = |given: &Row| Ok(letters(given.field(item.args[0]).value()).iter().map(row).collect());
        Ok(rows.iter().map(one).collect())
    }
}

impl Pretended {
    fn ask(&self, settings: &[(String, String)]) -> Result<(), EvaluatorError> {
        assert_eq!(settings, [("TimeZone".to_owned(), "UTC".to_owned())]);
        let away = self.away.swap(false, Ordering::Relaxed);
        if away { Err(EvaluatorError("away".into())) } else { Ok(()) }
    }
}

/// What the target has of a stream table: rows by their key.
pub type Content = BTreeMap<Row, Row>;

pub struct Driver {
    pub dir: tempfile::TempDir,
    pub engine: Option<Engine>,
    pub away: Arc<AtomicBool>,
    pub contents: BTreeMap<StreamId, Content>,
    /// Cuts that the target was not told to have.
    pub unpublished: Vec<(Cut, Vec<StreamOutput>)>,
    pub published: Seq,
    /// The engine's limit, where it has another than its own.
    pub memory: Option<usize>,
    /// Cuts are written while the next are computed.
    pub ahead: bool,
    /// Those that were, and are durable.
    pub behind: Arc<Mutex<Vec<Seq>>>,
}

impl Driver {
    pub fn new() -> Self {
        let mut driver = Self {
            dir: tempfile::tempdir().unwrap(),
            engine: None,
            away: Arc::new(AtomicBool::new(false)),
            contents: BTreeMap::new(),
            unpublished: Vec::new(),
            published: Seq(0),
            memory: None,
            ahead: false,
            behind: Arc::default(),
        };
        driver.reopen();
        driver
    }

    /// As after a crash: nothing but the store is left.
    pub fn reopen(&mut self) {
        drop(self.engine.take());
        let store = Store::open(self.dir.path(), &Options::default()).unwrap();
        let evaluator = Pretended { away: self.away.clone() };
        let mut engine = Engine::open(store, Box::new(evaluator), scalar::Env::default()).unwrap();
        if let Some(bytes) = self.memory {
            engine.limit_memory(bytes);
        }
        engine.write_behind_from(0);
        let outbox: Vec<_> = engine.outbox_from(self.published).map(Result::unwrap).collect();
        assert_eq!(outbox, self.unpublished, "the outbox is not what was given out");
        self.engine = Some(engine);
    }

    pub fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().unwrap()
    }

    /// A fresh store at the world's first positions, its (empty) sources ready.
    pub fn start(&mut self, world: &World) {
        let engine = self.engine();
        engine.start_at(world.cut.clone()).unwrap();
        for table in &world.tables {
            engine.add_source(definition(table)).unwrap();
            engine.finish_load(table.source, &[]).unwrap();
        }
    }

    /// Defines, computes and starts a stream table.
    pub fn create(&mut self, case: &Case, id: u32) {
        self.create_as(case, &case.define(id));
    }

    /// The same, defined over other sources.
    pub fn create_as(&mut self, case: &Case, definition: &StreamDef) {
        let mut content = Content::new();
        let id = definition.id.0;
        let engine = self.engine.as_mut().unwrap();
        engine.add_stream(definition.clone()).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let rows = engine
            .build(StreamId(id), &mut |rows| {
                for row in rows {
                    assert!(content.insert(key_of(case, &row), row).is_none(), "{}: a key twice", case.name);
                }
                Ok(())
            })
            .unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert_eq!(rows, content.len() as u64);
        engine.activate(StreamId(id)).unwrap();
        self.contents.insert(StreamId(id), content);
    }

    /// Drops a stream table with its content.
    pub fn drop_stream(&mut self, id: u32) {
        self.engine().drop_stream(StreamId(id)).unwrap();
        self.contents.remove(&StreamId(id));
    }

    /// Applies a cut (again, where PostgreSQL was out of reach) and brings the contents up to date.
    pub fn apply(&mut self, cut: Cut, transactions: &[Transaction], cases: &[Case]) -> CutOutput {
        let engine = self.engine.as_mut().unwrap();
        let ahead = self.ahead;
        let mut apply = || {
            let applied = if ahead {
                engine.apply_ahead(cut.clone(), transactions)
            } else {
                engine.apply(cut.clone(), transactions).map(|output| (output, None))
            };
            applied.inspect_err(|error| {
                assert!(error.is_transient(), "{error}");
                assert_eq!(engine.frontier().seq.0 + 1, cut.seq.0);
            })
        };
        let (output, unwritten) = apply().or_else(|_| apply()).unwrap();
        if let Some(unwritten) = unwritten {
            let (behind, seq) = (self.behind.clone(), cut.seq);
            let then = move |written: Result<(), &StateError>| {
                written.unwrap();
                behind.lock().unwrap().push(seq);
            };
            engine.write_behind(unwritten, then).unwrap();
        }
        assert_eq!(engine.frontier(), &cut);
        for stream in &output.streams {
            let case = &cases[stream.stream.0 as usize - 1];
            let content = self.contents.get_mut(&stream.stream).unwrap();
            stream.changes.iter().for_each(|change| follow(case, content, change));
        }
        if !output.streams.is_empty() {
            self.unpublished.push((cut, output.streams.clone()));
        }
        output
    }

    /// The target has everything.
    pub fn publish(&mut self) {
        let seq = self.engine().frontier().seq;
        self.engine().published(seq);
        self.published = seq;
        self.unpublished.clear();
    }

    /// Compares every stream table with its query over the world.
    pub fn check(&mut self, world: &World, cases: &[Case], what: &str) {
        let counts = self.engine().row_counts();
        for (id, content) in &self.contents {
            let case = &cases[id.0 as usize - 1];
            assert_eq!(counts[id], content.len() as u64, "{what}: {}: number of rows", case.name);
            let found = shown(case, content.values().map(values));
            let expected = expected(case, world);
            assert!(
                found == expected,
                "{what}: stream table {id} ({}) is not exact\n  surplus {:?}\n  missing {:?}",
                case.name,
                difference(&found, &expected),
                difference(&expected, &found)
            );
        }
    }
}

fn difference(a: &[Vec<Vec<u8>>], b: &[Vec<Vec<u8>>]) -> Vec<Vec<Vec<u8>>> {
    let mut rest = b.to_vec();
    let mut out = Vec::new();
    for row in a {
        match rest.iter().position(|r| r == row) {
            Some(i) => drop(rest.swap_remove(i)),
            None => out.push(row.clone()),
        }
    }
    out
}

/// What the query gives over the world now.
fn expected(case: &Case, world: &World) -> Vec<Vec<Vec<u8>>> {
    let sources: Vec<Vec<Values>> = case
        .plan
        .sources
        .iter()
        .zip(&case.tables)
        .map(|(use_, &table)| {
            let kept = &world.tables[table].columns;
            let places: Vec<_> =
                use_.columns.iter().map(|c| kept.iter().position(|k| k.name == c.name).unwrap()).collect();
            world.logical(table).iter().map(|r| places.iter().map(|&p| r[p].clone()).collect()).collect()
        })
        .collect();
    let data = Data { rows: sources, common: case.plan.common.clone(), working: RefCell::default() };
    shown(case, rows(&case.plan.root, &data).into_iter())
}

/// Rows of the answer in a comparable form, sorted.
fn shown(case: &Case, rows: impl Iterator<Item = Values>) -> Vec<Vec<Vec<u8>>> {
    let form = |row: Values| -> Vec<Vec<u8>> {
        let columns = case.plan.output.iter().enumerate();
        columns
            .map(|(i, c)| match (&row[i], case.exact.contains(&i)) {
                (Some(v), true) => [&[1], &v[..]].concat(),
                (None, true) => vec![0],
                (value, false) => normal(c.ty, value.as_deref()),
            })
            .collect()
    };
    let mut out: Vec<_> = rows.map(form).collect();
    out.sort();
    out
}

pub fn key_of(case: &Case, row: &Row) -> Row {
    match &case.plan.key {
        OutputKey::Columns(columns) => row.project(columns),
        OutputKey::RowId => row.project(&[case.plan.output.len()]),
    }
}

/// One change, which must be just what the content needs.
pub fn follow(case: &Case, content: &mut Content, change: &TableChange) {
    match change {
        TableChange::Insert(row) => {
            assert!(content.insert(key_of(case, row), row.clone()).is_none(), "{}: inserted twice", case.name);
        }
        TableChange::Update(row) => {
            let old = content.insert(key_of(case, row), row.clone());
            assert!(old.is_some_and(|old| old != *row), "{}: updated without need", case.name);
        }
        TableChange::Delete(key) => {
            assert!(content.remove(key).is_some(), "{}: deleted what is not there", case.name);
            assert!(key.fields().all(|f| f != Field::Unchanged));
        }
    }
}
