//! Stories of leases and attempts: each checks what was sent, and that nothing else was.
#![allow(clippy::unwrap_used, reason = "as in any test")]

mod scene;

use common::config::{Config, Data, Model, Param, Value};
use common::ids::CohortId;
use scene::*;
use scheduler::event::{
    AttemptEnd, Device, Event, FailureCause, Fusion, Message, OutcomeKind, Report, Session, Trial,
};
use scheduler::overview::{SweepState, WorkerState};

/// Messages of an event, expected in full.
macro_rules! sends {
    ($scene:expr, $event:expr, [$($text:expr),* $(,)?]) => {
        let expected: Vec<String> = vec![$($text.to_string()),*];
        assert_eq!($scene.sent($event), expected)
    };
}

/// A sweep of `count` trials and a worker with `slots` CPU slots that holds the first of them.
fn started(count: u64, slots: usize) -> Scene {
    let mut scene = Scene::new();
    assert_eq!(scene.sweep(header("s"), trials(1..=count)), [""; 0]);
    let sent = scene.sent(attached("w", 1, slots));
    assert_eq!(sent.len(), 1 + slots.min(usize::try_from(count).unwrap()));
    scene
}

/// A sweep of `count` trials in one cohort on a GPU.
fn fused(count: u64) -> Scene {
    let mut scene = Scene::new();
    scene.sweep(header("s"), trials(1..=count));
    assert_eq!(scene.sent(attached_gpu("w", 1)).len(), 2);
    scene
}

#[test]
fn worker_gets_trials_in_order_of_expansion_until_the_sweep_is_done() {
    let mut scene = Scene::new();
    let reversed = [3, 2, 1].map(|id| trial(id, &config(2, 128))).to_vec();
    assert_eq!(scene.sweep(header("s"), reversed), [""; 0]);
    assert_eq!(scene.of("s").state, SweepState::Waiting { reason: "no worker is attached".into() });
    sends!(
        scene,
        attached("w", 1, 2),
        ["welcome w@1 []", "lease w/0 c1: 3#1", "lease w/1 c2: 2#1"]
    );
    let report = vec![epoch(attempt(3, 1), 1), epoch(attempt(3, 1), 2), completed(attempt(3, 1))];
    sends!(scene, reported("w", 1, 3, report), ["ack w 3", "lease w/0 c3: 1#1"]);
    sends!(scene, reported("w", 1, 4, vec![diverged(attempt(2, 1))]), ["ack w 4"]);
    assert_eq!(scene.of("s").state, SweepState::Running);
    sends!(scene, reported("w", 1, 5, vec![completed(attempt(1, 1))]), ["ack w 5", "completed s"]);
    assert_eq!(scene.of("s").state, SweepState::Completed);
    assert_eq!(scene.ledger.epochs(attempt(3, 1)), [1, 2]);
    let overview = scene.overview();
    assert_eq!(overview.counters.attempts["completed"], 2);
    assert_eq!(overview.counters.attempts["diverged"], 1);
    assert_eq!(overview.sweeps[0].best.unwrap().1, 0.1);
}

#[test]
fn heartbeats_and_ticks_send_nothing() {
    let mut scene = started(3, 1);
    for _ in 0..10 {
        assert_eq!(scene.after(2_000), [""; 0]);
        sends!(scene, heartbeat("w", 1), []);
    }
    assert_eq!(scene.worker("w").state, WorkerState::Connected);
}

#[test]
fn cohort_holds_one_fusion_key_and_is_sorted_by_depth() {
    let mut scene = Scene::new();
    let (shallow, deep, wide) = (config(2, 128), config(30, 128), config(2, 256));
    let members: Vec<Trial> = [(1, &shallow), (2, &wide), (3, &deep), (4, &shallow), (5, &wide)]
        .map(|(id, config)| trial(id, config))
        .to_vec();
    scene.sweep(header("s"), members);
    sends!(scene, attached_gpu("w", 1), ["welcome w@1 []", "lease w/0 c1: 3#1 1#1 4#1"]);
    sends!(scene, attached("v", 2, 1), ["welcome v@2 []", "lease v/0 c2: 2#1"]);
}

#[test]
fn fusion_sets_the_size_of_cohorts() {
    for (fusion, gpu, cpu) in [(Fusion::Auto, 16, 1), (Fusion::Off, 1, 1), (Fusion::Size(3), 3, 3)]
    {
        let mut scene = Scene::new();
        let mut header = header("s");
        header.fusion = fusion;
        scene.sweep(header, trials(1..=40));
        for (event, size) in [(attached_gpu("w", 1), gpu), (attached("v", 2, 1), cpu)] {
            let effects = scene.apply(event);
            let Message::Lease { trials, .. } = &effects.messages[1] else {
                panic!("a lease follows the welcome");
            };
            assert_eq!(trials.len(), size, "{fusion:?}");
        }
    }
}

#[test]
fn slot_is_free_when_every_attempt_of_its_cohort_ended() {
    let mut scene = fused(17);
    for trial in 1..=15 {
        let report = vec![completed(attempt(trial, 1))];
        sends!(scene, reported("w", 1, trial, report), [format!("ack w {trial}")]);
    }
    let report = vec![completed(attempt(16, 1))];
    sends!(scene, reported("w", 1, 16, report), ["ack w 16", "lease w/0 c2: 17#1"]);
}

#[test]
fn dead_cohort_is_split_until_a_trial_dies_alone_three_times() {
    let mut scene = fused(4);
    let cohort = [1, 2, 3, 4].map(|id| attempt(id, 1));
    let report = vec![died(1, &cohort, FailureCause::TrainerDied)];
    sends!(scene, reported("w", 1, 1, report), ["ack w 1", "lease w/0 c2: 1#2 2#2"]);
    assert_eq!(scene.ledger.trial(3).cohort_size_max, Some(2));
    assert_eq!(scene.ledger.trial(3).deaths, 0);
    let why = scene.explain(common::ids::TrialId(3)).unwrap();
    let expected = "every slot that may run it is busy; it runs in cohorts of at most 2, since a \
                    larger one with it failed";
    assert_eq!(why, expected);

    let report = vec![died(2, &[attempt(1, 2), attempt(2, 2)], FailureCause::TrainerDied)];
    sends!(scene, reported("w", 1, 2, report), ["ack w 2", "lease w/0 c3: 1#3"]);
    // It rests after each death, and others go on meanwhile.
    let report = vec![died(3, &[attempt(1, 3)], FailureCause::Bug)];
    sends!(scene, reported("w", 1, 3, report), ["ack w 3", "lease w/0 c4: 2#3"]);
    assert_eq!(scene.ledger.trial(1).deaths, 1);
    let why = scene.explain(common::ids::TrialId(1)).unwrap();
    let expected = "it died alone 1 of 3 times and rests for 5 s; it runs alone, since a cohort \
                    with it failed";
    assert_eq!(why, expected);
    assert_eq!(scene.after(5_000), [""; 0]);
    sends!(
        scene,
        reported("w", 1, 4, vec![completed(attempt(2, 3))]),
        ["ack w 4", "lease w/0 c5: 1#4"]
    );
    let report = vec![died(5, &[attempt(1, 4)], FailureCause::Bug)];
    sends!(scene, reported("w", 1, 5, report), ["ack w 5", "lease w/0 c6: 3#2 4#2"]);
    assert_eq!(scene.ledger.trial(1).deaths, 2);
    for _ in 0..2 {
        assert_eq!(scene.after(5_000), [""; 0]);
        sends!(scene, heartbeat("w", 1), []);
    }
    let report = vec![completed(attempt(3, 2)), completed(attempt(4, 2))];
    sends!(scene, reported("w", 1, 7, report), ["ack w 7", "lease w/0 c7: 1#5"]);
    let report = vec![died(7, &[attempt(1, 5)], FailureCause::TrainerDied)];
    sends!(scene, reported("w", 1, 8, report), ["ack w 8", "completed s"]);
    let outcome = scene.ledger.outcome(1).unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Failed);
    let expected = "failed alone for the third time (attempt 5): its trainer died: signal 9";
    assert_eq!(outcome.reason, expected);
    assert_eq!(scene.of("s").counts.failed, 1);
}

#[test]
fn a_trial_that_died_beside_a_stopped_one_did_not_die_alone() {
    let mut scene = fused(2);
    let mut hello = hello("w", &[Device::Cuda(0)]);
    hello.running = vec![running(1, 0, &[attempt(1, 1)])];
    sends!(scene, Event::WorkerAttached(Session(2), hello), ["welcome w@2 [1#1]"]);
    sends!(scene, heartbeat("w", 2), []);
    // The second trial's attempt ended with the heartbeat; its trainer had both to the end.
    let both = [attempt(1, 1), attempt(2, 1)];
    let report = vec![died(1, &both, FailureCause::OutOfMemory)];
    sends!(scene, reported("w", 2, 1, report), ["ack w 1", "lease w/0 c2: 1#2"]);
    assert_eq!((scene.ledger.trial(1).deaths, scene.ledger.outcome(1)), (0, None));
    assert_eq!(scene.ledger.trial(1).cohort_size_max, Some(1));
}

#[test]
fn out_of_memory_halves_and_fails_a_trial_that_is_alone() {
    let mut scene = fused(3);
    let cohort = [1, 2, 3].map(|id| attempt(id, 1));
    let report = vec![died(1, &cohort, FailureCause::OutOfMemory)];
    sends!(scene, reported("w", 1, 1, report), ["ack w 1", "lease w/0 c2: 1#2 2#2"]);
    let report =
        vec![completed(attempt(1, 2)), died(2, &[attempt(2, 2)], FailureCause::OutOfMemory)];
    sends!(scene, reported("w", 1, 3, report), ["ack w 3", "lease w/0 c3: 3#2"]);
    let reason = &scene.ledger.outcome(2).unwrap().reason;
    assert_eq!(reason, "out of memory, alone (attempt 2): signal 9");
    let end = scene.ledger.end(attempt(2, 2)).unwrap();
    assert!(matches!(end, AttemptEnd::CohortFailed { counted: true, .. }));
}

#[test]
fn failed_data_blames_the_worker_until_it_attaches_again() {
    let mut scene = started(1, 2);
    let report = vec![died(1, &[attempt(1, 1)], FailureCause::Data)];
    sends!(scene, reported("w", 1, 1, report), ["ack w 1"]);
    assert_eq!(scene.ledger.trial(1).deaths, 0);
    let reason = "a cohort failed on its `strokes`; it gets none of it until it attaches again: \
                  signal 9";
    assert_eq!(scene.worker("w").reason.as_deref(), Some(reason));
    sends!(scene, detached("w", 1), []);
    sends!(scene, attached("w", 2, 2), ["welcome w@2 []", "lease w/0 c2: 1#2"]);
    assert_eq!(scene.worker("w").reason, None);
}

#[test]
fn data_that_failed_before_the_hello_does_not_blame_a_repaired_worker() {
    let mut scene = started(1, 1);
    // It failed, was repaired and started again; its spool tells of it then.
    sends!(scene, attached("w", 2, 1), ["welcome w@2 []"]);
    let report = vec![died(1, &[attempt(1, 1)], FailureCause::Data)];
    sends!(scene, reported("w", 2, 1, report), ["ack w 1", "lease w/0 c2: 1#2"]);
    assert_eq!(scene.worker("w").reason, None);
    // Were it not repaired, the next one says so.
    let report = vec![died(2, &[attempt(1, 2)], FailureCause::Data)];
    sends!(scene, reported("w", 2, 2, report), ["ack w 2"]);
    assert!(scene.worker("w").reason.is_some());
}

#[test]
fn lost_worker_gives_back_its_trials_first_and_its_late_reports_are_dropped() {
    let mut scene = started(4, 2);
    sends!(scene, detached("w", 1), []);
    assert_eq!(scene.after(7_999), [""; 0]);
    sends!(scene, attached("v", 2, 1), ["welcome v@2 []", "lease v/0 c3: 3#1"]);
    assert_eq!(scene.after(1), [""; 0]);
    let lost = scene.worker("w");
    assert_eq!((lost.state, lost.has_left), (WorkerState::Lost, false));
    assert_eq!(scene.overview().counters.lease_expirations, 2);
    let report = vec![completed(attempt(3, 1))];
    sends!(scene, reported("v", 2, 1, report), ["ack v 1", "lease v/0 c4: 1#2"]);
    // Trial 2 waits: its old attempt goes on. Trial 1 runs elsewhere: its old attempt is stale.
    let held = vec![running(1, 0, &[attempt(1, 1)]), running(2, 1, &[attempt(2, 1)])];
    sends!(scene, attached_with("w", 3, 2, held), ["welcome w@3 [2#1]", "lease w/0 c5: 4#1"]);
    let report = vec![epoch(attempt(1, 1), 1), completed(attempt(1, 1)), epoch(attempt(2, 1), 1)];
    sends!(scene, reported("w", 3, 3, report), ["ack w 3"]);
    assert_eq!(scene.overview().counters.stale_reports, 2);
    assert!(scene.ledger.epochs(attempt(1, 1)).is_empty());
    assert_eq!(scene.ledger.epochs(attempt(2, 1)), [1]);
}

#[test]
fn silent_worker_that_is_heard_again_goes_on_with_what_nobody_else_took() {
    let mut scene = started(2, 2);
    scene.now += 5_000;
    sends!(scene, attached("v", 2, 1), ["welcome v@2 []"]);
    assert_eq!(scene.after(3_000), ["lease v/0 c3: 1#2"]);
    sends!(scene, reported("w", 1, 1, vec![epoch(attempt(2, 1), 1)]), ["stop w 1#1", "ack w 1"]);
    assert_eq!(scene.worker("w").state, WorkerState::Connected);
    assert_eq!(scene.of("s").counts.running, 2);
    assert_eq!(scene.worker("w").slots[1].cohort, Some(CohortId(2)));
}

/// A worker with free slots, heard first, would else take over what the others still train.
#[test]
fn a_coordinator_that_was_stopped_itself_takes_no_lease_away() {
    let mut scene = started(2, 2);
    sends!(scene, attached("v", 2, 1), ["welcome v@2 []"]);
    scene.now += 60_000;
    sends!(scene, Event::Stalled, []);
    assert_eq!(scene.after(0), [""; 0]);
    sends!(scene, heartbeat("v", 2), []);
    assert_eq!(scene.of("s").counts.running, 2);
    assert_eq!(scene.worker("w").state, WorkerState::Connected);
    // Who says nothing now either is lost as ever.
    scene.now += 7_000;
    sends!(scene, heartbeat("v", 2), []);
    assert_eq!(scene.after(1_000), ["lease v/0 c3: 1#2"]);
    assert_eq!(scene.worker("w").state, WorkerState::Lost);
}

#[test]
fn silent_worker_does_not_get_back_what_its_hello_left_out() {
    let mut scene = fused(2);
    let mut hello = hello("w", &[Device::Cuda(0)]);
    hello.running = vec![running(1, 0, &[attempt(1, 1)])];
    sends!(scene, Event::WorkerAttached(Session(2), hello), ["welcome w@2 [1#1]"]);
    assert_eq!(scene.after(8_000), [""; 0]);
    sends!(scene, heartbeat("w", 2), ["stop w 2#1"]);
    assert_eq!((scene.of("s").counts.running, scene.of("s").counts.pending), (1, 1));
    let report = vec![completed(attempt(1, 1))];
    sends!(scene, reported("w", 2, 1, report), ["ack w 1", "lease w/0 c2: 2#2"]);
}

#[test]
fn outcomes_in_the_spool_are_accepted_after_a_lost_lease() {
    let mut scene = started(2, 2);
    sends!(scene, detached("w", 1), []);
    assert_eq!(scene.after(8_000), [""; 0]);
    // It finished both while it was away: nothing runs, and the spool follows.
    sends!(scene, attached("w", 2, 2), ["welcome w@2 []"]);
    let report = vec![completed(attempt(1, 1)), completed(attempt(2, 1))];
    sends!(scene, reported("w", 2, 2, report), ["ack w 2", "completed s"]);
    assert_eq!(scene.ledger.trial(1).attempts, 1);
}

#[test]
fn attempts_that_an_agent_forgot_run_again_after_its_first_heartbeat() {
    let mut scene = started(2, 2);
    sends!(scene, attached("w", 2, 2), ["welcome w@2 []"]);
    sends!(scene, reported("w", 1, 9, vec![completed(attempt(2, 1))]), []);
    sends!(scene, reported("w", 2, 1, vec![completed(attempt(1, 1))]), ["ack w 1"]);
    sends!(scene, heartbeat("w", 2), ["lease w/0 c3: 2#2"]);
    assert_eq!(scene.ledger.end(attempt(2, 1)), Some(&AttemptEnd::WorkerLost));
}

#[test]
fn outcome_of_a_pending_trial_is_accepted_from_its_old_worker() {
    let mut scene = started(1, 1);
    sends!(scene, attached("w", 2, 1), ["welcome w@2 []"]);
    sends!(scene, drains("w", 2), []);
    assert_eq!(scene.of("s").counts.pending, 1);
    sends!(scene, reported("w", 2, 1, vec![epoch(attempt(1, 1), 1)]), ["ack w 1"]);
    assert_eq!(scene.of("s").counts.pending, 1);
    let report = vec![completed(attempt(1, 1))];
    sends!(scene, reported("w", 2, 2, report), ["ack w 2", "completed s"]);
}

#[test]
fn hello_with_impossible_claims_is_answered_without_them() {
    let mut scene = started(3, 2);
    let held = vec![
        running(9, 0, &[attempt(1, 1)]),
        running(1, 7, &[attempt(1, 1)]),
        running(2, 0, &[attempt(2, 1), attempt(2, 1), attempt(3, 1), attempt(8, 1)]),
        running(1, 0, &[attempt(1, 1)]),
    ];
    sends!(scene, attached_with("w", 2, 2, held), ["welcome w@2 [2#1]", "lease w/1 c3: 3#1"]);
    sends!(scene, attached("w", 1, 2), []);
}

#[test]
fn repeated_and_skipping_epochs_are_dropped() {
    let mut scene = started(1, 1);
    let one = attempt(1, 1);
    let report = vec![epoch(one, 1), epoch(one, 2), epoch(one, 2), epoch(one, 1), epoch(one, 4)];
    sends!(scene, reported("w", 1, 5, report), ["ack w 5"]);
    assert_eq!(scene.ledger.epochs(one), [1, 2]);
    assert_eq!(scene.overview().counters.duplicate_reports, 3);
    assert_eq!(scene.of("s").epochs_total, 2);
}

#[test]
fn next_attempt_replaces_the_history_from_where_it_resumed() {
    let mut scene = started(1, 1);
    let report = (1..=5).map(|at| epoch(attempt(1, 1), at)).collect();
    sends!(scene, reported("w", 1, 5, report), ["ack w 5"]);
    let report = vec![Report::Returned(attempt(1, 1), 5)];
    let effects = scene.apply(reported("w", 1, 6, report));
    let Message::Lease { trials, .. } = &effects.messages[1] else { panic!("leased again") };
    assert_eq!((trials[0].attempt, trials[0].epochs_stored), (attempt(1, 2), 5));
    let report = vec![epoch(attempt(1, 2), 4)];
    sends!(scene, reported("w", 1, 7, report), ["ack w 7"]);
    assert_eq!(scene.ledger.trial(1).epochs, 4);
}

#[test]
fn draining_worker_hands_back_and_leaves() {
    let mut scene = started(3, 1);
    sends!(scene, drains("w", 1), []);
    assert_eq!(scene.worker("w").state, WorkerState::Draining);
    sends!(scene, reported("w", 1, 1, vec![Report::Returned(attempt(1, 1), 0)]), ["ack w 1"]);
    assert_eq!(scene.worker("w").reason.as_deref(), Some("it drains"));
    sends!(scene, detached("w", 1), []);
    assert_eq!(scene.worker("w").state, WorkerState::Lost);
    assert!(scene.worker("w").has_left);
    let why = "it left: drained, or with an error that its own log has";
    assert_eq!(scene.worker("w").reason.as_deref(), Some(why));
    assert_eq!(scene.overview().counters.lease_expirations, 0);
    sends!(scene, attached("v", 2, 1), ["welcome v@2 []", "lease v/0 c2: 1#2"]);
    assert_eq!(scene.after(600_000), [""; 0]);
    assert!(scene.overview().workers.iter().all(|worker| worker.id.as_str() != "w"));
}

#[test]
fn data_is_pinned_by_the_first_lease() {
    let mut scene = started(4, 1);
    assert_eq!(scene.ledger.digest("s"), Some(DIGEST));
    let mut other = hello("v", &[Device::Cpu]);
    other.data_digests.insert(Data::Strokes, "other".into());
    sends!(scene, Event::WorkerAttached(Session(2), other), ["welcome v@2 []"]);
    let reason = "its `strokes` has the digest other, and sweep `s` is pinned to digest";
    assert_eq!(scene.worker("v").reason.as_deref(), Some(reason));
    let mut without = hello("u", &[Device::Cpu]);
    without.data_digests.clear();
    sends!(scene, Event::WorkerAttached(Session(3), without), ["welcome u@3 []"]);
    let reason = "it does not have the data set `strokes`";
    assert_eq!(scene.worker("u").reason.as_deref(), Some(reason));
    sends!(scene, drains("w", 1), []);
    let why = scene.explain(common::ids::TrialId(2)).unwrap();
    assert_eq!(why, format!("no attached worker may run it; worker u: {reason}"));
}

#[test]
fn closing_hands_out_nothing_more() {
    let mut scene = started(2, 1);
    sends!(scene, Event::Closing, []);
    sends!(scene, reported("w", 1, 1, vec![completed(attempt(1, 1))]), ["ack w 1"]);
    let why = scene.explain(common::ids::TrialId(2)).unwrap();
    assert_eq!(why, "the coordinator is stopping");
}

#[test]
fn restart_continues_where_it_was() {
    let mut scene = started(4, 2);
    let report = vec![epoch(attempt(1, 1), 1), epoch(attempt(2, 1), 1), completed(attempt(2, 1))];
    sends!(scene, reported("w", 1, 3, report), ["ack w 3", "lease w/1 c3: 3#1"]);
    scene.now += 1_000_000;
    scene.restart();
    assert_eq!(scene.of("s").counts.running, 2);
    assert_eq!(scene.worker("w").state, WorkerState::Lost);
    assert_eq!(scene.after(7_000), [""; 0]);
    let held = vec![running(1, 0, &[attempt(1, 1)]), running(3, 1, &[attempt(3, 1)])];
    sends!(scene, attached_with("w", 1, 2, held), ["welcome w@1 [1#1 3#1]"]);
    // The acknowledgement was lost with the coordinator, so the spool comes again.
    let report = vec![
        epoch(attempt(1, 1), 1),
        completed(attempt(2, 1)),
        epoch(attempt(1, 1), 2),
        completed(attempt(1, 1)),
    ];
    sends!(scene, reported("w", 1, 5, report), ["ack w 5", "lease w/0 c4: 4#1"]);
    assert_eq!(scene.ledger.epochs(attempt(1, 1)), [1, 2]);
    assert_eq!(scene.overview().counters.stale_reports, 1);
    let report = vec![completed(attempt(3, 1)), completed(attempt(4, 1))];
    sends!(scene, reported("w", 1, 7, report), ["ack w 7", "completed s"]);
    scene.restart();
    assert_eq!(scene.of("s").state, SweepState::Completed);
    assert_eq!(scene.sweep(header("s"), trials(1..=4)), ["completed s"]);
}

#[test]
fn worker_that_does_not_come_back_after_a_restart_is_lost() {
    let mut scene = started(2, 1);
    scene.restart();
    sends!(scene, attached("v", 1, 1), ["welcome v@1 []", "lease v/0 c2: 2#1"]);
    let report = vec![completed(attempt(2, 1))];
    sends!(scene, reported("v", 1, 1, report), ["ack v 1"]);
    assert_eq!(scene.after(8_000), [""; 0]);
    sends!(scene, heartbeat("v", 1), ["lease v/0 c3: 1#2"]);
}

#[test]
fn estimate_follows_the_measured_speed() {
    let mut scene = Scene::new();
    let members: Vec<Trial> = vec![trial(1, &config(10, 128)), trial(2, &config(20, 128))];
    scene.sweep(header("s"), members);
    sends!(scene, attached("w", 1, 1), ["welcome w@1 []", "lease w/0 c1: 1#1"]);
    assert_eq!(scene.of("s").eta_seconds, None);
    sends!(scene, reported("w", 1, 1, vec![epoch(attempt(1, 1), 1)]), ["ack w 1"]);
    // 9 more epochs of one second, then 10 epochs of more work: of 784×128 weights both, and of
    // 19 layers of 128×128 instead of 9.
    let work = |layers: f64| 784.0 * 128.0 + layers * 128.0 * 128.0 + 1280.0;
    let second = 10.0 * work(19.0) / work(9.0);
    let eta = scene.of("s").eta_seconds.unwrap();
    assert!((eta - 9.0 - second).abs() < 0.1, "{eta}");
    assert_eq!(scene.of("s").examples_per_second, 1_000.0);
    // It stops early and gives back the other 8 epochs.
    let report = vec![epoch(attempt(1, 1), 2), completed(attempt(1, 1))];
    sends!(scene, reported("w", 1, 3, report), ["ack w 3", "lease w/0 c2: 2#1"]);
    let eta = scene.of("s").eta_seconds.unwrap();
    assert!((eta - second).abs() < 0.1, "{eta}");
    scene.sent(Event::SweepPaused("s".parse().unwrap()));
    assert_eq!(scene.of("s").eta_seconds, None, "of what does not go on");
}

#[test]
fn trials_of_different_models_or_data_never_train_together() {
    let mut scene = Scene::new();
    let mut values = std::collections::BTreeMap::new();
    values.insert(Param::Epochs, Value::Int(1));
    let mut members = Vec::new();
    for (id, (model, data)) in [
        (Model::Mlp, Data::Strokes),
        (Model::Mlp, Data::Mnist),
        (Model::Rnn, Data::Strokes),
        (Model::Mlp, Data::Strokes),
    ]
    .into_iter()
    .enumerate()
    {
        let config = std::sync::Arc::new(Config::new(model, data, values.clone()));
        members.push(trial(id as u64 + 1, &config));
    }
    scene.sweep(header("s"), members);
    sends!(scene, attached_gpu("w", 1), ["welcome w@1 []", "lease w/0 c1: 1#1 4#1"]);
}
