//! The load generator: workers without trainers that speak the real protocol to a real
//! `coordinator` process with its store on disk. Every mode prints a line of figures.
//!
//! `cargo bench -p coordinator --bench load -- MODE`; `--help` has the modes and their options.
//! Coordinator and generator share the machine, and so do the figures.
#![expect(clippy::print_stdout, reason = "the figures are its output")]

mod cancel;
mod dead_worker;
mod process;
mod readers;
mod reports;
mod restart;
mod sweep;
mod trials;
mod worker;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Measures the coordinator under load.
#[derive(Parser)]
#[command(name = "load")]
struct Cli {
    /// What `cargo bench` passes to every benchmark.
    #[arg(long, hide = true, global = true)]
    bench: bool,
    /// Folder in which the state directories are made and removed again; a disk, not memory
    #[arg(long, value_name = "DIR", global = true, default_value = env!("CARGO_TARGET_TMPDIR"))]
    folder: PathBuf,
    /// Program to measure
    #[arg(long, value_name = "FILE", global = true)]
    #[arg(default_value = env!("CARGO_BIN_EXE_coordinator"))]
    coordinator: PathBuf,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// No-op trials from the first lease to the last acknowledgement
    Trials(trials::Options),
    /// Epoch reports of many workers at a steady rate, and how soon they are acknowledged
    Reports(reports::Options),
    /// Memory with this many trials pending; kill -9, and the time until it serves again
    Restart(restart::Options),
    /// Time until a worker that fell silent is listed as lost and its trials are leased again
    DeadWorker(dead_worker::Options),
    /// What readers that take nothing or little cost the throughput
    Readers(readers::Options),
    /// Time until a sweep of which some trials run is cancelled
    Cancel(cancel::Options),
    /// Every mode at a tenth of its size or less, in about a minute
    Short,
    /// Every mode at the sizes of BENCHMARKS.md
    Full,
    /// A worker that takes leases and never reports: what `dead-worker` cuts off
    #[command(hide = true)]
    Hold(dead_worker::HoldOptions),
}

/// Where a mode runs.
struct Bench {
    folder: PathBuf,
    coordinator: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // One thread: what the generator takes is not there for the coordinator.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bench = Bench { folder: cli.folder, coordinator: cli.coordinator };
    runtime.block_on(run(&bench, cli.mode))
}

async fn run(bench: &Bench, mode: Mode) -> anyhow::Result<()> {
    match mode {
        Mode::Trials(options) => trials::run(bench, &options).await,
        Mode::Reports(options) => reports::run(bench, &options).await,
        Mode::Restart(options) => restart::run(bench, &options).await,
        Mode::DeadWorker(options) => dead_worker::run(bench, &options).await,
        Mode::Readers(options) => readers::run(bench, &options).await,
        Mode::Cancel(options) => cancel::run(bench, &options).await,
        Mode::Short => all(bench, SHORT).await,
        Mode::Full => all(bench, FULL).await,
        Mode::Hold(options) => dead_worker::hold(options).await,
    }
}

/// The modes with their options, in the order in which they run.
const SHORT: &[&str] = &[
    "trials --trials 20000 --cohort 16",
    "trials --trials 5000 --cohort 1",
    "reports --workers 100 --rate 2000 --seconds 5",
    "restart --trials 10000",
    "restart --trials 20000 --ended",
    "dead-worker --rounds 1",
    "cancel --trials 10000 --rounds 1",
    "readers --trials 10000 --rounds 1",
];
const FULL: &[&str] = &[
    "trials --trials 200000 --cohort 16",
    "trials --trials 50000 --cohort 1",
    "trials --trials 100000 --cohort 16 --epochs 1",
    "reports --cohort 16",
    "reports --cohort 4",
    "reports --cohort 1 --rate 10000",
    "restart --trials 100000",
    "restart --trials 1000000",
    "restart --trials 1000000 --ended",
    "dead-worker --rounds 5",
    "cancel --trials 10000",
    "cancel --trials 1000000 --rounds 1",
    "readers",
];

async fn all(bench: &Bench, lines: &[&str]) -> anyhow::Result<()> {
    println!("disk: {}", process::describe_disk(&bench.folder)?);
    for line in lines {
        let words = std::iter::once("load").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).with_context(|| format!("the mode `{line}`"))?;
        Box::pin(run(bench, cli.mode)).await.with_context(|| format!("`{line}`"))?;
    }
    Ok(())
}
