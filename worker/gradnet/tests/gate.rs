//! The gate's course, and trials read from configs.

use std::collections::BTreeMap;

use common::config::{Config, Data, Model, Param, Value};
use common::params;
use gradnet::Trial;
use gradnet::activation::Activation;
use gradnet::dropout::{Dropout, Form};
use gradnet::gate::{Per, Schedule, Shape};
use gradnet::init::Init;

const SHAPES: [Shape; 4] = [Shape::Linear, Shape::Cosine, Shape::Exponential, Shape::Step];
const TAUS: [f64; 6] = [0.5, 1.0, 2.5, 5.0, 100.0, 1e6];

fn schedule(shape: Shape, per: Per, tau: f64) -> Schedule {
    Schedule { shape, per, tau }
}

/// Every gate of the first `epochs` epochs in order.
fn course(schedule: Schedule, epochs: u32, steps: u32) -> Vec<f64> {
    let epochs = 1..=epochs;
    epochs.flat_map(|e| (0..steps).map(move |s| schedule.gate_at(e, s, steps))).collect()
}

#[test]
fn a_gate_goes_from_0_to_1_and_never_falls() {
    for shape in SHAPES {
        for per in [Per::Step, Per::Epoch] {
            for tau in TAUS {
                let course = course(schedule(shape, per, tau), 8, 16);
                assert_eq!(course[0], 0.0, "{shape:?} {per:?} {tau}");
                assert!(course.is_sorted(), "{shape:?} {per:?} {tau}");
                assert!(course.iter().all(|gate| (0.0..=1.0).contains(gate)));
            }
        }
    }
}

#[test]
fn a_gate_is_1_from_tau_on_and_not_before() {
    for shape in SHAPES {
        let gate = schedule(shape, Per::Step, 2.5);
        assert!(gate.gate_at(3, 4, 10) < 1.0, "{shape:?} at t = 2.4");
        assert_eq!(gate.gate_at(3, 5, 10), 1.0, "{shape:?} at t = 2.5");
        assert_eq!(gate.gate_at(9, 0, 10), 1.0);
        let gate = schedule(shape, Per::Epoch, 2.5);
        assert!(gate.gate_at(3, 9, 10) < 1.0, "{shape:?} at t = 2");
        assert_eq!(gate.gate_at(4, 0, 10), 1.0, "{shape:?} at t = 3");
    }
}

#[test]
fn shapes_are_what_they_are_called() {
    let at = |shape, step| schedule(shape, Per::Step, 2.0).gate_at(1, step, 4);
    assert_eq!([0, 1, 2, 3].map(|step| at(Shape::Linear, step)), [0.0, 0.125, 0.25, 0.375]);
    let half = |shape| schedule(shape, Per::Step, 2.0).gate_at(2, 0, 4);
    assert!((half(Shape::Cosine) - 0.5).abs() < 1e-15);
    assert!(at(Shape::Cosine, 1) < at(Shape::Linear, 1));
    assert!(half(Shape::Exponential) > 0.9 && half(Shape::Exponential) < 1.0);
    assert_eq!(half(Shape::Step), 0.0);
}

#[test]
fn tau_0_is_an_open_gate_from_the_start() {
    for shape in SHAPES {
        for per in [Per::Step, Per::Epoch] {
            let gate = schedule(shape, per, 0.0);
            assert_eq!((gate.gate_at(1, 0, 100), gate.gate_after(1)), (1.0, 1.0));
        }
    }
    assert_eq!(Schedule::FULL.gate_at(1, 0, 1), 1.0);
}

#[test]
fn a_gate_per_epoch_stands_still_within_it() {
    let gate = schedule(Shape::Linear, Per::Epoch, 4.0);
    for (epoch, expected) in [(1, 0.0), (2, 0.25), (3, 0.5), (5, 1.0), (6, 1.0)] {
        for step in 0..7 {
            assert_eq!(gate.gate_at(epoch, step, 7), expected);
        }
    }
}

#[test]
fn evaluation_sees_the_gate_of_its_epoch() {
    let per_step = schedule(Shape::Linear, Per::Step, 4.0);
    let per_epoch = schedule(Shape::Linear, Per::Epoch, 4.0);
    for epoch in 1..8 {
        assert_eq!(per_step.gate_after(epoch), (f64::from(epoch) / 4.0).min(1.0));
        assert_eq!(per_epoch.gate_after(epoch), per_epoch.gate_at(epoch, 0, 9));
    }
}

#[test]
fn the_first_epoch_at_full_gate_is_the_one_that_selection_expects() {
    for (per, word) in [(Per::Step, "step"), (Per::Epoch, "epoch")] {
        for tau in [0.0, 0.5, 1.0, 2.5, 5.0] {
            for shape in SHAPES {
                let gate = schedule(shape, per, tau);
                let first = (1..20).find(|&epoch| gate.gate_after(epoch) == 1.0);
                assert_eq!(first.map(u64::from), Some(params::first_full_epoch(tau, word)));
            }
        }
    }
}

/// A config of the model's defaults and these values, with what has an effect.
fn config(model: Model, given: &[(Param, Value)]) -> Config {
    let get = |param: Param| {
        let own = given.iter().find(|(other, _)| *other == param).map(|(_, value)| *value);
        own.or(params::default(model, param))
    };
    let values = params::with_effect(model, &get);
    let values = values.iter().filter_map(|param| Some((param, get(param)?)));
    Config::new(model, Data::Strokes, values.collect::<BTreeMap<_, _>>())
}

fn trial(given: &[(Param, Value)]) -> Trial {
    Trial::from_config(&config(Model::Mlp, given), 9).expect("a valid config")
}

#[test]
fn a_config_becomes_its_trial() {
    let plain = trial(&[]);
    assert_eq!((plain.depth, plain.activation, plain.seed), (2, Activation::Relu, 9));
    assert_eq!((plain.dropout, plain.schedule), (Dropout::None, Schedule::FULL));
    assert_eq!((plain.init, plain.init_gain), (Init::Orthogonal, 1.0));

    let word = Value::Word;
    let gradual = trial(&[
        (Param::Depth, Value::Int(40)),
        (Param::Activation, word("grelu")),
        (Param::Dropout, word("gradual")),
        (Param::DropoutForm, word("mix")),
        (Param::P, Value::Float(0.25)),
        (Param::Tau, Value::Float(3.0)),
        (Param::Gate, word("cosine")),
        (Param::GatePer, word("epoch")),
        (Param::Init, word("he")),
        (Param::InitGain, Value::Float(1.5)),
    ]);
    assert_eq!((gradual.depth, gradual.activation), (40, Activation::GRelu));
    assert_eq!(gradual.dropout, Dropout::Gradual { p: 0.25, form: Form::Mix });
    assert_eq!(gradual.schedule, schedule(Shape::Cosine, Per::Epoch, 3.0));
    assert_eq!((gradual.init, gradual.init_gain), (Init::He, 1.5));
}

#[test]
fn every_built_word_of_the_sweep_file_is_known() {
    for model in Model::ALL {
        for param in params::of_model(model) {
            let params::Kind::Words { built, .. } = params::info(param).kind else { continue };
            for word in built {
                let grelu = (Param::Activation, Value::Word("grelu"));
                let config = config(model, &[(param, Value::Word(word)), grelu]);
                Trial::from_config(&config, 9).expect("a valid config");
            }
        }
    }
}

#[test]
fn a_gradual_trial_with_tau_0_needs_no_shape() {
    let word = Value::Word;
    let given = [
        (Param::Activation, word("grelu")),
        (Param::Dropout, word("gradual")),
        (Param::Tau, Value::Float(0.0)),
    ];
    assert_eq!(trial(&given).schedule, Schedule::FULL);
}

#[test]
fn what_no_trial_can_be_made_of_is_refused_by_name() {
    let refused = |model, given: &[(Param, Value)]| {
        let config = config(model, given);
        Trial::from_config(&config, 0).expect_err("refused").to_string()
    };
    assert_eq!(
        refused(Model::Mlp, &[(Param::Activation, Value::Word("swish"))]),
        "`activation: swish` is not available; accepted: relu, leaky_relu, very_leaky_relu, \
         prelu, rrelu, grelu, inverse_grelu, identity"
    );
    let dropout = (Param::Dropout, Value::Word("static"));
    assert_eq!(
        refused(Model::Mlp, &[dropout, (Param::P, Value::Float(1.0))]),
        "`p: 1` is out of range; accepted: from 0 to below 1"
    );
    assert_eq!(
        refused(Model::Mlp, &[(Param::Depth, Value::Int(0))]),
        "`depth: 0` is out of range; accepted: at least 1"
    );
}

#[test]
fn a_probe_ramps_over_all_of_its_epochs() {
    let probe = trial(&[
        (Param::Dropout, Value::Word("probe")),
        (Param::P, Value::Float(0.95)),
        (Param::Epochs, Value::Int(40)),
        (Param::Tau, Value::Float(3.0)),
    ]);
    assert_eq!(probe.dropout, Dropout::Gradual { p: 0.95, form: Form::Rate });
    assert_eq!(probe.schedule, schedule(Shape::Linear, Per::Step, 40.0));
    let rate = |epoch| 1.0 - probe.dropout.noise(probe.schedule.gate_after(epoch)).keep;
    assert!((rate(20) - 0.475).abs() < 1e-12 && (rate(40) - 0.95).abs() < 1e-12);
}
