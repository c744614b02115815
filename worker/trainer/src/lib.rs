//! The trainer: data, optimiser, the training loop and checkpoints of one device.
//!
//! A process of its own (`main.rs`), so that a fault costs one device's cohort and nothing else.
//! `train.rs` is the loop, top to bottom.
// Sizes become libtorch's i64 and counts f64 all over numeric code; both stay far below 2^53.
#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

pub mod adam;
pub mod augment;
pub mod bench;
pub mod checkpoint;
pub mod device;
pub mod examples;
pub mod job;
pub mod link;
pub mod pulse;
mod resumption;
pub mod selection;
pub mod serve;
mod stack;
pub mod train;
mod weights;
