//! Wire types of package `gradsweep.v1`, generated from `proto/`. They stop at the edge: each
//! process converts them in its own `rpc` module.
#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_wrap
)]

tonic::include_proto!("gradsweep.v1");

/// The encoded file descriptors, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Largest message that any of the processes accepts.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Most GPUs that a worker tells of, and that a coordinator takes from one.
pub const GPUS_MAX: usize = 64;
