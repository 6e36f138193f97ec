//! Counted values of groups, in order: what `min`, `max` and DISTINCT are kept by.
//!
//! ```text
//!   Multisets    state (u32) | key of the group | which (u8) | key of the value → its forms ([`super::forms`])
//! ```
//!
//! A group holds its least and greatest value, so that an extreme is looked for only when it leaves: the first (or
//! last) value of the last cut that did not leave too, against those that came. Aggregates over the same column and filter
//! share one multiset.

use state::{Family, Read, Write};
use types::{PgType, oid};

use super::Cx;
use super::forms::Forms;
use super::group::Group;
use crate::cache::Cache;
use crate::error::{Failure, IvmError};
use crate::key::{put_bytes, take_bytes, take_varint};

/// Which values of a group are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValueSet {
    /// The physical column.
    pub(crate) column: usize,
    pub(crate) ty: PgType,
    /// A boolean physical column that must be true.
    pub(crate) filter: Option<usize>,
    /// The least one is asked for.
    pub(crate) least: bool,
    /// The greatest one is asked for.
    pub(crate) greatest: bool,
    /// Accumulators that take each distinct value once.
    pub(crate) distinct: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Extreme {
    key: Vec<u8>,
    value: Vec<u8>,
}

/// The least and the greatest value of a group, where they are asked for and there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extremes {
    least: Option<Extreme>,
    greatest: Option<Extreme>,
}

impl Extremes {
    /// The least value.
    pub(crate) fn least(&self) -> Option<&[u8]> {
        self.least.as_ref().map(|e| &e.value[..])
    }

    /// The greatest value.
    pub(crate) fn greatest(&self) -> Option<&[u8]> {
        self.greatest.as_ref().map(|e| &e.value[..])
    }

    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        for extreme in [&self.least, &self.greatest] {
            match extreme {
                None => into.push(0),
                Some(extreme) => {
                    into.push(1);
                    put_bytes(into, &extreme.key);
                    put_bytes(into, &extreme.value);
                }
            }
        }
    }

    pub(crate) fn decode(from: &mut &[u8]) -> Option<Self> {
        let mut one = || {
            Some(match take_varint(from)? {
                0 => None,
                _ => Some(Extreme { key: take_bytes(from)?.to_vec(), value: take_bytes(from)?.to_vec() }),
            })
        };
        Some(Self { least: one()?, greatest: one()? })
    }

    pub(crate) fn size(&self) -> usize {
        let one = |e: &Option<Extreme>| e.as_ref().map_or(0, |e| e.key.len() + e.value.len());
        size_of::<Self>() + one(&self.least) + one(&self.greatest)
    }
}

#[derive(Debug)]
struct Change {
    slot: u32,
    values: u8,
    /// Where the value's key and the value lie.
    start: usize,
    middle: usize,
    end: usize,
    diff: i64,
}

/// Values that came and went in a cut.
#[derive(Debug, Default)]
pub(crate) struct ValueChanges {
    bytes: Vec<u8>,
    changes: Vec<Change>,
}

impl ValueChanges {
    /// One value of the group in a slot of the cache.
    pub(crate) fn push(
        &mut self,
        slot: u32,
        values: usize,
        ty: PgType,
        value: &[u8],
        diff: i64,
    ) -> Result<(), Failure> {
        let start = self.bytes.len();
        scalar::encode_key(ty, Some(value), &mut self.bytes).map_err(Failure::unreadable("a value"))?;
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.changes.push(Change { slot, values: values as u8, start, middle, end: self.bytes.len(), diff });
        Ok(())
    }

    fn key(&self, change: &Change) -> &[u8] {
        &self.bytes[change.start..change.middle]
    }

    fn value(&self, change: &Change) -> &[u8] {
        &self.bytes[change.middle..change.end]
    }

    /// One change a form of a value.
    fn consolidate(&mut self) {
        let mut changes = std::mem::take(&mut self.changes);
        let place = |c: &Change| (c.slot, c.values);
        changes.sort_by(|a, b| (place(a), self.key(a), self.value(a)).cmp(&(place(b), self.key(b), self.value(b))));
        let mut out: Vec<Change> = Vec::with_capacity(changes.len());
        for change in changes {
            match out.last_mut() {
                Some(last) if self.is_same(last, &change) && self.value(last) == self.value(&change) => {
                    last.diff += change.diff;
                }
                _ => out.push(change),
            }
        }
        out.retain(|c| c.diff != 0);
        self.changes = out;
    }

    /// Whether two are changes of one value of one group.
    fn is_same(&self, a: &Change, b: &Change) -> bool {
        (a.slot, a.values, self.key(a)) == (b.slot, b.values, self.key(b))
    }

    /// Counts the values in the store and brings the groups' extremes and distinct sums up to date.
    pub(crate) fn apply(
        mut self,
        cx: &mut Cx<'_>,
        state: u32,
        specs: &[ValueSet],
        groups: &mut Cache<Group>,
    ) -> Result<(), Failure> {
        self.consolidate();
        // One of each value, with all its forms.
        let changed: Vec<&[Change]> = self.changes.chunk_by(|a, b| self.is_same(a, b)).collect();
        let mut arena = Vec::new();
        let mut places = Vec::with_capacity(changed.len());
        for forms in &changed {
            let change = &forms[0];
            let start = arena.len();
            prefix_of(state, groups.key(change.slot), change.values, &mut arena);
            let prefix = arena.len() - start;
            arena.extend_from_slice(self.key(change));
            places.push((start..arena.len(), prefix));
        }
        let keys: Vec<&[u8]> = places.iter().map(|(range, _)| &arena[range.clone()]).collect();
        let mut olds: Vec<Forms> = Vec::with_capacity(keys.len());
        let mut damaged = false;
        cx.store.multi_get(Family::Multisets, &keys, &mut |_, stored| {
            let old = stored.map_or(Some(Forms::default()), |mut stored| Forms::decode(&mut stored));
            damaged |= old.is_none();
            olds.push(old.unwrap_or_default());
        })?;
        if damaged {
            return Err(IvmError::damaged("a counted value").into());
        }
        let mut at = 0;
        let mut stored = Vec::new();
        for run in changed.chunk_by(|a, b| (a[0].slot, a[0].values) == (b[0].slot, b[0].values)) {
            let here = at..at + run.len();
            at = here.end;
            let (slot, which) = (run[0][0].slot, usize::from(run[0][0].values));
            let (Some(spec), Some(group)) = (specs.get(which), groups.get_mut(slot)) else { continue };
            // By their keys, in order.
            let mut came: Vec<Extreme> = Vec::new();
            let mut left: Vec<&[u8]> = Vec::new();
            for ((forms, key), old) in run.iter().zip(&keys[here.clone()]).zip(&olds[here.clone()]) {
                let mut new = old.clone();
                forms.iter().for_each(|change| new.add(self.value(change), change.diff));
                if !new.settle() {
                    let what = "a value left a group that was not in it; this is a defect of tributary";
                    return Err(Failure::Stream(what.into()));
                }
                if new.is_empty() {
                    cx.batch.delete(Family::Multisets, key);
                } else {
                    stored.clear();
                    new.encode(&mut stored);
                    cx.batch.put(Family::Multisets, key, &stored);
                }
                let (was, is) = (!old.is_empty(), !new.is_empty());
                if was && is && old.shown() == new.shown() {
                    continue;
                }
                if was {
                    left.push(self.key(&forms[0]));
                    add_distinct(group, spec, old.shown(), -1)?;
                }
                if is {
                    came.push(Extreme { key: self.key(&forms[0]).to_vec(), value: new.shown().to_vec() });
                    add_distinct(group, spec, new.shown(), 1)?;
                }
            }
            let prefix = &keys[here.start][..places[here.start].1];
            let Some(extremes) = group.extremes.get_mut(which) else { continue };
            let went =
                |place: &Option<Extreme>| place.as_ref().is_some_and(|e| left.binary_search(&&e.key[..]).is_ok());
            if spec.least {
                let place = &mut extremes.least;
                if went(place) {
                    *place = search(cx, prefix, &left, false)?;
                }
                if let Some(first) = came.first()
                    && place.as_ref().is_none_or(|e| first.key < e.key)
                {
                    *place = Some(first.clone());
                }
            }
            if spec.greatest {
                let place = &mut extremes.greatest;
                if went(place) {
                    *place = search(cx, prefix, &left, true)?;
                }
                if let Some(last) = came.last()
                    && place.as_ref().is_none_or(|e| last.key > e.key)
                {
                    *place = Some(last.clone());
                }
            }
        }
        Ok(())
    }
}

fn add_distinct(group: &mut Group, spec: &ValueSet, value: &[u8], diff: i64) -> Result<(), Failure> {
    for accumulator in &spec.distinct {
        if let Some(accumulator) = group.accumulators.get_mut(*accumulator) {
            accumulator.add(spec.ty.oid, value, diff).map_err(Failure::unreadable("a value"))?;
        }
    }
    Ok(())
}

fn prefix_of(state: u32, group: &[u8], values: u8, into: &mut Vec<u8>) {
    into.extend_from_slice(&state.to_be_bytes());
    into.extend_from_slice(group);
    into.push(values);
}

/// The first (or last) value of the last cut that is not among those that left.
fn search(cx: &Cx<'_>, prefix: &[u8], left: &[&[u8]], last: bool) -> Result<Option<Extreme>, Failure> {
    let mut cursor = cx.store.cursor(Family::Multisets);
    if last {
        cursor.seek_last(prefix);
    } else {
        cursor.seek(prefix);
    }
    while let Some((key, stored)) = cursor.next()? {
        let key = key.get(prefix.len()..).unwrap_or_default();
        if left.binary_search(&key).is_ok() {
            continue;
        }
        let forms = Forms::decode(&mut &stored[..]).ok_or_else(|| IvmError::damaged("a counted value"))?;
        return Ok(Some(Extreme { key: key.to_vec(), value: forms.shown().to_vec() }));
    }
    Ok(None)
}

/// Whether the column of a row is true.
pub(crate) fn is_true(value: Option<&[u8]>) -> bool {
    value.is_some_and(|v| v != [0])
}

/// Types whose values can be stored under a key at all.
pub(crate) fn native(ty: PgType, ordered: bool, env: &scalar::Env) -> Result<(), String> {
    let support = scalar::key_support(ty, env);
    match (ordered, support.order, support.equality) {
        (true, false, _) if matches!(ty.oid, oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME) => {
            Err("min and max of text need the collation \"C\" here: write min(x COLLATE \"C\")".into())
        }
        (true, false, _) => Err(format!("min and max of type {} have no native order", ty.oid)),
        (false, _, false) => Err(format!("DISTINCT values of type {} have no native equality", ty.oid)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_one_form_of_a_value_are_summed_up() {
        let numeric = PgType::plain(oid::NUMERIC);
        let one = [0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        let one_point_nought = [0, 1, 0, 0, 0, 0, 0, 1, 0, 1];
        let mut changes = ValueChanges::default();
        changes.push(3, 0, numeric, &one_point_nought, 3).unwrap();
        changes.push(3, 0, numeric, &one, -1).unwrap();
        changes.push(3, 0, numeric, &one_point_nought, -1).unwrap();
        changes.push(1, 0, numeric, &one, 1).unwrap();
        changes.push(1, 0, numeric, &one, -1).unwrap();
        changes.consolidate();
        let [minus, plus] = &changes.changes[..] else { panic!("{changes:?}") };
        assert_eq!((minus.slot, minus.diff, changes.value(minus)), (3, -1, &one[..]));
        assert_eq!((plus.slot, plus.diff, changes.value(plus)), (3, 2, &one_point_nought[..]));
        assert!(changes.is_same(minus, plus));
    }

    #[test]
    fn extremes_read_back() {
        let extreme = |n: u8| Extreme { key: vec![n], value: vec![n, n] };
        for extremes in [
            Extremes::default(),
            Extremes { least: Some(extreme(1)), greatest: None },
            Extremes { least: Some(extreme(1)), greatest: Some(extreme(9)) },
        ] {
            let mut bytes = Vec::new();
            extremes.encode(&mut bytes);
            assert_eq!(Extremes::decode(&mut &bytes[..]), Some(extremes));
        }
    }
}
