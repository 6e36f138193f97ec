//! The frontier row, the epoch that fences it, and the list of nodes.

use types::{Epoch, Lsn, NodeId, Positions, Seq};

use crate::{Sink, SinkError};

/// What the target holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    /// The last cut written.
    pub seq: Seq,
    /// The aggregator that may write.
    pub epoch: Epoch,
    /// How far each node is in that cut.
    pub positions: Positions,
}

/// One row of `tributary.nodes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// The node.
    pub node: NodeId,
    /// Its name, as status shows it.
    pub name: String,
    /// Where it listens.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// How far its WAL has been read.
    pub position: Lsn,
    /// An agent is attached.
    pub connected: bool,
    /// What is wrong with it; empty when nothing is.
    pub reason: String,
}

/// What `take_over` gave, and what has been answered since.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Taken {
    pub(crate) epoch: Option<Epoch>,
    /// The newest wait token that was given out by `wait_requests`; `None` before the first look.
    pub(crate) token: Option<i64>,
    /// The last cut that is known to be in the target.
    pub(crate) written: Seq,
}

impl Sink {
    /// Makes this the only aggregator that may write: takes the next epoch. Waits for a transaction that an older one
    /// has open on the frontier.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn take_over(&self) -> Result<Epoch, SinkError> {
        let client = self.catalog_session().await?;
        let sql = format!("UPDATE {} SET epoch = epoch + 1 RETURNING epoch, seq", self.instance().frontier());
        let row = client.query_one(&sql, &[]).await.map_err(SinkError::pg("taking over the target"))?;
        let epoch = Epoch(unsigned(row.get(0), "epoch")?);
        let written = Seq(unsigned(row.get(1), "seq")?);
        self.change_taken(|t| *t = crate::frontier::Taken { epoch: Some(epoch), token: None, written });
        // A session that was opened under an older epoch carries that one.
        *self.writer().await = None;
        Ok(epoch)
    }

    /// What the target holds now.
    ///
    /// # Errors
    /// Those of the connection; [`SinkError::Damaged`] when the row is not as this program writes it.
    pub async fn frontier(&self) -> Result<Frontier, SinkError> {
        let client = self.catalog_session().await?;
        read(&client, &self.instance().frontier()).await
    }

    /// Makes `tributary.nodes` exactly these rows.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn set_nodes(&self, nodes: &[NodeRow]) -> Result<(), SinkError> {
        let client = self.catalog_session().await?;
        let schema = self.instance().quoted();
        let sql = format!(
            "WITH new AS (
                 SELECT * FROM ROWS FROM (pg_catalog.unnest($1::int8[]), pg_catalog.unnest($2::text[]),
                     pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::int4[]), pg_catalog.unnest($5::text[]),
                     pg_catalog.unnest($6::bool[]), pg_catalog.unnest($7::text[])) AS n(node, name, host, port, position, connected, reason)),
             gone AS (DELETE FROM {schema}.nodes WHERE node <> ALL ($1))
             INSERT INTO {schema}.nodes (node, name, host, port, position, connected, reason)
             SELECT node, name, host, port, position::pg_lsn, connected, reason FROM new
             ON CONFLICT (node) DO UPDATE SET name = excluded.name, host = excluded.host, port = excluded.port,
                 position = excluded.position, connected = excluded.connected, reason = excluded.reason,
                 updated_at = clock_timestamp()"
        );
        fn column<T>(nodes: &[NodeRow], f: impl Fn(&NodeRow) -> T) -> Vec<T> {
            nodes.iter().map(f).collect()
        }
        client
            .execute(
                &sql,
                &[
                    &column(nodes, |n| i64::from(n.node.0)),
                    &column(nodes, |n| n.name.clone()),
                    &column(nodes, |n| n.host.clone()),
                    &column(nodes, |n| i32::from(n.port)),
                    &column(nodes, |n| n.position.to_string()),
                    &column(nodes, |n| n.connected),
                    &column(nodes, |n| n.reason.clone()),
                ],
            )
            .await
            .map_err(SinkError::pg("writing tributary.nodes"))?;
        Ok(())
    }
}

pub(crate) async fn read(client: &tokio_postgres::Client, table: &str) -> Result<Frontier, SinkError> {
    let sql = format!("SELECT seq, epoch, positions FROM {table}");
    let row = client
        .query_opt(&sql, &[])
        .await
        .map_err(SinkError::pg("reading the frontier"))?
        .ok_or_else(|| SinkError::Damaged(format!("{table} has no row; restore it or drop the schema")))?;
    Ok(Frontier {
        seq: Seq(unsigned(row.get(0), "seq")?),
        epoch: Epoch(unsigned(row.get(1), "epoch")?),
        positions: positions_of(&row.get(2))?,
    })
}

/// `{"0": "0/16B3740", …}`, readable with `(positions->>'0')::pg_lsn`.
pub(crate) fn positions_json(positions: &Positions) -> serde_json::Value {
    positions.0.iter().map(|(node, lsn)| (node.to_string(), serde_json::Value::from(lsn.to_string()))).collect()
}

fn positions_of(json: &serde_json::Value) -> Result<Positions, SinkError> {
    let damaged = || SinkError::Damaged("tributary.frontier holds positions that this program did not write".into());
    let object = json.as_object().ok_or_else(damaged)?;
    let pairs = object.iter().map(|(node, lsn)| {
        let node = node.parse().map_err(|_| damaged())?;
        let lsn: Lsn = lsn.as_str().ok_or_else(damaged)?.parse().map_err(|_| damaged())?;
        Ok((NodeId(node), lsn))
    });
    pairs.collect::<Result<_, _>>().map(Positions)
}

pub(crate) fn unsigned(value: i64, what: &str) -> Result<u64, SinkError> {
    u64::try_from(value).map_err(|_| SinkError::Damaged(format!("tributary.frontier holds a negative {what}")))
}

/// PostgreSQL has no unsigned numbers; none of these comes near the limit.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back_from_json() {
        let positions = Positions([(NodeId(0), Lsn(1)), (NodeId(12), Lsn(0x16_B374_D848))].into());
        assert_eq!(positions_of(&positions_json(&positions)).unwrap(), positions);
        assert!(positions_of(&serde_json::json!({"a": "0/1"})).is_err());
        assert!(positions_of(&serde_json::json!({"1": 1})).is_err());
        assert!(positions_of(&serde_json::json!([])).is_err());
    }
}
