//! `tributary stream …`

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use proto::v1;
use types::TableName;

use crate::cli::client::{refused, stream_tables};
use crate::cli::rebuild::{RebuildArgs, rebuild};
use crate::cli::shown::{as_json, consistency_name, outcome, state_name, summary};
use crate::cli::{progress, text};
use crate::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum StreamCommand {
    /// Define a stream table; returns when it is exact
    Create(CreateArgs),
    /// Show all stream tables
    List(ListArgs),
    /// Show one stream table
    Describe(DescribeArgs),
    /// Give a stream table another query of the same columns, or another consistency; returns when it is exact
    Alter(AlterArgs),
    /// Remove a stream table
    Drop(DropArgs),
    /// Stop keeping a stream table; its content stays
    Pause(NameArg),
    /// Keep a paused stream table again; returns when it is exact
    Resume(NameArg),
    /// Compute a stream table again, or read its sources again; returns when it is exact
    Rebuild(RebuildArgs),
    /// Show how a query is, or would be, kept
    Explain(ExplainArgs),
    /// Show each cut that changes a stream table
    Watch(WatchArgs),
    /// Compare stream tables with their queries; exit code 1 when one differs
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NameArg {
    /// The stream table, `name` or `schema.name`
    name: String,
}

/// Either the text or a file.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct QueryArgs {
    /// The query
    #[arg(long, value_name = "SQL")]
    query: Option<String>,
    /// A file that holds the query; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What a stream table does while a node is away or slow.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ConsistencyArg {
    /// It waits: every transaction is in it whole or not at all, on all nodes
    Atomic,
    /// It goes on with the nodes that are there
    PerNode,
}

impl From<ConsistencyArg> for v1::Consistency {
    fn from(arg: ConsistencyArg) -> Self {
        match arg {
            ConsistencyArg::Atomic => Self::Atomic,
            ConsistencyArg::PerNode => Self::PerNode,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name, `name` or `schema.name`
    name: String,
    #[command(flatten)]
    query: QueryArgs,
    /// Return at once; `stream list` shows when it is exact
    #[arg(long)]
    no_wait: bool,
    /// Only show how it would be kept, what it would hold and what it would compute again
    #[arg(long, conflicts_with = "no_wait")]
    dry_run: bool,
    /// What it does while a node is away or slow
    #[arg(long, value_enum, default_value = "atomic")]
    consistency: ConsistencyArg,
    #[command(flatten)]
    options: OptionArgs,
}

/// Under what a query is read.
#[derive(Debug, Args)]
pub(crate) struct OptionArgs {
    /// Accept sources under row-level security: the table holds what the daemon's role sees
    #[arg(long)]
    allow_row_security: bool,
    /// A setting that the query's functions go by, such as TimeZone=UTC
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
}

impl OptionArgs {
    fn is_empty(&self) -> bool {
        !self.allow_row_security && self.set.is_empty()
    }
}

impl From<OptionArgs> for v1::Options {
    fn from(args: OptionArgs) -> Self {
        let settings = args.set.into_iter().collect::<HashMap<_, _>>();
        Self { allow_row_security: args.allow_row_security, settings }
    }
}

#[derive(Debug, Args)]
#[group(id = "altered", required = true, multiple = false, args = ["query", "file", "consistency"])]
pub(crate) struct AlterArgs {
    /// The stream table
    name: String,
    /// The query
    #[arg(long, value_name = "SQL")]
    query: Option<String>,
    /// A file that holds the query; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What it does while a node is away or slow, instead of another query
    #[arg(long, value_enum)]
    consistency: Option<ConsistencyArg>,
    /// Compute the stream tables that read it again, too
    #[arg(long)]
    cascade: bool,
    #[command(flatten)]
    options: OptionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DropArgs {
    /// The stream table, `name` or `schema.name`
    name: String,
    /// Drop the stream tables that read it, too
    #[arg(long)]
    cascade: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The stream table
    name: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    what: Explained,
    #[command(flatten)]
    options: OptionArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A stream table, or a query as text or in a file.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Explained {
    /// A stream table, or
    name: Option<String>,
    /// a query that is not defined yet
    #[arg(long, value_name = "SQL")]
    query: Option<String>,
    /// A file that holds the query; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The stream table
    name: String,
    /// End after so many cuts
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so long
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    during: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The stream table; all when it is not given
    name: Option<String>,
    /// Heal those that differ
    #[arg(long)]
    repair: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is not NAME=VALUE"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

pub(crate) async fn run(command: StreamCommand, endpoint: &str) -> anyhow::Result<ExitCode> {
    match command {
        StreamCommand::Create(args) => create(args, endpoint).await?,
        StreamCommand::List(args) => list(&args, endpoint).await?,
        StreamCommand::Describe(args) => describe(args, endpoint).await?,
        StreamCommand::Alter(args) => alter(args, endpoint).await?,
        StreamCommand::Drop(DropArgs { name, cascade }) => {
            let request = v1::DropStreamTableRequest { name: name.clone(), cascade };
            stream_tables(endpoint).await?.drop(request).await.map_err(refused)?;
            println!("{name} is dropped");
        }
        StreamCommand::Pause(NameArg { name }) => {
            let answer = stream_tables(endpoint).await?.pause(v1::PauseStreamTableRequest { name }).await;
            println!("{}", outcome(&answer.map_err(refused)?.into_inner()));
        }
        StreamCommand::Resume(NameArg { name }) => {
            let answer = stream_tables(endpoint).await?.resume(v1::ResumeStreamTableRequest { name }).await;
            println!("{}", outcome(&progress::follow(answer.map_err(refused)?.into_inner()).await?));
        }
        StreamCommand::Rebuild(args) => rebuild(args, endpoint).await?,
        StreamCommand::Explain(args) => explain(args, endpoint).await?,
        StreamCommand::Watch(args) => watch(args, endpoint).await?,
        StreamCommand::Verify(args) => return verify(args, endpoint).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: CreateArgs, endpoint: &str) -> anyhow::Result<()> {
    let query = query_text(args.query.query, args.query.file.as_deref())?;
    let options = Some(args.options.into());
    if args.dry_run {
        let request = v1::ExplainStreamTableRequest { name: String::new(), query, options };
        let answer = stream_tables(endpoint).await?.explain(request).await.map_err(refused)?.into_inner();
        println!("{}", answer.text.trim_end());
        return Ok(());
    }
    let consistency = v1::Consistency::from(args.consistency).into();
    let request = v1::CreateStreamTableRequest { name: args.name, query, no_wait: args.no_wait, options, consistency };
    let answer = stream_tables(endpoint).await?.create(request).await.map_err(refused)?;
    show(&progress::follow(answer.into_inner()).await?);
    Ok(())
}

async fn alter(args: AlterArgs, endpoint: &str) -> anyhow::Result<()> {
    let query = match args.consistency {
        Some(_) => String::new(),
        None => query_text(args.query, args.file.as_deref())?,
    };
    let request = v1::AlterStreamTableRequest {
        name: args.name,
        query,
        consistency: args.consistency.map_or(v1::Consistency::Unspecified, v1::Consistency::from).into(),
        // Those of before, when none are given.
        options: (!args.options.is_empty()).then(|| args.options.into()),
        cascade: args.cascade,
    };
    let answer = stream_tables(endpoint).await?.alter(request).await.map_err(refused)?;
    show(&progress::follow(answer.into_inner()).await?);
    Ok(())
}

/// What came of a definition, with what its user should know.
fn show(table: &v1::StreamTable) {
    for warning in &table.warnings {
        eprintln!("warning: {warning}");
    }
    println!("{}", outcome(table));
}

fn query_text(query: Option<String>, file: Option<&Path>) -> anyhow::Result<String> {
    match (query, file) {
        (Some(query), _) => Ok(query),
        (None, Some(path)) if path == Path::new("-") => {
            std::io::read_to_string(std::io::stdin()).context("reading the query from standard input")
        }
        (None, Some(path)) => std::fs::read_to_string(path).with_context(|| path.display().to_string()),
        (None, None) => Err(anyhow!("no query was given")),
    }
}

async fn list(args: &ListArgs, endpoint: &str) -> anyhow::Result<()> {
    let answer = stream_tables(endpoint).await?.list(v1::ListStreamTablesRequest {}).await.map_err(refused)?;
    let tables = answer.into_inner().stream_tables;
    if args.json {
        println!("{}", serde_json::Value::Array(tables.iter().map(as_json).collect()));
    } else {
        println!("{}", summary(&tables));
    }
    Ok(())
}

async fn describe(args: DescribeArgs, endpoint: &str) -> anyhow::Result<()> {
    let request = v1::GetStreamTableRequest { name: args.name };
    let table = stream_tables(endpoint).await?.get(request).await.map_err(refused)?.into_inner();
    if args.json {
        println!("{}", as_json(&table));
        return Ok(());
    }
    let columns: Vec<_> = table.columns.iter().map(|c| format!("{} {}", c.name, c.r#type)).collect();
    let mut rows = vec![
        ("name", table.name.clone()),
        ("state", state_name(table.state()).to_owned()),
        ("reason", table.reason.clone()),
        ("consistency", consistency_name(table.consistency()).to_owned()),
        ("cut", table.seq.to_string()),
        ("rows", text::number(table.rows)),
        ("sources", table.sources.join(", ")),
        ("reads", table.reads.join(", ")),
        ("warning", table.warnings.join("; ")),
        ("columns", columns.join(", ")),
        ("key", if table.key.is_empty() { "none: always one row".into() } else { table.key.join(", ") }),
    ];
    let options = table.options.unwrap_or_default();
    let mut settings: Vec<_> = options.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    settings.sort();
    rows.push(("settings", settings.join(", ")));
    rows.retain(|(_, value)| !value.is_empty());
    for (name, value) in rows {
        println!("{name:8} {value}");
    }
    println!("query    {}", table.query.trim().replace('\n', "\n         "));
    Ok(())
}

async fn explain(args: ExplainArgs, endpoint: &str) -> anyhow::Result<()> {
    let Explained { name, query, file } = args.what;
    let query = if name.is_some() { String::new() } else { query_text(query, file.as_deref())? };
    let options = Some(args.options.into());
    let request = v1::ExplainStreamTableRequest { name: name.unwrap_or_default(), query, options };
    let answer = stream_tables(endpoint).await?.explain(request).await.map_err(refused)?.into_inner();
    println!("{}", if args.json { answer.json } else { answer.text }.trim_end());
    Ok(())
}

async fn watch(args: WatchArgs, endpoint: &str) -> anyhow::Result<()> {
    let request = v1::WatchStreamTableRequest { name: args.name };
    let mut changes = stream_tables(endpoint).await?.watch(request).await.map_err(refused)?.into_inner();
    let until = args.during.and_then(|d| tokio::time::Instant::now().checked_add(d));
    let over = async {
        match until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let mut seen = 0;
    while args.count.is_none_or(|count| seen < count) {
        let change = tokio::select! {
            change = changes.message() => change.map_err(refused)?,
            () = &mut over => return Ok(()),
            signal = tokio::signal::ctrl_c() => return signal.context("waiting for an interrupt"),
        };
        let Some(c) = change else { anyhow::bail!("the daemon ended the watch") };
        seen += 1;
        println!(
            "cut {}  +{} ~{} -{}  {} after commit",
            c.seq,
            c.inserted,
            c.updated,
            c.deleted,
            text::seconds(c.delay_seconds)
        );
    }
    Ok(())
}

async fn verify(args: VerifyArgs, endpoint: &str) -> anyhow::Result<ExitCode> {
    let request = v1::VerifyStreamTableRequest { name: args.name.unwrap_or_default(), repair: args.repair };
    let answer = stream_tables(endpoint).await?.verify(request).await.map_err(refused)?.into_inner();
    let mut wrong = Vec::new();
    for v in &answer.results {
        let detail = if v.detail.is_empty() { String::new() } else { format!(" ({})", v.detail) };
        if v.exact {
            println!("{} is exact at cut {}: {}{detail}", v.name, v.seq, text::rows(v.rows));
        } else {
            println!(
                "{} differs at cut {}: {} too many, {} missing{detail}",
                v.name,
                v.seq,
                text::rows(v.surplus),
                text::rows(v.missing)
            );
            wrong.push(v.name.as_str());
        }
    }
    if wrong.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::bail!("not exact: {}; `tributary stream rebuild` computes a stream table again", wrong.join(", "))
}

/// `schema.name` or `name`, as SQL reads it: quotes keep case. `None` when it is neither.
pub(crate) fn table_name(text: &str) -> Option<TableName> {
    let mut parts = vec![String::new()];
    let mut chars = text.trim().chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        let part = parts.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => part.extend(chars.next()),
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c if quoted => part.push(c),
            c if c.is_alphanumeric() || c == '_' || c == '$' => part.extend(c.to_lowercase()),
            _ => return None,
        }
    }
    if quoted || parts.iter().any(String::is_empty) {
        return None;
    }
    match <[String; 2]>::try_from(parts) {
        Ok([schema, name]) => Some(TableName { schema, name }),
        Err(mut one) if one.len() == 1 => one.pop().map(|name| TableName::new("public", name)),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::stream_table::State;

    use super::*;

    #[test]
    fn a_name_is_read_as_sql_reads_it() {
        let name = |s: &str| table_name(s).map(|n| n.to_string());
        assert_eq!(name("Orders").as_deref(), Some("public.orders"));
        assert_eq!(name("s.\"A.b\"").as_deref(), Some("s.A.b"));
        for bad in ["", "a.b.c", "\"a", "a b", "a."] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }

    #[test]
    fn outcomes_are_one_line() {
        let mut table = v1::StreamTable { name: "public.t".into(), seq: 4, rows: 1, ..Default::default() };
        table.set_state(State::Active);
        assert_eq!(outcome(&table), "public.t is exact at cut 4 (1 row)");
        table.set_state(State::Failed);
        table.reason = "why".into();
        assert_eq!(outcome(&table), "public.t is stopped at cut 4: why");
    }
}
