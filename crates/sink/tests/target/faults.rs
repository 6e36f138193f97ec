use crate::support::*;
use sink::{Severity, SinkBatch, SinkError};
use types::{Seq, StreamId, TableChange};

#[tokio::test]
async fn a_cut_that_is_there_already_is_not_written_again() {
    for kind in kinds() {
        let t = Target::start(kind).await;
        let spec = totals(1);
        t.publish(&spec, vec![], 1).await;
        let second = batch(2, spec.stream, vec![TableChange::Insert(total(Some("a"), 1))]);
        t.sink.apply(&second).await.unwrap();
        t.sink.apply(&second).await.unwrap();
        // A restarted aggregator does not know what was written either.
        let restarted = t.another("default").await;
        restarted.take_over().await.unwrap();
        restarted.apply(&second).await.unwrap();
        restarted.apply(&batch(3, spec.stream, vec![TableChange::Update(total(Some("a"), 2))])).await.unwrap();
        assert_eq!(t.rows("totals_1").await, ["a|2"]);
    }
}

#[tokio::test]
async fn an_aggregator_that_was_taken_over_from_changes_nothing() {
    let t = Target::start(testkit::Kind::Single).await;
    let spec = totals(1);
    t.publish(&spec, vec![], 1).await;
    let newer = t.another("default").await;
    let epoch = newer.take_over().await.unwrap();
    let error = t.sink.apply(&batch(2, spec.stream, vec![TableChange::Insert(total(None, 1))])).await.unwrap_err();
    assert!(matches!(&error, SinkError::Fenced { theirs, .. } if *theirs == epoch), "{error}");
    assert_eq!(error.severity(), Severity::Stop);
    let error = t.sink.apply(&SinkBatch { cut: cut(2), publish: vec![spec.stream], ..SinkBatch::default() }).await;
    assert!(matches!(error, Err(SinkError::Fenced { .. })));
    assert!(t.rows("totals_1").await.is_empty());
    newer.apply(&batch(2, spec.stream, vec![TableChange::Insert(total(None, 1))])).await.unwrap();
    assert_eq!(t.sink.frontier().await.unwrap().seq, Seq(2));
}

#[tokio::test]
async fn a_broken_session_is_transient_and_the_same_call_goes_on() {
    for kind in kinds() {
        let t = Target::start(kind).await;
        let spec = totals(1);
        t.publish(&spec, vec![], 1).await;
        let mut broken = 0;
        for seq in 2..22_u64 {
            let changes = batch(seq, spec.stream, vec![TableChange::Insert(total(Some(&seq.to_string()), 1))]);
            if seq % 3 == 0 {
                t.client
                    .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query ~ 'frontier|COMMIT'", &[])
                    .await
                    .unwrap();
            }
            while let Err(error) = t.sink.apply(&changes).await {
                assert!(error.is_transient(), "{error}");
                broken += 1;
                assert!(broken < 50);
                t.sink.reconnect().await.unwrap();
            }
        }
        assert_eq!(t.one::<i64>("SELECT count(*) FROM totals_1").await, 20);
    }
}

#[tokio::test]
async fn a_call_that_was_dropped_in_the_middle_is_all_or_nothing() {
    let t = Target::start(testkit::Kind::Single).await;
    let (a, b) = (totals(1), totals(2));
    t.publish(&a, vec![], 1).await;
    t.publish(&b, vec![], 2).await;
    let mut dropped = 0;
    for seq in 3..60_u64 {
        let change = |n: i64| TableChange::Insert(total(Some(&seq.to_string()), n));
        let both = SinkBatch {
            streams: vec![(a.stream, vec![change(1)]), (b.stream, vec![change(2)])],
            cut: cut(seq),
            ..SinkBatch::default()
        };
        let patience = std::time::Duration::from_micros(seq * 40);
        if tokio::time::timeout(patience, t.sink.apply(&both)).await.is_err() {
            dropped += 1;
            let counts: (i64, i64) = {
                let row = t
                    .client
                    .query_one("SELECT (SELECT count(*) FROM totals_1), (SELECT count(*) FROM totals_2)", &[])
                    .await
                    .unwrap();
                (row.get(0), row.get(1))
            };
            assert_eq!(counts.0, counts.1);
        }
        while let Err(error) = t.sink.apply(&both).await {
            assert!(error.is_transient(), "{error}");
        }
    }
    assert!(dropped > 0, "no call was dropped");
    assert_eq!(t.one::<i64>("SELECT count(*) FROM totals_1 JOIN totals_2 USING (region)").await, 57);
}

#[tokio::test]
async fn a_row_that_somebody_else_wrote_stops_that_table_only() {
    for kind in kinds() {
        let t = Target::start(kind).await;
        let (a, b) = (totals(1), totals(2));
        t.publish(&a, vec![total(Some("a"), 1)], 1).await;
        t.publish(&b, vec![], 2).await;
        let foreign = [
            ("DELETE FROM totals_1", TableChange::Update(total(Some("a"), 2)), "0 rows to update where 1 should be"),
            ("INSERT INTO totals_1 VALUES ('x', 1)", TableChange::Insert(total(Some("x"), 2)), "duplicate key"),
            ("ALTER TABLE totals_1 DROP COLUMN n", TableChange::Delete(region(Some("x"))), "column \"n\""),
            ("DROP TABLE totals_1", TableChange::Delete(region(Some("x"))), "totals_1"),
        ];
        for (n, (statement, change, reason)) in (3..).zip(foreign) {
            t.client.batch_execute(statement).await.unwrap();
            let other = TableChange::Insert(total(Some(&n.to_string()), 1));
            let mut both = SinkBatch {
                cut: cut(n),
                streams: vec![(a.stream, vec![change]), (b.stream, vec![other])],
                ..SinkBatch::default()
            };
            let error = t.sink.apply(&both).await.unwrap_err();
            assert_eq!(error.severity(), Severity::Stream(StreamId(1)), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
            assert_eq!(t.sink.frontier().await.unwrap().seq, Seq(n - 1));
            both.streams.remove(0);
            t.sink.apply(&both).await.unwrap();
        }
        assert_eq!(t.rows("totals_2").await, ["3|1", "4|1", "5|1", "6|1"]);
    }
}

#[tokio::test]
async fn the_target_restarting_is_transient() {
    let t = Target::start(testkit::Kind::Single).await;
    let mut t = t;
    let spec = totals(1);
    t.publish(&spec, vec![], 1).await;
    let second = batch(2, spec.stream, vec![TableChange::Insert(total(None, 1))]);
    t.cluster.stop_immediate(0).await.unwrap();
    let error = t.sink.apply(&second).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    t.cluster.start_node(0).await.unwrap();
    t.sink.reconnect().await.unwrap();
    t.sink.apply(&second).await.unwrap();
    t.client = t.cluster.client().await.unwrap();
    assert_eq!(t.rows("totals_1").await, ["∅|1"]);
}
