//! What each slot runs and what to do next: the agent without its input and output.
//!
//! `apply(now, event) -> actions`; no clock, no runtime, no files, so that a simulation can drive
//! it. Limits: what a trainer reports of an attempt passes through unread, in its wire form.

mod slot;

use std::collections::BTreeSet;

use common::ids::{AttemptId, CohortId, TrialId};
pub use common::report::{CohortFailure, FailureCause};
use common::wire;

use slot::{Slot, Trainer};

/// Time that a trainer has to end a cohort whose attempts are all over or stopped.
pub const FINISH_MS_MAX: u64 = 10_000;
/// Time that a trainer has to hold its device: loading the CUDA libraries from a cold disk.
pub const START_MS_MAX: u64 = 120_000;
/// Silence of a trainer in the middle of a cohort that means that it hangs. It gives a sign of life
/// every 10 s between steps; the longest work between two signs is one checkpoint on a slow disk.
pub const SILENCE_MS_MAX: u64 = 300_000;
/// The same before its first word on a cohort: it loads the data and draws the weights of every
/// member, a decomposition per layer, which takes minutes for a large cohort of deep networks.
pub const PREPARE_MS_MAX: u64 = 1_800_000;
/// Time between two ticks, due every 100 ms, after which the agent itself is taken to have been
/// stopped (a suspended host, a blocked disk): trainers may have spoken, and nobody listened.
pub const ABSENCE_MS_MAX: u64 = 10_000;
/// Starts in a row that led to nothing, after which a worker gives up.
pub const START_FAILURES_MAX: u32 = 5;
/// Wait after the first of them; it doubles with each.
pub const START_BACKOFF_MS: u64 = 1_000;

/// Milliseconds on the driver's monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

impl Time {
    /// This much later.
    pub fn after_ms(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }
}

/// One trainer process. What an older process of a slot says late is not taken for the newer's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Run(pub u64);

/// One trial of a lease.
#[derive(Clone, PartialEq, Debug)]
pub struct LeasedTrial {
    /// Its attempt.
    pub attempt: AttemptId,
    /// Epochs that the coordinator has of it.
    pub epochs_stored: u32,
    /// All of it, as the trainer gets it.
    pub payload: wire::LeasedTrial,
}

/// Trials that one slot trains together.
#[derive(Clone, PartialEq, Debug)]
pub struct Cohort {
    /// Its id.
    pub id: CohortId,
    /// Its trials.
    pub trials: Vec<LeasedTrial>,
}

/// The attempts of a slot that have not ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunningCohort {
    /// The cohort.
    pub cohort: CohortId,
    /// The slot.
    pub slot: usize,
    /// Its attempts.
    pub attempts: Vec<AttemptId>,
}

/// What a trainer says about one attempt.
#[derive(Clone, PartialEq, Debug)]
pub enum AttemptReport {
    /// An epoch ended.
    Epoch(wire::EpochReport),
    /// Its trial ended.
    Ended(Box<wire::AttemptOutcome>),
    /// It was handed back with a checkpoint of this epoch.
    Returned {
        /// Epochs trained in all.
        epochs: u32,
    },
}

/// How a trainer process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    /// What that means for the cohort it held.
    pub cause: FailureCause,
    /// "the trainer was ended by SIGKILL".
    pub message: String,
    /// The newest lines of its stderr.
    pub stderr_tail: String,
}

/// For the spool, in this order.
#[derive(Clone, PartialEq, Debug)]
pub enum Report {
    /// Of one attempt.
    Attempt(AttemptId, AttemptReport),
    /// A cohort ended without outcomes.
    CohortFailed(CohortFailure),
}

/// A command to a trainer.
#[derive(Clone, PartialEq, Debug)]
pub enum Order {
    /// Train this cohort.
    Train(Cohort),
    /// Forget this attempt at once.
    Stop(AttemptId),
    /// Hand every attempt back at the next epoch boundary.
    HandBack,
    /// Hold at the next epoch boundary while true.
    Pause(bool),
}

/// What a trainer did.
#[derive(Clone, PartialEq, Debug)]
pub enum TrainerEvent {
    /// It holds its device.
    Ready,
    /// It trains on.
    Pulse,
    /// It reports on an attempt.
    Reported(AttemptId, AttemptReport),
    /// It caught an error; it lives on.
    CohortFailed(CohortFailure),
    /// It waits for the next cohort.
    CohortFinished(CohortId),
    /// The process is gone; the last event of a run.
    Exited(Exit),
}

/// What happened. `apply` takes one at a time.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The first event.
    Begin,
    /// A trainer did something.
    Trainer {
        /// In this slot.
        slot: usize,
        /// This process.
        run: Run,
        /// What.
        event: TrainerEvent,
    },
    /// The coordinator answered a hello: all other attempts are to be stopped.
    Welcome {
        /// The attempts that go on.
        adopted: BTreeSet<AttemptId>,
    },
    /// The coordinator leased a cohort to a slot.
    Lease {
        /// The slot; a worker that has no such slot hands the cohort back.
        slot: usize,
        /// The cohort.
        cohort: Cohort,
    },
    /// The coordinator wants an attempt no more.
    Stop(AttemptId),
    /// The spool reached its cap, or has room again.
    SpoolFull(bool),
    /// Hand everything back and take no more.
    Drain,
    /// Time passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Start a trainer process; its `Exited` follows in any case.
    Start {
        /// In this slot.
        slot: usize,
        /// As this run.
        run: Run,
    },
    /// Write to a trainer.
    Order {
        /// In this slot.
        slot: usize,
        /// To this run.
        run: Run,
        /// The command.
        order: Order,
    },
    /// Kill a trainer's process group; its `Exited` follows.
    Kill {
        /// In this slot.
        slot: usize,
        /// This run.
        run: Run,
        /// For the log.
        reason: &'static str,
    },
    /// Put into the spool.
    Report(Report),
    /// Every trainer holds its device: the worker may say hello.
    Warm,
    /// A trainer cannot be started: the worker drains (where it has begun) and ends in failure.
    GiveUp {
        /// In this slot.
        slot: usize,
        /// How the last one ended.
        exit: Exit,
    },
}

/// Where the worker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No trainer has failed and some are not ready yet: a broken set-up shows here, at start.
    Warming,
    /// Takes leases.
    Serving,
    /// Takes none.
    Draining,
}

/// All slots of a worker.
#[derive(Debug)]
pub struct Supervisor {
    slots: Vec<Slot>,
    phase: Phase,
    paused: bool,
    ticked_at: Time,
    runs: u64,
}

impl Supervisor {
    /// A worker with this many slots, none of which has a trainer before `Begin`.
    pub fn new(slots: usize) -> Supervisor {
        let slots = (0..slots).map(|_| Slot::default()).collect();
        let (phase, ticked_at) = (Phase::Warming, Time(0));
        Supervisor { slots, phase, paused: false, ticked_at, runs: 0 }
    }

    /// Takes one event.
    pub fn apply(&mut self, now: Time, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Begin => self.start_due(now, &mut actions),
            Event::Trainer { slot, run, event } => {
                if self.slots.get(slot).and_then(Slot::run) == Some(run) {
                    self.on_trainer(now, slot, event, &mut actions);
                }
            }
            Event::Welcome { adopted } => self.on_welcome(now, &adopted, &mut actions),
            Event::Lease { slot, cohort } => self.on_lease(now, slot, cohort, &mut actions),
            Event::Stop(attempt) => {
                for slot in 0..self.slots.len() {
                    self.slots[slot].stop(now, slot, attempt, &mut actions);
                }
            }
            Event::SpoolFull(full) => self.on_spool_full(full, &mut actions),
            Event::Drain => self.on_drain(&mut actions),
            Event::Tick => self.on_tick(now, &mut actions),
        }
        actions
    }

    /// What the slots hold: attempts that have not ended, for a hello.
    pub fn running(&self) -> Vec<RunningCohort> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| slot.running(index)).collect()
    }

    /// The slot that holds this trial.
    pub fn slot_of(&self, trial: TrialId) -> Option<usize> {
        let holds = |running: &RunningCohort| running.attempts.iter().any(|a| a.trial == trial);
        self.running().into_iter().find(holds).map(|running| running.slot)
    }

    /// Whether the worker takes no more leases.
    pub fn is_draining(&self) -> bool {
        self.phase == Phase::Draining
    }

    /// Whether it drains and no attempt is left.
    pub fn is_drained(&self) -> bool {
        self.is_draining() && self.running().is_empty()
    }

    fn on_trainer(
        &mut self,
        now: Time,
        index: usize,
        event: TrainerEvent,
        actions: &mut Vec<Action>,
    ) {
        let slot = &mut self.slots[index];
        slot.hear(now);
        match event {
            TrainerEvent::Pulse => {}
            TrainerEvent::Ready => {
                slot.on_ready(now, index, self.paused, actions);
                let idle = |slot: &Slot| matches!(slot.trainer, Trainer::Idle { .. });
                if self.phase == Phase::Warming && self.slots.iter().all(idle) {
                    self.phase = Phase::Serving;
                    actions.push(Action::Warm);
                }
            }
            TrainerEvent::Reported(attempt, report) => {
                slot.on_reported(now, attempt, report, actions);
            }
            TrainerEvent::CohortFailed(failure) => slot.on_failed(now, failure, actions),
            TrainerEvent::CohortFinished(cohort) => slot.on_finished(now, index, cohort, actions),
            TrainerEvent::Exited(exit) => self.on_exited(now, index, exit, actions),
        }
    }

    fn on_exited(&mut self, now: Time, index: usize, exit: Exit, actions: &mut Vec<Action>) {
        let slot = &mut self.slots[index];
        slot.on_exited(now, &exit, actions);
        let give_up = match self.phase {
            Phase::Warming => true,
            Phase::Serving => slot.failures >= START_FAILURES_MAX,
            Phase::Draining => false,
        };
        if give_up {
            actions.push(Action::GiveUp { slot: index, exit });
            self.on_drain(actions);
        }
        self.start_due(now, actions);
    }

    fn on_tick(&mut self, now: Time, actions: &mut Vec<Action>) {
        // A trainer that is paused says nothing, and nobody heard one while the agent was stopped.
        let is_silence_excused = self.paused || now > self.ticked_at.after_ms(ABSENCE_MS_MAX);
        self.ticked_at = now;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if is_silence_excused {
                slot.excuse_silence(now);
            }
            slot.kill_overdue(now, index, actions);
        }
        self.start_due(now, actions);
    }

    fn on_welcome(&mut self, now: Time, adopted: &BTreeSet<AttemptId>, actions: &mut Vec<Action>) {
        for running in self.running() {
            for attempt in running.attempts {
                if !adopted.contains(&attempt) {
                    self.slots[running.slot].stop(now, running.slot, attempt, actions);
                }
            }
        }
    }

    fn on_lease(&mut self, now: Time, index: usize, cohort: Cohort, actions: &mut Vec<Action>) {
        if self.phase == Phase::Draining || index >= self.slots.len() {
            hand_back(cohort, actions);
            return;
        }
        self.slots[index].lease(now, index, cohort, actions);
    }

    fn on_spool_full(&mut self, full: bool, actions: &mut Vec<Action>) {
        if self.paused == full {
            return;
        }
        self.paused = full;
        for (index, slot) in self.slots.iter().enumerate() {
            slot.order(index, Order::Pause(full), actions);
        }
    }

    fn on_drain(&mut self, actions: &mut Vec<Action>) {
        if self.phase == Phase::Draining {
            return;
        }
        self.phase = Phase::Draining;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            slot.drain(index, actions);
        }
    }

    fn start_due(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.phase == Phase::Draining {
            return;
        }
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.is_start_due(now) {
                self.runs += 1;
                let run = Run(self.runs);
                slot.trainer = Trainer::Starting { run, ready_by: now.after_ms(START_MS_MAX) };
                actions.push(Action::Start { slot: index, run });
            }
        }
    }
}

/// Nothing of it was trained here: the coordinator may lease it elsewhere.
fn hand_back(cohort: Cohort, actions: &mut Vec<Action>) {
    for trial in cohort.trials {
        let report = AttemptReport::Returned { epochs: trial.epochs_stored };
        actions.push(Action::Report(Report::Attempt(trial.attempt, report)));
    }
}
