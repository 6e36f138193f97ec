//! Data directories made once and copied from then on.
//!
//! `initdb`, the database `app` and its extensions take seconds; a copy takes a tenth of one. Templates are kept in
//! the temporary directory across processes, one for each place in a cluster, because a copy keeps the
//! system identifier and the nodes of one cluster must not share it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::Context;

use crate::installation::{as_server_user, bin_dir, postgres_command, run, server_user};

/// What a template has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// A database `app` with `postgres_fdw`.
    Plain,
    /// A database `app` with `citus`; loads the library.
    Citus,
}

impl Flavour {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Citus => "citus",
        }
    }

    /// Settings without which the template's databases cannot be opened.
    pub(crate) fn preload(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Citus => "shared_preload_libraries = 'citus'\ncitus.node_conninfo = 'sslmode=prefer'\n",
        }
    }
}

/// Raised when what a template holds changes.
const FORMAT: u32 = 1;

/// Copies the template for the node at `place` to `target`, which must not exist; makes the template when there is none.
pub(crate) fn copy(flavour: Flavour, place: usize, target: &Path) -> anyhow::Result<()> {
    let template = ensure(flavour, place)?;
    let mut command = Command::new("cp");
    as_server_user(&mut command)?;
    run(command.args(["-a", "--reflink=auto"]).arg(&template).arg(target))
}

fn ensure(flavour: Flavour, place: usize) -> anyhow::Result<PathBuf> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let version = Command::new(bin_dir()?.join("postgres")).arg("--version").output()?.stdout;
    let version: String =
        String::from_utf8(version)?.chars().filter(|c| c.is_ascii_digit() || *c == '.').take(5).collect();
    let uid = server_user()?.map_or_else(|| "own".into(), |user| user.uid.to_string());
    let name = format!("tributary-template-{}-{uid}-{version}-{FORMAT}-{place}", flavour.name());
    let finished = std::env::temp_dir().join(name);
    if finished.join("PG_VERSION").is_file() {
        return Ok(finished);
    }
    let part = finished.with_extension(format!("part-{}", std::process::id()));
    make(flavour, &part).with_context(|| format!("making the template {}", finished.display()))?;
    // Another process may have been faster: its template is as good.
    if std::fs::rename(&part, &finished).is_err() {
        std::fs::remove_dir_all(&part)?;
    }
    Ok(finished)
}

fn make(flavour: Flavour, data_dir: &Path) -> anyhow::Result<()> {
    run(postgres_command("initdb")?
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--wal-segsize=4"])
        .args(["--no-sync", "--no-instructions", "--pgdata"])
        .arg(data_dir))?;
    let conf = format!(
        "listen_addresses = ''\nfsync = off\nmax_prepared_transactions = 10\nwal_level = logical\n{}",
        flavour.preload()
    );
    append(&data_dir.join("postgresql.conf"), &conf)?;
    let statements: &[(&str, &str)] = match flavour {
        Flavour::Plain => &[("postgres", "CREATE DATABASE app"), ("app", "CREATE EXTENSION postgres_fdw")],
        Flavour::Citus => &[("postgres", "CREATE DATABASE app"), ("app", "CREATE EXTENSION citus")],
    };
    // A Unix socket in the data directory needs no port; its path has to be short, and a temporary directory's is.
    let started = run(postgres_command("pg_ctl")?
        .args(["start", "--wait", "--silent", "--pgdata"])
        .arg(data_dir)
        .args(["--log", &data_dir.join("template.log").display().to_string()])
        .args(["--options", &format!("-k {}", data_dir.display())]));
    let filled = started.and_then(|()| {
        statements.iter().try_for_each(|(database, sql)| {
            run(postgres_command("psql")?
                .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", sql, "-h"])
                .arg(data_dir))
        })
    });
    let stopped =
        run(postgres_command("pg_ctl")?.args(["stop", "--wait", "--silent", "--mode=fast", "--pgdata"]).arg(data_dir));
    filled.and(stopped).inspect_err(|_| {
        let log = std::fs::read_to_string(data_dir.join("template.log")).unwrap_or_default();
        eprintln!("{log}");
        std::fs::remove_dir_all(data_dir).ok();
    })?;
    std::fs::remove_file(data_dir.join("template.log"))?;
    // Citus turns TLS on for itself with a certificate of its own; the cluster's options decide that here.
    std::fs::write(data_dir.join("postgresql.auto.conf"), "")?;
    Ok(())
}

/// Adds text to a file.
pub(crate) fn append(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().append(true).open(path).with_context(|| path.display().to_string())?;
    Ok(file.write_all(text.as_bytes())?)
}
