//! How fast the read loop takes a stream, against `pg_recvlogical`: one transaction of many rows of six columns,
//! streamed again and again to nowhere, variants interleaved.
//!
//!     cargo run -p tributary-wal --example capture -- [rows] [rounds, at most 38] [variant …]
//!
//! The figures it gave, as ratios to `pg_recvlogical` in the same rounds, are in the header of `src/reader.rs`.
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pgoutput::{Decoder, Message};
use testkit::{Cluster, ClusterOptions, Kind};
use tokio_postgres::Client;
use wal::{Endpoint, Frame, Pace, ReplicationConnection, StreamOptions};

const PUBLICATION: &str = "capture";

/// One way to read the same stream.
struct Variant {
    name: String,
    endpoint: Option<Endpoint>,
    pace: Pace,
}

fn variants(tcp: &Endpoint, unix: &Endpoint, tls: &Endpoint) -> Vec<Variant> {
    let pause = |micros| Pace {
        pause: Duration::from_micros(micros),
        busy: Duration::from_micros(if micros == 0 { 0 } else { 1000 }),
        ..Pace::default()
    };
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

    let mut runs: BTreeMap<&str, Vec<Run>> = BTreeMap::new();
    for round in 0..=rounds {
        for variant in &variants {
            let (begun, own) = (Instant::now(), cpu_of("self"));
            let (seen, server) = match &variant.endpoint {
                None => (rows, recvlogical(&client, &tcp, &format!("s{}", round + 1), &end).await?),
                // Slot 0 is never confirmed: its stream is always the same.
                Some(endpoint) => Box::pin(stream(&client, endpoint, "s0", variant.pace)).await?,
            };
            anyhow::ensure!(seen == rows, "{}: {seen} rows instead of {rows}", variant.name);
            let a_row = |seconds: f64| seconds * 1e6 / rows as f64;
            let run = Run {
                rate: rows as f64 / begun.elapsed().as_secs_f64() / 1000.0,
                server: a_row(server),
                own: a_row(cpu_of("self") - own),
            };
            println!("{round} {:16} {run}", variant.name);
            // The first round warms the caches.
            if round > 0 {
                runs.entry(&variant.name).or_default().push(run);
            }
        }
    }
    // Other work on the machine only ever makes a run slower: the best run says what a variant can do.
    // The processor times hardly depend on it.
    println!("\n{rounds} interleaved rounds; behind the figures the ratio to pg_recvlogical's");
    let figures = |name: &str| runs.get(name).map(|runs| Figures::of(runs));
    let base = figures("pg_recvlogical");
    for variant in &variants {
        let Some(f) = figures(&variant.name) else { continue };
        let ratio = |of: fn(&Figures) -> f64| base.as_ref().map_or(f64::NAN, |base| of(&f) / of(base));
        println!(
            "{:16} rows/s median {:4.0}k ({:.2}), best {:4.0}k ({:.2}); server {:.2} µs a row ({:.2}), own {:.2} µs",
            variant.name,
            f.median,
            ratio(|f| f.median),
            f.best,
            ratio(|f| f.best),
            f.server,
            ratio(|f| f.server),
            f.own
        );
    }
    Ok(())
}

/// One reading of the stream: thousand rows a second, and processor time in microseconds a row.
#[derive(Clone, Copy)]
struct Run {
    rate: f64,
    server: f64,
    own: f64,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:5.0}k rows/s, server {:.2} µs a row, own {:.2} µs", self.rate, self.server, self.own)
    }
}

/// What the runs of a variant come to.
struct Figures {
    median: f64,
    best: f64,
    server: f64,
    own: f64,
}

impl Figures {
    fn of(runs: &[Run]) -> Self {
        let sorted = |of: fn(&Run) -> f64| {
            let mut all: Vec<f64> = runs.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let middle = |of: fn(&Run) -> f64| sorted(of).get(runs.len() / 2).copied().unwrap_or(f64::NAN);
        Self {
            median: middle(|run| run.rate),
            best: sorted(|run| run.rate).last().copied().unwrap_or(f64::NAN),
            server: middle(|run| run.server),
            own: middle(|run| run.own),
        }
    }
}

/// Reads the slot's stream to the end of the first transaction with rows, and counts them; also the walsender's
/// processor time.
async fn stream(client: &Client, endpoint: &Endpoint, slot: &str, pace: Pace) -> anyhow::Result<(u64, f64)> {
    let connection = ReplicationConnection::connect(endpoint, "capture").await?;
    let options = StreamOptions {
        publications: vec![PUBLICATION.to_owned()],
        binary: true,
        two_phase: true,
        pace,
        ..StreamOptions::default()
    };
    let mut stream = Box::pin(connection.start(slot, types::Lsn::ZERO, &options)).await?;
    let sender = walsender(client, slot).await?.context("no walsender")?;
    let mut decoder = Decoder::new();
    let mut rows = 0;
    loop {
        let batch = stream.next().await?;
        for frame in &batch {
            let Frame::Data { body, .. } = frame else { continue };
            match decoder.decode(body)?.message {
                Message::Insert(insert) => rows += u64::from(insert.new.len() == 6),
                Message::Commit(_) if rows > 0 => {
                    let server = cpu_of(&sender);
                    drop(batch);
                    stream.close().await;
                    return Ok((rows, server));
                }
                _ => {}
            }
        }
    }
}

/// Lets PostgreSQL's own client read the slot's stream; the walsender's processor time.
async fn recvlogical(client: &Client, endpoint: &Endpoint, slot: &str, end: &str) -> anyhow::Result<f64> {
    let mut command = testkit::postgres_command("pg_recvlogical")?;
    let url = format!("host=127.0.0.1 port={} user=postgres dbname=app sslmode=disable", endpoint.port());
    command
        .args(["-d", &url, "-S", slot, "--start", "-f", "/dev/null", "--endpos", end])
        .args(["-o", "proto_version=3", "-o", "binary=true", "-o", "two_phase=on"])
        .args(["-o", &format!("publication_names={PUBLICATION}")])
        .stderr(Stdio::inherit());
    let mut child = tokio::process::Command::from(command).spawn()?;
    let mut sender = None;
    let mut server = 0.0;
    loop {
        if sender.is_none() {
            sender = walsender(client, slot).await?;
        }
        // It is gone when the client is: the last look before that counts.
        server = sender.as_deref().map_or(server, |sender| cpu_of(sender).max(server));
        if let Ok(status) = tokio::time::timeout(Duration::from_millis(5), child.wait()).await {
            anyhow::ensure!(status?.success(), "pg_recvlogical failed");
            return Ok(server);
        }
    }
}

/// The process that serves a slot.
async fn walsender(client: &Client, slot: &str) -> anyhow::Result<Option<String>> {
    let sql = "SELECT active_pid::text FROM pg_replication_slots WHERE slot_name = $1";
    Ok(client.query_one(sql, &[&slot]).await?.get(0))
}

/// A process's processor time in seconds, 0 when it is gone.
fn cpu_of(process: &str) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}
