//! Randomised ReLU: `max(0, x) + a·min(0, x)` with a = 1/U(3, 8) drawn per element in training and
//! a = 2/(3 + 8) = 1/5.5 in evaluation (Xu et al. 2015; treeano's `randomized_relu.py`). PyTorch's
//! `nn.RReLU` draws a itself uniformly instead, and has another mean.

use tch::Tensor;

use crate::activation::with_slope;
use crate::component::Component;
use crate::pass::Pass;

const LOW: f64 = 3.0;
const HIGH: f64 = 8.0;

/// Slope in evaluation.
pub const EVALUATION_SLOPE: f64 = 2.0 / (LOW + HIGH);

/// Random slopes of x of any layout.
#[derive(Clone, Copy, Debug)]
pub struct RRelu {
    /// Where in the generator's counter space the slopes are drawn.
    pub layer: u32,
}

impl Component for RRelu {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        match pass.uniforms(x, self.layer) {
            None => with_slope(x, EVALUATION_SLOPE),
            Some(uniforms) => {
                let slope = (uniforms * (HIGH - LOW) + LOW).reciprocal();
                x.internal_prelu_kernel(&slope.to_kind(x.kind()))
            }
        }
    }
}
