//! `/`: every sweep at a glance.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use common::wire::Sweep;
use maud::{Markup, html};

use super::{Page, Web, answer, bar, encoded};
use crate::render::{Unit, duration};

/// The page.
pub(super) async fn page(State(web): State<Web>, uri: Uri) -> Response {
    answer(&web, &uri, async {
        let sweeps = web.answers.sweeps().await?;
        let workers = web.answers.workers().await?;
        let busy = workers.iter().flat_map(|worker| &worker.slots);
        let (busy, slots) = busy
            .fold((0, 0), |(busy, all), slot| (busy + usize::from(slot.state == "busy"), all + 1));
        let connected = workers.iter().filter(|worker| worker.state != "lost").count();
        let body = html! {
            p #workers {
                a href="/workers" {
                    (connected) @if connected == 1 { " worker" } @else { " workers" }
                }
                ", " (busy) " of " (slots) " slots busy"
            }
            section #sweeps {
                @if sweeps.is_empty() {
                    p { "No sweeps yet. " code { "coordinator apply FILE" } " adds one." }
                }
                @for sweep in sweeps.iter().rev() { (card(sweep)) }
            }
        };
        Ok(Page { title: "Sweeps".into(), above: Vec::new(), body })
    })
    .await
}

fn card(sweep: &Sweep) -> Markup {
    let counts = sweep.trials.unwrap_or_default();
    let done = counts.completed + counts.diverged + counts.failed;
    let all = done + counts.pending + counts.running + counts.cancelled;
    html! {
        article.card {
            h2 { a href=(format!("/sweeps/{}", encoded(&sweep.name))) { (sweep.name) } }
            span.state { (sweep.state) }
            (bar(&counts))
            p {
                (done) " of " (all) " trials"
                @if counts.running > 0 { ", " (counts.running) " running" }
                @if counts.failed > 0 { ", " span.bad { (counts.failed) " failed" } }
                @if counts.diverged > 0 { ", " (counts.diverged) " diverged" }
                @if let Some(eta) = sweep.eta_seconds { ", about " (duration(eta)) " left" }
            }
            p.note {
                (sweep.model) " on " (sweep.data) ", " (sweep.configs) " configs"
                @if let Some(best) = sweep.best_val_error {
                    ", best val_error " (Unit::Percent.value(best)) " %"
                }
            }
        }
    }
}
