//! The aggregator, put together: its lanes, its services, and how it stops.
//!
//! ```text
//!   gRPC: agents ──────▶ ingest of the lane that the agent's instance names
//!         tributary … ─▶ services ─▶ Lanes ─┬─▶ atomic: always
//!   HTTP: health, metrics                   └─▶ per-node: while there are such stream tables
//! ```

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use proto::v1;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use topology::Cluster;
use wal::Endpoint;

use crate::error::CoordinatorError;
use crate::ingest::Door;
use crate::lane::Running as RunningLane;
use crate::lanes::{Lanes, Maker};
use crate::members::Members;
use crate::options::Options;
use crate::services::{ClusterControl, StreamTables};
use crate::{http, target};

/// A running aggregator.
#[derive(Debug)]
pub struct Handle {
    members: Members,
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<Result<(), CoordinatorError>>,
    listen: std::net::SocketAddr,
}

impl Handle {
    /// The cluster as it is known, and as it changes.
    #[must_use]
    pub fn cluster(&self) -> watch::Receiver<Cluster> {
        self.members.subscribe()
    }

    /// Where it listens for gRPC (the port that was got when 0 was asked for).
    #[must_use]
    pub fn listen(&self) -> std::net::SocketAddr {
        self.listen
    }

    /// Asks it to stop; [`Self::ended`] says when it has.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Until it has ended.
    ///
    /// # Errors
    /// What ended it, unless it was asked to.
    pub async fn ended(&mut self) -> Result<(), CoordinatorError> {
        (&mut self.ended).await.unwrap_or(Err(CoordinatorError::Ended("the aggregator")))
    }
}

/// The aggregator.
#[derive(Debug)]
pub struct Coordinator;

impl Coordinator {
    /// Starts it; returns when it listens. Agents then attach and cuts begin.
    ///
    /// # Errors
    /// When the target, the data directory or a socket cannot be used: one clear line.
    pub async fn start(options: Options) -> Result<Handle, CoordinatorError> {
        let endpoint = Endpoint::parse(&options.database_url)?;
        std::fs::create_dir_all(&options.data_dir)
            .map_err(CoordinatorError::io(format!("data directory {}", options.data_dir.display())))?;
        let grpc = TcpListener::bind(options.listen)
            .await
            .map_err(CoordinatorError::io(format!("listening on {}", options.listen)))?;
        let web = TcpListener::bind(options.http)
            .await
            .map_err(CoordinatorError::io(format!("listening on {}", options.http)))?;
        let listen = grpc.local_addr().map_err(CoordinatorError::io("the gRPC socket"))?;
        let metrics = http::recorder();
        let (new, new_lanes) = mpsc::channel(1);
        let lanes = Lanes::start(Maker::new(options, endpoint)?, new).await?;
        let members = lanes.atomic().requests.members.clone();
        let (stop, stopping) = watch::channel(false);
        let (done, ended) = oneshot::channel();
        let running = Running { lanes: Arc::new(lanes), new_lanes, grpc, web, metrics, stopping };
        tokio::spawn(async move {
            let _nobody_asks_any_more = done.send(running.run().await);
        });
        Ok(Handle { members, stop, ended, listen })
    }
}

/// Everything that runs.
struct Running {
    lanes: Arc<Lanes>,
    /// Lanes that were put together and are to be run.
    new_lanes: mpsc::Receiver<RunningLane>,
    grpc: TcpListener,
    web: TcpListener,
    metrics: Option<PrometheusHandle>,
    stopping: watch::Receiver<bool>,
}

impl Running {
    /// Until asked to stop or one part ends. The lanes stop first, each in its order; then nobody is served any more.
    async fn run(mut self) -> Result<(), CoordinatorError> {
        let (ready_tx, ready) = watch::channel(Some("starting".to_owned()));
        let (reporter, health) = tonic_health::server::health_reporter();
        let mut side = JoinSet::new();
        side.spawn(target::answer_waits(self.lanes.clone()));
        side.spawn(target::report_nodes(self.lanes.atomic().clone()));
        side.spawn(target::readiness(self.lanes.clone(), ready_tx, reporter));
        let stopped = |mut stopping: watch::Receiver<bool>| async move {
            let _gone = stopping.wait_for(|s| *s).await;
        };
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .build_v1()
            .map_err(|e| CoordinatorError::Setting(e.to_string()))?;
        let server = tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .http2_keepalive_interval(Some(Duration::from_secs(10)))
            .add_service(health)
            .add_service(reflection)
            .add_service(
                v1::ingest_service_server::IngestServiceServer::new(Door(self.lanes.clone()))
                    .max_decoding_message_size(usize::MAX),
            )
            .add_service(v1::stream_table_service_server::StreamTableServiceServer::new(StreamTables(
                self.lanes.clone(),
            )))
            .add_service(v1::cluster_service_server::ClusterServiceServer::new(ClusterControl(self.lanes)));
        let serve = server.serve_with_incoming(TcpListenerStream::new(self.grpc));
        let web = http::serve(self.web, ready, self.metrics, stopped(self.stopping.clone()));
        let mut serving = JoinSet::new();
        serving.spawn(async move { serve.await.map_err(|e| CoordinatorError::Setting(format!("gRPC: {e}"))) });
        serving.spawn(async move { web.await.map_err(CoordinatorError::io("HTTP")) });
        let (stop, stop_lanes) = watch::channel(false);
        let mut lanes: JoinSet<Result<(), CoordinatorError>> = JoinSet::new();
        let asked = stopped(self.stopping);
        tokio::pin!(asked);
        let result = loop {
            tokio::select! {
                () = &mut asked => break Ok(()),
                Some(lane) = self.new_lanes.recv() => drop(lanes.spawn(lane.run(stop_lanes.clone()))),
                Some(ended) = lanes.join_next() => break ended.unwrap_or(Err(CoordinatorError::Ended("a lane"))),
                Some(ended) = serving.join_next() => break ended.unwrap_or(Err(CoordinatorError::Ended("a server"))),
            }
        };
        side.shutdown().await;
        stop.send_replace(true);
        while lanes.join_next().await.is_some() {}
        serving.shutdown().await;
        tracing::info!("stopped");
        result
    }
}
