//! The gRPC clients, and errors as a reader of one line wants them.

use std::time::Duration;

use anyhow::anyhow;
use proto::v1::cluster_service_client::ClusterServiceClient;
use proto::v1::stream_table_service_client::StreamTableServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

const CONNECT: Duration = Duration::from_secs(5);

/// A plan as JSON can be long.
const LARGEST_ANSWER: usize = 64 << 20;

async fn channel(endpoint: &str) -> anyhow::Result<Channel> {
    let parsed = Endpoint::from_shared(endpoint.to_owned())
        .ok()
        .filter(|e| e.uri().scheme_str() == Some("http") && e.uri().host().is_some())
        .ok_or_else(|| anyhow!("endpoint '{endpoint}' is not http://host:port"))?;
    let channel = parsed.connect_timeout(CONNECT).connect().await;
    channel.map_err(|error| {
        let reason = innermost(&error);
        anyhow!(
            "no tributary answers at {endpoint} ({reason}); is it running? --endpoint or TRIBUTARY_ENDPOINT say where"
        )
    })
}

/// The client of the stream tables' service.
pub(crate) async fn stream_tables(endpoint: &str) -> anyhow::Result<StreamTableServiceClient<Channel>> {
    Ok(StreamTableServiceClient::new(channel(endpoint).await?).max_decoding_message_size(LARGEST_ANSWER))
}

/// The client of the cluster's service.
pub(crate) async fn cluster(endpoint: &str) -> anyhow::Result<ClusterServiceClient<Channel>> {
    Ok(ClusterServiceClient::new(channel(endpoint).await?).max_decoding_message_size(LARGEST_ANSWER))
}

/// What the daemon said, or that it went away.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn refused(status: Status) -> anyhow::Error {
    let gone = std::error::Error::source(&status).is_some() && status.code() != Code::DeadlineExceeded;
    match status.message() {
        _ if gone => anyhow!("the daemon went away during the call ({}); see its log", innermost(&status)),
        "" => anyhow!("the daemon answered {:?}", status.code()),
        message => anyhow!("{message}"),
    }
}

/// The last cause of an error, which says what happened; those around it say where.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
