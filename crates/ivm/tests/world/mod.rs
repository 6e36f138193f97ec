//! A small world to test the engine in: three tables on two nodes, random transactions over few values, and what
//! PostgreSQL would log of them.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test uses its part; tests unwrap"
)]

pub mod driver;
pub mod oracle;
pub mod oracle_join;
pub mod plans;

use std::collections::BTreeMap;

use bytes::BytesMut;
use ivm::{RowFilter, SourceDef, Transaction};
use rand::Rng;
use rand::rngs::StdRng;
use types::{
    Change, Column, Cut, Field, Lsn, NodeId, Op, PgType, Positions, Row, RowBuilder, Scalar, Seq, SourceId, TableId,
    TableName, collation, oid,
};

/// A row's columns.
pub type Values = Vec<Option<Vec<u8>>>;

pub const INT4: PgType = PgType::plain(oid::INT4);
pub const INT8: PgType = PgType::plain(oid::INT8);
pub const BOOL: PgType = PgType::plain(oid::BOOL);
pub const NUMERIC: PgType = PgType::plain(oid::NUMERIC);
pub const FLOAT8: PgType = PgType::plain(oid::FLOAT8);
pub const TEXT: PgType = PgType { oid: oid::TEXT, typmod: -1, collation: collation::DEFAULT };
pub const TEXT_C: PgType = PgType { oid: oid::TEXT, typmod: -1, collation: collation::C };

pub fn column(name: &str, ty: PgType) -> Column {
    Column { name: name.into(), ty, sql_type: "any".into(), not_null: false }
}

pub fn row(values: &Values) -> Row {
    let mut b = RowBuilder::new();
    for v in values {
        b.push_value(v.as_deref());
    }
    b.finish()
}

pub fn values(row: &Row) -> Values {
    row.fields().map(|f| f.value().map(<[u8]>::to_vec)).collect()
}

/// A table of the world, as it is kept: its columns in the order of the engine's source.
pub struct Table {
    pub source: SourceId,
    pub name: &'static str,
    pub columns: Vec<Column>,
    pub identity: Vec<usize>,
    pub physical: [TableId; 2],
    /// The column whose unchanged values PostgreSQL may leave out of an update.
    toasted: usize,
    /// A key decides on which node its row is.
    pub hashed: bool,
    /// What is asked of its rows before they are kept.
    pub filter: Option<RowFilter>,
}

/// `a(id int8 key, a int4, b text, c numeric, d bool, f float8)`, kept in another order;
/// `b(k1 int4, k2 int4, v int8, t text "C", key (k1, k2))`; `c(x int4, y text)` without a key.
pub fn tables() -> Vec<Table> {
    vec![
        Table {
            source: SourceId(1),
            name: "a",
            columns: vec![
                column("a", INT4),
                column("id", INT8),
                column("d", BOOL),
                column("b", TEXT),
                column("c", NUMERIC),
                column("f", FLOAT8),
            ],
            identity: vec![1],
            physical: [TableId(1), TableId(2)],
            toasted: 3,
            hashed: false,
            filter: None,
        },
        Table {
            source: SourceId(2),
            name: "b",
            columns: vec![column("k1", INT4), column("k2", INT4), column("v", INT8), column("t", TEXT_C)],
            identity: vec![0, 1],
            physical: [TableId(3), TableId(4)],
            toasted: 3,
            hashed: false,
            filter: None,
        },
        Table {
            source: SourceId(3),
            name: "c",
            columns: vec![column("x", INT4), column("y", TEXT)],
            identity: vec![],
            physical: [TableId(5), TableId(6)],
            toasted: 1,
            hashed: false,
            filter: None,
        },
    ]
}

pub fn definition(table: &Table) -> SourceDef {
    SourceDef {
        id: table.source,
        table: TableName::new("public", table.name),
        columns: table.columns.clone(),
        identity: table.identity.clone(),
        tables: table.physical.iter().zip([NodeId(1), NodeId(2)]).map(|(t, n)| (*t, n)).collect(),
        homes: if table.hashed { table.physical.into() } else { Vec::new() },
        filter: table.filter.clone(),
    }
}

pub fn int4(v: i32) -> Option<Vec<u8>> {
    Some(v.to_be_bytes().to_vec())
}

pub fn int8(v: i64) -> Option<Vec<u8>> {
    Some(v.to_be_bytes().to_vec())
}

pub fn text(v: &str) -> Option<Vec<u8>> {
    Some(v.as_bytes().to_vec())
}

pub fn numeric(v: &str) -> Option<Vec<u8>> {
    scalar::Datum::Numeric(v.parse().unwrap()).to_bytes()
}

fn pick<T: Clone>(random: &mut StdRng, from: &[T]) -> T {
    from[random.random_range(0..from.len())].clone()
}

fn random_value(random: &mut StdRng, ty: PgType) -> Option<Vec<u8>> {
    if random.random_bool(0.15) {
        return None;
    }
    match ty.oid {
        oid::INT4 => int4(random.random_range(0..4)),
        oid::INT8 => int8(random.random_range(0..8)),
        oid::BOOL => Some(vec![u8::from(random.random_bool(0.5))]),
        oid::TEXT => text(pick(random, &["", "x", "y", "zz"])),
        oid::NUMERIC => numeric(pick(random, &["1", "1.0", "1.50", "-2", "0.125", "NaN"])),
        oid::FLOAT8 => Some(pick(random, &[0.5f64, -1.25, 3.0, 0.0]).to_be_bytes().to_vec()),
        _ => unreachable!(),
    }
}

/// The nodes' present content.
pub struct World {
    pub random: StdRng,
    pub tables: Vec<Table>,
    pub rows: BTreeMap<TableId, Vec<Values>>,
    pub lsn: u64,
    pub cut: Cut,
}

impl World {
    pub fn new(random: StdRng) -> Self {
        let tables = tables();
        let rows = tables.iter().flat_map(|t| t.physical).map(|t| (t, Vec::new())).collect();
        let positions = Positions([(NodeId(1), Lsn(1)), (NodeId(2), Lsn(1))].into());
        Self { random, tables, rows, lsn: 1, cut: Cut { seq: Seq(0), positions } }
    }

    /// The same with keys that decide where their row is.
    pub fn hashed(random: StdRng) -> Self {
        let mut world = Self::new(random);
        for table in &mut world.tables {
            table.hashed = !table.identity.is_empty();
        }
        world
    }

    /// Only rows on which these are true are kept of the tables. Updates tell every value: one that is left out may
    /// be that of a row that is not kept.
    pub fn keep_only(&mut self, conditions: Vec<Scalar>) {
        for (table, condition) in self.tables.iter_mut().zip(conditions) {
            table.toasted = usize::MAX;
            table.filter = Some(RowFilter { conditions: vec![condition], settings: Vec::new() });
        }
    }

    /// Whether a row can be on this node.
    fn fits(&self, table: usize, row: &Values, node: usize) -> bool {
        let sum = |key: Vec<Option<Vec<u8>>>| key.iter().flatten().flatten().map(|b| usize::from(*b)).sum::<usize>();
        !self.tables[table].hashed || sum(self.key(table, row)) % 2 == node
    }

    /// All rows of a logical table.
    pub fn logical(&self, table: usize) -> Vec<Values> {
        self.tables[table].physical.iter().flat_map(|p| self.rows[p].clone()).collect()
    }

    /// Random transactions, in some order that keeps each node's; the world is as after them.
    pub fn transactions(&mut self, count: usize) -> Vec<Transaction> {
        let mut nodes: [Vec<Transaction>; 2] = Default::default();
        for _ in 0..count {
            let node = self.random.random_range(0..2usize);
            let mut changes = Vec::new();
            if self.random.random_bool(0.1) {
                if let Some((left, came)) = self.move_row() {
                    for (place, change) in [(0, left), (1, came)] {
                        let end = self.tick();
                        nodes[place].push(transaction(place, end, &[change]));
                    }
                }
                continue;
            }
            for _ in 0..self.random.random_range(1..6) {
                changes.extend(self.change(node));
            }
            let end = self.tick();
            nodes[node].push(transaction(node, end, &changes));
        }
        let [first, second] = nodes;
        let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
        let mut out = Vec::new();
        while first.peek().is_some() || second.peek().is_some() {
            let next = if self.random.random_bool(0.5) { first.next() } else { second.next() };
            out.extend(next);
        }
        out
    }

    fn tick(&mut self) -> u64 {
        self.lsn += self.random.random_range(1..100);
        self.lsn
    }

    /// The cut that ends with everything so far.
    pub fn next_cut(&mut self) -> Cut {
        let end = Lsn(self.lsn);
        self.cut =
            Cut { seq: Seq(self.cut.seq.0 + 1), positions: Positions([(NodeId(1), end), (NodeId(2), end)].into()) };
        self.cut.clone()
    }

    fn key(&self, table: usize, row: &Values) -> Vec<Option<Vec<u8>>> {
        self.tables[table].identity.iter().map(|&i| row[i].clone()).collect()
    }

    fn random_row(&mut self, table: usize) -> Values {
        let columns = self.tables[table].columns.clone();
        let identity = self.tables[table].identity.clone();
        let mut row = Values::new();
        for (i, c) in columns.iter().enumerate() {
            let mut value = random_value(&mut self.random, c.ty);
            while value.is_none() && identity.contains(&i) {
                value = random_value(&mut self.random, c.ty);
            }
            row.push(value);
        }
        row
    }

    fn is_free(&self, table: usize, row: &Values) -> bool {
        let key = self.key(table, row);
        key.is_empty() || self.logical(table).iter().all(|r| self.key(table, r) != key)
    }

    /// One change of a table of the node, as it would be logged.
    fn change(&mut self, node: usize) -> Option<Change> {
        let table = self.random.random_range(0..3usize);
        let physical = self.tables[table].physical[node];
        let present = self.rows[&physical].len();
        let what = self.random.random_range(0..100);
        let op = if what < 1 {
            self.rows.get_mut(&physical)?.clear();
            Op::Truncate
        } else if what < 45 || present == 0 {
            let new = self.random_row(table);
            if !self.is_free(table, &new) || !self.fits(table, &new, node) {
                return None;
            }
            self.rows.get_mut(&physical)?.push(new.clone());
            Op::Insert(row(&new))
        } else if what < 80 {
            let at = self.random.random_range(0..present);
            let old = self.rows[&physical][at].clone();
            let mut new = self.random_row(table);
            for (i, value) in new.iter_mut().enumerate() {
                let keep = if self.tables[table].identity.contains(&i) { 0.7 } else { 0.4 };
                if self.random.random_bool(keep) {
                    value.clone_from(&old[i]);
                }
            }
            let moves = self.key(table, &old) != self.key(table, &new);
            if moves && (!self.is_free(table, &new) || !self.fits(table, &new, node)) {
                return None;
            }
            self.rows.get_mut(&physical)?[at] = new.clone();
            self.logged_update(table, &old, &new)
        } else {
            let at = self.random.random_range(0..present);
            let old = self.rows.get_mut(&physical)?.swap_remove(at);
            Op::Delete(self.logged_old(table, &old))
        };
        Some(Change { table: physical, op })
    }

    fn logged_update(&mut self, table: usize, old: &Values, new: &Values) -> Op {
        let keyed = !self.tables[table].identity.is_empty();
        let moved = self.key(table, old) != self.key(table, new);
        let toasted = self.tables[table].toasted;
        let mut logged = RowBuilder::new();
        for (i, value) in new.iter().enumerate() {
            let left_out = i == toasted && value.is_some() && *value == old[i] && self.random.random_bool(0.5);
            logged.push(if left_out { Field::Unchanged } else { value.as_deref().map_or(Field::Null, Field::Value) });
        }
        let old = (!keyed || moved || self.random.random_bool(0.1)).then(|| self.logged_old(table, old));
        Op::Update { old, new: logged.finish() }
    }

    /// Key columns only, or all where there is no key (and sometimes where there is: `REPLICA IDENTITY FULL`).
    fn logged_old(&mut self, table: usize, old: &Values) -> Row {
        let identity = &self.tables[table].identity;
        let whole = identity.is_empty() || self.random.random_bool(0.1);
        row(&old.iter().enumerate().map(|(i, v)| v.clone().filter(|_| whole || identity.contains(&i))).collect())
    }

    /// A row that leaves the first node's table and comes to the second's, one of them with other values.
    fn move_row(&mut self) -> Option<(Change, Change)> {
        let table = self.random.random_range(0..2usize);
        let [from, to] = self.tables[table].physical;
        let present = self.rows[&from].len();
        if present == 0 || self.tables[table].hashed {
            return None;
        }
        let at = self.random.random_range(0..present);
        let old = self.rows.get_mut(&from)?.swap_remove(at);
        let mut new = self.random_row(table);
        for &i in &self.tables[table].identity {
            new[i].clone_from(&old[i]);
        }
        self.rows.get_mut(&to)?.push(new.clone());
        let left = Change { table: from, op: Op::Delete(self.logged_old(table, &old)) };
        Some((left, Change { table: to, op: Op::Insert(row(&new)) }))
    }
}

/// A transaction of a node, its changes in pieces of a few.
pub fn transaction(node: usize, end: u64, changes: &[Change]) -> Transaction {
    let piece = |changes: &[Change]| {
        let mut bytes = BytesMut::new();
        changes.iter().for_each(|c| c.encode(&mut bytes));
        bytes.freeze()
    };
    Transaction { node: NodeId(node as u32 + 1), end: Lsn(end), pieces: changes.chunks(3).map(piece).collect() }
}
