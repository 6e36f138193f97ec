//! A role's settings: a TOML file, overridden by `TRIBUTARY_*` variables, overridden by flags.
//!
//! Every setting has one name: `data_dir` in the file, `TRIBUTARY_DATA_DIR` in the environment, `--data-dir` as a flag.
//! A name that nobody knows or a value that cannot be read is an error that names it and where it stands.

mod error;
mod flags;
mod layers;
mod size;
mod time;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use types::NodeId;

pub(crate) use error::ConfigError;
pub(crate) use flags::{AgentFlags, CoordinatorFlags, StandaloneFlags};
use size::Size;
use time::Time;

use crate::logging::{LogFlags, LogFormat, Logging};

/// What `standalone` runs with.
#[derive(Debug, Clone)]
pub(crate) struct Standalone {
    pub(crate) coordinator: coordinator::Options,
    pub(crate) agent_memory: usize,
    pub(crate) logging: Logging,
}

/// What `coordinator` runs with.
#[derive(Debug, Clone)]
pub(crate) struct Coordinator {
    pub(crate) options: coordinator::Options,
    pub(crate) logging: Logging,
}

/// What `agent` runs with.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    pub(crate) instance: String,
    /// Found out from Citus when it is not given.
    pub(crate) node: Option<NodeId>,
    pub(crate) endpoint: wal::Endpoint,
    pub(crate) coordinator: String,
    pub(crate) memory_limit: usize,
    pub(crate) logging: Logging,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StandaloneSettings {
    database_url: String,
    data_dir: PathBuf,
    instance: Option<String>,
    listen: Option<SocketAddr>,
    http: Option<SocketAddr>,
    queue_bytes: Option<Size>,
    spool_bytes: Option<Size>,
    cache_bytes: Option<Size>,
    hold_limit: Option<Time>,
    gid_pattern: Option<String>,
    memory_limit: Option<Size>,
    log: Option<String>,
    log_format: Option<LogFormat>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CoordinatorSettings {
    database_url: String,
    data_dir: PathBuf,
    instance: Option<String>,
    listen: Option<SocketAddr>,
    http: Option<SocketAddr>,
    queue_bytes: Option<Size>,
    spool_bytes: Option<Size>,
    cache_bytes: Option<Size>,
    hold_limit: Option<Time>,
    gid_pattern: Option<String>,
    log: Option<String>,
    log_format: Option<LogFormat>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentSettings {
    database_url: String,
    coordinator: String,
    node: Option<u32>,
    instance: Option<String>,
    memory_limit: Option<Size>,
    log: Option<String>,
    log_format: Option<LogFormat>,
}

/// All names that some role knows. A variable of another role's is not this one's business.
const NAMES: [&str; 15] = [
    "database_url",
    "data_dir",
    "instance",
    "listen",
    "http",
    "queue_bytes",
    "spool_bytes",
    "cache_bytes",
    "hold_limit",
    "gid_pattern",
    "memory_limit",
    "log",
    "log_format",
    "coordinator",
    "node",
];

/// How much memory an agent takes when nothing is said.
const AGENT_MEMORY: usize = 256 << 20;

/// The settings of `tributary standalone`.
pub(crate) fn standalone(flags: &StandaloneFlags, log: &LogFlags) -> Result<Standalone, ConfigError> {
    let (file, flags) = (flags.config.as_deref(), layers::merge(flags, log)?);
    let names = NAMES.into_iter().filter(|n| !matches!(*n, "coordinator" | "node"));
    let s: StandaloneSettings = layers::load(file, names, flags)?;
    let mut options = options(s.database_url, s.data_dir, s.instance)?;
    options.listen = s.listen.unwrap_or(options.listen);
    options.http = s.http.unwrap_or(options.http);
    options.queue_bytes = s.queue_bytes.map_or(options.queue_bytes, Size::usize);
    options.spool_bytes = s.spool_bytes.map_or(options.spool_bytes, Size::u64);
    options.cache_bytes = s.cache_bytes.map_or(options.cache_bytes, Size::usize);
    options.hold_limit = s.hold_limit.map_or(options.hold_limit, |t| t.0);
    options.gid_pattern = s.gid_pattern;
    let agent_memory = s.memory_limit.map_or(AGENT_MEMORY, Size::usize);
    Ok(Standalone { coordinator: options, agent_memory, logging: logging(s.log, s.log_format)? })
}

/// The settings of `tributary coordinator`.
pub(crate) fn coordinator(flags: &CoordinatorFlags, log: &LogFlags) -> Result<Coordinator, ConfigError> {
    let (file, flags) = (flags.config.as_deref(), layers::merge(flags, log)?);
    let names = NAMES.into_iter().filter(|n| !matches!(*n, "coordinator" | "node" | "memory_limit"));
    let s: CoordinatorSettings = layers::load(file, names, flags)?;
    let mut options = options(s.database_url, s.data_dir, s.instance)?;
    options.listen = s.listen.unwrap_or(options.listen);
    options.http = s.http.unwrap_or(options.http);
    options.queue_bytes = s.queue_bytes.map_or(options.queue_bytes, Size::usize);
    options.spool_bytes = s.spool_bytes.map_or(options.spool_bytes, Size::u64);
    options.cache_bytes = s.cache_bytes.map_or(options.cache_bytes, Size::usize);
    options.hold_limit = s.hold_limit.map_or(options.hold_limit, |t| t.0);
    options.gid_pattern = s.gid_pattern;
    Ok(Coordinator { options, logging: logging(s.log, s.log_format)? })
}

/// The settings of `tributary agent`.
pub(crate) fn agent(flags: &AgentFlags, log: &LogFlags) -> Result<Agent, ConfigError> {
    let (file, flags) = (flags.config.as_deref(), layers::merge(flags, log)?);
    let known = ["database_url", "coordinator", "node", "instance", "memory_limit", "log", "log_format"];
    let s: AgentSettings = layers::load(file, known, flags)?;
    let coordinator = s.coordinator;
    if !coordinator.starts_with("http://") {
        return Err(ConfigError::value("coordinator", format!("'{coordinator}' is not http://host:port")));
    }
    Ok(Agent {
        instance: instance(s.instance)?,
        node: s.node.map(NodeId),
        endpoint: endpoint(&s.database_url)?,
        coordinator,
        memory_limit: s.memory_limit.map_or(AGENT_MEMORY, Size::usize),
        logging: logging(s.log, s.log_format)?,
    })
}

fn options(url: String, data_dir: PathBuf, name: Option<String>) -> Result<coordinator::Options, ConfigError> {
    endpoint(&url)?;
    let mut options = coordinator::Options::new(url, data_dir);
    options.instance = instance(name)?;
    Ok(options)
}

/// A database URL, checked.
pub(crate) fn endpoint(url: &str) -> Result<wal::Endpoint, ConfigError> {
    wal::Endpoint::parse(url).map_err(|e| ConfigError::value("database_url", e.to_string()))
}

/// An instance's name, checked; `default` when there is none.
pub(crate) fn instance(name: Option<String>) -> Result<String, ConfigError> {
    let name = name.unwrap_or_else(|| "default".into());
    match sink::Instance::new(&name) {
        Ok(_) => Ok(name),
        Err(e) => Err(ConfigError::value("instance", e.to_string())),
    }
}

fn logging(filter: Option<String>, format: Option<LogFormat>) -> Result<Logging, ConfigError> {
    // The SQL driver logs every notice of a server as information.
    let logging = Logging::new(filter, format, "info,tokio_postgres=warn");
    logging.check().map_err(ConfigError::Value)?;
    Ok(logging)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn with_file(text: &str, mut flags: StandaloneFlags) -> Result<Standalone, String> {
        let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        file.write_all(text.as_bytes()).unwrap();
        flags.config = Some(file.path().to_owned());
        standalone(&flags, &LogFlags::default())
            .map_err(|e| e.to_string().replace(&file.path().display().to_string(), "FILE"))
    }

    const LEAST: &str = "database_url = 'postgres://u@localhost/app'\ndata_dir = '/tmp/x'\n";

    #[test]
    fn a_file_is_overridden_by_flags() {
        let flags = StandaloneFlags { listen: Some("0.0.0.0:1".into()), ..Default::default() };
        let text = format!(
            "{LEAST}listen = '127.0.0.1:2'\nhttp = '127.0.0.1:3'\nqueue_bytes = '1MiB'\nspool_bytes = 5\ncache_bytes = '1GiB'\nhold_limit = '2m'\n"
        );
        let s = with_file(&text, flags).unwrap().coordinator;
        assert_eq!(
            (s.listen.port(), s.http.port(), s.queue_bytes, s.spool_bytes, s.cache_bytes),
            (1, 3, 1 << 20, 5, 1 << 30)
        );
        assert_eq!(s.hold_limit.as_secs(), 120);
        assert_eq!(s.instance, "default");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let error = |text: &str| with_file(&format!("{LEAST}{text}"), StandaloneFlags::default()).unwrap_err();
        assert_eq!(error("lissten = 'x'"), "unknown setting 'lissten' in FILE");
        assert_eq!(error("node = 1"), "unknown setting 'node' in FILE");
        assert!(error("listen = 'x'").starts_with("listen: ") && error("listen = 'x'").ends_with("in FILE"));
        assert!(
            error("queue_bytes = '5 parsec'").starts_with("queue_bytes: '5 parsec'"),
            "{}",
            error("queue_bytes = '5 parsec'")
        );
        assert!(error("hold_limit = 'soon'").starts_with("hold_limit: 'soon' is not a duration"));
        assert!(error("instance = 'A-B'").starts_with("instance: 'A-B'"));
        assert!(error("log = 'a=b=c'").starts_with("log: "));
        assert!(error("= 1").contains("FILE"));
    }

    #[test]
    fn what_is_missing_is_named_with_the_ways_to_give_it() {
        let error = standalone(&StandaloneFlags::default(), &LogFlags::default()).unwrap_err().to_string();
        assert_eq!(
            error,
            "database_url is missing: give --database-url, TRIBUTARY_DATABASE_URL, or database_url in the file of --config"
        );
        let flags = StandaloneFlags {
            database_url: Some("mysql://x".into()),
            data_dir: Some("/x".into()),
            ..Default::default()
        };
        assert!(standalone(&flags, &LogFlags::default()).unwrap_err().to_string().starts_with("database_url: "));
        let flags = StandaloneFlags { config: Some("/nowhere/x.toml".into()), ..Default::default() };
        assert!(standalone(&flags, &LogFlags::default()).unwrap_err().to_string().starts_with("/nowhere/x.toml: "));
    }

    #[test]
    fn the_commented_files_are_read_as_they_are() {
        let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
        let file = |name: &str| Some(here.join("../../config").join(name));
        standalone(&StandaloneFlags { config: file("standalone.toml"), ..Default::default() }, &LogFlags::default())
            .unwrap();
        coordinator(&CoordinatorFlags { config: file("coordinator.toml"), ..Default::default() }, &LogFlags::default())
            .unwrap();
        agent(&AgentFlags { config: file("agent.toml"), ..Default::default() }, &LogFlags::default()).unwrap();
    }
}
