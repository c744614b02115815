//! A stage for scheduler tests: short names for events, messages as short texts, a strict store
//! behind the scheduler, and every invariant after every event.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(missing_docs, clippy::unwrap_used, reason = "as in any test")]

pub mod ledger;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::config::{Config, Data, Model, Param, Value};
use common::ids::{AttemptId, CohortId, SweepName, TrialId, WorkerId};
use ledger::Ledger;
use scheduler::event::{
    CohortFailure, Device, EpochMetrics, Event, FailureCause, Fusion, Message, Outcome,
    OutcomeKind, Provenance, Report, RunningCohort, Session, SweepHeader, Time, Trial, WorkerHello,
};
use scheduler::overview::{Overview, SweepOverview, WorkerOverview};
use scheduler::{Effects, Scheduler, Settings};

/// The digest of everybody's data, unless a test says otherwise.
pub const DIGEST: &str = "digest";

pub struct Scene {
    pub scheduler: Scheduler,
    pub now: u64,
    pub ledger: Ledger,
}

impl Scene {
    pub fn new() -> Scene {
        let scheduler = Scheduler::new(Settings::default());
        Scene { scheduler, now: 1_000, ledger: Ledger::default() }
    }

    /// Applies an event; everything must hold after it.
    pub fn apply(&mut self, event: Event) -> Effects {
        let effects = self.scheduler.apply(Time(self.now), event);
        self.scheduler.check_invariants();
        self.ledger.commit(&effects.changes);
        self.ledger.check_counts(&self.overview());
        effects
    }

    /// Applies an event; returns the messages as texts.
    pub fn sent(&mut self, event: Event) -> Vec<String> {
        self.apply(event).messages.iter().map(text).collect()
    }

    /// Moves the clock, then ticks.
    pub fn after(&mut self, milliseconds: u64) -> Vec<String> {
        self.now += milliseconds;
        self.sent(Event::Tick)
    }

    /// Applies a sweep in chunks; returns all messages as texts.
    pub fn sweep(&mut self, header: SweepHeader, trials: Vec<Trial>) -> Vec<String> {
        let name = header.name.clone();
        let mut sent = self.sent(Event::SweepApplied(header));
        for chunk in trials.chunks(3) {
            sent.extend(self.sent(Event::TrialsAdded(name.clone(), chunk.to_vec())));
        }
        sent.extend(self.sent(Event::SweepExpanded(name)));
        sent
    }

    /// The coordinator is killed and starts again from what was stored.
    pub fn restart(&mut self) {
        self.scheduler = Scheduler::new(Settings::default());
        for event in self.ledger.restoration() {
            let effects = self.scheduler.apply(Time(self.now), event);
            self.scheduler.check_invariants();
            self.ledger.commit(&effects.changes);
            assert_eq!(effects.messages, [], "a restoration sends nothing");
        }
        self.ledger.check_counts(&self.overview());
    }

    pub fn overview(&self) -> Overview {
        self.scheduler.overview(Time(self.now))
    }

    pub fn explain(&self, trial: TrialId) -> Option<String> {
        self.scheduler.explain(Time(self.now), trial)
    }

    pub fn of(&self, name: &str) -> SweepOverview {
        let overview = self.overview();
        overview.sweeps.into_iter().find(|sweep| sweep.name.as_str() == name).unwrap()
    }

    pub fn worker(&self, id: &str) -> WorkerOverview {
        let overview = self.overview();
        overview.workers.into_iter().find(|worker| worker.id.as_str() == id).unwrap()
    }
}

pub fn name(text: &str) -> SweepName {
    text.parse().unwrap()
}

pub fn worker(text: &str) -> WorkerId {
    text.parse().unwrap()
}

pub fn attempt(trial: u64, number: u32) -> AttemptId {
    AttemptId { trial: TrialId(trial), number }
}

pub fn header(text: &str) -> SweepHeader {
    SweepHeader {
        name: name(text),
        yaml: String::new(),
        model: Model::Mlp,
        data: Data::Strokes,
        fusion: Fusion::Auto,
        priority: 0,
        failures_max: None,
        slot_seconds_max: None,
        same_error_max: None,
        data_digest: None,
    }
}

/// A config of ten epochs.
pub fn config(depth: i64, width: i64) -> Arc<Config> {
    let values = BTreeMap::from([
        (Param::Depth, Value::Int(depth)),
        (Param::Width, Value::Int(width)),
        (Param::BatchSize, Value::Int(100)),
        (Param::Epochs, Value::Int(10)),
    ]);
    Arc::new(Config::new(Model::Mlp, Data::Strokes, values))
}

pub fn trial(id: u64, config: &Arc<Config>) -> Trial {
    Trial { id: TrialId(id), config: config.clone(), seed: id }
}

/// Seeds of one config.
pub fn trials(ids: std::ops::RangeInclusive<u64>) -> Vec<Trial> {
    let config = config(2, 128);
    ids.map(|id| trial(id, &config)).collect()
}

pub fn hello(id: &str, slots: &[Device]) -> WorkerHello {
    WorkerHello {
        id: worker(id),
        host: "host".into(),
        program_version: "0.1.0".into(),
        libtorch_version: "2.11.0".into(),
        slots: slots.to_vec(),
        data_digests: BTreeMap::from([(Data::Strokes, DIGEST.into())]),
        running: Vec::new(),
        draining: false,
    }
}

pub fn running(cohort: u64, slot: u32, attempts: &[AttemptId]) -> RunningCohort {
    RunningCohort { cohort: CohortId(cohort), slot, attempts: attempts.to_vec() }
}

/// A worker with CPU slots attaches and runs nothing.
pub fn attached(id: &str, session: u64, slots: usize) -> Event {
    Event::WorkerAttached(Session(session), hello(id, &vec![Device::Cpu; slots]))
}

pub fn attached_gpu(id: &str, session: u64) -> Event {
    Event::WorkerAttached(Session(session), hello(id, &[Device::Cuda(0)]))
}

pub fn attached_with(id: &str, session: u64, slots: usize, held: Vec<RunningCohort>) -> Event {
    let mut hello = hello(id, &vec![Device::Cpu; slots]);
    hello.running = held;
    Event::WorkerAttached(Session(session), hello)
}

pub fn detached(id: &str, session: u64) -> Event {
    Event::WorkerDetached(worker(id), Session(session))
}

pub fn heartbeat(id: &str, session: u64) -> Event {
    Event::Heartbeat { worker: worker(id), session: Session(session), draining: false }
}

pub fn drains(id: &str, session: u64) -> Event {
    Event::Heartbeat { worker: worker(id), session: Session(session), draining: true }
}

pub fn reported(id: &str, session: u64, through: u64, reports: Vec<Report>) -> Event {
    Event::Reported { worker: worker(id), session: Session(session), through, reports }
}

/// An epoch of one second with a validation error of one over the epoch plus one.
pub fn epoch(attempt: AttemptId, epoch: u32) -> Report {
    let metrics = EpochMetrics {
        epoch,
        train_loss: 1.0,
        train_error: 0.5,
        val_loss: 1.0,
        val_error: 1.0 / f64::from(epoch + 1),
        gate: 1.0,
        lr: 1e-3,
        grad_norm: 1.0,
        examples_per_second: 1_000.0,
        seconds: 1.0,
        examples: 1_000,
    };
    Report::Epoch(attempt, metrics)
}

pub fn outcome(kind: OutcomeKind, val_error: Option<f64>) -> Outcome {
    Outcome {
        kind,
        epochs: 10,
        seconds: 10.0,
        best_epoch: val_error.map(|_| 10),
        test_error: val_error,
        test_loss: None,
        val_error,
        val_loss: None,
        train_loss: None,
        reason: "the last epoch".into(),
        provenance: Provenance::default(),
    }
}

pub fn completed(attempt: AttemptId) -> Report {
    Report::Ended(attempt, outcome(OutcomeKind::Completed, Some(0.1)))
}

pub fn diverged(attempt: AttemptId) -> Report {
    Report::Ended(attempt, outcome(OutcomeKind::Diverged, None))
}

pub fn died(cohort: u64, attempts: &[AttemptId], cause: FailureCause) -> Report {
    Report::CohortFailed(CohortFailure {
        cohort: CohortId(cohort),
        attempts: attempts.to_vec(),
        cause,
        message: "signal 9".into(),
        stderr_tail: "last words".into(),
    })
}

fn short(attempt: &AttemptId) -> String {
    format!("{}#{}", attempt.trial.0, attempt.number)
}

fn list(attempts: impl IntoIterator<Item = AttemptId>) -> String {
    attempts.into_iter().map(|attempt| short(&attempt)).collect::<Vec<_>>().join(" ")
}

/// `lease w/0 c1: 3#1 2#1`: to slot 0 of worker w, cohort 1, trials 3 and 2, first attempts.
pub fn text(message: &Message) -> String {
    match message {
        Message::Welcome { worker, session, adopted } => {
            format!("welcome {worker}@{} [{}]", session.0, list(adopted.iter().copied()))
        }
        Message::Lease { worker, slot, cohort, trials, .. } => {
            let attempts = list(trials.iter().map(|leased| leased.attempt));
            format!("lease {worker}/{slot} c{cohort}: {attempts}")
        }
        Message::Stop { worker, attempt, .. } => format!("stop {worker} {}", short(attempt)),
        Message::Acknowledge { worker, through, .. } => format!("ack {worker} {through}"),
        Message::Drain { worker, .. } => format!("drain {worker}"),
        Message::SweepCompleted(sweep) => format!("completed {sweep}"),
    }
}
