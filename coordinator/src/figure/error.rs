//! Why a figure cannot be drawn. Flags are named as the command line has them.

use std::fmt::Display;

/// Why a figure cannot be drawn.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FigureError {
    /// No such parameter, or one that does not vary.
    #[error("{flag}: `{name}` does not vary in this sweep{}; {}", hint(suggestion), vary(varying))]
    UnknownParam {
        /// Where it was named.
        flag: &'static str,
        /// As asked.
        name: String,
        /// Parameters that do.
        varying: Vec<String>,
        /// A near one.
        suggestion: Option<String>,
    },
    /// No such metric.
    #[error("{flag}: unknown metric `{name}`{}; accepted: {}", hint(suggestion), list(accepted))]
    UnknownMetric {
        /// Where it was named.
        flag: &'static str,
        /// As asked.
        name: String,
        /// Metrics that a figure can show.
        accepted: Vec<&'static str>,
        /// A near one.
        suggestion: Option<String>,
    },
    /// A varying parameter that the figure has no place for.
    #[error(
        "{} in neither --x nor --by: add to --by where there is room, or give {} (one value), {} \
         (as replicates) or --best-by val_error (the best config of each point)",
        vary(params),
        each("--where", params, "=VALUE"),
        each("--pool", params, "")
    )]
    NoAxis {
        /// The parameters.
        params: Vec<String>,
    },
    /// A parameter in two places.
    #[error("parameter `{param}` is in {first} and in {second}; leave it in one")]
    TwoPlaces {
        /// The parameter.
        param: String,
        /// Where.
        first: &'static str,
        /// Where.
        second: &'static str,
    },
    /// A heat map has two axes.
    #[error(
        "a heat map takes one parameter for its columns (--x) and one for its rows (--by); \
         --by names {count}"
    )]
    Rows {
        /// Parameters in `--by`.
        count: usize,
    },
    /// Nothing to put on an axis.
    #[error("{figure} needs {needed} that vary; {}", vary(varying))]
    TooFew {
        /// The kind of figure.
        figure: &'static str,
        /// How many.
        needed: &'static str,
        /// Parameters that do.
        varying: Vec<String>,
    },
    /// An option that another kind of figure has.
    #[error("{flag} is not for {figure}; {instead}")]
    NotHere {
        /// The flag.
        flag: &'static str,
        /// The kind of figure.
        figure: &'static str,
        /// What is.
        instead: &'static str,
    },
    /// Not a condition.
    #[error("--where `{text}`: PARAMETER=VALUE is accepted")]
    Condition {
        /// As asked.
        text: String,
    },
    /// A condition that nothing meets.
    #[error("--where {param}={value}: no trial has that; values: {}", list(values))]
    NoSuchValue {
        /// The parameter.
        param: String,
        /// As asked.
        value: String,
        /// Values that there are.
        values: Vec<String>,
    },
    /// Too small to read or too large to draw.
    #[error(
        "a figure of {width}x{height}: {}x{} to {}x{} is accepted",
        super::Size::MIN.width,
        super::Size::MIN.height,
        super::Size::MAX.width,
        super::Size::MAX.height
    )]
    Size {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// Too small for its own texts and legend.
    #[error(
        "a figure of {}x{} has no room for what it shows; {}x{} is the least for it: --size \
         enlarges it, --where narrows what it shows",
        size[0], size[1], least[0], least[1]
    )]
    Room {
        /// Width and height in pixels.
        size: [u32; 2],
        /// Those that it needs.
        least: [u32; 2],
    },
    /// The answer has not the columns that it should have.
    #[error("the table has another shape than this program knows; it is of another version")]
    Shape,
    /// The figure could not be drawn as pixels.
    #[error("cannot draw the figure as PNG: {why}")]
    Png {
        /// What the library says.
        why: String,
    },
}

impl FigureError {
    /// Whether another request would do.
    pub fn is_mistake(&self) -> bool {
        match self {
            FigureError::UnknownParam { .. }
            | FigureError::UnknownMetric { .. }
            | FigureError::NoAxis { .. }
            | FigureError::TwoPlaces { .. }
            | FigureError::Rows { .. }
            | FigureError::TooFew { .. }
            | FigureError::NotHere { .. }
            | FigureError::Condition { .. }
            | FigureError::NoSuchValue { .. }
            | FigureError::Size { .. }
            | FigureError::Room { .. } => true,
            FigureError::Shape | FigureError::Png { .. } => false,
        }
    }
}

fn hint(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or(String::new(), |name| format!(" (did you mean `{name}`?)"))
}

fn list<T: Display>(names: &[T]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<String>>().join(", ")
}

fn vary(params: &[String]) -> String {
    match params {
        [] => "no parameter varies".into(),
        [one] => format!("`{one}` varies"),
        several => format!("{} vary", list(several)),
    }
}

fn each(flag: &str, params: &[String], after: &str) -> String {
    params.iter().map(|param| format!("{flag} {param}{after}")).collect::<Vec<String>>().join(" ")
}
