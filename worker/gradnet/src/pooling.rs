//! Pooling with a window of 3, stride 2 and padding 1, which the mean leaves out.
//!
//! `(1-w)·mean + w·max` with the weight w of max pooling: mean 0, max 1, average 1/2, gradual g
//! (Almeida & Sauder 2015, "Gradual Pooling"), and two that learn it (Lee et al. 2015):
//! - mixed: one scalar per layer, unconstrained, from 1/2 (treeano's `mixed_pooling.py`);
//! - gated: `sigmoid(w·window)` at each place and channel, with one 3×3 filter w shared by all of
//!   them and no bias, from N(0, 0.1²).
//!
//! x `[B, K·C, H, W]` gives `[B, K·C, (H+1)/2, (W+1)/2]`.

use tch::Tensor;

use crate::component::Component;
use crate::init;
use crate::interpolate::{Gate, Interpolate};
use crate::pass::Pass;
use crate::stacked::Builder;

/// Kind of pooling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pooling {
    /// The largest.
    Max,
    /// The mean.
    Mean,
    /// Half of both.
    Average,
    /// A learned share of both.
    Mixed,
    /// A share of both that depends on the window.
    Gated,
    /// From the mean to the largest.
    Gradual,
}

impl Pooling {
    /// Weight of max pooling at this gate: its initial value where it is learned.
    pub fn weight(self, gate: f64) -> f64 {
        match self {
            Pooling::Max => 1.0,
            Pooling::Mean => 0.0,
            Pooling::Average | Pooling::Mixed | Pooling::Gated => 0.5,
            Pooling::Gradual => gate,
        }
    }
}

const WINDOW: i64 = 3;
const STRIDE: i64 = 2;
const PADDING: i64 = 1;
/// Standard deviation of the initial filter of gated pooling.
const FILTER_DEVIATION: f64 = 0.1;

/// The pooling called `name`; `counter` is its place among the initial weights.
pub fn pool(builder: &mut Builder<'_>, name: &str, counter: u32) -> Box<dyn Component> {
    let live = builder.trials.len();
    let pooling = builder.trials[0].pooling;
    let is_learned = |pooling| matches!(pooling, Pooling::Mixed | Pooling::Gated);
    let same = builder.trials.iter().all(|trial| {
        trial.pooling == pooling || !is_learned(trial.pooling) && !is_learned(pooling)
    });
    assert!(same, "trials that learn their pooling are in stacks of their own");
    match pooling {
        Pooling::Mixed => {
            Box::new(Mixed { mix: builder.constant(format!("{name}.mix"), live, &[], 0.5) })
        }
        Pooling::Gated => {
            let side = WINDOW as usize;
            let filter = builder.parameter(format!("{name}.filter"), live, |trial| {
                init::normal(FILTER_DEVIATION, trial.seed, counter, side, side)
            });
            Box::new(Gated { filter })
        }
        Pooling::Max | Pooling::Mean | Pooling::Average | Pooling::Gradual => {
            Box::new(Interpolate { early: Mean, late: Max, gate: Gate::Pooling })
        }
    }
}

/// Mean of each window.
#[derive(Clone, Copy, Debug)]
pub struct Mean;

impl Component for Mean {
    fn forward(&self, x: &Tensor, _pass: &Pass<'_>) -> Tensor {
        let (window, stride, padding) = ([WINDOW; 2], [STRIDE; 2], [PADDING; 2]);
        x.avg_pool2d(window, stride, padding, false, false, None::<i64>)
    }
}

/// Largest of each window.
#[derive(Clone, Copy, Debug)]
pub struct Max;

impl Component for Max {
    fn forward(&self, x: &Tensor, _pass: &Pass<'_>) -> Tensor {
        x.max_pool2d([WINDOW; 2], [STRIDE; 2], [PADDING; 2], [1, 1], false)
    }
}

/// `mix·max + (1-mix)·mean`, mix `[K]`.
#[derive(Debug)]
struct Mixed {
    mix: Tensor,
}

impl Component for Mixed {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let (mean, max) = (Mean.forward(x, pass), Max.forward(x, pass));
        let mix = pass.broadcast(&self.mix, &mean);
        mean.lerp_tensor(&max, &mix)
    }
}

/// `s·max + (1-s)·mean`, s the sigmoid of the window's product with the filter `[K, 3, 3]`.
#[derive(Debug)]
struct Gated {
    filter: Tensor,
}

impl Component for Gated {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let (trials, channels) = (pass.trials() as i64, x.size()[1]);
        let filters = self.filter.unsqueeze(1).expand([-1, channels / trials, -1, -1], false);
        let filters = filters.reshape([channels, 1, WINDOW, WINDOW]);
        let none: Option<&Tensor> = None;
        let products = x.conv2d(&filters, none, [STRIDE; 2], [PADDING; 2], [1, 1], channels);
        Mean.forward(x, pass).lerp_tensor(&Max.forward(x, pass), &products.sigmoid())
    }
}
