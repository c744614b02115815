//! Somebody cancels a sweep of which some trials run and most wait: how long until it is answered,
//! which is after its commit, and until the worker was told of each attempt that runs.

use anyhow::ensure;
use clap::Args;
use common::wire::{ActOnSweepRequest, GetSweepRequest};
use tokio::time::Instant;

use crate::Bench;
use crate::process::{Coordinator, State};
use crate::sweep;
use crate::worker::{Said, Worker};

/// Trials of a cohort.
const COHORT: u32 = 16;

/// How many.
#[derive(Args, Clone)]
pub struct Options {
    /// Trials of the sweep
    #[arg(long, default_value_t = 10_000)]
    trials: u64,
    /// Cohorts of 16 that run
    #[arg(long, default_value_t = 100)]
    running: usize,
    /// Times; the longest counts
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

/// Cancels and prints the figures.
pub async fn run(bench: &Bench, options: &Options) -> anyhow::Result<()> {
    let (mut answered, mut told) = (0.0_f64, 0.0_f64);
    for _ in 0..options.rounds {
        let times = once(bench, options).await?;
        (answered, told) = (answered.max(times.0), told.max(times.1));
    }
    println!(
        "cancel: {} trials, {} of them in {} cohorts that run, {} rounds: answered after {:.0} ms \
         at most, every attempt's stop at its worker after {:.0} ms",
        options.trials,
        options.running * COHORT as usize,
        options.running,
        options.rounds,
        answered * 1e3,
        told * 1e3,
    );
    Ok(())
}

async fn once(bench: &Bench, options: &Options) -> anyhow::Result<(f64, f64)> {
    let state = State::new(bench, &sweep::yaml(options.trials, COHORT))?;
    let mut coordinator = Coordinator::start(bench, &state).await?;
    coordinator.wait_for_log(&sweep::applied_line()).await?;
    let mut worker = Worker::attach(&coordinator.url(), "worker", options.running).await?;
    let mut leases = 0;
    while leases < options.running {
        leases += usize::from(matches!(worker.next().await?, Said::Lease(_)));
    }
    let mut client = coordinator.client().await?;
    let started = Instant::now();
    let cancelling = tokio::spawn(async move {
        let request = ActOnSweepRequest { sweep: sweep::NAME.into() };
        let acted = client.cancel_sweep(request).await?.into_inner();
        anyhow::Ok((acted, started.elapsed().as_secs_f64()))
    });
    let mut stopped = 0;
    while stopped < options.running * COHORT as usize {
        stopped += usize::from(matches!(worker.next().await?, Said::Stopped));
    }
    let told = started.elapsed().as_secs_f64();
    let (acted, answered) = cancelling.await??;
    ensure!(acted.pending + acted.running == options.trials, "{acted:?}");
    let request = GetSweepRequest { sweep: sweep::NAME.into() };
    let stored = coordinator.client().await?.get_sweep(request).await?.into_inner();
    let cancelled = stored.trials.map_or(0, |counts| counts.cancelled);
    ensure!(cancelled == options.trials, "{cancelled} trials are cancelled");
    Ok((answered, told))
}
