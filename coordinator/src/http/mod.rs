//! The HTTP listener: the web page, the API of `/api/v1` that it is made of, and for probes and
//! Prometheus `/live`, `/ready` and `/metrics`. It only reads; what changes a sweep is gRPC's. Who
//! may read what is decided by `edge::web`.

mod api;
mod cache;
mod events;
mod figures;
mod pages;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::answers::{AnswerError, Answers};
use crate::driver::Health;
use crate::edge::{self, Edge, Listener};
use crate::metrics::Metrics;
use crate::query::Class;
use cache::Cache;
use events::News;

/// Nothing from elsewhere is loaded, and no other page may frame this one.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
    base-uri 'none'";

/// What the listener serves from.
#[derive(Clone)]
pub struct Web {
    answers: Answers,
    metrics: Arc<Metrics>,
    cache: Arc<Cache>,
    news: News,
    /// Ends the streams that would never end by themselves.
    shutdown: CancellationToken,
}

impl Web {
    /// For a running server.
    pub fn new(answers: Answers, metrics: Arc<Metrics>) -> Web {
        let news = News::default();
        let shutdown = CancellationToken::new();
        Web { answers, metrics, cache: Arc::default(), news, shutdown }
    }
}

/// Serves until shutdown.
pub async fn serve(listener: Listener, mut web: Web, edge: Arc<Edge>, shutdown: CancellationToken) {
    web.shutdown = shutdown.clone();
    let news = web.news.clone().publish(web.answers.driven().clone());
    tokio::select! {
        () = edge::web::serve(listener, edge::web::guarded(router(web), edge), shutdown) => {}
        never = news => match never {},
    }
}

fn router(web: Web) -> Router {
    Router::new()
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .nest("/api/v1", api::router())
        .merge(pages::router())
        .layer(middleware::from_fn(headers))
        .with_state(web)
}

/// For every page and answer: what a browser must not do with it, beside what `edge` says of all.
async fn headers(request: axum::extract::Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 2] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn ready(State(web): State<Web>) -> Response {
    readiness(&web.answers.driven().health.borrow())
}

fn readiness(health: &Health) -> Response {
    match health {
        Health::Serving => (StatusCode::OK, "ready\n").into_response(),
        Health::Closing => unready("the coordinator stops"),
        // Everybody may ask here, and the reason names files; the log has it.
        Health::StoreFailed { .. } => unready("the store failed"),
    }
}

fn unready(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}

async fn metrics(State(web): State<Web>) -> Response {
    let overview = Arc::clone(&web.answers.driven().overview.borrow());
    let is_ready = matches!(&*web.answers.driven().health.borrow(), Health::Serving);
    // It asks the file system, which can take its time.
    let made = spawn_blocking(move || web.metrics.exposition(&overview, is_ready)).await;
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

/// An error in the words of an address: its fields have no dashes.
fn web_words(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("--") {
        let (before, flag) = rest.split_at(at);
        let name = &flag[2..];
        let end = name.find(|it: char| !it.is_ascii_lowercase() && it != '-');
        let (name, after) = name.split_at(end.unwrap_or(name.len()));
        words.push_str(before);
        // A name of a sweep may have dashes, too.
        if before.ends_with(char::is_alphanumeric) {
            words.push_str(&flag[..2 + name.len()]);
        } else {
            words.push_str(&name.replace('-', "_"));
        }
        rest = after;
    }
    words + rest
}

/// The status that goes with an error.
fn status(error: &AnswerError) -> StatusCode {
    match error {
        AnswerError::Query(error) => match error.class() {
            Class::NotFound => StatusCode::NOT_FOUND,
            Class::Invalid => StatusCode::BAD_REQUEST,
            Class::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        },
        AnswerError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        AnswerError::Cut | AnswerError::Thread(_) | AnswerError::Panicked => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_fields_as_addresses_have_them() {
        let text = "add to --rows, or give --pool p (as replicates) or --best-by val_error";
        let words = "add to rows, or give pool p (as replicates) or best_by val_error";
        assert_eq!(web_words(text), words);
        for kept in ["unknown sweep `a--b`", "a - b", "x--", ""] {
            assert_eq!(web_words(kept), kept);
        }
        assert_eq!(web_words("--"), "");
    }

    #[tokio::test]
    async fn everybody_is_told_that_the_store_failed_and_nobody_why() {
        let reason = "cannot write `/srv/secret/store`".into();
        let answer = readiness(&Health::StoreFailed { reason });
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let told = axum::body::to_bytes(answer.into_body(), 1024).await.expect("a text");
        assert_eq!(told, "the store failed\n");
    }
}
