//! The gRPC edge: wire types are converted here and go no further in.

pub mod convert;
pub(crate) mod gpus;
pub mod outgoing;
pub mod server;
mod sweeps;
mod timed;
mod watch;
mod weights;
mod worker;
