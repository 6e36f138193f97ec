//! WITH RECURSIVE as PostgreSQL's manual describes it: a working table, until it is empty.

use std::collections::BTreeSet;

use plan::Rel;
use types::PgType;

use super::{Naive, Rows, key};

impl Naive<'_> {
    pub(crate) async fn recursive(&self, base: &Rel, step: &Rel, all: bool, types: &[PgType]) -> Result<Rows, String> {
        let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut fresh = |rows: Rows| -> Rows {
            let of = |row: &Vec<Option<Vec<u8>>>| row.iter().zip(types).flat_map(|(v, ty)| key(*ty, v)).collect();
            rows.into_iter().filter(|row| all || seen.insert(of(row))).collect()
        };
        let mut working = fresh(Box::pin(self.rel(base)).await?);
        let mut out = Vec::new();
        for _ in 0..1000 {
            if working.is_empty() {
                return Ok(out);
            }
            out.extend(working.iter().cloned());
            self.working.borrow_mut().push(working);
            let found = Box::pin(self.rel(step)).await;
            self.working.borrow_mut().pop();
            working = fresh(found?);
        }
        Err("the recursion does not end".into())
    }
}
