//! How much there is in a table, as its nodes estimate it.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{Cluster, LogicalTable, Node};

/// A node that says nothing for so long is left out, and with it the tables that it holds a part of.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a table's nodes say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows as of the last ANALYZE or VACUUM (`pg_class.reltuples`); `None` where there was none.
    pub rows: Option<u64>,
    /// Bytes on disk without indexes and values outside their rows (`pg_relation_size`).
    pub bytes: u64,
}

/// The tables' sizes, in their order: `None` where a node with a part of the table cannot be asked.
pub async fn sizes(cluster: &Cluster, tables: &[LogicalTable]) -> Vec<Option<Size>> {
    let by_node = join_all(cluster.nodes.iter().map(|node| of_node(node, tables))).await;
    let all = |at: usize| {
        let mut size = Size { rows: Some(0), bytes: 0 };
        for (node, sizes) in cluster.nodes.iter().zip(&by_node) {
            if tables.get(at)?.placements.iter().any(|p| p.node == node.id) {
                let part = sizes.as_ref()?.get(at)?;
                size.rows = size.rows.zip(part.rows).map(|(all, part)| all + part);
                size.bytes += part.bytes;
            }
        }
        Some(size)
    };
    (0..tables.len()).map(all).collect()
}

/// Of what the node has of each table.
async fn of_node(node: &Node, tables: &[LogicalTable]) -> Option<Vec<Size>> {
    if tables.iter().all(|t| t.placements.iter().all(|p| p.node != node.id)) {
        return Some(Vec::new());
    }
    let look = async {
        let client = wal::connect(&node.endpoint, "tributary topology").await.ok()?;
        // Citus hides shards in `pg_class`.
        client.batch_execute("SET citus.override_table_visibility = off").await.ok()?;
        let mut sizes = Vec::with_capacity(tables.len());
        for table in tables {
            let names = table.placements.iter().filter(|p| p.node == node.id).map(|p| p.table.quoted());
            let names: Vec<String> = names.collect();
            let sql = "SELECT sum(CASE WHEN c.reltuples >= 0 OR s.bytes = 0 THEN greatest(c.reltuples, 0)::float8
                                  ELSE 'NaN' END), coalesce(sum(s.bytes), 0)::int8
                FROM unnest($1::text[]) n JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(n)
                CROSS JOIN LATERAL (SELECT pg_catalog.pg_relation_size(c.oid) AS bytes) s";
            let row = client.query_one(sql, &[&names]).await.ok()?;
            let rows: f64 = row.get::<_, Option<f64>>(0).unwrap_or_default();
            let bytes: i64 = row.get(1);
            sizes.push(Size { rows: rows.is_finite().then_some(rows as u64), bytes: bytes.unsigned_abs() });
        }
        Some(sizes)
    };
    tokio::time::timeout(PATIENCE, look).await.ok().flatten()
}
