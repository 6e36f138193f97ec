//! A prepared transaction that is left hanging: what depends on it waits, says so, and nothing else waits.
//!
//! What Citus leaves behind when its coordinator dies between two steps of a commit is made by hand here: the branches with
//! ids of its own form, the decision in `pg_dist_transaction`. Citus's own recovery, which is off until asked, settles them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use testkit::{Bank, Cluster, ClusterOptions, Daemon, DaemonOptions, Kind, assert_exact, citus_available, cli};
use tributary_tests::create;

const TABLES: [(&str, &str); 3] =
    [Bank::STREAM_TABLES[0], Bank::STREAM_TABLES[1], ("by_account", "SELECT id, balance FROM accounts")];

/// No distributed transaction that runs has these numbers.
const HANGING: [&str; 2] = ["citus_0_999999_77000000_1", "citus_0_999999_77000000_2"];

struct Hanging {
    cluster: Cluster,
    daemon: Daemon,
    /// Two accounts on each worker, and the shard of each.
    accounts: [[(i32, String); 2]; 2],
}

impl Hanging {
    async fn begin() -> Self {
        let options = ClusterOptions::new(Kind::Citus).setting("citus.recover_2pc_interval", "-1");
        let cluster = Cluster::start_with(options).await.unwrap();
        Bank::create(&cluster, 100).await.unwrap();
        let sql = "SELECT id, 'accounts_' || shardid FROM (SELECT id, get_shard_id_for_distribution_column('accounts', id)
                       AS shardid FROM accounts) a JOIN pg_dist_placement USING (shardid) WHERE groupid = $1 ORDER BY id LIMIT 2";
        let client = cluster.client().await.unwrap();
        let mut accounts = Vec::new();
        for group in [1, 2] {
            let rows = client.query(sql, &[&group]).await.unwrap();
            accounts.push([0, 1].map(|at| (rows[at].get(0), rows[at].get(1))));
        }
        let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, &TABLES).await.unwrap();
        Self { cluster, daemon, accounts: accounts.try_into().unwrap() }
    }

    /// Prepares both halves of a transfer between the workers' first accounts.
    async fn prepare(&self) {
        for (worker, (change, gid)) in [-100, 100].into_iter().zip(HANGING).enumerate() {
            let (id, shard) = &self.accounts[worker][0];
            let client = self.cluster.client_of(worker + 1).await.unwrap();
            for sql in [
                "SET citus.enable_manual_changes_to_shards = on".to_owned(),
                "BEGIN".to_owned(),
                format!("UPDATE {shard} SET balance = balance + {change} WHERE id = {id}"),
                format!("PREPARE TRANSACTION '{gid}'"),
            ] {
                client.batch_execute(&sql).await.unwrap();
            }
        }
    }

    /// Commits it on the initiator, as the list of its branches.
    async fn decide(&self) {
        let [first, second] = HANGING;
        let sql = format!("INSERT INTO pg_dist_transaction (groupid, gid) VALUES (1, '{first}'), (2, '{second}')");
        self.cluster.run(&sql).await.unwrap();
    }

    /// Lets Citus settle what hangs; it must be this many branches.
    async fn recover(&self, branches: i32) {
        let client = self.cluster.client().await.unwrap();
        let row = client.query_one("SELECT recover_prepared_transactions()", &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), branches);
    }

    async fn add(&self, id: i32, change: i32) {
        let sql = format!("UPDATE accounts SET balance = balance + {change} WHERE id = {id}");
        self.cluster.run(&sql).await.unwrap();
    }

    /// An account's balance in the stream table.
    async fn seen(&self, id: i32) -> i64 {
        let client = self.cluster.client().await.unwrap();
        client.query_one("SELECT balance FROM by_account WHERE id = $1", &[&id]).await.unwrap().get(0)
    }

    async fn becomes(&self, id: i32, balance: i64) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while self.seen(id).await != balance {
            assert!(tokio::time::Instant::now() < deadline, "account {id} has {}", self.seen(id).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn status(&self) -> String {
        cli(&self.daemon, &["status"]).await.unwrap().ok().unwrap().stdout
    }

    async fn exact(&self) {
        assert_exact(&self.cluster, &self.daemon, &TABLES).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decided_branch_left_hanging_holds_back_its_transaction_alone_and_status_names_it() {
    if !citus_available() {
        return;
    }
    let mut it = Hanging::begin().await;
    let [[(from, _), (behind, _)], [(to, _), (beside, _)]] = it.accounts.clone();
    it.prepare().await;
    it.decide().await;
    let first = it.cluster.client_of(1).await.unwrap();
    first.batch_execute(&format!("COMMIT PREPARED '{}'", HANGING[0])).await.unwrap();
    // Behind the branch that committed, on its node; and on the node whose branch hangs, which holds back nothing there.
    it.add(behind, 7).await;
    it.add(beside, 5).await;
    it.becomes(beside, 1005).await;
    assert_eq!([it.seen(from).await, it.seen(to).await, it.seen(behind).await], [1000; 3]);
    for crashed in [false, true] {
        if crashed {
            it.daemon.kill9().await.unwrap();
            it.daemon.start().await.unwrap();
        }
        let waited = cli(&it.daemon, &["wait", "--timeout", "3s"]).await.unwrap();
        assert_eq!(waited.code, Some(1), "{waited:?}");
        assert!(waited.stderr.contains(HANGING[1]), "{waited:?}");
        let said = it.status().await;
        let line = said.lines().find(|line| line.starts_with("waiting for")).unwrap_or_else(|| panic!("{said}"));
        assert!(line.contains(&format!("node 2: COMMIT PREPARED of {}", HANGING[1])), "{line}");
        let seconds = line.rsplit_once(", for ").and_then(|(_, rest)| rest.strip_suffix(" s"));
        assert!(seconds.is_some_and(|text| text.parse::<u64>().is_ok_and(|n| (1..100).contains(&n))), "{line}");
        assert_eq!([it.seen(from).await, it.seen(to).await, it.seen(behind).await], [1000; 3]);
    }
    it.recover(1).await;
    it.exact().await;
    assert_eq!([it.seen(from).await, it.seen(to).await, it.seen(behind).await], [900, 1100, 1007]);
    assert!(!it.status().await.contains("waiting for"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecided_transaction_left_hanging_holds_nothing_back_and_ends_either_way() {
    if !citus_available() {
        return;
    }
    let mut it = Hanging::begin().await;
    let [[(from, _), (behind, _)], [(to, _), (beside, _)]] = it.accounts.clone();
    for (round, commit) in [(1, false), (2, true)] {
        it.prepare().await;
        it.add(behind, 7).await;
        it.add(beside, 5).await;
        it.exact().await;
        assert_eq!([it.seen(behind).await, it.seen(beside).await], [1000 + 7 * round, 1000 + 5 * round]);
        assert!(!it.status().await.contains("waiting for"));
        // Its changes come once, at PREPARE: whoever comes after must have them still.
        it.daemon.kill9().await.unwrap();
        it.daemon.start().await.unwrap();
        it.exact().await;
        assert_eq!([it.seen(from).await, it.seen(to).await], [1000; 2]);
        if commit {
            it.decide().await;
        }
        it.recover(2).await;
        it.exact().await;
        let moved = if commit { 100 } else { 0 };
        assert_eq!([it.seen(from).await, it.seen(to).await], [1000 - moved, 1000 + moved]);
    }
}
