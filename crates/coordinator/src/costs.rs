//! What a stream table will hold and compute again: what a user should know before it is created.

use plan::{AggregateFunc, JoinKind, OutputKey, Plan, Rel};
use topology::Size;
use types::{Scalar, ScalarKind};

/// Notes for people, each once. `sizes` are those of the plan's sources, where they are known.
pub(crate) fn notes(plan: &Plan, warnings: &[String], sizes: &[Option<Size>]) -> Vec<String> {
    let mut notes = warnings.to_vec();
    for (at, source) in plan.sources.iter().enumerate() {
        let columns = source.columns.len();
        let rows = if source.filter.is_empty() { "every row" } else { "each row that passes its first conditions" };
        let there = sizes.get(at).copied().flatten().map(of_about).unwrap_or_default();
        notes.push(format!("keeps {columns} columns of {rows} of {}{there}", source.table));
    }
    plan.common.iter().chain([&plan.root]).for_each(|rel| costs(plan, rel, &mut notes));
    if plan.key == OutputKey::RowId {
        notes.push("holds each different row of the answer with the number of its copies: it has no key".into());
    }
    let mut seen = std::collections::BTreeSet::new();
    notes.retain(|note| seen.insert(note.clone()));
    notes
}

/// What the nodes say is in a table.
fn of_about(size: Size) -> String {
    match size.rows {
        Some(rows) => format!(", which has about {rows} rows in {} bytes", size.bytes),
        None => format!(", which has {} bytes", size.bytes),
    }
}

fn costs(plan: &Plan, rel: &Rel, notes: &mut Vec<String>) {
    match rel {
        Rel::PgAggregate { keys, .. } if keys.is_empty() => {
            notes.push("holds all rows, and computes its aggregates again over them with each change (PostgreSQL does)".into());
        }
        Rel::PgAggregate { .. } => notes.push(
            "holds the rows of all groups, and computes aggregates again over those of each group that changes (PostgreSQL does)".into(),
        ),
        Rel::Aggregate { aggregates, .. } => {
            let ordered = |f: AggregateFunc| matches!(f, AggregateFunc::Min | AggregateFunc::Max);
            if aggregates.iter().any(|a| a.distinct || ordered(a.func)) {
                notes.push("holds each group's different values of min, max and DISTINCT aggregates".into());
            }
        }
        Rel::Window { partition, .. } if partition.is_empty() => notes.push(
            "holds all rows, and computes its window functions again over them with each change: add PARTITION BY where that is meant".into(),
        ),
        Rel::Window { .. } => notes.push(
            "holds the rows of all partitions, and computes window functions again over those of each partition that changes".into(),
        ),
        Rel::Top { .. } => notes.push("holds all rows in the order of which it takes the first".into()),
        Rel::SetOp { .. } => {
            notes.push("holds each different row of both sides of INTERSECT or EXCEPT with its numbers".into());
        }
        Rel::PgMap { .. } | Rel::PgRows { .. } => {
            notes.push("asks PostgreSQL for expressions of each row that changes (ring 2)".into());
        }
        Rel::Recursive { step, all, .. } => {
            notes.push("holds all rows that its recursion comes to".into());
            if asks(step) {
                notes.push("asks PostgreSQL again in each step of its recursion (ring 2)".into());
            }
            if *all {
                notes.push("stops where its recursion does not end: UNION, or a path without what it has, ends in circles, too".into());
            }
        }
        Rel::Join { left, right, kind, keys, on, .. } => {
            if plan.goes_by_order(rel) {
                notes.push("holds both sides of a comparison in its order".into());
            }
            let lefts: Vec<usize> = keys.iter().map(|k| k.0).collect();
            let rights: Vec<usize> = keys.iter().map(|k| k.1).collect();
            notes.extend(held(plan, left, lefts));
            // Of partners alone only the numbers are held.
            if on.is_some() || !matches!(kind, JoinKind::Semi | JoinKind::Anti) {
                notes.extend(held(plan, right, rights));
            }
        }
        _ => {}
    }
    rel.inputs().into_iter().for_each(|input| costs(plan, input, notes));
}

/// What is held of a side of a join, that its rows are found by these columns.
fn held(plan: &Plan, side: &Rel, mut by: Vec<usize>) -> Option<String> {
    let mut rel = side;
    loop {
        rel = match rel {
            Rel::Source(index) => {
                let source = plan.sources.get(*index)?;
                let first = source.identity.iter().take_while(|c| by.contains(c)).count();
                let is_found = first == source.identity.len().max(1) || first == by.len();
                let names: Vec<&str> = by.iter().filter_map(|c| Some(source.columns.get(*c)?.name.as_str())).collect();
                let (table, names) = (&source.table, names.join(", "));
                return (!is_found)
                    .then(|| format!("holds {table} once more by {names}, for all stream tables that join it so"));
            }
            Rel::Filter { input, .. } => input,
            Rel::Project { input, exprs } => {
                if !exprs.iter().all(|e| plain_column(e).is_some()) {
                    break;
                }
                by = by.iter().map(|c| plain_column(exprs.get(*c)?)).collect::<Option<_>>()?;
                input
            }
            _ => break,
        };
    }
    let one_row = |rel: &Rel| matches!(rel, Rel::Values { .. }) || plan.is_one_row(rel);
    (!one_row(rel))
        .then(|| "holds the rows of each side of a join that is computed itself: a join, groups, an expression".into())
}

/// The column that it is, as it is or read as another type.
fn plain_column(expr: &Scalar) -> Option<usize> {
    match &expr.kind {
        ScalarKind::Column(c) => Some(*c),
        ScalarKind::Relabel(arg) => plain_column(arg),
        _ => None,
    }
}

/// Whether PostgreSQL computes a part of it.
fn asks(rel: &Rel) -> bool {
    matches!(rel, Rel::PgMap { .. } | Rel::PgRows { .. }) || rel.inputs().into_iter().any(asks)
}
