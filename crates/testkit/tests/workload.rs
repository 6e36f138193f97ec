//! The workloads change what they claim to change, and the oracle sees every difference.

use std::time::Duration;

use testkit::{Bank, Cluster, Least, Oracle, Outcome, Shop, kinds, seed};

const QUERY: &str = "SELECT o.region_id, r.name, count(*) AS n, sum(o.amount) AS amount
                     FROM orders o JOIN regions r ON r.id = o.region_id GROUP BY o.region_id, r.name";

#[tokio::test(flavor = "multi_thread")]
async fn a_random_shop_commits_and_rolls_back_on_every_kind() {
    for kind in kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        Shop::create_tables(&cluster).await.unwrap();
        let session = Shop::session(&cluster).await.unwrap();
        let mut shop = Shop::writer(seed(), 0);
        shop.fill(&session, 500).await.unwrap();
        let mut outcomes = Vec::new();
        for _ in 0..150 {
            outcomes.push(shop.transaction(&session).await.unwrap());
        }
        let count = |outcome| outcomes.iter().filter(|seen| **seen == outcome).count();
        assert!(count(Outcome::Committed) > 90, "{kind:?}: {outcomes:?}");
        assert!(count(Outcome::RolledBack) > 3, "{kind:?}: {outcomes:?}");
        assert!(count(Outcome::Conflict) < 30, "{kind:?}: {outcomes:?}");
        for table in ["orders", "items", "events", "users", "regions"] {
            let sql = format!("SELECT count(*) FROM {table}");
            let rows: i64 = session.query_one(&sql, &[]).await.unwrap().get(0);
            // Of twelve regions one is deleted now and then.
            let least = if table == "regions" { 1 } else { 6 };
            assert!(rows >= least, "{kind:?}: {table} has {rows} rows");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_at_once_get_on() {
    for kind in kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        Shop::create_tables(&cluster).await.unwrap();
        let first = Shop::session(&cluster).await.unwrap();
        let seed = seed();
        let mut one = Shop::writer(seed, 0);
        one.fill(&first, 300).await.unwrap();
        let second = Shop::session(&cluster).await.unwrap();
        let mut two = Shop::writer(seed, 1);
        let (a, b) = tokio::join!(run(&mut one, &first, 60), run(&mut two, &second, 60));
        assert!(a.unwrap() > 25, "{kind:?}");
        assert!(b.unwrap() > 25, "{kind:?}");
    }
}

async fn run(shop: &mut Shop, session: &tokio_postgres::Client, transactions: usize) -> anyhow::Result<usize> {
    let mut committed = 0;
    for _ in 0..transactions {
        committed += usize::from(shop.transaction(session).await? == Outcome::Committed);
    }
    Ok(committed)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oracle_sees_a_missing_a_surplus_and_an_otherwise_written_row() {
    for kind in kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        Shop::create_tables(&cluster).await.unwrap();
        let session = Shop::session(&cluster).await.unwrap();
        Shop::writer(7, 0).fill(&session, 400).await.unwrap();
        session.batch_execute("CREATE VIEW priced AS SELECT id, amount FROM orders WHERE amount > 10").await.unwrap();
        let copy = format!("CREATE TABLE kept AS {QUERY}; ALTER TABLE kept ADD __tributary_row_id int DEFAULT 1");
        cluster.run(&copy).await.unwrap();
        Oracle::take(&cluster).await.unwrap().check("kept", QUERY).await.unwrap();
        let viewed = "SELECT count(*) FROM priced";
        cluster.run(&format!("CREATE TABLE counted AS {viewed}")).await.unwrap();
        Oracle::take(&cluster).await.unwrap().check("counted", viewed).await.unwrap();

        cluster.run("INSERT INTO kept SELECT * FROM kept LIMIT 1").await.unwrap();
        let doubled = Oracle::take(&cluster).await.unwrap().compare("kept", QUERY).await.unwrap();
        assert_eq!((doubled.surplus.0, doubled.missing.0), (1, 0), "{doubled:?}");
        cluster.run("DELETE FROM kept WHERE n = (SELECT max(n) FROM kept)").await.unwrap();
        assert!(Oracle::take(&cluster).await.unwrap().compare("kept", QUERY).await.unwrap().missing.0 > 0);

        cluster.run(&format!("DROP TABLE kept; CREATE TABLE kept AS {QUERY}")).await.unwrap();
        cluster.run("UPDATE kept SET amount = amount * 1.000").await.unwrap();
        let rescaled = Oracle::take(&cluster).await.unwrap().compare("kept", QUERY).await.unwrap();
        assert_eq!((rescaled.surplus.0, rescaled.missing.0), (0, 0), "{rescaled:?}");
        assert!(rescaled.rendered.0 > 0, "{rescaled:?}");

        cluster.run("UPDATE orders SET region_id = 3 WHERE region_id = 2").await.unwrap();
        assert!(Oracle::take(&cluster).await.unwrap().check("kept", QUERY).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_loses_no_money_when_a_worker_crashes_and_its_reader_sees_wrong_sums() {
    for kind in kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        let bank = Bank::create(&cluster, 200).await.unwrap();
        // Tables that nobody keeps: right at first, wrong from some moment on.
        for (name, query) in Bank::STREAM_TABLES {
            cluster.run(&format!("CREATE TABLE {name} AS {query}")).await.unwrap();
        }
        let least = Least { transfers: 51, own_reads: 11, reads: 11, ..Least::default() };
        let report = bank
            .run_until(least, seed(), async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                cluster.stop_immediate(2).await?;
                tokio::time::sleep(Duration::from_millis(300)).await;
                cluster.start_node(2).await?;
                Ok(())
            })
            .await
            .unwrap();
        assert!(report.transfers >= 51 && report.own_reads >= 11 && report.reads >= 11, "{kind:?}: {report:?}");
        assert!(report.wrong.is_empty(), "{kind:?}: {report:?}");
        let least = Least { wrong: 1, ..Least::default() };
        let off = cluster.run("UPDATE bank_total SET total = total + 1");
        let report = bank.run_until(least, seed(), off).await.unwrap();
        assert!(!report.wrong.is_empty(), "{kind:?}: {report:?}");
        let client = cluster.client().await.unwrap();
        let pending = "SELECT (SELECT sum(balance)::bigint FROM accounts)";
        // Citus settles what the crash left in doubt within its recovery interval.
        let mut total = 0;
        for _ in 0..600 {
            total = client.query_one(pending, &[]).await.unwrap().get::<_, i64>(0);
            if total == 200_000 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(total, 200_000, "{kind:?}: {report:?}");
    }
}
