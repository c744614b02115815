//! The GradNet component: `(1-g)·early(x) + g·late(x)` (Almeida & Sauder 2015, section 2).
//!
//! Any two components whose outputs have the same shape. Each trial of the stack has its own weight
//! g of the late one. Where g is 0 for every trial the late component is not computed, where it is
//! 1 the early one is not. A trial at exactly 0 or 1 among others gets its one component's output
//! untouched, so that an infinite value of the other cannot reach its output.

use tch::Tensor;

use crate::component::Component;
use crate::pass::Pass;

/// Which weight of a trial applies (`Trial::weight`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// The trial's gate itself.
    Schedule,
    /// Of max pooling against mean pooling.
    Pooling,
    /// Of the identity against batch norm.
    Norm,
    /// Of the convolution against the identity, or of the 1×1 against none.
    Conv,
    /// Of the spatial transformer against the mean.
    Transformer,
}

impl Gate {
    /// Every gate, in order.
    pub const ALL: [Gate; 5] =
        [Gate::Schedule, Gate::Pooling, Gate::Norm, Gate::Conv, Gate::Transformer];
}

/// From `early` at gate 0 to `late` at gate 1.
#[derive(Debug)]
pub struct Interpolate<E, L> {
    /// The easy form.
    pub early: E,
    /// The expressive form, with an output of the same shape.
    pub late: L,
    /// Whose weight it is.
    pub gate: Gate,
}

impl<E: Component, L: Component> Component for Interpolate<E, L> {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let weights = pass.weights(self.gate);
        if weights.iter().all(|&weight| weight == 0.0) {
            return self.early.forward(x, pass);
        }
        if weights.iter().all(|&weight| weight == 1.0) {
            return self.late.forward(x, pass);
        }
        let (early, late) = (self.early.forward(x, pass), self.late.forward(x, pass));
        assert_eq!(early.size(), late.size(), "outputs of one shape");
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return early.lerp(&late, weights[0]);
        }
        let weight = pass.weights_like(self.gate, &early);
        let mixed = early.lerp_tensor(&late, &weight);
        if weights.iter().all(|&weight| weight != 0.0 && weight != 1.0) {
            return mixed;
        }
        let mixed = early.where_self(&weight.eq(0.0), &mixed);
        late.where_self(&weight.eq(1.0), &mixed)
    }
}

#[cfg(test)]
#[path = "interpolate_tests.rs"]
mod tests;
