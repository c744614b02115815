//! Figures of a sweep as they are asked for: `plot.svg`, `curves.svg`, and the same as `.png`.

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use clap::ValueEnum;
use common::telemetry::chain;
use serde::Deserialize;

use super::api::{listed, problem};
use super::cache::Made;
use super::{Web, status, web_words};
use crate::figure::{
    Curves, Drawing, FigureError, Kind, Look, Plot, Question, Request, Theme, YScale, png_in_turn,
};
use crate::query::{QueryError, Reader};

const SVG: &str = "image/svg+xml";
const PNG: &str = "image/png";

/// What a figure can be asked for; lists are separated by commas. `version` is for whoever wants
/// another address when what is shown has changed.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FigureQuery {
    kind: Option<String>,
    x: Option<String>,
    y: Option<String>,
    by: Option<String>,
    pool: String,
    best_by: Option<String>,
    y_scale: Option<String>,
    trial: Option<String>,
    metric: String,
    #[serde(rename = "where")]
    conditions: String,
    removed: bool,
    theme: Option<String>,
    size: Option<String>,
    #[serde(rename = "version")]
    _version: String,
}

/// `GET /sweeps/{sweep}/plot.svg`, `plot.png`, `curves.svg`, `curves.png`.
pub(super) async fn figure(
    State(web): State<Web>,
    uri: Uri,
    Path(sweep): Path<String>,
    query: Result<Query<FigureQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return problem(StatusCode::BAD_REQUEST, error.body_text()),
    };
    let (is_plot, is_png) = (uri.path().contains("/plot."), uri.path().ends_with(".png"));
    let asked = match query.read(sweep, is_plot) {
        Ok(asked) => asked,
        Err(text) => return problem(StatusCode::BAD_REQUEST, text),
    };
    let address = uri.path_and_query().map_or("", |address| address.as_str()).to_owned();
    let made = web.cache.page(&address, make(&web, asked, is_png)).await;
    (made.status, [(header::CONTENT_TYPE, made.kind)], made.text).into_response()
}

/// A figure that was understood.
struct Asked {
    request: Request,
    look: Look,
}

impl FigureQuery {
    fn read(self, sweep: String, is_plot: bool) -> Result<Asked, String> {
        let theme = self.theme.map_or(Ok(Theme::default()), |it| word("theme", &it))?;
        let size =
            self.size.map(|it| it.parse().map_err(|why| format!("size: {why}"))).transpose()?;
        let conditions = listed(&self.conditions);
        let removed = self.removed;
        let y_scale = self.y_scale.map_or(Ok(YScale::default()), |it| word("y_scale", &it))?;
        let plot = [&self.kind, &self.x, &self.y, &self.by, &self.best_by];
        let of_plots = plot.iter().any(|it| it.is_some()) || !self.pool.is_empty();
        let of_curves = self.trial.is_some() || !self.metric.is_empty();
        let request = match is_plot {
            true if of_curves => return Err("trial and metric are for curves".into()),
            false if of_plots => {
                return Err("kind, x, y, by, pool and best_by are for plots".into());
            }
            true => Request::Plot(Plot {
                sweep,
                kind: self.kind.map_or(Ok(Kind::default()), |it| word("kind", &it))?,
                x: self.x,
                y: self.y,
                by: self.by.as_deref().map(listed),
                pool: listed(&self.pool),
                best_by: self.best_by,
                conditions,
                y_scale,
                removed,
            }),
            false => Request::Curves(Curves {
                sweep,
                trial: self.trial,
                metrics: listed(&self.metric),
                y_scale,
                conditions,
                removed,
            }),
        };
        Ok(Asked { request, look: Look { theme, size } })
    }
}

/// One of the words that the command line accepts as well.
fn word<W: ValueEnum>(name: &str, text: &str) -> Result<W, String> {
    W::from_str(text, false).map_err(|_| {
        let words = W::value_variants().iter().filter_map(W::to_possible_value);
        let words: Vec<String> = words.map(|word| word.get_name().to_owned()).collect();
        format!("{name}: {} are accepted", words.join(", "))
    })
}

async fn make(web: &Web, asked: Asked, is_png: bool) -> Made {
    let read = move |reader: &Reader| -> Result<Result<String, FigureError>, QueryError> {
        let mut drawing = match Drawing::new(asked.request, asked.look) {
            Ok(drawing) => drawing,
            Err(error) => return Ok(Err(error)),
        };
        while let Some(question) = drawing.question() {
            match question {
                Question::Table(request) => {
                    reader.table(&request, &mut |part| drawing.part(&part))?;
                }
                Question::Trial(trial) => {
                    drawing.trial(reader.trial(&trial.sweep, &trial.trial)?);
                }
            }
        }
        Ok(drawing.finish())
    };
    let made = match web.answers.read(read).await {
        // Not in the turn of a reader, which others wait for.
        Ok(Ok(svg)) if is_png => Ok(png_in_turn(svg).await.map(|png| (PNG, Bytes::from(png)))),
        Ok(svg) => Ok(svg.map(|svg| (SVG, Bytes::from(svg)))),
        Err(error) => Err(error),
    };
    match made {
        Ok(Ok((kind, text))) => Made { status: StatusCode::OK, kind, text },
        Ok(Err(error)) if error.is_mistake() => failed(StatusCode::BAD_REQUEST, chain(&error)),
        Ok(Err(error)) => failed(StatusCode::INTERNAL_SERVER_ERROR, chain(&error)),
        Err(error) => failed(status(&error), chain(&error)),
    }
}

fn failed(status: StatusCode, text: String) -> Made {
    let text = serde_json::json!({"error": web_words(&text)}).to_string().into();
    Made { status, kind: "application/json", text }
}
