//! The paper's multilayer perceptron as a stack of K trials with ragged depth.
//!
//! `inputs -> depth × (linear to width, activation, dropout) -> linear to classes`. Trials are
//! sorted by depth, deepest first; hidden layer l holds only the first K_l trials, those that are
//! deep enough. Activations of trials that are through are split off and joined again before the
//! output layer, which every trial has.
//!
//! Parameters, in order: `hidden.0.weight` `[K_0, width, inputs]`, `hidden.0.bias` `[K_0, width]`,
//! …, `output.weight` `[K, classes, width]`, `output.bias` `[K, classes]`.

mod moving;
mod trial;

use std::cell::RefCell;

use common::philox::{Philox, Purpose};
use tch::{Device, Kind, Tensor};

use crate::dropout::RoundKeys;
use crate::{GradnetError, activation, linear};
use moving::EpochTable;

pub use moving::{Mode, StepGates};
pub use trial::MlpTrial;

/// A leaf of the stack that gradients are taken of.
#[derive(Debug)]
pub struct Parameter {
    /// Such as `hidden.3.weight`.
    pub name: String,
    /// `[trials, …]`.
    pub tensor: Tensor,
    /// It holds trials `0..trials` of the stack.
    pub trials: usize,
}

/// Where the random factors are drawn and slopes that differ are applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    /// By the processor: a CPU.
    Host,
    /// By tensor operations alone: any other device, where a step moves nothing from the host.
    Tensors,
}

/// A stack of multilayer perceptrons.
#[derive(Debug)]
pub struct Mlp {
    trials: Vec<MlpTrial>,
    parameters: Vec<Parameter>,
    kind: Kind,
    route: Route,
    /// Dropout's generators.
    streams: Vec<Philox>,
    /// The same on the device; none on the host's route.
    keys: Option<RoundKeys>,
    /// What moves during the epoch in training; none on the host's route.
    table: RefCell<Option<EpochTable>>,
}

impl Mlp {
    /// A stack with initial weights. `trials` must be sorted by depth, deepest first.
    pub fn new(
        trials: &[MlpTrial],
        inputs: usize,
        width: usize,
        classes: usize,
        kind: Kind,
        device: Device,
    ) -> Mlp {
        assert!(trials.is_sorted_by(|a, b| a.depth >= b.depth), "deepest trial first");
        assert!(trials.iter().all(|trial| trial.depth >= 1), "a trial has a hidden layer");
        let depth_max = trials.first().expect("a stack has a trial").depth;
        let options = (kind, device);
        let mut parameters = Vec::with_capacity(2 * depth_max + 2);
        for layer in 0..depth_max {
            let live = live(trials, layer);
            let fan_in = if layer == 0 { inputs } else { width };
            let weight = |trial: &MlpTrial| trial.hidden_weight(layer, width, fan_in);
            let weight = stacked(&trials[..live], options, weight);
            push_layer(&mut parameters, &format!("hidden.{layer}"), weight);
        }
        let weight = |trial: &MlpTrial| trial.output_weight(classes, width);
        push_layer(&mut parameters, "output", stacked(trials, options, weight));
        let route = if device == Device::Cpu { Route::Host } else { Route::Tensors };
        Mlp::of(trials.to_vec(), parameters, kind, device, route)
    }

    fn of(
        trials: Vec<MlpTrial>,
        parameters: Vec<Parameter>,
        kind: Kind,
        device: Device,
        route: Route,
    ) -> Mlp {
        assert!(matches!(kind, Kind::Float | Kind::Double), "an fp32 or f64 model, not {kind:?}");
        let stream = |trial: &MlpTrial| Philox::new(trial.seed, Purpose::Dropout);
        let streams = trials.iter().map(stream).collect::<Vec<_>>();
        let keys = match route {
            Route::Host => None,
            Route::Tensors => Some(RoundKeys::new(&streams, device)),
        };
        Mlp { trials, parameters, kind, route, streams, keys, table: RefCell::new(None) }
    }

    /// The members, deepest first.
    pub fn trials(&self) -> &[MlpTrial] {
        &self.trials
    }

    /// The stacked parameters in their fixed order: leaves that require a gradient.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Copies of one trial's own parameters, without the trial axis, by name.
    pub fn trial_parameters(&self, index: usize) -> Vec<(String, Tensor)> {
        assert!(index < self.trials.len(), "trial {index} of {}", self.trials.len());
        let own = self.parameters.iter().filter(|parameter| index < parameter.trials);
        let copy = |parameter: &Parameter| {
            (parameter.name.clone(), parameter.tensor.detach().get(index as i64).copy())
        };
        own.map(copy).collect()
    }

    /// Sets one trial's parameters, in place, from what `trial_parameters` gave. Nothing is changed
    /// unless every tensor is there and fits.
    pub fn load_trial(
        &mut self,
        index: usize,
        tensors: &dyn Fn(&str) -> Option<Tensor>,
    ) -> Result<(), GradnetError> {
        assert!(index < self.trials.len(), "trial {index} of {}", self.trials.len());
        let mut pairs = Vec::new();
        for parameter in self.parameters.iter().filter(|parameter| index < parameter.trials) {
            let target = parameter.tensor.detach().get(index as i64);
            let source = fitting(&parameter.name, tensors(&parameter.name), &target)?;
            pairs.push((&parameter.name, target, source));
        }
        let _guard = tch::no_grad_guard();
        for (name, mut target, source) in pairs {
            let copied = target.f_copy_(&source);
            copied.map_err(|source| GradnetError::Copy { name: name.clone(), source })?;
        }
        Ok(())
    }

    /// Logits `[K, B, classes]` of x `[K, B, inputs]`, or of x `[1, B, inputs]` that all share.
    pub fn forward(&self, x: &Tensor, at: &StepGates) -> Tensor {
        let trials = self.trials.len() as i64;
        let (shared, batch, inputs) = x.size3().expect("x is [K, B, inputs]");
        assert!(shared == trials || shared == 1, "x for {shared} of {trials} trials");
        assert_eq!(at.gates.len() as i64, trials, "one gate per trial");
        let moving = self.moving(at);
        // Activations of one trial alone have no trial axis: see `linear`.
        let mut h = match trials {
            1 => x.squeeze_dim(0),
            _ => x.expand([trials, batch, inputs], false),
        };
        let mut through = Vec::new();
        let mut count = trials;
        let (output, hidden) = self.layers();
        for (layer, [weight, bias]) in hidden.iter().enumerate() {
            let live = weight.trials as i64;
            if live < count {
                let mut parts = h.split_with_sizes([live, count - live], 0);
                through.push(parts.remove(1));
                h = parts.remove(0);
                if live == 1 {
                    h = h.squeeze_dim(0);
                }
                count = live;
            }
            h = linear::forward(&h, &weight.tensor, &bias.tensor);
            let slopes = &moving.slopes()[..weight.trials];
            h = activation::rectify(&h, slopes, &|| moving.slopes_on_device(live));
            h = moving.dropped_out(h, layer, weight.trials);
        }
        if !through.is_empty() {
            through.push(if count == 1 { h.unsqueeze(0) } else { h });
            through.reverse();
            h = Tensor::cat(&through, 0);
        }
        let logits = linear::forward(&h, &output[0].tensor, &output[1].tensor);
        if trials == 1 { logits.unsqueeze(0) } else { logits }
    }

    /// The stack of these members alone, ascending indices, with the same values.
    pub fn select(&self, keep: &[usize]) -> Mlp {
        assert!(!keep.is_empty(), "a stack has a trial");
        assert!(keep.is_sorted_by(|a, b| a < b), "members in ascending order, each once");
        let trials = keep.iter().map(|&index| self.trials[index].clone()).collect();
        let rows = |parameter: &Parameter| {
            let tensor = select_rows(&parameter.tensor, parameter.trials, keep)?;
            let trials = keep.iter().filter(|&&index| index < parameter.trials).count();
            let tensor = tensor.set_requires_grad(true);
            Some(Parameter { name: parameter.name.clone(), tensor, trials })
        };
        let parameters = self.parameters.iter().filter_map(rows).collect();
        let device = self.parameters[0].tensor.device();
        Mlp::of(trials, parameters, self.kind, device, self.route)
    }

    /// The output layer's weight and bias, and those of the hidden layers in order.
    fn layers(&self) -> (&[Parameter; 2], &[[Parameter; 2]]) {
        let (layers, rest) = self.parameters.as_chunks::<2>();
        assert!(rest.is_empty(), "a weight and a bias per layer");
        layers.split_last().expect("a stack has an output layer")
    }
}

/// Rows `keep` (ascending indices of the stack) of a tensor `[trials, …]` that holds the stack's
/// first `trials`: a copy without history. None where it holds none of them.
pub fn select_rows(tensor: &Tensor, trials: usize, keep: &[usize]) -> Option<Tensor> {
    let rows = keep.iter().filter(|&&index| index < trials).map(|&index| index as i64);
    let rows = rows.collect::<Vec<_>>();
    if rows.is_empty() {
        return None;
    }
    let rows = Tensor::from_slice(&rows).to_device(tensor.device());
    Some(tensor.detach().index_select(0, &rows))
}

/// Trials with a hidden layer `layer`: the first ones, since the deepest are first.
fn live(trials: &[MlpTrial], layer: usize) -> usize {
    trials.partition_point(|trial| trial.depth > layer)
}

/// `[K, out, in]` of each trial's weights.
fn stacked(
    trials: &[MlpTrial],
    options: (Kind, Device),
    weight: impl Fn(&MlpTrial) -> Tensor,
) -> Tensor {
    let weights = trials.iter().map(|trial| weight(trial).to_kind(options.0));
    Tensor::stack(&weights.collect::<Vec<_>>(), 0).to_device(options.1)
}

/// Adds a layer's weight `[K, out, in]` and its bias, 0.
fn push_layer(parameters: &mut Vec<Parameter>, layer: &str, weight: Tensor) {
    let (count, outputs, _) = weight.size3().expect("weights are [K, out, in]");
    let trials = usize::try_from(count).expect("a size is not negative");
    let bias = Tensor::zeros([count, outputs], (weight.kind(), weight.device()));
    for (name, tensor) in [("weight", weight), ("bias", bias)] {
        let tensor = tensor.set_requires_grad(true);
        parameters.push(Parameter { name: format!("{layer}.{name}"), tensor, trials });
    }
}

/// The tensor, if it is there and has its parameter's shape and kind.
fn fitting(name: &str, found: Option<Tensor>, target: &Tensor) -> Result<Tensor, GradnetError> {
    let name = || name.to_owned();
    let tensor = found.ok_or_else(|| GradnetError::MissingTensor { name: name() })?;
    let (found, expected) = (tensor.size(), target.size());
    if found != expected {
        return Err(GradnetError::WrongShape { name: name(), found, expected });
    }
    let (found, expected) = (tensor.kind(), target.kind());
    if found != expected {
        return Err(GradnetError::WrongKind { name: name(), found, expected });
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests;
