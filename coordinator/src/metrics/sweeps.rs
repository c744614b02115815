//! Series of sweeps and of the few trials that the picture lists.

use common::config::{Config, Param};
use prometheus::{GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Result};
use scheduler::overview::{ActiveTrial, SweepOverview, SweepState};

use super::registrar::{Registrar, gauge};

/// Trial series over all sweeps; one sweep alone is capped by the scheduler's picture.
pub(super) const TRIAL_SERIES_MAX: usize = 1_000;

/// Every state that a sweep can be in, as a label has it.
const SWEEP_STATES: [&str; 6] =
    ["running", "completed", "stopped", "paused", "cancelled", "waiting"];

pub(super) struct SweepSeries {
    trials: IntGaugeVec,
    sweep_state: IntGaugeVec,
    configs: IntGaugeVec,
    configs_done: IntGaugeVec,
    epochs_total: IntCounterVec,
    examples_total: IntCounterVec,
    best_val_error: GaugeVec,
    eta_seconds: GaugeVec,
    trial_val_error: GaugeVec,
    trial_gate: GaugeVec,
    trial_series_truncated: IntGauge,
}

impl SweepSeries {
    pub fn new(r: &Registrar<'_>) -> Result<SweepSeries> {
        let (sweep, of_state) = (&["sweep"], &["sweep", "state"]);
        let trial = &["sweep", "trial", "depth", "tau", "p", "activation"];
        let sweep_state = "1 for the state that a sweep is in, 0 for the others.";
        let configs_done = "Configs of which every seed has an outcome.";
        let examples = "Training examples seen since the coordinator started.";
        let best = "Lowest validation error of a sweep, as a fraction.";
        let of_trial =
            "Validation error of running trials and the best finished ones, as a fraction.";
        let truncated = "1 where running trials have no series.";
        Ok(SweepSeries {
            trials: r.int_gauge("trials", "Trials of a sweep by state.", of_state)?,
            sweep_state: r.int_gauge("sweep_state", sweep_state, of_state)?,
            configs: r.int_gauge("configs", "Configs of a sweep.", sweep)?,
            configs_done: r.int_gauge("configs_done", configs_done, sweep)?,
            epochs_total: r.counter("epochs_total", "Epochs trained.", sweep)?,
            examples_total: r.counter("examples_total", examples, sweep)?,
            best_val_error: r.gauge("best_val_error", best, sweep)?,
            eta_seconds: r.gauge("eta_seconds", "Seconds until the last trial ends.", sweep)?,
            trial_val_error: r.gauge("trial_val_error", of_trial, trial)?,
            trial_gate: r.gauge("trial_gate", "Gate of the last evaluation.", trial)?,
            trial_series_truncated: r.single_gauge("trial_series_truncated", truncated)?,
        })
    }

    pub fn set(&self, sweeps: &[SweepOverview]) {
        self.reset();
        let mut series_left = TRIAL_SERIES_MAX;
        let mut truncated = false;
        for sweep in sweeps {
            self.set_sweep(sweep);
            truncated |= sweep.active_truncated || sweep.active.len() > series_left;
            for trial in sweep.active.iter().take(series_left) {
                self.set_trial(sweep, trial);
            }
            series_left = series_left.saturating_sub(sweep.active.len());
        }
        self.trial_series_truncated.set(i64::from(truncated));
    }

    fn reset(&self) {
        for vector in [&self.trials, &self.sweep_state, &self.configs, &self.configs_done] {
            vector.reset();
        }
        for vector in [&self.epochs_total, &self.examples_total] {
            vector.reset();
        }
        let gauges =
            [&self.best_val_error, &self.eta_seconds, &self.trial_val_error, &self.trial_gate];
        for vector in gauges {
            vector.reset();
        }
    }

    fn set_sweep(&self, sweep: &SweepOverview) {
        let name = sweep.name.as_str();
        let counts = &sweep.counts;
        let states = [
            ("pending", counts.pending),
            ("running", counts.running),
            ("completed", counts.completed),
            ("diverged", counts.diverged),
            ("failed", counts.failed),
            ("cancelled", counts.cancelled),
            ("removed", counts.removed),
        ];
        for (state, count) in states {
            self.trials.with_label_values(&[name, state]).set(gauge(count));
        }
        for state in SWEEP_STATES {
            let is_in = state == state_name(&sweep.state);
            self.sweep_state.with_label_values(&[name, state]).set(i64::from(is_in));
        }
        self.configs.with_label_values(&[name]).set(gauge(sweep.configs));
        self.configs_done.with_label_values(&[name]).set(gauge(sweep.configs_done));
        self.epochs_total.with_label_values(&[name]).inc_by(sweep.epochs_total);
        self.examples_total.with_label_values(&[name]).inc_by(sweep.examples_total);
        if let Some((_, error)) = sweep.best {
            self.best_val_error.with_label_values(&[name]).set(error);
        }
        if let Some(seconds) = sweep.eta_seconds {
            self.eta_seconds.with_label_values(&[name]).set(seconds);
        }
    }

    fn set_trial(&self, sweep: &SweepOverview, trial: &ActiveTrial) {
        let id = trial.id.to_string();
        let [depth, tau, p, activation] = [Param::Depth, Param::Tau, Param::P, Param::Activation]
            .map(|param| label(&trial.config, param));
        let labels = [sweep.name.as_str(), &id, &depth, &tau, &p, &activation];
        if let Some(error) = trial.val_error {
            self.trial_val_error.with_label_values(&labels).set(error);
        }
        if let Some(value) = trial.gate {
            self.trial_gate.with_label_values(&labels).set(value);
        }
    }
}

fn state_name(state: &SweepState) -> &'static str {
    match state {
        SweepState::Running => "running",
        SweepState::Completed => "completed",
        SweepState::Stopped { .. } => "stopped",
        SweepState::Paused => "paused",
        SweepState::Cancelled => "cancelled",
        SweepState::Waiting { .. } => "waiting",
    }
}

/// Empty where the parameter has no effect on the trial.
fn label(config: &Config, param: Param) -> String {
    config.get(param).map_or_else(String::new, |value| value.to_string())
}
