//! Citus: nodes and placements, from its catalogs on the coordinator.
//!
//! A distributed table's shard has one active placement (the lowest group where it is replicated by statement); its
//! physical name is `shard_name()`'s. A reference table's write is one distributed transaction on every node, so
//! every copy's stream has it, whole or not at all with what was written beside it: the coordinator's copy is read
//! where it has one (usually written by the initiator's plain commit, with no prepared branch to wait for), else that of
//! the lowest group.

use tokio_postgres::Client;
use types::{NodeId, Oid, TableName};

use crate::cluster::Node;
use crate::logical::{Placement, TableKind};
use crate::{Cluster, TopologyError};

/// The active primaries; `zero` alone (or beside its workers) when the coordinator is not in its own metadata.
pub(crate) async fn nodes(client: &Client, zero: Node) -> Result<Vec<Node>, TopologyError> {
    let query = |source| TopologyError::Query { node: zero.name.clone(), source };
    let group: i32 =
        client.query_one("SELECT groupid FROM pg_catalog.pg_dist_local_group", &[]).await.map_err(query)?.get(0);
    if group != 0 {
        return Err(TopologyError::NotTheCoordinator { node: zero.name, group });
    }
    let rows = client
        .query(
            "SELECT groupid, nodename, nodeport FROM pg_catalog.pg_dist_node \
             WHERE noderole = 'primary' AND isactive AND groupid > 0 \
               AND nodecluster = coalesce(current_setting('citus.cluster_name', true), 'default') \
             ORDER BY groupid",
            &[],
        )
        .await
        .map_err(query)?;
    let mut nodes = vec![zero.clone()];
    for row in rows {
        let (group, host, port): (i32, String, i32) = (row.get(0), row.get(1), row.get(2));
        // The catalog checks both ranges; a value outside of them is no node.
        let (Ok(id), Ok(port)) = (u32::try_from(group), u16::try_from(port)) else { continue };
        let name = format!("{host}:{port}");
        nodes.push(Node { id: NodeId(id), name, endpoint: zero.endpoint.with_host_port(&host, port) });
    }
    Ok(nodes)
}

/// How Citus keeps the relation, and whether it hashes; `None` when it is not Citus's.
pub(crate) async fn kind(
    client: &Client,
    zero: &Node,
    relation: Oid,
) -> Result<Option<(TableKind, bool)>, TopologyError> {
    let row = client
        .query_opt(
            "SELECT partmethod::text, repmodel::text, colocationid FROM pg_catalog.pg_dist_partition WHERE logicalrelid::oid = $1",
            &[&relation],
        )
        .await
        .map_err(|source| TopologyError::Query { node: zero.name.clone(), source })?;
    Ok(row.map(|row| {
        let (method, replication, colocation): (&str, &str, i32) = (row.get(0), row.get(1), row.get(2));
        let kind = match (method, replication) {
            ("n", "t") => TableKind::Reference,
            // Without a distribution column: one shard. In no colocation group it is a local table in the metadata.
            ("n", _) if colocation == 0 => TableKind::Local,
            _ => TableKind::Distributed,
        };
        (kind, method == "h")
    }))
}

/// Each shard of the relation with the one copy of it that is to be read.
pub(crate) async fn placements(
    client: &Client,
    cluster: &Cluster,
    table: &TableName,
    relation: Oid,
) -> Result<Vec<Placement>, TopologyError> {
    let node = cluster.nodes.first().map(|n| n.name.clone()).unwrap_or_default();
    let known: Vec<i32> = cluster.nodes.iter().filter_map(|n| i32::try_from(n.id.0).ok()).collect();
    let rows = client
        .query(
            "SELECT s.shardid, n.nspname, \
                    (parse_ident(shard_name(s.logicalrelid, s.shardid)))[array_length(parse_ident(shard_name(s.logicalrelid, s.shardid)), 1)], \
                    (SELECT min(p.groupid) FROM pg_catalog.pg_dist_placement p \
                      WHERE p.shardid = s.shardid AND p.shardstate = 1 AND p.groupid = ANY ($2)) \
             FROM pg_catalog.pg_dist_shard s \
             JOIN pg_catalog.pg_class c ON c.oid = s.logicalrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE s.logicalrelid::oid = $1 ORDER BY s.shardid",
            &[&relation, &known],
        )
        .await
        .map_err(|source| TopologyError::Query { node, source })?;
    rows.iter()
        .map(|row| {
            let shard = row.get::<_, i64>(0).cast_unsigned();
            let group: Option<i32> = row.get(3);
            let node = group
                .and_then(|g| u32::try_from(g).ok())
                .ok_or_else(|| TopologyError::NoPlacement { table: table.clone(), shard })?;
            let physical = TableName::new(row.get::<_, String>(1), row.get::<_, String>(2));
            Ok(Placement { node: NodeId(node), table: physical, shard: Some(shard), relation: 0 })
        })
        .collect()
}
