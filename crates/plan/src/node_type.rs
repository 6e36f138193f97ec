//! The type of a subquery's value, from the node of what it shows.

use types::{Oid, oid};

use crate::PlanError;
use crate::catalog::Catalog;
use crate::reader::Node;
use crate::xml;

/// Type, modifier, collation.
type NodeType = (Oid, i32, Oid);

/// Kinds of sublinks, in PostgreSQL's numbers.
pub(crate) const EXISTS: i64 = 0;
pub(crate) const ALL: i64 = 1;
pub(crate) const ANY: i64 = 2;
pub(crate) const ROW_COMPARE: i64 = 3;
pub(crate) const VALUE: i64 = 4;
pub(crate) const ARRAY: i64 = 6;

/// The type of what a SUBLINK node gives.
pub(crate) fn of_sublink(node: &Node, catalog: &Catalog) -> Result<NodeType, PlanError> {
    let value = || {
        let targets = node.node("subselect")?.nodes("targetList");
        let target = targets.into_iter().find(|t| !t.flag("resjunk"));
        of(target.ok_or_else(|| node.odd("subselect"))?.node("expr")?, catalog)
    };
    match node.number("subLinkType")? {
        EXISTS | ALL | ANY | ROW_COMPARE => Ok((oid::BOOL, -1, 0)),
        VALUE => value(),
        ARRAY => {
            let (element, _, collation) = value()?;
            Ok((catalog.array_of(element).ok_or_else(|| node.odd("subselect"))?, -1, collation))
        }
        _ => Err(node.odd("subLinkType")),
    }
}

/// The type of an expression node.
pub(crate) fn of(node: &Node, catalog: &Catalog) -> Result<NodeType, PlanError> {
    let (ty, typmod, collation) = match node.kind.as_str() {
        "VAR" => ("vartype", "vartypmod", "varcollid"),
        "CONST" => ("consttype", "consttypmod", "constcollid"),
        "PARAM" => ("paramtype", "paramtypmod", "paramcollid"),
        "AGGREF" => ("aggtype", "", "aggcollid"),
        "WINDOWFUNC" => ("wintype", "", "wincollid"),
        "FUNCEXPR" => ("funcresulttype", "", "funccollid"),
        "OPEXPR" => ("opresulttype", "", "opcollid"),
        "SUBSCRIPTINGREF" => ("refrestype", "reftypmod", "refcollid"),
        "CONVERTROWTYPEEXPR" => ("resulttype", "", ""),
        "XMLEXPR" => return Ok(xml::type_of(node)),
        "FIELDSELECT" | "RELABELTYPE" | "ARRAYCOERCEEXPR" | "COERCETODOMAIN" => {
            ("resulttype", "resulttypmod", "resultcollid")
        }
        "COERCEVIAIO" => ("resulttype", "", "resultcollid"),
        "CASEEXPR" | "CASE" => ("casetype", "", "casecollid"),
        "COALESCEEXPR" | "COALESCE" => ("coalescetype", "", "coalescecollid"),
        "MINMAXEXPR" | "MINMAX" => ("minmaxtype", "", "minmaxcollid"),
        "ARRAYEXPR" | "ARRAY" => ("array_typeid", "", "array_collid"),
        "ROWEXPR" | "ROW" => ("row_typeid", "", ""),
        "GROUPINGFUNC" => return Ok((oid::INT4, -1, 0)),
        "BOOLEXPR" | "NULLTEST" | "BOOLEANTEST" | "DISTINCTEXPR" | "SCALARARRAYOPEXPR" | "ROWCOMPAREEXPR" => {
            return Ok((oid::BOOL, -1, 0));
        }
        "NULLIFEXPR" => return of(node.nodes("args").first().ok_or_else(|| node.odd("args"))?, catalog),
        "COLLATEEXPR" | "COLLATE" => {
            let (ty, typmod, _) = of(node.node("arg")?, catalog)?;
            return Ok((ty, typmod, node.oid("collOid")?));
        }
        "SUBLINK" => return of_sublink(node, catalog),
        other => {
            return Err(PlanError::not_yet(
                format!("a subquery that gives an expression of kind {other}"),
                "cast what it gives to its type",
            ));
        }
    };
    let typmod = if typmod.is_empty() { -1 } else { i32::try_from(node.number(typmod)?).unwrap_or(-1) };
    let collation = if collation.is_empty() { 0 } else { node.oid(collation)? };
    Ok((node.oid(ty)?, typmod, collation))
}
