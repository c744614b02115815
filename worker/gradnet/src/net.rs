//! The model families: which tensors each has, and its forward pass.

mod cnn;
mod mlp;
mod rnn;
mod stn;

use std::fmt::Debug;

use common::config;
use tch::Tensor;

use crate::pass::Pass;
use crate::stacked::Builder;

pub use stn::StnShape;

/// A stack's network.
pub(crate) trait Net: Debug {
    /// Logits `[K, B, classes]` of x `[K, B, inputs]`, or of x `[1, B, inputs]` that all share.
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor;
}

/// A model family with its sizes. An image's numbers are in the order `[C, H, W]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Architecture {
    /// The paper's multilayer perceptron.
    Mlp {
        /// Numbers of an example.
        inputs: usize,
        /// Units of a hidden layer.
        width: usize,
        /// Classes.
        classes: usize,
    },
    /// The CIFAR-10 network.
    Cnn {
        /// Channels, height and width of an image.
        image: [usize; 3],
        /// Channels of the first two layers; the other hidden ones have twice as many.
        width: usize,
        /// Classes.
        classes: usize,
    },
    /// The cluttered-MNIST classifier.
    Stn {
        /// Its sizes.
        shape: StnShape,
        /// Classes.
        classes: usize,
    },
    /// The row-by-row recurrent network.
    Rnn {
        /// Numbers of a row: one time step.
        columns: usize,
        /// Units of a hidden layer.
        width: usize,
        /// Classes.
        classes: usize,
    },
}

impl Architecture {
    /// The family's network for images `[C, H, W]`; `width` where the family has one.
    pub fn of(
        model: config::Model,
        image: [usize; 3],
        width: Option<usize>,
        classes: usize,
    ) -> Architecture {
        let width = width.unwrap_or(0);
        match model {
            config::Model::Mlp => {
                Architecture::Mlp { inputs: image.iter().product(), width, classes }
            }
            config::Model::Cnn => Architecture::Cnn { image, width, classes },
            config::Model::Stn => Architecture::Stn { shape: StnShape::PAPER, classes },
            config::Model::Rnn => {
                Architecture::Rnn { columns: image[0] * image[2], width, classes }
            }
        }
    }

    pub(crate) fn build(self, builder: &mut Builder<'_>) -> Box<dyn Net> {
        match self {
            Architecture::Mlp { inputs, width, classes } => {
                Box::new(mlp::Mlp::new(builder, inputs, width, classes))
            }
            Architecture::Cnn { image, width, classes } => {
                Box::new(cnn::Cnn::new(builder, image, width, classes))
            }
            Architecture::Stn { shape, classes } => {
                Box::new(stn::Stn::new(builder, shape, classes))
            }
            Architecture::Rnn { columns, width, classes } => {
                Box::new(rnn::Rnn::new(builder, columns, width, classes))
            }
        }
    }
}

/// Images `[B, K·C, H, W]` of x `[K, B, C·H·W]`, or `[B, C, H, W]` of x `[1, B, C·H·W]`.
fn images(x: &Tensor, [channels, height, width]: [usize; 3]) -> Tensor {
    let (trials, batch, inputs) = x.size3().expect("x is [K, B, inputs]");
    let image = [channels as i64, height as i64, width as i64];
    assert_eq!(inputs, image.iter().product::<i64>(), "x holds images of {image:?}");
    let [channels, height, width] = image;
    x.transpose(0, 1).reshape([batch, trials * channels, height, width])
}

/// Activations of dense layers of `[B, K·C, H, W]`: `[K, B, C·H·W]`, or `[B, C·H·W]` of one trial.
fn flattened(x: &Tensor, trials: usize) -> Tensor {
    let batch = x.size()[0];
    if trials == 1 {
        return x.reshape([batch, -1]);
    }
    x.reshape([batch, trials as i64, -1]).transpose(0, 1).contiguous()
}

/// Logits with a trial axis.
fn with_trial_axis(logits: Tensor, trials: usize) -> Tensor {
    if trials == 1 { logits.unsqueeze(0) } else { logits }
}
