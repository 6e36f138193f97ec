//! A cluster made for one test, of one of the three kinds that tributary serves.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio_postgres::{Client, NoTls};

use crate::certificates::Certificates;
use crate::guard::Guard;
use crate::installation::{self, citus_available};
use crate::server::{Node, free_port, give_to_server_user};
use crate::template::{self, Flavour};

/// What a cluster is sharded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A Citus coordinator and its workers.
    Citus,
    /// Native partitions on other servers over `postgres_fdw`.
    Fdw,
    /// One server.
    Single,
}

/// The sharded kinds that can be tested here: `Fdw` always, `Citus` when it is installed.
///
/// # Panics
/// When Citus is missing and `TRIBUTARY_REQUIRE_CITUS=1`.
pub fn kinds() -> Vec<Kind> {
    if citus_available() { vec![Kind::Citus, Kind::Fdw] } else { vec![Kind::Fdw] }
}

/// How a server lets clients in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Everyone on the loopback.
    Trust,
    /// With a password over SCRAM-SHA-256; the superuser's is [`PASSWORD`].
    Scram,
}

/// The superuser's password under [`Auth::Scram`].
pub const PASSWORD: &str = "correct horse";

/// What a cluster is to be like.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// What it is sharded with.
    pub kind: Kind,
    /// How many nodes besides the coordinator; none for [`Kind::Single`].
    pub workers: usize,
    /// Lines for every node's `postgresql.conf`, behind the defaults.
    pub settings: Vec<(String, String)>,
    /// How clients are let in.
    pub auth: Auth,
    /// Whether the servers speak TLS, with a certificate for 127.0.0.1 that [`Cluster::ca`] has signed.
    pub tls: bool,
}

impl ClusterOptions {
    /// Two workers, trust, no TLS.
    pub fn new(kind: Kind) -> Self {
        let workers = if kind == Kind::Single { 0 } else { 2 };
        Self { kind, workers, settings: Vec::new(), auth: Auth::Trust, tls: false }
    }

    /// The same with a setting of `postgresql.conf`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// A running cluster. Dropping it ends its servers and removes their data.
pub struct Cluster {
    options: ClusterOptions,
    nodes: Vec<Node>,
    root: PathBuf,
    certificates: Option<Certificates>,
    guard: Guard,
}

impl Cluster {
    /// Starts a cluster of this kind with two workers.
    ///
    /// # Errors
    /// When a server does not start; the error holds its log.
    pub async fn start(kind: Kind) -> anyhow::Result<Self> {
        Self::start_with(ClusterOptions::new(kind)).await
    }

    /// Starts a cluster.
    ///
    /// # Errors
    /// When a server does not start; the error holds its log.
    pub async fn start_with(options: ClusterOptions) -> anyhow::Result<Self> {
        let root = tempfile::Builder::new()
            .prefix(&format!("tributary-test-{}-", std::process::id()))
            .tempdir()
            .context("a directory for the cluster")?
            .keep();
        give_to_server_user(&root)?;
        let guard = Guard::watch(&root)?;
        let mut cluster = Self { options, nodes: Vec::new(), root, certificates: None, guard };
        if cluster.options.tls {
            cluster.certificates = Some(Certificates::make(&cluster.root)?);
        }
        for index in 0..=cluster.options.workers {
            let node = cluster.start_new(index).await?;
            cluster.nodes.push(node);
        }
        cluster.prepare().await?;
        Ok(cluster)
    }

    fn flavour(&self) -> Flavour {
        if self.options.kind == Kind::Citus { Flavour::Citus } else { Flavour::Plain }
    }

    /// Makes and starts a server on a port that is free; tries others when one was taken meanwhile.
    pub(crate) async fn start_new(&self, index: usize) -> anyhow::Result<Node> {
        let mut refused = None;
        for attempt in 0..5 {
            let data_dir = self.root.join(format!("node{index}-{attempt}"));
            let (flavour, copied) = (self.flavour(), data_dir.clone());
            tokio::task::spawn_blocking(move || template::copy(flavour, index, &copied)).await??;
            let node = Node::new(index, free_port()?, data_dir);
            self.configure(&node)?;
            match node.start().await {
                Ok(()) => return Ok(node),
                Err(error) if format!("{error}").contains("could not bind") => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| anyhow!("node {index} found no port")))
    }

    fn configure(&self, node: &Node) -> anyhow::Result<()> {
        // Queries over tables that nobody has analysed look dear: they would be compiled for longer than they run.
        let mut conf = format!(
            "jit = off\nlisten_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nfsync = off\n\
             wal_level = logical\nmax_wal_senders = 40\nmax_replication_slots = 40\nmax_prepared_transactions = 200\n\
             max_connections = 200\nshared_buffers = 32MB\nmax_wal_size = 2GB\nautovacuum_naptime = 10s\n\
             log_line_prefix = '%m [%p] %a '\nlogging_collector = off\ntimezone = 'UTC'\nwal_sender_timeout = 60s\n",
            node.port
        );
        conf.push_str(self.flavour().preload());
        if self.options.kind == Kind::Citus {
            conf.push_str(
                "citus.shard_count = 8\ncitus.max_background_task_executors = 1\ncitus.enable_statistics_collection = off\n\
                 citus.recover_2pc_interval = 5s\n",
            );
            // Citus splits shards without blocking, and distributes tables so, with a plugin of its own.
            if installation::lists_output_plugins() {
                conf.push_str("output_plugin_libraries = 'pgoutput, test_decoding, citus'\n");
            }
        }
        if let Some(certificates) = &self.certificates {
            let (certificate, key) = (certificates.certificate.display(), certificates.key.display());
            conf.push_str(&format!("ssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\n"));
        }
        for (name, value) in &self.options.settings {
            conf.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        template::append(&node.data_dir.join("postgresql.conf"), &conf)?;
        let hba = match self.options.auth {
            Auth::Trust => "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n".to_owned(),
            // The first connection, which sets the password, comes before this file is read again.
            Auth::Scram => "host all all 127.0.0.1/32 trust\n".to_owned(),
        };
        std::fs::write(node.data_dir.join("pg_hba.conf"), hba)?;
        Ok(())
    }

    /// Passwords, then what makes single servers a cluster.
    async fn prepare(&self) -> anyhow::Result<()> {
        if self.options.auth == Auth::Scram {
            for node in &self.nodes {
                let client = self.open(&format!("postgres://postgres@127.0.0.1:{}/app", node.port)).await?;
                let citus = if self.options.kind == Kind::Citus {
                    format!(
                        "SET citus.enable_ddl_propagation = off;
                         INSERT INTO pg_dist_authinfo VALUES (0, 'postgres', 'password=''{PASSWORD}''');"
                    )
                } else {
                    String::new()
                };
                client.batch_execute(&format!("{citus} ALTER ROLE postgres PASSWORD '{PASSWORD}'")).await?;
                let hba = "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n";
                std::fs::write(node.data_dir.join("pg_hba.conf"), hba)?;
                self.reload(node.index).await?;
            }
        }
        match self.options.kind {
            Kind::Citus => self.prepare_citus().await,
            Kind::Fdw => self.prepare_fdw().await,
            Kind::Single => Ok(()),
        }
        .context("making the servers a cluster")
    }

    async fn prepare_citus(&self) -> anyhow::Result<()> {
        let client = self.client().await?;
        let coordinator = self.nodes[0].port;
        let mut sql = format!("SELECT citus_set_coordinator_host('127.0.0.1', {coordinator});");
        for node in &self.nodes[1..] {
            sql.push_str(&format!("SELECT citus_add_node('127.0.0.1', {});", node.port));
        }
        if self.nodes.len() > 1 {
            let port = format!("'127.0.0.1', {coordinator}");
            sql.push_str(&format!("SELECT citus_set_node_property({port}, 'shouldhaveshards', false);"));
        }
        Ok(client.batch_execute(&sql).await?)
    }

    async fn prepare_fdw(&self) -> anyhow::Result<()> {
        let client = self.client().await?;
        for node in &self.nodes[1..] {
            let (name, port) = (format!("w{}", node.index), node.port);
            let password = match self.options.auth {
                Auth::Trust => String::new(),
                Auth::Scram => format!(", password '{PASSWORD}'"),
            };
            client
                .batch_execute(&format!(
                    "CREATE SERVER {name} FOREIGN DATA WRAPPER postgres_fdw
                         OPTIONS (host '127.0.0.1', port '{port}', dbname 'app');
                     CREATE USER MAPPING FOR postgres SERVER {name} OPTIONS (user 'postgres'{password})"
                ))
                .await?;
        }
        Ok(())
    }

    /// Takes a server in, to be ended with the cluster.
    #[allow(clippy::unnecessary_wraps, reason = "ends a chain of fallible steps")]
    pub(crate) fn add_server(&mut self, node: Node) -> anyhow::Result<usize> {
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    /// Two servers change places; the first then listens on this port.
    pub(crate) fn swap_servers(&mut self, first: usize, second: usize, port: u16) {
        self.nodes.swap(first, second);
        self.nodes[first].index = first;
        self.nodes[second].index = second;
        self.nodes[first].port = port;
    }

    /// Where its files are.
    pub(crate) fn root(&self) -> &std::path::Path {
        &self.root
    }

    /// What it is sharded with.
    pub fn kind(&self) -> Kind {
        self.options.kind
    }

    /// All servers, the coordinator first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A server; 0 is the coordinator.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// The certificate that signed the servers' own, when they speak TLS.
    pub fn ca(&self) -> Option<&std::path::Path> {
        self.certificates.as_ref().map(|certificates| certificates.ca.as_path())
    }

    /// The coordinator's database `app` for the superuser.
    pub fn url(&self) -> String {
        self.node_url(0)
    }

    /// A node's database `app` for the superuser.
    pub fn node_url(&self, index: usize) -> String {
        let password = if self.options.auth == Auth::Scram { PASSWORD } else { "" };
        self.url_as(index, "postgres", password)
    }

    /// A node's database `app` for a role; no password when it is empty.
    pub fn url_as(&self, index: usize, role: &str, password: &str) -> String {
        let password = if password.is_empty() { String::new() } else { format!(":{}", password.replace(' ', "%20")) };
        format!("postgres://{role}{password}@127.0.0.1:{}/app", self.nodes[index].port)
    }

    /// A session of the superuser on the coordinator.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn client(&self) -> anyhow::Result<Client> {
        self.client_of(0).await
    }

    /// A session of the superuser on a node.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn client_of(&self, index: usize) -> anyhow::Result<Client> {
        self.open(&self.node_url(index)).await
    }

    async fn open(&self, url: &str) -> anyhow::Result<Client> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.with_context(|| url.to_owned())?;
        // Ends with the client; an error is seen by the client's next statement.
        tokio::spawn(connection);
        Ok(client)
    }

    /// Has a server read its configuration again; returns when new sessions are under it.
    ///
    /// # Errors
    /// The server's, or when it does not.
    pub async fn reload(&self, index: usize) -> anyhow::Result<()> {
        // A session has this from the postmaster that it was forked from, which reads all files before it forks again.
        let loaded = "SELECT extract(epoch FROM pg_conf_load_time())::float8";
        let client = self.client_of(index).await?;
        let before: f64 = client.query_one(loaded, &[]).await?.get(0);
        client.batch_execute("SELECT pg_reload_conf()").await?;
        for _ in 0..600 {
            if self.client_of(index).await?.query_one(loaded, &[]).await?.get::<_, f64>(0) > before {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(anyhow!("node {index} does not read its configuration again"))
    }

    /// Runs statements on the coordinator.
    ///
    /// # Errors
    /// The server's.
    pub async fn run(&self, sql: &str) -> anyhow::Result<()> {
        let client = self.client().await?;
        client.batch_execute(sql).await.with_context(|| sql.to_owned())
    }

    /// Runs statements on every node, without Citus carrying them further.
    ///
    /// # Errors
    /// A server's.
    pub async fn run_everywhere(&self, sql: &str) -> anyhow::Result<()> {
        for index in 0..self.nodes.len() {
            let client = self.client_of(index).await?;
            if self.options.kind == Kind::Citus {
                client.batch_execute("SET citus.enable_ddl_propagation = off").await?;
            }
            client.batch_execute(sql).await.with_context(|| format!("node {index}: {sql}"))?;
        }
        Ok(())
    }

    /// Ends a server as a crash would: `pg_ctl stop -m immediate`.
    ///
    /// # Errors
    /// When it was not running.
    pub async fn stop_immediate(&self, index: usize) -> anyhow::Result<()> {
        self.nodes[index].end("QUIT").await
    }

    /// Ends a server in order, ending its sessions: `pg_ctl stop -m fast`.
    ///
    /// # Errors
    /// When it was not running.
    pub async fn stop(&self, index: usize) -> anyhow::Result<()> {
        self.nodes[index].end("INT").await
    }

    /// Ends a server by SIGKILL.
    ///
    /// # Errors
    /// When it was not running.
    pub async fn kill9(&self, index: usize) -> anyhow::Result<()> {
        self.nodes[index].end("KILL").await
    }

    /// Starts a server that was ended, on its old port.
    ///
    /// # Errors
    /// When it does not start; the error holds its log.
    pub async fn start_node(&self, index: usize) -> anyhow::Result<()> {
        self.nodes[index].start().await
    }

    /// Stops a server in order and starts it again.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&self, index: usize) -> anyhow::Result<()> {
        self.stop(index).await?;
        self.start_node(index).await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                eprintln!("--- errors of node {}, the last ---\n{}", node.index, node.errors_tail());
            }
        }
        for node in &self.nodes {
            node.end_now();
        }
        self.guard.finish();
    }
}
