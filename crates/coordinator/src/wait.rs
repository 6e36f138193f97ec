//! "Until everything that had committed when I asked is readable."
//!
//! Every node is asked where its WAL stands; when the published cut holds all those positions, what had committed
//! anywhere before the question is readable: a commit that returned before it lies before the node's position.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use proto::v1;
use tokio::sync::watch;
use types::{Lsn, NodeId, Positions, Seq};

use crate::error::{OrderError, RequestError};
use crate::links::Links;
use crate::members::Members;
use crate::publisher::Published;
use crate::urgency::Urgency;
use crate::watch::Definitions;

/// A node that does not say within this where it stands is away.
const PATIENCE: Duration = Duration::from_secs(2);

/// What waiting needs.
#[derive(Debug, Clone)]
pub(crate) struct Waiter {
    pub(crate) members: Members,
    pub(crate) links: Arc<Links>,
    pub(crate) published: watch::Receiver<Published>,
    pub(crate) urgency: Urgency,
    pub(crate) definitions: Definitions,
}

impl Waiter {
    /// Where every node's WAL stands now. Asks again while an agent is away.
    pub(crate) async fn positions(&self) -> Positions {
        let asked = self.members.ids().into_iter().map(|node| async move { (node, self.position(node).await) });
        Positions(join_all(asked).await.into_iter().filter_map(|(node, at)| Some((node, at?))).collect())
    }

    /// Where one node's WAL stands now; `None` when it is no part of the cluster any more.
    pub(crate) async fn position(&self, node: NodeId) -> Option<Lsn> {
        while self.members.ids().contains(&node) {
            let ask = v1::order::Kind::Ask(v1::Ask { gids: Vec::new() });
            match self.links.order(node, ask).await {
                Ok(done) => return Some(Lsn(done.lsn)),
                Err(OrderError::NotAttached(_) | OrderError::WentAway(_) | OrderError::Failed { .. }) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        None
    }

    /// Until the published cut holds these positions.
    pub(crate) async fn reach(&self, positions: &Positions) -> Result<Seq, RequestError> {
        let _now = self.urgency.hold();
        let mut published = self.published.clone();
        let holds = |p: &Published, node: NodeId, at: Lsn| {
            at <= p.positions.of(node) && self.members.is_of_present_stream(node, p.seq)
        };
        // A node that left has no position in later cuts.
        let left = |node: &NodeId| !self.members.ids().contains(node);
        let reached = published.wait_for(|p| positions.0.iter().all(|(node, at)| holds(p, *node, *at) || left(node)));
        let reached = reached.await;
        reached.map(|p| p.seq).map_err(|_| RequestError::Unavailable("the aggregator stops".into()))
    }

    /// Until everything that has committed before now is readable.
    pub(crate) async fn everything(&self) -> Result<Seq, RequestError> {
        self.definitions().await?;
        let _now = self.urgency.hold();
        let positions = self.positions().await;
        self.reach(&positions).await
    }

    /// Until everything that has committed before now on the nodes that are there is readable. The others, which are
    /// left out.
    pub(crate) async fn present(&self) -> Result<Vec<NodeId>, RequestError> {
        self.definitions().await?;
        let _now = self.urgency.hold();
        let asked = self.members.ids().into_iter().map(|node| async move {
            let ask = v1::order::Kind::Ask(v1::Ask { gids: Vec::new() });
            let answer = tokio::time::timeout(PATIENCE, self.links.order(node, ask)).await;
            (node, answer.ok().and_then(Result::ok).map(|done| Lsn(done.lsn)))
        });
        let (there, away): (Vec<_>, Vec<_>) = join_all(asked).await.into_iter().partition(|(_, at)| at.is_some());
        let positions = there.into_iter().filter_map(|(node, at)| Some((node, at?))).collect();
        self.reach(&Positions(positions)).await?;
        Ok(away.into_iter().map(|(node, _)| node).collect())
    }

    /// What the streams do not tell.
    async fn definitions(&self) -> Result<(), RequestError> {
        let _now = self.urgency.hold();
        while let Err(error) = self.definitions.look().await {
            if self.published.has_changed().is_err() {
                return Err(error);
            }
            tracing::debug!(%error, "waiting for node 0");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}
