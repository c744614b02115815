//! Answers as text, csv and json: the same for the client's commands and the server's last word.
//!
//! Errors are fractions in csv and json and percent in text. Text is plain unless a `Style` for a
//! terminal says otherwise. Nothing here asks for anything: wire types come in, bytes go out.

mod expect;
mod gpus;
mod grid;
mod number;
mod probe;
mod style;
mod table;
mod view;
mod view_json;
mod view_trial;

#[cfg(test)]
mod tests;

pub(crate) use expect::{claim_facts, word as verdict_word};
pub use expect::{contradicted, expectations, expectations_json};
pub(crate) use gpus::gpus_grid;
pub(crate) use grid::Grid;
pub use number::percent;
pub(crate) use number::{Unit, duration};
pub use probe::{probe, probe_json};
pub use style::{Style, printable};
pub(crate) use table::{Excerpt, LaidOut, PageCell, plain};
pub use table::{Format, TableWriter, sweep_table};
pub(crate) use view::wrapped;
pub(crate) use view::{Facts, sweep_facts, workers_grid};
pub use view::{sweep, sweeps, workers};
pub use view_json::{counts_json, sweep_json, sweeps_json, trial_json, workers_json};
pub use view_trial::trial;
pub(crate) use view_trial::{attempts_grid, trial_facts};
