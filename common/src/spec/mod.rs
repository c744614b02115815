//! The sweep file: from YAML to validated trials.
//!
//! `load` parses the text into a tree with positions (`node`), applies overlay and overrides
//! (`edit`), reads every section and reports all errors at once (`read`, `space`, `values`,
//! `diagnostic`). A `Sweep` then expands lazily (`expand`). Nothing here reads files or runs
//! anything.

mod diagnostic;
mod edit;
mod expand;
mod expect;
mod node;
mod read;
mod space;
mod survey;
mod values;
mod yaml;

use std::sync::Arc;

use crate::config::{Data, Model, Param};
use crate::expectation::Expectation;
use crate::ids::SweepName;
use diagnostic::{Problem, Problems, Source, Span};
use node::{Node, Tree};
use space::Space;

pub use diagnostic::{SpecErrors, Warning};
pub use expand::{Counts, Expansion};

/// Default of `--max-trials`.
pub const TRIALS_MAX: u64 = 1_000_000;

/// Metrics of a trial that a table can show (design, section 5).
pub const METRICS: [&str; 8] = [
    "test_error",
    "val_error",
    "best_epoch",
    "train_loss",
    "val_loss",
    "test_loss",
    "epochs",
    "seconds",
];

/// How trials end, which a table can count instead.
pub const OUTCOMES: [&str; 3] = ["completed", "diverged", "failed"];

/// Of the metrics the lowest mean tells which of several configs is best.
pub const METRICS_TO_CHOOSE_BY: [&str; 5] =
    ["test_error", "val_error", "train_loss", "val_loss", "test_loss"];

/// How a sweep file is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// `--overlay`: the overlay that is applied.
    pub overlay: Option<String>,
    /// `--set`: `key=value` or `NAME:key=value`, applied after the overlay in this order. Those
    /// that name another sweep are passed over (`set_target` tells which do).
    pub sets: Vec<String>,
    /// `--max-trials`: points times seeds, counted before exclusion and collapse.
    pub trials_max: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { overlay: None, sets: Vec::new(), trials_max: TRIALS_MAX }
    }
}

/// How many trials train together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fusion {
    /// By device.
    #[default]
    Auto,
    /// Every trial alone.
    Off,
    /// At most this many.
    Size(u32),
}

/// Of which completed trials the best epoch's weights are kept; the lower validation error is the
/// better, and of equal ones the earlier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// Of the best trial of every config.
    #[default]
    Best,
    /// Of every trial.
    All,
    /// Of none.
    None,
    /// Of so many trials, the best of the sweep.
    Top(u32),
}

impl std::fmt::Display for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Keep::Best => f.write_str("best"),
            Keep::All => f.write_str("all"),
            Keep::None => f.write_str("none"),
            Keep::Top(count) => write!(f, "{{top: {count}}}"),
        }
    }
}

/// What ends a sweep early.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Budget {
    /// Training time in hours, all slots added.
    pub hours: Option<f64>,
    /// Failed trials.
    pub failures: Option<u64>,
    /// Trials in a row that died of the same error; none never stops a sweep for that.
    pub same_error: Option<u64>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { hours: None, failures: None, same_error: Some(SAME_ERROR_MAX) }
    }
}

/// Of a sweep file that does not say: far more than a corner of a grid usually has of broken
/// trials next to each other, and little enough to be lost on a fault of everything.
pub const SAME_ERROR_MAX: u64 = 20;

/// What is printed when a sweep ends.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TableSpec {
    /// Parameters that make rows; empty: every parameter that varies and is no column.
    pub rows: Vec<Param>,
    /// Parameters that make columns.
    pub columns: Vec<Param>,
    /// One of `METRICS` or `OUTCOMES`; none: the table's own default.
    pub metric: Option<String>,
}

/// A validated sweep file.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Its name, with the overlay's appended.
    pub name: SweepName,
    /// Model family.
    pub model: Model,
    /// Data set.
    pub data: Data,
    /// Cohort size.
    pub fusion: Fusion,
    /// Higher goes first.
    pub priority: i32,
    /// What ends it early.
    pub budget: Budget,
    /// Whose weights are kept.
    pub keep: Keep,
    /// Devices of a trial.
    pub resources_gpus: u32,
    /// The replicates of every config.
    pub seeds: Vec<u64>,
    /// What is printed at the end.
    pub table: TableSpec,
    /// What its author says of the results.
    pub expect: Vec<Expectation>,
    /// The resolved file, overlay and overrides applied; loads as the same sweep.
    pub yaml: String,
    /// A `--set` changed an entry that the points are made of.
    pub are_points_set: bool,
    space: Arc<Space>,
}

impl Sweep {
    /// Its trials in a stable order, made one at a time.
    pub fn expand(&self) -> Expansion {
        Expansion::new(Arc::clone(&self.space), self.seeds.as_slice().into())
    }

    /// Counts of the whole expansion. Takes as long as the expansion of one seed.
    pub fn counts(&self) -> Counts {
        let mut expansion = Expansion::new(Arc::clone(&self.space), Arc::new([0]));
        while expansion.next().is_some() {}
        let counts = expansion.counts();
        Counts { trials: counts.configs * self.seeds.len() as u64, ..counts }
    }
}

/// The sweep that a `--set` flag names, where it names one.
pub fn set_target(flag: &str) -> Option<&str> {
    set_parts(flag).and_then(|(target, _, _)| target)
}

/// Target, path and value of `[NAME:]key=value`; none without a key.
fn set_parts(flag: &str) -> Option<(Option<&str>, &str, &str)> {
    let (left, value) = flag.split_once('=')?;
    let (target, path) = match left.split_once(':') {
        Some((target, path)) => (Some(target), path),
        None => (None, left),
    };
    (!path.is_empty()).then_some((target, path, value))
}

/// Reads a sweep file. `file` is its name for messages. Fails with everything that is wrong.
pub fn load(
    text: &str,
    file: &str,
    options: &Options,
) -> Result<(Sweep, Vec<Warning>), SpecErrors> {
    let mut sources = vec![Source { name: file.into(), text: text.into() }];
    let mut problems = Problems::default();
    let sweep = match node::parse(text, 0, 0) {
        Ok(mut root) => {
            let are_points_set = resolve(&mut root, options, &mut sources, &mut problems);
            let sweep = read_sweep(&root, options, &mut problems);
            sweep.map(|sweep| Sweep { are_points_set, ..sweep })
        }
        Err(problem) => {
            problems.error(*problem);
            None
        }
    };
    match sweep {
        Some(sweep) if problems.errors.is_empty() => {
            let warnings = &problems.warnings;
            Ok((sweep, warnings.iter().map(|w| Warning::new(w, &sources)).collect()))
        }
        Some(_) | None => {
            assert!(!problems.errors.is_empty(), "a file is refused for a reason");
            Err(SpecErrors::new(sources, problems.errors))
        }
    }
}

/// Applies the overlay, then the overrides; tells whether these changed what makes the points.
fn resolve(
    root: &mut Node,
    options: &Options,
    sources: &mut Vec<Source>,
    problems: &mut Problems,
) -> bool {
    edit::duplicates(root, problems);
    let mut names = Vec::new();
    names.extend(name_text(root));
    edit::overlay(root, options.overlay.as_deref(), sources, problems);
    names.extend(name_text(root));
    edit::sets(root, &options.sets, &names, sources, problems)
}

/// What a sweep's resolved file says of the weights to keep, without reading the rest of it: a
/// file may stand for a million trials. One that cannot be read keeps what one that says nothing
/// does.
pub fn keep_of(yaml: &str) -> Keep {
    let Ok(root) = node::parse(yaml, 0, 0) else { return Keep::default() };
    let mut problems = Problems::default();
    let sections = read::Sections::of(&root, &mut problems);
    sections.map_or(Keep::default(), |sections| sections.keep(&mut problems))
}

fn name_text(root: &mut Node) -> Option<String> {
    match &root.entry_mut("name")?.value.tree {
        Tree::Text(text) => Some(text.clone()),
        Tree::Null
        | Tree::Bool(_)
        | Tree::Int(_)
        | Tree::Float(_)
        | Tree::List(_)
        | Tree::Map(_) => None,
    }
}

fn read_sweep(root: &Node, options: &Options, problems: &mut Problems) -> Option<Sweep> {
    let sections = read::Sections::of(root, problems)?;
    let name = sections.name(problems);
    let model = sections.model(problems);
    let data = sections.data(model, problems);
    let fusion = sections.fusion(problems);
    let priority = sections.priority(problems);
    let budget = sections.budget(problems);
    let keep = sections.keep(problems);
    let resources_gpus = sections.gpus(problems);
    let seeds = sections.seeds(options.trials_max, problems);
    let table = sections.table(model, problems);
    let stated = expect::read(&sections, model, problems);
    let (space, places) = space::read(&sections, (model, data), options.trials_max, problems);
    let (space, seeds) = (Arc::new(space?), seeds?);
    let trials = space.points().saturating_mul(seeds.len() as u128);
    if trials > u128::from(options.trials_max) {
        problems.error(too_many(&sections, trials, options.trials_max));
        return None;
    }
    if problems.errors.is_empty() {
        survey::run(&sections, &space, &places, &table, problems);
        expect::check(&space, &stated, options, problems);
    }
    let (name, model, data) = (name?, model?, data?);
    let yaml = yaml::write(root);
    Some(Sweep {
        name,
        model,
        data,
        fusion,
        priority,
        budget,
        keep,
        resources_gpus,
        seeds,
        table,
        expect: stated.into_iter().map(|stated| stated.expectation).collect(),
        yaml,
        are_points_set: false,
        space,
    })
}

fn too_many(sections: &read::Sections<'_>, trials: u128, trials_max: u64) -> Problem {
    let largest = ["grid", "zip", "seeds"].into_iter().find_map(|key| sections.get(key));
    let at: Span = largest.map_or(sections.top, |entry| entry.at);
    let count = if trials == u128::MAX { "more than 10^38".into() } else { trials.to_string() };
    Problem::new(at, format!("the sweep has {count} trials, before `exclude` and collapsing"))
        .accepted(format!("at most {trials_max} (--max-trials)"))
}
