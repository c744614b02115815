//! Memory with many trials, pending or ended, and the way back after a crash: the same command
//! again reads the store, serves, and applies the same file to what it read.

use anyhow::ensure;
use clap::Args;
use common::wire::GetSweepRequest;
use tokio::time::Instant;

use crate::Bench;
use crate::process::{Coordinator, State};
use crate::{sweep, trials};

/// How many.
#[derive(Args, Clone)]
pub struct Options {
    /// Trials of the sweep
    #[arg(long, default_value_t = 100_000)]
    trials: u64,
    /// Run them all first, one epoch each
    #[arg(long)]
    ended: bool,
}

/// Applies the sweep, kills the coordinator, starts it again and prints the figures.
pub async fn run(bench: &Bench, options: &Options) -> anyhow::Result<()> {
    let Options { trials, ended } = *options;
    let state_name = if ended { "completed" } else { "pending" };
    let state = State::new(bench, &sweep::yaml(trials, 16))?;
    let started = Instant::now();
    let mut coordinator = Coordinator::start(bench, &state).await?;
    applied(&mut coordinator, trials).await?;
    let applying = started.elapsed().as_secs_f64();
    if ended {
        let run = trials::Options::of_one_epoch(trials);
        trials::work_off(&coordinator, &run).await?;
    }
    let first = coordinator.usage()?;
    coordinator.kill().await?;
    let started = Instant::now();
    let mut coordinator = Coordinator::start(bench, &state).await?;
    let (ready, restored) = (coordinator.ready_seconds, coordinator.usage()?);
    let found = coordinator.series(&sweep::count(state_name))?;
    #[expect(clippy::cast_precision_loss, reason = "a count of trials")]
    let all = trials as f64;
    ensure!(found >= all, "{found} trials are {state_name} after the restart, not {trials}");
    coordinator.wait_for_log(&sweep::applied_line()).await?;
    let again = coordinator.usage()?;
    println!(
        "restart: {trials} trials applied and stored in {applying:.1} s; {state_name}: {:.0} MiB, \
         peak {:.0}; after kill -9 ready in {ready:.2} s ({:.2} s CPU) with peak {:.0} MiB, \
         applied again after {:.1} s, peak {:.0}",
        first.resident_mib,
        first.peak_mib,
        restored.cpu_seconds,
        restored.peak_mib,
        started.elapsed().as_secs_f64(),
        again.peak_mib,
    );
    Ok(())
}

/// Waits until the whole file is applied and stored.
async fn applied(coordinator: &mut Coordinator, trials: u64) -> anyhow::Result<()> {
    coordinator.wait_for_log(&sweep::applied_line()).await?;
    let mut client = coordinator.client().await?;
    loop {
        // Read from the store, so this many are durable.
        let request = GetSweepRequest { sweep: sweep::NAME.into() };
        let stored = client.get_sweep(request).await?.into_inner();
        if stored.trials.is_some_and(|counts| counts.pending == trials) {
            return Ok(());
        }
    }
}
