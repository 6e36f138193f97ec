//! The three roles, from their settings to their end. A signal (SIGTERM, SIGINT) stops each in order.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use agent::{Agent, AgentOptions};
use anyhow::{Context, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use topology::{Cluster, Node, Provider};
use types::NodeId;
use wal::Endpoint;

use crate::cli::nodes;
use crate::{config, logging};

/// How long a part may take to stop before the process goes without it. Everything durable is so at any moment.
const PATIENCE: Duration = Duration::from_secs(15);

/// A bug must not leave half a process behind that looks alive: state is durable, a new process goes on from it.
fn prepare(logging: &logging::Logging) -> anyhow::Result<Failpoints> {
    logging::start(logging);
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        // Once more where the log is read, also as JSON, and behind the backtrace.
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let reason = text.unwrap_or("unknown");
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        if types::is_contained() {
            tracing::error!(
                reason,
                at,
                "a bug: the stream table it was met in stops, the others go on; please report it"
            );
            return;
        }
        tracing::error!(reason, at, "a bug: the process ends, a new one goes on from what is durable");
        std::process::abort();
    }));
    Failpoints::arm()
}

/// Failpoints named in `FAILPOINTS`, in builds that have them, for as long as this lives.
struct Failpoints {
    _armed: Option<fail::FailScenario<'static>>,
}

impl Failpoints {
    fn arm() -> anyhow::Result<Self> {
        let wanted = std::env::var("FAILPOINTS").is_ok_and(|f| !f.is_empty());
        if wanted && !fail::has_failpoints() {
            anyhow::bail!("FAILPOINTS is set, but this build has no failpoints (feature failpoints)");
        }
        Ok(Self { _armed: wanted.then(fail::FailScenario::setup) })
    }
}

/// Resolves when the process is told to stop.
struct Stop {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("listening for signals");
        Ok(Self { term: on(SignalKind::terminate())?, int: on(SignalKind::interrupt())? })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.term.recv() => tracing::info!("SIGTERM: stopping"),
            _ = self.int.recv() => tracing::info!("SIGINT: stopping"),
        }
    }
}

/// Coordinator and agents in one process.
pub(crate) async fn standalone(settings: config::Standalone) -> anyhow::Result<ExitCode> {
    let _failpoints = prepare(&settings.logging)?;
    let mut stop = Stop::listen()?;
    let options = settings.coordinator;
    let instance = options.instance.clone();
    let endpoint = Endpoint::parse(&options.database_url)?;
    nodes::check_all(&endpoint, &format!("tributary_{instance}")).await?;
    let mut coordinator = Box::pin(coordinator::Coordinator::start(options)).await?;
    let address = format!("http://{}", reachable(coordinator.listen()));
    let mut cluster = coordinator.cluster();
    let mut agents =
        Agents { instance, address, memory: settings.agent_memory, running: BTreeMap::new(), tasks: JoinSet::new() };
    agents.follow(&cluster.borrow_and_update().clone())?;
    let end = loop {
        tokio::select! {
            () = stop.told() => break Ok(()),
            result = coordinator.ended() => break result.map_err(anyhow::Error::from),
            Ok(()) = cluster.changed() => agents.follow(&cluster.borrow_and_update().clone())?,
            // An agent goes on through everything but a definite error.
            Some(ended) = agents.tasks.join_next() => {
                if let Err(error) = ended.map_err(anyhow::Error::from).flatten() {
                    break Err(error);
                }
            }
        }
    };
    // Agents first, so that nothing arrives any more; then the coordinator ends its cut. What an agent has read and not
    // shipped stays in its slot.
    agents.tasks.shutdown().await;
    if end.is_ok() {
        stop_coordinator(&mut coordinator, &mut stop).await?;
    }
    end.map(|()| ExitCode::SUCCESS)
}

/// An agent for each node of the cluster.
struct Agents {
    instance: String,
    address: String,
    memory: usize,
    /// What ends each of them, with what it reads.
    running: BTreeMap<NodeId, (Node, CancellationToken)>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Agents {
    /// Starts those that are missing, ends those whose node left or is reached otherwise.
    fn follow(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        self.running.retain(|id, (node, stop)| {
            let stays = cluster.node(*id) == Some(node);
            if !stays {
                stop.cancel();
            }
            stays
        });
        for node in &cluster.nodes {
            if self.running.contains_key(&node.id) {
                continue;
            }
            let (instance, address) = (self.instance.clone(), self.address.clone());
            let mut options = AgentOptions::new(instance, node.id, node.endpoint.clone(), address, cluster.provider);
            options.memory_limit = self.memory;
            let (id, agent, stop) = (node.id, Agent::spawn(options)?, CancellationToken::new());
            self.running.insert(id, (node.clone(), stop.clone()));
            self.tasks.spawn(async move {
                tokio::select! {
                    ended = agent.join() => ended.with_context(|| format!("the agent of node {id}")),
                    // Dropping the agent ends it; what it has read and not shipped stays in its slot.
                    () = stop.cancelled() => Ok(()),
                }
            });
        }
        Ok(())
    }
}

/// The coordinator alone.
pub(crate) async fn coordinator(settings: config::Coordinator) -> anyhow::Result<ExitCode> {
    let _failpoints = prepare(&settings.logging)?;
    let mut stop = Stop::listen()?;
    let mut coordinator = Box::pin(coordinator::Coordinator::start(settings.options)).await?;
    tokio::select! {
        () = stop.told() => {}
        result = coordinator.ended() => return result.map(|()| ExitCode::SUCCESS).map_err(Into::into),
    }
    stop_coordinator(&mut coordinator, &mut stop).await?;
    Ok(ExitCode::SUCCESS)
}

async fn stop_coordinator(coordinator: &mut coordinator::Handle, stop: &mut Stop) -> anyhow::Result<()> {
    coordinator.stop();
    tokio::select! {
        ended = tokio::time::timeout(PATIENCE, coordinator.ended()) => match ended {
            Ok(result) => result.map_err(Into::into),
            Err(_) => {
                tracing::warn!("the coordinator did not stop in time");
                Ok(())
            }
        },
        () = stop.told() => Ok(()),
    }
}

/// An agent alone.
pub(crate) async fn agent(settings: config::Agent) -> anyhow::Result<ExitCode> {
    let _failpoints = prepare(&settings.logging)?;
    let mut stop = Stop::listen()?;
    let found = tokio::select! {
        () = stop.told() => return Ok(ExitCode::SUCCESS),
        found = look(&settings) => found?,
    };
    let (node, provider) = found;
    let mut options = AgentOptions::new(settings.instance, node, settings.endpoint, settings.coordinator, provider);
    options.memory_limit = settings.memory_limit;
    let agent = Agent::spawn(options)?;
    tokio::select! {
        // The agent ends with its handle; what it has read and not shipped stays in its slot.
        () = stop.told() => Ok(ExitCode::SUCCESS),
        result = agent.join() => result.map(|()| ExitCode::SUCCESS).map_err(Into::into),
    }
}

/// Which node this is and what shards it, from the node itself; waits until it answers.
async fn look(settings: &config::Agent) -> anyhow::Result<(NodeId, Provider)> {
    let mut pause = Duration::from_millis(100);
    loop {
        let error = match look_once(settings).await {
            Ok(found) => return Ok(found),
            Err(Look::Definite(error)) => return Err(error),
            Err(Look::Transient(error)) => error,
        };
        tracing::warn!(error, "the node does not answer; trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

enum Look {
    Transient(String),
    Definite(anyhow::Error),
}

async fn look_once(settings: &config::Agent) -> Result<(NodeId, Provider), Look> {
    let client = wal::connect(&settings.endpoint, "tributary agent")
        .await
        .map_err(|e| if e.is_transient() { Look::Transient(e.to_string()) } else { Look::Definite(e.into()) })?;
    let citus = "SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus')";
    let failed = |e: tokio_postgres::Error| Look::Transient(wal::describe(&e));
    let citus: bool = client.query_one(citus, &[]).await.map_err(failed)?.get(0);
    if !citus {
        let node = settings.node.ok_or_else(|| {
            Look::Definite(anyhow!("--node is missing: without Citus a node does not know its own number"))
        })?;
        // Whether the others are reached over postgres_fdw makes no difference on the node.
        return Ok((node, Provider::Single));
    }
    let group = "SELECT groupid FROM pg_catalog.pg_dist_local_group";
    let group: i32 = client.query_one(group, &[]).await.map_err(failed)?.get(0);
    let group = u32::try_from(group).map(NodeId).map_err(|_| Look::Definite(anyhow!("the node has no Citus group")))?;
    match settings.node {
        Some(node) if node != group => {
            Err(Look::Definite(anyhow!("--node says {node}, but this node is group {group} of its Citus cluster")))
        }
        _ => Ok((group, Provider::Citus)),
    }
}

/// Where a socket that listens everywhere is reached from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_on_every_address_is_reached_on_the_loopback() {
        let of = |s: &str| reachable(s.parse().unwrap()).to_string();
        assert_eq!(of("0.0.0.0:7420"), "127.0.0.1:7420");
        assert_eq!(of("[::]:1"), "[::1]:1");
        assert_eq!(of("10.0.0.1:2"), "10.0.0.1:2");
    }
}
