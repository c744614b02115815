//! What the processes of GradSweep share: ids, the sweep file, Philox, data sets and, with the
//! feature `edge`, the wire types, telemetry and credentials.

#[cfg(feature = "edge")]
pub mod access;
mod canonical;
pub mod checkpoints;
pub mod config;
mod config_json;
#[cfg(feature = "edge")]
pub mod credentials;
pub mod data;
pub mod expectation;
pub mod ids;
pub mod params;
pub mod philox;
pub mod report;
pub mod spec;
pub mod weights;
pub mod work;

#[cfg(feature = "edge")]
pub mod telemetry;
#[cfg(feature = "edge")]
pub mod token;
#[cfg(feature = "edge")]
pub mod wire;
