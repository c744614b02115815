//! Stories of deaths: the trial's fault, the worker's, or everything's.

mod scene;

use common::ids::TrialId;
use scene::*;
use scheduler::event::{Event, FailureCause, Report};
use scheduler::overview::{SweepState, WorkerState};

const NOTHING: [&str; 0] = [];

/// Sweep `s` of `count` trials; worker `bad` and then `good`, of one slot each.
fn two_workers(count: u64) -> Scene {
    let mut scene = Scene::new();
    scene.sweep(header("s"), trials(1..=count));
    scene.sent(attached("bad", 1, 1));
    scene.sent(attached("good", 2, 1));
    scene
}

fn dies(cohort: u64, trial: u64, number: u32) -> Vec<Report> {
    vec![died(cohort, &[attempt(trial, number)], FailureCause::TrainerDied)]
}

/// Seconds in which both workers are heard.
fn wait(scene: &mut Scene, seconds: u64) -> Vec<String> {
    let mut sent = Vec::new();
    for _ in 0..seconds {
        sent.extend(scene.after(1_000));
        sent.extend(scene.sent(heartbeat("bad", 1)));
        sent.extend(scene.sent(heartbeat("good", 2)));
    }
    sent
}

#[test]
fn worker_whose_dead_trials_go_on_elsewhere_is_set_aside_and_they_are_pardoned() {
    let mut scene = two_workers(8);
    // 1 and 3 die on `bad`, while 2 runs on `good`.
    let sent = scene.sent(reported("bad", 1, 1, dies(1, 1, 1)));
    assert_eq!(sent, ["ack bad 1", "lease bad/0 c3: 3#1"]);
    // The second death in a row makes it wait.
    assert_eq!(scene.sent(reported("bad", 1, 2, dies(3, 3, 1))), ["ack bad 2"]);
    assert_eq!(wait(&mut scene, 1), ["lease bad/0 c4: 4#1"]);
    assert_eq!(wait(&mut scene, 6), NOTHING, "what died there waits for the other");
    let waiting = "every slot that may run it is busy";
    assert_eq!(scene.explain(TrialId(1)).unwrap(), waiting);
    let report = vec![completed(attempt(2, 1))];
    let sent = scene.sent(reported("good", 2, 1, report));
    assert_eq!(sent, ["ack good 1", "lease good/0 c5: 3#2"]);
    let report = vec![epoch(attempt(3, 2), 1), completed(attempt(3, 2))];
    let sent = scene.sent(reported("good", 2, 3, report));
    assert_eq!(sent, ["ack good 3", "lease good/0 c6: 1#2"]);
    assert_eq!(scene.worker("bad").state, WorkerState::Connected, "one is not enough");
    assert_eq!(scene.sent(reported("good", 2, 4, vec![epoch(attempt(1, 2), 1)])), ["ack good 4"]);
    let bad = scene.worker("bad");
    let reason = "set aside: 2 trials died here one after the other, and 2 of them got further on \
                  other workers; it is tried again after 10 min, or when its agent is started anew";
    assert_eq!((bad.state, bad.reason.as_deref()), (WorkerState::SetAside, Some(reason)));
    assert_eq!(scene.ledger.trial(1).deaths, 0, "its death was the worker's");
    // What runs there may end well; it gets nothing more.
    let sent = scene.sent(reported("bad", 1, 3, dies(4, 4, 1)));
    assert_eq!(sent, ["ack bad 3"]);
    assert_eq!(wait(&mut scene, 599), NOTHING);
    assert_eq!(wait(&mut scene, 1), ["lease bad/0 c7: 5#1"]);
    assert_eq!(scene.worker("bad").state, WorkerState::Connected);
}

#[test]
fn worker_that_was_set_aside_works_again_when_it_is_started_anew() {
    let mut scene = two_workers(8);
    scene.sent(reported("bad", 1, 1, dies(1, 1, 1)));
    scene.sent(reported("bad", 1, 2, dies(3, 3, 1)));
    wait(&mut scene, 5);
    scene.sent(reported("good", 2, 1, vec![completed(attempt(2, 1))]));
    scene.sent(reported("good", 2, 3, vec![epoch(attempt(3, 2), 1), completed(attempt(3, 2))]));
    scene.sent(reported("good", 2, 4, vec![epoch(attempt(1, 2), 1)]));
    assert_eq!(scene.worker("bad").state, WorkerState::SetAside);
    scene.sent(detached("bad", 1));
    let held = vec![running(4, 0, &[attempt(4, 1)])];
    scene.sent(attached_with("bad", 3, 1, held));
    assert_eq!(scene.worker("bad").state, WorkerState::Connected);
}

#[test]
fn last_worker_is_not_set_aside() {
    let mut scene = two_workers(8);
    scene.sent(reported("bad", 1, 1, dies(1, 1, 1)));
    scene.sent(reported("bad", 1, 2, dies(3, 3, 1)));
    wait(&mut scene, 5);
    scene.sent(reported("good", 2, 1, vec![completed(attempt(2, 1))]));
    scene.sent(reported("good", 2, 3, vec![epoch(attempt(3, 2), 1), completed(attempt(3, 2))]));
    scene.sent(reported("good", 2, 4, vec![epoch(attempt(1, 2), 1)]));
    assert_eq!(scene.sent(reported("bad", 1, 3, dies(4, 4, 1))), ["ack bad 3"]);
    assert_eq!(scene.worker("bad").state, WorkerState::SetAside);
    let sent = scene.sent(drains("good", 2));
    assert_eq!(sent, ["lease bad/0 c7: 5#1"]);
    assert_eq!(scene.worker("bad").state, WorkerState::Connected);
}

#[test]
fn trial_that_dies_everywhere_is_itself_to_blame() {
    let mut scene = two_workers(4);
    scene.sent(reported("bad", 1, 1, dies(1, 1, 1)));
    wait(&mut scene, 5);
    let sent = scene.sent(reported("good", 2, 1, vec![completed(attempt(2, 1))]));
    assert_eq!(sent, ["ack good 1", "lease good/0 c4: 1#2"]);
    let sent = scene.sent(reported("good", 2, 2, dies(4, 1, 2)));
    assert_eq!(sent, ["ack good 2", "lease good/0 c5: 4#1"]);
    assert_eq!(wait(&mut scene, 10), NOTHING);
    // Now the first may have it, and gets it.
    let sent = scene.sent(reported("bad", 1, 2, vec![completed(attempt(3, 1))]));
    assert_eq!(sent, ["ack bad 2", "lease bad/0 c6: 1#3"]);
    scene.sent(reported("bad", 1, 3, dies(6, 1, 3)));
    let reason = &scene.ledger.outcome(1).unwrap().reason;
    assert!(reason.starts_with("failed alone for the third time"), "{reason}");
    assert_eq!(scene.worker("bad").state, WorkerState::Connected);
}

#[test]
fn only_worker_tries_its_dead_trials_again_itself() {
    let mut scene = two_workers(2);
    scene.sent(reported("bad", 1, 1, dies(1, 1, 1)));
    assert_eq!(wait(&mut scene, 6), NOTHING);
    let why = "it died on worker bad and waits for another";
    assert_eq!(scene.explain(TrialId(1)).unwrap(), why);
    let sent = scene.sent(drains("good", 2));
    assert_eq!(sent, ["lease bad/0 c3: 1#2"]);
}

#[test]
fn same_error_on_several_workers_stops_the_sweep() {
    let mut scene = Scene::new();
    let mut careful = header("s");
    careful.same_error_max = Some(3);
    scene.sweep(careful, trials(1..=9));
    scene.sent(attached("bad", 1, 1));
    scene.sent(attached("good", 2, 1));
    scene.sent(reported("bad", 1, 1, dies(1, 1, 1)));
    scene.sent(reported("bad", 1, 2, dies(3, 3, 1)));
    let sent = scene.sent(reported("good", 2, 1, dies(2, 2, 1)));
    assert_eq!(sent, ["ack good 1", "completed s"]);
    let reason = "3 trials in a row died of the same error on 2 workers: signal 9; once that is \
                  mended `coordinator retry s` goes on";
    let stopped = SweepState::Stopped { reason: reason.into() };
    assert_eq!(scene.of("s").state, stopped);
    scene.restart();
    assert_eq!(scene.of("s").state, stopped);
    assert_eq!(scene.sent(attached("good", 3, 1)), ["welcome good@3 []"]);
    // To pause it would hide why.
    scene.sent(Event::SweepPaused(name("s")));
    assert_eq!(scene.of("s").state, stopped);
    let sent = scene.sent(Event::SweepRetried(name("s")));
    assert_eq!(sent.len(), 1, "{sent:?}");
}

#[test]
fn deaths_on_one_of_two_workers_do_not_stop_the_sweep() {
    let mut scene = Scene::new();
    let mut careful = header("s");
    careful.same_error_max = Some(2);
    scene.sweep(careful, trials(1..=9));
    scene.sent(attached("bad", 1, 1));
    scene.sent(attached("good", 2, 1));
    scene.sent(reported("bad", 1, 1, dies(1, 1, 1)));
    // The second makes the worker rest, which does not mean that the other is alone.
    scene.sent(reported("bad", 1, 2, dies(3, 3, 1)));
    assert_eq!(scene.of("s").state, SweepState::Running);
}

#[test]
fn trial_that_waits_for_another_worker_is_taken_when_that_is_gone() {
    let mut scene = two_workers(2);
    scene.sent(reported("bad", 1, 1, dies(1, 1, 1)));
    assert_eq!(wait(&mut scene, 6), NOTHING);
    assert_eq!(scene.sent(detached("good", 2)), ["lease bad/0 c3: 1#2"]);
}

#[test]
fn trial_that_ends_well_breaks_the_row() {
    let mut scene = Scene::new();
    let mut careful = header("s");
    careful.same_error_max = Some(2);
    scene.sweep(careful, trials(1..=9));
    scene.sent(attached("w", 1, 1));
    scene.sent(reported("w", 1, 1, dies(1, 1, 1)));
    scene.sent(reported("w", 1, 2, vec![completed(attempt(2, 1))]));
    scene.sent(reported("w", 1, 3, dies(3, 3, 1)));
    assert_eq!(scene.of("s").state, SweepState::Running);
    // With one worker there is no other to ask.
    scene.sent(reported("w", 1, 4, dies(4, 4, 1)));
    assert!(matches!(scene.of("s").state, SweepState::Stopped { .. }));
}

#[test]
fn worker_that_proves_itself_waits_no_longer() {
    let mut scene = Scene::new();
    let mut fused = header("s");
    fused.fusion = scheduler::event::Fusion::Size(2);
    scene.sweep(fused, trials(1..=8));
    scene.sent(attached("other", 1, 1));
    scene.sent(attached("w", 2, 2));
    let both = [attempt(5, 1), attempt(6, 1)];
    let split = scene.sent(reported("w", 2, 1, vec![died(3, &both, FailureCause::Bug)]));
    assert_eq!(split, ["ack w 1", "lease w/1 c4: 5#2"]);
    let bug = |cohort, trial| vec![died(cohort, &[attempt(trial, 2)], FailureCause::Bug)];
    let sent = scene.sent(reported("w", 2, 2, bug(4, 5)));
    assert_eq!(sent, ["ack w 2", "lease w/1 c5: 6#2"]);
    assert_eq!(scene.sent(reported("w", 2, 3, bug(5, 6))), ["ack w 3"], "it waits");
    // One of its other cohort ends well, and that cohort goes on.
    let sent = scene.sent(reported("w", 2, 4, vec![completed(attempt(3, 1))]));
    assert_eq!(sent, ["ack w 4", "lease w/1 c6: 7#1 8#1"]);
}
