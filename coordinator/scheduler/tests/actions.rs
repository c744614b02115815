//! Stories of what people do to sweeps and workers while they run. Each checks what was sent, and
//! that nothing else was.

mod scene;

use common::ids::TrialId;
use scene::*;
use scheduler::event::{Change, Event, FailureCause, Hold, OutcomeKind, Report, SweepHeader};
use scheduler::overview::{SweepState, WorkerState};
use scheduler::{Acted, Effects};

const NOTHING: [&str; 0] = [];

/// What came of an action, with the messages.
fn act(scene: &mut Scene, event: Event) -> (Acted, Vec<String>) {
    let Effects { messages, acted, .. } = scene.apply(event);
    (acted.expect("an action tells what came of it"), messages.iter().map(text).collect())
}

fn done(pending: u64, running: u64) -> Acted {
    Acted::Done { pending, running }
}

fn refused(why: &str) -> Acted {
    Acted::Refused(why.into())
}

fn paused(sweep: &str) -> Event {
    Event::SweepPaused(name(sweep))
}

fn resumed(sweep: &str) -> Event {
    Event::SweepResumed(name(sweep))
}

fn cancelled(sweep: &str) -> Event {
    Event::SweepCancelled(name(sweep))
}

fn retried(sweep: &str) -> Event {
    Event::SweepRetried(name(sweep))
}

fn with_priority(sweep: &str, priority: i32) -> SweepHeader {
    let mut header = header(sweep);
    header.priority = priority;
    header
}

/// Sweep `s` of `count` trials, and worker `w` with `slots` slots that are busy with it.
fn started(count: u64, slots: usize) -> Scene {
    let mut scene = Scene::new();
    scene.sweep(header("s"), trials(1..=count));
    scene.sent(attached("w", 1, slots));
    scene
}

#[test]
fn paused_sweep_gets_nothing_more_until_it_is_resumed() {
    let mut scene = started(3, 1);
    assert_eq!(act(&mut scene, paused("s")), (done(2, 1), vec![]));
    assert_eq!(scene.of("s").state, SweepState::Paused);
    assert_eq!(scene.sent(reported("w", 1, 1, vec![completed(attempt(1, 1))])), ["ack w 1"]);
    let why = scene.explain(TrialId(2)).unwrap();
    assert_eq!(why, "sweep `s` is paused; `coordinator resume s`");
    // A restart and another application do not lift it.
    scene.restart();
    assert_eq!(scene.sent(attached("w", 1, 1)), ["welcome w@1 []"]);
    assert_eq!(scene.sweep(header("s"), trials(1..=3)), NOTHING);
    let (acted, sent) = act(&mut scene, resumed("s"));
    assert_eq!((acted, sent), (done(2, 0), vec!["lease w/0 c2: 2#1".into()]));
    assert_eq!(act(&mut scene, resumed("s")).0, refused("it is not paused"));
    assert_eq!(act(&mut scene, paused("other")).0, Acted::Unknown);
}

#[test]
fn sweep_that_has_ended_cannot_be_paused_or_cancelled() {
    let mut scene = started(1, 1);
    scene.sent(reported("w", 1, 1, vec![completed(attempt(1, 1))]));
    assert_eq!(act(&mut scene, paused("s")).0, refused("it has ended"));
    assert_eq!(act(&mut scene, cancelled("s")).0, refused("it has ended"));
    assert_eq!(scene.of("s").state, SweepState::Completed);
}

#[test]
fn cancelling_ends_what_waits_and_what_runs() {
    let mut scene = started(4, 2);
    scene.sent(reported("w", 1, 1, vec![completed(attempt(1, 1))]));
    let (acted, sent) = act(&mut scene, cancelled("s"));
    assert_eq!(acted, done(1, 2));
    assert_eq!(sent, ["stop w 2#1", "stop w 3#1", "completed s"]);
    let sweep = scene.of("s");
    assert_eq!((sweep.state, sweep.counts.cancelled), (SweepState::Cancelled, 3));
    assert_eq!(sweep.counts.open(), 0);
    // What was on its way comes too late.
    assert_eq!(scene.sent(reported("w", 1, 2, vec![completed(attempt(2, 1))])), ["ack w 2"]);
    assert_eq!(scene.overview().counters.stale_reports, 1);
    assert_eq!(act(&mut scene, paused("s")).0, refused("it is cancelled"));
    let why = "it is cancelled; `coordinator retry s` reopens it";
    assert_eq!(act(&mut scene, resumed("s")).0, refused(why));
    // It stays cancelled when its file is applied again, with new points too.
    scene.restart();
    assert_eq!(scene.sent(attached("w", 1, 2)), ["welcome w@1 []"]);
    assert_eq!(scene.sweep(header("s"), trials(1..=5)), ["completed s"]);
    assert_eq!(scene.of("s").counts.cancelled, 4);
    let (acted, sent) = act(&mut scene, retried("s"));
    assert_eq!(acted, done(4, 0));
    assert_eq!(sent, ["lease w/0 c4: 2#2", "lease w/1 c5: 3#2"]);
}

#[test]
fn what_another_sweep_wants_goes_on_when_one_is_cancelled() {
    let mut scene = Scene::new();
    scene.sweep(header("a"), trials(1..=3));
    scene.sweep(header("b"), trials(2..=3));
    scene.sent(attached("w", 1, 2));
    let (acted, sent) = act(&mut scene, cancelled("a"));
    assert_eq!(
        (acted, sent),
        (done(0, 1), vec!["stop w 1#1".into(), "completed a".into(), "lease w/0 c3: 3#1".into()])
    );
    // The last sweep that wanted them lets them go: they are cancelled as well.
    let (acted, sent) = act(&mut scene, cancelled("b"));
    assert_eq!((acted, sent.len()), (done(0, 2), 3));
    assert_eq!(scene.of("a").counts.cancelled, 3);
}

#[test]
fn pending_trial_of_a_cancelled_sweep_is_cancelled_when_the_other_removes_it() {
    let mut scene = Scene::new();
    scene.sweep(header("a"), trials(1..=2));
    scene.sweep(header("b"), trials(2..=3));
    assert_eq!(act(&mut scene, cancelled("a")).0, done(1, 0));
    scene.sweep(header("b"), trials(3..=3));
    assert_eq!(scene.of("a").counts.cancelled, 2);
}

/// The other sweep that names it is cancelled as well, and is being applied again.
#[test]
fn trial_of_two_cancelled_sweeps_is_cancelled_though_one_is_between_two_chunks() {
    let mut scene = Scene::new();
    scene.sweep(header("a"), trials(1..=2));
    scene.sweep(header("b"), trials(2..=3));
    act(&mut scene, cancelled("a"));
    scene.sent(Event::SweepApplied(header("a")));
    assert_eq!(act(&mut scene, cancelled("b")).0, done(2, 0));
    assert_eq!(scene.of("b").counts.cancelled, 2);
}

#[test]
fn cancelled_trial_runs_for_the_sweep_that_names_it_next() {
    let mut scene = started(2, 1);
    act(&mut scene, cancelled("s"));
    let sent = scene.sweep(header("t"), trials(1..=2));
    assert_eq!(sent, ["lease w/0 c2: 1#2"]);
    let report = vec![completed(attempt(1, 2))];
    assert_eq!(scene.sent(reported("w", 1, 1, report)), ["ack w 1", "lease w/0 c3: 2#1"]);
    assert_eq!(scene.of("s").counts.completed, 1);
}

#[test]
fn worker_that_was_away_stops_what_was_cancelled_meanwhile() {
    let mut scene = started(1, 1);
    scene.sent(detached("w", 1));
    assert_eq!(act(&mut scene, cancelled("s")), (done(0, 1), vec!["completed s".into()]));
    let held = vec![running(1, 0, &[attempt(1, 1)])];
    assert_eq!(scene.sent(attached_with("w", 2, 1, held)), ["welcome w@2 []"]);
}

/// Its report of an epoch was dropped while it was cancelled: an outcome that came after the retry
/// would be that of a history with a gap.
#[test]
fn attempt_that_was_away_when_it_was_cancelled_is_over() {
    let mut scene = started(1, 1);
    scene.sent(detached("w", 1));
    act(&mut scene, cancelled("s"));
    scene.sent(attached("w", 2, 0));
    scene.sent(reported("w", 2, 1, vec![epoch(attempt(1, 1), 1)]));
    act(&mut scene, retried("s"));
    let late = vec![epoch(attempt(1, 1), 2), completed(attempt(1, 1))];
    assert_eq!(scene.sent(reported("w", 2, 3, late)), ["ack w 3"]);
    assert_eq!(scene.overview().counters.stale_reports, 3);
    assert_eq!(scene.of("s").counts.pending, 1);
    let held = vec![running(1, 0, &[attempt(1, 1)])];
    let sent = scene.sent(attached_with("w", 3, 1, held));
    assert_eq!(sent, ["welcome w@3 []", "lease w/0 c2: 1#2"]);
}

#[test]
fn retrying_runs_failed_trials_again_and_takes_no_old_report_for_the_new_attempts() {
    let mut scene = started(2, 1);
    let lost = Report::Ended(attempt(1, 1), outcome(OutcomeKind::Failed, None));
    scene.sent(reported("w", 1, 1, vec![lost.clone()]));
    scene.sent(reported("w", 1, 2, vec![completed(attempt(2, 1))]));
    assert_eq!(scene.of("s").counts.failed, 1);
    scene.sent(detached("w", 1));
    assert_eq!(act(&mut scene, retried("s")), (done(1, 0), vec![]));
    assert_eq!(scene.of("s").counts.pending, 1);
    for restarted in [false, true] {
        if restarted {
            scene.restart();
        }
        let session = 2 + u64::from(restarted);
        scene.sent(attached("w", session, 0));
        // Its acknowledgement was lost, so the worker sends the old outcome again.
        scene.sent(reported("w", session, 1, vec![lost.clone()]));
        assert_eq!(scene.of("s").counts.pending, 1);
    }
    let sent = scene.sent(attached("v", 4, 1));
    assert_eq!(sent, ["welcome v@4 []", "lease v/0 c3: 1#2"]);
    let sent = scene.sent(reported("v", 4, 1, vec![completed(attempt(1, 2))]));
    assert_eq!(sent, ["ack v 1", "completed s"]);
    let why = refused("none of its trials failed or was cancelled");
    assert_eq!(act(&mut scene, retried("s")).0, why);
}

#[test]
fn retrying_lifts_the_budget_of_failures() {
    let mut scene = Scene::new();
    let mut limited = header("s");
    limited.failures_max = Some(1);
    scene.sweep(limited, trials(1..=2));
    scene.sent(attached("w", 1, 1));
    let death = vec![died(1, &[attempt(1, 1)], FailureCause::OutOfMemory)];
    assert_eq!(scene.sent(reported("w", 1, 1, death)), ["ack w 1", "completed s"]);
    let why = "failed trials: 1; its budget ends at 1; raise the budget in its file and apply it";
    assert_eq!(act(&mut scene, resumed("s")).0, refused(why));
    let (acted, sent) = act(&mut scene, retried("s"));
    assert_eq!((acted, sent), (done(1, 0), vec!["lease w/0 c2: 1#2".into()]));
}

#[test]
fn pruning_ends_what_the_file_names_no_more() {
    let mut scene = started(3, 2);
    scene.sweep(header("s"), trials(2..=3));
    assert_eq!(scene.of("s").counts.removed, 1);
    let (acted, sent) = act(&mut scene, Event::SweepPruned(name("s")));
    assert_eq!((acted, sent), (done(0, 1), vec!["stop w 1#1".into(), "lease w/0 c3: 3#1".into()]));
    // Back in the file it is trained on.
    assert_eq!(scene.sweep(header("s"), trials(1..=3)), NOTHING);
    let sent = scene.sent(reported("w", 1, 1, vec![completed(attempt(3, 1))]));
    assert_eq!(sent, ["ack w 1", "lease w/0 c4: 1#2"]);
}

#[test]
fn drained_worker_is_told_again_until_it_has_left() {
    let mut scene = started(2, 1);
    let drain = || Event::WorkerDrained(worker("w"));
    assert_eq!(act(&mut scene, drain()), (done(0, 1), vec!["drain w".into()]));
    assert_eq!(scene.worker("w").state, WorkerState::Draining);
    scene.sent(detached("w", 1));
    let held = vec![running(1, 0, &[attempt(1, 1)])];
    let sent = scene.sent(attached_with("w", 2, 1, held));
    assert_eq!(sent, ["welcome w@2 [1#1]", "drain w"]);
    scene.sent(drains("w", 2));
    let back = vec![Report::Returned(attempt(1, 1), 1)];
    assert_eq!(scene.sent(reported("w", 2, 1, back)), ["ack w 1"]);
    scene.sent(detached("w", 2));
    let why = "it left: drained, or with an error that its own log has";
    assert_eq!(scene.worker("w").reason.as_deref(), Some(why));
    assert_eq!(act(&mut scene, drain()).0, refused("it is not attached"));
    // Whoever starts it again wants it to work.
    let sent = scene.sent(attached("w", 3, 1));
    assert_eq!(sent, ["welcome w@3 []", "lease w/0 c2: 1#2"]);
    assert_eq!(act(&mut scene, Event::WorkerDrained(worker("x"))).0, Acted::Unknown);
}

#[test]
fn sweeps_of_equal_priority_share_the_slots() {
    let mut scene = Scene::new();
    scene.sweep(header("a"), trials(1..=9));
    scene.sweep(header("b"), trials(11..=19));
    scene.sweep(with_priority("later", -1), trials(21..=29));
    let sent = scene.sent(attached("w", 1, 4));
    let alternating =
        ["lease w/0 c1: 1#1", "lease w/1 c2: 11#1", "lease w/2 c3: 2#1", "lease w/3 c4: 12#1"];
    assert_eq!(sent[1..], alternating);
    // A sweep whose trials are short does not take the slots of one whose are long.
    for (through, slot, trial) in [(1, 0, 1), (2, 2, 2), (3, 0, 3)] {
        let sent = scene.sent(reported("w", 1, through, vec![completed(attempt(trial, 1))]));
        let (cohort, next) = (through + 4, through + 2);
        let lease = format!("lease w/{slot} c{cohort}: {next}#1");
        assert_eq!(sent, [format!("ack w {through}"), lease]);
    }
    let why = scene.explain(TrialId(21)).unwrap();
    let expected = "every slot that may run it is busy; sweep `a` goes first, with priority 0 over \
                    -1";
    assert_eq!(why, expected);
}

#[test]
fn restarted_coordinator_shares_on() {
    let mut scene = Scene::new();
    scene.sweep(header("a"), trials(1..=9));
    scene.sent(attached("w", 1, 2));
    scene.sweep(header("b"), trials(11..=19));
    scene.restart();
    let held = vec![running(1, 0, &[attempt(1, 1)]), running(2, 1, &[attempt(2, 1)])];
    let sent = scene.sent(attached_with("w", 1, 3, held));
    assert_eq!(sent, ["welcome w@1 [1#1 2#1]", "lease w/2 c3: 11#1"]);
}

#[test]
fn cancelling_ten_thousand_trials_is_one_change_of_the_store() {
    let mut scene = Scene::new();
    scene.scheduler.apply(scheduler::event::Time(0), Event::SweepApplied(header("s")));
    let many = trials(1..=10_000);
    let time = scheduler::event::Time(0);
    scene.scheduler.apply(time, Event::TrialsAdded(name("s"), many));
    scene.scheduler.apply(time, Event::SweepExpanded(name("s")));
    let effects = scene.scheduler.apply(time, cancelled("s"));
    assert_eq!(effects.acted, Some(done(10_000, 0)));
    let held = Change::SweepHeld(name("s"), Some(Hold::Cancelled));
    match effects.changes.as_slice() {
        [first, Change::TrialsClosed { trials, kind, reason }, Change::SweepCompleted(_)] => {
            assert_eq!((first, trials.len()), (&held, 10_000));
            assert_eq!(*kind, OutcomeKind::Cancelled);
            assert_eq!(reason, "sweep s was cancelled");
        }
        other => panic!("{} changes", other.len()),
    }
}
