//! Whole trials on `strokes`, in this process: outcomes, resumption, cohorts and divergence.
#![allow(missing_docs, clippy::cast_possible_truncation)]

use std::path::Path;

use common::checkpoints;
use common::config::{Config, Data};
use common::ids::{AttemptId, TrialId};
use common::weights::{self, WeightsName};
use common::wire::{self, OutcomeKind, from_trainer};
use safetensors::SafeTensors;
use trainer::checkpoint::{Basis, Checkpoint};
use trainer::device::{DeviceName, hold};
use trainer::link::{Commands, Link, LinkError};
use trainer::serve::{CohortError, Options, Trainer};

/// Records reports; asks to hand back once the first trial reports an epoch.
#[derive(Default)]
struct Recorder {
    messages: Vec<from_trainer::Message>,
    commands: Commands,
    hand_back_after: Option<u32>,
    stop_after: Option<(u32, wire::AttemptId)>,
}

impl Link for Recorder {
    fn send(&mut self, message: from_trainer::Message) -> Result<(), LinkError> {
        if let from_trainer::Message::Epoch(report) = &message {
            self.commands.hand_back |= self.hand_back_after == Some(report.epoch);
            if let Some((epoch, attempt)) = &self.stop_after
                && *epoch == report.epoch
            {
                self.commands.stops.push(attempt.clone());
            }
        }
        self.messages.push(message);
        Ok(())
    }

    fn commands(&mut self, _wait: bool) -> &mut Commands {
        &mut self.commands
    }
}

impl Recorder {
    fn epochs(&self, trial: &str) -> Vec<wire::EpochReport> {
        let own = |message: &from_trainer::Message| match message {
            from_trainer::Message::Epoch(report) => Some(report.clone()),
            _ => None,
        };
        let reports = self.messages.iter().filter_map(own);
        reports.filter(|report| id(report.attempt.as_ref()) == trial).collect()
    }

    fn outcome(&self, trial: &str) -> Option<wire::AttemptOutcome> {
        let own = |message: &from_trainer::Message| match message {
            from_trainer::Message::Outcome(outcome) => Some(outcome.clone()),
            _ => None,
        };
        let mut outcomes = self.messages.iter().filter_map(own);
        outcomes.find(|outcome| id(outcome.attempt.as_ref()) == trial)
    }
}

fn id(attempt: Option<&wire::AttemptId>) -> &str {
    &attempt.expect("an attempt id").trial
}

fn trainer(checkpoints: &Path) -> Trainer {
    trainer_that_saves(checkpoints, 1e9)
}

fn trainer_that_saves(checkpoints: &Path, checkpoint_interval_s: f64) -> Trainer {
    let held = hold(DeviceName::Cpu, 1).expect("a CPU");
    let options = Options { data: None, checkpoints: checkpoints.into(), checkpoint_interval_s };
    Trainer::new(held, options)
}

/// The same cohort as a later attempt.
fn again(mut cohort: wire::TrainCohort, number: u32) -> wire::TrainCohort {
    for trial in &mut cohort.trials {
        trial.attempt.as_mut().expect("an attempt id").attempt = number;
    }
    cohort
}

/// Attempt and epoch of every file, in order.
fn files(folder: &Path) -> Vec<(u32, u32)> {
    let files = checkpoints::files(folder).expect("readable");
    assert!(files.iter().all(|file| file.is_whole), "{files:?}");
    let mut names = files.iter().map(|f| (f.name.attempt.number, f.name.epoch)).collect::<Vec<_>>();
    names.sort_unstable();
    assert_eq!(std::fs::read_dir(folder).expect("readable").count(), names.len());
    names
}

/// Trials named a, b, …; every one has these parameters and its own.
fn cohort(common: &str, own: &[(&str, u64)], epochs_stored: u32) -> wire::TrainCohort {
    cohort_of("mlp", common, own, epochs_stored)
}

fn cohort_of(
    model: &str,
    common: &str,
    own: &[(&str, u64)],
    epochs_stored: u32,
) -> wire::TrainCohort {
    let trial = |(index, (own, seed)): (usize, &(&str, u64))| wire::LeasedTrial {
        attempt: Some(wire::AttemptId { trial: name(index), attempt: 1 }),
        model: model.into(),
        data: "strokes".into(),
        params: format!("{{{common},{own}}}"),
        seed: *seed,
        epochs_stored,
        keeps_weights: false,
    };
    let trials = own.iter().enumerate().map(trial).collect();
    wire::TrainCohort { cohort: 1, trials }
}

fn name(index: usize) -> String {
    format!("{index:016x}")
}

fn run(cohort: wire::TrainCohort, checkpoints: &Path) -> Recorder {
    let mut recorder = Recorder::default();
    trainer(checkpoints).run(cohort, &mut recorder).expect("the cohort trains");
    recorder
}

/// Everything of a report that does not depend on the clock.
fn timeless(report: wire::EpochReport) -> wire::EpochReport {
    wire::EpochReport { examples_per_second: 0.0, seconds: 0.0, attempt: None, ..report }
}

const SMALL: &str =
    r#""width":32,"batch_size":50,"lr":0.003,"train_examples":1000,"patience":null"#;

/// Trains whole, and handed back after four of six epochs: the same to the last bit.
fn assert_resumes(lease: &dyn Fn(u32) -> wire::TrainCohort) {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = run(lease(0), folder.path());
    let mut first = Recorder { hand_back_after: Some(4), ..Recorder::default() };
    trainer(folder.path()).run(lease(0), &mut first).expect("handed back");
    assert!(matches!(first.messages.last(), Some(from_trainer::Message::Returned(returned))
        if returned.epochs == 4));
    assert_eq!(first.outcome(&name(0)), None);
    let second = run(again(lease(4), 2), folder.path());
    assert_eq!(second.epochs(&name(0))[0].epoch, 5, "it goes on where it was");
    assert_continues(&second, &whole);
}

/// What an attempt did is what the whole run did from its first epoch on.
fn assert_continues(attempt: &Recorder, whole: &Recorder) {
    let (found, all) = (attempt.epochs(&name(0)), whole.epochs(&name(0)));
    let expected = all.into_iter().skip(found[0].epoch as usize - 1).map(timeless);
    let found = found.into_iter().map(timeless).collect::<Vec<_>>();
    assert_eq!(found, expected.collect::<Vec<_>>());
    let timeless = |outcome: Option<wire::AttemptOutcome>| {
        let outcome = outcome.expect("an outcome");
        wire::AttemptOutcome { seconds: 0.0, attempt: None, ..outcome }
    };
    assert_eq!(timeless(attempt.outcome(&name(0))), timeless(whole.outcome(&name(0))));
}

#[test]
fn a_resumed_trial_equals_an_uninterrupted_one_bit_for_bit() {
    let own = r#""depth":4,"activation":"grelu","tau":2.5,"dropout":"gradual","p":0.3,"epochs":6"#;
    assert_resumes(&|stored| cohort(SMALL, &[(own, 7)], stored));
}

/// Batch norm's running statistics are state that no gradient moves.
#[test]
fn a_resumed_cnn_keeps_its_running_statistics() {
    let own = r#""norm":"gradual_batch","conv":"conv_to_nin","activation":"rrelu","tau":3"#;
    assert_resumes(&|stored| cohort_of("cnn", TINY_CNN, &[(own, 7)], stored));
}

const TINY_CNN: &str = r#""width":3,"batch_size":50,"lr":0.003,"train_examples":200,
    "val_examples":100,"patience":null,"augment_flip":false,"epochs":6"#;

#[test]
fn a_cohort_of_cnns_equals_its_solo_trials() {
    let own = [
        (r#""conv":"identity_to_conv","tau":2,"pooling":"gradual""#, 1),
        (r#""pooling":"average","activation":"grelu","tau":4,"dropout":"none""#, 2),
        (r#""pooling":"mean","activation":"very_leaky_relu","p":0.1"#, 3),
    ];
    assert_solo("cnn", TINY_CNN, &own);
}

#[test]
fn a_cohort_of_recurrent_nets_equals_its_solo_trials() {
    let own = [(r#""activation":"grelu","tau":2"#, 1), (r#""activation":"leaky_relu""#, 2)];
    let base = r#""width":16,"depth":1,"batch_size":50,"train_examples":300,"val_examples":100,
        "patience":null,"epochs":3,"clip_norm":1.0"#;
    assert_solo("rnn", base, &own);
}

fn assert_solo(model: &str, base: &str, own: &[(&str, u64)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let together = run(cohort_of(model, base, own, 0), folder.path());
    for (index, own) in own.iter().enumerate() {
        let solo = run(cohort_of(model, base, &[*own], 0), folder.path());
        let (expected, found) = (solo.epochs(&name(0)), together.epochs(&name(index)));
        assert_eq!(expected.len(), found.len(), "trial {index} leaves when it is done");
        for (expected, found) in expected.iter().zip(&found) {
            let gap = (expected.train_loss - found.train_loss).abs() / expected.train_loss;
            assert!(gap < 1e-4, "trial {index}, epoch {}: {gap}", found.epoch);
            assert_eq!(expected.gate, found.gate);
        }
        let (expected, found) = (solo.outcome(&name(0)), together.outcome(&name(index)));
        let (expected, found) = (expected.expect("solo"), found.expect("together"));
        let gap = expected.test_error.expect("tested") - found.test_error.expect("tested");
        assert!(gap.abs() < 2e-3, "trial {index}: {gap}");
    }
}

#[test]
fn a_probe_raises_its_rate_over_all_epochs_and_any_may_be_the_best() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = r#""depth":2,"dropout":"probe","p":0.95,"epochs":4"#;
    let base = r#""width":32,"batch_size":50,"lr":0.003,"train_examples":1000"#;
    let probe = run(cohort(base, &[(own, 1)], 0), folder.path());
    let gates = probe.epochs(&name(0)).iter().map(|report| report.gate).collect::<Vec<_>>();
    assert_eq!(gates, [0.25, 0.5, 0.75, 1.0]);
    let outcome = probe.outcome(&name(0)).expect("an outcome");
    assert_eq!((outcome.kind(), outcome.epochs), (OutcomeKind::Completed, 4));
}

#[test]
fn a_checkpoint_beyond_the_stored_history_is_not_resumed_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = r#""depth":2,"epochs":4"#;
    let mut first = Recorder { hand_back_after: Some(3), ..Recorder::default() };
    trainer(folder.path()).run(cohort(SMALL, &[(own, 7)], 0), &mut first).expect("handed back");
    let second = run(cohort(SMALL, &[(own, 7)], 2), folder.path());
    assert_eq!(second.epochs(&name(0))[0].epoch, 1);
}

/// Whatever the files are, what comes out is the uninterrupted run's.
#[test]
fn an_attempt_resumes_from_the_newest_stored_epoch_of_those_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = r#""depth":3,"activation":"grelu","tau":2,"dropout":"static","p":0.2,"epochs":6"#;
    let lease = |number, stored| again(cohort(SMALL, &[(own, 7)], stored), number);
    let whole = run(lease(1, 0), folder.path());
    for (number, stored, epoch) in [(1, 0, 2), (2, 2, 4)] {
        let mut part = Recorder { hand_back_after: Some(epoch), ..Recorder::default() };
        trainer(folder.path()).run(lease(number, stored), &mut part).expect("handed back");
    }
    assert_eq!(files(folder.path()), [(1, 2), (2, 4)], "its own and the one it resumed from");
    let file = |number: u32, epoch: u32| {
        let files = checkpoints::files(folder.path()).expect("readable");
        let is_it = |file: &checkpoints::CheckpointFile| {
            (file.name.attempt.number, file.name.epoch) == (number, epoch)
        };
        files.into_iter().find(is_it).expect("there").path
    };
    let starts = |number, stored, first| {
        let attempt = run(lease(number, stored), folder.path());
        assert_eq!(attempt.epochs(&name(0))[0].epoch, first, "attempt {number}, {stored} stored");
        assert_continues(&attempt, &whole);
    };
    starts(3, 4, 5);
    starts(3, 3, 3);
    starts(3, 1, 1);
    // A newer attempt's file is not an older one's to go on from.
    starts(1, 4, 3);
    let bytes = std::fs::read(file(2, 4)).expect("readable");
    std::fs::write(file(2, 4), &bytes[..bytes.len() / 2]).expect("writable");
    starts(3, 4, 3);
    std::fs::remove_file(file(1, 2)).expect("ours");
    std::fs::create_dir(folder.path().join(format!("{}.1.3.safetensors", name(0)))).expect("ours");
    starts(3, 4, 1);
}

#[test]
fn a_superseded_attempt_neither_overwrites_nor_removes_what_a_newer_one_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = r#""depth":2,"epochs":5"#;
    let train = |number, stored, hand_back_after| {
        let mut recorder = Recorder { hand_back_after, ..Recorder::default() };
        let lease = again(cohort(SMALL, &[(own, 7)], stored), number);
        trainer_that_saves(folder.path(), 0.0).run(lease, &mut recorder).expect("trains");
        recorder
    };
    train(2, 0, Some(3));
    assert_eq!(files(folder.path()), [(2, 2), (2, 3)], "its newest two");
    let contents = || {
        let of = |epoch: u32| folder.path().join(format!("{}.2.{epoch}.safetensors", name(0)));
        [2, 3].map(|epoch| std::fs::read(of(epoch)).expect("there"))
    };
    let before = contents();
    train(1, 0, None);
    assert_eq!(files(folder.path()), [(1, 3), (1, 4), (2, 2), (2, 3)]);
    assert_eq!(contents(), before);
    let third = train(3, 3, Some(4));
    assert_eq!(third.epochs(&name(0))[0].epoch, 4);
    assert_eq!(files(folder.path()), [(2, 3), (3, 4)], "its first makes the others superfluous");
    std::fs::write(folder.path().join(format!("{}.3.9.partial-1", name(0))), "").expect("ours");
    train(4, 0, Some(1));
    assert_eq!(files(folder.path()), [(4, 1)], "also what a dead writer left");
}

/// Of another trial nothing is removed.
#[test]
fn companions_keep_their_checkpoints_to_themselves() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = [(r#""depth":2,"epochs":5"#, 1), (r#""depth":3,"epochs":5"#, 2)];
    let mut first = Recorder { hand_back_after: Some(1), ..Recorder::default() };
    trainer(folder.path()).run(cohort(SMALL, &own, 0), &mut first).expect("handed back");
    let mut alone = Recorder { hand_back_after: Some(2), ..Recorder::default() };
    let lease = again(cohort(SMALL, &own[..1], 1), 2);
    trainer_that_saves(folder.path(), 0.0).run(lease, &mut alone).expect("handed back");
    let mut found = checkpoints::files(folder.path()).expect("readable");
    found.sort_unstable_by_key(|file| file.name);
    let found = found.iter().map(|f| (f.name.attempt.trial, f.name.attempt.number, f.name.epoch));
    let expected = [(TrialId(0), 1, 1), (TrialId(0), 2, 2), (TrialId(1), 1, 1)];
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[test]
fn a_cohort_equals_its_solo_trials() {
    let own = [
        (r#""depth":6,"activation":"grelu","tau":2,"epochs":3,"clip_norm":1.0"#, 1),
        (r#""depth":3,"activation":"relu","dropout":"static","p":0.2,"epochs":2"#, 2),
        (r#""depth":1,"activation":"leaky_relu","init":"he","epochs":3,"lr":0.001"#, 3),
    ];
    let base = r#""width":32,"batch_size":50,"train_examples":1000,"patience":null"#;
    assert_solo("mlp", base, &own);
}

#[test]
fn divergence_is_an_outcome_and_costs_the_neighbours_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    // Without a nonlinearity eight layers soon multiply beyond what fp32 holds.
    let wild = r#""depth":8,"activation":"identity","epochs":3,"lr":1000000"#;
    let own = [(r#""depth":3,"epochs":3,"lr":0.003"#, 1), (wild, 2)];
    let base = r#""width":32,"batch_size":50,"train_examples":1000,"patience":null"#;
    let together = run(cohort(base, &own, 0), folder.path());
    let diverged = together.outcome(&name(1)).expect("an outcome");
    assert_eq!(diverged.kind(), OutcomeKind::Diverged);
    assert!(diverged.reason.contains("NaN or infinite in epoch"), "{}", diverged.reason);
    assert_eq!((diverged.test_error, diverged.best_epoch), (None, None));
    let solo = run(cohort(base, &own[..1], 0), folder.path());
    let (expected, found) = (solo.epochs(&name(0)), together.epochs(&name(0)));
    for (expected, found) in expected.iter().zip(&found) {
        let gap = (expected.train_loss - found.train_loss).abs() / expected.train_loss;
        assert!(gap < 1e-4, "epoch {}: {gap}", found.epoch);
    }
    let completed = together.outcome(&name(0)).expect("an outcome");
    assert_eq!((completed.kind(), completed.epochs), (OutcomeKind::Completed, 3));
}

#[test]
fn only_epochs_at_full_gate_are_chosen_and_patience_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = r#""depth":2,"activation":"grelu","tau":3,"epochs":40,"lr":0.01,"patience":2"#;
    let base = r#""width":32,"batch_size":50,"train_examples":1000"#;
    let run = run(cohort(base, &[(own, 1)], 0), folder.path());
    let outcome = run.outcome(&name(0)).expect("an outcome");
    let epochs = run.epochs(&name(0));
    assert_eq!(outcome.epochs as usize, epochs.len());
    assert!(outcome.epochs < 40, "patience of 2 ends it long before");
    let best = outcome.best_epoch.expect("tested");
    assert!(best >= 3, "the gate is 1 from epoch 3 on");
    assert_eq!(outcome.epochs, best + 2);
    let errors = epochs.iter().filter(|report| report.epoch >= 3).map(|report| report.val_error);
    assert_eq!(errors.fold(f64::INFINITY, f64::min), outcome.val_error.expect("tested"));
    assert_eq!(epochs[2].gate, 1.0);
    assert!(epochs[1].gate < 1.0);
}

/// The best epoch's weights are tested, not the last one's: training again up to that epoch alone
/// gives the same test error.
#[test]
fn the_test_error_is_that_of_the_best_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = r#""width":32,"batch_size":50,"train_examples":1000,"lr":0.01,"depth":2"#;
    let long = run(cohort(base, &[(r#""epochs":30,"patience":4"#, 3)], 0), folder.path());
    let long = long.outcome(&name(0)).expect("an outcome");
    let best = long.best_epoch.expect("tested");
    assert!(best < long.epochs, "it trained on after its best epoch");
    let own = format!(r#""epochs":{best},"patience":null"#);
    let short = run(cohort(base, &[(own.as_str(), 3)], 0), folder.path());
    let short = short.outcome(&name(0)).expect("an outcome");
    assert_eq!((short.best_epoch, short.test_error), (Some(best), long.test_error));
}

#[test]
fn any_epoch_may_be_chosen_where_the_sweep_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = r#""depth":2,"activation":"grelu","tau":50,"epochs":3,"select":"any""#;
    let any = run(cohort(SMALL, &[(own, 1)], 0), folder.path());
    let outcome = any.outcome(&name(0)).expect("an outcome");
    assert_eq!(outcome.kind(), OutcomeKind::Completed);
    assert!(any.epochs(&name(0))[2].gate < 0.1, "the gate is far from 1");
    assert!(outcome.test_error.expect("tested") < 0.9);
}

#[test]
fn a_member_resumes_alone_and_beside_a_stranger() {
    let folder = tempfile::tempdir().expect("a folder");
    let grelu = r#""depth":4,"activation":"grelu","tau":2,"epochs":5"#;
    let relu = r#""depth":2,"dropout":"static","p":0.2,"epochs":5"#;
    let members = [(grelu, 1), (relu, 2)];
    let whole = run(cohort(SMALL, &members, 0), folder.path());
    let mut first = Recorder { hand_back_after: Some(2), ..Recorder::default() };
    trainer(folder.path()).run(cohort(SMALL, &members, 0), &mut first).expect("handed back");
    let alone = run(cohort(SMALL, &members[..1], 2), folder.path());
    let stranger = (r#""depth":6,"epochs":3"#, 9);
    let mut beside = cohort(SMALL, &[members[0], stranger], 2);
    beside.trials[1].attempt = Some(wire::AttemptId { trial: name(7), attempt: 1 });
    let beside = run(beside, folder.path());
    let expected = &whole.epochs(&name(0))[2..];
    for found in [alone.epochs(&name(0)), beside.epochs(&name(0))] {
        assert_eq!(found.len(), expected.len(), "it goes on where it was");
        for (expected, found) in expected.iter().zip(found) {
            let gap = (expected.train_loss - found.train_loss).abs() / expected.train_loss;
            assert!(gap < 1e-4, "epoch {}: {gap}", found.epoch);
        }
    }
    assert_eq!(beside.epochs(&name(7))[0].epoch, 1, "the stranger is at its beginning");
}

#[test]
fn a_checkpoint_of_another_kind_of_number_is_not_resumed_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = r#""depth":2,"epochs":4"#;
    let mut first = Recorder { hand_back_after: Some(2), ..Recorder::default() };
    trainer(folder.path()).run(cohort(SMALL, &[(own, 7)], 0), &mut first).expect("handed back");
    let params = Config::from_json("mlp", "strokes", &format!("{{{SMALL},{own}}}"));
    let params = params.expect("valid").to_json();
    let data_digest = common::data::digest(Data::Strokes, None).expect("it is generated");
    let file = checkpoints::files(folder.path()).expect("readable").remove(0);
    let loaded = Checkpoint::load(folder.path(), file.name, &Basis { params, data_digest });
    let mut saved = loaded.expect("readable");
    for tensor in saved.tensors.values_mut() {
        *tensor = tensor.to_kind(tch::Kind::Double);
    }
    saved.save(folder.path()).expect("saved");
    let second = run(cohort(SMALL, &[(own, 7)], 2), folder.path());
    assert_eq!(second.epochs(&name(0))[0].epoch, 1);
}

/// A panic between two cohorts' steps must not leave gradients off for the next.
#[test]
fn a_cohort_trains_after_one_that_panicked() {
    struct Panics;
    impl Link for Panics {
        fn send(&mut self, _: from_trainer::Message) -> Result<(), LinkError> {
            panic!("in the middle")
        }

        fn commands(&mut self, _wait: bool) -> &mut Commands {
            panic!("in the middle")
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut trainer = trainer(folder.path());
    let own = [(r#""depth":2,"epochs":2"#, 7)];
    let error = trainer.run(cohort(SMALL, &own, 0), &mut Panics).expect_err("it panicked");
    assert!(matches!(error, CohortError::Panic(message) if message == "in the middle"));
    let mut recorder = Recorder::default();
    trainer.run(cohort(SMALL, &own, 0), &mut recorder).expect("trains");
    assert!(recorder.outcome(&name(0)).is_some());
}

#[test]
fn a_stopped_attempt_leaves_without_an_outcome() {
    let folder = tempfile::tempdir().expect("a folder");
    let stopped = wire::AttemptId { trial: name(0), attempt: 1 };
    let own = [(r#""depth":2,"epochs":5"#, 1), (r#""depth":2,"epochs":5"#, 2)];
    let mut recorder = Recorder { stop_after: Some((2, stopped)), ..Recorder::default() };
    trainer(folder.path()).run(cohort(SMALL, &own, 0), &mut recorder).expect("trains on");
    // It was stopped by its second report.
    assert_eq!(recorder.epochs(&name(0)).len(), 2);
    assert_eq!(recorder.outcome(&name(0)), None);
    assert_eq!(recorder.epochs(&name(1)).len(), 5);
    assert!(recorder.outcome(&name(1)).is_some());
}

#[test]
fn commands_before_the_first_epoch_are_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = [(r#""depth":2,"epochs":5"#, 1)];
    let mut handed_back = Recorder::default();
    handed_back.commands.hand_back = true;
    trainer(folder.path()).run(cohort(SMALL, &own, 0), &mut handed_back).expect("handed back");
    assert!(matches!(&handed_back.messages[..], [from_trainer::Message::Returned(returned)]
        if returned.epochs == 0));
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0);

    let mut stopped = Recorder::default();
    stopped.commands.paused = true;
    stopped.commands.stops = vec![wire::AttemptId { trial: name(0), attempt: 1 }];
    trainer(folder.path()).run(cohort(SMALL, &own, 0), &mut stopped).expect("ends");
    assert_eq!(stopped.messages, []);
}

#[test]
fn a_description_that_cannot_be_trained_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |cohort| {
        let error = trainer(folder.path()).run(cohort, &mut Recorder::default());
        let error: CohortError = error.expect_err("refused");
        common::telemetry::chain(&error)
    };
    let own = [(r#""depth":2,"epochs":5"#, 1), (r#""depth":2,"epochs":5,"width":64"#, 2)];
    let base = r#""batch_size":50"#;
    let message = refused(cohort(base, &own, 0));
    assert!(message.contains("its width differs"), "{message}");
    let message = refused(cohort(r#""depht":2"#, &[(r#""epochs":5"#, 1)], 0));
    assert!(message.contains("depht"), "{message}");
    let (prelu, relu) = (r#""activation":"prelu""#, r#""activation":"relu""#);
    let message = refused(cohort(base, &[(prelu, 1), (relu, 2)], 0));
    assert!(message.contains("its activation differs"), "{message}");
    let message = refused(cohort_of("cnn", base, &[(r#""augment_flip":true"#, 1)], 0));
    assert!(message.contains("a mirrored digit is not that digit"), "{message}");
    let message = refused(wire::TrainCohort::default());
    assert!(message.contains("no trials"), "{message}");
}

/// What the synthetic data set promises: a linear model cannot solve it, a small MLP can.
#[test]
fn strokes_needs_a_network_but_a_small_one_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = r#""batch_size":100,"lr":0.001,"epochs":10,"patience":null"#;
    let linear = r#""depth":1,"width":64,"activation":"identity""#;
    let linear = run(cohort(base, &[(linear, 1)], 0), folder.path());
    let linear = linear.outcome(&name(0)).expect("an outcome").test_error.expect("tested");
    assert!(linear > 0.10, "a linear model has {linear}");
    let network = r#""depth":2,"width":128"#;
    let network = run(cohort(base, &[(network, 1)], 0), folder.path());
    let network = network.outcome(&name(0)).expect("an outcome").test_error.expect("tested");
    assert!(network < 0.05, "a small network has {network}");
}

#[test]
fn the_best_epochs_weights_are_written_where_the_lease_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let common = r#""depth":2,"width":16,"batch_size":100,"train_examples":500,"epochs":3"#;
    let mut cohort =
        cohort(common, &[(r#""activation":"grelu","tau":2"#, 1), (r#""activation":"relu""#, 2)], 0);
    cohort.trials[0].keeps_weights = true;
    let recorder = run(again(cohort.clone(), 4), folder.path());
    let written = weights::files(folder.path()).expect("readable");
    let attempt = AttemptId { trial: name(0).parse().expect("an id"), number: 4 };
    assert_eq!(written.iter().map(|file| file.name).collect::<Vec<_>>(), [WeightsName(attempt)]);
    let bytes = std::fs::read(&written[0].path).expect("readable");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("whole");
    let metadata = header.metadata().clone().expect("metadata");
    let outcome = recorder.outcome(&name(0)).expect("an outcome");
    let number = |key: &str| metadata[key].parse::<f64>().ok();
    assert_eq!(number("test_error"), outcome.test_error);
    assert_eq!(number("val_error"), outcome.val_error);
    assert_eq!(number("best_epoch"), outcome.best_epoch.map(f64::from));
    assert_eq!(number("gate"), Some(1.0));
    let said = ["format", "trial", "attempt", "model", "data"].map(|key| metadata[key].as_str());
    assert_eq!(said, ["gradsweep-weights-1", &name(0), "4", "mlp", "strokes"]);
    let file = SafeTensors::deserialize(&bytes).expect("whole");
    let mut names = file.names();
    names.sort_unstable();
    let layers = ["hidden.0", "hidden.1", "output"];
    let expected = layers.map(|layer| [format!("{layer}.bias"), format!("{layer}.weight")]);
    assert_eq!(names, expected.concat());
    assert_eq!(file.tensor("hidden.1.weight").expect("there").shape(), [16, 16]);

    // Where they cannot be written the result counts all the same.
    let full = tempfile::tempdir().expect("a folder");
    std::fs::write(weights::folder(full.path()), "no folder").expect("writable");
    let again = run(cohort, full.path()).outcome(&name(0)).expect("an outcome");
    assert_eq!(again.test_error, outcome.test_error);
}
