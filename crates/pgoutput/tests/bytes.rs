//! Each message from bytes made by hand, after PostgreSQL's documentation of the message formats.
#![allow(clippy::unwrap_used, reason = "a test")]

mod wire;

use pgoutput::{Column, Decoder, Error, Lsn, Message, Old, ReplicaIdentity, Timestamp};
use wire::{Value, Wire};

fn decode(bytes: &[u8]) -> Message<'_> {
    Message::decode(bytes).unwrap()
}

#[test]
fn a_plain_transaction_has_its_positions_and_time() {
    let bytes = Wire::of(b'B').u64(0x16_0000_0010).u64(700_000_000_000_000).u32(42).0;
    let Message::Begin(begin) = decode(&bytes) else { panic!() };
    assert_eq!((begin.final_lsn, begin.xid), (Lsn(0x16_0000_0010), 42));
    assert_eq!(begin.final_lsn.to_string(), "16/10");
    assert_eq!(begin.timestamp.unix_micros(), 1_646_684_800_000_000);

    let bytes = Wire::of(b'C').u8(0).u64(10).u64(20).u64(30).0;
    let Message::Commit(commit) = decode(&bytes) else { panic!() };
    assert_eq!((commit.commit_lsn, commit.end_lsn, commit.timestamp), (Lsn(10), Lsn(20), Timestamp(30)));

    let bytes = Wire::of(b'O').u64(7).text("elsewhere").0;
    let Message::Origin(origin) = decode(&bytes) else { panic!() };
    assert_eq!((origin.lsn, origin.name), (Lsn(7), "elsewhere"));
}

#[test]
fn a_relation_tells_its_columns_and_keys() {
    let bytes = Wire::of(b'R').u32(16_384).text("public").text("Straße").u8(b'i').u16(2);
    let bytes = bytes.u8(1).text("id").u32(20).u32(u32::MAX).u8(0).text("x").u32(1700).u32(655_366).0;
    let Message::Relation(relation) = decode(&bytes) else { panic!() };
    assert_eq!((relation.id, relation.namespace, relation.name), (16_384, "public", "Straße"));
    assert_eq!((relation.replica_identity, relation.column_count()), (ReplicaIdentity::Index, 2));
    let columns: Vec<_> = relation.columns().map(|c| (c.key, c.name, c.type_oid, c.type_modifier)).collect();
    assert_eq!(columns, [(true, "id", 20, -1), (false, "x", 1700, 655_366)]);
}

#[test]
fn a_system_table_is_in_pg_catalog() {
    let bytes = Wire::of(b'R').u32(1).text("").text("pg_dist_transaction").u8(b'd').u16(0).0;
    let Message::Relation(relation) = decode(&bytes) else { panic!() };
    assert_eq!(relation.namespace, "pg_catalog");
    let bytes = Wire::of(b'Y').u32(9).text("").text("citext").0;
    let Message::Type(ty) = decode(&bytes) else { panic!() };
    assert_eq!((ty.id, ty.namespace, ty.name), (9, "pg_catalog", "citext"));
}

#[test]
fn changes_carry_their_rows() {
    let row = [Value::Null, Value::Unchanged, Value::Text(b"ab".to_vec()), Value::Binary(vec![0, 1])];
    let columns = [Column::Null, Column::Unchanged, Column::Text(b"ab"), Column::Binary(&[0, 1])];

    let bytes = Wire::of(b'I').u32(5).u8(b'N').tuple(&row).0;
    let Message::Insert(insert) = decode(&bytes) else { panic!() };
    assert_eq!((insert.relation, insert.new.len(), insert.new.wire_len()), (5, 4, 16));
    assert_eq!(insert.new.columns().collect::<Vec<_>>(), columns);

    let key = [Value::Text(b"7".to_vec())];
    for (mark, full) in [(b'K', false), (b'O', true)] {
        let bytes = Wire::of(b'U').u32(5).u8(mark).tuple(&key).u8(b'N').tuple(&row).0;
        let Message::Update(update) = decode(&bytes) else { panic!() };
        let old = update.old.unwrap();
        assert_eq!(matches!(old, Old::Full(_)), full);
        assert_eq!(old.tuple().columns().collect::<Vec<_>>(), [Column::Text(b"7")]);
        assert_eq!(update.new.columns().collect::<Vec<_>>(), columns);

        let bytes = Wire::of(b'D').u32(5).u8(mark).tuple(&row).0;
        let Message::Delete(delete) = decode(&bytes) else { panic!() };
        assert_eq!(matches!(delete.old, Old::Full(_)), full);
        assert_eq!(delete.old.tuple().columns().collect::<Vec<_>>(), columns);
    }
    let bytes = Wire::of(b'U').u32(5).u8(b'N').tuple(&row).0;
    let Message::Update(update) = decode(&bytes) else { panic!() };
    assert_eq!(update.old, None);

    let bytes = Wire::of(b'T').u32(2).u8(3).u32(8).u32(9).0;
    let Message::Truncate(truncate) = decode(&bytes) else { panic!() };
    assert!(truncate.cascade && truncate.restart_identity);
    assert_eq!(truncate.relations().collect::<Vec<_>>(), [8, 9]);
}

#[test]
fn an_emitted_message_carries_its_content() {
    let bytes = Wire::of(b'M').u8(1).u64(99).text("tributary").u32(3).raw(&[1, 0, 2]).0;
    let Message::Message(message) = decode(&bytes) else { panic!() };
    assert!(message.transactional);
    assert_eq!((message.lsn, message.prefix, message.content), (Lsn(99), "tributary", &[1, 0, 2][..]));
}

#[test]
fn prepared_transactions_carry_their_names() {
    let gid = "citus_0_14924_8_1";
    let bytes = Wire::of(b'b').u64(1).u64(2).u64(3).u32(4).text(gid).0;
    let Message::BeginPrepare(begin) = decode(&bytes) else { panic!() };
    assert_eq!((begin.prepare_lsn, begin.end_lsn, begin.timestamp), (Lsn(1), Lsn(2), Timestamp(3)));
    assert_eq!((begin.xid, begin.gid), (4, gid));

    let after = |tag| Wire::of(tag).u8(0).u64(1).u64(2).u64(3).u32(4).text(gid).0;
    let bytes = after(b'P');
    let Message::Prepare(prepare) = decode(&bytes) else { panic!() };
    assert_eq!((prepare.prepare_lsn, prepare.end_lsn, prepare.xid, prepare.gid), (Lsn(1), Lsn(2), 4, gid));
    let bytes = after(b'K');
    let Message::CommitPrepared(commit) = decode(&bytes) else { panic!() };
    assert_eq!((commit.commit_lsn, commit.end_lsn, commit.xid, commit.gid), (Lsn(1), Lsn(2), 4, gid));
    let bytes = after(b'p');
    let Message::StreamPrepare(prepare) = decode(&bytes) else { panic!() };
    assert_eq!((prepare.prepare_lsn, prepare.end_lsn, prepare.xid, prepare.gid), (Lsn(1), Lsn(2), 4, gid));

    let bytes = Wire::of(b'r').u8(0).u64(1).u64(2).u64(3).u64(4).u32(5).text(gid).0;
    let Message::RollbackPrepared(rollback) = decode(&bytes) else { panic!() };
    assert_eq!((rollback.prepare_end_lsn, rollback.rollback_end_lsn), (Lsn(1), Lsn(2)));
    assert_eq!((rollback.prepare_timestamp, rollback.rollback_timestamp), (Timestamp(3), Timestamp(4)));
    assert_eq!((rollback.xid, rollback.gid), (5, gid));
}

#[test]
fn changes_of_a_streamed_block_name_their_transaction() {
    let mut decoder = Decoder::new();
    let plain = Wire::of(b'I').u32(5).u8(b'N').tuple(&[Value::Null]).0;
    let streamed = Wire::of(b'I').u32(778).u32(5).u8(b'N').tuple(&[Value::Null]).0;
    assert_eq!(decoder.decode(&plain).unwrap().xid, None);

    let start = Wire::of(b'S').u32(777).u8(1).0;
    let Message::StreamStart(block) = decoder.decode(&start).unwrap().message else { panic!() };
    assert_eq!((block.xid, block.first), (777, true));
    let decoded = decoder.decode(&streamed).unwrap();
    assert_eq!(decoded.xid, Some(778));
    assert!(matches!(decoded.message, Message::Insert(i) if i.relation == 5));
    assert!(decoder.decode(&plain).is_err(), "without its transaction it is no change of a block");
    assert_eq!(decoder.decode(b"E").unwrap().message, Message::StreamStop);
    assert_eq!(decoder.decode(&plain).unwrap().xid, None);

    let bytes = Wire::of(b'c').u32(777).u8(0).u64(1).u64(2).u64(3).0;
    let Message::StreamCommit(commit) = decoder.decode(&bytes).unwrap().message else { panic!() };
    assert_eq!((commit.xid, commit.commit_lsn, commit.end_lsn), (777, Lsn(1), Lsn(2)));
}

#[test]
fn a_streamed_rollback_is_read_in_both_protocol_forms() {
    let short = Wire::of(b'A').u32(777).u32(778);
    let Message::StreamAbort(abort) = decode(&short.0) else { panic!() };
    assert_eq!((abort.xid, abort.subxid, abort.aborted_at), (777, 778, None));
    let long = short.u64(5).u64(6).0;
    let Message::StreamAbort(abort) = decode(&long) else { panic!() };
    assert_eq!(abort.aborted_at, Some((Lsn(5), Timestamp(6))));
}

#[test]
fn damaged_bytes_are_told_apart() {
    assert_eq!(Message::decode(b""), Err(Error::Empty));
    assert_eq!(Message::decode(b"?"), Err(Error::UnknownMessage(b'?')));
    assert_eq!(Message::decode(b"B123"), Err(Error::Short("a position")));
    assert_eq!(Message::decode(b"Ex"), Err(Error::Trailing(1)));
    let column = Wire::of(b'I').u32(1).u8(b'N').u16(1).u8(b'x').0;
    assert_eq!(Message::decode(&column), Err(Error::BadTag { what: "a column's kind", value: b'x' }));
    let huge = Wire::of(b'I').u32(1).u8(b'N').u16(1).u8(b't').u32(u32::MAX).0;
    assert_eq!(Message::decode(&huge), Err(Error::Short("a value")));
    let tables = Wire::of(b'T').u32(u32::MAX).u8(0).u32(1).0;
    assert_eq!(Message::decode(&tables), Err(Error::Short("truncated tables")));
    let latin = Wire::of(b'O').u64(1).raw(&[0xE4, 0]).0;
    assert_eq!(Message::decode(&latin), Err(Error::NotText("an origin's name")));
}
