//! Ordinary SQL sessions.

use tokio_postgres::config::SslMode as DriverSslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{describe, io_cause};
use crate::{Endpoint, SslMode, WalError, tls};

/// Opens an SQL session, encrypted as the endpoint's `sslmode` demands. The task that moves its bytes is spawned on
/// the current runtime and ends with the client.
///
/// # Errors
/// [`WalError::Unreachable`], [`WalError::Tls`], [`WalError::Login`] and, for what passes by itself (the server is
/// starting, too many connections), [`WalError::Sql`].
pub async fn connect(endpoint: &Endpoint, application_name: &str) -> Result<Client, WalError> {
    Ok(connect_owned(endpoint, application_name).await?.0)
}

/// A session and the task that moves its bytes; ending the task ends the session at once, whatever it is doing.
pub(crate) async fn connect_owned(
    endpoint: &Endpoint,
    application_name: &str,
) -> Result<(Client, tokio::task::JoinHandle<()>), WalError> {
    let config = driver_config(endpoint, application_name);
    let refused = |error| refused(endpoint, error);
    match tls::client_config(endpoint)? {
        None => {
            let (client, connection) = Box::pin(config.connect(NoTls)).await.map_err(refused)?;
            Ok((client, tokio::spawn(run(connection))))
        }
        Some(tls) => {
            let (client, connection) = Box::pin(config.connect(MakeRustlsConnect::new(tls))).await.map_err(refused)?;
            Ok((client, tokio::spawn(run(connection))))
        }
    }
}

async fn run<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if let Err(error) = connection.await {
        // The client's next statement fails with the same.
        tracing::debug!(error = describe(&error), "sql session ended");
    }
}

fn driver_config(endpoint: &Endpoint, application_name: &str) -> Config {
    let mut config = Config::new();
    config
        .user(endpoint.user())
        .host(endpoint.host())
        .port(endpoint.port())
        .dbname(endpoint.database())
        .application_name(application_name)
        .connect_timeout(endpoint.connect_timeout())
        .keepalives_idle(std::time::Duration::from_secs(30))
        .keepalives_interval(std::time::Duration::from_secs(10))
        .keepalives_retries(3)
        .ssl_mode(match endpoint.ssl_mode() {
            SslMode::Disable => DriverSslMode::Disable,
            SslMode::Prefer => DriverSslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => DriverSslMode::Require,
        });
    if let Some(password) = endpoint.password() {
        config.password(password);
    }
    if let Some(options) = endpoint.options() {
        config.options(options);
    }
    config
}

fn refused(endpoint: &Endpoint, error: tokio_postgres::Error) -> WalError {
    let peer = endpoint.peer();
    if let Some(code) = error.code() {
        let transient = matches!(code.code().get(..2), Some("08" | "53" | "57"));
        return if transient {
            WalError::Sql { doing: "connecting", source: error }
        } else {
            WalError::Login { peer, reason: describe(&error) }
        };
    }
    match io_cause(&error) {
        Some(io) if tls_cause(io).is_some() => {
            WalError::Tls { peer, reason: tls_cause(io).map(ToString::to_string).unwrap_or_default() }
        }
        Some(io) => WalError::Unreachable { peer, source: std::io::Error::new(io.kind(), io.to_string()) },
        None => {
            let reason = describe(&error);
            if reason.contains("TLS") {
                WalError::Tls { peer, reason }
            } else if reason.contains("timed out") {
                WalError::Unreachable { peer, source: std::io::ErrorKind::TimedOut.into() }
            } else {
                WalError::Login { peer, reason }
            }
        }
    }
}

/// The TLS error inside an I/O error.
pub(crate) fn tls_cause(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
