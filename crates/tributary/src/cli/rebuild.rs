//! `tributary stream rebuild`

use anyhow::anyhow;
use clap::Args;
use proto::v1;

use crate::cli::client::{refused, stream_tables};
use crate::cli::shown::outcome;
use crate::cli::{progress, text};

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    /// The stream table, `name` or `schema.name`
    #[arg(required_unless_present_any = ["all", "tables", "shards", "nodes"])]
    name: Option<String>,
    /// Only read its sources again, beside the cuts, and take over what differs in one step
    #[arg(long)]
    reconcile: bool,
    /// The sources of all stream tables
    #[arg(long, requires = "reconcile", conflicts_with = "name")]
    all: bool,
    /// Of the sources only this table; may be given again
    #[arg(long = "table", value_name = "TABLE", requires = "reconcile")]
    tables: Vec<String>,
    /// Only this shard; may be given again
    #[arg(long = "shard", value_name = "ID", requires = "reconcile")]
    shards: Vec<u64>,
    /// Only what is on this node; may be given again
    #[arg(long = "node", value_name = "N", requires = "reconcile")]
    nodes: Vec<u32>,
}

pub(crate) async fn rebuild(args: RebuildArgs, endpoint: &str) -> anyhow::Result<()> {
    let RebuildArgs { name, reconcile, all: _, tables, shards, nodes } = args;
    let request = v1::RebuildStreamTableRequest { name: name.unwrap_or_default(), reconcile, tables, shards, nodes };
    let answer = stream_tables(endpoint).await?.rebuild(request).await.map_err(refused)?;
    let progress::End { reconciled, table } = progress::follow_all(answer.into_inner()).await?;
    if reconciled.is_none() && table.is_none() {
        return Err(anyhow!("the daemon ended the call without an answer; see its log"));
    }
    if let Some(v1::Reconciled { rows_read, rows_differing, computed_again }) = reconciled {
        println!("{} read again, {} differed", text::rows(rows_read), text::number(rows_differing));
        for table in computed_again {
            println!("{table} differed by more than one cut can hold; what reads it is computed again");
        }
    }
    if let Some(table) = table {
        println!("{}", outcome(&table));
    }
    Ok(())
}
