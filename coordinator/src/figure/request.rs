//! What a figure is asked for.

use std::str::FromStr;

use common::wire::{TableLevel, TableRequest};

use super::error::FigureError;
use super::palette::Theme;
use crate::query::{EPOCH_METRICS, Metric, Shown, suggest};

/// Metrics of an epoch that are two lines in one panel: of training and of validation.
pub(super) const PAIRS: [&str; 2] = ["error", "loss"];
/// Panels of learning curves above that of the gate.
pub(super) const PANELS_MAX: usize = 4;

/// What is drawn.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// A metric of trials against parameters.
    Plot(Plot),
    /// Metrics by epoch.
    Curves(Curves),
}

/// How a metric is drawn against parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Kind {
    /// Lines by group, with the spread over seeds
    #[default]
    Line,
    /// A field by two parameters, with its values
    Heat,
    /// A line per config through an axis per parameter, coloured by the metric
    Parallel,
}

/// The scale of metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum YScale {
    /// By what is shown
    #[default]
    Auto,
    /// Even
    Linear,
    /// Logarithmic, where all values are above 0
    Log,
}

impl YScale {
    /// Whether values of this range are shown logarithmically; `auto` is what suits them.
    pub(super) fn is_log(self, (low, _): (f64, f64), auto: bool) -> bool {
        let wanted = match self {
            YScale::Auto => auto,
            YScale::Linear => false,
            YScale::Log => true,
        };
        wanted && low > 0.0
    }
}

/// A metric of trials against parameters.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plot {
    /// The sweep's name.
    pub sweep: String,
    /// How.
    pub kind: Kind,
    /// Parameter of the horizontal axis.
    pub x: Option<String>,
    /// The metric.
    pub y: Option<String>,
    /// Parameters whose values make groups; the rows of a heat map; the axes of `Parallel`.
    pub by: Option<Vec<String>>,
    /// Varying parameters that are treated as replicates.
    pub pool: Vec<String>,
    /// The metric that chooses a config where several have a place.
    pub best_by: Option<String>,
    /// `PARAMETER=VALUE`: only such trials.
    pub conditions: Vec<String>,
    /// Of the metric.
    pub y_scale: YScale,
    /// With trials that are no longer in the sweep's file.
    pub removed: bool,
}

/// Metrics by epoch.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Curves {
    /// The sweep's name.
    pub sweep: String,
    /// One trial: the start of its id.
    pub trial: Option<String>,
    /// Metrics of an epoch, `error` or `loss`; a panel each.
    pub metrics: Vec<String>,
    /// Of the metrics.
    pub y_scale: YScale,
    /// `PARAMETER=VALUE`: only such trials.
    pub conditions: Vec<String>,
    /// With trials that are no longer in the sweep's file.
    pub removed: bool,
}

/// A figure's size in pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Across.
    pub width: u32,
    /// Down.
    pub height: u32,
}

impl Size {
    /// Smaller ones cannot be read; most figures need more.
    pub const MIN: Size = Size { width: 280, height: 200 };
    /// Larger ones are no figures any more.
    pub const MAX: Size = Size { width: 4_000, height: 3_000 };
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let parsed = text.split_once('x').and_then(|(width, height)| {
            Some(Size { width: width.parse().ok()?, height: height.parse().ok()? })
        });
        parsed.ok_or_else(|| "WIDTHxHEIGHT in pixels is accepted, such as 720x460".into())
    }
}

/// How a figure looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// Its colours.
    pub theme: Theme,
    /// Its size; none for the default of its kind.
    pub size: Option<Size>,
}

impl Look {
    pub(super) fn checked(self) -> Result<Look, FigureError> {
        let is_accepted = |size: &Size| {
            (Size::MIN.width..=Size::MAX.width).contains(&size.width)
                && (Size::MIN.height..=Size::MAX.height).contains(&size.height)
        };
        match self.size.filter(|size| !is_accepted(size)) {
            Some(Size { width, height }) => Err(FigureError::Size { width, height }),
            None => Ok(self),
        }
    }
}

impl Request {
    /// The sweep's name.
    pub fn sweep(&self) -> &str {
        match self {
            Request::Plot(plot) => &plot.sweep,
            Request::Curves(curves) => &curves.sweep,
        }
    }

    pub(super) fn table(&self, level: TableLevel) -> TableRequest {
        let removed = match self {
            Request::Plot(plot) => plot.removed,
            Request::Curves(curves) => curves.removed,
        };
        let sweep = self.sweep().to_owned();
        TableRequest { sweep, level: level.into(), removed, ..TableRequest::default() }
    }

    /// The sweep's own table, whose head has the defaults.
    pub(super) fn own_table(&self) -> TableRequest {
        // Where its axes have no place for a parameter, the best config of a cell will do.
        let best_by = Metric::ValError.name().to_owned();
        TableRequest { best_by, ..self.table(TableLevel::Configs) }
    }

    pub(super) fn conditions(&self) -> Result<Vec<(String, String)>, FigureError> {
        let texts = match self {
            Request::Plot(plot) => &plot.conditions,
            Request::Curves(curves) => &curves.conditions,
        };
        let read = |text: &String| match text.split_once('=') {
            Some((param, value)) if !param.is_empty() => Ok((param.into(), value.into())),
            Some(_) | None => Err(FigureError::Condition { text: text.chars().take(80).collect() }),
        };
        texts.iter().map(read).collect()
    }

    /// Finds the mistakes that need no answer.
    pub(super) fn check(&self) -> Result<(), FigureError> {
        match self {
            Request::Plot(plot) => plot.check(),
            Request::Curves(curves) => curves.check(),
        }
    }
}

impl Plot {
    /// Whether something is left to the sweep's own table.
    pub(super) fn has_defaults(&self) -> bool {
        let has_x = self.x.is_some() || self.kind == Kind::Parallel;
        !has_x || self.y.is_none() || self.by.is_none()
    }

    fn check(&self) -> Result<(), FigureError> {
        if let Some(metric) = &self.y {
            check_metric("--y", metric, &Shown::ALL.map(Shown::name))?;
        }
        if let Some(metric) = &self.best_by {
            let choosing = Metric::ALL.into_iter().filter(|metric| metric.lower_is_better());
            let choosing: Vec<&'static str> = choosing.map(Metric::name).collect();
            check_metric("--best-by", metric, &choosing)?;
        }
        match (self.kind, &self.by) {
            (Kind::Parallel, _) if self.x.is_some() => Err(FigureError::NotHere {
                flag: "--x",
                figure: "a parallel figure",
                instead: "--by names its axes",
            }),
            (Kind::Heat, Some(by)) if by.len() != 1 => Err(FigureError::Rows { count: by.len() }),
            (Kind::Line | Kind::Heat | Kind::Parallel, _) => Ok(()),
        }
    }
}

impl Curves {
    fn check(&self) -> Result<(), FigureError> {
        let accepted: Vec<&'static str> =
            PAIRS.into_iter().chain(EPOCH_METRICS).filter(|metric| *metric != "gate").collect();
        for metric in &self.metrics {
            check_metric("--metric", metric, &accepted)?;
        }
        if self.trial.is_some() && !self.conditions.is_empty() {
            return Err(FigureError::NotHere {
                flag: "--where",
                figure: "the curves of one trial",
                instead: "leave it or --trial out",
            });
        }
        Ok(())
    }
}

fn check_metric(
    flag: &'static str,
    name: &str,
    accepted: &[&'static str],
) -> Result<(), FigureError> {
    if accepted.contains(&name) {
        return Ok(());
    }
    let suggestion = suggest(name, accepted.iter().copied());
    let name = name.chars().take(80).collect();
    Err(FigureError::UnknownMetric { flag, name, accepted: accepted.to_vec(), suggestion })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_two_numbers() {
        assert_eq!("720x460".parse(), Ok(Size { width: 720, height: 460 }));
        for text in ["720", "720x", "ax1", "1x-2", "1x2x3"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
