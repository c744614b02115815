//! A deterministic simulation: the real scheduler and the real supervisors of agents among a fake
//! clock, network, store and trainers, on one thread, from one seed.
//!
//! What stands between the pure parts (the coordinator's driver and writer, the agent's driver,
//! spool and connection) is modelled here; each model names the file that it mirrors.

mod agent;
mod attachment;
mod convert;
mod coordinator;
mod faults;
mod files;
mod invariants;
// One strict store for the scheduler's own tests and for this.
#[path = "../../coordinator/scheduler/tests/scene/ledger.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "a part of the scheduler's tests")]
mod ledger;
mod log;
mod network;
mod random;
mod seeds;
mod spool;
mod store;
mod trainer;
mod trials;
mod world;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::Log;
use world::World;

pub use seeds::{Failure, Totals, run_seeds};

/// Where logs of failed seeds are written, below the checkout.
pub const LOG_FOLDER: &str = "target/simulation";

/// What a seed came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// The invariant that does not hold, and where; none where all do.
    pub violation: Option<String>,
    /// A line per event; empty unless it was to be kept.
    pub log: String,
    /// Of the lines.
    pub log_hash: u64,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    /// How often what a simulation is for happened.
    pub seen: BTreeMap<&'static str, u64>,
}

/// Runs one seed to its end.
pub fn run(seed: u64, keep_log: bool) -> Run {
    let mut world = World::new(seed, Log::new(keep_log));
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = ended.err().map(|panic| message(&*panic));
    let log = if world.log.is_kept() { world.log.text() } else { String::new() };
    let (log_hash, virtual_ms) = (world.log.hash(), world.now);
    Run { violation, log, log_hash, virtual_ms, seen: world.audit.seen }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}
