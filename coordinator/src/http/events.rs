//! Server-sent events: what the sweeps and workers of the driver's picture are, whenever that
//! changes, at most once a second. A reader that is slow is told the newest and misses the rest.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use scheduler::Overview;
use scheduler::overview::{SweepOverview, WorkerState};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};

use super::Web;
use crate::answers::sweep_of;
use crate::driver::Driven;
use crate::render;

/// News come no more often: a page that shows them asks for itself again.
const EVERY: Duration = Duration::from_secs(1);

/// The newest event, made once for all who read.
#[derive(Clone)]
pub(super) struct News(watch::Sender<Arc<str>>);

impl Default for News {
    fn default() -> News {
        News(watch::Sender::new("{}".into()))
    }
}

impl News {
    /// Makes events of the driver's pictures, for ever.
    pub async fn publish(self, driven: Driven) -> Infallible {
        let mut overview = driven.overview;
        loop {
            let text: Arc<str> = event(&overview.borrow_and_update()).to_string().into();
            self.0.send_if_modified(|newest| {
                let is_new = *newest != text;
                *newest = text;
                is_new
            });
            tokio::time::sleep(EVERY).await;
            if overview.changed().await.is_err() {
                // The driver has ended; what was said last holds.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// `GET /api/v1/events`.
pub(super) async fn events(
    State(web): State<Web>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let news = WatchStream::new(web.news.0.subscribe());
    let news = news.map(|text| Ok(Event::default().data(&*text)));
    let stream = UntilDone { stream: news, until: Box::pin(web.shutdown.cancelled_owned()) };
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// The stream's items until the future is done.
struct UntilDone<S, F> {
    stream: S,
    until: F,
}

impl<S: Stream + Unpin, F: Future<Output = ()> + Unpin> Stream for UntilDone<S, F> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if Pin::new(&mut self.until).poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.stream).poll_next(context)
    }
}

fn event(overview: &Overview) -> Value {
    let sweeps: Vec<Value> = overview.sweeps.iter().map(sweep).collect();
    let workers: serde_json::Map<String, Value> = WorkerState::ALL
        .into_iter()
        .map(|state| {
            let count = overview.workers.iter().filter(|worker| worker.state == state).count();
            (state.name().to_owned(), count.into())
        })
        .collect();
    json!({"sweeps": sweeps, "workers": workers})
}

fn sweep(overview: &SweepOverview) -> Value {
    let sweep = sweep_of(overview);
    json!({
        "name": sweep.name,
        "state": sweep.state,
        "trials": render::counts_json(&sweep.trials.unwrap_or_default()),
        "configs": sweep.configs,
        "configs_done": sweep.configs_done,
        "epochs": sweep.epochs,
        "best_val_error": sweep.best_val_error,
        "eta_seconds": sweep.eta_seconds,
        "examples_per_second": overview.examples_per_second,
    })
}
