//! The second agent of a node, for stream tables of consistency per-node.
//!
//! ```text
//!   aggregator ── PerNode { wanted } ──▶ wanted:     an agent of the instance "…_pernode", with a slot of its own
//!                                        not wanted: no such agent; its slot and publications are dropped
//! ```
//!
//! The aggregator says which after every attachment and at every change, and whichever it says is brought about whatever was
//! before. So nobody has to remember what a crash left undone: a slot that outlived the last such stream table, because its node
//! was away, goes when the node's agent attaches again.
//!
//! Cancellation: dropping it ends the second agent as dropping any agent does.

use std::time::Duration;

use tokio::sync::watch;
use wal::WalError;

use crate::{AgentError, AgentOptions, agent, slot};

/// Between two tries to bring about what is wanted.
const PAUSE: Duration = Duration::from_secs(5);

/// Follows what the aggregator says; ends with it.
pub(crate) async fn follow(options: &AgentOptions, mut wanted: watch::Receiver<Option<bool>>) {
    let options = options.per_node();
    // Whoever says it is gone only together with this.
    while wanted.changed().await.is_ok() {
        let now = *wanted.borrow_and_update();
        let work = async {
            match now {
                Some(true) => read(&options).await,
                Some(false) => take_away(&options).await,
                None => {}
            }
        };
        tokio::select! {
            () = work => {}
            () = other(&mut wanted, now) => {}
        }
        if *wanted.borrow() != now {
            wanted.mark_changed();
        }
    }
}

/// Until something else is said.
async fn other(wanted: &mut watch::Receiver<Option<bool>>, now: Option<bool>) {
    while wanted.changed().await.is_ok() && *wanted.borrow_and_update() == now {}
}

/// For ever. It is refused when the aggregator has no such stream tables any more, which is said soon, or when the node is not
/// known there yet.
async fn read(options: &AgentOptions) {
    // Only the instance's own agents are told.
    let (said, _) = watch::channel(None);
    loop {
        let error = Box::pin(agent::run(options, &said)).await;
        tracing::warn!(node = %options.node, %error, "the agent for stream tables of consistency per-node ended; it tries again");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn take_away(options: &AgentOptions) {
    while let Err(error) = take_away_once(options).await {
        tracing::debug!(node = %options.node, %error, "what consistency per-node needed is still there");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn take_away_once(options: &AgentOptions) -> Result<(), AgentError> {
    let client = Box::pin(wal::connect(&options.endpoint, "tributary agent")).await?;
    let name = options.slot();
    slot::release(&client, &name).await?;
    if wal::drop_slot_if_exists(&client, &name).await? {
        tracing::info!(node = %options.node, slot = name, "no stream table of consistency per-node is left: slot dropped");
    }
    for publication in [name, options.meta_publication()] {
        match wal::drop_publication(&client, &publication).await {
            // An administrator made it (`tributary setup --per-node`), for those that may come.
            Ok(()) | Err(WalError::NoRight { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
