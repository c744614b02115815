//! Adam (Kingma & Ba 2015) over stacked tensors, with PyTorch's defaults and its rule of clipping.
//!
//! Learning rate, step count, clipping norm and whether a trial is alive are per trial, `[K]`. A
//! trial whose loss is not finite is masked at once: its parameters and moments stay as they are.
//! f32 on a CPU takes one fused pass over each tensor's memory; everything else takes `tensors`,
//! whose steps need no read-back from the device.

mod fused;
mod tensors;

use gradnet::stacked::{Parameter, select_rows};
use tch::{Device, Kind, Tensor};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;
/// Added to the norm before dividing by it, as `torch.nn.utils.clip_grad_norm_` does.
const CLIP_EPSILON: f64 = 1e-6;

/// What differs per trial.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    /// Learning rate.
    pub lr: f64,
    /// Largest norm of the trial's gradients; none = off.
    pub clip_norm: Option<f64>,
    /// Steps already taken.
    pub steps: u64,
}

/// The optimiser's state: moments `[K_l, …]` by parameter and scalars `[K]`.
#[derive(Debug)]
pub struct Adam {
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    scalars: Scalars,
}

/// Per-trial scalars, each `[K]` in f64 (`alive`: 1 or 0).
#[derive(Debug)]
struct Scalars {
    lr: Tensor,
    clip_norm: Tensor,
    steps: Tensor,
    alive: Tensor,
}

impl Adam {
    /// Zero moments for these parameters; one rate per trial of the stack.
    pub fn new(parameters: &[Parameter], rates: &[Rate], device: Device) -> Adam {
        let zeros = |parameter: &Parameter| parameter.tensor.detach().zeros_like();
        let column = |value: &dyn Fn(&Rate) -> f64| {
            let values = rates.iter().map(value).collect::<Vec<_>>();
            Tensor::from_slice(&values).to_device(device)
        };
        Adam {
            first: parameters.iter().map(zeros).collect(),
            second: parameters.iter().map(zeros).collect(),
            scalars: Scalars {
                lr: column(&|rate| rate.lr),
                clip_norm: column(&|rate| rate.clip_norm.unwrap_or(f64::INFINITY)),
                steps: column(&|rate| rate.steps as f64),
                alive: column(&|_| 1.0),
            },
        }
    }

    /// One step: `gradients` match `parameters`, `loss` is `[K]`. Returns the norm of each trial's
    /// gradients before clipping, `[K]` in f64.
    pub fn step(
        &mut self,
        parameters: &[Parameter],
        gradients: &[Tensor],
        loss: &Tensor,
    ) -> Tensor {
        assert_eq!(parameters.len(), gradients.len(), "one gradient per parameter");
        assert_eq!(parameters.len(), self.first.len(), "one moment per parameter");
        let on_cpu = loss.device() == Device::Cpu;
        let is_float = parameters.iter().all(|parameter| parameter.tensor.kind() == Kind::Float);
        // A guard, not `tch::no_grad`: a panic in between must not leave gradients off.
        let _guard = tch::no_grad_guard();
        match on_cpu && is_float {
            true => fused::step(self, parameters, gradients, loss),
            false => tensors::step(self, parameters, gradients, loss),
        }
    }

    /// Which trials had a finite loss in every step so far, `[K]`: 1 or 0. Reads the device.
    pub fn alive(&self) -> Vec<bool> {
        read(&self.scalars.alive).into_iter().map(|alive| alive > 0.0).collect()
    }

    /// Steps taken by trial. Reads the device.
    pub fn steps(&self) -> Vec<u64> {
        read(&self.scalars.steps).into_iter().map(|steps| steps as u64).collect()
    }

    /// The state with only these trials, ascending indices of the stack, whose parameters were
    /// `parameters`. A parameter that none of them has is dropped.
    pub fn select(&self, parameters: &[Parameter], keep: &[usize]) -> Adam {
        let indices = keep.iter().map(|&index| index as i64).collect::<Vec<_>>();
        let indices = Tensor::from_slice(&indices).to_device(self.scalars.lr.device());
        let rows = |moments: &[Tensor]| {
            let pairs = moments.iter().zip(parameters);
            pairs.filter_map(|(moment, p)| select_rows(moment, p.trials, keep)).collect()
        };
        let scalar = |tensor: &Tensor| tensor.index_select(0, &indices);
        Adam {
            first: rows(&self.first),
            second: rows(&self.second),
            scalars: Scalars {
                lr: scalar(&self.scalars.lr),
                clip_norm: scalar(&self.scalars.clip_norm),
                steps: scalar(&self.scalars.steps),
                alive: scalar(&self.scalars.alive),
            },
        }
    }

    /// One trial's moments by name, without the trial axis: copies.
    pub fn trial_moments(
        &self,
        parameters: &[Parameter],
        index: usize,
    ) -> Vec<(String, Tensor, Tensor)> {
        let mut moments = Vec::new();
        for (at, parameter) in parameters.iter().enumerate() {
            if index < parameter.trials {
                let row = |moment: &Tensor| moment.get(index as i64).copy();
                moments.push((parameter.name.clone(), row(&self.first[at]), row(&self.second[at])));
            }
        }
        moments
    }

    /// Sets one trial's moments from what `trial_moments` gave.
    pub fn load_trial(
        &mut self,
        parameters: &[Parameter],
        index: usize,
        moments: &dyn Fn(&str) -> Option<(Tensor, Tensor)>,
    ) -> Result<(), tch::TchError> {
        for (at, parameter) in parameters.iter().enumerate() {
            if index >= parameter.trials {
                continue;
            }
            let missing = || tch::TchError::Shape(format!("no moments of {}", parameter.name));
            let (first, second) = moments(&parameter.name).ok_or_else(missing)?;
            self.first[at].get(index as i64).f_copy_(&first)?;
            self.second[at].get(index as i64).f_copy_(&second)?;
        }
        Ok(())
    }
}

fn read(tensor: &Tensor) -> Vec<f64> {
    let host = tensor.to_device(Device::Cpu);
    Vec::<f64>::try_from(&host).expect("a [K] tensor of f64")
}

#[cfg(test)]
mod tests;
