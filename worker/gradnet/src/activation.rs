//! Activations: every one is a slope a of the negative part, `f(x) = max(0, x) + a·min(0, x)`.
//!
//! ReLU 0, leaky 0.01, very leaky 1/3, identity 1. GReLU is the gradual identity -> ReLU and
//! inverse GReLU the gradual |x| -> ReLU: `(1-g)·early(x) + g·relu(x)` is the slope 1-g and -(1-g),
//! so neither computes a second branch. Slopes of the leaky forms are those of the paper's first
//! author's code (treeano, `nodes/activations.py`), `1-g` is its `GradualReLUNode`. The learned
//! slope (`prelu`) and the random one (`rrelu`) have files of their own.

use tch::{Device, Tensor};

use crate::component::Component;
use crate::pass::Pass;
use crate::prelu::PRelu;
use crate::rrelu::{self, RRelu};
use crate::stacked::Builder;

/// Activation of the hidden layers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// max(0, x).
    Relu,
    /// Slope 0.01.
    LeakyRelu,
    /// Slope 1/3.
    VeryLeakyRelu,
    /// A learned slope per channel.
    PRelu,
    /// A random slope per element in training, a fixed one in evaluation.
    RRelu,
    /// Slope 1 - g: identity, gradually ReLU.
    GRelu,
    /// Slope -(1 - g): |x|, gradually ReLU.
    InverseGRelu,
    /// x.
    Identity,
}

impl Activation {
    /// Slope of the negative part at this gate: its initial value where it is learned, that of
    /// evaluation where it is random.
    pub fn slope(self, gate: f64) -> f64 {
        match self {
            Activation::Relu => 0.0,
            Activation::LeakyRelu => 0.01,
            Activation::VeryLeakyRelu => 1.0 / 3.0,
            Activation::PRelu => crate::prelu::INITIAL_SLOPE,
            Activation::RRelu => rrelu::EVALUATION_SLOPE,
            Activation::GRelu => 1.0 - gate,
            Activation::InverseGRelu => gate - 1.0,
            Activation::Identity => 1.0,
        }
    }
}

/// The activation after a layer of `channels` channels, for the first `live` trials. `name` is the
/// layer's, and `layer` its place among those that draw random numbers.
pub fn after(
    builder: &mut Builder<'_>,
    name: &str,
    live: usize,
    channels: usize,
    layer: u32,
) -> Box<dyn Component> {
    // Trials with learned or random slopes are in stacks of their own (`params::fusion_key`).
    let all = |activation| builder.trials.iter().all(|trial| trial.activation == activation);
    let any = |activation| builder.trials.iter().any(|trial| trial.activation == activation);
    if any(Activation::PRelu) {
        assert!(all(Activation::PRelu), "a stack learns slopes for all of its trials or for none");
        return Box::new(PRelu::new(builder, format!("{name}.slope"), live, channels));
    }
    if any(Activation::RRelu) {
        assert!(all(Activation::RRelu), "a stack draws slopes for all of its trials or for none");
        return Box::new(RRelu { layer });
    }
    Box::new(Rectified)
}

/// The activations whose slope follows from the gate.
#[derive(Clone, Copy, Debug)]
pub struct Rectified;

impl Component for Rectified {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        pass.rectified(x)
    }
}

/// Applies slope `slopes[k]` to trial k of activations x; one slope applies to x of any shape.
/// `on_device` is the same slopes in x's kind on its device, shaped to multiply x, which is only
/// asked for where they are needed.
///
/// Where all slopes agree it is one plain kernel. Where they differ, a CPU takes one kernel per run
/// of equal slopes (vectorised; PReLU's broadcast was measured five to twenty times slower there),
/// any other device takes PReLU's kernel with fixed slopes.
pub fn rectify(x: &Tensor, slopes: &[f64], on_device: &dyn Fn() -> Tensor) -> Tensor {
    let runs = slopes.chunk_by(|a, b| a == b).collect::<Vec<_>>();
    if let [run] = runs.as_slice() {
        return with_slope(x, run[0]);
    }
    let trials = slopes.len() as i64;
    let (axis, size) = match x.size()[..] {
        [_, channels, _, _] => (1, channels),
        [trials, ..] => (0, trials),
        [] => unreachable!("activations have axes"),
    };
    assert_eq!(size % trials, 0, "one slope per trial");
    if x.device() != Device::Cpu {
        return x.internal_prelu_kernel(&on_device());
    }
    let sizes = runs.iter().map(|run| run.len() as i64 * (size / trials)).collect::<Vec<_>>();
    let parts = x.split_with_sizes(sizes.as_slice(), axis);
    let parts = parts.iter().zip(runs);
    let parts = parts.map(|(part, run)| with_slope(part, run[0])).collect::<Vec<_>>();
    Tensor::cat(&parts, axis)
}

/// One slope for the whole tensor.
pub(crate) fn with_slope(x: &Tensor, slope: f64) -> Tensor {
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
