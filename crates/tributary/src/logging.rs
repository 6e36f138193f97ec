//! Where log lines go: standard error, as text or as JSON.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags that every command has.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub(crate) struct LogFlags {
    /// What to log: a level (error, warn, info, debug, trace) or a filter such as `info,sink=debug` [default: RUST_LOG, else info]
    #[arg(long, global = true, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<String>,
    /// How to write it [default: text]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_format: Option<LogFormat>,
}

/// What was settled on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logging {
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
}

impl LogFlags {
    /// Commands that ask a daemon say what they have to say on their own.
    pub(crate) fn for_clients(&self) -> Logging {
        Logging::new(self.log.clone(), self.log_format, "warn")
    }
}

impl Logging {
    /// `filter`, else `RUST_LOG`, else `otherwise`.
    pub(crate) fn new(filter: Option<String>, format: Option<LogFormat>, otherwise: &str) -> Self {
        let filter = filter.or_else(|| std::env::var("RUST_LOG").ok().filter(|f| !f.is_empty()));
        Self { filter: filter.unwrap_or_else(|| otherwise.to_owned()), format: format.unwrap_or_default() }
    }

    /// Whether the filter can be read.
    pub(crate) fn check(&self) -> Result<(), String> {
        EnvFilter::try_new(&self.filter).map(drop).map_err(|e| format!("log: '{}': {e}", self.filter))
    }
}

/// Starts logging, once a process.
pub(crate) fn start(logging: &Logging) {
    let filter = EnvFilter::try_new(&logging.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start (there is none) would only be refused.
    let _already = match logging.format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
