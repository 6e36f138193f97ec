use crate::support::*;
use sink::{Severity, SinkBatch, SinkError};
use types::{Seq, StreamId, TableChange};

#[tokio::test]
async fn a_table_appears_with_exactly_its_cut() {
    for kind in kinds() {
        let t = Target::start(kind).await;
        let spec = totals(1);
        t.sink.insert(&definition(&spec)).await.unwrap();
        let rows = (0..1000).map(|i| total(Some(&format!("r{i}")), i)).chain([total(None, -1)]).collect();
        assert_eq!(t.stage(&spec, rows).await.unwrap(), 1001);
        assert!(t.one::<Option<u32>>("SELECT to_regclass('public.totals_1')::oid").await.is_none());
        let mut batch = batch(
            5,
            spec.stream,
            vec![
                TableChange::Update(total(Some("r1"), 100)),
                TableChange::Update(total(None, 7)),
                TableChange::Delete(region(Some("r0"))),
                TableChange::Insert(total(Some("new"), 1)),
            ],
        );
        batch.publish = vec![spec.stream];
        t.sink.apply(&batch).await.unwrap();
        assert_eq!(t.one::<i64>("SELECT count(*) FROM totals_1").await, 1001);
        assert_eq!(t.one::<i64>("SELECT n FROM totals_1 WHERE region IS NULL").await, 7);
        assert_eq!(t.one::<i64>("SELECT n FROM totals_1 WHERE region = 'r1'").await, 100);
        assert_eq!(t.one::<i64>("SELECT seq FROM tributary.frontier").await, 5);
        assert_eq!(t.one::<String>("SELECT positions->>'0' FROM tributary.frontier").await, "0/1F4");
        assert_eq!(t.one::<String>("SELECT state FROM tributary.stream_tables").await, "active");
        assert_eq!(t.sink.frontier().await.unwrap().positions, cut(5).positions);
        let types = t
            .rows(
                "(SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
            WHERE attrelid = 'totals_1'::regclass AND attnum > 0)",
            )
            .await;
        assert_eq!(types, ["n|bigint", "region|text"]);
    }
}

#[tokio::test]
async fn a_reader_that_began_before_sees_the_whole_table_too() {
    let t = Target::start(testkit::Kind::Single).await;
    let reader = t.cluster.client().await.unwrap();
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    t.publish(&totals(1), vec![total(Some("a"), 1), total(Some("b"), 2)], 1).await;
    let count: i64 = reader.query_one("SELECT count(*) FROM totals_1", &[]).await.unwrap().get(0);
    assert_eq!(count, 2);
}

#[tokio::test]
async fn filling_again_starts_from_nothing() {
    let t = Target::start(testkit::Kind::Single).await;
    let spec = totals(1);
    t.sink.insert(&definition(&spec)).await.unwrap();
    t.stage(&spec, vec![total(Some("a"), 1), total(Some("b"), 1)]).await.unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(vec![total(Some("c"), 3)]).await.unwrap();
    drop(sender);
    t.sink.copy_into_staging(&spec, receiver).await.unwrap();
    t.sink.apply(&SinkBatch { cut: cut(1), publish: vec![spec.stream], ..SinkBatch::default() }).await.unwrap();
    assert_eq!(t.rows("totals_1").await, ["c|3"]);
}

#[tokio::test]
async fn rows_that_are_not_unique_are_that_tables_error() {
    let t = Target::start(testkit::Kind::Single).await;
    let spec = totals(1);
    t.sink.insert(&definition(&spec)).await.unwrap();
    let error = t.stage(&spec, vec![total(None, 1), total(None, 2)]).await.unwrap_err();
    assert_eq!(error.severity(), Severity::Stream(StreamId(1)), "{error}");
}

#[tokio::test]
async fn a_name_taken_meanwhile_stops_that_table_only() {
    let t = Target::start(testkit::Kind::Single).await;
    let spec = totals(1);
    t.publish(&totals(2), vec![], 1).await;
    t.sink.insert(&definition(&spec)).await.unwrap();
    t.stage(&spec, vec![total(Some("a"), 1)]).await.unwrap();
    t.client.batch_execute("CREATE TABLE totals_1 (a int)").await.unwrap();
    let mut both = batch(2, StreamId(2), vec![TableChange::Insert(total(Some("x"), 1))]);
    both.publish = vec![spec.stream];
    let error = t.sink.apply(&both).await.unwrap_err();
    assert!(matches!(&error, SinkError::Stream { stream: StreamId(1), .. }), "{error}");
    assert!(t.rows("totals_2").await.is_empty());
    both.publish.clear();
    both.failed.push((StreamId(1), error.to_string()));
    t.sink.apply(&both).await.unwrap();
    assert_eq!(t.rows("totals_2").await, ["x|1"]);
    assert!(
        t.one::<String>("SELECT reason FROM tributary.stream_tables WHERE state = 'failed'")
            .await
            .contains("exists already")
    );
}

#[tokio::test]
async fn a_rebuilt_table_keeps_its_views_rights_and_indexes() {
    for kind in kinds() {
        let t = Target::start(kind).await;
        let spec = totals(1);
        t.publish(&spec, vec![total(Some("a"), 1), total(Some("b"), 2)], 1).await;
        t.client
            .batch_execute(
                "CREATE VIEW over AS SELECT sum(n) AS n FROM totals_1; CREATE INDEX by_n ON totals_1 (n);
                            CREATE ROLE reader; GRANT SELECT ON totals_1 TO reader",
            )
            .await
            .unwrap();
        let reader = t.cluster.client().await.unwrap();
        reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM over").await.unwrap();
        t.stage(&spec, vec![total(Some("b"), 3), total(Some("c"), 4)]).await.unwrap();
        assert_eq!(t.rows("totals_1").await, ["a|1", "b|2"]);
        let mut batch = batch(2, spec.stream, vec![TableChange::Update(total(Some("c"), 5))]);
        batch.publish = vec![spec.stream];
        t.sink.apply(&batch).await.unwrap();
        assert_eq!(t.rows("totals_1").await, ["b|3", "c|5"]);
        assert_eq!(t.one::<String>("SELECT n::text FROM over").await, "8");
        assert_eq!(reader.query_one("SELECT n::text FROM over", &[]).await.unwrap().get::<_, String>(0), "3");
        assert!(t.one::<bool>("SELECT has_table_privilege('reader', 'totals_1', 'SELECT')").await);
        assert!(t.one::<Option<u32>>("SELECT to_regclass('tributary.__tributary_1')::oid").await.is_none());
    }
}

#[tokio::test]
async fn a_dropped_table_leaves_nothing_and_its_dependents_are_named() {
    for kind in kinds() {
        let t = Target::start(kind).await;
        let spec = totals(1);
        t.publish(&spec, vec![total(Some("a"), 1)], 1).await;
        t.client.batch_execute("CREATE VIEW over AS SELECT * FROM totals_1").await.unwrap();
        let error = t.sink.drop_table(&spec).await.unwrap_err().to_string();
        assert!(error.contains("view over depends on table totals_1"), "{error}");
        t.client.batch_execute("DROP VIEW over").await.unwrap();
        t.sink.drop_table(&spec).await.unwrap();
        t.sink.drop_table(&spec).await.unwrap();
        assert!(t.sink.list().await.unwrap().is_empty());
        assert_eq!(t.one::<i64>("SELECT count(*) FROM pg_class WHERE relname ~ 'totals|__tributary'").await, 0);
        t.publish(&spec, vec![total(Some("b"), 1)], 2).await;
        assert_eq!(t.rows("totals_1").await, ["b|1"]);
    }
}

#[tokio::test]
async fn a_table_that_was_never_published_is_not_mistaken_for_a_foreign_one() {
    let t = Target::start(testkit::Kind::Single).await;
    let spec = totals(1);
    t.sink.insert(&definition(&spec)).await.unwrap();
    t.client.batch_execute("CREATE TABLE totals_1 (precious int)").await.unwrap();
    t.sink.drop_table(&spec).await.unwrap();
    assert_eq!(t.one::<i64>("SELECT count(*) FROM totals_1").await, 0);
}

#[tokio::test]
async fn a_renamed_table_is_kept_under_its_new_name() {
    let t = Target::start(testkit::Kind::Single).await;
    let mut spec = totals(1);
    t.publish(&spec, vec![total(Some("a"), 1)], 1).await;
    t.sink.apply(&batch(2, spec.stream, vec![TableChange::Update(total(Some("a"), 2))])).await.unwrap();
    t.client.batch_execute("CREATE SCHEMA app").await.unwrap();
    let to = types::TableName::new("app", "Sums");
    t.sink.rename_table(&spec, &to).await.unwrap();
    spec.name = to;
    t.sink.apply(&batch(3, spec.stream, vec![TableChange::Update(total(Some("a"), 3))])).await.unwrap();
    assert_eq!(t.rows("app.\"Sums\"").await, ["a|3"]);
    assert_eq!(t.sink.frontier().await.unwrap().seq, Seq(3));
}
