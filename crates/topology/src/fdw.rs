//! Native partitions over `postgres_fdw`: which servers hold partitions, and how to reach them.
//!
//! A server is a node when some partition is a foreign table of it. Two servers that lead to the same database are
//! one node, and a server that leads back to the URL's own database is node 0.

use tokio_postgres::Client;
use types::{NodeId, Oid, TableName};
use wal::Endpoint;

use crate::cluster::Node;
use crate::{Cluster, TopologyError};

/// `zero` and the servers that hold partitions, numbered in the order of their names.
pub(crate) async fn nodes(client: &Client, zero: Node) -> Result<Vec<Node>, TopologyError> {
    let rows = client
        .query(
            "SELECT DISTINCT s.srvname::text FROM pg_catalog.pg_foreign_table t \
             JOIN pg_catalog.pg_class c ON c.oid = t.ftrelid AND c.relispartition \
             JOIN pg_catalog.pg_foreign_server s ON s.oid = t.ftserver \
             JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = 'postgres_fdw' \
             ORDER BY 1",
            &[],
        )
        .await
        .map_err(|source| TopologyError::Query { node: zero.name.clone(), source })?;
    let mut nodes = vec![zero.clone()];
    for row in rows {
        let server: String = row.get(0);
        let endpoint = server_endpoint(client, &server, &zero).await?;
        if !nodes.iter().any(|n| same_database(&n.endpoint, &endpoint)) {
            let id = NodeId(u32::try_from(nodes.len()).unwrap_or(u32::MAX));
            nodes.push(Node { id, name: server, endpoint });
        }
    }
    Ok(nodes)
}

/// A foreign partition's physical table: its node and its name there.
pub(crate) struct Remote {
    pub(crate) node: NodeId,
    pub(crate) table: TableName,
}

/// Where the rows of the foreign table `relation` are.
pub(crate) async fn remote(
    client: &Client,
    cluster: &Cluster,
    zero: &Node,
    table: &TableName,
    relation: Oid,
) -> Result<Remote, TopologyError> {
    let query = |source| TopologyError::Query { node: zero.name.clone(), source };
    let row = client
        .query_one(
            "SELECT w.fdwname::text, s.srvname::text, coalesce(t.ftoptions, '{}') FROM pg_catalog.pg_foreign_table t \
             JOIN pg_catalog.pg_foreign_server s ON s.oid = t.ftserver \
             JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw WHERE t.ftrelid = $1",
            &[&relation],
        )
        .await
        .map_err(query)?;
    let (wrapper, server, options): (String, String, Vec<String>) = (row.get(0), row.get(1), row.get(2));
    if wrapper != "postgres_fdw" {
        let reason = format!("it is a partition over the foreign-data wrapper {wrapper}, not over postgres_fdw");
        return Err(TopologyError::unstreamable(table, reason));
    }
    let endpoint = server_endpoint(client, &server, zero).await?;
    let node = cluster.nodes.iter().find(|n| same_database(&n.endpoint, &endpoint));
    let node = node.ok_or_else(|| TopologyError::UnknownServer { table: table.clone(), server })?.id;
    let name = |key, default: &str| option(&options, key).unwrap_or(default).to_owned();
    let table = TableName::new(name("schema_name", &table.schema), name("table_name", &table.name));
    Ok(Remote { node, table })
}

/// The server's own host, port and database with the user mapping's credentials; what is not given there is as in
/// the URL. (libpq's defaults would be the environment of the server process, which nobody here can know.)
async fn server_endpoint(client: &Client, server: &str, zero: &Node) -> Result<Endpoint, TopologyError> {
    let query = |source| TopologyError::Query { node: zero.name.clone(), source };
    let row = client
        .query_one(
            "SELECT coalesce(s.srvoptions, '{}'), coalesce((SELECT m.umoptions FROM pg_catalog.pg_user_mappings m \
               WHERE m.srvid = s.oid AND (m.usename = current_user OR m.umuser = 0) \
               ORDER BY m.umuser = 0 LIMIT 1), '{}') \
             FROM pg_catalog.pg_foreign_server s WHERE s.srvname = $1",
            &[&server],
        )
        .await
        .map_err(query)?;
    let (server, user): (Vec<String>, Vec<String>) = (row.get(0), row.get(1));
    let base = &zero.endpoint;
    let host = option(&server, "host").or_else(|| option(&server, "hostaddr")).unwrap_or(base.host());
    let port = option(&server, "port").and_then(|p| p.parse().ok()).unwrap_or(5432);
    let mut endpoint = base.with_host_port(host, port);
    if let Some(database) = option(&server, "dbname") {
        endpoint = endpoint.with_database(database);
    }
    if let Some(name) = option(&user, "user") {
        endpoint = endpoint.with_user(name, option(&user, "password").or_else(|| base.password()));
    }
    Ok(endpoint)
}

/// Whether both lead to the same database, as far as their words tell.
fn same_database(a: &Endpoint, b: &Endpoint) -> bool {
    (a.host(), a.port(), a.database()) == (b.host(), b.port(), b.database())
}

/// The value of `key` in a list of `key=value`.
pub(crate) fn option<'a>(options: &'a [String], key: &str) -> Option<&'a str> {
    options.iter().find_map(|o| o.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_by_its_whole_key() {
        let options = ["hostaddr=1.2.3.4".to_owned(), "host=a=b".to_owned()];
        assert_eq!(option(&options, "host"), Some("a=b"));
        assert_eq!(option(&options, "port"), None);
    }
}
