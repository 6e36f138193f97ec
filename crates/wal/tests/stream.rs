//! Streams of a real server: order, positions, feedback, slowness, and every way to end.
#![allow(clippy::unwrap_used, reason = "a test")]

mod tap;

use std::time::{Duration, Instant};

use tap::{Tap, endpoint, eventually, make_slot, published, single, single_with, start, words};
use types::{Gid, Lsn};
use wal::{ReplicationConnection, SlotKind, WalError, inspect_slot};

#[tokio::test]
async fn changes_come_in_commit_order_with_their_messages() {
    let cluster = single().await;
    published(&cluster).await;
    make_slot(&endpoint(&cluster), "s").await;
    cluster.run("CREATE TABLE unpublished (x int); INSERT INTO unpublished VALUES (1)").await.unwrap();
    cluster.run("INSERT INTO t VALUES (1, 'one'), (2, NULL)").await.unwrap();
    cluster
        .run(
            "BEGIN; UPDATE t SET note = 'two' WHERE id = 2; DELETE FROM t WHERE id = 1; \
                 SELECT pg_logical_emit_message(true, 'mark', 'inside'); ROLLBACK",
        )
        .await
        .unwrap();
    cluster
        .run("BEGIN; UPDATE t SET id = 3 WHERE id = 2; SELECT pg_logical_emit_message(true, 'mark', 'in'); COMMIT")
        .await
        .unwrap();
    cluster.run("SELECT pg_logical_emit_message(false, 'mark', 'alone')").await.unwrap();
    cluster.run("TRUNCATE t").await.unwrap();
    cluster.run("SELECT pg_logical_emit_message(false, 'mark', 'end')").await.unwrap();

    let mut tap = Tap::open(&endpoint(&cluster), "s").await;
    let said = tap.until("message mark end").await;
    let mut seen = words(&said);
    // A transaction without anything published may be left out or be empty.
    while let Some(empty) = seen.windows(2).position(|pair| pair == ["begin", "commit"]) {
        seen.drain(empty..empty + 2);
    }
    let expected = [
        "begin",
        "insert t 1,one",
        "insert t 2,null",
        "commit",
        "begin",
        "update t 3,null",
        "message mark in",
        "commit",
        "message mark alone",
        "begin",
        "truncate t",
        "commit",
        "message mark end",
    ];
    assert_eq!(seen, expected);
    let ends: Vec<Lsn> = said.iter().map(|said| said.end).filter(|end| *end != Lsn::ZERO).collect();
    assert!(ends.is_sorted() && ends.len() >= 3);
}

#[tokio::test]
async fn a_prepared_transaction_comes_at_its_prepare_and_its_decision_later() {
    let cluster = single().await;
    published(&cluster).await;
    make_slot(&endpoint(&cluster), "s").await;
    let mut tap = Tap::open(&endpoint(&cluster), "s").await;
    let client = cluster.client().await.unwrap();
    for sql in [
        "BEGIN",
        "INSERT INTO t VALUES (1, 'kept')",
        "PREPARE TRANSACTION 'g1'",
        "BEGIN",
        "INSERT INTO t VALUES (2, 'gone')",
        "PREPARE TRANSACTION 'g2'",
        "INSERT INTO t VALUES (3, 'plain')",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    let gids = [Gid::from("g1"), Gid::from("nothing"), Gid::from("g2")];
    assert_eq!(wal::prepared_gids(&client, &gids).await.unwrap(), [true, false, true]);
    let said = tap.until("commit").await;
    let expected = [
        "begin prepare g1",
        "insert t 1,kept",
        "prepare g1",
        "begin prepare g2",
        "insert t 2,gone",
        "prepare g2",
        "begin",
        "insert t 3,plain",
        "commit",
    ];
    assert_eq!(words(&said), expected);

    client.batch_execute("ROLLBACK PREPARED 'g2'").await.unwrap();
    client.batch_execute("COMMIT PREPARED 'g1'").await.unwrap();
    let decided = tap.until("commit prepared g1").await;
    assert_eq!(words(&decided), ["rollback prepared g2", "commit prepared g1"]);
    assert_eq!(wal::prepared_gids(&client, &gids).await.unwrap(), [false, false, false]);

    // Confirmed behind the PREPARE, a new stream has the decision only; confirmed before it, everything.
    tap.stream.close().await;
    let mut again = Tap::open(&endpoint(&cluster), "s").await;
    let said = again.until("commit prepared g1").await;
    assert!(words(&said).contains(&"insert t 1,kept"), "nothing was confirmed: {said:?}");
    let prepared = said.iter().find(|said| said.what == "prepare g2").unwrap().end;
    again.feedback().confirm(prepared);
    again.stream.close().await;
    let mut last = Tap::open(&endpoint(&cluster), "s").await;
    let said = last.until("commit prepared g1").await;
    assert_eq!(words(&said), ["begin", "insert t 3,plain", "commit", "rollback prepared g2", "commit prepared g1"]);
}

#[tokio::test]
async fn the_slot_moves_as_far_as_was_confirmed_and_no_further() {
    let cluster = single().await;
    published(&cluster).await;
    let made = make_slot(&endpoint(&cluster), "s").await;
    let client = cluster.client().await.unwrap();
    let confirmed = async || inspect_slot(&client, "s").await.unwrap().unwrap().confirmed_flush.unwrap();
    let mut tap = Tap::open(&endpoint(&cluster), "s").await;
    cluster.run("INSERT INTO t VALUES (1, 'one')").await.unwrap();
    cluster.run("INSERT INTO t VALUES (2, 'two')").await.unwrap();
    let first = tap.until("commit").await.last().unwrap().end;
    if !tap.stream.is_drained() || first == Lsn::ZERO {
        tap.batch().await.unwrap();
    }
    // Longer than a status interval: statuses that confirm nothing have been sent.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(confirmed().await, made.consistent_point);

    let feedback = tap.feedback();
    feedback.confirm(first);
    eventually("the slot moves", async || confirmed().await == first).await;
    feedback.clone().confirm(Lsn(first.0 - 1));
    assert_eq!(feedback.confirmed(), first, "never back");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(confirmed().await, first, "never further");

    // At once, and not with the next status: just behind a status that is a second away. A busy machine may be slow once.
    let mut delays = Vec::new();
    for id in 3..10 {
        cluster.run(&format!("INSERT INTO t VALUES ({id}, 'x')")).await.unwrap();
        let end = tap.until("commit").await.last().unwrap().end;
        let begun = Instant::now();
        feedback.confirm(end);
        eventually("the slot moves", async || confirmed().await == end).await;
        delays.push(begun.elapsed());
    }
    assert!(delays.iter().any(|delay| *delay < Duration::from_millis(500)), "it took {delays:?}");

    let info = inspect_slot(&client, "s").await.unwrap().unwrap();
    assert!(info.active && info.active_pid.is_some() && info.two_phase && !info.is_lost());
    assert_eq!((info.plugin.as_str(), info.database.as_deref()), ("pgoutput", Some("app")));
    assert!(inspect_slot(&client, "other").await.unwrap().is_none());
}

#[tokio::test]
async fn an_idle_stream_reaches_the_position_of_the_server() {
    let cluster = single().await;
    published(&cluster).await;
    make_slot(&endpoint(&cluster), "s").await;
    let client = cluster.client().await.unwrap();
    client.batch_execute("CREATE TABLE other (x text)").await.unwrap();
    let mut tap = Tap::open(&endpoint(&cluster), "s").await;
    // Every place in a page is met, its begin included.
    for length in 0..300 {
        let sql = format!("INSERT INTO other VALUES (repeat('x', {}))", length * 7);
        client.batch_execute(&sql).await.unwrap();
        if length % 10 == 0 {
            // After a switch the next record goes behind the header of a new segment.
            client.batch_execute("SELECT pg_switch_wal()").await.unwrap();
        }
        let now = wal::current_lsn(&client).await.unwrap();
        while tap.alive < now {
            let next = tokio::time::timeout(Duration::from_secs(60), tap.batch());
            next.await.unwrap_or_else(|_| panic!("{} is not reached, only {}", now, tap.alive)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_commit_on_an_idle_stream_is_seen_at_once() {
    let cluster = single().await;
    published(&cluster).await;
    make_slot(&endpoint(&cluster), "s").await;
    let client = cluster.client().await.unwrap();
    let mut tap = Tap::open(&endpoint(&cluster), "s").await;
    let mut delays = Vec::new();
    for id in 0..100 {
        client.execute("INSERT INTO t VALUES ($1, 'x')", &[&id]).await.unwrap();
        let committed = Instant::now();
        tap.until(&format!("insert t {id},x")).await;
        delays.push(committed.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    delays.sort();
    println!("commit to consumer: median {:?}, worst {:?}", delays[50], delays[99]);
    // On a busy machine many wait for the processor; a stream that looks only now and then has none that is quick.
    assert!(delays[10] < Duration::from_millis(20), "{delays:?}");
}

#[tokio::test]
async fn values_larger_than_every_buffer_come_whole() {
    let cluster = single().await;
    published(&cluster).await;
    make_slot(&endpoint(&cluster), "s").await;
    let mut tap = Tap::open(&endpoint(&cluster), "s").await;
    let sizes = [100_000, 262_144, 1_000_000, 30_000_000, 200];
    for (id, size) in sizes.iter().enumerate() {
        let sql =
            format!("INSERT INTO t SELECT {id}, string_agg(md5(i::text), '') FROM generate_series(1, {size} / 32) i");
        cluster.run(&sql).await.unwrap();
    }
    let last = format!("insert t {},{} bytes", sizes.len() - 1, sizes[sizes.len() - 1] / 32 * 32);
    let said = tap.until(&last).await;
    for (id, size) in sizes.iter().enumerate() {
        let row = format!("insert t {id},{} bytes", size / 32 * 32);
        assert!(said.iter().any(|said| said.what == row), "no {row}");
    }
}

#[tokio::test]
async fn a_slow_consumer_loses_neither_rows_nor_its_connection() {
    let cluster = single_with(&[("wal_sender_timeout", "4s")]).await;
    published(&cluster).await;
    make_slot(&endpoint(&cluster), "s").await;
    let mut tap = Tap::open(&endpoint(&cluster), "s").await;
    cluster.run("INSERT INTO t SELECT i, repeat('x', 90) FROM generate_series(1, 200000) i").await.unwrap();
    // Three times the server's patience, with every queue and socket buffer full.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let said = tap.until("commit").await;
    let rows = said.iter().filter(|said| said.what.starts_with("insert")).count();
    assert_eq!(rows, 200_000);
    assert!(said.windows(2).all(|pair| pair[0].what != pair[1].what), "no row comes twice");
}

#[tokio::test]
async fn a_closed_stream_has_let_go_of_its_slot() {
    let cluster = single().await;
    published(&cluster).await;
    let at = endpoint(&cluster);
    make_slot(&at, "s").await;
    for _ in 0..5 {
        let stream = start(&at, "s").await.unwrap();
        let taken = start(&at, "s").await.unwrap_err();
        assert!(taken.is_transient() && taken.sql_state() == Some("55006"), "{taken:?}");
        let begun = Instant::now();
        stream.close().await;
        assert!(begun.elapsed() < Duration::from_secs(20));
        start(&at, "s").await.unwrap().close().await;
    }
    let client = cluster.client().await.unwrap();
    drop(start(&at, "s").await.unwrap());
    eventually("a dropped stream lets go too", async || !inspect_slot(&client, "s").await.unwrap().unwrap().active)
        .await;
    assert!(wal::drop_slot_if_exists(&client, "s").await.unwrap());
    assert!(!wal::drop_slot_if_exists(&client, "s").await.unwrap());
}

#[tokio::test]
async fn closing_in_the_middle_of_a_large_transaction_does_not_wait_for_it() {
    let cluster = single().await;
    published(&cluster).await;
    let at = endpoint(&cluster);
    make_slot(&at, "s").await;
    cluster.run("INSERT INTO t SELECT i, repeat('x', 90) FROM generate_series(1, 300000) i").await.unwrap();
    let mut tap = Tap::open(&at, "s").await;
    tap.batch().await.unwrap();
    let begun = Instant::now();
    tap.stream.close().await;
    let closed = begun.elapsed();
    let again = async || match start(&at, "s").await {
        Ok(stream) => Some(stream),
        Err(error) => {
            assert!(error.is_transient(), "{error}");
            None
        }
    };
    let mut stream = None;
    for _ in 0..600 {
        stream = again().await;
        if stream.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let begun = Instant::now();
    let said = Tap::of(stream.unwrap()).until("commit").await;
    assert_eq!(said.iter().filter(|said| said.what.starts_with("insert")).count(), 300_000, "all of it again");
    let whole = begun.elapsed();
    assert!(closed < Duration::from_secs(2).max(whole / 2), "{closed:?} to close, {whole:?} for all of it");
}

#[tokio::test]
async fn a_slot_removed_under_the_stream_is_lost() {
    let cluster = single().await;
    published(&cluster).await;
    let at = endpoint(&cluster);
    make_slot(&at, "s").await;
    let mut tap = Tap::open(&at, "s").await;
    let client = cluster.client().await.unwrap();
    let kill = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 's'";
    client.batch_execute(kill).await.unwrap();
    let ended = tap.end().await;
    assert!(ended.is_transient(), "the connection's end alone may heal: {ended:?}");
    assert!(matches!(tap.batch().await, Err(WalError::Closed)));
    eventually("the slot is free", async || match wal::drop_slot_if_exists(&client, "s").await {
        Ok(dropped) => dropped,
        Err(error) => {
            assert!(error.is_transient(), "it may still be in use: {error}");
            false
        }
    })
    .await;
    let lost = start(&at, "s").await.unwrap_err();
    assert!(matches!(&lost, WalError::SlotLost { slot, .. } if slot == "s") && !lost.is_transient(), "{lost:?}");
}

#[tokio::test]
async fn a_slot_whose_wal_was_removed_is_lost() {
    let cluster = single_with(&[("max_slot_wal_keep_size", "1MB"), ("max_wal_size", "64MB")]).await;
    published(&cluster).await;
    let at = endpoint(&cluster);
    make_slot(&at, "s").await;
    let client = cluster.client().await.unwrap();
    for _ in 0..4 {
        client
            .batch_execute("INSERT INTO t SELECT 1, 'x' WHERE false; SELECT pg_switch_wal(); CHECKPOINT")
            .await
            .unwrap();
        client.batch_execute("SELECT pg_logical_emit_message(false, 'x', repeat('x', 100000))").await.unwrap();
    }
    let info = inspect_slot(&client, "s").await.unwrap().unwrap();
    assert!(info.is_lost(), "{info:?}");
    let lost = start(&at, "s").await.unwrap_err();
    assert!(matches!(lost, WalError::SlotLost { .. }), "{lost:?}");
}

#[tokio::test]
async fn after_a_crash_of_the_server_the_stream_goes_on_where_it_was_confirmed() {
    let cluster = single().await;
    published(&cluster).await;
    let at = endpoint(&cluster);
    make_slot(&at, "s").await;
    let mut tap = Tap::open(&at, "s").await;
    cluster.run("INSERT INTO t VALUES (1, 'one')").await.unwrap();
    tap.until("commit").await;
    cluster.stop_immediate(0).await.unwrap();
    let ended = tap.end().await;
    assert!(ended.is_transient(), "{ended:?}");
    let away = start(&at, "s").await.unwrap_err();
    assert!(away.is_transient(), "{away:?}");
    cluster.start_node(0).await.unwrap();
    cluster.run("INSERT INTO t VALUES (2, 'two')").await.unwrap();
    let mut again = Tap::open(&at, "s").await;
    let said = again.until("insert t 2,two").await;
    assert!(words(&said).contains(&"insert t 1,one"), "it was not confirmed: {said:?}");
}

#[tokio::test]
async fn a_server_can_be_shut_down_while_everything_is_confirmed() {
    let cluster = single().await;
    published(&cluster).await;
    let at = endpoint(&cluster);
    make_slot(&at, "s").await;
    let mut tap = Tap::open(&at, "s").await;
    let feedback = tap.feedback();
    let follow = tokio::spawn(async move {
        loop {
            match tap.batch().await {
                Ok(_) => feedback.confirm(tap.alive),
                Err(error) => return error,
            }
        }
    });
    cluster.run("INSERT INTO t VALUES (1, 'one')").await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), cluster.stop(0)).await.unwrap().unwrap();
    assert!(follow.await.unwrap().is_transient());
}

#[tokio::test]
async fn making_a_slot_waits_for_transactions_and_can_be_cancelled() {
    let cluster = single().await;
    published(&cluster).await;
    let at = endpoint(&cluster);
    let mut writer = cluster.client().await.unwrap();
    let open = writer.transaction().await.unwrap();
    open.batch_execute("INSERT INTO t VALUES (1, 'open')").await.unwrap();
    {
        let mut connection = ReplicationConnection::connect(&at, "waits").await.unwrap();
        let kind = SlotKind { temporary: true, two_phase: false };
        let making = connection.create_slot("waits", kind, true);
        assert!(tokio::time::timeout(Duration::from_secs(1), making).await.is_err(), "a transaction is open");
        assert!(matches!(connection.identify_system().await, Err(WalError::Closed)));
    }
    let client = cluster.client().await.unwrap();
    eventually("the command has ended at the server", async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'waits'";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    assert!(inspect_slot(&client, "waits").await.unwrap().is_none());
    open.commit().await.unwrap();
}

#[tokio::test]
async fn errors_of_commands_leave_the_connection_usable() {
    let cluster = single().await;
    let at = endpoint(&cluster);
    make_slot(&at, "s").await;
    let mut connection = ReplicationConnection::connect(&at, "test").await.unwrap();
    let taken = connection.create_slot("s", SlotKind::default(), false).await.unwrap_err();
    assert!(taken.sql_state() == Some("42710") && !taken.is_transient(), "{taken:?}");
    connection.identify_system().await.unwrap();
    connection.drop_slot("s").await.unwrap();
    assert_eq!(connection.drop_slot("s").await.unwrap_err().sql_state(), Some("42704"));
}

#[tokio::test]
async fn a_publication_that_is_missing_is_named() {
    let cluster = single().await;
    published(&cluster).await;
    let at = endpoint(&cluster);
    make_slot(&at, "s").await;
    let client = cluster.client().await.unwrap();
    wal::drop_publication(&client, tap::PUBLICATION).await.unwrap();
    client.batch_execute("INSERT INTO t VALUES (1, 'one')").await.unwrap();
    let error = Tap::open(&at, "s").await.end().await;
    assert!(!error.is_transient() && error.to_string().contains("\"tap\""), "{error}");
    assert!(matches!(error, WalError::Server(_)), "{error:?}");
}
