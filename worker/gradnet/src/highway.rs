//! Highway layers: `T·H(x) + (1-T)·x` with `T = sigmoid(W·x + b)`, b from -4, so that a layer
//! begins as almost the identity (Srivastava et al. 2015; the bias of treeano's `highway.py`).
//!
//! For layers of equal width alone: x and y `[B, K·C, H, W]`. H is convolution and activation, and
//! T a convolution of the same size.

use tch::Tensor;

use crate::component::{Chain, Component};
use crate::conv::{Conv, Shape};
use crate::init::{Part, counter};
use crate::pass::Pass;
use crate::stacked::Builder;

/// Bias of the gates before training.
const GATE_BIAS: f64 = -4.0;

/// A layer with its gates.
#[derive(Debug)]
struct Highway {
    transform: Chain,
    gate: Conv,
}

/// The highway layer whose H is `transform`; `name`, `shape` and `layer` are the transform's.
pub fn around(
    builder: &mut Builder<'_>,
    transform: Chain,
    name: &str,
    shape: Shape,
    layer: usize,
) -> Box<dyn Component> {
    let (name, place) = (format!("{name}.gate"), counter(layer, Part::Gate));
    let gate = Conv::new(builder, &name, shape, place, GATE_BIAS, |_| 1.0);
    Box::new(Highway { transform, gate })
}

impl Component for Highway {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let open = self.gate.forward(x, pass).sigmoid();
        x.lerp_tensor(&self.transform.forward(x, pass), &open)
    }
}
