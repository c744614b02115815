//! `/workers`: the hosts, their slots and what they run.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use maud::html;

use super::{Page, Web, answer, grid, now_unix_ms};
use crate::render;

/// The page.
pub(super) async fn page(State(web): State<Web>, uri: Uri) -> Response {
    answer(&web, &uri, async {
        let workers = web.answers.workers().await?;
        let body = html! {
            section #workers {
                @if workers.is_empty() {
                    p { "No workers. " code { "worker --coordinator URL" } " starts one." }
                } @else {
                    (grid(&render::workers_grid(&workers, now_unix_ms()), "Workers", |_| None))
                }
            }
            @let gpus = render::gpus_grid(&workers);
            @if !gpus.rows.is_empty() {
                section #gpus {
                    h2 { "GPUs" }
                    (grid(&gpus, "GPUs", |_| None))
                }
            }
        };
        Ok(Page { title: "Workers".into(), above: Vec::new(), body })
    })
    .await
}
