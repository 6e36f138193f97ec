//! The commands in the README's "Use it on your cluster" do what it says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Stdio;

use testkit::{Cluster, Daemon, DaemonOptions, Oracle, Shop, cli, kinds};

/// The commands of a section, those over several lines joined.
fn commands(readme: &str, title: &str) -> Vec<String> {
    let section = readme.split(title).nth(1).unwrap().split("\n## ").next().unwrap();
    let mut commands: Vec<String> = Vec::new();
    for line in section.lines().filter_map(|line| line.strip_prefix("    ")) {
        match commands.last_mut() {
            // Within quotes a command goes on.
            Some(last) if last.matches('"').count() % 2 == 1 => *last = format!("{last}\n{line}"),
            _ => commands.push(line.to_owned()),
        }
    }
    commands
}

/// The checkout that runs: one that shares its target directory with another has the other's path compiled in.
fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("..")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_readme_work() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let commands = commands(&readme, "## Use it on your cluster");
    let find = |start: &str| {
        commands.iter().find(|command| command.starts_with(start)).unwrap_or_else(|| panic!("no {start}"))
    };
    for kind in kinds() {
        let cluster = Cluster::start(kind).await.unwrap();
        Shop::create_tables(&cluster).await.unwrap();
        Shop::writer(3, 0).fill(&Shop::session(&cluster).await.unwrap(), 100).await.unwrap();
        for start in ["tributary doctor", "tributary setup"] {
            let command = find(start).replace("postgres://admin@coordinator/app", &cluster.url());
            let words: Vec<&str> = command.split('#').next().unwrap().split_whitespace().skip(1).collect();
            testkit::program(&[], &words).await.unwrap().ok().unwrap();
        }
        let standalone = find("tributary standalone");
        let role = standalone.split("postgres://").nth(1).unwrap().split('@').next().unwrap();
        let url = cluster.url_as(0, role, "");
        let daemon =
            Daemon::standalone(&cluster, DaemonOptions { database_url: Some(url), ..DaemonOptions::default() })
                .await
                .unwrap();
        let create = find("tributary stream create");
        let (words, query) = create.split_once('"').unwrap();
        let query = query.trim_end().trim_end_matches('"');
        let arguments: Vec<&str> = words.split_whitespace().skip(1).chain([query]).collect();
        cli(&daemon, &arguments).await.unwrap().ok().unwrap();
        Oracle::take(&cluster).await.unwrap().check("sales_by_region", query).await.unwrap();
        let select = find("psql -c").split('\'').nth(1).unwrap();
        let rows = cluster.client().await.unwrap().query(select, &[]).await.unwrap();
        assert!(!rows.is_empty(), "{kind:?}");
    }
}

#[test]
fn every_make_target_of_the_readme_exists() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let targets: Vec<&str> = readme.split("make ").skip(1).filter_map(|rest| rest.split_whitespace().next()).collect();
    assert!(targets.len() >= 2, "{targets:?}");
    for target in targets.iter().map(|target| target.trim_matches(['`', ',', '.'])) {
        let dry = std::process::Command::new("make")
            .args(["--dry-run", target])
            .current_dir(root())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(dry.success(), "make {target}");
    }
}
