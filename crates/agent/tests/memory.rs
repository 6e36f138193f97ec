//! A transaction of any size passes through bounded memory. Alone in its process, whose memory is measured.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod fake;

use std::time::Duration;

use fake::{Aggregator, Mirror, spawn, subscription};
use proto::v1;
use testkit::{Cluster, Kind};

fn resident_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_waits_in_postgresql_while_the_aggregator_does_not_read() {
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    cluster.run("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    let mut aggregator = Aggregator::start().await;
    let _agent = spawn(&cluster.url(), &aggregator.address);
    let mut up = aggregator.attached().await;
    let mut mirror = Mirror::default();
    up.start_fresh(vec![subscription(7, "t")], &mut mirror).await;
    let before = resident_mebibytes();
    const ROWS: usize = 1_000_000;
    cluster.run(&format!("INSERT INTO t SELECT i, repeat('x', 300) FROM generate_series(1, {ROWS}) i")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let waiting = resident_mebibytes();
    // Now it reads, and looks at nothing but sizes.
    let (mut rows, mut bytes, mut highest, mut largest) = (0, 0, waiting, 0);
    let began = std::time::Instant::now();
    'reading: loop {
        let Some(proto::v1::agent_message::Kind::Events(events)) = up.next().await else { continue };
        largest = largest.max(prost_length(&events));
        for event in events.events {
            match event.kind.unwrap() {
                v1::event::Kind::Piece(mut piece) => {
                    bytes += piece.changes.len();
                    while types::Change::decode(&mut piece.changes).unwrap().is_some() {
                        rows += 1;
                    }
                }
                v1::event::Kind::Commit(_) => break 'reading,
                _ => {}
            }
        }
        highest = highest.max(resident_mebibytes());
    }
    eprintln!(
        "{rows} rows, {} MiB in {:?}; resident {before} MiB before, {waiting} while nobody read, {highest} at most",
        bytes >> 20,
        began.elapsed()
    );
    assert_eq!(rows, ROWS);
    assert!(largest < 600 << 10, "a message of {largest} bytes");
    assert!(bytes > 300 << 20 && highest < before + 128, "from {before} to {highest} MiB");
}

fn prost_length(events: &v1::Events) -> usize {
    events.events.iter().map(|e| if let Some(v1::event::Kind::Piece(p)) = &e.kind { p.changes.len() } else { 64 }).sum()
}
