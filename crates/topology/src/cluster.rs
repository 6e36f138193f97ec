//! Which nodes there are, found out from one database alone.
//!
//! `citus` when the extension is there (its active primaries; a cluster without any other node is one node),
//! else `fdw` when some partitioned table has partitions on `postgres_fdw` servers, else `single`.

use tokio_postgres::Client;
use types::NodeId;
use wal::Endpoint;

use crate::{TopologyError, citus, fdw};

/// What shards the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Citus.
    Citus,
    /// Native partitions over `postgres_fdw`.
    Fdw,
    /// Nothing: one database.
    Single,
}

impl Provider {
    /// Its name in status, configuration and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Citus => "citus",
            Self::Fdw => "fdw",
            Self::Single => "single",
        }
    }
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The nodes of a sharded database.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// What shards it.
    pub provider: Provider,
    /// Its nodes in the order of their ids; the first is node 0, the database of the URL.
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// The node of that id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|n| n.id == id)
    }
}

/// One PostgreSQL node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// On Citus its group; elsewhere numbered in the order of the servers' names, from 1.
    pub id: NodeId,
    /// `host:port`, or the foreign server's name.
    pub name: String,
    /// How to reach it.
    pub endpoint: Endpoint,
}

/// Finds out how the database that `client` is connected to is sharded, and its nodes. `endpoint` is that
/// database's; other nodes are reached with its credentials (on `fdw`: with the user mapping's, where there is one).
///
/// # Errors
/// [`TopologyError::NotTheCoordinator`] for a Citus worker; [`TopologyError::Query`] when a catalog cannot be read.
pub async fn discover(client: &Client, endpoint: &Endpoint) -> Result<Cluster, TopologyError> {
    let zero = Node { id: NodeId(0), name: address(endpoint), endpoint: endpoint.clone() };
    let query = |source| TopologyError::Query { node: zero.name.clone(), source };
    let citus: bool = client
        .query_one("SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus')", &[])
        .await
        .map_err(query)?
        .get(0);
    let (provider, nodes) = if citus {
        (Provider::Citus, citus::nodes(client, zero).await?)
    } else {
        let nodes = fdw::nodes(client, zero).await?;
        (if nodes.len() > 1 { Provider::Fdw } else { Provider::Single }, nodes)
    };
    tracing::debug!(%provider, nodes = nodes.len(), "cluster discovered");
    Ok(Cluster { provider, nodes })
}

/// `host:port`.
pub(crate) fn address(endpoint: &Endpoint) -> String {
    format!("{}:{}", endpoint.host(), endpoint.port())
}
