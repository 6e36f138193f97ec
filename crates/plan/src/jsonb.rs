//! jsonb as it lies in the server's memory, to its text.

/// A container's bytes (its varlena header is off) as JSON text; `None` when damaged.
pub(crate) fn text(bytes: &[u8]) -> Option<String> {
    let mut out = String::new();
    container(bytes, &mut out, 0)?;
    Some(out)
}

const COUNT: u32 = 0x0FFF_FFFF;
const SCALAR: u32 = 0x1000_0000;
const OBJECT: u32 = 0x2000_0000;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn container(bytes: &[u8], out: &mut String, depth: usize) -> Option<()> {
    if depth > 256 {
        return None;
    }
    let header = word(bytes, 0)?;
    let count = (header & COUNT) as usize;
    let is_object = header & OBJECT != 0;
    let entries = if is_object { count * 2 } else { count };
    let base = 4 + entries * 4;
    // Each entry holds its length, or every so often its end.
    let mut parts = Vec::with_capacity(entries);
    let mut offset = 0_usize;
    for i in 0..entries {
        let entry = word(bytes, 4 + i * 4)?;
        let number = (entry & COUNT) as usize;
        let end = if entry & 0x8000_0000 != 0 { number } else { offset + number };
        parts.push((entry & 0x7000_0000, offset, end));
        offset = end;
    }
    let value = |i: usize, out: &mut String| -> Option<()> {
        let &(kind, start, end) = parts.get(i)?;
        let aligned = |at: usize| (base + at).div_ceil(4) * 4;
        match kind {
            0x0000_0000 => {
                let text = std::str::from_utf8(bytes.get(base + start..base + end)?).ok()?;
                out.push_str(&serde_json::to_string(text).ok()?);
            }
            0x1000_0000 => {
                let content = bytes.get(aligned(start)..base + end)?;
                out.push_str(&number(content)?);
            }
            0x2000_0000 => out.push_str("false"),
            0x3000_0000 => out.push_str("true"),
            0x4000_0000 => out.push_str("null"),
            0x5000_0000 => container(bytes.get(aligned(start)..base + end)?, out, depth + 1)?,
            _ => return None,
        }
        Some(())
    };
    if header & SCALAR != 0 {
        return value(0, out);
    }
    out.push(if is_object { '{' } else { '[' });
    for i in 0..count {
        if i > 0 {
            out.push_str(", ");
        }
        value(i, out)?;
        if is_object {
            out.push_str(": ");
            value(count + i, out)?;
        }
    }
    out.push(if is_object { '}' } else { ']' });
    Some(())
}

/// A numeric with its varlena header.
fn number(bytes: &[u8]) -> Option<String> {
    let send = crate::constant::numeric_of_varlena(bytes)?;
    match scalar::Datum::decode(types::oid::NUMERIC, &send).ok()? {
        scalar::Datum::Numeric(n) => Some(n.to_string()),
        _ => None,
    }
}
