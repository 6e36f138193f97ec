//! One PostgreSQL server of a test cluster: started directly, ended by its own process id.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

use crate::installation::{postgres_command, signal};

/// A server of a cluster; node 0 is the coordinator.
#[derive(Debug)]
pub struct Node {
    /// Its place in the cluster.
    pub index: usize,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// What it logged, over all its starts.
    pub log: PathBuf,
    process: Mutex<Option<Child>>,
}

impl Node {
    pub(crate) fn new(index: usize, port: u16, data_dir: PathBuf) -> Self {
        let log = data_dir.join("server.log");
        Self { index, port, data_dir, log, process: Mutex::new(None) }
    }

    /// The process id of the running server.
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_ref().map(Child::id)
    }

    /// The end of its log, for error messages.
    pub fn log_tail(&self) -> String {
        let text =
            std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// The end of what went wrong in it, for failed tests: errors with their details, without what it logs in passing.
    pub(crate) fn errors_tail(&self) -> String {
        let text =
            std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let levels = ["WARNING:  ", "ERROR:  ", "FATAL:  ", "PANIC:  "];
        let mut wrong = false;
        let mut lines = Vec::new();
        for line in text.lines() {
            if line.contains("LOG:  ") {
                wrong = false;
            } else if levels.iter().any(|level| line.contains(level)) {
                wrong = true;
            }
            if wrong {
                lines.push(line);
            }
        }
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts the server and returns when it takes connections.
    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            self.spawn()?;
            match self.ready(deadline).await {
                Ok(()) => return Ok(()),
                // After a kill -9 the old server's children may still be going, and hold its shared memory.
                Err(error) if Instant::now() < deadline && format!("{error}").contains("shared memory") => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn spawn(&self) -> anyhow::Result<()> {
        let mut process = self.lock();
        if process.is_some() {
            bail!("node {} is running already", self.index);
        }
        let log = File::options().create(true).append(true).open(&self.log).context("the server's log")?;
        let child = postgres_command("postgres")?
            .arg("-D")
            .arg(&self.data_dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting postgres")?;
        *process = Some(child);
        Ok(())
    }

    /// Waits for the line that the server writes into `postmaster.pid` when it takes connections.
    async fn ready(&self, deadline: Instant) -> anyhow::Result<()> {
        loop {
            if let Some(status) = self.ended()? {
                return Err(anyhow!("node {} did not start ({status}):\n{}", self.index, self.log_tail()));
            }
            let state = std::fs::read_to_string(self.data_dir.join("postmaster.pid")).unwrap_or_default();
            let own = state.lines().next().and_then(|line| line.trim().parse().ok()) == self.pid();
            if own && state.lines().nth(7).is_some_and(|line| matches!(line.trim(), "ready" | "standby")) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("node {} is not ready in time:\n{}", self.index, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The exit status when the process has ended; then it is forgotten.
    fn ended(&self) -> anyhow::Result<Option<std::process::ExitStatus>> {
        let mut process = self.lock();
        let status = process.as_mut().map(Child::try_wait).transpose()?.flatten();
        if status.is_some() {
            *process = None;
        }
        Ok(status)
    }

    /// Sends a signal to the server and returns when its process has ended.
    pub(crate) async fn end(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.pid().ok_or_else(|| anyhow!("node {} is not running", self.index))?;
        if !signal(pid, name) && self.ended()?.is_none() {
            bail!("node {} (process {pid}) cannot be signalled", self.index);
        }
        let (began, deadline) = (Instant::now(), Instant::now() + Duration::from_secs(30));
        let mut insisted = false;
        while self.pid().is_some() && self.ended()?.is_none() {
            // A postmaster can get stuck in its signal handler; rarely, and only when told to end at once.
            if name == "QUIT" && !insisted && began.elapsed() > Duration::from_secs(10) {
                insisted = signal(pid, "KILL");
            }
            if Instant::now() > deadline {
                bail!("node {} has not ended 30 s after {name}:\n{}", self.index, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Ends the server from a destructor.
    pub(crate) fn end_now(&self) {
        if let Some(mut child) = self.lock().take() {
            signal(child.id(), "QUIT");
            child.wait().ok();
        }
    }
}

/// A port on the loopback that is free now, below the range that outgoing connections take theirs from: a server that is
/// stopped and started again must find it free. Tests that run side by side, each in a process, take theirs from different parts.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let part = (std::process::id() % 100) as u16 * 200;
    for attempt in 0..400 {
        let from = if attempt < 200 { part } else { rand::random_range(0..100) * 200 };
        let port = 12_000 + from + rand::random_range(0..200);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1 between 12000 and 32000")
}

/// Hands a path to the servers' user.
pub(crate) fn give_to_server_user(path: &Path) -> anyhow::Result<()> {
    if let Some(user) = crate::installation::server_user()? {
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
