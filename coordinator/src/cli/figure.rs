//! `plot` and `curves`: ask a source what a figure needs, write it as SVG or PNG.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use common::telemetry::chain;

use super::output::Output;
use super::source::Source;
use super::{Failure, Place};
use crate::figure::{
    Curves, Drawing, FigureError, Kind, Look, Plot, Question, Request, Size, Theme, YScale, png,
};
use crate::options::Global;

pub(super) const PLOT_HELP: &str = "Without --x it is the first row of the sweep file's table, \
without --y its metric, without --by its columns and whatever else varies. A point is the mean of \
the completed trials of a config, with their sample standard deviation; how many diverged, failed \
or are unfinished stands below the figure. Errors are in percent.

A heat map has --x as columns and --by as rows, and of what else varies the config with the lowest \
val_error unless --best-by says another metric; a parallel figure an axis for each of --by.

Reads only: running and pending trials go on.";

pub(super) const CURVES_HELP: &str = "A curve is the mean of a config's trials by epoch, with a \
band of their sample standard deviation; trials that diverged or failed are counted below. Of more \
than 7 configs those with the lowest validation error are drawn.

Reads only: running and pending trials go on.";

/// Arguments of `plot`.
#[derive(Args, Clone, Debug)]
pub struct PlotArgs {
    /// The sweep's name
    pub sweep: String,
    /// line, heat or parallel
    #[arg(long, value_name = "KIND", value_enum, default_value_t, hide_possible_values = true)]
    pub kind: Kind,
    /// Parameter of the horizontal axis
    #[arg(long, value_name = "P")]
    pub x: Option<String>,
    /// test_error, val_error, test_loss, val_loss, train_loss, best_epoch, epochs or seconds; or
    /// completed, diverged or failed: the percentage of a point's trials that ended so
    #[arg(long, value_name = "METRIC")]
    pub y: Option<String>,
    /// Parameters whose values make a line each; the rows of a heat map; the axes of a parallel
    /// figure
    #[arg(long, value_name = "P,…", value_delimiter = ',')]
    pub by: Option<Vec<String>>,
    /// Varying parameters that are treated as replicates, like seeds
    #[arg(long, value_name = "P,…", value_delimiter = ',')]
    pub pool: Vec<String>,
    /// Shows at each point only the config whose mean of this metric is lowest
    #[arg(long, value_name = "METRIC")]
    pub best_by: Option<String>,
    /// Which trials and how.
    #[command(flatten)]
    pub figure: FigureArgs,
}

/// Arguments of `curves`.
#[derive(Args, Clone, Debug)]
pub struct CurvesArgs {
    /// The sweep's name
    pub sweep: String,
    /// Only this trial: its id, or at least 4 of its first digits
    #[arg(long, value_name = "TRIAL")]
    pub trial: Option<String>,
    /// Metrics of an epoch, a panel each; `loss` and `error` are training and validation in one
    /// [default: val_error,loss]
    #[arg(long, value_name = "METRIC,…", value_delimiter = ',')]
    pub metric: Vec<String>,
    /// Which trials and how.
    #[command(flatten)]
    pub figure: FigureArgs,
}

/// What figures have in common.
#[derive(Args, Clone, Debug)]
pub struct FigureArgs {
    /// Only trials with this value of a varying parameter. Can be repeated
    #[arg(long = "where", value_name = "P=VALUE")]
    pub conditions: Vec<String>,
    /// Includes trials that are no longer in the sweep's file
    #[arg(long)]
    pub removed: bool,
    /// Scale of the metric: linear, log, or auto (log for losses of more than two decades and for
    /// colours of more than one)
    #[arg(long, value_name = "SCALE", value_enum, default_value_t, hide_possible_values = true)]
    pub y_scale: YScale,
    /// light or dark
    #[arg(long, value_name = "THEME", value_enum, default_value_t, hide_possible_values = true)]
    pub theme: Theme,
    /// Size in pixels; a PNG has twice as many each way, of large figures fewer (5 million in all)
    /// [default: 720x460, curves by their panels]
    #[arg(long, value_name = "WxH")]
    pub size: Option<Size>,
    /// Writes to this file, SVG or PNG by its ending [default: SVG on standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Whom to ask.
    #[command(flatten)]
    pub place: Place,
}

/// `plot`.
pub(super) async fn plot(args: PlotArgs, global: &Global) -> Result<(), Failure> {
    let request = Request::Plot(Plot {
        sweep: args.sweep,
        kind: args.kind,
        x: args.x,
        y: args.y,
        by: args.by,
        pool: args.pool,
        best_by: args.best_by,
        conditions: args.figure.conditions.clone(),
        y_scale: args.figure.y_scale,
        removed: args.figure.removed,
    });
    draw(request, &args.figure, global).await
}

/// `curves`.
pub(super) async fn curves(args: CurvesArgs, global: &Global) -> Result<(), Failure> {
    let request = Request::Curves(Curves {
        sweep: args.sweep,
        trial: args.trial,
        metrics: args.metric,
        y_scale: args.figure.y_scale,
        conditions: args.figure.conditions.clone(),
        removed: args.figure.removed,
    });
    draw(request, &args.figure, global).await
}

async fn draw(request: Request, args: &FigureArgs, global: &Global) -> Result<(), Failure> {
    let is_png = is_png(args.output.as_deref())?;
    let drawing = Drawing::new(request, Look { theme: args.theme, size: args.size })?;
    let mut source = Source::open(args.place.coordinator.as_deref(), global).await?;
    let svg = svg(drawing, &mut source).await?;
    let bytes = if is_png { png(&svg)? } else { svg.into_bytes() };
    let mut out = Output::open(args.output.as_deref())?;
    out.write_all(&bytes)?;
    out.finish()
}

/// Asks what the figure asks, and draws it.
pub(super) async fn svg(mut drawing: Drawing, source: &mut Source) -> Result<String, Failure> {
    while let Some(question) = drawing.question() {
        match question {
            Question::Table(request) => {
                let mut take = |part| {
                    // What is left of the answer is passed over.
                    let (ControlFlow::Continue(()) | ControlFlow::Break(())) = drawing.part(&part);
                    Ok(())
                };
                source.table(request, &mut take).await?;
            }
            Question::Trial(request) => {
                drawing.trial(source.trial(&request.sweep, &request.trial).await?);
            }
        }
    }
    Ok(drawing.finish()?)
}

/// By the ending of the file.
fn is_png(output: Option<&Path>) -> Result<bool, Failure> {
    let Some(path) = output else { return Ok(false) };
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "svg" => Ok(false),
        "png" => Ok(true),
        _ => Err(Failure::Mistake(format!(
            "--output {}: a figure is written as .svg or .png",
            path.display()
        ))),
    }
}

impl From<FigureError> for Failure {
    fn from(error: FigureError) -> Failure {
        match error.is_mistake() {
            true => Failure::Mistake(chain(&error)),
            false => Failure::Failed(error.into()),
        }
    }
}
