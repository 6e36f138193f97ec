//! A plan as text for people.

use std::fmt::Write as _;

use types::{Scalar, ScalarKind};

use crate::tree::{Aggregate, AggregateFunc, OutputKey, Plan, Rel};

/// The tree, one operator a line, inputs indented; what PostgreSQL computes is marked `ring 2`.
#[must_use]
pub fn explain_text(plan: &Plan) -> String {
    let mut out = String::new();
    let key = match &plan.key {
        OutputKey::RowId => "__tributary_row_id".to_owned(),
        OutputKey::Columns(columns) if columns.is_empty() => "one row".into(),
        OutputKey::Columns(columns) => {
            columns.iter().filter_map(|&c| plan.output.get(c)).map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
        }
    };
    let columns = plan.output.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect::<Vec<_>>().join(", ");
    let _infallible = writeln!(out, "Output ({columns}), key: {key}");
    operator(&plan.root, plan, 1, &mut out);
    if !plan.settings.is_empty() {
        let settings = plan.settings.iter().map(|(n, v)| format!("{n} = {v}")).collect::<Vec<_>>().join(", ");
        let _infallible = writeln!(out, "Pinned: {settings}");
    }
    out
}

fn operator(rel: &Rel, plan: &Plan, depth: usize, out: &mut String) {
    let line = match rel {
        Rel::Source(index) => match plan.sources.get(*index) {
            Some(source) => {
                let names: Vec<_> = source.columns.iter().map(|c| c.name.as_str()).collect();
                format!("Source {} ({})", source.table, names.join(", "))
            }
            None => "Source ?".into(),
        },
        Rel::Filter { predicate, .. } => format!("Filter {}", scalar_text(predicate)),
        Rel::Project { exprs, .. } => format!("Project {}", list(exprs.iter().map(scalar_text))),
        Rel::PgMap { exprs, .. } => format!(
            "Map by PostgreSQL (ring 2) {}",
            list(exprs.iter().map(|e| format!("{} of {}", e.sql, list(e.args.iter().map(|a| format!("#{a}"))))))
        ),
        Rel::Join { keys, .. } if keys.is_empty() => "Cross join".into(),
        Rel::Join { keys, .. } => format!("Join on {}", list(keys.iter().map(|(l, r)| format!("#{l} = #{r}")))),
        Rel::Aggregate { keys, aggregates, .. } => format!(
            "Aggregate by ({}): {}",
            list(keys.iter().map(|k| format!("#{k}"))),
            list(aggregates.iter().map(aggregate_text))
        ),
        Rel::UnionAll(_) => "Union all".into(),
        Rel::Values { rows, .. } => format!("Values, {} rows", rows.len()),
    };
    let _infallible = writeln!(out, "{:indent$}{line}", "", indent = depth * 2);
    match rel {
        Rel::Source(_) | Rel::Values { .. } => {}
        Rel::Filter { input, .. }
        | Rel::Project { input, .. }
        | Rel::PgMap { input, .. }
        | Rel::Aggregate { input, .. } => operator(input, plan, depth + 1, out),
        Rel::Join { left, right, .. } => {
            operator(left, plan, depth + 1, out);
            operator(right, plan, depth + 1, out);
        }
        Rel::UnionAll(inputs) => inputs.iter().for_each(|i| operator(i, plan, depth + 1, out)),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn aggregate_text(aggregate: &Aggregate) -> String {
    let name = match aggregate.func {
        AggregateFunc::CountStar => return filtered("count(*)".into(), aggregate),
        AggregateFunc::Count => "count",
        AggregateFunc::Sum => "sum",
        AggregateFunc::Avg => "avg",
        AggregateFunc::Min => "min",
        AggregateFunc::Max => "max",
        AggregateFunc::BoolAnd => "bool_and",
        AggregateFunc::BoolOr => "bool_or",
    };
    let distinct = if aggregate.distinct { "DISTINCT " } else { "" };
    let arg = aggregate.arg.map(|a| format!("#{a}")).unwrap_or_default();
    filtered(format!("{name}({distinct}{arg})"), aggregate)
}

fn filtered(text: String, aggregate: &Aggregate) -> String {
    match aggregate.filter {
        Some(filter) => format!("{text} FILTER #{filter}"),
        None => text,
    }
}

fn scalar_text(scalar: &Scalar) -> String {
    let many = |v: &[Scalar]| list(v.iter().map(scalar_text));
    match &scalar.kind {
        ScalarKind::Column(c) => format!("#{c}"),
        ScalarKind::Const(None) => "NULL".into(),
        ScalarKind::Const(Some(bytes)) => match scalar::Datum::decode(scalar.ty.oid, bytes) {
            Ok(scalar::Datum::Text(text)) => format!("'{text}'"),
            Ok(scalar::Datum::Numeric(n)) => n.to_string(),
            Ok(datum) => format!("{datum:?}"),
            Err(_) => "constant".into(),
        },
        ScalarKind::Call { func, args, .. } => format!("f{func}({})", many(args)),
        ScalarKind::And(args) => format!("({})", args.iter().map(scalar_text).collect::<Vec<_>>().join(" AND ")),
        ScalarKind::Or(args) => format!("({})", args.iter().map(scalar_text).collect::<Vec<_>>().join(" OR ")),
        ScalarKind::Not(arg) => format!("NOT {}", scalar_text(arg)),
        ScalarKind::IsNull(arg) => format!("{} IS NULL", scalar_text(arg)),
        ScalarKind::IsNotNull(arg) => format!("{} IS NOT NULL", scalar_text(arg)),
        ScalarKind::BoolTest { arg, want, negated } => {
            let want = want.map_or("UNKNOWN".to_owned(), |w| w.to_string().to_uppercase());
            format!("{} IS {}{want}", scalar_text(arg), if *negated { "NOT " } else { "" })
        }
        ScalarKind::Case { branches, otherwise } => {
            let when = branches.iter().map(|(w, t)| format!("WHEN {} THEN {} ", scalar_text(w), scalar_text(t)));
            format!("CASE {}ELSE {} END", when.collect::<String>(), scalar_text(otherwise))
        }
        ScalarKind::Coalesce(args) => format!("COALESCE({})", many(args)),
        ScalarKind::NullIf { left, right, .. } => format!("NULLIF({}, {})", scalar_text(left), scalar_text(right)),
        ScalarKind::Distinct { left, right, .. } => {
            format!("{} IS DISTINCT FROM {}", scalar_text(left), scalar_text(right))
        }
        ScalarKind::Extreme { args, greatest, .. } => {
            format!("{}({})", if *greatest { "GREATEST" } else { "LEAST" }, many(args))
        }
        ScalarKind::AnyOf { func, all, left, list, .. } => {
            format!("{} f{func} {} ({})", scalar_text(left), if *all { "ALL" } else { "ANY" }, many(list))
        }
        ScalarKind::Relabel(arg) => scalar_text(arg),
        ScalarKind::ViaText(arg) => format!("via_text({})", scalar_text(arg)),
    }
}
