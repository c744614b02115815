//! Network in network, and the gradual convolution -> network in network
//! (Almeida & Sauder 2015, "Gradual Convolutions"; Lin et al. 2013).
//!
//! `h = act(conv(x))`, `(1-g)·h + g·act(conv1x1(h))`: the convolution is shared, so that the gate
//! fades the 1×1 of the same width in. NiN itself is at gate 1 throughout. x and y
//! `[B, K·C, H, W]`.

use crate::activation;
use crate::component::{Chain, Component, Identity};
use crate::conv::{Conv, Shape};
use crate::init::{Part, counter};
use crate::interpolate::{Gate, Interpolate};
use crate::stacked::Builder;

/// The unit with a 1×1 of `channels` channels after it; `name` and `layer` are the unit's.
pub fn with_nin(
    builder: &mut Builder<'_>,
    unit: Chain,
    name: &str,
    channels: usize,
    layer: usize,
) -> Box<dyn Component> {
    let (name, live) = (format!("{name}.nin"), builder.trials.len());
    let place = counter(layer, Part::Nin);
    let shape = Shape { inputs: channels, outputs: channels, side: 1, padding: 0 };
    let conv = Conv::new(builder, &name, shape, place, 0.0, |trial| trial.init_gain);
    let activation = activation::after(builder, &name, live, channels, place);
    let late = Chain(vec![Box::new(conv), activation]);
    let nin = Interpolate { early: Identity, late, gate: Gate::Conv };
    Box::new(Chain(vec![Box::new(unit), Box::new(nin)]))
}
