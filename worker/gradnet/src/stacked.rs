//! The tensors of a stack: what a net is built of, and how it is built.
//!
//! A net asks its `Builder` for each tensor by name. The builder draws initial values for a new
//! stack, or takes the rows of members that stay from an older one, so that a net has one way of
//! being made. A tensor holds the first `trials` of the stack: the deepest trials come first.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use crate::GradnetError;
use crate::trial::Trial;

/// A tensor of the stack with a row per trial.
#[derive(Debug)]
pub struct Parameter {
    /// Such as `hidden.3.weight`.
    pub name: String,
    /// `[trials, …]`.
    pub tensor: Tensor,
    /// It holds trials `0..trials` of the stack.
    pub trials: usize,
}

/// What a finished builder has gathered.
#[derive(Debug)]
pub(crate) struct Tensors {
    /// Leaves that gradients are taken of, in their fixed order.
    pub parameters: Vec<Parameter>,
    /// State without gradients: running statistics.
    pub buffers: Vec<Parameter>,
}

/// Makes the tensors of a stack of trials.
#[derive(Debug)]
pub struct Builder<'a> {
    /// The members, deepest first.
    pub trials: &'a [Trial],
    /// f32 or f64.
    pub kind: Kind,
    /// Where the tensors lie.
    pub device: Device,
    kept: Option<HashMap<String, Tensor>>,
    tensors: Tensors,
}

impl<'a> Builder<'a> {
    /// A builder that draws initial values.
    pub(crate) fn new(trials: &'a [Trial], kind: Kind, device: Device) -> Builder<'a> {
        let tensors = Tensors { parameters: Vec::new(), buffers: Vec::new() };
        Builder { trials, kind, device, kept: None, tensors }
    }

    /// A builder of the members `keep` (ascending indices) of an older stack.
    pub(crate) fn select(
        trials: &'a [Trial],
        kind: Kind,
        device: Device,
        older: &Tensors,
        keep: &[usize],
    ) -> Builder<'a> {
        let rows = |parameter: &Parameter| {
            let rows = select_rows(&parameter.tensor, parameter.trials, keep)?;
            Some((parameter.name.clone(), rows))
        };
        let kept = older.parameters.iter().chain(&older.buffers).filter_map(rows).collect();
        Builder { kept: Some(kept), ..Builder::new(trials, kind, device) }
    }

    /// What was made.
    pub(crate) fn finish(self) -> Tensors {
        self.tensors
    }

    /// Trials with a hidden layer `layer`: the first ones, since the deepest are first.
    pub fn live(&self, layer: usize) -> usize {
        self.trials.partition_point(|trial| trial.depth > layer)
    }

    /// A leaf `[live, …]`; `initial` gives one trial's values without the trial axis.
    pub fn parameter(
        &mut self,
        name: String,
        live: usize,
        initial: impl Fn(&Trial) -> Tensor,
    ) -> Tensor {
        let tensor = self.tensor(&name, live, initial).set_requires_grad(true);
        let handle = tensor.shallow_clone();
        self.tensors.parameters.push(Parameter { name, tensor, trials: live });
        handle
    }

    /// A leaf `[K, size]` of one value.
    pub fn constant(&mut self, name: String, live: usize, size: &[usize], value: f64) -> Tensor {
        let size = size.iter().map(|&size| size as i64).collect::<Vec<_>>();
        self.parameter(name, live, |_| Tensor::full(&size, value, (Kind::Double, Device::Cpu)))
    }

    /// State `[K, size]` that no gradient is taken of, of one initial value.
    pub fn buffer(&mut self, name: String, size: usize, value: f64) -> Tensor {
        let live = self.trials.len();
        let initial = |_: &Trial| Tensor::full([size as i64], value, (Kind::Double, Device::Cpu));
        let tensor = self.tensor(&name, live, initial);
        let handle = tensor.shallow_clone();
        self.tensors.buffers.push(Parameter { name, tensor, trials: live });
        handle
    }

    fn tensor(&mut self, name: &str, live: usize, initial: impl Fn(&Trial) -> Tensor) -> Tensor {
        if let Some(kept) = &mut self.kept {
            let tensor = kept.remove(name).expect("the older stack had the same tensors");
            assert_eq!(tensor.size()[0], live as i64, "{name} holds the members that stay");
            return tensor;
        }
        let rows = self.trials[..live].iter().map(|trial| initial(trial).to_kind(self.kind));
        Tensor::stack(&rows.collect::<Vec<_>>(), 0).to_device(self.device)
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

/// The tensor, if it is there and has its parameter's shape and kind.
pub(crate) fn fitting(
    name: &str,
    found: Option<Tensor>,
    target: &Tensor,
) -> Result<Tensor, GradnetError> {
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
