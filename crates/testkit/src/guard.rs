//! Ends servers whose test process was killed before it could.
//!
//! A small shell waits on a pipe that only this process holds open. When the process ends, however it ends, the shell
//! ends what it finds by the files `postmaster.pid` and `daemon.pid` under the directory, and removes the directory.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

const SCRIPT: &str = r#"
read -r _
[ -f "$1/daemon.pid" ] && kill -s KILL "$(cat "$1/daemon.pid")" 2>/dev/null
for file in "$1"/*/postmaster.pid; do
    [ -f "$file" ] && kill -s QUIT "$(head -n 1 "$file")" 2>/dev/null
done
for _ in 1 2 3 4 5 6 7 8 9 10; do
    ls "$1"/*/postmaster.pid >/dev/null 2>&1 || break
    sleep 0.2
done
rm -rf "$1"
"#;

/// Held as long as the cluster lives.
#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
}

impl Guard {
    /// Watches over the servers whose data directories are directly under `root`, and a daemon whose process id is there.
    pub(crate) fn watch(root: &Path) -> anyhow::Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "tributary-test-guard"])
            .arg(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not in the test's group: a signal to the group must not end the one that tidies up.
            .process_group(0)
            .spawn()
            .context("starting the guard of a cluster's servers")?;
        Ok(Self { shell })
    }

    /// Ends the servers and removes the directory now; returns when that is done.
    pub(crate) fn finish(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().ok();
    }
}
