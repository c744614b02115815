//! A million trials (fewer in a debug build): how long they take is printed, how much memory they
//! take is checked.
#![allow(clippy::unwrap_used, reason = "as in any test")]

mod scene;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use common::config::Config;
use scene::*;
use scheduler::event::{Device, Event, Message, Time, Trial};
use scheduler::{Scheduler, Settings};

const TRIALS: u64 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
const CHUNK: usize = 5_000;
const SEEDS: u64 = 5;
/// Beyond the shared configs.
const BYTES_PER_TRIAL_MAX: usize = 300;

/// The system's allocator, counting what is in use.
struct Counting;

static IN_USE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn in_use() -> usize {
    IN_USE_BYTES.load(Ordering::Relaxed)
}

/// Applies a sweep of a million trials over ten fusion keys; returns the memory of its configs.
fn expand(scheduler: &mut Scheduler) -> usize {
    let before = in_use();
    let configs: Vec<Arc<Config>> = (0..TRIALS / SEEDS)
        .map(|at| config(i64::try_from(at / 10 + 1).unwrap(), 64 + i64::try_from(at % 10).unwrap()))
        .collect();
    let config_bytes = in_use() - before;
    scheduler.apply(Time(0), Event::SweepApplied(header("s")));
    let mut chunk = Vec::with_capacity(CHUNK);
    for id in 0..TRIALS {
        let config = &configs[usize::try_from(id / SEEDS).unwrap()];
        // Ids are hashes: their order says nothing.
        let hash = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        chunk.push(trial(hash, config));
        if chunk.len() == CHUNK {
            let trials: Vec<Trial> = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK));
            scheduler.apply(Time(0), Event::TrialsAdded(name("s"), trials));
        }
    }
    scheduler.apply(Time(0), Event::SweepExpanded(name("s")));
    config_bytes
}

/// Leases and completes every trial; returns how many leases that took.
fn complete_all(scheduler: &mut Scheduler) -> u64 {
    let attached =
        Event::WorkerAttached(scheduler::event::Session(1), hello("w", &[Device::Cuda(0); 8]));
    let mut messages = scheduler.apply(Time(0), attached).messages;
    let (mut leases, mut through) = (0, 0);
    while let Some(message) = messages.pop() {
        let Message::Lease { trials, .. } = message else { continue };
        leases += 1;
        through += 1;
        let mut reports = Vec::new();
        for leased in &trials {
            reports.push(epoch(leased.attempt, 1));
            reports.push(completed(leased.attempt));
        }
        let event = reported("w", 1, through, reports);
        messages.extend(scheduler.apply(Time(0), event).messages);
    }
    leases
}

#[test]
fn many_trials_are_small_and_leased_without_scanning() {
    let mut scheduler = Scheduler::new(Settings::default());
    let before = in_use();
    let started = Instant::now();
    let config_bytes = expand(&mut scheduler);
    let bytes = (in_use() - before).saturating_sub(config_bytes);
    let per_trial = bytes / usize::try_from(TRIALS).unwrap();
    println!("added {TRIALS} trials in {:.2?}, {per_trial} bytes each", started.elapsed());
    assert!(per_trial <= BYTES_PER_TRIAL_MAX, "{per_trial} bytes per trial");

    let started = Instant::now();
    let leases = complete_all(&mut scheduler);
    println!("leased and completed them in {leases} cohorts in {:.2?}", started.elapsed());

    let started = Instant::now();
    let sweep = scheduler.overview(Time(0)).sweeps.remove(0);
    println!("overview in {:.2?}", started.elapsed());
    assert_eq!((sweep.counts.completed, sweep.configs_done), (TRIALS, TRIALS / SEEDS));
    // Ten fusion keys, each filled up to the last cohort.
    assert!(leases <= TRIALS / 16 + 10, "{leases} cohorts");
}
