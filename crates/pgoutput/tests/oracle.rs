//! Random streams of messages mean the same to this decoder and to `pg_walstream`'s.
#![allow(clippy::unwrap_used, reason = "a test")]

mod wire;

use pg_walstream::{LogicalReplicationMessage as Theirs, LogicalReplicationParser, TupleData};
use pgoutput::{Column, Decoder, Message, Old, ReplicaIdentity, Tuple};
use proptest::prelude::*;
use wire::{block, unstreamed};

/// Both decoders' messages in one form.
fn ours(message: &Message<'_>) -> String {
    let tuple = |t: &Tuple<'_>| {
        t.columns()
            .map(|c| match c {
                Column::Null => "n".to_owned(),
                Column::Unchanged => "u".to_owned(),
                Column::Text(v) => format!("t{v:?}"),
                Column::Binary(v) => format!("b{v:?}"),
            })
            .collect::<Vec<_>>()
            .join(",")
    };
    let old = |old: &Old<'_>| match old {
        Old::Key(t) => format!("K({})", tuple(t)),
        Old::Full(t) => format!("O({})", tuple(t)),
    };
    match message {
        Message::Begin(m) => format!("begin {} {} {}", m.final_lsn.0, m.timestamp.0, m.xid),
        Message::Commit(m) => format!("commit {} {} {} {}", m.flags, m.commit_lsn.0, m.end_lsn.0, m.timestamp.0),
        Message::Origin(m) => format!("origin {} {}", m.lsn.0, m.name),
        Message::Relation(m) => {
            let identity = match m.replica_identity {
                ReplicaIdentity::Default => b'd',
                ReplicaIdentity::Nothing => b'n',
                ReplicaIdentity::Full => b'f',
                ReplicaIdentity::Index => b'i',
            };
            let columns: Vec<_> =
                m.columns().map(|c| format!("{} {} {} {}", c.key, c.name, c.type_oid, c.type_modifier)).collect();
            format!("relation {} {} {} {identity} {columns:?}", m.id, m.namespace, m.name)
        }
        Message::Type(m) => format!("type {} {} {}", m.id, m.namespace, m.name),
        Message::Insert(m) => format!("insert {} {}", m.relation, tuple(&m.new)),
        Message::Update(m) => {
            let old = m.old.as_ref().map_or(String::new(), old);
            format!("update {} {old} {}", m.relation, tuple(&m.new))
        }
        Message::Delete(m) => format!("delete {} {}", m.relation, old(&m.old)),
        Message::Truncate(m) => {
            let flags = u8::from(m.cascade) | u8::from(m.restart_identity) << 1;
            format!("truncate {flags} {:?}", m.relations().collect::<Vec<_>>())
        }
        Message::Message(m) => {
            format!("message {} {} {} {:?}", u8::from(m.transactional), m.lsn.0, m.prefix, m.content)
        }
        Message::BeginPrepare(m) => {
            format!("begin prepare {} {} {} {} {}", m.prepare_lsn.0, m.end_lsn.0, m.timestamp.0, m.xid, m.gid)
        }
        Message::Prepare(m) | Message::StreamPrepare(m) => {
            let kind = if matches!(message, Message::Prepare(_)) { "prepare" } else { "stream prepare" };
            format!("{kind} {} {} {} {} {}", m.prepare_lsn.0, m.end_lsn.0, m.timestamp.0, m.xid, m.gid)
        }
        Message::CommitPrepared(m) => {
            format!("commit prepared {} {} {} {} {}", m.commit_lsn.0, m.end_lsn.0, m.timestamp.0, m.xid, m.gid)
        }
        Message::RollbackPrepared(m) => format!(
            "rollback prepared {} {} {} {} {} {}",
            m.prepare_end_lsn.0, m.rollback_end_lsn.0, m.prepare_timestamp.0, m.rollback_timestamp.0, m.xid, m.gid
        ),
        Message::StreamStart(m) => format!("stream start {} {}", m.xid, m.first),
        Message::StreamStop => "stream stop".to_owned(),
        Message::StreamCommit(m) => {
            format!("stream commit {} {} {} {}", m.xid, m.commit_lsn.0, m.end_lsn.0, m.timestamp.0)
        }
        Message::StreamAbort(m) => format!("stream abort {} {} {:?}", m.xid, m.subxid, m.aborted_at),
    }
}

fn theirs(message: &Theirs) -> String {
    let tuple = |t: &TupleData| {
        t.columns
            .iter()
            .map(|c| match c.data_type {
                b't' => format!("t{:?}", c.as_bytes()),
                b'b' => format!("b{:?}", c.as_bytes()),
                other => char::from(other).to_string(),
            })
            .collect::<Vec<_>>()
            .join(",")
    };
    match message {
        Theirs::Begin { final_lsn, timestamp, xid } => format!("begin {final_lsn} {timestamp} {xid}"),
        Theirs::Commit { flags, commit_lsn, end_lsn, timestamp } => {
            format!("commit {flags} {commit_lsn} {end_lsn} {timestamp}")
        }
        Theirs::Origin { origin_lsn, origin_name } => format!("origin {origin_lsn} {origin_name}"),
        Theirs::Relation { relation_id, namespace, relation_name, replica_identity, columns } => {
            let columns: Vec<_> = columns
                .iter()
                .map(|c| format!("{} {} {} {}", c.is_key(), c.name, c.type_id, c.type_modifier))
                .collect();
            format!("relation {relation_id} {namespace} {relation_name} {replica_identity} {columns:?}")
        }
        Theirs::Type { type_id, namespace, type_name } => format!("type {type_id} {namespace} {type_name}"),
        Theirs::Insert { relation_id, tuple: new } => format!("insert {relation_id} {}", tuple(new)),
        Theirs::Update { relation_id, old_tuple, new_tuple, key_type } => {
            let old = old_tuple.as_ref().map_or(String::new(), |t| format!("{}({})", key_type.unwrap(), tuple(t)));
            format!("update {relation_id} {old} {}", tuple(new_tuple))
        }
        Theirs::Delete { relation_id, old_tuple, key_type } => {
            format!("delete {relation_id} {key_type}({})", tuple(old_tuple))
        }
        Theirs::Truncate { relation_ids, flags } => format!("truncate {flags} {relation_ids:?}"),
        Theirs::Message { flags, lsn, prefix, content } => {
            format!("message {flags} {lsn} {prefix} {:?}", content.as_ref())
        }
        Theirs::BeginPrepare { prepare_lsn, end_lsn, timestamp, xid, gid } => {
            format!("begin prepare {prepare_lsn} {end_lsn} {timestamp} {xid} {gid}")
        }
        Theirs::Prepare { prepare_lsn, end_lsn, timestamp, xid, gid, .. } => {
            format!("prepare {prepare_lsn} {end_lsn} {timestamp} {xid} {gid}")
        }
        Theirs::StreamPrepare { prepare_lsn, end_lsn, timestamp, xid, gid, .. } => {
            format!("stream prepare {prepare_lsn} {end_lsn} {timestamp} {xid} {gid}")
        }
        Theirs::CommitPrepared { commit_lsn, end_lsn, timestamp, xid, gid, .. } => {
            format!("commit prepared {commit_lsn} {end_lsn} {timestamp} {xid} {gid}")
        }
        Theirs::RollbackPrepared {
            prepare_end_lsn,
            rollback_end_lsn,
            prepare_timestamp,
            rollback_timestamp,
            xid,
            gid,
            ..
        } => format!(
            "rollback prepared {prepare_end_lsn} {rollback_end_lsn} {prepare_timestamp} {rollback_timestamp} {xid} {gid}"
        ),
        Theirs::StreamStart { xid, first_segment } => format!("stream start {xid} {first_segment}"),
        Theirs::StreamStop => "stream stop".to_owned(),
        Theirs::StreamCommit { xid, commit_lsn, end_lsn, timestamp, .. } => {
            format!("stream commit {xid} {commit_lsn} {end_lsn} {timestamp}")
        }
        Theirs::StreamAbort { xid, subtransaction_xid, abort_lsn, abort_timestamp } => {
            let at = abort_lsn.zip(*abort_timestamp).map(|(l, t)| (pgoutput::Lsn(l), pgoutput::Timestamp(t)));
            format!("stream abort {xid} {subtransaction_xid} {at:?}")
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_random_stream_means_the_same_to_both(
        stream in prop::collection::vec(prop_oneof![unstreamed().prop_map(|m| vec![m]), block()], 1..6)
    ) {
        let mut decoder = Decoder::new();
        let mut oracle = LogicalReplicationParser::with_protocol_version(4);
        for bytes in stream.iter().flatten() {
            let us = decoder.decode(bytes).unwrap();
            let them = oracle.parse_wal_message(bytes).unwrap();
            prop_assert_eq!(ours(&us.message), theirs(&them.message));
            if us.xid.is_some() {
                prop_assert_eq!(us.xid, them.xid);
            }
        }
    }
}
