//! Linear layers of a stack: `y[k] = x[k]·W[k]ᵀ + b[k]`.
//!
//! W `[K, out, in]`, b `[K, out]`; x `[K, B, in]` and y `[K, B, out]`, or `[B, in]` and `[B, out]`
//! where K = 1: without the trial axis a layer of one trial is the product that a plain model runs,
//! and costs no views of its activations.

use tch::Tensor;

use crate::component::Component;
use crate::pass::Pass;
use crate::stacked::Builder;
use crate::trial::Trial;

/// Weights and biases of a layer.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// A layer called `name` of the first `live` trials, `shape` outputs × inputs, whose bias
    /// starts at 0; `initial` gives a trial's weights `[out, in]`.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        live: usize,
        shape: [usize; 2],
        initial: impl Fn(&Trial) -> Tensor,
    ) -> Linear {
        let weight = builder.parameter(format!("{name}.weight"), live, initial);
        let bias = builder.constant(format!("{name}.bias"), live, &shape[..1], 0.0);
        Linear { weight, bias }
    }

    /// y of x.
    pub fn apply(&self, x: &Tensor) -> Tensor {
        forward(x, &self.weight, &self.bias)
    }
}

impl Component for Linear {
    fn forward(&self, x: &Tensor, _pass: &Pass<'_>) -> Tensor {
        self.apply(x)
    }
}

/// Applies the layer. One trial takes the kernel of a plain model. Several are one batched product,
/// which was measured no slower per trial than one by one on a CPU.
pub fn forward(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    if weight.size()[0] == 1 {
        return x.linear(&weight.squeeze_dim(0), Some(&bias.squeeze_dim(0)));
    }
    bias.unsqueeze(1).baddbmm(x, &weight.transpose(1, 2), 1.0, 1.0)
}
