//! The shards of a Citus table, and what operators do with them.

use anyhow::Context;
use rand::Rng;
use rand::rngs::StdRng;
use testkit::{Cluster, Daemon};
use tokio_postgres::Client;

/// A distributed table's shards.
pub struct Shards {
    client: Client,
    table: String,
}

impl Shards {
    /// Those of a table.
    ///
    /// # Errors
    /// A server's.
    pub async fn of(cluster: &Cluster, table: &str) -> anyhow::Result<Self> {
        Ok(Self { client: cluster.client().await?, table: table.to_owned() })
    }

    /// Moves a shard to another worker; both at random.
    ///
    /// # Errors
    /// A server's.
    pub async fn move_one(&self, random: &mut StdRng, mode: &str) -> anyhow::Result<u64> {
        let sql = "SELECT s.shardid, n.nodeport FROM pg_dist_shard s JOIN pg_dist_placement p USING (shardid) \
                   JOIN pg_dist_node n USING (groupid) WHERE s.logicalrelid = $1::text::regclass ORDER BY 1";
        let shards = self.client.query(sql, &[&self.table]).await?;
        let sql =
            "SELECT nodeport FROM pg_dist_node WHERE shouldhaveshards AND isactive AND noderole = 'primary' ORDER BY 1";
        let ports: Vec<i32> = self.client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect();
        let row = shards.get(random.random_range(0..shards.len())).context("no shard")?;
        let (shard, from): (i64, i32) = (row.get(0), row.get(1));
        let others: Vec<i32> = ports.into_iter().filter(|port| *port != from).collect();
        let to = *others.get(random.random_range(0..others.len())).context("no other node")?;
        self.move_to(shard, from, to, mode).await?;
        Ok(shard.unsigned_abs())
    }

    /// Moves a shard.
    ///
    /// # Errors
    /// A server's.
    pub async fn move_to(&self, shard: i64, from: i32, to: i32, mode: &str) -> anyhow::Result<()> {
        let sql =
            format!("SELECT citus_move_shard_placement({shard}, '127.0.0.1', {from}, '127.0.0.1', {to}, '{mode}')");
        // Writers and moves can get into each other's way; Citus then gives up one of them.
        for _ in 0..5 {
            match self.client.batch_execute(&sql).await {
                Ok(()) => return Ok(()),
                Err(error) if error.code().is_some_and(|c| matches!(c.code(), "40P01" | "40001" | "55P03")) => {}
                Err(error) => return Err(error).with_context(|| sql.clone()),
            }
        }
        anyhow::bail!("{sql}: failed again and again");
    }
}

/// The sum of a counter of the daemon over its labels; 0 when it was never counted.
///
/// # Errors
/// When the daemon does not answer.
pub async fn counter(daemon: &Daemon, name: &str) -> anyhow::Result<u64> {
    let (_, text) = daemon.http_get("/metrics").await?;
    let lines = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum::<f64>() as u64)
}
