//! The gradual identity -> convolution: `(1-g)·x + g·act(conv(x))`, a layer that is added as the
//! gate opens (Almeida & Sauder 2015, "Gradual Convolutions").
//!
//! For layers of equal width alone: x and y `[B, K·C, H, W]`.

use crate::component::{Chain, Component, Identity};
use crate::interpolate::{Gate, Interpolate};

/// The layer whose late form is `unit`; a plain convolution is at gate 1 throughout.
pub fn faded_in(unit: Chain) -> Box<dyn Component> {
    Box::new(Interpolate { early: Identity, late: unit, gate: Gate::Conv })
}
