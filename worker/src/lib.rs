//! The host agent: owns slots, keeps a trainer process warm in each, and stands between them and
//! the coordinator. It never links libtorch.
//!
//! `supervisor` and `spool` decide and remember; `agent`, `connection` and `process` carry out.

pub mod agent;
pub mod artifacts;
mod connection;
mod data_sets;
pub mod devices;
pub mod exit;
pub mod frames;
pub mod gpus;
pub mod libtorch;
pub mod options;
mod process;
pub mod rpc;
pub mod spool;
pub mod state;
pub mod stderr;
pub mod supervisor;
mod weights;
