//! State held in memory by its key, up to a number of bytes.
//!
//! Only ever a copy of what the store has as of the last cut (or of what the cut in hand will write): losing it costs
//! reads. Entries stay where they are until [`Cache::trim`], so an operator can hold slots for the length of a cut. Eviction
//! is by second chance: what was used since the hand last came by stays.

use ahash::RandomState;
use hashbrown::HashTable;

#[derive(Debug)]
struct Slot<V> {
    key: Box<[u8]>,
    value: Option<V>,
    bytes: usize,
    used: bool,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    table: HashTable<u32>,
    slots: Vec<Slot<V>>,
    free: Vec<u32>,
    bytes: usize,
    hand: usize,
    hasher: RandomState,
}

/// What an entry costs beside its key and value.
const OVERHEAD: usize = 64;

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            hand: 0,
            hasher: RandomState::default(),
        }
    }
}

impl<V> Cache<V> {
    /// The slot of a key that is there.
    pub(crate) fn find(&mut self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        let slots = &self.slots;
        let slot = *self.table.find(hash, |&i| *slots[i as usize].key == *key)?;
        self.slots[slot as usize].used = true;
        Some(slot)
    }

    /// Puts a key in that is not there.
    pub(crate) fn insert(&mut self, key: &[u8], value: V, bytes: usize) -> u32 {
        let hash = self.hasher.hash_one(key);
        let bytes = bytes + key.len() + OVERHEAD;
        let entry = Slot { key: key.into(), value: Some(value), bytes, used: true };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                self.slots.len() as u32 - 1
            }
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.table.insert_unique(hash, slot, |&i| hasher.hash_one(&*slots[i as usize].key));
        self.bytes += bytes;
        slot
    }

    /// What a slot holds.
    pub(crate) fn get(&self, slot: u32) -> Option<&V> {
        self.slots.get(slot as usize)?.value.as_ref()
    }

    /// What a slot holds.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut V> {
        self.slots.get_mut(slot as usize)?.value.as_mut()
    }

    /// A slot's key.
    pub(crate) fn key(&self, slot: u32) -> &[u8] {
        &self.slots[slot as usize].key
    }

    /// A slot's value takes so many bytes now.
    pub(crate) fn resize(&mut self, slot: u32, bytes: usize) {
        let entry = &mut self.slots[slot as usize];
        let bytes = bytes + entry.key.len() + OVERHEAD;
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
    }

    /// Forgets a slot.
    pub(crate) fn remove(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        if entry.value.take().is_none() {
            return;
        }
        let key = std::mem::take(&mut entry.key);
        self.bytes -= entry.bytes;
        if let Ok(found) = self.table.find_entry(self.hasher.hash_one(&*key), |&i| i == slot) {
            found.remove();
        }
        self.free.push(slot);
    }

    /// Forgets what was not used lately until at most `limit` bytes are held.
    pub(crate) fn trim(&mut self, limit: usize) {
        while self.bytes > limit {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let entry = &mut self.slots[self.hand];
            if entry.value.is_some() && !std::mem::take(&mut entry.used) {
                self.remove(self.hand as u32);
            }
            self.hand += 1;
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes held.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_outlives_what_is_not() {
        let mut cache = Cache::default();
        for i in 0..100u8 {
            cache.insert(&[i], i, 0);
        }
        cache.trim(100 * (OVERHEAD + 1));
        assert!(cache.find(&[0]).is_some());
        cache.trim(50 * (OVERHEAD + 1));
        // The first trim took every second chance, so that only what was found since has one.
        assert!(cache.bytes() <= 50 * (OVERHEAD + 1));
        let slot = cache.find(&[99]).or_else(|| cache.find(&[0]));
        assert!(slot.is_some());
    }

    #[test]
    fn a_removed_key_is_gone_and_its_slot_is_used_again() {
        let mut cache = Cache::default();
        let a = cache.insert(b"a", 1, 10);
        let b = cache.insert(b"b", 2, 10);
        cache.remove(a);
        cache.remove(a);
        assert_eq!(cache.find(b"a"), None);
        assert_eq!(cache.find(b"b").and_then(|s| cache.get(s)), Some(&2));
        let c = cache.insert(b"c", 3, 20);
        assert_eq!(c, a);
        *cache.get_mut(b).unwrap() = 5;
        cache.resize(b, 100);
        assert_eq!(cache.bytes(), 120 + 2 + 2 * OVERHEAD);
        assert_eq!((cache.get(b), cache.key(c)), (Some(&5), &b"c"[..]));
        cache.trim(0);
        assert_eq!(cache.bytes(), 0);
        assert_eq!((cache.find(b"b"), cache.find(b"c")), (None, None));
    }
}
