//! The node's SQL side: a session that is made when it is needed, and the questions put to it.

use std::time::Duration;

use proto::v1;
use tokio_postgres::Client;
use types::{Gid, Lsn};
use wal::Endpoint;

use crate::AgentError;

/// Statements that take longer than this on an idle node mean that something is in the way.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);

/// A session that is opened again when it broke.
pub(crate) struct Sql {
    endpoint: Endpoint,
    name: &'static str,
    client: Option<Client>,
}

impl Sql {
    /// `name` is the session's `application_name`.
    pub(crate) fn new(endpoint: Endpoint, name: &'static str) -> Self {
        Self { endpoint, name, client: None }
    }

    /// The session.
    pub(crate) async fn client(&mut self) -> Result<&Client, AgentError> {
        let client = match self.client.take() {
            Some(client) if !client.is_closed() => client,
            _ => {
                let connecting = Box::pin(wal::connect(&self.endpoint, self.name));
                let late = |_| AgentError::NodeGone;
                let client = tokio::time::timeout(CONNECT_WITHIN, connecting).await.map_err(late)??;
                // On Citus: shards are hidden from ordinary sessions.
                wal::prepare_publication_session(&client).await?;
                // Nothing that is written here has to reach a standby before it counts.
                client.batch_execute("SET synchronous_commit = local").await?;
                client
            }
        };
        Ok(self.client.insert(client))
    }

    /// Whether there was a session and the node ended it.
    pub(crate) fn was_closed(&self) -> bool {
        self.client.as_ref().is_some_and(Client::is_closed)
    }
}

/// Which of the asked branches are prepared, then where the WAL stands. In this order: a branch that is not prepared
/// any more was decided before the position was read, so its decision lies at or before it.
///
/// The position is one that the stream will reach without anybody writing more: a walsender sends what is flushed,
/// and the last records of an idle node may lie unflushed for long (a pruned page logs, but does not flush). A
/// transactional message flushes them.
pub(crate) async fn answer(client: &Client, ask: v1::Ask) -> Result<(Lsn, Vec<bool>), AgentError> {
    let gids: Vec<Gid> = ask.gids.iter().map(|gid| Gid::from(gid.as_str())).collect();
    let prepared = if gids.is_empty() { Vec::new() } else { wal::prepared_gids(client, &gids).await? };
    let inserted = wal::current_lsn(client).await?;
    let sql = "SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::int8";
    let flushed: i64 = client.query_one(sql, &[]).await?.get(0);
    if inserted > Lsn(flushed.unsigned_abs()) {
        client.execute("SELECT pg_catalog.pg_logical_emit_message(true, 'tributary', '')", &[]).await?;
    }
    Ok((inserted, prepared))
}
