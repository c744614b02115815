//! The coordinator: server and client of a sweep.
//!
//! `serve` runs the server: `driver` owns the scheduler, `store` keeps what it decides, `rpc` and
//! `http` are the edges, `edge` stands before both, `answers` what both tell readers. `cli` is the
//! client, `query` and `render` make its answers, `fetch` downloads data sets. Nothing here links
//! libtorch.

mod answers;
pub mod cli;
pub mod config;
pub mod driver;
pub mod edge;
pub mod fetch;
pub mod figure;
mod gpus;
mod http;
mod keep;
pub mod local;
mod metrics;
pub mod options;
pub mod plan;
pub mod progress;
pub mod query;
pub mod render;
pub mod rpc;
pub mod serve;
pub mod store;
mod weights;
