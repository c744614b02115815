//! The real scheduler over a store: every change that it decides is accepted, and a restart finds
//! every sweep standing as it stood.

use std::cell::Cell;

use common::ids::{AttemptId, CohortId, TrialId};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use scheduler::event::{
    CohortFailure, EpochMetrics, FailureCause, OutcomeKind, Report, RunningCohort, Session, Time,
    WorkerHello,
};
use scheduler::overview::Counts;
use scheduler::{Change, Event, Message, Scheduler, Settings};

use super::{AT, Place, header, hello, metrics, name, outcome, trial, worker};
use crate::store::Store;

const WORKERS: [&str; 2] = ["w1", "w2"];

/// What a slot of a worker trains.
struct Running {
    slot: u32,
    cohort: CohortId,
    attempt: AttemptId,
    epoch_next: u32,
}

#[derive(Default)]
struct Agent {
    session: Option<Session>,
    sequence: u64,
    running: Vec<Running>,
}

struct World<'p> {
    place: &'p dyn Place,
    store: Box<dyn Store>,
    scheduler: Scheduler,
    now: u64,
    sessions: u64,
    agents: [Agent; 2],
    seen: Seen,
}

/// What the lives went through: without it the test would show nothing.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    started: u32,
    adopted: u32,
    epochs: u32,
    outcomes: u32,
    restarts_while_running: u32,
}

/// A sweep's name, trials by state and best trial.
type Standing = (String, Counts, Option<(TrialId, f64)>);

/// Many short lives, with restarts anywhere.
pub fn accepts_what_the_scheduler_decides(fresh: &dyn Fn() -> Box<dyn Place>) {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let steps = prop::collection::vec((0..17u8, 0..2usize, 0..8usize), 1..150);
    let total = Cell::new(Seen::default());
    // The same lives in every run, or what they cover would be luck.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
        .run(&steps, |steps| {
            let place = fresh();
            let mut world = World::new(&*place);
            for (action, agent, choice) in steps {
                world.step(action, agent, choice);
            }
            world.restart();
            total.set(total.get().and(world.seen));
            Ok(())
        })
        .unwrap();
    let Seen { started, adopted, epochs, outcomes, restarts_while_running } = total.get();
    let enough = started > 100 && epochs > 100 && outcomes > 20 && restarts_while_running > 10;
    assert!(enough && adopted > 0, "{:?}", total.get());
}

impl Seen {
    fn and(self, other: Seen) -> Seen {
        Seen {
            started: self.started + other.started,
            adopted: self.adopted + other.adopted,
            epochs: self.epochs + other.epochs,
            outcomes: self.outcomes + other.outcomes,
            restarts_while_running: self.restarts_while_running + other.restarts_while_running,
        }
    }

    fn count(&mut self, changes: &[Change]) {
        for change in changes {
            self.started += u32::from(matches!(change, Change::AttemptStarted { .. }));
            self.adopted += u32::from(matches!(change, Change::AttemptAdopted(_)));
            self.epochs += u32::from(matches!(change, Change::EpochRecorded(..)));
            self.outcomes += u32::from(matches!(change, Change::OutcomeRecorded(..)));
        }
    }
}

impl<'p> World<'p> {
    fn new(place: &'p dyn Place) -> World<'p> {
        let mut world = World {
            place,
            store: place.open(),
            scheduler: Scheduler::new(Settings::default()),
            now: 0,
            sessions: 0,
            agents: [Agent::default(), Agent::default()],
            seen: Seen::default(),
        };
        world.restart();
        world.apply_sweep(0);
        world
    }

    fn step(&mut self, action: u8, agent: usize, choice: usize) {
        match action {
            0 => self.pass(choice as u64 * 700),
            1 => self.heartbeat(agent),
            2..=6 => self.epoch(agent, choice),
            7 => self.end(agent, choice),
            8 => self.hand_back(agent, choice),
            9 => self.fail(agent, choice),
            10 => self.detach(agent),
            11..=13 => self.attach(agent),
            14 => self.restart(),
            15 => self.apply_sweep(choice as u64),
            _ => self.act(choice),
        }
    }

    fn apply(&mut self, event: Event) {
        let effects = self.scheduler.apply(Time(self.now), event);
        self.scheduler.check_invariants();
        self.store.commit(&effects.changes, AT).unwrap_or_else(|error| {
            panic!("{}\n{:#?}", common::telemetry::chain(&error), effects.changes);
        });
        self.seen.count(&effects.changes);
        for message in effects.messages {
            self.on_message(message);
        }
    }

    fn on_message(&mut self, message: Message) {
        let place = |id: &common::ids::WorkerId| {
            WORKERS.iter().position(|known| *known == id.as_str()).expect("a worker of the suite")
        };
        match message {
            Message::Welcome { worker, adopted, .. } => {
                let agent = &mut self.agents[place(&worker)];
                agent.running.retain(|running| adopted.contains(&running.attempt));
            }
            Message::Lease { worker, slot, cohort, trials, .. } => {
                for leased in trials {
                    // Some resume from an older checkpoint than the store has epochs.
                    let lost = u32::try_from(cohort.0 % 3).expect("below 3");
                    let epoch_next = leased.epochs_stored.saturating_sub(lost) + 1;
                    let attempt = leased.attempt;
                    let running = Running { slot, cohort, attempt, epoch_next };
                    self.agents[place(&worker)].running.push(running);
                }
            }
            Message::Stop { worker, attempt, .. } => {
                let agent = &mut self.agents[place(&worker)];
                agent.running.retain(|running| running.attempt != attempt);
            }
            Message::Acknowledge { .. } | Message::Drain { .. } | Message::SweepCompleted(_) => {}
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        self.apply(Event::Tick);
    }

    fn heartbeat(&mut self, agent: usize) {
        if let Some(session) = self.agents[agent].session {
            let worker = worker(WORKERS[agent]);
            self.apply(Event::Heartbeat { worker, session, draining: false });
        }
    }

    fn report(&mut self, agent: usize, report: Report) {
        let Some(session) = self.agents[agent].session else { return };
        self.agents[agent].sequence += 1;
        let through = self.agents[agent].sequence;
        let worker = worker(WORKERS[agent]);
        self.apply(Event::Reported { worker, session, through, reports: vec![report] });
    }

    fn epoch(&mut self, agent: usize, choice: usize) {
        let attached = self.agents[agent].session.is_some();
        let Some(running) = self.agents[agent].running.get_mut(choice).filter(|_| attached) else {
            return;
        };
        let metrics = EpochMetrics { val_error: 0.5, ..metrics(running.epoch_next) };
        running.epoch_next += 1;
        let attempt = running.attempt;
        self.report(agent, Report::Epoch(attempt, metrics));
    }

    fn take(&mut self, agent: usize, choice: usize) -> Option<Running> {
        let running = &mut self.agents[agent].running;
        (choice < running.len()).then(|| running.remove(choice))
    }

    fn end(&mut self, agent: usize, choice: usize) {
        if let Some(running) = self.take(agent, choice) {
            let kind = match choice % 3 {
                0 => OutcomeKind::Diverged,
                1 => OutcomeKind::Failed,
                _ => OutcomeKind::Completed,
            };
            let val_error = (kind == OutcomeKind::Completed).then_some(0.25);
            self.report(agent, Report::Ended(running.attempt, outcome(kind, val_error)));
        }
    }

    fn hand_back(&mut self, agent: usize, choice: usize) {
        if let Some(running) = self.take(agent, choice) {
            self.report(agent, Report::Returned(running.attempt, running.epoch_next - 1));
        }
    }

    fn fail(&mut self, agent: usize, choice: usize) {
        let running = &mut self.agents[agent].running;
        let Some(cohort) = running.get(choice).map(|running| running.cohort) else { return };
        let cause =
            [FailureCause::OutOfMemory, FailureCause::TrainerDied, FailureCause::Bug][choice % 3];
        let of_cohort = running.extract_if(.., |running| running.cohort == cohort);
        let attempts = of_cohort.map(|running| running.attempt).collect();
        let (message, stderr_tail) = ("it died".into(), "last words".into());
        let failure = CohortFailure { cohort, attempts, cause, message, stderr_tail };
        self.report(agent, Report::CohortFailed(failure));
    }

    fn detach(&mut self, agent: usize) {
        if let Some(session) = self.agents[agent].session.take() {
            self.apply(Event::WorkerDetached(worker(WORKERS[agent]), session));
        }
    }

    fn attach(&mut self, agent: usize) {
        if self.agents[agent].session.is_some() {
            return;
        }
        self.sessions += 1;
        let session = Session(self.sessions);
        self.agents[agent].session = Some(session);
        let mut cohorts: Vec<RunningCohort> = Vec::new();
        for running in &self.agents[agent].running {
            let (cohort, slot) = (running.cohort, running.slot);
            match cohorts.iter_mut().find(|known| known.cohort == cohort) {
                Some(known) => known.attempts.push(running.attempt),
                None => {
                    let attempts = vec![running.attempt];
                    cohorts.push(RunningCohort { cohort, slot, attempts });
                }
            }
        }
        let hello = WorkerHello { running: cohorts, ..hello(WORKERS[agent]) };
        self.apply(Event::WorkerAttached(session, hello));
    }

    /// Mostly what lets the sweep go on, so that enough runs.
    fn act(&mut self, choice: usize) {
        let sweep = name("sweep");
        self.apply(match choice {
            0 => Event::SweepPaused(sweep),
            1 => Event::SweepCancelled(sweep),
            2 => Event::SweepPruned(sweep),
            3 | 4 => Event::SweepResumed(sweep),
            _ => Event::SweepRetried(sweep),
        });
    }

    /// The coordinator is killed and starts again.
    fn restart(&mut self) {
        let before = self.standing();
        let is_running = before.iter().any(|(_, counts, _)| counts.running > 0);
        self.seen.restarts_while_running += u32::from(is_running);
        self.store = self.place.open();
        self.scheduler = Scheduler::new(Settings::default());
        for agent in &mut self.agents {
            agent.session = None;
        }
        let mut events = Vec::new();
        self.store.restore(&mut |event| events.push(event)).unwrap();
        for event in events {
            self.apply(event);
        }
        assert_eq!(self.standing(), before);
    }

    fn standing(&self) -> Vec<Standing> {
        let overview = self.scheduler.overview(Time(self.now));
        let sweeps = overview.sweeps.into_iter();
        sweeps.map(|s| (s.name.to_string(), s.counts, s.best)).collect()
    }

    /// Applies the sweep with other points than before, some of them the same.
    fn apply_sweep(&mut self, first: u64) {
        let trials = (first..first + 6).map(trial).collect();
        self.apply(Event::SweepApplied(header("sweep")));
        self.apply(Event::TrialsAdded(name("sweep"), trials));
        self.apply(Event::SweepExpanded(name("sweep")));
    }
}
