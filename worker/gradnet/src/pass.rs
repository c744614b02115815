//! One forward pass: each trial's gate, and the slopes, weights and noise that follow from it.
//!
//! All of it is computed on the host from epoch and step. A CPU takes it from there. For another
//! device a whole epoch's values are moved at once, and a step reads its row where it is.
//!
//! Activations of dense layers are `[K, B, C]`, or `[B, C]` where one trial is left (see
//! `linear`); those of convolutions `[B, K·C, H, W]`. The rank tells which.

use std::cell::OnceCell;

use common::philox::{Philox, Purpose};
use tch::{Device, Kind, Tensor};

use crate::activation;
use crate::dropout::{self, Noise, Noises, Site};
use crate::init;
use crate::interpolate::Gate;
use crate::model::Model;
use crate::round_keys::RoundKeys;
use crate::trial::Trial;

/// Whether a pass trains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// A training step: dropout drops, batch statistics are used and kept.
    Train {
        /// Epoch of each trial, from 1.
        epochs: Vec<u32>,
        /// Step of the epoch, from 0.
        step: u32,
    },
    /// Evaluation: dropout is the identity, running statistics are used.
    Evaluate,
}

/// What one pass needs beside its input, from `Model::gates_at` or `Model::gates_after`.
#[derive(Debug)]
pub struct StepGates {
    /// Gate of each trial.
    pub gates: Vec<f64>,
    /// Training or evaluation.
    pub mode: Mode,
    /// `[VALUES, K]` in f64 on the device; none on the host's route.
    row: Option<Tensor>,
}

/// Where the random factors are drawn and values that differ are applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    /// By the processor: a CPU.
    Host,
    /// By tensor operations alone: any other device, where a step moves nothing from the host.
    Tensors,
}

impl Route {
    pub(crate) fn of(device: Device) -> Route {
        if device == Device::Cpu { Route::Host } else { Route::Tensors }
    }
}

/// The generators of a stack.
#[derive(Debug)]
pub(crate) struct Streams {
    dropout: Stream,
    slope: Stream,
}

/// Each trial's generator of one purpose, and the same on the device; none on the host's route.
#[derive(Debug)]
struct Stream {
    trials: Vec<Philox>,
    keys: Option<RoundKeys>,
}

impl Streams {
    pub(crate) fn new(trials: &[Trial], device: Device, route: Route) -> Streams {
        let stream = |purpose| {
            let trials = trials.iter().map(|trial| Philox::new(trial.seed, purpose));
            let trials = trials.collect::<Vec<_>>();
            let keys = match route {
                Route::Host => None,
                Route::Tensors => Some(RoundKeys::new(&trials, device)),
            };
            Stream { trials, keys }
        };
        Streams { dropout: stream(Purpose::Dropout), slope: stream(Purpose::Slope) }
    }
}

/// Values per step and trial: slope, threshold, kept, dropped, epoch, then a weight per gate.
const WEIGHTS: usize = 5;
const VALUES: usize = WEIGHTS + Gate::ALL.len();

/// The values of every step of an epoch, `[steps, VALUES, K]` in f64 on the device.
#[derive(Debug)]
pub(crate) struct EpochTable {
    pub(crate) epochs: Vec<u32>,
    steps: u32,
    pub(crate) values: Tensor,
}

impl Model {
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
        let after = |(trial, epoch): (&Trial, &u32)| trial.schedule.gate_after(*epoch);
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
        let at = |(trial, epoch): (&Trial, &u32)| trial.schedule.gate_at(*epoch, step, steps);
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
        for gate in Gate::ALL {
            values.extend(self.weights(gate, gates));
        }
    }

    fn slopes(&self, gates: &[f64]) -> Vec<f64> {
        let pairs = self.trials.iter().zip(gates);
        pairs.map(|(trial, gate)| trial.activation.slope(*gate)).collect()
    }

    fn noises(&self, gates: &[f64]) -> Vec<Noise> {
        self.trials.iter().zip(gates).map(|(trial, gate)| trial.dropout.noise(*gate)).collect()
    }

    fn weights(&self, which: Gate, gates: &[f64]) -> Vec<f64> {
        self.trials.iter().zip(gates).map(|(trial, gate)| trial.weight(which, *gate)).collect()
    }

    fn on_device(&self, values: &[f64]) -> Tensor {
        Tensor::from_slice(values).to_device(self.device)
    }
}

/// What moves, of every trial; what lies on the device is made when first asked for.
#[derive(Debug)]
pub(crate) struct Moving<'a> {
    model: &'a Model,
    at: &'a StepGates,
    slopes: Vec<f64>,
    noises: Vec<Noise>,
    weights: [Vec<f64>; Gate::ALL.len()],
    noises_on_device: OnceCell<Noises>,
}

impl<'a> Moving<'a> {
    pub(crate) fn new(model: &'a Model, at: &'a StepGates) -> Moving<'a> {
        let noises = match at.mode {
            Mode::Train { .. } => model.noises(&at.gates),
            Mode::Evaluate => Vec::new(),
        };
        Moving {
            model,
            at,
            slopes: model.slopes(&at.gates),
            noises,
            weights: Gate::ALL.map(|gate| model.weights(gate, &at.gates)),
            noises_on_device: OnceCell::new(),
        }
    }

    /// Values `index` of every trial, `[K]` in f64 on the device.
    fn raw(&self, index: usize) -> Tensor {
        let row = self.at.row.as_ref().expect("gates of a model on the tensors' route");
        row.get(index as i64)
    }

    fn noises_on_device(&self) -> Noises {
        let kind = self.model.kind;
        let column = |index: usize| self.raw(index).unsqueeze(1);
        Noises {
            threshold: column(1).to_kind(Kind::Int64),
            kept: column(2).to_kind(kind),
            dropped: column(3).to_kind(kind),
            epochs: column(4).to_kind(Kind::Int64),
        }
    }

    /// Epoch of each trial, `[K, 1]`, i64 on the device.
    fn epochs(&self) -> Tensor {
        self.raw(4).unsqueeze(1).to_kind(Kind::Int64)
    }
}

/// A forward pass over the first `live` trials of a stack.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    moving: &'a Moving<'a>,
    live: usize,
    application: u32,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(moving: &'a Moving<'a>) -> Pass<'a> {
        Pass { moving, live: moving.slopes.len(), application: 0 }
    }

    /// The same pass over the first `live` trials alone.
    pub fn of_first(&self, live: usize) -> Pass<'a> {
        assert!((1..=self.live).contains(&live), "{live} of {} trials", self.live);
        Pass { live, ..*self }
    }

    /// The same pass at another application of a layer that is applied several times: it draws
    /// other numbers.
    pub fn at_application(&self, application: u32) -> Pass<'a> {
        Pass { application, ..*self }
    }

    /// Number of trials.
    pub fn trials(&self) -> usize {
        self.live
    }

    /// Whether it is a training step.
    pub fn trains(&self) -> bool {
        matches!(self.moving.at.mode, Mode::Train { .. })
    }

    /// Each trial's weight of the late component.
    pub fn weights(&self, gate: Gate) -> &'a [f64] {
        &self.moving.weights[gate as usize][..self.live]
    }

    /// The same weights on x's device in x's kind, shaped to multiply x.
    pub fn weights_like(&self, gate: Gate, x: &Tensor) -> Tensor {
        let values = match self.moving.model.route {
            Route::Host => Tensor::from_slice(self.weights(gate)),
            Route::Tensors => self.moving.raw(WEIGHTS + gate as usize),
        };
        self.broadcast(&values.to_kind(x.kind()), x)
    }

    /// Values `[K, …]`, or a row `[K, C]` per channel, shaped to multiply activations x.
    pub fn broadcast(&self, values: &Tensor, x: &Tensor) -> Tensor {
        let live = self.live as i64;
        let values = values.narrow(0, 0, live);
        match x.size()[..] {
            [_, channels, _, _] => {
                let per_trial = values.view([live, -1]).expand([live, channels / live], false);
                per_trial.reshape([1, channels, 1, 1])
            }
            [_, _, _] => values.view([live, 1, -1]),
            [_, _] => values.view([1, -1]),
            _ => unreachable!("activations have two to four axes"),
        }
    }

    /// The activation whose slope follows from each trial's gate.
    pub fn rectified(&self, x: &Tensor) -> Tensor {
        let slopes = &self.moving.slopes[..self.live];
        activation::rectify(x, slopes, &|| self.broadcast(&self.moving.raw(0).to_kind(x.kind()), x))
    }

    /// Dropout at layer `layer` of activations x.
    pub fn dropped_out(&self, x: Tensor, layer: u32) -> Tensor {
        let moving = self.moving;
        let Mode::Train { epochs, step } = &moving.at.mode else {
            return x;
        };
        let noises = &moving.noises[..self.live];
        if noises.iter().all(Noise::is_none) {
            return x;
        }
        let shape = self.shape(&x);
        let stream = &moving.model.streams.dropout;
        let factors = match &stream.keys {
            Some(keys) => {
                let noises = moving.noises_on_device.get_or_init(|| moving.noises_on_device());
                noises.factors(keys, *step, layer, shape)
            }
            None => {
                let site = Site { epochs, step: *step, layer };
                dropout::factors(noises, &stream.trials[..self.live], site, shape, x.kind())
            }
        };
        let factors = self.as_activations(&factors, &x);
        x * factors
    }

    /// A uniform in [0, 1) for each element of activations x at layer `layer`, in f64; none in
    /// evaluation.
    pub fn uniforms(&self, x: &Tensor, layer: u32) -> Option<Tensor> {
        let Mode::Train { epochs, step } = &self.moving.at.mode else {
            return None;
        };
        let layer = init::at_application(layer, self.application);
        let shape = self.shape(x);
        let count = shape[1] * shape[2];
        let stream = &self.moving.model.streams.slope;
        let words = match &stream.keys {
            Some(keys) => {
                let words = keys.words(&self.moving.epochs(), *step, layer, shape[0], count);
                words.bitwise_right_shift_tensor_scalar(8i64).to_kind(Kind::Double)
                    / f64::from(1u32 << 24)
            }
            None => {
                let mut draws = vec![0.0f32; shape[0] as usize * count as usize];
                let rows = draws.chunks_exact_mut(count as usize);
                for ((row, philox), epoch) in rows.zip(&stream.trials).zip(epochs) {
                    philox.uniforms(*epoch, *step, layer, row);
                }
                Tensor::from_slice(&draws).to_kind(Kind::Double)
            }
        };
        Some(self.as_activations(&words.view(shape), x))
    }

    /// `[K, B, elements of an example]` of activations.
    fn shape(&self, x: &Tensor) -> [i64; 3] {
        let live = self.live as i64;
        let batch = match x.size()[..] {
            [batch, _, _, _] | [_, batch, _] | [batch, _] => batch,
            _ => unreachable!("activations have two to four axes"),
        };
        [live, batch, x.numel() as i64 / (live * batch)]
    }

    /// Values `[K, B, elements]` in the layout of activations x.
    fn as_activations(&self, values: &Tensor, x: &Tensor) -> Tensor {
        let size = x.size();
        match size[..] {
            [_, _, _, _] if self.live > 1 => values.transpose(0, 1).reshape(size.as_slice()),
            _ => values.view(size.as_slice()),
        }
    }
}
