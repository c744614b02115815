//! What the processes of GradSweep share: ids, the sweep file, Philox, data sets and, with the
//! feature `edge`, the wire types and telemetry.

pub mod config;
pub mod ids;

#[cfg(feature = "edge")]
pub mod wire;
