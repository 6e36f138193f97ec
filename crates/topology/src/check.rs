//! What a node must not be, as far as the sharding extension is concerned.

use tokio_postgres::{Client, error::SqlState};

use crate::TopologyError;

/// Checks that `pgoutput` on the node behind `client` is PostgreSQL's own: with `citus.enable_change_data_capture`
/// Citus puts a decoder of its own under that name, which drops shards' names, its catalogs and whatever has a
/// replication origin.
///
/// # Errors
/// [`TopologyError::CitusDecoders`] when it is not.
pub async fn check_node(client: &Client) -> Result<(), TopologyError> {
    let query = |source| TopologyError::Query { node: "the node".to_owned(), source };
    let on: bool = client
        .query_one("SELECT coalesce(current_setting('citus.enable_change_data_capture', true), 'off') = 'on'", &[])
        .await
        .map_err(query)?
        .get(0);
    if !on {
        return Ok(());
    }
    match client.query_one("SELECT current_setting('dynamic_library_path')", &[]).await {
        Ok(row) if !row.get::<_, String>(0).contains("citus_decoders") => Ok(()),
        // Citus sets the path by itself when the node starts with the setting on, so a path that this role may not
        // see is taken to have it.
        Ok(_) => Err(TopologyError::CitusDecoders),
        Err(e) if e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Err(TopologyError::CitusDecoders),
        Err(e) => Err(query(e)),
    }
}
