//! Tables of a sweep: by config (a metric over the seeds), by trial, by epoch. Sent in parts of
//! bounded size; the first has the columns.

mod configs;
mod epochs;
mod repeated;
mod space;
mod trials;

pub use epochs::{EPOCH_METRICS, epoch_metrics};
use std::ops::ControlFlow;

use common::config::{Param, Value};
use common::params::{self, Kind};
use common::wire::{self, ColumnType, TableLevel, TablePart, TableRequest, TableRow, cell};
use prost::Message;

use super::{Metric, QueryError, Reader, error};
use space::Survey;

/// A part is sent when its rows reach this size, a fraction of the largest message.
const PART_BYTES_MAX: usize = 256 << 10;
/// Or this many rows, so that the first ones show early.
const PART_ROWS_MAX: usize = 1_000;

/// Takes parts; may block. `Break` ends the table early.
pub type Sink<'s> = &'s mut dyn FnMut(TablePart) -> ControlFlow<()>;

impl Reader {
    /// Answers a table request in parts of bounded size; the first has the columns.
    ///
    /// No snapshot is held while `sink` runs, so a long table may mix the states of different
    /// moments, each row being of one. By config, a cell's `unfinished` counts pending, running
    /// and cancelled trials, and a combination of parameters that the sweep does not have is a
    /// cell without value. A number that is missing or not finite is empty text.
    pub fn table(&self, request: &TableRequest, sink: Sink) -> Result<(), QueryError> {
        let sweep = self.known(&request.sweep)?;
        let level = TableLevel::try_from(request.level)
            .map_err(|_| QueryError::UnknownLevel { level: request.level })?;
        if request.provenance && level != TableLevel::Trials {
            return Err(QueryError::FieldOfTrials { field: "--provenance" });
        }
        match level {
            TableLevel::Configs => self.table_of_configs(&sweep, request, sink),
            TableLevel::Trials => {
                refuse_fields(request, "trials")?;
                self.table_of_trials(&sweep, request, sink)
            }
            TableLevel::Epochs => {
                refuse_fields(request, "epochs")?;
                self.table_of_epochs(&sweep, request.removed, sink)
            }
        }
    }
}

fn refuse_fields(request: &TableRequest, level: &'static str) -> Result<(), QueryError> {
    let given = [
        ("--rows", !request.rows.is_empty()),
        ("--columns", !request.columns.is_empty()),
        ("--metric", !request.metric.is_empty()),
        ("--pool", !request.pool.is_empty()),
        ("--best-by", !request.best_by.is_empty()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((field, _)) => Err(QueryError::FieldOfConfigs { field, level }),
        None => Ok(()),
    }
}

/// What of `accepted` has this name.
fn metric<M: Copy>(
    field: &'static str,
    name: &str,
    accepted: &[M],
    name_of: fn(M) -> &'static str,
) -> Result<M, QueryError> {
    if let Some(metric) = accepted.iter().find(|metric| name_of(**metric) == name) {
        return Ok(*metric);
    }
    let accepted: Vec<&'static str> = accepted.iter().map(|metric| name_of(*metric)).collect();
    let suggestion = error::suggest(name, accepted.iter().copied());
    Err(QueryError::UnknownMetric { field, name: shortened(name), accepted, suggestion })
}

/// The parameters of these names, each once.
fn named_params(
    field: &'static str,
    names: &[String],
    survey: &Survey,
) -> Result<Vec<Param>, QueryError> {
    let mut params = Vec::new();
    for name in names {
        let known = Param::from_name(name).filter(|param| survey.has(*param));
        let Some(param) = known else {
            let (varying, constant) = (survey.varying.clone(), survey.constant());
            let known = varying.iter().chain(&constant).map(|param| param.name());
            let suggestion = error::suggest(name, known);
            let name = shortened(name);
            return Err(QueryError::UnknownParam { field, name, varying, constant, suggestion });
        };
        if !params.contains(&param) {
            params.push(param);
        }
    }
    Ok(params)
}

/// Text from outside, short enough for a message.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A parameter's value as a cell; empty where it has no effect.
fn param_cell(value: Option<Value>) -> wire::Cell {
    match value {
        None => text_cell(""),
        Some(Value::Int(value)) => wire::Cell { value: Some(cell::Value::Integer(value)) },
        Some(Value::Float(value)) => number_cell(Some(value)),
        Some(value @ (Value::Null | Value::Bool(_) | Value::Word(_))) => {
            text_cell(value.to_string())
        }
    }
}

fn text_cell(text: impl Into<String>) -> wire::Cell {
    wire::Cell { value: Some(cell::Value::Text(text.into())) }
}

/// A number; empty where there is none or it is not finite.
fn number_cell(number: Option<f64>) -> wire::Cell {
    match number.filter(|number| number.is_finite()) {
        Some(number) => wire::Cell { value: Some(cell::Value::Number(number)) },
        None => text_cell(""),
    }
}

fn integer_cell(integer: impl Into<i64>) -> wire::Cell {
    wire::Cell { value: Some(cell::Value::Integer(integer.into())) }
}

fn column(name: impl Into<String>, kind: ColumnType) -> wire::TableColumn {
    wire::TableColumn { name: name.into(), r#type: kind.into(), ..wire::TableColumn::default() }
}

fn param_column(param: Param) -> wire::TableColumn {
    let kind = match params::info(param).kind {
        Kind::Words { .. } => ColumnType::Text,
        Kind::Flag => ColumnType::Boolean,
        Kind::Count { .. } => ColumnType::Integer,
        Kind::Number { .. } => ColumnType::Number,
    };
    column(param.name(), kind)
}

fn metric_column(metric: Metric) -> wire::TableColumn {
    let kind = if metric.is_count() { ColumnType::Integer } else { ColumnType::Number };
    column(metric.name(), kind)
}

/// Gathers rows and sends them in parts. The first part goes out even where it has no row.
struct Parts<'s> {
    sink: Sink<'s>,
    part: TablePart,
    bytes: usize,
}

impl<'s> Parts<'s> {
    fn new(columns: Vec<wire::TableColumn>, metric: &str, sink: Sink<'s>) -> Parts<'s> {
        let part = TablePart { columns, metric: metric.into(), ..TablePart::default() };
        Parts { bytes: part.encoded_len(), sink, part }
    }

    fn row(&mut self, cells: Vec<wire::Cell>) -> ControlFlow<()> {
        let row = TableRow { cells };
        let bytes = row.encoded_len();
        let is_full = self.part.rows.len() >= PART_ROWS_MAX || self.bytes + bytes > PART_BYTES_MAX;
        if is_full && !self.part.rows.is_empty() {
            self.send()?;
        }
        self.bytes += bytes;
        self.part.rows.push(row);
        ControlFlow::Continue(())
    }

    fn send(&mut self) -> ControlFlow<()> {
        self.bytes = 0;
        (self.sink)(std::mem::take(&mut self.part))
    }

    /// Sends what is left, with what is to be said under the table.
    fn finish(mut self, epochs_repeated: Option<wire::EpochsRepeated>) {
        self.part.epochs_repeated = epochs_repeated;
        if self.part != TablePart::default() {
            // The table ends here, whether the reader wants more or not.
            let _ended = self.send();
        }
    }
}
