//! The collector against hand-made streams.

use bytes::Bytes;
use pgoutput::Decoder;
use proptest::prelude::*;
use types::{Change, Field, Op, Row, RowBuilder, TableName};

mod altered;
mod messages;

use messages::*;

use super::*;
use crate::subscription::WantedColumn;

// A table `public.t (a int4, b text, c text)` of which some columns are wanted.

fn wanted(id: u32, columns: &[&str]) -> Subscription {
    let types = |name: &str| vec![if name == "a" { 23 } else { 25 }];
    let column = |name: &&str| WantedColumn { name: (*name).into(), types: types(name), typmod: None };
    Subscription {
        id: TableId(id),
        name: TableName::new("public", "t"),
        columns: columns.iter().map(column).collect(),
        shard: 0,
        dormant: false,
        identity: Vec::new(),
        whole: false,
        relation: 0,
        there: true,
        found: 0,
        looked: Lsn::ZERO,
        fresh: false,
        alone: true,
    }
}

fn t() -> Vec<u8> {
    relation(1, "public", "t", &[("a", 23, -1), ("b", 25, -1), ("c", 25, -1)])
}

fn participants_table() -> Vec<u8> {
    relation(2, "", "pg_dist_transaction", &[("groupid", 23, -1), ("gid", 25, -1), ("outer_xid", 5069, -1)])
}

fn collector(resume_after: u64, columns: &[&str]) -> Collector {
    let mut c = Collector::new(NodeId(1), Lsn(resume_after), vec![wanted(7, columns)], Arc::default());
    c.start(Lsn(resume_after));
    c
}

fn feed(c: &mut Collector, messages: &[Vec<u8>]) {
    let mut decoder = Decoder::new();
    for m in messages {
        c.message(&decoder.decode(m).unwrap().message).unwrap();
    }
}

fn row(fields: &[Field<'_>]) -> Row {
    let mut b = RowBuilder::new();
    for f in fields {
        b.push(*f);
    }
    b.finish()
}

fn values(texts: &[&str]) -> Row {
    row(&texts.iter().map(|t| Field::Value(t.as_bytes())).collect::<Vec<_>>())
}

/// Events in short: pieces as their changes, the rest by name and position.
fn said(c: &mut Collector) -> Vec<String> {
    use v1::event::Kind;
    let text = |event: v1::Event| match event.kind.unwrap() {
        Kind::Piece(p) => changes(p.changes).iter().map(short).collect::<Vec<_>>().join(" "),
        Kind::Commit(m) => format!("commit {} {:?}", m.end_lsn, list(&m.participants)),
        Kind::Prepare(m) => format!("prepare {} {} {}", m.gid, m.begin_lsn, m.end_lsn),
        Kind::CommitPrepared(m) => format!("commit prepared {} {}", m.gid, m.end_lsn),
        Kind::RollbackPrepared(m) => format!("rollback prepared {} {}", m.gid, m.end_lsn),
        Kind::Progress(m) => format!("progress {}", m.lsn),
        Kind::TableAltered(m) => format!("altered {}: {}", m.table, m.reason),
        Kind::Restart(_) => "restart".into(),
    };
    c.take().events.into_iter().map(text).collect()
}

fn list(participants: &[v1::Participant]) -> Vec<(u32, &str)> {
    participants.iter().map(|p| (p.node, p.gid.as_str())).collect()
}

fn changes(mut bytes: Bytes) -> Vec<Change> {
    let mut all = Vec::new();
    while let Some(change) = Change::decode(&mut bytes).unwrap() {
        all.push(change);
    }
    all
}

fn short(change: &Change) -> String {
    let text = |row: &Row| {
        let field = |f: Field<'_>| match f {
            Field::Null => "-".into(),
            Field::Unchanged => "=".into(),
            Field::Value(v) => String::from_utf8_lossy(v).into_owned(),
        };
        row.fields().map(field).collect::<Vec<_>>().join(",")
    };
    let table = change.table;
    match &change.op {
        Op::Insert(new) => format!("{table}+{}", text(new)),
        Op::Update { old: None, new } => format!("{table}~{}", text(new)),
        Op::Update { old: Some(old), new } => format!("{table}~{}>{}", text(old), text(new)),
        Op::Delete(old) => format!("{table}-{}", text(old)),
        Op::Truncate => format!("{table}!"),
    }
}

const NULL: V = V::Mark(b'n');
const SAME: V = V::Mark(b'u');

#[test]
fn a_transaction_is_its_rows_in_the_wanted_columns_and_order_and_then_its_end() {
    for (columns, line) in [
        (&["a", "c"][..], "7+1,z 7~1,= 7~1,->2,z 7-2,- 7!"),
        (&["c", "a"][..], "7+z,1 7~=,1 7~-,1>z,2 7--,2 7!"),
        (&[][..], "7+ 7~ 7~> 7- 7!"),
    ] {
        let mut c = collector(0, columns);
        let key = [bin("1"), NULL, NULL];
        feed(
            &mut c,
            &[
                begin(100),
                t(),
                insert(1, &[bin("1"), bin("y"), bin("z")]),
                update(1, None, &[bin("1"), bin("y"), SAME]),
                update(1, Some((b'K', &key)), &[bin("2"), NULL, bin("z")]),
                delete(1, b'K', &[bin("2"), NULL, NULL]),
                [&b"T"[..], &1u32.to_be_bytes(), &[0], &1u32.to_be_bytes()].concat(),
                commit(100, 110),
            ],
        );
        assert_eq!(said(&mut c), [line, "commit 110 []"]);
        assert_eq!(c.position(), Lsn(110));
    }
}

#[test]
fn an_unchanged_value_is_filled_in_from_a_whole_old_row() {
    let mut c = collector(0, &["a", "c"]);
    let old = [bin("1"), bin("y"), bin("big")];
    feed(&mut c, &[begin(100), t(), update(1, Some((b'O', &old)), &[bin("2"), SAME, SAME]), commit(100, 110)]);
    assert_eq!(said(&mut c), ["7~1,big>2,big", "commit 110 []"]);
}

#[test]
fn what_nobody_wants_is_only_progress() {
    let mut c = collector(50, &["a"]);
    let other = relation(3, "public", "other", &[("a", 23, -1)]);
    feed(&mut c, &[begin(100), other, insert(3, &[bin("1")]), commit(100, 110)]);
    assert!(!c.has_events() && c.has_progress());
    assert_eq!(said(&mut c), ["progress 110"]);
    assert_eq!(said(&mut c), Vec::<String>::new(), "a position is told once");
    c.keepalive(Lsn(120));
    assert_eq!(said(&mut c), ["progress 120"]);
    feed(&mut c, &[begin(130)]);
    c.keepalive(Lsn(125));
    assert!(!c.has_progress(), "within a transaction a keepalive says nothing");
    feed(&mut c, &[commit(130, 140)]);
    assert_eq!(said(&mut c), ["progress 140"]);
}

#[test]
fn a_commit_carries_the_participants_that_its_transaction_listed() {
    let mut c = collector(0, &["a"]);
    let member = |group: u32, gid: &str| insert(2, &[V::Bin(group.to_be_bytes().to_vec()), bin(gid), NULL]);
    let gone = delete(2, b'K', &[V::Bin(vec![0, 0, 0, 1]), bin("citus_0_5_1_1"), NULL]);
    feed(
        &mut c,
        &[
            begin(100),
            participants_table(),
            member(1, "citus_0_5_8_1"),
            member(2, "citus_0_5_8_2"),
            commit(100, 110),
            begin(120),
            gone,
            commit(120, 130),
        ],
    );
    assert_eq!(said(&mut c), [r#"commit 110 [(1, "citus_0_5_8_1"), (2, "citus_0_5_8_2")]"#, "progress 130"]);
}

#[test]
fn branches_are_always_told_with_their_beginning_and_their_decision() {
    let mut c = collector(0, &["a"]);
    feed(
        &mut c,
        &[
            begin_prepare(100, 105, "g1"),
            t(),
            insert(1, &[bin("1"), NULL, NULL]),
            prepare(100, 105, "g1"),
            begin_prepare(110, 115, "g2"),
            prepare(110, 115, "g2"),
            rollback_prepared(120, "g2"),
            commit_prepared(125, 130, "g1"),
        ],
    );
    assert_eq!(
        said(&mut c),
        ["7+1", "prepare g1 100 105", "prepare g2 110 115", "rollback prepared g2 120", "commit prepared g1 130"]
    );
}

#[test]
fn after_a_new_attachment_nothing_is_lost_and_plain_transactions_are_not_doubled() {
    // The aggregator has everything up to 200; the slot is confirmed up to 90 because g1 was undecided.
    let mut c = Collector::new(NodeId(1), Lsn(200), vec![wanted(7, &["a"])], Arc::default());
    c.start(Lsn(90));
    let branch = |lsn, gid| {
        vec![begin_prepare(lsn, lsn + 5, gid), insert(1, &[bin(gid), NULL, NULL]), prepare(lsn, lsn + 5, gid)]
    };
    let plain = |lsn: u64| vec![begin(lsn), insert(1, &[bin(&lsn.to_string()), NULL, NULL]), commit(lsn, lsn + 10)];
    let mut stream = vec![begin(91), t(), commit(91, 95)];
    stream.extend(branch(100, "g1"));
    stream.extend(plain(150));
    stream.extend(branch(160, "g2"));
    stream.push(commit_prepared(170, 180, "g2"));
    stream.push(commit_prepared(185, 190, "older than the slot"));
    stream.extend(plain(190));
    stream.extend(plain(210));
    stream.push(commit_prepared(230, 240, "g1"));
    feed(&mut c, &stream);
    assert_eq!(
        said(&mut c),
        [
            "7+g1",
            "prepare g1 100 105",
            "7+g2",
            "prepare g2 160 165",
            "commit prepared g2 180",
            "7+210",
            "commit 220 []",
            "commit prepared g1 240"
        ]
    );
}

#[test]
fn a_stream_that_starts_again_within_an_attachment_sends_nothing_twice() {
    let mut c = collector(10, &["a"]);
    let first = vec![
        begin(20),
        t(),
        insert(1, &[bin("1"), NULL, NULL]),
        commit(20, 30),
        begin_prepare(40, 45, "g"),
        insert(1, &[bin("g"), NULL, NULL]),
        prepare(40, 45, "g"),
        begin_prepare(50, 55, "h"),
        prepare(50, 55, "h"),
        commit_prepared(60, 65, "h"),
    ];
    feed(&mut c, &first);
    assert_eq!(said(&mut c).len(), 6);
    c.start(Lsn(10));
    let mut again = first;
    again.push(commit_prepared(70, 75, "g"));
    feed(&mut c, &again);
    assert_eq!(said(&mut c), ["commit prepared g 75"]);
}

#[test]
fn a_branch_that_was_sent_again_gets_its_decision_also_when_the_stream_breaks_in_between() {
    let mut c = Collector::new(NodeId(1), Lsn(200), vec![wanted(7, &["a"])], Arc::default());
    c.start(Lsn(90));
    let branch = [begin_prepare(100, 105, "g"), prepare(100, 105, "g")];
    feed(&mut c, &branch);
    assert_eq!(said(&mut c), ["prepare g 100 105"]);
    c.start(Lsn(90));
    feed(&mut c, &branch);
    feed(&mut c, &[commit_prepared(110, 120, "g")]);
    assert_eq!(said(&mut c), ["commit prepared g 120"]);
    c.start(Lsn(90));
    feed(&mut c, &branch);
    feed(&mut c, &[commit_prepared(110, 120, "g")]);
    assert_eq!(said(&mut c), Vec::<String>::new());
}

#[test]
fn a_transaction_that_broke_off_after_a_piece_was_sent_is_taken_back() {
    let mut c = collector(10, &["b"]);
    let big = "x".repeat(PIECE_BYTES);
    feed(&mut c, &[begin(20), t(), insert(1, &[NULL, bin(&big), NULL])]);
    assert!(said(&mut c)[0].starts_with("7+xxx"));
    feed(&mut c, &[insert(1, &[NULL, bin("half"), NULL])]);
    c.start(Lsn(10));
    feed(&mut c, &[begin(20), t(), insert(1, &[NULL, bin("whole"), NULL]), commit(20, 30)]);
    assert_eq!(said(&mut c), ["restart", "7+whole", "commit 30 []"]);
    // Nothing had left of this one: nothing is to be taken back.
    feed(&mut c, &[begin(40), insert(1, &[NULL, bin("half"), NULL])]);
    c.start(Lsn(10));
    assert_eq!(said(&mut c), Vec::<String>::new());
}

#[test]
fn a_large_transaction_leaves_in_pieces_and_keeps_its_changes_in_order() {
    let mut c = collector(0, &["a", "b"]);
    feed(&mut c, &[begin(20), t()]);
    let (mut pieces, mut largest) = (Vec::new(), 0);
    let mut drain = |c: &mut Collector| {
        for event in c.take().events {
            if let Some(v1::event::Kind::Piece(p)) = event.kind {
                largest = largest.max(p.changes.len());
                pieces.extend(changes(p.changes));
            }
        }
    };
    for i in 0..20_000 {
        feed(&mut c, &[insert(1, &[bin(&i.to_string()), bin(&"y".repeat(40)), NULL])]);
        if c.is_full() {
            drain(&mut c);
        }
    }
    feed(&mut c, &[commit(20, 30)]);
    drain(&mut c);
    assert!(largest < PIECE_BYTES + 200, "{largest}");
    let expected = |i: usize| Op::Insert(values(&[&i.to_string(), &"y".repeat(40)]));
    assert_eq!(pieces.len(), 20_000);
    assert!(pieces.iter().enumerate().all(|(i, change)| change.op == expected(i)));
}

#[test]
fn a_stream_out_of_order_is_an_error() {
    let wrong: [&[Vec<u8>]; 6] = [
        &[commit(1, 2)],
        &[begin(1), begin(1)],
        &[insert(1, &[])],
        &[begin(1), insert(1, &[])],
        &[begin(1), prepare(1, 2, "g")],
        &[begin(1), commit_prepared(1, 2, "g")],
    ];
    for messages in wrong {
        let mut c = collector(0, &["a"]);
        let mut decoder = Decoder::new();
        let failed = messages.iter().any(|m| c.message(&decoder.decode(m).unwrap().message).is_err());
        assert!(failed, "{messages:?}");
    }
}

fn any_value() -> impl Strategy<Value = V> {
    prop_oneof![Just(NULL), Just(SAME), prop::collection::vec(any::<u8>(), 0..200).prop_map(V::Bin)]
}

fn field(v: &V) -> Field<'_> {
    match v {
        V::Bin(bytes) => Field::Value(bytes),
        V::Mark(b'u') => Field::Unchanged,
        V::Mark(_) | V::Text => Field::Null,
    }
}

proptest! {
    #[test]
    fn shipped_rows_are_what_types_would_have_written(
        old in prop::collection::vec(any_value(), 3), new in prop::collection::vec(any_value(), 3),
        columns in prop::sample::select(vec![vec![0usize, 1, 2], vec![2, 0], vec![1], vec![2, 1, 0]]),
    ) {
        let names: Vec<&str> = columns.iter().map(|&i| ["a", "b", "c"][i]).collect();
        let mut c = collector(0, &names);
        feed(&mut c, &[
            begin(20), t(), insert(1, &new), update(1, Some((b'K', &old)), &new), delete(1, b'K', &old), commit(20, 30),
        ]);
        let project = |values: &[V]| row(&columns.iter().map(|&i| field(&values[i])).collect::<Vec<_>>());
        let expected = [
            Op::Insert(project(&new)),
            Op::Update { old: Some(project(&old)), new: project(&new) },
            Op::Delete(project(&old)),
        ];
        let mut bytes = bytes::BytesMut::new();
        for op in expected {
            Change { table: TableId(7), op }.encode(&mut bytes);
        }
        match c.take().events.remove(0).kind {
            Some(v1::event::Kind::Piece(p)) => prop_assert_eq!(p.changes, bytes.freeze()),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
