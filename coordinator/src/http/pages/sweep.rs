//! `/sweeps/SWEEP`: one sweep's progress, results, figures, claims and failures.

use std::ops::ControlFlow;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use axum::response::Response;
use common::spec::METRICS_TO_CHOOSE_BY;
use common::wire::{Expectation, Sweep, TableRequest};
use maud::{Markup, html};
use serde::Deserialize;

use super::{Page, Web, answer, bar, encoded, facts, figure, misunderstood, results};
use crate::answers::AnswerError;
use crate::http::api::listed;
use crate::http::web_words;
use crate::query::{Reader, Shown};
use crate::render::{self, Excerpt, LaidOut};

/// What stands in a field that says nothing.
const OF_FILE: &str = "as the file says";
/// Rows of the results that a page shows.
const ROWS_MAX: usize = 200;
/// Columns of the results that a page shows.
const COLUMNS_MAX: usize = 40;
/// Kinds of figures, beside lines.
const KINDS: [(&str, &str); 2] = [("heat", "heat map"), ("parallel", "parallel coordinates")];

/// What the results show; empty is what the sweep file says.
#[derive(Deserialize, Default, Clone)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Layout {
    rows: String,
    columns: String,
    metric: String,
    pool: String,
    best_by: String,
    /// Of the figure.
    kind: String,
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
        query([
            ("rows", &self.rows),
            ("columns", &self.columns),
            ("metric", &self.metric),
            ("pool", &self.pool),
            ("best_by", &self.best_by),
        ])
    }

    /// The figure of the same table.
    fn plot_query(&self) -> String {
        let (rows, columns) = (listed(&self.rows), listed(&self.columns));
        let first = |params: &[String]| params.first().cloned().unwrap_or_default();
        let (x, by) = match &*self.kind {
            "heat" => (first(&columns), first(&rows)),
            "parallel" => (String::new(), [rows, columns].concat().join(",")),
            // Where nothing is chosen among, every parameter needs a place.
            _ if self.best_by.is_empty() => (first(&rows), String::new()),
            _ => (first(&rows), [rows.get(1..).unwrap_or_default(), &columns].concat().join(",")),
        };
        query([
            ("kind", &self.kind),
            ("x", &x),
            ("by", &by),
            ("y", &self.metric),
            ("pool", &self.pool),
            ("best_by", &self.best_by),
        ])
    }
}

/// The fields that say something.
fn query<const N: usize>(fields: [(&str, &str); N]) -> String {
    let mut query = String::new();
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        let joint = if query.is_empty() { '?' } else { '&' };
        query.push_str(&format!("{joint}{name}={}", encoded(value)));
    }
    query
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    uri: Uri,
    Path(name): Path<String>,
    layout: Result<Query<Layout>, QueryRejection>,
) -> Response {
    let layout = match layout {
        Ok(Query(layout)) => layout,
        Err(error) => return misunderstood(&error),
    };
    answer(&web, &uri, async {
        let sweep = web.answers.sweep(name.clone()).await?;
        let of = name.clone();
        let claims = web.answers.read(move |reader| reader.expectations(&of)).await?;
        let table = table(&web, layout.request(&name)).await;
        // Where it has no place for something, the figure has none either.
        let has_table = table.is_ok();
        let address = format!("/sweeps/{}", encoded(&name));
        let body = html! {
            section #progress {
                (bar(&sweep.trials.unwrap_or_default()))
                (facts(&shown_facts(&sweep)))
                p {
                    a href=(format!("{address}/trials")) { "All trials" }
                    @if !sweep.best_trial.is_empty() {
                        " · " a href=(format!("{address}/trials/{}", sweep.best_trial)) {
                            "The best trial"
                        }
                    }
                    @if sweep.trials.is_some_and(|it| it.failed > 0) {
                        " · " a href=(format!("{address}/trials?state=failed")) { "Failed trials" }
                    }
                }
            }
            (results_section(&sweep, &layout, table))
            @if has_table { (figures(&sweep, &layout)) }
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

async fn table(web: &Web, request: TableRequest) -> Result<LaidOut, AnswerError> {
    let read = move |reader: &Reader| {
        let mut table = Excerpt::new(ROWS_MAX, COLUMNS_MAX);
        reader.table(&request, &mut |part| {
            table.part(part);
            ControlFlow::Continue(())
        })?;
        Ok(table.laid_out())
    };
    web.answers.read(read).await
}

fn results_section(sweep: &Sweep, layout: &Layout, table: Result<LaidOut, AnswerError>) -> Markup {
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
            label {
                "Best by "
                select name="best_by" {
                    option value="" { "–" }
                    @for metric in METRICS_TO_CHOOSE_BY {
                        option value=(metric) selected[metric == layout.best_by] { (metric) }
                    }
                }
            }
            label {
                "Figure "
                select name="kind" {
                    option value="" { "lines" }
                    @for (kind, name) in KINDS {
                        option value=(kind) selected[kind == layout.kind] { (name) }
                    }
                }
            }
            button { "Show" }
        }
        section #results {
            @match table {
                Ok(table) => (results(&table)),
                Err(error) => p.error { (web_words(&common::telemetry::chain(&error))) },
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
    }
}

/// Drawn anew when a trial has ended.
fn figures(sweep: &Sweep, layout: &Layout) -> Markup {
    let counts = sweep.trials.unwrap_or_default();
    let ended = counts.completed + counts.diverged + counts.failed + counts.cancelled;
    let version = format!("{ended}-{}", sweep.configs);
    let api = format!("/api/v1/sweeps/{}", encoded(&sweep.name));
    let plot = format!("{api}/plot.svg{}", layout.plot_query());
    let plot = figure(&plot, &version, "The metric by parameter", "400x500");
    let curves = format!("{api}/curves.svg");
    let curves = figure(&curves, &version, "Learning curves with the gate", "400x700");
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
