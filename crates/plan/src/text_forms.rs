//! Types whose text form changes while the rows stay, and what shows values as texts.

use types::Oid;

use crate::PlanError;
use crate::catalog::Catalog;
use crate::expr::{Expr, ExprKind};

/// Types whose text form depends on the catalogs: regproc, regclass and their kin.
pub(crate) const NAMES_OF_OBJECTS: &[Oid] = &[24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191];

/// Whether a constant of the type is a name of something that can be dropped and made again; a text search configuration
/// or dictionary is as stable as a function.
pub(crate) fn names_an_object(ty: Oid) -> bool {
    const OF_TEXT_SEARCH: [Oid; 2] = [3734, 3769];
    NAMES_OF_OBJECTS.contains(&ty) && !OF_TEXT_SEARCH.contains(&ty)
}

/// Built-in functions and aggregates that show values of any type as texts, or read them.
const SHOW: &[&str] = &[
    "anytextcat",
    "array_to_json",
    "array_to_string",
    "concat",
    "concat_ws",
    "format",
    "json_agg",
    "json_agg_strict",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "json_object_agg_unique_strict",
    "json_populate_record",
    "json_populate_recordset",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "jsonb_object_agg_strict",
    "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict",
    "jsonb_populate_record",
    "jsonb_populate_recordset",
    "quote_literal",
    "quote_nullable",
    "row_to_json",
    "textanycat",
    "to_json",
    "to_jsonb",
];

/// How deep types are looked into; a composite may have arrays of itself.
const DEEPEST: usize = 8;

/// Refuses text forms that change while the rows stay.
pub(crate) fn check(catalog: &Catalog, ty: Oid) -> Result<(), PlanError> {
    if has_names(catalog, ty, 0) {
        return Err(PlanError::refused(
            "a text form of regclass or its kin",
            "the name behind it can change while the rows stay",
            "keep the oid, and cast it when reading the stream table",
        ));
    }
    Ok(())
}

/// The same of a call that shows its arguments.
pub(crate) fn check_shown(catalog: &Catalog, func: Oid, args: &[Expr]) -> Result<(), PlanError> {
    let info = catalog.functions.get(&func);
    if info.is_some_and(|info| info.schema == "pg_catalog" && SHOW.contains(&info.name.as_str())) {
        return args.iter().try_for_each(|arg| check_value(catalog, arg));
    }
    Ok(())
}

/// The same of a value that is shown.
pub(crate) fn check_value(catalog: &Catalog, value: &Expr) -> Result<(), PlanError> {
    if let ExprKind::Row { columns, .. } = &value.kind {
        columns.iter().try_for_each(|column| check_value(catalog, column))?;
    }
    check(catalog, value.declared)
}

/// Itself, its elements, its fields, or what it stands on.
fn has_names(catalog: &Catalog, ty: Oid, depth: usize) -> bool {
    if NAMES_OF_OBJECTS.contains(&ty) || depth > DEEPEST {
        return NAMES_OF_OBJECTS.contains(&ty);
    }
    let parts = catalog.types.get(&ty).map(|info| [info.element, info.base]).into_iter().flatten();
    let fields = catalog.field_types.range((ty, i64::MIN)..=(ty, i64::MAX)).map(|(_, (field, ..))| *field);
    parts.chain(fields).any(|part| part != 0 && part != ty && has_names(catalog, part, depth + 1))
}
