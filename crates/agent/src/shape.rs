//! Rows of Citus's metadata in the stream: where shards are, which come and go, which tables a move is about to fill.
//!
//! A move ends in one distributed transaction that names the shard's new node in the `pg_dist_placement` of every node
//! with metadata (written anew on the coordinator, updated elsewhere). So each node's own stream says from which position
//! on a shard's rows count there. The aggregator needs the positions; here nothing is decided.

use pgoutput::{Column, Tuple};
use proto::v1;
use proto::v1::shape_row::Kind;

use crate::AgentError;

/// Citus's catalogs that the stream has to hold. `pg_dist_transaction` is [`crate::directory`]'s.
pub(crate) const CATALOGS: [&str; 4] = ["pg_dist_placement", "pg_dist_shard", "pg_dist_cleanup", "pg_dist_node"];

/// `pg_dist_cleanup.object_type` of a shard's placement.
const SHARD_PLACEMENT: u64 = 1;

/// `pg_dist_cleanup.policy_type` of what goes only if the operation fails.
const ON_FAILURE: u64 = 1;

/// One of the catalogs, with its columns' places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Catalog {
    Placement { shard: usize, group: usize },
    Shard { shard: usize, relation: usize },
    Cleanup { kind: usize, name: usize, group: usize, policy: usize },
    Node,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Written,
    Gone,
}

impl Catalog {
    /// The catalog of that name; `None` for other relations, or one whose columns are not known.
    pub(crate) fn of(name: &str, place: impl Fn(&str) -> Option<usize>) -> Option<Self> {
        match name {
            "pg_dist_placement" => Some(Self::Placement { shard: place("shardid")?, group: place("groupid")? }),
            "pg_dist_shard" => Some(Self::Shard { shard: place("shardid")?, relation: place("logicalrelid")? }),
            "pg_dist_cleanup" => Some(Self::Cleanup {
                kind: place("object_type")?,
                name: place("object_name")?,
                group: place("node_group_id")?,
                policy: place("policy_type")?,
            }),
            "pg_dist_node" => Some(Self::Node),
            _ => None,
        }
    }

    /// What the row says of the cluster's shape, if anything.
    pub(crate) fn read(self, change: Change, row: Tuple<'_>) -> Result<Option<v1::ShapeRow>, AgentError> {
        let number = |at| number(row, at).ok_or(AgentError::OutOfOrder("a damaged row of Citus's metadata"));
        let node = |at| number(at).map(|n| n as u32);
        let kind = match (self, change) {
            (Self::Placement { shard, group }, Change::Written) => {
                Kind::Placement(v1::PlacementRow { shard: number(shard)?, node: node(group)? })
            }
            (Self::Shard { shard, relation }, Change::Written) => {
                Kind::Shard(v1::ShardRow { shard: number(shard)?, relation: number(relation)? as u32 })
            }
            (Self::Shard { shard, .. }, Change::Gone) => {
                Kind::Shard(v1::ShardRow { shard: number(shard)?, relation: 0 })
            }
            (Self::Cleanup { kind, name, group, policy }, Change::Written) if number(kind)? == SHARD_PLACEMENT => {
                let damaged = AgentError::OutOfOrder("a damaged row of pg_dist_cleanup");
                let table = text(row, name).ok_or(damaged)?.to_owned();
                Kind::Cleanup(v1::CleanupRow { table, node: node(group)?, is_new: number(policy)? == ON_FAILURE })
            }
            (Self::Node, _) => Kind::Node(v1::NodeRow {}),
            // What goes from pg_dist_placement bears no shard, only the placement's own number; the shard's new
            // placement, or its end, is said beside it.
            (Self::Placement { .. } | Self::Cleanup { .. }, _) => return Ok(None),
        };
        Ok(Some(v1::ShapeRow { kind: Some(kind) }))
    }
}

fn value(row: Tuple<'_>, at: usize) -> Option<Column<'_>> {
    row.columns().nth(at)
}

fn text(row: Tuple<'_>, at: usize) -> Option<&str> {
    match value(row, at)? {
        Column::Binary(bytes) | Column::Text(bytes) => std::str::from_utf8(bytes).ok(),
        Column::Null | Column::Unchanged => None,
    }
}

/// An integer of any width (an object identifier too); a negative one counts as 0.
fn number(row: Tuple<'_>, at: usize) -> Option<u64> {
    match value(row, at)? {
        Column::Binary(bytes) => match bytes.len() {
            4 => Some(u64::try_from(i32::from_be_bytes(bytes.try_into().ok()?)).unwrap_or(0)),
            8 => Some(u64::try_from(i64::from_be_bytes(bytes.try_into().ok()?)).unwrap_or(0)),
            _ => None,
        },
        Column::Text(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Column::Null | Column::Unchanged => None,
    }
}
