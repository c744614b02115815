//! The affine spatial transformer (Jaderberg et al. 2015), and the gradual mean -> transformer
//! (Almeida & Sauder 2015, "Gradual Spatial Transformer Networks").
//!
//! x `[B, K, 60, 60]`, or `[B, 1, 60, 60]` that all share, to y `[B, K, 20, 20]`. The transformer
//! samples x at `θ·(u, v, 1)` for (u, v) on a 20×20 grid over [-1, 1]², ends included, bilinear
//! with zeros outside; `θ = identity + localisation(x)`. The mean is that of 3×3 windows. Images
//! are in [0, 1]: zeros outside of another range make the transformer zoom out.

use tch::Tensor;

use crate::component::Component;
use crate::init;
use crate::interpolate::{Gate, Interpolate};
use crate::pass::Pass;

/// Kind of downsampling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transformer {
    /// The mean.
    None,
    /// The spatial transformer.
    Affine,
    /// From the mean to the transformer.
    Gradual,
}

impl Transformer {
    /// Weight of the transformer at this gate.
    pub fn weight(self, gate: f64) -> f64 {
        match self {
            Transformer::None => 0.0,
            Transformer::Affine => 1.0,
            Transformer::Gradual => gate,
        }
    }
}

/// Initial weights of the localisation net's last layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StnInit {
    /// Orthogonal, as the paper says of all of its layers: θ begins far from the identity.
    Orthogonal,
    /// N(0, 0.001²), as in its author's code.
    SmallNormal,
    /// Zero: θ begins at the identity.
    Zero,
}

const SMALL_DEVIATION: f64 = 1e-3;

impl StnInit {
    /// Weights `[outputs, inputs]` in f64 on the CPU.
    pub fn weight(self, seed: u64, counter: u32, outputs: usize, inputs: usize) -> Tensor {
        match self {
            StnInit::Orthogonal => {
                init::Init::Orthogonal.weight(1.0, seed, counter, outputs, inputs)
            }
            StnInit::SmallNormal => init::normal(SMALL_DEVIATION, seed, counter, outputs, inputs),
            StnInit::Zero => init::normal(0.0, seed, counter, outputs, inputs),
        }
    }
}

/// Side of x.
pub const INPUT_SIDE: usize = 60;
/// Side of y.
pub const OUTPUT_SIDE: usize = 20;
/// Numbers of an affine map of the plane.
pub const NUMBERS: usize = 6;

const WINDOW: i64 = (INPUT_SIDE / OUTPUT_SIDE) as i64;
/// Of libtorch's `grid_sampler`.
const BILINEAR: i64 = 0;
const ZEROS: i64 = 0;

/// From 60×60 to 20×20; without a localisation net it is the mean.
pub fn downsample(localisation: Option<Box<dyn Component>>) -> Box<dyn Component> {
    match localisation {
        None => Box::new(Mean),
        Some(localisation) => {
            let late = SpatialTransformer { localisation };
            Box::new(Interpolate { early: Mean, late, gate: Gate::Transformer })
        }
    }
}

/// Each trial's own copy of images that all share.
fn expanded(x: &Tensor, pass: &Pass<'_>) -> Tensor {
    x.expand([-1, pass.trials() as i64, -1, -1], false)
}

/// Mean of 3×3 windows.
#[derive(Clone, Copy, Debug)]
struct Mean;

impl Component for Mean {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let window = [WINDOW; 2];
        let mean = x.avg_pool2d(window, window, [0, 0], false, true, None::<i64>);
        expanded(&mean, pass)
    }
}

/// Samples where its localisation net says.
#[derive(Debug)]
struct SpatialTransformer {
    localisation: Box<dyn Component>,
}

impl Component for SpatialTransformer {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let offset = self.localisation.forward(x, pass);
        sampled(&expanded(x, pass), &offset, pass.trials())
    }
}

/// Images `[B, K, 60, 60]` sampled at θ = identity + `offset`, which is `[K, B, 6]`, or `[B, 6]` of
/// one trial: `[B, K, 20, 20]`.
pub fn sampled(x: &Tensor, offset: &Tensor, trials: usize) -> Tensor {
    let (batch, trials) = (x.size()[0], trials as i64);
    let (height, width) = (x.size()[2], x.size()[3]);
    let identity = Tensor::eye_m(2, 3, (x.kind(), x.device())).view([NUMBERS as i64]);
    let theta = (offset + identity).view([trials, batch, 2, 3]);
    let theta = theta.transpose(0, 1).reshape([batch * trials, 2, 3]);
    let side = OUTPUT_SIDE as i64;
    let grid = Tensor::affine_grid_generator(&theta, [batch * trials, 1, side, side], true);
    let images = x.reshape([batch * trials, 1, height, width]);
    let sampled = images.grid_sampler(&grid, BILINEAR, ZEROS, true);
    sampled.view([batch, trials, side, side])
}
