//! The scheduler: a pure state machine. It decides; the coordinator does.
//!
//! `apply(now, event)` returns the changes to store and the messages to send. It has no clock, no
//! randomness, no runtime and no storage of its own, so the same events give the same result.

mod actions;
mod application;
mod attachment;
mod catalog;
pub mod event;
mod explanation;
mod health;
mod invariants;
mod leases;
pub mod overview;
mod queue;
mod reports;
mod restoration;
pub mod scheduler;
mod settings;
mod summary;
mod sweep;
mod trial;
mod worker;

pub use application::Applied;
pub use event::{Change, Event, Message};
pub use overview::Overview;
pub use scheduler::{Acted, Effects, Scheduler};
pub use settings::Settings;
