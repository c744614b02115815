//! The scheduler: a pure state machine. It decides; the coordinator does.
//!
//! `apply(now, event)` returns the changes to store and the messages to send. It has no clock, no
//! randomness, no runtime and no storage of its own, so the same events give the same result.

pub mod event;

pub use event::{Change, Event, Message};
