//! The worker: reads the command line, checks the host, and runs the agent until it is told to
//! stop.

use std::io::{self, Read};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use common::data;
use common::telemetry::{self, chain};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use worker::agent::{
    self, AgentError, DRAIN_MS_MAX, DRAIN_WITH_PARENT_MS_MAX, Launch, Settings, Stop,
};
use worker::devices::cuda_count;
use worker::options::{Options, OptionsError};
use worker::state::{StateDirectory, StateError};

/// Two signals and the parent's end: more need not wait.
const STOPS_WAITING_MAX: usize = 4;

/// Slurm says SIGTERM twice within a moment where it preempts a job: one and the same.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

/// A parent that was killed and started again finds the worker of its earlier life draining.
const PREDECESSOR_WAIT: Duration = Duration::from_millis(DRAIN_WITH_PARENT_MS_MAX + 10_000);

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Options(OptionsError),
    #[error(transparent)]
    State(StateError),
    #[error(transparent)]
    Agent(AgentError),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

fn main() -> ExitCode {
    // Before anything speaks TLS; another provider cannot have been installed yet.
    let installed = rustls::crypto::ring::default_provider().install_default();
    debug_assert!(installed.is_ok());
    let options = Options::parse();
    telemetry::init(io::stderr);
    match run(&options) {
        Ok(Stop::Parent | Stop::Coordinator) => ExitCode::SUCCESS,
        Ok(Stop::Signal(signal)) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)),
        Err(failure) => {
            // The last word of a process is for whoever started it, whatever the log level.
            eprintln!("error: {}", chain(&failure));
            match failure {
                Failure::Options(error) if error.is_mistake() => ExitCode::from(2),
                Failure::Agent(AgentError::Refused { .. }) => ExitCode::from(2),
                Failure::Options(_)
                | Failure::State(_)
                | Failure::Agent(_)
                | Failure::Runtime(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn run(options: &Options) -> Result<Stop, Failure> {
    let resolved = options.resolve(cuda_count()).map_err(Failure::Options)?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let wait = if options.exit_with_parent { PREDECESSOR_WAIT } else { Duration::ZERO };
    let state = StateDirectory::open(&options.state, &host, wait).map_err(Failure::State)?;
    let launch = Launch {
        program: resolved.trainer,
        libtorch: resolved.libtorch,
        data: data::directory(options.data.as_deref()),
        checkpoints: resolved.artifacts.unwrap_or_else(|| state.checkpoints()),
    };
    tracing::info!(
        worker = %state.worker(),
        slots = resolved.slots.len(),
        libtorch = %launch.libtorch.root().display(),
        trainer = %launch.program.display(),
        data = %launch.data.display(),
        checkpoints = %launch.checkpoints.display(),
        "starting trainers"
    );
    let settings = Settings {
        coordinator: resolved.coordinator,
        host,
        slots: resolved.slots,
        launch,
        state,
        drain_ms_max: match options.exit_with_parent {
            true => DRAIN_WITH_PARENT_MS_MAX,
            false => DRAIN_MS_MAX,
        },
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // The agent moves little data; the cores are for the trainers.
    let runtime = builder.worker_threads(2).enable_all().build().map_err(Failure::Runtime)?;
    runtime.block_on(async {
        let stops = stops(options.exit_with_parent).map_err(Failure::Runtime)?;
        agent::run(settings, stops).await.map_err(Failure::Agent)
    })
}

/// Everything that tells the worker to leave.
fn stops(with_parent: bool) -> io::Result<mpsc::Receiver<Stop>> {
    let (sender, stops) = mpsc::channel(STOPS_WAITING_MAX);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        tokio::spawn(forward(signal(kind)?, Stop::Signal(kind.as_raw_value()), sender.clone()));
    }
    if with_parent {
        std::thread::spawn(move || {
            wait_for_end(io::stdin());
            // The agent may be leaving already.
            let _ = sender.blocking_send(Stop::Parent);
        });
    }
    Ok(stops)
}

async fn forward(mut signals: Signal, stop: Stop, stops: mpsc::Sender<Stop>) {
    let mut last: Option<Instant> = None;
    while signals.recv().await.is_some() {
        let is_repeat = last.is_some_and(|last| last.elapsed() < ONE_SIGNAL);
        last = Some(Instant::now());
        if !is_repeat && stops.send(stop).await.is_err() {
            return;
        }
    }
}

/// Nothing is said on the standard input; its end, or one that cannot be read, is all that counts.
fn wait_for_end(mut input: impl Read) {
    let mut buffer = [0; 64];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
