//! The table of trials as figures need it: the values of a metric by config.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use common::wire::{TablePart, TableRow, cell};

use super::error::FigureError;
use super::scale::drawable;
use super::setting::{Setting, ranked};
use crate::query::{Shown, suggest};

/// Configs that a figure holds.
pub(super) const CONFIGS_MAX: usize = 20_000;
/// Values that a figure holds: seeds of all configs.
pub(super) const VALUES_MAX: usize = 1_000_000;
/// Values of a parameter that an error lists.
const KNOWN_MAX: usize = 20;

/// What is read of a trial.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Wanted {
    /// A metric; of an outcome, the share of the trials that ended.
    pub shown: Shown,
    /// The metric that chooses one config where a cell has several.
    pub choosing: Option<String>,
    /// Parameters and what they must be.
    pub filters: Vec<(String, String)>,
}

/// What became of trials.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    /// With a value.
    pub values: u64,
    pub diverged: u64,
    pub failed: u64,
    pub cancelled: u64,
    /// Pending and running.
    pub unfinished: u64,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        self.values += other.values;
        self.diverged += other.diverged;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.unfinished += other.unfinished;
    }

    /// Why there is no value.
    pub fn why(&self) -> Option<&'static str> {
        let kinds = [
            (self.diverged, "diverged"),
            (self.failed, "failed"),
            (self.unfinished, "unfinished"),
            (self.cancelled, "cancelled"),
        ];
        kinds.into_iter().find(|(count, _)| *count > 0).map(|(_, kind)| kind)
    }

    /// Those that ended without a result.
    pub fn lost(&self) -> u64 {
        self.diverged + self.failed
    }
}

/// The trials of one config.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Config {
    pub settings: Box<[Setting]>,
    pub values: Vec<f64>,
    pub choosing: Vec<f64>,
    pub counts: Counts,
}

/// The trials of a sweep.
#[derive(Default)]
pub(super) struct Trials {
    wanted: Wanted,
    columns: Option<Columns>,
    configs: Vec<Config>,
    index: BTreeMap<Box<[Setting]>, usize>,
    values: usize,
    /// Trials that there was no room for.
    pub left_out: u64,
    /// Trials without a place in a mean: diverged, failed, cancelled.
    pub ended: BTreeSet<u64>,
    /// The longest history of a trial.
    pub epochs_max: u32,
    /// By filter, what there is.
    known: Vec<BTreeSet<Setting>>,
}

/// Where a row has what.
struct Columns {
    count: usize,
    /// Parameters begin after the trial's id.
    params: Vec<String>,
    state: usize,
    /// None where the state says it.
    metric: Option<usize>,
    choosing: Option<usize>,
    epochs: usize,
    filters: Vec<usize>,
}

impl Columns {
    fn of(part: &TablePart, wanted: &Wanted) -> Result<Columns, FigureError> {
        let names: Vec<&str> = part.columns.iter().map(|column| &*column.name).collect();
        let seed = names.iter().position(|name| *name == "seed").ok_or(FigureError::Shape)?;
        let params: Vec<String> =
            names[..seed].iter().skip(1).map(|name| (*name).to_owned()).collect();
        // A parameter may be named like a metric; metrics stand behind the seed.
        let after = |name: &str| {
            let at = names[seed..].iter().position(|known| *known == name);
            at.map(|at| seed + at).ok_or(FigureError::Shape)
        };
        let filter = |name: &str| {
            let at = params.iter().position(|param| param == name);
            at.ok_or_else(|| unknown("--where", name, &params))
        };
        Ok(Columns {
            count: names.len(),
            state: after("state")?,
            metric: match wanted.shown {
                Shown::Metric(metric) => Some(after(metric.name())?),
                Shown::Count(_) => None,
            },
            choosing: wanted.choosing.as_deref().map(after).transpose()?,
            epochs: after("epochs")?,
            filters: wanted.filters.iter().map(|it| filter(&it.0)).collect::<Result<_, _>>()?,
            params,
        })
    }
}

fn unknown(flag: &'static str, name: &str, params: &[String]) -> FigureError {
    FigureError::UnknownParam {
        flag,
        name: name.chars().take(80).collect(),
        varying: params.to_vec(),
        suggestion: suggest(name, params.iter().map(String::as_str)),
    }
}

impl Trials {
    pub fn new(wanted: Wanted) -> Trials {
        let known = vec![BTreeSet::new(); wanted.filters.len()];
        Trials { wanted, known, ..Trials::default() }
    }

    /// Reads a part; the first one has the columns.
    pub fn part(&mut self, part: &TablePart) -> Result<(), FigureError> {
        if self.columns.is_none() {
            self.columns = Some(Columns::of(part, &self.wanted)?);
        }
        for row in &part.rows {
            self.row(row)?;
        }
        Ok(())
    }

    fn row(&mut self, row: &TableRow) -> Result<(), FigureError> {
        let columns = self.columns.as_ref().ok_or(FigureError::Shape)?;
        if row.cells.len() != columns.count {
            return Err(FigureError::Shape);
        }
        let settings: Box<[Setting]> =
            row.cells[1..=columns.params.len()].iter().map(Setting::of_cell).collect();
        for (at, param) in columns.filters.iter().enumerate() {
            if self.known[at].len() < KNOWN_MAX {
                self.known[at].insert(settings[*param].clone());
            }
        }
        let passes = |(filter, param): (&(String, String), &usize)| settings[*param].is(&filter.1);
        if !self.wanted.filters.iter().zip(&columns.filters).all(passes) {
            return Ok(());
        }
        let number = |at: usize| number(row, at);
        let (value, choosing) = (columns.metric.map(number), columns.choosing.and_then(number));
        let epochs = number(columns.epochs).unwrap_or(0.0);
        let state = text(row, columns.state);
        if ["diverged", "failed", "cancelled"].contains(&state) {
            self.ended.extend(id(text(row, 0)));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let epochs = epochs as u32;
        self.epochs_max = self.epochs_max.max(epochs);
        let mut counts = Counts::default();
        let value = match (state, value) {
            ("completed", Some(value)) => value,
            ("completed" | "diverged" | "failed", None) => {
                Some(if state == self.wanted.shown.name() { 1.0 } else { 0.0 })
            }
            _ => None,
        };
        match (value, state) {
            (Some(_), _) => counts.values = 1,
            (None, "diverged") => counts.diverged = 1,
            (None, "failed") => counts.failed = 1,
            (None, "cancelled") => counts.cancelled = 1,
            (None, _) => counts.unfinished = 1,
        }
        self.add(settings, value, choosing, counts);
        Ok(())
    }

    fn add(
        &mut self,
        settings: Box<[Setting]>,
        value: Option<f64>,
        choosing: Option<f64>,
        counts: Counts,
    ) {
        let at = match self.index.get(&settings) {
            Some(at) => *at,
            None if self.configs.len() >= CONFIGS_MAX => {
                self.left_out += 1;
                return;
            }
            None => {
                let at = self.configs.len();
                self.index.insert(settings.clone(), at);
                self.configs.push(Config { settings, ..Config::default() });
                at
            }
        };
        if self.values >= VALUES_MAX {
            self.left_out += 1;
            return;
        }
        let config = &mut self.configs[at];
        config.counts.add(counts);
        if let Some(value) = value {
            self.values += 1;
            config.values.push(value);
            config.choosing.extend(choosing);
        }
    }

    /// Everything is read.
    pub fn check(&self) -> Result<(), FigureError> {
        if !self.configs.is_empty() {
            return Ok(());
        }
        for ((param, value), known) in self.wanted.filters.iter().zip(&self.known) {
            let is_known = known.len() >= KNOWN_MAX || known.iter().any(|it| it.is(value));
            if !known.is_empty() && !is_known {
                return Err(FigureError::NoSuchValue {
                    param: param.clone(),
                    value: value.chars().take(80).collect(),
                    values: ranked(known).iter().map(Setting::text).collect(),
                });
            }
        }
        Ok(())
    }

    /// Whether values have a spread: the share of an outcome is one number.
    pub fn has_spread(&self) -> bool {
        matches!(self.wanted.shown, Shown::Metric(_))
    }

    /// What a point is of its trials.
    pub fn statistic(&self) -> &'static str {
        if self.has_spread() { "Mean" } else { "Percentage" }
    }

    /// In the order of expansion.
    pub fn configs(&self) -> &[Config] {
        &self.configs
    }

    /// Parameters that vary in the sweep.
    pub fn params(&self) -> &[String] {
        self.columns.as_ref().map_or(&[], |columns| &columns.params)
    }

    /// The place of a parameter among the settings.
    pub fn param(&self, flag: &'static str, name: &str) -> Result<usize, FigureError> {
        let params = self.params();
        let at = params.iter().position(|param| param == name);
        at.ok_or_else(|| unknown(flag, name, params))
    }

    /// Parameters that vary in what passed the filters. One that some configs lack and the others
    /// agree on does not: another parameter decides whether it has an effect.
    pub fn varying(&self) -> Vec<usize> {
        let varies = |at: &usize| {
            let mut settings = self
                .configs
                .iter()
                .map(|it| &it.settings[*at])
                .filter(|it| **it != Setting::Absent);
            let first = settings.next();
            settings.any(|setting| Some(setting) != first)
        };
        (0..self.params().len()).filter(varies).collect()
    }

    /// The distinct settings of a parameter.
    pub fn settings(&self, param: usize) -> Vec<Setting> {
        ranked(self.configs.iter().map(|config| &config.settings[param]))
    }

    /// Of all configs.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for config in &self.configs {
            counts.add(config.counts);
        }
        counts
    }
}

fn text(row: &TableRow, at: usize) -> &str {
    match &row.cells[at].value {
        Some(cell::Value::Text(text)) => text,
        Some(cell::Value::Number(_) | cell::Value::Integer(_) | cell::Value::Summary(_)) | None => {
            ""
        }
    }
}

/// The number of a cell, if it can be drawn.
pub(super) fn number(row: &TableRow, at: usize) -> Option<f64> {
    match row.cells[at].value {
        Some(cell::Value::Number(number)) => drawable(number),
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        Some(cell::Value::Integer(integer)) => Some(integer as f64),
        Some(cell::Value::Text(_) | cell::Value::Summary(_)) | None => None,
    }
}

/// A trial's id as a number, which is smaller than its text.
pub(super) fn id(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}
