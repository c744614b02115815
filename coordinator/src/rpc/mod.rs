//! The gRPC edge: wire types are converted here and go no further in.

pub mod convert;
mod gpus;
mod live;
mod logs;
pub mod outgoing;
pub mod server;
mod sweeps;
mod timed;
mod worker;
