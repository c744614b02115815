//! The paper's multilayer perceptron as a stack of K trials with ragged depth.
//!
//! `inputs -> depth × (linear to width, activation, dropout) -> linear to classes`. Trials are
//! sorted by depth, deepest first; hidden layer l holds only the first K_l trials, those that are
//! deep enough. Activations of trials that are through are split off and joined again before the
//! output layer, which every trial has.
//!
//! Parameters, in order: `hidden.0.weight` `[K_0, width, inputs]`, `hidden.0.bias` `[K_0, width]`,
//! …, `output.weight` `[K, classes, width]`, `output.bias` `[K, classes]`.

use tch::Tensor;

use super::{Net, with_trial_axis};
use crate::activation;
use crate::component::Component;
use crate::linear::Linear;
use crate::pass::Pass;
use crate::stacked::Builder;

/// A stack of multilayer perceptrons.
#[derive(Debug)]
pub(super) struct Mlp {
    hidden: Vec<Layer>,
    output: Linear,
}

/// A hidden layer of the first `live` trials.
#[derive(Debug)]
struct Layer {
    live: usize,
    linear: Linear,
    activation: Box<dyn Component>,
}

impl Mlp {
    pub(super) fn new(
        builder: &mut Builder<'_>,
        inputs: usize,
        width: usize,
        classes: usize,
    ) -> Mlp {
        let depth_max = builder.trials[0].depth;
        let mut hidden = Vec::with_capacity(depth_max);
        for layer in 0..depth_max {
            let (name, live) = (format!("hidden.{layer}"), builder.live(layer));
            let shape = [width, if layer == 0 { inputs } else { width }];
            let counter = counter(layer);
            let linear = Linear::new(builder, &name, live, shape, |trial| {
                trial.init.weight(trial.init_gain, trial.seed, counter, shape[0], shape[1])
            });
            let activation = activation::after(builder, &name, live, width, counter);
            hidden.push(Layer { live, linear, activation });
        }
        let trials = builder.trials.len();
        let output = Linear::new(builder, "output", trials, [classes, width], |trial| {
            trial.init.weight(1.0, trial.seed, counter(trial.depth), classes, width)
        });
        Mlp { hidden, output }
    }
}

impl Net for Mlp {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let trials = pass.trials();
        let (_, batch, inputs) = x.size3().expect("x is [K, B, inputs]");
        // Activations of one trial alone have no trial axis: see `linear`.
        let mut h = match trials {
            1 => x.squeeze_dim(0),
            _ => x.expand([trials as i64, batch, inputs], false),
        };
        let mut through = Vec::new();
        let mut pass = *pass;
        for (index, layer) in (0u32..).zip(&self.hidden) {
            let count = pass.trials();
            if layer.live < count {
                let sizes = [layer.live as i64, (count - layer.live) as i64];
                let mut parts = h.split_with_sizes(sizes, 0);
                through.push(parts.remove(1));
                h = parts.remove(0);
                if layer.live == 1 {
                    h = h.squeeze_dim(0);
                }
                pass = pass.of_first(layer.live);
            }
            h = layer.activation.forward(&layer.linear.forward(&h, &pass), &pass);
            h = pass.dropped_out(h, index);
        }
        if !through.is_empty() {
            through.push(if pass.trials() == 1 { h.unsqueeze(0) } else { h });
            through.reverse();
            h = Tensor::cat(&through, 0);
        }
        with_trial_axis(self.output.apply(&h), trials)
    }
}

fn counter(layer: usize) -> u32 {
    u32::try_from(layer).expect("a net has fewer than 2^32 layers")
}
