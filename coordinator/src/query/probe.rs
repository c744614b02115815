//! The probes of a sweep: per config the dropout rate at which the validation error starts to
//! rise, over the seeds, and the curve that it was read from.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::ops::ControlFlow;

use common::config::{Config, Param};
use common::wire;

use super::expect::{settings_of, varying};
use super::rise::{self, Course, Point};
use super::{Known, KnownTrial, QueryError, Reader, history, statistics, trial};

/// The word of `dropout` that makes a trial a probe.
const PROBE: &str = "probe";
/// Points of a curve: with all else a config's answer stays far below a message's size.
const CURVE_POINTS_MAX: usize = 5_000;

/// Takes the answer config by config; `Break` ends it early.
type Sink<'s> = &'s mut dyn FnMut(wire::ProbeConfig) -> ControlFlow<()>;

impl Reader {
    /// The probes of a sweep, in the order of expansion. Only completed trials have a rate; the
    /// others are counted. No snapshot is held while `sink` runs: epochs never change.
    pub fn probe(&self, request: &wire::GetProbeRequest, sink: Sink<'_>) -> Result<(), QueryError> {
        self.probes_with(PROBE, request, sink)
    }

    /// As `probe`, of the trials whose `dropout` is this word.
    pub(super) fn probes_with(
        &self,
        word: &str,
        request: &wire::GetProbeRequest,
        sink: Sink<'_>,
    ) -> Result<(), QueryError> {
        let probes = self.probes(&self.known(&request.sweep)?, word)?;
        let Some((first, _)) = probes.first() else {
            return Err(QueryError::NoProbe { sweep: request.sweep.clone() });
        };
        let params = varying(first, probes.iter().map(|(config, _)| config));
        for (config, trials) in &probes {
            let mut answer = self.probe_config(config, trials, request.curve)?;
            answer.config = settings_of(config, &params);
            if sink(answer).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The configs that are probes, with their trials and the trials' states.
    fn probes(&self, sweep: &Known, word: &str) -> Result<Vec<Probe>, QueryError> {
        let _snapshot = self.snapshot()?;
        let mut configs: HashMap<i64, Config> = HashMap::new();
        self.each_config(sweep, false, |id, config| {
            if config.word(Param::Dropout) == Some(word) {
                configs.insert(id, config.clone());
            }
        })?;
        let wrong = self.wrong("the trials");
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT t.config, t.id, t.hash, t.state
                 FROM members m JOIN trials t ON t.id = m.trial
                 WHERE m.sweep = ?1 AND m.removed = 0 ORDER BY m.place, m.trial",
            )
            .map_err(wrong)?;
        let mut rows = statement.query([sweep.id]).map_err(wrong)?;
        let mut probes: Vec<Probe> = Vec::with_capacity(configs.len());
        let mut places: HashMap<i64, usize> = HashMap::new();
        while let Some(row) = rows.next().map_err(wrong)? {
            let id: i64 = row.get(0).map_err(wrong)?;
            if let Some(config) = configs.remove(&id) {
                places.insert(id, probes.len());
                probes.push((config, Vec::new()));
            }
            if let Some(place) = places.get(&id) {
                let trial = KnownTrial::read(row, 1, 2).map_err(wrong)?;
                probes[*place].1.push((trial, row.get(3).map_err(wrong)?));
            }
        }
        Ok(probes)
    }

    fn probe_config(
        &self,
        config: &Config,
        trials: &[(KnownTrial, String)],
        with_curve: bool,
    ) -> Result<wire::ProbeConfig, QueryError> {
        let p = config.number(Param::P).unwrap_or(0.0);
        let examples = config.count(Param::ValExamples);
        let examples = examples.unwrap_or_else(|| config.data.examples().validation);
        let mut found = Found::default();
        for (trial, state) in trials {
            match state.as_str() {
                "completed" => {
                    let epochs = self.epochs(*trial, p)?;
                    let points: Vec<Point> = epochs.iter().map(|(_, point)| *point).collect();
                    found.add(rise::course(&points, examples));
                    found.curve.extend(epochs.iter().filter(|_| with_curve));
                }
                "diverged" => found.counts.diverged += 1,
                "failed" => found.counts.failed += 1,
                _ => found.counts.unfinished += 1,
            }
        }
        Ok(found.answer())
    }

    /// The history of a trial: epoch, rate and validation error.
    fn epochs(&self, trial: KnownTrial, p: f64) -> Result<Vec<(u32, Point)>, QueryError> {
        let wrong = self.wrong("the epochs");
        let snapshot = self.snapshot()?;
        let recorded = trial::recorded(&snapshot, trial).map_err(wrong)?;
        let mut epochs = Vec::new();
        for part in history::parts(&recorded) {
            let page = trial::epochs_of(&snapshot, trial, part, u32::MAX).map_err(wrong)?;
            for epoch in page {
                let point = Point { rate: epoch.gate * p, val_error: epoch.val_error };
                epochs.push((epoch.epoch, point));
            }
        }
        Ok(epochs)
    }
}

/// A config with its trials and their states.
type Probe = (Config, Vec<(KnownTrial, String)>);

/// What the trials of a config show.
#[derive(Default)]
struct Found {
    rates: Vec<f64>,
    errors: Vec<f64>,
    level: u64,
    level_rate: Option<f64>,
    /// Trials without a rate.
    counts: wire::Summary,
    curve: Vec<(u32, Point)>,
}

impl Found {
    fn add(&mut self, course: Option<Course>) {
        match course {
            Some(Course::Rises(point)) => {
                self.rates.push(point.rate);
                self.errors.push(point.val_error);
            }
            Some(Course::Level { rate }) => {
                self.level += 1;
                self.level_rate = Some(self.level_rate.map_or(rate, |most| most.max(rate)));
            }
            None => {}
        }
    }

    fn answer(self) -> wire::ProbeConfig {
        let summary = |values: &[f64]| match statistics::summarise(values) {
            None => self.counts,
            Some(statistics::Summary { n, mean, std, min, max, median }) => {
                wire::Summary { n: n as u64, mean, std, min, max, median, ..self.counts }
            }
        };
        wire::ProbeConfig {
            config: Vec::new(),
            rate: Some(summary(&self.rates)),
            val_error: Some(summary(&self.errors)),
            level: self.level,
            level_rate: self.level_rate,
            curve: curve(&self.curve),
        }
    }
}

/// The means of each epoch, thinned out where they are many.
fn curve(epochs: &[(u32, Point)]) -> Vec<wire::ProbePoint> {
    let mut by_epoch: BTreeMap<u32, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for (epoch, point) in epochs.iter().filter(|(_, point)| point.val_error.is_finite()) {
        let (rates, errors) = by_epoch.entry(*epoch).or_default();
        rates.push(point.rate);
        errors.push(point.val_error);
    }
    let step = by_epoch.len().div_ceil(CURVE_POINTS_MAX).max(1);
    let mut points = Vec::new();
    for (epoch, (rates, errors)) in by_epoch.into_iter().step_by(step) {
        let mean = |values: &[f64]| statistics::summarise(values).map(|summary| summary.mean);
        if let (Some(rate), Some(val_error)) = (mean(&rates), mean(&errors)) {
            points.push(wire::ProbePoint { epoch, rate, val_error, n: errors.len() as u64 });
        }
    }
    points
}
