//! A transfer of which halves are left hanging.
//!
//! What Citus leaves behind when its coordinator dies between two steps of a commit is made by hand here: the branches with
//! ids of its own form, the decision in `pg_dist_transaction`. Citus's own recovery, which is off until asked, settles them.
//! Over `postgres_fdw` the same branches are those of an application that commits by two-phase commit.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::time::Duration;

use testkit::{Bank, Cluster, ClusterOptions, Daemon, DaemonOptions, Kind, cli};

use crate::create;

/// How long something may take to show, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// No distributed transaction that runs has these numbers.
pub const HANGING: [&str; 2] = ["citus_0_999999_77000000_1", "citus_0_999999_77000000_2"];

/// What names the transaction in them, where a daemon has to be told.
const GID_PATTERN: &str = r"^citus_0_(\d+_\d+)_\d+$";

/// A bank with a transfer that can be left hanging. Whatever fails here, fails the test.
pub struct Hanging {
    /// Its recovery of prepared transactions is off.
    pub cluster: Cluster,
    /// A standalone one.
    pub daemon: Daemon,
    /// Two accounts on each worker, and the shard of each.
    pub accounts: [[(i32, String); 2]; 2],
}

impl Hanging {
    /// Makes a bank, a daemon and the stream tables, as (name, query).
    ///
    /// # Panics
    /// When that fails.
    pub async fn begin(tables: &[(&str, &str)], daemon: DaemonOptions) -> Self {
        Self::begin_on(Kind::Citus, tables, daemon).await
    }

    /// The same on this kind of cluster.
    ///
    /// # Panics
    /// When that fails.
    pub async fn begin_on(kind: Kind, tables: &[(&str, &str)], mut daemon: DaemonOptions) -> Self {
        let options = ClusterOptions::new(kind).setting("citus.recover_2pc_interval", "-1");
        let cluster = Cluster::start_with(options).await.unwrap();
        Bank::create(&cluster, 100).await.unwrap();
        let sql = if kind == Kind::Citus {
            "SELECT id, 'accounts_' || shardid FROM (SELECT id, get_shard_id_for_distribution_column('accounts', id)
                 AS shardid FROM accounts) a JOIN pg_dist_placement USING (shardid) WHERE groupid = $1 ORDER BY id LIMIT 2"
        } else {
            daemon.args.extend(["--gid-pattern", GID_PATTERN].map(String::from));
            "SELECT a.id, t.ftrelid::regclass::text FROM accounts a JOIN pg_foreign_table t ON t.ftrelid = a.tableoid
             JOIN pg_foreign_server s ON s.oid = t.ftserver WHERE s.srvname = 'w' || $1::int::text ORDER BY id LIMIT 2"
        };
        let client = cluster.client().await.unwrap();
        let mut accounts = Vec::new();
        for group in [1, 2] {
            let rows = client.query(sql, &[&group]).await.unwrap();
            accounts.push([0, 1].map(|at| (rows[at].get(0), rows[at].get(1))));
        }
        let daemon = Daemon::standalone(&cluster, daemon).await.unwrap();
        create(&daemon, tables).await.unwrap();
        Self { cluster, daemon, accounts: accounts.try_into().unwrap() }
    }

    /// Prepares both halves of a transfer between the workers' first accounts.
    pub async fn prepare(&self) {
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

    /// Commits it on the initiator, as the list of its branches. Over `postgres_fdw` nobody writes one.
    pub async fn decide(&self) {
        if self.cluster.kind() != Kind::Citus {
            return;
        }
        let [first, second] = HANGING;
        let sql = format!("INSERT INTO pg_dist_transaction (groupid, gid) VALUES (1, '{first}'), (2, '{second}')");
        self.cluster.run(&sql).await.unwrap();
    }

    /// Lets Citus settle what hangs, or the application does; it must be this many branches.
    pub async fn recover(&self, branches: i32) {
        if self.cluster.kind() != Kind::Citus {
            let mut left = 0;
            for (worker, gid) in HANGING.iter().enumerate() {
                let client = self.cluster.client_of(worker + 1).await.unwrap();
                if !client.query("SELECT FROM pg_prepared_xacts WHERE gid = $1", &[gid]).await.unwrap().is_empty() {
                    client.batch_execute(&format!("COMMIT PREPARED '{gid}'")).await.unwrap();
                    left += 1;
                }
            }
            return assert_eq!(left, branches);
        }
        let client = self.cluster.client().await.unwrap();
        let row = client.query_one("SELECT recover_prepared_transactions()", &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), branches);
    }

    /// Changes an account by a plain statement.
    pub async fn add(&self, id: i32, change: i32) {
        let sql = format!("UPDATE accounts SET balance = balance + {change} WHERE id = {id}");
        self.cluster.run(&sql).await.unwrap();
    }

    /// An account's balance in the stream table `by_account`.
    pub async fn seen(&self, id: i32) -> i64 {
        self.seen_in("by_account", id).await
    }

    /// An account's balance in a stream table.
    pub async fn seen_in(&self, table: &str, id: i32) -> i64 {
        let client = self.cluster.client().await.unwrap();
        let sql = format!("SELECT balance FROM {table} WHERE id = $1");
        client.query_one(&sql, &[&id]).await.unwrap().get(0)
    }

    /// Until the account has this balance in `by_account`.
    pub async fn becomes(&self, id: i32, balance: i64) {
        self.becomes_in("by_account", id, balance).await;
    }

    /// Until the account has this balance in the stream table.
    pub async fn becomes_in(&self, table: &str, id: i32, balance: i64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.seen_in(table, id).await != balance {
            let seen = self.seen_in(table, id).await;
            assert!(tokio::time::Instant::now() < deadline, "account {id} has {seen} in {table}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Until `tributary status` says this.
    pub async fn says(&self, what: &str) {
        self.comes_to_say(what, |said| said.contains(what)).await;
    }

    /// Until no cut waits for a node. One may for a moment, for each that Citus's own daemon writes to.
    pub async fn waits_for_nothing(&self) {
        self.comes_to_say("nothing waited for", |said| !said.contains("waiting for")).await;
    }

    /// What `tributary status` says as soon as it is so.
    pub async fn comes_to_say(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let said = self.status().await;
            if is_so(&said) {
                return said;
            }
            assert!(tokio::time::Instant::now() < deadline, "not {what}: {said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What `tributary status` says.
    pub async fn status(&self) -> String {
        cli(&self.daemon, &["status"]).await.unwrap().ok().unwrap().stdout
    }
}
