//! The first rows of each partition, by sorting all of them.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use plan::SortKey;
use types::PgType;

use super::{Rows, key};

/// What a [`plan::Rel::Top`] is asked for.
pub(crate) struct Asked<'a> {
    pub(crate) partition: &'a [usize],
    pub(crate) partition_types: &'a [PgType],
    pub(crate) order: &'a [SortKey],
    pub(crate) offset: u64,
    pub(crate) limit: Option<u64>,
    pub(crate) ties: bool,
}

type Value = Option<Vec<u8>>;

fn compare(order: &[SortKey], a: &[Value], b: &[Value]) -> Ordering {
    let one = |k: &SortKey| match (&a[k.column], &b[k.column]) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) if k.nulls_first => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) if k.nulls_first => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (a, b) => {
            let order = key(k.ty, a).cmp(&key(k.ty, b));
            if k.descending { order.reverse() } else { order }
        }
    };
    order.iter().map(one).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

pub(crate) fn top(rows: Rows, asked: &Asked<'_>) -> Rows {
    let mut partitions: BTreeMap<Vec<u8>, Rows> = BTreeMap::new();
    for row in rows {
        let of = asked.partition.iter().zip(asked.partition_types).flat_map(|(&c, ty)| key(*ty, &row[c])).collect();
        partitions.entry(of).or_default().push(row);
    }
    let mut out = Vec::new();
    for mut rows in partitions.into_values() {
        rows.sort_by(|a, b| compare(asked.order, a, b).then_with(|| a.cmp(b)));
        let from = usize::try_from(asked.offset).unwrap_or(usize::MAX).min(rows.len());
        let rows = &rows[from..];
        let limit = asked.limit.map_or(rows.len(), |l| usize::try_from(l).unwrap_or(usize::MAX).min(rows.len()));
        let tied = |row: &&Vec<Value>| asked.ties && limit > 0 && compare(asked.order, row, &rows[limit - 1]).is_eq();
        out.extend_from_slice(&rows[..limit]);
        out.extend(rows[limit..].iter().take_while(tied).cloned());
    }
    out
}
