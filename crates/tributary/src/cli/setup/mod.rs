//! `tributary setup`: everything that needs high rights, done once by an administrator or printed as SQL.
//!
//! ```text
//! discover ─ tables (--table, or all that can be streamed) ─ statements a node ─┬─ carried out, one transaction a node
//!                                                                               └─ printed (--print)
//! ```
//!
//! Only what is missing is in the statements, so that a second run does nothing.

mod node;
mod tables;

use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use types::Consistency;

use crate::cli::nodes;
use crate::cli::stream::table_name;
use crate::config;
use node::NodePlan;

#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// The cluster: its coordinator's database, as an administrator
    #[arg(long, env = "TRIBUTARY_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
    /// The instance that the publications and the schema are for
    #[arg(long, env = "TRIBUTARY_INSTANCE", default_value = "default", value_name = "NAME")]
    instance: String,
    /// The role that the daemon connects as
    #[arg(long, default_value = "tributary", value_name = "NAME")]
    role: String,
    /// Its password; without one the servers must let it in by other means
    #[arg(long, env = "TRIBUTARY_SETUP_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    password: Option<String>,
    /// A table that stream tables may read [default: every table that can be streamed, and every view]
    #[arg(long = "table", value_name = "NAME")]
    tables: Vec<String>,
    /// A schema that stream tables may be made in
    #[arg(long = "schema", value_name = "NAME", default_value = "public")]
    schemas: Vec<String>,
    /// Also for stream tables of consistency per-node, which have publications of their own
    #[arg(long)]
    per_node: bool,
    /// Print the SQL, node by node, and change nothing
    #[arg(long)]
    print: bool,
}

/// What the statements are for.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) instance: sink::Instance,
    pub(crate) role: String,
    pub(crate) password: Option<String>,
    pub(crate) schemas: Vec<String>,
    /// Which stream tables there will be.
    pub(crate) consistencies: Vec<Consistency>,
}

impl Goal {
    /// The publications of the tables. Behind each, with `_meta`, there is one of Citus's catalogs.
    pub(crate) fn publications(&self) -> impl Iterator<Item = String> {
        self.consistencies.iter().map(|c| format!("tributary_{}{}", self.instance.name(), c.suffix()))
    }
}

pub(crate) async fn run(args: &SetupArgs) -> anyhow::Result<ExitCode> {
    let endpoint = config::endpoint(&args.database_url)?;
    let instance = sink::Instance::new(&config::instance(Some(args.instance.clone()))?)?;
    let mut consistencies = vec![Consistency::Atomic];
    consistencies.extend(args.per_node.then_some(Consistency::PerNode));
    let (role, password, schemas) = (args.role.clone(), args.password.clone(), args.schemas.clone());
    let goal = Goal { instance, role, password, schemas, consistencies };
    let (client, cluster) = nodes::discover(&endpoint, "tributary setup").await?;
    let named = args.tables.iter().map(|t| table_name(t).ok_or_else(|| anyhow!("'{t}' is not a table's name")));
    let named = named.collect::<anyhow::Result<Vec<_>>>()?;
    let chosen = tables::choose(&client, &cluster, &named).await?;
    let mut plans = Vec::new();
    for node in &cluster.nodes {
        let session = wal::connect(&node.endpoint, "tributary setup").await.with_context(|| nodes::title(node))?;
        let plan = node::plan(&session, &cluster, node, &chosen, &goal).await.with_context(|| nodes::title(node))?;
        plans.push((session, plan));
    }
    for skipped in &chosen.skipped {
        // On standard output these would stand in the SQL.
        eprintln!("tributary: left out: {skipped}");
    }
    for (session, plan) in &plans {
        if args.print {
            println!("{}", plan.as_sql());
        } else {
            carry_out(session, plan).await?;
            println!("{}: {}", plan.title, plan.summary());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All of a node's statements, or none.
async fn carry_out(session: &tokio_postgres::Client, plan: &NodePlan) -> anyhow::Result<()> {
    if plan.statements.is_empty() {
        return Ok(());
    }
    let run =
        |sql: String| async move { session.batch_execute(&sql).await.map_err(|e| anyhow!("{}", wal::describe(&e))) };
    run(format!("{}BEGIN", plan.settings())).await.with_context(|| plan.title.clone())?;
    for statement in &plan.statements {
        if let Err(error) = run(statement.sql.clone()).await {
            bail!("{}: {error}; the statement was: {}", plan.title, statement.shown());
        }
    }
    run("COMMIT".into()).await.with_context(|| plan.title.clone())
}
