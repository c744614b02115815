//! Convolutions of a stack, and the unit that a convolutional net repeats.
//!
//! W `[K, out, in, k, k]`, b `[K, out]`; x `[B, K·in, H, W]` and y `[B, K·out, H', W']`: the trials
//! are the groups of one convolution. x of `in` channels is read by every trial.

use tch::Tensor;

use crate::activation;
use crate::batch_norm::{self, BatchNorm};
use crate::component::{Chain, Component};
use crate::interpolate::{Gate, Interpolate};
use crate::pass::Pass;
use crate::stacked::Builder;
use crate::trial::Trial;

/// Kind of convolution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConvKind {
    /// A convolution.
    Plain,
    /// From the identity to the convolution.
    IdentityToConv,
    /// From the convolution to the convolution with a 1×1 after it.
    ConvToNin,
    /// The convolution with a 1×1 after it.
    Nin,
    /// A gated sum of the convolution and its input.
    Highway,
}

impl ConvKind {
    /// Weight of the late component at this gate.
    pub fn weight(self, gate: f64) -> f64 {
        match self {
            ConvKind::Plain | ConvKind::Nin | ConvKind::Highway => 1.0,
            ConvKind::IdentityToConv | ConvKind::ConvToNin => gate,
        }
    }
}

/// Size of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Channels of x.
    pub inputs: usize,
    /// Channels of y.
    pub outputs: usize,
    /// Side of the filter.
    pub side: usize,
    /// Zeros around x.
    pub padding: usize,
}

/// Filters of a layer, and its biases unless they are added elsewhere.
#[derive(Debug)]
pub struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
    padding: i64,
}

impl Conv {
    /// A convolution called `name` whose bias starts at `bias`. `counter` is its place among the
    /// initial weights, `gain` a trial's factor on them.
    pub fn new(
        builder: &mut Builder<'_>,
        name: &str,
        shape: Shape,
        counter: u32,
        bias: f64,
        gain: impl Fn(&Trial) -> f64,
    ) -> Conv {
        let conv = Conv::without_bias(builder, name, shape, counter, gain);
        Conv { bias: Some(biases(builder, name, shape.outputs, bias)), ..conv }
    }

    fn without_bias(
        builder: &mut Builder<'_>,
        name: &str,
        shape: Shape,
        counter: u32,
        gain: impl Fn(&Trial) -> f64,
    ) -> Conv {
        let live = builder.trials.len();
        let Shape { inputs, outputs, side, padding } = shape;
        let weight = builder.parameter(format!("{name}.weight"), live, |trial| {
            let columns = inputs * side * side;
            let flat = trial.init.weight(gain(trial), trial.seed, counter, outputs, columns);
            flat.view([outputs as i64, inputs as i64, side as i64, side as i64])
        });
        Conv { weight, bias: None, padding: padding as i64 }
    }
}

/// `[K, C]`.
fn biases(builder: &mut Builder<'_>, name: &str, channels: usize, value: f64) -> Tensor {
    let live = builder.trials.len();
    builder.constant(format!("{name}.bias"), live, &[channels], value)
}

impl Component for Conv {
    fn forward(&self, x: &Tensor, _pass: &Pass<'_>) -> Tensor {
        let filters = self.weight.flatten(0, 1);
        let bias = self.bias.as_ref().map(|bias| bias.view([-1]));
        let groups = x.size()[1] / filters.size()[1];
        x.conv2d(&filters, bias.as_ref(), [1, 1], [self.padding; 2], [1, 1], groups)
    }
}

/// `x + b`, b `[K, C]`.
#[derive(Debug)]
struct Bias(Tensor);

impl Component for Bias {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        x + pass.broadcast(&self.0, x)
    }
}

/// Convolution, normalisation where the stack has it, activation: `name` and its parts.
///
/// Batch norm takes a bias out again, and what is left of its gradient is rounding, which Adam
/// would scale up to whole steps. So where there is normalisation the bias is added beside it:
/// `(1-g)·BN(conv(x)) + g·(conv(x) + b)`, which is the same function.
pub fn unit(builder: &mut Builder<'_>, name: &str, shape: Shape, counter: u32) -> Chain {
    let (live, channels) = (builder.trials.len(), shape.outputs);
    let gain = |trial: &Trial| trial.init_gain;
    let mut parts: Vec<Box<dyn Component>> = Vec::new();
    if batch_norm::is_in(builder) {
        parts.push(Box::new(Conv::without_bias(builder, name, shape, counter, gain)));
        let late = Bias(biases(builder, name, channels, 0.0));
        let early = BatchNorm::new(builder, &format!("{name}.norm"), channels);
        parts.push(Box::new(Interpolate { early, late, gate: Gate::Norm }));
    } else {
        parts.push(Box::new(Conv::new(builder, name, shape, counter, 0.0, gain)));
    }
    parts.push(activation::after(builder, name, live, channels, counter));
    Chain(parts)
}
