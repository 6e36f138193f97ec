//! Servers beside a cluster: spare ones, streaming standbys, copies of a data directory to go back to.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::cluster::Cluster;
use crate::installation::{as_server_user, postgres_command, run};
use crate::server::{Node, free_port};
use crate::template::append;

impl Cluster {
    /// Starts a server that is no part of the cluster yet; gives its place among the nodes.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_spare(&mut self) -> anyhow::Result<usize> {
        let node = self.start_new(self.nodes().len()).await?;
        self.add_server(node)
    }

    /// Starts a streaming standby of a node; gives its place among the nodes.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_standby(&mut self, of: usize) -> anyhow::Result<usize> {
        let (index, port) = (self.nodes().len(), free_port()?);
        let (primary, data_dir) = (self.node(of).port, self.root().join(format!("standby{index}")));
        let copied = data_dir.clone();
        tokio::task::spawn_blocking(move || {
            let mut command = postgres_command("pg_basebackup")?;
            command.args(["--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-sync"]);
            command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &primary.to_string(), "-D"]).arg(&copied);
            run(&mut command)
        })
        .await?
        .context("copying the primary")?;
        append(&data_dir.join("postgresql.conf"), &format!("port = {port}\n"))?;
        let node = Node::new(index, port, data_dir);
        node.start().await?;
        self.add_server(node)
    }

    /// Makes a standby a primary.
    ///
    /// # Errors
    /// The server's.
    pub async fn promote(&self, index: usize) -> anyhow::Result<()> {
        Ok(self.client_of(index).await?.batch_execute("SELECT pg_promote()").await?)
    }

    /// Cuts a standby off from its primary: what commits there from now on is lost with it.
    ///
    /// # Errors
    /// The server's.
    pub async fn cut_off(&self, standby: usize) -> anyhow::Result<()> {
        let client = self.client_of(standby).await?;
        client.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await?;
        client.batch_execute("SELECT pg_reload_conf()").await?;
        while client.query_one("SELECT count(*) FROM pg_stat_wal_receiver", &[]).await?.get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Puts a standby in the place of a node that was stopped: it listens where that did, as behind an address that is moved,
    /// and is promoted.
    ///
    /// # Errors
    /// The server's.
    pub async fn fail_over(&mut self, of: usize, standby: usize) -> anyhow::Result<()> {
        self.stop(standby).await?;
        let port = self.node(of).port;
        self.swap_servers(of, standby, port);
        append(&self.node(of).data_dir.join("postgresql.conf"), &format!("port = {port}\n"))?;
        self.start_node(of).await?;
        self.promote(of).await
    }

    /// Puts a standby in the place of a node that was stopped, at its own address, and promotes it: whoever reached the node
    /// has to be told.
    ///
    /// # Errors
    /// The server's.
    pub async fn fail_over_elsewhere(&mut self, of: usize, standby: usize) -> anyhow::Result<()> {
        self.promote(standby).await?;
        let port = self.node(standby).port;
        self.swap_servers(of, standby, port);
        Ok(())
    }

    /// Copies the data of a stopped node.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn backup(&self, index: usize) -> anyhow::Result<PathBuf> {
        let backup = self.root().join(format!("backup{index}-{}", rand::random::<u32>()));
        let mut command = Command::new("cp");
        as_server_user(&mut command)?;
        run(command.args(["-a", "--reflink=auto"]).arg(&self.node(index).data_dir).arg(&backup))?;
        Ok(backup)
    }

    /// Puts a stopped node's data back to what a copy has.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn restore(&self, index: usize, backup: &std::path::Path) -> anyhow::Result<()> {
        let data_dir = &self.node(index).data_dir;
        std::fs::remove_dir_all(data_dir)?;
        let mut command = Command::new("cp");
        as_server_user(&mut command)?;
        run(command.args(["-a", "--reflink=auto"]).arg(backup).arg(data_dir))
    }
}
