//! What each trial is, and what an undisturbed run makes of it: a function of the seed and the
//! trial alone, as the training of a real one is.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::config::{Config, Data, Model, Param, Value};
use common::ids::{AttemptId, TrialId};
use common::wire;
use scheduler::event::{OutcomeKind, Trial};

use crate::random::{Concern, Random};

/// How trials differ in this seed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kinds {
    pub diverging_per_mille: u64,
    pub poisoned_per_mille: u64,
    pub oversized_per_mille: u64,
    pub epochs_max: u64,
    pub epoch_ms_max: u64,
}

/// What becomes of a trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fate {
    /// Epochs until it ends.
    pub epochs: u32,
    /// Its loss becomes NaN in the last of them.
    pub diverges: bool,
    /// Its trainer dies in this epoch.
    pub poison: Option<u32>,
    /// No device has the memory for it.
    pub is_oversized: bool,
    pub epoch_ms: u64,
}

/// Every trial of a seed.
#[derive(Clone, Debug)]
pub(crate) struct Trials {
    seed: u64,
    kinds: Kinds,
    configs: Vec<Arc<Config>>,
}

impl Trials {
    pub fn new(seed: u64, kinds: Kinds) -> Trials {
        let shapes = [(2, 128), (5, 128), (2, 256)];
        let configs = shapes.map(|(depth, width)| {
            let values = BTreeMap::from([
                (Param::Depth, Value::Int(depth)),
                (Param::Width, Value::Int(width)),
                (Param::BatchSize, Value::Int(100)),
                (Param::Epochs, Value::Int(10)),
            ]);
            Arc::new(Config::new(Model::Mlp, Data::Strokes, values))
        });
        Trials { seed, kinds, configs: configs.to_vec() }
    }

    /// As the sweep file names it.
    pub fn trial(&self, id: u64) -> Trial {
        let config = usize::try_from(id % 3).expect("one of three");
        Trial { id: TrialId(id), config: self.configs[config].clone(), seed: id }
    }

    pub fn fate(&self, trial: TrialId) -> Fate {
        let mut random = Random::of(self.seed, Concern::Trials, trial.0);
        let epochs = random.between(1, self.kinds.epochs_max);
        let diverges = random.chance(self.kinds.diverging_per_mille);
        let is_poisoned = random.chance(self.kinds.poisoned_per_mille);
        let is_oversized = random.chance(self.kinds.oversized_per_mille);
        let poison = random.between(1, epochs);
        Fate {
            epochs: small(epochs),
            diverges,
            poison: is_poisoned.then_some(small(poison)),
            is_oversized,
            epoch_ms: random.between(200, self.kinds.epoch_ms_max),
        }
    }

    /// How it ends where nothing disturbs it.
    pub fn expected(&self, trial: TrialId) -> OutcomeKind {
        let fate = self.fate(trial);
        if fate.is_oversized || fate.poison.is_some() {
            OutcomeKind::Failed
        } else if fate.diverges {
            OutcomeKind::Diverged
        } else {
            OutcomeKind::Completed
        }
    }

    pub fn epoch_report(&self, attempt: AttemptId, epoch: u32) -> wire::EpochReport {
        wire::EpochReport {
            attempt: Some(to_wire(attempt)),
            epoch,
            val_error: val_error(attempt.trial, epoch),
            gate: 1.0,
            seconds: self.seconds(attempt.trial),
            examples: 1_000,
            examples_per_second: 1_000.0,
            ..wire::EpochReport::default()
        }
    }

    fn seconds(&self, trial: TrialId) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let milliseconds = self.fate(trial).epoch_ms as f64;
        milliseconds / 1_000.0
    }

    pub fn outcome(&self, attempt: AttemptId) -> wire::AttemptOutcome {
        let fate = self.fate(attempt.trial);
        let kind = match fate.diverges {
            true => wire::OutcomeKind::Diverged,
            false => wire::OutcomeKind::Completed,
        };
        let best = (!fate.diverges).then_some(fate.epochs);
        wire::AttemptOutcome {
            attempt: Some(to_wire(attempt)),
            kind: kind.into(),
            epochs: fate.epochs,
            best_epoch: best,
            val_error: best.map(|epoch| val_error(attempt.trial, epoch)),
            reason: format!("ended after epoch {}", fate.epochs),
            ..wire::AttemptOutcome::default()
        }
    }
}

/// A number that only this epoch of this trial has.
pub(crate) fn val_error(trial: TrialId, epoch: u32) -> f64 {
    let id = u32::try_from(trial.0).expect("trials of a simulation have small ids");
    f64::from(id) * 1e-3 + f64::from(epoch) * 1e-6
}

pub(crate) fn to_wire(attempt: AttemptId) -> wire::AttemptId {
    wire::AttemptId { trial: attempt.trial.to_string(), attempt: attempt.number }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).expect("a few epochs")
}
