//! Where PostgreSQL is on this machine, which user its servers run as, and whether Citus is installed with it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, anyhow, bail};

/// The directory with `postgres`, `initdb` and the rest: from `PATH`, `pg_config`, or Debian's place (the newest there).
///
/// # Errors
/// When there is none.
pub fn bin_dir() -> anyhow::Result<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find_bin_dir).as_deref().ok_or_else(|| {
        anyhow!("no PostgreSQL server is installed (looked in PATH, pg_config, /usr/lib/postgresql/*/bin)")
    })
}

fn find_bin_dir() -> Option<PathBuf> {
    let complete = |dir: &Path| ["postgres", "initdb", "pg_ctl", "psql"].iter().all(|name| dir.join(name).is_file());
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Some of the programs may be linked into a directory of `PATH`; all of them are where the link leads.
    let server = |dir: PathBuf| Some(dir.join("postgres").canonicalize().ok()?.parent()?.to_path_buf());
    if let Some(dir) = std::env::split_paths(&path).filter_map(server).find(|dir| complete(dir)) {
        return Some(dir);
    }
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        let dir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        if output.status.success() && complete(&dir) {
            return Some(dir);
        }
    }
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, dir)| complete(dir))
        .collect();
    versions.sort();
    versions.pop().map(|(_, dir)| dir)
}

/// Whether servers have the setting `output_plugin_libraries`, which newer minor versions do.
pub(crate) fn lists_output_plugins() -> bool {
    static LISTS: OnceLock<bool> = OnceLock::new();
    *LISTS.get_or_init(|| {
        let Ok(bin) = bin_dir() else { return false };
        let settings = Command::new(bin.join("postgres")).arg("--describe-config").output();
        settings.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("output_plugin_libraries\t"))
    })
}

/// True when the installed PostgreSQL has Citus beside it. Says so once, loudly, when not.
///
/// # Panics
/// When `TRIBUTARY_REQUIRE_CITUS=1` is set and Citus is missing.
pub fn citus_available() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| {
        let found = citus_installed().unwrap_or(false);
        if !found {
            eprintln!("\n*** CITUS IS NOT INSTALLED: nothing is tested on Citus in this run ***\n");
        }
        found
    });
    let required = std::env::var_os("TRIBUTARY_REQUIRE_CITUS").is_some_and(|value| value == "1");
    assert!(found || !required, "TRIBUTARY_REQUIRE_CITUS=1, but Citus is not installed beside PostgreSQL");
    found
}

fn citus_installed() -> anyhow::Result<bool> {
    let config = |flag: &str| -> anyhow::Result<PathBuf> {
        let output = Command::new(bin_dir()?.join("pg_config")).arg(flag).output()?;
        Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
    };
    Ok(config("--pkglibdir")?.join("citus.so").is_file()
        && config("--sharedir")?.join("extension/citus.control").is_file())
}

/// The user and group that servers run as: `postgres` when the tests run as root, else whoever runs them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// `None` when no privileges have to be dropped.
pub(crate) fn server_user() -> anyhow::Result<Option<ServerUser>> {
    static FOUND: OnceLock<Result<Option<ServerUser>, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| find_server_user().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
}

fn find_server_user() -> anyhow::Result<Option<ServerUser>> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let effective =
        status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse::<u32>().ok());
    if effective != Some(0) {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if fields.next() == Some("postgres") {
            let numbers: Vec<u32> = fields.skip(1).take(2).filter_map(|field| field.parse().ok()).collect();
            if let [uid, gid] = numbers[..] {
                return Ok(Some(ServerUser { uid, gid }));
            }
        }
    }
    bail!("PostgreSQL refuses to run as root, and there is no user postgres to run it as")
}

/// A command from PostgreSQL's bin directory that runs as the servers' user.
///
/// # Errors
/// When PostgreSQL is not installed.
pub fn postgres_command(program: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(bin_dir()?.join(program));
    as_server_user(&mut command)?;
    Ok(command)
}

/// Lets a command run as the servers' user, from a directory that this user may enter, and without the caller's `PG*`
/// variables.
pub(crate) fn as_server_user(command: &mut Command) -> anyhow::Result<()> {
    if let Some(user) = server_user()? {
        command.uid(user.uid).gid(user.gid).env("HOME", "/nonexistent");
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.current_dir("/").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    Ok(())
}

/// Runs a command to its end; its output is the error when it fails.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{command:?} failed ({}):\n{out}{err}", output.status);
    }
    Ok(())
}

/// Sends a signal by number or name to one process, by its id. False when there is no such process.
pub(crate) fn signal(pid: u32, name: &str) -> bool {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).stderr(std::process::Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
