//! What tells the equal rows of a stream table apart, `__tributary_row_id`: a column of its table, and not of its query.
//!
//! `*` names it, and PostgreSQL does not say where `*` was written: a target that just shows it, behind the column before it, is left out. Whoever asks
//! more of it is refused, for a row has another one after a rebuild.

use std::collections::HashMap;

use crate::PlanError;
use crate::query::{Planner, find_cte};
use crate::reader::Node;

/// What it is called.
pub(crate) const NAME: &str = "__tributary_row_id";

/// Entries of FROM, in PostgreSQL's numbers.
const RELATION: i64 = 0;
const SUBQUERY: i64 = 1;
const WITH: i64 = 6;

impl<'a> Planner<'a> {
    /// What a query of this level shows.
    pub(crate) fn without_row_ids(&self, query: &'a Node, targets: Vec<&'a Node>) -> Vec<&'a Node> {
        targets.into_iter().filter(|target| !self.is_row_id(query, target, true)).collect()
    }

    /// The numbers of what a query shows, and where that is among it.
    pub(crate) fn numbers(&self, query: &'a Node) -> Result<HashMap<i64, usize>, PlanError> {
        let targets = query.nodes("targetList").into_iter().filter(|t| !t.flag("resjunk")).collect();
        let shown = if query.has("setOperations") { targets } else { self.without_row_ids(query, targets) };
        shown.iter().enumerate().map(|(at, target)| Ok((target.number("resno")?, at))).collect()
    }

    /// `here`: the items of WITH that the query names are those of this level and of the levels around.
    fn is_row_id(&self, query: &Node, target: &Node, here: bool) -> bool {
        let found = || {
            let var = target.node("expr").ok().filter(|e| e.kind == "VAR")?;
            let plain = var.number("varlevelsup").ok()? == 0 && target.number("ressortgroupref").ok()? == 0;
            let (varno, attribute) = (var.index("varno").ok()?, var.number("varattno").ok()?);
            let targets = query.nodes("targetList");
            let before = targets.iter().position(|t| std::ptr::eq(*t, target))?.checked_sub(1)?;
            let before = targets[before].node("expr").ok().filter(|e| e.kind == "VAR")?;
            let follows = before.index("varno").ok()? == varno && before.number("varattno").ok()? == attribute - 1;
            let entry = *query.nodes("rtable").get(varno.checked_sub(1)?).filter(|_| plain && follows)?;
            let within = match entry.number("rtekind").ok()? {
                RELATION => {
                    let relation = self.catalog.relations.get(&entry.oid("relid").ok()?)?;
                    return Some(relation.is_stream && attribute > 0 && !relation.columns.contains_key(&attribute));
                }
                SUBQUERY => entry.node("subquery").ok()?,
                WITH if here && !entry.flag("self_reference") => {
                    find_cte(entry, &self.ctes).ok()?.1.node("ctequery").ok()?
                }
                _ => return None,
            };
            let mut targets = within.nodes("targetList").into_iter().filter(|_| !within.has("setOperations"));
            let shown = targets.find(|t| t.number("resno").is_ok_and(|n| n == attribute))?;
            Some(self.is_row_id(within, shown, false))
        };
        found().unwrap_or_default()
    }
}

/// Why it cannot be read.
pub(crate) fn refused() -> PlanError {
    PlanError::refused(
        "__tributary_row_id of a stream table",
        "it tells its equal rows apart and is not what its query gives, so that nothing can depend on it",
        "name the columns that you need; instead of NATURAL JOIN write USING",
    )
}
