//! The trainer process: holds one device and trains what its agent sends over a pipe. By hand it
//! trains one cohort description from a file, or times a training step.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::RangedI64ValueParser;
use clap::{Parser, Subcommand};
use common::wire::{self, from_trainer};
use trainer::bench::{Bench, Shape, median};
use trainer::device::{DeviceName, hold};
use trainer::link::{Commands, Link, LinkError, Pipe};
use trainer::serve::{Options, Trainer, check_libtorch, serve};

/// Trains GradNet cohorts on one device.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// `cpu` or `cuda:N`
    #[arg(long, default_value = "cpu", global = true)]
    device: String,
    /// Threads of one operation. Several threads on busy cores are far slower than one
    #[arg(long, default_value_t = 1, value_parser = threads(), global = true)]
    threads: u32,
    /// Folder with the data sets [default: GRADSWEEP_DATA, else ./data]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder of the checkpoints
    #[arg(long, default_value = "checkpoints")]
    checkpoints: PathBuf,
    /// Seconds between checkpoints
    #[arg(long, default_value_t = 30.0, env = "GRADSWEEP_CHECKPOINT_INTERVAL")]
    checkpoint_interval: f64,
    /// Train this cohort description (JSON) and print its reports as JSON lines
    #[arg(long, value_name = "FILE")]
    cohort: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

fn threads() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1024)
}

fn size() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1_000_000)
}

#[derive(Subcommand)]
enum Command {
    /// Time the training step of the paper's MLP or CNN and print one JSON line per round
    BenchStep {
        #[arg(long, default_value = "mlp")]
        model: BenchModel,
        /// Units of a hidden layer, or channels of the first two [default: the paper's]
        #[arg(long, value_parser = size())]
        width: Option<u32>,
        /// Examples per step and trial [default: the paper's]
        #[arg(long, value_parser = size())]
        batch: Option<u32>,
        /// Hidden layers of the MLP
        #[arg(long, default_value_t = 8, value_parser = size())]
        depth: u32,
        #[arg(long, default_value_t = 1, value_parser = size())]
        cohort_size: u32,
        /// Steps of one round
        #[arg(long, default_value_t = 10, value_parser = size())]
        steps: u32,
        /// Do a round for each line of standard input, to alternate with another program
        #[arg(long)]
        on_input: bool,
    },
}

/// Models whose step is timed.
#[derive(Clone, Copy, clap::ValueEnum)]
enum BenchModel {
    Mlp,
    Cnn,
}

impl BenchModel {
    fn name(self) -> &'static str {
        match self {
            BenchModel::Mlp => "mlp",
            BenchModel::Cnn => "cnn",
        }
    }

    /// Width and batch size of the paper.
    fn paper(self) -> (u32, u32) {
        match self {
            BenchModel::Mlp => (512, 500),
            BenchModel::Cnn => (96, 256),
        }
    }

    /// He initialisation keeps the signal of a deep MLP; the CNN has the paper's settings.
    fn params(self, width: u32, depth: u32) -> String {
        match self {
            BenchModel::Mlp => format!(r#"{{"depth":{depth},"width":{width},"init":"he"}}"#),
            BenchModel::Cnn => format!(r#"{{"width":{width}}}"#),
        }
    }
}

fn main() -> ExitCode {
    common::telemetry::init(io::stderr);
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    // Libraries print to descriptor 1: from here on that is stderr, and the protocol has its own.
    let output = File::from(rustix::io::dup(io::stdout().as_fd()).context("cannot keep stdout")?);
    rustix::stdio::dup2_stdout(io::stderr().as_fd()).context("cannot point stdout at stderr")?;
    let device = arguments.device.parse::<DeviceName>()?;
    let held = hold(device, arguments.threads)?;
    anyhow::ensure!(check_libtorch(&held), "libtorch computes wrong products on {device}");
    if let Some(Command::BenchStep { model, width, batch, depth, cohort_size, steps, on_input }) =
        arguments.command
    {
        let shape = Shape {
            model: model.name(),
            params: model.params(width.unwrap_or(model.paper().0), depth),
            batch: i64::from(batch.unwrap_or(model.paper().1)),
            cohort_size: cohort_size as usize,
        };
        let bench = Bench::new(&shape, &held);
        let bench = bench.map_err(|error| anyhow::anyhow!("cannot build the model: {error}"))?;
        return time_steps(bench, steps as usize, on_input, output);
    }
    let options = Options {
        data: arguments.data,
        checkpoints: arguments.checkpoints,
        checkpoint_interval_s: arguments.checkpoint_interval,
    };
    let mut trainer = Trainer::new(held, options);
    match arguments.cohort {
        Some(file) => train_file(&mut trainer, &file, output),
        None => {
            leave_signals_to_the_agent();
            Ok(serve(&mut trainer, Pipe::new(io::stdin(), output))?)
        }
    }
}

/// Ctrl-C in a terminal and SIGTERM to every process of a Slurm step reach the agent too, which
/// has running cohorts handed back and then closes stdin: that ends a trainer.
fn leave_signals_to_the_agent() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: sets the disposition of signals that no other code of this process uses.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

fn time_steps(
    mut bench: Bench,
    steps: usize,
    on_input: bool,
    mut output: File,
) -> anyhow::Result<()> {
    let mut round = || {
        let times = bench.round(steps);
        let line = serde_json::json!({"median_ms": median(&times), "steps": times.len()});
        writeln!(output, "{line}").context("cannot write to stdout")
    };
    if !on_input {
        return round();
    }
    for line in io::stdin().lock().lines() {
        line.context("cannot read standard input")?;
        round()?;
    }
    Ok(())
}

fn train_file(trainer: &mut Trainer, file: &Path, output: File) -> anyhow::Result<()> {
    let cohort = read_description(file)?;
    trainer.run(cohort, &mut JsonLines { output, commands: Commands::default() })?;
    Ok(())
}

/// `{"model", "data", "trials": [{"trial", "seed", "params": {…}}, …]}`
fn read_description(file: &Path) -> anyhow::Result<wire::TrainCohort> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the cohort description {}", file.display()))?;
    let json = serde_json::from_str::<serde_json::Value>(&text)
        .with_context(|| format!("{} is not JSON", file.display()))?;
    let text = |value: &serde_json::Value, key: &str| {
        let found = value[key].as_str().map(str::to_owned);
        found.with_context(|| format!("{}: `{key}` is not a text", file.display()))
    };
    let (model, data) = (text(&json, "model")?, text(&json, "data")?);
    let trials = json["trials"].as_array().context("`trials` is not a list")?;
    let trials = trials.iter().map(|trial| {
        Ok(wire::LeasedTrial {
            attempt: Some(wire::AttemptId { trial: text(trial, "trial")?, attempt: 1 }),
            model: model.clone(),
            data: data.clone(),
            params: trial["params"].to_string(),
            seed: trial["seed"].as_u64().context("`seed` is not a whole number")?,
            epochs_stored: 0,
            keeps_weights: false,
        })
    });
    Ok(wire::TrainCohort { cohort: 1, trials: trials.collect::<anyhow::Result<_>>()? })
}

/// Reports as JSON lines; no commands.
struct JsonLines {
    output: File,
    commands: Commands,
}

impl Link for JsonLines {
    fn send(&mut self, message: from_trainer::Message) -> Result<(), LinkError> {
        let line = match message {
            from_trainer::Message::Epoch(report) => serde_json::json!({
                "trial": report.attempt.map(|attempt| attempt.trial),
                "epoch": report.epoch,
                "train_loss": report.train_loss,
                "train_error": report.train_error,
                "val_loss": report.val_loss,
                "val_error": report.val_error,
                "gate": report.gate,
                "grad_norm": report.grad_norm,
                "examples_per_second": report.examples_per_second,
                "seconds": report.seconds,
            }),
            from_trainer::Message::Outcome(outcome) => serde_json::json!({
                "outcome": outcome.kind().as_str_name(),
                "trial": outcome.attempt.map(|attempt| attempt.trial),
                "epochs": outcome.epochs,
                "best_epoch": outcome.best_epoch,
                "test_error": outcome.test_error,
                "val_error": outcome.val_error,
                "train_loss": outcome.train_loss,
                "seconds": outcome.seconds,
                "reason": outcome.reason,
            }),
            from_trainer::Message::Ready(_)
            | from_trainer::Message::Returned(_)
            | from_trainer::Message::Failed(_)
            | from_trainer::Message::Finished(_)
            | from_trainer::Message::Pulse(_) => return Ok(()),
        };
        writeln!(self.output, "{line}").map_err(LinkError::new)
    }

    fn commands(&mut self, _wait: bool) -> &mut Commands {
        &mut self.commands
    }
}
