//! Which tables stream tables are to read, and where their rows are.

use anyhow::{anyhow, bail};
use tokio_postgres::Client;
use topology::{Cluster, LogicalTable, Provider};
use types::TableName;

/// What was chosen.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    /// Tables, with their physical tables.
    pub(crate) tables: Vec<LogicalTable>,
    /// Views: nothing of them is streamed, but queries name them.
    pub(crate) views: Vec<TableName>,
    /// Tables that cannot be streamed, and why: one line each.
    pub(crate) skipped: Vec<String>,
}

/// The named ones, of which each must be fit; or all of the database that are.
pub(crate) async fn choose(client: &Client, cluster: &Cluster, named: &[TableName]) -> anyhow::Result<Chosen> {
    let mut chosen = Chosen::default();
    if named.is_empty() {
        for (name, view) in all(client, cluster).await? {
            if view {
                chosen.views.push(name);
                continue;
            }
            match topology::tables(client, cluster, std::slice::from_ref(&name)).await {
                Ok(tables) => chosen.tables.extend(tables),
                Err(error) if error.is_transient() => return Err(error.into()),
                Err(error) => chosen.skipped.push(error.to_string()),
            }
        }
        return Ok(chosen);
    }
    for name in named {
        let sql =
            "SELECT c.relkind::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = $1 AND c.relname = $2";
        let row =
            client.query_opt(sql, &[&name.schema, &name.name]).await.map_err(|e| anyhow!("{}", wal::describe(&e)))?;
        match row.map(|row| row.get::<_, String>(0)).as_deref() {
            None => bail!("table {name} does not exist"),
            Some("v") => chosen.views.push(name.clone()),
            Some(_) => chosen.tables.extend(topology::tables(client, cluster, std::slice::from_ref(name)).await?),
        }
    }
    Ok(chosen)
}

/// Every table and view that users made: no partitions (their parents stand for them), no shards, nothing of an
/// extension, no stream tables.
async fn all(client: &Client, cluster: &Cluster) -> anyhow::Result<Vec<(TableName, bool)>> {
    let shards =
        if cluster.provider == Provider::Citus { "AND NOT pg_catalog.relation_is_a_known_shard(c.oid)" } else { "" };
    let sql = format!(
        "SELECT n.nspname::text, c.relname::text, c.relkind = 'v' FROM pg_catalog.pg_class c
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition AND c.relpersistence = 'p'
           AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname !~ '^tributary(_|$)'
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
                           AND d.objid = c.oid AND d.deptype = 'e')
           {shards} ORDER BY 1, 2"
    );
    let failed = |e: tokio_postgres::Error| anyhow!("{}", wal::describe(&e));
    let rows = client.query(&sql, &[]).await.map_err(failed)?;
    let mut found: Vec<_> =
        rows.iter().map(|r| (TableName::new(r.get::<_, String>(0), r.get::<_, String>(1)), r.get(2))).collect();
    for schema in instances(client).await? {
        let sql = format!(
            "SELECT schema_name, table_name FROM {}.stream_tables WHERE published",
            types::quote_ident(&schema)
        );
        let rows = client.query(&sql, &[]).await.map_err(failed)?;
        let kept: Vec<_> = rows.iter().map(|r| TableName::new(r.get::<_, String>(0), r.get::<_, String>(1))).collect();
        found.retain(|(name, _)| !kept.contains(name));
    }
    Ok(found)
}

/// The schemas of the instances that are here already.
async fn instances(client: &Client) -> anyhow::Result<Vec<String>> {
    let sql =
        "SELECT n.nspname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relname = 'stream_tables' AND c.relkind = 'r' AND n.nspname ~ '^tributary(_|$)'";
    let rows = client.query(sql, &[]).await.map_err(|e| anyhow!("{}", wal::describe(&e)))?;
    Ok(rows.iter().map(|r| r.get(0)).collect())
}
