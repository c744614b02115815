//! The thread that owns supervisor and spool: one input at a time, in order.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use common::ids::TrialId;
use common::telemetry::chain;
use common::wire::{self, from_worker};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{AgentError, Input, Settings, Stop};
use crate::artifacts::Artifacts;
use crate::connection::ConnectionEvent;
use crate::gpus::Gpus;
use crate::process::{self, Handle, Seat};
use crate::rpc::{FromCoordinator, FromTrainer, to_gpu, to_report, to_running};
use crate::spool::{SPOOL_BYTES_MAX, Spool};
use crate::stderr::SlotLog;
use crate::supervisor::{Action, Event, Exit, Supervisor, Time, TrainerEvent};
use crate::weights::Weights;

/// Until the coordinator says.
const HEARTBEAT_MS: u64 = 2_000;
/// A disk that refused is asked again after this time.
const SPOOL_RETRY_MS: u64 = 5_000;
/// A worker that has handed everything back does not wait longer for a coordinator that is gone:
/// the spool keeps the reports for the next start.
const DRAIN_ALONE_MS: u64 = 5_000;

/// A stream to the coordinator.
#[derive(Debug)]
struct Stream {
    outbound: mpsc::Sender<wire::FromWorker>,
    heartbeat_ms: u64,
    heartbeat_at: Time,
    /// Reports from before the hello may be left to send. A heartbeat says that none is: what
    /// neither hello nor reports named by then, this worker does not have.
    has_backlog: bool,
}

/// Since when the worker is leaving, and why.
#[derive(Debug)]
struct Leaving {
    since: Time,
    result: Result<Stop, AgentError>,
    at_once: bool,
}

/// What the driver keeps on the disk, or others for it.
pub(super) struct Folders {
    pub artifacts: Artifacts,
    pub weights: Weights,
    pub spool: Spool,
}

pub(super) struct Driver {
    started: Instant,
    settings: Settings,
    supervisor: Supervisor,
    artifacts: Artifacts,
    weights: Weights,
    spool: Spool,
    spool_retry_at: Option<Time>,
    /// Weak, also at the trainers: an agent that is dropped ends the driver and so everything.
    inbox: mpsc::WeakSender<Input>,
    trainers: TaskTracker,
    kill_all: CancellationToken,
    handles: Vec<Option<Handle>>,
    logs: Vec<Arc<SlotLog>>,
    libtorch_version: String,
    gpus: Gpus,
    data_digests: Option<HashMap<String, String>>,
    is_warm: bool,
    /// Taken when the connection may begin.
    attach: Option<oneshot::Sender<()>>,
    stream: Option<Stream>,
    stream_lost_at: Time,
    leaving: Option<Leaving>,
}

impl Driver {
    pub(super) fn new(
        settings: Settings,
        folders: Folders,
        inbox: mpsc::WeakSender<Input>,
        trainers: TaskTracker,
        kill_all: CancellationToken,
        attach: oneshot::Sender<()>,
    ) -> Driver {
        let slots = settings.slots.len();
        let folder = settings.state.logs();
        let logs = (0..slots).map(|slot| Arc::new(SlotLog::new(&folder, slot))).collect();
        let gpus = Gpus::watch(&settings.slots);
        Driver {
            started: Instant::now(),
            settings,
            supervisor: Supervisor::new(slots),
            artifacts: folders.artifacts,
            weights: folders.weights,
            spool: folders.spool,
            spool_retry_at: None,
            inbox,
            trainers,
            kill_all,
            handles: (0..slots).map(|_| None).collect(),
            logs,
            libtorch_version: String::new(),
            gpus,
            data_digests: None,
            is_warm: false,
            attach: Some(attach),
            stream: None,
            stream_lost_at: Time(0),
            leaving: None,
        }
    }

    /// Until the worker leaves; none where the agent was dropped instead.
    pub(super) fn drive(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
    ) -> Option<Result<Stop, AgentError>> {
        self.apply(Event::Begin);
        while let Some(input) = inputs.blocking_recv() {
            self.take(input);
            self.send_reports();
            self.send_heartbeat();
            self.watch_spool();
            if self.is_done() {
                return self.leaving.map(|leaving| leaving.result);
            }
        }
        None
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Trainer { slot, run, said } => {
                let event = match said {
                    FromTrainer::Ready { libtorch_version } => {
                        tracing::debug!(slot, libtorch_version, "a trainer holds its device");
                        self.libtorch_version = libtorch_version;
                        TrainerEvent::Ready
                    }
                    FromTrainer::Event(event) => self.completed(slot, event),
                };
                self.apply(Event::Trainer { slot, run, event });
            }
            Input::Connection(event) => self.on_connection(event),
            Input::DataSets(digests) => {
                self.data_digests = Some(digests);
                self.attach_when_ready();
            }
            Input::Stop(stop) => self.on_stop(stop),
            Input::Tick => self.apply(Event::Tick),
        }
    }

    /// What the trainer cannot know of itself: its stderr.
    fn completed(&mut self, slot: usize, event: TrainerEvent) -> TrainerEvent {
        match event {
            TrainerEvent::CohortFailed(mut failure) => {
                let cohort = failure.cohort;
                tracing::warn!(slot, %cohort, "a cohort failed: {}", failure.message);
                failure.stderr_tail = self.logs[slot].tail();
                TrainerEvent::CohortFailed(failure)
            }
            TrainerEvent::Exited(exit) => {
                tracing::warn!(slot, log = %self.logs[slot].path().display(), "{}", exit.message);
                TrainerEvent::Exited(exit)
            }
            TrainerEvent::Ready
            | TrainerEvent::Pulse
            | TrainerEvent::Reported(..)
            | TrainerEvent::CohortFinished(_) => event,
        }
    }

    fn apply(&mut self, event: Event) {
        let now = self.now();
        for action in self.supervisor.apply(now, event) {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { slot, run } => {
                let (handle, orders, kill) = Handle::new(run, &self.kill_all);
                let device = self.settings.slots[slot];
                let seat = Seat { slot, run, device, log: Arc::clone(&self.logs[slot]) };
                let launch = self.settings.launch.clone();
                let inbox = self.inbox.clone();
                self.trainers.spawn(process::run(launch, seat, orders, kill, inbox));
                self.handles[slot] = Some(handle);
            }
            Action::Order { slot, run, order } => {
                if let Some(handle) = self.handles[slot].as_ref().filter(|h| h.run == run) {
                    handle.order(order);
                }
            }
            Action::Kill { slot, run, reason } => {
                tracing::warn!(slot, "the trainer is killed: {reason}");
                if let Some(handle) = self.handles[slot].as_ref().filter(|h| h.run == run) {
                    handle.kill();
                }
            }
            Action::Report(report) => {
                let (sequence, written) = self.spool.append(to_report(report));
                if let Err(error) = written {
                    tracing::error!(sequence, "trainers will pause: {}", chain(&error));
                    self.spool_retry_at = Some(self.now().after_ms(SPOOL_RETRY_MS));
                }
            }
            Action::Warm => {
                self.is_warm = true;
                self.attach_when_ready();
            }
            Action::GiveUp { slot, exit } => self.give_up(slot, exit),
        }
    }

    fn give_up(&mut self, slot: usize, exit: Exit) {
        let error = AgentError::Trainer {
            device: self.settings.slots[slot],
            message: exit.message,
            stderr_tail: exit.stderr_tail.trim_end().to_owned(),
            log: self.logs[slot].path().to_owned(),
        };
        tracing::error!("{error}");
        let at_once = !self.is_warm;
        self.leaving = Some(Leaving { since: self.now(), result: Err(error), at_once });
        self.announce_drain();
    }

    fn on_stop(&mut self, stop: Stop) {
        match (&mut self.leaving, stop) {
            (None, _) => {
                let since = self.now();
                self.leaving = Some(Leaving { since, result: Ok(stop), at_once: false });
                self.apply(Event::Drain);
                let left = self.supervisor.running();
                let attempts = left.iter().map(|running| running.attempts.len()).sum::<usize>();
                tracing::info!(attempts, "draining: what trains is handed back");
                self.announce_drain();
            }
            (Some(leaving), Stop::Signal(_)) => {
                leaving.at_once = true;
                self.kill_all.cancel();
            }
            (Some(_), Stop::Parent | Stop::Coordinator) => {}
        }
    }

    fn announce_drain(&mut self) {
        let now = self.now();
        if let Some(stream) = &mut self.stream {
            stream.heartbeat_at = now;
        }
    }

    fn attach_when_ready(&mut self) {
        if self.is_warm
            && self.data_digests.is_some()
            && let Some(attach) = self.attach.take()
        {
            // The task is gone only where the agent is leaving.
            let _ = attach.send(());
        }
    }

    fn on_connection(&mut self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Opened(outbound) => {
                let hello = from_worker::Message::Hello(self.hello());
                let message = wire::FromWorker { message: Some(hello) };
                outbound.try_send(message).expect("a new channel has room");
                self.spool.rewind();
                self.stream = Some(Stream {
                    outbound,
                    heartbeat_ms: HEARTBEAT_MS,
                    heartbeat_at: self.now(),
                    has_backlog: true,
                });
            }
            ConnectionEvent::Said(said) => self.on_coordinator(said),
            ConnectionEvent::Foreign => self.start_anew(),
            ConnectionEvent::Refused(reason) => self.on_refused(reason),
            ConnectionEvent::Lost => {
                self.stream = None;
                self.stream_lost_at = self.now();
            }
        }
    }

    /// Nothing runs yet that could be lost: whoever started the worker is told at once.
    fn on_refused(&mut self, reason: String) {
        let coordinator = self.settings.coordinator.to_string();
        let result = Err(AgentError::Refused { coordinator, reason });
        let leaving = Leaving { since: self.now(), result, at_once: true };
        self.leaving.get_or_insert(leaving);
    }

    /// Drops what belongs to another store: its attempt numbers mean nothing to this one.
    fn start_anew(&mut self) {
        tracing::warn!("the coordinator has another store: what trains and waits here is dropped");
        self.apply(Event::Welcome { adopted: BTreeSet::new() });
        if let Err(error) = self.spool.discard() {
            tracing::error!("trainers will pause: {}", chain(&error));
            self.spool_retry_at = Some(self.now().after_ms(SPOOL_RETRY_MS));
        }
        self.remember_store("");
    }

    fn remember_store(&mut self, store: &str) {
        if let Err(error) = self.settings.state.set_store(store) {
            tracing::error!("the coordinator's store is not remembered: {}", chain(&error));
        }
    }

    fn hello(&self) -> wire::Hello {
        let devices = self.settings.slots.iter();
        let store = self.settings.state.store();
        // What is about to end after `start_anew` is of no store that anybody knows.
        let running = if store.is_empty() { Vec::new() } else { self.supervisor.running() };
        wire::Hello {
            worker: self.settings.state.worker().to_string(),
            host: self.settings.host.clone(),
            program_version: env!("CARGO_PKG_VERSION").into(),
            libtorch_version: self.libtorch_version.clone(),
            slots: devices.map(|device| wire::Slot { device: device.to_string() }).collect(),
            data_digests: self.data_digests.clone().unwrap_or_default(),
            running: running.into_iter().map(to_running).collect(),
            draining: self.supervisor.is_draining(),
            store: store.into(),
        }
    }

    fn on_coordinator(&mut self, said: FromCoordinator) {
        match said {
            FromCoordinator::Welcome { adopted, heartbeat_interval_ms, store } => {
                tracing::info!(
                    coordinator = %self.settings.coordinator,
                    worker = %self.settings.state.worker(),
                    slots = self.settings.slots.len(),
                    "attached"
                );
                if let Some(stream) = &mut self.stream
                    && heartbeat_interval_ms > 0
                {
                    stream.heartbeat_ms = heartbeat_interval_ms.into();
                }
                self.remember_store(&store);
                self.weights.attached(&store);
                self.apply(Event::Welcome { adopted });
            }
            FromCoordinator::Lease { slot, cohort } => self.apply(Event::Lease { slot, cohort }),
            FromCoordinator::Acknowledge { through } => {
                let (ended, compacted) = self.spool.acknowledge(through);
                if let Err(error) = compacted {
                    // The old file still has everything.
                    tracing::warn!("{}", chain(&error));
                }
                for attempt in ended {
                    self.weights.offer(attempt);
                    // Where it runs here again, it may be about to go on from these files.
                    if self.supervisor.slot_of(attempt.trial).is_none() {
                        self.artifacts.forget(attempt);
                    }
                }
            }
            FromCoordinator::Stop(attempt) => self.apply(Event::Stop(attempt)),
            FromCoordinator::Drain => self.on_stop(Stop::Coordinator),
            FromCoordinator::LogRequest { request, trial } => self.on_log_request(request, trial),
        }
    }

    fn on_log_request(&self, request: u64, trial: TrialId) {
        let slot = self.supervisor.slot_of(trial);
        let text = slot.map(|slot| self.logs[slot].tail()).unwrap_or_default();
        let log = from_worker::Message::Log(wire::Log { request, text });
        if let Some(stream) = &self.stream
            && stream.outbound.try_send(wire::FromWorker { message: Some(log) }).is_err()
        {
            tracing::debug!(request, "a log request is not answered: the stream is busy");
        }
    }

    fn send_reports(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        // No place: the coordinator is slower than the trainers, and the spool keeps the rest.
        while let Ok(place) = stream.outbound.try_reserve() {
            let reports = self.spool.next_batch();
            if reports.is_empty() {
                stream.has_backlog = false;
                return;
            }
            let reports = from_worker::Message::Reports(wire::Reports { reports });
            place.send(wire::FromWorker { message: Some(reports) });
        }
    }

    fn send_heartbeat(&mut self) {
        let (now, draining) = (self.now(), self.supervisor.is_draining());
        let Some(stream) = &mut self.stream else {
            return;
        };
        if stream.heartbeat_at > now || stream.has_backlog {
            return;
        }
        let gpus = self.gpus.newest().into_iter().map(to_gpu).collect();
        let heartbeat = from_worker::Message::Heartbeat(wire::Heartbeat { draining, gpus });
        // Without a place it is due again with the next input.
        if stream.outbound.try_send(wire::FromWorker { message: Some(heartbeat) }).is_ok() {
            stream.heartbeat_at = now.after_ms(stream.heartbeat_ms);
        }
    }

    /// Pauses trainers while the spool is full or the disk refuses it, and asks the disk again.
    fn watch_spool(&mut self) {
        if self.spool_retry_at.is_some_and(|at| at <= self.now()) {
            match self.spool.rewrite() {
                Ok(()) => self.spool_retry_at = None,
                Err(error) => {
                    tracing::error!("trainers are paused: {}", chain(&error));
                    self.spool_retry_at = Some(self.now().after_ms(SPOOL_RETRY_MS));
                }
            }
        }
        let bytes = self.spool.bytes();
        if bytes >= SPOOL_BYTES_MAX || self.spool.is_file_behind() {
            self.apply(Event::SpoolFull(true));
        } else if bytes < SPOOL_BYTES_MAX / 2 {
            self.apply(Event::SpoolFull(false));
        }
    }

    /// Whether a worker that leaves may go now.
    fn is_done(&self) -> bool {
        let Some(leaving) = &self.leaving else {
            return false;
        };
        let now = self.now();
        if leaving.at_once {
            return true;
        }
        if now >= leaving.since.after_ms(self.settings.drain_ms_max) {
            let left = self.supervisor.running();
            let attempts = left.iter().map(|running| running.attempts.len()).sum::<usize>();
            let weights = self.weights.open();
            tracing::warn!(attempts, weights, "leaving before everything was handed over");
            return true;
        }
        if !self.supervisor.is_drained() {
            return false;
        }
        let never_attached = self.attach.is_some();
        let alone_since = leaving.since.max(self.stream_lost_at);
        let is_alone = self.stream.is_none() && now >= alone_since.after_ms(DRAIN_ALONE_MS);
        let is_handed_over = self.spool.is_empty() && self.weights.open() == 0;
        is_handed_over || never_attached || is_alone
    }
}
