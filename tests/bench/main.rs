//! The benchmarks of `docs/benchmarks.md`: everything as a ratio of two things done in one run on one machine.
//!
//! `make bench` runs all; `bench NAME …` some of them: `catchup`, `projection`, `delay`, `source`, `memory`,
//! `tpch`.
//! Each makes its own cluster (Citus when it is installed, else partitions over postgres_fdw) and prints rows of one
//! table in Markdown. Rounds are interleaved, and medians of them are shown, so that a machine that changes its speed
//! changes both sides.

#![allow(missing_docs, clippy::unwrap_used, reason = "a program for its authors")]

mod capture;
mod delay;
mod ground;
mod source;
mod warehouse;

use ground::Ground;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|a| a == name);
    println!("| what | this | against | ratio (median of rounds) | rounds |");
    println!("| --- | --- | --- | --- | --- |");
    if wanted("catchup") {
        capture::catch_up(&Ground::new().await?).await?;
    }
    if wanted("projection") {
        capture::projection(&Ground::new().await?).await?;
    }
    if wanted("delay") {
        delay::delay(&Ground::new().await?).await?;
    }
    if wanted("source") {
        source::source_load().await?;
    }
    if wanted("memory") {
        capture::memory(&Ground::new().await?).await?;
    }
    if wanted("tpch") {
        warehouse::refreshes().await?;
    }
    Ok(())
}
