//! What a net is made of: something that maps activations to activations in one pass.

use std::fmt::Debug;

use tch::Tensor;

use crate::pass::Pass;

/// A component of a stack. It holds its tensors `[K, …]`, made by a `Builder`.
pub trait Component: Debug {
    /// Activations of the pass's trials, in the layout that they came in (see `pass`).
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor;
}

impl Component for Box<dyn Component> {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        self.as_ref().forward(x, pass)
    }
}

/// x itself.
#[derive(Clone, Copy, Debug)]
pub struct Identity;

impl Component for Identity {
    fn forward(&self, x: &Tensor, _pass: &Pass<'_>) -> Tensor {
        x.shallow_clone()
    }
}

/// One component after the other.
#[derive(Debug)]
pub struct Chain(pub Vec<Box<dyn Component>>);

impl Component for Chain {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let mut x = x.shallow_clone();
        for component in &self.0 {
            x = component.forward(&x, pass);
        }
        x
    }
}
