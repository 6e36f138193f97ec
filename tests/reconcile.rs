//! Tables read again on request, as much of them as is asked for, while the cuts go on; and those that the cluster's shape asks for,
//! when that takes long or differs by much.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use testkit::{
    Bank, Cluster, Daemon, DaemonOptions, Kind, Least, TableKind, TableSpec, assert_exact, citus_available, cli, kinds,
    seed,
};
use tributary_tests::shards::{Shards, counter};
use tributary_tests::{change_unseen, create, in_state, long};

const PER_KIND: (&str, &str) =
    ("per_kind", "SELECT kind, count(*) AS n, sum(amount) AS total FROM items GROUP BY kind");
const PER_OTHER: (&str, &str) =
    ("per_other", "SELECT kind, count(*) AS n, max(amount) AS most FROM others GROUP BY kind");
const BOTH: (&str, &str) =
    ("both", "SELECT i.id, i.amount + o.amount AS amount FROM items i JOIN others o USING (id) WHERE i.kind < 3");

/// Two tables spread over the nodes, with rows.
async fn cluster(kind: Kind) -> Cluster {
    let cluster = Cluster::start(kind).await.unwrap();
    for name in ["items", "others"] {
        let columns = "id int, kind int, amount bigint";
        let spec =
            TableSpec { name, columns, primary_key: "id", kind: TableKind::Distributed("id"), colocate_with: None };
        cluster.create_table(&spec).await.unwrap();
        let rows = format!("INSERT INTO {name} SELECT i, i % 7, i * 3 FROM generate_series(1, 3000) i");
        cluster.run(&rows).await.unwrap();
    }
    cluster
}

/// Rows read and rows that differed, as the command line says it.
async fn reconcile(daemon: &Daemon, scope: &[&str]) -> (u64, u64) {
    let said =
        cli(daemon, &[&["stream", "rebuild", "--reconcile"], scope].concat()).await.unwrap().ok().unwrap().stdout;
    let numbers = said.lines().next().unwrap().replace(',', "");
    let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!(numbers.len(), 2, "{said}");
    (numbers[0], numbers[1])
}

async fn is_exact(daemon: &Daemon) -> bool {
    cli(daemon, &["stream", "verify"]).await.unwrap().code == Some(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn as_much_is_read_again_as_is_asked_for_and_what_differs_is_healed() {
    for kind in kinds() {
        let cluster = cluster(kind).await;
        let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, &[PER_KIND, PER_OTHER, BOTH]).await.unwrap();
        let change = "DELETE FROM PART WHERE id % 3 = 0; UPDATE PART SET amount = amount + 1000 WHERE id % 3 = 1";
        let first = change_unseen(&cluster, 1, "items", change).await.unwrap();
        change_unseen(&cluster, 2, "items", change).await.unwrap();
        assert!(!is_exact(&daemon).await, "{kind:?}: the change was seen");

        let (read, differing) = reconcile(&daemon, &["--table", "others"]).await;
        assert_eq!((read, differing), (3000, 0), "{kind:?}");
        let (read, differing) = reconcile(&daemon, &["per_kind", "--node", "2"]).await;
        assert!(read < 2500 && differing > 100, "{kind:?}: {read}, {differing}");
        assert!(!is_exact(&daemon).await, "{kind:?}: node 1 was healed, too");
        // A table where it lies, and only that.
        let before = differing;
        let (read, differing) = match kind {
            Kind::Citus => {
                let shard = first.rsplit('_').next().unwrap();
                reconcile(&daemon, &["--shard", shard]).await
            }
            Kind::Fdw | Kind::Single => reconcile(&daemon, &["--table", "public.items", "--node", "1"]).await,
        };
        assert!(read < 2500 && differing > 10 && differing < before * 10, "{kind:?}: {read}, {differing}");
        assert!(is_exact(&daemon).await, "{kind:?}");
        let (_, differing) = reconcile(&daemon, &["--all"]).await;
        assert_eq!(differing, 0, "{kind:?}");
        cluster.run("UPDATE items SET kind = kind + 1 WHERE id % 5 = 0").await.unwrap();
        // PostgreSQL over plain copies of what is there now.
        assert_exact(&cluster, &daemon, &[PER_KIND, PER_OTHER, BOTH]).await.unwrap();

        for scope in [&["per_kind", "--table", "others"][..], &["--shard", "1"], &["--node", "9"]] {
            let refused = cli(&daemon, &[&["stream", "rebuild", "--reconcile"], scope].concat()).await.unwrap();
            assert!(refused.code == Some(1) && refused.stderr.contains("nothing like that is kept"), "{refused:?}");
        }
        let misused = cli(&daemon, &["stream", "rebuild", "per_kind", "--node", "1"]).await.unwrap();
        assert!(misused.code == Some(2) && misused.stderr.contains("--reconcile"), "{misused:?}");
        // Nothing is left of the copies.
        let notes = cli(&daemon, &["status", "--json"]).await.unwrap().ok().unwrap().stdout;
        assert!(!notes.contains("read again"), "{notes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_while_tables_are_read_again_on_request() {
    for kind in kinds() {
        let cluster = cluster(kind).await;
        let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, &[PER_KIND, PER_OTHER]).await.unwrap();
        daemon.stop().await.unwrap();
        // As if there were much to read.
        daemon.arm(Some("backfill-before-finish=return(1500)"));
        daemon.start().await.unwrap();
        let change = "UPDATE PART SET amount = amount + 1";
        change_unseen(&cluster, 1, "items", change).await.unwrap();
        let (started, mut waits) = (Instant::now(), 0);
        let asked = reconcile(&daemon, &["--all"]);
        let written = async {
            while started.elapsed() < Duration::from_secs(3) {
                // The hidden change does not come with these: other rows.
                cluster.run("UPDATE others SET amount = amount + 1 WHERE id < 50").await.unwrap();
                let wait = ["wait", "--stream", "per_other", "--timeout", "1s"];
                cli(&daemon, &wait).await.unwrap().ok().unwrap();
                waits += 1;
            }
            started.elapsed()
        };
        let ((_, differing), written) = tokio::join!(asked, written);
        assert!(started.elapsed() > written && waits > 3, "{kind:?}: {waits} waits");
        assert!(differing > 0, "{kind:?}");
        assert_exact(&cluster, &daemon, &[PER_KIND, PER_OTHER]).await.unwrap();
    }
}

/// What is right stays so, and is found to be right, whatever is written and wherever shards go meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_differs_while_money_and_shards_move() {
    for kind in kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        let bank = Bank::create(&cluster, 300).await.unwrap();
        let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, &Bank::STREAM_TABLES).await.unwrap();
        let seed = seed();
        let mut random = StdRng::seed_from_u64(seed);
        let rounds = if long() { 60 } else { 4 };
        let least = Least { transfers: 20, moves: 10, reads: 30, wrong: 0, own_reads: 0, own_wrong: 0 };
        let readings = async {
            for round in 0..rounds {
                let asked = reconcile(&daemon, &["--all"]);
                let moved = async {
                    if kind == Kind::Citus {
                        let shards = Shards::of(&cluster, "accounts").await.unwrap();
                        let mode = if round % 2 == 0 { "force_logical" } else { "block_writes" };
                        shards.move_one(&mut random, mode).await.unwrap();
                    }
                };
                let ((read, differing), ()) = tokio::join!(asked, moved);
                assert!(read >= 300 && differing == 0, "{kind:?}, seed {seed}: {read} rows read, {differing} differ");
            }
            Ok(())
        };
        let report = bank.run_until(least, seed, readings).await.unwrap();
        println!("{kind:?}, seed {seed}: {} transfers, {} reads", report.transfers, report.reads);
        assert!(report.reads >= least.reads && report.transfers >= least.transfers, "{kind:?}, seed {seed}");
        // Over postgres_fdw a transfer between nodes is no transaction.
        let wrong = if kind == Kind::Citus { &report.wrong[..] } else { &[] };
        assert!(wrong.is_empty(), "seed {seed}: {} reads, {:?}", report.reads, &wrong[..wrong.len().min(5)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_difference_is_taken_over_reads_nothing_twice() {
    for kind in kinds() {
        let cluster = cluster(kind).await;
        let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, &[PER_KIND, PER_OTHER]).await.unwrap();
        daemon.stop().await.unwrap();
        daemon.arm(Some("reconcile-before-compare=panic"));
        daemon.start().await.unwrap();
        change_unseen(&cluster, 1, "items", "DELETE FROM PART WHERE id % 2 = 0").await.unwrap();
        let ended = cli(&daemon, &["stream", "rebuild", "--reconcile", "--all"]).await.unwrap();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        daemon.wait_for_end(Duration::from_secs(60)).await.unwrap();
        cluster.run("UPDATE items SET amount = amount + 7 WHERE id % 4 = 1").await.unwrap();
        daemon.arm(None);
        daemon.start().await.unwrap();
        // Nobody asks again.
        let deadline = Instant::now() + Duration::from_secs(60);
        while counter(&daemon, "tributary_rows_differing_total").await.unwrap() == 0 {
            assert!(Instant::now() < deadline, "{kind:?}: not healed\n{}", daemon.log_tail());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(counter(&daemon, "tributary_rows_read_again_total").await.unwrap(), 0, "{kind:?}");
        assert_exact(&cluster, &daemon, &[PER_KIND, PER_OTHER]).await.unwrap();
    }
}

/// A copy that a move left behind is of no use to the next process either.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_shard_went_elsewhere_is_not_taken_over_behind_a_crash() {
    if !citus_available() {
        return;
    }
    let cluster = cluster(Kind::Citus).await;
    let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &[PER_KIND, BOTH]).await.unwrap();
    daemon.stop().await.unwrap();
    // Copies wait for long, and no move is noticed in time.
    daemon.arm(Some("reconcile-before-compare=return(60000);shape-guest-not-received=return"));
    daemon.start().await.unwrap();
    let asked = async {
        let ended = cli(&daemon, &["stream", "rebuild", "--reconcile", "--all"]).await.unwrap();
        assert_eq!(ended.code, Some(1), "{ended:?}");
    };
    let pid = daemon.pid().unwrap();
    let moved = async {
        let deadline = Instant::now() + Duration::from_secs(30);
        while counter(&daemon, "tributary_rows_read_again_total").await.unwrap() < 6000 {
            assert!(Instant::now() < deadline, "{}", daemon.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let shards = Shards::of(&cluster, "items").await.unwrap();
        shards.move_one(&mut StdRng::seed_from_u64(seed()), "block_writes").await.unwrap();
        cluster.run("UPDATE items SET amount = amount + 1, kind = 6 - kind").await.unwrap();
        cli(&daemon, &["wait", "--timeout", "30s"]).await.unwrap().ok().unwrap();
        let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
        assert!(killed.success());
    };
    tokio::join!(asked, moved);
    daemon.wait_for_end(Duration::from_secs(30)).await.unwrap();
    daemon.arm(None);
    daemon.start().await.unwrap();
    // It goes on with the request: what is of no use is read again.
    let deadline = Instant::now() + Duration::from_secs(60);
    let finished = "that an earlier process was asked to read were read again";
    while !std::fs::read_to_string(daemon.log()).unwrap().contains(finished) {
        assert!(Instant::now() < deadline, "{}", daemon.log_tail());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(counter(&daemon, "tributary_rows_differing_total").await.unwrap(), 0);
    let read = counter(&daemon, "tributary_rows_read_again_total").await.unwrap();
    assert!(read > 0 && read < 6000, "{read}");
    assert_exact(&cluster, &daemon, &[PER_KIND, BOTH]).await.unwrap();
}

/// A table of this many rows that is not distributed yet, beside one that is.
async fn undistributed(rows: u32) -> Cluster {
    let cluster = cluster(Kind::Citus).await;
    cluster.run("CREATE TABLE plain (id int PRIMARY KEY, kind int, amount bigint)").await.unwrap();
    let rows = format!("INSERT INTO plain SELECT i, i % 7, i FROM generate_series(1, {rows}) i");
    cluster.run(&rows).await.unwrap();
    cluster
}

const PLAIN: (&str, &str) = ("per_plain", "SELECT kind, count(*) AS n, sum(amount) AS total FROM plain GROUP BY kind");
const PLAIN_TOO: (&str, &str) =
    ("plain_too", "SELECT p.id, p.amount, o.amount AS other FROM plain p JOIN others o USING (id)");

#[tokio::test(flavor = "multi_thread")]
async fn a_long_reading_stops_only_who_needs_it_and_they_come_back_by_themselves() {
    takes_long("mend-read=return(8000)").await;
}

/// A table's server is away, for one.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_look_for_tables_stops_only_who_needs_them() {
    // The two sources are looked at once when they are new.
    takes_long("mend-look=2*off->1*return(8000)->off").await;
}

async fn takes_long(failpoint: &str) {
    if !citus_available() {
        return;
    }
    let cluster = undistributed(2000).await;
    let options = DaemonOptions { args: vec!["--hold-limit".into(), "300ms".into()], ..DaemonOptions::default() };
    let daemon = Daemon::standalone(&cluster, options.failpoint(failpoint)).await.unwrap();
    create(&daemon, &[PLAIN, PER_OTHER, PLAIN_TOO]).await.unwrap();
    cli(&daemon, &["wait"]).await.unwrap().ok().unwrap();
    let started = Instant::now();
    cluster.run("SELECT create_distributed_table('plain', 'id')").await.unwrap();
    cluster.run("UPDATE others SET amount = amount + 1 WHERE id < 50").await.unwrap();
    cli(&daemon, &["wait", "--stream", "per_other", "--timeout", "5s"]).await.unwrap().ok().unwrap();
    assert!(started.elapsed() < Duration::from_secs(8), "it waited for the reading: {:?}", started.elapsed());
    let log = std::fs::read_to_string(daemon.log()).unwrap();
    assert!(log.contains("takes longer than 300ms"), "{}", daemon.log_tail());
    cluster.run("UPDATE plain SET amount = amount + 1 WHERE id < 50").await.unwrap();
    for table in [PLAIN, PLAIN_TOO] {
        in_state(&daemon, table.0, "active").await.unwrap();
    }
    assert_exact(&cluster, &daemon, &[PLAIN, PER_OTHER, PLAIN_TOO]).await.unwrap();
}

/// There is nobody to go on: nothing is given up, and status says how far the reading is.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_reading_that_all_stream_tables_need_is_waited_for_and_shown() {
    if !citus_available() {
        return;
    }
    let cluster = undistributed(2000).await;
    let options = DaemonOptions { args: vec!["--hold-limit".into(), "300ms".into()], ..DaemonOptions::default() };
    let daemon = Daemon::standalone(&cluster, options.failpoint("mend-read=return(4000)")).await.unwrap();
    create(&daemon, &[PLAIN]).await.unwrap();
    cluster.run("SELECT create_distributed_table('plain', 'id')").await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let status = cli(&daemon, &["status"]).await.unwrap().ok().unwrap().stdout;
        if status.contains("read again: ") && status.contains(" rows of node 1 (all)") {
            break;
        }
        assert!(Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_exact(&cluster, &daemon, &[PLAIN]).await.unwrap();
    let log = std::fs::read_to_string(daemon.log()).unwrap();
    assert!(!log.contains("takes longer than"), "{}", daemon.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_that_no_cut_can_hold_is_computed_again_instead() {
    if !citus_available() {
        return;
    }
    let cluster = undistributed(20_000).await;
    let options = DaemonOptions { args: vec!["--queue-bytes".into(), "200KiB".into()], ..DaemonOptions::default() };
    let mut daemon =
        Daemon::standalone(&cluster, options.failpoint("backfill-before-finish=1*off->panic")).await.unwrap();
    create(&daemon, &[PLAIN]).await.unwrap();
    // It ends while it computes again what stopped, and the next process does that.
    cluster.run("SELECT create_distributed_table('plain', 'id')").await.unwrap();
    daemon.wait_for_end(Duration::from_secs(60)).await.unwrap();
    let log = std::fs::read_to_string(daemon.log()).unwrap();
    assert!(log.contains("differs by more than one cut can hold"), "{}", daemon.log_tail());
    daemon.arm(None);
    daemon.start().await.unwrap();
    in_state(&daemon, PLAIN.0, "active").await.unwrap();
    cluster.run("UPDATE plain SET amount = amount + 1 WHERE id < 50").await.unwrap();
    assert_exact(&cluster, &daemon, &[PLAIN]).await.unwrap();
    // Between the two writes of giving a source up, and before what reads it is computed again.
    daemon.stop().await.unwrap();
    daemon.arm(Some("engine-gives-up=panic"));
    daemon.start().await.unwrap();
    cluster.run("SELECT undistribute_table('plain')").await.unwrap();
    daemon.wait_for_end(Duration::from_secs(60)).await.unwrap();
    cluster.run("UPDATE plain SET amount = amount + 1 WHERE id > 19000").await.unwrap();
    daemon.arm(None);
    daemon.start().await.unwrap();
    in_state(&daemon, PLAIN.0, "active").await.unwrap();
    assert_exact(&cluster, &daemon, &[PLAIN]).await.unwrap();
    create(&daemon, &[PER_OTHER]).await.unwrap();
    let (_, differing) = reconcile(&daemon, &["--all"]).await;
    assert_eq!(differing, 0);
}
