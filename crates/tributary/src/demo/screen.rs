//! What the reader sees: lines that stay, and on a terminal a panel that is drawn over and over.
//!
//! Where standard output is no terminal there are plain lines only. A reader who has gone away is no reason to stop.

use std::io::{IsTerminal, Write};

/// Standard output.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: bool,
    width: usize,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let width = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self { terminal: std::io::stdout().is_terminal() && !dumb, width: width.unwrap_or(80) }
    }

    /// Whether panels can be drawn.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes a line that stays.
    pub(crate) fn line(&self, line: &str) {
        write(&format!("{line}\n"));
    }

    /// Draws a panel over the one before, which had `drawn` lines; gives how many lines it has.
    pub(crate) fn draw(&self, lines: &[String], drawn: usize) -> usize {
        write(&panel(lines, drawn, self.width));
        lines.len()
    }
}

/// The bytes that draw `lines` over the `drawn` lines above the cursor.
fn panel(lines: &[String], drawn: usize, width: usize) -> String {
    let mut out = if drawn > 0 { format!("\x1b[{drawn}A") } else { String::new() };
    for line in lines {
        // A line that wraps would make the panel higher than it knows.
        let cut: String = line.chars().take(width).collect();
        out.push_str(&format!("\r\x1b[K{cut}\n"));
    }
    out
}

fn write(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _closed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// `[#####-----]`, `done` of `total`.
pub(crate) fn bar(done: f64, total: f64, width: usize) -> String {
    let share = if total > 0.0 { (done / total).clamp(0.0, 1.0) } else { 1.0 };
    let full = (share * width as f64).round() as usize;
    format!("[{}{}]", "#".repeat(full), "-".repeat(width - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_is_drawn_over_the_one_before_and_no_line_wraps() {
        assert_eq!(panel(&["ab".into()], 0, 80), "\r\x1b[Kab\n");
        assert_eq!(panel(&["abc".into(), "d".into()], 2, 2), "\x1b[2A\r\x1b[Kab\n\r\x1b[Kd\n");
    }

    #[test]
    fn a_bar_shows_its_share() {
        assert_eq!(bar(5.0, 10.0, 4), "[##--]");
        assert_eq!(bar(11.0, 10.0, 4), "[####]");
        assert_eq!(bar(0.0, 0.0, 2), "[##]");
    }
}
