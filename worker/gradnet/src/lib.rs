//! GradNet components and models on libtorch, usable on their own.
//!
//! A GradNet component is a weighted mean `(1-g)·early + g·late` whose gate g goes from 0 to 1
//! during training (Almeida & Sauder 2015). Everything here is stacked: parameters are `[K, …]`,
//! activations `[K, B, …]` (`[B, K·C, H, W]` of convolutions) and scalars `[K]` for K trials that
//! train as one batched model; K = 1 is the same code. What a trial computes depends on its own
//! seed, epoch, step and layer only, never on its companions or its device.
// Sizes become libtorch's i64 all over this package; a tensor never has 2^63 elements.
#![allow(clippy::cast_possible_wrap)]

pub mod activation;
pub mod batch_norm;
pub mod component;
pub mod conv;
pub mod conv_to_nin;
pub mod cpu;
pub mod dropout;
mod error;
pub mod gate;
pub mod highway;
pub mod identity_to_conv;
pub mod init;
pub mod interpolate;
pub mod linear;
mod model;
pub mod net;
pub mod pass;
pub mod pooling;
pub mod prelu;
pub mod round_keys;
pub mod rrelu;
pub mod stacked;
pub mod transformer;
mod trial;

pub use error::{GradnetError, SpecError};
pub use model::Model;
pub use net::Architecture;
pub use trial::Trial;
