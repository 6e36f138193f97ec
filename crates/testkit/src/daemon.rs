//! The `tributary` binary as tests run it: its roles as processes that can be killed and started again, and its commands.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::Cluster;
use crate::guard::Guard;
use crate::installation::signal;
use crate::server::free_port;

/// How long a daemon may take to be ready, on a busy machine.
const READY: Duration = Duration::from_secs(120);

/// What a daemon is started with.
#[derive(Debug, Clone, Default)]
pub struct DaemonOptions {
    /// The instance's name; the program's default when absent.
    pub instance: Option<String>,
    /// Where the state is; a directory of its own when absent.
    pub data_dir: Option<PathBuf>,
    /// The database as another role than the superuser.
    pub database_url: Option<String>,
    /// Failpoints, as `FAILPOINTS` takes them. A failpoint that panics ends the process there.
    pub failpoints: Option<String>,
    /// More variables.
    pub env: Vec<(String, String)>,
    /// More arguments.
    pub args: Vec<String>,
}

impl DaemonOptions {
    /// The same with a failpoint armed.
    #[must_use]
    pub fn failpoint(mut self, failpoints: &str) -> Self {
        self.failpoints = Some(failpoints.into());
        self
    }
}

/// A running role. Dropping it kills the process; its log is printed when a test fails.
pub struct Daemon {
    title: String,
    arguments: Vec<String>,
    options: DaemonOptions,
    /// gRPC and HTTP ports; an agent has none.
    ports: Option<(u16, u16)>,
    root: PathBuf,
    process: Option<Child>,
    _guard: Guard,
}

impl Daemon {
    /// Coordinator and agents in one process; returns when it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; with the end of its log.
    pub async fn standalone(cluster: &Cluster, options: DaemonOptions) -> anyhow::Result<Self> {
        Self::aggregator("standalone", cluster, options).await
    }

    /// A coordinator without agents; returns when it answers, which it may do before it is ready.
    ///
    /// # Errors
    /// When it ends or does not answer in time; with the end of its log.
    pub async fn coordinator(cluster: &Cluster, options: DaemonOptions) -> anyhow::Result<Self> {
        Self::aggregator("coordinator", cluster, options).await
    }

    async fn aggregator(role: &str, cluster: &Cluster, options: DaemonOptions) -> anyhow::Result<Self> {
        // A port that was free a moment ago can be taken.
        for _ in 0..4 {
            match Self::aggregator_once(role, cluster, &options).await {
                Err(error) if format!("{error:#}").contains("listening on 127.0.0.1") => {}
                started => return started,
            }
        }
        Self::aggregator_once(role, cluster, &options).await
    }

    async fn aggregator_once(role: &str, cluster: &Cluster, options: &DaemonOptions) -> anyhow::Result<Self> {
        let (options, listen, http) = (options.clone(), free_port()?, free_port()?);
        let root = tempdir()?;
        let data_dir = options.data_dir.clone().unwrap_or_else(|| root.join("state"));
        let url = options.database_url.clone().unwrap_or_else(|| cluster.url());
        let mut arguments = vec![role.to_owned(), "--database-url".into(), url];
        arguments.extend(["--data-dir".into(), data_dir.display().to_string()]);
        arguments.extend([
            "--listen".into(),
            format!("127.0.0.1:{listen}"),
            "--http".into(),
            format!("127.0.0.1:{http}"),
        ]);
        Self::launch(role.to_owned(), arguments, options, Some((listen, http)), root).await
    }

    /// An agent beside one node, for this coordinator.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn agent(
        cluster: &Cluster,
        node: usize,
        coordinator: &Self,
        options: DaemonOptions,
    ) -> anyhow::Result<Self> {
        Self::agent_of_group(cluster, node, node, coordinator, options).await
    }

    /// An agent beside a node whose number in the cluster (its group on Citus) is not its place among the servers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn agent_of_group(
        cluster: &Cluster,
        node: usize,
        group: usize,
        coordinator: &Self,
        options: DaemonOptions,
    ) -> anyhow::Result<Self> {
        let url = options.database_url.clone().unwrap_or_else(|| cluster.node_url(node));
        let (endpoint, node_id) = (coordinator.endpoint(), group.to_string());
        let arguments = ["agent", "--database-url", &url, "--coordinator", &endpoint, "--node", &node_id];
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self::launch(format!("agent {group}"), arguments, options, None, tempdir()?).await
    }

    async fn launch(
        title: String,
        mut arguments: Vec<String>,
        options: DaemonOptions,
        ports: Option<(u16, u16)>,
        root: PathBuf,
    ) -> anyhow::Result<Self> {
        if let Some(instance) = &options.instance {
            arguments.extend(["--instance".into(), instance.clone()]);
        }
        arguments.extend(options.args.iter().cloned());
        let guard = Guard::watch(&root)?;
        let mut daemon = Self { title, arguments, options, ports, root, process: None, _guard: guard };
        daemon.start().await?;
        Ok(daemon)
    }

    /// Starts it again after it ended, with the same arguments, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; with the end of its log.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        // A coordinator is ready when its agents are there, and those are started after it.
        self.start_until(if self.title == "coordinator" { "/healthz" } else { "/readyz" }).await
    }

    /// The same while a node is away: waits until it answers only, for it is ready when all nodes are read.
    ///
    /// # Errors
    /// When it ends or does not answer in time; with the end of its log.
    pub async fn start_unready(&mut self) -> anyhow::Result<()> {
        self.start_until("/healthz").await
    }

    async fn start_until(&mut self, path: &str) -> anyhow::Result<()> {
        self.spawn()?;
        if self.ports.is_none() {
            return Ok(());
        }
        let deadline = Instant::now() + READY;
        loop {
            let answer = self.http_get(path).await;
            if answer.as_ref().is_ok_and(|(status, _)| *status == 200) {
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                bail!("{} ended ({status}) before it was ready:\n{}", self.title, self.log_tail());
            }
            if Instant::now() > deadline {
                let answer = answer.map_or_else(|error| error.to_string(), |(_, body)| body);
                bail!("{} is not ready after {READY:?} ({answer}):\n{}", self.title, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        if self.process.is_some() {
            bail!("{} is running already", self.title);
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(binary()?);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        without_own_settings(&mut command);
        command.env("RUST_BACKTRACE", "0");
        if let Some(failpoints) = &self.options.failpoints {
            command.env("FAILPOINTS", failpoints);
        }
        command.envs(self.options.env.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().with_context(|| format!("starting {}", self.title))?;
        std::fs::write(self.root.join("daemon.pid"), child.id().to_string())?;
        self.process = Some(child);
        Ok(())
    }

    fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let status = self.process.as_mut().map(Child::try_wait).transpose()?.flatten();
        if status.is_some() {
            self.process = None;
        }
        Ok(status)
    }

    /// The URL of its gRPC services.
    ///
    /// # Panics
    /// For an agent, which has none.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.expect("an agent serves nothing").0)
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The directory of its state.
    pub fn data_dir(&self) -> PathBuf {
        self.options.data_dir.clone().unwrap_or_else(|| self.root.join("state"))
    }

    /// The file with all that it logged.
    pub fn log(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let text =
            std::fs::read(self.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// What it answers to an HTTP GET: the status and the body.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn http_get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let (_, port) = self.ports.ok_or_else(|| anyhow!("an agent has no HTTP port"))?;
        let asked = async {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        let answer = tokio::time::timeout(Duration::from_secs(5), asked).await??;
        let status = answer.split_whitespace().nth(1).and_then(|code| code.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status.ok_or_else(|| anyhow!("not HTTP: {answer}"))?, body.to_owned()))
    }

    /// Ends it by SIGKILL.
    ///
    /// # Errors
    /// When it was not running.
    pub async fn kill9(&mut self) -> anyhow::Result<()> {
        self.end("KILL").await.map(|_| ())
    }

    /// Ends it by SIGTERM; an exit code other than 0 is an error.
    ///
    /// # Errors
    /// When it was not running, or did not stop cleanly.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let status = self.end("TERM").await?;
        if !status.success() {
            bail!("{} did not stop cleanly ({status}):\n{}", self.title, self.log_tail());
        }
        Ok(())
    }

    async fn end(&mut self, name: &str) -> anyhow::Result<ExitStatus> {
        let pid = self.pid().ok_or_else(|| anyhow!("{} is not running", self.title))?;
        signal(pid, name);
        self.wait_for_end(Duration::from_secs(30)).await.with_context(|| format!("after SIG{name}"))
    }

    /// Waits until it ends by itself, at a failpoint for example.
    ///
    /// # Errors
    /// When it still runs after this long.
    pub async fn wait_for_end(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} still runs after {limit:?}:\n{}", self.title, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops it cleanly and starts it again.
    ///
    /// # Errors
    /// As [`Daemon::stop`] and [`Daemon::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.start().await
    }

    /// Another URL of its database, for the next start.
    pub fn point_at(&mut self, url: &str) {
        let given = self.arguments.iter().position(|argument| argument == "--database-url");
        if let Some(value) = given.and_then(|at| self.arguments.get_mut(at + 1)) {
            url.clone_into(value);
        }
    }

    /// Arms other failpoints, or none, for the next start.
    pub fn arm(&mut self, failpoints: Option<&str>) {
        self.options.failpoints = failpoints.map(Into::into);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.title, self.log_tail());
        }
        std::fs::remove_file(self.root.join("daemon.pid")).ok();
        std::fs::remove_dir_all(&self.root).ok();
    }
}

fn tempdir() -> anyhow::Result<PathBuf> {
    Ok(tempfile::Builder::new().prefix(&format!("tributary-test-{}-", std::process::id())).tempdir()?.keep())
}

/// The settings of whoever runs the tests must not reach what they start.
fn without_own_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRIBUTARY_") || name == "FAILPOINTS" {
            command.env_remove(name);
        }
    }
}

/// The program under test: `TRIBUTARY_BINARY`, or the one in the target directory that the tests are run from.
fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("TRIBUTARY_BINARY") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let beside = own.ancestors().skip(1).take(2).map(|dir: &Path| dir.join("tributary")).find(|path| path.is_file());
    beside
        .ok_or_else(|| anyhow!("no tributary beside {}: cargo build -p tributary --features failpoints", own.display()))
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Output {
    /// The output of a command that must succeed.
    ///
    /// # Errors
    /// When it did not.
    pub fn ok(self) -> anyhow::Result<Self> {
        if self.code == Some(0) {
            Ok(self)
        } else {
            Err(anyhow!("exit {:?}: {}{}", self.code, self.stdout, self.stderr))
        }
    }
}

/// Runs a command of the program against this daemon.
///
/// # Errors
/// When it cannot be started or takes more than ten minutes. How it ended is in the output.
pub async fn cli(daemon: &Daemon, arguments: &[&str]) -> anyhow::Result<Output> {
    program(&[("TRIBUTARY_ENDPOINT", &daemon.endpoint())], arguments).await
}

/// Runs the program with these variables and arguments.
///
/// # Errors
/// When it cannot be started or takes more than ten minutes. How it ended is in the output.
pub async fn program(env: &[(&str, &str)], arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(binary()?);
    command.args(arguments).stdin(Stdio::null());
    without_own_settings(&mut command);
    command.envs(env.iter().copied());
    let mut command = tokio::process::Command::from(command);
    let output = tokio::time::timeout(Duration::from_secs(600), command.kill_on_drop(true).output())
        .await
        .with_context(|| format!("tributary {} takes too long", arguments.join(" ")))??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
}
