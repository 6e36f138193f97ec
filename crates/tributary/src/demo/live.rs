//! The live part: writers write, the stream tables follow, the reader watches.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use proto::v1;
use proto::v1::cluster_service_client::ClusterServiceClient;
use testkit::Cluster;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_postgres::Client;
use tonic::transport::Channel;

use crate::cli::client::{cluster as cluster_client, refused};
use crate::cli::text;
use crate::demo::proof::Proofs;
use crate::demo::screen::{Screen, bar};
use crate::demo::shop::Stock;
use crate::demo::writer::{Ledger, Writer};

const WRITERS: u32 = 3;

/// How often the stream tables are read, and a terminal is drawn.
const LOOK: Duration = Duration::from_millis(250);
/// How often a line is written where lines stay.
const LINE: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) elapsed: Duration,
    pub(crate) transactions: u64,
    pub(crate) for_two_users: u64,
    pub(crate) cuts: u64,
    /// In seconds.
    pub(crate) delay_p50: f64,
    pub(crate) delay_p99: f64,
    pub(crate) proofs: Proofs,
}

/// A row of `region_revenue`.
#[derive(Debug, Clone)]
struct Region {
    name: String,
    orders: i64,
    revenue: String,
    average: String,
    cents: i64,
}

/// Writes for so many seconds and shows what happens meanwhile.
pub(crate) async fn run(
    screen: &Screen,
    cluster: &Cluster,
    endpoint: &str,
    stock: &Stock,
    seconds: u64,
) -> anyhow::Result<Seen> {
    let ledger = Arc::new(Ledger::default());
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let writer = Writer::new(cluster.client().await?, cluster.kind(), number, WRITERS, &stock.list);
        let ledger = ledger.clone();
        writers.spawn(async move { writer.run(&ledger).await });
    }
    screen.line(&format!("live      {WRITERS} writers for {seconds} s; region_revenue as it changes"));
    let view = View {
        screen,
        client: cluster.client().await?,
        control: cluster_client(endpoint).await?,
        ledger: ledger.clone(),
        total: seconds as f64,
        before: Vec::new(),
        drawn: 0,
    };
    let watched = tokio::select! {
        watched = Box::pin(view.watch(Duration::from_secs(seconds))) => watched,
        // A writer ends of itself only when it failed.
        Some(ended) = writers.join_next() => Err(ended.map_err(Into::into).and_then(|r| r).err()
            .unwrap_or_else(|| anyhow::anyhow!("a writer stopped by itself"))),
    };
    ledger.stop.store(true, Ordering::Relaxed);
    let mut seen = watched?;
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    seen.transactions = ledger.transactions.load(Ordering::Relaxed);
    seen.for_two_users = ledger.for_two_users.load(Ordering::Relaxed);
    Ok(seen)
}

struct View<'a> {
    screen: &'a Screen,
    client: Client,
    control: ClusterServiceClient<Channel>,
    ledger: Arc<Ledger>,
    total: f64,
    before: Vec<Region>,
    drawn: usize,
}

impl View<'_> {
    async fn watch(mut self, limit: Duration) -> anyhow::Result<Seen> {
        let begun = Instant::now();
        let mut seen = Seen::default();
        let first = self.status().await?.frontier.unwrap_or_default().seq;
        self.before = self.regions().await?;
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let mut delays = Vec::new();
        let mut told = begun;
        while begun.elapsed() < limit {
            tick.tick().await;
            let regions = self.regions().await?;
            seen.proofs.read(&self.client).await.context("comparing the sums")?;
            let status = self.status().await?;
            seen.elapsed = begun.elapsed();
            seen.cuts = status.frontier.as_ref().map_or(0, |f| f.seq).saturating_sub(first);
            delays.push((status.delay_p50_seconds, status.delay_p99_seconds));
            if self.screen.is_terminal() {
                self.draw(&regions, &status, &seen);
            } else if told.elapsed() >= LINE || begun.elapsed() >= limit {
                self.tell(&regions, &status, &seen);
                told = Instant::now();
            } else {
                continue; // the next line tells what changed since the last
            }
            self.before = regions;
        }
        seen.delay_p50 = middle(delays.iter().map(|(p50, _)| *p50).collect());
        seen.delay_p99 = middle(delays.iter().map(|(_, p99)| *p99).collect());
        Ok(seen)
    }

    async fn status(&mut self) -> anyhow::Result<v1::Status> {
        Ok(self.control.get_status(v1::GetStatusRequest {}).await.map_err(refused)?.into_inner())
    }

    async fn regions(&self) -> anyhow::Result<Vec<Region>> {
        let sql = "SELECT region, orders, revenue::text, average::text, (revenue * 100)::int8 \
                   FROM region_revenue ORDER BY region";
        let rows = self.client.query(sql, &[]).await.context("reading region_revenue")?;
        let region = |row: &tokio_postgres::Row| {
            Ok(Region {
                name: row.try_get(0)?,
                orders: row.try_get(1)?,
                revenue: row.try_get(2)?,
                average: row.try_get(3)?,
                cents: row.try_get(4)?,
            })
        };
        rows.iter().map(region).collect()
    }

    /// How many orders and cents a region has more than at the last look.
    fn change(&self, region: &Region) -> (i64, i64) {
        let before = self.before.iter().find(|before| before.name == region.name);
        before.map_or((region.orders, region.cents), |b| (region.orders - b.orders, region.cents - b.cents))
    }

    fn draw(&mut self, regions: &[Region], status: &v1::Status, seen: &Seen) {
        let mut lines =
            vec![String::new(), format!("  {:<15}{:>8}{:>16}{:>10}", "region", "orders", "revenue", "average")];
        for region in regions {
            let (orders, cents) = self.change(region);
            let changed =
                if (orders, cents) == (0, 0) { String::new() } else { format!("  {orders:+} {}", signed(cents)) };
            let Region { name, orders, revenue, average, .. } = region;
            lines.push(format!("  {name:<15}{orders:>8}{revenue:>16}{average:>10}{changed}"));
        }
        let elapsed = seen.elapsed.as_secs_f64();
        lines.push(String::new());
        lines.push(format!("  {} {elapsed:.0}/{:.0} s  {}", bar(elapsed, self.total, 24), self.total, self.rate(seen)));
        lines.push(format!("  {}", frontier(status)));
        lines.push(format!("  {}", proofs(&seen.proofs)));
        lines.extend(status.waiting_for.first().map(|wait| format!("  waiting for {wait}")));
        // The panel keeps its height, so that what stood lower before is gone.
        while lines.len() < self.drawn {
            lines.push(String::new());
        }
        self.drawn = self.screen.draw(&lines, self.drawn);
    }

    fn tell(&self, regions: &[Region], status: &v1::Status, seen: &Seen) {
        let most = regions.iter().max_by_key(|region| self.change(region).1.abs());
        let most = most.map_or(String::new(), |region| {
            format!("{} {} ({}); ", region.name, region.revenue, signed(self.change(region).1))
        });
        let (elapsed, proofs) = (seen.elapsed.as_secs_f64(), proofs(&seen.proofs));
        let (rate, frontier) = (self.rate(seen), frontier(status));
        self.screen.line(&format!("  {elapsed:.0}/{:.0} s: {most}{rate}; {frontier}; {proofs}", self.total));
    }

    fn rate(&self, seen: &Seen) -> String {
        let transactions = self.ledger.transactions.load(Ordering::Relaxed);
        let for_two = self.ledger.for_two_users.load(Ordering::Relaxed);
        let rate = transactions as f64 / seen.elapsed.as_secs_f64().max(0.001);
        format!("{} tx ({rate:.0}/s, {} for two users)", text::number(transactions), text::number(for_two))
    }
}

fn frontier(status: &v1::Status) -> String {
    let seq = status.frontier.as_ref().map_or(0, |frontier| frontier.seq);
    format!(
        "frontier {}, delay {} (p99 {})",
        text::number(seq),
        text::seconds(status.delay_p50_seconds),
        text::seconds(status.delay_p99_seconds)
    )
}

fn proofs(proofs: &Proofs) -> String {
    let Proofs { reads, wrong, sources_wrong } = proofs;
    format!("sums compared {reads} times: {wrong} wrong (over the sources: {sources_wrong})")
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// `+12.34`
fn signed(cents: i64) -> String {
    let sign = if cents < 0 { '-' } else { '+' };
    format!("{sign}{}", crate::demo::shop::cents(cents.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_its_sign() {
        assert_eq!([0, 5, -1234].map(signed), ["+0.00", "+0.05", "-12.34"]);
    }

    #[test]
    fn a_line_says_where_the_frontier_is() {
        let frontier_of = Some(v1::Frontier { seq: 1234, ..Default::default() });
        let status = v1::Status {
            frontier: frontier_of,
            delay_p50_seconds: 0.004,
            delay_p99_seconds: 1.5,
            ..Default::default()
        };
        assert_eq!(frontier(&status), "frontier 1,234, delay 4.0 ms (p99 1.5 s)");
        let proofs_of = Proofs { reads: 7, wrong: 0, sources_wrong: 3 };
        assert_eq!(proofs(&proofs_of), "sums compared 7 times: 0 wrong (over the sources: 3)");
    }
}
