//! Numbers and tables as people read them.

use types::Lsn;

/// `1,234,567`
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `12 rows`, `1 row`
pub(crate) fn rows(n: u64) -> String {
    format!("{} row{}", number(n), if n == 1 { "" } else { "s" })
}

/// `1.5 MiB`
pub(crate) fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// `4.2 ms`, `1.3 s`
pub(crate) fn seconds(s: f64) -> String {
    if s < 1.0 { format!("{:.1} ms", s * 1000.0) } else { format!("{s:.1} s") }
}

/// A WAL position; `-` for none.
pub(crate) fn position(lsn: u64) -> String {
    if lsn == 0 { "-".into() } else { Lsn(lsn).to_string() }
}

/// Lines with columns below each other; the last column is as long as it is.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<_> = cells.zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut header.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_have_units() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1023, 1024, 1_572_864].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 MiB"]);
        assert_eq!((rows(1), rows(2)), ("1 row".into(), "2 rows".into()));
        assert_eq!((seconds(0.0042), seconds(1.26)), ("4.2 ms".into(), "1.3 s".into()));
    }

    #[test]
    fn columns_stand_below_each_other() {
        let text = table(&["a", "long"], &[vec!["xyz".into(), "1".into()], vec!["ä".into(), String::new()]]);
        assert_eq!(text, "a    long\nxyz  1\nä");
    }
}
