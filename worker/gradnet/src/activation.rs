//! Activations: every one here is a slope a of the negative part, `f(x) = max(0, x) + a·min(0, x)`.
//!
//! ReLU 0, leaky 0.01, very leaky 1/3, identity 1. GReLU is the gradual identity -> ReLU and
//! inverse GReLU the gradual |x| -> ReLU: `(1-g)·early(x) + g·relu(x)` is the slope 1-g and -(1-g),
//! so neither computes a second branch. Slopes of the leaky forms are those of the paper's first
//! author's code (treeano, `nodes/activations.py`), `1-g` is its `GradualReLUNode`.

use tch::{Device, Tensor};

/// Activation of the hidden layers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// max(0, x).
    Relu,
    /// Slope 0.01.
    LeakyRelu,
    /// Slope 1/3.
    VeryLeakyRelu,
    /// Slope 1 - g: identity, gradually ReLU.
    GRelu,
    /// Slope -(1 - g): |x|, gradually ReLU.
    InverseGRelu,
    /// x.
    Identity,
}

impl Activation {
    /// Slope of the negative part at this gate.
    pub fn slope(self, gate: f64) -> f64 {
        match self {
            Activation::Relu => 0.0,
            Activation::LeakyRelu => 0.01,
            Activation::VeryLeakyRelu => 1.0 / 3.0,
            Activation::GRelu => 1.0 - gate,
            Activation::InverseGRelu => gate - 1.0,
            Activation::Identity => 1.0,
        }
    }
}

/// Applies slope `slopes[k]` to trial k of x `[K, …]`; one slope applies to x of any shape.
/// `on_device` is the same slopes as `[K, 1, 1]` in x's kind on its device, which is only asked for
/// where they are needed.
///
/// Where all slopes agree it is one plain kernel. Where they differ, a CPU takes one kernel per run
/// of equal slopes (vectorised; PReLU's broadcast was measured five to twenty times slower there),
/// any other device takes PReLU's kernel with fixed slopes.
pub fn rectify(x: &Tensor, slopes: &[f64], on_device: &dyn Fn() -> Tensor) -> Tensor {
    let runs = slopes.chunk_by(|a, b| a == b).collect::<Vec<_>>();
    if let [run] = runs.as_slice() {
        return with_slope(x, run[0]);
    }
    assert_eq!(x.size()[0], slopes.len() as i64, "one slope per trial");
    if x.device() != Device::Cpu {
        return x.internal_prelu_kernel(&on_device());
    }
    let sizes = runs.iter().map(|run| run.len() as i64).collect::<Vec<_>>();
    let parts = x.split_with_sizes(sizes.as_slice(), 0);
    let parts = parts.iter().zip(runs);
    let parts = parts.map(|(part, run)| with_slope(part, run[0])).collect::<Vec<_>>();
    Tensor::cat(&parts, 0)
}

/// One slope for the whole tensor.
fn with_slope(x: &Tensor, slope: f64) -> Tensor {
    if slope == 0.0 {
        return x.relu();
    }
    if slope == 1.0 {
        return x.shallow_clone();
    }
    // tch's `leaky_relu` has no slope argument. Its derivative's kernel computes the same function,
    // `grad·(x > 0 ? 1 : slope)` with grad = x, and is differentiable in grad with the same kernel.
    x.detach().leaky_relu_backward(x, slope, false)
}
