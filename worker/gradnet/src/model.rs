//! A stack of K trials of one model family: its tensors, and the forward pass.
//!
//! Members may differ in everything that `Trial` holds except what decides which tensors there are
//! (`common::params::fusion_key`). They are sorted by depth, deepest first.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use crate::GradnetError;
use crate::net::{Architecture, Net};
use crate::pass::{EpochTable, Moving, Pass, Route, StepGates, Streams};
use crate::stacked::{Builder, Parameter, Tensors, fitting};
use crate::trial::Trial;

/// A stack of networks.
#[derive(Debug)]
pub struct Model {
    pub(crate) trials: Vec<Trial>,
    architecture: Architecture,
    net: Box<dyn Net>,
    pub(crate) tensors: Tensors,
    pub(crate) kind: Kind,
    pub(crate) device: Device,
    pub(crate) route: Route,
    pub(crate) streams: Streams,
    /// What moves during the epoch in training; none on the host's route.
    pub(crate) table: RefCell<Option<EpochTable>>,
}

impl Model {
    /// A stack with initial weights. `trials` must be sorted by depth, deepest first.
    pub fn new(architecture: Architecture, trials: &[Trial], kind: Kind, device: Device) -> Model {
        let builder = Builder::new(trials, kind, device);
        Model::build(architecture, builder, Route::of(device))
    }

    pub(crate) fn build(
        architecture: Architecture,
        mut builder: Builder<'_>,
        route: Route,
    ) -> Model {
        let (trials, kind, device) = (builder.trials, builder.kind, builder.device);
        assert!(!trials.is_empty(), "a stack has a trial");
        assert!(trials.is_sorted_by(|a, b| a.depth >= b.depth), "deepest trial first");
        assert!(trials.iter().all(|trial| trial.depth >= 1), "a trial has a hidden layer");
        assert!(matches!(kind, Kind::Float | Kind::Double), "an fp32 or f64 model, not {kind:?}");
        let net = architecture.build(&mut builder);
        Model {
            trials: trials.to_vec(),
            architecture,
            net,
            tensors: builder.finish(),
            kind,
            device,
            route,
            streams: Streams::new(trials, device, route),
            table: RefCell::new(None),
        }
    }

    /// The members, deepest first.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// The model family with its sizes.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The stacked parameters in their fixed order: leaves that require a gradient.
    pub fn parameters(&self) -> &[Parameter] {
        &self.tensors.parameters
    }

    /// Every stacked tensor: the parameters, then the state that no gradient is taken of.
    pub fn tensors(&self) -> impl Iterator<Item = &Parameter> + Clone {
        self.tensors.parameters.iter().chain(&self.tensors.buffers)
    }

    /// Copies of one trial's own tensors, without the trial axis, by name.
    pub fn trial_tensors(&self, index: usize) -> Vec<(String, Tensor)> {
        assert!(index < self.trials.len(), "trial {index} of {}", self.trials.len());
        let own = self.tensors().filter(|parameter| index < parameter.trials);
        let copy = |parameter: &Parameter| {
            (parameter.name.clone(), parameter.tensor.detach().get(index as i64).copy())
        };
        own.map(copy).collect()
    }

    /// Sets one trial's tensors, in place, from what `trial_tensors` gave. Nothing is changed
    /// unless every tensor is there and fits.
    pub fn load_trial(
        &mut self,
        index: usize,
        tensors: &dyn Fn(&str) -> Option<Tensor>,
    ) -> Result<(), GradnetError> {
        assert!(index < self.trials.len(), "trial {index} of {}", self.trials.len());
        let mut pairs = Vec::new();
        for parameter in self.tensors().filter(|parameter| index < parameter.trials) {
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
        let shared = x.size3().expect("x is [K, B, inputs]").0;
        assert!(shared == trials || shared == 1, "x for {shared} of {trials} trials");
        assert_eq!(at.gates.len() as i64, trials, "one gate per trial");
        self.net.forward(x, &Pass::new(&Moving::new(self, at)))
    }

    /// Gradients of a scalar by parameter. A parameter of a component that no trial's gate lets
    /// through has a gradient of 0, as it has beside trials whose gates do.
    pub fn gradients(&self, scalar: &Tensor) -> Vec<Tensor> {
        let leaves = self.parameters().iter().map(|parameter| &parameter.tensor);
        let leaves = leaves.collect::<Vec<_>>();
        let mut gradients = Tensor::run_backward(&[scalar], &leaves, false, false);
        for (gradient, leaf) in gradients.iter_mut().zip(leaves) {
            if !gradient.defined() {
                *gradient = leaf.detach().zeros_like();
            }
        }
        gradients
    }

    /// The stack of these members alone, ascending indices, with the same values.
    pub fn select(&self, keep: &[usize]) -> Model {
        assert!(!keep.is_empty(), "a stack has a trial");
        assert!(keep.is_sorted_by(|a, b| a < b), "members in ascending order, each once");
        let trials = keep.iter().map(|&index| self.trials[index].clone()).collect::<Vec<_>>();
        let builder = Builder::select(&trials, self.kind, self.device, &self.tensors, keep);
        Model::build(self.architecture, builder, self.route)
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "reference_tests.rs"]
mod reference;
