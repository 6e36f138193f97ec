//! Stream tables of consistency per-node go on with the nodes that are there, atomic ones beside them wait, and both are exact
//! when all nodes are back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use testkit::{
    Bank, Cluster, ClusterOptions, Daemon, DaemonOptions, Kind, assert_exact, citus_available, cli, kinds, seed,
};
use tributary_tests::halves::{HANGING, Hanging};
use tributary_tests::in_state;
use tributary_tests::shards::{Shards, counter};

const BY_ACCOUNT: &str = "SELECT id, balance FROM accounts";
const TOTAL: &str = "SELECT sum(balance) AS total, count(*) AS accounts FROM accounts";
const ATOMIC: [(&str, &str); 2] = [("by_account", BY_ACCOUNT), ("bank_total", TOTAL)];
const PER_NODE: [(&str, &str); 2] = [("fresh", BY_ACCOUNT), ("fresh_total", TOTAL)];

async fn create_per_node(daemon: &Daemon) {
    for (name, query) in PER_NODE {
        let arguments = ["stream", "create", name, "--query", query, "--consistency", "per-node"];
        cli(daemon, &arguments).await.unwrap().ok().unwrap();
    }
}

/// Over `postgres_fdw` the daemon has to be told of the bank's transactions.
fn options(kind: Kind) -> DaemonOptions {
    let args = ["--gid-pattern", Bank::GID_PATTERN].map(String::from);
    let args = if kind == Kind::Fdw { args.to_vec() } else { Vec::new() };
    DaemonOptions { args, ..DaemonOptions::default() }
}

async fn both_exact(cluster: &Cluster, daemon: &Daemon, atomic: &[(&str, &str)]) {
    assert_exact(cluster, daemon, atomic).await.unwrap();
    assert_exact(cluster, daemon, &PER_NODE).await.unwrap();
    let verified = cli(daemon, &["stream", "verify"]).await.unwrap();
    assert_eq!(verified.stdout.matches("is exact").count(), atomic.len() + PER_NODE.len(), "{verified:?}");
}

/// Slots and publications of consistency per-node on one node.
async fn left_on(cluster: &Cluster, node: usize) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE '%\\_pernode%')
                    + (SELECT count(*) FROM pg_publication WHERE pubname LIKE '%\\_pernode%')";
    cluster.client_of(node).await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

async fn becomes_gone(cluster: &Cluster, node: usize) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while left_on(cluster, node).await > 0 {
        assert!(tokio::time::Instant::now() < deadline, "node {node} still has slot or publications");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_the_nodes_that_are_there_while_atomic_ones_wait_and_both_are_exact_in_the_end() {
    for kind in kinds() {
        shows_the_nodes_that_are_there(kind).await;
    }
}

async fn shows_the_nodes_that_are_there(kind: Kind) {
    let mut it = Hanging::begin_on(kind, &ATOMIC, DaemonOptions::default()).await;
    create_per_node(&it.daemon).await;
    let [[(from, _), (behind, _)], [(to, _), _]] = it.accounts.clone();
    it.prepare().await;
    it.decide().await;
    let first = it.cluster.client_of(1).await.unwrap();
    first.batch_execute(&format!("COMMIT PREPARED '{}'", HANGING[0])).await.unwrap();
    // The half that is there.
    it.becomes_in("fresh", from, 900).await;
    // A process that has not read the node cannot know of its branch, unless Citus's list names it.
    let waits = |round| match (kind, round) {
        (Kind::Citus, _) => format!("waiting for node 2: COMMIT PREPARED of {}", HANGING[1]),
        (_, 1) => format!("waiting for node 2: the decision of prepared {}", HANGING[1]),
        _ => "waiting for node 2: its stream up to now".to_owned(),
    };
    it.says(&waits(1)).await;
    it.cluster.stop_immediate(2).await.unwrap();
    for round in 1..=2 {
        it.add(behind, 7).await;
        it.becomes_in("fresh", behind, 1000 + 7 * round).await;
        let trouble = if round == 1 { "cannot reach" } else { "no agent has attached yet" };
        it.says(trouble).await;
        assert_eq!([it.seen(from).await, it.seen(to).await, it.seen(behind).await], [1000; 3]);
        let wanted = waits(round);
        it.comes_to_say(&format!("atomic ones {wanted}, the others for nothing"), |said| {
            let (atomic, per_node) = said.split_once("consistency per-node").unwrap_or_else(|| panic!("{said}"));
            atomic.contains(&wanted) && !per_node.contains("waiting for") && per_node.contains(trouble)
        })
        .await;
        let waited = cli(&it.daemon, &["wait", "--stream", "fresh"]).await.unwrap().ok().unwrap();
        assert!(waited.stdout.contains("away: 2"), "{waited:?}");
        let waited = cli(&it.daemon, &["wait", "--stream", "by_account", "--timeout", "1s"]).await.unwrap();
        assert_eq!(waited.code, Some(1), "{waited:?}");
        if round == 1 {
            it.daemon.kill9().await.unwrap();
            it.daemon.start_unready().await.unwrap();
        }
    }
    it.cluster.start_node(2).await.unwrap();
    it.recover(1).await;
    both_exact(&it.cluster, &it.daemon, &ATOMIC).await;
    assert_eq!([it.seen(from).await, it.seen(to).await, it.seen(behind).await], [900, 1100, 1014]);
    assert_eq!([it.seen_in("fresh", from).await, it.seen_in("fresh", to).await], [900, 1100]);
    it.waits_for_nothing().await;
    it.daemon.restart().await.unwrap();
    both_exact(&it.cluster, &it.daemon, &ATOMIC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_moves_through_a_worker_that_goes_and_comes_and_through_moves_of_shards() {
    for kind in kinds() {
        money_moves(kind).await;
    }
}

async fn money_moves(kind: Kind) {
    let citus = ClusterOptions::new(kind).setting("citus.recover_2pc_interval", "2s");
    let cluster = Cluster::start_with(citus).await.unwrap();
    let bank = Bank::create(&cluster, 200).await.unwrap();
    let mut daemon = Daemon::standalone(&cluster, options(kind)).await.unwrap();
    tributary_tests::create(&daemon, &Bank::STREAM_TABLES).await.unwrap();
    create_per_node(&daemon).await;
    let second = async |seconds| tokio::time::sleep(Duration::from_secs(seconds)).await;
    let report = bank
        .run(seed(), async {
            second(1).await;
            cluster.stop_immediate(2).await?;
            second(2).await;
            daemon.kill9().await?;
            daemon.start_unready().await?;
            second(1).await;
            cluster.start_node(2).await?;
            second(3).await;
            Ok(())
        })
        .await
        .unwrap();
    assert!(report.wrong.is_empty(), "{:?}", &report.wrong[..report.wrong.len().min(5)]);
    println!("{kind:?}: {} transfers, {} attempts failed", report.transfers, report.failed);
    both_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await;
    if kind != Kind::Citus {
        return;
    }
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed());
    let shards = Shards::of(&cluster, "accounts").await.unwrap();
    let report = bank
        .run(seed() + 1, async {
            for mode in ["block_writes", "force_logical", "block_writes", "force_logical"] {
                shards.move_one(&mut random, mode).await?;
                second(1).await;
            }
            Ok(())
        })
        .await
        .unwrap();
    assert!(report.wrong.is_empty(), "{:?}", &report.wrong[..report.wrong.len().min(5)]);
    println!(
        "{} transfers; moved {}",
        report.transfers,
        counter(&daemon, "tributary_shard_moves_total").await.unwrap()
    );
    both_exact(&cluster, &daemon, &Bank::STREAM_TABLES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_chosen_altered_shown_and_leaves_nothing_behind() {
    if !citus_available() {
        return;
    }
    let cluster = Cluster::start_with(ClusterOptions::new(Kind::Citus)).await.unwrap();
    Bank::create(&cluster, 50).await.unwrap();
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    let ok = async |arguments: &[&str]| cli(&daemon, arguments).await.unwrap().ok().unwrap().stdout;
    let refused = async |arguments: &[&str]| {
        let output = cli(&daemon, arguments).await.unwrap();
        assert_eq!(output.code, Some(1), "{output:?}");
        output.stderr
    };
    tributary_tests::create(&daemon, &ATOMIC).await.unwrap();
    assert_eq!(left_on(&cluster, 1).await, 0);
    create_per_node(&daemon).await;
    assert_eq!(left_on(&cluster, 1).await, 3);
    let told = refused(&["stream", "create", "fresh", "--query", TOTAL]).await;
    assert!(told.contains("exists already"), "{told}");
    let told = refused(&["stream", "create", "mixed", "--query", "SELECT sum(balance) AS b FROM fresh"]).await;
    assert!(told.contains("public.fresh is a stream table of consistency per-node"), "{told}");
    let over = ["stream", "create", "mixed", "--query", "SELECT id FROM by_account", "--consistency", "per-node"];
    assert!(refused(&over).await.contains("public.by_account is a stream table of consistency atomic"));
    let over =
        ["stream", "create", "same", "--query", "SELECT sum(balance) AS b FROM fresh", "--consistency", "per-node"];
    ok(&over).await;
    assert!(refused(&["stream", "alter", "fresh", "--consistency", "atomic"]).await.contains("one consistency"));
    ok(&["stream", "drop", "same"]).await;
    // There and back, over a crash's worth of cuts.
    let list = ok(&["stream", "list", "--json"]).await;
    assert_eq!(list.matches("\"per-node\"").count(), 2, "{list}");
    ok(&["stream", "alter", "bank_total", "--consistency", "per-node"]).await;
    cluster.run("UPDATE accounts SET balance = balance + 1 WHERE id % 3 = 0").await.unwrap();
    let client = cluster.client().await.unwrap();
    let sql = "SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM tributary.stream_tables WHERE consistency = 'per-node'";
    assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, String>(0), "bank_total fresh fresh_total");
    both_exact(&cluster, &daemon, &ATOMIC).await;
    assert!(ok(&["stream", "describe", "bank_total"]).await.contains("per-node"));
    ok(&["stream", "explain", "bank_total"]).await;
    for name in ["bank_total", "fresh_total"] {
        ok(&["stream", "alter", name, "--consistency", "atomic"]).await;
    }
    cluster.run("UPDATE accounts SET balance = balance + 1 WHERE id % 2 = 0").await.unwrap();
    both_exact(&cluster, &daemon, &ATOMIC).await;
    // The last one goes while a node is away.
    cluster.stop_immediate(2).await.unwrap();
    ok(&["stream", "drop", "fresh"]).await;
    for node in [0, 1] {
        becomes_gone(&cluster, node).await;
    }
    assert!(!ok(&["status"]).await.contains("consistency per-node"));
    cluster.start_node(2).await.unwrap();
    becomes_gone(&cluster, 2).await;
    // And again from the beginning.
    ok(&["stream", "drop", "fresh_total"]).await;
    create_per_node(&daemon).await;
    cluster.run("UPDATE accounts SET balance = balance + 1").await.unwrap();
    both_exact(&cluster, &daemon, &ATOMIC).await;
}

/// Agents as processes of their own, a kill between the two steps of going from one consistency to the other.
#[tokio::test(flavor = "multi_thread")]
async fn agents_of_their_own_and_kills_between_two_consistencies() {
    if !citus_available() {
        return;
    }
    let cluster = Cluster::start_with(ClusterOptions::new(Kind::Citus)).await.unwrap();
    Bank::create(&cluster, 50).await.unwrap();
    let mut coordinator = Daemon::coordinator(&cluster, DaemonOptions::default()).await.unwrap();
    let mut agents = Vec::new();
    for node in 0..cluster.nodes().len() {
        agents.push(Daemon::agent(&cluster, node, &coordinator, DaemonOptions::default()).await.unwrap());
    }
    tributary_tests::create(&coordinator, &ATOMIC).await.unwrap();
    create_per_node(&coordinator).await;
    for (point, wanted) in [("before", "per-node"), ("after", "per-node"), ("before", "atomic"), ("after", "atomic")] {
        coordinator.stop().await.unwrap();
        coordinator.arm(Some(&format!("crossing-{point}-definition=panic")));
        coordinator.start().await.unwrap();
        let died = cli(&coordinator, &["stream", "alter", "bank_total", "--consistency", wanted]).await.unwrap();
        assert_ne!(died.code, Some(0), "{died:?}");
        coordinator.wait_for_end(Duration::from_secs(60)).await.unwrap();
        coordinator.arm(None);
        coordinator.start().await.unwrap();
        in_state(&coordinator, "bank_total", "active").await.unwrap();
        cluster.run("UPDATE accounts SET balance = balance + 1 WHERE id % 2 = 0").await.unwrap();
        both_exact(&cluster, &coordinator, &ATOMIC).await;
        let shown = cli(&coordinator, &["stream", "describe", "bank_total"]).await.unwrap().stdout;
        let other = if wanted == "atomic" { "per-node" } else { "atomic" };
        assert!(shown.contains(if point == "before" { other } else { wanted }), "{point}: {shown}");
    }
}
