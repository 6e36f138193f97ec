//! A constant of PostgreSQL's tree, from its bytes in the server's memory to binary send format and to SQL.

use types::{Oid, oid, quote_literal};

use crate::PlanError;
use crate::array::array;
use crate::catalog::Catalog;
use crate::expr::{Constant, Expr, ExprKind, Template};
use crate::jsonb;
use crate::range::range;
use crate::reader::{Node, Tree};
use crate::text_forms::names_an_object;

const CIDR: Oid = 650;
/// A literal that goes to a function of anything, such as a key in `jsonb_build_object`.
const UNKNOWN: Oid = 705;
const INET: Oid = 869;
const TIMETZ: Oid = 1266;
const BIT: Oid = 1560;
const VARBIT: Oid = 1562;

/// Reads a CONST node.
pub(crate) fn constant(node: &Node, catalog: &Catalog) -> Result<Expr, PlanError> {
    let declared = node.oid("consttype")?;
    let typmod = i32::try_from(node.number("consttypmod")?).unwrap_or(-1);
    let ty = catalog.ty(declared, typmod, node.oid("constcollid")?);
    let sql_type = catalog.type_sql(declared)?;
    if node.flag("constisnull") {
        return Ok(null(ty, declared, sql_type));
    }
    let Tree::Bytes(bytes) = node.get("constvalue") else { return Err(node.odd("constvalue")) };
    let by_value = node.flag("constbyval");
    let length = node.number("constlen")?;
    let damaged = || node.odd("constvalue");
    let content: Vec<u8> = if by_value {
        bytes.clone()
    } else if length == -1 {
        varlena(bytes).ok_or_else(damaged)?.to_vec()
    } else if length == -2 {
        bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec()
    } else {
        bytes.clone()
    };
    if let Some(known) = value(&content, ty.oid, declared, ty, sql_type, catalog)? {
        return Ok(known);
    }
    if names_an_object(declared) {
        return Err(PlanError::refused(
            format!("a constant of type {sql_type}"),
            "what it names can be dropped and made again while the rows stay",
            "write its oid as a number",
        ));
    }
    let literal = catalog.literals.get(&(declared, bytes.clone())).ok_or_else(|| {
        PlanError::not_yet(
            format!("a constant of type {sql_type}"),
            format!("write it as ('…'::text)::{sql_type}, which PostgreSQL computes"),
        )
    })?;
    Ok(Expr { kind: ExprKind::Template(Template::new(literal)), ty, declared })
}

/// NULL of a type.
pub(crate) fn null(ty: types::PgType, declared: Oid, sql_type: &str) -> Expr {
    let constant = Constant { value: None, sql: format!("NULL::{sql_type}"), elements: None };
    Expr { kind: ExprKind::Const(constant), ty, declared }
}

/// Some value of a type whose equality is native, that stands where NULL must be told from it by other means; `None` for enums.
pub(crate) fn some_value(ty: types::PgType, declared: Oid, sql_type: &str) -> Option<Expr> {
    let (width, text) = match ty.oid {
        oid::BOOL => (1, "false"),
        oid::CHAR => (1, ""),
        oid::INT2 => (2, "0"),
        oid::INT4 | oid::OID | oid::FLOAT4 => (4, "0"),
        oid::DATE => (4, "2000-01-01"),
        oid::INT8 | oid::FLOAT8 | oid::NUMERIC => (8, "0"),
        oid::TIME => (8, "00:00"),
        oid::TIMESTAMP | oid::TIMESTAMPTZ => (8, "2000-01-01 00:00+00"),
        oid::INTERVAL => (16, "0"),
        oid::UUID => (16, "00000000-0000-0000-0000-000000000000"),
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::BYTEA => (0, ""),
        _ => return None,
    };
    let constant = Constant { value: Some(vec![0; width]), sql: format!("'{text}'::{sql_type}"), elements: None };
    Some(Expr { kind: ExprKind::Const(constant), ty, declared })
}

/// The content of a varlena with a 4-byte or 1-byte header; `None` when compressed or out of line.
pub(crate) fn varlena(bytes: &[u8]) -> Option<&[u8]> {
    let first = *bytes.first()?;
    if first & 1 == 1 {
        return (first != 1).then(|| bytes.get(1..usize::from(first >> 1))).flatten();
    }
    let header = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    (header & 2 == 0).then(|| bytes.get(4..(header >> 2) as usize)).flatten()
}

pub(crate) fn le<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.get(..N)?.try_into().ok()
}

/// `None` when the type's form in memory is not known here.
pub(crate) fn value(
    bytes: &[u8],
    base: Oid,
    declared: Oid,
    ty: types::PgType,
    sql_type: &str,
    catalog: &Catalog,
) -> Result<Option<Expr>, PlanError> {
    let mut elements = None;
    let typed = |text: &str| format!("{}::{sql_type}", quote_literal(text));
    let micros = |at: &str, n: i64| format!("({at} OPERATOR(pg_catalog.+) '{n} microseconds'::pg_catalog.interval)");
    let found: Option<(Vec<u8>, String)> = (|| {
        Some(match base {
            oid::BOOL => {
                let yes = *bytes.first()? != 0;
                (vec![u8::from(yes)], yes.to_string())
            }
            oid::INT2 => {
                let n = i16::from_le_bytes(le(bytes)?);
                (n.to_be_bytes().to_vec(), typed(&n.to_string()))
            }
            oid::INT4 => {
                let n = i32::from_le_bytes(le(bytes)?);
                (n.to_be_bytes().to_vec(), typed(&n.to_string()))
            }
            oid::INT8 => {
                let n = i64::from_le_bytes(le(bytes)?);
                (n.to_be_bytes().to_vec(), typed(&n.to_string()))
            }
            oid::OID => {
                let n = u32::from_le_bytes(le(bytes)?);
                (n.to_be_bytes().to_vec(), typed(&n.to_string()))
            }
            oid::FLOAT4 => {
                let n = f32::from_le_bytes(le(bytes)?);
                (n.to_be_bytes().to_vec(), typed(&float_text(f64::from(n), n.to_string())))
            }
            oid::FLOAT8 => {
                let n = f64::from_le_bytes(le(bytes)?);
                (n.to_be_bytes().to_vec(), typed(&float_text(n, format!("{n:e}"))))
            }
            UNKNOWN => (bytes.to_vec(), quote_literal(std::str::from_utf8(bytes).ok()?)),
            oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::JSON => {
                let text = std::str::from_utf8(bytes).ok()?;
                (bytes.to_vec(), typed(text))
            }
            oid::NAME => {
                let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
                (bytes[..end].to_vec(), typed(std::str::from_utf8(&bytes[..end]).ok()?))
            }
            oid::CHAR => {
                // A byte, in any encoding of the database; the casts go by its sign.
                let n = i8::from_le_bytes(le(bytes)?);
                (n.to_be_bytes().to_vec(), format!("('{n}'::pg_catalog.int4)::{sql_type}"))
            }
            oid::BYTEA => {
                let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                (bytes.to_vec(), format!("pg_catalog.decode('{hex}', 'hex')::{sql_type}"))
            }
            oid::UUID => {
                let hex: String = le::<16>(bytes)?.iter().map(|b| format!("{b:02x}")).collect();
                (bytes.to_vec(), typed(&hex))
            }
            oid::DATE => {
                let n = i32::from_le_bytes(le(bytes)?);
                let sql = match n {
                    i32::MAX => typed("infinity"),
                    i32::MIN => typed("-infinity"),
                    n => format!("('2000-01-01'::pg_catalog.date OPERATOR(pg_catalog.+) ({n}))"),
                };
                (n.to_be_bytes().to_vec(), sql)
            }
            oid::TIME => {
                let n = i64::from_le_bytes(le(bytes)?);
                let at = if n == 86_400_000_000 { typed("24:00") } else { micros("'00:00'::pg_catalog.time", n) };
                (n.to_be_bytes().to_vec(), at)
            }
            oid::TIMESTAMP | oid::TIMESTAMPTZ => {
                let n = i64::from_le_bytes(le(bytes)?);
                let sql = match n {
                    i64::MAX => typed("infinity"),
                    i64::MIN => typed("-infinity"),
                    n if base == oid::TIMESTAMP => micros("'2000-01-01'::pg_catalog.timestamp", n),
                    n => micros("'2000-01-01 00:00:00+00'::pg_catalog.timestamptz", n),
                };
                (n.to_be_bytes().to_vec(), sql)
            }
            oid::INTERVAL => {
                let micros = i64::from_le_bytes(le(bytes)?);
                let days = i32::from_le_bytes(le(bytes.get(8..)?)?);
                let months = i32::from_le_bytes(le(bytes.get(12..)?)?);
                let mut send = micros.to_be_bytes().to_vec();
                send.extend_from_slice(&days.to_be_bytes());
                send.extend_from_slice(&months.to_be_bytes());
                (send, format!("'{months:+} months {days:+} days {micros:+} microseconds'::pg_catalog.interval"))
            }
            oid::NUMERIC => {
                let send = numeric(bytes)?;
                let scalar::Datum::Numeric(n) = scalar::Datum::decode(oid::NUMERIC, &send).ok()? else { return None };
                let text = n.to_string();
                (send, format!("'{text}'::pg_catalog.numeric"))
            }
            TIMETZ => {
                let (micros, zone) = (i64::from_le_bytes(le(bytes)?), i32::from_le_bytes(le(bytes.get(8..)?)?));
                let mut send = micros.to_be_bytes().to_vec();
                send.extend_from_slice(&zone.to_be_bytes());
                (send, typed(&time_with_zone(micros, zone)))
            }
            BIT | VARBIT => {
                let (count, bits) = (u32::from_le_bytes(le(bytes)?), bytes.get(4..)?);
                let digit =
                    |i: u32| bits.get(i as usize / 8).map(|b| if b >> (7 - i % 8) & 1 == 1 { '1' } else { '0' });
                let text: String = (0..count).map(digit).collect::<Option<_>>()?;
                let mut send = count.to_be_bytes().to_vec();
                send.extend_from_slice(bits);
                (send, typed(&text))
            }
            INET | CIDR => {
                let (&[family, length], address) = bytes.split_first_chunk::<2>()?;
                let text = match family {
                    2 => std::net::Ipv4Addr::from(le::<4>(address)?).to_string(),
                    3 => std::net::Ipv6Addr::from(le::<16>(address)?).to_string(),
                    _ => return None,
                };
                let size = if family == 2 { 4 } else { 16 };
                let mut send = vec![family, length, u8::from(base == CIDR), size];
                send.extend_from_slice(address.get(..usize::from(size))?);
                (send, typed(&format!("{text}/{length}")))
            }
            oid::JSONB => {
                let text = jsonb::text(bytes)?;
                let mut send = vec![1];
                send.extend_from_slice(text.as_bytes());
                (send, typed(&text))
            }
            _ => return None,
        })
    })();
    let found = match found {
        Some(found) => Some(found),
        None => match catalog.types.get(&base) {
            Some(info) if info.is_enum => {
                let label = le(bytes).and_then(|b| catalog.enum_labels.get(&u32::from_le_bytes(b)));
                label.map(|l| (l.as_bytes().to_vec(), typed(l)))
            }
            Some(info) if info.is_range => range(bytes, info, catalog)?.map(|(send, sql)| {
                let sql = if base == declared { sql } else { format!("({sql})::{sql_type}") };
                (send, sql)
            }),
            Some(info) if info.element != 0 => array(bytes, info.element, catalog)?.map(|(send, list)| {
                let sql = list
                    .iter()
                    .map(|e| match &e.kind {
                        ExprKind::Const(c) => c.sql.clone(),
                        _ => String::new(),
                    })
                    .collect::<Vec<_>>()
                    .join(", ");
                elements = Some(list);
                (send, format!("ARRAY[{sql}]::{sql_type}"))
            }),
            _ => None,
        },
    };
    Ok(found.map(|(value, sql)| {
        let kind = ExprKind::Const(Constant { value: Some(value), sql, elements });
        Expr { kind, ty, declared }
    }))
}

/// As `12:34:56.789012-05:00:00`; the zone counts seconds to the west.
fn time_with_zone(micros: i64, zone: i32) -> String {
    let seconds = micros / 1_000_000;
    let west = zone.unsigned_abs();
    format!(
        "{:02}:{:02}:{:02}.{:06}{}{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        micros % 1_000_000,
        if zone > 0 { '-' } else { '+' },
        west / 3600,
        west / 60 % 60,
        west % 60
    )
}

fn float_text(n: f64, shortest: String) -> String {
    if n.is_nan() {
        "NaN".into()
    } else if n.is_infinite() {
        if n > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else {
        shortest
    }
}

/// A numeric with its varlena header to send format.
pub(crate) fn numeric_of_varlena(bytes: &[u8]) -> Option<Vec<u8>> {
    numeric(varlena(bytes)?)
}

/// numeric in memory (short and long header) to send format.
fn numeric(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = u16::from_le_bytes(le(bytes)?);
    let digits = |from: usize| -> Option<Vec<u16>> {
        bytes.get(from..)?.chunks_exact(2).map(|c| Some(u16::from_le_bytes(c.try_into().ok()?))).collect()
    };
    let (sign, dscale, weight, digits) = match header & 0xC000 {
        0x8000 => {
            let sign = if header & 0x2000 == 0 { 0x0000 } else { 0x4000 };
            let low = (header & 0x003F) as i16;
            let weight = if header & 0x0040 == 0 { low } else { low - 0x40 };
            (sign, (header & 0x1F80) >> 7, weight, digits(2)?)
        }
        0xC000 => (header & 0xF000, 0, 0, Vec::new()),
        sign => {
            let weight = i16::from_le_bytes(le(bytes.get(2..)?)?);
            (sign, header & 0x3FFF, weight, digits(4)?)
        }
    };
    let mut send = Vec::with_capacity(8 + digits.len() * 2);
    send.extend_from_slice(&(digits.len() as u16).to_be_bytes());
    send.extend_from_slice(&weight.to_be_bytes());
    send.extend_from_slice(&sign.to_be_bytes());
    send.extend_from_slice(&dscale.to_be_bytes());
    for digit in digits {
        send.extend_from_slice(&digit.to_be_bytes());
    }
    Some(send)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerics_in_memory_become_send_format() {
        // 12.50: short header, weight 0, display scale 2, digits 12 and 5000.
        let header: u16 = 0x8000 | (2 << 7);
        let mut bytes = header.to_le_bytes().to_vec();
        bytes.extend_from_slice(&12_u16.to_le_bytes());
        bytes.extend_from_slice(&5000_u16.to_le_bytes());
        assert_eq!(numeric(&bytes).unwrap(), [0, 2, 0, 0, 0, 0, 0, 2, 0, 12, 0x13, 0x88]);
        assert_eq!(numeric(&0xC000_u16.to_le_bytes()).unwrap(), [0, 0, 0, 0, 0xC0, 0, 0, 0]);
        assert_eq!(numeric(&[0]), None);
    }
}
