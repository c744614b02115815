//! Parametric ReLU: `max(0, x) + a·min(0, x)` with one learned slope a per channel, from 0.25
//! (He et al. 2015; the initial value as in treeano's `prelu.py`).
//!
//! a `[K, C]`; x `[K, B, C]` or `[B, K·C, H, W]`.

use tch::Tensor;

use crate::component::Component;
use crate::pass::Pass;
use crate::stacked::Builder;

/// Slope before training.
pub const INITIAL_SLOPE: f64 = 0.25;

/// Learned slopes.
#[derive(Debug)]
pub struct PRelu {
    slope: Tensor,
}

impl PRelu {
    /// Slopes of a layer with `channels` channels, for the first `live` trials.
    pub fn new(builder: &mut Builder<'_>, name: String, live: usize, channels: usize) -> PRelu {
        PRelu { slope: builder.constant(name, live, &[channels], INITIAL_SLOPE) }
    }
}

impl Component for PRelu {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        x.internal_prelu_kernel(&pass.broadcast(&self.slope, x))
    }
}
