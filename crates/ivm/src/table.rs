//! Distinct byte strings with numbers, in the order in which they came.
//!
//! What a cut touches is collected here: all keys lie in one buffer, so that a key costs no allocation, and whoever walks
//! through them does so in a deterministic order.

use ahash::RandomState;
use hashbrown::HashTable;

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    table: HashTable<u32>,
    hasher: RandomState,
}

impl KeyTable {
    /// The key's number, and whether it is new.
    pub(crate) fn id(&mut self, key: &[u8]) -> (u32, bool) {
        let hash = self.hasher.hash_one(key);
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        let entry =
            self.table.entry(hash, |&id| slice(bytes, ends, id) == key, |&id| hasher.hash_one(slice(bytes, ends, id)));
        match entry {
            hashbrown::hash_table::Entry::Occupied(found) => (*found.get(), false),
            hashbrown::hash_table::Entry::Vacant(place) => {
                let id = self.ends.len() as u32;
                place.insert(id);
                self.bytes.extend_from_slice(key);
                self.ends.push(self.bytes.len());
                (id, true)
            }
        }
    }

    /// The number of a key that is there.
    pub(crate) fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.table.find(hash, |&id| slice(&self.bytes, &self.ends, id) == key).copied()
    }

    /// A key by its number.
    pub(crate) fn key(&self, id: u32) -> &[u8] {
        slice(&self.bytes, &self.ends, id)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// All keys in the order of their numbers.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len() as u32).map(|id| self.key(id))
    }

    /// All numbers, in the order of their keys' bytes.
    pub(crate) fn sorted(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..self.ends.len() as u32).collect();
        ids.sort_unstable_by(|a, b| self.key(*a).cmp(self.key(*b)));
        ids
    }
}

fn slice<'a>(bytes: &'a [u8], ends: &[usize], id: u32) -> &'a [u8] {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &bytes[start..ends[id]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_numbers_in_which_they_came() {
        let mut table = KeyTable::default();
        assert_eq!(table.id(b"b"), (0, true));
        assert_eq!(table.id(b""), (1, true));
        assert_eq!(table.id(b"a"), (2, true));
        assert_eq!(table.id(b"b"), (0, false));
        assert_eq!(table.keys().collect::<Vec<_>>(), [&b"b"[..], b"", b"a"]);
        assert_eq!(table.sorted(), [1, 2, 0]);
        assert_eq!((table.find(b""), table.find(b"c")), (Some(1), None));
    }
}
