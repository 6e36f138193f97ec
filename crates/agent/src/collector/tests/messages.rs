//! Hand-made pgoutput messages, as PostgreSQL's `proto.c` writes them.

use bytes::BufMut;

pub(super) fn begin(final_lsn: u64) -> Vec<u8> {
    [&b"B"[..], &final_lsn.to_be_bytes(), &[0; 8], &[0, 0, 0, 9]].concat()
}

pub(super) fn commit(lsn: u64, end: u64) -> Vec<u8> {
    [&b"C\0"[..], &lsn.to_be_bytes(), &end.to_be_bytes(), &77i64.to_be_bytes()].concat()
}

pub(super) fn begin_prepare(lsn: u64, end: u64, gid: &str) -> Vec<u8> {
    [&b"b"[..], &lsn.to_be_bytes(), &end.to_be_bytes(), &[0; 12], gid.as_bytes(), b"\0"].concat()
}

pub(super) fn prepare(lsn: u64, end: u64, gid: &str) -> Vec<u8> {
    [&b"P\0"[..], &lsn.to_be_bytes(), &end.to_be_bytes(), &[0; 12], gid.as_bytes(), b"\0"].concat()
}

pub(super) fn commit_prepared(lsn: u64, end: u64, gid: &str) -> Vec<u8> {
    [&b"K\0"[..], &lsn.to_be_bytes(), &end.to_be_bytes(), &[0; 12], gid.as_bytes(), b"\0"].concat()
}

pub(super) fn rollback_prepared(end: u64, gid: &str) -> Vec<u8> {
    [&b"r\0"[..], &[0; 8], &end.to_be_bytes(), &[0; 20], gid.as_bytes(), b"\0"].concat()
}

pub(super) fn relation(id: u32, schema: &str, name: &str, columns: &[(&str, u32, i32)]) -> Vec<u8> {
    keyed_relation(id, schema, name, columns, columns.len())
}

/// Of which the first `keys` columns are logged of old rows.
pub(super) fn keyed_relation(id: u32, schema: &str, name: &str, columns: &[(&str, u32, i32)], keys: usize) -> Vec<u8> {
    let mut m = b"R".to_vec();
    m.put_u32(id);
    for text in [schema, name] {
        m.put_slice(text.as_bytes());
        m.put_u8(0);
    }
    m.put_u8(b'd');
    m.put_u16(columns.len() as u16);
    for (at, (name, ty, typmod)) in columns.iter().enumerate() {
        m.put_u8(u8::from(at < keys));
        m.put_slice(name.as_bytes());
        m.put_u8(0);
        m.put_u32(*ty);
        m.put_i32(*typmod);
    }
    m
}

/// A value of a tuple: binary, or one of the marks `n`, `u`, or text.
#[derive(Debug, Clone)]
pub(super) enum V {
    Bin(Vec<u8>),
    Mark(u8),
    Text,
}

pub(super) fn bin(text: &str) -> V {
    V::Bin(text.as_bytes().to_vec())
}

pub(super) fn tuple(mark: u8, values: &[V]) -> Vec<u8> {
    let mut m = vec![mark];
    m.put_u16(values.len() as u16);
    for value in values {
        match value {
            V::Bin(bytes) => {
                m.put_u8(b'b');
                m.put_u32(bytes.len() as u32);
                m.put_slice(bytes);
            }
            V::Mark(mark) => m.put_u8(*mark),
            V::Text => m.put_slice(b"t\0\0\0\x01x"),
        }
    }
    m
}

pub(super) fn insert(relation: u32, values: &[V]) -> Vec<u8> {
    [&b"I"[..], &relation.to_be_bytes(), &tuple(b'N', values)].concat()
}

pub(super) fn update(relation: u32, old: Option<(u8, &[V])>, new: &[V]) -> Vec<u8> {
    let old = old.map(|(mark, values)| tuple(mark, values)).unwrap_or_default();
    [&b"U"[..], &relation.to_be_bytes(), &old, &tuple(b'N', new)].concat()
}

pub(super) fn delete(relation: u32, mark: u8, old: &[V]) -> Vec<u8> {
    [&b"D"[..], &relation.to_be_bytes(), &tuple(mark, old)].concat()
}
