//! Stories of sweeps: applied again, shared, prioritised, stopped. Each checks what was sent, and
//! that nothing else was.

mod scene;

use common::ids::TrialId;
use scene::*;
use scheduler::Applied;
use scheduler::event::{Change, Event, FailureCause, Report, Trial};
use scheduler::overview::SweepState;

const NOTHING: [&str; 0] = [];

fn changes(scene: &mut Scene, event: Event) -> Vec<Change> {
    scene.apply(event).changes
}

#[test]
fn applying_again_runs_new_points_alone() {
    let mut scene = Scene::new();
    scene.sweep(header("s"), trials(1..=2));
    let first = Applied { added: 2, ..Applied::default() };
    assert_eq!(scene.scheduler.applied(&name("s")), Some(first));
    scene.sent(attached("w", 1, 2));
    let report = vec![completed(attempt(1, 1)), completed(attempt(2, 1))];
    assert_eq!(scene.sent(reported("w", 1, 2, report)), ["ack w 2", "completed s"]);

    let config = config(2, 128);
    let named: Vec<Trial> = [5, 1, 4].map(|id| trial(id, &config)).to_vec();
    assert_eq!(changes(&mut scene, Event::SweepApplied(header("s"))).len(), 1);
    let changes = changes(&mut scene, Event::TrialsAdded(name("s"), named));
    assert!(changes.contains(&Change::SweepReopened(name("s"))));
    let added = [5, 4].map(|id| trial(id, &config)).to_vec();
    assert!(changes.contains(&Change::TrialsAdded(added)));
    // Nothing is leased before it is known who was named.
    let sent = scene.sent(Event::SweepExpanded(name("s")));
    assert_eq!(sent, ["lease w/0 c3: 5#1", "lease w/1 c4: 4#1"]);
    assert_eq!(scene.ledger.members("s"), [5, 1, 4]);
    let applied = Applied { is_again: true, added: 2, removed: 1, unchanged: 1 };
    assert_eq!(scene.scheduler.applied(&name("s")), Some(applied));
    let mut members = scene.scheduler.members(&name("s")).unwrap();
    members.sort();
    assert_eq!(members, [1, 4, 5].map(TrialId));
    assert_eq!(scene.scheduler.sweeps_of(TrialId(2)), [], "no file names it");
    assert_eq!(scene.of("s").counts.removed, 1);
    let report = vec![completed(attempt(5, 1)), completed(attempt(4, 1))];
    assert_eq!(scene.sent(reported("w", 1, 4, report)), ["ack w 4", "completed s"]);
}

#[test]
fn applying_again_with_nothing_to_do_tells_the_end_again_and_writes_no_member() {
    let mut scene = Scene::new();
    scene.sweep(header("s"), trials(1..=2));
    scene.sent(attached("w", 1, 2));
    let report = vec![completed(attempt(1, 1)), completed(attempt(2, 1))];
    scene.sent(reported("w", 1, 2, report));
    scene.apply(Event::SweepApplied(header("s")));
    assert_eq!(changes(&mut scene, Event::TrialsAdded(name("s"), trials(1..=2))), []);
    let effects = scene.apply(Event::SweepExpanded(name("s")));
    assert_eq!(effects.changes, [Change::SweepExpanded(name("s"))]);
    let applied = Applied { is_again: true, unchanged: 2, ..Applied::default() };
    assert_eq!(scene.scheduler.applied(&name("s")), Some(applied));
    let sent: Vec<String> = effects.messages.iter().map(text).collect();
    assert_eq!(sent, ["completed s"]);
}

#[test]
fn removed_trials_do_not_start_but_running_ones_go_on_and_all_come_back() {
    let mut scene = Scene::new();
    scene.sweep(header("s"), trials(1..=4));
    scene.sent(attached("w", 1, 2));
    // 2 runs and 3 is pending.
    let config = config(2, 128);
    let kept = || vec![trial(1, &config), trial(4, &config)];
    assert_eq!(scene.sweep(header("s"), kept()), NOTHING);
    assert_eq!(scene.of("s").counts.removed, 2);
    let why = scene.explain(TrialId(3)).unwrap();
    assert_eq!(why, "no sweep names it any more");
    let report = vec![completed(attempt(1, 1)), completed(attempt(2, 1))];
    let sent = scene.sent(reported("w", 1, 2, report));
    assert_eq!(sent, ["ack w 2", "lease w/0 c3: 4#1"]);
    assert!(scene.ledger.outcome(2).is_some());
    let sent = scene.sent(reported("w", 1, 3, vec![completed(attempt(4, 1))]));
    assert_eq!(sent, ["ack w 3", "completed s"]);

    assert_eq!(scene.sweep(header("s"), trials(1..=4)), ["lease w/0 c4: 3#1"]);
    assert_eq!(scene.of("s").counts.removed, 0);
    assert_eq!(scene.of("s").counts.completed, 3);
    let sent = scene.sent(reported("w", 1, 4, vec![completed(attempt(3, 1))]));
    assert_eq!(sent, ["ack w 4", "completed s"]);
}

#[test]
fn lost_attempt_of_a_removed_trial_is_not_taken_over() {
    let mut scene = Scene::new();
    scene.sweep(header("s"), trials(1..=1));
    scene.sent(attached("w", 1, 1));
    assert_eq!(scene.sweep(header("s"), Vec::new()), ["completed s"]);
    assert_eq!(scene.sent(detached("w", 1)), NOTHING);
    assert_eq!(scene.after(8_000), NOTHING);
    let held = vec![running(1, 0, &[attempt(1, 1)])];
    assert_eq!(scene.sent(attached_with("w", 2, 1, held)), ["welcome w@2 []"]);
}

#[test]
fn trial_of_two_sweeps_runs_once() {
    let mut scene = Scene::new();
    scene.sweep(header("a"), trials(1..=2));
    scene.sweep(header("b"), trials(2..=3));
    let sent = scene.sent(attached("w", 1, 2));
    assert_eq!(sent, ["welcome w@1 []", "lease w/0 c1: 1#1", "lease w/1 c2: 2#1"]);
    assert_eq!((scene.of("a").counts.running, scene.of("b").counts.running), (2, 1));
    let sent = scene.sent(reported("w", 1, 1, vec![completed(attempt(2, 1))]));
    assert_eq!(sent, ["ack w 1", "lease w/1 c3: 3#1"]);
    let sent = scene.sent(reported("w", 1, 2, vec![completed(attempt(1, 1))]));
    assert_eq!(sent, ["ack w 2", "completed a"]);
    let sent = scene.sent(reported("w", 1, 3, vec![completed(attempt(3, 1))]));
    assert_eq!(sent, ["ack w 3", "completed b"]);
    assert_eq!(scene.sweep(header("c"), trials(2..=2)), ["completed c"]);
    assert_eq!(scene.of("c").best, Some((TrialId(2), 0.1)));
}

#[test]
fn trial_that_another_sweep_wants_outlives_its_removal() {
    let mut scene = Scene::new();
    scene.sweep(header("a"), trials(1..=1));
    scene.sweep(header("b"), trials(1..=1));
    assert_eq!(scene.sweep(header("a"), Vec::new()), ["completed a"]);
    let sent = scene.sent(attached("w", 1, 1));
    assert_eq!(sent, ["welcome w@1 []", "lease w/0 c1: 1#1"]);
    let sent = scene.sent(reported("w", 1, 1, vec![completed(attempt(1, 1))]));
    assert_eq!(sent, ["ack w 1", "completed b"]);
}

#[test]
fn higher_priority_goes_first_then_the_earlier_application() {
    let mut scene = Scene::new();
    let mut urgent = header("urgent");
    urgent.priority = 5;
    scene.sweep(header("first"), trials(1..=1));
    scene.sweep(header("second"), trials(11..=11));
    scene.sweep(urgent, trials(21..=21));
    let sent = scene.sent(attached("w", 1, 3));
    let leases = ["lease w/0 c1: 21#1", "lease w/1 c2: 1#1", "lease w/2 c3: 11#1"];
    assert_eq!(sent[1..], leases);
    let names: Vec<_> = scene.overview().sweeps.into_iter().map(|s| s.name.to_string()).collect();
    assert_eq!(names, ["urgent", "first", "second"]);
}

#[test]
fn returned_trial_goes_before_all_others_of_its_sweep() {
    let mut scene = Scene::new();
    scene.sweep(header("s"), trials(1..=4));
    scene.sent(attached("w", 1, 1));
    scene.sent(reported("w", 1, 1, vec![completed(attempt(1, 1))]));
    let back = vec![Report::Returned(attempt(2, 1), 1)];
    assert_eq!(scene.sent(reported("w", 1, 2, back)), ["ack w 2", "lease w/0 c3: 2#2"]);
}

#[test]
fn failures_beyond_the_budget_stop_the_sweep() {
    let mut scene = Scene::new();
    let mut limited = header("s");
    limited.failures_max = Some(1);
    scene.sweep(limited.clone(), trials(1..=5));
    scene.sent(attached("w", 1, 2));
    let death = vec![died(1, &[attempt(1, 1)], FailureCause::OutOfMemory)];
    assert_eq!(scene.sent(reported("w", 1, 1, death)), ["ack w 1"]);
    let reason = "failed trials: 1; its budget ends at 1".to_string();
    assert_eq!(scene.of("s").state, SweepState::Stopped { reason: reason.clone() });
    assert_eq!(scene.explain(TrialId(3)).unwrap(), format!("sweep `s` stopped: {reason}"));
    // The running one goes on; then the sweep is over.
    let sent = scene.sent(reported("w", 1, 2, vec![completed(attempt(2, 1))]));
    assert_eq!(sent, ["ack w 2", "completed s"]);
    scene.restart();
    assert_eq!(scene.of("s").state, SweepState::Stopped { reason });
    assert_eq!(scene.sent(attached("w", 1, 2)), ["welcome w@1 []"]);
    // A larger budget continues it.
    limited.failures_max = Some(2);
    let sent = scene.sweep(limited, trials(1..=5));
    assert_eq!(sent, ["lease w/0 c3: 3#1", "lease w/1 c4: 4#1"]);
}

#[test]
fn slot_hours_beyond_the_budget_stop_the_sweep_also_after_a_restart() {
    let mut scene = Scene::new();
    let mut limited = header("s");
    limited.slot_seconds_max = Some(3.0);
    scene.sweep(limited, trials(1..=5));
    scene.sent(attached("w", 1, 1));
    let report = vec![epoch(attempt(1, 1), 1), epoch(attempt(1, 1), 2)];
    scene.sent(reported("w", 1, 2, report));
    scene.restart();
    let held = vec![running(1, 0, &[attempt(1, 1)])];
    assert_eq!(scene.sent(attached_with("w", 1, 1, held)), ["welcome w@1 [1#1]"]);
    assert_eq!(scene.sent(reported("w", 1, 3, vec![epoch(attempt(1, 1), 3)])), ["ack w 3"]);
    let sent = scene.sent(reported("w", 1, 4, vec![completed(attempt(1, 1))]));
    assert_eq!(sent, ["ack w 4", "completed s"]);
    assert!(matches!(scene.of("s").state, SweepState::Stopped { .. }));
}

#[test]
fn interrupted_expansion_completes_only_when_it_is_applied_again() {
    let mut scene = Scene::new();
    scene.apply(Event::SweepApplied(header("s")));
    scene.apply(Event::TrialsAdded(name("s"), trials(1..=2)));
    scene.restart();
    let sent = scene.sent(attached("w", 1, 2));
    assert_eq!(sent, ["welcome w@1 []", "lease w/0 c1: 1#1", "lease w/1 c2: 2#1"]);
    let report = vec![completed(attempt(1, 1)), completed(attempt(2, 1))];
    assert_eq!(scene.sent(reported("w", 1, 2, report)), ["ack w 2"]);
    let reason = "its expansion was interrupted: apply it again".into();
    assert_eq!(scene.of("s").state, SweepState::Waiting { reason });
    assert_eq!(scene.sweep(header("s"), trials(1..=3)), ["lease w/0 c3: 3#1"]);
    let sent = scene.sent(reported("w", 1, 3, vec![completed(attempt(3, 1))]));
    assert_eq!(sent, ["ack w 3", "completed s"]);
}

#[test]
fn configs_are_done_when_all_their_seeds_are() {
    let mut scene = Scene::new();
    let (a, b) = (config(2, 128), config(3, 128));
    // An equal config behind another pointer is the same one.
    let again = config(2, 128);
    let members = vec![trial(1, &a), trial(2, &b), trial(3, &again)];
    scene.sweep(header("s"), members);
    scene.sent(attached("w", 1, 3));
    assert_eq!((scene.of("s").configs, scene.of("s").configs_done), (2, 0));
    scene.sent(reported("w", 1, 1, vec![diverged(attempt(1, 1))]));
    assert_eq!(scene.of("s").configs_done, 0);
    scene.sent(reported("w", 1, 2, vec![completed(attempt(3, 1))]));
    assert_eq!(scene.of("s").configs_done, 1);
}

#[test]
fn active_trials_are_the_running_and_the_best_finished() {
    let mut scene = Scene::new();
    scene.sweep(header("s"), trials(1..=400));
    scene.sent(attached("w", 1, 20));
    let mut through = 0;
    for id in 1..=30 {
        through += 1;
        let report = if id % 3 == 0 { diverged(attempt(id, 1)) } else { completed(attempt(id, 1)) };
        scene.sent(reported("w", 1, through, vec![report]));
    }
    let sweep = scene.of("s");
    assert_eq!(sweep.active.len(), 20 + 10);
    assert!(sweep.active[..20].iter().all(|trial| trial.running && trial.id.0 > 30));
    assert!(sweep.active[20..].iter().all(|trial| trial.val_error == Some(0.1)));
    scene.sent(reported("w", 1, 99, vec![epoch(attempt(31, 1), 1)]));
    assert_eq!(scene.of("s").best, Some((TrialId(1), 0.1)));
    assert!(!scene.of("s").active_truncated);
    scene.sent(attached("v", 2, 90));
    assert!(scene.of("s").active_truncated);
    assert_eq!(scene.of("s").active.len(), 100);
}
