//! `/sweeps/SWEEP`: one sweep's progress, results, figures, claims and failures.

use std::ops::ControlFlow;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use axum::response::Response;
use common::wire::{Expectation, Sweep, TablePart, TableRequest};
use maud::{Markup, html};
use serde::Deserialize;

use super::{Page, Web, answer, bar, encoded, facts, figure, results};
use crate::answers::AnswerError;
use crate::http::api::listed;
use crate::query::{Reader, Shown};
use crate::render;

/// What stands in a field that says nothing.
const OF_FILE: &str = "as the file says";
/// Rows of the results that a page shows.
const ROWS_MAX: usize = 200;

/// What the results show; empty is what the sweep file says.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct Layout {
    rows: String,
    columns: String,
    metric: String,
    pool: String,
    best_by: String,
}

impl Layout {
    fn request(&self, sweep: &str) -> TableRequest {
        TableRequest {
            sweep: sweep.into(),
            rows: listed(&self.rows),
            columns: listed(&self.columns),
            metric: self.metric.clone(),
            pool: listed(&self.pool),
            best_by: self.best_by.clone(),
            ..TableRequest::default()
        }
    }

    /// For a link to the same table.
    fn query(&self) -> String {
        let fields = [
            ("rows", &self.rows),
            ("columns", &self.columns),
            ("metric", &self.metric),
            ("pool", &self.pool),
            ("best_by", &self.best_by),
        ];
        let mut query = String::new();
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            let joint = if query.is_empty() { '?' } else { '&' };
            query.push_str(&format!("{joint}{name}={}", encoded(value)));
        }
        query
    }
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    uri: Uri,
    Path(name): Path<String>,
    layout: Result<Query<Layout>, QueryRejection>,
) -> Response {
    // What cannot be understood is as good as nothing: the form shows what is in force.
    let layout = layout.map(|Query(layout)| layout).unwrap_or_default();
    answer(&web, &uri, async {
        let sweep = web.answers.sweep(name.clone()).await?;
        let of = name.clone();
        let claims = web.answers.read(move |reader| reader.expectations(&of)).await?;
        let table = table(&web, layout.request(&name)).await;
        let body = html! {
            section #progress {
                (bar(&sweep.trials.unwrap_or_default()))
                (facts(&shown_facts(&sweep)))
            }
            (results_section(&sweep, &layout, table))
            (figures(&sweep))
            (claims_section(&claims.expectations))
            @if !sweep.failures.is_empty() {
                section #failures {
                    h2 { "Newest failures" }
                    ul { @for failure in &sweep.failures { li { (failure) } } }
                }
            }
            details { summary { "Sweep file" } pre tabindex="0" { (sweep.yaml) } }
        };
        Ok(Page { title: sweep.name, above: vec![("sweeps".into(), "/".into())], body })
    })
    .await
}

/// The name is the page's title.
fn shown_facts(sweep: &Sweep) -> render::Facts {
    let mut facts = render::sweep_facts(sweep);
    facts.retain(|(name, _)| *name != "sweep");
    facts
}

async fn table(web: &Web, request: TableRequest) -> Result<Vec<TablePart>, AnswerError> {
    let read = move |reader: &Reader| {
        let mut parts = Vec::new();
        reader.table(&request, &mut |part| {
            parts.push(part);
            ControlFlow::Continue(())
        })?;
        Ok(parts)
    };
    web.answers.read(read).await
}

fn results_section(
    sweep: &Sweep,
    layout: &Layout,
    table: Result<Vec<TablePart>, AnswerError>,
) -> Markup {
    let of = encoded(&sweep.name);
    let api = format!("/api/v1/sweeps/{of}");
    html! {
        h2 #results-title { "Results" }
        form.layout method="get" action=(format!("/sweeps/{of}")) aria-labelledby="results-title" {
            label { "Rows " input name="rows" value=(layout.rows) placeholder=(OF_FILE); }
            label { "Columns " input name="columns" value=(layout.columns) placeholder=(OF_FILE); }
            label {
                "Metric "
                select name="metric" {
                    option value="" { (OF_FILE) }
                    @for shown in Shown::ALL {
                        option value=(shown.name()) selected[shown.name() == layout.metric] {
                            (shown.name())
                        }
                    }
                }
            }
            label { "Pool " input name="pool" value=(layout.pool) placeholder="none"; }
            button { "Show" }
        }
        section #results {
            @match table {
                Ok(parts) => (results(&render::laid_out(parts, ROWS_MAX))),
                Err(error) => p.error { (common::telemetry::chain(&error)) },
            }
        }
        p.downloads {
            "Download: "
            @for ending in ["csv", "md", "tex", "json", "parquet"] {
                a href=(format!("{api}/table.{ending}{}", layout.query())) { (ending) } " "
            }
            "· trials: "
            @for ending in ["csv", "parquet"] {
                a href=(format!("{api}/trials.{ending}")) { (ending) } " "
            }
            "· epochs: "
            @for ending in ["csv", "parquet"] {
                a href=(format!("{api}/epochs.{ending}")) { (ending) } " "
            }
        }
        p { a href=(format!("/sweeps/{of}/trials")) { "All trials" } }
    }
}

/// Drawn anew when a trial has ended.
fn figures(sweep: &Sweep) -> Markup {
    let counts = sweep.trials.unwrap_or_default();
    let ended = counts.completed + counts.diverged + counts.failed + counts.cancelled;
    let version = format!("{ended}-{}", sweep.configs);
    let api = format!("/api/v1/sweeps/{}", encoded(&sweep.name));
    let plot = figure(&format!("{api}/plot.svg"), &version, "The metric by parameter");
    let curves = figure(&format!("{api}/curves.svg"), &version, "Learning curves with the gate");
    html! {
        section #figures {
            h2 { "Figures" }
            @if ended == 0 {
                p { "None before a trial has ended." }
            } @else {
                div.figures { (plot) (curves) }
            }
        }
    }
}

fn claims_section(claims: &[Expectation]) -> Markup {
    if claims.is_empty() {
        return html! {};
    }
    html! {
        section #claims {
            h2 { "Claims" }
            @for claim in claims {
                article.card {
                    h3 {
                        span class=(format!("verdict {}", render::verdict_word(claim.verdict()))) {
                            (render::verdict_word(claim.verdict()))
                        }
                        " " (claim.claim)
                    }
                    (facts(&render::claim_facts(claim)))
                }
            }
        }
    }
}
