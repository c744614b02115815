//! The agent: one thread takes what happens in order, asks the supervisor, and carries out its
//! answer. Trainers, the stream and the clock are tasks that put what happens into its inbox.

mod driver;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use common::access::Access;
use common::telemetry::chain;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::artifacts::Artifacts;
use crate::connection::{ConnectionEvent, keep_attached};
use crate::data_sets::digests;
use crate::devices::Device;
use crate::rpc::FromTrainer;
use crate::spool::{Spool, SpoolError};
use crate::state::StateDirectory;
use crate::supervisor::Run;
use crate::weights::{self, Weights};

pub use crate::process::Launch;
use driver::{Driver, Folders};

/// Events that wait for the driver. Where it is full a trainer waits with its reports, which is
/// what a slow disk should come to.
const INBOX_WAITING_MAX: usize = 1024;
/// Deadlines are kept to this precision.
const TICK: Duration = Duration::from_millis(100);
/// Time for trainers to exit by themselves when the agent leaves.
const EXIT_WAIT: Duration = Duration::from_secs(2);
/// Time for the checkpoints of trials that ended to go.
const FORGET_WAIT: Duration = Duration::from_secs(2);
/// Time that a killed process may take; one in the kernel's hands can take for ever.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// Time for the trials to reach an epoch boundary and for the coordinator to take what is left.
pub const DRAIN_MS_MAX: u64 = 60_000;
/// Where a parent waits for the worker to leave, and kills it when that takes too long.
pub const DRAIN_WITH_PARENT_MS_MAX: u64 = 15_000;

/// Why the worker is to leave. It drains first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// This signal asked for it. One that comes while it drains makes it leave at once.
    Signal(i32),
    /// The parent is gone.
    Parent,
    /// The coordinator asked for it.
    Coordinator,
}

/// Why the worker failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The spool cannot be opened.
    #[error("the unsent reports cannot be kept")]
    Spool(#[source] SpoolError),
    /// The coordinator does not want this worker.
    #[error("--coordinator {coordinator}: {reason}")]
    Refused {
        /// The coordinator.
        coordinator: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A trainer does not start.
    #[error("the trainer for `{device}` cannot be started: {message}\n{stderr_tail}\n(its log: {})",
        log.display())]
    Trainer {
        /// Its device.
        device: Device,
        /// How it ended.
        message: String,
        /// The newest lines of its stderr.
        stderr_tail: String,
        /// All of it.
        log: PathBuf,
    },
}

/// What an agent is started with.
#[derive(Debug)]
pub struct Settings {
    /// The coordinator.
    pub coordinator: Access,
    /// This host's name.
    pub host: String,
    /// Device by slot.
    pub slots: Vec<Device>,
    /// How trainers are started.
    pub launch: Launch,
    /// Held by this process.
    pub state: StateDirectory,
    /// Longest drain.
    pub drain_ms_max: u64,
}

/// What happens to the agent.
#[derive(Debug)]
pub(crate) enum Input {
    /// A trainer said something.
    Trainer {
        /// In this slot.
        slot: usize,
        /// This process.
        run: Run,
        /// What.
        said: FromTrainer,
    },
    /// Something happened to the stream.
    Connection(ConnectionEvent),
    /// The data sets of this host are known: digest by name.
    DataSets(HashMap<String, String>),
    /// It is to leave.
    Stop(Stop),
    /// Time passed.
    Tick,
}

/// Runs a worker until it is told to stop; returns what told it first. Needs a multi-threaded
/// runtime.
pub async fn run(settings: Settings, stops: mpsc::Receiver<Stop>) -> Result<Stop, AgentError> {
    let spool = Spool::open(&settings.state.spool()).map_err(AgentError::Spool)?;
    let (inbox, inputs) = mpsc::channel(INBOX_WAITING_MAX);
    let (trainers, kill_all) = (TaskTracker::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(tick(inbox.clone()));
    tasks.spawn(forward_stops(stops, inbox.clone()));
    let data = settings.launch.data.clone();
    let for_data = inbox.clone();
    tasks.spawn(async move {
        let found = spawn_blocking(move || digests(Some(&data))).await;
        let found = found.expect("reading data sets returns errors instead of panicking");
        // The agent may have left meanwhile.
        let _ = for_data.send(Input::DataSets(found)).await;
    });
    let (attach, attached) = tokio::sync::oneshot::channel();
    let access = settings.coordinator.clone();
    let for_connection = inbox.clone();
    tasks.spawn(async move {
        if attached.await.is_ok() {
            keep_attached(access, for_connection).await;
        }
    });
    let weak = inbox.downgrade();
    let folder = settings.launch.checkpoints.clone();
    let (artifacts, forgotten) = Artifacts::keep(folder, settings.state.worker());
    let (weights, inlet) = Weights::new();
    let (access, folder) = (settings.coordinator.clone(), settings.launch.checkpoints.clone());
    tasks.spawn(weights::run(inlet, access, folder));
    let (watch, kill) = (trainers.clone(), kill_all.clone());
    let folders = Folders { artifacts, weights, spool };
    let driver = Driver::new(settings, folders, weak, watch, kill, attach);
    // A thread of its own: it waits for the disk.
    let result = spawn_blocking(move || driver.drive(inputs)).await;
    let result = result.expect("the driver does not panic").expect("its inbox is open here");
    drop(inbox);
    tasks.shutdown().await;
    trainers.close();
    if timeout(EXIT_WAIT, trainers.wait()).await.is_err() {
        kill_all.cancel();
        if timeout(KILL_WAIT, trainers.wait()).await.is_err() {
            tracing::warn!("a trainer that was killed is still there");
        }
    }
    if timeout(FORGET_WAIT, forgotten).await.is_err() {
        tracing::warn!("checkpoints of trials that ended are left: their folder does not answer");
    }
    if let Err(error) = &result {
        tracing::debug!("leaving: {}", chain(error));
    }
    result
}

async fn tick(inbox: mpsc::Sender<Input>) {
    let mut interval = interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        match inbox.try_send(Input::Tick) {
            // A full inbox has the driver look at the clock often enough.
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
    }
}

async fn forward_stops(mut stops: mpsc::Receiver<Stop>, inbox: mpsc::Sender<Input>) {
    while let Some(stop) = stops.recv().await {
        if inbox.send(Input::Stop(stop)).await.is_err() {
            return;
        }
    }
}
