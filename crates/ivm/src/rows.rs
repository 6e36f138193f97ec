//! Rows of a source in memory, by their key.
//!
//! A copy of what the store had at the last cut, which saves reading a row again when it is updated soon, or joined often.
//! Key and row lie in one allocation. What was used since the hand last came by stays when room is made.

use ahash::RandomState;
use bytes::Bytes;
use hashbrown::HashTable;
use types::{Row, TableId};

use crate::held::Held;

#[derive(Debug)]
struct Slot {
    /// Key, physical table (4 bytes) and row; just the key where it has none.
    bytes: Box<[u8]>,
    key: u32,
    used: bool,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct RowCache {
    table: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    bytes: usize,
    hand: usize,
    hasher: RandomState,
    /// Rows that were asked for, and new ones, of late.
    asked: u64,
    came: u64,
}

/// What an entry costs beside its bytes.
const OVERHEAD: usize = 56;

impl RowCache {
    fn place(&self, key: &[u8]) -> Option<u32> {
        if self.table.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(key);
        self.table.find(hash, |&i| self.slots[i as usize].key() == key).copied()
    }

    /// What is known of a key: its row, or that it has none, and the place where that is known.
    pub(crate) fn find(&mut self, key: &[u8]) -> Option<(u32, Option<Held>)> {
        self.asked += 1;
        let place = self.place(key)?;
        let slot = &mut self.slots[place as usize];
        slot.used = true;
        Some((place, slot.held()))
    }

    /// Forgets a key.
    pub(crate) fn forget(&mut self, key: &[u8]) {
        if let Some(place) = self.place(key) {
            self.remove(place);
        }
    }

    /// Puts in what the store has, if nothing is known of the key.
    pub(crate) fn learn(&mut self, key: &[u8], held: Option<(TableId, &[u8])>) {
        if self.place(key).is_none() {
            self.insert(key, held);
        }
    }

    /// A cut has given the key this row, or taken its row away. `place` is where the key may be.
    pub(crate) fn follow(&mut self, key: &[u8], held: Option<(TableId, &[u8])>, new: bool, place: Option<u32>) {
        self.came += u64::from(new);
        let is_it = |place: &u32| self.slots.get(*place as usize).is_some_and(|slot| slot.key() == key);
        match place.filter(is_it).or_else(|| self.place(key)) {
            Some(place) => self.replace(place, held),
            // A row that nobody had is worth its place where rows are asked for again.
            None if !new || self.asked * 8 >= self.came => self.insert(key, held),
            None => {}
        }
        if self.came > 100_000 {
            self.asked /= 2;
            self.came /= 2;
        }
    }

    fn replace(&mut self, place: u32, held: Option<(TableId, &[u8])>) {
        let slot = &mut self.slots[place as usize];
        let key = slot.key as usize;
        slot.used = held.is_some();
        if let Some((table, row)) = held
            && slot.bytes.len() == key + 4 + row.len()
        {
            slot.bytes[key..key + 4].copy_from_slice(&table.0.to_be_bytes());
            slot.bytes[key + 4..].copy_from_slice(row);
            return;
        }
        let bytes = entry(slot.key(), held);
        self.bytes = self.bytes - slot.bytes.len() + bytes.len();
        slot.bytes = bytes;
    }

    fn insert(&mut self, key: &[u8], held: Option<(TableId, &[u8])>) {
        let slot = Slot { bytes: entry(key, held), key: key.len() as u32, used: held.is_some() };
        self.bytes += slot.bytes.len() + OVERHEAD;
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash = hasher.hash_one(key);
        self.table.insert_unique(hash, place, |&i| hasher.hash_one(slots[i as usize].key()));
    }

    fn remove(&mut self, place: u32) {
        let hash = self.hasher.hash_one(self.slots[place as usize].key());
        let Ok(found) = self.table.find_entry(hash, |&i| i == place) else { return };
        found.remove();
        let slot = &mut self.slots[place as usize];
        self.bytes -= slot.bytes.len() + OVERHEAD;
        *slot = Slot { bytes: Box::default(), key: 0, used: false };
        self.free.push(place);
    }

    /// Forgets what was not used lately until at most `limit` bytes are held.
    pub(crate) fn trim(&mut self, limit: usize) {
        while self.bytes > limit {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            if !std::mem::take(&mut self.slots[self.hand].used) {
                self.remove(self.hand as u32);
            }
            self.hand += 1;
        }
    }
}

/// Key, table and row in one allocation.
fn entry(key: &[u8], held: Option<(TableId, &[u8])>) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(key.len() + held.map_or(0, |(_, row)| row.len() + 4));
    bytes.extend_from_slice(key);
    if let Some((table, row)) = held {
        bytes.extend_from_slice(&table.0.to_be_bytes());
        bytes.extend_from_slice(row);
    }
    bytes.into()
}

/// Trims all caches to `limit` bytes together: those that hold more than their share pay.
pub(crate) fn trim_all<'a>(caches: impl Iterator<Item = &'a mut RowCache>, limit: usize) {
    let mut caches: Vec<&mut RowCache> = caches.collect();
    let mut excess = caches.iter().map(|c| c.bytes).sum::<usize>().saturating_sub(limit);
    if excess == 0 {
        return;
    }
    let share = limit / caches.len().max(1);
    caches.sort_by_key(|c| std::cmp::Reverse(c.bytes));
    for cache in caches {
        let before = cache.bytes;
        cache.trim(share.max(before.saturating_sub(excess)));
        excess = excess.saturating_sub(before - cache.bytes);
    }
}

impl Slot {
    fn key(&self) -> &[u8] {
        &self.bytes[..self.key as usize]
    }

    fn held(&self) -> Option<Held> {
        let (table, row) = self.bytes[self.key as usize..].split_first_chunk()?;
        Some((TableId(u32::from_be_bytes(*table)), Row::from_bytes(Bytes::copy_from_slice(row))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(table: u32, row: &[u8]) -> Option<(TableId, &[u8])> {
        Some((TableId(table), row))
    }

    fn row(cache: &mut RowCache, key: &[u8]) -> Option<Option<(u32, Vec<u8>)>> {
        cache.find(key).map(|(_, h)| h.map(|(t, r)| (t.0, r.as_bytes().to_vec())))
    }

    #[test]
    fn a_row_is_as_the_last_cut_left_it() {
        let mut cache = RowCache::default();
        assert_eq!(row(&mut cache, b"a"), None);
        cache.learn(b"a", held(1, b"old"));
        cache.learn(b"b", None);
        let place = cache.find(b"a").map(|(place, _)| place);
        cache.follow(b"a", held(2, b"new"), false, place);
        cache.learn(b"a", held(1, b"older"));
        assert_eq!(row(&mut cache, b"a"), Some(Some((2, b"new".to_vec()))));
        assert_eq!(row(&mut cache, b"b"), Some(None));
        cache.follow(b"b", held(3, b""), true, place);
        cache.follow(b"a", None, false, Some(77));
        cache.learn(b"c", held(1, b"c"));
        cache.forget(b"c");
        cache.forget(b"d");
        assert_eq!(row(&mut cache, b"c"), None);
        assert_eq!(row(&mut cache, b"b"), Some(Some((3, Vec::new()))));
        assert_eq!(row(&mut cache, b"a"), Some(None));
    }

    #[test]
    fn new_rows_that_nobody_asks_for_take_no_room() {
        let mut cache = RowCache::default();
        for n in 0..1000u32 {
            cache.follow(&n.to_be_bytes(), held(1, b"row"), true, None);
        }
        assert!(cache.bytes < 10 * (OVERHEAD + 11), "{}", cache.bytes);
        for n in 0..1000u32 {
            cache.find(&n.to_be_bytes());
        }
        cache.follow(b"key", held(1, b"row"), true, None);
        assert!(cache.find(b"key").is_some());
    }

    #[test]
    fn room_is_made_from_what_is_not_used() {
        let mut cache = RowCache::default();
        for n in 0..100u8 {
            cache.learn(&[n], held(1, &[n; 20]));
        }
        let one = cache.bytes / 100;
        cache.trim(60 * one);
        assert!(cache.bytes <= 60 * one);
        let left: Vec<u8> = (0..100).filter(|n| cache.find(&[*n]).is_some()).collect();
        assert_eq!(left.len(), 60);
        for n in 0..100u8 {
            cache.learn(&[n], held(1, &[n; 20]));
        }
        for n in 0..100u8 {
            assert_eq!(row(&mut cache, &[n]), Some(Some((1, vec![n; 20]))));
        }
        cache.trim(0);
        assert_eq!((cache.bytes, cache.table.len()), (0, 0));
    }
}
