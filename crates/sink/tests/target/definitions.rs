use crate::support::*;
use sink::{KeySpec, SinkError};
use types::{Lsn, NodeId, Seq, TableName};

#[tokio::test]
async fn installing_twice_changes_nothing_and_instances_do_not_meet() {
    for kind in kinds() {
        let t = Target::start(kind).await;
        t.publish(&totals(1), vec![total(Some("a"), 1)], 3).await;
        t.sink.install().await.unwrap();
        assert_eq!(t.sink.frontier().await.unwrap().seq, Seq(3));
        assert_eq!(t.sink.list().await.unwrap().len(), 1);
        let other = t.another("b").await;
        other.install().await.unwrap();
        assert!(other.list().await.unwrap().is_empty());
        assert_eq!(other.frontier().await.unwrap().seq, Seq(0));
        assert_eq!(t.one::<i64>("SELECT count(*) FROM tributary_b.stream_tables").await, 0);
    }
}

#[tokio::test]
async fn a_definition_reads_back_as_it_was_written() {
    let t = Target::start(testkit::Kind::Single).await;
    let mut d = definition(&totals(7));
    t.sink.insert(&d).await.unwrap();
    assert_eq!(t.sink.list().await.unwrap(), [d.clone()]);
    let twice = t.sink.insert(&definition(&sink::TableSpec { stream: types::StreamId(8), ..totals(7) })).await;
    assert!(matches!(twice, Err(SinkError::Exists { name }) if name == "public.totals_7"));
    t.sink.set_state(d.id, "failed", "a reason").await.unwrap();
    (d.state, d.reason) = ("failed".into(), "a reason".into());
    assert_eq!(t.sink.list().await.unwrap(), [d.clone()]);
    d.key = KeySpec::RowId;
    d.query = "SELECT 2".into();
    t.sink.replace(&d).await.unwrap();
    assert_eq!(t.sink.list().await.unwrap(), [d.clone()]);
    assert_eq!(
        t.one::<String>("SELECT name || ' ' || state FROM tributary.stream_tables").await,
        "public.totals_7 failed"
    );
    t.sink.remove(d.id).await.unwrap();
    assert!(t.sink.list().await.unwrap().is_empty());
    let (a, b) = (t.sink.new_stream_id().await.unwrap(), t.sink.new_stream_id().await.unwrap());
    assert!(a < b);
}

#[tokio::test]
async fn what_is_in_the_way_of_a_name_is_said_before_anything_is_made() {
    for kind in kinds() {
        let t = Target::start(kind).await;
        t.client
            .batch_execute(
                "CREATE TABLE totals_1 (a int); CREATE VIEW totals_2 AS SELECT 1; CREATE TYPE totals_3 AS ENUM ()",
            )
            .await
            .unwrap();
        for id in 1..=3 {
            let spec = totals(id);
            let error = t.sink.check_free(&spec.name).await.unwrap_err();
            assert!(matches!(&error, SinkError::Exists { .. }), "{error}");
            assert!(matches!(t.sink.create_staging(&spec).await, Err(SinkError::Exists { .. })));
        }
        let error = t.sink.check_free(&TableName::new("nowhere", "x")).await.unwrap_err();
        assert_eq!(error.to_string(), "schema 'nowhere' does not exist in the target database; create it first");
        let error = t.sink.check_free(&TableName::new("tributary", "x")).await.unwrap_err();
        assert!(error.to_string().contains("tributary's own"), "{error}");
        assert_eq!(t.one::<i64>("SELECT count(*) FROM pg_class WHERE relname LIKE '\\_\\_tributary%'").await, 0);
    }
}

#[tokio::test]
async fn a_role_without_rights_is_told_what_it_needs_and_needs_no_more() {
    for kind in kinds() {
        let mut t = Target::start(kind).await;
        t.client.batch_execute("SET citus.enable_ddl_propagation = off; CREATE ROLE poor LOGIN").await.unwrap();
        let poor = connector(&t.cluster.url_as(0, "poor", ""));
        let poor = sink::Sink::with_connector(poor, sink::Instance::new("p").unwrap()).await.unwrap();
        let error = poor.install().await.unwrap_err().to_string();
        assert_eq!(
            error,
            "role 'poor' may not create schema 'tributary_p' of the target database; run `tributary setup` as an administrator"
        );
        t.client.batch_execute("CREATE SCHEMA tributary_p AUTHORIZATION poor").await.unwrap();
        poor.install().await.unwrap();
        let error = poor.check_free(&TableName::new("public", "x")).await.unwrap_err().to_string();
        assert!(error.ends_with("GRANT USAGE, CREATE ON SCHEMA \"public\" TO \"poor\""), "{error}");
        t.client.batch_execute("GRANT USAGE, CREATE ON SCHEMA public TO poor").await.unwrap();
        poor.check_free(&TableName::new("public", "x")).await.unwrap();
        poor.take_over().await.unwrap();
        t.sink = poor;
        let spec = totals(1);
        t.publish(&spec, vec![total(Some("a"), 1)], 1).await;
        let many = (0..100).map(|i| types::TableChange::Insert(total(Some(&format!("r{i}")), i))).collect();
        t.sink.apply(&batch(2, spec.stream, many)).await.unwrap();
        let some =
            vec![types::TableChange::Update(total(Some("a"), 2)), types::TableChange::Delete(region(Some("r1")))];
        t.sink.apply(&batch(3, spec.stream, some)).await.unwrap();
        assert_eq!(t.one::<i64>("SELECT count(*) FROM totals_1").await, 100);
        t.stage(&spec, vec![total(None, 1)]).await.unwrap();
        let again = sink::SinkBatch { cut: cut(4), publish: vec![spec.stream], ..Default::default() };
        t.sink.apply(&again).await.unwrap();
        assert_eq!(t.rows("totals_1").await, ["∅|1"]);
        t.sink.drop_table(&spec).await.unwrap();
    }
}

#[tokio::test]
async fn nodes_are_exactly_those_that_were_given() {
    let t = Target::start(testkit::Kind::Single).await;
    let node = |n: u32, connected| sink::NodeRow {
        node: NodeId(n),
        name: format!("w{n}"),
        host: "h".into(),
        port: 5432,
        position: Lsn(0x1_0000_0001),
        connected,
        reason: if connected { String::new() } else { "away".into() },
    };
    t.sink.set_nodes(&[node(0, true), node(1, true)]).await.unwrap();
    t.sink.set_nodes(&[node(0, false), node(2, true)]).await.unwrap();
    let rows = t
        .client
        .query("SELECT node, position::text, connected, reason FROM tributary.nodes ORDER BY 1", &[])
        .await
        .unwrap();
    let rows: Vec<(i64, String, bool, String)> =
        rows.iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3))).collect();
    assert_eq!(rows, [(0, "1/1".into(), false, "away".into()), (2, "1/1".into(), true, String::new())]);
}
