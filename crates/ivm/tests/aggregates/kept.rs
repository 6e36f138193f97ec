//! A table on a server, and an engine that follows it.

use std::collections::BTreeMap;
use std::error::Error;

use bytes::BytesMut;
use ivm::{Engine, Evaluator, EvaluatorError, FromItem, RowError, SourceDef, StreamDef, Transaction};
use plan::{PgExpr, Plan, environment};
use state::{Options, Store};
use testkit::{Cluster, Kind};
use tokio_postgres::Client;
use tokio_postgres::types::{FromSql, Type};
use types::{
    Change, Column, Cut, Lsn, NodeId, Op, PgType, Positions, Row, RowBuilder, Seq, SourceId, StreamId, TableChange,
    TableId, TableName,
};

/// A value in binary, of any type.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

/// What is native asks nobody.
struct Nobody;

impl Evaluator for Nobody {
    fn eval(
        &mut self,
        _: &[PgExpr],
        _: &[(String, String)],
        _: &[Row],
    ) -> Result<Vec<Result<Row, RowError>>, EvaluatorError> {
        unreachable!()
    }
    fn aggregate(
        &mut self,
        _: &[PgExpr],
        _: &[(String, String)],
        _: &[Vec<Row>],
    ) -> Result<Vec<Result<Row, RowError>>, EvaluatorError> {
        unreachable!()
    }
    fn windows(
        &mut self,
        _: &[PgExpr],
        _: &[(String, String)],
        _: &[Vec<Row>],
    ) -> Result<Vec<Result<Vec<Row>, RowError>>, EvaluatorError> {
        unreachable!()
    }
    fn rows(
        &mut self,
        _: &FromItem,
        _: &[(String, String)],
        _: &[Row],
    ) -> Result<Vec<Result<Vec<Row>, RowError>>, EvaluatorError> {
        unreachable!()
    }
}

/// What happens to a row of `t(id, k, v, f)`.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// It has these values from here on.
    Row { id: i64, k: Option<i32>, value: Option<String>, f: Option<bool> },
    /// It is not there any more.
    Gone(i64),
}

/// A query over the table, and what the engine holds for it.
pub(crate) struct Stream {
    pub(crate) sql: String,
    plan: Plan,
    /// What PostgreSQL is asked instead: the same over one form of each value, where it would take any.
    asked: String,
    content: BTreeMap<Row, Row>,
    /// The reason, when it has stopped.
    failed: Option<String>,
}

impl Stream {
    /// `send` is the function that gives the bytes of a value of `v`.
    pub(crate) fn new(sql: String, plan: Plan, send: &str) -> Self {
        // The first form of each value of each group, of the rows of a filter as of the others.
        let one_form = |of: &str, rows: &str| {
            format!("(SELECT DISTINCT ON ({of}) * FROM {rows} ORDER BY {of}, length({send}(v)), {send}(v)) AS t")
        };
        let filter = if sql.contains("FILTER") { ", f" } else { "" };
        let asked = if let Some((left, right)) = sql.split_once(" EXCEPT ") {
            format!(
                "SELECT v FROM {} WHERE v IS NULL AND NOT EXISTS (SELECT FROM ({right}) r WHERE r.v IS NULL) OR v IS NOT NULL AND v NOT IN (SELECT v FROM ({right}) r WHERE v IS NOT NULL)",
                one_form("v", &format!("({left}) l"))
            )
        } else if let Some((left, right)) = sql.split_once(" INTERSECT ") {
            format!(
                "SELECT v FROM {} WHERE v IS NULL AND EXISTS (SELECT FROM ({right}) r WHERE r.v IS NULL) OR v IN ({right})",
                one_form("v", &format!("({left}) l"))
            )
        } else if sql.ends_with("GROUP BY v") {
            format!("SELECT v, r FROM {}", one_form("v", "(SELECT v, count(*) OVER (PARTITION BY v) AS r FROM t) c"))
        } else if ["min(", "max(", "DISTINCT "].iter().any(|word| sql.contains(word)) {
            let groups = if sql.ends_with("GROUP BY k") { "k, " } else { "" };
            sql.replace("DISTINCT ", "")
                .replace("FROM t", &format!("FROM {}", one_form(&format!("{groups}v{filter}"), "t")))
        } else {
            sql.clone()
        };
        Self { sql, plan, asked, content: BTreeMap::new(), failed: None }
    }

    fn key(&self, row: &Row) -> Row {
        match &self.plan.key {
            plan::OutputKey::Columns(columns) => row.project(columns),
            plan::OutputKey::RowId => panic!("{}: no key", self.sql),
        }
    }

    fn follow(&mut self, change: &TableChange) {
        match change {
            TableChange::Insert(row) => {
                assert!(self.content.insert(self.key(row), row.clone()).is_none(), "{}", self.sql);
            }
            TableChange::Update(row) => {
                assert!(self.content.insert(self.key(row), row.clone()).is_some(), "{}", self.sql);
            }
            TableChange::Delete(key) => assert!(self.content.remove(key).is_some(), "{}", self.sql),
        }
    }
}

type Values = Vec<Option<Vec<u8>>>;

pub(crate) struct Kept {
    pub(crate) client: Client,
    env: scalar::Env,
    engine: Option<(Engine, tempfile::TempDir)>,
    columns: Vec<Column>,
    rows: BTreeMap<i64, Row>,
    streams: Vec<Stream>,
    lsn: u64,
    _cluster: Cluster,
}

const SOURCE: SourceId = SourceId(1);
const TABLE: TableId = TableId(1);
const NODE: NodeId = NodeId(1);

fn id(at: usize) -> StreamId {
    StreamId(at as u32 + 1)
}

impl Kept {
    pub(crate) async fn start() -> Self {
        let cluster = Cluster::start(Kind::Single).await.unwrap();
        let client = cluster.client().await.unwrap();
        client.batch_execute("SET client_min_messages = error").await.unwrap();
        let env = environment(&client).await.unwrap();
        let (columns, rows, streams) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { client, env, engine: None, columns, rows, streams, lsn: 1, _cluster: cluster }
    }

    /// Makes the table anew, empty, with a column of the type; nothing is kept of it yet.
    pub(crate) async fn table(&mut self, sql_type: &str, collate: &str) {
        let sql = format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint PRIMARY KEY, k int, v {sql_type} {collate}, f bool)"
        );
        self.client.batch_execute(&sql).await.unwrap();
        self.env = environment(&self.client).await.unwrap();
        let sql = "SELECT a.attname::text, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, a.atttypmod, a.attcollation
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = 't'::regclass AND a.attnum > 0 ORDER BY a.attnum";
        let column = |row: &tokio_postgres::Row| Column {
            name: row.get(0),
            ty: PgType { oid: row.get(1), typmod: row.get(2), collation: row.get(3) },
            sql_type: "any".into(),
            not_null: false,
        };
        self.columns = self.client.query(sql, &[]).await.unwrap().iter().map(column).collect();
        self.rows.clear();
        self.streams.clear();
        self.lsn = 1;
        self.engine = None;
    }

    /// Keeps these.
    pub(crate) fn keep(&mut self, streams: Vec<Stream>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &Options::default()).unwrap();
        let mut engine = Engine::open(store, Box::new(Nobody), self.env.clone()).unwrap();
        engine.start_at(cut(1)).unwrap();
        let def = SourceDef {
            id: SOURCE,
            table: TableName::new("public", "t"),
            columns: self.columns.clone(),
            identity: vec![0],
            tables: vec![(TABLE, NODE)],
            homes: Vec::new(),
            filter: None,
        };
        engine.add_source(def).unwrap();
        engine.finish_load(SOURCE, &[]).unwrap();
        self.engine = Some((engine, dir));
        self.streams = streams;
        for at in 0..self.streams.len() {
            self.build(at).unwrap();
        }
    }

    /// Computes one from all rows.
    fn build(&mut self, at: usize) -> Result<(), String> {
        let stream = &mut self.streams[at];
        let engine = &mut self.engine.as_mut().unwrap().0;
        let place = |name: &str| self.columns.iter().position(|c| c.name == name).unwrap();
        let def = StreamDef {
            id: id(at),
            plan: stream.plan.clone(),
            sources: stream.plan.sources.iter().map(|_| SOURCE).collect(),
            column_map: stream
                .plan
                .sources
                .iter()
                .map(|s| s.columns.iter().map(|c| place(&c.name)).collect())
                .collect(),
        };
        engine.add_stream(def).map_err(|e| e.to_string()).unwrap();
        let mut content = BTreeMap::new();
        let built = engine.build(id(at), &mut |rows| {
            content.extend(rows.into_iter().map(|row| (stream.key(&row), row)));
            Ok(())
        });
        built.map_err(|e| e.to_string())?;
        engine.activate(id(at)).unwrap();
        stream.content = content;
        stream.failed = None;
        Ok(())
    }

    /// How many have stopped.
    pub(crate) fn stopped(&self) -> usize {
        self.streams.iter().filter(|s| s.failed.is_some()).count()
    }

    /// Computes again what has stopped.
    pub(crate) fn repair(&mut self) {
        for at in 0..self.streams.len() {
            if self.streams[at].failed.is_some() {
                self.engine.as_mut().unwrap().0.drop_stream(id(at)).unwrap();
                let sql = self.streams[at].sql.clone();
                self.build(at).unwrap_or_else(|e| panic!("{sql}: {e}"));
            }
        }
    }

    /// Changes the table and lets the engine follow, in one cut.
    pub(crate) async fn apply(&mut self, steps: &[Step]) {
        let or_null = |value: Option<String>| value.unwrap_or_else(|| "NULL".into());
        let mut changes = Vec::new();
        for step in steps {
            let (Step::Row { id, .. } | Step::Gone(id)) = step;
            let sql = match step {
                Step::Gone(id) => format!("DELETE FROM t WHERE id = {id}"),
                Step::Row { id, k, value, f } => format!(
                    "INSERT INTO t VALUES ({id}, {}, {}, {}) ON CONFLICT (id) DO UPDATE SET (k, v, f) = (excluded.k, excluded.v, excluded.f)",
                    or_null(k.map(|k| k.to_string())),
                    or_null(value.clone()),
                    or_null(f.map(|f| f.to_string()))
                ),
            };
            self.client.batch_execute(&sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
            let rows = self.client.query("SELECT id, k, v, f FROM t WHERE id = $1", &[id]).await.unwrap();
            let new = rows.first().map(|row| packed(&(0..4).map(|c| raw(row, c)).collect::<Vec<_>>()));
            let old = match &new {
                Some(new) => self.rows.insert(*id, new.clone()),
                None => self.rows.remove(id),
            };
            let op = match (old, new) {
                (None, None) => continue,
                (None, Some(new)) => Op::Insert(new),
                (Some(_), Some(new)) => Op::Update { old: None, new },
                (Some(old), None) => Op::Delete(old),
            };
            changes.push(Change { table: TABLE, op });
        }
        self.lsn += 1;
        let mut piece = BytesMut::new();
        changes.iter().for_each(|c| c.encode(&mut piece));
        let transaction = Transaction { node: NODE, end: Lsn(self.lsn), pieces: vec![piece.freeze()] };
        let output = self.engine.as_mut().unwrap().0.apply(cut(self.lsn), &[transaction]).unwrap();
        for out in &output.streams {
            let stream = &mut self.streams[out.stream.0 as usize - 1];
            out.changes.iter().for_each(|change| stream.follow(change));
        }
        for (stream, reason) in output.failed {
            self.streams[stream.0 as usize - 1].failed = Some(reason);
        }
    }

    /// Compares everything that is kept with PostgreSQL's answers; how many were compared.
    pub(crate) async fn check(&self, what: &str) -> usize {
        for stream in &self.streams {
            let said = || format!("{what}: {}, asked {}: rows {:?}", stream.sql, stream.asked, self.rows.values());
            let theirs = match self.client.query(&stream.asked, &[]).await {
                Ok(rows) => rows,
                Err(error) => {
                    let state = error.as_db_error().unwrap_or_else(|| panic!("{error:?}")).code().code();
                    let ours =
                        stream.failed.as_ref().unwrap_or_else(|| panic!("{}: PostgreSQL says {error:?}", said()));
                    assert!(ours.contains(&format!("({state})")), "{}: {ours}, and PostgreSQL {error:?}", said());
                    continue;
                }
            };
            assert!(stream.failed.is_none(), "{}: {:?}", said(), stream.failed);
            let width = stream.plan.output.len();
            let mut theirs: Vec<Values> = theirs.iter().map(|r| (0..width).map(|c| raw(r, c)).collect()).collect();
            let mut ours: Vec<Values> = stream
                .content
                .values()
                .map(|r| (0..width).map(|c| r.field(c).value().map(<[u8]>::to_vec)).collect())
                .collect();
            // Groups are told apart by all columns but the last.
            theirs.sort();
            ours.sort();
            if ours == theirs {
                continue;
            }
            assert_eq!(ours.len(), theirs.len(), "{}", said());
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours[..width - 1], theirs[..width - 1], "{}", said());
                assert!(
                    agree(stream, &ours[width - 1], &theirs[width - 1]),
                    "{}: ours {ours:?}, PostgreSQL's {theirs:?}",
                    said()
                );
            }
        }
        self.streams.len()
    }
}

/// Whether two results are the same in bytes, any NaN being as good as another.
fn agree(stream: &Stream, ours: &Option<Vec<u8>>, theirs: &Option<Vec<u8>>) -> bool {
    let ty = stream.plan.output[stream.plan.output.len() - 1].ty;
    let nan = |v: &Option<Vec<u8>>| match (ty.oid, v.as_deref()) {
        (types::oid::FLOAT8, Some(v)) => v.try_into().is_ok_and(|v| f64::from_be_bytes(v).is_nan()),
        (types::oid::FLOAT4, Some(v)) => v.try_into().is_ok_and(|v| f32::from_be_bytes(v).is_nan()),
        _ => false,
    };
    ours == theirs || (nan(ours) && nan(theirs))
}

fn raw(row: &tokio_postgres::Row, at: usize) -> Option<Vec<u8>> {
    row.get::<_, Option<Raw>>(at).map(|raw| raw.0)
}

fn packed(values: &Values) -> Row {
    let mut builder = RowBuilder::new();
    for value in values {
        builder.push_value(value.as_deref());
    }
    builder.finish()
}

fn cut(at: u64) -> Cut {
    Cut { seq: Seq(at - 1), positions: Positions([(NODE, Lsn(at))].into()) }
}
