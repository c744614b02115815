//! Many workers with long trials: epoch reports at a steady rate, and the time until each is
//! acknowledged, which is after its commit.
//!
//! A report's time counts from when it was due: a generator that falls behind does not hide it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use common::wire::{AttemptId, GetSweepRequest};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::Bench;
use crate::process::{Coordinator, State};
use crate::sweep;
use crate::worker::{Said, Worker, attempts, epoch};

/// Workers that attach at a time: a listener's queue of connections is short.
const ATTACHING_MAX: usize = 32;
/// The longest that the last acknowledgements are waited for.
const LAST_WAIT: Duration = Duration::from_secs(60);

/// How many, and how fast.
#[derive(Args, Clone)]
pub struct Options {
    /// Connected workers, of one slot each
    #[arg(long, default_value_t = 1_000)]
    workers: u32,
    /// Epoch reports per second, all workers together
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    /// Trials of a cohort; those of a worker report together
    #[arg(long, default_value_t = 1)]
    cohort: u32,
    /// Length of the measurement
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

impl Options {
    /// Between two messages of one worker.
    fn interval(&self) -> Duration {
        Duration::from_secs_f64(
            f64::from(self.workers) * f64::from(self.cohort) / f64::from(self.rate),
        )
    }

    fn length(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

/// What one worker measured.
struct Measured {
    reports: usize,
    /// Of each message.
    latencies_us: Vec<u32>,
}

/// Sends the reports and prints the figures.
pub async fn run(bench: &Bench, options: &Options) -> anyhow::Result<()> {
    let Options { workers, rate, cohort, seconds } = *options;
    let trials = u64::from(workers) * u64::from(cohort);
    let state = State::new(bench, &sweep::yaml(trials, cohort))?;
    let mut coordinator = Coordinator::start(bench, &state).await?;
    let at_start = coordinator.usage()?;
    let (begin, begun) = watch::channel(None);
    let url: Arc<str> = coordinator.url().into();
    let places = Arc::new(Semaphore::new(ATTACHING_MAX));
    let mut tasks = JoinSet::new();
    for index in 0..workers {
        let (options, url) = (options.clone(), Arc::clone(&url));
        let (places, begun) = (Arc::clone(&places), begun.clone());
        tasks.spawn(async move { work(&url, index, &options, &places, begun).await });
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of trials")]
    let all = trials as f64;
    let running = sweep::count("running");
    tokio::select! {
        running = coordinator.wait_for_series(&running, all) => running?,
        Some(ended) = tasks.join_next() => drop(ended??),
    }
    let before = coordinator.usage()?;
    begin.send_replace(Some(Instant::now() + options.interval()));
    let mut measured = Measured { reports: 0, latencies_us: Vec::new() };
    while let Some(ended) = tasks.join_next().await {
        let Measured { reports, latencies_us } = ended??;
        measured.reports += reports;
        measured.latencies_us.extend(latencies_us);
    }
    let after = coordinator.usage()?;
    check(&coordinator, measured.reports).await?;
    measured.latencies_us.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a count of reports")]
    let all = measured.reports as f64;
    let share = |share| quantile_ms(&measured.latencies_us, share);
    println!(
        "reports: {workers} workers, cohorts of {cohort}, {rate}/s asked for {seconds} s: {} \
         stored; acknowledged after p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms; coordinator {:.0} us \
         CPU and {:.1} KiB written a report, {:.0} MiB at start, {:.0} attached, peak {:.0}",
        measured.reports,
        share(0.5),
        share(0.99),
        share(1.0),
        1e6 * (after.cpu_seconds - before.cpu_seconds) / all,
        1024.0 * (after.written_mib - before.written_mib) / all,
        at_start.resident_mib,
        before.resident_mib,
        after.peak_mib,
    );
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index between 0 and the length"
)]
fn quantile_ms(sorted_us: &[u32], share: f64) -> f64 {
    let last = sorted_us.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    sorted_us.get(at).map_or(f64::NAN, |us| f64::from(*us) / 1e3)
}

/// Takes one lease, waits for all others to have theirs, and reports epoch after epoch.
async fn work(
    url: &str,
    index: u32,
    options: &Options,
    places: &Semaphore,
    mut begun: watch::Receiver<Option<Instant>>,
) -> anyhow::Result<Measured> {
    let mut worker = {
        let _place = places.acquire().await?;
        Worker::attach(url, &format!("w{index:06}"), 1).await?
    };
    let attempts = loop {
        if let Said::Lease(cohort) = worker.next().await? {
            break attempts(cohort)?;
        }
    };
    let begin = loop {
        tokio::select! {
            begin = begun.wait_for(Option::is_some) => break begin?.expect("waited for"),
            said = worker.next() => drop(said?),
        }
    };
    // Spread over the interval, as workers that know nothing of each other are.
    let offset = options.interval().mul_f64(f64::from(index) / f64::from(options.workers));
    steady(&mut worker, &attempts, options, begin + offset).await
}

async fn steady(
    worker: &mut Worker,
    attempts: &[AttemptId],
    options: &Options,
    begin: Instant,
) -> anyhow::Result<Measured> {
    let mut due = interval_at(begin, options.interval());
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let end = begin + options.length();
    let (mut number, mut open) = (0, 0);
    let mut measured = Measured { reports: 0, latencies_us: Vec::new() };
    loop {
        tokio::select! {
            at = due.tick(), if number == 0 || begin + options.interval() * number < end => {
                number += 1;
                let reports = attempts.iter().map(|attempt| epoch(attempt.clone(), number));
                worker.report(reports.collect(), at).await?;
                open += 1;
            }
            said = timeout(LAST_WAIT, worker.next()) => {
                if let Said::Acknowledged(sent) = said?? {
                    open -= sent.len();
                    measured.add(&sent);
                }
                if open == 0 && begin + options.interval() * number >= end {
                    return Ok(measured);
                }
            }
        }
    }
}

impl Measured {
    fn add(&mut self, sent: &[crate::worker::Sent]) {
        for sent in sent {
            self.reports += sent.reports;
            let us = sent.due.elapsed().as_micros();
            self.latencies_us.push(u32::try_from(us).unwrap_or(u32::MAX));
        }
    }
}

/// The store has every report that was acknowledged, once.
async fn check(coordinator: &Coordinator, reports: usize) -> anyhow::Result<()> {
    let mut client = coordinator.client().await?;
    let request = GetSweepRequest { sweep: sweep::NAME.into() };
    let stored = timeout(LAST_WAIT, client.get_sweep(request)).await??.into_inner();
    let epochs = stored.epochs;
    ensure!(epochs == reports as u64, "{epochs} epochs are stored, {reports} were acknowledged");
    Ok(())
}
