//! Which functions may stand in a query that is kept: those whose answer the rows determine.

use types::{Oid, oid};

use crate::PlanError;
use crate::catalog::Catalog;
use crate::moments::offset_of_today;
use crate::reader::{Node, Tree};

/// STABLE built-ins that depend on nothing but settings, which are pinned with the definition.
const BY_SETTINGS: &[&str] = &[
    "array_to_json",
    "array_to_string",
    "concat",
    "concat_ws",
    "convert",
    "convert_from",
    "convert_to",
    "date",
    "date_part",
    "date_trunc",
    "extract",
    "format",
    "interval",
    "json_agg",
    "json_build_array",
    "json_build_object",
    "json_object",
    "json_object_agg",
    "json_populate_record",
    "json_populate_recordset",
    "json_to_record",
    "json_to_recordset",
    "json_to_tsvector",
    "jsonb_agg",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "jsonb_populate_record",
    "jsonb_populate_recordset",
    "jsonb_to_record",
    "jsonb_to_recordset",
    "jsonb_to_tsvector",
    "length",
    "make_timestamptz",
    "money",
    "numeric",
    "overlaps",
    "quote_literal",
    "quote_nullable",
    "row_to_json",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "timezone",
    "to_char",
    "to_date",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
    "timestamptz_pl_interval",
    "timestamptz_mi_interval",
    "interval_pl_timestamptz",
    "generate_series",
    "to_tsvector",
    "ts_match_tq",
    "ts_match_tt",
    "to_tsquery",
    "plainto_tsquery",
    "phraseto_tsquery",
    "websearch_to_tsquery",
    "ts_headline",
    "jsonb_path_query_array_tz",
    "jsonb_path_query_first_tz",
    "jsonb_path_query_tz",
    "jsonb_path_exists_tz",
    "jsonb_path_match_tz",
    "array_append",
    "array_cat",
    "array_eq",
    "array_ne",
    "array_lt",
    "array_gt",
    "array_le",
    "array_ge",
    "record_eq",
    "record_ne",
    "textanycat",
    "anytextcat",
    "md5",
    "xml",
    "string_to_array",
];

/// Functions that tell the time.
const CLOCK: &[&str] = &["now", "transaction_timestamp", "statement_timestamp", "clock_timestamp", "timeofday"];

/// Functions that take the offset of a zone as it is today: `time::timetz` and `timetz AT TIME ZONE` a name.
const OF_TODAY: [(&str, &[Oid]); 2] = [("timetz", &[oid::TIME]), ("timezone", &[oid::TEXT, 1266])];

/// A default may call a function with defaults. PostgreSQL cannot call one that goes on for ever.
const DEEPEST: usize = 16;

/// Refuses functions whose answer changes while the rows stay.
pub(crate) fn check(catalog: &Catalog, func: Oid) -> Result<(), PlanError> {
    let info = catalog.functions.get(&func).ok_or_else(|| PlanError::Tree(format!("function {func} is unknown")))?;
    let built_in = info.schema == "pg_catalog";
    let name = format!("{}()", info.name);
    if built_in && (CLOCK.contains(&info.name.as_str()) || (info.name == "age" && info.args.len() == 1)) {
        return Err(by_time(&name));
    }
    if built_in && OF_TODAY.contains(&(info.name.as_str(), info.args.as_slice())) {
        return Err(offset_of_today(&format!("{name} of a time in a named zone")));
    }
    match info.volatility {
        'i' => Ok(()),
        's' if built_in && (BY_SETTINGS.contains(&info.name.as_str()) || compares_dates(&info.name)) => Ok(()),
        's' => Err(PlanError::refused(
            name,
            "it is stable only: its answer can change while the rows stay",
            if built_in {
                "leave it out, or apply it when reading the stream table"
            } else {
                "declare it IMMUTABLE if it depends on its arguments only"
            },
        )),
        _ => Err(PlanError::refused(
            name,
            "it is volatile: each call can answer differently",
            "leave it out, or declare your own function IMMUTABLE if it depends on its arguments only",
        )),
    }
}

/// The same of a call with its arguments; those that are left out are computed as well.
pub(crate) fn check_call(catalog: &Catalog, func: Oid, args: &[&Node]) -> Result<(), PlanError> {
    called(catalog, func, args, 0)
}

fn called(catalog: &Catalog, func: Oid, args: &[&Node], depth: usize) -> Result<(), PlanError> {
    check(catalog, func)?;
    let info = catalog.functions.get(&func).filter(|_| depth < DEEPEST);
    let Some((info, Some(Tree::List(defaults)))) = info.map(|info| (info, info.defaults.as_ref())) else {
        return Ok(());
    };
    // They stand for the last arguments.
    let first = info.args.len().saturating_sub(defaults.len());
    let is_named = |arg: &&&Node| arg.kind == "NAMEDARGEXPR";
    let in_order = args.iter().take_while(|arg| !is_named(arg)).count();
    let by_name: Vec<usize> = args.iter().filter(is_named).filter_map(|arg| arg.index("argnumber").ok()).collect();
    for (at, default) in (first..).zip(defaults) {
        if at >= in_order && !by_name.contains(&at) {
            computed(catalog, default, depth + 1)?;
        }
    }
    Ok(())
}

/// What casts an array's elements.
pub(crate) fn check_elements(catalog: &Catalog, cast: &Tree) -> Result<(), PlanError> {
    computed(catalog, cast, 0)
}

/// What a default computes.
fn computed(catalog: &Catalog, default: &Tree, depth: usize) -> Result<(), PlanError> {
    let mut found = Ok(());
    default.walk(&mut |node| {
        let checked = match node.kind.as_str() {
            "SQLVALUEFUNCTION" => node.number("op").and_then(|op| Err(sql_value(op))),
            "NEXTVALUEEXPR" => Err(node.odd("place")),
            "FUNCEXPR" => node.oid("funcid").and_then(|func| called(catalog, func, &node.nodes("args"), depth)),
            _ => node.oid("opfuncid").map_or(Ok(()), |func| check(catalog, func)),
        };
        if found.is_ok() {
            found = checked;
        }
    });
    found
}

/// CURRENT_DATE and what else is written without brackets, by its number in PostgreSQL.
pub(crate) fn sql_value(op: i64) -> PlanError {
    let name = match op {
        0 => "CURRENT_DATE",
        1 | 2 => "CURRENT_TIME",
        3 | 4 => "CURRENT_TIMESTAMP",
        5 | 6 => "LOCALTIME",
        7 | 8 => "LOCALTIMESTAMP",
        9..=12 => "CURRENT_USER and its kin",
        _ => "CURRENT_CATALOG and CURRENT_SCHEMA",
    };
    if op <= 8 {
        by_time(name)
    } else {
        PlanError::refused(
            name,
            "the answer would depend on who asks and not only on the rows",
            "use it when reading the stream table",
        )
    }
}

pub(crate) fn by_time(name: &str) -> PlanError {
    PlanError::refused(
        name,
        "the answer would change with time and not only with the rows, until filters by time exist",
        "compare with a constant, or filter by time when reading the stream table",
    )
}

/// `date_lt_timestamptz` and its kin depend on TimeZone only.
fn compares_dates(name: &str) -> bool {
    let Some((left, rest)) = name.split_once('_') else { return false };
    let Some((comparison, right)) = rest.split_once('_') else { return false };
    let dates = ["date", "timestamp", "timestamptz"];
    dates.contains(&left) && dates.contains(&right) && ["lt", "le", "eq", "ne", "ge", "gt", "cmp"].contains(&comparison)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_of_dates_are_known_by_name() {
        assert!(compares_dates("date_lt_timestamptz"));
        assert!(compares_dates("timestamptz_cmp_date"));
        assert!(!compares_dates("date_part_common"));
        assert!(!compares_dates("now"));
    }
}
