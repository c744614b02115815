//! Scenarios and properties of the supervisor: what it sends, and that it sends nothing else.

use std::collections::{BTreeMap, BTreeSet};

use common::ids::{AttemptId, CohortId, TrialId};
use common::wire;
use proptest::prelude::*;
use worker::supervisor::{
    ABSENCE_MS_MAX, Action, AttemptReport, Cohort, CohortFailure, Event, Exit, FINISH_MS_MAX,
    FailureCause, LeasedTrial, Order, PREPARE_MS_MAX, Report, Run, SILENCE_MS_MAX,
    START_BACKOFF_MS, START_FAILURES_MAX, START_MS_MAX, Supervisor, Time, TrainerEvent,
};

fn attempt(trial: u64) -> AttemptId {
    AttemptId { trial: TrialId(trial), number: 1 }
}

fn cohort(id: u64, trials: &[u64]) -> Cohort {
    let leased = |trial: &u64| LeasedTrial {
        attempt: attempt(*trial),
        epochs_stored: 7,
        payload: wire::LeasedTrial::default(),
    };
    Cohort { id: CohortId(id), trials: trials.iter().map(leased).collect() }
}

fn epoch() -> AttemptReport {
    AttemptReport::Epoch(wire::EpochReport::default())
}

fn ended() -> AttemptReport {
    AttemptReport::Ended(Box::default())
}

fn returned(epochs: u32) -> AttemptReport {
    AttemptReport::Returned { epochs }
}

fn exit() -> Exit {
    let cause = FailureCause::TrainerDied;
    Exit { cause, message: "the trainer was ended by SIGKILL".into(), stderr_tail: "tail".into() }
}

fn failed(id: u64, trials: &[u64]) -> CohortFailure {
    let attempts = trials.iter().map(|trial| attempt(*trial)).collect();
    let Exit { cause, message, stderr_tail } = exit();
    CohortFailure { cohort: CohortId(id), attempts, cause, message, stderr_tail }
}

/// A supervisor with a clock, and the run of each slot's trainer.
struct Bench {
    supervisor: Supervisor,
    now: Time,
    runs: Vec<Run>,
}

impl Bench {
    /// Every trainer holds its device.
    fn warm(slots: usize) -> Bench {
        let mut bench = Bench { supervisor: Supervisor::new(slots), now: Time(0), runs: vec![] };
        let started = bench.apply(Event::Begin);
        assert_eq!(started.len(), slots);
        for slot in 0..slots {
            let actions = bench.trainer(slot, TrainerEvent::Ready);
            let last = slot + 1 == slots;
            assert_eq!(actions, if last { vec![Action::Warm] } else { vec![] });
        }
        bench
    }

    fn apply(&mut self, event: Event) -> Vec<Action> {
        let actions = self.supervisor.apply(self.now, event);
        for action in &actions {
            if let Action::Start { slot, run } = action {
                self.runs.resize(self.runs.len().max(slot + 1), Run(0));
                self.runs[*slot] = *run;
            }
        }
        actions
    }

    fn trainer(&mut self, slot: usize, event: TrainerEvent) -> Vec<Action> {
        let run = self.runs[slot];
        self.apply(Event::Trainer { slot, run, event })
    }

    fn says(&mut self, slot: usize, trial: u64, report: AttemptReport) -> Vec<Action> {
        self.trainer(slot, TrainerEvent::Reported(attempt(trial), report))
    }

    fn lease(&mut self, slot: usize, cohort: Cohort) -> Vec<Action> {
        self.apply(Event::Lease { slot, cohort })
    }

    fn stop(&mut self, trial: u64) -> Vec<Action> {
        self.apply(Event::Stop(attempt(trial)))
    }

    fn welcome(&mut self, adopted: &[u64]) -> Vec<Action> {
        let adopted = adopted.iter().map(|trial| attempt(*trial)).collect();
        self.apply(Event::Welcome { adopted })
    }

    fn after(&mut self, ms: u64) -> Vec<Action> {
        self.now = self.now.after_ms(ms);
        self.apply(Event::Tick)
    }

    /// Nothing is heard for so long, while the agent itself ticks on.
    fn silence(&mut self, ms: u64) -> Vec<Action> {
        let end = self.now.after_ms(ms);
        let mut actions = Vec::new();
        while self.now < end {
            let step_ms = (end.0 - self.now.0).min(ABSENCE_MS_MAX);
            actions.extend(self.after(step_ms));
        }
        actions
    }

    fn order(&self, slot: usize, order: Order) -> Action {
        Action::Order { slot, run: self.runs[slot], order }
    }

    fn running(&self) -> Vec<(u64, Vec<u64>)> {
        let running = self.supervisor.running().into_iter();
        let trials = |attempts: Vec<AttemptId>| attempts.iter().map(|a| a.trial.0).collect();
        running.map(|running| (running.cohort.0, trials(running.attempts))).collect()
    }
}

fn report(trial: u64, report: AttemptReport) -> Action {
    Action::Report(Report::Attempt(attempt(trial), report))
}

#[test]
fn a_cohort_trains_and_the_next_one_follows() {
    let mut bench = Bench::warm(1);
    let actions = bench.lease(0, cohort(1, &[1, 2]));
    assert_eq!(actions, [bench.order(0, Order::Train(cohort(1, &[1, 2])))]);
    assert_eq!(bench.says(0, 1, epoch()), [report(1, epoch())]);
    assert_eq!(bench.says(0, 1, ended()), [report(1, ended())]);
    assert_eq!(bench.running(), [(1, vec![2])]);
    assert_eq!(bench.says(0, 1, epoch()), [], "it has ended");
    assert_eq!(bench.says(0, 9, ended()), [], "it is not of the cohort");
    assert_eq!(bench.says(0, 2, ended()), [report(2, ended())]);
    assert_eq!(bench.running(), []);
    // The coordinator is quicker than the trainer: the lease waits until that has finished.
    assert_eq!(bench.lease(0, cohort(2, &[3])), []);
    assert_eq!(bench.running(), [(2, vec![3])]);
    let actions = bench.trainer(0, TrainerEvent::CohortFinished(CohortId(1)));
    assert_eq!(actions, [bench.order(0, Order::Train(cohort(2, &[3])))]);
    assert_eq!(bench.lease(0, cohort(2, &[3])), [], "the same lease again");
}

#[test]
fn a_death_fails_the_attempts_that_had_not_ended_and_no_other_slot() {
    let mut bench = Bench::warm(2);
    bench.lease(0, cohort(1, &[1, 2, 3]));
    bench.lease(1, cohort(2, &[4]));
    bench.says(0, 1, ended());
    bench.stop(2);
    let old = bench.runs[0];
    let actions = bench.trainer(0, TrainerEvent::Exited(exit()));
    let start = Action::Start { slot: 0, run: bench.runs[0] };
    // The stopped one may have been in the trainer still, so the other one did not die alone.
    assert_eq!(actions, [Action::Report(Report::CohortFailed(failed(1, &[2, 3]))), start]);
    assert_eq!(bench.running(), [(2, vec![4])]);
    let late = TrainerEvent::Reported(attempt(3), ended());
    assert_eq!(bench.apply(Event::Trainer { slot: 0, run: old, event: late }), []);
    // A lease for the slot waits for its new trainer.
    assert_eq!(bench.lease(0, cohort(3, &[5])), []);
    let actions = bench.trainer(0, TrainerEvent::Ready);
    assert_eq!(actions, [bench.order(0, Order::Train(cohort(3, &[5])))]);
}

#[test]
fn a_trial_does_not_die_alone_beside_one_that_a_hung_trainer_never_left() {
    let mut bench = Bench::warm(1);
    bench.lease(0, cohort(1, &[1, 2]));
    bench.says(0, 1, epoch());
    bench.silence(SILENCE_MS_MAX);
    assert_eq!(bench.stop(1), [], "nobody hears it");
    let actions = bench.trainer(0, TrainerEvent::Exited(exit()));
    let [Action::Report(Report::CohortFailed(failure)), _] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    assert_eq!(failure.attempts, [attempt(1), attempt(2)]);
}

#[test]
fn an_error_that_the_trainer_caught_leaves_it_alive() {
    let mut bench = Bench::warm(1);
    bench.lease(0, cohort(1, &[1, 2]));
    bench.stop(2);
    let actions = bench.trainer(0, TrainerEvent::CohortFailed(failed(1, &[1, 2])));
    assert_eq!(actions, [Action::Report(Report::CohortFailed(failed(1, &[1, 2])))]);
    assert_eq!(bench.trainer(0, TrainerEvent::CohortFinished(CohortId(1))), []);
    let actions = bench.lease(0, cohort(2, &[1]));
    assert_eq!(actions, [bench.order(0, Order::Train(cohort(2, &[1])))]);
    // One that finishes without a word of an attempt must not leave it running for ever.
    let actions = bench.trainer(0, TrainerEvent::CohortFinished(CohortId(2)));
    let [Action::Report(Report::CohortFailed(failure))] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    assert_eq!((failure.cause, &*failure.attempts), (FailureCause::Bug, &[attempt(1)][..]));
}

#[test]
fn a_stopped_attempt_is_forgotten_and_a_trainer_that_clings_to_it_is_killed() {
    let mut bench = Bench::warm(1);
    bench.lease(0, cohort(1, &[1, 2]));
    assert_eq!(bench.stop(1), [bench.order(0, Order::Stop(attempt(1)))]);
    assert_eq!(bench.stop(1), [], "once");
    assert_eq!(bench.says(0, 1, ended()), [], "it crossed the stop");
    assert_eq!(bench.after(FINISH_MS_MAX), [], "the other one trains on");
    assert_eq!(bench.stop(2), [bench.order(0, Order::Stop(attempt(2)))]);
    assert_eq!(bench.after(FINISH_MS_MAX - 1), []);
    let actions = bench.after(1);
    let [Action::Kill { slot: 0, run, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(*run, bench.runs[0]);
    assert_eq!(bench.after(FINISH_MS_MAX), [], "once");
    let actions = bench.trainer(0, TrainerEvent::Exited(exit()));
    assert_eq!(actions, [Action::Start { slot: 0, run: bench.runs[0] }], "and no report");
}

/// Slot 0 of these trains trial 1 of cohort 1 and has said so.
fn training(slots: usize) -> Bench {
    let mut bench = Bench::warm(slots);
    bench.lease(0, cohort(1, &[1]));
    bench.says(0, 1, epoch());
    bench
}

fn kill_for_silence(bench: &Bench) -> Action {
    Action::Kill { slot: 0, run: bench.runs[0], reason: "it has said nothing for too long" }
}

#[test]
fn a_trainer_that_hangs_is_killed_and_its_attempts_fail_with_it() {
    let mut bench = training(2);
    assert_eq!(bench.silence(SILENCE_MS_MAX - 1), []);
    assert_eq!(bench.after(1), [kill_for_silence(&bench)], "and never the idle one");
    assert_eq!(bench.running(), [(1, vec![1])], "until it is gone");
    assert_eq!(bench.says(0, 1, ended()), [], "too late");
    assert_eq!(bench.trainer(0, TrainerEvent::CohortFinished(CohortId(1))), []);
    assert_eq!(bench.silence(SILENCE_MS_MAX), [], "once");
    let memory = Exit { cause: FailureCause::OutOfMemory, ..exit() };
    let actions = bench.trainer(0, TrainerEvent::Exited(memory));
    let message = "the trainer said nothing for 300 s and was killed".into();
    let failure = Report::CohortFailed(CohortFailure { message, ..failed(1, &[1]) });
    assert_eq!(actions, [Action::Report(failure), Action::Start { slot: 0, run: bench.runs[0] }]);
    assert_eq!(bench.running(), []);
}

#[test]
fn a_hung_trainer_fails_nothing_that_is_not_wanted_any_more() {
    let mut bench = training(1);
    assert_eq!(bench.silence(SILENCE_MS_MAX), [kill_for_silence(&bench)]);
    assert_eq!(bench.stop(1), [], "nobody hears it");
    assert_eq!(bench.running(), []);
    assert_eq!(bench.lease(0, cohort(2, &[2])), [], "waits for the next trainer");
    let actions = bench.trainer(0, TrainerEvent::Exited(exit()));
    assert_eq!(actions, [Action::Start { slot: 0, run: bench.runs[0] }]);
    let actions = bench.trainer(0, TrainerEvent::Ready);
    assert_eq!(actions, [bench.order(0, Order::Train(cohort(2, &[2])))]);
}

#[test]
fn whatever_a_trainer_says_is_a_sign_of_life() {
    let mut bench = Bench::warm(1);
    bench.lease(0, cohort(1, &[1, 2]));
    bench.stop(2);
    let not_wanted = TrainerEvent::Reported(attempt(2), epoch());
    let wanted = TrainerEvent::Reported(attempt(1), epoch());
    for event in [TrainerEvent::Pulse, not_wanted, wanted, TrainerEvent::Pulse] {
        bench.trainer(0, event);
        assert_eq!(bench.silence(SILENCE_MS_MAX - 1), []);
    }
    assert_eq!(bench.after(1), [kill_for_silence(&bench)]);
}

#[test]
fn before_its_first_word_a_trainer_has_longer() {
    let mut bench = Bench::warm(1);
    assert_eq!(bench.silence(2 * PREPARE_MS_MAX), [], "it is idle");
    bench.lease(0, cohort(1, &[1]));
    assert_eq!(bench.silence(PREPARE_MS_MAX - 1), []);
    assert_eq!(bench.after(1), [kill_for_silence(&bench)]);
    let actions = bench.trainer(0, TrainerEvent::Exited(exit()));
    let [Action::Report(Report::CohortFailed(failure)), _] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    assert_eq!(failure.message, "the trainer said nothing for 1800 s and was killed");
}

#[test]
fn the_silence_of_a_pause_is_excused() {
    let mut bench = training(1);
    assert_eq!(bench.silence(SILENCE_MS_MAX / 2), []);
    bench.apply(Event::SpoolFull(true));
    assert_eq!(bench.silence(3 * SILENCE_MS_MAX), []);
    bench.apply(Event::SpoolFull(false));
    assert_eq!(bench.silence(SILENCE_MS_MAX - 1), [], "from its end on");
    assert_eq!(bench.after(1), [kill_for_silence(&bench)]);
}

#[test]
fn an_agent_that_was_stopped_itself_kills_no_trainer() {
    let mut bench = training(1);
    assert_eq!(bench.after(3 * SILENCE_MS_MAX), []);
    assert_eq!(bench.silence(SILENCE_MS_MAX - 1), [], "from then on");
    assert_eq!(bench.after(1), [kill_for_silence(&bench)]);
}

#[test]
fn after_a_new_stream_only_what_is_adopted_goes_on() {
    let mut bench = Bench::warm(3);
    bench.lease(0, cohort(1, &[1, 2]));
    bench.lease(1, cohort(2, &[3]));
    bench.lease(2, cohort(3, &[4]));
    bench.says(2, 4, ended());
    assert_eq!(bench.lease(2, cohort(4, &[5, 6])), [], "waits");
    assert_eq!(bench.running(), [(1, vec![1, 2]), (2, vec![3]), (4, vec![5, 6])]);
    let actions = bench.welcome(&[2, 3, 6]);
    assert_eq!(actions, [bench.order(0, Order::Stop(attempt(1)))]);
    assert_eq!(bench.running(), [(1, vec![2]), (2, vec![3]), (4, vec![6])]);
    let actions = bench.welcome(&[]);
    let stops = [(0, 2), (1, 3)].map(|(slot, t)| bench.order(slot, Order::Stop(attempt(t))));
    assert_eq!(actions, stops);
    assert_eq!(bench.running(), []);
    assert_eq!(bench.trainer(2, TrainerEvent::CohortFinished(CohortId(3))), []);
}

#[test]
fn a_lease_for_a_slot_that_trains_takes_its_place() {
    let mut bench = Bench::warm(1);
    bench.lease(0, cohort(1, &[1]));
    let actions = bench.lease(0, cohort(2, &[2]));
    assert_eq!(actions, [bench.order(0, Order::Stop(attempt(1)))]);
    assert_eq!(bench.running(), [(2, vec![2])]);
    assert_eq!(bench.lease(7, cohort(3, &[3])), [report(3, returned(7))], "no such slot");
    assert_eq!(bench.lease(0, cohort(4, &[])), [], "nothing to train");
}

#[test]
fn a_drain_hands_everything_back() {
    let mut bench = Bench::warm(3);
    bench.lease(0, cohort(1, &[1]));
    bench.lease(1, cohort(2, &[2]));
    bench.says(1, 2, ended());
    bench.lease(1, cohort(3, &[3]));
    let actions = bench.apply(Event::Drain);
    let hand_back = bench.order(0, Order::HandBack);
    assert_eq!(actions, [hand_back, report(3, returned(7))]);
    assert!(bench.supervisor.is_draining() && !bench.supervisor.is_drained());
    assert_eq!(bench.apply(Event::Drain), [], "once");
    assert_eq!(bench.lease(2, cohort(4, &[4])), [report(4, returned(7))]);
    assert_eq!(bench.says(0, 1, returned(9)), [report(1, returned(9))]);
    assert!(bench.supervisor.is_drained());
    assert_eq!(bench.trainer(0, TrainerEvent::Exited(exit())), [], "none is started any more");
    assert_eq!(bench.after(START_MS_MAX), [kill(&bench, 1)], "its cohort never finished");
}

fn kill(bench: &Bench, slot: usize) -> Action {
    let reason = "it does not leave a cohort that is over";
    Action::Kill { slot, run: bench.runs[slot], reason }
}

#[test]
fn a_full_spool_pauses_every_trainer_that_can_hear_it() {
    let mut bench = Bench::warm(2);
    bench.lease(0, cohort(1, &[1]));
    let pauses = |bench: &Bench, paused| [0, 1].map(|slot| bench.order(slot, Order::Pause(paused)));
    assert_eq!(bench.apply(Event::SpoolFull(true)), pauses(&bench, true));
    assert_eq!(bench.apply(Event::SpoolFull(true)), []);
    bench.trainer(0, TrainerEvent::Exited(exit()));
    assert_eq!(bench.trainer(0, TrainerEvent::Ready), [bench.order(0, Order::Pause(true))]);
    assert_eq!(bench.apply(Event::SpoolFull(false)), pauses(&bench, false));
}

#[test]
fn a_broken_set_up_shows_before_the_first_lease() {
    let mut bench = Bench { supervisor: Supervisor::new(2), now: Time(0), runs: vec![] };
    bench.apply(Event::Begin);
    bench.trainer(1, TrainerEvent::Ready);
    let actions = bench.trainer(0, TrainerEvent::Exited(exit()));
    assert_eq!(actions, [Action::GiveUp { slot: 0, exit: exit() }]);
    assert!(bench.supervisor.is_drained());
}

#[test]
fn a_trainer_that_hangs_at_start_is_killed() {
    let mut bench = Bench { supervisor: Supervisor::new(1), now: Time(0), runs: vec![] };
    bench.apply(Event::Begin);
    assert_eq!(bench.after(START_MS_MAX - 1), []);
    let actions = bench.after(1);
    let [Action::Kill { slot: 0, .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(bench.trainer(0, TrainerEvent::Ready), [], "too late");
    let actions = bench.trainer(0, TrainerEvent::Exited(exit()));
    assert_eq!(actions, [Action::GiveUp { slot: 0, exit: exit() }]);
}

#[test]
fn trainers_that_die_without_work_are_started_ever_later_and_then_no_more() {
    let mut bench = Bench::warm(2);
    bench.lease(1, cohort(1, &[1]));
    let mut wait_ms = START_BACKOFF_MS;
    for failure in 1..START_FAILURES_MAX {
        assert_eq!(bench.trainer(0, TrainerEvent::Exited(exit())), []);
        if failure == 1 {
            assert_eq!(bench.lease(0, cohort(2, &[2])), [], "the lease waits with the slot");
        }
        assert_eq!(bench.after(wait_ms - 1), []);
        assert_eq!(bench.after(1), [Action::Start { slot: 0, run: bench.runs[0] }]);
        wait_ms *= 2;
    }
    let actions = bench.trainer(0, TrainerEvent::Exited(exit()));
    let hand_back = bench.order(1, Order::HandBack);
    let give_up = Action::GiveUp { slot: 0, exit: exit() };
    assert_eq!(actions, [give_up, report(2, returned(7)), hand_back]);
}

#[test]
fn work_done_ends_a_row_of_failures() {
    let mut bench = Bench::warm(1);
    for id in 0..u64::from(START_FAILURES_MAX) * 2 {
        bench.trainer(0, TrainerEvent::Exited(exit()));
        bench.after(START_BACKOFF_MS);
        bench.trainer(0, TrainerEvent::Ready);
        bench.lease(0, cohort(id, &[id]));
        assert_eq!(bench.says(0, id, ended()), [report(id, ended())]);
        bench.trainer(0, TrainerEvent::CohortFinished(CohortId(id)));
    }
    assert!(!bench.supervisor.is_draining());
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Lease {
        slot: usize,
        size: u64,
    },
    Stop(u64),
    Reconnect {
        adopt_odd: bool,
    },
    Ready(usize),
    Epoch {
        slot: usize,
        pick: usize,
    },
    End {
        slot: usize,
        pick: usize,
        returned: bool,
    },
    Fail(usize),
    Finish(usize),
    Die(usize),
    SpoolFull(bool),
    Pulse(usize),
    Wait(u64),
    /// The agent ticks on, and nobody says anything.
    Silence,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = 0usize..3;
    prop_oneof![
        4 => (slot.clone(), 1u64..4).prop_map(|(slot, size)| Step::Lease { slot, size }),
        2 => (0u64..60).prop_map(Step::Stop),
        1 => any::<bool>().prop_map(|adopt_odd| Step::Reconnect { adopt_odd }),
        6 => slot.clone().prop_map(Step::Ready),
        3 => (slot.clone(), 0usize..4).prop_map(|(slot, pick)| Step::Epoch { slot, pick }),
        6 => (slot.clone(), 0usize..4, any::<bool>())
            .prop_map(|(slot, pick, returned)| Step::End { slot, pick, returned }),
        1 => slot.clone().prop_map(Step::Fail),
        4 => slot.clone().prop_map(Step::Finish),
        1 => slot.clone().prop_map(Step::Die),
        1 => slot.prop_map(Step::Pulse),
        1 => any::<bool>().prop_map(Step::SpoolFull),
        1 => (1u64..20_000).prop_map(Step::Wait),
        1 => Just(Step::Silence),
    ]
}

/// A trainer process as the agent sees it.
#[derive(Clone, Debug, Default)]
struct FakeTrainer {
    run: Option<Run>,
    is_ready: bool,
    cohort: Option<(CohortId, Vec<AttemptId>)>,
}

/// Supervisor, trainers and the coordinator's books, with what must hold after every event.
struct World {
    supervisor: Supervisor,
    now: Time,
    trainers: Vec<FakeTrainer>,
    trials: u64,
    /// Leased; true = the coordinator wants no report of it any more.
    open: BTreeMap<AttemptId, bool>,
    ends: BTreeSet<AttemptId>,
}

impl World {
    fn new() -> World {
        let trainers = vec![FakeTrainer::default(); 3];
        let supervisor = Supervisor::new(3);
        let (open, ends) = (BTreeMap::new(), BTreeSet::new());
        let mut world = World { supervisor, now: Time(0), trainers, trials: 0, open, ends };
        world.apply(Event::Begin);
        for slot in 0..3 {
            world.ready(slot);
        }
        world
    }

    fn apply(&mut self, event: Event) {
        for action in self.supervisor.apply(self.now, event) {
            self.perform(action);
        }
        for running in self.supervisor.running() {
            for attempt in running.attempts {
                assert_eq!(self.open.get(&attempt), Some(&false), "{attempt} is not wanted");
                assert!(!self.ends.contains(&attempt), "{attempt} has ended");
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { slot, run } => {
                assert_eq!(self.trainers[slot].run, None, "one process per slot");
                self.trainers[slot] = FakeTrainer { run: Some(run), ..FakeTrainer::default() };
            }
            Action::Order { slot, run, order } => {
                let trainer = &mut self.trainers[slot];
                assert!(trainer.run == Some(run) && trainer.is_ready, "nobody hears {order:?}");
                match order {
                    Order::Train(cohort) => {
                        assert_eq!(trainer.cohort, None, "one cohort at a time");
                        let attempts = cohort.trials.iter().map(|trial| trial.attempt).collect();
                        trainer.cohort = Some((cohort.id, attempts));
                    }
                    Order::Stop(attempt) => {
                        let (_, attempts) = trainer.cohort.as_mut().expect("it trains");
                        attempts.retain(|held| *held != attempt);
                    }
                    Order::HandBack | Order::Pause(_) => {}
                }
            }
            Action::Kill { slot, run, .. } => {
                assert_eq!(self.trainers[slot].run, Some(run));
                self.die(slot);
            }
            Action::Report(Report::Attempt(attempt, AttemptReport::Epoch(_))) => {
                assert_eq!(self.open.get(&attempt), Some(&false), "an epoch nobody wants");
            }
            Action::Report(Report::Attempt(attempt, _)) => self.end(attempt),
            Action::Report(Report::CohortFailed(failure)) => {
                assert!(!failure.attempts.is_empty(), "a failure of nothing");
                failure.attempts.into_iter().for_each(|attempt| self.end(attempt));
            }
            Action::Warm | Action::GiveUp { .. } => {}
        }
    }

    fn end(&mut self, attempt: AttemptId) {
        assert!(self.open.contains_key(&attempt), "{attempt} was never leased");
        assert!(self.ends.insert(attempt), "{attempt} ended twice");
    }

    fn trainer(&mut self, slot: usize, event: TrainerEvent) {
        if let Some(run) = self.trainers[slot].run {
            self.apply(Event::Trainer { slot, run, event });
        }
    }

    fn ready(&mut self, slot: usize) {
        let trainer = &mut self.trainers[slot];
        if trainer.run.is_some() && !trainer.is_ready {
            trainer.is_ready = true;
            self.trainer(slot, TrainerEvent::Ready);
        }
    }

    fn die(&mut self, slot: usize) {
        if let Some(run) = self.trainers[slot].run.take() {
            self.trainers[slot] = FakeTrainer::default();
            self.apply(Event::Trainer { slot, run, event: TrainerEvent::Exited(exit()) });
        }
    }

    fn lease(&mut self, slot: usize, size: u64) {
        // The coordinator gives the slot away: what it held there is not wanted.
        let held = self.supervisor.running().into_iter().filter(|running| running.slot == slot);
        for attempt in held.flat_map(|running| running.attempts) {
            self.open.insert(attempt, true);
        }
        let trials = (self.trials..self.trials + size).collect::<Vec<_>>();
        self.trials += size;
        for trial in &trials {
            self.open.insert(attempt(*trial), false);
        }
        self.apply(Event::Lease { slot, cohort: cohort(trials[0], &trials) });
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Lease { slot, size } => self.lease(slot, size),
            Step::Stop(trial) => {
                if let Some(unwanted) = self.open.get_mut(&attempt(trial)) {
                    *unwanted = true;
                }
                self.apply(Event::Stop(attempt(trial)));
            }
            Step::Reconnect { adopt_odd } => {
                let keeps = |attempt: &AttemptId| attempt.trial.0 % 2 == u64::from(adopt_odd);
                let held = self.supervisor.running().into_iter().flat_map(|held| held.attempts);
                let (adopted, others) = held.partition::<BTreeSet<_>, _>(keeps);
                for attempt in others {
                    self.open.insert(attempt, true);
                }
                self.apply(Event::Welcome { adopted });
            }
            Step::Ready(slot) => self.ready(slot),
            Step::Epoch { slot, pick } => {
                if let Some(attempt) = self.pick(slot, pick) {
                    self.trainer(slot, TrainerEvent::Reported(attempt, epoch()));
                }
            }
            Step::End { slot, pick, returned: is_returned } => {
                if let Some(attempt) = self.pick(slot, pick) {
                    let (_, attempts) = self.trainers[slot].cohort.as_mut().expect("it trains");
                    attempts.retain(|held| *held != attempt);
                    let report = if is_returned { returned(1) } else { ended() };
                    self.trainer(slot, TrainerEvent::Reported(attempt, report));
                }
            }
            Step::Fail(slot) => {
                if let Some((cohort, attempts)) = &mut self.trainers[slot].cohort {
                    let attempts = std::mem::take(attempts);
                    let failure = CohortFailure { attempts, ..failed(cohort.0, &[]) };
                    self.trainer(slot, TrainerEvent::CohortFailed(failure));
                }
            }
            Step::Finish(slot) => {
                let over = |(_, attempts): &mut (CohortId, Vec<AttemptId>)| attempts.is_empty();
                if let Some((cohort, _)) = self.trainers[slot].cohort.take_if(over) {
                    self.trainer(slot, TrainerEvent::CohortFinished(cohort));
                }
            }
            Step::Die(slot) => self.die(slot),
            Step::SpoolFull(full) => self.apply(Event::SpoolFull(full)),
            Step::Pulse(slot) => self.trainer(slot, TrainerEvent::Pulse),
            Step::Silence => {
                for _ in 0..SILENCE_MS_MAX / ABSENCE_MS_MAX {
                    self.step(Step::Wait(ABSENCE_MS_MAX));
                    // A new trainer starts as ever: the silence is that of a cohort.
                    (0..3).for_each(|slot| self.ready(slot));
                }
            }
            Step::Wait(ms) => {
                self.now = self.now.after_ms(ms);
                self.apply(Event::Tick);
            }
        }
    }

    fn pick(&self, slot: usize, pick: usize) -> Option<AttemptId> {
        let (_, attempts) = self.trainers[slot].cohort.as_ref()?;
        (!attempts.is_empty()).then(|| attempts[pick % attempts.len()])
    }

    /// Faults stop; every trainer works on until nothing is left.
    fn heal(&mut self) {
        for _ in 0..200 {
            for slot in 0..3 {
                self.ready(slot);
                self.step(Step::End { slot, pick: 0, returned: false });
                self.step(Step::Finish(slot));
            }
            self.step(Step::Wait(1_000));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_wanted_attempt_ends_exactly_once(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.heal();
        for (attempt, unwanted) in &world.open {
            prop_assert!(*unwanted || world.ends.contains(attempt), "{attempt} never ended");
        }
        prop_assert!(world.supervisor.running().is_empty());
    }
}
