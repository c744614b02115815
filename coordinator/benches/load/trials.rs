//! Throughput: no-op trials through the real coordinator and store. A worker reports the outcome
//! of each trial of a cohort as soon as it has the lease.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Args;
use common::wire::{self, GetSweepRequest};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Bench;
use crate::process::{Coordinator, State};
use crate::sweep;
use crate::worker::{Said, Worker, attempts, epoch, outcome};

/// How many, and how.
#[derive(Args, Clone)]
pub struct Options {
    /// Trials of the sweep
    #[arg(long, default_value_t = 50_000)]
    trials: u64,
    /// Trials of a cohort
    #[arg(long, default_value_t = 16)]
    cohort: u32,
    /// Epochs that each trial reports before its outcome
    #[arg(long, default_value_t = 0)]
    epochs: u32,
    /// Workers
    #[arg(long, default_value_t = 16)]
    workers: usize,
    /// Slots of a worker
    #[arg(long, default_value_t = 16)]
    slots: usize,
    /// Leaves the state directory here, to look at it
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Options {
    /// Trials that end at once, in cohorts of 16.
    pub fn of_no_epoch(trials: u64) -> Options {
        Options { epochs: 0, ..Options::of_one_epoch(trials) }
    }

    /// Trials of one epoch in cohorts of 16.
    pub fn of_one_epoch(trials: u64) -> Options {
        Options { trials, cohort: 16, epochs: 1, workers: 16, slots: 16, keep: None }
    }
}

/// Runs the trials and prints the figures.
pub async fn run(bench: &Bench, options: &Options) -> anyhow::Result<()> {
    let Options { trials, cohort, epochs, workers, slots, .. } = *options;
    let state = State::new(bench, &sweep::yaml(trials, cohort))?;
    let started = Instant::now();
    let mut coordinator = Coordinator::start(bench, &state).await?;
    #[expect(clippy::cast_precision_loss, reason = "a count of trials")]
    let all = trials as f64;
    coordinator.wait_for_series(&sweep::count("pending"), all).await?;
    let applied = started.elapsed();
    let before = coordinator.usage()?;
    let started = Instant::now();
    work_off(&coordinator, options).await?;
    let took = started.elapsed();
    let after = coordinator.usage()?;
    check(&coordinator, trials, epochs).await?;
    let cpu = after.cpu_seconds - before.cpu_seconds;
    println!(
        "trials: {trials} in cohorts of {cohort}, {epochs} epochs each, {workers} workers of \
         {slots} slots: {:.2} s, {:.0} trials/s, {:.0} with applying; coordinator {:.0} us CPU a \
         trial, {:.1} KiB written a trial, peak {:.0} MiB; store {:.0} MiB",
        took.as_secs_f64(),
        all / took.as_secs_f64(),
        all / (took + applied).as_secs_f64(),
        1e6 * cpu / all,
        1024.0 * (after.written_mib - before.written_mib) / all,
        after.peak_mib,
        mebibytes(state.bytes()?),
    );
    if let Some(folder) = &options.keep {
        coordinator.kill().await?;
        state.keep(folder)?;
    }
    Ok(())
}

/// Attaches workers and waits until every outcome is acknowledged.
pub async fn work_off(coordinator: &Coordinator, options: &Options) -> anyhow::Result<()> {
    let Options { trials, epochs, workers, slots, .. } = *options;
    let (done, ended) = watch::channel(0);
    let (done, url): (_, Arc<str>) = (Arc::new(done), coordinator.url().into());
    let mut tasks = JoinSet::new();
    for index in 0..workers {
        let (url, done) = (Arc::clone(&url), Arc::clone(&done));
        tasks.spawn(async move { work(&url, index, slots, epochs, &done).await });
    }
    wait_for(ended, trials, &mut tasks).await
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Ends every lease at once; counts the outcomes that are acknowledged.
async fn work(
    url: &str,
    index: usize,
    slots: usize,
    epochs: u32,
    done: &watch::Sender<u64>,
) -> anyhow::Result<()> {
    let mut worker = Worker::attach(url, &format!("w{index:04}"), slots).await?;
    loop {
        match worker.next().await? {
            Said::Lease(cohort) => train(&mut worker, cohort, epochs).await?,
            Said::Acknowledged(sent) => {
                let outcomes: usize = sent.iter().map(|sent| sent.outcomes).sum();
                done.send_modify(|done| *done += outcomes as u64);
            }
            Said::Stopped => bail!("an attempt was stopped"),
            Said::Other => {}
        }
    }
}

/// A message for the cohort's trials at each epoch and one for their outcomes.
async fn train(worker: &mut Worker, cohort: wire::TrainCohort, epochs: u32) -> anyhow::Result<()> {
    let attempts = attempts(cohort)?;
    for number in 1..=epochs {
        let reports = attempts.iter().map(|attempt| epoch(attempt.clone(), number));
        worker.report(reports.collect(), Instant::now()).await?;
    }
    let size = attempts.len();
    let outcomes = attempts.into_iter().map(|attempt| outcome(attempt, epochs, size));
    worker.report(outcomes.collect(), Instant::now()).await
}

/// Until so many outcomes are acknowledged; an error where a worker ends before.
async fn wait_for(
    mut done: watch::Receiver<u64>,
    trials: u64,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    tokio::select! {
        reached = done.wait_for(|done| *done >= trials) => {
            reached?;
            Ok(())
        }
        Some(ended) = tasks.join_next() => ended?,
    }
}

/// The store has every trial once, with its epochs.
async fn check(coordinator: &Coordinator, trials: u64, epochs: u32) -> anyhow::Result<()> {
    let request = GetSweepRequest { sweep: sweep::NAME.into() };
    let mut client = coordinator.client().await?;
    let answer = tokio::time::timeout(Duration::from_secs(60), client.get_sweep(request)).await??;
    let stored = answer.into_inner();
    let completed = stored.trials.map_or(0, |counts| counts.completed);
    ensure!(completed == trials, "{completed} trials are stored as completed, not {trials}");
    let expected = trials * u64::from(epochs);
    ensure!(stored.epochs == expected, "{} epochs are stored, not {expected}", stored.epochs);
    Ok(())
}
