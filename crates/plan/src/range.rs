//! A range constant, from its bytes in the server's memory to binary send format and to SQL.

use types::PgType;

use crate::PlanError;
use crate::array::{element_at, is_varlena};
use crate::catalog::{Catalog, TypeInfo};
use crate::constant::{value, varlena};
use crate::expr::ExprKind;

/// What `rangetypes.h` calls the flags.
const EMPTY: u8 = 0x01;
const LOWER_INCLUSIVE: u8 = 0x02;
const UPPER_INCLUSIVE: u8 = 0x04;
const LOWER_INFINITE: u8 = 0x08;
const UPPER_INFINITE: u8 = 0x10;

/// A range of elements whose form is known, and how it is written; its varlena header is off already.
pub(crate) fn range(bytes: &[u8], info: &TypeInfo, catalog: &Catalog) -> Result<Option<(Vec<u8>, String)>, PlanError> {
    let (Some(&flags), Some(element)) = (bytes.last(), catalog.types.get(&info.element)) else { return Ok(None) };
    let mut send = vec![flags];
    if flags & EMPTY != 0 {
        return Ok(Some((send, format!("'empty'::{}", info.sql))));
    }
    let ty = PgType { oid: element.base, typmod: -1, collation: element.collation };
    let mut bounds = Vec::new();
    // The type's identifier comes first; positions are those behind the header.
    let mut at = 4;
    for infinite in [LOWER_INFINITE, UPPER_INFINITE] {
        if flags & infinite != 0 {
            bounds.push("NULL".to_owned());
            continue;
        }
        let Some((start, length)) = element_at(bytes, at, element.base) else { return Ok(None) };
        let content = bytes.get(start..start + length);
        let content = if is_varlena(element.base) { content.and_then(varlena) } else { content };
        let Some(content) = content else { return Ok(None) };
        let Some(expr) = value(content, element.base, info.element, ty, &element.sql, catalog)? else {
            return Ok(None);
        };
        let ExprKind::Const(constant) = expr.kind else { return Ok(None) };
        let sent = constant.value.unwrap_or_default();
        send.extend_from_slice(&(sent.len() as i32).to_be_bytes());
        send.extend_from_slice(&sent);
        bounds.push(constant.sql);
        at = start + length;
    }
    let lower = if flags & LOWER_INCLUSIVE == 0 { '(' } else { '[' };
    let upper = if flags & UPPER_INCLUSIVE == 0 { ')' } else { ']' };
    // Each range type has a constructor of its name.
    let sql = format!("{}({}, '{lower}{upper}')", info.sql, bounds.join(", "));
    Ok(Some((send, sql)))
}
