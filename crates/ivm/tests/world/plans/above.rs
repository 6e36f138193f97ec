//! The same queries over some rows of their tables.

use plan::{Plan, Rel, SourceUse};
use types::Scalar;

use super::super::{INT4, tables};
use super::{Case, col, filter, greater, number};

/// Whether a table's first column, an int4 in each, is above `least`.
pub fn first_above(column: usize, least: i32) -> Scalar {
    greater(col(column, INT4), number(least))
}

/// The same query over the rows of each table whose first column is above `least`; `None` where it does not read that
/// column.
pub fn above(case: &Case, least: i32) -> Option<Case> {
    let place = |(use_, &table): (&SourceUse, &usize)| {
        let first = &tables()[table].columns[0].name;
        use_.columns.iter().position(|c| c.name == *first)
    };
    let places: Vec<usize> = case.plan.sources.iter().zip(&case.tables).map(place).collect::<Option<_>>()?;
    let filtered = |rel: &Rel| over_filters(rel, &|source| first_above(places[source], least));
    let root = filtered(&case.plan.root);
    let common = case.plan.common.iter().map(filtered).collect();
    Some(Case {
        name: case.name,
        plan: Plan { root, common, ..case.plan.clone() },
        tables: case.tables.clone(),
        exact: case.exact.clone(),
    })
}

/// The tree with a filter over each source.
fn over_filters(root: &Rel, condition: &dyn Fn(usize) -> Scalar) -> Rel {
    fn walk(value: &mut serde_json::Value, condition: &dyn Fn(usize) -> Scalar) {
        let source = value.as_object().filter(|o| o.len() == 1).and_then(|o| o.get("Source")?.as_u64());
        if let Some(source) = source {
            *value = serde_json::to_value(filter(Rel::Source(source as usize), condition(source as usize))).unwrap();
            return;
        }
        match value {
            serde_json::Value::Object(fields) => fields.values_mut().for_each(|v| walk(v, condition)),
            serde_json::Value::Array(list) => list.iter_mut().for_each(|v| walk(v, condition)),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(root).unwrap();
    walk(&mut value, condition);
    serde_json::from_value(value).unwrap()
}
