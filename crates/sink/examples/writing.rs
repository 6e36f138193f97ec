//! What keeping a one-to-one projection costs at the target, as ratios to a binary COPY of the same rows into the same
//! table, and what a small cut costs.
//!
//! `cargo run --release -p tributary-sink --example writing [rows]`

use std::time::Instant;

use sink::{Definition, KeySpec, Sink, SinkBatch, TableSpec};
use testkit::{Cluster, ClusterOptions, Kind};
use types::{Column, Cut, PgType, Positions, Row, RowBuilder, Seq, StreamId, TableChange, TableName, oid};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let rows: i64 = std::env::args().nth(1).map_or(Ok(200_000), |n| n.parse())?;
    let mut options = ClusterOptions::new(Kind::Single);
    options.workers = 0;
    let cluster = Cluster::start_with(options).await?;
    let sink = Sink::connect(&wal::Endpoint::parse(&cluster.url())?, "default", types::Consistency::Atomic).await?;
    sink.install().await?;
    sink.take_over().await?;
    let spec = spec();
    publish(&sink, &spec).await?;
    let client = cluster.client().await?;
    let mut seq = 1;
    for round in 0..5 {
        client
            .batch_execute(
                "DROP TABLE IF EXISTS copied; CREATE TABLE copied (LIKE projection INCLUDING ALL); CHECKPOINT",
            )
            .await?;
        let copy = copy(&client, rows).await?;
        let mut line = format!("round {round}: copy {:.0} rows/s;", rows as f64 / copy);
        let kinds: [(&str, Change); 3] = [
            ("insert", |id| TableChange::Insert(row(id, 1))),
            ("update", |id| TableChange::Update(row(id, 2))),
            ("delete", |id| TableChange::Delete(key(id))),
        ];
        for (name, change) in kinds {
            for size in [1000, 10_000] {
                // Half of the rows in cuts of one size, the other half in cuts of the other.
                let half = if size == 1000 { 0..rows / 2 } else { rows / 2..rows };
                let ids: Vec<i64> = half.map(|id| id + round * rows).collect();
                let begin = Instant::now();
                for chunk in ids.chunks(size) {
                    seq += 1;
                    apply(&sink, &spec, seq, chunk.iter().map(|&id| change(id)).collect()).await?;
                }
                let ratio = begin.elapsed().as_secs_f64() / (copy / 2.0);
                line.push_str(&format!(" {name} by {size} {ratio:.2}x"));
            }
        }
        println!("{line}");
    }
    let mut small = Vec::new();
    for n in 0..500 {
        seq += 1;
        let changes = (0..10).map(|i| TableChange::Insert(row(-1 - (n * 10 + i), 1))).collect();
        let begin = Instant::now();
        apply(&sink, &spec, seq, changes).await?;
        seq += 1;
        apply(&sink, &spec, seq, (0..10).map(|i| TableChange::Update(row(-1 - (n * 10 + i), 2))).collect()).await?;
        small.push(begin.elapsed().as_secs_f64() * 500.0);
    }
    small.sort_by(f64::total_cmp);
    println!("a cut of 10 rows: p50 {:.2} ms, p99 {:.2} ms", small[small.len() / 2], small[small.len() * 99 / 100]);
    Ok(())
}

/// A row's change.
type Change = fn(i64) -> TableChange;

fn spec() -> TableSpec {
    let column = |name: &str, ty, sql_type: &str| Column {
        name: name.into(),
        ty: PgType { oid: ty, typmod: -1, collation: if ty == oid::TEXT { types::collation::DEFAULT } else { 0 } },
        sql_type: sql_type.into(),
        not_null: true,
    };
    TableSpec {
        stream: StreamId(1),
        name: TableName::new("public", "projection"),
        columns: vec![
            column("id", oid::INT8, "bigint"),
            column("user_id", oid::INT8, "bigint"),
            column("status", oid::TEXT, "text"),
            column("amount", oid::INT8, "bigint"),
            column("at", oid::TIMESTAMPTZ, "timestamptz"),
        ],
        key: KeySpec::Columns(vec![0]),
    }
}

fn row(id: i64, version: i64) -> Row {
    let mut b = RowBuilder::with_capacity(64);
    for value in [
        &id.to_be_bytes()[..],
        &(id % 1000).to_be_bytes(),
        b"delivered",
        &(id * version).to_be_bytes(),
        &id.to_be_bytes(),
    ] {
        b.push_value(Some(value));
    }
    b.finish()
}

fn key(id: i64) -> Row {
    let mut b = RowBuilder::new();
    b.push_value(Some(&id.to_be_bytes()));
    b.finish()
}

async fn publish(sink: &Sink, spec: &TableSpec) -> anyhow::Result<()> {
    sink.insert(&Definition {
        id: spec.stream,
        name: spec.name.clone(),
        query: String::new(),
        plan: serde_json::Value::Null,
        options: serde_json::Value::Null,
        state: "building".into(),
        reason: String::new(),
        columns: spec.columns.clone(),
        key: spec.key.clone(),
    })
    .await?;
    sink.create_staging(spec).await?;
    let (nothing, receiver) = tokio::sync::mpsc::channel(1);
    drop(nothing);
    sink.copy_into_staging(spec, receiver).await?;
    let cut = Cut { seq: Seq(1), positions: Positions::default() };
    Ok(sink.apply(&SinkBatch { cut, publish: vec![spec.stream], ..SinkBatch::default() }).await?)
}

async fn apply(sink: &Sink, spec: &TableSpec, seq: u64, changes: Vec<TableChange>) -> anyhow::Result<()> {
    let cut = Cut { seq: Seq(seq), positions: Positions::default() };
    Ok(sink.apply(&SinkBatch { cut, streams: vec![(spec.stream, changes)], ..SinkBatch::default() }).await?)
}

/// Seconds for one binary COPY of the rows.
async fn copy(client: &tokio_postgres::Client, rows: i64) -> anyhow::Result<f64> {
    use futures_util::SinkExt;
    let mut pieces = Vec::new();
    let mut bytes = b"PGCOPY\n\xFF\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for id in 0..rows {
        bytes.extend(5_i16.to_be_bytes());
        for field in row(id, 1).fields() {
            let value = field.value().unwrap_or_default();
            bytes.extend((value.len() as i32).to_be_bytes());
            bytes.extend(value);
        }
        if bytes.len() > 128 << 10 {
            pieces.push(bytes::Bytes::from(std::mem::take(&mut bytes)));
        }
    }
    bytes.extend((-1_i16).to_be_bytes());
    pieces.push(bytes.into());
    let begin = Instant::now();
    let sink = client.copy_in("COPY copied FROM STDIN (FORMAT binary)").await?;
    let mut sink = std::pin::pin!(sink);
    for piece in pieces {
        sink.send(piece).await?;
    }
    sink.as_mut().finish().await?;
    Ok(begin.elapsed().as_secs_f64())
}
