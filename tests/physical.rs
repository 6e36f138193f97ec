//! What is done to a node's own part of a table, which no catalog of node 0 tells of: over `postgres_fdw` each node's
//! administrator can alter it alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use testkit::{Cluster, Daemon, DaemonOptions, Kind, TableKind, TableSpec, assert_exact, cli, kinds};
use tokio::time::Instant;
use tokio_postgres::Client;
use tributary_tests::{change_unseen, create, in_state};

const PER_KIND: (&str, &str) =
    ("per_kind", "SELECT kind, count(*) AS n, sum(amount) AS total FROM items GROUP BY kind");
const PER_NOTE: (&str, &str) = ("per_note", "SELECT note, count(*) AS n, sum(kind) AS total FROM items GROUP BY note");
const PER_OTHER: (&str, &str) = ("per_other", "SELECT kind, count(*) AS n FROM others GROUP BY kind");

async fn cluster() -> Cluster {
    let cluster = Cluster::start(Kind::Fdw).await.unwrap();
    for name in ["items", "others"] {
        let columns = "id int, kind int, amount bigint NOT NULL, note varchar(9)";
        let spec =
            TableSpec { name, columns, primary_key: "id", kind: TableKind::Distributed("id"), colocate_with: None };
        cluster.create_table(&spec).await.unwrap();
        let rows =
            format!("INSERT INTO {name} SELECT i, i % 7, i * 3, 'note ' || i % 3 FROM generate_series(1, 500) i");
        cluster.run(&rows).await.unwrap();
    }
    cluster
}

/// A part of the table on node 1, and a connection to there.
async fn part_of(cluster: &Cluster, table: &str) -> (String, Client) {
    let client = cluster.client_of(1).await.unwrap();
    let sql = "SELECT min(c.oid::regclass::text) FROM pg_class c WHERE c.relkind = 'r' AND c.relname ~ ('^' || $1)";
    let part: String = client.query_one(sql, &[&table]).await.unwrap().get(0);
    (part, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_loses_its_identity_stops_who_reads_it_and_given_back_it_is_read_anew() {
    let cluster = cluster().await;
    let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
    create(&daemon, &[PER_KIND, PER_OTHER]).await.unwrap();
    let (part, node) = part_of(&cluster, "items").await;
    for (rest, restarted) in [(0, false), (1, true)] {
        let lose = format!(
            "CREATE UNIQUE INDEX by_amount ON {part} (amount); ALTER TABLE {part} REPLICA IDENTITY USING INDEX by_amount;
             ALTER TABLE {part} DROP CONSTRAINT {part}_pkey;
             DELETE FROM {part} WHERE id % 5 = {rest}; DROP INDEX by_amount; ALTER TABLE {part} REPLICA IDENTITY NOTHING"
        );
        node.batch_execute(&lose).await.unwrap();
        // Nothing can be read anew while a row's old version cannot be told.
        let said = in_state(&daemon, "per_kind", "failed").await.unwrap();
        assert!(!said.is_empty());
        cluster.run("UPDATE others SET kind = 3 WHERE id < 50").await.unwrap();
        assert_exact(&cluster, &daemon, &[PER_OTHER]).await.unwrap();
        let refused = cli(&daemon, &["stream", "rebuild", "per_kind"]).await.unwrap();
        assert!(refused.code == Some(1) && refused.stderr.contains("REPLICA IDENTITY"), "{refused:?}");
        if restarted {
            daemon.restart().await.unwrap();
        }
        let repair =
            format!("ALTER TABLE {part} ADD CONSTRAINT {part}_pkey PRIMARY KEY (id), REPLICA IDENTITY DEFAULT");
        node.batch_execute(&repair).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while cli(&daemon, &["stream", "rebuild", "per_kind"]).await.unwrap().code != Some(0) {
            assert!(Instant::now() < deadline, "{}", daemon.log_tail());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        cluster.run("UPDATE items SET amount = amount + 1 WHERE id % 3 = 0").await.unwrap();
        assert_exact(&cluster, &daemon, &[PER_KIND, PER_OTHER]).await.unwrap();
    }
}

/// What was found when the node's catalog was asked for the part is not what it is from the moment on when it is followed: the
/// stream describes it in between, and then no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_altered_while_it_is_subscribed_to_is_not_lost_from_sight() {
    let cluster = cluster().await;
    let options = DaemonOptions::default().failpoint("agent-subscribe=2*return(2000)");
    let daemon = Daemon::standalone(&cluster, options).await.unwrap();
    let (part, node) = part_of(&cluster, "items").await;
    let made = cli(&daemon, &["stream", "create", PER_NOTE.0, "--query", PER_NOTE.1]);
    let altered = async {
        let subscribed = "SELECT count(*) FROM pg_publication_tables WHERE tablename = $1";
        let deadline = Instant::now() + Duration::from_secs(30);
        while node.query_one(subscribed, &[&part]).await.unwrap().get::<_, i64>(0) == 0 {
            assert!(Instant::now() < deadline, "{}", daemon.log_tail());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let alter = format!("ALTER TABLE {part} ALTER COLUMN note TYPE varchar(20); UPDATE {part} SET kind = kind + 1");
        node.batch_execute(&alter).await.unwrap();
    };
    let (made, ()) = tokio::join!(made, altered);
    made.unwrap().ok().unwrap();
    let log = std::fs::read_to_string(daemon.log()).unwrap();
    assert!(log.contains("changed its type's length or precision"), "{}", daemon.log_tail());
    node.batch_execute(&format!("UPDATE {part} SET note = 'another'")).await.unwrap();
    assert_exact(&cluster, &daemon, &[PER_NOTE]).await.unwrap();
}

const NOTED: (&str, &str) = ("lengths", "SELECT id, kind, length(note) AS length FROM noted");

/// A row comes unseen, and then an update of it without its large column: no cut can be made of that, and what is kept is not
/// right, so the table is read anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_a_row_that_never_came_has_its_table_read_anew() {
    for kind in kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        let (name, columns, placed) = ("noted", "id int, kind int, note text", TableKind::Distributed("id"));
        let spec = TableSpec { name, columns, primary_key: "id", kind: placed, colocate_with: None };
        cluster.create_table(&spec).await.unwrap();
        let note = "string_agg(md5(i * 1000 + n || ''), '')";
        let rows = format!("SELECT i, 1, {note} FROM generate_series(1, 40) i, generate_series(1, 300) n GROUP BY i");
        cluster.run(&format!("INSERT INTO noted {rows}")).await.unwrap();
        let mut daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.unwrap();
        create(&daemon, &[NOTED]).await.unwrap();
        for (round, restarted) in [(1, false), (2, true)] {
            // The rows' number is changed, so the row is another.
            let change = format!("UPDATE PART SET id = id + {round}00 WHERE id = (SELECT min(id) FROM PART)");
            let part = change_unseen(&cluster, 1, "noted", &change).await.unwrap();
            let node = cluster.client_of(1).await.unwrap();
            if kind == Kind::Citus {
                node.batch_execute("SET citus.override_table_visibility = off").await.unwrap();
            }
            node.batch_execute(&format!("UPDATE {part} SET kind = kind + 1 WHERE id > {round}00")).await.unwrap();
            let deadline = Instant::now() + Duration::from_secs(60);
            let said = |log: String| log.matches("was updated that is not kept").count();
            while said(std::fs::read_to_string(daemon.log()).unwrap()) < round {
                assert!(Instant::now() < deadline, "{kind:?}: {}", daemon.log_tail());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            if restarted {
                daemon.kill9().await.unwrap();
                daemon.arm(None);
                daemon.start().await.unwrap();
            }
            in_state(&daemon, "lengths", "active").await.unwrap();
            assert_exact(&cluster, &daemon, &[NOTED]).await.unwrap();
        }
        cluster.run("UPDATE noted SET kind = kind + 1, note = note || 'x'").await.unwrap();
        assert_exact(&cluster, &daemon, &[NOTED]).await.unwrap();
    }
}
