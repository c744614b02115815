//! The API of `/api/v1`: JSON, and tables in the format of their ending. `openapi.json` describes
//! it and is served; `tests/web` holds the two against each other.

use std::io::{self, Write};
use std::ops::ControlFlow;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use common::telemetry::chain;
use common::wire::{ModelPart, TableLevel, TableRequest, model_part};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_stream::StreamExt;

use super::{Web, events, figures, status, web_words};
use crate::answers::{AnswerError, InParts};
use crate::query::{QueryError, Reader};
use crate::render::{self, Format, Style, TableWriter};

/// A table is sent in pieces of about this size.
const CHUNK_BYTES: usize = 64 << 10;

/// In place of a trial's id.
const BEST: &str = "best";
/// The description of this API.
const OPENAPI: &str = include_str!("openapi.json");

/// The routes below `/api/v1`.
pub(super) fn router() -> Router<Web> {
    Router::new()
        .route("/openapi.json", get(openapi))
        .route("/events", get(events::events))
        .route("/sweeps", get(sweeps))
        .route("/sweeps/{sweep}", get(sweep))
        .route("/sweeps/{sweep}/expectations", get(expectations))
        .route("/sweeps/{sweep}/sweep.yaml", get(yaml))
        .route("/sweeps/{sweep}/plot.svg", get(figures::figure))
        .route("/sweeps/{sweep}/plot.png", get(figures::figure))
        .route("/sweeps/{sweep}/curves.svg", get(figures::figure))
        .route("/sweeps/{sweep}/curves.png", get(figures::figure))
        .route("/sweeps/{sweep}/{file}", get(file))
        .route("/sweeps/{sweep}/trials/{trial}", get(trial))
        .route("/sweeps/{sweep}/trials/{trial}/log", get(log))
        .route("/sweeps/{sweep}/trials/{trial}/model.safetensors", get(model))
        .route("/workers", get(workers))
        .fallback(unknown)
}

/// An error as JSON.
pub(super) fn problem(status: StatusCode, text: impl Into<String>) -> Response {
    (status, Json(json!({"error": web_words(&text.into())}))).into_response()
}

fn refused(error: &AnswerError) -> Response {
    problem(status(error), chain(error))
}

fn answer(answer: Result<Value, AnswerError>) -> Response {
    match answer {
        Ok(value) => Json(value).into_response(),
        Err(error) => refused(&error),
    }
}

async fn unknown() -> Response {
    problem(StatusCode::NOT_FOUND, "no such resource; GET /api/v1/openapi.json lists them")
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn sweeps(State(web): State<Web>) -> Response {
    answer(web.answers.sweeps().await.map(|sweeps| render::sweeps_json(&sweeps)))
}

async fn sweep(State(web): State<Web>, Path(sweep): Path<String>) -> Response {
    answer(web.answers.sweep(sweep).await.map(|sweep| render::sweep_json(&sweep)))
}

async fn yaml(State(web): State<Web>, Path(sweep): Path<String>) -> Response {
    match web.answers.sweep(sweep).await {
        Ok(sweep) => ([(header::CONTENT_TYPE, "application/yaml")], sweep.yaml).into_response(),
        Err(error) => refused(&error),
    }
}

async fn expectations(State(web): State<Web>, Path(sweep): Path<String>) -> Response {
    let expectations = web.answers.read(move |reader| reader.expectations(&sweep)).await;
    answer(expectations.map(|it| render::expectations_json(&it.expectations)))
}

async fn trial(State(web): State<Web>, Path((sweep, trial)): Path<(String, String)>) -> Response {
    answer(web.answers.trial(sweep, trial).await.map(|trial| render::trial_json(&trial)))
}

async fn log(State(web): State<Web>, Path((sweep, trial)): Path<(String, String)>) -> Response {
    let log = web.answers.log(sweep, trial).await;
    answer(log.map(|log| json!({"source": log.source, "text": render::printable(&log.text)})))
}

/// The weights of a trial's best epoch; `best` is the sweep's best trial whose weights are kept.
async fn model(State(web): State<Web>, Path((sweep, trial)): Path<(String, String)>) -> Response {
    let trial = if trial == BEST { String::new() } else { trial };
    let mut parts = match web.answers.model(sweep, trial).await {
        Ok(parts) => parts,
        Err(error) => return refused(&error),
    };
    let found = match parts.next().await {
        Some(Ok(ModelPart { part: Some(model_part::Part::Header(found)) })) => found,
        Some(Err(error)) => return refused(&error),
        Some(Ok(_)) | None => return refused(&AnswerError::Panicked),
    };
    let chunks = parts.map(|part| {
        part.map(|part| match part.part {
            Some(model_part::Part::Chunk(chunk)) => Bytes::from(chunk),
            Some(model_part::Part::Header(_)) | None => Bytes::new(),
        })
    });
    let place = format!("attachment; filename=\"{}.safetensors\"", found.trial);
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, found.bytes.to_string()),
        (header::CONTENT_DISPOSITION, place),
    ];
    (headers, Body::from_stream(chunks)).into_response()
}

async fn workers(State(web): State<Web>) -> Response {
    answer(web.answers.workers().await.map(|workers| render::workers_json(&workers)))
}

/// What a table can be asked for; lists are separated by commas.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct TableQuery {
    rows: String,
    columns: String,
    metric: String,
    pool: String,
    best_by: String,
    removed: bool,
    provenance: bool,
}

impl TableQuery {
    fn request(self, sweep: String, level: TableLevel) -> TableRequest {
        TableRequest {
            sweep,
            rows: listed(&self.rows),
            columns: listed(&self.columns),
            metric: self.metric,
            pool: listed(&self.pool),
            best_by: self.best_by,
            level: level.into(),
            removed: self.removed,
            provenance: self.provenance,
        }
    }
}

/// The names of a list with commas.
pub(super) fn listed(text: &str) -> Vec<String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// A file that is made when it is asked for: a table by its level and format.
async fn file(
    State(web): State<Web>,
    Path((sweep, file)): Path<(String, String)>,
    query: Result<Query<TableQuery>, QueryRejection>,
) -> Response {
    let (name, ending) = file.split_once('.').unwrap_or((&file, ""));
    let level = match name {
        "table" => TableLevel::Configs,
        "trials" => TableLevel::Trials,
        "epochs" => TableLevel::Epochs,
        _ => return unknown().await,
    };
    let Some(format) = Format::of_ending(ending) else {
        let text = format!("unknown format `{ending}`: json, csv, md, tex, txt, parquet");
        return problem(StatusCode::NOT_FOUND, text);
    };
    match query {
        Ok(Query(query)) => table(&web, query.request(sweep, level), name, ending, format).await,
        Err(error) => problem(StatusCode::BAD_REQUEST, error.body_text()),
    }
}

async fn table(
    web: &Web,
    request: TableRequest,
    name: &str,
    ending: &str,
    format: Format,
) -> Response {
    let file_name = format!("{}-{name}.{ending}", request.sweep);
    let pieces = web.answers.stream(move |reader: &Reader, send| {
        let mut pieces = Pieces { send, piece: Vec::new(), ended: false };
        write_table(reader, &request, format, &mut pieces)
    });
    let mut pieces: InParts<Bytes> = match pieces.await {
        Ok(pieces) => pieces,
        Err(error) => return refused(&error),
    };
    // A mistake in what was asked shows before the first piece.
    let first = match pieces.next().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return refused(&error),
        None => Bytes::new(),
    };
    let kind = match format {
        Format::Text => "text/plain; charset=utf-8",
        Format::Markdown => "text/markdown; charset=utf-8",
        Format::Latex => "application/x-tex",
        Format::Csv => "text/csv; charset=utf-8",
        Format::Json => "application/json",
        Format::Parquet => "application/vnd.apache.parquet",
    };
    let place = format!("inline; filename=\"{file_name}\"");
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, place)];
    let body = Body::from_stream(tokio_stream::once(Ok(first)).chain(pieces));
    (headers, body).into_response()
}

fn write_table(
    reader: &Reader,
    request: &TableRequest,
    format: Format,
    pieces: &mut Pieces<'_>,
) -> Result<(), QueryError> {
    let mut table = TableWriter::new(format, Style::default(), pieces);
    let mut written = Ok(());
    reader.table(request, &mut |part| {
        written = table.part(part);
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written.and_then(|()| table.finish()).map_err(QueryError::Row)
}

/// Sends what is written in pieces.
struct Pieces<'s> {
    send: &'s mut dyn FnMut(Bytes) -> ControlFlow<()>,
    piece: Vec<u8>,
    ended: bool,
}

impl Pieces<'_> {
    fn pass_on(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if self.ended || (!piece.is_empty() && (self.send)(piece.into()).is_break()) {
            self.ended = true;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= CHUNK_BYTES {
            self.pass_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Only `finish` flushes: what a writer in between flushes would come in small pieces.
        self.pass_on()
    }
}
