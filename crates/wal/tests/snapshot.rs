//! Reading tables at a known position: exact values of every type, no gap to the stream, bounded and breakable.
#![allow(clippy::unwrap_used, reason = "a test")]

mod tap;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use tap::{Tap, endpoint, eventually, make_slot, published, single, table};
use types::{Field, Row, TableName};
use wal::{COPY_SIGNATURE, Endpoint, SnapshotReader, WalError, inspect_slot};

async fn read(reader: &SnapshotReader, table: &TableName, columns: &[&str]) -> Vec<Row> {
    let columns: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
    let pieces: Vec<Vec<Row>> = reader.copy(table, &columns).await.unwrap().try_collect().await.unwrap();
    pieces.into_iter().flatten().collect()
}

/// Rows as bytes that COPY takes back.
fn binary(rows: &[Row]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(COPY_SIGNATURE);
    out.put_u64(0);
    for row in rows {
        out.put_i16(row.fields().count() as i16);
        for field in row.fields() {
            match field {
                Field::Value(v) => {
                    out.put_i32(v.len() as i32);
                    out.put_slice(v);
                }
                _ => out.put_i32(-1),
            }
        }
    }
    out.put_i16(-1);
    out.freeze()
}

#[tokio::test]
async fn values_of_every_type_come_out_as_they_went_in() {
    let cluster = single().await;
    let client = cluster.client().await.unwrap();
    client
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TYPE pair AS (a int, b text);
             CREATE DOMAIN positive AS numeric(20,5) CHECK (value > 0);
             CREATE TABLE odd (id int PRIMARY KEY, b bool, i2 int2, i8 int8, f4 float4, f8 float8, n numeric,
               p positive, t text, v varchar(9), c char(5), y bytea, d date, ti time, tz timetz, ts timestamp,
               tstz timestamptz, iv interval, u uuid, j json, jb jsonb, m mood, pr pair, ar int[], tar text[][],
               r int4range, mr nummultirange, ip inet, mac macaddr, bi bit(3), vb varbit, po point, x xml, ch \"char\",
               na name, l pg_lsn, tv tsvector, \"o'dd \"\"name\" int);
             INSERT INTO odd VALUES (1, true, -32768, 9223372036854775807, 'NaN', '-Infinity', 'NaN', 12.34500, 'ä€😀',
               'v', 'c', '\\x00ff', 'infinity', '24:00', '12:00+05:30', '-infinity', '2020-01-01 00:00:00.000001+02',
               '1 mon -3 days 04:05:06.789', '00000000-0000-0000-0000-000000000001', '{\"a\" : 1}', '{\"b\": [null]}',
               'glad', '(1,\"x,y\")', '{1,NULL,3}', '{{a,b},{c,d}}', '[1,5)', '{[1,2),[3,)}', '::1/64',
               '08:00:2b:01:02:03', '101', '1', '(1,2)', '<a/>', 'x', 'name', '16/B374D848', 'a:1 b:2', 7);
             INSERT INTO odd (id) VALUES (2);
             INSERT INTO odd (id, n, f8, t, y) VALUES (3, 'Infinity', '-0', '', ''), (4, 1e-1000, 1e-300, repeat('x', 700000), ''),
               (5, -0.000, 'NaN', E'\\n\\t', '\\x');
             CREATE TABLE copy (LIKE odd)",
        )
        .await
        .unwrap();
    let at = endpoint(&cluster);
    let reader = SnapshotReader::open(&at, "test", "snap", 2).await.unwrap();
    let names = client
        .query(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = 'odd'::regclass AND attnum > 0 ORDER BY attnum",
            &[],
        )
        .await
        .unwrap();
    let names: Vec<String> = names.iter().map(|row| row.get(0)).collect();
    let columns: Vec<&str> = names.iter().map(String::as_str).collect();
    let rows = read(&reader, &table("odd"), &columns).await;
    assert_eq!(rows.len(), 5);

    let sink = client.copy_in("COPY copy FROM STDIN (FORMAT binary)").await.unwrap();
    let mut sink = Box::pin(sink);
    sink.send(binary(&rows)).await.unwrap();
    assert_eq!(sink.as_mut().finish().await.unwrap(), 5);
    // By the text of whole rows: some of the types have no equality.
    let differ = "SELECT count(*) FROM ((SELECT odd::text FROM odd EXCEPT ALL SELECT copy::text FROM copy) \
                  UNION ALL (SELECT copy::text FROM copy EXCEPT ALL SELECT odd::text FROM odd)) d";
    assert_eq!(client.query_one(differ, &[]).await.unwrap().get::<_, i64>(0), 0);

    // Columns in the order that was asked for, the odd name included.
    let two = read(&reader, &table("odd"), &["o'dd \"name", "id"]).await;
    let first = two.iter().find(|row| row.field(1) == Field::Value(&[0, 0, 0, 1])).unwrap();
    assert_eq!(first.field(0), Field::Value(&[0, 0, 0, 7]));
    reader.close().await;
    assert!(inspect_slot(&client, "snap").await.unwrap().is_none(), "nothing is left behind");
}

#[tokio::test]
async fn snapshot_and_stream_have_neither_gap_nor_overlap() {
    let cluster = single().await;
    published(&cluster).await;
    let at = endpoint(&cluster);
    make_slot(&at, "s").await;
    let mut tap = Tap::open(&at, "s").await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..3 {
        let (client, stop) = (cluster.client().await.unwrap(), Arc::clone(&stop));
        writers.spawn(async move {
            let mut id = writer;
            while !stop.load(Ordering::Relaxed) {
                let sql =
                    format!("BEGIN; INSERT INTO t VALUES ({id}, 'a'); INSERT INTO t VALUES ({}, 'b'); COMMIT", id + 3);
                client.batch_execute(&sql).await.unwrap();
                id += 6;
            }
        });
    }
    for round in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let reader = SnapshotReader::open(&at, "test", &format!("snap{round}"), 1).await.unwrap();
        let position = reader.position();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let rows = read(&reader, &table("t"), &["id"]).await;
        reader.close().await;
        let id = |row: &Row| i32::from_be_bytes(row.field(0).value().unwrap().try_into().unwrap());
        let snapshot: BTreeSet<i32> = rows.iter().map(id).collect();
        assert_eq!(snapshot.len(), rows.len());

        // Everything that the stream commits before the position is in the snapshot, and nothing else.
        let mark = format!("round {round}");
        cluster.run(&format!("SELECT pg_logical_emit_message(false, 'mark', '{mark}')")).await.unwrap();
        let mut streamed = BTreeSet::new();
        // From the slot's begin, as nothing was confirmed.
        tap.stream.close().await;
        tap = Tap::open(&at, "s").await;
        let mut open: Vec<i32> = Vec::new();
        for said in tap.until(&format!("message mark {mark}")).await {
            if let Some(row) = said.what.strip_prefix("insert t ") {
                open.push(row.split(',').next().unwrap().parse().unwrap());
            } else if said.what == "commit" {
                // A commit that ends at the position is before it.
                if said.end <= position {
                    streamed.extend(open.drain(..));
                }
                open.clear();
            }
        }
        assert_eq!(streamed, snapshot, "round {round}, position {position}");
    }
    stop.store(true, Ordering::Relaxed);
    writers.join_all().await;
}

#[tokio::test]
async fn a_large_table_comes_in_small_pieces_and_readers_take_turns() {
    let cluster = single().await;
    let client = cluster.client().await.unwrap();
    let sql = "CREATE TABLE large AS SELECT i AS id, repeat(md5(i::text), 4) AS note FROM generate_series(1, 200000) i;
               CREATE TABLE child () INHERITS (large); INSERT INTO child VALUES (0, 'no'); CREATE TABLE empty (x int)";
    client.batch_execute(sql).await.unwrap();
    let reader = SnapshotReader::open(&endpoint(&cluster), "test", "snap", 2).await.unwrap();
    client.batch_execute("DELETE FROM large; TRUNCATE empty").await.unwrap();
    let columns = ["id".to_owned(), "note".to_owned()];
    let count = async || {
        let mut pieces = reader.copy(&table("large"), &columns).await.unwrap();
        let mut rows = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece.unwrap();
            let bytes: usize = piece.iter().map(|row| row.as_bytes().len()).sum();
            assert!(bytes < 512 * 1024, "a piece of {bytes} bytes");
            rows += piece.len();
        }
        rows
    };
    // Four at once on two sessions; the rows of the table itself, as they were.
    assert_eq!(tokio::join!(count(), count(), count(), count()), (200_000, 200_000, 200_000, 200_000));
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test' AND backend_type = 'client backend'";
    assert!(client.query_one(sessions, &[]).await.unwrap().get::<_, i64>(0) <= 2);
    reader.close().await;
}

#[tokio::test]
async fn reading_that_is_dropped_or_fails_leaves_the_others_alone() {
    let cluster = single().await;
    let client = cluster.client().await.unwrap();
    let sql = "CREATE TABLE large AS SELECT i AS id, repeat('x', 1000) AS note FROM generate_series(1, 300000) i;
               CREATE ROLE weak LOGIN REPLICATION; CREATE TABLE small (id int); INSERT INTO small VALUES (1)";
    client.batch_execute(sql).await.unwrap();
    let reader = SnapshotReader::open(&endpoint(&cluster), "test", "snap", 1).await.unwrap();
    let mut pieces = reader.copy(&table("large"), &["note".to_owned()]).await.unwrap();
    pieces.next().await.unwrap().unwrap();
    drop(pieces);
    assert_eq!(read(&reader, &table("small"), &["id"]).await.len(), 1);
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%large%' AND state = 'active'";
    eventually("the dropped COPY ends at the server", async || {
        client.query_one(busy, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    let missing = reader.copy(&table("nothing"), &["id".to_owned()]).await.map(drop).unwrap_err();
    assert_eq!(missing.sql_state(), Some("42P01"));
    assert_eq!(read(&reader, &table("small"), &["id"]).await.len(), 1);
    reader.close().await;

    let weak = Endpoint::parse(&cluster.url_as(0, "weak", "")).unwrap();
    let reader = SnapshotReader::open(&weak, "test", "snap", 1).await.unwrap();
    let refused = reader.copy(&table("small"), &["id".to_owned()]).await.map(drop).unwrap_err();
    assert!(matches!(refused, WalError::NoRight { .. }) && refused.to_string().contains("public.small"), "{refused}");
    drop(reader);
    eventually("a dropped reader leaves no slot", async || inspect_slot(&client, "snap").await.unwrap().is_none())
        .await;
}
