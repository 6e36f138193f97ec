//! An array constant, from its bytes in the server's memory to binary send format and its elements.

use types::{Oid, oid};

use crate::PlanError;
use crate::catalog::Catalog;
use crate::constant::{le, null, value, varlena};
use crate::expr::{Constant, Expr, ExprKind};

/// The array in send format, and its elements.
type ArrayValue = (Vec<u8>, Vec<Expr>);

/// An array of one dimension that begins at 1 (or an empty one), of elements whose form is known; its varlena header
/// is off already.
pub(crate) fn array(bytes: &[u8], element: Oid, catalog: &Catalog) -> Result<Option<ArrayValue>, PlanError> {
    let int = |at: usize| bytes.get(at..).and_then(le).map(i32::from_le_bytes);
    let (Some(dimensions), Some(data)) = (int(0), int(4)) else { return Ok(None) };
    let Some(info) = catalog.types.get(&element) else { return Ok(None) };
    let mut list = Vec::new();
    if dimensions == 1 {
        let (Some(count), Some(1)) = (int(12), int(16)) else { return Ok(None) };
        let count = usize::try_from(count).unwrap_or_default();
        // Where there are NULLs, a bit an element says which are none. Offsets are those of the whole value, whose header
        // of 4 bytes is off.
        let nulls = usize::try_from(data).ok().filter(|data| *data > 0);
        let mut at = nulls.map_or(20, |data| data.saturating_sub(4));
        for i in 0..count {
            let here = bytes.get(20 + i / 8).is_some_and(|bits| bits >> (i % 8) & 1 == 1);
            let content = if nulls.is_some() && !here { None } else { element_at(bytes, at, info.base) };
            let ty = types::PgType { oid: info.base, typmod: -1, collation: info.collation };
            match content {
                None if nulls.is_some() && !here => list.push(null(ty, element, &info.sql)),
                None => return Ok(None),
                Some((start, length)) => {
                    let Some(content) = bytes.get(start..start + length) else { return Ok(None) };
                    let content = if is_varlena(info.base) { varlena(content) } else { Some(content) };
                    let Some(content) = content else { return Ok(None) };
                    match value(content, info.base, element, ty, &info.sql, catalog)? {
                        Some(expr) => list.push(expr),
                        None => return Ok(None),
                    }
                    at = start + length;
                }
            }
        }
    } else if dimensions != 0 {
        return Ok(None);
    }
    let mut send = Vec::new();
    send.extend_from_slice(&i32::from(!list.is_empty()).to_be_bytes());
    send.extend_from_slice(&i32::from(data > 0).to_be_bytes());
    send.extend_from_slice(&element.to_be_bytes());
    if !list.is_empty() {
        send.extend_from_slice(&(list.len() as i32).to_be_bytes());
        send.extend_from_slice(&1_i32.to_be_bytes());
    }
    for expr in &list {
        match &expr.kind {
            ExprKind::Const(Constant { value: Some(value), .. }) => {
                send.extend_from_slice(&(value.len() as i32).to_be_bytes());
                send.extend_from_slice(value);
            }
            _ => send.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }
    Ok(Some((send, list)))
}

pub(crate) fn is_varlena(base: Oid) -> bool {
    matches!(base, oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::BYTEA | oid::NUMERIC | oid::JSONB | oid::JSON)
}

/// Start (aligned) and length of the element at `at`; positions are those of the value without its header of 4 bytes.
pub(crate) fn element_at(bytes: &[u8], at: usize, base: Oid) -> Option<(usize, usize)> {
    let (align, length) = match base {
        oid::BOOL | oid::CHAR => (1, Some(1)),
        oid::INT2 => (2, Some(2)),
        oid::INT4 | oid::DATE | oid::FLOAT4 | oid::OID => (4, Some(4)),
        oid::INT8 | oid::FLOAT8 | oid::TIME | oid::TIMESTAMP | oid::TIMESTAMPTZ => (8, Some(8)),
        oid::INTERVAL => (8, Some(16)),
        oid::UUID => (1, Some(16)),
        oid::NAME => (1, Some(64)),
        base if is_varlena(base) => (4, None),
        // Enums are kept by identifier.
        _ => (4, Some(4)),
    };
    if let Some(length) = length {
        return Some(((at + 4).div_ceil(align) * align - 4, length));
    }
    // A short header is not aligned; padding is zero and no header is.
    let first = *bytes.get(at)?;
    if first & 1 == 1 {
        return Some((at, usize::from(first >> 1)));
    }
    let start = (at + 4).div_ceil(align) * align - 4;
    let header = u32::from_le_bytes(le(bytes.get(start..)?)?);
    Some((start, (header >> 2) as usize))
}
