//! `/sweeps/SWEEP/trials/TRIAL`: one trial's curves, parameters, attempts and log.

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use maud::html;

use super::{Page, Web, answer, encoded, facts, figure, grid};
use crate::render;

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    uri: Uri,
    Path((sweep, trial)): Path<(String, String)>,
) -> Response {
    answer(&web, &uri, async {
        let of = format!("/sweeps/{}", encoded(&sweep));
        let above = vec![(sweep.clone(), of.clone()), ("trials".into(), format!("{of}/trials"))];
        let trial = web.answers.trial(sweep, trial).await?;
        let api = format!("/api/v1{of}");
        let curves = format!("{api}/curves.svg?trial={}", encoded(&trial.id));
        let last = trial.epochs.last().map_or(0, |epoch| epoch.epoch);
        let weights = format!("{api}/trials/{}/model.safetensors", encoded(&trial.id));
        let log = format!("{api}/trials/{}/log", encoded(&trial.id));
        let body = html! {
            section #facts {
                (facts(&render::trial_facts(&trial)))
                @if trial.weights_bytes.is_some() {
                    p { a href=(weights) { "Weights of the best epoch" } }
                }
            }
            section #curves {
                h2 { "Learning curves" }
                @if last > 0 {
                    (figure(&curves, &last.to_string(), "Loss, error and gate by epoch", "400x600"))
                } @else {
                    p { "No epoch yet." }
                }
            }
            section #attempts {
                h2 { "Attempts" }
                @if trial.attempts.is_empty() {
                    p { "None yet." }
                } @else {
                    (grid(&render::attempts_grid(&trial.attempts), "Attempts", |_| None))
                }
            }
            section #log {
                h2 { "Log" }
                pre data-text=(log) tabindex="0" aria-label="The end of the trainer's log" {
                    a href=(log) { "the end of the trainer's log" }
                }
            }
        };
        Ok(Page { title: format!("Trial {}", trial.id), above, body })
    })
    .await
}
