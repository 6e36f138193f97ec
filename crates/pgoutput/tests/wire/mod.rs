//! Writes pgoutput messages as PostgreSQL's proto.c does, and makes random ones.
#![allow(dead_code, reason = "each test file uses its part")]

use proptest::prelude::*;

/// A growing message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wire(pub(crate) Vec<u8>);

impl Wire {
    pub(crate) fn of(tag: u8) -> Self {
        Self(vec![tag])
    }
    pub(crate) fn u8(mut self, v: u8) -> Self {
        self.0.push(v);
        self
    }
    pub(crate) fn u16(mut self, v: u16) -> Self {
        self.0.extend(v.to_be_bytes());
        self
    }
    pub(crate) fn u32(mut self, v: u32) -> Self {
        self.0.extend(v.to_be_bytes());
        self
    }
    pub(crate) fn u64(mut self, v: u64) -> Self {
        self.0.extend(v.to_be_bytes());
        self
    }
    pub(crate) fn text(mut self, v: &str) -> Self {
        self.0.extend(v.as_bytes());
        self.0.push(0);
        self
    }
    pub(crate) fn raw(mut self, v: &[u8]) -> Self {
        self.0.extend(v);
        self
    }
    pub(crate) fn tuple(mut self, columns: &[Value]) -> Self {
        self = self.u16(columns.len() as u16);
        for column in columns {
            self = match column {
                Value::Null => self.u8(b'n'),
                Value::Unchanged => self.u8(b'u'),
                Value::Text(v) => self.u8(b't').u32(v.len() as u32).raw(v),
                Value::Binary(v) => self.u8(b'b').u32(v.len() as u32).raw(v),
            };
        }
        self
    }
}

/// One column of a random tuple.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Unchanged,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

fn value() -> impl Strategy<Value = Value> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        Just(Value::Null),
        Just(Value::Unchanged),
        "[a-zä]{0,20}".prop_map(|s| Value::Text(s.into_bytes())),
        bytes().prop_map(Value::Binary),
    ]
}

pub(crate) fn values() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(value(), 0..12)
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z_äß ]{1,16}"
}

/// A change (a message that carries a transaction in a streamed block), written for inside or outside of one.
pub(crate) fn change(xid: Option<u32>) -> BoxedStrategy<Vec<u8>> {
    let head = move |tag: u8| match xid {
        Some(xid) => Wire::of(tag).u32(xid),
        None => Wire::of(tag),
    };
    let identity = || prop::sample::select(vec![b'd', b'n', b'f', b'i']);
    let column = (any::<bool>(), name(), any::<u32>(), any::<u32>());
    prop_oneof![
        (any::<u32>(), values()).prop_map(move |(id, new)| head(b'I').u32(id).u8(b'N').tuple(&new).0),
        (any::<u32>(), prop::option::of((any::<bool>(), values())), values()).prop_map(move |(id, old, new)| {
            let mut wire = head(b'U').u32(id);
            if let Some((full, old)) = old {
                wire = wire.u8(if full { b'O' } else { b'K' }).tuple(&old);
            }
            wire.u8(b'N').tuple(&new).0
        }),
        (any::<u32>(), any::<bool>(), values()).prop_map(move |(id, full, old)| head(b'D')
            .u32(id)
            .u8(if full { b'O' } else { b'K' })
            .tuple(&old)
            .0),
        (0u8..4, prop::collection::vec(any::<u32>(), 0..6)).prop_map(move |(flags, ids)| {
            ids.iter().fold(head(b'T').u32(ids.len() as u32).u8(flags), |wire, id| wire.u32(*id)).0
        }),
        (any::<u32>(), name(), name(), identity(), prop::collection::vec(column, 0..6)).prop_map(
            move |(id, schema, table, identity, columns)| {
                let wire = head(b'R').u32(id).text(&schema).text(&table).u8(identity).u16(columns.len() as u16);
                columns
                    .iter()
                    .fold(wire, |wire, (key, name, ty, modifier)| {
                        wire.u8(u8::from(*key)).text(name).u32(*ty).u32(*modifier)
                    })
                    .0
            }
        ),
        (any::<u32>(), name(), name()).prop_map(move |(id, schema, name)| head(b'Y')
            .u32(id)
            .text(&schema)
            .text(&name)
            .0),
        (any::<bool>(), any::<u64>(), name(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(
            move |(transactional, lsn, prefix, content)| {
                let wire = head(b'M').u8(u8::from(transactional)).u64(lsn).text(&prefix);
                wire.u32(content.len() as u32).raw(&content).0
            }
        ),
    ]
    .boxed()
}

/// Any message but the two that begin and end a streamed block.
pub(crate) fn unstreamed() -> BoxedStrategy<Vec<u8>> {
    // PostgreSQL's clock, in microseconds since 2000, between 1970 and 2200.
    let time = || 0u64..6_000_000_000_000_000;
    let (l, x) = (any::<u64>, any::<u32>);
    prop_oneof![
        8 => change(None),
        1 => (l(), time(), x()).prop_map(|(l, t, x)| Wire::of(b'B').u64(l).u64(t).u32(x).0),
        1 => (any::<u8>(), l(), l(), time()).prop_map(|(f, a, b, t)| Wire::of(b'C').u8(f).u64(a).u64(b).u64(t).0),
        1 => (l(), name()).prop_map(|(l, n)| Wire::of(b'O').u64(l).text(&n).0),
        1 => (l(), l(), time(), x(), name())
            .prop_map(|(a, b, t, x, g)| Wire::of(b'b').u64(a).u64(b).u64(t).u32(x).text(&g).0),
        2 => (prop::sample::select(vec![b'P', b'K', b'p']), l(), l(), time(), x(), name())
            .prop_map(|(tag, a, b, t, x, g)| Wire::of(tag).u8(0).u64(a).u64(b).u64(t).u32(x).text(&g).0),
        1 => (l(), l(), time(), time(), x(), name())
            .prop_map(|(a, b, t, u, x, g)| Wire::of(b'r').u8(0).u64(a).u64(b).u64(t).u64(u).u32(x).text(&g).0),
        1 => (x(), l(), l(), time()).prop_map(|(x, a, b, t)| Wire::of(b'c').u32(x).u8(0).u64(a).u64(b).u64(t).0),
        1 => (x(), x()).prop_map(|(x, s)| Wire::of(b'A').u32(x).u32(s).0),
        1 => (x(), x(), l(), time()).prop_map(|(x, s, l, t)| Wire::of(b'A').u32(x).u32(s).u64(l).u64(t).0),
    ]
    .boxed()
}

/// A streamed block: its start, some changes, its end.
pub(crate) fn block() -> BoxedStrategy<Vec<Vec<u8>>> {
    (any::<u32>(), any::<bool>())
        .prop_flat_map(|(xid, first)| {
            prop::collection::vec(change(Some(xid)), 0..6).prop_map(move |mut changes| {
                changes.insert(0, Wire::of(b'S').u32(xid).u8(u8::from(first)).0);
                changes.push(vec![b'E']);
                changes
            })
        })
        .boxed()
}
