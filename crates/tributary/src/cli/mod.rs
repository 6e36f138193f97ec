//! The command line.

pub(crate) mod client;
mod cluster;
mod doctor;
pub(crate) mod nodes;
pub(crate) mod progress;
mod rebuild;
mod setup;
mod shown;
mod stream;
pub(crate) mod text;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{AgentFlags, CoordinatorFlags, StandaloneFlags};
use crate::demo::{self, DemoOptions};
use crate::logging::LogFlags;

/// Stream tables for Citus: tables defined by a query, exact at every moment
#[derive(Debug, Parser)]
#[command(name = "tributary", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) endpoint: EndpointFlag,
    #[command(flatten)]
    pub(crate) log: LogFlags,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which daemon is asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct EndpointFlag {
    /// The daemon that is asked
    #[arg(
        long,
        global = true,
        env = "TRIBUTARY_ENDPOINT",
        default_value = "http://127.0.0.1:7420",
        value_name = "URL"
    )]
    pub(crate) endpoint: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a coordinator and an agent a node in one process
    Standalone(Box<StandaloneFlags>),
    /// Run the coordinator; agents attach to it
    Coordinator(Box<CoordinatorFlags>),
    /// Run the agent beside one node
    Agent(Box<AgentFlags>),
    /// Define, look at and stop stream tables
    #[command(subcommand)]
    Stream(stream::StreamCommand),
    /// Show nodes, frontier, delays and stream tables
    Status(cluster::StatusArgs),
    /// Return when everything that committed before is readable
    Wait(cluster::WaitArgs),
    /// Check every node, and say what to do
    Doctor(doctor::DoctorArgs),
    /// Make the role, publications, grants and schema that the daemon needs; run once by an administrator
    Setup(setup::SetupArgs),
    /// Make a cluster with a shop, keep stream tables over it while it is written to, and verify them
    Demo(DemoOptions),
}

/// Runs a command that is not a daemon.
pub(crate) async fn run(command: Command, endpoint: &EndpointFlag) -> anyhow::Result<ExitCode> {
    match command {
        Command::Stream(command) => stream::run(command, &endpoint.endpoint).await,
        Command::Status(args) => cluster::status(&args, &endpoint.endpoint).await,
        Command::Wait(args) => cluster::wait(&args, &endpoint.endpoint).await,
        Command::Doctor(args) => doctor::run(&args).await,
        Command::Setup(args) => setup::run(&args).await,
        Command::Demo(options) => demo::run(options).await.map(|()| ExitCode::SUCCESS),
        Command::Standalone(_) | Command::Coordinator(_) | Command::Agent(_) => {
            anyhow::bail!("a daemon is started by its own entry point")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_documented_command_is_read() {
        let read = |line: &str| Cli::try_parse_from(line.split(' ')).map(drop).map_err(|e| e.to_string());
        for line in [
            "tributary standalone --database-url postgres://h/d --data-dir /d --listen 127.0.0.1:1 --http 127.0.0.1:2 --instance a",
            "tributary coordinator --config f.toml --log debug --log-format json",
            "tributary agent --database-url postgres://h/d --coordinator http://c:7420 --node 1",
            "tributary stream create a.b --query SELECT --no-wait",
            "tributary --endpoint http://x:1 stream create b --file f.sql --allow-row-security --set TimeZone=UTC",
            "tributary stream create b --query SELECT --consistency per-node",
            "tributary stream alter b --query SELECT",
            "tributary stream alter b --consistency atomic",
            "tributary stream list --endpoint http://x:1",
            "tributary stream describe b --json",
            "tributary stream drop b",
            "tributary stream pause b",
            "tributary stream resume b",
            "tributary stream rebuild b",
            "tributary stream explain --query SELECT --json",
            "tributary stream explain b --json",
            "tributary stream explain b",
            "tributary stream watch b",
            "tributary stream verify",
            "tributary stream verify b",
            "tributary status --json",
            "tributary wait --stream b --timeout 30s",
            "tributary doctor --database-url postgres://h/d",
            "tributary demo --seconds 5 --fdw",
            "tributary setup --print --table a --table s.b --database-url postgres://h/d",
        ] {
            read(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
        for line in [
            "tributary stream create b",
            "tributary stream create b --query a --file f",
            "tributary stream create b --query a --consistency none",
            "tributary stream alter b",
            "tributary stream alter b --query a --consistency atomic",
            "tributary stream explain",
            "tributary stream explain a --query b",
            "tributary wait --timeout soon",
            "tributary demo --seconds 0",
            "tributary nonsense",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
