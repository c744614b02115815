//! The table of epochs as figures need it: means over the trials of a config, in bounded memory.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use common::wire::{EpochReport, TablePart, TableRow, cell};

use super::error::FigureError;
use super::scale::drawable;
use super::setting::Setting;
use super::trials::{id, number};
use crate::query::{EPOCH_METRICS, epoch_metrics};

/// Epochs that are drawn of a history, about.
const EPOCHS_MAX: u32 = 600;

/// Mean and spread of numbers that come one by one.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Moments {
    pub n: u32,
    pub mean: f64,
    squares: f64,
}

impl Moments {
    /// Takes a number in (Welford's way).
    pub fn add(&mut self, value: f64) {
        self.n += 1;
        let from_mean = value - self.mean;
        self.mean += from_mean / f64::from(self.n);
        self.squares += from_mean * (value - self.mean);
    }

    /// Sample standard deviation; 0 below two numbers, and where it has no finite value.
    pub fn std(&self) -> f64 {
        let std = (self.squares / (f64::from(self.n) - 1.0)).sqrt();
        if self.n > 1 && std.is_finite() { std } else { 0.0 }
    }
}

/// By epoch, each metric over the trials of a group.
pub(super) type History = BTreeMap<u32, Vec<Moments>>;

/// The histories of the groups that are drawn.
pub(super) struct Histories {
    /// The settings of a row by group.
    keys: Vec<Box<[Setting]>>,
    /// Names of metrics, in the order of a history's moments.
    pub metrics: Vec<&'static str>,
    pub groups: Vec<History>,
    /// Every so many epochs one is drawn.
    pub stride: u32,
    ended: BTreeSet<u64>,
    columns: Option<Columns>,
    last: Option<(String, Option<usize>)>,
}

struct Columns {
    count: usize,
    epoch: usize,
    metrics: Vec<usize>,
}

impl Histories {
    /// Of configs by their settings; without the trials of `ended`.
    pub fn new(
        keys: Vec<Box<[Setting]>>,
        metrics: Vec<&'static str>,
        ended: BTreeSet<u64>,
        epochs_max: u32,
    ) -> Histories {
        let groups = vec![History::new(); keys.len()];
        let stride = epochs_max.div_ceil(EPOCHS_MAX).max(1);
        let (columns, last) = (None, None);
        Histories { keys, metrics, groups, stride, ended, columns, last }
    }

    /// Of one trial.
    pub fn of_trial(metrics: Vec<&'static str>, epochs: &[EpochReport]) -> Histories {
        let last = epochs.iter().map(|epoch| epoch.epoch).max().unwrap_or(0);
        let mut histories = Histories::new(vec![Box::default()], metrics, BTreeSet::new(), last);
        for epoch in epochs {
            let values: Vec<Option<f64>> =
                histories.metrics.iter().map(|metric| drawable(of_report(epoch, metric))).collect();
            histories.add(0, epoch.epoch, values.into_iter());
        }
        histories
    }

    /// Reads a part; the first one has the columns.
    pub fn part(&mut self, part: &TablePart) -> Result<(), FigureError> {
        if self.columns.is_none() {
            self.columns = Some(self.columns_of(part)?);
        }
        for row in &part.rows {
            self.row(row)?;
        }
        Ok(())
    }

    fn columns_of(&self, part: &TablePart) -> Result<Columns, FigureError> {
        let names: Vec<&str> = part.columns.iter().map(|column| &*column.name).collect();
        let epoch = names.iter().position(|name| *name == "epoch").ok_or(FigureError::Shape)?;
        // Parameters stand before the epoch, metrics behind it.
        let after = |metric: &&'static str| {
            let at = names[epoch..].iter().position(|name| name == metric);
            at.map(|at| epoch + at).ok_or(FigureError::Shape)
        };
        let metrics = self.metrics.iter().map(after).collect::<Result<_, _>>()?;
        if self.keys.iter().any(|key| key.len() + 1 > epoch) {
            return Err(FigureError::Shape);
        }
        Ok(Columns { count: names.len(), epoch, metrics })
    }

    fn row(&mut self, row: &TableRow) -> Result<(), FigureError> {
        let columns = self.columns.as_ref().ok_or(FigureError::Shape)?;
        if row.cells.len() != columns.count {
            return Err(FigureError::Shape);
        }
        let trial = match &row.cells[0].value {
            Some(cell::Value::Text(trial)) => trial,
            _ => return Err(FigureError::Shape),
        };
        // The rows of a trial come one after the other.
        let group = match &self.last {
            Some((last, group)) if last == trial => *group,
            Some(_) | None => {
                let is_ended = id(trial).is_some_and(|id| self.ended.contains(&id));
                let is_drawn = |key: &[Setting]| {
                    let mut pairs = key.iter().zip(&row.cells[1..]);
                    pairs.all(|(setting, cell)| *setting == Setting::of_cell(cell))
                };
                let group = self.keys.iter().position(|key| is_drawn(key)).filter(|_| !is_ended);
                self.last = Some((trial.clone(), group));
                group
            }
        };
        let Some(group) = group else { return Ok(()) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let epoch = number(row, columns.epoch).unwrap_or(0.0) as u32;
        let values: Vec<Option<f64>> = columns.metrics.iter().map(|at| number(row, *at)).collect();
        self.add(group, epoch, values.into_iter());
        Ok(())
    }

    fn add(&mut self, group: usize, epoch: u32, values: impl Iterator<Item = Option<f64>>) {
        let history = &mut self.groups[group];
        let is_drawn = epoch.is_multiple_of(self.stride) || epoch == 1;
        let has_room = history.contains_key(&epoch) || history.len() < 4 * EPOCHS_MAX as usize;
        if !is_drawn || !has_room {
            return;
        }
        let moments =
            history.entry(epoch).or_insert_with(|| vec![Moments::default(); self.metrics.len()]);
        for (moments, value) in moments.iter_mut().zip(values) {
            if let Some(value) = value {
                moments.add(value);
            }
        }
    }

    /// A metric of a group by epoch.
    pub fn curve(&self, group: usize, metric: &str) -> Vec<(f64, Moments)> {
        let Some(at) = self.metrics.iter().position(|known| *known == metric) else {
            return Vec::new();
        };
        let known = self.groups[group].iter().filter(|(_, moments)| moments[at].n > 0);
        known.map(|(epoch, moments)| (f64::from(*epoch), moments[at])).collect()
    }

    /// Whether the means of a group's later epochs are over fewer trials.
    pub fn thins_out(&self, group: usize, metric: &str) -> bool {
        let curve = self.curve(group, metric);
        let first = curve.first().map_or(0, |(_, moments)| moments.n);
        curve.last().is_some_and(|(_, moments)| moments.n < first)
    }
}

fn of_report(epoch: &EpochReport, metric: &str) -> f64 {
    let at = EPOCH_METRICS.iter().position(|known| *known == metric);
    at.map_or(f64::NAN, |at| epoch_metrics(epoch)[at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::query::statistics::summarise;

    proptest! {
        #[test]
        fn moments_are_those_of_all_numbers(values in prop::collection::vec(-1e3..1e3f64, 1..20)) {
            let mut moments = Moments::default();
            values.iter().for_each(|value| moments.add(*value));
            let expected = summarise(&values).unwrap();
            prop_assert!((moments.mean - expected.mean).abs() < 1e-9);
            prop_assert!((moments.std() - expected.std.unwrap_or(0.0)).abs() < 1e-6);
        }
    }

    #[test]
    fn long_histories_are_thinned() {
        let epoch = |epoch| EpochReport { epoch, val_error: 0.5, ..EpochReport::default() };
        let epochs: Vec<EpochReport> = (1..=5_000).map(epoch).collect();
        let histories = Histories::of_trial(vec!["val_error"], &epochs);
        let curve = histories.curve(0, "val_error");
        assert!((500..=700).contains(&curve.len()), "{}", curve.len());
        assert_eq!(curve[0].0, 1.0);
    }
}
