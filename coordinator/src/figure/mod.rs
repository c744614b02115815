//! Figures of a sweep as SVG and PNG. Pure: wire types come in, text goes out.
//!
//! A `Drawing` says which tables it needs and takes their parts; whoever has them asks:
//!
//! ```text
//! let mut drawing = Drawing::new(request, look)?;
//! while let Some(question) = drawing.question() {
//!     match question {
//!         Question::Table(request) => reader.table(&request, &mut |part| drawing.part(&part))?,
//!         Question::Trial(trial) => drawing.trial(reader.trial(&trial.sweep, &trial.trial)?),
//!     }
//! }
//! let svg = drawing.finish()?;
//! ```
//!
//! The SVG is drawn by a layer of our own, `svg.rs`. The plotting crate that was looked at first
//! (kuva 0.6) fell short of four figures of five: its shared axes do not line up beside a legend,
//! its logarithmic axes end at powers of ten, its heat map writes black on dark, its parallel axes
//! have numbers alone and no colour by value, and text with control characters is no XML.

mod axes;
mod bar;
mod cells;
mod curves;
mod drawing;
mod epochs;
mod error;
mod gates;
mod heat;
mod layout;
mod line;
mod notes;
mod palette;
mod panel;
mod parallel;
mod png;
mod request;
mod scale;
mod setting;
mod survey;
mod svg;
mod text;
mod trials;
mod words;

#[cfg(test)]
mod tests;

pub use drawing::{Drawing, Question};
pub use error::FigureError;
pub use palette::Theme;
pub use png::{png, png_in_turn};
pub use request::{Curves, Kind, Look, Plot, Request, Size, YScale};
