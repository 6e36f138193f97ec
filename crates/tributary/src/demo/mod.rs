//! `tributary demo`: a cluster of three nodes made for the purpose, a shop on it, stream tables over the shop, writers
//! that go on while a daemon keeps them, and at the end the proof that every one is exact.
//!
//! ```text
//!   cluster ─▶ shop ─▶ daemon (a process of its own) ─▶ stream tables ─▶ live part ─▶ wait ─▶ verify ─▶ summary
//! ```
//!
//! Everything that is started ends with this function, also on an error or an interrupt.

mod live;
mod proof;
mod screen;
mod shop;
mod writer;

use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use proto::v1;
use testkit::{Cluster, Daemon, DaemonOptions, Kind};

use crate::cli::client::{cluster as cluster_client, refused, stream_tables};
use crate::cli::{progress, text};
use crate::demo::screen::Screen;

/// What the demo is to show.
#[derive(Debug, Clone, Args)]
pub(crate) struct DemoOptions {
    /// How long the shop is written to while the stream tables are watched
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Use partitions over postgres_fdw, even where Citus is installed
    #[arg(long)]
    pub(crate) fdw: bool,
}

/// Runs the demo; an error when something failed or a stream table was not exact.
pub(crate) async fn run(options: DemoOptions) -> anyhow::Result<()> {
    tokio::select! {
        ended = Box::pin(show(&options)) => ended,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("listening for an interrupt")?;
            bail!("interrupted; what was started is stopped")
        }
    }
}

async fn show(options: &DemoOptions) -> anyhow::Result<()> {
    let screen = Screen::new();
    let kind = if !options.fdw && testkit::citus_available() { Kind::Citus } else { Kind::Fdw };
    screen.line(match kind {
        Kind::Citus => "Citus is installed: a Citus coordinator and two workers.",
        _ if options.fdw => "As asked: a PostgreSQL server with partitions on two others, over postgres_fdw.",
        _ => "Citus is not installed: a PostgreSQL server with partitions on two others, over postgres_fdw.",
    });

    let begun = Instant::now();
    let cluster = Cluster::start(kind).await.context("making the cluster")?;
    let ports: Vec<String> = cluster.nodes().iter().map(|node| node.port.to_string()).collect();
    screen.line(&format!("cluster   three servers on ports {} ({})", ports.join(", "), took(begun)));

    let begun = Instant::now();
    let stock = shop::build(&cluster).await.context("filling the shop")?;
    screen.line(&format!(
        "shop      {} users, {} orders, {} order items ({})",
        text::number(shop::USERS.into()),
        text::number(stock.orders),
        text::number(stock.items),
        took(begun)
    ));

    let begun = Instant::now();
    let daemon = Daemon::standalone(&cluster, DaemonOptions::default()).await.context("starting the daemon")?;
    let endpoint = daemon.endpoint();
    screen.line(&format!(
        "daemon    tributary standalone, process {}, at {endpoint} ({})",
        daemon.pid().unwrap_or_default(),
        took(begun)
    ));

    define(&screen, &endpoint).await?;
    let seen = live::run(&screen, &cluster, &endpoint, &stock, options.seconds).await?;

    let begun = Instant::now();
    let wait = v1::WaitForFrontierRequest { stream_table: String::new(), timeout_seconds: 60.0 };
    cluster_client(&endpoint).await?.wait_for_frontier(wait).await.map_err(refused)?;
    screen.line(&format!("wait      everything that was written is readable ({})", took(begun)));

    let rows = verify(&screen, &endpoint).await?;
    summary(&screen, &seen, rows);
    if seen.proofs.wrong > 0 {
        bail!("{} of {} reads of the stream tables were wrong", seen.proofs.wrong, seen.proofs.reads);
    }
    Ok(())
}

/// Defines the stream tables over a shop that is there already.
async fn define(screen: &Screen, endpoint: &str) -> anyhow::Result<()> {
    let mut client = stream_tables(endpoint).await?;
    for (name, query) in shop::STREAM_TABLES {
        let begun = Instant::now();
        let query = query.split_whitespace().collect::<Vec<_>>().join(" ");
        let request = v1::CreateStreamTableRequest { name: name.into(), query: query.clone(), ..Default::default() };
        let answer = client.create(request).await.map_err(refused).with_context(|| format!("defining {name}"))?;
        let table = progress::follow(answer.into_inner()).await.with_context(|| format!("defining {name}"))?;
        screen.line(&format!("stream    {name}: {} exact ({})", text::rows(table.rows), took(begun)));
        screen.line(&format!("            {query}"));
    }
    Ok(())
}

/// Compares every stream table with its query; gives how many rows agree.
async fn verify(screen: &Screen, endpoint: &str) -> anyhow::Result<u64> {
    let begun = Instant::now();
    let request = v1::VerifyStreamTableRequest { name: String::new(), repair: false };
    let answer = stream_tables(endpoint).await?.verify(request).await.map_err(refused)?.into_inner();
    let mut wrong = Vec::new();
    for v in &answer.results {
        if v.exact {
            screen.line(&format!("verify    {} is exact at cut {}: {}", v.name, v.seq, text::rows(v.rows)));
        } else {
            let (surplus, missing) = (text::rows(v.surplus), text::rows(v.missing));
            screen.line(&format!("verify    {} DIFFERS: {surplus} too many, {missing} missing {}", v.name, v.detail));
            wrong.push(v.name.as_str());
        }
    }
    if !wrong.is_empty() {
        bail!("not exact: {}", wrong.join(", "));
    }
    if answer.results.len() != shop::STREAM_TABLES.len() {
        bail!("{} of {} stream tables were compared", answer.results.len(), shop::STREAM_TABLES.len());
    }
    screen.line(&format!("          compared with their queries by PostgreSQL ({})", took(begun)));
    Ok(answer.results.iter().map(|v| v.rows).sum())
}

fn summary(screen: &Screen, seen: &live::Seen, rows: u64) {
    screen.line("");
    screen.line(&format!(
        "{} transactions in {:.0} s, {} of them for two users, mostly on two nodes; {} cuts.",
        text::number(seen.transactions),
        seen.elapsed.as_secs_f64(),
        text::number(seen.for_two_users),
        text::number(seen.cuts)
    ));
    screen.line(&format!(
        "A commit was readable in every stream table after {} (p99 {}).",
        text::seconds(seen.delay_p50),
        text::seconds(seen.delay_p99)
    ));
    screen.line(&format!(
        "Two stream tables were compared {} times while all that went on: {} wrong. Their sources: {} wrong.",
        text::number(seen.proofs.reads),
        text::number(seen.proofs.wrong),
        text::number(seen.proofs.sources_wrong)
    ));
    screen.line(&format!("{} stream tables, {}: all exact.", shop::STREAM_TABLES.len(), text::rows(rows)));
}

fn took(begun: Instant) -> String {
    text::seconds(begun.elapsed().as_secs_f64())
}
