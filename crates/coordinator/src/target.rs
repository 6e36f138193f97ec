//! What the aggregator does with the target beside writing cuts: sending again, computing again after a start,
//! answering `tributary.wait_for_frontier`, showing its nodes, and saying when it is ready.

use std::sync::Arc;
use std::time::Duration;

use sink::{NodeRow, Sink};
use tokio::sync::watch;
use tonic_health::server::HealthReporter;
use types::Cut;
use wal::Endpoint;

use crate::catalog::StreamState;
use crate::engine::Publication;
use crate::error::{CoordinatorError, RequestError};
use crate::lane::Lane;
use crate::lanes::Lanes;
use crate::progress::ProgressSender;
use crate::publisher::Publisher;
use crate::requests::Requests;

/// What native expressions depend on in the target database.
pub(crate) async fn environment(endpoint: &Endpoint) -> Result<scalar::Env, CoordinatorError> {
    let client = wal::connect(endpoint, "tributary coordinator").await?;
    plan::environment(&client).await.map_err(|e| CoordinatorError::Setting(e.to_string()))
}

/// Cuts that are durable here and not in the target yet.
pub(crate) async fn send_again(
    engine: &ivm::Engine,
    publisher: &mut Publisher,
    at: &Cut,
) -> Result<(), CoordinatorError> {
    let published = publisher.sink.frontier().await?.seq;
    let mut sent = 0_u64;
    for entry in engine.outbox_from(published) {
        let (cut, streams) = entry?;
        publisher.publish(Publication { cut, streams, ..Publication::default() }).await?;
        sent += 1;
    }
    if sent > 0 {
        tracing::info!(cuts = sent, from = %published, to = %at.seq, "cuts sent again to the target");
    }
    publisher.published.send_modify(|p| {
        p.seq = at.seq;
        p.positions.clone_from(&at.positions);
    });
    Ok(())
}

/// Computes again what was being computed when the last process ended, or what lost its state.
pub(crate) async fn recover(requests: Arc<Requests>) {
    while requests.all_attached().await.is_err() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    {
        // Not beside a request, whose new sources nothing reads yet.
        let _changing = requests.changing.lock().await;
        requests.release_sources().await;
    }
    for entry in requests.catalog.all() {
        if entry.state != StreamState::Building {
            continue;
        }
        tracing::info!(stream = %entry.id, name = %entry.name, "computing again");
        loop {
            let changing = requests.changing.lock().await;
            // Somebody may have had it computed meanwhile, or dropped it.
            let Some(entry) = requests.catalog.get(entry.id).filter(|e| e.state == StreamState::Building) else {
                break;
            };
            match requests.rebuild_alone(entry.clone(), &ProgressSender::default()).await {
                Ok(_) => break,
                Err(RequestError::Unavailable(reason)) => {
                    tracing::warn!(stream = %entry.id, reason, "not computed yet");
                    requests.catalog.set_state(entry.id, StreamState::Building, entry.stopped_at);
                    drop(changing);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error) => {
                    tracing::error!(stream = %entry.id, %error, "stream table cannot be computed again");
                    break;
                }
            }
        }
    }
    requests.finish_copies().await;
    std::future::pending::<()>().await;
}

/// Answers sessions that called `tributary.wait_for_frontier`.
pub(crate) async fn answer_waits(lanes: Arc<Lanes>) {
    let requests = &lanes.atomic().requests;
    let mut sink: Option<Sink> = None;
    let mut pause = Duration::from_millis(200);
    loop {
        tokio::time::sleep(pause).await;
        let open = match sink.take() {
            Some(sink) => sink,
            None => match requests.sink().await {
                Ok(sink) => sink,
                Err(_) => continue,
            },
        };
        let Ok(tokens) = open.wait_requests().await else { continue };
        // Whoever waits once waits again soon.
        pause = if tokens.is_empty() { (pause * 2).min(Duration::from_millis(200)) } else { Duration::from_millis(10) };
        if tokens.is_empty() {
            sink = Some(open);
            continue;
        }
        if lanes.everything().await.is_err() {
            return;
        }
        let Ok(written) = open.frontier().await else { continue };
        let mut answered = true;
        for token in tokens {
            answered &= open.answer_wait(token, written.seq).await.is_ok();
        }
        if answered {
            sink = Some(open);
        }
    }
}

/// Keeps `tributary.nodes` up to date; written only when something an operator cares about changed.
pub(crate) async fn report_nodes(lane: Arc<Lane>) {
    let mut shown: Vec<NodeRow> = Vec::new();
    loop {
        let nodes = lane.status.nodes().await;
        let positions: Vec<_> = nodes.iter().map(|n| types::Lsn(n.frontier_lsn)).collect();
        let rows: Vec<NodeRow> = nodes
            .into_iter()
            .map(|n| NodeRow {
                node: types::NodeId(n.id),
                name: n.name,
                host: n.host,
                port: u16::try_from(n.port).unwrap_or_default(),
                // Moves all the time: written along when something else has changed.
                position: types::Lsn(0),
                connected: n.connected,
                reason: n.trouble,
            })
            .collect();
        if rows != shown {
            let mut written = rows.clone();
            for (row, position) in written.iter_mut().zip(positions) {
                row.position = position;
            }
            if let Ok(sink) = lane.requests.sink().await
                && sink.set_nodes(&written).await.is_ok()
            {
                shown = rows;
            }
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Ready when every node's agent is attached, its first positions are in a cut and nothing is computed again.
pub(crate) async fn readiness(lanes: Arc<Lanes>, ready: watch::Sender<Option<String>>, reporter: HealthReporter) {
    let mut serving = false;
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    loop {
        let reason = lanes.all().await.iter().find_map(|lane| not_ready(&lane.requests));
        let now = reason.is_none();
        ready.send_if_modified(|r| {
            let changed = *r != reason;
            r.clone_from(&reason);
            changed
        });
        if now != serving {
            serving = now;
            let status =
                if now { tonic_health::ServingStatus::Serving } else { tonic_health::ServingStatus::NotServing };
            reporter.set_service_status("", status).await;
        }
        tokio::time::sleep(Duration::from_millis(if serving { 500 } else { 20 })).await;
    }
}

fn not_ready(requests: &Requests) -> Option<String> {
    let links = requests.links.status().borrow().clone();
    let positions = requests.published.borrow().positions.clone();
    for node in &requests.members.get().nodes {
        match links.get(&node.id) {
            Some(link) if link.connected && positions.0.contains_key(&node.id) => {}
            Some(link) if link.connected => return Some(format!("node {} ({}): starting", node.id, node.name)),
            Some(link) => return Some(format!("node {} ({}): {}", node.id, node.name, link.trouble)),
            None => return Some(format!("node {} ({}): no agent has attached yet", node.id, node.name)),
        }
    }
    let building = requests.catalog.all().into_iter().find(|e| e.state == StreamState::Building);
    building.map(|e| format!("{} is being computed", e.name))
}
