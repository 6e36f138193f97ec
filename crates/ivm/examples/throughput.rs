//! How many changes a second one core takes through a GROUP BY and a join + GROUP BY stream table, RocksDB included.
//!
//! ```text
//! cargo run --release -p tributary-ivm --example throughput [changes] [changes a cut] [0: inserts only]
//! ```
//!
//! An order is `(user_id, order_id, region, amount numeric, qty, note)` with the key `(user_id, order_id)`, over eight physical
//! tables on two nodes; a user is `(user_id, country)`. Two stream tables are kept at once: orders by region, and
//! orders joined with users by country. CPU seconds are the process's own, all threads (RocksDB's in the background too).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example that measures")]

use std::time::Instant;

use bytes::BytesMut;
use ivm::{Engine, Evaluator, EvaluatorError, FromItem, RowError, SourceDef, StreamDef, Transaction};
use plan::{Aggregate, AggregateFunc, OutputKey, PgExpr, Plan, Rel, SourceUse};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use types::{
    Change, Column, Cut, Field, Lsn, NodeId, Op, PgType, Positions, Row, RowBuilder, Seq, SourceId, StreamId, TableId,
    TableName, oid,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USERS: i64 = 100_000;
const REGIONS: i32 = 1_000;
const COUNTRIES: i32 = 200;

struct Nobody;

impl Evaluator for Nobody {
    fn eval(
        &mut self,
        _: &[PgExpr],
        _: &[(String, String)],
        _: &[Row],
    ) -> Result<Vec<Result<Row, RowError>>, EvaluatorError> {
        nothing()
    }
    fn aggregate(
        &mut self,
        _: &[PgExpr],
        _: &[(String, String)],
        _: &[Vec<Row>],
    ) -> Result<Vec<Result<Row, RowError>>, EvaluatorError> {
        nothing()
    }
    fn windows(
        &mut self,
        _: &[PgExpr],
        _: &[(String, String)],
        _: &[Vec<Row>],
    ) -> Result<Vec<Result<Vec<Row>, RowError>>, EvaluatorError> {
        nothing()
    }
    fn rows(
        &mut self,
        _: &FromItem,
        _: &[(String, String)],
        _: &[Row],
    ) -> Result<Vec<Result<Vec<Row>, RowError>>, EvaluatorError> {
        nothing()
    }
}

fn nothing<T>() -> Result<T, EvaluatorError> {
    Err(EvaluatorError("nothing here is left to PostgreSQL".into()))
}

fn column(name: &str, ty: u32) -> Column {
    Column { name: name.into(), ty: PgType::plain(ty), sql_type: String::new(), not_null: true }
}

fn order_columns() -> Vec<Column> {
    vec![
        column("user_id", oid::INT8),
        column("order_id", oid::INT8),
        column("region", oid::INT4),
        column("amount", oid::NUMERIC),
        column("qty", oid::INT4),
        column("note", oid::TEXT),
    ]
}

fn user_columns() -> Vec<Column> {
    vec![column("user_id", oid::INT8), column("country", oid::INT4)]
}

fn numeric(cents: i64) -> Vec<u8> {
    let (whole, rest) = (cents / 100, (cents % 100 * 100) as u16);
    let mut out = Vec::new();
    let groups = [(whole / 10_000) as u16, (whole % 10_000) as u16, rest];
    for v in [3u16, 1, 0, 2].into_iter().chain(groups) {
        out.extend_from_slice(&v.to_be_bytes());
    }
    out
}

fn order(random: &mut StdRng, user: i64, id: i64) -> Row {
    let mut b = RowBuilder::with_capacity(80);
    b.push(Field::Value(&user.to_be_bytes()))
        .push(Field::Value(&id.to_be_bytes()))
        .push(Field::Value(&random.random_range(0..REGIONS).to_be_bytes()))
        .push(Field::Value(&numeric(random.random_range(100..1_000_000))))
        .push(Field::Value(&random.random_range(1..10i32).to_be_bytes()))
        .push(Field::Value(b"a note of some length"));
    b.finish()
}

/// `order_id` from 0: which user it belongs to is a function of it.
fn user_of(id: i64) -> i64 {
    (id.wrapping_mul(7_919_317)).rem_euclid(USERS)
}

fn aggregate(func: AggregateFunc, arg: Option<(usize, u32)>, ty: u32) -> Aggregate {
    Aggregate {
        func,
        arg: arg.map(|a| a.0),
        arg_type: arg.map(|a| PgType::plain(a.1)),
        filter: None,
        distinct: false,
        ty: PgType::plain(ty),
    }
}

fn aggregates() -> Vec<Aggregate> {
    vec![
        aggregate(AggregateFunc::CountStar, None, oid::INT8),
        aggregate(AggregateFunc::Sum, Some((3, oid::NUMERIC)), oid::NUMERIC),
        aggregate(AggregateFunc::Avg, Some((4, oid::INT4)), oid::NUMERIC),
    ]
}

fn source(name: &str, columns: Vec<Column>, identity: Vec<usize>) -> SourceUse {
    SourceUse { table: TableName::new("public", name), relation: 0, columns, identity, filter: Vec::new() }
}

fn grouped(sources: Vec<SourceUse>, input: Rel, key: usize) -> Plan {
    let names = [("key", oid::INT4), ("count", oid::INT8), ("sum", oid::NUMERIC), ("avg", oid::NUMERIC)];
    Plan {
        sources,
        root: Rel::Aggregate {
            input: Box::new(input),
            keys: vec![key],
            key_types: vec![PgType::plain(oid::INT4)],
            aggregates: aggregates(),
        },
        common: Vec::new(),
        output: names.iter().map(|(n, t)| column(n, *t)).collect(),
        key: OutputKey::Columns(vec![0]),
        settings: Vec::new(),
    }
}

fn by_region() -> StreamDef {
    let orders = source("orders", order_columns(), vec![0, 1]);
    StreamDef {
        id: StreamId(1),
        plan: grouped(vec![orders], Rel::Source(0), 2),
        sources: vec![SourceId(1)],
        column_map: vec![(0..6).collect()],
    }
}

fn by_country() -> StreamDef {
    let sources = vec![source("orders", order_columns(), vec![0, 1]), source("users", user_columns(), vec![0])];
    let join = Rel::Join {
        left: Box::new(Rel::Source(0)),
        right: Box::new(Rel::Source(1)),
        kind: plan::JoinKind::Inner,
        keys: vec![(0, 0)],
        key_types: vec![PgType::plain(oid::INT8)],
        on: None,
    };
    StreamDef {
        id: StreamId(2),
        plan: grouped(sources, join, 7),
        sources: vec![SourceId(1), SourceId(2)],
        column_map: vec![(0..6).collect(), vec![0, 1]],
    }
}

fn cpu_seconds() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0) / 100.0;
    (ticks(11), ticks(12))
}

/// Transactions of ten changes each.
fn cut(random: &mut StdRng, changes: i64, first: i64, updates: f64, at: u64) -> (Vec<Transaction>, u64) {
    let mut out = Vec::new();
    let mut next = first;
    let mut lsn = at;
    let mut done = 0;
    while done < changes {
        let mut bytes = BytesMut::new();
        let node = NodeId(1 + (done / 10 % 2) as u32);
        for _ in 0..10.min(changes - done) {
            let update = random.random_bool(updates);
            let id = if update { random.random_range(0..first.max(1)) } else { next };
            next += i64::from(!update);
            let user = user_of(id);
            let row = order(random, user, id);
            let op = if update { Op::Update { old: None, new: row } } else { Op::Insert(row) };
            let table = TableId(1 + (user % 4) as u32 + 4 * (user % 2) as u32);
            Change { table, op }.encode(&mut bytes);
            done += 1;
        }
        lsn += 100;
        out.push(Transaction { node, end: Lsn(lsn), pieces: vec![bytes.freeze()] });
    }
    (out, (next - first) as u64)
}

fn users() -> Vec<Row> {
    (0..USERS)
        .map(|id| {
            let mut b = RowBuilder::new();
            b.push(Field::Value(&id.to_be_bytes()))
                .push(Field::Value(&((id % i64::from(COUNTRIES)) as i32).to_be_bytes()));
            b.finish()
        })
        .collect()
}

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|a| a.parse::<i64>().ok());
    let total = args.next().unwrap_or(1_000_000);
    let a_cut = args.next().unwrap_or(5_000);
    let parts = if args.next() == Some(0) { 1 } else { 3 };
    let dir = tempfile::tempdir().unwrap();
    let store = state::Store::open(dir.path(), &state::Options::default()).unwrap();
    let mut engine = Engine::open(store, Box::new(Nobody), scalar::Env::default()).unwrap();
    let at = |seq: u64, lsn: u64| Cut {
        seq: Seq(seq),
        positions: Positions([(NodeId(1), Lsn(lsn)), (NodeId(2), Lsn(lsn))].into()),
    };
    engine.start_at(at(0, 0)).unwrap();
    let define = |id, name: &str, columns, identity, tables: std::ops::Range<u32>| SourceDef {
        id: SourceId(id),
        table: TableName::new("public", name),
        columns,
        identity,
        homes: tables.clone().map(TableId).collect(),
        tables: tables.map(|t| (TableId(t), NodeId(1 + t % 2))).collect(),
        filter: None,
    };
    engine.add_source(define(1, "orders", order_columns(), vec![0, 1], 1..9)).unwrap();
    engine.add_source(define(2, "users", user_columns(), vec![0], 9..10)).unwrap();
    engine.load_rows(SourceId(2), TableId(9), &users()).unwrap();
    for source in [1, 2] {
        engine.finish_load(SourceId(source), &[]).unwrap();
    }
    for stream in [by_region(), by_country()] {
        let id = stream.id;
        engine.add_stream(stream).unwrap();
        engine.build(id, &mut |_| Ok(())).unwrap();
        engine.activate(id).unwrap();
    }
    let mut random = StdRng::seed_from_u64(1);
    let (mut seq, mut orders, mut lsn) = (0, 0i64, 0);
    println!("{total} changes in cuts of {a_cut}, through GROUP BY and join + GROUP BY together");
    println!("{:<24} {:>10} {:>8} {:>8} {:>8} {:>12}", "", "changes/s", "wall s", "user s", "sys s", "outputs");
    for (what, updates) in [("inserts", 0.0), ("half updates", 0.5), ("updates", 1.0)].into_iter().take(parts) {
        let mut cuts = Vec::new();
        let mut left = total;
        while left > 0 {
            let (transactions, new) = cut(&mut random, left.min(a_cut), orders, updates, lsn);
            lsn += 100 * transactions.len() as u64;
            seq += 1;
            orders += new as i64;
            cuts.push((at(seq, lsn), transactions));
            left -= a_cut;
        }
        let (user, system) = cpu_seconds();
        let start = Instant::now();
        let mut outputs = 0;
        for (cut, transactions) in cuts {
            let seq = cut.seq;
            outputs += engine.apply(cut, &transactions).unwrap().stats.outputs;
            engine.published(seq);
        }
        let wall = start.elapsed().as_secs_f64();
        let (user, system) = (cpu_seconds().0 - user, cpu_seconds().1 - system);
        let rate = total as f64 / wall;
        println!("{what:<24} {rate:>10.0} {wall:>8.2} {user:>8.2} {system:>8.2} {outputs:>12}");
    }
}
