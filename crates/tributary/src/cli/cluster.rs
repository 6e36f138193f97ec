//! `tributary status` and `tributary wait`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use proto::v1;
use serde_json::json;
use types::Lsn;

use crate::cli::client::{cluster, refused};
use crate::cli::{shown, text};
use crate::duration;

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait for this stream table only
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Give up after this long; 0 never
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    timeout: Duration,
}

pub(crate) async fn status(args: &StatusArgs, endpoint: &str) -> anyhow::Result<ExitCode> {
    let status = cluster(endpoint).await?.get_status(v1::GetStatusRequest {}).await.map_err(refused)?.into_inner();
    println!("{}", if args.json { as_json(&status).to_string() } else { as_text(&status) });
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn wait(args: &WaitArgs, endpoint: &str) -> anyhow::Result<ExitCode> {
    let request = v1::WaitForFrontierRequest {
        stream_table: args.stream.clone().unwrap_or_default(),
        timeout_seconds: args.timeout.as_secs_f64(),
    };
    let mut client = cluster(endpoint).await?;
    let answer = client.wait_for_frontier(request);
    // The daemon keeps the time; this is for one that does not answer any more.
    let answer = if args.timeout.is_zero() {
        answer.await
    } else {
        let patience = args.timeout + Duration::from_secs(5);
        tokio::time::timeout(patience, answer).await.map_err(|_| {
            anyhow::anyhow!("the daemon did not answer within {}", text::seconds(patience.as_secs_f64()))
        })?
    };
    let frontier = answer.map_err(refused)?.into_inner();
    println!("readable at cut {}", frontier.seq);
    if !frontier.without_nodes.is_empty() {
        let nodes: Vec<_> = frontier.without_nodes.iter().map(ToString::to_string).collect();
        println!("but for what committed on nodes that are away: {}", nodes.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

fn as_text(s: &v1::Status) -> String {
    let frontier = s.frontier.clone().unwrap_or_default();
    let mut lines = vec![format!(
        "instance {}  provider {}  version {}  epoch {}\ncut {}  {:.0} changes/s  delay p50 {} p99 {}",
        s.instance,
        s.provider,
        s.version,
        s.epoch,
        frontier.seq,
        s.changes_per_second,
        text::seconds(s.delay_p50_seconds),
        text::seconds(s.delay_p99_seconds)
    )];
    lines.extend(s.waiting_for.iter().map(|what| format!("waiting for {what}")));
    let spooled = |bytes| format!("{} of at most {} on disk", text::bytes(bytes), text::bytes(s.spool_limit_bytes));
    lines.extend((s.spooled_bytes > 0).then(|| format!("buffered: {}", spooled(s.spooled_bytes))));
    lines.push(String::new());
    lines.push(nodes(&s.nodes));
    if let Some(per_node) = &s.per_node {
        let seq = per_node.frontier.as_ref().map_or(0, |f| f.seq);
        lines.push(String::new());
        lines.push(format!("consistency per-node: cut {seq}"));
        lines.extend(per_node.waiting_for.iter().map(|what| format!("per-node waiting for {what}")));
        let bytes = per_node.spooled_bytes;
        lines.extend((bytes > 0).then(|| format!("per-node buffered: {}", spooled(bytes))));
        lines.push(nodes(&per_node.nodes));
    }
    lines.push(String::new());
    lines.push(shown::summary(&s.stream_tables));
    lines.join("\n")
}

/// The table of nodes.
fn nodes(nodes: &[v1::Node]) -> String {
    let rows: Vec<_> = nodes
        .iter()
        .map(|n| {
            let agent = match (n.connected, n.held_back) {
                (true, true) => "held back",
                (true, false) => "connected",
                (false, _) => "away",
            };
            vec![
                n.id.to_string(),
                n.name.clone(),
                agent.to_owned(),
                text::position(n.received_lsn),
                text::position(n.frontier_lsn),
                text::position(n.confirmed_lsn),
                text::bytes(n.retained_bytes),
                text::bytes(n.buffered_bytes),
                n.trouble.clone(),
            ]
        })
        .collect();
    let header = ["NODE", "NAME", "AGENT", "RECEIVED", "IN CUT", "CONFIRMED", "RETAINED", "BUFFERED", "TROUBLE"];
    text::table(&header, &rows)
}

fn nodes_as_json(nodes: &[v1::Node]) -> Vec<serde_json::Value> {
    let position = |lsn: u64| Lsn(lsn).to_string();
    let node = |n: &v1::Node| {
        json!({
            "id": n.id,
            "name": n.name,
            "host": n.host,
            "port": n.port,
            "connected": n.connected,
            "trouble": n.trouble,
            "received": position(n.received_lsn),
            "frontier": position(n.frontier_lsn),
            "confirmed": position(n.confirmed_lsn),
            "retained_bytes": n.retained_bytes,
            "buffered_bytes": n.buffered_bytes,
            "held_back": n.held_back,
        })
    };
    nodes.iter().map(node).collect()
}

fn frontier_as_json(frontier: &v1::Frontier) -> serde_json::Value {
    let positions: serde_json::Map<_, _> =
        frontier.positions.iter().map(|p| (p.node.to_string(), Lsn(p.lsn).to_string().into())).collect();
    json!({"seq": frontier.seq, "epoch": frontier.epoch, "positions": positions})
}

fn as_json(s: &v1::Status) -> serde_json::Value {
    let frontier = s.frontier.clone().unwrap_or_default();
    let per_node = s.per_node.as_ref().map(|p| {
        json!({
            "frontier": frontier_as_json(&p.frontier.clone().unwrap_or_default()),
            "waiting_for": p.waiting_for,
            "spooled_bytes": p.spooled_bytes,
            "nodes": nodes_as_json(&p.nodes),
        })
    });
    json!({
        "instance": s.instance,
        "provider": s.provider,
        "version": s.version,
        "epoch": s.epoch,
        "frontier": frontier_as_json(&frontier),
        "waiting_for": s.waiting_for,
        "changes_per_second": s.changes_per_second,
        "delay_p50_seconds": s.delay_p50_seconds,
        "delay_p99_seconds": s.delay_p99_seconds,
        "spooled_bytes": s.spooled_bytes,
        "spool_limit_bytes": s.spool_limit_bytes,
        "nodes": nodes_as_json(&s.nodes),
        "per_node": per_node,
        "stream_tables": s.stream_tables.iter().map(shown::as_json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_shows_who_is_waited_for() {
        let node = v1::Node {
            id: 1,
            name: "h:1".into(),
            frontier_lsn: 0x10,
            trouble: "no agent".into(),
            ..Default::default()
        };
        let status = v1::Status { nodes: vec![node], waiting_for: vec!["node 1".into()], ..Default::default() };
        let shown = as_text(&status);
        assert!(shown.contains("waiting for node 1") && shown.contains("away") && shown.contains("0/10"), "{shown}");
        assert_eq!(as_json(&status)["nodes"][0]["frontier"], "0/10");
    }
}
