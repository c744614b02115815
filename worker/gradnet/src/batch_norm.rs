//! Batch norm, and the gradual batch norm -> identity, `(1-g)·BN(x) + g·x`
//! (Almeida & Sauder 2015, "Gradual Batch Normalization"; treeano's
//! `GradualSimpleBatchNormalizationNode`).
//!
//! `BN(x) = γ·(x - mean)/sqrt(variance + 1e-5) + β` by channel over batch and places, γ and β
//! `[K, C]`; x `[B, K·C, H, W]`. In training the batch's own statistics, in evaluation their
//! exponential moving average of weight 0.05 (the paper's author's; the variance unbiased). His eps
//! is 1e-8; libtorch's kernels keep their accuracy in f32 from 1e-5 on. At gate 1 batch norm is not
//! computed, and an example evaluates alone exactly as in a batch.

use tch::Tensor;

use crate::component::Component;
use crate::interpolate::Gate;
use crate::pass::Pass;
use crate::stacked::Builder;

/// Kind of normalisation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Norm {
    /// None.
    None,
    /// Batch norm.
    Batch,
    /// From batch norm to none.
    GradualBatch,
}

impl Norm {
    /// Weight of the identity at this gate.
    pub fn weight(self, gate: f64) -> f64 {
        match self {
            Norm::None => 1.0,
            Norm::Batch => 0.0,
            Norm::GradualBatch => gate,
        }
    }
}

const AVERAGE_WEIGHT: f64 = 0.05;
const EPSILON: f64 = 1e-5;

/// Whether a stack normalises its convolutions.
pub fn is_in(builder: &Builder<'_>) -> bool {
    let without = builder.trials.iter().filter(|trial| trial.norm == Norm::None).count();
    assert!(
        without == 0 || without == builder.trials.len(),
        "a stack normalises all of its trials or none"
    );
    without == 0
}

/// Batch norm of a convolution's activations.
#[derive(Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
}

impl BatchNorm {
    /// Batch norm called `name` of `channels` channels.
    pub fn new(builder: &mut Builder<'_>, name: &str, channels: usize) -> BatchNorm {
        let live = builder.trials.len();
        BatchNorm {
            weight: builder.constant(format!("{name}.weight"), live, &[channels], 1.0),
            bias: builder.constant(format!("{name}.bias"), live, &[channels], 0.0),
            mean: builder.buffer(format!("{name}.mean"), channels, 0.0),
            variance: builder.buffer(format!("{name}.variance"), channels, 1.0),
        }
    }
}

impl Component for BatchNorm {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        // Trials lie side by side on the channel axis, so that their statistics stay apart.
        let flat = |tensor: &Tensor| Some(tensor.view([-1]));
        let apply = |mean: &Tensor, variance: &Tensor| {
            let (weight, bias) = (flat(&self.weight), flat(&self.bias));
            let (mean, variance, trains) = (flat(mean), flat(variance), pass.trains());
            x.batch_norm(weight, bias, mean, variance, trains, AVERAGE_WEIGHT, EPSILON, true)
        };
        let is_past = |&weight: &f64| weight == 1.0;
        if !pass.trains() || !pass.weights(Gate::Norm).iter().any(is_past) {
            return apply(&self.mean, &self.variance);
        }
        // A trial past normalisation would not have moved its statistics alone.
        let (mean, variance) = (self.mean.copy(), self.variance.copy());
        let y = apply(&mean, &variance);
        let is_past = pass.weights_like(Gate::Norm, &self.mean.unsqueeze(1)).eq(1.0).view([-1, 1]);
        for (kept, moved) in [(&self.mean, &mean), (&self.variance, &variance)] {
            kept.shallow_clone().copy_(&kept.where_self(&is_past, moved));
        }
        y
    }
}
