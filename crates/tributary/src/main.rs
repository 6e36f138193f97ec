//! The `tributary` binary: the daemon in its three roles, and the command line that talks to it.
//!
//! Exit code 0: done. 1: refused or failed, one line on standard error says why. 2: wrong usage or configuration.

mod cli;
mod config;
mod demo;
mod duration;
mod logging;
mod roles;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::config::ConfigError;

/// For RocksDB's C++ too. Half of what an allocation costs is glibc giving memory back and taking it again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Of the daemon's threads: queries may be nested deeply. Only what is used takes memory.
const STACK: usize = 16 << 20;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let daemon = matches!(cli.command, Command::Standalone(_) | Command::Coordinator(_) | Command::Agent(_));
    let runtime = if daemon {
        tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build()
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    };
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(Box::pin(run(cli)));
            // What still runs by then was told to stop and had its time.
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            result
        }
        Err(error) => Err(anyhow::Error::from(error).context("starting the runtime")),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            let line = one_line(&error);
            // Standard error may be closed; there is nobody left to tell then.
            let _closed = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("tributary: {line}\n"));
            ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}

/// The error with those of its causes that it does not tell itself, in one line.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { endpoint, log, command } = cli;
    match command {
        Command::Standalone(args) => roles::standalone(config::standalone(&args, &log)?).await,
        Command::Coordinator(args) => roles::coordinator(config::coordinator(&args, &log)?).await,
        Command::Agent(args) => roles::agent(config::agent(&args, &log)?).await,
        client => {
            logging::start(&log.for_clients());
            cli::run(client, &endpoint).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("b").context("a: b").context("node 1");
        assert_eq!(one_line(&error), "node 1: a: b");
        assert_eq!(one_line(&anyhow::anyhow!("two\nlines")), "two lines");
    }
}
