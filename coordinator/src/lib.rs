//! The coordinator: server and client of a sweep.
//!
//! `serve` runs the server: `driver` owns the scheduler, `store` keeps what it decides, `rpc` and
//! `http` are the edges. `cli` is the client, `query` and `render` make its answers. Nothing here
//! links libtorch.

pub mod cli;
pub mod config;
pub mod driver;
mod http;
pub mod local;
mod metrics;
pub mod options;
pub mod plan;
pub mod progress;
pub mod query;
pub mod render;
mod rpc;
pub mod serve;
pub mod store;
