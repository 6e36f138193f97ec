//! Writes that become durable together.
//!
//! Keys and values lie one after the other in one buffer, so that a stream table's writes can be collected apart, thrown away
//! when it fails and appended to the cut's when it does not, without an allocation a write. Before RocksDB sees them they
//! are sorted: neighbours go into its ordered memtable much faster than strangers.

use rocksdb::WriteBatch;

use crate::Family;

/// What can be written.
pub trait Write {
    /// Sets a key.
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]);
    /// Removes a key; nothing happens when it is not there.
    fn delete(&mut self, family: Family, key: &[u8]);
    /// Removes all keys from `from` up to but without `to`, as they were before this batch: what else is in the batch stays.
    fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]);

    /// Removes all keys that start with `prefix`, as they were before this batch.
    fn delete_prefix(&mut self, family: Family, prefix: &[u8]) {
        self.delete_range(family, prefix, &after_prefix(prefix));
    }
}

/// The least key behind all that start with `prefix`.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xFF {
            end.push(last + 1);
            return end;
        }
    }
    // Behind everything that the engine makes: its keys begin with a number that is not all ones.
    vec![0xFF; 16]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    DeleteRange,
    Put,
    Delete,
}

#[derive(Debug, Clone, Copy)]
struct Op {
    start: usize,
    key: u32,
    value: u32,
    family: Family,
    kind: Kind,
}

/// Collected writes; see [`crate::Store::write`]. Of several writes to one key the last counts.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ops: Vec<Op>,
}

impl Batch {
    /// Without writes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many writes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Bytes that it holds memory for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity() + self.ops.capacity() * size_of::<Op>()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all writes and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ops.clear();
    }

    /// Takes the writes of `other` over, behind its own.
    pub fn append(&mut self, other: &mut Self) {
        if self.ops.is_empty() {
            std::mem::swap(self, other);
            other.clear();
            return;
        }
        let offset = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        self.ops.extend(other.ops.drain(..).map(|op| Op { start: op.start + offset, ..op }));
    }

    fn push(&mut self, family: Family, kind: Kind, key: &[u8], value: &[u8]) {
        let op = Op { start: self.bytes.len(), key: key.len() as u32, value: value.len() as u32, family, kind };
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.ops.push(op);
    }

    fn key(&self, op: &Op) -> &[u8] {
        &self.bytes[op.start..op.start + op.key as usize]
    }

    fn value(&self, op: &Op) -> &[u8] {
        let start = op.start + op.key as usize;
        &self.bytes[start..start + op.value as usize]
    }

    /// As RocksDB takes it: ranges first, then everything by family and key, writes to one key in their order.
    pub(crate) fn sorted(&mut self, families: &[&rocksdb::ColumnFamily; 7]) -> WriteBatch {
        let mut out = WriteBatch::with_capacity_bytes(self.bytes.len() + self.ops.len() * 8 + 64);
        for op in self.ops.iter().filter(|op| op.kind == Kind::DeleteRange) {
            out.delete_range_cf(families[op.family as usize], self.key(op), self.value(op));
        }
        let mut order: Vec<(u64, u32)> = Vec::with_capacity(self.ops.len());
        for family in Family::ALL {
            self.order(family, &mut order);
            let family = families[family as usize];
            for (_, i) in &order {
                let op = &self.ops[*i as usize];
                match op.kind {
                    Kind::Put => out.put_cf(family, self.key(op), self.value(op)),
                    Kind::Delete => out.delete_cf(family, self.key(op)),
                    Kind::DeleteRange => {}
                }
            }
        }
        out
    }

    /// A family's writes by key: their numbers, each behind the eight bytes in which keys differ first.
    fn order(&self, family: Family, order: &mut Vec<(u64, u32)>) {
        order.clear();
        let own = |(_, op): &(usize, &Op)| op.family == family && op.kind != Kind::DeleteRange;
        let mut first: Option<&[u8]> = None;
        let mut shared = 0;
        for (i, op) in self.ops.iter().enumerate().filter(own) {
            order.push((0, i as u32));
            let key = self.key(op);
            match first {
                None => (first, shared) = (Some(key), key.len()),
                Some(first) => shared = first.iter().zip(key).take(shared).take_while(|(a, b)| a == b).count(),
            }
        }
        for (head, i) in &mut *order {
            let rest = &self.key(&self.ops[*i as usize])[shared..];
            let mut bytes = [0; 8];
            let known = rest.len().min(8);
            bytes[..known].copy_from_slice(&rest[..known]);
            *head = u64::from_be_bytes(bytes);
        }
        order.sort_unstable_by(|a, b| {
            let key = |i: u32| self.key(&self.ops[i as usize]);
            a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1))).then(a.1.cmp(&b.1))
        });
    }
}

impl Write for Batch {
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.push(family, Kind::Put, key, value);
    }
    fn delete(&mut self, family: Family, key: &[u8]) {
        self.push(family, Kind::Delete, key, &[]);
    }
    fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.push(family, Kind::DeleteRange, from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_behind_all_its_keys() {
        assert_eq!(after_prefix(&[1, 2]), [1, 3]);
        assert_eq!(after_prefix(&[1, 0xFF]), [2]);
        assert!(after_prefix(&[0xFF, 0xFF]) > vec![0xFF, 0xFF, 0xFE]);
    }

    #[test]
    fn an_appended_batch_keeps_its_writes() {
        let mut a = Batch::new();
        a.put(Family::Meta, b"k", b"v");
        let mut b = Batch::new();
        b.put(Family::Groups, b"key", b"value");
        b.delete(Family::Groups, b"other");
        a.append(&mut b);
        assert!(b.is_empty());
        assert_eq!(a.len(), 3);
        let ops = a.ops.clone();
        assert_eq!((a.key(&ops[1]), a.value(&ops[1])), (&b"key"[..], &b"value"[..]));
        assert_eq!(a.key(&ops[2]), b"other");
    }
}
