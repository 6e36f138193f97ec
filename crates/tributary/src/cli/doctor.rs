//! `tributary doctor`: one line a check, with the remedy where something is wrong.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use tokio_postgres::Client;
use topology::{Cluster, Node};

use crate::cli::nodes;
use crate::config;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The cluster: its coordinator's database, as the role to be checked
    #[arg(long, env = "TRIBUTARY_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
    /// The instance whose slots and schema are looked at
    #[arg(long, env = "TRIBUTARY_INSTANCE", default_value = "default", value_name = "NAME")]
    instance: String,
}

/// Clocks further apart than this make the delays that are shown meaningless.
const SKEW: Duration = Duration::from_secs(1);
/// A slot that holds back more than this is worth a look.
const RETAINED: u64 = 16 << 30;

/// What was found, line by line.
#[derive(Debug, Default)]
struct Report {
    wrong: usize,
}

impl Report {
    fn good(&self, who: &str, what: &str) {
        println!("ok     {who}: {what}");
    }

    fn note(&self, who: &str, what: &str) {
        println!("note   {who}: {what}");
    }

    fn wrong(&mut self, who: &str, what: &str) {
        self.wrong += 1;
        println!("WRONG  {who}: {what}");
    }
}

pub(crate) async fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let endpoint = config::endpoint(&args.database_url)?;
    let instance = config::instance(Some(args.instance.clone()))?;
    let (client, cluster) = nodes::discover(&endpoint, "tributary doctor").await?;
    let mut report = Report::default();
    report.good("cluster", &format!("{}, {}", cluster.provider, count(cluster.nodes.len(), "node")));
    for node in &cluster.nodes {
        let slot = format!("tributary_{instance}");
        match wal::connect(&node.endpoint, "tributary doctor").await {
            Ok(client) => check_node(node, &client, &slot, &mut report).await?,
            Err(error) => report.wrong(&nodes::title(node), &error.to_string()),
        }
    }
    check_target(&client, &cluster, &instance, &mut report).await?;
    if report.wrong == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::bail!("{} to be put right", count(report.wrong, "thing"))
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

async fn check_node(node: &Node, client: &Client, slot: &str, report: &mut Report) -> anyhow::Result<()> {
    let who = nodes::title(node);
    let found = nodes::check(node, client, slot).await?;
    for trouble in &found {
        report.wrong(&who, &trouble.what);
    }
    if found.is_empty() {
        let version: String = one(client, "SELECT current_setting('server_version')").await?;
        report.good(&who, &format!("PostgreSQL {version}: WAL level, slots, senders and rights"));
    }
    match wal::inspect_slot(client, slot).await? {
        None => report.note(&who, &format!("slot {slot} is not there yet; the agent makes it")),
        Some(info) if info.is_lost() => report.wrong(
            &who,
            &format!("slot {slot} is lost (the server gave up its WAL): raise max_slot_wal_keep_size, the daemon reads the tables again by itself"),
        ),
        Some(info) if info.retained_bytes > RETAINED => report.wrong(
            &who,
            &format!("slot {slot} holds back {} of WAL: start the daemon, or drop the slot", crate::cli::text::bytes(info.retained_bytes)),
        ),
        Some(info) => {
            let state = if info.active { "is read now" } else { "waits for its agent" };
            report.good(&who, &format!("slot {slot} {state}, {} held back", crate::cli::text::bytes(info.retained_bytes)));
        }
    }
    let skew = skew(client).await?;
    if skew > SKEW {
        let what = format!(
            "its clock is {:.1} s away from this machine's: delays are shown wrong; run NTP",
            skew.as_secs_f64()
        );
        report.wrong(&who, &what);
    }
    Ok(())
}

/// How far the node's clock is from this machine's, the time for asking taken off.
async fn skew(client: &Client) -> anyhow::Result<Duration> {
    let here = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let before = here();
    let there: f64 = one(client, "SELECT extract(epoch FROM clock_timestamp())::float8").await?;
    let after = here();
    let apart = if there < before { before - there } else { (there - after).max(0.0) };
    Ok(Duration::try_from_secs_f64(apart).unwrap_or_default())
}

async fn check_target(client: &Client, cluster: &Cluster, instance: &str, report: &mut Report) -> anyhow::Result<()> {
    let schema = sink::Instance::new(instance)?.schema();
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1),
        COALESCE((SELECT pg_catalog.has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace WHERE nspname = $1), false),
        pg_catalog.has_database_privilege(current_database(), 'CREATE'),
        COALESCE((SELECT pg_catalog.has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace WHERE nspname = 'public'), false),
        pg_catalog.has_database_privilege(current_database(), 'TEMP'), current_user::text";
    let row = client.query_one(sql, &[&schema]).await.map_err(|e| anyhow::anyhow!("{}", wal::describe(&e)))?;
    let (exists, may_use, may_create, public, temp): (bool, bool, bool, bool, bool) =
        (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
    let role = types::quote_ident(row.get(5));
    let who = "target";
    match (exists, may_use, may_create) {
        (true, true, _) => report.good(who, &format!("schema {schema} is there")),
        (false, _, true) => report.note(who, &format!("schema {schema} is not there yet; the daemon makes it")),
        _ => report.wrong(
            who,
            &format!("{role} may not create tables in schema {schema}: run `tributary setup` as an administrator"),
        ),
    }
    if public {
        report.good(who, "stream tables can be made in schema public");
    } else {
        report.wrong(who, &format!("{role} may not create tables in schema public: GRANT USAGE, CREATE ON SCHEMA public TO {role}, unless stream tables go elsewhere"));
    }
    if !temp {
        report.wrong(
            who,
            &format!(
                "{role} may not make temporary views, by which queries are analysed: GRANT TEMP ON DATABASE … TO {role}"
            ),
        );
    }
    if cluster.nodes.len() > 1 {
        let away: Vec<_> =
            cluster.nodes.iter().filter(|n| n.endpoint.host() == "localhost").map(nodes::title).collect();
        if !away.is_empty() && cluster.nodes.iter().any(|n| n.endpoint.host() != "localhost") {
            report.note(
                "cluster",
                &format!("known as localhost, which means something else on every machine: {}", away.join(", ")),
            );
        }
    }
    Ok(())
}

async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(client: &Client, sql: &str) -> anyhow::Result<T> {
    let row = client.query_one(sql, &[]).await.map_err(|e| anyhow::anyhow!("{}", wal::describe(&e)))?;
    Ok(row.try_get(0)?)
}
