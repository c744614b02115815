//! The web page: HTML that is made here and a script that renews it when there is news. Nothing is
//! loaded from elsewhere, and everything works without the script.

mod listing;
mod sweep;
mod sweeps;
mod trial;
mod workers;

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use common::telemetry::chain;
use maud::{DOCTYPE, Markup, html};

use super::cache::Made;
use super::{Web, status, web_words};
use crate::answers::AnswerError;
use crate::render::{Facts, Grid, LaidOut, PageCell};

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = include_str!("../assets/style.css");
const SCRIPT: &str = include_str!("../assets/script.js");
const ICON: &str = include_str!("../assets/icon.svg");

/// The routes of the pages.
pub(super) fn router() -> Router<Web> {
    Router::new()
        .route("/", get(sweeps::page))
        .route("/sweeps/{sweep}", get(sweep::page))
        .route("/sweeps/{sweep}/trials", get(listing::page))
        .route("/sweeps/{sweep}/trials/{trial}", get(trial::page))
        .route("/workers", get(workers::page))
        .route("/style.css", get(async || asset("text/css; charset=utf-8", STYLE)))
        .route("/script.js", get(async || asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/icon.svg", get(async || asset("image/svg+xml", ICON)))
        .fallback(unknown)
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")];
    (headers, text).into_response()
}

async fn unknown(uri: Uri) -> Response {
    let text = format!("There is no page {}.", uri.path());
    respond(failed(StatusCode::NOT_FOUND, &text))
}

/// What a page is made of.
struct Page {
    /// Stands in the window's title.
    title: String,
    /// Links to the pages above it.
    above: Vec<(String, String)>,
    /// What it shows. Parts with an id of their own are renewed one by one.
    body: Markup,
}

/// Answers with a page, one for all who ask at nearly the same time.
async fn answer<F>(web: &Web, uri: &Uri, make: F) -> Response
where
    F: Future<Output = Result<Page, AnswerError>>,
{
    let address = uri.path_and_query().map_or("/", |address| address.as_str());
    // It is moved from hand to hand until somebody waits for it.
    let make = Box::pin(make);
    let make = async {
        match make.await {
            Ok(page) => {
                let text = layout(&page).into_string().into();
                Made { status: StatusCode::OK, kind: HTML, text }
            }
            Err(error) => failed(status(&error), &chain(&error)),
        }
    };
    respond(web.cache.page(address, make).await)
}

/// What is asked for in a way that has no meaning.
fn misunderstood(error: &QueryRejection) -> Response {
    respond(failed(StatusCode::BAD_REQUEST, &error.body_text()))
}

fn failed(status: StatusCode, text: &str) -> Made {
    let body = html! { p.error { (web_words(text)) } p { a href="/" { "All sweeps" } } };
    let title = status.canonical_reason().unwrap_or("Error").to_owned();
    let page = Page { title, above: Vec::new(), body };
    Made { status, kind: HTML, text: layout(&page).into_string().into() }
}

fn respond(made: Made) -> Response {
    (made.status, [(header::CONTENT_TYPE, made.kind)], made.text).into_response()
}

fn layout(page: &Page) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) " · GradSweep" }
                link rel="stylesheet" href="/style.css";
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                script src="/script.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header {
                    a.brand href="/" { "GradSweep" }
                    nav aria-label="Main" {
                        a href="/" { "Sweeps" }
                        a href="/workers" { "Workers" }
                        a href="/api/v1/openapi.json" { "API" }
                    }
                    span #live role="status" {}
                }
                main #main tabindex="-1" {
                    @if !page.above.is_empty() {
                        nav.above aria-label="Above" {
                            @for (name, href) in &page.above { a href=(href) { (name) } " / " }
                        }
                    }
                    h1 { (page.title) }
                    (page.body)
                }
            }
        }
    }
}

/// Names and values.
fn facts(facts: &Facts) -> Markup {
    html! {
        dl {
            @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
                dt { (name.trim()) }
                dd { (value) }
            }
        }
    }
}

/// A table whose first column may be links.
fn grid(grid: &Grid, label: &str, link: impl Fn(&str) -> Option<String>) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            table {
                thead {
                    tr {
                        @for column in &grid.columns {
                            th scope="col" class=[column.right.then_some("number")] {
                                (column.header.join(" "))
                            }
                        }
                    }
                }
                tbody {
                    @for row in &grid.rows {
                        tr {
                            @for (at, (column, cell)) in grid.columns.iter().zip(row).enumerate() {
                                td class=[column.right.then_some("number")] {
                                    @match (at == 0).then(|| link(cell)).flatten() {
                                        Some(href) => a href=(href) { (cell) },
                                        None => (cell),
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A table of configs.
fn results(table: &LaidOut) -> Markup {
    let columns = &table.page.columns;
    let height = columns.first().map_or(0, |column| column.header.len());
    html! {
        @if let Some(caption) = &table.caption { p.caption { (caption) } }
        div.scroll tabindex="0" role="region" aria-label="Results" {
            table {
                thead {
                    @for line in 0..height {
                        tr {
                            @for column in columns {
                                th scope="col" class=[column.is_numeric.then_some("number")] {
                                    (column.header[line])
                                }
                            }
                        }
                    }
                }
                tbody {
                    @for row in &table.page.rows {
                        tr {
                            @for (column, cell) in columns.iter().zip(row) {
                                (result(cell, column.is_numeric))
                            }
                        }
                    }
                }
            }
        }
        @if table.rows_left + table.columns_left > 0 {
            p.note {
                (table.rows_left) " more rows and " (table.columns_left)
                " more columns are in the downloads."
            }
        }
        @if let Some(note) = &table.note { p.note { (note) } }
    }
}

fn result(cell: &PageCell, is_numeric: bool) -> Markup {
    html! {
        @match cell {
            PageCell::Plain(text) => td class=[is_numeric.then_some("number")] { (text) },
            PageCell::Summary { mean, std, trials, best } => {
                td.summary.best[*best] {
                    span.value {
                        (mean)
                        @if let Some(std) = std { " ± " (std) }
                    }
                    " " span.trials { "(" (trials) ")" }
                }
            }
        }
    }
}

/// A figure in light and dark, wide and for a phone, which the script asks for again when what it
/// shows has changed; `narrow` is its size there. It leads to itself in full.
fn figure(address: &str, version: &str, description: &str, narrow: &str) -> Markup {
    const NARROW: &str = "(max-width: 40rem)";
    const DARK: &str = "(prefers-color-scheme: dark)";
    let joint = if address.contains('?') { '&' } else { '?' };
    let of = |theme: &str| format!("{address}{joint}theme={theme}&version={version}");
    let narrow = |theme: &str| format!("{}&size={narrow}", of(theme));
    html! {
        figure {
            a href=(address) {
                picture {
                    source media=(format!("{NARROW} and {DARK}")) srcset=(narrow("dark"));
                    source media=(NARROW) srcset=(narrow("light"));
                    source media=(DARK) srcset=(of("dark"));
                    img src=(of("light")) alt=(description) width="720" height="460" loading="lazy";
                }
            }
        }
    }
}

/// A bar of trials by how they ended.
fn bar(counts: &common::wire::TrialCounts) -> Markup {
    let all = counts.completed
        + counts.diverged
        + counts.failed
        + counts.cancelled
        + counts.running
        + counts.pending;
    let parts = [
        (counts.completed, "completed"),
        (counts.diverged, "diverged"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.running, "running"),
    ];
    let mut words = Vec::new();
    let mut from = 0;
    let mut rects = Vec::new();
    for (count, state) in parts {
        if count > 0 {
            words.push(format!("{count} {state}"));
            rects.push((permille(from, all), permille(count, all), state));
            from += count;
        }
    }
    if counts.pending > 0 {
        words.push(format!("{} pending", counts.pending));
    }
    html! {
        svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" role="img"
            aria-label=(format!("{all} trials: {}", words.join(", "))) {
            rect.pending width="1000" height="10" {}
            @for (x, width, state) in rects {
                rect class=(state) x=(x) width=(width) height="10" {}
            }
        }
    }
}

fn permille(count: u64, of: u64) -> u64 {
    if of == 0 { 0 } else { (1_000.0 * ratio(count, of)).round_ties_even() as u64 }
}

#[expect(clippy::cast_precision_loss, reason = "for pictures")]
fn ratio(count: u64, of: u64) -> f64 {
    count as f64 / of as f64
}

/// Part of an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~,".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn now_unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
