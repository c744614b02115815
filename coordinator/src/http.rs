//! The HTTP listener for probes and Prometheus: `/live`, `/ready`, `/metrics`. It holds no state
//! of its own; who may read what is decided by `edge::web`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::driver::{Driven, Health};
use crate::edge::{Edge, Listener, web};
use crate::metrics::Metrics;

/// What the pages are made of.
#[derive(Clone)]
pub struct Pages {
    /// The scheduler's picture and the store's health.
    pub driven: Driven,
    /// The gauges.
    pub metrics: Arc<Metrics>,
}

/// Serves until shutdown.
pub async fn serve(listener: Listener, pages: Pages, edge: Arc<Edge>, shutdown: CancellationToken) {
    let router = Router::new()
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(pages);
    web::serve(listener, web::guarded(router, edge), shutdown).await;
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
    match pages.metrics.exposition(&overview) {
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
