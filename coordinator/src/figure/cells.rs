//! Trials by what a figure shows: cells of the parameters on its axes.

use std::collections::BTreeMap;

use super::error::FigureError;
use super::setting::Setting;
use super::trials::{Config, Counts, Trials};
use crate::query::statistics::{Summary, summarise};

/// Which parameters are where; each is a place among a config's settings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Axes {
    pub x: Option<usize>,
    pub by: Vec<usize>,
    /// As replicates.
    pub pool: Vec<usize>,
    /// Nowhere: the best config of a cell is shown.
    pub choice: Vec<usize>,
}

/// The trials of a cell.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Cell {
    /// The settings of the parameters that were asked for.
    pub key: Vec<Setting>,
    /// Of its trials that have one.
    pub values: Vec<f64>,
    pub counts: Counts,
    pub summary: Option<Summary>,
}

impl Axes {
    /// Places for all parameters that vary, or an error that names those without one.
    pub fn checked(self, trials: &Trials, chooses: bool) -> Result<Axes, FigureError> {
        let name = |at: usize| trials.params()[at].clone();
        let x: Vec<usize> = self.x.into_iter().collect();
        let places = [("--x", &x), ("--by", &self.by), ("--pool", &self.pool)];
        for (at, (second, params)) in places.iter().enumerate() {
            for (first, earlier) in &places[..at] {
                if let Some(param) = params.iter().find(|param| earlier.contains(param)) {
                    let param = name(*param);
                    return Err(FigureError::TwoPlaces { param, first, second });
                }
            }
        }
        let is_placed = |param: &usize| places.iter().any(|(_, params)| params.contains(param));
        let choice: Vec<usize> =
            trials.varying().into_iter().filter(|param| !is_placed(param)).collect();
        if !choice.is_empty() && !chooses {
            return Err(FigureError::NoAxis { params: choice.into_iter().map(name).collect() });
        }
        Ok(Axes { choice, ..self })
    }
}

/// The configs of a cell by their settings of the parameters that have no place.
type Candidates = BTreeMap<Vec<Setting>, Config>;

/// The cells of these parameters, in the order of expansion; of the configs in a cell that differ
/// in `choice` the one with the lowest mean of the choosing metric.
pub(super) fn gather(trials: &Trials, keys: &[usize], choice: &[usize]) -> Vec<Cell> {
    let mut index: BTreeMap<Vec<Setting>, usize> = BTreeMap::new();
    let mut cells: Vec<(Vec<Setting>, Candidates)> = Vec::new();
    for config in trials.configs() {
        let key = picked(config, keys);
        let at = *index.entry(key.clone()).or_insert_with(|| {
            cells.push((key, Candidates::new()));
            cells.len() - 1
        });
        let candidate = cells[at].1.entry(picked(config, choice)).or_default();
        candidate.values.extend(&config.values);
        candidate.choosing.extend(&config.choosing);
        candidate.counts.add(config.counts);
    }
    let done = cells.into_iter().map(|(key, candidates)| {
        let chosen = best(candidates.into_values().collect());
        let summary = summarise(&chosen.values).map(|all| match trials.has_spread() {
            true => all,
            false => Summary { std: None, min: all.mean, max: all.mean, ..all },
        });
        Cell { key, values: chosen.values, counts: chosen.counts, summary }
    });
    done.collect()
}

fn picked(config: &Config, params: &[usize]) -> Vec<Setting> {
    params.iter().map(|param| config.settings[*param].clone()).collect()
}

fn best(candidates: Vec<Config>) -> Config {
    let mean = |config: &Config| summarise(&config.choosing).map_or(f64::INFINITY, |it| it.mean);
    let best = candidates.into_iter().min_by(|a, b| mean(a).total_cmp(&mean(b)));
    best.unwrap_or_default()
}
