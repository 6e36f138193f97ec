//! Joins: each row with each of those whose keys are equal to its own.

use std::collections::HashMap;

use plan::{Condition, JoinKind};
use types::PgType;

use super::{Naive, Rows, key, packed};

/// Pairs of columns, and their types.
pub(super) type Keys<'a> = (&'a Vec<(usize, usize)>, &'a Vec<PgType>);

/// The columns' values as one key; `None` when one is NULL, which equals nothing.
fn of(row: &[Option<Vec<u8>>], columns: impl Iterator<Item = usize>, types: &[PgType]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for (column, ty) in columns.zip(types) {
        row[column].as_ref()?;
        all.extend(key(*ty, &row[column]));
    }
    Some(all)
}

impl Naive<'_> {
    pub(super) async fn join(
        &self,
        (left, right): (&Rows, &Rows),
        (left_width, right_width): (usize, usize),
        kind: JoinKind,
        (keys, types): Keys<'_>,
        on: Option<&Condition>,
    ) -> Result<Rows, String> {
        assert!(kind != JoinKind::Inner || on.is_none(), "an inner join's condition is a filter");
        let predicate = on.map(|on| self.compiled(&on.predicate)).transpose()?;
        let mut out = Vec::new();
        let mut met = vec![false; right.len()];
        let mut by_key: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (at, r) in right.iter().enumerate() {
            if let Some(of) = of(r, keys.iter().map(|k| k.1), types) {
                by_key.entry(of).or_default().push(at);
            }
        }
        for l in left {
            let mut partners = 0;
            let candidates = of(l, keys.iter().map(|k| k.0), types).and_then(|of| by_key.get(&of));
            for &at in candidates.into_iter().flatten() {
                let pair: Vec<_> = l.iter().chain(&right[at]).cloned().collect();
                if let (Some(on), Some(predicate)) = (on, &predicate) {
                    let mut with_exprs = vec![pair.clone()];
                    for expr in &on.exprs {
                        self.ask(expr, &mut with_exprs, pair.len()).await?;
                    }
                    if !predicate.is_true(&packed(&with_exprs[0])).map_err(|e| e.to_string())? {
                        continue;
                    }
                }
                met[at] = true;
                partners += 1;
                if !matches!(kind, JoinKind::Semi | JoinKind::Anti) {
                    out.push(pair);
                }
            }
            match kind {
                JoinKind::Left | JoinKind::Full if partners == 0 => {
                    out.push(l.iter().cloned().chain(std::iter::repeat_n(None, right_width)).collect());
                }
                JoinKind::Semi if partners > 0 => out.push(l.clone()),
                JoinKind::Anti if partners == 0 => out.push(l.clone()),
                _ => {}
            }
        }
        if kind == JoinKind::Full {
            let alone = right.iter().zip(&met).filter(|(_, met)| !**met);
            out.extend(alone.map(|(r, _)| std::iter::repeat_n(None, left_width).chain(r.iter().cloned()).collect()));
        }
        Ok(out)
    }
}
