//! The nodes of a cluster, as `doctor`, `setup` and a daemon's start need them: found out from the database's URL.

use anyhow::Context;
use topology::{Cluster, Node};
use wal::Endpoint;

/// What is wrong with a node, and what to do about it.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// `node 1 (host:5432)`
    pub(crate) node: String,
    /// What, and the remedy.
    pub(crate) what: String,
}

/// `node 1 (host:5432)`
pub(crate) fn title(node: &Node) -> String {
    format!("node {} ({})", node.id, node.name)
}

/// Connects to the database and finds out its nodes.
pub(crate) async fn discover(
    endpoint: &Endpoint,
    application: &str,
) -> anyhow::Result<(tokio_postgres::Client, Cluster)> {
    let client = wal::connect(endpoint, application).await?;
    let cluster = topology::discover(&client, endpoint).await?;
    Ok((client, cluster))
}

/// Everything about this node that keeps it from being streamed under the instance's slot.
pub(crate) async fn check(node: &Node, client: &tokio_postgres::Client, slot: &str) -> anyhow::Result<Vec<Trouble>> {
    let trouble = |what: String| Trouble { node: title(node), what };
    let problems = wal::check_node_for(client, slot).await.with_context(|| title(node))?;
    let mut found: Vec<_> = problems.into_iter().map(|p| trouble(p.to_string())).collect();
    match topology::check_node(client).await {
        Ok(()) => {}
        Err(error) if error.is_transient() => return Err(error).with_context(|| title(node)),
        Err(error) => found.push(trouble(error.to_string())),
    }
    let prepared: i32 = client
        .query_one("SELECT current_setting('max_prepared_transactions')::int4", &[])
        .await
        .map_err(|e| anyhow::anyhow!("{}: {}", title(node), wal::describe(&e)))?
        .get(0);
    let citus: bool = client
        .query_one("SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus')", &[])
        .await
        .map_err(|e| anyhow::anyhow!("{}: {}", title(node), wal::describe(&e)))?
        .get(0);
    if citus && prepared == 0 {
        found.push(trouble(
            "max_prepared_transactions is 0: Citus cannot commit on several nodes; set it to at least max_connections, then restart"
                .into(),
        ));
    }
    Ok(found)
}

/// Before a daemon makes anything: node 0 answers, and no node that answers is unfit. Nodes that do not answer now may
/// answer later; their agents wait for them.
pub(crate) async fn check_all(endpoint: &Endpoint, slot: &str) -> anyhow::Result<()> {
    let (client, cluster) = discover(endpoint, "tributary start").await?;
    for node in &cluster.nodes {
        let found = if node.id.0 == 0 {
            check(node, &client, slot).await?
        } else {
            match wal::connect(&node.endpoint, "tributary start").await {
                Ok(client) => check(node, &client, slot).await.unwrap_or_default(),
                Err(error) if error.is_transient() => {
                    tracing::warn!(node = %node.id, %error, "node does not answer; going on without it");
                    Vec::new()
                }
                Err(error) => return Err(error).with_context(|| title(node)),
            }
        };
        if let Some(first) = found.into_iter().next() {
            anyhow::bail!("{}: {}", first.node, first.what);
        }
    }
    Ok(())
}
