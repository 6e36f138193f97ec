//! A plan as text for people.

use std::fmt::Write as _;

use types::{Scalar, ScalarKind};

use crate::tree::{Aggregate, AggregateFunc, JoinKind, OutputKey, PgExpr, Plan, Rel, SetOp};

/// The tree, one operator a line, inputs indented; what PostgreSQL computes is marked `ring 2`.
#[must_use]
pub fn explain_text(plan: &Plan) -> String {
    let mut out = String::new();
    let key = match &plan.key {
        OutputKey::RowId => crate::row_id::NAME.to_owned(),
        OutputKey::Columns(columns) if columns.is_empty() => "one row".into(),
        OutputKey::Columns(columns) => {
            columns.iter().filter_map(|&c| plan.output.get(c)).map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
        }
    };
    let columns = plan.output.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect::<Vec<_>>().join(", ");
    let _infallible = writeln!(out, "Output ({columns}), key: {key}");
    operator(&plan.root, plan, 1, &mut out);
    for (at, rel) in plan.common.iter().enumerate() {
        let _infallible = writeln!(out, "Subplan {}, computed once for all that read it", at + 1);
        operator(rel, plan, 1, &mut out);
    }
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
                let needs: Vec<_> = source.filter.iter().map(numbered).collect();
                let needs = if needs.is_empty() { String::new() } else { format!(" where {}", needs.join(" AND ")) };
                format!("Source {} ({}){needs}", source.table, names.join(", "))
            }
            None => "Source ?".into(),
        },
        Rel::Common(at) => format!("Subplan {}", at + 1),
        Rel::Filter { predicate, .. } => format!("Filter {}", numbered(predicate)),
        Rel::Project { exprs, .. } => format!("Project {}", list(exprs.iter().map(numbered))),
        Rel::PgMap { exprs, .. } => format!(
            "Map by PostgreSQL (ring 2) {}",
            list(exprs.iter().map(|e| format!("{} of {}", e.sql, list(e.args.iter().map(|a| format!("#{a}"))))))
        ),
        Rel::Join { kind, keys, on, .. } => {
            let kind = match kind {
                JoinKind::Inner if keys.is_empty() => "Cross join",
                JoinKind::Inner => "Join",
                JoinKind::Left => "Left join",
                JoinKind::Full => "Full join",
                JoinKind::Semi => "Semi join",
                JoinKind::Anti => "Anti join",
            };
            let keys = keys.iter().map(|(l, r)| format!("#{l} = #{r}"));
            let on = on.iter().map(|on| numbered(&on.predicate));
            let conditions = keys.chain(on).collect::<Vec<_>>().join(" AND ");
            if conditions.is_empty() { kind.to_owned() } else { format!("{kind} on {conditions}") }
        }
        Rel::Aggregate { keys, aggregates, .. } => format!(
            "Aggregate by ({}): {}",
            list(keys.iter().map(|k| format!("#{k}"))),
            list(aggregates.iter().map(|a| aggregate_text(a, &number)))
        ),
        Rel::PgAggregate { keys, aggregates, .. } => format!(
            "Aggregate by PostgreSQL (ring 2), touched groups again, by ({}): {}",
            columns(keys),
            list(aggregates.iter().map(pg_text))
        ),
        Rel::Window { partition, windows, .. } => format!(
            "Window by PostgreSQL (ring 2), touched partitions again, by ({}): {}",
            columns(partition),
            list(windows.iter().map(pg_text))
        ),
        Rel::PgRows { from, args, keep, .. } => {
            format!("Rows by PostgreSQL (ring 2) {from} of {}{}", columns(args), if *keep { ", or NULLs" } else { "" })
        }
        Rel::Expand { lists, .. } => {
            format!("Expand to {}", list(lists.iter().map(|l| format!("({})", list(l.iter().map(numbered))))))
        }
        Rel::SetOp { op, all, .. } => {
            let op = match op {
                SetOp::Intersect => "Intersect",
                SetOp::Except => "Except",
            };
            format!("{op}{}", if *all { " all" } else { "" })
        }
        Rel::Top { partition, order, offset, limit, ties, .. } => {
            let order = order.iter().map(|k| {
                let direction = if k.descending { " DESC" } else { "" };
                let nulls = if k.nulls_first == k.descending { "" } else { " with NULLs at the other end" };
                format!("#{}{direction}{nulls}", k.column)
            });
            let partition =
                if partition.is_empty() { String::new() } else { format!(" of each ({})", columns(partition)) };
            let limit = limit.map_or("all".to_owned(), |l| l.to_string());
            let ties = if *ties { " with ties" } else { "" };
            format!("Top {limit}{ties} from {offset} by {}{partition}", list(order))
        }
        Rel::Recursive { all, .. } => format!("Recursive union{}", if *all { " all" } else { "" }),
        Rel::Working { .. } => "Working table".into(),
        Rel::UnionAll(_) => "Union all".into(),
        Rel::Values { rows, .. } => format!("Values, {} rows", rows.len()),
    };
    let _infallible = writeln!(out, "{:indent$}{line}", "", indent = depth * 2);
    rel.inputs().into_iter().for_each(|input| operator(input, plan, depth + 1, out));
}

fn number(column: usize) -> String {
    format!("#{column}")
}

fn numbered(scalar: &Scalar) -> String {
    scalar_text(scalar, &number)
}

fn columns(columns: &[usize]) -> String {
    list(columns.iter().map(|c| format!("#{c}")))
}

fn pg_text(expr: &PgExpr) -> String {
    format!("{} of {}", expr.sql, columns(&expr.args))
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// An aggregate, its columns by these names.
#[must_use]
pub fn aggregate_text(aggregate: &Aggregate, named: &dyn Fn(usize) -> String) -> String {
    let name = match aggregate.func {
        AggregateFunc::CountStar => return filtered("count(*)".into(), aggregate, named),
        AggregateFunc::Count => "count",
        AggregateFunc::Sum => "sum",
        AggregateFunc::Avg => "avg",
        AggregateFunc::Min => "min",
        AggregateFunc::Max => "max",
        AggregateFunc::BoolAnd => "bool_and",
        AggregateFunc::BoolOr => "bool_or",
        AggregateFunc::VarPop => "var_pop",
        AggregateFunc::VarSamp => "var_samp",
        AggregateFunc::StddevPop => "stddev_pop",
        AggregateFunc::StddevSamp => "stddev_samp",
        AggregateFunc::BitAnd => "bit_and",
        AggregateFunc::BitOr => "bit_or",
        AggregateFunc::BitXor => "bit_xor",
    };
    let distinct = if aggregate.distinct { "DISTINCT " } else { "" };
    let arg = aggregate.arg.map(named).unwrap_or_default();
    filtered(format!("{name}({distinct}{arg})"), aggregate, named)
}

fn filtered(text: String, aggregate: &Aggregate, named: &dyn Fn(usize) -> String) -> String {
    match aggregate.filter {
        Some(filter) => format!("{text} FILTER {}", named(filter)),
        None => text,
    }
}

/// An expression, its columns by these names.
#[must_use]
pub fn scalar_text(scalar: &Scalar, name: &dyn Fn(usize) -> String) -> String {
    let text = |scalar: &Scalar| scalar_text(scalar, name);
    let many = |v: &[Scalar]| list(v.iter().map(text));
    match &scalar.kind {
        ScalarKind::Column(c) => name(*c),
        ScalarKind::Const(None) => "NULL".into(),
        ScalarKind::Const(Some(bytes)) => match scalar::Datum::decode(scalar.ty.oid, bytes) {
            Ok(scalar::Datum::Text(text)) => format!("'{text}'"),
            Ok(scalar::Datum::Numeric(n)) => n.to_string(),
            Ok(datum) => format!("{datum:?}"),
            Err(_) => "constant".into(),
        },
        ScalarKind::Call { func, args, .. } => format!("f{func}({})", many(args)),
        ScalarKind::And(args) => format!("({})", args.iter().map(text).collect::<Vec<_>>().join(" AND ")),
        ScalarKind::Or(args) => format!("({})", args.iter().map(text).collect::<Vec<_>>().join(" OR ")),
        ScalarKind::Not(arg) => format!("NOT {}", text(arg)),
        ScalarKind::IsNull(arg) => format!("{} IS NULL", text(arg)),
        ScalarKind::IsNotNull(arg) => format!("{} IS NOT NULL", text(arg)),
        ScalarKind::BoolTest { arg, want, negated } => {
            let want = want.map_or("UNKNOWN".to_owned(), |w| w.to_string().to_uppercase());
            format!("{} IS {}{want}", text(arg), if *negated { "NOT " } else { "" })
        }
        ScalarKind::Case { branches, otherwise } => {
            let when = branches.iter().map(|(w, t)| format!("WHEN {} THEN {} ", text(w), text(t)));
            format!("CASE {}ELSE {} END", when.collect::<String>(), text(otherwise))
        }
        ScalarKind::Coalesce(args) => format!("COALESCE({})", many(args)),
        ScalarKind::NullIf { left, right, .. } => format!("NULLIF({}, {})", text(left), text(right)),
        ScalarKind::Distinct { left, right, .. } => {
            format!("{} IS DISTINCT FROM {}", text(left), text(right))
        }
        ScalarKind::Extreme { args, greatest, .. } => {
            format!("{}({})", if *greatest { "GREATEST" } else { "LEAST" }, many(args))
        }
        ScalarKind::AnyOf { func, all, left, list, .. } => {
            format!("{} f{func} {} ({})", text(left), if *all { "ALL" } else { "ANY" }, many(list))
        }
        ScalarKind::Relabel(arg) => text(arg),
        ScalarKind::ViaText(arg) => format!("via_text({})", text(arg)),
    }
}
