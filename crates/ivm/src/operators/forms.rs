//! Equal values that are not shown alike.
//!
//! `1.0` and `1.00` are one value in a GROUP BY, and so are an interval's `1 mon` and `30 days`. PostgreSQL shows one of those that
//! are there, by no rule; here it is the shortest of them and of equally long ones the least, as bytes, so that the same rows
//! always have the same answer. That one may go while another stays: each is counted.

use crate::key::{put_bytes, put_varint, take_bytes, take_varint};

/// How often each form of a value is there.
///
/// While a cut is added up a count may be below 0; [`Forms::settle`] comes after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Forms {
    /// All forms together.
    all: i64,
    shown: Vec<u8>,
    /// Those not shown, in order.
    others: Vec<(Vec<u8>, i64)>,
}

impl Forms {
    /// How often the value is there, in whatever form.
    pub(crate) fn all(&self) -> i64 {
        self.all
    }

    /// The form that is shown.
    pub(crate) fn shown(&self) -> &[u8] {
        &self.shown
    }

    /// Whether nothing was ever added, or all of it went.
    pub(crate) fn is_empty(&self) -> bool {
        self.all == 0 && self.others.is_empty()
    }

    /// Adds the form `diff` times.
    pub(crate) fn add(&mut self, form: &[u8], diff: i64) {
        if self.is_empty() {
            self.shown.clear();
            self.shown.extend_from_slice(form);
        }
        self.all += diff;
        if form == self.shown {
            return;
        }
        match self.others.binary_search_by(|(other, _)| order(other).cmp(&order(form))) {
            Ok(at) => self.others[at].1 += diff,
            Err(at) => self.others.insert(at, (form.to_vec(), diff)),
        }
    }

    /// Adds the form that is there already, where there is only one.
    pub(crate) fn add_same(&mut self, diff: i64) {
        self.all += diff;
    }

    /// Shows the first form of those that are there; false when more of one went than there was.
    pub(crate) fn settle(&mut self) -> bool {
        if self.others.is_empty() {
            if self.all == 0 {
                self.shown.clear();
            }
            return self.all >= 0;
        }
        let shown = self.all - self.others.iter().map(|(_, count)| count).sum::<i64>();
        let sound = shown >= 0 && self.others.iter().all(|(_, count)| *count >= 0);
        self.others.retain(|(_, count)| *count != 0);
        let first = |other: &[u8]| shown == 0 || order(other) < order(&self.shown);
        if self.others.first().is_some_and(|(other, _)| first(other)) {
            let (form, _) = self.others.remove(0);
            let before = std::mem::replace(&mut self.shown, form);
            if shown != 0
                && let Err(at) = self.others.binary_search_by(|(other, _)| order(other).cmp(&order(&before)))
            {
                self.others.insert(at, (before, shown));
            }
        }
        if self.is_empty() {
            self.shown.clear();
        }
        sound
    }

    /// Appends the stored form.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        put_varint(into, self.all as u64);
        put_bytes(into, &self.shown);
        put_varint(into, self.others.len() as u64);
        for (form, count) in &self.others {
            put_bytes(into, form);
            put_varint(into, *count as u64);
        }
    }

    /// Reads the stored form.
    pub(crate) fn decode(from: &mut &[u8]) -> Option<Self> {
        let all = i64::try_from(take_varint(from)?).ok()?;
        let shown = take_bytes(from)?.to_vec();
        let mut others = Vec::new();
        for _ in 0..take_varint(from)? {
            others.push((take_bytes(from)?.to_vec(), i64::try_from(take_varint(from)?).ok()?));
        }
        Some(Self { all, shown, others })
    }

    /// About how many bytes it takes beside itself.
    pub(crate) fn size(&self) -> usize {
        self.shown.len() + self.others.iter().map(|(form, _)| form.len() + 32).sum::<usize>()
    }
}

/// In which order forms are shown.
fn order(form: &[u8]) -> (usize, &[u8]) {
    (form.len(), form)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const FORMS: [&[u8]; 4] = [b"", b"b", b"c", b"aa"];

    proptest! {
        #[test]
        fn the_first_form_that_is_there_is_shown(cuts in prop::collection::vec(
            prop::collection::vec((0u8..4, -2i64..3), 0..6), 0..12))
        {
            let (mut forms, mut counts) = (Forms::default(), BTreeMap::<u8, i64>::new());
            for cut in cuts {
                let mut next = counts.clone();
                cut.iter().for_each(|(form, diff)| *next.entry(*form).or_default() += diff);
                let mut trial = forms.clone();
                cut.iter().for_each(|(form, diff)| trial.add(FORMS[usize::from(*form)], *diff));
                next.retain(|_, count| *count != 0);
                if next.values().any(|count| *count < 0) {
                    // Whatever is shown then, it is noticed.
                    prop_assert!(!trial.settle());
                    continue;
                }
                prop_assert!(trial.settle());
                (forms, counts) = (trial, next);
                prop_assert_eq!(forms.all(), counts.values().sum::<i64>());
                prop_assert_eq!(forms.is_empty(), counts.is_empty());
                if let Some((first, _)) = counts.first_key_value() {
                    prop_assert_eq!(forms.shown(), FORMS[usize::from(*first)]);
                }
                let mut stored = Vec::new();
                forms.encode(&mut stored);
                let mut rest = &stored[..];
                prop_assert_eq!(Forms::decode(&mut rest).unwrap(), forms.clone());
                prop_assert!(rest.is_empty());
            }
        }
    }
}
