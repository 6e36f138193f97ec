//! `/healthz`, `/readyz` and `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What the handlers look at.
#[derive(Clone)]
struct Shared {
    /// Empty when ready, else why not.
    ready: watch::Receiver<Option<String>>,
    metrics: Option<PrometheusHandle>,
}

/// Installs the process's metrics recorder; `None` when something else has installed one. What is counted before is counted
/// nowhere, so this comes first.
pub(crate) fn recorder() -> Option<PrometheusHandle> {
    PrometheusBuilder::new().install_recorder().ok()
}

/// Serves until `stop` says so.
pub(crate) async fn serve(
    listener: TcpListener,
    ready: watch::Receiver<Option<String>>,
    recorded: Option<PrometheusHandle>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let shared = Shared { ready, metrics: recorded };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shared);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn readyz(State(shared): State<Shared>) -> (StatusCode, String) {
    match &*shared.ready.borrow() {
        None => (StatusCode::OK, "ready\n".into()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(shared): State<Shared>) -> (StatusCode, String) {
    match &shared.metrics {
        Some(handle) => {
            handle.run_upkeep();
            (StatusCode::OK, handle.render())
        }
        None => (StatusCode::NOT_FOUND, "no metrics recorder\n".into()),
    }
}
