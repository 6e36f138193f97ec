//! A daemon's gRPC services over one connection, for suites that ask thousands of times; the others go through the command line.

use anyhow::Context;
use proto::v1;
use proto::v1::cluster_service_client::ClusterServiceClient;
use proto::v1::create_stream_table_progress::Kind;
use proto::v1::stream_table_service_client::StreamTableServiceClient;
use testkit::Daemon;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// What a daemon is asked; clones share the connection.
#[derive(Debug, Clone)]
pub struct Services {
    tables: StreamTableServiceClient<Channel>,
    cluster: ClusterServiceClient<Channel>,
}

impl Services {
    /// Those of this daemon.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn of(daemon: &Daemon) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(daemon.endpoint())?.connect().await.context("the daemon's services")?;
        let tables = StreamTableServiceClient::new(channel.clone());
        Ok(Self { tables, cluster: ClusterServiceClient::new(channel) })
    }

    /// Defines a stream table, which is exact when this returns.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn create(&self, name: &str, query: &str) -> Result<v1::StreamTable, Status> {
        let request = v1::CreateStreamTableRequest { name: name.into(), query: query.into(), ..Default::default() };
        let mut progress = self.tables.clone().create(request).await?.into_inner();
        while let Some(said) = progress.message().await? {
            if let Some(Kind::Done(table)) = said.kind {
                return Ok(table);
            }
        }
        Err(Status::unavailable("it ended without an answer"))
    }

    /// Removes a stream table and those that read it.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn drop(&self, name: &str) -> Result<(), Status> {
        let request = v1::DropStreamTableRequest { name: name.into(), cascade: true };
        self.tables.clone().drop(request).await.map(drop)
    }

    /// A stream table as it is now.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn get(&self, name: &str) -> Result<v1::StreamTable, Status> {
        let request = v1::GetStreamTableRequest { name: name.into() };
        Ok(self.tables.clone().get(request).await?.into_inner())
    }

    /// All stream tables.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn list(&self) -> Result<Vec<v1::StreamTable>, Status> {
        let request = v1::ListStreamTablesRequest {};
        Ok(self.tables.clone().list(request).await?.into_inner().stream_tables)
    }

    /// Waits until everything committed before is readable in all of them.
    ///
    /// # Errors
    /// When it is not within these seconds.
    pub async fn wait(&self, seconds: f64) -> Result<(), Status> {
        let request = v1::WaitForFrontierRequest { stream_table: String::new(), timeout_seconds: seconds };
        self.cluster.clone().wait_for_frontier(request).await.map(drop)
    }
}
