//! A cluster on which nothing happens costs nothing: no CPU, and no WAL held back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use testkit::{Cluster, Daemon, DaemonOptions, kinds};
use tributary_tests::{QUERIES, create, shop};

/// CPU seconds that a process has used; the kernel counts in hundredths.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Bytes of WAL behind each node's slots that are not confirmed.
async fn unconfirmed(cluster: &Cluster) -> Vec<i64> {
    let mut bytes = Vec::new();
    for node in 0..cluster.nodes().len() {
        let client = cluster.client_of(node).await.unwrap();
        let sql = "SELECT max(pg_current_wal_lsn() - confirmed_flush_lsn)::bigint FROM pg_replication_slots
                   WHERE slot_name = 'tributary_default'";
        bytes.push(client.query_one(sql, &[]).await.unwrap().get::<_, Option<i64>>(0).expect("no slot"));
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_daemon_uses_no_cpu_and_lets_the_slots_advance() {
    for kind in kinds() {
        let (cluster, _) = shop(kind, 1, 200).await.unwrap();
        let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, &QUERIES[..4]).await.unwrap();
        // WAL that concerns no stream table.
        cluster.run_everywhere("CREATE TABLE elsewhere (id int, text text)").await.unwrap();
        let fill = "INSERT INTO elsewhere SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i";
        cluster.run_everywhere(fill).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..300 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            held = unconfirmed(&cluster).await;
            if held.iter().all(|bytes| *bytes < 100_000) {
                break;
            }
        }
        assert!(held.iter().all(|bytes| *bytes < 100_000), "{kind:?}: the slots hold back {held:?} bytes");
        tokio::time::sleep(Duration::from_secs(2)).await;
        // The least of some looks: beside other work the same steps take more of a processor's time.
        let (pid, seconds) = (daemon.pid().unwrap(), 10.0);
        let mut share = f64::MAX;
        for _ in 0..4 {
            let before = cpu_seconds(pid);
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            share = share.min((cpu_seconds(pid) - before) / seconds);
            println!("{kind:?}: idle: {:.2} % of a CPU", share * 100.0);
            if share < 0.02 {
                break;
            }
        }
        assert!(share < 0.02, "{kind:?}: idle, and {:.1} % of a CPU", share * 100.0);
    }
}
