//! What moves during training: each trial's gate, and the slope and noise that follow from it.
//!
//! All of it is computed on the host from epoch and step. A CPU takes it from there. For another
//! device a whole epoch's values are moved at once, and a step reads its row where it is.

use std::cell::OnceCell;

use tch::{Device, Kind, Tensor};

use super::{Mlp, MlpTrial, Route};
use crate::dropout::{self, Noise, Noises, Site};

/// Whether a pass trains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// A training step: dropout drops.
    Train {
        /// Epoch of each trial, from 1.
        epochs: Vec<u32>,
        /// Step of the epoch, from 0.
        step: u32,
    },
    /// Evaluation: dropout is the identity.
    Evaluate,
}

/// What one pass needs beside its input, from `Mlp::gates_at` or `Mlp::gates_after`.
#[derive(Debug)]
pub struct StepGates {
    /// Gate of each trial.
    pub gates: Vec<f64>,
    /// Training or evaluation.
    pub mode: Mode,
    /// `[5, K]` in f64 on the device; none on the host's route.
    row: Option<Tensor>,
}

/// Values per step and trial: slope, threshold, kept, dropped, epoch.
const VALUES: usize = 5;

/// The values of every step of an epoch, `[steps, 5, K]` in f64 on the device.
#[derive(Debug)]
pub(super) struct EpochTable {
    pub(super) epochs: Vec<u32>,
    steps: u32,
    pub(super) values: Tensor,
}

impl Mlp {
    /// Training at `step` (from 0) of `steps_per_epoch`; trial k is in `epochs[k]` (from 1).
    pub fn gates_at(&self, epochs: &[u32], step: u32, steps_per_epoch: u32) -> StepGates {
        let gates = self.gates(epochs, step, steps_per_epoch);
        let row = match self.route {
            Route::Host => None,
            Route::Tensors => Some(self.row(epochs, step, steps_per_epoch)),
        };
        StepGates { gates, mode: Mode::Train { epochs: epochs.to_vec(), step }, row }
    }

    /// Evaluation after `epochs[k]` (from 1) of trial k.
    pub fn gates_after(&self, epochs: &[u32]) -> StepGates {
        assert_eq!(epochs.len(), self.trials.len(), "one epoch per trial");
        let after = |(trial, epoch): (&MlpTrial, &u32)| trial.schedule.gate_after(*epoch);
        let gates = self.trials.iter().zip(epochs).map(after).collect::<Vec<_>>();
        let row = match self.route {
            Route::Host => None,
            Route::Tensors => {
                let mut values = Vec::with_capacity(VALUES * gates.len());
                self.push_row(&mut values, &gates, epochs);
                Some(self.on_device(&values).view([VALUES as i64, -1]))
            }
        };
        StepGates { gates, mode: Mode::Evaluate, row }
    }

    fn gates(&self, epochs: &[u32], step: u32, steps: u32) -> Vec<f64> {
        assert_eq!(epochs.len(), self.trials.len(), "one epoch per trial");
        let at = |(trial, epoch): (&MlpTrial, &u32)| trial.schedule.gate_at(*epoch, step, steps);
        self.trials.iter().zip(epochs).map(at).collect()
    }

    /// One step's row of the epoch's table, which is made where the epoch is new.
    fn row(&self, epochs: &[u32], step: u32, steps: u32) -> Tensor {
        let mut table = self.table.borrow_mut();
        if !table.as_ref().is_some_and(|table| table.epochs == epochs && table.steps == steps) {
            let mut values = Vec::with_capacity(VALUES * epochs.len() * steps as usize);
            for step in 0..steps {
                self.push_row(&mut values, &self.gates(epochs, step, steps), epochs);
            }
            let values = self.on_device(&values).view([i64::from(steps), VALUES as i64, -1]);
            *table = Some(EpochTable { epochs: epochs.to_vec(), steps, values });
        }
        table.as_ref().expect("just made").values.get(i64::from(step))
    }

    fn push_row(&self, values: &mut Vec<f64>, gates: &[f64], epochs: &[u32]) {
        let noises = self.noises(gates);
        values.extend(self.slopes(gates));
        values.extend(noises.iter().map(|noise| Noises::threshold(*noise)));
        values.extend(noises.iter().map(|noise| noise.kept));
        values.extend(noises.iter().map(|noise| noise.dropped));
        values.extend(epochs.iter().map(|epoch| f64::from(*epoch)));
    }

    fn slopes(&self, gates: &[f64]) -> Vec<f64> {
        let pairs = self.trials.iter().zip(gates);
        pairs.map(|(trial, gate)| trial.activation.slope(*gate)).collect()
    }

    fn noises(&self, gates: &[f64]) -> Vec<Noise> {
        self.trials.iter().zip(gates).map(|(trial, gate)| trial.dropout.noise(*gate)).collect()
    }

    fn on_device(&self, values: &[f64]) -> Tensor {
        Tensor::from_slice(values).to_device(self.device())
    }

    fn device(&self) -> Device {
        self.parameters[0].tensor.device()
    }

    /// The slopes and noises of one pass.
    pub(super) fn moving<'a>(&'a self, at: &'a StepGates) -> Moving<'a> {
        let noises = match at.mode {
            Mode::Train { .. } => self.noises(&at.gates),
            Mode::Evaluate => Vec::new(),
        };
        Moving {
            model: self,
            at,
            slopes: self.slopes(&at.gates),
            noises,
            slopes_on_device: OnceCell::new(),
            noises_on_device: OnceCell::new(),
        }
    }
}

/// The slopes and noises of one pass; those on the device are made when first asked for.
pub(super) struct Moving<'a> {
    model: &'a Mlp,
    at: &'a StepGates,
    slopes: Vec<f64>,
    noises: Vec<Noise>,
    slopes_on_device: OnceCell<Tensor>,
    noises_on_device: OnceCell<Noises>,
}

impl Moving<'_> {
    /// Slope of each trial.
    pub(super) fn slopes(&self) -> &[f64] {
        &self.slopes
    }

    /// Slopes of the first `live` trials, `[live, 1, 1]`.
    pub(super) fn slopes_on_device(&self, live: i64) -> Tensor {
        let slopes = self.slopes_on_device.get_or_init(|| self.value(0).unsqueeze(2));
        slopes.narrow(0, 0, live)
    }

    /// Dropout after hidden layer `layer` on its activations `[live, B, C]`, or `[B, C]`.
    pub(super) fn dropped_out(&self, h: Tensor, layer: usize, live: usize) -> Tensor {
        let Mode::Train { epochs, step } = &self.at.mode else {
            return h;
        };
        let noises = &self.noises[..live];
        if noises.iter().all(Noise::is_none) {
            return h;
        }
        let size = h.size();
        let [.., batch, width] = size[..] else { unreachable!("activations have two axes") };
        let shape = [live as i64, batch, width];
        let layer = u32::try_from(layer).expect("a net has fewer than 2^32 layers");
        let (epochs, step) = (epochs.as_slice(), *step);
        let factors = match &self.model.keys {
            Some(keys) => {
                let noises = self.noises_on_device.get_or_init(|| self.noises());
                noises.factors(keys, step, layer, shape)
            }
            None => {
                let site = Site { epochs, step, layer };
                dropout::factors(noises, &self.model.streams[..live], site, shape, h.kind())
            }
        };
        h * factors.view(size.as_slice())
    }

    fn noises(&self) -> Noises {
        Noises {
            threshold: self.raw(1).to_kind(Kind::Int64),
            kept: self.value(2),
            dropped: self.value(3),
            epochs: self.raw(4).to_kind(Kind::Int64),
        }
    }

    /// One of the row's values, `[K, 1]` in the model's kind.
    fn value(&self, index: i64) -> Tensor {
        self.raw(index).to_kind(self.model.kind)
    }

    fn raw(&self, index: i64) -> Tensor {
        let row = self.at.row.as_ref().expect("gates of a model on the tensors' route");
        row.get(index).unsqueeze(1)
    }
}
