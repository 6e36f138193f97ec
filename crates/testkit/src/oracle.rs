//! Whether a stream table is exact: PostgreSQL itself evaluates the query over the sources and compares.
//!
//! The sources are copied into temporary tables of the same names first, keys included, so that the query is evaluated by
//! plain PostgreSQL, without Citus's planner and its limits. Writers must rest meanwhile: reads over several nodes are not
//! of one moment.

use anyhow::{Context, bail};
use tokio_postgres::Client;

use crate::cluster::Cluster;
use crate::daemon::{Daemon, cli};

/// The column that a stream table has besides its query's when the query has no natural key.
const ROW_ID: &str = "__tributary_row_id";

/// The answer to the query that is compared.
const ANSWER: &str = "__answer";

/// How a stream table differs from its query; samples are rows as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Rows of the table that the query has not, and how many.
    pub surplus: (i64, Vec<String>),
    /// Rows of the query that the table has not, and how many.
    pub missing: (i64, Vec<String>),
    /// Rows that are equal but written differently, such as 1.0 and 1.00.
    pub rendered: (i64, Vec<String>),
}

impl Difference {
    /// True when there is none, not even in how values are written.
    pub fn is_empty(&self) -> bool {
        self.surplus.0 == 0 && self.missing.0 == 0 && self.rendered.0 == 0
    }
}

/// All tables of a cluster as they were when it was made.
pub struct Oracle {
    client: Client,
}

impl Oracle {
    /// Copies every table of `public`, views included.
    ///
    /// # Errors
    /// The server's.
    pub async fn take(cluster: &Cluster) -> anyhow::Result<Self> {
        let client = session(cluster).await?;
        // Definitions first: with the copies in place, the names in them would be written with their schema.
        let views = client
            .query(
                "SELECT relname::text, pg_get_viewdef(oid) FROM pg_class
                 WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace
                   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = pg_class.oid AND d.deptype = 'e') ORDER BY oid",
                &[],
            )
            .await?;
        let tables = client
            .query(
                "SELECT quote_ident(relname) FROM pg_class
                 WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
                   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = pg_class.oid AND d.deptype = 'e') ORDER BY oid",
                &[],
            )
            .await?;
        let tables: Vec<&str> = tables.iter().map(|row| row.get(0)).collect();
        copy(&client, &tables).await?;
        for row in &views {
            let (name, definition): (&str, &str) = (row.get(0), row.get(1));
            let sql = format!("CREATE TEMPORARY VIEW {name} AS {definition}");
            client.batch_execute(&sql).await.with_context(|| format!("copying the view {name}"))?;
        }
        Ok(Self { client })
    }

    /// Copies just these tables of `public`.
    ///
    /// # Errors
    /// The server's.
    pub async fn of(cluster: &Cluster, tables: &[&str]) -> anyhow::Result<Self> {
        let client = session(cluster).await?;
        copy(&client, tables).await?;
        client.batch_execute("COMMIT").await?;
        Ok(Self { client })
    }

    /// What queries over the copies mean by a name, such as that of a stream table.
    ///
    /// # Errors
    /// The server's.
    pub async fn view(&self, name: &str, query: &str) -> anyhow::Result<()> {
        let query = query.trim().trim_end_matches(';');
        Ok(self.client.batch_execute(&format!("CREATE TEMPORARY VIEW {name} AS {query}")).await?)
    }

    /// Whether the query can be answered at all over the copies; what the server says when it cannot.
    ///
    /// # Errors
    /// When the server is gone.
    pub async fn fails(&self, query: &str) -> anyhow::Result<Option<String>> {
        match self.client.query(query, &[]).await {
            Ok(_) => Ok(None),
            Err(error) => match error.as_db_error() {
                Some(db) => Ok(Some(db.message().to_owned())),
                None => Err(error.into()),
            },
        }
    }

    /// Compares a stream table with its query, evaluated over the copies.
    ///
    /// # Errors
    /// The server's, when either cannot be read.
    pub async fn compare(&self, table: &str, query: &str) -> anyhow::Result<Difference> {
        let query = query.trim().trim_end_matches(';');
        let table = if table.contains('.') { table.to_owned() } else { format!("public.{table}") };
        let columns = self
            .client
            .query(
                "SELECT quote_ident(attname) FROM pg_attribute
                 WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attname <> $2 ORDER BY attnum",
                &[&table, &ROW_ID],
            )
            .await
            .with_context(|| format!("the columns of {table}"))?;
        let columns: Vec<String> = columns.iter().map(|row| row.get(0)).collect();
        // The query is evaluated once, however often its answer is read.
        let answer = format!("DROP TABLE IF EXISTS pg_temp.{ANSWER}; CREATE TEMPORARY TABLE {ANSWER} AS {query}");
        self.client.batch_execute(&answer).await.with_context(|| answer.clone())?;
        let (held, query) = (format!("SELECT {} FROM {table}", columns.join(", ")), format!("TABLE pg_temp.{ANSWER}"));
        let text = |inner: &str| format!("SELECT x::text AS row FROM ({inner}) x");
        let surplus = self.sample(&format!("({held}) EXCEPT ALL ({query})")).await?;
        let missing = self.sample(&format!("({query}) EXCEPT ALL ({held})")).await?;
        let rendered = if surplus.0 == 0 && missing.0 == 0 {
            self.sample(&format!("({}) EXCEPT ALL ({})", text(&held), text(&query))).await?
        } else {
            (0, Vec::new())
        };
        Ok(Difference { surplus, missing, rendered })
    }

    async fn sample(&self, sql: &str) -> anyhow::Result<(i64, Vec<String>)> {
        let sql = format!("WITH d AS ({sql}) SELECT d::text, count(*) OVER () FROM d LIMIT 5");
        let rows = self.client.query(&sql, &[]).await.with_context(|| sql.clone())?;
        Ok((rows.first().map_or(0, |row| row.get(1)), rows.iter().map(|row| row.get(0)).collect()))
    }

    /// Fails with the differences when a stream table is not exact.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub async fn check(&self, table: &str, query: &str) -> anyhow::Result<()> {
        let difference = self.compare(table, query).await?;
        if !difference.is_empty() {
            bail!("{table} is not exact: {difference:#?}\nquery: {query}");
        }
        Ok(())
    }
}

async fn session(cluster: &Cluster) -> anyhow::Result<Client> {
    let client = cluster.client().await?;
    client.batch_execute("SET client_min_messages = warning; SET statement_timeout = '2min'").await?;
    client
        .batch_execute("SELECT set_config('citus.use_citus_managed_tables', 'off', false)")
        .await
        .context("a session for the oracle")?;
    Ok(client)
}

/// Copies tables within a transaction, which it leaves open.
async fn copy(client: &Client, tables: &[&str]) -> anyhow::Result<()> {
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    for name in tables {
        let sql = format!(
            "CREATE TEMPORARY TABLE {name} (LIKE public.{name} INCLUDING INDEXES);
             INSERT INTO pg_temp.{name} SELECT * FROM public.{name}"
        );
        client.batch_execute(&sql).await.with_context(|| format!("copying {name}"))?;
    }
    Ok(())
}

/// Waits until everything committed is readable, and checks stream tables, given as (name, query).
///
/// # Errors
/// When the wait fails or a table is not exact.
pub async fn assert_exact(cluster: &Cluster, daemon: &Daemon, tables: &[(&str, &str)]) -> anyhow::Result<()> {
    cli(daemon, &["wait", "--timeout", "120s"]).await?.ok().context("tributary wait")?;
    let oracle = Oracle::take(cluster).await?;
    for (table, query) in tables {
        oracle.check(table, query).await?;
    }
    Ok(())
}
