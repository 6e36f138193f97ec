use crate::support::*;
use std::time::Duration;
use types::Seq;

#[tokio::test]
async fn a_reader_waits_until_its_cut_is_there() {
    for kind in kinds() {
        let t = Target::start(kind).await;
        t.publish(&totals(1), vec![], 1).await;
        assert!(t.sink.wait_requests().await.unwrap().is_empty());
        let readers: Vec<_> = futures_readers(&t, 3).await;
        asked(&t, 3).await;
        let tokens = t.sink.wait_requests().await.unwrap();
        assert_eq!(tokens.len(), 1);
        assert!(t.sink.wait_requests().await.unwrap().is_empty(), "given out once");
        assert!(readers.iter().all(|r| !r.is_finished()));
        t.sink.apply(&sink::SinkBatch { cut: cut(7), ..Default::default() }).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(readers.iter().all(|r| !r.is_finished()), "not answered yet");
        // Cut 8 changed nothing and was not written.
        t.sink.answer_wait(tokens[0], Seq(8)).await.unwrap();
        for reader in readers {
            assert_eq!(tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap().unwrap(), 7);
        }
        // An old answer is none for a new reader.
        let late = futures_readers(&t, 1).await.remove(0);
        asked(&t, 4).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!late.is_finished());
        let restarted = t.another("default").await;
        let tokens = restarted.wait_requests().await.unwrap();
        restarted.answer_wait(tokens[0], Seq(7)).await.unwrap();
        late.await.unwrap().unwrap();
    }
}

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Until this many readers have asked.
async fn asked(t: &Target, readers: i64) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let tokens = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM tributary.wait_tokens";
    while t.one::<i64>(tokens).await < readers {
        assert!(tokio::time::Instant::now() < deadline, "not all readers have asked");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

type Reader = tokio::task::JoinHandle<Result<i64, tokio_postgres::Error>>;

async fn futures_readers(t: &Target, count: usize) -> Vec<Reader> {
    let mut readers = Vec::new();
    for _ in 0..count {
        let client = t.cluster.client().await.unwrap();
        readers.push(tokio::spawn(async move {
            client.query_one("SELECT tributary.wait_for_frontier('60 s')", &[]).await.map(|r| r.get(0))
        }));
    }
    readers
}

#[tokio::test]
async fn a_wait_without_answer_ends_with_what_to_look_at() {
    let t = Target::start(testkit::Kind::Single).await;
    let error = t.client.query_one("SELECT tributary.wait_for_frontier('50 ms')", &[]).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert!(error.message().contains("did not come far enough"), "{error}");
    assert!(error.hint().unwrap().contains("tributary status"));
}

#[tokio::test]
async fn a_fixed_snapshot_cannot_wait_and_any_role_can() {
    let t = Target::start(testkit::Kind::Single).await;
    let error = t
        .client
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT tributary.wait_for_frontier('50 ms')")
        .await
        .unwrap_err();
    assert!(error.as_db_error().unwrap().hint().unwrap().contains("READ COMMITTED"));
    t.client.batch_execute("ROLLBACK; CREATE ROLE anyone; SET ROLE anyone").await.unwrap();
    let error = t.client.query_one("SELECT tributary.wait_for_frontier('10 ms')", &[]).await.unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("did not come far enough"));
    t.client.query("SELECT * FROM tributary.stream_tables, tributary.frontier, tributary.nodes", &[]).await.unwrap();
}
