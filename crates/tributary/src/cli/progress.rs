//! A first read as it goes on: one line that is written over on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use proto::v1::create_stream_table_progress::Kind;
use proto::v1::{CreateStreamTableProgress, ReadProgress, Reconciled, StreamTable};
use tonic::Streaming;

use crate::cli::client::refused;
use crate::cli::text;

/// How often a line is written where lines stay.
const LINES: Duration = Duration::from_secs(2);

/// What a request ends with.
#[derive(Debug, Default)]
pub(crate) struct End {
    pub(crate) reconciled: Option<Reconciled>,
    pub(crate) table: Option<StreamTable>,
}

/// Shows progress until the table comes, which is given back.
pub(crate) async fn follow(stream: Streaming<CreateStreamTableProgress>) -> anyhow::Result<StreamTable> {
    let table = follow_all(stream).await?.table;
    table.ok_or_else(|| anyhow!("the daemon ended the call without an answer; see its log"))
}

/// Shows progress until the call ends.
pub(crate) async fn follow_all(mut stream: Streaming<CreateStreamTableProgress>) -> anyhow::Result<End> {
    let (mut view, mut end) = (View::new(), End::default());
    let result = loop {
        match stream.message().await.map(|message| message.map(|m| m.kind)) {
            Ok(Some(Some(Kind::Read(read)))) => view.show(&read),
            Ok(Some(Some(Kind::Reconciled(reconciled)))) => end.reconciled = Some(reconciled),
            Ok(Some(Some(Kind::Done(table)))) => end.table = Some(table),
            Ok(Some(None)) => {}
            Ok(None) => break Ok(end),
            Err(status) => break Err(refused(status)),
        }
    };
    view.clear();
    result
}

struct View {
    terminal: bool,
    last: Option<Instant>,
    shown: bool,
}

impl View {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), last: None, shown: false }
    }

    fn show(&mut self, read: &ReadProgress) {
        let line = line(read);
        if self.terminal {
            write(&format!("\r\x1b[K{line}"));
            self.shown = true;
        } else if !read.nodes.is_empty() && self.last.is_none_or(|last| last.elapsed() >= LINES) {
            // What is refused is refused before anything is read: then the reason is the only line.
            write(&format!("{line}\n"));
            self.last = Some(Instant::now());
        }
    }

    fn clear(&mut self) {
        if self.shown {
            write("\r\x1b[K");
        }
    }
}

/// Progress that nobody sees is no reason to stop.
fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _closed = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

fn line(read: &ReadProgress) -> String {
    let node = |n: &proto::v1::NodeRead| {
        let done = if n.done { " done" } else { "" };
        format!("node {}: {} {}{done}", n.node, text::rows(n.rows), text::bytes(n.bytes))
    };
    let nodes: Vec<_> = read.nodes.iter().map(node).collect();
    if nodes.is_empty() { read.phase.clone() } else { format!("{}  {}", read.phase, nodes.join("  ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::v1::NodeRead;

    #[test]
    fn a_line_says_what_was_read_node_by_node() {
        let read = ReadProgress {
            phase: "reading".into(),
            nodes: vec![
                NodeRead { node: 1, rows: 1200, bytes: 2048, done: true },
                NodeRead { node: 2, rows: 1, bytes: 10, done: false },
            ],
        };
        assert_eq!(line(&read), "reading  node 1: 1,200 rows 2.0 KiB done  node 2: 1 row 10 B");
        assert_eq!(line(&ReadProgress { phase: "planning".into(), nodes: vec![] }), "planning");
    }
}
