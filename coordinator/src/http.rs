//! The HTTP listener for probes and Prometheus: `/live`, `/ready`, `/metrics`. It holds no state
//! of its own and speaks HTTP/1 without encryption, so it listens on the loopback by default.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::driver::{Driven, Health};
use crate::metrics::Metrics;

/// How long open requests may take to end at shutdown; then they are cut.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// What the pages are made of.
#[derive(Clone)]
pub struct Pages {
    /// The scheduler's picture and the store's health.
    pub driven: Driven,
    /// The gauges.
    pub metrics: Arc<Metrics>,
}

/// Serves until shutdown.
pub async fn serve(
    listener: TcpListener,
    pages: Pages,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(pages);
    let graceful = shutdown.clone().cancelled_owned();
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(SHUTDOWN_WAIT).await;
    };
    tokio::select! {
        result = axum::serve(listener, router).with_graceful_shutdown(graceful) => result,
        () = late => Ok(()),
    }
}

async fn ready(State(pages): State<Pages>) -> Response {
    match &*pages.driven.health.borrow() {
        Health::Serving => (StatusCode::OK, "ready\n").into_response(),
        Health::Closing => unready("the coordinator stops"),
        Health::StoreFailed { reason } => unready(reason),
    }
}

fn unready(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let overview = Arc::clone(&pages.driven.overview.borrow());
    let is_ready = matches!(&*pages.driven.health.borrow(), Health::Serving);
    // It asks the file system, which can take its time.
    let made = spawn_blocking(move || pages.metrics.exposition(&overview, is_ready)).await;
    let Ok(made) = made else {
        let text = "making the metrics panicked\n";
        return (StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
    };
    match made {
        Ok(text) => {
            let kind = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
            (StatusCode::OK, kind, text).into_response()
        }
        Err(error) => {
            let text = common::telemetry::chain(&error);
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}
