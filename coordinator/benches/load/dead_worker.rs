//! A worker falls silent: a process that is stopped, whose stream stays open, or killed. How long
//! until the coordinator lists it as lost, and until another worker has its trials?

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use common::wire::ListWorkersRequest;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::Bench;
use crate::process::{Coordinator, State};
use crate::sweep;
use crate::worker::{Said, Worker, attempts};

/// Trials of the worker that is cut off, each in a slot of its own.
const TRIALS: usize = 4;
/// Sorts before the other, so that it is the first to be leased to.
const DEAD: &str = "a-dead";
const LIVE: &str = "b-live";
/// A worker that is not lost by then never will be.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// How often.
#[derive(Args, Clone)]
pub struct Options {
    /// Times that each way is tried; the longest counts
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// Of the worker's own process.
#[derive(Args, Clone)]
pub struct HoldOptions {
    #[arg(long)]
    url: String,
}

/// Attaches, takes leases and gives signs of life until it is ended from outside.
pub async fn hold(options: HoldOptions) -> anyhow::Result<()> {
    let mut worker = Worker::attach(&options.url, DEAD, TRIALS).await?;
    loop {
        worker.next().await?;
    }
}

/// Cuts a worker off in both ways and prints the figures.
pub async fn run(bench: &Bench, options: &Options) -> anyhow::Result<()> {
    for (how, signal) in [("stopped, its stream open", Signal::STOP), ("killed", Signal::KILL)] {
        let (mut lost, mut leased) = (Duration::ZERO, Duration::ZERO);
        for round in 0..options.rounds {
            let times = cut_off(bench, signal, round).await?;
            lost = lost.max(times.0);
            leased = leased.max(times.1);
        }
        println!(
            "dead worker, {how}, {} rounds: listed as lost after {:.2} s at most, its {TRIALS} \
             trials leased to another after {:.2} s",
            options.rounds,
            lost.as_secs_f64(),
            leased.as_secs_f64(),
        );
    }
    Ok(())
}

/// The times from the signal until it is lost, and until the other worker has all its trials.
async fn cut_off(
    bench: &Bench,
    signal: Signal,
    round: u32,
) -> anyhow::Result<(Duration, Duration)> {
    let state = State::new(bench, &sweep::yaml(TRIALS as u64, 1))?;
    let mut coordinator = Coordinator::start(bench, &state).await?;
    let mut dead = Command::new(std::env::current_exe()?)
        .args(["hold", "--url", &coordinator.url()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    coordinator.wait_for_series(&sweep::count("running"), TRIALS as f64).await?;
    let mut live = Worker::attach(&coordinator.url(), LIVE, TRIALS).await?;
    // Each round at another moment between two signs of life.
    let _ = timeout(Duration::from_millis(310) * round, take(&mut live, TRIALS)).await;
    kill_process(pid(&dead)?, signal)?;
    let cut = Instant::now();
    let lost = async {
        wait_until_lost(&coordinator).await?;
        anyhow::Ok(cut.elapsed())
    };
    let leased = async {
        take(&mut live, TRIALS).await?;
        anyhow::Ok(cut.elapsed())
    };
    let times = timeout(DEADLINE, async { tokio::try_join!(lost, leased) }).await??;
    dead.kill().await?;
    Ok(times)
}

fn pid(child: &Child) -> anyhow::Result<Pid> {
    let id = child.id().context("the worker ended by itself")?;
    Pid::from_raw(i32::try_from(id)?).context("a process id of 0")
}

/// Until so many trials were leased to a worker.
async fn take(worker: &mut Worker, trials: usize) -> anyhow::Result<()> {
    let mut taken = 0;
    while taken < trials {
        if let Said::Lease(cohort) = worker.next().await? {
            taken += attempts(cohort)?.len();
        }
    }
    Ok(())
}

async fn wait_until_lost(coordinator: &Coordinator) -> anyhow::Result<()> {
    let mut client = coordinator.client().await?;
    loop {
        let workers = client.list_workers(ListWorkersRequest {}).await?.into_inner().workers;
        match workers.iter().find(|worker| worker.worker == DEAD) {
            Some(worker) if worker.state == "lost" => return Ok(()),
            Some(_) => sleep(POLL_EVERY).await,
            None => bail!("the coordinator does not know worker {DEAD}"),
        }
    }
}
