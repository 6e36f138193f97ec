//! What a join within the step of a recursion remembers until the cut ends.
//!
//! ```text
//!   step    once      the other side's changes meet the recursive rows of the last cut; nothing is written     (S' − S)(R)
//!   push    often     recursive rows that come or go meet the other side as it is after the cut                S'(dR)
//!   settle  once      the recursive rows of both are written
//! ```
//!
//! So each key of the join's state is still touched once a cut, however often the recursion goes around.

use types::Delta;

use super::join::consolidated;
use super::side::{Found, Index, Keyed};
use crate::error::Failure;

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// The other side's changes.
    others: Vec<Delta>,
    keys: Keyed,
    by_key: Vec<Vec<usize>>,
    /// The recursive side's, to be written.
    pub(crate) rows: Vec<Delta>,
}

impl Flow {
    /// The cut begins: the other side's changes, and what they do to the rows of this one.
    pub(crate) fn begin(&mut self, other: &Index, others: Vec<Delta>, rows: Vec<Delta>) -> Result<(), Failure> {
        let keys = Keyed::of(&others, &other.own, other.marked)?;
        let mut by_key = vec![Vec::new(); keys.keys.len()];
        for (i, id) in keys.ids.iter().enumerate() {
            if let Some(of_key) = id.and_then(|id| by_key.get_mut(id as usize)) {
                of_key.push(i);
            }
        }
        *self = Self { others, keys, by_key, rows };
        Ok(())
    }

    /// Asked outside of a recursion.
    pub(crate) fn missing() -> Failure {
        Failure::Stream("a join is not within a recursion; this is a defect of tributary".into())
    }

    /// What changed of a key's rows on the other side.
    fn changes(&self, key: &[u8]) -> impl Iterator<Item = &Delta> {
        let places = self.keys.keys.find(key).and_then(|id| self.by_key.get(id as usize));
        places.into_iter().flatten().filter_map(|&i| self.others.get(i))
    }

    /// The other side's rows of a key after the cut.
    pub(crate) fn after(&self, keyed: &Keyed, id: u32, held: &Found) -> Vec<Delta> {
        let mut changes = self.changes(keyed.keys.key(id)).peekable();
        let held = held.of(id).to_vec();
        if changes.peek().is_none() {
            return held;
        }
        consolidated(held.into_iter().chain(changes.cloned()).collect())
    }
}
