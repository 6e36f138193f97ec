//! How fast the read loop takes a stream, against `pg_recvlogical`: one transaction of many rows of six columns,
//! streamed again and again to nowhere, variants interleaved.
//!
//!     cargo run --release -p tributary-wal --example capture -- [rows] [rounds] [variant …]
//!
//! FIGURES
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pgoutput::{Decoder, Message};
use testkit::{Cluster, ClusterOptions, Kind};
use wal::{Endpoint, Frame, Pace, ReplicationConnection, StreamOptions};

const PUBLICATION: &str = "capture";

/// One way to read the same stream.
struct Variant {
    name: String,
    endpoint: Option<Endpoint>,
    pace: Pace,
}

fn variants(tcp: &Endpoint, unix: &Endpoint, tls: &Endpoint) -> Vec<Variant> {
    let pause = |micros| Pace { pause: Duration::from_micros(micros), ..Pace::default() };
    let of = |name: &str, endpoint: Option<&Endpoint>, pace| Variant {
        name: name.to_owned(),
        endpoint: endpoint.cloned(),
        pace,
    };
    let mut all = vec![of("pg_recvlogical", None, pause(0)), of("default", Some(tcp), Pace::default())];
    for micros in [0, 100, 200, 300, 500, 1000, 2000] {
        all.push(of(&format!("tcp-{micros}us"), Some(tcp), pause(micros)));
    }
    for micros in [0, 300, 1000] {
        all.push(of(&format!("unix-{micros}us"), Some(unix), pause(micros)));
        all.push(of(&format!("tls-{micros}us"), Some(tls), pause(micros)));
    }
    for bytes in [256, 1024, 16384] {
        all.push(of(&format!("much-{bytes}"), Some(tcp), Pace { much_bytes: bytes, ..Pace::default() }));
    }
    for kib in [64, 1024] {
        all.push(of(&format!("buffer-{kib}k"), Some(tcp), Pace { buffer_bytes: kib << 10, ..Pace::default() }));
    }
    all
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rows: u64 = arguments.next().map_or(Ok(300_000), |a| a.parse()).context("rows")?;
    let rounds: usize = arguments.next().map_or(Ok(3), |a| a.parse()).context("rounds")?;
    let wanted: Vec<String> = arguments.collect();

    let sockets = tempfile::Builder::new().prefix("tributary-capture-").tempdir()?;
    std::fs::set_permissions(sockets.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let mut options = ClusterOptions::new(Kind::Single);
    options.tls = true;
    let directory = sockets.path().display().to_string();
    let cluster = Cluster::start_with(
        options
            .setting("unix_socket_directories", &directory)
            .setting("max_wal_size", "8GB")
            .setting("logical_decoding_work_mem", "1GB"),
    )
    .await?;
    let trust = cluster.node(0).data_dir.join("pg_hba.conf");
    std::fs::write(trust, "host all all 127.0.0.1/32 trust\nlocal all all trust\n")?;
    cluster.run("SELECT pg_reload_conf()").await?;
    tokio::time::sleep(Duration::from_millis(300)).await;

    let tcp = Endpoint::parse(&format!("{}?sslmode=disable", cluster.url()))?;
    let unix = tcp.with_host_port(&directory, tcp.port());
    let tls = Endpoint::parse(&format!("{}?sslmode=require", cluster.url()))?;
    let variants: Vec<Variant> =
        variants(&tcp, &unix, &tls).into_iter().filter(|v| wanted.is_empty() || wanted.contains(&v.name)).collect();

    cluster.run("CREATE TABLE t (id int8 PRIMARY KEY, a int4, b numeric, c text, d timestamptz, e float8)").await?;
    cluster.run(&format!("CREATE PUBLICATION {PUBLICATION} FOR TABLE t")).await?;
    for round in 0..=rounds + 1 {
        let sql = format!("SELECT pg_create_logical_replication_slot('s{round}', 'pgoutput', false, true)");
        cluster.run(&sql).await?;
    }
    let fill = format!(
        "INSERT INTO t SELECT i, i % 1000, i / 7.0, 'user ' || i % 5000, now(), i / 3.0 FROM generate_series(1, {rows}) i"
    );
    cluster.run(&fill).await?;
    cluster.run("CHECKPOINT").await?;
    let client = cluster.client().await?;
    let end: String = client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await?.get(0);

    let mut rates: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 0..=rounds {
        for variant in &variants {
            let (begun, cpu) = (Instant::now(), own_cpu());
            let seen = match &variant.endpoint {
                None => recvlogical(&tcp, &format!("s{}", round + 1), &end).await.map(|()| rows)?,
                // Slot 0 is never confirmed: its stream is always the same.
                Some(endpoint) => Box::pin(stream(endpoint, "s0", variant.pace)).await?,
            };
            anyhow::ensure!(seen == rows, "{}: {seen} rows instead of {rows}", variant.name);
            let seconds = begun.elapsed().as_secs_f64();
            let rate = rows as f64 / seconds / 1000.0;
            let cpu = (own_cpu() - cpu) / seconds * 100.0;
            println!("{round} {:16} {rate:7.0} thousand rows/s, {cpu:3.0} % of a core here", variant.name);
            // The first round warms the caches.
            if round > 0 {
                rates.entry(&variant.name).or_default().push(rate);
            }
        }
    }
    // Other work on the machine only ever makes a run slower: the best run says what a variant can do.
    let figures = |name: &str| {
        let mut all = rates.get(name)?.clone();
        all.sort_by(f64::total_cmp);
        Some((all.get(all.len() / 2).copied()?, all.last().copied()?))
    };
    println!("\n{rounds} interleaved rounds, thousand rows/s and times pg_recvlogical's");
    let (median_base, best_base) = figures("pg_recvlogical").unwrap_or((f64::NAN, f64::NAN));
    for variant in &variants {
        let Some((median, best)) = figures(&variant.name) else { continue };
        let (m, b) = (median / median_base, best / best_base);
        println!("{:16} median {median:5.0} ({m:.2})   best {best:5.0} ({b:.2})", variant.name);
    }
    Ok(())
}

/// Reads the slot's stream to the end of the first transaction with rows, and counts them.
async fn stream(endpoint: &Endpoint, slot: &str, pace: Pace) -> anyhow::Result<u64> {
    let connection = ReplicationConnection::connect(endpoint, "capture").await?;
    let options = StreamOptions {
        publications: vec![PUBLICATION.to_owned()],
        binary: true,
        two_phase: true,
        pace,
        ..StreamOptions::default()
    };
    let mut stream = Box::pin(connection.start(slot, types::Lsn::ZERO, &options)).await?;
    let mut decoder = Decoder::new();
    let mut rows = 0;
    loop {
        let batch = stream.next().await?;
        for frame in &batch {
            let Frame::Data { body, .. } = frame else { continue };
            match decoder.decode(body)?.message {
                Message::Insert(insert) => rows += u64::from(insert.new.len() == 6),
                Message::Commit(_) if rows > 0 => {
                    drop(batch);
                    stream.close().await;
                    return Ok(rows);
                }
                _ => {}
            }
        }
    }
}

async fn recvlogical(endpoint: &Endpoint, slot: &str, end: &str) -> anyhow::Result<()> {
    let mut command = testkit::postgres_command("pg_recvlogical")?;
    let url = format!("host=127.0.0.1 port={} user=postgres dbname=app sslmode=disable", endpoint.port());
    command
        .args(["-d", &url, "-S", slot, "--start", "-f", "/dev/null", "--endpos", end])
        .args(["-o", "proto_version=3", "-o", "binary=true", "-o", "two_phase=on"])
        .args(["-o", &format!("publication_names={PUBLICATION}")])
        .stderr(Stdio::inherit());
    let status = tokio::process::Command::from(command).status().await?;
    anyhow::ensure!(status.success(), "pg_recvlogical failed");
    Ok(())
}

/// This process's CPU time in seconds.
fn own_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}
